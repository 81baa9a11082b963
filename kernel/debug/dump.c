#include "kernel/debug/dump.h"

#include "kernel/core/log.h"
#include "kernel/core/mem.h"
#include "kernel/core/paging.h"
#include "kernel/debug/debugger.h"
#include "kernel/debug/gdb_server.h"
#include "kernel/debug/split.h"
#include "kernel/vm/debug.h"

#define DUMP_PAGES (align_up(sizeof(struct dump), PAGE_SIZE) / PAGE_SIZE)

/* ---- Its life ------------------------------------------------------------------------------- */

static bool stands(const struct dump *dump)
{
    const struct vm *vm = &dump->guest->vm;
    return vcpu_exits(&dump->guest->vcpu[0]) == dump->exits &&
           dump->guest->resets == dump->resets &&
           (vm_is_paused(vm) || __atomic_load_n(&vm->is_kept, __ATOMIC_SEQ_CST));
}

/* A pause that is somebody else's by now stays. */
void dump_end(struct monitor *monitor)
{
    struct dump *dump = monitor->dump;
    monitor->dump = NULL;
    if (dump == NULL)
        return;
    if (dump->resumes && stands(dump) && !gdb_server_holds(dump->guest))
        vm_resume(&dump->guest->vm);
    pages_free_owner(&monitor->machine->pages, DEBUG_PAGES_OWNER);
}

struct dump *dump_current(struct monitor *monitor, const struct guest *guest)
{
    if (monitor->dump != NULL && (monitor->dump->guest != guest || !stands(monitor->dump)))
        dump_end(monitor);
    return monitor->dump;
}

static void look(struct vcpu *vcpu, void *context)
{
    struct dump *dump = context;
    uint8_t fpu[CORE_FPU] ALIGNED(16);
    vmx_vcpu_get_registers(vcpu, &dump->core.registers);
    vmx_vcpu_get_paging(vcpu, &dump->paging);
    vmx_vcpu_get_fpu(vcpu, fpu);
    memcpy(dump->core.fpu, fpu, sizeof(fpu));
    dump->exits = vcpu_exits(vcpu);
    dump->resets = dump->guest->resets;
}

static enum status hold(struct dump *dump)
{
    struct guest *guest = dump->guest;
    enum status status = STATUS_OK;
    if (guest->vm.outcome == VM_RUNNING && !vm_is_paused(&guest->vm)) {
        dump->resumes = true;
        status = vm_pause(&guest->vm);
    }
    if (status == STATUS_OK)
        status = vcpu_call(&guest->vcpu[0], look, dump);
    if (status != STATUS_OK && dump->resumes)
        vm_resume(&guest->vm);
    return status;
}

enum status dump_begin(struct guest *guest)
{
    struct monitor *monitor = guest->monitor;
    hpa_t frame;
    enum status status = pages_alloc(&monitor->machine->pages, DUMP_PAGES, PAGE_SIZE, PAGE_HEAP,
                                     DEBUG_PAGES_OWNER, &frame);
    if (status != STATUS_OK)
        return status;
    monitor->dump = memset(phys_to_virt(frame), 0, sizeof(*monitor->dump));
    monitor->dump->guest = guest;
    status = hold(monitor->dump);
    if (status == STATUS_OK)
        core_dump_begin(&monitor->dump->core, &monitor->dump->paging, &guest->vm.mem);
    else
        dump_end(monitor);
    return status;
}

/* ---- Over the channel ----------------------------------------------------------------------- */

static void put_number(struct dump *dump, unsigned index, uint32_t value)
{
    memcpy(dump->record + 8 + 4 * index, &value, sizeof(value));
}

static void pump(struct monitor *monitor)
{
    struct dump *dump = monitor->dump;
    if (dump == NULL || dump->sent == dump->length)
        return;
    dump->sent += (uint32_t)split_write(monitor->split, LINK_DUMP, dump->record + dump->sent,
                                        dump->length - dump->sent);
    (void)split_has_room(monitor->split, LINK_DUMP, dump->length - dump->sent);
}

/* The payload is there already; so are the numbers. */
static void send(struct monitor *monitor, char type, uint32_t payload)
{
    struct dump *dump = monitor->dump;
    memcpy(dump->record, "TRDP", 4);
    dump->record[4] = (uint8_t)type;
    uint32_t crc = core_crc32(dump->record, DUMP_RECORD - sizeof(crc));
    memcpy(dump->record + DUMP_RECORD - sizeof(crc), &crc, sizeof(crc));
    dump->sent = 0;
    dump->length = DUMP_RECORD + payload;
    pump(monitor);
}

bool dump_offer(struct monitor *monitor)
{
    struct dump *dump = monitor->dump;
    const char *name = dump->guest->vm.name;
    uint32_t length = (uint32_t)strlen(name);
    if (!split_is_on(monitor->split))
        return false;
    memset(dump->record, 0, DUMP_RECORD);
    put_number(dump, 0, dump->core.id);
    put_number(dump, 1, (uint32_t)dump->core.size);
    put_number(dump, 2, (uint32_t)(dump->core.size >> 32));
    put_number(dump, 3, dump->core.blocks);
    put_number(dump, 4, length);
    memcpy(dump->record + DUMP_RECORD, name, length);
    send(monitor, 'B', length);
    return true;
}

/* The first block from number `from` on, or how far there is none. */
static void answer(struct monitor *monitor, uint32_t from)
{
    struct dump *dump = monitor->dump;
    struct core_piece *piece = &dump->piece;
    memset(dump->record, 0, DUMP_RECORD);
    if (core_dump_next(&dump->core, &from, DUMP_LOOKS, piece)) {
        put_number(dump, 0, piece->block);
        put_number(dump, 1, piece->size);
        put_number(dump, 2, piece->used);
        put_number(dump, 3, piece->crc);
        memcpy(dump->record + DUMP_RECORD, piece->bytes, piece->used);
        send(monitor, 'D', piece->used);
    } else {
        put_number(dump, 0, from);
        send(monitor, from < dump->core.blocks ? 'N' : 'E', 0);
    }
}

/* Requests come whole, or in pieces: 'G' and a number, or 'S'. The last one stands: the program has
 * given up those before it. */
static void receive(void *context, const uint8_t *bytes, size_t count)
{
    struct monitor *monitor = context;
    uint32_t from;
    bool asks = false;
    for (; count > 0; count--, bytes++) {
        if (monitor->dump_requested == 0 && *bytes == 'S')
            dump_end(monitor);
        if (monitor->dump_requested == 0 && *bytes != 'G')
            continue;
        monitor->dump_request[monitor->dump_requested++] = *bytes;
        if (monitor->dump_requested < DUMP_REQUEST)
            continue;
        monitor->dump_requested = 0;
        memcpy(&from, monitor->dump_request + 1, sizeof(from));
        asks = true;
    }
    if (asks && monitor->dump != NULL && dump_current(monitor, monitor->dump->guest) != NULL)
        answer(monitor, from);
}

static void ready(void *context)
{
    pump(context);
}

static size_t room(void *context)
{
    (void)context;
    return DUMP_REQUEST;
}

INIT void dump_start(struct monitor *monitor)
{
    struct link_user user = {room, receive, ready, monitor};
    if (monitor->split != NULL &&
        split_open(monitor->split, LINK_DUMP, "dump", PAGE_SIZE, &user) != STATUS_OK)
        log_warn("no memory for the channel of dumps");
}

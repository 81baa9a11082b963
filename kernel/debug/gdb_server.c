#include "kernel/debug/gdb_server.h"
#include "kernel/debug/debugger.h"
#include "kernel/debug/ended.h"

#include "kernel/core/fmt.h"
#include "kernel/core/mem.h"
#include "kernel/core/paging.h"
#include "kernel/core/smp.h"
#include "kernel/debug/gdb_stub.h"
#include "kernel/debug/split.h"
#include "kernel/vm/debug.h"

/* Of a channel: a few of gdb's packets. */
#define CHANNEL_SIZE 65536u
/* Free bytes of the line or of the channel, from which on a packet of output finds room. */
#define OUTPUT_ROOM 4096u

struct gdb_server {
    struct monitor *monitor;
    struct debug_shell *shell; /* for its commands; NULL: none */
    struct host_uart uart;
    struct serial_line line;
    bool shares; /* the console's line, by a channel of its own */
    struct gdb_target target;
    struct gdb_stub stub;
    struct debug_points *points[CONFIG_VMS_MAX]; /* of the guests, by number; NULL: none */
};

static struct guest *find(const void *context, unsigned number)
{
    const struct gdb_server *server = context;
    return number < server->monitor->guests ? server->monitor->guest[number] : NULL;
}

static struct vcpu *find_vcpu(void *context, unsigned number, unsigned vcpu)
{
    struct guest *guest = find(context, number);
    return guest != NULL && vcpu < guest->vm.vcpu_count ? guest->vm.vcpu[vcpu] : NULL;
}

static const char *get_name(void *context, unsigned number)
{
    const struct guest *guest = find(context, number);
    return guest != NULL ? guest->vm.name : NULL;
}

static bool is_alive(void *context, unsigned number)
{
    const struct guest *guest = find(context, number);
    return guest != NULL && __atomic_load_n(&guest->vm.outcome, __ATOMIC_SEQ_CST) == VM_RUNNING;
}

/* gdb has signals; what fits best. */
static uint8_t signal_of(enum vm_outcome outcome)
{
    return outcome == VM_TRIPLE_FAULT                        ? GDB_SIGNAL_SEGV
           : outcome == VM_TIMEOUT || outcome == VM_WATCHDOG ? GDB_SIGNAL_ALRM
           : ended_is_death(outcome)                         ? GDB_SIGNAL_ABRT
                                                             : GDB_SIGNAL_TRAP;
}

static struct gdb_end get_end(void *context, unsigned number)
{
    const struct guest *guest = find(context, number);
    if (guest == NULL)
        return (struct gdb_end){.is_there = false};
    const struct vm *vm = &guest->vm;
    /* Read first: where a new life begins, it goes last. */
    bool starts_again = __atomic_load_n(&guest->starts_again, __ATOMIC_SEQ_CST);
    bool is_over = __atomic_load_n(&guest->is_over, __ATOMIC_SEQ_CST) && !starts_again;
    enum vm_outcome outcome = (enum vm_outcome)__atomic_load_n(&vm->outcome, __ATOMIC_SEQ_CST);
    bool stands = outcome != VM_RUNNING && vm_is_paused(vm) &&
                  __atomic_load_n(&guest->vcpu[0].stands, __ATOMIC_SEQ_CST);
    return (struct gdb_end){
        .is_there = stands || __atomic_load_n(&vm->is_kept, __ATOMIC_SEQ_CST),
        .stands = stands,
        .is_dying = !stands && !is_over,
        .signal = signal_of(outcome),
        .code = (uint8_t)vm_exit_code(outcome, vm->code, guest->config->debug_exit_success),
    };
}

static unsigned count_vcpus(void *context, unsigned number)
{
    const struct guest *guest = find(context, number);
    return guest != NULL ? guest->vm.vcpu_count : 0;
}

static void disarm_step(struct vcpu *vcpu, void *context)
{
    (void)context;
    debug_disarm_step(vcpu);
}

/* Steps that are under way end with it: gdb does not go on with them. */
static enum status pause(void *context, unsigned number)
{
    struct guest *guest = find(context, number);
    if (guest == NULL)
        return ERR_NOT_FOUND;
    enum status status = vm_pause(&guest->vm);
    return status == STATUS_OK ? vcpu_call(guest->vm.vcpu[0], disarm_step, NULL) : status;
}

static void settle(struct vcpu *vcpu, void *context)
{
    (void)context;
    debug_settle_points(vcpu);
}

static void resume(void *context, unsigned number)
{
    struct gdb_server *server = context;
    struct guest *guest = find(context, number);
    if (guest == NULL)
        return;
    if (server->points[number] != NULL)
        (void)!vcpu_call(guest->vm.vcpu[0], settle, NULL);
    /* A stop that nobody took, while another guest was gdb's, is none that comes now. */
    __atomic_store_n(&guest->vmx_vcpu[0].debug.has_stopped, false, __ATOMIC_SEQ_CST);
    vm_resume(&guest->vm);
}

static const char *run_command(void *context, unsigned number, const char *line, size_t *length)
{
    struct gdb_server *server = context;
    if (server->shell == NULL)
        return NULL;
    server->shell->guest = find(context, number);
    return shell_execute(&server->shell->shell, line, length);
}

static const char *command_more(void *context, size_t *length)
{
    struct gdb_server *server = context;
    return shell_execute_more(&server->shell->shell, length);
}

/* ---- Registers ----------------------------------------------------------------------------- */

struct register_access {
    struct gdb_registers *read;
    const struct gdb_registers *write;
    enum status status;
};

static void access_registers(struct vcpu *vcpu, void *context)
{
    struct register_access *access = context;
    if (access->write != NULL) {
        uint8_t before[512] ALIGNED(16);
        vmx_vcpu_get_fpu(vcpu, before);
        access->status = vmx_vcpu_set_fpu(vcpu, access->write->fpu);
        if (access->status == STATUS_OK)
            access->status = debug_set_registers(vcpu, &access->write->cpu);
        if (access->status != STATUS_OK)
            (void)!vmx_vcpu_set_fpu(vcpu, before);
    } else {
        vmx_vcpu_get_registers(vcpu, &access->read->cpu);
        vmx_vcpu_get_fpu(vcpu, access->read->fpu);
    }
}

static enum status call_registers(struct vcpu *vcpu, struct register_access *access)
{
    enum status status = vcpu != NULL ? vcpu_call(vcpu, access_registers, access) : ERR_NOT_FOUND;
    return status == STATUS_OK ? access->status : status;
}

static enum status read_registers(void *context, unsigned number, unsigned vcpu,
                                  struct gdb_registers *registers)
{
    struct register_access access = {.read = registers};
    return call_registers(find_vcpu(context, number, vcpu), &access);
}

static enum status write_registers(void *context, unsigned number, unsigned vcpu,
                                   const struct gdb_registers *registers)
{
    struct register_access access = {.write = registers};
    return call_registers(find_vcpu(context, number, vcpu), &access);
}

static enum status access_msr(void *context, unsigned number, unsigned vcpu, uint32_t msr,
                              bool writes, uint64_t *value)
{
    struct vcpu *found = find_vcpu(context, number, vcpu);
    return found != NULL ? debug_access_msr(found, msr, writes, value) : ERR_NOT_FOUND;
}

/* ---- Memory -------------------------------------------------------------------------------- */

struct memory_access {
    bool is_physical;
    uint64_t address;
    uint8_t *to;
    const uint8_t *from; /* NULL: a read */
    size_t size, done;
    enum status status;
};

static enum status find_memory(struct vcpu *vcpu, const struct memory_access *access,
                               const struct paging *paging, uint8_t **host, uint64_t *available)
{
    struct exception exception;
    uint64_t address = access->address + access->done, in_page = PAGE_SIZE - address % PAGE_SIZE;
    gpa_t gpa = GPA(address);
    if (!access->is_physical) {
        uint64_t upper = address >> 47;
        if (paging->efer & EFER_LMA ? upper != 0 && upper != 0x1ffff : address >> 32 != 0)
            return ERR_RANGE;
        enum status status =
            guest_walk(paging, &vcpu->vm->mem, GVA(address), GUEST_WALK_PEEK, &gpa, &exception);
        if (status != STATUS_OK)
            return status;
    }
    *host = guest_mem_span(&vcpu->vm->mem, gpa, available);
    if (*host == NULL)
        return ERR_RANGE;
    *available = *available < in_page ? *available : in_page;
    return STATUS_OK;
}

static void access_memory(struct vcpu *vcpu, void *context)
{
    struct memory_access *access = context;
    struct paging paging;
    vmx_vcpu_get_paging(vcpu, &paging);
    while (access->done < access->size) {
        uint8_t *host;
        uint64_t piece;
        access->status = find_memory(vcpu, access, &paging, &host, &piece);
        if (access->status != STATUS_OK)
            return;
        if (piece > access->size - access->done)
            piece = access->size - access->done;
        if (access->from != NULL)
            memcpy(host, access->from + access->done, piece);
        else
            memcpy(access->to + access->done, host, piece);
        access->done += piece;
    }
}

static enum status call_memory(struct vcpu *vcpu, struct memory_access *access, size_t *done)
{
    enum status status = vcpu != NULL ? vcpu_call(vcpu, access_memory, access) : ERR_NOT_FOUND;
    *done = access->done;
    return status == STATUS_OK ? access->status : status;
}

static enum status read_memory(void *context, unsigned number, unsigned vcpu, bool is_physical,
                               uint64_t address, void *to, size_t size, size_t *done)
{
    struct memory_access access = {
        .is_physical = is_physical, .address = address, .to = to, .size = size};
    return call_memory(find_vcpu(context, number, vcpu), &access, done);
}

static enum status write_memory(void *context, unsigned number, unsigned vcpu, bool is_physical,
                                uint64_t address, const void *from, size_t size, size_t *done)
{
    struct memory_access access = {
        .is_physical = is_physical, .address = address, .from = from, .size = size};
    return call_memory(find_vcpu(context, number, vcpu), &access, done);
}

/* ---- Steps and points ---------------------------------------------------------------------- */

struct step_call {
    uint64_t start, end;
};

static void arm_step(struct vcpu *vcpu, void *context)
{
    const struct step_call *step = context;
    debug_arm_step(vcpu, step->start, step->end);
}

static enum status step(void *context, unsigned number, unsigned vcpu, uint64_t start, uint64_t end)
{
    struct step_call range = {start, end};
    struct vcpu *found = find_vcpu(context, number, vcpu);
    return found != NULL ? vcpu_call(found, arm_step, &range) : ERR_NOT_FOUND;
}

struct point_call {
    struct debug_points *points;
    struct debug_point point;
    bool removes;
    enum status status;
};

static void call_point(struct vcpu *vcpu, void *context)
{
    const struct vmx_vcpu *vmx = vcpu->backend;
    struct point_call *call = context;
    if (vmx->debug.points != call->points)
        debug_use_points(vcpu, call->points);
    call->status = call->removes ? debug_remove_point(vcpu, &call->point)
                                 : debug_add_point(vcpu, &call->point);
}

static enum status take_pages(void *context, uint64_t pages, hpa_t *base)
{
    return pages_alloc(context, pages, PAGE_SIZE, PAGE_HEAP, PAGE_OWNER_MONITOR, base);
}

static void give_pages(void *context, hpa_t base, uint64_t pages)
{
    (void)!pages_free(context, base, pages);
}

static void *map_pages(void *context, hpa_t frame)
{
    (void)context;
    return phys_to_virt(frame);
}

/* Of a guest's points, from the first one on; what they need more they take and give back. */
static struct debug_points *need_points(struct gdb_server *server, unsigned number)
{
    struct debug_points **points = &server->points[number];
    struct pages *pages = &server->monitor->machine->pages;
    hpa_t frame;
    STATIC_ASSERT(sizeof(**points) <= PAGE_SIZE, "it fits");
    if (*points == NULL && take_pages(pages, 1, &frame) == STATUS_OK) {
        *points = memset(phys_to_virt(frame), 0, sizeof(**points));
        (*points)->memory = (struct debug_memory){take_pages, give_pages, map_pages, pages};
    }
    return *points;
}

static enum status change_point(struct gdb_server *server, unsigned number, struct vcpu *vcpu,
                                struct point_call *call)
{
    static const uint8_t kinds[GDB_POINTS] = {DEBUG_EXECUTE, DEBUG_EXECUTE, DEBUG_WRITE, DEBUG_READ,
                                              DEBUG_ACCESS};
    if (vcpu == NULL)
        return ERR_NOT_FOUND;
    call->points = need_points(server, number);
    if (call->points == NULL)
        return ERR_NO_MEMORY;
    call->point.kind = kinds[call->point.type];
    if (call->point.kind == DEBUG_EXECUTE)
        call->point.size = 1; /* gdb names the kind of its INT3 there */
    enum status status = vcpu_call(vcpu, call_point, call);
    if (status == STATUS_OK && call->status == ERR_NO_MEMORY)
        log_warn("%s: no memory is left for a %s at 0x%lx of %lu bytes", vcpu->vm->name,
                 call->point.kind == DEBUG_EXECUTE ? "breakpoint" : "watchpoint",
                 call->point.row.key, call->point.size);
    return status == STATUS_OK ? call->status : status;
}

static enum status set_point(void *context, unsigned number, unsigned vcpu, enum gdb_point point,
                             bool is_physical, uint64_t address, uint64_t size)
{
    struct point_call call = {
        .point = {
            .row.key = address, .type = (uint8_t)point, .size = size, .is_physical = is_physical}};
    return change_point(context, number, find_vcpu(context, number, vcpu), &call);
}

static enum status clear_point(void *context, unsigned number, unsigned vcpu, enum gdb_point point,
                               bool is_physical, uint64_t address, uint64_t size)
{
    struct point_call call = {.point = {.row.key = address,
                                        .type = (uint8_t)point,
                                        .size = size,
                                        .is_physical = is_physical},
                              .removes = true};
    return change_point(context, number, find_vcpu(context, number, vcpu), &call);
}

static void drop_points(struct vcpu *vcpu, void *context)
{
    (void)context;
    debug_disarm_step(vcpu);
    debug_use_points(vcpu, NULL);
    debug_remove_catches(vcpu, true);
}

/* Where the guest is between two lives, or does not answer, it has no
 * points from the next one on. */
static void clear_points(void *context, unsigned number)
{
    struct guest *guest = find(context, number);
    if (guest != NULL)
        __atomic_store_n(&guest->vmx_vcpu[0].debug.forgets_at_start,
                         vcpu_call(&guest->vcpu[0], drop_points, NULL) != STATUS_OK,
                         __ATOMIC_SEQ_CST);
}

/* ---- Ends ---------------------------------------------------------------------------------- */

static void kill(void *context, unsigned number)
{
    struct guest *guest = find(context, number);
    if (guest != NULL)
        vm_stop(&guest->vm, VM_KILLED, 0);
}

/* It comes back to a pause. */
static void reset(void *context, unsigned number)
{
    struct guest *guest = find(context, number);
    if (guest == NULL || !is_alive(context, number) || vm_pause(&guest->vm) != STATUS_OK)
        return;
    vm_reset(&guest->vm);
}

/* Which tells of itself then: see debug_reset. */
static enum status restart(void *context, unsigned number)
{
    struct guest *guest = find(context, number);
    if (guest == NULL)
        return ERR_NOT_FOUND;
    bool *stops = &guest->vmx_vcpu[0].debug.stops_at_start;
    enum status status = STATUS_OK;
    if (is_alive(context, number)) {
        status = vm_pause(&guest->vm);
        *stops = status == STATUS_OK;
        if (*stops)
            vm_reset(&guest->vm);
        return status;
    }
    if (get_end(context, number).stands) { /* it goes on to its end, and from there */
        *stops = true;
        __atomic_store_n(&guest->starts_again, true, __ATOMIC_SEQ_CST);
        vm_stop(&guest->vm, VM_KILLED, 0);
        return STATUS_OK;
    }
    return guest_start(guest, true);
}

/* What gdb's users know the like of it by. */
static uint8_t signal_of_catch(const struct catch_event *event)
{
    static const uint8_t signals[] = {[VECTOR_DE] = GDB_SIGNAL_FPE,
                                      [VECTOR_UD] = GDB_SIGNAL_ILL,
                                      [VECTOR_SS] = GDB_SIGNAL_SEGV,
                                      [VECTOR_GP] = GDB_SIGNAL_SEGV,
                                      [VECTOR_PF] = GDB_SIGNAL_SEGV};
    if (event->kind == CATCH_TRIPLE_FAULT)
        return GDB_SIGNAL_ABRT;
    return event->kind == CATCH_EXCEPTION && event->number < ARRAY_SIZE(signals) &&
                   signals[event->number] != 0
               ? signals[event->number]
               : GDB_SIGNAL_TRAP;
}

static void tell_stop(struct gdb_server *server, struct guest *guest)
{
    struct vmx_debug *debug = &guest->vmx_vcpu[0].debug;
    if (!__atomic_exchange_n(&debug->has_stopped, false, __ATOMIC_SEQ_CST))
        return;
    const struct debug_stop *from = &debug->stop;
    bool is_watch = from->type >= GDB_POINT_WRITE;
    struct gdb_stop stop = {
        .signal = GDB_SIGNAL_TRAP,
        .has_point = from->reason == DEBUG_AT_POINT && (is_watch || from->is_at_rip),
        .point = (enum gdb_point)from->type,
        .address = from->address,
    };
    char said[CATCH_TEXT_MAX], text[CATCH_TEXT_MAX + 32];
    if (from->reason == DEBUG_CAUGHT) {
        catch_describe(&from->event, said);
        fmt_format(text, sizeof(text), "catch %u: %s\n", from->event.id, said);
        stop.text = text;
        stop.signal = signal_of_catch(&from->event);
    }
    gdb_stub_stopped(&server->stub, server->stub.guest, &stop);
}

/* A guest may have stopped, or ended. */
static void look(void *context)
{
    struct gdb_server *server = context;
    struct gdb_stub *stub = &server->stub;
    struct guest *guest = find(server, stub->guest);
    if (guest == NULL)
        return;
    tell_stop(server, guest);
    if (!stub->is_running || is_alive(server, stub->guest))
        return;
    gdb_stub_ended(stub, stub->guest);
    if (!server->shares)
        serial_line_drain(&server->line); /* the machine may be about to go off */
}

bool gdb_server_attends(const struct guest *guest)
{
    const struct gdb_server *server = guest->monitor->gdb;
    return server != NULL && server->stub.is_attached && find(server, server->stub.guest) == guest;
}

bool gdb_server_holds(const struct guest *guest)
{
    return gdb_server_attends(guest) && !guest->monitor->gdb->stub.is_running;
}

void gdb_server_tell_pause(const struct guest *guest)
{
    static const struct gdb_stop stop = {.signal = GDB_SIGNAL_INT,
                                         .text = "the monitor's shell has paused the guest\n"};
    struct gdb_server *server = guest->monitor->gdb;
    if (!gdb_server_attends(guest) || !server->stub.is_running)
        return;
    (void)!vcpu_call(guest->vm.vcpu[0], disarm_step, NULL);
    gdb_stub_stopped(&server->stub, server->stub.guest, &stop);
}

void gdb_server_release(const struct guest *guest)
{
    if (gdb_server_attends(guest))
        gdb_stub_detach(&guest->monitor->gdb->stub);
}

/* ---- The line ------------------------------------------------------------------------------ */

static void send(void *context, const void *bytes, size_t size)
{
    struct gdb_server *server = context;
    if (server->shares)
        (void)split_write(server->monitor->split, LINK_GDB, bytes, size);
    else
        serial_line_write(&server->line, bytes, size);
}

static bool has_room(void *context)
{
    struct gdb_server *server = context;
    return server->shares ? split_has_room(server->monitor->split, LINK_GDB, OUTPUT_ROOM)
                          : serial_line_has_room(&server->line);
}

static void go_on(void *context)
{
    struct gdb_server *server = context;
    gdb_stub_continue(&server->stub);
}

static void handle_input(void *context)
{
    struct gdb_server *server = context;
    uint8_t byte;
    while (serial_line_read(&server->line, &byte, 1) == 1)
        gdb_stub_input(&server->stub, byte);
}

static void receive(void *context, const uint8_t *bytes, size_t count)
{
    struct gdb_server *server = context;
    while (count-- > 0)
        gdb_stub_input(&server->stub, *bytes++);
}

/* What comes is taken at once. */
static size_t get_room(void *context)
{
    (void)context;
    return GDB_PACKET_MAX;
}

static INIT enum status open_channel(struct gdb_server *server)
{
    struct split *split = server->monitor->split;
    struct link_user user = {get_room, receive, go_on, server};
    return split != NULL ? split_open(split, LINK_GDB, "gdb", CHANNEL_SIZE, &user) : ERR_NOT_FOUND;
}

static INIT enum status open_line(struct gdb_server *server, uint16_t port)
{
    enum status status = host_uart_init(&server->uart, port);
    if (status != STATUS_OK)
        return status;
    serial_line_init(&server->line, &server->uart);
    server->line.limit = SERIAL_LINE_SIZE - OUTPUT_ROOM;
    server->line.input = handle_input;
    server->line.room = go_on;
    server->line.context = server;
    monitor_start_line(server->monitor, &server->line);
    return STATUS_OK;
}

INIT enum status gdb_server_start(struct monitor *monitor)
{
    const struct config *config = monitor->machine->config;
    struct gdb_server *server;
    hpa_t frame;
    if (config->gdb == 0)
        return STATUS_OK;
    enum status status =
        pages_alloc(&monitor->machine->pages, align_up(sizeof(*server), PAGE_SIZE) / PAGE_SIZE,
                    PAGE_SIZE, PAGE_HEAP, PAGE_OWNER_MONITOR, &frame);
    if (status != STATUS_OK)
        return status;
    server = memset(phys_to_virt(frame), 0, sizeof(*server));
    server->monitor = monitor;
    server->shell = debugger_shell_alone(monitor);
    server->target = (struct gdb_target){
        .name = get_name,
        .is_alive = is_alive,
        .end = get_end,
        .vcpus = count_vcpus,
        .pause = pause,
        .resume = resume,
        .read_registers = read_registers,
        .write_registers = write_registers,
        .access_msr = access_msr,
        .read_memory = read_memory,
        .write_memory = write_memory,
        .step = step,
        .set_point = set_point,
        .clear_point = clear_point,
        .clear_points = clear_points,
        .kill = kill,
        .reset = reset,
        .restart = restart,
        .command = run_command,
        .command_more = command_more,
        .has_room = has_room,
        .send = send,
        .context = server,
    };
    gdb_stub_init(&server->stub, &server->target);
    server->shares = config->gdb == config->console;
    smp_on_wake(look, server);
    monitor->gdb = server;
    return server->shares ? open_channel(server) : open_line(server, config->gdb);
}

/*
 * A task switch through hostile tables: descriptors, both TSSs and paging structures are the
 * input's. It ends; where it faults in the old task nothing has changed; otherwise the new task's
 * state is one that a processor could have come to.
 */
#include <string.h>

#include "kernel/vm/task_switch.h"
#include "tests/fuzz/fuzz.h"

#define RAM_PAGES 6u
#define RAM_SIZE (RAM_PAGES * PAGE_SIZE)
#define GDT 0x2000u /* behind a page directory and a page table */
#define OLD_TSS 0x3000u
#define NEW_TSS 0x4000u
#define GDT_ENTRIES 8u
#define LINEAR_PAGES 8u
#define TSS_BYTES 0x68u

/* A descriptor of the table: what it is, and how far it goes. */
struct descriptor {
    uint16_t access; /* as in struct segment */
    uint8_t limit, base;
};

/* The input; the rest of it fills RAM. */
struct input {
    uint8_t flags, source, selector, cpl;
    uint16_t gdt_limit, old_limit, rip, rsp;
    uint32_t rflags, error_code;
    uint8_t page[LINEAR_PAGES];
    struct descriptor descriptor[GDT_ENTRIES]; /* 1: the old TSS's, 2: the new one's */
    uint8_t tss[TSS_BYTES];                    /* the new one */
};

static uint8_t ram[RAM_SIZE] ALIGNED(4096), before[RAM_SIZE];

static uint64_t no_read(void *device, uint64_t offset, unsigned size)
{
    (void)device;
    REQUIRE(offset + size <= PAGE_SIZE);
    return offset;
}

static void no_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    (void)value;
    no_read(device, offset, size);
}

static const struct bus_ops device_ops = {no_read, no_write};

static void put(unsigned at, uint64_t value, unsigned size)
{
    memcpy(ram + at, &value, size);
}

static bool load_cr3(void *context, uint64_t cr3)
{
    ((struct guest_access *)context)->paging.cr3 = cr3;
    return true;
}

static void fill(const struct input *input, const uint8_t *data, size_t size)
{
    size_t done = size < RAM_SIZE ? size : RAM_SIZE;
    memset(ram, 0, RAM_SIZE);
    if (done != 0)
        memcpy(ram, data, done);
    /* A page directory, and its table; nothing else maps these two, so that the switch does not
     * change its own translations. */
    put(0, PAGE_SIZE | 7, 4);
    for (unsigned i = 0; i < LINEAR_PAGES; i++) {
        uint32_t page = (input->page[i] & 8) == 0 && i >= 2 ? i : 2 + input->page[i] % 6u;
        put(PAGE_SIZE + 4 * i, page << 12 | ((input->page[i] >> 4 & 7) ^ 7), 4);
    }
    for (unsigned i = 1; i < GDT_ENTRIES; i++) {
        const struct descriptor *from = &input->descriptor[i];
        uint64_t base = i == 1 ? OLD_TSS : i == 2 ? NEW_TSS : (uint64_t)from->base << 8;
        uint64_t limit = i <= 2 ? from->limit : (uint64_t)from->limit << 8 | 0xff;
        put(GDT + 8 * i, (limit & 0xffff) | base << 16 | (uint64_t)(from->access & 0xf0ff) << 40,
            8);
    }
    memcpy(ram + NEW_TSS, input->tss, TSS_BYTES);
}

static void make_state(const struct input *input, struct task_state *state, uint64_t *gpr)
{
    memset(state, 0, sizeof(*state));
    state->gpr = gpr;
    state->cpu.rip = input->rip;
    state->cpu.rsp = gpr[GPR_RSP] = input->rsp;
    state->cpu.rflags = (input->rflags & 0x3f7fd7) | RFLAGS_FIXED;
    state->cpu.cpl = (state->cpu.rflags & RFLAGS_VM) != 0 ? 3 : input->cpl & 3;
    state->cpu.cr0 = CR0_PE | ((input->flags & 1) != 0 ? CR0_PG | CR0_WP : 0);
    for (unsigned i = 0; i <= SEG_GS; i++)
        state->cpu.segment[i] =
            (struct segment){.limit = 0xffffffff, .access = 0xc093, .selector = (uint16_t)(8 * i)};
    state->cpu.segment[SEG_LDTR] = (struct segment){.access = SEGMENT_UNUSABLE};
    state->cpu.segment[SEG_TR] = (struct segment){.base = OLD_TSS,
                                                  .limit = input->old_limit,
                                                  .access = (input->flags & 2) != 0 ? 0x83 : 0x8b,
                                                  .selector = 8};
    state->cpu.gdtr = (struct deliver_table){GDT, input->gdt_limit};
}

/* Only accessed and dirty flags of paging structures. */
static void require_only_flags(void)
{
    for (unsigned i = 0; i < RAM_SIZE; i++)
        if (ram[i] != before[i])
            REQUIRE(i < GDT && i % 4 == 0 && ((ram[i] ^ before[i]) & ~0x60) == 0);
}

static void require_task(const struct task_state *state, bool is_done)
{
    const struct deliver_state *cpu = &state->cpu;
    const struct segment *cs = &cpu->segment[SEG_CS], *ss = &cpu->segment[SEG_SS];
    REQUIRE((cpu->segment[SEG_TR].access & (SEGMENT_TYPE_MASK & ~8u)) == 3); /* busy */
    REQUIRE((cpu->rflags & ~0x3f7fd7ull) == 0 && (cpu->rflags & RFLAGS_FIXED) != 0);
    REQUIRE(cpu->cpl == ((cpu->rflags & RFLAGS_VM) != 0 ? 3 : cs->selector & 3));
    for (unsigned i = 0; i < GPR_R8; i++)
        REQUIRE(state->gpr[i] <= UINT32_MAX);
    if (!is_done || (cpu->rflags & RFLAGS_VM) != 0)
        return;
    REQUIRE(cpu->rip <= UINT32_MAX && (cs->access & 0x98) == 0x98); /* present code */
    REQUIRE((ss->access & 0x9a) == 0x92 && SEGMENT_DPL(ss->access) == cpu->cpl);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct guest_access access;
    static struct bus bus;
    struct guest_mem mem = {0};
    struct task_state state, old;
    struct exception exception = {0};
    struct input input;
    uint64_t gpr[GPR_COUNT] = {0}, old_gpr[GPR_COUNT];
    if (size < sizeof(input))
        return 0;
    memcpy(&input, data, sizeof(input));
    fill(&input, data + sizeof(input), size - sizeof(input));
    make_state(&input, &state, gpr);
    memset(&bus, 0, sizeof(bus));
    REQUIRE(guest_mem_add(&mem, GPA(0), RAM_SIZE, ram) == STATUS_OK);
    REQUIRE(bus_add(&bus, BUS_MMIO, RAM_SIZE + PAGE_SIZE, PAGE_SIZE, &device_ops, NULL) == 0);
    guest_access_init(&access, &mem, &bus);
    access.paging = (struct paging){.maxphyaddr = 40, .bus = &bus};
    struct task_switch_ports ports = {load_cr3, &access};
    struct task_switch_request request = {.source = (enum task_switch_source)(input.source % 4),
                                          .selector = input.selector,
                                          .external = (input.flags & 4) != 0,
                                          .has_error_code = (input.flags & 8) != 0 &&
                                                            input.source % 4 == TASK_SWITCH_GATE,
                                          .error_code = input.error_code};
    old = state;
    memcpy(old_gpr, gpr, sizeof(gpr));
    memcpy(before, ram, RAM_SIZE);
    enum task_switch_result result = task_switch(&access, &ports, &state, &request, &exception);
    bool is_fault = result == TASK_SWITCH_FAULT || result == TASK_SWITCH_NEW_FAULT;
    REQUIRE(!is_fault || exception.vector < 32);
    if (result == TASK_SWITCH_FAULT || result == TASK_SWITCH_AGAIN) {
        REQUIRE(memcmp(&old, &state, sizeof(old)) == 0 && memcmp(old_gpr, gpr, sizeof(gpr)) == 0);
        require_only_flags();
        return 0;
    }
    require_task(&state, !is_fault);
    return 0;
}

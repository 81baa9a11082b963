/*
 * The delivery of an event through hostile tables: gate, descriptors, TSS, stack and paging
 * structures are the input's. It ends, writes nothing but its frame and flags in tables, changes
 * nothing where it faults, and where it does not the handler's state is one that a processor could
 * have come to.
 */
#include <string.h>

#include "kernel/vm/deliver.h"
#include "tests/fuzz/fuzz.h"

#define RAM_PAGES 8u
#define RAM_SIZE (RAM_PAGES * PAGE_SIZE)
#define GDT 0x4000u /* behind four pages of paging structures */
#define IDT 0x5000u
#define TSS 0x6000u
#define GDT_ENTRIES 8u
#define LINEAR_PAGES 16u

/* A descriptor of the table: what it is, and how far it goes. */
struct descriptor {
    uint16_t access; /* as in struct segment */
    uint8_t limit, base;
};

/* The input; the rest of it fills RAM. */
struct input {
    uint8_t mode; /* 0: real, 1: virtual-8086, 2: protected, 3: IA-32e */
    uint8_t cpl, type, vector, length, flags;
    uint8_t gate_type, gate_selector, gate_ist;
    uint8_t stack_selector;
    uint16_t rip, rsp, gate_rip, stack;
    uint32_t rflags;
    struct descriptor descriptor[GDT_ENTRIES];
    uint8_t page[LINEAR_PAGES]; /* what each linear page maps: a page number and rights */
    uint16_t gdt_limit, idt_limit, tss_limit;
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

/* 4-level tables in pages 0 to 3 for the first 16 linear pages; half of them map themselves. */
static void make_paging(const struct input *input)
{
    for (unsigned level = 0; level < 3; level++)
        put(level * PAGE_SIZE, (level + 1) * PAGE_SIZE | 7, 8);
    for (unsigned i = 0; i < LINEAR_PAGES; i++) {
        uint64_t page = (input->page[i] & 8) != 0 ? input->page[i] % 16u : i;
        put(3 * PAGE_SIZE + 8 * i, page << 12 | ((input->page[i] >> 4 & 7) ^ 7), 8);
    }
}

static void make_tables(const struct input *input, bool is_long)
{
    for (unsigned i = 1; i < GDT_ENTRIES; i++) {
        const struct descriptor *from = &input->descriptor[i];
        uint64_t base = (uint64_t)from->base << 8, limit = (uint64_t)from->limit << 8 | 0xff;
        put(GDT + 8 * i, (limit & 0xffff) | base << 16 | (uint64_t)(from->access & 0xf0ff) << 40,
            8);
    }
    unsigned at = IDT + input->vector * (is_long ? 16u : 8u);
    uint64_t gate = input->gate_rip | (uint64_t)input->gate_selector << 16 |
                    (uint64_t)(input->gate_ist & 7) << 32 | (uint64_t)input->gate_type << 40;
    if (at + 16 <= IDT + PAGE_SIZE) {
        put(at, gate, 8);
        if (is_long)
            put(at + 8, (input->gate_ist & 0x10) != 0 ? 0xffffffff : 0, 8);
    }
    for (unsigned i = 0; i < 3; i++) /* inner stacks, of both formats */
        put(TSS + 4 + 8 * i, input->stack | (uint64_t)input->stack_selector << (is_long ? 0 : 32),
            8);
}

/* Pages with the input's bytes, over and over, and the tables above them. */
static void fill(const struct input *input, const uint8_t *data, size_t size, bool is_long)
{
    size_t done = size < RAM_SIZE ? size : RAM_SIZE;
    memset(ram, 0, RAM_SIZE);
    if (done != 0)
        memcpy(ram, data, done);
    for (size_t chunk; done != 0 && done < RAM_SIZE; done += chunk) {
        chunk = done < RAM_SIZE - done ? done : RAM_SIZE - done;
        memcpy(ram + done, ram, chunk);
    }
    if (is_long)
        make_paging(input);
    make_tables(input, is_long);
}

static struct segment segment_of(const struct input *input, unsigned index, uint16_t selector)
{
    const struct descriptor *from = &input->descriptor[index];
    return (struct segment){.base = (uint64_t)from->base << 8,
                            .limit = (uint32_t)from->limit << 8 | 0xff,
                            .access = from->access & 0xf0ffu,
                            .selector = selector};
}

static void make_state(const struct input *input, unsigned mode, struct deliver_state *state)
{
    *state = (struct deliver_state){.rip = input->rip,
                                    .rsp = input->rsp % (LINEAR_PAGES * PAGE_SIZE),
                                    .rflags = (input->rflags & 0x3f7fd7) | RFLAGS_FIXED,
                                    .cpl = mode == 0   ? 0
                                           : mode == 1 ? 3
                                                       : input->cpl & 3};
    state->rflags &= ~RFLAGS_VM;
    state->rflags |= mode == 1 ? RFLAGS_VM : 0;
    state->cr0 = (mode != 0 ? CR0_PE : 0) | (mode == 3 ? CR0_PG : 0) |
                 ((input->flags & 1) != 0 ? CR0_WP | CR0_AM : 0);
    for (unsigned i = 0; i <= SEG_GS; i++)
        state->segment[i] = segment_of(input, i, (uint16_t)(8 * i | state->cpl));
    state->segment[SEG_LDTR] = (struct segment){.access = SEGMENT_UNUSABLE};
    if ((input->flags & 2) != 0)
        state->segment[SEG_LDTR] = (struct segment){.base = GDT, .limit = 0x3f, .access = 0x82};
    state->segment[SEG_TR] = (struct segment){
        .base = TSS, .limit = input->tss_limit, .access = (input->flags & 4) != 0 ? 0x83 : 0x8b};
    state->gdtr = (struct deliver_table){GDT, input->gdt_limit};
    state->idtr = (struct deliver_table){IDT, input->idt_limit};
}

static struct event make_event(const struct input *input)
{
    static const uint8_t types[] = {EVENT_EXTERNAL_INTERRUPT, EVENT_HARDWARE_EXCEPTION,
                                    EVENT_SOFTWARE_INTERRUPT, EVENT_SOFTWARE_EXCEPTION};
    struct event event = {.valid = true,
                          .type = types[input->type % 4],
                          .vector = input->vector,
                          .instruction_length = input->length % 16,
                          .error_code = input->rip};
    event.has_error_code = event.type == EVENT_HARDWARE_EXCEPTION && (input->flags & 8) != 0;
    return event;
}

/* Accessed and dirty flags of paging structures, and accessed flags of descriptors. */
static void require_only_flags(bool is_long)
{
    if (memcmp(ram, before, RAM_SIZE) == 0)
        return;
    for (unsigned i = 0; i < RAM_SIZE; i++) {
        uint8_t changed = ram[i] ^ before[i];
        bool is_paging = is_long && i < GDT && i % 8 == 0;
        REQUIRE((changed & ~(is_paging ? 0x60 : 0)) == 0);
    }
}

/* What holds of every handler's first instruction. */
static void require_handler(const struct deliver_state *old, const struct deliver_state *new,
                            const struct event *event, unsigned mode)
{
    const struct segment *cs = &new->segment[SEG_CS], *ss = &new->segment[SEG_SS];
    REQUIRE((new->rflags &(RFLAGS_TF | RFLAGS_RF)) == 0);
    REQUIRE(((new->rflags ^ old->rflags) & 0x8d5) == 0); /* the status flags */
    REQUIRE(new->cr0 == old->cr0 &&new->cpl <= old->cpl);
    if (mode == 0) {
        REQUIRE(cs->base == (uint64_t)cs->selector << 4 && new->rip <= 0xffff);
        return;
    }
    if ((new->rflags &RFLAGS_VM) != 0) { /* redirected to the program's own handler */
        REQUIRE(mode == 1 && event->type == EVENT_SOFTWARE_INTERRUPT);
        return;
    }
    REQUIRE((cs->selector & 3) == new->cpl &&
            (cs->access & (SEGMENT_P | SEGMENT_S)) == (SEGMENT_P | SEGMENT_S));
    REQUIRE((cs->access & 8) != 0 && SEGMENT_DPL(cs->access) <= old->cpl);
    if (mode == 3) {
        REQUIRE(is_canonical(new->rip) && is_canonical(new->rsp) && (cs->access & SEGMENT_L) != 0);
        return;
    }
    REQUIRE(new->rip <= cs->limit);
    if (new->cpl != old->cpl)
        REQUIRE(SEGMENT_DPL(ss->access) == new->cpl && (ss->selector & 3) == new->cpl &&
                (ss->access & SEGMENT_P) != 0);
}

/* A program may call a gate only that its privilege allows. */
static void require_gate(const struct input *input, const struct deliver_state *old,
                         const struct event *event, unsigned mode)
{
    bool is_software =
        event->type == EVENT_SOFTWARE_INTERRUPT || event->type == EVENT_SOFTWARE_EXCEPTION;
    if (mode < 2)
        return;
    uint32_t size = mode == 3 ? 16 : 8;
    REQUIRE(event->vector * size + size - 1 <= old->idtr.limit);
    /* A page of the tables may be mapped elsewhere, and the gate be another. */
    if (mode == 2 && IDT + event->vector * size + 8 <= IDT + PAGE_SIZE)
        REQUIRE((input->gate_type & 0x80) != 0 &&
                (!is_software || (input->gate_type >> 5 & 3) >= old->cpl));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct guest_access access;
    static struct bus bus;
    struct guest_mem mem = {0};
    struct deliver_state state, old;
    struct exception exception = {0};
    struct input input;
    if (size < sizeof(input))
        return 0;
    memcpy(&input, data, sizeof(input));
    unsigned mode = input.mode % 4;
    fill(&input, data + sizeof(input), size - sizeof(input), mode == 3);
    make_state(&input, mode, &state);
    struct event event = make_event(&input);
    memset(&bus, 0, sizeof(bus));
    REQUIRE(guest_mem_add(&mem, GPA(0), RAM_SIZE, ram) == STATUS_OK);
    REQUIRE(bus_add(&bus, BUS_MMIO, RAM_SIZE + PAGE_SIZE, PAGE_SIZE, &device_ops, NULL) == 0);
    guest_access_init(&access, &mem, &bus);
    access.paging = (struct paging){.cr4 = (mode == 3 ? CR4_PAE : 0) |
                                           ((input.flags & 0x10) != 0 ? CR4_VME : 0) |
                                           ((input.flags & 0x20) != 0 ? CR4_SMAP : 0),
                                    .efer = mode == 3 ? EFER_LMA : 0,
                                    .maxphyaddr = 40,
                                    .bus = &bus};
    old = state;
    memcpy(before, ram, RAM_SIZE);
    enum deliver_result result = deliver_event(&access, &state, &event, &exception);
    if (result == DELIVER_DONE) {
        require_handler(&old, &state, &event, mode);
        require_gate(&input, &old, &event, mode);
        return 0;
    }
    REQUIRE(memcmp(&old, &state, sizeof(old)) == 0);
    REQUIRE(result != DELIVER_TASK_GATE || mode == 1 || mode == 2);
    if (result == DELIVER_FAULT)
        REQUIRE(exception.vector < 32 && (mode != 0 || !exception.has_error_code));
    if (result == DELIVER_FAULT && exception.vector != VECTOR_PF)
        require_only_flags(mode == 3);
    return 0;
}

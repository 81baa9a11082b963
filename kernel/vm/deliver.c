#include "kernel/vm/deliver.h"

/* SDM: Error Code. */
#define ERROR_EXT BIT(0)
#define ERROR_IDT BIT(1)

/* SDM: Gate Descriptors; System Descriptor Types. Bit 0: a trap gate; bit 3: not of 16 bits. */
#define GATE_TASK 5
#define GATE_INTERRUPT_16 6
#define GATE_INTERRUPT 14
#define GATE_IS_TRAP 1u
#define GATE_IS_WIDE 8u

#define TYPE_ACCESSED BIT(0)
#define TYPE_CODE BIT(3)
#define TYPE_CONFORMING BIT(2)
#define TYPE_WRITABLE BIT(1)
#define TYPE_EXPAND_DOWN BIT(2)
#define TSS_IS_WIDE BIT(3)

/* SDM: Task-State Segment (TSS): where the stack pointers begin, and the interrupt redirection bit
 * map, which ends where the I/O permission bit map begins. */
#define TSS16_STACKS 2
#define TSS_STACKS 4
#define TSS64_IST 28
#define TSS_IO_MAP_BASE 0x66
#define REDIRECTION_BYTES 32

#define RFLAGS_IOPL_ALL MASK(13, 12)
#define RFLAGS_VIF BIT(19)

/* GS, FS, DS, ES, SS, ESP, EFLAGS, CS, EIP, error code. */
#define FRAME_MAX 10

/* A delivery on its way. */
struct delivery {
    struct guest_access *access;
    const struct deliver_state *old;
    const struct event *event;
    struct exception *exception;
    struct deliver_state new; /* becomes the state at the end */
    uint64_t touched[2];      /* descriptors whose accessed flag is to be set; 0: none */
    uint64_t frame[FRAME_MAX];
    uint64_t place[FRAME_MAX]; /* linear address of each */
    unsigned count;
    unsigned size;     /* of each: 2, 4 or 8 bytes */
    uint32_t external; /* ERROR_EXT or 0 */
    uint32_t stack_error;
    uint8_t gate; /* its type */
    bool long_mode;
};

static enum status fault(const struct delivery *delivery, enum vector vector, uint32_t code)
{
    *delivery->exception = (struct exception){.vector = (uint8_t)vector,
                                              .has_error_code = delivery->old->cr0 & CR0_PE,
                                              .error_code = code | delivery->external};
    return ERR_FAULT;
}

static enum status fault_selector(const struct delivery *delivery, enum vector vector,
                                  uint16_t selector)
{
    return fault(delivery, vector, selector & 0xfffcu);
}

/* The processor's own accesses to its tables have a supervisor's rights, which SMAP does not let
 * RFLAGS.AC widen. SDM: Access Rights. */
static void as_system(const struct delivery *delivery)
{
    guest_access_begin(delivery->access, delivery->old->cr0, delivery->old->rflags & ~RFLAGS_AC, 0,
                       delivery->long_mode);
}

static void as_handler(const struct delivery *delivery)
{
    guest_access_begin(delivery->access, delivery->old->cr0, delivery->old->rflags,
                       delivery->new.cpl, delivery->long_mode);
}

/* Adds an offset to a table's base; a sum that is not canonical is #GP. */
static enum status table_address(const struct delivery *delivery, uint64_t base, uint64_t offset,
                                 uint64_t *linear)
{
    *linear = base + offset;
    if (!delivery->long_mode)
        *linear &= 0xffffffff;
    else if (!is_canonical(*linear))
        return fault(delivery, VECTOR_GP, 0);
    return STATUS_OK;
}

static enum status read_table(const struct delivery *delivery, uint64_t base, uint64_t offset,
                              unsigned size, uint64_t *value)
{
    uint64_t linear;
    enum status status = table_address(delivery, base, offset, &linear);
    if (status != STATUS_OK)
        return status;
    return guest_access_ops.load(delivery->access, linear, size, false, value, delivery->exception);
}

/* ---- The stack ---- */

static uint64_t stack_mask(const struct delivery *delivery)
{
    if (delivery->long_mode)
        return ~0ull;
    return delivery->new.segment[SEG_SS].access &SEGMENT_DB ? 0xffffffff : 0xffff;
}

static enum status place_linear(struct delivery *delivery, uint64_t offset, uint64_t *linear)
{
    const struct segment *ss = &delivery->new.segment[SEG_SS];
    unsigned size = delivery->size;
    *linear = offset;
    if (delivery->long_mode) {
        if (!is_canonical(offset) || !is_canonical(offset + size - 1))
            return fault(delivery, VECTOR_SS, delivery->stack_error);
    } else {
        if (!segment_holds(ss, offset, size))
            return fault(delivery, VECTOR_SS, delivery->stack_error);
        *linear = (ss->base + offset) & 0xffffffff;
    }
    const uint64_t checks = delivery->old->rflags & RFLAGS_AC;
    if (delivery->new.cpl == 3 && checks && delivery->old->cr0 &CR0_AM &&
        !is_aligned(*linear, size)) {
        *delivery->exception = (struct exception){.vector = VECTOR_AC, .has_error_code = true};
        return ERR_FAULT;
    }
    return STATUS_OK;
}

/* Finds a place for every value of the frame and looks whether it can be written, in the order of
 * the pushes. */
static enum status prepare_frame(struct delivery *delivery)
{
    uint64_t mask = stack_mask(delivery), top = delivery->new.rsp;
    as_handler(delivery);
    for (unsigned i = 0; i < delivery->count; i++) {
        uint64_t offset = (top - (uint64_t)(i + 1) * delivery->size) & mask;
        enum status status = place_linear(delivery, offset, &delivery->place[i]);
        if (status == STATUS_OK)
            status = guest_access_ops.prepare(delivery->access, delivery->place[i], delivery->size,
                                              true, delivery->exception);
        if (status != STATUS_OK)
            return status;
    }
    uint64_t end = top - (uint64_t)delivery->count * delivery->size;
    delivery->new.rsp = (top & ~mask) | (end & mask);
    return STATUS_OK;
}

static enum status write_frame(struct delivery *delivery)
{
    const struct emulate_ops *ops =
        delivery->access->watch == NULL ? &guest_access_ops : &guest_access_watched_ops;
    enum status status = STATUS_OK;
    as_handler(delivery);
    for (unsigned i = 0; i < delivery->count && status == STATUS_OK; i++) {
        uint64_t value = delivery->frame[i] & bits_size_mask(delivery->size);
        status = ops->store(delivery->access, delivery->place[i], delivery->size, &value,
                            delivery->exception);
    }
    return status;
}

static void push(struct delivery *delivery, uint64_t value)
{
    delivery->frame[delivery->count++] = value;
}

/* Flags and return address, and the error code if there is one. */
static void push_return(struct delivery *delivery, uint64_t rflags)
{
    const struct deliver_state *old = delivery->old;
    const struct event *event = delivery->event;
    uint64_t rip = old->rip;
    if (event->type >= EVENT_SOFTWARE_INTERRUPT)
        rip += event->instruction_length;
    push(delivery, rflags | (event_sets_rf(event) ? RFLAGS_RF : 0));
    push(delivery, old->segment[SEG_CS].selector);
    push(delivery, rip);
    if (event->has_error_code && old->cr0 & CR0_PE)
        push(delivery, event->error_code);
}

/* ---- Descriptors ---- */

static void parse(uint64_t descriptor, uint16_t selector, struct segment *segment)
{
    segment->selector = selector;
    segment->access = (uint32_t)(descriptor >> 40) & 0xf0ff;
    segment->base = bits_get(descriptor, 39, 16) | bits_get(descriptor, 63, 56) << 24;
    segment->limit = (uint32_t)(bits_get(descriptor, 15, 0) | bits_get(descriptor, 51, 48) << 16);
    if (segment->access & SEGMENT_G)
        segment->limit = segment->limit << 12 | 0xfff;
}

/* Reads the descriptor of selector; outside its table's limit: vector, with the selector. */
static enum status read_descriptor(struct delivery *delivery, uint16_t selector, enum vector vector,
                                   struct segment *segment, uint64_t *touched)
{
    const struct segment *ldtr = &delivery->old->segment[SEG_LDTR];
    bool local = selector & 4;
    uint64_t base = local ? ldtr->base : delivery->old->gdtr.base, descriptor;
    uint32_t limit = local ? ldtr->limit : delivery->old->gdtr.limit, offset = selector & 0xfff8u;
    if ((local && ldtr->access & SEGMENT_UNUSABLE) || offset + 7 > limit)
        return fault_selector(delivery, vector, selector);
    enum status status = read_table(delivery, base, offset, 8, &descriptor);
    if (status != STATUS_OK)
        return status;
    parse(descriptor, selector, segment);
    if (segment->access & SEGMENT_S && !(segment->access & TYPE_ACCESSED)) {
        status = table_address(delivery, base, offset + 4, touched);
        segment->access |= TYPE_ACCESSED;
    }
    return status;
}

/* Sets the accessed flag of a descriptor whose upper half is at linear. */
static enum status touch(const struct delivery *delivery, uint64_t linear)
{
    uint64_t old = 0;
    bool swapped = true;
    enum status status =
        guest_access_ops.load(delivery->access, linear, 4, true, &old, delivery->exception);
    if (status != STATUS_OK)
        return status;
    uint64_t new = old | TYPE_ACCESSED << 8;
    status = guest_access_ops.compare_exchange(delivery->access, linear, 4, &old, &new, &swapped,
                                               delivery->exception);
    return status == STATUS_OK && !swapped ? ERR_BUSY : status;
}

static enum status touch_descriptors(const struct delivery *delivery)
{
    enum status status = STATUS_OK;
    as_system(delivery);
    for (unsigned i = 0; i < ARRAY_SIZE(delivery->touched) && status == STATUS_OK; i++)
        if (delivery->touched[i] != 0)
            status = touch(delivery, delivery->touched[i]);
    return status;
}

/* The gate of the vector; its handler goes to new.rip, its selector and IST index are returned. */
static enum status read_gate(struct delivery *delivery, uint16_t *selector, unsigned *ist)
{
    const struct event *event = delivery->event;
    unsigned size = delivery->long_mode ? 16 : 8;
    uint32_t code = event->vector * 8u | ERROR_IDT, offset = event->vector * size;
    uint64_t low, high = 0;
    if (offset + size - 1 > delivery->old->idtr.limit)
        return fault(delivery, VECTOR_GP, code);
    enum status status = read_table(delivery, delivery->old->idtr.base, offset, 8, &low);
    if (status == STATUS_OK && delivery->long_mode)
        status = read_table(delivery, delivery->old->idtr.base, offset + 8, 8, &high);
    if (status != STATUS_OK)
        return status;
    unsigned type = (unsigned)bits_get(low, 44, 40); /* with S, which is 0 */
    bool known = (type & ~GATE_IS_TRAP) == GATE_INTERRUPT ||
                 (!delivery->long_mode &&
                  ((type & ~GATE_IS_TRAP) == GATE_INTERRUPT_16 || type == GATE_TASK));
    if (!known)
        return fault(delivery, VECTOR_GP, code);
    bool software =
        event->type == EVENT_SOFTWARE_INTERRUPT || event->type == EVENT_SOFTWARE_EXCEPTION;
#ifdef PLANTED_BUG_DELIVER /* for the fuzzer's own test */
    software = false;
#endif
    if (software && bits_get(low, 46, 45) < delivery->old->cpl)
        return fault(delivery, VECTOR_GP, code);
    if (!(low & BIT(47)))
        return fault(delivery, VECTOR_NP, code);
    if (type == GATE_TASK) {
        delivery->exception->error_code = (uint32_t)bits_get(low, 31, 16);
        return ERR_UNSUPPORTED;
    }
    delivery->gate = (uint8_t)type;
    delivery->new.rip = bits_get(low, 15, 0);
    if (type & GATE_IS_WIDE)
        delivery->new.rip |= bits_get(low, 63, 48) << 16;
    if (delivery->long_mode)
        delivery->new.rip |= high << 32;
    *selector = (uint16_t)bits_get(low, 31, 16);
    *ist = delivery->long_mode ? (unsigned)bits_get(low, 34, 32) : 0;
    return STATUS_OK;
}

/* The handler's code segment, and with it the new privilege level. */
static enum status load_code(struct delivery *delivery, uint16_t selector)
{
    struct segment *cs = &delivery->new.segment[SEG_CS];
    uint8_t cpl = delivery->old->cpl;
    if ((selector & 0xfffc) == 0)
        return fault(delivery, VECTOR_GP, 0);
    enum status status = read_descriptor(delivery, selector, VECTOR_GP, cs, &delivery->touched[0]);
    if (status != STATUS_OK)
        return status;
    unsigned dpl = SEGMENT_DPL(cs->access);
    bool conforming = cs->access & TYPE_CONFORMING;
    if (!(cs->access & SEGMENT_S) || !(cs->access & TYPE_CODE) || dpl > cpl)
        return fault_selector(delivery, VECTOR_GP, selector);
    if (delivery->long_mode && (cs->access & (SEGMENT_L | SEGMENT_DB)) != SEGMENT_L)
        return fault_selector(delivery, VECTOR_GP, selector);
    if (!(cs->access & SEGMENT_P))
        return fault_selector(delivery, VECTOR_NP, selector);
    if (delivery->old->rflags & RFLAGS_VM && (conforming || dpl != 0))
        return fault_selector(delivery, VECTOR_GP, selector);
    delivery->new.cpl = conforming ? cpl : (uint8_t)dpl;
    cs->selector = (uint16_t)((selector & 0xfffcu) | delivery->new.cpl);
    return STATUS_OK;
}

/* ---- The handler's stack ---- */

/* size bytes at offset of the TSS, all of it within the limit up to offset + last. */
static enum status read_tss(const struct delivery *delivery, uint32_t offset, unsigned last,
                            unsigned size, uint64_t *value)
{
    const struct segment *tr = &delivery->old->segment[SEG_TR];
    if (offset + last > tr->limit)
        return fault_selector(delivery, VECTOR_TS, tr->selector);
    return read_table(delivery, tr->base, offset, size, value);
}

/* IA-32e mode: RSP from the TSS where the level changes or an IST entry is asked for. */
static enum status choose_stack64(struct delivery *delivery, unsigned ist)
{
    struct deliver_state *new = &delivery->new;
    bool inner = new->cpl < delivery->old->cpl;
    if (inner || ist != 0) {
        uint32_t offset = ist != 0 ? TSS64_IST + 8 * ist : TSS_STACKS + 8u * new->cpl;
        enum status status = read_tss(delivery, offset, 7, 8, &new->rsp);
        if (status != STATUS_OK)
            return status;
    }
    if (inner)
        new->segment[SEG_SS] = (struct segment){
            .selector = new->cpl, .access = (uint32_t)(SEGMENT_UNUSABLE | new->cpl << 5)};
    new->rsp &= ~0xfull;
    return STATUS_OK;
}

/* SS of an inner level: SDM's checks, in its order. */
static enum status load_stack(struct delivery *delivery, uint16_t selector)
{
    struct segment *ss = &delivery->new.segment[SEG_SS];
    uint8_t cpl = delivery->new.cpl;
    if ((selector & 0xfffc) == 0)
        return fault(delivery, VECTOR_TS, 0);
    enum status status = read_descriptor(delivery, selector, VECTOR_TS, ss, &delivery->touched[1]);
    if (status != STATUS_OK)
        return status;
    if ((selector & 3) != cpl || SEGMENT_DPL(ss->access) != cpl || !(ss->access & SEGMENT_S) ||
        (ss->access & (TYPE_CODE | TYPE_WRITABLE)) != TYPE_WRITABLE)
        return fault_selector(delivery, VECTOR_TS, selector);
    if (!(ss->access & SEGMENT_P))
        return fault_selector(delivery, VECTOR_SS, selector);
    delivery->stack_error = selector & 0xfffcu;
    return STATUS_OK;
}

static enum status choose_stack32(struct delivery *delivery)
{
    uint64_t selector, pointer;
    unsigned cpl = delivery->new.cpl;
    enum status status;
    if (cpl == delivery->old->cpl)
        return STATUS_OK;
    if (delivery->old->segment[SEG_TR].access & TSS_IS_WIDE) {
        status = read_tss(delivery, TSS_STACKS + 8 * cpl, 5, 4, &pointer);
        if (status == STATUS_OK)
            status = read_tss(delivery, TSS_STACKS + 8 * cpl + 4, 1, 2, &selector);
    } else {
        status = read_tss(delivery, TSS16_STACKS + 4 * cpl, 3, 2, &pointer);
        if (status == STATUS_OK)
            status = read_tss(delivery, TSS16_STACKS + 4 * cpl + 2, 1, 2, &selector);
    }
    if (status == STATUS_OK)
        status = load_stack(delivery, (uint16_t)selector);
    if (status != STATUS_OK)
        return status;
    uint64_t mask = stack_mask(delivery);
    delivery->new.rsp = (delivery->old->rsp & ~mask & 0xffffffff) | (pointer & mask);
    return STATUS_OK;
}

/* ---- The ways through the tables ---- */

/* Leaving virtual-8086 mode, the data segments are saved and made unusable. */
static void push_data_segments(struct delivery *delivery)
{
    static const uint8_t order[] = {SEG_GS, SEG_FS, SEG_DS, SEG_ES};
    for (unsigned i = 0; i < ARRAY_SIZE(order); i++) {
        push(delivery, delivery->old->segment[order[i]].selector);
        delivery->new.segment[order[i]] = (struct segment){.access = (uint32_t)SEGMENT_UNUSABLE};
    }
}

static enum status through_gate(struct delivery *delivery)
{
    struct deliver_state *new = &delivery->new;
    const struct deliver_state *old = delivery->old;
    uint16_t selector = 0;
    unsigned ist = 0;
    as_system(delivery);
    enum status status = read_gate(delivery, &selector, &ist);
    if (status == STATUS_OK)
        status = load_code(delivery, selector);
    if (status == STATUS_OK)
        status = delivery->long_mode ? choose_stack64(delivery, ist) : choose_stack32(delivery);
    if (status != STATUS_OK)
        return status;
    if (delivery->long_mode ? !is_canonical(new->rip) : new->rip > new->segment[SEG_CS].limit)
        return fault(delivery, VECTOR_GP, 0);
    delivery->size = delivery->long_mode ? 8 : delivery->gate & GATE_IS_WIDE ? 4 : 2;
    if (old->rflags & RFLAGS_VM)
        push_data_segments(delivery);
    if (delivery->long_mode || new->cpl != old->cpl) {
        push(delivery, old->segment[SEG_SS].selector);
        push(delivery, old->rsp);
    }
    push_return(delivery, old->rflags);
    new->rflags &= ~(RFLAGS_TF | RFLAGS_VM | RFLAGS_RF | RFLAGS_NT);
    if (!(delivery->gate & GATE_IS_TRAP))
        new->rflags &= ~RFLAGS_IF;
    return STATUS_OK;
}

/* Through a table of far pointers at base: real-address mode, and redirected interrupts of
 * virtual-8086 mode. */
static enum status through_vector_table(struct delivery *delivery, uint64_t base)
{
    struct deliver_state *new = &delivery->new;
    uint64_t pointer;
    as_system(delivery);
    enum status status = read_table(delivery, base, delivery->event->vector * 4u, 4, &pointer);
    if (status != STATUS_OK)
        return status;
    delivery->size = 2;
    new->rip = bits_get(pointer, 15, 0);
    new->segment[SEG_CS].selector = (uint16_t)(pointer >> 16);
    new->segment[SEG_CS].base = pointer >> 16 << 4;
    return STATUS_OK;
}

static enum status through_real_mode(struct delivery *delivery)
{
    if (delivery->event->vector * 4u + 3 > delivery->old->idtr.limit)
        return fault(delivery, VECTOR_GP, 0);
    enum status status = through_vector_table(delivery, delivery->old->idtr.base);
    push_return(delivery, delivery->old->rflags);
    delivery->new.rflags &= ~(RFLAGS_IF | RFLAGS_TF | RFLAGS_AC | RFLAGS_RF);
    return status;
}

/* SDM: Interrupt and Exception Handling in Virtual-8086 Mode: whether the bit map sends INT n to
 * the 8086 program's own handler. */
static enum status read_redirection(const struct delivery *delivery, bool *redirected)
{
    const struct segment *tr = &delivery->old->segment[SEG_TR];
    uint64_t map, byte;
    unsigned vector = delivery->event->vector;
    *redirected = false;
    if (!(delivery->access->paging.cr4 & CR4_VME))
        return STATUS_OK;
    as_system(delivery);
    if (!(tr->access & TSS_IS_WIDE) || tr->limit < TSS_IO_MAP_BASE + 1)
        return fault(delivery, VECTOR_GP, 0);
    enum status status = read_table(delivery, tr->base, TSS_IO_MAP_BASE, 2, &map);
    if (status != STATUS_OK)
        return status;
    uint64_t offset = map - REDIRECTION_BYTES + vector / 8;
    if (offset > tr->limit)
        return fault(delivery, VECTOR_GP, 0);
    status = read_table(delivery, tr->base, offset, 1, &byte);
    *redirected = status == STATUS_OK && !(byte >> vector % 8 & 1);
    return status;
}

/* Virtual interrupts: with IOPL below 3, VIF stands for IF. */
static enum status through_redirection(struct delivery *delivery)
{
    uint64_t rflags = delivery->old->rflags, masked = RFLAGS_IF;
    if (RFLAGS_IOPL(rflags) < 3) {
        rflags = (rflags & ~RFLAGS_IF) | RFLAGS_IOPL_ALL | (rflags & RFLAGS_VIF ? RFLAGS_IF : 0);
        masked = RFLAGS_VIF;
    }
    enum status status = through_vector_table(delivery, 0);
    push_return(delivery, rflags);
    delivery->new.rflags &= ~(masked | RFLAGS_TF | RFLAGS_RF | RFLAGS_NT);
    return status;
}

static enum status through_virtual_8086_mode(struct delivery *delivery)
{
    bool redirected;
    if (delivery->event->type != EVENT_SOFTWARE_INTERRUPT)
        return through_gate(delivery);
    enum status status = read_redirection(delivery, &redirected);
    if (status != STATUS_OK)
        return status;
    if (redirected)
        return through_redirection(delivery);
    if (RFLAGS_IOPL(delivery->old->rflags) < 3)
        return fault(delivery, VECTOR_GP, 0);
    return through_gate(delivery);
}

enum deliver_result deliver_event(struct guest_access *access, struct deliver_state *state,
                                  const struct event *event, struct exception *exception)
{
    struct delivery delivery = {.access = access, .old = state, .event = event};
    delivery.exception = exception;
    delivery.new = *state;
    delivery.long_mode = access->paging.efer & EFER_LMA;
    bool software =
        event->type == EVENT_SOFTWARE_INTERRUPT || event->type == EVENT_SOFTWARE_EXCEPTION;
    delivery.external = software ? 0 : ERROR_EXT;
    enum status status;
    if (!(state->cr0 & CR0_PE))
        status = through_real_mode(&delivery);
    else if (state->rflags & RFLAGS_VM)
        status = through_virtual_8086_mode(&delivery);
    else
        status = through_gate(&delivery);
    if (status == STATUS_OK)
        status = prepare_frame(&delivery);
    if (status == STATUS_OK)
        status = touch_descriptors(&delivery);
    if (status == STATUS_OK)
        status = write_frame(&delivery);
    guest_access_end(access);
    if (status == STATUS_OK) {
        *state = delivery.new;
        return DELIVER_DONE;
    }
    if (status == ERR_UNSUPPORTED)
        return DELIVER_TASK_GATE;
    return status == ERR_FAULT ? DELIVER_FAULT : DELIVER_AGAIN;
}

#include "kernel/vm/task_switch.h"

/* SDM: System Descriptor Types. */
#define TYPE_TSS_16 1u
#define TYPE_LDT 2u
#define TYPE_BUSY BIT(1)
#define TSS_IS_WIDE BIT(3)
#define TYPE_ACCESSED BIT(0)
#define TYPE_WRITABLE BIT(1) /* of data; of code: readable */
#define TYPE_CONFORMING BIT(2)
#define TYPE_CODE BIT(3)

#define LINK_BYTES 2
#define FLAGS_FROM_TSS 0x3f7fd5ull
#define V86_ACCESS 0xf3
#define UNLOADED_LIMIT 0xffffffffu

/* Where a TSS has what a switch reads and writes. SDM: 32-Bit Task-State Segment; 16-Bit Task-State
 * Segment. */
struct layout {
    uint8_t size;     /* of a register's slot, in bytes */
    uint8_t cr3;      /* 0: none */
    uint8_t rip;      /* RFLAGS behind it, then the general registers */
    uint8_t segment;  /* ES, CS, SS, DS and more */
    uint8_t segments; /* how many */
    uint8_t ldtr;
    uint8_t trap; /* 0: none */
    uint8_t last; /* the limit must be at least this */
};

static const struct layout layouts[2] = {
    {2, 0, 0x0e, 0x22, 4, 0x2a, 0, 0x2b},
    {4, 0x1c, 0x20, 0x48, 6, 0x60, 0x64, 0x67},
};

#define LAYOUT(access) (&layouts[((access)&TSS_IS_WIDE) != 0])

/* A switch on its way. */
struct task {
    struct guest_access *access;
    struct task_state *state;
    const struct task_switch_request *request;
    struct exception *exception;
    const struct layout *old, *new;
    struct segment tr;         /* the new task's */
    uint64_t tr_linear;        /* the second half of its descriptor, */
    uint64_t old_tr_linear;    /* and of the old task's */
    uint32_t word[2 + GPR_R8]; /* EIP, EFLAGS and the general registers of the new task */
    uint16_t selector[SEG_GS + 1];
    uint16_t ldtr;
    uint32_t cr3;
    bool traps;
    bool committed; /* the new task's context is loaded */
};

static enum status raise(const struct task *task, enum vector vector, uint32_t code)
{
    *task->exception = (struct exception){
        .vector = (uint8_t)vector,
        .has_error_code = true,
        .error_code = code | (task->request->external ? 1u : 0),
    };
    return ERR_FAULT;
}

static enum status refuse(const struct task *task, enum vector vector, uint16_t selector)
{
    return raise(task, vector, selector & 0xfffcu);
}

static void as_system(const struct task *task)
{
    guest_access_begin(task->access, task->state->cpu.cr0, task->state->cpu.rflags & ~RFLAGS_AC, 0,
                       false);
}

static enum status load(const struct task *task, uint64_t linear, unsigned size, uint64_t *value)
{
    return guest_access_ops.load(task->access, linear & 0xffffffff, size, false, value,
                                 task->exception);
}

static enum status store(const struct task *task, uint64_t linear, unsigned size, uint64_t value)
{
    value &= bits_size_mask(size);
    return guest_access_ops.store(task->access, linear & 0xffffffff, size, &value, task->exception);
}

static enum status prepare(const struct task *task, uint64_t linear)
{
    return guest_access_ops.prepare(task->access, linear & 0xffffffff, 1, true, task->exception);
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

/* The descriptor of selector, and in *linear the address of its second half. Outside its table:
 * #TS. */
static enum status read_descriptor(const struct task *task, uint16_t selector,
                                   struct segment *segment, uint64_t *linear)
{
    const struct deliver_state *cpu = &task->state->cpu;
    const struct segment *ldtr = &cpu->segment[SEG_LDTR];
    bool local = selector & 4;
    uint64_t base = local ? ldtr->base : cpu->gdtr.base, descriptor;
    uint32_t limit = local ? ldtr->limit : cpu->gdtr.limit, offset = selector & 0xfff8u;
    if ((local && ldtr->access & SEGMENT_UNUSABLE) || offset + 7 > limit)
        return refuse(task, VECTOR_TS, selector);
    enum status status = load(task, base + offset, 8, &descriptor);
    if (status != STATUS_OK)
        return status;
    parse(descriptor, selector, segment);
    *linear = (base + offset + 4) & 0xffffffff;
    return STATUS_OK;
}

/* Sets or clears bits of the type in the descriptor whose second half is at linear. */
static enum status change_type(const struct task *task, uint64_t linear, uint64_t type, bool set)
{
    uint64_t old = 0;
    bool swapped = false;
    while (!swapped) {
        enum status status =
            guest_access_ops.load(task->access, linear, 4, true, &old, task->exception);
        uint64_t new = set ? old | type << 8 : old & ~(type << 8);
        if (status == STATUS_OK)
            status = guest_access_ops.compare_exchange(task->access, linear, 4, &old, &new,
                                                       &swapped, task->exception);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

/* The new task's TSS. */
static enum status find_new(struct task *task)
{
    bool returns = task->request->source == TASK_SWITCH_IRET;
    uint16_t selector = task->request->selector;
    if (selector & 4 || (selector & 0xfff8) == 0)
        return refuse(task, VECTOR_TS, selector);
    enum status status = read_descriptor(task, selector, &task->tr, &task->tr_linear);
    if (status != STATUS_OK)
        return status;
    uint32_t kind = task->tr.access & (SEGMENT_TYPE_MASK | SEGMENT_S);
    if ((kind & ~TSS_IS_WIDE) != (TYPE_TSS_16 | (returns ? TYPE_BUSY : 0)))
        return refuse(task, returns ? VECTOR_TS : VECTOR_GP, selector);
    if (!(task->tr.access & SEGMENT_P))
        return refuse(task, VECTOR_NP, selector);
    task->new = LAYOUT(task->tr.access);
    if (task->tr.limit < task->new->last)
        return refuse(task, VECTOR_TS, selector);
    return STATUS_OK;
}

/* ---- The two TSSs ---- */

static enum status read_new(struct task *task)
{
    const struct layout *new = task->new;
    uint64_t base = task->tr.base, value = 0;
    enum status status = STATUS_OK;
    for (unsigned i = 0; i < ARRAY_SIZE(task->word) && status == STATUS_OK; i++) {
        status = load(task, base + new->rip + i *new->size, new->size, &value);
        task->word[i] = (uint32_t)value;
    }
    for (unsigned i = 0; i < new->segments &&status == STATUS_OK; i++) {
        status = load(task, base + new->segment + i *new->size, 2, &value);
        task->selector[i] = (uint16_t)value;
    }
    if (status == STATUS_OK)
        status = load(task, base + new->ldtr, 2, &value);
    task->ldtr = (uint16_t)value;
    if (status == STATUS_OK && new->cr3 != 0)
        status = load(task, base + new->cr3, 4, &value);
    task->cr3 = (uint32_t)value;
    if (status == STATUS_OK && new->trap != 0)
        status = load(task, base + new->trap, 2, &value);
    task->traps = new->trap != 0 && value & 1;
    return status;
}

static bool is_nested(const struct task *task)
{
    return task->request->source == TASK_SWITCH_CALL || task->request->source == TASK_SWITCH_GATE;
}

/* Whether everything that will be written can be: the old task's registers, its descriptor, the
 * link and the descriptor of the new one. */
static enum status prepare_writes(const struct task *task)
{
    const struct segment *tr = &task->state->cpu.segment[SEG_TR];
    uint64_t last = task->old->segment + task->old->segments * task->old->size - 1u;
    enum status status = prepare(task, tr->base + task->old->rip);
    if (status == STATUS_OK)
        status = prepare(task, tr->base + last);
#ifndef PLANTED_BUG_TASK_SWITCH /* for the fuzzer's own test */
    if (status == STATUS_OK)
        status = prepare(task, task->old_tr_linear);
    if (status == STATUS_OK)
        status = prepare(task, task->tr_linear);
#endif
    if (status == STATUS_OK && is_nested(task))
        status = prepare(task, task->tr.base);
    if (status == STATUS_OK && is_nested(task))
        status = prepare(task, task->tr.base + LINK_BYTES - 1);
    return status;
}

static enum status save_old(const struct task *task)
{
    const struct deliver_state *cpu = &task->state->cpu;
    const struct layout *old = task->old;
    uint64_t base = cpu->segment[SEG_TR].base, rflags = cpu->rflags;
    if (task->request->source == TASK_SWITCH_IRET)
        rflags &= ~RFLAGS_NT;
    enum status status = store(task, base + old->rip, old->size, cpu->rip);
    if (status == STATUS_OK)
        status = store(task, base + old->rip + old->size, old->size, rflags);
    for (unsigned i = 0; i < GPR_R8 && status == STATUS_OK; i++)
        status = store(task, base + old->rip + (2 + i) * old->size, old->size, task->state->gpr[i]);
    for (unsigned i = 0; i < old->segments && status == STATUS_OK; i++)
        status = store(task, base + old->segment + i * old->size, 2, cpu->segment[i].selector);
    return status;
}

static enum status change_flags(const struct task *task)
{
    enum status status = STATUS_OK;
    if (!is_nested(task))
        status = change_type(task, task->old_tr_linear, TYPE_BUSY, false);
    if (status == STATUS_OK && is_nested(task))
        status = store(task, task->tr.base, LINK_BYTES, task->state->cpu.segment[SEG_TR].selector);
    if (status == STATUS_OK && task->request->source != TASK_SWITCH_IRET)
        status = change_type(task, task->tr_linear, TYPE_BUSY, true);
    return status;
}

/* ---- The new task's context ---- */

/* In virtual-8086 mode that is all there is to it. */
static struct segment unloaded_segment(const struct task *task, enum segment_register number)
{
    uint16_t selector = task->selector[number];
    uint32_t access = SEGMENT_S | SEGMENT_P | SEGMENT_DB | SEGMENT_G | TYPE_ACCESSED |
                      TYPE_WRITABLE | (uint32_t)task->state->cpu.cpl << 5;
    if (task->state->cpu.rflags & RFLAGS_VM)
        return (struct segment){.selector = selector,
                                .base = (uint64_t)selector << 4,
                                .limit = 0xffff,
                                .access = V86_ACCESS};
    if (number != SEG_CS && number != SEG_SS)
        return (struct segment){.selector = selector, .access = (uint32_t)SEGMENT_UNUSABLE};
    if (number == SEG_CS)
        access |= TYPE_CODE;
    return (struct segment){.selector = selector, .limit = UNLOADED_LIMIT, .access = access};
}

/* Registers and selectors; the segments behind them are not loaded yet, but such that the processor
 * can be in the new task to deliver what goes wrong from here on. */
static void load_registers(struct task *task)
{
    struct deliver_state *cpu = &task->state->cpu;
    uint32_t keep = task->new->size == 4 ? 0 : 0xffff0000;
    cpu->segment[SEG_TR] = task->tr;
    cpu->segment[SEG_TR].access |= TYPE_BUSY;
    cpu->rip = task->word[0];
    cpu->rflags = (task->word[1] & FLAGS_FROM_TSS) | RFLAGS_FIXED;
    if (task->new->size == 2)
        cpu->rflags &= 0xffff;
    if (is_nested(task))
        cpu->rflags |= RFLAGS_NT;
    for (unsigned i = 0; i < GPR_R8; i++)
        task->state->gpr[i] = task->word[2 + i] | keep;
    cpu->cpl = cpu->rflags & RFLAGS_VM ? 3 : task->selector[SEG_CS] & 3;
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        cpu->segment[i] = unloaded_segment(task, (enum segment_register)i);
    cpu->segment[SEG_LDTR] =
        (struct segment){.selector = task->ldtr, .access = (uint32_t)SEGMENT_UNUSABLE};
    task->committed = true;
}

static enum status load_ldtr(struct task *task)
{
    struct segment ldtr;
    uint64_t linear;
    if ((task->ldtr & 0xfffc) == 0)
        return STATUS_OK;
    if (task->ldtr & 4)
        return refuse(task, VECTOR_TS, task->ldtr);
    enum status status = read_descriptor(task, task->ldtr, &ldtr, &linear);
    if (status != STATUS_OK)
        return status;
    if ((ldtr.access & (SEGMENT_TYPE_MASK | SEGMENT_S)) != TYPE_LDT || !(ldtr.access & SEGMENT_P))
        return refuse(task, VECTOR_TS, task->ldtr);
    task->state->cpu.segment[SEG_LDTR] = ldtr;
    return STATUS_OK;
}

/* Takes over a descriptor that passed, with its accessed flag. */
static enum status take_segment(struct task *task, enum segment_register number,
                                const struct segment *segment, uint64_t linear)
{
    enum status status = STATUS_OK;
    if (!(segment->access & TYPE_ACCESSED))
        status = change_type(task, linear, TYPE_ACCESSED, true);
    if (status != STATUS_OK)
        return status;
    task->state->cpu.segment[number] = *segment;
    task->state->cpu.segment[number].access |= TYPE_ACCESSED;
    return STATUS_OK;
}

/* SDM: Exception Conditions Checked During a Task Switch. */
static bool fits(enum segment_register number, const struct segment *segment, uint8_t cpl)
{
    uint32_t access = segment->access;
    unsigned dpl = SEGMENT_DPL(access), rpl = segment->selector & 3;
    bool code = access & TYPE_CODE, conforming = code && access & TYPE_CONFORMING;
    if (!(access & SEGMENT_S))
        return false;
    if (number == SEG_CS)
        return code && (conforming ? dpl <= rpl : dpl == rpl);
    if (number == SEG_SS)
        return !code && access & TYPE_WRITABLE && dpl == cpl && rpl == cpl;
    return (!code || access & TYPE_WRITABLE) && (conforming || (dpl >= cpl && dpl >= rpl));
}

static enum status load_segment(struct task *task, enum segment_register number)
{
    struct segment segment;
    uint64_t linear;
    uint16_t selector = task->selector[number];
    bool needed = number == SEG_CS || number == SEG_SS;
    if ((selector & 0xfffc) == 0)
        return needed ? refuse(task, VECTOR_TS, selector) : STATUS_OK;
    enum status status = read_descriptor(task, selector, &segment, &linear);
    if (status != STATUS_OK)
        return status;
    if (!fits(number, &segment, task->state->cpu.cpl))
        return refuse(task, VECTOR_TS, selector);
    if (!(segment.access & SEGMENT_P))
        return refuse(task, number == SEG_SS ? VECTOR_SS : VECTOR_NP, selector);
    return take_segment(task, number, &segment, linear);
}

static enum status load_segments(struct task *task)
{
    static const uint8_t order[] = {SEG_CS, SEG_SS, SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    struct deliver_state *cpu = &task->state->cpu;
    enum status status = load_ldtr(task);
    if (cpu->rflags & RFLAGS_VM)
        return status;
    for (unsigned i = 0; i < ARRAY_SIZE(order) && status == STATUS_OK; i++)
        status = load_segment(task, (enum segment_register)order[i]);
    return status;
}

static enum status push_error_code(struct task *task)
{
    struct deliver_state *cpu = &task->state->cpu;
    const struct segment *ss = &cpu->segment[SEG_SS];
    uint64_t mask = ss->access & SEGMENT_DB ? 0xffffffff : 0xffff;
    uint64_t *rsp = &task->state->gpr[GPR_RSP];
    uint64_t offset = (*rsp - task->new->size) & mask;
    if (!segment_holds(ss, offset, task->new->size))
        return raise(task, VECTOR_SS, 0);
    guest_access_begin(task->access, cpu->cr0, cpu->rflags, cpu->cpl, false);
    enum status status = store(task, ss->base + offset, task->new->size, task->request->error_code);
    if (status == STATUS_OK)
        *rsp = (*rsp & ~mask) | offset;
    return status;
}

/* Up to here nothing has changed; with STATUS_OK everything has been written. */
static enum status leave_old(struct task *task)
{
    const struct deliver_state *cpu = &task->state->cpu;
    struct segment tr;
    enum status status = find_new(task);
    if (status == STATUS_OK)
        status = read_descriptor(task, cpu->segment[SEG_TR].selector, &tr, &task->old_tr_linear);
    task->old = LAYOUT(cpu->segment[SEG_TR].access);
    if (status == STATUS_OK && cpu->segment[SEG_TR].limit < task->old->last)
        status = refuse(task, VECTOR_TS, cpu->segment[SEG_TR].selector);
    if (status == STATUS_OK)
        status = read_new(task);
    if (status == STATUS_OK)
        status = prepare_writes(task);
    if (status == STATUS_OK)
        status = save_old(task);
    if (status == STATUS_OK)
        status = change_flags(task);
    return status;
}

static enum status enter_new(struct task *task, const struct task_switch_ports *ports)
{
    struct task_state *state = task->state;
    load_registers(task);
    if (task->new->cr3 != 0 && state->cpu.cr0 & CR0_PG) {
        state->cr3 = task->cr3;
        if (!ports->load_cr3(ports->context, task->cr3))
            return raise(task, VECTOR_GP, 0);
    }
    as_system(task);
    enum status status = load_segments(task);
    if (status == STATUS_OK && task->request->has_error_code)
        status = push_error_code(task);
    return status;
}

enum task_switch_result task_switch(struct guest_access *access,
                                    const struct task_switch_ports *ports, struct task_state *state,
                                    const struct task_switch_request *request,
                                    struct exception *exception)
{
    struct task task = {
        .access = access, .state = state, .request = request, .exception = exception};
    as_system(&task);
    enum status status = leave_old(&task);
    if (status == STATUS_OK)
        status = enter_new(&task, ports);
    guest_access_end(access);
    if (status == STATUS_OK)
        return task.traps ? TASK_SWITCH_TRAPPED : TASK_SWITCH_DONE;
    if (status != ERR_FAULT)
        return TASK_SWITCH_AGAIN;
    return task.committed ? TASK_SWITCH_NEW_FAULT : TASK_SWITCH_FAULT;
}

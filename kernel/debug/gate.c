#include "kernel/debug/gate.h"

#include "kernel/core/fmt.h"
#include "kernel/core/mem.h"

/* SDM: IDT Descriptors: types of system descriptors. */
enum gate_type {
    GATE_TASK = 5,
    GATE_INTERRUPT_16 = 6,
    GATE_TRAP_16 = 7,
    GATE_INTERRUPT = 14,
    GATE_TRAP = 15,
};

#define TSS_32_LIMIT_MIN 103u

/* SDM: Exceptions that push an error code. */
#define HAS_ERROR_CODE                                                                             \
    (BIT(8) | BIT(10) | BIT(11) | BIT(12) | BIT(13) | BIT(14) | BIT(17) | BIT(21))

struct look {
    const struct text *text;
    const struct gate_view *view;
    struct gate_failure *failure;
    unsigned vector;
    bool is_software, is_long;
    unsigned cpl;
    /* Of the gate. */
    unsigned type, dpl, ist;
    uint16_t selector;
    bool is_present;
    uint64_t offset;
    /* Of the handler. */
    struct segment code;
    unsigned handler_cpl;
};

const char *gate_vector_name(unsigned vector)
{
    static const char names[][8] = {"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM",
                                    "#DF", "",    "#TS", "#NP", "#SS", "#GP", "#PF", "",
                                    "#MF", "#AC", "#MC", "#XM", "#VE", "#CP"};
    return vector < ARRAY_SIZE(names) ? names[vector] : "";
}

/* ---- What stops it -------------------------------------------------------------------------- */

/* Only the first reason counts. Returns false, for those who pass it on. */
static bool PRINTF(3, 4) fail(struct look *look, unsigned vector, const char *format, ...)
{
    va_list arguments;
    look->failure->vector = (uint8_t)vector;
    va_start(arguments, format);
    fmt_vformat(look->failure->why, sizeof(look->failure->why), format, arguments);
    va_end(arguments);
    return false;
}

static bool fail_at(struct look *look, const char *what, uint64_t address)
{
    look->failure->has_address = true;
    look->failure->address = address;
    return fail(look, VECTOR_PF, "%s cannot be accessed at 0x%lx", what, address);
}

static bool read(struct look *look, const char *what, uint64_t address, void *to, size_t size)
{
    const struct gate_view *view = look->view;
    size_t done = page_walk_read(view->paging, view->mem, address, to, size);
    return done == size || fail_at(look, what, address + done);
}

/* ---- The segment ---------------------------------------------------------------------------- */

/* SDM: Segment Descriptors. */
static struct segment decode(uint16_t selector, uint64_t descriptor)
{
    uint32_t limit = (uint32_t)((descriptor & 0xffff) | bits_get(descriptor, 51, 48) << 16);
    uint32_t access = (uint32_t)(bits_get(descriptor, 47, 40) | bits_get(descriptor, 55, 52) << 12);
    return (struct segment){
        .selector = selector,
        .base = bits_get(descriptor, 39, 16) | bits_get(descriptor, 63, 56) << 24,
        .limit = (access & SEGMENT_G) != 0 ? limit << 12 | 0xfff : limit,
        .access = access,
    };
}

/* The descriptor that a selector names, in GDT or LDT; vector: what a selector raises that names
 * none. */
static bool find(struct look *look, const char *what, uint16_t selector, unsigned vector,
                 struct segment *segment)
{
    const struct vcpu_registers *registers = look->view->registers;
    const struct segment *ldtr = &registers->segment[SEG_LDTR];
    bool is_local = (selector & 4) != 0;
    const char *table = is_local ? "LDT" : "GDT";
    uint64_t base = is_local ? ldtr->base : registers->gdtr.base, descriptor;
    uint32_t limit = is_local ? ldtr->limit : registers->gdtr.limit;
    if ((selector & ~3u) == 0)
        return fail(look, vector, "%s is the null selector", what);
    if (is_local && (ldtr->access & SEGMENT_UNUSABLE) != 0)
        return fail(look, vector, "%s %04x is of the LDT, and there is none", what, selector);
    if ((selector | 7u) > limit)
        return fail(look, vector, "%s %04x lies beyond the %s, whose limit is 0x%x", what, selector,
                    table, limit);
    if (!read(look, is_local ? "the LDT" : "the GDT", base + (selector & ~7u), &descriptor, 8))
        return false;
    *segment = decode(selector, descriptor);
    text_print(look->text, "  %s entry at 0x%lx: %016lx\n  ", table, base + (selector & ~7u),
               descriptor);
    describe_segment(look->text, what, segment, look->is_long);
    return true;
}

static bool check_code(struct look *look)
{
    struct segment *code = &look->code;
    if (!find(look, "handler's CS", look->selector, VECTOR_GP, code))
        return false;
    unsigned dpl = (unsigned)SEGMENT_DPL(code->access);
    if ((code->access & SEGMENT_S) == 0 || (code->access & 8) == 0)
        return fail(look, VECTOR_GP, "the gate's selector %04x is no code segment", look->selector);
    if (dpl > look->cpl)
        return fail(look, VECTOR_GP, "the handler's segment has DPL%u, the guest CPL%u", dpl,
                    look->cpl);
    if ((code->access & SEGMENT_P) == 0)
        return fail(look, VECTOR_NP, "the handler's segment %04x is not present", look->selector);
    if (look->is_long && (code->access & (SEGMENT_L | SEGMENT_DB)) != SEGMENT_L)
        return fail(look, VECTOR_GP, "the handler's segment %04x is not one of 64-bit code",
                    look->selector);
    look->handler_cpl = (code->access & 4) != 0 ? look->cpl : dpl;
    if ((look->view->registers->rflags & RFLAGS_VM) != 0 && look->handler_cpl != 0)
        return fail(look, VECTOR_GP, "virtual-8086 mode needs a handler of CPL0, this one's is %u",
                    look->handler_cpl);
    return true;
}

/* ---- The stack ------------------------------------------------------------------------------ */

/* The part of the TSS at offset. */
static bool read_tss(struct look *look, const char *what, unsigned offset, void *to, unsigned size)
{
    const struct segment *tr = &look->view->registers->segment[SEG_TR];
    if ((tr->access & SEGMENT_UNUSABLE) != 0 || (tr->selector & ~3u) == 0)
        return fail(look, VECTOR_TS, "there is no TSS to take %s from: TR is %04x", what,
                    tr->selector);
    if (offset + size - 1 > tr->limit)
        return fail(look, VECTOR_TS, "the TSS has no %s: its limit is 0x%x", what, tr->limit);
    if (!read(look, "the TSS", tr->base + offset, to, size))
        return false;
    text_print(look->text, "  %s of the TSS at 0x%lx: ", what, tr->base);
    return true;
}

/* What is pushed there can be written. */
static bool check_frame(struct look *look, uint64_t top, unsigned bytes)
{
    const struct gate_view *view = look->view;
    struct paging paging = *view->paging;
    uint64_t places[2] = {top - 1, top - bytes};
    paging.cpl = (uint8_t)look->handler_cpl;
    for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
        uint64_t at = look->is_long ? places[i] : (uint32_t)places[i], available;
        struct exception exception;
        gpa_t gpa;
        if (look->is_long && !is_canonical(at))
            return fail(look, VECTOR_SS, "the handler's stack, 0x%lx, is not canonical", top);
        enum status status = guest_walk(&paging, view->mem, GVA(at),
                                        GUEST_WALK_PEEK | GUEST_WALK_WRITE, &gpa, &exception);
        if (status != STATUS_OK || guest_mem_span(view->mem, gpa, &available) == NULL) {
            look->failure->has_address = true;
            look->failure->address = at;
            return fail(look, VECTOR_PF, "the handler's stack cannot be written at 0x%lx", at);
        }
    }
    return true;
}

static unsigned error_words(const struct look *look)
{
    return !look->is_software && look->vector < 32 && (HAS_ERROR_CODE >> look->vector & 1) != 0;
}

/* SDM: 64-Bit Mode Stack Frame; Interrupt Stack Table. */
static bool check_long_stack(struct look *look)
{
    uint64_t top = look->view->registers->gpr[GPR_RSP];
    char name[8];
    bool is_new = look->ist != 0 || look->handler_cpl < look->cpl;
    if (look->ist != 0)
        fmt_format(name, sizeof(name), "IST%u", look->ist);
    else
        fmt_format(name, sizeof(name), "RSP%u", look->handler_cpl);
    if (!is_new)
        text_print(look->text, "  its stack: the one in use, ");
    else if (!read_tss(look, name, look->ist != 0 ? 28 + 8 * look->ist : 4 + 8 * look->handler_cpl,
                       &top, 8))
        return false;
    text_print(look->text, "0x%lx\n", top);
    return check_frame(look, top & ~0xfull, 8 * (5 + error_words(look)));
}

/* The stack of a more privileged handler. SDM: 32-bit and 16-bit TSS. */
static bool switch_stack(struct look *look, struct segment *stack, uint64_t *top)
{
    const struct segment *tr = &look->view->registers->segment[SEG_TR];
    bool is_32bit = (tr->access & 8) != 0;
    unsigned size = is_32bit ? 4 : 2, offset = size + 2 * size * look->handler_cpl;
    uint16_t selector;
    char name[16];
    *top = 0;
    fmt_format(name, sizeof(name), is_32bit ? "ESP%u" : "SP%u", look->handler_cpl);
    if (!read_tss(look, name, offset, top, size))
        return false;
    text_print(look->text, "0x%lx\n", *top);
    fmt_format(name, sizeof(name), "SS%u", look->handler_cpl);
    if (!read_tss(look, name, offset + size, &selector, 2))
        return false;
    text_print(look->text, "%04x\n", selector);
    if (!find(look, name, selector, VECTOR_TS, stack))
        return false;
    uint32_t access = stack->access;
    if ((selector & 3) != look->handler_cpl || SEGMENT_DPL(access) != look->handler_cpl ||
        (access & SEGMENT_S) == 0 || (access & 0xa) != 2)
        return fail(look, VECTOR_TS, "%s, %04x, is no stack for CPL%u", name, selector,
                    look->handler_cpl);
    return (access & SEGMENT_P) != 0 ||
           fail(look, VECTOR_SS, "%s, %04x, is not present", name, selector);
}

static bool check_stack(struct look *look)
{
    const struct vcpu_registers *registers = look->view->registers;
    struct segment stack = registers->segment[SEG_SS];
    uint64_t top = registers->gpr[GPR_RSP];
    bool is_new = look->handler_cpl < look->cpl, is_v86 = (registers->rflags & RFLAGS_VM) != 0;
    unsigned words = (is_v86 ? 9 : is_new ? 5 : 3) + error_words(look);
    unsigned bytes = words * (look->type == GATE_INTERRUPT || look->type == GATE_TRAP ? 4 : 2);
    if (look->is_long)
        return check_long_stack(look);
    if (is_new && !switch_stack(look, &stack, &top))
        return false;
    top = (stack.access & SEGMENT_DB) != 0 ? (uint32_t)top : (uint16_t)top;
    if (!is_new)
        text_print(look->text, "  its stack: the one in use, %04x:%08lx\n", stack.selector, top);
    bool is_up = (stack.access & 4) == 0;
    if (is_up ? top - 1 > stack.limit || top < bytes : top - bytes <= stack.limit)
        return fail(look, is_new ? VECTOR_TS : VECTOR_SS,
                    "%u bytes below 0x%lx are not within the stack's limit, 0x%x", bytes, top,
                    stack.limit);
    return check_frame(look, stack.base + top, bytes);
}

/* ---- The gate ------------------------------------------------------------------------------- */

static const char *gate_type_name(const struct look *look)
{
    if (look->is_long)
        return look->type == GATE_INTERRUPT ? "64-bit interrupt gate"
               : look->type == GATE_TRAP    ? "64-bit trap gate"
                                            : NULL;
    static const char *const names[16] = {[GATE_TASK] = "task gate",
                                          [GATE_INTERRUPT_16] = "16-bit interrupt gate",
                                          [GATE_TRAP_16] = "16-bit trap gate",
                                          [GATE_INTERRUPT] = "32-bit interrupt gate",
                                          [GATE_TRAP] = "32-bit trap gate"};
    return names[look->type];
}

static void print_vector(const struct look *look)
{
    const char *name = gate_vector_name(look->vector);
    text_print(look->text, name[0] != 0 ? "vector %u, %s" : "vector %u%s", look->vector, name);
}

static bool read_gate(struct look *look)
{
    const struct descriptor_table *idtr = &look->view->registers->idtr;
    unsigned size = look->is_long ? 16 : 8;
    uint64_t at = idtr->base + look->vector * size, word[2] = {0};
    print_vector(look);
    text_print(look->text, ": IDT entry at 0x%lx", at);
    if (look->vector * size + size - 1 > idtr->limit) {
        text_print(look->text, ", beyond the limit\n");
        return fail(look, VECTOR_GP, "the gate lies beyond the IDT, whose limit is 0x%x",
                    idtr->limit);
    }
    if (!read(look, "the IDT", at, word, size)) {
        text_print(look->text, ", which cannot be read\n");
        return false;
    }
    look->type = (unsigned)bits_get(word[0], 43, 40);
    look->dpl = (unsigned)bits_get(word[0], 46, 45);
    look->ist = look->is_long ? (unsigned)bits_get(word[0], 34, 32) : 0;
    look->selector = (uint16_t)bits_get(word[0], 31, 16);
    look->is_present = (word[0] & BIT(47)) != 0;
    look->offset = (word[0] & 0xffff) | bits_get(word[0], 63, 48) << 16 | word[1] << 32;
    bool is_system = (word[0] & BIT(44)) == 0;
    const char *name = is_system ? gate_type_name(look) : NULL;
    text_print(look->text, ": %016lx", word[0]);
    if (look->is_long)
        text_print(look->text, " %016lx", word[1]);
    text_print(look->text, "\n  %spresent, %s (type %u) to %04x:%0*lx, DPL%u",
               look->is_present ? "" : "not ", name != NULL ? name : "no gate for events",
               look->type | (is_system ? 0 : 16), look->selector, look->is_long ? 16 : 8,
               look->offset, look->dpl);
    text_print(look->text, look->ist != 0 ? ", IST%u\n" : "\n", look->ist);
    return name != NULL || fail(look, VECTOR_GP, "type %u is none of a gate for events",
                                look->type | (is_system ? 0 : 16));
}

static bool check_task(struct look *look)
{
    struct segment task;
    if (!find(look, "task's TSS", look->selector, VECTOR_GP, &task))
        return false;
    if ((look->selector & 4) != 0 || (task.access & (SEGMENT_S | 5)) != 1)
        return fail(look, VECTOR_GP, "the task gate's selector %04x is no TSS", look->selector);
    if ((task.access & 2) != 0)
        return fail(look, VECTOR_GP, "the TSS %04x is busy", look->selector);
    if ((task.access & SEGMENT_P) == 0)
        return fail(look, VECTOR_NP, "the TSS %04x is not present", look->selector);
    if (task.limit < ((task.access & 8) != 0 ? TSS_32_LIMIT_MIN : 43))
        return fail(look, VECTOR_TS, "the TSS %04x is too short: its limit is 0x%x", look->selector,
                    task.limit);
    uint8_t byte;
    return read(look, "the TSS", task.base, &byte, 1) &&
           read(look, "the TSS", task.base + task.limit, &byte, 1);
}

/* In the order in which the processor looks at them. */
static bool check_gate(struct look *look)
{
    if (!read_gate(look))
        return false;
    if (look->is_software && look->dpl < look->cpl)
        return fail(look, VECTOR_GP, "INT n at CPL%u needs a gate whose DPL is not %u", look->cpl,
                    look->dpl);
    if (!look->is_present)
        return fail(look, VECTOR_NP, "the gate is not present");
    if (look->type == GATE_TASK && !look->is_long)
        return check_task(look);
    if (!check_code(look) || !check_stack(look))
        return false;
    if (look->is_long ? !is_canonical(look->offset) : look->offset > look->code.limit)
        return fail(look, VECTOR_GP, "the handler's address 0x%lx is %s", look->offset,
                    look->is_long ? "not canonical" : "beyond its segment's limit");
    return true;
}

/* SDM: Interrupt and Exception Handling in Real-Address Mode. */
static bool check_real(struct look *look)
{
    const struct vcpu_registers *registers = look->view->registers;
    uint64_t at = registers->idtr.base + look->vector * 4u;
    uint16_t word[2];
    print_vector(look);
    text_print(look->text, ": entry of the interrupt table at 0x%lx", at);
    if (look->vector * 4 + 3 > registers->idtr.limit) {
        text_print(look->text, ", beyond the limit\n");
        return fail(look, VECTOR_GP, "it lies beyond the IDT's limit, 0x%x", registers->idtr.limit);
    }
    if (!read(look, "the interrupt table", at, word, sizeof(word))) {
        text_print(look->text, ", which cannot be read\n");
        return false;
    }
    uint16_t sp = (uint16_t)registers->gpr[GPR_RSP];
    text_print(look->text, ": to %04x:%04x\n  its stack: %04x:%04x\n", word[1], word[0],
               registers->segment[SEG_SS].selector, sp);
    if (sp == 1 || sp == 3 || sp == 5)
        return fail(look, VECTOR_SS, "three words do not fit below SP 0x%x", sp);
    return true;
}

bool gate_describe(const struct text *text, const struct gate_view *view, unsigned vector,
                   bool is_software, struct gate_failure *failure)
{
    const struct vcpu_registers *registers = view->registers;
    bool is_real = (registers->cr0 & CR0_PE) == 0;
    struct look look = {
        .text = text,
        .view = view,
        .failure = failure,
        .vector = vector,
        .is_software = is_software,
        .is_long = !is_real && (registers->efer & EFER_LMA) != 0,
        .cpl = (unsigned)SEGMENT_DPL(registers->segment[SEG_SS].access),
    };
    *failure = (struct gate_failure){0};
    if (is_real ? check_real(&look) : check_gate(&look)) {
        text_print(text, "  nothing of this would stop a delivery\n");
        return false;
    }
    text_print(text, "  a delivery would fail with %s: %s\n", gate_vector_name(failure->vector),
               failure->why);
    return true;
}

void gate_describe_selector(const struct text *text, const struct gate_view *view,
                            uint16_t selector)
{
    struct gate_failure failure = {0};
    struct segment segment;
    struct look look = {
        .text = text,
        .view = view,
        .failure = &failure,
        .is_long = (view->registers->efer & EFER_LMA) != 0,
    };
    if (!find(&look, "selector", selector, VECTOR_GP, &segment))
        text_print(text, "%s\n", failure.why);
}

/* SDM: Interrupt Types of event information. */
void gate_describe_event(const struct text *text, uint32_t information)
{
    static const char *const kinds[] = {"interrupt ",           "", "", "", "INT ", "INT1, vector ",
                                        "INT3 or INTO, vector "};
    unsigned type = (unsigned)bits_get(information, 10, 8), vector = information & 0xff;
    bool is_named = type == EVENT_HARDWARE_EXCEPTION || type == EVENT_NMI;
    text_print(text, "%s", is_named ? gate_vector_name(vector) : kinds[type % ARRAY_SIZE(kinds)]);
    text_print(text, is_named ? " (%u)" : "%u", vector);
}

#include "kernel/debug/post_mortem.h"

#include "kernel/core/log.h"
#include "kernel/core/mem.h"
#include "kernel/debug/backtrace.h"
#include "kernel/debug/debugger.h"
#include "kernel/debug/gate.h"
#include "vmx/vmcs.h"

/* About as many as the longest has. */
#define REPORT_LINES 120

#define FRAMES_SHOWN 16u
#define CODE_SHOWN 16u
#define STACK_SHOWN 16u /* words */

/* SDM: event-information format; VM-exit reasons. */
#define EVENT_VALID BIT(31)
#define EVENT_HAS_ERROR BIT(11)
#define EXIT_TRIPLE_FAULT 2u
#define EXIT_EPT_VIOLATION 48u
#define EXIT_EPT_MISCONFIGURATION 49u
#define EXIT_ENTRY_FAILED BIT(31)

struct report {
    struct guest *guest;
    struct vcpu *vcpu;
    enum vm_outcome outcome;
    struct vcpu_registers registers;
    struct paging paging;
    struct system_map symbols;
    struct text text;
    char line[LOG_LINE_MAX];
    unsigned used;
    unsigned addresses;
    uint64_t address[2]; /* linear ones that faults were about: of the first and of the last */
    bool has_selector;   /* that the first fault was about */
    uint16_t selector;
};

/* ---- Into the log --------------------------------------------------------------------------- */

static void put(void *context, const char *bytes, size_t count)
{
    struct report *report = context;
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] == '\n') {
            log_info("  %.*s", (int)report->used, report->line);
            report->used = 0;
        } else if (report->used < sizeof(report->line)) {
            report->line[report->used++] = bytes[i];
        }
    }
}

static void head(const struct report *report, const char *what)
{
    log_info("%s vcpu%u: %s", report->guest->vm.name, report->vcpu->index, what);
}

/* ---- Why ------------------------------------------------------------------------------------ */

static bool is_entry_failure(const struct report *report)
{
    return (report->vcpu->history.newest->reason & EXIT_ENTRY_FAILED) != 0;
}

static const char *reason_of(const struct report *report)
{
    switch (report->outcome) {
    case VM_TRIPLE_FAULT:
        return "post-mortem: triple fault: while #DF, a double fault, was delivered, another "
               "exception came up";
    case VM_TIMEOUT:
        return "post-mortem: its time was up; where it was:";
    case VM_WATCHDOG:
        return "post-mortem: its watchdog has expired; where it was:";
    case VM_PANIC:
        return "post-mortem: its kernel has panicked; where it was:";
    case VM_REJECTED:
        return "post-mortem: it has said what it must not say; where it was:";
    case VM_RESET:
        return "post-mortem: it was to be reset, and on-reset = stop; where it was:";
    default:
        return is_entry_failure(report)
                   ? "post-mortem: its processor could not be entered in this state"
                   : "post-mortem: it was stopped for what stands above";
    }
}

/* Its last words are always said; what comes again and again is not to fill the log. */
static bool may_report(struct guest *guest)
{
    bool is_last = guest->vm.outcome != VM_RUNNING && guest->config->on_end != CONFIG_END_RESTART;
    return is_last || log_guest_may_report(&guest->vm.log, REPORT_LINES);
}

/* SDM: Page-Fault Error Code. */
static void print_page_fault(const struct text *text, uint32_t code, uint64_t address)
{
    text_print(text, ": %s at 0x%lx, %s%s%s",
               (code & PF_FETCH) != 0   ? "a fetch"
               : (code & PF_WRITE) != 0 ? "a write"
                                        : "a read",
               address, (code & PF_USER) != 0 ? "as user, " : "",
               (code & PF_PRESENT) != 0 ? "against its rights" : "which is not mapped",
               (code & PF_RESERVED) != 0 ? ", by a reserved bit" : "");
}

/* SDM: Error Code: a selector, or the number of a gate. */
static void print_selector(const struct text *text, uint32_t code)
{
    if ((code & 2) != 0)
        text_print(text, ": entry %u of the IDT", code >> 3 & 0x1fff);
    else if ((code & 0xfffc) != 0)
        text_print(text, ": selector %04x of the %s", code & 0xfff8,
                   (code & 4) != 0 ? "LDT" : "GDT");
}

static void add_address(struct report *report, uint64_t address)
{
    for (unsigned i = 0; i < report->addresses; i++)
        if (report->address[i] / PAGE_SIZE == address / PAGE_SIZE)
            return;
    report->addresses += report->addresses < ARRAY_SIZE(report->address);
    report->address[report->addresses - 1] = address;
}

static void print_fault(struct report *report, const struct debug_fault *fault)
{
    const struct text *text = &report->text;
    unsigned vector = fault->information & 0xff;
    if (fault->information == 0) {
        text_print(text, "an access to guest-physical 0x%lx (%s)", fault->address,
                   exit_reason_name(fault->exit_reason));
    } else {
        gate_describe_event(text, fault->information);
        if ((fault->information & EVENT_HAS_ERROR) != 0)
            text_print(text, ", error code 0x%x", fault->error_code);
        if (vector == VECTOR_PF) {
            print_page_fault(text, fault->error_code, fault->address);
            add_address(report, fault->address);
        } else if ((fault->information & EVENT_HAS_ERROR) != 0 && fault->error_code != 0) {
            print_selector(text, fault->error_code);
            if ((fault->during & EVENT_VALID) == 0 && (fault->error_code & 2) == 0 &&
                (fault->error_code & 0xfffc) != 0) {
                report->has_selector = true;
                report->selector = (uint16_t)(fault->error_code & ~3u);
            }
        }
    }
    text_print(text, "\n");
}

/* Vectors that were delivered, each once and in turn. */
struct vectors {
    unsigned count;
    struct {
        uint8_t vector;
        bool is_software;
    } list[DEBUG_FAULTS_MAX + 2];
};

static void add_vector(struct vectors *vectors, unsigned vector, bool is_software)
{
    for (unsigned i = 0; i < vectors->count; i++)
        if (vectors->list[i].vector == vector)
            return;
    if (vectors->count == ARRAY_SIZE(vectors->list))
        return;
    vectors->list[vectors->count].vector = (uint8_t)vector;
    vectors->list[vectors->count++].is_software = is_software;
}

/* What was injected at the entry whose exit was the triple fault's. */
static struct event first_event(const struct vcpu *vcpu)
{
    const struct vcpu_exit *newest = vcpu->history.newest;
    const struct vcpu_exit *last = vcpu_exit_before(vcpu, newest);
    if (newest->reason != EXIT_TRIPLE_FAULT || last == NULL || last->event == 0)
        return (struct event){.valid = false};
    return (struct event){
        .valid = true,
        .type = (uint8_t)bits_get(last->event, 10, 8),
        .vector = (uint8_t)last->event,
        .has_error_code = (last->event & EVENT_HAS_ERROR) != 0,
        .error_code = (uint32_t)vmcs_read_optional(VMCS_VM_ENTRY_EXCEPTION_ERROR_CODE),
        .instruction_length = (uint8_t)vmcs_read_optional(VMCS_VM_ENTRY_INSTRUCTION_LENGTH),
    };
}

static void say_how(struct report *report, const struct debug_fault *fault, unsigned count,
                    const struct event *first)
{
    log_info("  the way to it, repeated with every exception made to exit:");
    for (unsigned i = 0; i < count; i++) {
        text_print(&report->text, "  %u. ", i + 1);
        if ((fault[i].during & EVENT_VALID) == 0) {
            text_print(&report->text, "at RIP 0x%lx: ", report->registers.rip);
        } else {
            text_print(&report->text, "%s",
                       i == 0 && first->valid ? "the event that was injected last, "
                                              : "the delivery of ");
            gate_describe_event(&report->text, fault[i].during);
            text_print(&report->text, ": ");
        }
        print_fault(report, &fault[i]);
    }
}

/* What was to be delivered when it ended: at an entry that failed, or by the exit that was the end
 * (SDM: Information for VM Exits That Occur During Event Delivery). */
static void find_under_way(struct report *report, struct vectors *vectors)
{
    const struct vcpu_exit *newest = report->vcpu->history.newest;
    const struct vcpu_exit *before = vcpu_exit_before(report->vcpu, newest);
    uint64_t information = vmcs_read_optional(VMCS_IDT_VECTORING_INFORMATION);
    if (is_entry_failure(report))
        information = before != NULL ? before->event : 0;
    bool is_event = is_entry_failure(report) ? information != 0 : (information & EVENT_VALID) != 0;
    if (!is_event)
        return;
    text_print(&report->text, "under way was the delivery of ");
    gate_describe_event(&report->text, (uint32_t)information);
    text_print(&report->text, "\n");
    add_vector(vectors, information & 0xff,
               bits_get(information, 10, 8) >= EVENT_SOFTWARE_INTERRUPT);
}

/* SDM: Exit Qualification for EPT Violations: whether there is a linear address, which is that of
 * an operand and not of a paging-structure entry. */
static void find_access(struct report *report)
{
    const struct vcpu_exit *newest = report->vcpu->history.newest;
    uint64_t qualification = newest->qualification;
    bool is_violation = newest->reason == EXIT_EPT_VIOLATION;
    if (!is_violation && newest->reason != EXIT_EPT_MISCONFIGURATION)
        return;
    text_print(&report->text, "its last exit was for %s of guest-physical 0x%lx",
               !is_violation              ? "an access"
               : (qualification & 4) != 0 ? "a fetch"
               : (qualification & 2) != 0 ? "a write"
                                          : "a read",
               vmcs_read_optional(VMCS_GUEST_PHYSICAL_ADDRESS));
    if (is_violation && (qualification & BIT(7)) != 0) {
        uint64_t linear = vmcs_read_optional(VMCS_GUEST_LINEAR_ADDRESS);
        text_print(&report->text, ", linear 0x%lx", linear);
        add_address(report, linear);
    }
    text_print(&report->text, "\n");
}

/* The triple fault once more, and which vectors were under way on the way to it. */
static void find_cause(struct report *report, struct vectors *vectors)
{
    struct debug_fault fault[DEBUG_FAULTS_MAX];
    struct event first = first_event(report->vcpu), none = {.valid = false};
    unsigned count = 0;
    if (report->vcpu->history.newest->reason != EXIT_TRIPLE_FAULT) {
        log_info("  it came of what exit %s raised:",
                 exit_reason_name(report->vcpu->history.newest->reason));
        find_under_way(report, vectors);
        find_access(report);
    } else {
        count = debug_repeat_fault(report->vcpu, &first, fault);
        if (count == 0 && first.valid)
            count = debug_repeat_fault(report->vcpu, &none, fault);
    }
    if (count != 0)
        say_how(report, fault, count, &first);
    else if (report->vcpu->history.newest->reason == EXIT_TRIPLE_FAULT)
        log_info("  the instruction at RIP raises nothing when it is tried again: an event from "
                 "outside, or a trap, began it");
    for (unsigned i = 0; i < count; i++)
        if ((fault[i].during & EVENT_VALID) != 0)
            add_vector(vectors, fault[i].during & 0xff,
                       bits_get(fault[i].during, 10, 8) >= EVENT_SOFTWARE_INTERRUPT);
    if (count != 0 && fault[0].information != 0 && (fault[0].during & EVENT_VALID) == 0)
        add_vector(vectors, fault[0].information & 0xff, false);
    add_vector(vectors, VECTOR_DF, false);
}

/* ---- Tables --------------------------------------------------------------------------------- */

static void show_gates(struct report *report, const struct vectors *vectors)
{
    struct gate_view view = {&report->registers, &report->paging, &report->guest->vm.mem};
    for (unsigned i = 0; i < vectors->count; i++) {
        struct gate_failure failure;
        if (gate_describe(&report->text, &view, vectors->list[i].vector,
                          vectors->list[i].is_software, &failure) &&
            failure.has_address)
            add_address(report, failure.address);
    }
    if (report->has_selector)
        gate_describe_selector(&report->text, &view, report->selector);
}

/* What the registers of a state that cannot be entered were loaded from. */
static void show_descriptors(struct report *report)
{
    static const uint8_t shown[] = {SEG_CS, SEG_SS, SEG_LDTR, SEG_TR};
    struct gate_view view = {&report->registers, &report->paging, &report->guest->vm.mem};
    if ((report->registers.cr0 & CR0_PE) == 0 || (report->registers.rflags & RFLAGS_VM) != 0)
        return;
    for (unsigned i = 0; i < ARRAY_SIZE(shown); i++)
        if ((report->registers.segment[shown[i]].selector & ~3u) != 0)
            gate_describe_selector(&report->text, &view,
                                   report->registers.segment[shown[i]].selector);
}

static void show_walk(struct report *report, const char *what, uint64_t linear)
{
    const struct guest_mem *mem = &report->guest->vm.mem;
    struct page_walk walk;
    uint64_t available;
    page_walk(&report->paging, mem, linear, &walk);
    text_print(&report->text, "%s 0x%lx", what, linear);
    describe_symbol(&report->text, &report->symbols, linear);
    text_print(&report->text, ", %s:", walk.mode);
    if (walk.why == NULL)
        text_print(&report->text, " guest-physical 0x%lx, %s\n", walk.gpa.v,
                   guest_mem_span(mem, walk.gpa, &available) != NULL          ? "memory"
                   : bus_claims(&report->guest->vm.bus, BUS_MMIO, walk.gpa.v) ? "a device"
                                                                              : "nothing");
    else
        text_print(&report->text, " no translation: %s\n", walk.why);
    describe_walk(&report->text, &walk);
}

static uint64_t linear_of(const struct report *report, enum segment_register number,
                          uint64_t offset)
{
    const struct vcpu_registers *registers = &report->registers;
    bool is_64bit =
        (registers->efer & EFER_LMA) != 0 && (registers->segment[SEG_CS].access & SEGMENT_L) != 0;
    return is_64bit ? offset : (uint32_t)(registers->segment[number].base + offset);
}

/* As much as can be read of what lies there, number by number. */
static void show_memory(struct report *report, const char *what, uint64_t linear, unsigned count,
                        unsigned width)
{
    uint8_t bytes[8 * STACK_SHOWN];
    unsigned a_line = width == 1 ? CODE_SHOWN : 32 / width;
    size_t read =
        page_walk_read(&report->paging, &report->guest->vm.mem, linear, bytes, count * width);
    for (unsigned i = 0; i < read / width; i++) {
        uint64_t value = 0;
        memcpy(&value, bytes + i * width, width);
        if (i % a_line == 0)
            text_print(&report->text, "%s%s at 0x%lx:", i != 0 ? "\n" : "", what,
                       linear + i * width);
        text_print(&report->text, " %0*lx", (int)(2 * width), value);
    }
    if (read / width != 0)
        text_print(&report->text, "\n");
}

static unsigned word_size(const struct report *report, enum segment_register number)
{
    uint32_t access = report->registers.segment[number].access;
    bool is_64bit = (report->registers.efer & EFER_LMA) != 0 &&
                    (report->registers.segment[SEG_CS].access & SEGMENT_L) != 0;
    return is_64bit                                                              ? 8
           : (access & SEGMENT_DB) != 0 && (report->registers.cr0 & CR0_PE) != 0 ? 4
                                                                                 : 2;
}

/* Walks are by memory, as the next load of CR3 would have them; the processor has these. */
static void show_pdptes(struct report *report)
{
    const uint64_t *pdpte = report->paging.pdpte;
    bool is_pae = (report->registers.cr0 & CR0_PG) != 0 && (report->registers.cr4 & CR4_PAE) != 0 &&
                  (report->registers.efer & EFER_LMA) == 0;
    if (is_pae)
        text_print(&report->text, "PDPTE registers %lx %lx %lx %lx\n", pdpte[0], pdpte[1], pdpte[2],
                   pdpte[3]);
}

static void show_walks(struct report *report)
{
    const struct vcpu_registers *registers = &report->registers;
    unsigned word = word_size(report, SEG_SS);
    uint64_t rip = linear_of(report, SEG_CS, registers->rip);
    uint64_t mask = word == 2 ? 0xffff : word == 4 ? UINT32_MAX : UINT64_MAX;
    uint64_t rsp = linear_of(report, SEG_SS, registers->gpr[GPR_RSP] & mask);
    show_pdptes(report);
    show_walk(report, "RIP", rip);
    show_memory(report, "code", rip, CODE_SHOWN, 1);
    show_walk(report, "RSP", rsp);
    show_memory(report, "stack", rsp, STACK_SHOWN, word);
    for (unsigned i = 0; i < report->addresses; i++)
        show_walk(report, "a fault's address", report->address[i]);
    if (report->addresses != 0)
        return;
    if (report->outcome == VM_TRIPLE_FAULT && report->registers.cr2 != 0)
        show_walk(report, "CR2", report->registers.cr2);
}

/* ---- What it did ---------------------------------------------------------------------------- */

static void show_calls(struct report *report)
{
    struct backtrace trace;
    backtrace_collect(&trace, &report->registers, &report->paging, &report->guest->vm.mem);
    if (trace.count > FRAMES_SHOWN)
        trace.count = FRAMES_SHOWN;
    if (trace.count < 2)
        return;
    head(report, "its calls by frame pointers:");
    backtrace_describe(&report->text, &report->symbols, &trace);
}

static void show_events(struct report *report)
{
    const struct vcpu_exit *with[VCPU_HISTORY], *exit = NULL;
    unsigned count = 0;
    for (unsigned i = 0; i < VCPU_HISTORY; i++) {
        exit = vcpu_exit_before(report->vcpu, exit);
        if (exit == NULL)
            break;
        if (exit->event != 0)
            with[count++] = exit;
    }
    text_print(&report->text, "%u events injected after these exits%s\n", count,
               count != 0 ? ":" : "");
    while (count-- > 0) {
        text_print(&report->text, "  ");
        gate_describe_event(&report->text, with[count]->event);
        text_print(&report->text, "%s, after the exit at rip %016lx\n",
                   (with[count]->event & EVENT_HAS_ERROR) != 0 ? " with an error code" : "",
                   with[count]->rip);
    }
}

void post_mortem_report(struct guest *guest, enum vm_outcome outcome)
{
    struct vectors vectors = {0};
    struct report report = {
        .guest = guest,
        .vcpu = &guest->vcpu[0],
        .outcome = outcome,
        .symbols = debug_symbols(guest),
    };
    if (!may_report(guest))
        return;
    report.text = (struct text){put, &report};
    vmx_vcpu_get_registers(report.vcpu, &report.registers);
    vmx_vcpu_get_paging(report.vcpu, &report.paging);
    head(&report, reason_of(&report));
    describe_registers(&report.text, &report.symbols, &report.registers);
    if (outcome == VM_TRIPLE_FAULT) {
        find_cause(&report, &vectors);
    } else {
        find_under_way(&report, &vectors);
        find_access(&report);
    }
    show_gates(&report, &vectors);
    if (is_entry_failure(&report))
        show_descriptors(&report);
    show_walks(&report);
    show_calls(&report);
    vmx_log_history(report.vcpu);
    show_events(&report);
}

/*
 * Catches: stops at what exits anyway, or is made to. The guest stops when the instruction is over,
 * as it does for a watchpoint; at an exception, before that is delivered; at a reset, before that
 * happens.
 */
#include "kernel/core/cpu.h"
#include "kernel/core/mem.h"
#include "kernel/core/msr.h"
#include "vmx/debug_internal.h"

#define IO_IN BIT(3) /* SDM: Exit Qualification for I/O Instructions */
#define CR_NUMBER MASK(3, 0)

/* ---- What is caught ------------------------------------------------------------------------- */

static void catch_msr(uint8_t *bitmap, const struct catch *catch)
{
    uint32_t offset = catch->first >= 0xc0000000 ? 1024 : 0, index = catch->first & 0x1fff;
    if (catch->access & CATCH_READ)
        bitmap[offset + index / 8] |= (uint8_t)(1u << index % 8);
    if (catch->access & CATCH_WRITE)
        bitmap[2048 + offset + index / 8] |= (uint8_t)(1u << index % 8);
}

/* SDM: MSR-Bitmap Address: other MSRs exit always. */
static void fill_bitmap(const struct debug_catches *catches, const struct vmx_vm *vm)
{
    const struct ept_ports *ports = &vm->ept.ports;
    uint8_t *bitmap = ports->map(ports->context, catches->msr_bitmap);
    memcpy(bitmap, ports->map(ports->context, vm->msr_bitmap), PAGE_SIZE);
    for (unsigned i = 0; i < catches->count; i++)
        if (catches->catch[i].kind == CATCH_MSR)
            catch_msr(bitmap, &catches->catch[i]);
}

static void sum_up(struct vcpu *vcpu)
{
    struct debug_catches *catches = &vmx_of(vcpu)->debug.catches;
    uint32_t resets = 0;
    catches->vectors = catches->control = 0;
    catches->by_steps = false;
    for (unsigned i = 0; i < catches->count; i++) {
        const struct catch *catch = &catches->catch[i];
        catches->vectors |= catch->kind == CATCH_EXCEPTION ? 1u << catch->first : 0;
        catches->control |= catch->kind == CATCH_CR ? 1u << catch->first : 0;
        catches->by_steps |= catch->kind == CATCH_MODE && catch->first >= CATCH_MODE_V86;
        resets |= catch->kind == CATCH_RESET ? 1u << VM_RESET : 0;
        resets |= catch->kind <= CATCH_TRIPLE_FAULT ? 1u << VM_TRIPLE_FAULT : 0;
    }
    vcpu->vm->reset_catches = resets;
    if (catches->msr_bitmap.v != 0)
        fill_bitmap(catches, vmx_of(vcpu)->vm);
    debug_apply(vcpu);
    if (catches->by_steps) /* from the next instruction on */
        vmcs_write(VMCS_VMX_PREEMPTION_TIMER_VALUE, 0);
}

enum status debug_add_catch(struct vcpu *vcpu, const struct catch *wanted, hpa_t msr_bitmap,
                            uint16_t *id)
{
    struct debug_catches *catches = &vmx_of(vcpu)->debug.catches;
    if (catches->count == DEBUG_CATCHES_MAX)
        return ERR_NO_SPACE;
    struct catch *catch = &catches->catch[catches->count++];
    *catch = *wanted;
    *id = catch->id = ++catches->last_id;
    catches->msr_bitmap = msr_bitmap;
    sum_up(vcpu);
    return STATUS_OK;
}

/* Those that are not to go; true: some have. */
static bool keep(struct vcpu *vcpu, uint16_t id, bool gdbs_only)
{
    struct debug_catches *catches = &vmx_of(vcpu)->debug.catches;
    unsigned kept = 0, before = catches->count;
    for (unsigned i = 0; i < before; i++) {
        const struct catch *catch = &catches->catch[i];
        if (id != 0 ? catch->id != id : gdbs_only && !catch->is_gdbs)
            catches->catch[kept++] = *catch;
    }
    catches->count = kept;
    if (kept != before)
        sum_up(vcpu);
    return kept != before;
}

enum status debug_remove_catch(struct vcpu *vcpu, uint16_t id)
{
    return id != 0 && keep(vcpu, id, false) ? STATUS_OK : ERR_NOT_FOUND;
}

void debug_remove_catches(struct vcpu *vcpu, bool gdbs_only)
{
    (void)keep(vcpu, 0, gdbs_only);
}

/* ---- What happens --------------------------------------------------------------------------- */

static uint64_t read_control(struct vcpu *vcpu, unsigned number)
{
    uint64_t value = 0;
    if (number == 0 || number == 4)
        return number == 0 ? cr_read_cr0() : cr_read_cr4();
    if (number == 3)
        return vmcs_read(VMCS_GUEST_CR3);
    spinlock_acquire(&vcpu->vm->lock);
    value = vcpu->intc_ops->read_cr8(vcpu->intc);
    spinlock_release(&vcpu->vm->lock);
    return value;
}

static enum catch_mode read_mode(void)
{
    uint64_t cr0 = cr_read_cr0();
    if (vmcs_read(VMCS_GUEST_IA32_EFER) & EFER_LMA)
        return CATCH_MODE_LONG;
    return cr0 & CR0_PG ? CATCH_MODE_PAGED : cr0 & CR0_PE ? CATCH_MODE_PROTECTED : CATCH_MODE_REAL;
}

/* With what the guest changes without an exit, where it goes by single instructions. */
static enum catch_mode see_mode(const struct vcpu *vcpu)
{
    enum catch_mode mode = read_mode();
    if (!vmx_of(vcpu)->debug.catches.by_steps)
        return mode;
    if (mode == CATCH_MODE_LONG)
        return state_is_64bit() ? CATCH_MODE_LONG : CATCH_MODE_COMPATIBILITY;
    return vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_VM ? CATCH_MODE_V86 : mode;
}

static void see_msr(struct vcpu *vcpu, struct catch_event *event, bool is_write)
{
    event->kind = CATCH_MSR;
    event->access = is_write ? CATCH_WRITE : CATCH_READ;
    event->number = (uint32_t)vcpu->gpr[GPR_RCX];
    (void)!debug_read_msr(vcpu, event->number, &event->before);
}

static void see_port(const struct vcpu *vcpu, struct catch_event *event)
{
    uint64_t qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);
    event->kind = CATCH_PORT;
    event->access = qualification & IO_IN ? CATCH_READ : CATCH_WRITE;
    event->number = (uint32_t)bits_get(qualification, 31, 16);
    event->before = bits_size_mask((qualification & 7) + 1); /* of the value */
    event->after = vcpu->gpr[GPR_RAX] & event->before;
}

/* What the exit is about, before it is handled. */
static void look_before(struct vcpu *vcpu, struct catch_event *event)
{
    uint64_t qualification;
    uint32_t reason = (uint32_t)vmcs_read(VMCS_EXIT_REASON);
    *event = (struct catch_event){.rip = vmcs_read(VMCS_GUEST_RIP)};
    switch (reason) {
    case EXIT_REASON_RDMSR:
    case EXIT_REASON_WRMSR:
        see_msr(vcpu, event, reason == EXIT_REASON_WRMSR);
        return;
    case EXIT_REASON_IO_INSTRUCTION:
        see_port(vcpu, event);
        return;
    case EXIT_REASON_CPUID:
        event->kind = CATCH_CPUID;
        event->number = (uint32_t)vcpu->gpr[GPR_RAX];
        event->after = (uint32_t)vcpu->gpr[GPR_RCX];
        return;
    case EXIT_REASON_CONTROL_REGISTER_ACCESS:
        qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);
        if (bits_get(qualification, 5, 4) == 1)
            return; /* a store */
        event->kind = CATCH_CR;
        event->number = bits_get(qualification, 5, 4) == 0 ? qualification & CR_NUMBER : 0;
        event->before = read_control(vcpu, event->number);
        return;
    default:
        return;
    }
}

/* What has come of it. */
static void look_after(struct vcpu *vcpu, struct catch_event *event)
{
    event->has_failed = vcpu->events.next.valid && vmcs_read(VMCS_GUEST_RIP) == event->rip;
    if (event->kind == CATCH_MSR && event->access == CATCH_WRITE)
        (void)!debug_read_msr(vcpu, event->number, &event->after);
    else if (event->kind == CATCH_PORT && event->access == CATCH_READ)
        event->after = vcpu->gpr[GPR_RAX] & event->before;
    else if (event->kind == CATCH_CR)
        event->after = read_control(vcpu, event->number);
}

static bool judge(struct vcpu *vcpu, struct catch_event *event)
{
    struct debug_catches *catches = &vmx_of(vcpu)->debug.catches;
    for (unsigned i = 0; i < catches->count; i++) {
        if (!catch_meets(&catches->catch[i], event))
            continue;
        char text[CATCH_TEXT_MAX];
        struct debug_stop stop = {.reason = DEBUG_CAUGHT, .event = *event};
        catch_describe(event, text);
        log_guest(&vcpu->vm->log, "catch %u: %s; paused", event->id, text);
        debug_stop(vcpu, &stop);
        return true;
    }
    return false;
}

/* An exception that waits to be delivered. */
static bool judge_exception(struct vcpu *vcpu, uint64_t rip)
{
    const struct event *next = &vcpu->events.next;
    struct catch_event event = {.kind = CATCH_EXCEPTION, .rip = rip, .number = next->vector};
    if (!next->valid || next->type < EVENT_HARDWARE_EXCEPTION ||
        next->type == EVENT_SOFTWARE_INTERRUPT)
        return false;
    event.after = next->has_error_code ? next->error_code : 0;
    event.before = next->vector == VECTOR_PF ? hw_read_cr2() : 0;
    return judge(vcpu, &event);
}

static bool judge_reset(struct vcpu *vcpu, uint64_t rip)
{
    struct catch_event event = {
        .kind = vcpu->vm->reset_caught == VM_TRIPLE_FAULT ? CATCH_TRIPLE_FAULT : CATCH_RESET,
        .rip = rip};
    return vcpu->vm->reset_caught != VM_RUNNING && judge(vcpu, &event);
}

/* An exception that exits for a catch alone; others have a handler. */
static bool take_exception(struct vcpu *vcpu)
{
    struct vmx_exit exit = {.reason = EXIT_REASON_EXCEPTION_OR_NMI};
    const struct vmx_debug *debug = &vmx_of(vcpu)->debug;
    uint32_t information = (uint32_t)vmcs_read(VMCS_VM_EXIT_INTERRUPTION_INFORMATION);
    unsigned vector = information & 0x1f;
    if (vmcs_read(VMCS_EXIT_REASON) != EXIT_REASON_EXCEPTION_OR_NMI ||
        bits_get(information, 10, 8) == EVENT_NMI || debug->exceptions >> vector & 1)
        return false;
    vcpu->exit_count[EXIT_REASON_EXCEPTION_OR_NMI]++;
    inject_collect(vcpu, &exit);
    debug_pass_on(vcpu, information);
    return true;
}

void debug_handle_exit(struct vcpu *vcpu)
{
    const struct debug_catches *catches = &vmx_of(vcpu)->debug.catches;
    struct catch_event event, mode;
    bool was_delivering = vmcs_read(VMCS_IDT_VECTORING_INFORMATION) & EVENT_INFORMATION_VALID;
    if (catches->count == 0) {
        exit_handle(vcpu);
        return;
    }
    look_before(vcpu, &event);
    mode = (struct catch_event){.kind = CATCH_MODE, .rip = event.rip, .before = see_mode(vcpu)};
    bool is_exception = take_exception(vcpu);
    if (!is_exception)
        exit_handle(vcpu);
    look_after(vcpu, &event);
    mode.number = see_mode(vcpu);
    if (judge_reset(vcpu, event.rip) || judge(vcpu, &event) ||
        (mode.before != mode.number && judge(vcpu, &mode)))
        return;
    if (is_exception || !was_delivering)
        (void)judge_exception(vcpu, event.rip);
}

void debug_see_exception(struct vcpu *vcpu, uint32_t information)
{
    uint64_t rip = vmcs_read(VMCS_GUEST_RIP);
    debug_pass_on(vcpu, information);
    if (vmx_of(vcpu)->debug.catches.count != 0 && !judge_reset(vcpu, rip))
        (void)judge_exception(vcpu, rip);
}

/* An instruction, or the delivery of what waits for the next entry; and what mode it has led to. */
static void step_by_mode(struct vcpu *vcpu)
{
    struct vmx_debug *debug = &vmx_of(vcpu)->debug;
    struct catch_event event = {
        .kind = CATCH_MODE, .rip = vmcs_read(VMCS_GUEST_RIP), .before = see_mode(vcpu)};
    debug->left_at = hw_rdtsc();
    debug->has_stepped = true;
    if (vmcs_read(VMCS_VM_ENTRY_INTERRUPTION_INFORMATION) & EVENT_INFORMATION_VALID)
        debug_deliver(vcpu);
    else
        (void)debug_step_over_point(vcpu, event.rip);
    event.number = see_mode(vcpu);
    if (event.before != event.number && !debug->has_stopped)
        (void)judge(vcpu, &event);
}

/* What waits for a window has none while instructions are stepped: it is looked for behind each. */
bool debug_run_by_mode(struct vcpu *vcpu)
{
    const struct debug_catches *catches = &vmx_of(vcpu)->debug.catches;
    bool enters = true;
    while (enters && catches->by_steps && vcpu->activity == VCPU_RUNNING) {
        step_by_mode(vcpu);
        if (cpu_takes_lines(cpu_this()))
            hw_take_interrupts();
        if (vmx_of(vcpu)->primary & (CONTROL_INTERRUPT_WINDOW_EXITING | CONTROL_NMI_WINDOW_EXITING))
            vcpu_request(vcpu, VCPU_REQUEST_EVENT);
        enters = run_prepare_later(vcpu);
    }
    return enters;
}

/* ---- MSRs ----------------------------------------------------------------------------------- */

/* Where the VMCS has it; false: it does not. */
static bool field_of(uint32_t msr, enum vmcs_field *field)
{
    static const struct {
        uint32_t msr;
        uint32_t field;
    } direct[] = {
        {MSR_IA32_SYSENTER_CS, VMCS_GUEST_IA32_SYSENTER_CS},
        {MSR_IA32_SYSENTER_ESP, VMCS_GUEST_IA32_SYSENTER_ESP},
        {MSR_IA32_SYSENTER_EIP, VMCS_GUEST_IA32_SYSENTER_EIP},
        {MSR_IA32_PAT, VMCS_GUEST_IA32_PAT},
        {MSR_IA32_FS_BASE, VMCS_GUEST_FS_BASE},
        {MSR_IA32_GS_BASE, VMCS_GUEST_GS_BASE},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(direct); i++)
        if (direct[i].msr == msr) {
            *field = (enum vmcs_field)direct[i].field;
            return true;
        }
    return false;
}

bool debug_read_direct(uint32_t msr, uint64_t *value)
{
    enum vmcs_field field;
    if (!field_of(msr, &field))
        return false;
    *value = vmcs_read(field);
    return true;
}

/* SDM: IA32_PAT MSR: eight memory types. */
static bool is_valid_pat(uint64_t value)
{
    for (unsigned i = 0; i < 8; i++, value >>= 8)
        if ((value & 0xff) > 7 || (value & 0xff) == 2 || (value & 0xff) == 3)
            return false;
    return true;
}

bool debug_write_direct(uint32_t msr, uint64_t value)
{
    enum vmcs_field field;
    bool is_valid = msr == MSR_IA32_PAT           ? is_valid_pat(value)
                    : msr == MSR_IA32_SYSENTER_CS ? true
                                                  : is_canonical(value);
    if (!is_valid || !field_of(msr, &field))
        return false;
    vmcs_write(field, value);
    return true;
}

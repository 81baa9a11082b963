/*
 * One instruction by itself: entered with the trap flag set and everything that it raises exiting,
 * under the VM's own EPT. Interrupts and NMIs are held off. The flag is nothing that the guest
 * sees: what would show it to it (PUSHF, INT n), or end in no trap (SYSCALL), is dealt with here.
 * An exception's delivery, or an interrupt's, is a step too, to the first instruction of its
 * handler.
 */
#include "kernel/core/mem.h"
#include "kernel/core/msr.h"
#include "kernel/core/smp.h"
#include "vmx/debug_internal.h"

#define TRIES_MAX 64

#define PUSHF 0x9c
#define POPF 0x9d
#define INT_N 0xcd
#define IRET 0xcf
#define SYSCALL 0x0f05
#define SYSRET 0x0f07
#define REX_W 8

#define WINDOWS (CONTROL_INTERRUPT_WINDOW_EXITING | CONTROL_NMI_WINDOW_EXITING)
#define ALL_TRAPS (PENDING_DEBUG_ENABLED | PENDING_DEBUG_BS)

struct one {
    struct vcpu *vcpu;
    bool by_flag, by_monitor; /* how it ends */
    uint64_t rip, rflags, traps, debugctl;
    unsigned opcode, length; /* of two bytes, where it begins with 0F; up to its last byte */
    uint8_t immediate;       /* the byte behind it */
    uint8_t rex;             /* the byte before it, if that is such a prefix */
    bool repeats, is_locked;
    unsigned count;    /* of the bytes from RIP on that could be read */
    bool is_whole;     /* executed up to a breakpoint of the processor's, */
    uint64_t target;   /* at this linear address */
    uint64_t dr0, dr7; /* the guest's */
};

/* ---- The instruction's bytes ---------------------------------------------------------------- */

static uint64_t linear_rip(uint64_t rip)
{
    return state_is_64bit() ? rip : (uint32_t)(vmcs_read(VMCS_GUEST_CS_BASE) + rip);
}

unsigned debug_fetch(struct vcpu *vcpu, uint64_t rip, uint8_t bytes[INSTRUCTION_BYTES_MAX])
{
    struct paging paging;
    struct exception exception;
    uint64_t linear = linear_rip(rip);
    unsigned count = 0;
    gpa_t gpa;
    vmx_vcpu_get_paging(vcpu, &paging);
    while (count < INSTRUCTION_BYTES_MAX) {
        unsigned in_page = PAGE_SIZE - (linear + count) % PAGE_SIZE;
        unsigned left = INSTRUCTION_BYTES_MAX - count, piece = left < in_page ? left : in_page;
        if (guest_walk(&paging, &vcpu->vm->mem, GVA(linear + count), GUEST_WALK_PEEK, &gpa,
                       &exception) != STATUS_OK ||
            guest_mem_read(&vcpu->vm->mem, gpa, &bytes[count], piece) != STATUS_OK)
            break;
        count += piece;
    }
    return count;
}

static bool is_prefix(uint8_t byte, bool is_64bit)
{
    static const uint8_t prefixes[] = {0x66, 0x67, 0xf2, 0xf3, 0x2e, 0x36,
                                       0x3e, 0x26, 0x64, 0x65, 0xf0};
    for (unsigned i = 0; i < ARRAY_SIZE(prefixes); i++)
        if (byte == prefixes[i])
            return true;
    return is_64bit && (byte & 0xf0) == 0x40;
}

static void look_at_opcode(struct one *one)
{
    uint8_t bytes[INSTRUCTION_BYTES_MAX + 2] = {0};
    unsigned count = debug_fetch(one->vcpu, one->rip, bytes), at = 0;
    bool is_64bit = state_is_64bit();
    one->count = count;
    while (at < count && is_prefix(bytes[at], is_64bit)) {
        one->is_locked = one->is_locked || bytes[at] == 0xf0;
        one->repeats = one->repeats || (bytes[at] & ~1u) == 0xf2;
        one->rex = (bytes[at] & 0xf0) == 0x40 ? bytes[at] : 0;
        at++;
    }
    one->opcode = bytes[at];
    if (one->opcode == 0x0f)
        one->opcode = 0x0f00u | bytes[++at];
    one->length = at + 1;
    one->immediate = bytes[at + 1];
}

/* ---- Entries -------------------------------------------------------------------------------- */

/* While instructions are executed one by one, only what they take themselves is the guest's time:
 * else a timer whose period is shorter than a step would let it get no further than its handler.
 * What handles another exit's instruction takes the guest's time as ever, since it may have told
 * the guest of it. Hidden in units by which the preemption timer counts. */
void debug_hide_time(struct vcpu *vcpu)
{
    struct vmx_debug *debug = &vmx_of(vcpu)->debug;
    unsigned shift = VMX_MISC_PREEMPTION_SHIFT(vmx_of(vcpu)->cpu->capabilities.misc);
    uint64_t hidden = align_down(hw_rdtsc() - debug->left_at, BIT(shift));
    spinlock_acquire(&vcpu->vm->lock);
    vcpu->vm->behind += hidden;
    spinlock_release(&vcpu->vm->lock);
    debug->left_at += hidden;
    vmcs_write(VMCS_TSC_OFFSET, vcpu_machine_tsc_offset(vcpu));
}

static bool enter(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = vmx_of(vcpu);
    if (vmx->debug.is_stepping)
        debug_hide_time(vcpu);
    bool entered = vmx_guest_once(vcpu, vmx->launched) == 0;
    vmx->debug.left_at = hw_rdtsc();
    return entered;
}

/* All controls are what they were afterwards. */
bool debug_enter(struct vcpu *vcpu, uint32_t exceptions, uint32_t timer)
{
    struct vmx_vcpu *vmx = vmx_of(vcpu);
    uint64_t host_rsp = vmcs_read(VMCS_HOST_RSP), host_rip = vmcs_read(VMCS_HOST_RIP);
    uint64_t own_exceptions = vmcs_read(VMCS_EXCEPTION_BITMAP), ept = vmcs_read(VMCS_EPT_POINTER);
    vmcs_write(VMCS_EXCEPTION_BITMAP, exceptions);
    vmcs_write(VMCS_PROCESSOR_BASED_CONTROLS, (vmx->primary & ~WINDOWS) | vmx->debug.step_controls);
    vmcs_write(VMCS_EPT_POINTER,
               ept_pointer(vmx->debug.step_tree != NULL ? vmx->debug.step_tree : &vmx->vm->used));
    vmcs_write(VMCS_VMX_PREEMPTION_TIMER_VALUE, timer);
    vmcs_write(VMCS_HOST_RIP, (uintptr_t)vmx_once_stub);
    bool entered = enter(vcpu);
    vmx->launched = vmx->launched || entered;
    vmx->look_at = 0; /* the timer wants to be set anew */
    vmcs_write(VMCS_HOST_RSP, host_rsp);
    vmcs_write(VMCS_HOST_RIP, host_rip);
    vmcs_write(VMCS_EPT_POINTER, ept);
    vmcs_write(VMCS_PROCESSOR_BASED_CONTROLS, vmx->primary);
    vmcs_write(VMCS_EXCEPTION_BITMAP, own_exceptions);
    return entered;
}

/* An exit of an instruction that has to be carried out, or of no instruction at all. */
static bool is_between(uint64_t reason)
{
    return reason == EXIT_REASON_EXTERNAL_INTERRUPT || reason == EXIT_REASON_PREEMPTION_TIMER ||
           (reason == EXIT_REASON_EXCEPTION_OR_NMI &&
            bits_get(vmcs_read(VMCS_VM_EXIT_INTERRUPTION_INFORMATION), 10, 8) == EVENT_NMI);
}

static bool is_leaving(const struct vcpu *vcpu)
{
    return __atomic_load_n(&vcpu->requests, __ATOMIC_RELAXED) & VCPU_REQUEST_STOP;
}

/* Somebody pauses it, or wants to look at it. */
static bool is_wanted(const struct vcpu *vcpu)
{
    return vm_is_paused(vcpu->vm) ||
           (__atomic_load_n(&vcpu->requests, __ATOMIC_RELAXED) & VCPU_REQUEST_DEBUG) != 0;
}

static void fail(struct vcpu *vcpu)
{
    log_error("%s: a step's VM entry failed", vcpu->vm->name);
    vm_stop(vcpu->vm, VM_STOPPED, 0);
}

static void handle_exit(struct vcpu *vcpu)
{
    debug_handle_exit(vcpu);
    vmx_of(vcpu)->debug.left_at = hw_rdtsc();
}

/* What waits in vcpu->events goes in, and nothing is executed: the preemption timer has run out
 * before. SDM: VMX-Preemption Timer. */
static void deliver(struct vcpu *vcpu)
{
    for (unsigned i = 0; i < TRIES_MAX && vcpu->events.next.valid && !is_leaving(vcpu); i++) {
        uint64_t exceptions = vmcs_read(VMCS_EXCEPTION_BITMAP);
        inject_next(vcpu);
        if (!debug_enter(vcpu, (uint32_t)exceptions, 0)) {
            fail(vcpu);
            return;
        }
        handle_exit(vcpu);
    }
}

void debug_deliver(struct vcpu *vcpu)
{
    struct vmx_debug *debug = &vmx_of(vcpu)->debug;
    debug->is_stepping = true;
    if (debug_enter(vcpu, (uint32_t)vmcs_read(VMCS_EXCEPTION_BITMAP), 0))
        handle_exit(vcpu);
    else
        fail(vcpu);
    if (!vm_is_paused(vcpu->vm))
        deliver(vcpu);
    debug->is_stepping = false;
}

/* ---- The step ------------------------------------------------------------------------------- */

/* SDM: Repeat String Operation Prefix: INS, OUTS; MOVS, CMPS; STOS, LODS, SCAS. */
static bool is_string(unsigned opcode)
{
    return (opcode & ~3u) == 0x6c || (opcode & ~3u) == 0xa4 || (opcode & ~1u) == 0xaa ||
           (opcode & ~3u) == 0xac;
}

/* The trap flag would end each of its repetitions: where nobody looks at those, a breakpoint behind
 * it ends them all. The guest's own take precedence. */
static bool is_whole_string(struct one *one)
{
    one->target = linear_rip(one->rip + one->length);
    return vmx_of(one->vcpu)->debug.takes_whole && one->repeats && is_string(one->opcode) &&
           !(vmcs_read(VMCS_GUEST_DR7) & DR7_ENABLES);
}

/* SYSCALL and SYSRET end in a trap if the flags that they load say so, which is not for us to
 * change. SDM: SYSCALL; SYSRET. */
static bool is_system_call(struct one *one)
{
    uint64_t rcx = one->vcpu->gpr[GPR_RCX];
    if (!state_is_64bit() || vmx_of(one->vcpu)->debug.trap == DEBUG_TRAP_MONITOR)
        return false;
    if (one->opcode == SYSCALL)
        return hw_rdmsr_safe(MSR_IA32_LSTAR, &one->target) == STATUS_OK;
    one->target = one->rex & REX_W ? rcx : (uint32_t)rcx;
    return one->opcode == SYSRET && !(one->vcpu->gpr[GPR_R11] & RFLAGS_TF);
}

static bool is_for_whole(struct one *one)
{
    return !(one->rflags & RFLAGS_TF) && (is_system_call(one) || is_whole_string(one));
}

static void set_breakpoint(struct one *one)
{
    one->dr0 = hw_read_dr(0);
    one->dr7 = vmcs_read(VMCS_GUEST_DR7);
    hw_write_dr(0, one->target);
    vmcs_write(VMCS_GUEST_DR7, DR7_FIXED_1 | BIT(0));
}

static void clear_breakpoint(const struct one *one)
{
    hw_write_dr(0, one->dr0);
    vmcs_write(VMCS_GUEST_DR7, one->dr7);
}

/* SDM: Monitor Trap Flag: it comes behind the instruction whatever that is, and nobody sees it. */
static void choose_trap(struct one *one)
{
    struct vmx_vcpu *vmx = vmx_of(one->vcpu);
    bool has_monitor =
        vmx->cpu->capabilities.control[CONTROL_PRIMARY] >> 32 & CONTROL_MONITOR_TRAP_FLAG;
    one->by_monitor = has_monitor && !one->is_whole && vmx->debug.trap != DEBUG_TRAP_FLAG;
    one->by_flag = !one->by_monitor || vmx->debug.trap == DEBUG_TRAP_UNKNOWN;
    vmx->debug.step_controls = one->by_monitor ? CONTROL_MONITOR_TRAP_FLAG : 0;
}

static void begin(struct one *one)
{
    one->is_whole = is_for_whole(one);
    choose_trap(one);
    if (!one->by_flag)
        return;
    uint64_t shadow = vmcs_read(VMCS_GUEST_INTERRUPTIBILITY_STATE);
    if (one->is_whole)
        set_breakpoint(one);
    else
        vmcs_write(VMCS_GUEST_RFLAGS, one->rflags | RFLAGS_TF);
    vmcs_write(VMCS_GUEST_INTERRUPTIBILITY_STATE, shadow & ~BLOCKING_BY_SHADOW);
    vmcs_write(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS, 0);
    vmcs_write(VMCS_GUEST_IA32_DEBUGCTL, 0);
}

/* The copy of the flags that PUSHF has left on the stack. */
static void mend_stack(struct vcpu *vcpu)
{
    struct paging paging;
    struct exception exception;
    gpa_t gpa;
    uint8_t byte;
    uint64_t sp = vmcs_read(VMCS_GUEST_RSP);
    uint32_t access = (uint32_t)vmcs_read(VMCS_GUEST_SS_ACCESS_RIGHTS);
    if (!state_is_64bit())
        sp = (uint32_t)(vmcs_read(VMCS_GUEST_SS_BASE) +
                        (access & SEGMENT_DB ? (uint32_t)sp : (uint16_t)sp));
    vmx_vcpu_get_paging(vcpu, &paging);
    if (guest_walk(&paging, &vcpu->vm->mem, GVA(sp + 1), GUEST_WALK_PEEK, &gpa, &exception) !=
            STATUS_OK ||
        guest_mem_read(&vcpu->vm->mem, gpa, &byte, 1) != STATUS_OK)
        return;
    byte &= (uint8_t) ~(RFLAGS_TF >> 8);
    (void)!guest_mem_write(&vcpu->vm->mem, gpa, &byte, 1);
}

/* The instruction is over, and its trap was ours alone, unless the guest steps, too. */
static void finish(struct one *one, uint64_t hits)
{
    struct vcpu *vcpu = one->vcpu;
    if (!one->by_flag)
        return;
    vmcs_write(VMCS_GUEST_IA32_DEBUGCTL, one->debugctl);
    vmcs_write(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS, 0);
    state_add_breakpoints((unsigned)hits & 0xf);
    if (one->rflags & RFLAGS_TF) {
        state_add_single_step();
        return;
    }
    if (one->opcode != POPF && one->opcode != IRET)
        vmcs_write(VMCS_GUEST_RFLAGS, vmcs_read(VMCS_GUEST_RFLAGS) &
                                          ~(one->is_whole ? RFLAGS_TF | RFLAGS_RF : RFLAGS_TF));
    if (one->opcode == PUSHF)
        mend_stack(vcpu);
}

static void undo(const struct one *one)
{
    if (!one->by_flag)
        return;
    vmcs_write(VMCS_GUEST_IA32_DEBUGCTL, one->debugctl);
    vmcs_write(VMCS_GUEST_RFLAGS, one->rflags);
    vmcs_write(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS, one->traps);
}

/* What the instruction raised is the guest's. */
void debug_pass_on(struct vcpu *vcpu, uint32_t information)
{
    unsigned type = (unsigned)bits_get(information, 10, 8);
    struct exception exception = {
        .vector = (uint8_t)information,
        .has_error_code = information & EVENT_INFORMATION_ERROR_CODE,
        .error_code = (uint32_t)vmcs_read(VMCS_VM_EXIT_INTERRUPTION_ERROR_CODE),
    };
    if (type >= EVENT_SOFTWARE_INTERRUPT) {
        vcpu->events.next = (struct event){
            .valid = true,
            .type = (uint8_t)type,
            .vector = (uint8_t)information,
            .instruction_length = (uint8_t)vmcs_read(VMCS_VM_EXIT_INSTRUCTION_LENGTH),
        };
        return;
    }
    if (exception.vector == VECTOR_PF)
        hw_write_cr2(vmcs_read(VMCS_EXIT_QUALIFICATION));
    if (event_raise(&vcpu->events, &exception) == EVENT_TRIPLE_FAULT)
        vm_request_reset(vcpu->vm, VM_TRIPLE_FAULT);
}

static bool is_passed_on(uint64_t reason, uint32_t information)
{
    unsigned vector = information & 0xff;
    return reason == EXIT_REASON_EXCEPTION_OR_NMI && bits_get(information, 10, 8) != EVENT_NMI &&
           vector != VECTOR_DB && vector != VECTOR_MC;
}

/* It met watched data, which is noted: it begins again, and is let pass there. */
static bool is_watched(const struct one *one, uint64_t reason)
{
    return reason == EXIT_REASON_EPT_VIOLATION && vmx_of(one->vcpu)->debug.step_tree != NULL &&
           vmcs_read(VMCS_GUEST_RIP) == one->rip && debug_note_violation(one->vcpu);
}

/* True: the step is done; else nothing has happened, and it begins again. */
static bool judge(struct one *one, bool is_ours)
{
    struct vcpu *vcpu = one->vcpu;
    uint64_t reason = vmcs_read(VMCS_EXIT_REASON), hits = vmcs_read(VMCS_EXIT_QUALIFICATION);
    uint32_t information = (uint32_t)vmcs_read(VMCS_VM_EXIT_INTERRUPTION_INFORMATION);
    if (is_ours && reason == EXIT_REASON_MONITOR_TRAP_FLAG) {
        vmx_of(vcpu)->debug.trap = DEBUG_TRAP_MONITOR;
        finish(one, vmcs_read(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS));
        return true;
    }
    bool is_trap = is_ours && one->by_flag && reason == EXIT_REASON_EXCEPTION_OR_NMI &&
                   (information & 0x7ff) == (EVENT_HARDWARE_EXCEPTION << 8 | VECTOR_DB) &&
                   hits & (one->is_whole ? BIT(0) : PENDING_DEBUG_BS);
    if (is_trap) {
        vmx_of(vcpu)->debug.trap = one->is_whole ? vmx_of(vcpu)->debug.trap : DEBUG_TRAP_FLAG;
        finish(one, one->is_whole ? 0 : hits);
        return true;
    }
    if (is_watched(one, reason)) {
        if (is_ours)
            undo(one);
        return false;
    }
    bool is_over = vmcs_read(VMCS_GUEST_RIP) != one->rip;
    if (is_ours && is_over)
        finish(one, 0);
    else if (is_ours)
        undo(one);
    bool begins_again = !is_over && is_between(reason);
    if (is_passed_on(reason, information))
        debug_see_exception(vcpu, information);
    else
        handle_exit(vcpu);
    return !begins_again;
}

/* INT n as the event that it is, unless it faults before. */
static bool raise_interrupt(struct one *one)
{
    if (one->opcode != INT_N || one->length >= one->count || one->is_locked)
        return false;
    one->vcpu->events.next = (struct event){
        .valid = true,
        .type = EVENT_SOFTWARE_INTERRUPT,
        .vector = one->immediate,
        .instruction_length = (uint8_t)(one->length + 1),
    };
    return true;
}

static void step_once(struct vcpu *vcpu)
{
    for (unsigned i = 0; i < TRIES_MAX && !is_leaving(vcpu); i++) {
        if (i != 0 && vm_is_paused(vcpu->vm))
            return; /* by what came in between: the debugger has seen it stand here */
        struct one one = {.vcpu = vcpu,
                          .rip = vmcs_read(VMCS_GUEST_RIP),
                          .rflags = vmcs_read(VMCS_GUEST_RFLAGS),
                          .traps = vmcs_read(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS),
                          .debugctl = vmcs_read(VMCS_GUEST_IA32_DEBUGCTL)};
        bool is_ours = !(one.traps & ALL_TRAPS); /* else the guest's own trap comes first */
        look_at_opcode(&one);
        if (is_ours && raise_interrupt(&one))
            return;
        vmx_of(vcpu)->debug.step_controls = 0;
        if (is_ours)
            begin(&one);
        bool entered = debug_enter(vcpu, UINT32_MAX, UINT32_MAX);
        if (one.is_whole)
            clear_breakpoint(&one);
        if (!entered) {
            undo(&one);
            fail(vcpu);
            return;
        }
        if (judge(&one, is_ours))
            return;
    }
}

void debug_execute(struct vcpu *vcpu)
{
    struct vmx_debug *debug = &vmx_of(vcpu)->debug;
    debug->is_stepping = true;
    if (!vcpu->events.next.valid && vcpu->activity == VCPU_RUNNING)
        step_once(vcpu);
    debug->step_controls = 0;
    debug->step_tree = NULL;
    if (!vm_is_paused(vcpu->vm)) /* by a catch, before the delivery */
        deliver(vcpu);
    debug_hide_time(vcpu);
    debug->behind = vcpu->vm->behind;
    debug->is_stepping = false;
}

/* ---- Stepping and stopping ------------------------------------------------------------------ */

void debug_stop(struct vcpu *vcpu, const struct debug_stop *stop)
{
    struct vmx_debug *debug = &vmx_of(vcpu)->debug;
    debug->steps = false;
    debug->stop = *stop;
    __atomic_store_n(&vcpu->vm->is_paused, true, __ATOMIC_SEQ_CST);
    __atomic_store_n(&debug->has_stopped, true, __ATOMIC_SEQ_CST);
    vcpu_request(vcpu, VCPU_REQUEST_DEBUG);
    smp_wake(0); /* where the debugger is */
}

void debug_arm_step(struct vcpu *vcpu, uint64_t start, uint64_t end)
{
    struct vmx_debug *debug = &vmx_of(vcpu)->debug;
    debug->start = start;
    debug->end = end;
    debug->steps = true;
    debug->has_stepped = false;
}

void debug_disarm_step(struct vcpu *vcpu)
{
    vmx_of(vcpu)->debug.steps = false;
}

void debug_run_steps(struct vcpu *vcpu)
{
    static const struct debug_stop stop = {.reason = DEBUG_STEPPED};
    struct vmx_debug *debug = &vmx_of(vcpu)->debug;
    do {
        uint64_t before = vmcs_read(VMCS_GUEST_RIP);
        if (cpu_takes_lines(cpu_this()))
            hw_take_interrupts();
        if (is_leaving(vcpu))
            debug->steps = false;
        if (!debug->steps || is_wanted(vcpu))
            return; /* the steps go on when that is served */
        if (!debug_step_over_point(vcpu, before) || !debug->steps)
            return; /* a point was met, or something caught, and told of */
    } while (vmcs_read(VMCS_GUEST_RIP) - debug->start < debug->end - debug->start &&
             vcpu->activity == VCPU_RUNNING);
    debug_stop(vcpu, &stop);
}

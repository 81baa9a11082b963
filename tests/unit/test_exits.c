/*
 * VM exits injected at the boundary: vmx_exit driven through the doubles of VMREAD and VMWRITE,
 * with each basic exit reason of the SDM's list and numbers that the list does not have, in every
 * mode, with what a processor reports and with nonsense. After every exit the VM can be entered
 * again, by all the SDM's rules for a VM entry and with the state that the SDM asks for, or this VM
 * alone was stopped with a report that names the reason.
 */
#include "kernel/core/msr.h"
#include "kernel/core/x86.h"
#include "tests/check.h"
#include "tests/fake/log.h"
#include "tests/fake/vmx_guest.h"

#define FAILED_ENTRY (1u << 31)
#define PENDING_BREAKPOINT (PENDING_DEBUG_ENABLED | 1) /* DR0's, held back by MOV SS */

#define VMCS fake_vmcs.field
#define GUEST fake_guest
#define VCPU fake_guest.vcpu

/* What a reason comes to when nothing else is wrong, by the SDM and by what Traprock offers. */
enum answer {
    GOES_ON,   /* the state is as it was: the guest is entered where it stands */
    ADVANCES,  /* the instruction was carried out */
    UNDEFINED, /* #UD at the instruction */
    PROTECTED, /* #GP(0) at the instruction */
    NO_TASK,   /* #TS(0) at the instruction */
    STOPS,     /* the VM ends with a report that names the reason */
    RESETS,    /* the VM is reset */
};

static const uint8_t answers[VCPU_EXIT_REASONS_MAX] = {
    [EXIT_REASON_EXCEPTION_OR_NMI] = GOES_ON, /* as an NMI, see below for exceptions */
    [EXIT_REASON_EXTERNAL_INTERRUPT] = GOES_ON,
    [EXIT_REASON_TRIPLE_FAULT] = RESETS,
    [EXIT_REASON_INIT_SIGNAL] = STOPS,
    [EXIT_REASON_SIPI] = STOPS,
    [EXIT_REASON_IO_SMI] = STOPS,
    [EXIT_REASON_OTHER_SMI] = STOPS,
    [EXIT_REASON_INTERRUPT_WINDOW] = GOES_ON,
    [EXIT_REASON_NMI_WINDOW] = GOES_ON,
    [EXIT_REASON_TASK_SWITCH] = NO_TASK, /* to the null selector */
    [EXIT_REASON_CPUID] = ADVANCES,
    [EXIT_REASON_GETSEC] = UNDEFINED,
    [EXIT_REASON_HLT] = ADVANCES,
    [EXIT_REASON_INVD] = ADVANCES,
    [EXIT_REASON_INVLPG] = STOPS,
    [EXIT_REASON_RDPMC] = PROTECTED,
    [EXIT_REASON_RDTSC] = STOPS,
    [EXIT_REASON_RSM] = UNDEFINED,
    [EXIT_REASON_VMCALL] = ADVANCES,
    [EXIT_REASON_VMCLEAR] = UNDEFINED,
    [EXIT_REASON_VMLAUNCH] = UNDEFINED,
    [EXIT_REASON_VMPTRLD] = UNDEFINED,
    [EXIT_REASON_VMPTRST] = UNDEFINED,
    [EXIT_REASON_VMREAD] = UNDEFINED,
    [EXIT_REASON_VMRESUME] = UNDEFINED,
    [EXIT_REASON_VMWRITE] = UNDEFINED,
    [EXIT_REASON_VMXOFF] = UNDEFINED,
    [EXIT_REASON_VMXON] = UNDEFINED,
    [EXIT_REASON_CONTROL_REGISTER_ACCESS] = ADVANCES, /* as CLTS, see below for the others */
    [EXIT_REASON_MOV_DR] = ADVANCES,
    [EXIT_REASON_IO_INSTRUCTION] = ADVANCES,
    [EXIT_REASON_RDMSR] = ADVANCES,
    [EXIT_REASON_WRMSR] = PROTECTED,
    [EXIT_REASON_ENTRY_FAILURE_GUEST_STATE] = STOPS,
    [EXIT_REASON_ENTRY_FAILURE_MSR_LOADING] = STOPS,
    [EXIT_REASON_RESERVED_35] = STOPS,
    [EXIT_REASON_MWAIT] = UNDEFINED,
    [EXIT_REASON_MONITOR_TRAP_FLAG] = STOPS,
    [EXIT_REASON_RESERVED_38] = STOPS,
    [EXIT_REASON_MONITOR] = UNDEFINED,
    [EXIT_REASON_PAUSE] = STOPS,
    [EXIT_REASON_ENTRY_FAILURE_MACHINE_CHECK] = STOPS, /* where the error is contained */
    [EXIT_REASON_RESERVED_42] = STOPS,
    [EXIT_REASON_TPR_BELOW_THRESHOLD] = STOPS,
    [EXIT_REASON_APIC_ACCESS] = STOPS,
    [EXIT_REASON_VIRTUALIZED_EOI] = STOPS,
    [EXIT_REASON_GDTR_OR_IDTR_ACCESS] = STOPS,
    [EXIT_REASON_LDTR_OR_TR_ACCESS] = STOPS,
    [EXIT_REASON_EPT_VIOLATION] = ADVANCES, /* of a load from device memory */
    [EXIT_REASON_EPT_MISCONFIGURATION] = STOPS,
    [EXIT_REASON_INVEPT] = UNDEFINED,
    [EXIT_REASON_RDTSCP] = STOPS,
    [EXIT_REASON_PREEMPTION_TIMER] = GOES_ON,
    [EXIT_REASON_INVVPID] = UNDEFINED,
    [EXIT_REASON_WBINVD_OR_WBNOINVD] = ADVANCES,
    [EXIT_REASON_XSETBV] = ADVANCES,
    [EXIT_REASON_APIC_WRITE] = STOPS,
    [EXIT_REASON_RDRAND] = STOPS,
    [EXIT_REASON_INVPCID] = UNDEFINED,
    [EXIT_REASON_VMFUNC] = UNDEFINED,
    [EXIT_REASON_ENCLS] = UNDEFINED,
    [EXIT_REASON_RDSEED] = STOPS,
    [EXIT_REASON_PAGE_MODIFICATION_LOG_FULL] = STOPS,
    [EXIT_REASON_XSAVES] = UNDEFINED,
    [EXIT_REASON_XRSTORS] = UNDEFINED,
    [EXIT_REASON_PCONFIG] = UNDEFINED,
    [EXIT_REASON_SPP_RELATED_EVENT] = STOPS,
    [EXIT_REASON_UMWAIT] = UNDEFINED,
    [EXIT_REASON_TPAUSE] = UNDEFINED,
    [EXIT_REASON_LOADIWKEY] = UNDEFINED,
    [EXIT_REASON_ENCLV] = UNDEFINED,
    [EXIT_REASON_RESERVED_71] = STOPS,
    [EXIT_REASON_ENQCMD_PASID_TRANSLATION] = STOPS,
    [EXIT_REASON_ENQCMDS_PASID_TRANSLATION] = STOPS,
    [EXIT_REASON_BUS_LOCK] = STOPS,
    [EXIT_REASON_INSTRUCTION_TIMEOUT] = STOPS,
    [EXIT_REASON_SEAMCALL] = UNDEFINED,
    [EXIT_REASON_TDCALL] = UNDEFINED,
    [EXIT_REASON_RESERVED_78] = STOPS,
    [EXIT_REASON_RESERVED_79] = STOPS,
};

/* ---- The state in which an exit finds the guest ---- */

/* Each as the processor can leave it: a single step is pending where TF is set in a shadow, a data
 * breakpoint only behind MOV SS. SDM: Checks on Guest Non-Register State. */
static const struct situation {
    const char *name;
    uint64_t rflags;
    uint64_t interruptibility;
    uint64_t pending_debug;
    uint64_t debugctl;
} situations[] = {
    {"plain", 0, 0, 0, 0},
    {"interrupts on", RFLAGS_IF, 0, 0, 0},
    {"behind STI", RFLAGS_IF, BLOCKING_BY_STI, 0, 0},
    {"behind MOV SS", 0, BLOCKING_BY_MOV_SS, 0, 0},
    {"behind MOV SS that hit a breakpoint", RFLAGS_IF, BLOCKING_BY_MOV_SS, PENDING_BREAKPOINT, 0},
    {"stepping", RFLAGS_TF, 0, 0, 0},
    {"stepping by branches", RFLAGS_TF, 0, 0, DEBUGCTL_BTF},
    {"stepping behind STI", RFLAGS_TF | RFLAGS_IF, BLOCKING_BY_STI, PENDING_DEBUG_BS, 0},
    {"stepping behind MOV SS", RFLAGS_TF, BLOCKING_BY_MOV_SS, PENDING_DEBUG_BS, 0},
    {"stepping behind MOV SS that hit a breakpoint", RFLAGS_TF, BLOCKING_BY_MOV_SS,
     PENDING_DEBUG_BS | PENDING_BREAKPOINT, 0},
    {"in an NMI's handler", 0, BLOCKING_BY_NMI, 0, 0},
    {"all status flags set", 0x8d5 | RFLAGS_IF, 0, 0, 0},
};

static void start(enum fake_mode mode, const struct situation *situation)
{
    fake_guest_start(mode);
    fake_log_clear();
    VMCS[VMCS_GUEST_RFLAGS] |= situation->rflags;
    VMCS[VMCS_GUEST_INTERRUPTIBILITY_STATE] = situation->interruptibility;
    VMCS[VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS] = situation->pending_debug;
    VMCS[VMCS_GUEST_IA32_DEBUGCTL] = situation->debugctl;
}

/* SDM: IA32_MCG_STATUS MSR; IA32_MCi_STATUS MSRs. */
#define MCG_STATUS_RIPV BIT(0)
#define MCG_STATUS_MCIP BIT(2)
#define MC_STATUS_VAL BIT(63)
#define MC_STATUS_PCC BIT(57)
#define BANKS 4

/* One bank of four has an error. */
static void set_machine_check(uint64_t global, uint64_t bank)
{
    fake_hw_set_msr(MSR_IA32_MCG_CAP, BANKS);
    fake_hw_set_msr(MSR_IA32_MCG_STATUS, global | MCG_STATUS_MCIP);
    for (unsigned i = 0; i < BANKS; i++)
        fake_hw_set_msr(MSR_IA32_MC0_STATUS + 4 * i, i == 2 ? bank : 0);
}

/* What the processor writes beside the reason where `answers` expects it; registers and memory that
 * the instruction needs. */
static void set_operands(uint32_t reason)
{
    static const uint8_t load[] = {0xa1, 0x00, 0x00, 0x18, 0x00}; /* MOV EAX, [180000H] */
    switch (reason) {
    case EXIT_REASON_EXCEPTION_OR_NMI:
        VMCS[VMCS_VM_EXIT_INTERRUPTION_INFORMATION] =
            EVENT_INFORMATION_VALID | EVENT_NMI << 8 | VECTOR_NMI;
        break;
    case EXIT_REASON_EXTERNAL_INTERRUPT:
        VMCS[VMCS_VM_EXIT_INTERRUPTION_INFORMATION] = EVENT_INFORMATION_VALID | 0x51;
        break;
    case EXIT_REASON_CONTROL_REGISTER_ACCESS:
        VMCS[VMCS_EXIT_QUALIFICATION] = 2 << 4; /* CLTS */
        break;
    case EXIT_REASON_IO_INSTRUCTION:
        VMCS[VMCS_EXIT_QUALIFICATION] = 0x80ull << 16; /* OUT DX, AL */
        break;
    case EXIT_REASON_RDMSR:
        VCPU.gpr[GPR_RCX] = 0x10; /* the TSC */
        break;
    case EXIT_REASON_WRMSR:
        VCPU.gpr[GPR_RCX] = 0x12345678;
        break;
    case EXIT_REASON_XSETBV:
        VCPU.gpr[GPR_RCX] = VCPU.gpr[GPR_RDX] = 0;
        VCPU.gpr[GPR_RAX] = 3;
        break;
    case EXIT_REASON_ENTRY_FAILURE_MACHINE_CHECK:
        set_machine_check(MCG_STATUS_RIPV, MC_STATUS_VAL);
        break;
    case EXIT_REASON_EPT_VIOLATION:
        memcpy(GUEST.memory + FAKE_GUEST_RIP, load, sizeof(load));
        VMCS[VMCS_EXIT_QUALIFICATION] = BIT(7) | BIT(0); /* a read at a linear address */
        VMCS[VMCS_GUEST_PHYSICAL_ADDRESS] = 0x180000;
        VMCS[VMCS_GUEST_RFLAGS] |= RFLAGS_RF; /* SDM: Saving RIP, RSP, RFLAGS, and SSP */
        break;
    default:
        break;
    }
}

/* ---- What must hold afterwards ---- */

struct before {
    struct fake_vmcs vmcs;
    uint64_t gpr[GPR_COUNT];
};

static void keep(struct before *before)
{
    before->vmcs = fake_vmcs;
    memcpy(before->gpr, VCPU.gpr, sizeof(before->gpr));
}

/* Everything that the processor would load at the next entry is what it would accept. */
static void check_enterable(void)
{
    enum vmcs_field field = VMCS_GUEST_RIP;
    const char *rule = "";
    if (fake_guest_broken_rules(&field, &rule) == 0)
        return;
    printf("# %s = 0x%" PRIx64 ": %s\n", vmcs_field_name(field), VMCS[field], rule);
    CHECK(!"can be entered");
}

static void check_stopped(const char *name)
{
    CHECK_EQ(GUEST.vm.outcome, VM_STOPPED);
    CHECK(VCPU.requests & VCPU_REQUEST_STOP || GUEST.vm.is_ending);
    vmx_log_history(&VCPU); /* as the report on its end does */
    CHECK(strstr(fake_log_text(), name) != NULL);
}

/* RF is check_raised's. */
static void check_registers_kept(const struct before *before)
{
    for (unsigned i = 0; i < GPR_COUNT; i++)
        CHECK_EQ(VCPU.gpr[i], before->gpr[i]);
    CHECK_EQ(VMCS[VMCS_GUEST_RSP], before->vmcs.field[VMCS_GUEST_RSP]);
    CHECK_EQ(VMCS[VMCS_GUEST_RFLAGS] & ~RFLAGS_RF,
             before->vmcs.field[VMCS_GUEST_RFLAGS] & ~RFLAGS_RF);
}

static void check_not_moved(const struct before *before)
{
    static const enum vmcs_field kept[] = {VMCS_GUEST_RIP,
                                           VMCS_GUEST_INTERRUPTIBILITY_STATE,
                                           VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS,
                                           VMCS_GUEST_CR0,
                                           VMCS_GUEST_CR3,
                                           VMCS_GUEST_CR4,
                                           VMCS_GUEST_IA32_EFER,
                                           VMCS_GUEST_DR7,
                                           VMCS_GUEST_CS_SELECTOR,
                                           VMCS_GUEST_CS_ACCESS_RIGHTS};
    check_registers_kept(before);
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
        CHECK_EQ(VMCS[kept[i]], before->vmcs.field[kept[i]]);
}

/* The exception that goes in at the next entry. SDM: Checks on VM-Entry Control Fields: without an
 * error code in real mode. SDM: Instruction-Breakpoint Exception Condition: the flags that a fault
 * pushes have RF set, but #DB's. */
static void check_raised(unsigned vector, bool has_error_code)
{
    bool is_protected = VMCS[VMCS_GUEST_CR0] & CR0_PE;
    uint64_t code = has_error_code && is_protected ? EVENT_INFORMATION_ERROR_CODE : 0;
    CHECK_EQ(VMCS[VMCS_VM_ENTRY_INTERRUPTION_INFORMATION],
             EVENT_INFORMATION_VALID | code | EVENT_HARDWARE_EXCEPTION << 8 | vector);
    if (code != 0)
        CHECK_EQ(VMCS[VMCS_VM_ENTRY_EXCEPTION_ERROR_CODE], 0);
    CHECK_EQ(VMCS[VMCS_GUEST_RFLAGS] & RFLAGS_RF, vector != VECTOR_DB ? RFLAGS_RF : 0);
}

static void check_nothing_raised(void)
{
    CHECK_EQ(VMCS[VMCS_VM_ENTRY_INTERRUPTION_INFORMATION] & EVENT_INFORMATION_VALID, 0);
}

/* SDM: Guest Non-Register State: an instruction is over, at the latest for whoever looks whether an
 * event can go in. */
static void check_advanced(const struct before *before, uint64_t next)
{
    const uint64_t *was = before->vmcs.field;
    bool steps =
        was[VMCS_GUEST_RFLAGS] & RFLAGS_TF && !(was[VMCS_GUEST_IA32_DEBUGCTL] & DEBUGCTL_BTF);
    CHECK_EQ(VMCS[VMCS_GUEST_RIP], next);
    if (!steps && !(was[VMCS_GUEST_DR7] & DR7_ENABLES))
        inject_prepare(&VCPU);
    CHECK_EQ(VMCS[VMCS_GUEST_INTERRUPTIBILITY_STATE],
             was[VMCS_GUEST_INTERRUPTIBILITY_STATE] & ~BLOCKING_BY_SHADOW);
    CHECK_EQ(VMCS[VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS],
             was[VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS] | (steps ? PENDING_DEBUG_BS : 0));
    CHECK_EQ(VMCS[VMCS_GUEST_RFLAGS], was[VMCS_GUEST_RFLAGS] & ~RFLAGS_RF);
}

static uint64_t next_rip(uint32_t reason)
{
    return FAKE_GUEST_RIP + (reason == EXIT_REASON_EPT_VIOLATION ? 5 : 2);
}

static void check_answer(enum answer answer, uint32_t reason, const struct before *before)
{
    switch (answer) {
    case GOES_ON:
        check_not_moved(before);
        check_nothing_raised();
        break;
    case ADVANCES:
        check_advanced(before, next_rip(reason));
        check_nothing_raised();
        break;
    case UNDEFINED:
        check_not_moved(before);
        check_raised(VECTOR_UD, false);
        break;
    case PROTECTED:
        check_not_moved(before);
        check_raised(VECTOR_GP, true);
        break;
    case NO_TASK:
        check_not_moved(before);
        check_raised(VECTOR_TS, true);
        break;
    case STOPS:
        check_stopped(exit_reason_name(reason));
        return;
    case RESETS:
        CHECK(GUEST.vm.reset_pending);
        CHECK_EQ(GUEST.vm.outcome, VM_RUNNING);
        return;
    }
    CHECK_EQ(GUEST.vm.outcome, VM_RUNNING);
    check_enterable();
}

/* ---- Every reason ---- */

/* The instruction of 16-bit code that EPT_VIOLATION's answer is about is another one. */
static bool is_for_mode(uint32_t reason, enum fake_mode mode)
{
    bool is_32bit = VMCS[VMCS_GUEST_CS_ACCESS_RIGHTS] & SEGMENT_DB;
    if (reason == EXIT_REASON_EPT_VIOLATION)
        return is_32bit;
    if (reason == EXIT_REASON_TASK_SWITCH) /* there are none elsewhere */
        return mode != FAKE_REAL && !(VMCS[VMCS_GUEST_IA32_EFER] & EFER_LMA);
    /* SDM: Relative Priority of Faults and VM Exits: at CPL 3 these fault instead of exiting. */
    static const uint8_t privileged[] = {
        EXIT_REASON_HLT,   EXIT_REASON_INVD,  EXIT_REASON_CONTROL_REGISTER_ACCESS,
        EXIT_REASON_RDMSR, EXIT_REASON_WRMSR, EXIT_REASON_WBINVD_OR_WBNOINVD,
        EXIT_REASON_XSETBV};
    return memchr(privileged, (int)reason, sizeof(privileged)) == NULL || fake_mode_cpl(mode) == 0;
}

static void inject(uint32_t reason, enum fake_mode mode, const struct situation *situation)
{
    struct before before;
    start(mode, situation);
    if (!is_for_mode(reason, mode))
        return;
    check_enterable();
    set_operands(reason);
    VMCS[VMCS_EXIT_REASON] = reason;
    keep(&before);
    bool goes_on = vmx_exit(&VCPU);
    enum answer answer = answers[reason];
    /* SDM: Relative Priority of Faults and VM Exits: this one exits before its #GP. */
    if (reason == EXIT_REASON_MOV_DR && fake_mode_cpl(mode) != 0)
        answer = PROTECTED;
    CHECK_EQ(goes_on, answer != STOPS && answer != RESETS);
    check_answer(answer, reason, &before);
    CHECK_EQ(VCPU.exit_count[reason], 1);
}

static void inject_everywhere(uint32_t reason)
{
    for (unsigned mode = 0; mode < FAKE_MODES; mode++)
        for (size_t i = 0; i < ARRAY_SIZE(situations); i++)
            inject(reason, (enum fake_mode)mode, &situations[i]);
}

#define EXIT_REASON(number, name, handler, reads)                                                  \
    static void inject_##number(void)                                                              \
    {                                                                                              \
        inject_everywhere(number);                                                                 \
    }
#include "vmx/exit_reasons.def"
#undef EXIT_REASON

/* ---- Exceptions, NMIs and machine checks ---- */

static void exit_with(uint32_t reason)
{
    VMCS[VMCS_EXIT_REASON] = reason;
    vmx_exit(&VCPU);
}

static void exit_with_exception(unsigned type, unsigned vector, uint64_t flags)
{
    VMCS[VMCS_VM_EXIT_INTERRUPTION_INFORMATION] =
        EVENT_INFORMATION_VALID | flags | type << 8 | vector;
    exit_with(EXIT_REASON_EXCEPTION_OR_NMI);
}

/* Only #DB, #AC and #MC are asked for; each other vector would be the processor's mistake. */
static void every_vector_is_reflected_or_stops(void)
{
    for (unsigned mode = 0; mode < FAKE_MODES; mode++)
        for (unsigned vector = 0; vector < 256; vector++) {
            struct before before;
            start((enum fake_mode)mode, &situations[0]);
            keep(&before);
            set_machine_check(MCG_STATUS_RIPV, MC_STATUS_VAL);
            exit_with_exception(EVENT_HARDWARE_EXCEPTION, vector,
                                vector == VECTOR_AC ? EVENT_INFORMATION_ERROR_CODE : 0);
            if (vector != VECTOR_DB && vector != VECTOR_AC) {
                check_stopped("EXCEPTION_OR_NMI");
                continue;
            }
            check_not_moved(&before);
            check_raised(vector, vector == VECTOR_AC);
            check_enterable();
        }
}

/* SDM: Debug Exceptions: an intercepted #DB has touched nothing yet. */
static void debug_exception_changes_its_registers(void)
{
    for (unsigned mode = 0; mode < FAKE_MODES; mode++)
        for (size_t i = 0; i < ARRAY_SIZE(situations); i++) {
            start((enum fake_mode)mode, &situations[i]);
            fake_hw.dr[6] = 0xffff0ff5;
            VMCS[VMCS_GUEST_DR7] = 0x2402;
            VMCS[VMCS_GUEST_IA32_DEBUGCTL] |= DEBUGCTL_LBR;
            VMCS[VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS] = 0; /* the exit took it away */
            VMCS[VMCS_EXIT_QUALIFICATION] = BIT(14) | 2;
            exit_with_exception(EVENT_HARDWARE_EXCEPTION, VECTOR_DB, 0);
            CHECK_EQ(fake_hw.dr[6], 0xffff4ff2);
            CHECK_EQ(VMCS[VMCS_GUEST_DR7], 0x402);
            CHECK_EQ(VMCS[VMCS_GUEST_IA32_DEBUGCTL] & (DEBUGCTL_LBR | DEBUGCTL_BTF), 0);
            check_raised(VECTOR_DB, false);
            check_enterable();
        }
}

static void int1_goes_in_as_itself(void)
{
    for (unsigned mode = 0; mode < FAKE_MODES; mode++)
        for (size_t i = 0; i < ARRAY_SIZE(situations); i++) {
            start((enum fake_mode)mode, &situations[i]);
            VMCS[VMCS_VM_EXIT_INSTRUCTION_LENGTH] = 1;
            exit_with_exception(EVENT_PRIVILEGED_SOFTWARE_EXCEPTION, VECTOR_DB, 0);
            CHECK_EQ(VMCS[VMCS_GUEST_RIP], FAKE_GUEST_RIP);
            CHECK_EQ(VMCS[VMCS_VM_ENTRY_INTERRUPTION_INFORMATION],
                     EVENT_INFORMATION_VALID | EVENT_PRIVILEGED_SOFTWARE_EXCEPTION << 8 |
                         VECTOR_DB);
            CHECK_EQ(VMCS[VMCS_VM_ENTRY_INSTRUCTION_LENGTH], 1);
            CHECK_EQ(fake_hw.dr[6], 0xffff0ff0);
            check_enterable();
        }
}

static void alignment_check_keeps_its_error_code(void)
{
    start(FAKE_LONG_USER, &situations[0]);
    VMCS[VMCS_VM_EXIT_INTERRUPTION_ERROR_CODE] = 0;
    exit_with_exception(EVENT_HARDWARE_EXCEPTION, VECTOR_AC, EVENT_INFORMATION_ERROR_CODE);
    check_raised(VECTOR_AC, true);
}

/* SDM: Handling Multiple NMIs: an IRET that faults has unblocked them. */
static void nmi_is_the_monitors(void)
{
    start(FAKE_LONG, &situations[0]);
    exit_with_exception(EVENT_NMI, VECTOR_NMI, 0);
    CHECK_EQ(fake_hw.nmis, 1);
    CHECK_EQ(fake_hw.unblocked, 1);
    check_nothing_raised();
    start(FAKE_LONG, &situations[0]);
    exit_with_exception(EVENT_HARDWARE_EXCEPTION, VECTOR_AC, EVENT_INFORMATION_NMI_UNBLOCKING);
    CHECK_EQ(VMCS[VMCS_GUEST_INTERRUPTIBILITY_STATE], 0);
    check_enterable();
}

static void external_interrupt_is_the_machines(void)
{
    for (unsigned vector = 0x20; vector < 256; vector++) {
        start(FAKE_LONG, &situations[1]);
        VMCS[VMCS_VM_EXIT_INTERRUPTION_INFORMATION] = EVENT_INFORMATION_VALID | vector;
        exit_with(EXIT_REASON_EXTERNAL_INTERRUPT);
        CHECK_EQ(fake_hw.dispatched, 1);
        CHECK_EQ(fake_hw.last_vector, vector);
        check_nothing_raised();
        check_enterable();
    }
}

/* After an interrupt; the VMCS is set up on the processor with this index, which passed the trial
 * of interrupts or did not. */
static uint64_t next_break(uint32_t index, bool interrupts_exit)
{
    start(FAKE_REAL, &situations[0]);
    GUEST.cpu.interrupts_exit = interrupts_exit;
    fake_hw.cpu.index = index;
    vmx_vcpu_reset(&VCPU, &(struct guest_entry){0});
    VMCS[VMCS_VM_EXIT_INTERRUPTION_INFORMATION] = EVENT_INFORMATION_VALID | 0xe1;
    exit_with(EXIT_REASON_EXTERNAL_INTERRUPT);
    fake_hw.cpu.index = 0;
    return GUEST.vmx.break_at;
}

static void breaks_where_interrupts_come_and_are_lost(void)
{
    const uint64_t second = FAKE_GUEST_TSC_HZ;
    CHECK(next_break(0, false) < fake_hw.tsc + second);
    CHECK(next_break(0, true) > 1000000 * second);
    CHECK(next_break(1, false) > 1000000 * second);
}

/* Whether the exit panicked, with the VM's name. */
static bool panics(uint32_t reason)
{
    jmp_buf here;
    fake_panic_jump = &here;
    if (setjmp(here) == 0)
        exit_with(reason);
    fake_panic_jump = NULL;
    return strstr(fake_log_text(), "machine check while guest ran") != NULL;
}

/* SDM: Machine-Check Architecture: whether more than this guest is lost. */
static void machine_check_ends_what_it_must(void)
{
    static const uint32_t reasons[] = {
        EXIT_REASON_EXCEPTION_OR_NMI,
        FAILED_ENTRY | EXIT_REASON_ENTRY_FAILURE_MACHINE_CHECK,
    };
    for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
        uint64_t information = EVENT_INFORMATION_VALID | EVENT_HARDWARE_EXCEPTION << 8 | VECTOR_MC;
        start(FAKE_LONG, &situations[0]);
        VMCS[VMCS_VM_EXIT_INTERRUPTION_INFORMATION] = information;
        CHECK(panics(reasons[i])); /* no machine-check MSRs */
        start(FAKE_LONG, &situations[0]);
        VMCS[VMCS_VM_EXIT_INTERRUPTION_INFORMATION] = information;
        set_machine_check(0, MC_STATUS_VAL);
        CHECK(panics(reasons[i])); /* RIP is not valid */
        start(FAKE_LONG, &situations[0]);
        VMCS[VMCS_VM_EXIT_INTERRUPTION_INFORMATION] = information;
        set_machine_check(MCG_STATUS_RIPV, MC_STATUS_VAL | MC_STATUS_PCC);
        CHECK(panics(reasons[i]));
        start(FAKE_LONG, &situations[0]);
        VMCS[VMCS_VM_EXIT_INTERRUPTION_INFORMATION] = information;
        set_machine_check(MCG_STATUS_RIPV, MC_STATUS_VAL);
        CHECK(!panics(reasons[i]));
        check_stopped(exit_reason_name(reasons[i]));
        for (unsigned bank = 0; bank < BANKS; bank++) {
            uint64_t status = 1;
            CHECK_EQ(hw_rdmsr_safe(MSR_IA32_MC0_STATUS + 4 * bank, &status), STATUS_OK);
            CHECK_EQ(status, 0);
        }
    }
}

/* ---- RIP at a border ---- */

/* RFLAGS, shadow and RIP are moved behind the instruction of length bytes at rip. */
static void check_step(enum fake_mode mode, uint64_t rip, unsigned length, uint64_t next)
{
    start(mode, &situations[8]); /* with a shadow and a step */
    VMCS[VMCS_GUEST_RIP] = rip;
    VMCS[VMCS_VM_EXIT_INSTRUCTION_LENGTH] = length;
    struct before before;
    keep(&before);
    exit_with(EXIT_REASON_INVD);
    check_advanced(&before, next);
    check_nothing_raised();
    check_enterable();
}

/* SDM: the instruction pointer has 32 bits outside 64-bit mode, also in code of 16 bits: a fetch
 * past the segment's limit is the guest's #GP, at the next instruction. */
static void steps_over_borders(void)
{
    for (unsigned mode = 0; mode < FAKE_MODES; mode++)
        for (unsigned length = 1; length <= 15; length++) {
            uint64_t wrap = fake_mode_is_64bit((enum fake_mode)mode) ? BIT(32) : 0;
            check_step((enum fake_mode)mode, 0x10000 - length, length, 0x10000);
            check_step((enum fake_mode)mode, 0xffff, length, 0xffff + length);
            check_step((enum fake_mode)mode, BIT(32) - length, length, wrap);
            check_step((enum fake_mode)mode, BIT(32) - 1, length, wrap + length - 1);
        }
}

/* #GP is at the first address past canonical space, not at the instruction before it. */
static void steps_over_the_canonical_edge(void)
{
    for (unsigned length = 1; length <= 15; length++) {
        enum vmcs_field field;
        const char *rule;
        start(FAKE_LONG, &situations[0]);
        VMCS[VMCS_GUEST_RIP] = BIT(47) - length;
        VMCS[VMCS_VM_EXIT_INSTRUCTION_LENGTH] = length;
        exit_with(EXIT_REASON_INVD);
        CHECK_EQ(VMCS[VMCS_GUEST_RIP], BIT(47));
        check_nothing_raised();
        CHECK_EQ(fake_guest_broken_rules(&field, &rule), 0);
        check_step(FAKE_LONG, 0 - (uint64_t)length, length, 0);
        check_step(FAKE_LONG, 0xffffffffffffffffull, length, length - 1);
    }
}

/* ---- The whole reason field ---- */

/* SDM: Format of Exit Reason in Basic VM-Exit Information. */
static void numbers_without_a_row_stop(void)
{
    for (uint32_t number = VCPU_EXIT_REASONS_MAX; number < 0x10000; number++) {
        char text[32];
        start(FAKE_LONG, &situations[0]);
        VMCS[VMCS_EXIT_REASON] = number;
        CHECK(!vmx_exit(&VCPU));
        snprintf(text, sizeof(text), "exit reason %u (", number);
        check_stopped(text);
        number += number > 200 ? 97 : 0;
    }
}

static void failed_entries_have_three_reasons(void)
{
    for (uint32_t number = 0; number < VCPU_EXIT_REASONS_MAX + 20; number++) {
        struct before before;
        start(FAKE_LONG, &situations[0]);
        set_operands(number);
        VMCS[VMCS_EXIT_REASON] = FAILED_ENTRY | number;
        keep(&before);
        CHECK(!vmx_exit(&VCPU));
        check_stopped(exit_reason_name(number));
        check_not_moved(&before);
    }
}

static void flags_beside_a_reason(void)
{
    for (unsigned bit = 16; bit < 31; bit++) {
        struct before before;
        bool may_stand = bit >= 25 && bit <= 28;
        start(FAKE_LONG, &situations[0]);
        VMCS[VMCS_EXIT_REASON] = 1u << bit | EXIT_REASON_CPUID;
        keep(&before);
        CHECK_EQ(vmx_exit(&VCPU), may_stand);
        if (may_stand)
            check_advanced(&before, FAKE_GUEST_RIP + 2);
        else
            check_stopped("CPUID");
    }
}

static const struct test tests[] = {
#define EXIT_REASON(number, name, handler, reads) {"injected/" #name, inject_##number},
#include "vmx/exit_reasons.def"
#undef EXIT_REASON
    {"every_vector_is_reflected_or_stops", every_vector_is_reflected_or_stops},
    {"debug_exception_changes_its_registers", debug_exception_changes_its_registers},
    {"int1_goes_in_as_itself", int1_goes_in_as_itself},
    {"alignment_check_keeps_its_error_code", alignment_check_keeps_its_error_code},
    {"nmi_is_the_monitors", nmi_is_the_monitors},
    {"external_interrupt_is_the_machines", external_interrupt_is_the_machines},
    {"breaks_where_interrupts_come_and_are_lost", breaks_where_interrupts_come_and_are_lost},
    {"machine_check_ends_what_it_must", machine_check_ends_what_it_must},
    {"steps_over_borders", steps_over_borders},
    {"steps_over_the_canonical_edge", steps_over_the_canonical_edge},
    {"numbers_without_a_row_stop", numbers_without_a_row_stop},
    {"failed_entries_have_three_reasons", failed_entries_have_three_reasons},
    {"flags_beside_a_reason", flags_beside_a_reason},
};

int main(void)
{
    return check_run(tests, ARRAY_SIZE(tests));
}

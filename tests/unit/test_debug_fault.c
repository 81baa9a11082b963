/* A triple fault that happens once more: what is entered, and what is noted of it. */
#include "tests/check.h"
#include "tests/fake/vmx_guest.h"
#include "vmx/internal.h"

#define VMCS fake_vmcs.field
#define VCPU fake_guest.vcpu

#define VALID BIT(31)
#define ERROR BIT(11)
#define HARDWARE (EVENT_HARDWARE_EXCEPTION << 8)

/* An entry: what is expected to go in, and the exit that follows. */
struct turn {
    uint64_t injected; /* 0: an instruction, by itself */
    uint32_t reason, information, code, during;
    uint64_t address;
};

static const struct turn *turns;
static unsigned entries, bad;
static struct debug_fault fault[DEBUG_FAULTS_MAX];

static int enter(struct vcpu *vcpu)
{
    const struct turn *turn = &turns[entries++];
    bool injects = VMCS[VMCS_VM_ENTRY_INTERRUPTION_INFORMATION] & VALID;
    if (turn->reason == UINT32_MAX)
        return 1; /* the entry fails */
    bad += (injects ? VMCS[VMCS_VM_ENTRY_INTERRUPTION_INFORMATION] : 0) != turn->injected;
    bad += injects == (VMCS[VMCS_VMX_PREEMPTION_TIMER_VALUE] != 0);
    bad += VMCS[VMCS_EXCEPTION_BITMAP] != UINT32_MAX;
    bad += !injects && !(VMCS[VMCS_GUEST_RFLAGS] & RFLAGS_TF);
    VMCS[VMCS_VM_ENTRY_INTERRUPTION_INFORMATION] = 0;
    VMCS[VMCS_EXIT_REASON] = turn->reason;
    VMCS[VMCS_VM_EXIT_INTERRUPTION_INFORMATION] = turn->information;
    VMCS[VMCS_VM_EXIT_INTERRUPTION_ERROR_CODE] = turn->code;
    VMCS[VMCS_IDT_VECTORING_INFORMATION] = turn->during;
    VMCS[VMCS_EXIT_QUALIFICATION] = turn->address;
    VMCS[VMCS_GUEST_PHYSICAL_ADDRESS] = turn->address + 1;
    VMCS[VMCS_GUEST_RIP] += 5; /* what it leaves behind is nobody's */
    VMCS[VMCS_GUEST_RSP] -= 40;
    VMCS[VMCS_GUEST_CS_SELECTOR] = 0x10;
    VMCS[VMCS_GUEST_SS_ACCESS_RIGHTS] = 0x10000;
    vcpu->gpr[GPR_RAX]++;
    fake_hw.cr2 = turn->address;
    return 0;
}

/* How many faults it comes to; the guest is as it was. */
static unsigned repeat(const struct turn *script, const struct event *first)
{
    static const struct event none = {.valid = false};
    turns = script;
    entries = bad = 0;
    fake_guest_start(FAKE_LONG);
    fake_vmcs.once = enter;
    fake_hw.cr2 = 0x77;
    VCPU.activity = VCPU_HALTED;
    uint64_t rip = VMCS[VMCS_GUEST_RIP], rsp = VMCS[VMCS_GUEST_RSP], rax = VCPU.gpr[GPR_RAX];
    uint64_t rflags = VMCS[VMCS_GUEST_RFLAGS], cs = VMCS[VMCS_GUEST_CS_SELECTOR];
    uint64_t ss = VMCS[VMCS_GUEST_SS_ACCESS_RIGHTS];
    unsigned count = debug_repeat_fault(&VCPU, first != NULL ? first : &none, fault);
    CHECK_EQ(bad, 0);
    CHECK_EQ(VMCS[VMCS_GUEST_RIP], rip);
    CHECK_EQ(VMCS[VMCS_GUEST_RSP], rsp);
    CHECK_EQ(VMCS[VMCS_GUEST_RFLAGS], rflags);
    CHECK_EQ(VMCS[VMCS_GUEST_CS_SELECTOR], cs);
    CHECK_EQ(VMCS[VMCS_GUEST_SS_ACCESS_RIGHTS], ss);
    CHECK_EQ(VCPU.gpr[GPR_RAX], rax);
    CHECK_EQ(fake_hw.cr2, 0x77);
    CHECK_EQ(VCPU.activity, VCPU_HALTED);
    CHECK(!VCPU.events.next.valid);
    return count;
}

static void comes_to_the_triple_fault(void)
{
    static const struct turn script[] = {
        {.information = VALID | ERROR | HARDWARE | VECTOR_PF, .code = 2, .address = 0x5000},
        {VALID | ERROR | HARDWARE | VECTOR_PF, 0, VALID | ERROR | HARDWARE | VECTOR_NP, 0x73,
         VALID | ERROR | HARDWARE | VECTOR_PF, 0},
        {VALID | ERROR | HARDWARE | VECTOR_DF, 0, VALID | ERROR | HARDWARE | VECTOR_NP, 0x43,
         VALID | ERROR | HARDWARE | VECTOR_DF, 0}};
    CHECK_EQ(repeat(script, NULL), 3);
    CHECK_EQ(entries, 3);
    CHECK_EQ(fault[0].information & 0xff, VECTOR_PF);
    CHECK_EQ(fault[0].error_code, 2);
    CHECK_EQ(fault[0].address, 0x5000);
    CHECK_EQ(fault[0].during, 0);
    CHECK_EQ(fault[1].error_code, 0x73);
    CHECK_EQ(fault[2].during & 0xff, VECTOR_DF);
    CHECK_EQ(fault[2].error_code, 0x43);
}

/* An interrupt is not combined with what its delivery raises. */
static void begins_with_an_event(void)
{
    static const struct event interrupt = {
        .valid = true, .type = EVENT_EXTERNAL_INTERRUPT, .vector = 65};
    static const struct turn script[] = {
        {VALID | 65, 0, VALID | ERROR | HARDWARE | VECTOR_GP, 0x20b, VALID | 65, 0},
        {VALID | ERROR | HARDWARE | VECTOR_GP, 0, VALID | ERROR | HARDWARE | VECTOR_GP, 0x6b,
         VALID | ERROR | HARDWARE | VECTOR_GP, 0},
        {VALID | ERROR | HARDWARE | VECTOR_DF, 0, VALID | ERROR | HARDWARE | VECTOR_GP, 0x43,
         VALID | ERROR | HARDWARE | VECTOR_DF, 0}};
    CHECK_EQ(repeat(script, &interrupt), 3);
}

/* What an access outside of memory exits with is noted, and ends it; so does a delivery that goes
 * well. */
static void ends_elsewhere(void)
{
    static const struct turn hole[] = {{.information = VALID | HARDWARE | VECTOR_UD},
                                       {VALID | HARDWARE | VECTOR_UD, EXIT_REASON_EPT_VIOLATION, 0,
                                        0, VALID | HARDWARE | VECTOR_UD, 0x123}};
    static const struct turn delivered[] = {
        {.information = VALID | EVENT_SOFTWARE_EXCEPTION << 8 | VECTOR_BP},
        {VALID | EVENT_SOFTWARE_EXCEPTION << 8 | VECTOR_BP, EXIT_REASON_PREEMPTION_TIMER, 0, 0, 0,
         0}};
    CHECK_EQ(repeat(hole, NULL), 2);
    CHECK_EQ(fault[1].information, 0);
    CHECK_EQ(fault[1].exit_reason, EXIT_REASON_EPT_VIOLATION);
    CHECK_EQ(fault[1].address, 0x124);
    CHECK_EQ(repeat(delivered, NULL), 1);
}

/* It is acknowledged already; nothing of the guest has happened yet. */
static void interrupts_of_the_machine_are_served(void)
{
    static const struct turn script[] = {
        {.reason = EXIT_REASON_EXTERNAL_INTERRUPT, .information = VALID | 0x41},
        {.reason = EXIT_REASON_EXTERNAL_INTERRUPT, .information = VALID | 0x42},
        {.information = VALID | HARDWARE | VECTOR_UD},
        {.injected = VALID | HARDWARE | VECTOR_UD,
         .reason = EXIT_REASON_EXTERNAL_INTERRUPT,
         .information = VALID | 0x43}};
    CHECK_EQ(repeat(script, NULL), 1);
    CHECK_EQ(entries, 4);
    CHECK_EQ(fake_hw.dispatched, 3);
    CHECK_EQ(fault[0].information & 0xff, VECTOR_UD);
}

static void is_not_repeated(void)
{
    static const struct turn check[] = {{.information = VALID | HARDWARE | VECTOR_MC}};
    CHECK_EQ(repeat(check, NULL), 0);
    static const struct turn step[] = {{.information = VALID | HARDWARE | VECTOR_DB}};
    static const struct turn nmi[] = {{.information = VALID | EVENT_NMI << 8 | VECTOR_NMI}};
    static const struct turn fails[] = {{.reason = UINT32_MAX}};
    CHECK_EQ(repeat(step, NULL), 0);
    CHECK_EQ(repeat(nmi, NULL), 0);
    CHECK_EQ(repeat(fails, NULL), 0);
}

/* However long it goes on. */
static void is_bounded(void)
{
    static struct turn script[DEBUG_FAULTS_MAX + 1];
    for (unsigned i = 0; i <= DEBUG_FAULTS_MAX; i++)
        script[i] = (struct turn){.injected = i != 0 ? VALID | HARDWARE | VECTOR_UD : 0,
                                  .information = VALID | HARDWARE | VECTOR_UD};
    CHECK_EQ(repeat(script, NULL), DEBUG_FAULTS_MAX);
}

TEST_MAIN({"comes_to_the_triple_fault", comes_to_the_triple_fault},
          {"begins_with_an_event", begins_with_an_event}, {"ends_elsewhere", ends_elsewhere},
          {"interrupts_of_the_machine_are_served", interrupts_of_the_machine_are_served},
          {"is_not_repeated", is_not_repeated}, {"is_bounded", is_bounded})

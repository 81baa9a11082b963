/* Catches, and what exits for them. */
#include "tests/check.h"
#include "tests/fake/vmx_guest.h"

#include "kernel/core/msr.h"

#define VMCS fake_vmcs.field
#define VCPU fake_guest.vcpu
#define VM fake_guest.vm
#define DEBUG fake_guest.vmx.debug

static uint8_t bitmaps[2][4096] ALIGNED(4096);

static void *map(void *context, hpa_t frame)
{
    (void)context;
    return (void *)(uintptr_t)frame.v;
}

static void start(void)
{
    fake_guest_start(FAKE_LONG);
    fake_guest.vmx_vm.ept.ports.map = map;
    fake_guest.vmx_vm.msr_bitmap = HPA((uint64_t)(uintptr_t)bitmaps[0]);
    memset(bitmaps, 0x80, sizeof(bitmaps));
    fake_guest.cpu.controls.word[CONTROL_PRIMARY] &= ~(uint32_t)CONTROL_CR3_LOAD_EXITING;
    fake_guest.vmx.primary &= ~(uint32_t)CONTROL_CR3_LOAD_EXITING;
    debug_remove_catches(&VCPU, false);
    debug_use_points(&VCPU, NULL);
    VCPU.requests = 0;
}

static uint16_t catch_it(enum catch_kind kind, uint32_t number, bool is_gdbs)
{
    struct catch wanted = {.kind = (uint8_t)kind,
                           .access = CATCH_READ | CATCH_WRITE,
                           .is_gdbs = is_gdbs,
                           .first = number,
                           .last = number};
    uint16_t id = 0;
    CHECK_EQ(debug_add_catch(&VCPU, &wanted, HPA((uint64_t)(uintptr_t)bitmaps[1]), &id), STATUS_OK);
    return id;
}

static bool stood;

static void go_on(void)
{
    stood = DEBUG.has_stopped;
    vm_resume(&VM);
}

/* An exit; what was caught at it, if anything: the guest then stands until it goes on. */
static enum catch_kind leave(enum exit_reason reason, uint64_t qualification, unsigned length)
{
    VMCS[VMCS_EXIT_REASON] = reason;
    VMCS[VMCS_EXIT_QUALIFICATION] = qualification;
    VMCS[VMCS_VM_EXIT_INSTRUCTION_LENGTH] = length;
    VMCS[VMCS_GUEST_RIP] = FAKE_GUEST_RIP;
    VMCS[VMCS_IDT_VECTORING_INFORMATION] = 0;
    DEBUG.has_stopped = stood = false;
    DEBUG.stop.event.kind = CATCH_NOTHING;
    fake_hw.on_halt = go_on;
    (void)vmx_exit_debug(&VCPU);
    CHECK(!vm_is_paused(&VM));
    CHECK_EQ(stood, DEBUG.stop.event.kind != CATCH_NOTHING);
    CHECK(!DEBUG.has_stopped); /* whoever let it go on: the next stop is one of its own */
    return (enum catch_kind)DEBUG.stop.event.kind;
}

#define EVENT DEBUG.stop.event

static void they_cost_nothing_when_there_are_none(void)
{
    start();
    uint64_t exceptions = VMCS[VMCS_EXCEPTION_BITMAP], cr0 = VMCS[VMCS_CR0_GUEST_HOST_MASK],
             cr4 = VMCS[VMCS_CR4_GUEST_HOST_MASK];
    CHECK_EQ(VMCS[VMCS_HOST_RIP], (uintptr_t)vmx_exit_stub);
    CHECK_EQ(VMCS[VMCS_MSR_BITMAPS], (uintptr_t)bitmaps[0]);
    catch_it(CATCH_EXCEPTION, VECTOR_PF, false);
    CHECK_EQ(VMCS[VMCS_EXCEPTION_BITMAP], exceptions | BIT(VECTOR_PF));
    CHECK_EQ(VMCS[VMCS_HOST_RIP], (uintptr_t)vmx_exit_debug_stub);
    uint16_t control = catch_it(CATCH_CR, 0, false);
    CHECK_EQ(VMCS[VMCS_CR0_GUEST_HOST_MASK], ~0ull);
    CHECK_EQ(VMCS[VMCS_CR4_GUEST_HOST_MASK], cr4);
    catch_it(CATCH_CR, 3, true);
    catch_it(CATCH_CR, 4, true);
    CHECK_EQ(VMCS[VMCS_CR4_GUEST_HOST_MASK], ~0ull);
    CHECK(fake_guest.vmx.primary & CONTROL_CR3_LOAD_EXITING);
    catch_it(CATCH_MSR, MSR_IA32_LSTAR, true);
    CHECK_EQ(VMCS[VMCS_MSR_BITMAPS], (uintptr_t)bitmaps[1]);
    CHECK_EQ(bitmaps[1][1024 + 0x82 / 8], 0x84);
    CHECK_EQ(bitmaps[1][3072 + 0x82 / 8], 0x84);
    CHECK_EQ(bitmaps[0][1024 + 0x82 / 8], 0x80);
    CHECK_EQ(VMCS[VMCS_CR0_READ_SHADOW], cr_read_cr0());
    CHECK_EQ(debug_remove_catch(&VCPU, control), STATUS_OK);
    CHECK_EQ(debug_remove_catch(&VCPU, control), ERR_NOT_FOUND);
    CHECK_EQ(debug_remove_catch(&VCPU, 0), ERR_NOT_FOUND);
    CHECK_EQ(VMCS[VMCS_CR0_GUEST_HOST_MASK], cr0);
    debug_remove_catches(&VCPU, true);
    CHECK_EQ(DEBUG.catches.count, 1);
    CHECK_EQ(bitmaps[1][1024 + 0x82 / 8], 0x80);
    debug_remove_catches(&VCPU, false);
    CHECK_EQ(VMCS[VMCS_EXCEPTION_BITMAP], exceptions);
    CHECK_EQ(VMCS[VMCS_CR4_GUEST_HOST_MASK], cr4);
    CHECK_EQ(VMCS[VMCS_MSR_BITMAPS], (uintptr_t)bitmaps[0]);
    CHECK_EQ(VMCS[VMCS_HOST_RIP], (uintptr_t)vmx_exit_stub);
    CHECK(!(fake_guest.vmx.primary & CONTROL_CR3_LOAD_EXITING));
}

static void there_is_an_end_of_them(void)
{
    struct catch more = {.kind = CATCH_RESET};
    uint16_t id;
    start();
    for (unsigned i = 0; i < DEBUG_CATCHES_MAX; i++)
        catch_it(CATCH_PORT, i, false);
    CHECK_EQ(debug_add_catch(&VCPU, &more, HPA(0), &id), ERR_NO_SPACE);
}

static void instructions_are_over(void)
{
    start();
    catch_it(CATCH_CPUID, 7, false);
    VCPU.gpr[GPR_RAX] = 1;
    CHECK_EQ(leave(EXIT_REASON_CPUID, 0, 2), CATCH_NOTHING);
    VCPU.gpr[GPR_RAX] = 7;
    VCPU.gpr[GPR_RCX] = 1;
    CHECK_EQ(leave(EXIT_REASON_CPUID, 0, 2), CATCH_CPUID);
    CHECK_EQ(VMCS[VMCS_GUEST_RIP], FAKE_GUEST_RIP + 2);
    CHECK(EVENT.rip == FAKE_GUEST_RIP && EVENT.number == 7 && EVENT.after == 1);
    catch_it(CATCH_PORT, 0x80, false);
    VCPU.gpr[GPR_RAX] = 0x1234;
    CHECK_EQ(leave(EXIT_REASON_IO_INSTRUCTION, 0x80 << 16 | 0, 2), CATCH_PORT);
    CHECK(EVENT.access == CATCH_WRITE && EVENT.after == 0x34);
    fake_guest.read_value = 0x5678;
    CHECK_EQ(leave(EXIT_REASON_IO_INSTRUCTION, 0x80 << 16 | 8 | 1, 2), CATCH_PORT);
    CHECK(EVENT.access == CATCH_READ && EVENT.after == 0x5678);
}

static void registers_have_old_and_new(void)
{
    start();
    catch_it(CATCH_CR, 3, false);
    uint64_t old = VMCS[VMCS_GUEST_CR3];
    VCPU.gpr[GPR_RAX] = old + 0x1000;
    CHECK_EQ(leave(EXIT_REASON_CONTROL_REGISTER_ACCESS, 3, 3), CATCH_CR);
    CHECK(EVENT.before == old && EVENT.after == old + 0x1000 && !EVENT.has_failed);
    VCPU.gpr[GPR_RAX] = BIT(60);
    CHECK_EQ(leave(EXIT_REASON_CONTROL_REGISTER_ACCESS, 3, 3), CATCH_CR);
    CHECK(EVENT.has_failed && EVENT.after == EVENT.before);
    CHECK_EQ(VMCS[VMCS_GUEST_RIP], FAKE_GUEST_RIP);
    catch_it(CATCH_MSR, MSR_IA32_MISC_ENABLE, false);
    VCPU.gpr[GPR_RCX] = MSR_IA32_MISC_ENABLE;
    CHECK_EQ(leave(EXIT_REASON_RDMSR, 0, 2), CATCH_MSR);
    CHECK(EVENT.before == 0x1801 && VCPU.gpr[GPR_RAX] == 0x1801);
    VCPU.gpr[GPR_RAX] = 0x1800;
    VCPU.gpr[GPR_RDX] = 0;
    CHECK_EQ(leave(EXIT_REASON_WRMSR, 0, 2), CATCH_MSR);
    CHECK(EVENT.before == 0x1801 && EVENT.after == 0x1800);
    VCPU.gpr[GPR_RCX] = MSR_IA32_MCG_CAP;
    CHECK_EQ(leave(EXIT_REASON_RDMSR, 0, 2), CATCH_NOTHING);
}

static void modes_are_seen(void)
{
    start();
    catch_it(CATCH_MODE, CATCH_MODE_PROTECTED, false);
    cr_set_initial(&VCPU, CR0_ET, 0, 0);
    VMCS[VMCS_GUEST_CS_ACCESS_RIGHTS] = 0x9b;
    VCPU.gpr[GPR_RAX] = CR0_PE | CR0_ET;
    CHECK_EQ(leave(EXIT_REASON_CONTROL_REGISTER_ACCESS, 0, 3), CATCH_MODE);
    CHECK(EVENT.before == CATCH_MODE_REAL && EVENT.number == CATCH_MODE_PROTECTED);
    VCPU.gpr[GPR_RAX] = CR0_ET;
    CHECK_EQ(leave(EXIT_REASON_CONTROL_REGISTER_ACCESS, 0, 3), CATCH_NOTHING);
}

/* What the guest would not have exited for goes to the guest all the same. */
static void exceptions_come_before_their_delivery(void)
{
    start();
    catch_it(CATCH_EXCEPTION, VECTOR_PF, false);
    VMCS[VMCS_VM_EXIT_INTERRUPTION_INFORMATION] = BIT(31) | BIT(11) | 3 << 8 | VECTOR_PF;
    VMCS[VMCS_VM_EXIT_INTERRUPTION_ERROR_CODE] = 2;
    CHECK_EQ(leave(EXIT_REASON_EXCEPTION_OR_NMI, 0x123456, 0), CATCH_EXCEPTION);
    CHECK(EVENT.number == VECTOR_PF && EVENT.after == 2 && EVENT.before == 0x123456);
    CHECK_EQ(VMCS[VMCS_GUEST_RIP], FAKE_GUEST_RIP);
    CHECK_EQ(VMCS[VMCS_VM_ENTRY_INTERRUPTION_INFORMATION] & 0x80000fff,
             BIT(31) | BIT(11) | 3 << 8 | VECTOR_PF);
    CHECK_EQ(hw_read_cr2(), 0x123456);
    /* One that the monitor raises in the processor's place, and only when it is raised. */
    VMCS[VMCS_VM_ENTRY_INTERRUPTION_INFORMATION] = 0;
    catch_it(CATCH_EXCEPTION, VECTOR_GP, false);
    VCPU.gpr[GPR_RCX] = 0x12345;
    CHECK_EQ(leave(EXIT_REASON_RDMSR, 0, 2), CATCH_EXCEPTION);
    CHECK_EQ(EVENT.number, VECTOR_GP);
    VMCS[VMCS_VM_ENTRY_INTERRUPTION_INFORMATION] = 0;
    catch_it(CATCH_EXCEPTION, VECTOR_BP, false);
    VMCS[VMCS_VM_EXIT_INTERRUPTION_INFORMATION] = BIT(31) | 6 << 8 | VECTOR_BP;
    CHECK_EQ(leave(EXIT_REASON_EXCEPTION_OR_NMI, 0, 1), CATCH_EXCEPTION);
    CHECK_EQ(VMCS[VMCS_VM_ENTRY_INTERRUPTION_INFORMATION] & 0x800007ff,
             BIT(31) | 6 << 8 | VECTOR_BP);
    CHECK_EQ(VMCS[VMCS_VM_ENTRY_INSTRUCTION_LENGTH], 1);
}

static void resets_wait(void)
{
    start();
    catch_it(CATCH_TRIPLE_FAULT, 0, false);
    CHECK_EQ(leave(EXIT_REASON_TRIPLE_FAULT, 0, 0), CATCH_TRIPLE_FAULT);
    CHECK_EQ(EVENT.rip, FAKE_GUEST_RIP);
    CHECK(VM.reset_pending && VM.reset_caught == VM_RUNNING); /* when it went on */
    CHECK(VCPU.requests & VCPU_REQUEST_STOP || VM.reset_pending);
    start();
    catch_it(CATCH_RESET, 0, false);
    vm_request_reset(&VM, VM_RESET); /* by a device */
    CHECK(!VM.reset_pending && VCPU.requests & VCPU_REQUEST_DEBUG);
    CHECK_EQ(leave(EXIT_REASON_CPUID, 0, 2), CATCH_RESET);
    CHECK(VM.reset_pending);
    /* Where a reset is the end, it is so afterwards. */
    start();
    VM.stops_at_reset = true;
    catch_it(CATCH_TRIPLE_FAULT, 0, false);
    vm_request_reset(&VM, VM_RESET);
    CHECK_EQ(VM.outcome, VM_RESET);
    start();
    VM.stops_at_reset = true;
    catch_it(CATCH_RESET, 0, false);
    vm_request_reset(&VM, VM_RESET);
    CHECK_EQ(VM.outcome, VM_RUNNING);
    CHECK_EQ(leave(EXIT_REASON_CPUID, 0, 2), CATCH_RESET);
    CHECK_EQ(VM.outcome, VM_RESET);
}

static void msrs_of_the_vmcs(void)
{
    static const uint32_t msrs[] = {MSR_IA32_SYSENTER_CS, MSR_IA32_SYSENTER_ESP,
                                    MSR_IA32_SYSENTER_EIP, MSR_IA32_FS_BASE, MSR_IA32_GS_BASE};
    uint64_t value;
    start();
    for (unsigned i = 0; i < ARRAY_SIZE(msrs); i++) {
        CHECK(debug_write_msr(&VCPU, msrs[i], 0x1000 + i));
        CHECK(debug_read_msr(&VCPU, msrs[i], &value));
        CHECK_EQ(value, 0x1000 + i);
        CHECK_EQ(debug_write_msr(&VCPU, msrs[i], BIT(63)), msrs[i] == MSR_IA32_SYSENTER_CS);
    }
    CHECK_EQ(VMCS[VMCS_GUEST_GS_BASE], 0x1004);
    CHECK(debug_write_msr(&VCPU, MSR_IA32_PAT, 0x0007010500070406));
    CHECK(!debug_write_msr(&VCPU, MSR_IA32_PAT, 2));
    CHECK(!debug_write_msr(&VCPU, MSR_IA32_PAT, 8ull << 56));
    CHECK(!debug_read_msr(&VCPU, 0x12345, &value));
    CHECK(!debug_write_msr(&VCPU, MSR_IA32_MCG_CAP, 0));
}

TEST_MAIN({"they_cost_nothing_when_there_are_none", they_cost_nothing_when_there_are_none},
          {"there_is_an_end_of_them", there_is_an_end_of_them},
          {"instructions_are_over", instructions_are_over},
          {"registers_have_old_and_new", registers_have_old_and_new},
          {"modes_are_seen", modes_are_seen},
          {"exceptions_come_before_their_delivery", exceptions_come_before_their_delivery},
          {"resets_wait", resets_wait}, {"msrs_of_the_vmcs", msrs_of_the_vmcs})

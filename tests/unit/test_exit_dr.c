/* MOV to and from debug registers by their exits, and what a CPUID exit costs the processor. */
#include "kernel/core/x86.h"
#include "tests/check.h"
#include "tests/fake/vmx_guest.h"

#define VMCS fake_vmcs.field
#define VCPU fake_guest.vcpu

#define FROM_DR BIT(4)
#define DR6_BD BIT(13)
#define DR6_FIXED 0xffff0ff0ull
#define VALUE 0x123456789abcdef0ull

/* One exit of MOV between debug register and RBX (3) in the given mode. */
static void move(enum fake_mode mode, unsigned number, uint64_t direction, uint64_t rbx)
{
    fake_guest_start(mode);
    fake_hw.dr[6] = DR6_FIXED;
    VCPU.gpr[GPR_RBX] = rbx;
    VMCS[VMCS_EXIT_REASON] = EXIT_REASON_MOV_DR;
    VMCS[VMCS_EXIT_QUALIFICATION] = number | direction | GPR_RBX << 8;
    VMCS[VMCS_VM_EXIT_INSTRUCTION_LENGTH] = 3;
}

static bool moved(void)
{
    CHECK(vmx_exit(&VCPU));
    return VMCS[VMCS_GUEST_RIP] == FAKE_GUEST_RIP + 3;
}

static unsigned raised(void)
{
    CHECK(!moved());
    uint64_t event = VMCS[VMCS_VM_ENTRY_INTERRUPTION_INFORMATION];
    CHECK(event & EVENT_INFORMATION_VALID);
    return event & 0xff;
}

static void addresses_are_the_machines(void)
{
    for (unsigned i = 0; i < 4; i++) {
        move(FAKE_LONG, i, 0, VALUE);
        CHECK(moved());
        CHECK_EQ(fake_hw.dr[i], VALUE);
        move(FAKE_PROTECTED_32, i, 0, VALUE);
        CHECK(moved());
        CHECK_EQ(fake_hw.dr[i], (uint32_t)VALUE);
        move(FAKE_LONG, i, FROM_DR, 0);
        fake_hw.dr[i] = VALUE;
        CHECK(moved());
        CHECK_EQ(VCPU.gpr[GPR_RBX], VALUE);
    }
}

static void status_and_control(void)
{
    move(FAKE_LONG, 7, 0, UINT32_MAX & ~DR7_GD);
    CHECK(moved());
    CHECK_EQ(VMCS[VMCS_GUEST_DR7], 0xffff07ff); /* bits 11, 12, 14 and 15 are fixed to 0 */
    CHECK(fake_guest.vmx.breakpoints);
    move(FAKE_LONG, 7, 0, 0);
    CHECK(moved());
    CHECK_EQ(VMCS[VMCS_GUEST_DR7], 0x400);
    CHECK(!fake_guest.vmx.breakpoints);
    move(FAKE_LONG, 7, FROM_DR, VALUE);
    CHECK(moved());
    CHECK_EQ(VCPU.gpr[GPR_RBX], 0x400);
    for (unsigned number = 6; number < 8; number++) {
        move(FAKE_LONG, number, 0, BIT(32));
        CHECK_EQ(raised(), VECTOR_GP);
        move(FAKE_COMPATIBILITY, number, 0, BIT(32)); /* the operand has 32 bits there */
        CHECK(moved());
    }
}

static void aliases_depend_on_de(void)
{
    for (unsigned number = 4; number < 6; number++) {
        move(FAKE_LONG, number, FROM_DR, 0);
        CHECK(moved());
        CHECK_EQ(VCPU.gpr[GPR_RBX], number == 4 ? DR6_FIXED : 0x400);
        move(FAKE_LONG, number, FROM_DR, 0);
        VMCS[VMCS_GUEST_CR4] |= CR4_DE;
        CHECK_EQ(raised(), VECTOR_UD);
    }
}

static void privilege_and_general_detect(void)
{
    move(FAKE_LONG_USER, 0, FROM_DR, VALUE);
    CHECK_EQ(raised(), VECTOR_GP);
    CHECK_EQ(VCPU.gpr[GPR_RBX], VALUE);
    move(FAKE_VIRTUAL_8086, 0, 0, VALUE);
    CHECK_EQ(raised(), VECTOR_GP);
    move(FAKE_LONG, 7, FROM_DR, VALUE);
    VMCS[VMCS_GUEST_DR7] |= DR7_GD;
    CHECK_EQ(raised(), VECTOR_DB);
    CHECK_EQ(fake_hw.dr[6], DR6_FIXED | DR6_BD);
    CHECK_EQ(VMCS[VMCS_GUEST_DR7], 0x400);
    CHECK_EQ(VCPU.gpr[GPR_RBX], VALUE);
}

/* VMREAD, VMWRITE and MSRs are what costs a processor most. */
static void cpuid_costs(void)
{
    fake_guest_start(FAKE_LONG);
    VMCS[VMCS_EXIT_REASON] = EXIT_REASON_CPUID;
    VMCS[VMCS_VM_EXIT_INSTRUCTION_LENGTH] = 2;
    VCPU.gpr[GPR_RAX] = 0;
    CHECK(vmx_exit(&VCPU)); /* the first sets the preemption timer */
    fake_vmcs.reads = fake_vmcs.writes = 0;
    fake_hw.msr_accesses = 0;
    CHECK(vmx_exit(&VCPU));
    CHECK_EQ(VMCS[VMCS_GUEST_RIP], FAKE_GUEST_RIP + 4);
    CHECK_EQ(fake_vmcs.reads, 4);
    CHECK_EQ(fake_vmcs.writes, 1);
    CHECK_EQ(fake_hw.msr_accesses, 0);
}

TEST_MAIN({"addresses_are_the_machines", addresses_are_the_machines},
          {"status_and_control", status_and_control},
          {"aliases_depend_on_de", aliases_depend_on_de},
          {"privilege_and_general_detect", privilege_and_general_detect},
          {"cpuid_costs", cpuid_costs})

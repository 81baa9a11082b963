/* A debugger's calls, pauses and registers. */
#include "tests/check.h"

#include "kernel/vm/debug.h"
#include "tests/fake/vmx_guest.h"

#define VCPU fake_guest.vcpu
#define VM fake_guest.vm
#define VMCS fake_vmcs.field

static unsigned runs;

static void count(struct vcpu *vcpu, void *context)
{
    runs += vcpu == &VCPU && context == &runs;
}

static void start(void)
{
    fake_guest_start(FAKE_LONG);
    VM.clock = (struct clock){vm_clock_read, &VM, FAKE_GUEST_TSC_HZ};
    VCPU.requests = 0;
    runs = 0;
}

/* ---- Calls --------------------------------------------------------------------------------- */

static void calls_on_its_own_processor(void)
{
    start();
    CHECK_EQ(vcpu_call(&VCPU, count, &runs), STATUS_OK);
    CHECK_EQ(runs, 1);
    CHECK_EQ(fake_guest.kicks, 0);
    fake_hw.cpu.vcpu = NULL; /* it is between two lives */
    CHECK_EQ(vcpu_call(&VCPU, count, &runs), ERR_NOT_FOUND);
    vm_stop(&VM, VM_POWEROFF, 0);
    fake_hw.cpu.vcpu = &VCPU;
    CHECK_EQ(vcpu_call(&VCPU, count, &runs), ERR_NOT_FOUND);
    CHECK_EQ(runs, 1);
}

static unsigned visits;

static void visit(struct vcpu *vcpu, void (*run)(struct vcpu *vcpu, void *context), void *context)
{
    visits++;
    run(vcpu, context);
}

/* One that has ended is there as long as it is kept, on whichever processor. */
static void calls_what_has_ended(void)
{
    start();
    visits = 0;
    VM.visit = visit;
    fake_hw.cpu.vcpu = NULL;
    vm_stop(&VM, VM_TRIPLE_FAULT, 0);
    CHECK_EQ(vcpu_call(&VCPU, count, &runs), ERR_NOT_FOUND);
    VM.is_kept = true;
    CHECK_EQ(vcpu_call(&VCPU, count, &runs), STATUS_OK);
    CHECK_EQ(visits, 1);
    VCPU.call = (struct vcpu_call *)&runs; /* another processor's */
    fake_hw.cpu.index = 1;
    CHECK_EQ(vcpu_call(&VCPU, count, &runs), ERR_BUSY);
    VCPU.call = NULL;
    CHECK_EQ(vcpu_call(&VCPU, count, &runs), STATUS_OK);
    CHECK_EQ(runs, 2);
    CHECK_EQ(visits, 2);
    CHECK(VCPU.call == NULL);
    VM.is_kept = false;
    CHECK_EQ(vcpu_call(&VCPU, count, &runs), ERR_NOT_FOUND);
    fake_hw.cpu.index = 0;
}

/* It has died, and stands for a debugger. */
static void calls_what_stands_dead(void)
{
    start();
    vm_stop(&VM, VM_TRIPLE_FAULT, 0);
    CHECK_EQ(vcpu_call(&VCPU, count, &runs), ERR_NOT_FOUND);
    VCPU.stands = true;
    CHECK_EQ(vcpu_call(&VCPU, count, &runs), STATUS_OK);
    VCPU.stands = false;
}

static enum status second;

/* What the other processor does when it is kicked. */
static void look_up(struct vcpu *vcpu)
{
    fake_guest.kicks++;
    struct vcpu_call *call = vcpu->call;
    second = vcpu_call(vcpu, count, NULL); /* somebody else's, in between */
    CHECK(vcpu->call == call);
    vcpu_serve_debug(vcpu);
}

static void calls_on_another_processor(void)
{
    start();
    fake_hw.cpu.vcpu = NULL;
    VCPU.processor = 1;
    VM.kick = look_up;
    CHECK_EQ(vcpu_call(&VCPU, count, &runs), STATUS_OK);
    CHECK_EQ(runs, 1);
    CHECK_EQ(fake_guest.kicks, 1);
    CHECK_EQ(second, ERR_BUSY);
    CHECK(VCPU.call == NULL);
    CHECK(VCPU.requests & VCPU_REQUEST_DEBUG);
}

static void call_without_an_answer_is_taken_back(void)
{
    start();
    fake_hw.cpu.vcpu = NULL;
    VCPU.processor = 1;
    uint64_t before = fake_hw.tsc;
    CHECK_EQ(vcpu_call(&VCPU, count, &runs), ERR_TIMEOUT);
    CHECK(fake_hw.tsc - before < FAKE_GUEST_TSC_HZ / 19);
    vcpu_serve_debug(&VCPU);
    CHECK_EQ(runs, 0);
    CHECK_EQ(fake_guest.kicks, 1);
}

/* ---- Pauses -------------------------------------------------------------------------------- */

static uint64_t clock_while_paused[2];

static void wake_up(void)
{
    clock_while_paused[fake_hw.halts % 2] = clock_now(&VM.clock);
    fake_hw.tsc += 1000000;
    if (fake_hw.halts == 2) {
        struct vcpu_call call = {count, &runs, false};
        VCPU.call = &call;
        VCPU.requests |= VCPU_REQUEST_DEBUG;
        CHECK(vm_is_paused(&VM));
    }
    CHECK(VCPU.stands); /* who asks for something now wakes the processor */
    if (fake_hw.halts == 5)
        vm_resume(&VM);
}

static void fire(void *owner, uint64_t now)
{
    *(uint64_t *)owner = now;
}

static void paused_guest_stands_still(void)
{
    start();
    struct timer timer;
    uint64_t fired = 0;
    timer_init(&timer, &VCPU.timers, fire, &fired);
    uint64_t deadline = clock_now(&VM.clock) + 10000;
    timer_arm(&timer, deadline);
    fake_hw.on_halt = wake_up;
    CHECK_EQ(vm_pause(&VM), STATUS_OK);
    CHECK_EQ(vm_pause(&VM), STATUS_OK);
    CHECK_EQ(fake_hw.halts, 0);
    uint64_t guest_tsc = fake_hw.tsc + VMCS[VMCS_TSC_OFFSET], clock = clock_now(&VM.clock);
    CHECK(run_serve_requests(&VCPU));
    CHECK_EQ(fake_hw.halts, 5);
    CHECK(!VCPU.stands);
    CHECK_EQ(clock_while_paused[0], clock_while_paused[1]);
    CHECK(clock_now(&VM.clock) - clock < VM_BEHIND_UNIT + 1000);
    CHECK(fake_hw.tsc + VMCS[VMCS_TSC_OFFSET] - guest_tsc < VM_BEHIND_UNIT + 1000);
    CHECK_EQ(clock_now(&VM.clock) + VCPU.tsc_offset,
             fake_hw.tsc - 1 + vcpu_machine_tsc_offset(&VCPU));
    /* The timer has as much time left as before. */
    CHECK_EQ(VCPU.timers.next, deadline);
    CHECK(deadline < fake_hw.tsc && deadline > clock_now(&VM.clock));
    CHECK(run_prepare_entry(&VCPU, fake_hw.tsc));
    CHECK_EQ(fired, 0);
    CHECK(fake_guest.vmx.look_at <= deadline + VM.behind);
    uint64_t left = (deadline + VM.behind - fake_hw.tsc) >> 7 << 7;
    CHECK(VMCS[VMCS_VMX_PREEMPTION_TIMER_VALUE] << 7 >= left);
    CHECK(VMCS[VMCS_VMX_PREEMPTION_TIMER_VALUE] << 7 <= left + 256);
    fake_hw.tsc = deadline + VM.behind;
    CHECK(run_prepare_entry(&VCPU, fake_hw.tsc));
    CHECK_EQ(fired, deadline);
    CHECK_EQ(VCPU.timers.next, TIMER_NEVER);
}

static void stop_it(void)
{
    vm_stop(&VM, VM_KILLED, 0);
}

static void paused_guest_can_be_ended(void)
{
    start();
    fake_hw.on_halt = stop_it;
    CHECK_EQ(vm_pause(&VM), STATUS_OK);
    CHECK(!run_serve_requests(&VCPU));
    CHECK_EQ(fake_hw.halts, 1);
    CHECK(vm_is_paused(&VM));
    CHECK_EQ(vm_pause(&VM), ERR_NOT_FOUND);
}

static void ended_guest_is_not_held(void)
{
    start();
    CHECK_EQ(vm_pause(&VM), STATUS_OK);
    vm_stop(&VM, VM_KILLED, 0);
    CHECK(!run_serve_requests(&VCPU));
    CHECK_EQ(fake_hw.halts, 0);
}

static void resume_it(void)
{
    vm_resume(&VM);
}

static void guest_that_is_reset_stays_paused(void)
{
    start();
    struct guest_entry entry = {.rip = 0xfff0, .rflags = 2};
    CHECK_EQ(vm_pause(&VM), STATUS_OK);
    vmx_vcpu_reset(&VCPU, &entry);
    fake_hw.on_halt = resume_it;
    CHECK(run_serve_requests(&VCPU));
    CHECK_EQ(fake_hw.halts, 1);
}

/* ---- Registers ----------------------------------------------------------------------------- */

static void registers_come_back(void)
{
    for (int mode = 0; mode < FAKE_MODES; mode++) {
        struct vcpu_registers before, wanted, after;
        fake_guest_start((enum fake_mode)mode);
        fake_hw_set_msr(0xc0000102, 0x1000);
        vmx_vcpu_get_registers(&VCPU, &before);
        CHECK_EQ(before.rip, FAKE_GUEST_RIP);
        CHECK_EQ(before.gpr[GPR_RSP], FAKE_GUEST_RSP);
        CHECK_EQ(before.kernel_gs_base, 0x1000);
        wanted = before;
        for (unsigned i = 0; i < GPR_COUNT; i++)
            wanted.gpr[i] = 0x1000 + i;
        wanted.rip = 0x1234;
        wanted.rflags ^= RFLAGS_IF;
        wanted.cr2 = 5;
        wanted.cr8 = 7;
        wanted.cr4 ^= CR4_OSFXSR;
        wanted.kernel_gs_base = 0x2000;
        wanted.dr[1] = 0x77;
        wanted.dr7 = 0x402;
        wanted.gdtr.base = 0x3000;
        if (fake_mode_cpl((enum fake_mode)mode) == 0)
            wanted.segment[SEG_DS].selector = 0x28;
        if (mode == FAKE_REAL)
            wanted.segment[SEG_DS].base = 0x280;
        CHECK_EQ(vmx_vcpu_set_registers(&VCPU, &wanted), STATUS_OK);
        vmx_vcpu_get_registers(&VCPU, &after);
        CHECK(memcmp(&wanted, &after, sizeof(after)) == 0);
        CHECK(fake_guest.vmx.breakpoints);
        CHECK_EQ(vmx_vcpu_set_registers(&VCPU, &before), STATUS_OK);
        vmx_vcpu_get_registers(&VCPU, &after);
        CHECK(memcmp(&before, &after, sizeof(after)) == 0);
    }
}

static void refused_registers_change_nothing(void)
{
    struct vcpu_registers before, after, bad[8];
    start();
    fake_hw_set_msr(0xc0000102, 0x1000);
    VCPU.activity = VCPU_HALTED;
    VMCS[VMCS_GUEST_ACTIVITY_STATE] = ACTIVITY_HLT;
    vmx_vcpu_get_registers(&VCPU, &before);
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        bad[i] = before;
        bad[i].gpr[GPR_RAX] = 99;
        bad[i].dr[0] = 0x1234;
        bad[i].rip = 0x5000;
    }
    bad[0].cr0 ^= CR0_PG;              /* not in 64-bit mode */
    bad[1].cr4 ^= CR4_PAE;             /* nor this */
    bad[2].efer ^= EFER_LME;           /* nor this, with paging on */
    bad[3].dr7 |= BIT(32);             /* 32 bits */
    bad[4].rip = 0x8000000000000000;   /* not canonical */
    bad[5].segment[SEG_CS].access = 0; /* no code segment */
    bad[6].cr8 = 16;
    bad[7].rflags &= ~BIT(1);
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        CHECK_EQ(vmx_vcpu_set_registers(&VCPU, &bad[i]), ERR_INVALID);
        vmx_vcpu_get_registers(&VCPU, &after);
        CHECK(memcmp(&before, &after, sizeof(after)) == 0);
        CHECK_EQ(VMCS[VMCS_GUEST_ACTIVITY_STATE], ACTIVITY_HLT);
    }
    bad[0] = before;
    bad[0].rip = 0x5000;
    CHECK_EQ(vmx_vcpu_set_registers(&VCPU, &bad[0]), STATUS_OK);
    CHECK_EQ(VCPU.activity, VCPU_RUNNING);
    CHECK_EQ(VMCS[VMCS_GUEST_ACTIVITY_STATE], ACTIVITY_ACTIVE);
}

/* Neither SMAP nor protection keys keep a debugger out. */
static void reads_what_the_guest_may_not(void)
{
    struct paging paging;
    fake_guest_start(FAKE_LONG);
    fake_hw.pkru = 0x55555554;
    VMCS[VMCS_GUEST_CR4] |= CR4_PKE;
    VMCS[VMCS_CR4_READ_SHADOW] |= CR4_PKE;
    vmx_vcpu_get_paging(&VCPU, &paging);
    CHECK_EQ(paging.pkru, 0);
    CHECK_EQ(paging.cpl, 0);
}

TEST_MAIN({"calls_on_its_own_processor", calls_on_its_own_processor},
          {"calls_what_has_ended", calls_what_has_ended},
          {"calls_what_stands_dead", calls_what_stands_dead},
          {"calls_on_another_processor", calls_on_another_processor},
          {"call_without_an_answer_is_taken_back", call_without_an_answer_is_taken_back},
          {"paused_guest_stands_still", paused_guest_stands_still},
          {"paused_guest_can_be_ended", paused_guest_can_be_ended},
          {"ended_guest_is_not_held", ended_guest_is_not_held},
          {"guest_that_is_reset_stays_paused", guest_that_is_reset_stays_paused},
          {"registers_come_back", registers_come_back},
          {"refused_registers_change_nothing", refused_registers_change_nothing},
          {"reads_what_the_guest_may_not", reads_what_the_guest_may_not})

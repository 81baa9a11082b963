/* The trial of a processor's interrupts, on processors made here. */
#include "kernel/core/paging.h"
#include "tests/check.h"
#include "tests/fake/vmx_guest.h"
#include "vmx/trial.h"

#include <stdlib.h>
#include <string.h>

#define FRAMES 256
#define WAKE_VECTOR 0xe1

static struct pages pages;
static uint8_t memory[FRAMES * PAGE_SIZE] ALIGNED(4096);
static bool
    exits; /* what the processor does about a pending interrupt while the guest masks them */
static unsigned enters_without_interrupt;

/* What the processor does from one entry to the last exit. */
static int processor(struct vcpu *vcpu)
{
    bool pending = fake_hw.wakes != 0 && fake_hw.taken_interrupts == 0;
    CHECK_EQ(fake_vmcs.field[VMCS_GUEST_RFLAGS] & RFLAGS_IF, 0);
    CHECK_EQ(memcmp(vcpu->vm->mem.region[0].host, "\xeb\xfe", 2), 0);
    enters_without_interrupt += !pending;
    for (;;) {
        bool interrupts = exits && pending;
        uint32_t reason =
            interrupts ? EXIT_REASON_EXTERNAL_INTERRUPT : EXIT_REASON_PREEMPTION_TIMER;
        fake_vmcs.field[VMCS_EXIT_REASON] = reason;
        fake_vmcs.field[VMCS_VM_EXIT_INTERRUPTION_INFORMATION] =
            EVENT_INFORMATION_VALID | WAKE_VECTOR;
        if (interrupts)
            pending = false;
        else
            fake_hw.tsc += fake_vmcs.field[VMCS_VMX_PREEMPTION_TIMER_VALUE]
                           << VMX_MISC_PREEMPTION_SHIFT(vmx_of(vcpu)->cpu->capabilities.misc);
        if (!vmx_exit(vcpu))
            return 0;
    }
}

static void start(uint64_t frames)
{
    fake_guest_start(FAKE_REAL); /* for its processor: this one can do everything */
    fake_hw.cpu.vcpu = NULL;
    fake_vmcs.guest = processor;
    enters_without_interrupt = 0;
    pages_init(&pages);
    hpa_t base = HPA((uintptr_t)memory - PAGING_PHYSMAP);
    CHECK_EQ(pages_add(&pages, base, frames, PAGE_FREE), STATUS_OK);
}

static bool is_tried(void)
{
    return trial_of_interrupts(&fake_guest.cpu, &pages, FAKE_GUEST_TSC_HZ);
}

static void check_gave_back(uint64_t frames)
{
    CHECK_EQ(pages_total(&pages, PAGE_FREE), frames);
    CHECK(pages_check(&pages));
}

static void tells_who_takes_interrupts(void)
{
    for (unsigned i = 0; i < 2; i++) {
        start(FRAMES);
        exits = i;
        CHECK_EQ(is_tried(), exits);
        CHECK_EQ(enters_without_interrupt, 0);
        CHECK_EQ(fake_hw.dispatched, exits);
        check_gave_back(FRAMES);
    }
}

/* Whoever could not be tried is not trusted. */
static void no_memory_is_no_proof(void)
{
    exits = true;
    uint64_t frames = 0;
    for (bool passed = false; !passed && frames < FRAMES; frames++) {
        start(frames + 1);
        passed = is_tried();
        CHECK_EQ(passed, fake_hw.wakes != 0);
        check_gave_back(frames + 1);
    }
    CHECK(frames < FRAMES);
}

/* The time is up before the guest was entered: it is tried again. */
static void slow_hosts_get_more_time(void)
{
    start(FRAMES);
    exits = true;
    fake_hw.wake_takes = FAKE_GUEST_TSC_HZ / 10000;
    CHECK(is_tried());
    CHECK_EQ(fake_hw.wakes, 2);
    check_gave_back(FRAMES);
}

static const struct test tests[] = {
    {"tells_who_takes_interrupts", tells_who_takes_interrupts},
    {"no_memory_is_no_proof", no_memory_is_no_proof},
    {"slow_hosts_get_more_time", slow_hosts_get_more_time},
};

int main(void)
{
    return check_run(tests, ARRAY_SIZE(tests));
}

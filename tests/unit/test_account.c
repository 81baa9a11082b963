/* What exits cost: through the exits themselves, and the table by itself. */
#include "kernel/vm/account.h"
#include "kernel/vm/debug.h"
#include "tests/check.h"
#include "tests/fake/vmx_guest.h"

#include <stdlib.h>
#include <string.h>

#define VCPU fake_guest.vcpu
#define VMCS fake_vmcs.field
#define EXITS 5

static void *memory;

static void start(void)
{
    fake_guest_start(FAKE_REAL);
    free(memory);
    memory = aligned_alloc(4096, align_up(account_size(EXITS), 4096));
    account_start(&VCPU, memory, EXITS);
}

/* The guest runs for so long, then comes the exit, for which the monitor takes 1 to 20 counts. */
static void exit_after(uint64_t counts, uint32_t reason, uint64_t qualification)
{
    fake_hw.tsc += counts;
    VMCS[VMCS_EXIT_REASON] = reason;
    VMCS[VMCS_EXIT_QUALIFICATION] = qualification;
    CHECK(vmx_exit_accounted(&VCPU));
}

static const struct account_slot *find(uint32_t reason, uint64_t value)
{
    const struct account_slot *list[ACCOUNT_KINDS_MAX];
    unsigned count = account_list(VCPU.account, list);
    for (unsigned i = 0; i < count; i++)
        if (account_key_reason(list[i]->key) == reason && account_key_value(list[i]->key) == value)
            return list[i];
    return NULL;
}

static void tells_exits_apart(void)
{
    start();
    for (unsigned i = 0; i < 3; i++) {
        VCPU.gpr[GPR_RAX] = 1;
        exit_after(1000 + i, EXIT_REASON_CPUID, 0);
        VCPU.gpr[GPR_RAX] = 0x80000001;
        exit_after(100, EXIT_REASON_CPUID, 0);
        VCPU.gpr[GPR_RCX] = 0x1b;
        exit_after(100, EXIT_REASON_RDMSR, 0);
        exit_after(100, EXIT_REASON_IO_INSTRUCTION, 0x3f8u << 16 | 8);
        exit_after(100, EXIT_REASON_PREEMPTION_TIMER, 0);
    }
    const struct account_slot *leaf = find(EXIT_REASON_CPUID, 1);
    CHECK(leaf != NULL && find(EXIT_REASON_CPUID, 0x80000001) != NULL);
    CHECK(find(EXIT_REASON_RDMSR, 0x1b) != NULL && find(EXIT_REASON_IO_INSTRUCTION, 0x3f8) != NULL);
    CHECK(find(EXIT_REASON_PREEMPTION_TIMER, 0) != NULL);
    CHECK_EQ(account_count(&leaf->guest), 3);
    CHECK_EQ(account_count(&leaf->own), 3);
    CHECK(leaf->guest.min >= 1000 && leaf->guest.min < 1010);
    CHECK_EQ(account_max(&leaf->guest), leaf->guest.min + 2);
    CHECK_EQ(leaf->guest.sum, 3 * leaf->guest.min + 3);
    CHECK_EQ(leaf->guest.bucket[9] + leaf->guest.bucket[10], 3);
    CHECK(leaf->own.min > 0 && account_max(&leaf->own) < 20);
}

/* Keys are parts of fields: neither a field's other bits nor an exit before shows in them. */
static void keys_are_whole(void)
{
    start();
    for (unsigned i = 0; i < 2; i++) {
        VMCS[VMCS_GUEST_PHYSICAL_ADDRESS] = 0xfedcba987654fff ^ (uint64_t)i << 3;
        VMCS[VMCS_EXIT_REASON] = EXIT_REASON_EPT_VIOLATION;
        VMCS[VMCS_EXIT_QUALIFICATION] = 0x181;
        (void)vmx_exit_accounted(&VCPU); /* no device is there */
        exit_after(10, EXIT_REASON_IO_INSTRUCTION, 0xffff000full);
        VCPU.gpr[GPR_RAX] = ~0ull;
        exit_after(10, EXIT_REASON_CPUID, 0);
        exit_after(10, EXIT_REASON_PREEMPTION_TIMER, 0);
    }
    const struct account_slot *list[ACCOUNT_KINDS_MAX];
    CHECK_EQ(account_list(VCPU.account, list), 4);
    CHECK(find(EXIT_REASON_IO_INSTRUCTION, 0xffff) != NULL);
    CHECK(find(EXIT_REASON_CPUID, 0xffffffff) != NULL);
    CHECK(find(EXIT_REASON_PREEMPTION_TIMER, 0) != NULL);
    CHECK(find(EXIT_REASON_EPT_VIOLATION, 0xfedcba987654000 >> 8 & MASK(43, 4)) != NULL);
}

static void knows_both_ends(void)
{
    static const uint64_t counts[] = {500, 501, 499, 500, 1ull << 40, 1, 700};
    struct account_times times = {.min = UINT64_MAX};
    CHECK_EQ(account_max(&times), 0);
    uint64_t min = UINT64_MAX, max = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(counts); i++) {
        account_note(&times, counts[i]);
        min = counts[i] < min ? counts[i] : min;
        max = counts[i] > max ? counts[i] : max;
        CHECK_EQ(times.min, min);
        CHECK_EQ(account_max(&times), max);
    }
    CHECK_EQ(account_count(&times), ARRAY_SIZE(counts));
}

static void keeps_the_last(void)
{
    start();
    VCPU.gpr[GPR_RCX] = 0x12345;
    for (unsigned i = 0; i < EXITS + 3; i++)
        exit_after(10, i % 2 ? EXIT_REASON_RDMSR : EXIT_REASON_PREEMPTION_TIMER, 0);
    const struct vcpu_exit *exit = NULL;
    unsigned count = 0;
    uint64_t later = UINT64_MAX;
    while ((exit = vcpu_exit_before(&VCPU, exit)) != NULL) {
        unsigned number = EXITS + 2 - count;
        CHECK_EQ(exit->reason, number % 2 ? EXIT_REASON_RDMSR : EXIT_REASON_PREEMPTION_TIMER);
        CHECK_EQ(exit->result, number % 2 ? INJECT : RETRY);
        CHECK(exit->start < later);
        CHECK(count == 0 || exit->start + exit->own < later);
        later = exit->start;
        count++;
    }
    CHECK_EQ(count, EXITS);
    account_stop(&VCPU);
    CHECK(vcpu_exit_before(&VCPU, NULL) == NULL);
}

/* ---- Under a debugger ------------------------------------------------------------------------ */

#define LONG 1000000

static void wake_up(void)
{
    fake_hw.tsc += LONG;
    vm_resume(&fake_guest.vm);
}

static void pause_it(void)
{
    fake_hw.on_halt = wake_up;
    CHECK_EQ(vm_pause(&fake_guest.vm), STATUS_OK);
    VCPU.requests |= VCPU_REQUEST_DEBUG;
}

static int run_once(struct vcpu *vcpu)
{
    (void)vcpu;
    for (unsigned i = 0; i < 3; i++) {
        if (i == 1)
            pause_it();
        exit_after(100, EXIT_REASON_PREEMPTION_TIMER, 0);
    }
    return 0;
}

/* Before its first instruction, at an exit, and between two runs. */
static void standing_is_nobodys_time(void)
{
    start();
    pause_it();
    fake_vmcs.guest = run_once;
    vmx_vcpu_run(&VCPU);
    CHECK_EQ(fake_hw.halts, 2);
    fake_hw.tsc += LONG;
    vmx_vcpu_run(&VCPU);
    fake_vmcs.guest = NULL;
    const struct account_slot *timer = find(EXIT_REASON_PREEMPTION_TIMER, 0);
    CHECK_EQ(account_count(&timer->guest), 6);
    CHECK(timer->guest.min >= 100 && account_max(&timer->guest) < 200);
    CHECK(account_max(&timer->own) < 100);
}

/* Exits that are not accounted, while something is caught, leave no time behind. */
static void catches_are_nobodys_time(void)
{
    start();
    exit_after(100, EXIT_REASON_PREEMPTION_TIMER, 0);
    fake_guest.vmx.debug.catches.catch[0].kind = CATCH_CPUID;
    fake_guest.vmx.debug.catches.count = 1;
    for (unsigned i = 0; i < 3; i++) {
        fake_hw.tsc += LONG;
        CHECK(vmx_exit_debug(&VCPU));
    }
    fake_guest.vmx.debug.catches.count = 0;
    exit_after(100, EXIT_REASON_PREEMPTION_TIMER, 0);
    const struct account_slot *timer = find(EXIT_REASON_PREEMPTION_TIMER, 0);
    CHECK_EQ(account_count(&timer->guest), 2);
    CHECK(account_max(&timer->guest) < 200 && account_max(&timer->own) < 100);
}

/* More kinds than there is room for: none is lost, nor mixed up. */
static void has_a_rest(void)
{
    start();
    for (unsigned round = 0; round < 2; round++)
        for (uint32_t msr = 0; msr < ACCOUNT_SLOTS + 10; msr++) {
            VCPU.gpr[GPR_RCX] = 0x40000000 + msr;
            exit_after(10, EXIT_REASON_RDMSR, 0);
        }
    const struct account_slot *list[ACCOUNT_KINDS_MAX];
    CHECK_EQ(account_list(VCPU.account, list), ACCOUNT_SLOTS + 1);
    for (unsigned i = 0; i < ACCOUNT_SLOTS; i++) {
        CHECK_EQ(account_count(&list[i]->guest), 2);
        CHECK(i == 0 || list[i]->own.sum <= list[i - 1]->own.sum);
    }
    CHECK_EQ(account_count(&list[ACCOUNT_SLOTS]->guest), 20);
    free(memory);
    memory = NULL;
}

static const struct test tests[] = {
    {"tells_exits_apart", tells_exits_apart},
    {"keys_are_whole", keys_are_whole},
    {"knows_both_ends", knows_both_ends},
    {"keeps_the_last", keeps_the_last},
    {"standing_is_nobodys_time", standing_is_nobodys_time},
    {"catches_are_nobodys_time", catches_are_nobodys_time},
    {"has_a_rest", has_a_rest},
};

int main(void)
{
    return check_run(tests, ARRAY_SIZE(tests));
}

/*
 * What exits cost: for each kind of exit of a vCPU how often it came, how long the monitor took for
 * it and how long the guest had run before. A kind is an exit reason, with the port, MSR, CPUID
 * leaf or page of device memory where it has one. Times are counts of the TSC. Only the processor
 * that runs the vCPU counts; whoever reads, starts or stops does so there.
 */
#pragma once

#include "kernel/vm/vcpu.h"

/* What an exit's key is. */
enum account_by { ACCOUNT_NOTHING, ACCOUNT_LEAF, ACCOUNT_MSR, ACCOUNT_PORT, ACCOUNT_PAGE };

#define ACCOUNT_BUCKETS 64

struct account_times {
    uint64_t sum;
    uint64_t min, span; /* one comparison sees both ends; min: UINT64_MAX before the first */
    uint32_t
        bucket[ACCOUNT_BUCKETS]; /* bucket n: from 2^n to 2^(n+1) - 1; all of them: the count */
};

struct account_slot {
    uint64_t key; /* ACCOUNT_TAG and a value; 0: none */
    struct account_times own, guest;
} ALIGNED(1024); /* a power of two: account_first */

#define ACCOUNT_SLOTS_SHIFT 9
#define ACCOUNT_SLOTS (1u << ACCOUNT_SLOTS_SHIFT)

struct account {
    /* Found by the key's hash; what finds no room is counted in the one behind them. */
    struct account_slot slot[ACCOUNT_SLOTS], rest;
    struct account_slot none; /* for the time before the first exit: says nothing */
};

/* What a key is made of: this, plus a leaf, an MSR, a port, or a page's
 * address without its 8 low bits. The low bits set reasons apart for the hash. */
#define ACCOUNT_TAG(reason) ((uint64_t)((reason) + 1u) << 56 | ((reason)*0x3779b9u & 0xffffff))

static inline uint32_t account_key_reason(uint64_t key)
{
    return (uint32_t)(key >> 56) - 1;
}

static inline uint64_t account_key_value(uint64_t key)
{
    return key - ACCOUNT_TAG(account_key_reason(key));
}

/* Bytes that accounting takes with a history of so many exits. */
static inline uint64_t account_size(uint64_t exits)
{
    return sizeof(struct account) + exits * sizeof(struct vcpu_exit);
}

/* Empties the history: it is written to these from now on. */
void vcpu_set_history(struct vcpu *vcpu, struct vcpu_exit *exits, unsigned count);

/* The exit before that, or NULL where the history begins; NULL in exit: the last one. */
const struct vcpu_exit *vcpu_exit_before(const struct vcpu *vcpu, const struct vcpu_exit *exit);

/* Begins to count, with everything at 0, in memory of account_size(exits) bytes at a page; exits is
 * not 0. The back end still has to be told. */
void account_start(struct vcpu *vcpu, void *memory, uint32_t exits);

/* Ends it: memory is the caller's again, the history is empty. */
void account_stop(struct vcpu *vcpu);

#define ACCOUNT_KINDS_MAX (ACCOUNT_SLOTS + 1)

/* Every kind of exit that came: those first that took most of the monitor's time, the rest last if
 * there is one. Returns how many. */
unsigned account_list(const struct account *account,
                      const struct account_slot *list[ACCOUNT_KINDS_MAX]);

/* The largest, 0 before the first. */
static inline uint64_t account_max(const struct account_times *times)
{
    return times->min == UINT64_MAX ? 0 : times->min + times->span;
}

/* How often: the buckets' sum. The monitor's own time of the last exit comes with the next one. */
uint64_t account_count(const struct account_times *times);

/* The slot of a key that has none yet, or the last one. */
COLD struct account_slot *account_find(uint64_t key, struct account *account);

/* A count that lies outside min to min + span, and so far above min, modulo 2^64. */
COLD void account_widen(struct account_times *times, uint64_t above);

static inline __attribute__((always_inline)) void account_note(struct account_times *times,
                                                               uint64_t count)
{
    times->sum += count;
    times->bucket[bit_highest(count)]++;
    count -= times->min;
    if (__builtin_expect(count > times->span, 0))
        account_widen(times, count);
}

/* Fibonacci hashing, of the low half. */
static inline uint32_t account_hash(uint64_t key)
{
    return (uint32_t)key * 0x9e3779b9u >> (32 - ACCOUNT_SLOTS_SHIFT);
}

/* The slot at the hash; as little as possible is left to compute. */
static inline struct account_slot *account_first(struct account *account, uint64_t key)
{
    const unsigned shift = 32 - ACCOUNT_SLOTS_SHIFT, size_shift = 10;
    uint32_t at = (uint32_t)key * 0x9e3779b9u >> (shift - size_shift);
    return (struct account_slot *)((uint8_t *)account->slot +
                                   (at & (ACCOUNT_SLOTS - 1) << size_shift));
}

/* An exit of the vCPU: counts the monitor's own time for the exit before, noted in `before`; and
 * then, of the exit with this key, at start (TSC), the guest's time until it. In two, so that a key
 * need not be kept meanwhile. */
static inline __attribute__((always_inline)) void account_own(struct vcpu *vcpu,
                                                              struct vcpu_exit *before)
{
    uint64_t own = vcpu->account_mark - before->start;
    before->own = own;
    account_note(&vcpu->account_last->own, own);
}

static inline __attribute__((always_inline)) void account_guest(struct vcpu *vcpu, uint64_t key,
                                                                uint64_t start)
{
    struct account_slot *slot = account_first(vcpu->account, key);
    if (__builtin_expect(slot->key != key, 0))
        slot = account_find(key, vcpu->account);
    vcpu->account_last = slot;
    account_note(&slot->guest, start - vcpu->account_mark);
}

#include "kernel/vm/account.h"
#include "kernel/core/hw.h"
#include "kernel/core/mem.h"

void vcpu_set_history(struct vcpu *vcpu, struct vcpu_exit *exits, unsigned count)
{
    memset(exits, 0, count * sizeof(*exits));
    vcpu->history =
        (struct vcpu_history){exits + count - 1, exits, exits + count, vcpu_exits(vcpu)};
}

const struct vcpu_exit *vcpu_exit_before(const struct vcpu *vcpu, const struct vcpu_exit *exit)
{
    const struct vcpu_history *history = &vcpu->history;
    uint64_t size = (uint64_t)(history->end - history->first);
    uint64_t known = vcpu_exits(vcpu) - history->before;
    const struct vcpu_exit *found = exit == NULL ? history->newest : exit - 1;
    if (found < history->first)
        found = history->end - 1;
    uint64_t age =
        (uint64_t)(history->newest - found + (found > history->newest ? (int64_t)size : 0));
    return age < known && (exit == NULL || found != history->newest) ? found : NULL;
}

static void empty(struct account_slot *slot, uint64_t key)
{
    memset(slot, 0, sizeof(*slot));
    slot->key = key;
    slot->own.min = slot->guest.min = UINT64_MAX;
}

void account_start(struct vcpu *vcpu, void *memory, uint32_t exits)
{
    struct account *account = memory;
    vcpu_set_history(vcpu, (void *)((uint8_t *)memory + sizeof(*account)), exits);
    for (unsigned i = 0; i < ACCOUNT_SLOTS; i++)
        empty(&account->slot[i], 0);
    empty(&account->rest, UINT64_MAX);
    empty(&account->none, 0);
    vcpu->account_last = &account->none;
    vcpu->account_mark = hw_rdtsc();
    vcpu->account = account;
}

void account_stop(struct vcpu *vcpu)
{
    vcpu->account = NULL;
    vcpu_set_history(vcpu, vcpu->last_exits, VCPU_HISTORY);
}

void account_widen(struct account_times *times, uint64_t above)
{
    uint64_t count = times->min + above, max = account_max(times);
    if (count < times->min)
        times->min = count;
    times->span = (count > max ? count : max) - times->min;
}

struct account_slot *account_find(uint64_t key, struct account *account)
{
    for (unsigned i = 0; i < ACCOUNT_SLOTS; i++) {
        struct account_slot *slot = &account->slot[(account_hash(key) + i) % ACCOUNT_SLOTS];
        if (slot->key == 0)
            slot->key = key;
        if (slot->key == key)
            return slot;
    }
    return &account->rest;
}

uint64_t account_count(const struct account_times *times)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < ACCOUNT_BUCKETS; i++)
        count += times->bucket[i];
    return count;
}

static bool is_before(const struct account_slot *a, const struct account_slot *b)
{
    return a->own.sum != b->own.sum ? a->own.sum > b->own.sum : a->key < b->key;
}

unsigned account_list(const struct account *account,
                      const struct account_slot *list[ACCOUNT_KINDS_MAX])
{
    unsigned count = 0;
    for (unsigned i = 0; i < ACCOUNT_SLOTS; i++) {
        const struct account_slot *slot = &account->slot[i];
        unsigned at = count;
        if (slot->key == 0)
            continue;
        for (; at > 0 && is_before(slot, list[at - 1]); at--)
            list[at] = list[at - 1];
        list[at] = slot;
        count++;
    }
    if (account_count(&account->rest.guest) != 0)
        list[count++] = &account->rest;
    return count;
}

/* A ticketless test-and-set lock. Lock order stands at the top of each file that takes two. */
#pragma once

#include "kernel/core/types.h"

struct spinlock {
    bool held;
};

static inline void spinlock_acquire(struct spinlock *lock)
{
    while (__atomic_test_and_set(&lock->held, __ATOMIC_ACQUIRE))
        while (__atomic_load_n(&lock->held, __ATOMIC_RELAXED))
            __builtin_ia32_pause();
}

static inline bool spinlock_try(struct spinlock *lock)
{
    return !__atomic_test_and_set(&lock->held, __ATOMIC_ACQUIRE);
}

static inline void spinlock_release(struct spinlock *lock)
{
    __atomic_clear(&lock->held, __ATOMIC_RELEASE);
}

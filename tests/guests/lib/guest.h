/*
 * For test guests in C: reporting, and instructions whose faults are caught. Everything runs in
 * 64-bit mode at ring 0 with the lowest 4 GiB mapped one to one; the assembly side is c_guest.inc.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel/core/bits.h"

#define NO_FAULT ~0ull
#define VECTOR_UD_ 6u
#define VECTOR_GP_ 13u

/* Of modes.inc. */
enum guest_mode { MODE_COMPAT, MODE_FLAT32, MODE_PAGED32, MODE_PAE, MODE_PM16, MODE_REAL };

extern volatile uint64_t caught_vector, caught_error;
extern uint64_t catch_resume, catch_at;
extern uint8_t on_tcg;

/* Begins a case and ends the one before: "ok NAME". */
void guest_case(const char *name);
/* Ends the case: "skip NAME: why". */
void guest_skip(const char *why);
/* Fails the case where got is not want. */
void guest_expect(uint64_t got, uint64_t want, const char *what);
void guest_print(const char *text);
void guest_print_hex(uint64_t value);
void guest_print_decimal(uint64_t value);
/* The routine is of the mode's own code: assembly. */
void guest_call_mode(uint64_t mode, uint64_t routine);

/* Around one instruction, which may fault. Afterwards caught_vector is its fault, or NO_FAULT. */
#define GUEST_TRY(instruction)                                                                     \
    "movq $-1, caught_vector\n\t"                                                                  \
    "movl $77f, catch_at\n\t"                                                                      \
    "movl $78f, catch_resume\n\t"                                                                  \
    "77: " instruction "\n\t"                                                                      \
    "78: movl $0, catch_resume"

static inline uint64_t guest_try_rdmsr(uint32_t msr, uint64_t *value)
{
    uint64_t low = 0x5a5a5a5a5a5a5a5aull, high = 0xa5a5a5a5a5a5a5a5ull;
    __asm__ volatile(GUEST_TRY("rdmsr") : "+a"(low), "+d"(high) : "c"(msr) : "memory");
    *value = high << 32 | (uint32_t)low;
    return caught_vector;
}

static inline uint64_t guest_try_wrmsr(uint32_t msr, uint64_t value)
{
    __asm__ volatile(GUEST_TRY("wrmsr")
                     :
                     : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
                     : "memory");
    return caught_vector;
}

static inline uint64_t guest_try_xsetbv(uint32_t index, uint64_t value)
{
    __asm__ volatile(GUEST_TRY("xsetbv")
                     :
                     : "c"(index), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
                     : "memory");
    return caught_vector;
}

static inline uint64_t guest_xgetbv(uint32_t index)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(index));
    return (uint64_t)high << 32 | low;
}

static inline uint64_t guest_rdmsr(uint32_t msr)
{
    uint32_t low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}

static inline void guest_wrmsr(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr"
                     :
                     : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
                     : "memory");
}

/* guest_read_cr0, guest_try_write_cr0, ... */
#define GUEST_REGISTER(name)                                                                       \
    static inline uint64_t guest_read_##name(void)                                                 \
    {                                                                                              \
        uint64_t value;                                                                            \
        __asm__ volatile("mov %%" #name ", %0" : "=r"(value) : : "memory");                        \
        return value;                                                                              \
    }                                                                                              \
    static inline uint64_t guest_try_write_##name(uint64_t value)                                  \
    {                                                                                              \
        __asm__ volatile(GUEST_TRY("mov %0, %%" #name) : : "r"(value) : "memory");                 \
        return caught_vector;                                                                      \
    }

GUEST_REGISTER(cr0)
GUEST_REGISTER(cr3)
GUEST_REGISTER(cr4)
GUEST_REGISTER(cr8)
GUEST_REGISTER(dr0)
GUEST_REGISTER(dr1)
GUEST_REGISTER(dr2)
GUEST_REGISTER(dr3)
GUEST_REGISTER(dr6)
GUEST_REGISTER(dr7)

enum guest_cpuid_register { EAX, EBX, ECX, EDX };

static inline uint32_t guest_cpuid(uint32_t leaf, uint32_t subleaf,
                                   enum guest_cpuid_register number)
{
    uint32_t value[4];
    __asm__ volatile("cpuid"
                     : "=a"(value[EAX]), "=b"(value[EBX]), "=c"(value[ECX]), "=d"(value[EDX])
                     : "0"(leaf), "2"(subleaf));
    return value[number];
}

/* A feature; of leaves above the highest one, none. */
static inline bool guest_has(uint32_t leaf, uint32_t subleaf, enum guest_cpuid_register number,
                             unsigned bit)
{
    return guest_cpuid(leaf & 0x80000000u, 0, EAX) >= leaf &&
           guest_cpuid(leaf, subleaf, number) >> bit & 1;
}

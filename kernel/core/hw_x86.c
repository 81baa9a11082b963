/* The bodies of hw.h: the one C file with inline assembly. */
#include "kernel/core/hw.h"

#include "kernel/core/bits.h"
#include "kernel/core/panic.h"
#include "kernel/core/x86.h"

void hw_cpuid(uint32_t leaf, uint32_t subleaf, struct cpuid_regs *regs)
{
    __asm__ volatile("cpuid"
                     : "=a"(regs->eax), "=b"(regs->ebx), "=c"(regs->ecx), "=d"(regs->edx)
                     : "a"(leaf), "c"(subleaf));
}

uint64_t hw_rdmsr(uint32_t msr)
{
    uint32_t low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}

void hw_wrmsr(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
                     : "memory");
}

#define PORT_ACCESS(suffix, type)                                                                  \
    type hw_in##suffix(uint16_t port)                                                              \
    {                                                                                              \
        type value;                                                                                \
        __asm__ volatile("in" #suffix " %1, %0" : "=a"(value) : "Nd"(port) : "memory");            \
        return value;                                                                              \
    }                                                                                              \
    void hw_out##suffix(uint16_t port, type value)                                                 \
    {                                                                                              \
        __asm__ volatile("out" #suffix " %0, %1" ::"a"(value), "Nd"(port) : "memory");             \
    }

PORT_ACCESS(b, uint8_t)
PORT_ACCESS(w, uint16_t)
PORT_ACCESS(l, uint32_t)

#define REGISTER_READ(name)                                                                        \
    uint64_t hw_read_##name(void)                                                                  \
    {                                                                                              \
        uint64_t value;                                                                            \
        __asm__ volatile("mov %%" #name ", %0" : "=r"(value)::"memory");                           \
        return value;                                                                              \
    }

#define REGISTER_WRITE(name)                                                                       \
    void hw_write_##name(uint64_t value)                                                           \
    {                                                                                              \
        __asm__ volatile("mov %0, %%" #name ::"r"(value) : "memory");                              \
    }

REGISTER_READ(cr0)
REGISTER_READ(cr2)
REGISTER_READ(cr3)
REGISTER_READ(cr4)
REGISTER_READ(cr8)
REGISTER_WRITE(cr0)
REGISTER_WRITE(cr2)
REGISTER_WRITE(cr3)
REGISTER_WRITE(cr4)
REGISTER_WRITE(cr8)

uint64_t hw_xgetbv(uint32_t index)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(index));
    return (uint64_t)high << 32 | low;
}

uint32_t hw_rdpkru(void)
{
    uint32_t pkru;
    __asm__ volatile("rdpkru" : "=a"(pkru) : "c"(0) : "edx");
    return pkru;
}

void hw_xsetbv(uint32_t index, uint64_t value)
{
    __asm__ volatile("xsetbv" ::"c"(index), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
                     : "memory");
}

uint64_t hw_rdtsc(void)
{
    uint64_t low, high; /* the instruction clears their upper halves */
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return high << 32 | low;
}

bool hw_rdrand(uint64_t *value)
{
    bool ready;
    __asm__ volatile("rdrand %0; setc %1" : "=r"(*value), "=qm"(ready)::"cc");
    return ready;
}

uint64_t hw_rdtsc_ordered(void)
{
    uint32_t low, high;
    __asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high)::"memory");
    return (uint64_t)high << 32 | low;
}

void hw_cli(void)
{
    __asm__ volatile("cli" ::: "memory");
}

void hw_hlt(void)
{
    __asm__ volatile("hlt" ::: "memory");
}

void hw_sti_hlt(void)
{
    __asm__ volatile("sti; hlt; cli" ::: "memory");
}

void hw_take_interrupts(void)
{
    __asm__ volatile("sti; nop; cli" ::: "memory");
}

void hw_unblock_nmi(void)
{
    uint64_t rsp, scratch;
    __asm__ volatile("mov %%rsp, %0\n\t"
                     "mov %%ss, %k1\n\t"
                     "push %1\n\t"
                     "push %0\n\t"
                     "pushfq\n\t"
                     "mov %%cs, %k1\n\t"
                     "push %1\n\t"
                     "lea 1f(%%rip), %1\n\t"
                     "push %1\n\t"
                     "iretq\n"
                     "1:"
                     : "=&r"(rsp), "=&r"(scratch)::"memory");
}

void hw_pause(void)
{
    __asm__ volatile("pause" ::: "memory");
}

void hw_lgdt(const struct descriptor_pointer *gdtr)
{
    __asm__ volatile("lgdt %0" ::"m"(*gdtr));
}

void hw_lidt(const struct descriptor_pointer *idtr)
{
    __asm__ volatile("lidt %0" ::"m"(*idtr));
}

void hw_lldt(uint16_t selector)
{
    __asm__ volatile("lldt %0" ::"r"(selector) : "memory");
}

void hw_ltr(uint16_t selector)
{
    __asm__ volatile("ltr %0" ::"r"(selector) : "memory");
}

void hw_load_segments(uint16_t code, uint16_t data)
{
    __asm__ volatile("pushq %0\n\t"
                     "leaq 1f(%%rip), %%rax\n\t"
                     "pushq %%rax\n\t"
                     "lretq\n"
                     "1:\tmovw %w1, %%ss\n\t"
                     "xorl %%eax, %%eax\n\t"
                     "movw %%ax, %%ds\n\t"
                     "movw %%ax, %%es\n\t"
                     "movw %%ax, %%fs\n\t"
                     "movw %%ax, %%gs" ::"r"((uint64_t)code),
                     "r"(data)
                     : "rax", "memory");
}

void hw_invlpg(uint64_t linear)
{
    __asm__ volatile("invlpg (%0)" ::"r"(linear) : "memory");
}

void hw_wbinvd(void)
{
    __asm__ volatile("wbinvd" ::: "memory");
}

#define DEBUG_REGISTERS(X) X(0) X(1) X(2) X(3) X(6) X(7)

uint64_t hw_read_dr(unsigned number)
{
    uint64_t value = 0;
    switch (number) {
#define X(n)                                                                                       \
    case n:                                                                                        \
        __asm__ volatile("mov %%dr" #n ", %0" : "=r"(value));                                      \
        break;
        DEBUG_REGISTERS(X)
#undef X
    default:
        ASSERT(!"such a debug register");
    }
    return value;
}

void hw_write_dr(unsigned number, uint64_t value)
{
    switch (number) {
#define X(n)                                                                                       \
    case n:                                                                                        \
        __asm__ volatile("mov %0, %%dr" #n ::"r"(value) : "memory");                               \
        break;
        DEBUG_REGISTERS(X)
#undef X
    default:
        ASSERT(!"such a debug register");
    }
}

#define AREA_INSTRUCTION(name, instruction)                                                        \
    void hw_##name(void *area, uint64_t mask)                                                      \
    {                                                                                              \
        __asm__ volatile(instruction " (%0)" ::"r"(area), "a"((uint32_t)mask),                     \
                         "d"((uint32_t)(mask >> 32))                                               \
                         : "memory");                                                              \
    }
#define AREA_CONST_INSTRUCTION(name, instruction)                                                  \
    void hw_##name(const void *area, uint64_t mask)                                                \
    {                                                                                              \
        __asm__ volatile(instruction " (%0)" ::"r"(area), "a"((uint32_t)mask),                     \
                         "d"((uint32_t)(mask >> 32))                                               \
                         : "memory");                                                              \
    }

AREA_INSTRUCTION(xsave, "xsave64")
AREA_INSTRUCTION(xsavec, "xsavec64")
AREA_INSTRUCTION(xsaves, "xsaves64")
AREA_CONST_INSTRUCTION(xrstor, "xrstor64")
AREA_CONST_INSTRUCTION(xrstors, "xrstors64")

void hw_fxsave(void *area)
{
    __asm__ volatile("fxsave64 (%0)" ::"r"(area) : "memory");
}

void hw_fxrstor(const void *area)
{
    __asm__ volatile("fxrstor64 (%0)" ::"r"(area) : "memory");
}

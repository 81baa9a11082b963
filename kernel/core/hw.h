/*
 * Every privileged instruction that the monitor uses outside vmx/, as a prototype. The bodies are
 * one-liners in hw_x86.c and hw_safe.asm; nothing else holds inline assembly. Except for the _safe
 * ones a fault in any of them is a panic.
 */
#pragma once

#include "kernel/core/status.h"
#include "kernel/core/types.h"

/* Descriptor-table registers, as LGDT and LIDT take them from memory. */
struct PACKED descriptor_pointer {
    uint16_t limit;
    uint64_t base;
};

struct cpuid_regs {
    uint32_t eax;
    uint32_t ebx;
    uint32_t ecx;
    uint32_t edx;
};

/* What CPUID answers; a leaf above the highest one of its range is the caller's mistake to make. */
void hw_cpuid(uint32_t leaf, uint32_t subleaf, struct cpuid_regs *regs);

uint64_t hw_rdmsr(uint32_t msr);
void hw_wrmsr(uint32_t msr, uint64_t value);
/* As above, but ERR_FAULT where the instruction raises #GP; then *value is 0. */
enum status MUST_CHECK hw_rdmsr_safe(uint32_t msr, uint64_t *value);
enum status MUST_CHECK hw_wrmsr_safe(uint32_t msr, uint64_t value);

uint8_t hw_inb(uint16_t port);
uint16_t hw_inw(uint16_t port);
uint32_t hw_inl(uint16_t port);
void hw_outb(uint16_t port, uint8_t value);
void hw_outw(uint16_t port, uint16_t value);
void hw_outl(uint16_t port, uint32_t value);

uint64_t hw_read_cr0(void);
uint64_t hw_read_cr2(void);
uint64_t hw_read_cr3(void);
uint64_t hw_read_cr4(void);
uint64_t hw_read_cr8(void);
void hw_write_cr0(uint64_t value);
void hw_write_cr2(uint64_t value);
void hw_write_cr3(uint64_t value);
void hw_write_cr4(uint64_t value);
void hw_write_cr8(uint64_t value);

/* Need CR4.OSXSAVE. hw_xsetbv_safe: ERR_FAULT where the value is one that the processor refuses. */
uint64_t hw_xgetbv(uint32_t index);
void hw_xsetbv(uint32_t index, uint64_t value);
enum status MUST_CHECK hw_xsetbv_safe(uint32_t index, uint64_t value);

/* PKRU. Needs CR4.PKE. */
uint32_t hw_rdpkru(void);

/* The time-stamp counter. The ordered form waits for every earlier load and instruction. */
uint64_t hw_rdtsc(void);
uint64_t hw_rdtsc_ordered(void);

/* RDRAND, which the processor must have; false: it had no number ready. */
bool hw_rdrand(uint64_t *value);

void hw_cli(void);
void hw_hlt(void);
/* STI; HLT; CLI: sleeps without losing a wake-up between the check and the HLT, takes what is
 * pending, and returns with interrupts off. */
void hw_sti_hlt(void);
/* STI; NOP; CLI: takes what is pending, and returns with interrupts off. */
void hw_take_interrupts(void);
void hw_pause(void);
/* IRET to the next instruction: NMIs, which an NMI or a VM exit that one caused has blocked, come
 * again. */
void hw_unblock_nmi(void);

void hw_lgdt(const struct descriptor_pointer *gdtr);
void hw_lidt(const struct descriptor_pointer *idtr);
void hw_lldt(uint16_t selector);
void hw_ltr(uint16_t selector);
/* Reloads CS with a far return, then SS with data, and DS, ES, FS and GS with the null selector;
 * the caller writes the FS and GS bases afterwards. */
void hw_load_segments(uint16_t code, uint16_t data);

void hw_invlpg(uint64_t linear);
void hw_wbinvd(void);

/* Debug registers 0 to 3, 6 and 7; another number is an ASSERT. */
uint64_t hw_read_dr(unsigned number);
void hw_write_dr(unsigned number, uint64_t value);

/* The processor's extended state, area 64-byte aligned and as large as CPUID leaf 0DH says for
 * mask; bits of mask outside XCR0 are ignored. XSAVEC and the _s forms need what CPUID leaf 0DH,
 * subleaf 1, says; the _s forms use IA32_XSS. FXSAVE needs
 * 512 bytes, 16-byte aligned. XRSTOR and FXRSTOR of an area that the monitor did not save itself
 * can fault: the _safe form returns ERR_FAULT. */
void hw_xsave(void *area, uint64_t mask);
void hw_xrstor(const void *area, uint64_t mask);
enum status MUST_CHECK hw_xrstor_safe(const void *area, uint64_t mask);
void hw_xsavec(void *area, uint64_t mask);
void hw_xsaves(void *area, uint64_t mask);
void hw_xrstors(const void *area, uint64_t mask);
void hw_fxsave(void *area);
void hw_fxrstor(const void *area);

/* Memory-mapped registers: one access of exactly this width, never merged or reordered by the
 * compiler. */
static inline uint32_t hw_mmio_read32(const volatile void *address)
{
    return *(const volatile uint32_t *)address;
}

static inline void hw_mmio_write32(volatile void *address, uint32_t value)
{
    *(volatile uint32_t *)address = value;
}

/* Link-time doubles of the privileged instructions that vmx/ uses. */
#include "tests/fake/hw.h"

#include <asm/prctl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/core/hw.h"
#include "kernel/core/irq.h"
#include "kernel/core/msr.h"
#include "kernel/core/paging.h"
#include "kernel/core/panic.h"
#include "kernel/core/smp.h"

struct fake_hw fake_hw;

void fake_hw_start(void)
{
    memset(&fake_hw, 0, sizeof(fake_hw));
    fake_hw.tsc = 1000000;
    fake_hw.dr[6] = 0xffff0ff0;
    fake_hw.dr[7] = 0x400;
    fake_hw.xcr0 = 1;
    fake_hw.cpu.self = &fake_hw.cpu;
    fake_hw_set_msr(MSR_IA32_EFER, 0xd01);
    ASSERT(syscall(SYS_arch_prctl, ARCH_SET_GS, &fake_hw.cpu) == 0);
}

void fake_hw_set_msr(uint32_t msr, uint64_t value)
{
    ASSERT(fake_hw.msrs < FAKE_HW_MSRS);
    fake_hw.msr[fake_hw.msrs].msr = msr;
    fake_hw.msr[fake_hw.msrs++].value = value;
}

static uint64_t *find_msr(uint32_t msr)
{
    fake_hw.msr_accesses++;
    for (unsigned i = 0; i < fake_hw.msrs; i++)
        if (fake_hw.msr[i].msr == msr)
            return &fake_hw.msr[i].value;
    return NULL;
}

enum status hw_rdmsr_safe(uint32_t msr, uint64_t *value)
{
    const uint64_t *slot = find_msr(msr);
    *value = slot != NULL ? *slot : 0;
    return slot != NULL ? STATUS_OK : ERR_FAULT;
}

enum status hw_wrmsr_safe(uint32_t msr, uint64_t value)
{
    uint64_t *slot = find_msr(msr);
    if (slot == NULL)
        return ERR_FAULT;
    *slot = value;
    return STATUS_OK;
}

uint64_t hw_rdmsr(uint32_t msr)
{
    uint64_t value;
    ASSERT(hw_rdmsr_safe(msr, &value) == STATUS_OK);
    return value;
}

void hw_wrmsr(uint32_t msr, uint64_t value)
{
    ASSERT(hw_wrmsr_safe(msr, value) == STATUS_OK);
}

void hw_cpuid(uint32_t leaf, uint32_t subleaf, struct cpuid_regs *regs)
{
    (void)subleaf;
    *regs = (struct cpuid_regs){0};
    if (leaf == 0x80000008)
        regs->eax = FAKE_HW_LINEAR_BITS << 8 | FAKE_HW_PHYSICAL_BITS;
    if (leaf == 0x80000001)
        regs->edx = ~0u; /* SYSCALL, NX, long mode */
}

uint64_t hw_rdtsc(void)
{
    return fake_hw.tsc++;
}

uint64_t hw_read_cr0(void)
{
    return 0x80010033;
}

uint64_t hw_read_cr3(void)
{
    return 0x1000;
}

uint64_t hw_read_cr4(void)
{
    return 0x3426e0;
}

uint64_t hw_read_cr2(void)
{
    return fake_hw.cr2;
}

void hw_write_cr2(uint64_t value)
{
    fake_hw.cr2 = value;
}

uint64_t hw_read_dr(unsigned number)
{
    return fake_hw.dr[number];
}

void hw_write_dr(unsigned number, uint64_t value)
{
    fake_hw.dr[number] = value;
}

uint64_t hw_xgetbv(uint32_t index)
{
    ASSERT(index == 0);
    return fake_hw.xcr0;
}

uint32_t hw_rdpkru(void)
{
    return fake_hw.pkru;
}

void hw_xsetbv(uint32_t index, uint64_t value)
{
    ASSERT(index == 0 && value & 1);
    fake_hw.xcr0 = value;
}

void hw_xsave(void *area, uint64_t mask)
{
    (void)area;
    (void)mask;
}

void hw_xrstor(const void *area, uint64_t mask)
{
    (void)area;
    (void)mask;
}

void hw_fxsave(void *area)
{
    (void)area;
}

void hw_fxrstor(const void *area)
{
    (void)area;
}

void hw_take_interrupts(void)
{
    fake_hw.taken_interrupts++;
}

void hw_sti_hlt(void)
{
    fake_hw.halts++;
    ASSERT(fake_hw.halts < 100); /* nobody will wake it */
    if (fake_hw.on_halt != NULL)
        fake_hw.on_halt();
}

void hw_pause(void)
{
    fake_hw.tsc += 100;
}

void hw_unblock_nmi(void)
{
    fake_hw.unblocked++;
}

void cpu_nmi(void)
{
    fake_hw.nmis++;
}

void irq_dispatch(uint8_t vector)
{
    fake_hw.dispatched++;
    fake_hw.last_vector = vector;
}

void smp_wake(uint32_t index)
{
    ASSERT(index == fake_hw.cpu.index);
    fake_hw.wakes++;
    fake_hw.tsc += fake_hw.wake_takes;
    fake_hw.wake_takes = 0;
    if (fake_hw.on_wake != NULL)
        fake_hw.on_wake();
}

/* At once, whichever it is. */
enum status smp_run(uint32_t index, void (*run)(void *argument), void *argument)
{
    (void)index;
    run(argument);
    return STATUS_OK;
}

bool smp_is_busy(uint32_t index)
{
    (void)index;
    return false;
}

hpa_t virt_to_phys(const void *address)
{
    return HPA((uintptr_t)address);
}

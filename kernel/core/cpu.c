/*
 * The processors' tables and control registers. The array of processors is the machine's, hence a
 * global: GS finds a processor's own entry, everything else goes through cpu_by_index.
 */
#include "kernel/core/cpu.h"

#include "kernel/core/bits.h"
#include "kernel/core/hash.h"
#include "kernel/core/hw.h"
#include "kernel/core/irq.h"
#include "kernel/core/mem.h"
#include "kernel/core/msr.h"
#include "kernel/core/panic.h"
#include "kernel/core/test_hooks.h"
#include "kernel/core/x86.h"

/* SDM: 64-Bit Task State Segment (TSS). */
struct PACKED task_state {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t ist[8]; /* [0] is reserved: a gate's 0 means no IST */
    uint64_t reserved1;
    uint16_t reserved2;
    uint16_t io_map_base;
};
STATIC_ASSERT(sizeof(struct task_state) == 104, "a TSS of 104 bytes, limit 0x67");

/* A page: the TSS at its start, the GDT at its end, so that what follows the GDT is unmapped. */
#define GDT_ENTRIES 5

struct cpu_tables {
    struct task_state tss;
    uint8_t unused[PAGE_SIZE - sizeof(struct task_state) - 8 * GDT_ENTRIES];
    uint64_t gdt[GDT_ENTRIES];
};
STATIC_ASSERT(sizeof(struct cpu_tables) == PAGE_SIZE, "one page");

struct idt_gate {
    uint16_t offset_low;
    uint16_t selector;
    uint8_t ist;
    uint8_t type;
    uint16_t offset_middle;
    uint32_t offset_high;
    uint32_t reserved;
};

#define GATE_INTERRUPT 0x8e /* present, DPL 0, 64-bit interrupt gate */
#define DESCRIPTOR_CODE 0x00209b0000000000ull
#define DESCRIPTOR_DATA 0x0000930000000000ull
#define DESCRIPTOR_TSS 0x0000890000000000ull /* available; LTR marks it busy */

static struct cpu cpus[CPU_MAX];
static uint32_t cpus_count;
static struct idt_gate idt[256] ALIGNED(4096);
static uint64_t idt_base = (uint64_t)(uintptr_t)idt;

/* What the processor that boots has before there are page tables. */
static struct cpu_tables early_tables ALIGNED(4096);
uint8_t cpu_early_ist[CPU_STACKS][CPU_EARLY_STACK_SIZE] ALIGNED(16);
extern uint8_t early_stack_top[];

extern const uint8_t isr_stubs[256][5];

static INIT void fill_idt(void)
{
    static const uint8_t ist[] = {
        [VECTOR_NMI] = CPU_STACK_NMI, [VECTOR_DF] = CPU_STACK_DF, [VECTOR_MC] = CPU_STACK_MC};
    for (unsigned vector = 0; vector < 256; vector++) {
        uint64_t offset = (uint64_t)(uintptr_t)isr_stubs[vector];
        idt[vector] = (struct idt_gate){
            .offset_low = (uint16_t)offset,
            .selector = CPU_SELECTOR_CODE,
            .ist = vector < ARRAY_SIZE(ist) ? ist[vector] : 0,
            .type = GATE_INTERRUPT,
            .offset_middle = (uint16_t)(offset >> 16),
            .offset_high = (uint32_t)(offset >> 32),
        };
    }
}

static INIT void fill_tables(struct cpu_tables *tables, const struct cpu *cpu)
{
    memset(tables, 0, sizeof(*tables));
    for (unsigned i = CPU_STACK_NMI; i < CPU_STACKS; i++)
        tables->tss.ist[i] = cpu->stack[i];
    tables->tss.rsp[0] = cpu->stack[CPU_STACK_KERNEL];
    tables->tss.io_map_base = sizeof(tables->tss);
    uint64_t base = (uint64_t)(uintptr_t)&tables->tss;
    tables->gdt[1] = DESCRIPTOR_CODE;
    tables->gdt[2] = DESCRIPTOR_DATA;
    tables->gdt[3] = DESCRIPTOR_TSS | (sizeof(tables->tss) - 1) | bits_get(base, 23, 0) << 16 |
                     bits_get(base, 31, 24) << 56;
    tables->gdt[4] = base >> 32;
}

static INIT void fill_cpu(struct cpu *cpu, uint32_t index, uint32_t apic_id,
                          const uint64_t stack[CPU_STACKS], uint64_t stack_size,
                          struct cpu_tables *tables)
{
    /* Member by member, from zeros: the processor that booted already runs on its entry, and an
     * NMI finds it through self at any moment. */
    cpu->self = cpu;
    cpu->index = index;
    cpu->apic_id = apic_id;
    cpu->stack_size = stack_size;
    cpu->host_gdtr_base = (uint64_t)(uintptr_t)tables->gdt;
    cpu->host_tr_base = (uint64_t)(uintptr_t)&tables->tss;
    memcpy(cpu->stack, stack, sizeof(cpu->stack));
    fill_tables(tables, cpu);
}

struct cpu *cpu_by_index(uint32_t index)
{
    ASSERT(index < CPU_MAX);
    return &cpus[index];
}

uint32_t cpu_count(void)
{
    return __atomic_load_n(&cpus_count, __ATOMIC_ACQUIRE);
}

INIT struct cpu *cpu_add(uint32_t apic_id, const uint64_t stack[CPU_STACKS], uint64_t stack_size,
                         void *tables)
{
    if (cpus_count == CPU_MAX)
        return NULL;
    struct cpu *cpu = &cpus[cpus_count];
    fill_cpu(cpu, cpus_count, apic_id, stack, stack_size, tables);
    cpu->online = cpus_count == 0;
    __atomic_store_n(&cpus_count, cpus_count + 1, __ATOMIC_RELEASE);
    return cpu;
}

INIT void *cpu_idt(void)
{
    return idt;
}

INIT void cpu_set_idt_alias(uint64_t linear)
{
    idt_base = linear;
}

/* The segments are loaded once: a null selector makes GS's base 0 until it is written again, and
 * when the IDT is there an NMI in between would not find its processor. */
static INIT void load_tables(struct cpu *cpu, bool has_segments)
{
    struct descriptor_pointer gdtr = {GDT_ENTRIES * 8 - 1, cpu->host_gdtr_base};
    struct descriptor_pointer idtr = {sizeof(idt) - 1, idt_base};
    cpu->host_idtr_base = idt_base;
    hw_lgdt(&gdtr);
    if (!has_segments)
        hw_load_segments(CPU_SELECTOR_CODE, CPU_SELECTOR_DATA);
    hw_wrmsr(MSR_IA32_FS_BASE, 0);
    hw_wrmsr(MSR_IA32_GS_BASE, (uint64_t)(uintptr_t)cpu);
    hw_wrmsr(MSR_IA32_KERNEL_GS_BASE, 0);
    hw_lldt(0);
    hw_ltr(CPU_SELECTOR_TSS);
    hw_lidt(&idtr); /* last: its gates need the TSS */
}

INIT void cpu_early_init(void)
{
    uint64_t stack[CPU_STACKS];
    for (unsigned i = 0; i < CPU_STACKS; i++)
        stack[i] = (uint64_t)(uintptr_t)cpu_early_ist[i] + CPU_EARLY_STACK_SIZE;
    stack[CPU_STACK_KERNEL] = (uint64_t)(uintptr_t)early_stack_top;
    fill_idt();
    fill_cpu(&cpus[0], 0, 0, stack, CPU_EARLY_STACK_SIZE, &early_tables);
    load_tables(&cpus[0], false);
}

#define LEAF1_ECX_XSAVE BIT(26)
#define LEAF1_EDX_PGE BIT(13)
#define LEAF1_EDX_MCE BIT(7)
#define LEAF7_EBX_SMEP BIT(7)
#define LEAF7_EBX_SMAP BIT(20)
#define LEAF7_ECX_UMIP BIT(2)
#define LEAF7_ECX_PKU BIT(3)

static INIT struct cpuid_regs cpuid_or_zero(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid_regs regs;
    hw_cpuid(leaf & 0x80000000, 0, &regs);
    if (regs.eax < leaf)
        return (struct cpuid_regs){0};
    hw_cpuid(leaf, subleaf, &regs);
    return regs;
}

/* CR4 for this processor: what protects the monitor, and what guests' state needs (OSFXSR, OSXSAVE,
 * and PKE to read PKRU, whose keys are of user pages, of which the monitor has none). VMXE is the
 * back end's. */
static INIT uint64_t wanted_cr4(void)
{
    struct cpuid_regs leaf1 = cpuid_or_zero(1, 0), leaf7 = cpuid_or_zero(7, 0);
    uint64_t cr4 = CR4_PAE | CR4_DE | CR4_OSFXSR | CR4_OSXMMEXCPT;
    cr4 |= leaf1.edx & LEAF1_EDX_PGE ? CR4_PGE : 0;
    cr4 |= leaf1.edx & LEAF1_EDX_MCE ? CR4_MCE : 0;
    cr4 |= leaf1.ecx & LEAF1_ECX_XSAVE ? CR4_OSXSAVE : 0;
    cr4 |= leaf7.ebx & LEAF7_EBX_SMEP ? CR4_SMEP : 0;
    cr4 |= leaf7.ebx & LEAF7_EBX_SMAP ? CR4_SMAP : 0;
    cr4 |= leaf7.ecx & LEAF7_ECX_UMIP ? CR4_UMIP : 0;
    cr4 |= leaf7.ecx & LEAF7_ECX_PKU ? CR4_PKE : 0;
    return cr4;
}

/* x87, SSE, AVX, AVX-512 and PKRU, as far as the processor has them: what guests may be given. */
#define XCR0_WANTED (BIT(0) | BIT(1) | BIT(2) | MASK(7, 5) | BIT(9))

static INIT uint64_t enable_xsave(void)
{
    struct cpuid_regs leaf = cpuid_or_zero(0xd, 0);
    uint64_t xcr0 = ((uint64_t)leaf.edx << 32 | leaf.eax) & XCR0_WANTED;
    hw_xsetbv(0, xcr0);
    return xcr0;
}

/* SDM: Programming the PAT. Only index 1 changes, which nothing uses yet. */
static INIT void set_pat(void)
{
    hw_wbinvd();
    hw_wrmsr(MSR_IA32_PAT, CPU_PAT);
    hw_wbinvd();
    hw_write_cr3(hw_read_cr3());
}

/* Written is not yet on: something beneath us may have its own mind. */
static INIT void check_protections(uint64_t cr4)
{
    uint64_t cr0 = hw_read_cr0(), efer = hw_rdmsr(MSR_IA32_EFER);
    if (!(cr0 & CR0_WP) || !(efer & EFER_NXE) || (hw_read_cr4() & cr4) != cr4)
        panic("protections do not stay on: cr0 %lx, efer %lx, cr4 %lx instead of %lx", cr0, efer,
              hw_read_cr4(), cr4);
}

INIT void cpu_enter(struct cpu *cpu)
{
    load_tables(cpu, cpu == &cpus[0]);
    hw_wrmsr(MSR_IA32_EFER, (hw_rdmsr(MSR_IA32_EFER) & ~EFER_SCE) | EFER_NXE);
    hw_write_cr0(CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE);
    uint64_t cr4 = wanted_cr4();
    hw_write_cr4(cr4 & ~CR4_PGE); /* drops global translations of the firmware's */
    hw_write_cr4(cr4);
    hw_write_cr8(0);
    hw_write_dr(7, 0x400);
    hw_write_dr(6, 0xffff0ff0);
    set_pat();
    cpu->xcr0 = cr4 & CR4_OSXSAVE ? enable_xsave() : 0;
    check_protections(cr4);
}

/* LTR marks the TSS busy, at whatever moment a processor comes up. */
#define DESCRIPTOR_BUSY BIT(41)

uint64_t cpu_hash_tables(uint64_t hash)
{
    hash = hash_words(hash, idt, sizeof(idt));
    for (uint32_t i = 0; i < cpus_count; i++) {
        const struct cpu_tables *tables = (const void *)(uintptr_t)cpus[i].host_tr_base;
        for (unsigned word = 0; word < sizeof(*tables) / sizeof(uint64_t); word++)
            hash = hash_word(hash, ((const uint64_t *)tables)[word] & ~DESCRIPTOR_BUSY);
    }
    return hash;
}

struct cpu_fixup {
    uint64_t fault;
    uint64_t resume;
};
extern const struct cpu_fixup hw_fixups[];

static bool fix_up(struct cpu_frame *frame)
{
    for (const struct cpu_fixup *fixup = hw_fixups; fixup->fault != 0; fixup++) {
        if (fixup->fault == frame->rip) {
            frame->rip = fixup->resume;
            return true;
        }
    }
    return false;
}

void cpu_nmi(void)
{
    struct cpu *cpu = cpu_this();
    __atomic_store_n(&cpu->nmi_count, cpu->nmi_count + 1, __ATOMIC_RELAXED);
    if (panic_elsewhere()) /* an NMI on the processor that panics must not cut its report short */
        panic_halt();
}

static void (*nmi_hook)(void);

INIT void cpu_set_nmi_hook(void (*hook)(void))
{
    nmi_hook = hook;
}

void cpu_handle_vector(struct cpu_frame *frame)
{
    if (frame->vector >= 32) {
        cpu_this()->interrupts++;
        irq_dispatch((uint8_t)frame->vector);
    } else if (frame->vector == VECTOR_NMI) {
        TEST_HOOK(test_nmi(frame));
        cpu_nmi();
        if (nmi_hook != NULL && cpu_this()->vcpu != NULL)
            nmi_hook();
    } else if ((frame->vector != VECTOR_GP || !fix_up(frame)) && !TEST_HOOK_FAULT(frame)) {
        panic_frame(frame);
    }
}

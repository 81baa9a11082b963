/*
 * The processors: one struct cpu each, reached through GS, with its own GDT, TSS and stacks; one
 * IDT for all. Exceptions are panics (but for the fixups of hw_safe.asm), interrupts go to
 * irq_dispatch, an NMI only counts.
 *
 * A VM exit leaves GDTR and IDTR with limits of 0xffff and TR with 0x67 (SDM: Loading Host Segment
 * and Descriptor-Table Registers). The GDT and the IDT therefore end at an unmapped page: a wild
 * selector or vector faults instead of finding a descriptor.
 */
#pragma once

#include "kernel/core/status.h"
#include "kernel/core/types.h"

#define CPU_MAX 256

/* DS, ES, FS and GS hold the null selector, LDTR too. */
#define CPU_SELECTOR_CODE 0x08
#define CPU_SELECTOR_DATA 0x10 /* SS */
#define CPU_SELECTOR_TSS 0x18

/* IA32_PAT of every processor: index 0 WB, 1 WC, 2 UC-, 3 UC, and again. */
#define CPU_PAT 0x0007010600070106ull

/* The stacks of a processor; below each lies an unmapped page. */
enum cpu_stack {
    CPU_STACK_KERNEL,
    CPU_STACK_NMI, /* IST 1 */
    CPU_STACK_DF,  /* IST 2 */
    CPU_STACK_MC,  /* IST 3 */
    CPU_STACKS
};

/* Of the processor that boots, until cpu_enter: for exceptions. */
#define CPU_EARLY_STACK_SIZE 8192
extern uint8_t cpu_early_ist[CPU_STACKS][CPU_EARLY_STACK_SIZE];

/* Handed to a processor by smp_run. */
struct cpu_work {
    void (*run)(void *argument);
    void *argument;
};

struct cpu {
    struct cpu *self; /* at GS:0 */
    void *vcpu;       /* at GS:8; the virtual processor that runs here; the back end's to use */
    void *backend;    /* at GS:16; the back end's state of this processor */
    uint32_t index;   /* 0: the processor that booted */
    uint32_t apic_id;
    bool online;                /* has reached its idle loop, or is the one that booted */
    uint64_t interrupts;        /* taken here by the IDT */
    uint64_t nmi_count;         /* NMIs taken here, by the IDT or by cpu_nmi */
    uint64_t stack[CPU_STACKS]; /* the top of each, 16-byte aligned */
    uint64_t stack_size;        /* bytes of each */
    uint64_t host_gdtr_base;    /* linear; what a VMCS's host-state area wants */
    uint64_t host_idtr_base;
    uint64_t host_tr_base;
    uint64_t xcr0;        /* every state component that this processor enables; 0: no XSAVE */
    struct cpu_work work; /* valid while work_ready */
    bool work_ready;      /* set by smp_run, cleared when the processor takes it */
    bool busy;            /* from smp_run until the work has returned */
} ALIGNED(64);

/* The processor that executes this. Valid from cpu_enter on. */
static inline struct cpu *cpu_this(void)
{
    return *(struct cpu *const __seg_gs *)0;
}

/* Whether the lines of the machine's devices interrupt this processor (machine_route_isa). */
static inline bool cpu_takes_lines(const struct cpu *cpu)
{
    return cpu->index == 0;
}

/* Processors 0 to cpu_count() - 1 exist; those that did not come up have online == false. */
struct cpu *cpu_by_index(uint32_t index);
uint32_t cpu_count(void);

/* Registers as the interrupt stubs (isr.asm) save them. */
struct cpu_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
    uint64_t rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector;
    uint64_t error_code; /* 0 where the vector has none */
    uint64_t rip, cs, rflags, rsp, ss;
};

/*
 * Before anything else, on the processor that booted, with the boot program's page tables: tables
 * and exception stacks that lie in the image, so that a fault or an NMI finds a handler from the
 * first moment.
 */
void cpu_early_init(void);

/* A new processor's structure, from index cpu_count() on (the first is index 0, and replaces the
 * early one): tables is a page whose successor is not mapped; stack[] and stack_size as above. NULL
 * when there are CPU_MAX already. Does not touch the processor. */
struct cpu *cpu_add(uint32_t apic_id, const uint64_t stack[CPU_STACKS], uint64_t stack_size,
                    void *tables);

/* On the processor itself, with the monitor's page tables: GDT, IDT (at idt_base), TSS, GS base,
 * CR0, CR4 (SMEP, SMAP, PGE, UMIP, OSXSAVE as present), EFER, PAT, XCR0. Interrupts stay off. */
void cpu_enter(struct cpu *cpu);

/* Where all processors find the IDT from their next cpu_enter on: a read-only alias of cpu_idt(),
 * a page whose successor is not mapped. */
void cpu_set_idt_alias(uint64_t linear);
void *cpu_idt(void); /* the table itself, one page */

/* Goes on with a hash (hash.h): the IDT, and every processor's GDT and TSS. */
uint64_t cpu_hash_tables(uint64_t hash);

/* Goes on in run(argument), which must not return, on the stack that ends at top. */
NORETURN void cpu_switch_stack(uint64_t top, void (*run)(void *argument), void *argument);

/* What the NMI vector does, and the VM-exit path for an exit that an NMI caused: counts, and halts
 * for good when the machine is being stopped by a panic. */
void cpu_nmi(void);

/* What an NMI in root mode does on a processor that has a vCPU (cpu->vcpu), so that the guest it is
 * about to enter, or has just left, looks at its requests. Async: may touch only its own data. */
void cpu_set_nmi_hook(void (*hook)(void));

/* Every exception and interrupt, called by isr.asm. */
void cpu_handle_vector(struct cpu_frame *frame);

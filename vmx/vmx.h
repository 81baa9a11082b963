/*
 * The back end for Intel's VMX: what the composition (kernel/) calls. Everything here is per
 * processor, per VM or per vCPU; nothing is global.
 */
#pragma once

#include "kernel/core/pages.h"
#include "kernel/vm/account.h"
#include "kernel/vm/debug.h"
#include "kernel/vm/guest_access.h"
#include "kernel/vm/guest_entry.h"
#include "kernel/vm/vm.h"
#include "vmx/controls.h"
#include "vmx/debug.h"
#include "vmx/ept.h"

/* One processor in VMX operation; cpu->backend. */
struct vmx_cpu {
    hpa_t vmxon_region;
    struct vmx_capabilities capabilities;
    struct vmx_controls controls;
    bool interrupts_exit; /* also while a guest masks interrupts: see trial.h */
};

/*
 * Puts this processor into VMX operation: feature control, capabilities, controls, CR4.VMXE, VMXON.
 * ERR_UNSUPPORTED: the processor cannot run Traprock's guests, and *reason says what is missing and
 * what to do about it; ERR_NO_MEMORY.
 */
enum status MUST_CHECK vmx_cpu_enable(struct vmx_cpu *cpu, struct pages *pages,
                                      const char **reason);

/* What a VM needs of VMX: its EPT and bitmaps. */
struct vmx_vm {
    struct ept ept;      /* of all its RAM, as it was built */
    struct ept used;     /* the same, but for a page of RAM that a device hides */
    hpa_t hiding_frames; /* EPT_HIDE_FRAMES, for that */
    unsigned hiding;     /* of them, in use */
    struct pages *pages;
    uint16_t owner;
    hpa_t io_bitmap;  /* two pages: ports 0 to 7FFFH, then 8000H to FFFFH; all exit */
    hpa_t msr_bitmap; /* one page */
};

/* Builds EPT from vm->mem, and the bitmaps from its vCPU 0's MSRs. ERR_NO_MEMORY, or what ept_map
 * returns. */
enum status MUST_CHECK vmx_vm_create(struct vmx_vm *vmx, struct vm *vm, struct pages *pages,
                                     uint64_t ept_capabilities);

/* For vm->hide. */
void vmx_vcpu_hide(struct vcpu *vcpu, uint64_t gpa, bool runs);

/* Walks the VM's EPT (see ept_check) and logs what is wrong. ERR_INVALID: something is. */
COLD enum status MUST_CHECK vmx_vm_check(struct vmx_vm *vmx, const char *name);

/* Goes on with hash over EPT and bitmaps. */
COLD uint64_t vmx_vm_hash(const struct vmx_vm *vmx, uint64_t hash);

/* Tables and data of the pages that a step asks for, three of which may be far from each other. */
#define VMX_STEP_FRAMES 13

/* What a vCPU needs of VMX; vcpu->backend. */
struct vmx_vcpu {
    hpa_t vmcs;
    hpa_t step_frames; /* VMX_STEP_FRAMES of them, for step.c */
    bool launched;
    uint32_t primary;        /* processor-based controls as the VMCS has them */
    uint32_t entry_controls; /* VM-entry controls as the VMCS has them */
    uint64_t armed;          /* the deadline that the preemption timer runs for */
    uint64_t look_at;        /* when to set it anew: at that deadline, or earlier */
    uint64_t break_at;     /* when the machine's interrupts are let in, whatever the guest does; */
    uint64_t break_length; /* and what was added for that to the last time: see run.c */
    bool needs_breaks;     /* without them the machine's interrupts may wait for the guest */
    uint64_t cr0_fixed;    /* bits of CR0 that the guest cannot change */
    uint64_t cr4_allowed;  /* bits of CR4 that the guest may set */
    uint64_t xcr0_allowed; /* bits of XCR0 that the guest may set; 0: no XSAVE */
    uint64_t efer_allowed; /* bits of EFER that the guest may set, but for NXE */
    bool has_1g_pages;     /* its CPUID offers 1-GByte pages */
    bool breakpoints;      /* its DR7 enables some, or a debugger has some */
    bool shadow_matters;   /* that, or it is told when a window for events opens */
    const struct vmx_cpu *cpu;
    struct vmx_vm *vm;
    struct guest_access access; /* of the emulator, which keeps what it learnt between exits */
    void *xsave_area;           /* the guest's FPU and extended state while it is not loaded */
    uint64_t xcr0;
    uint64_t cr2, dr[4], dr6;
    struct vmx_debug debug; /* outlives the guest: see vmx_vcpu_create */
};

/* Allocates the VMCS and the state areas; the vCPU, whose CPUID table is built, is bound to the
 * processor that cpu describes. *vmx is zeroed memory, or has had a guest before, whose debugger
 * keeps its points. */
enum status MUST_CHECK vmx_vcpu_create(struct vmx_vcpu *vmx, struct vcpu *vcpu, struct vmx_vm *vm,
                                       const struct vmx_cpu *cpu);

/* Runs run(vcpu, context) as between an exit and the next entry, on a vCPU that does not run now.
 * On its own processor, whose last vCPU it was. */
void vmx_vcpu_visit(struct vcpu *vcpu, void (*run)(struct vcpu *vcpu, void *context),
                    void *context);

/* Gives the vCPU the complete state of entry, as after a reset. On its own processor. */
void vmx_vcpu_reset(struct vcpu *vcpu, const struct guest_entry *entry);

/* Afterwards this processor holds nothing of the vCPU's VMCS and of its guest's memory, so that
 * their frames may be given back. On its own processor; vmx_vcpu_create makes it anew. */
void vmx_vcpu_release(struct vcpu *vcpu);

/* What tells exits of this reason apart in their accounting. */
enum account_by vmx_account_by(uint32_t reason);

/* "EPT_VIOLATION", ...; "?" for a number that the SDM does not have. */
const char *exit_reason_name(uint32_t reason);

/* What a handler returned, which an exit's history has as its result: "ADVANCE", ... */
const char *vmx_verdict_name(uint32_t verdict);

/* Runs the guest on this processor until VCPU_REQUEST_STOP is seen (and cleared). */
void vmx_vcpu_run(struct vcpu *vcpu);

/* debug.c: all of the vCPU's registers, in what vcpu_call runs. */
void vmx_vcpu_get_registers(struct vcpu *vcpu, struct vcpu_registers *registers);

/* Changes those that differ from what the vCPU has. ERR_INVALID: a value that its processor would
 * not take there, or with which it could not be entered; then nothing is changed. */
enum status MUST_CHECK vmx_vcpu_set_registers(struct vcpu *vcpu,
                                              const struct vcpu_registers *registers);

/* x87 and SSE state in the format of SDM: FXSAVE Area, 512 bytes, 16-byte aligned. */
void vmx_vcpu_get_fpu(struct vcpu *vcpu, void *area);
/* ERR_INVALID: MXCSR has a bit that its processor does not have; then nothing is changed. */
enum status MUST_CHECK vmx_vcpu_set_fpu(struct vcpu *vcpu, const void *area);

/* What a walk of the guest's page tables depends on, as it is now, with the rights of a supervisor.
 */
void vmx_vcpu_get_paging(struct vcpu *vcpu, struct paging *paging);

/* For the panic's report: the last exits of the vCPU that runs on this processor, from memory. */
void vmx_log_history(const struct vcpu *vcpu);

/* How many exits of each reason the vCPU has had, a line each for those that it had; LOG_DEBUG. */
void vmx_log_counts(const struct vcpu *vcpu);

/* What the NMI handler does on every processor: a guest that is about to be entered exits at once,
 * so that a request made before the NMI is seen. Touches nothing but the current VMCS. */
void vmx_nmi_hook(void);

/*
 * What a debugger does with a vCPU, whichever back end runs it: it stops it between an exit and the
 * next entry, and has functions run there, on its own processor, where its state is at hand.
 *
 * A paused guest's time stands still: its TSC, and the clock that its device models see (vm->clock,
 * see vm_clock_read), go on where they were. The machine's interrupts are taken meanwhile; what
 * they ask of the guest waits. It can be reset, ended and, then, restarted, and stays paused.
 *
 * Calls come from processor 0, which takes the machine's interrupts, or from the processor of the
 * vCPU itself; none of the locks that an exit takes is held. One debugger at a time has each call.
 */
#pragma once

#include "kernel/vm/guest_entry.h"
#include "kernel/vm/vm.h"

struct vcpu_registers {
    uint64_t gpr[GPR_COUNT];
    uint64_t rip, rflags;
    struct segment segment[SEG_COUNT];
    struct descriptor_table gdtr, idtr;
    uint64_t cr0, cr2, cr3, cr4, cr8; /* as the guest sees them */
    uint64_t efer;
    uint64_t kernel_gs_base; /* FS's and GS's bases are their segments' */
    uint64_t dr[4], dr6, dr7;
    uint64_t xcr0; /* 0 where there is no XSAVE */
    /* Not for setting: */
    uint64_t interruptibility; /* SDM: Interruptibility State */
    enum vcpu_activity activity;
};

/* A function to run on a vCPU's processor: on its caller's stack, which waits until it is done. */
struct vcpu_call {
    void (*run)(struct vcpu *vcpu, void *context);
    void *context;
    bool is_done;
};

/*
 * Runs run(vcpu, context) on the vCPU's processor, between an exit and the next entry, and returns
 * when it is done; run takes a bounded time and calls nothing of this file. A VM that has ended is
 * still there for it while it is kept. ERR_NOT_FOUND: it is not, or this is its processor and does
 * not run it now; ERR_BUSY: another call is under way, or the VM is about to end;
 * ERR_TIMEOUT: the processor did not answer within a twentieth of a second, and run was not and
 * will not be called.
 */
enum status MUST_CHECK vcpu_call(struct vcpu *vcpu, void (*run)(struct vcpu *vcpu, void *context),
                                 void *context);

/* Stops the guest, which may be paused already. Its vCPUs stand when this returns, but for one
 * whose processor this is: that one does when the exit or interrupt that called is over. Errors as
 * vcpu_call; after ERR_TIMEOUT the guest stops as soon as its processor looks up. */
enum status MUST_CHECK vm_pause(struct vm *vm);

/* Lets it go on, also one that runs. */
void vm_resume(struct vm *vm);

/* The guest's time stands still from the one to the other, as while it is paused, which it is not.
 * On the vCPU's processor; afterwards the guest's TSC has another offset. */
void vcpu_stop_time(struct vcpu *vcpu);
void vcpu_continue_time(struct vcpu *vcpu);

/* Serves what VCPU_REQUEST_DEBUG stands for, and comes back when the guest is to run, or to leave
 * (VCPU_REQUEST_STOP); a reset that was caught is then under way. For back ends, on the vCPU's
 * processor; afterwards the guest's TSC has another offset (vcpu_machine_tsc_offset). */
void vcpu_serve_debug(struct vcpu *vcpu);

/*
 * A virtual machine, as everything but the composition and the back end sees it.
 *
 * Locking: vm->lock protects the bus, every device model and the timers' queues. It is taken by a
 * vCPU's exits and by host interrupts (a byte from the serial line); holders never wait for
 * anything, and the monitor's interrupts are off while it is held. It comes before the console's
 * lock and the log's.
 */
#pragma once

#include "kernel/core/log.h"
#include "kernel/core/spinlock.h"
#include "kernel/vm/bus.h"
#include "kernel/vm/guest_mem.h"
#include "kernel/vm/timers.h"
#include "kernel/vm/vcpu.h"

#define VM_VCPUS_MAX 64

/* The low bits of the guest's time are those of the TSC, which a back end's timer may count by. */
#define VM_BEHIND_UNIT 4096u

/* How a VM ended. */
enum vm_outcome {
    VM_RUNNING,
    VM_POWEROFF,     /* by S5 */
    VM_RESET,        /* by any reset, with on-reset = stop */
    VM_DEBUG_EXIT,   /* by a write to the debug-exit port; the code is the value written */
    VM_TRIPLE_FAULT, /* with on-reset = stop */
    VM_STOPPED,      /* by the monitor: it did something that Traprock refuses */
    VM_KILLED,       /* by the user at the monitor's console */
    VM_PANIC,        /* its kernel said so, by pvpanic or, with on-panic, on its console */
    VM_WATCHDOG,     /* its watchdog expired, with watchdog-action = stop */
    VM_TIMEOUT,      /* its time was up */
    VM_EXPECTED,     /* it said all that it had to say */
    VM_REJECTED,     /* it said what it must not say */
};

/* What a panic of its kernel does to the VM. */
enum vm_on_panic { VM_PANIC_STOP, VM_PANIC_RESET, VM_PANIC_IGNORE };

struct vm {
    const char *name;
    uint32_t id; /* from 1: also the owner in the frame allocator */
    struct spinlock lock;
    struct bus bus;
    struct guest_mem mem;
    struct clock clock; /* vm_clock_read */
    struct log_budget log;
    struct vcpu *vcpu[VM_VCPUS_MAX];
    uint32_t vcpu_count;
    uint32_t outcome;       /* enum vm_outcome; atomic */
    uint32_t code;          /* valid with the outcome */
    bool is_ending;         /* outcome and code are somebody's to write; atomic */
    bool reset_pending;     /* set by vm_request_reset, served by the VM's runner */
    bool is_kept;           /* it has ended, and what it ran in is still there; atomic */
    uint32_t reset_cause;   /* enum vm_outcome; valid with reset_pending */
    bool stops_at_reset;    /* on-reset = stop */
    bool is_paused;         /* by a debugger; atomic */
    uint32_t reset_catches; /* causes of a reset that a debugger wants to see first, a bit each */
    uint32_t reset_caught;  /* the cause of one that waits for it; VM_RUNNING: none */
    bool is_debugged;       /* there is a line for gdb, whose Ctrl-C must come soon */
    uint64_t stands_at;     /* TSC when it was */
    uint64_t behind;        /* TSC - clock: how long it stood, and what a debugger's steps took */
    enum vm_on_panic on_panic;
    /* The page of RAM at gpa is hidden from the vCPU by a device, and what was so before is not any
     * more; UINT64_MAX: none is. runs: in an exit of its; else before its next reset. */
    void (*hide)(struct vcpu *vcpu, uint64_t gpa, bool runs);
    /* Makes a vCPU that is in the guest on another processor leave it. Any context. */
    void (*kick)(struct vcpu *vcpu);
    /* Runs run(vcpu, context) as between an exit and the next entry, while the vCPU does not run;
     * on its processor. */
    void (*visit)(struct vcpu *vcpu, void (*run)(struct vcpu *vcpu, void *context), void *context);
    void (*work)(void *board); /* continues what device models left over; vm->lock held */
    void *board;               /* the composition's: its device models */
    void *backend;             /* e.g. struct vmx_vm */
};

/* The guest's time: the machine's TSC, but that it stands still while a debugger holds the guest.
 * Ports of vm->clock, the latter as long as it does; context is the VM. */
uint64_t vm_clock_read(void *context);
uint64_t vm_clock_stands(void *context);

static inline uint64_t vm_time(const struct vm *vm, uint64_t tsc)
{
    return tsc - vm->behind;
}

/* Guest TSC - machine's TSC, for back ends. */
static inline uint64_t vcpu_machine_tsc_offset(const struct vcpu *vcpu)
{
    return vcpu->tsc_offset - vcpu->vm->behind;
}

static inline bool vm_is_paused(const struct vm *vm)
{
    return __atomic_load_n(&vm->is_paused, __ATOMIC_SEQ_CST);
}

/* A device model has work left over: it goes on once the guest had its turn. A port of models,
 * context is the VM. */
void vm_ask_for_work(void *context);

/* Ends the VM: the first outcome stands. Any context; returns at once, the vCPUs leave their guest
 * at their next look, and so does one that has died and stands for a debugger. */
void vm_stop(struct vm *vm, enum vm_outcome outcome, uint32_t code);

/* A reset of the guest's machine, by whichever way; obeys on-reset. cause is VM_RESET,
 * VM_TRIPLE_FAULT or VM_WATCHDOG. Where a debugger catches it, it waits: see kernel/vm/debug.h. */
void vm_request_reset(struct vm *vm, enum vm_outcome cause);

/* A reset that the user asks for, whatever on-reset says. */
void vm_reset(struct vm *vm);

/* The guest's kernel reports a panic: if it is over, what on-panic says is done, else it goes on
 * for its crash kernel. */
void vm_panicked(struct vm *vm, bool is_over);

/* The word of an outcome on the result line: "poweroff", "debug-exit", ... */
const char *vm_outcome_text(enum vm_outcome outcome);

/* The exit code that the outcome means for `make run`: 0 for a power-off and a debug-exit of the
 * value that is success, (value << 1) | 1 for another debug-exit, else 1; 0 also where it said what
 * it had to. */
int vm_exit_code(enum vm_outcome outcome, uint32_t code, uint32_t success);

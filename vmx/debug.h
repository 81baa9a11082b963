/*
 * What a debugger has of one vCPU here: a step that is wanted, points (breakpoints and watchpoints)
 * and the reason for which it stopped by itself.
 *
 * Points are EPT of their own: a tree that shares the VM's tables but for those on the way to the
 * points' pages, which lack the rights that would let an access pass unseen. The guest sees
 * nothing of it, whatever it reads. An access to such a page exits, and the instruction is executed
 * by itself under the VM's own EPT.
 *
 * A point at a linear address holds wherever that leads. The entries of the guest's page tables by
 * which it leads there, or ends on the way, cannot be written in this tree either, loads of CR3
 * exit, and after each exit the entries are compared: where one has changed, the points find their
 * places anew. Where the address is a user's when the point is set, the point is of that address
 * space alone: of those whose first entry for it leads to the same table.
 */
#pragma once

#include "kernel/core/status.h"
#include "kernel/vm/catch.h"
#include "kernel/vm/events.h"
#include "kernel/vm/guest_walk.h"
#include "kernel/vm/page_walk.h"
#include "vmx/ept.h"

struct vcpu;

enum debug_point_kind { DEBUG_EXECUTE, DEBUG_WRITE, DEBUG_READ, DEBUG_ACCESS };

#define DEBUG_POINTS_MAX 512
#define DEBUG_POINT_BYTES 64 /* that one watchpoint covers, in one page */
#define DEBUG_FRAMES 256     /* for the tree: one at least for each 2 MiB with a point */

struct debug_point {
    uint8_t kind;     /* enum debug_point_kind */
    uint8_t type;     /* the owner's: told with the stop */
    uint8_t size;     /* bytes of data; 1 to DEBUG_POINT_BYTES */
    bool is_physical; /* address is guest-physical, else linear */
    bool is_removed;  /* it does nothing, and is forgotten when the guest goes on */
    bool is_mapped;   /* the address leads to RAM now: */
    uint64_t gpa;
    uint64_t address;
    uint64_t space; /* as that of struct debug_path; 0: of all address spaces */
};

/* How a page of linear addresses is translated. */
struct debug_path {
    uint64_t page;  /* the first address */
    uint64_t space; /* the user's address space, other than 0; 0: it is a supervisor's page */
    uint64_t gpa;   /* where it leads to, in RAM; */
    bool is_mapped; /* if it does */
    uint8_t count;  /* of the entries that were read: */
    uint64_t at[PAGE_WALK_LEVELS], value[PAGE_WALK_LEVELS];
};

struct debug_points {
    struct ept ept;
    struct ept data; /* the same for data alone: for an instruction that is executed by itself */
    hpa_t frames;    /* DEBUG_FRAMES of them, the trees' */
    unsigned used;
    unsigned count;   /* of points, with those that are removed */
    unsigned active;  /* without them */
    unsigned linear;  /* those of them at linear addresses */
    unsigned watched; /* those of them that are no breakpoints */
    uint64_t skip;    /* linear address of a point at which the guest stands and goes on; 0: none */
    bool is_short;    /* of frames: said once */
    struct paging paging; /* by which the paths lead */
    unsigned paths;
    struct debug_path path[DEBUG_POINTS_MAX];
    struct debug_point point[DEBUG_POINTS_MAX];
    uint8_t before[DEBUG_POINTS_MAX][DEBUG_POINT_BYTES]; /* of watched data, while it steps */
};

#define DEBUG_CATCHES_MAX 32

struct debug_catches {
    unsigned count;
    uint16_t last_id;
    uint32_t vectors; /* of exceptions that are caught, a bit each */
    uint32_t control; /* and of control registers */
    bool has_mode;    /* and changes of mode */
    hpa_t msr_bitmap; /* a frame for one with the MSRs that are caught; 0: none yet */
    struct catch catch[DEBUG_CATCHES_MAX];
};

enum debug_stop_reason { DEBUG_RUNS, DEBUG_STEPPED, DEBUG_AT_POINT, DEBUG_CAUGHT };

struct debug_stop {
    enum debug_stop_reason reason;
    uint8_t type;
    bool is_at_rip; /* a breakpoint, at the address that RIP is */
    uint64_t address;
    struct catch_event event; /* of DEBUG_CAUGHT */
};

/* An access to data, as its exit tells of it. */
struct data_access {
    uint64_t gpa, kinds; /* as in SDM: Exit Qualification for EPT Violations; 0: none */
    unsigned size;
};

/* How an instruction by itself ends: by the hidden trap flag, or by the monitor's, which is one of
 * the processor's controls. One that says that it has that may still lack it (Bochs): so the first
 * step has both. */
enum debug_trap { DEBUG_TRAP_UNKNOWN, DEBUG_TRAP_FLAG, DEBUG_TRAP_MONITOR };

struct vmx_debug {
    struct debug_points *points; /* NULL: none */
    bool stops_at_start;         /* after the next reset, before the first instruction */
    bool forgets_at_start;       /* points, and gdb's catches, at the next reset; atomic */
    bool is_active;              /* it has points or catches now */
    bool looks;                  /* at every exit: see vmx_exit_debug */
    uint64_t cr0_mask, cr4_mask; /* guest/host masks without the debugger; */
    uint32_t exceptions;         /* and the exception bitmap */
    struct debug_catches catches;
    enum debug_trap trap;
    uint32_t step_controls;      /* beside the primary ones, for an instruction by itself; */
    const struct ept *step_tree; /* in which it is executed; NULL: the VM's own */
    struct data_access met;      /* what it accessed there, of what it must not */
    bool steps;                  /* before it runs on */
    bool has_stepped;            /* at least one instruction of them */
    bool is_stepping;            /* an instruction by itself is under way */
    bool takes_whole;            /* nobody looks at the repetitions of a string instruction */
    uint64_t start, end;         /* steps on while RIP is within */
    bool has_stopped;            /* stop is valid, and nobody has taken it; atomic */
    struct debug_stop stop;
};

/* All of these in what vcpu_call runs, or where the vCPU's exits are handled. */

/* Steps one instruction when it is resumed, and on as long as RIP is in [start, end). */
void debug_arm_step(struct vcpu *vcpu, uint64_t start, uint64_t end);
/* Ends what of that is not done. */
void debug_disarm_step(struct vcpu *vcpu);

/* Gives the vCPU the room for its points, whose frames are set, or takes it away (NULL), and with
 * it all points. */
void debug_use_points(struct vcpu *vcpu, struct debug_points *points);

/* Adds a point, wherever its address leads, now or later; or takes away one that is the same, which
 * is itself again when it is added before the guest goes on. A point that is there already stays as
 * it was. ERR_RANGE: it crosses a page, or no RAM is at its physical address; ERR_NO_SPACE: too
 * many; ERR_NO_MEMORY: too many places; ERR_NOT_FOUND. */
enum status MUST_CHECK debug_add_point(struct vcpu *vcpu, const struct debug_point *point);
enum status MUST_CHECK debug_remove_point(struct vcpu *vcpu, const struct debug_point *point);

/* Before the guest goes on: removed points are forgotten, unless it goes on for a step only. */
void debug_settle_points(struct vcpu *vcpu);

/* There are points, and the VM's EPT has changed. */
void debug_renew_points(struct vcpu *vcpu);

/* For cr_write: MOV to CR3, which exits as long as there are points at linear addresses. False:
 * #GP. */
bool debug_write_cr3(struct vcpu *vcpu, uint64_t value);

/* For vmx_vcpu_reset: the VMCS is as new, and memory too. */
void debug_reset(struct vcpu *vcpu);

/* Every exit of a vCPU with a debugger that looks, in vmx_exit's place. */
bool vmx_exit_debug(struct vcpu *vcpu);

/* Has the guest stop at what `wanted` says; *id is its number from then on. msr_bitmap is a frame
 * for MSRs, once one is caught. ERR_NO_SPACE: too many. */
enum status MUST_CHECK debug_add_catch(struct vcpu *vcpu, const struct catch *wanted,
                                       hpa_t msr_bitmap, uint16_t *id);

/* Takes away number id, or all: those of gdb's, or everybody's. ERR_NOT_FOUND. */
enum status MUST_CHECK debug_remove_catch(struct vcpu *vcpu, uint16_t id);
void debug_remove_catches(struct vcpu *vcpu, bool gdbs_only);

/* An MSR as the guest has it, read or written as by its own instruction. False: that would be #GP.
 */
bool MUST_CHECK debug_read_msr(struct vcpu *vcpu, uint32_t msr, uint64_t *value);
bool MUST_CHECK debug_write_msr(struct vcpu *vcpu, uint32_t msr, uint64_t value);

/* For exit_msr.c: MSR_VMCS_DIRECT, which exits only while a debugger catches it. */
bool MUST_CHECK debug_read_direct(uint32_t msr, uint64_t *value);
bool MUST_CHECK debug_write_direct(uint32_t msr, uint64_t value);

/* For exit_ept.c: an access to a page with points. True: it is dealt with. */
bool debug_take_violation(struct vcpu *vcpu, uint64_t rip, uint64_t gpa, uint64_t qualification);

#define DEBUG_FAULTS_MAX 6

/* An exception that came up, or an access to what is not memory; SDM's formats. */
struct debug_fault {
    uint32_t exit_reason;
    uint32_t information; /* the exception: VM-exit interruption information; 0: such an access */
    uint32_t error_code;
    uint32_t during;  /* what was being delivered: IDT-vectoring information */
    uint64_t address; /* linear, of a page fault; guest-physical, of the access */
};

/* After a triple fault: has it happen again, from the event `first` on, or where that is not valid,
 * from the instruction at RIP, and notes how it comes to it. Returns how many faults that took; 0:
 * nothing was raised this time. The vCPU stands as before; in memory, what the instruction and
 * deliveries write is written once more. */
unsigned debug_repeat_fault(struct vcpu *vcpu, const struct event *first,
                            struct debug_fault fault[DEBUG_FAULTS_MAX]);

/* For run.c: what debug_arm_step has asked for, until somebody pauses the guest or wants to look at
 * it (VCPU_REQUEST_DEBUG); to be called again when that is served. */
void debug_run_steps(struct vcpu *vcpu);

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
 * exit, and after an exit at which one may have been written the entries are compared: where one
 * has changed, the points find their places anew. Where the address is a user's when the point is
 * set, the point is of that address space alone: of those whose first entry for it leads to the
 * same table.
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

/* Memory of the machine's, in whole pages, for tables that grow. */
struct debug_memory {
    enum status (*take)(void *context, uint64_t pages, hpa_t *base);
    void (*give)(void *context, hpa_t base, uint64_t pages);
    void *(*map)(void *context, hpa_t frame); /* where the monitor sees it, and those behind it */
    void *context;
};

/* debug_table.c: rows that are found by a key; each begins with this. */
struct debug_row {
    uint64_t key;
    uint32_t next; /* of the same hash: its index + 1; 0: none */
};

struct debug_table {
    uint8_t *rows;
    uint32_t *heads; /* of chains, behind the rows: an index + 1 */
    hpa_t frames;
    uint32_t count, room; /* of rows; room is a power of two, or 0 */
    uint16_t size;        /* of a row */
};

/* The key is its address. */
struct debug_point {
    struct debug_row row;
    uint8_t kind;     /* enum debug_point_kind */
    uint8_t type;     /* the owner's: told with the stop */
    bool is_physical; /* the address is guest-physical, else linear */
    bool is_removed;  /* it does nothing, and is forgotten when the guest goes on */
    uint64_t size;    /* bytes of data, at least 1; 1 of a breakpoint */
    uint64_t space;   /* as that of struct debug_page; 0: of all address spaces */
};

/* A page of addresses with points. The key is the first address, with DEBUG_IS_PHYSICAL. */
struct debug_page {
    struct debug_row row;
    uint64_t space; /* the user's address space, other than 0; 0: it is a supervisor's page */
    uint64_t gpa;   /* where it leads to; */
    bool is_mapped; /* if it does */
};

#define DEBUG_IS_PHYSICAL BIT(0)

/* What a point covers of a page that is mapped. The key is the guest-physical page; or the address
 * itself with DEBUG_BREAKPOINT, or the page of the guest's tables with DEBUG_PAGE_TABLE. */
struct debug_piece {
    struct debug_row row;
    uint32_t point;         /* its index */
    uint16_t offset, count; /* of bytes in the page */
    uint64_t address;       /* of the first of them */
};

#define DEBUG_BREAKPOINT BIT(63)
#define DEBUG_PAGE_TABLE BIT(62)

/* An entry of the guest's page tables by which points are reached. The key is where it is. */
struct debug_link {
    struct debug_row row;
    uint64_t value;
};

/* An access to data, as its exit tells of it. */
struct data_access {
    uint64_t gpa, kinds; /* as in SDM: Exit Qualification for EPT Violations; 0: none */
    unsigned size;
};

#define DEBUG_ACCESSES_MAX 8

/* What one instruction has accessed of what it must not. */
struct debug_accesses {
    unsigned count;
    bool is_more; /* than there is room for */
    struct data_access access[DEBUG_ACCESSES_MAX];
    uint64_t *leaf[DEBUG_ACCESSES_MAX];  /* of points->data, which lets it pass meanwhile; */
    uint64_t denied[DEBUG_ACCESSES_MAX]; /* and what it is to be again */
};

struct debug_points {
    struct debug_memory memory; /* set by the owner */
    struct ept ept;
    struct ept data; /* the same for data alone: for an instruction that is executed by itself */
    struct debug_table frames; /* the trees'; the key is the frame */
    unsigned used;             /* of them; 0: there are no trees */
    unsigned generation;       /* of the trees */
    unsigned replacements;     /* since they were made */
    unsigned active;           /* points that are not removed */
    unsigned linear;           /* those of them at linear addresses */
    unsigned watched;          /* those of them that are no breakpoints */
    uint64_t covered;          /* pages, by all points */
    uint64_t skip;   /* linear address of a point at which the guest stands and goes on; 0: none */
    bool is_short;   /* of memory: said once */
    bool is_touched; /* the guest may have written to what links are in */
    uint32_t looked; /* links up to this one were compared lately */
    struct paging paging; /* by which the pages are reached */
    struct debug_table point, page, piece, link;
    struct debug_accesses met;
    hpa_t before; /* DEBUG_ACCESSES_MAX pages: copies of those with watched data, while it steps */
};

#define DEBUG_CATCHES_MAX 32

struct debug_catches {
    unsigned count;
    uint16_t last_id;
    uint32_t vectors; /* of exceptions that are caught, a bit each */
    uint32_t control; /* and of control registers */
    bool by_steps;    /* some change of mode is caught that nothing exits for */
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
    uint64_t left_at;            /* TSC, from which on time is hidden from the guest */
    uint64_t behind;             /* the VM's, after an instruction by itself in this exit */
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

/* Gives the vCPU the room for its points, whose memory is set and all else 0, or takes it away
 * (NULL), and with it all points and what they took of memory. */
void debug_use_points(struct vcpu *vcpu, struct debug_points *points);

/* Adds a point, wherever its address leads, now or later; or takes away one that is the same, which
 * is itself again when it is added before the guest goes on. A point that is there already stays as
 * it was. ERR_RANGE: no address, or none that there can be, or no bytes; ERR_NO_MEMORY;
 * ERR_NOT_FOUND.
 */
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

/* For breakpoint_watch: what the monitor accesses in the place of the vCPU's instruction; context
 * is the vCPU. */
void debug_see_access(void *context, uint64_t linear, unsigned size, bool write);

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

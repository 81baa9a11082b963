/*
 * What a debugger has of one vCPU here: a step that is wanted, points (breakpoints and watchpoints)
 * and the reason for which it stopped by itself.
 *
 * Points are EPT of their own: a tree that shares the VM's tables but for those on the way to the
 * points' pages, which lack the rights that would let an access pass unseen. The guest sees
 * nothing of it, whatever it reads. An access to such a page exits, and the instruction is executed
 * by itself under the VM's own EPT.
 */
#pragma once

#include "kernel/core/status.h"
#include "vmx/ept.h"

struct vcpu;

enum debug_point_kind { DEBUG_EXECUTE, DEBUG_WRITE, DEBUG_READ, DEBUG_ACCESS };

#define DEBUG_POINTS_MAX 512
#define DEBUG_POINT_BYTES 64 /* that one watchpoint covers, in one page */
#define DEBUG_FRAMES 128     /* for the tree: one at least for each 2 MiB with a point */

struct debug_point {
    uint8_t kind;     /* enum debug_point_kind */
    uint8_t type;     /* the owner's: told with the stop */
    uint8_t size;     /* bytes of data; 1 to DEBUG_POINT_BYTES */
    uint64_t address; /* linear, or guest-physical where is_physical */
    uint64_t gpa;
    bool is_physical;
};

struct debug_points {
    struct ept ept;
    hpa_t frames; /* DEBUG_FRAMES of them, the tree's */
    unsigned used;
    unsigned count;
    uint64_t skip; /* linear address of a point at which the guest stands and goes on; 0: none */
    struct debug_point point[DEBUG_POINTS_MAX];
    uint8_t before[DEBUG_POINTS_MAX][DEBUG_POINT_BYTES]; /* of watched data, while it steps */
};

enum debug_stop_reason { DEBUG_RUNS, DEBUG_STEPPED, DEBUG_AT_POINT };

struct debug_stop {
    enum debug_stop_reason reason;
    uint8_t type;
    bool is_at_rip; /* a breakpoint, at the address that RIP is */
    uint64_t address;
};

struct vmx_debug {
    struct debug_points *points; /* NULL: none */
    bool steps;                  /* before it runs on */
    bool has_stepped;            /* at least one instruction of them */
    bool is_stepping;            /* an instruction by itself is under way */
    uint64_t start, end;         /* steps on while RIP is within */
    bool has_stopped;            /* stop is valid, and nobody has taken it; atomic */
    struct debug_stop stop;
};

/* All of these in what vcpu_call runs, or where the vCPU's exits are handled. */

/* Steps one instruction when it is resumed, and on as long as RIP is in [start, end). */
void debug_arm_step(struct vcpu *vcpu, uint64_t start, uint64_t end);

/* Gives the vCPU the room for its points, whose frames are set, or takes it away (NULL), and with
 * it all points. */
void debug_use_points(struct vcpu *vcpu, struct debug_points *points);

/* Adds a point, whose gpa is found here; or removes one that is the same. ERR_FAULT: its address is
 * not mapped; ERR_RANGE: no RAM is there, or it crosses a page; ERR_NO_SPACE; ERR_NO_MEMORY: too
 * many places; ERR_NOT_FOUND. */
enum status MUST_CHECK debug_add_point(struct vcpu *vcpu, const struct debug_point *point);
enum status MUST_CHECK debug_remove_point(struct vcpu *vcpu, const struct debug_point *point);

/* For exit_ept.c: an access to a page with points. True: it is dealt with. */
bool debug_take_violation(struct vcpu *vcpu, uint64_t rip, uint64_t gpa, uint64_t qualification);

/* For run.c: what debug_arm_step has asked for. */
void debug_run_steps(struct vcpu *vcpu);

/*
 * A hardware task switch, as the processor makes it where no monitor is: the old task's registers
 * go to its TSS, the new task's come from its TSS, descriptors and the busy flags follow. SDM: Task
 * Management; Task Switching; Treatment of Task Switches.
 */
#pragma once

#include "kernel/vm/deliver.h"

/* Numbered as in SDM: Exit Qualification for Task Switches. */
enum task_switch_source {
    TASK_SWITCH_CALL,
    TASK_SWITCH_IRET,
    TASK_SWITCH_JMP,
    TASK_SWITCH_GATE, /* an event through a task gate of the IDT */
};

/* What of a vCPU a task switch reads and writes. */
struct task_state {
    struct deliver_state cpu; /* rip: where the old task goes on; LDTR and TR are written too */
    uint64_t *gpr;            /* indexed by enum gpr, RSP among them */
    uint64_t cr3;
};

struct task_switch_request {
    enum task_switch_source source;
    uint16_t selector;   /* of the new task's TSS */
    bool external;       /* by an event that is no instruction's: faults say so */
    bool has_error_code; /* of the event: pushed on the new task's stack */
    uint32_t error_code;
};

/* Loads CR3 under paging, where the switch changes it: takes the value over into access->paging,
 * with the PDPTEs of PAE. False: they have reserved bits. */
struct task_switch_ports {
    bool (*load_cr3)(void *context, uint64_t cr3);
    void *context;
};

enum task_switch_result {
    TASK_SWITCH_DONE,
    TASK_SWITCH_TRAPPED,   /* done, and the new task's T flag asks for a debug exception: DR6.BT */
    TASK_SWITCH_FAULT,     /* *exception, in the old task: nothing has changed */
    TASK_SWITCH_NEW_FAULT, /* *exception, in the new task: it stands before its first instruction */
    TASK_SWITCH_AGAIN,     /* another processor interfered; nothing has changed */
};

/*
 * Switches. The processor has checked privileges; descriptor and TSS are looked at again, since the
 * guest's other processors may have changed them. access->paging is the vCPU's, and the caller
 * holds the VM's device lock. CR0.TS and the local breakpoints of DR7 are the caller's, unless the
 * result is TASK_SWITCH_FAULT or TASK_SWITCH_AGAIN.
 */
enum task_switch_result task_switch(struct guest_access *access,
                                    const struct task_switch_ports *ports, struct task_state *state,
                                    const struct task_switch_request *request,
                                    struct exception *exception);

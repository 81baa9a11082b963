/*
 * The delivery of an event through the guest's own tables, as the processor makes it: real-address
 * mode, virtual-8086 mode, protected mode with gates of 16 and 32 bits, and IA-32e mode. For an
 * event whose delivery by hardware has met an address without RAM, which a device or nobody
 * answers.
 *
 * SDM: INT n/INTO/INT3/INT1 - Call to Interrupt Procedure; Interrupt and Exception Handling.
 */
#pragma once

#include "kernel/vm/events.h"
#include "kernel/vm/guest_access.h"

struct deliver_table {
    uint64_t base;
    uint32_t limit;
};

/* What of a vCPU a delivery reads and writes. */
struct deliver_state {
    uint64_t rip; /* of the instruction that the event belongs to, or the next one */
    uint64_t rsp;
    uint64_t rflags;
    uint64_t cr0;
    struct segment segment[SEG_COUNT]; /* LDTR and TR are only read */
    struct deliver_table gdtr;
    struct deliver_table idtr;
    uint8_t cpl; /* 3 in virtual-8086 mode */
};

enum deliver_result {
    DELIVER_DONE,      /* *state is that before the handler's first instruction */
    DELIVER_FAULT,     /* *exception was met; the two combine as event_raise says */
    DELIVER_AGAIN,     /* another processor interfered */
    DELIVER_TASK_GATE, /* the gate leads to the task whose TSS exception->error_code selects */
};

/*
 * Delivers event. access->paging is the vCPU's, as for guest_access_emulate; the caller holds the
 * VM's device lock. Unless the result is DELIVER_DONE, *state has not changed and nothing was
 * pushed; accessed and dirty flags may be set. Blocking by NMI and debug registers are the
 * caller's.
 */
enum deliver_result deliver_event(struct guest_access *access, struct deliver_state *state,
                                  const struct event *event, struct exception *exception);

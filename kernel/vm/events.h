/*
 * What is to be delivered to a vCPU at its next entry: an exception that its instruction raised, an
 * event whose delivery an exit interrupted, an NMI, or an interrupt, in the SDM's priority. Pure
 * and vendor-neutral; a back end carries the chosen event into its own entry fields.
 */
#pragma once

#include "kernel/core/status.h"
#include "kernel/vm/cpu_mode.h"

/* Numbered as in SDM: VM-Entry Controls for Event Injection (SVM's EVENTINJ uses the same first
 * numbers). */
enum event_type {
    EVENT_EXTERNAL_INTERRUPT = 0,
    EVENT_NMI = 2,
    EVENT_HARDWARE_EXCEPTION = 3,
    EVENT_SOFTWARE_INTERRUPT = 4,
    EVENT_PRIVILEGED_SOFTWARE_EXCEPTION = 5, /* INT1 */
    EVENT_SOFTWARE_EXCEPTION = 6,            /* INT3, INTO */
};

struct event {
    bool valid;
    uint8_t type; /* enum event_type */
    uint8_t vector;
    bool has_error_code;
    uint8_t instruction_length; /* bytes, for the software types */
    uint32_t error_code;
};

struct event_queue {
    struct event next; /* goes in at the next entry, whatever the guest's flags say */
    bool nmi_pending;  /* latched: further NMIs before its delivery are merged, as in hardware */
};

/* Whether RF is set in the flags that the event's delivery pushes, whatever it is in the register.
 * SDM: Instruction-Breakpoint Exception Condition: faults, but not #DB. */
static inline bool event_sets_rf(const struct event *event)
{
    return event->type == EVENT_HARDWARE_EXCEPTION && event->vector != VECTOR_DB;
}

/* What raising an exception came to. */
enum event_result {
    EVENT_QUEUED,
    EVENT_TRIPLE_FAULT, /* the exception hit during the delivery of #DF */
};

/* Raises a fault or trap on the vCPU. Where an exception's delivery was under way (events->next is
 * valid), the two combine as SDM: Interrupt 8 - Double Fault Exception (#DF) says; a software or
 * external interrupt under way is given up, as the processor handles these serially. */
enum event_result event_raise(struct event_queue *events, const struct exception *exception);

/* What stops interrupts and NMIs at this moment. */
struct event_blocking {
    bool interrupt_flag; /* RFLAGS.IF */
    bool shadow;         /* blocking by STI or by MOV SS, or a debug trap comes first */
    bool nmi;            /* blocking by NMI */
};

/* What the caller does about what cannot go in now. */
struct event_choice {
    bool take_interrupt;   /* acknowledge the controller's vector and queue it */
    bool interrupt_window; /* be told when interrupts can go in */
    bool nmi_window;       /* be told when an NMI can go in */
};

/* Chooses for this entry: moves a pending NMI into events->next where it can go in. */
struct event_choice event_choose(struct event_queue *events, const struct event_blocking *blocking,
                                 bool interrupt_pending);

/* Queues an external interrupt; events->next must be empty. */
void event_queue_interrupt(struct event_queue *events, uint8_t vector);

#include "kernel/vm/events.h"

/* SDM: Table "Interrupt and Exception Classes". */
enum exception_class { CLASS_BENIGN, CLASS_CONTRIBUTORY, CLASS_PAGE_FAULT, CLASS_DOUBLE_FAULT };

static enum exception_class classify(unsigned vector)
{
    switch (vector) {
    case VECTOR_DE:
    case VECTOR_TS:
    case VECTOR_NP:
    case VECTOR_SS:
    case VECTOR_GP:
    case VECTOR_CP:
        return CLASS_CONTRIBUTORY;
    case VECTOR_PF:
    case VECTOR_VE:
        return CLASS_PAGE_FAULT;
    case VECTOR_DF:
        return CLASS_DOUBLE_FAULT;
    default:
        return CLASS_BENIGN;
    }
}

/* SDM: Table "Conditions for Generating a Double Fault": whether first then second is one. */
static bool is_double_fault(enum exception_class first, enum exception_class second)
{
    if (first == CLASS_CONTRIBUTORY)
        return second == CLASS_CONTRIBUTORY;
    return first == CLASS_PAGE_FAULT && second != CLASS_BENIGN;
}

static struct event exception_event(const struct exception *exception)
{
    return (struct event){
        .valid = true,
        .type = EVENT_HARDWARE_EXCEPTION,
        .vector = exception->vector,
        .has_error_code = exception->has_error_code,
        .error_code = exception->error_code,
    };
}

enum event_result event_raise(struct event_queue *events, const struct exception *exception)
{
    static const struct exception double_fault = {.vector = VECTOR_DF, .has_error_code = true};
    struct event next = exception_event(exception);
    if (__builtin_expect(events->next.valid, 0) && events->next.type == EVENT_HARDWARE_EXCEPTION) {
        enum exception_class first = classify(events->next.vector);
        enum exception_class second = classify(exception->vector);
        if (first == CLASS_DOUBLE_FAULT && second != CLASS_BENIGN)
            return EVENT_TRIPLE_FAULT;
        if (is_double_fault(first, second))
            next = exception_event(&double_fault);
    }
    events->next = next;
    return EVENT_QUEUED;
}

void event_queue_interrupt(struct event_queue *events, uint8_t vector)
{
    events->next =
        (struct event){.valid = true, .type = EVENT_EXTERNAL_INTERRUPT, .vector = vector};
}

struct event_choice event_choose(struct event_queue *events, const struct event_blocking *blocking,
                                 bool interrupt_pending)
{
    struct event_choice choice = {0};
    if (events->nmi_pending) {
        if (!events->next.valid && !blocking->nmi && !blocking->shadow) {
            events->next = (struct event){.valid = true, .type = EVENT_NMI, .vector = VECTOR_NMI};
            events->nmi_pending = false;
        } else {
            choice.nmi_window = true;
        }
    }
    if (interrupt_pending) {
        choice.take_interrupt =
            !events->next.valid && blocking->interrupt_flag && !blocking->shadow;
        choice.interrupt_window = !choice.take_interrupt;
    }
    return choice;
}

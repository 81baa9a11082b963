/* What comes into and leaves a local APIC: messages, the local vector table, errors, IPIs. */
#include "drivers/model/apic_fabric.h"
#include "drivers/model/lapic.h"
#include "drivers/model/lapic_internal.h"

static enum apic_delivery_mode lvt_mode(uint32_t lvt)
{
    return (enum apic_delivery_mode)bits_get(lvt, 10, 8);
}

/* ---- Errors --------------------------------------------------------------------------------- */

/* SDM: Error Handling. An illegal vector in the LVT error entry itself is only logged: it must not
 * raise an error that raises an error. */
void lapic_error(struct lapic *lapic, uint32_t error)
{
    uint32_t lvt = lapic->lvt[LVT_ERROR];
    lapic->esr_logged |= error;
    if (lapic->error_signalled || (lvt & LVT_MASKED))
        return;
    lapic->error_signalled = true;
    if ((lvt & LVT_VECTOR) < VECTOR_LEGAL_FIRST)
        lapic->esr_logged |= ESR_RECEIVE_ILLEGAL_VECTOR;
    else
        lapic_accept(lapic, lvt & LVT_VECTOR, false);
}

static bool accept_fixed(struct lapic *lapic, uint8_t vector, bool level)
{
    if (vector < VECTOR_LEGAL_FIRST) {
        lapic_error(lapic, ESR_RECEIVE_ILLEGAL_VECTOR);
        return false;
    }
    lapic_accept(lapic, vector, level);
    return true;
}

/* ---- Messages ------------------------------------------------------------------------------- */

/* The logical destination of an x2APIC: its cluster, and its bit there. SDM: Logical Destination
 * Mode in x2APIC Mode. */
static bool matches_x2apic(const struct lapic *lapic, const struct apic_message *message)
{
    uint32_t id = lapic->config.apic_id, destination = message->destination;
    if (!message->logical)
        return destination == id || (!message->wide && destination == 0xff);
    return destination >> 16 == id >> 4 && (destination & BIT(id & 15));
}

/* SDM: Logical Destination Mode: flat and cluster model, as the DFR says. */
static bool matches_xapic(const struct lapic *lapic, const struct apic_message *message)
{
    uint32_t destination = message->destination, ldr = lapic->ldr >> 24;
    if (destination > 0xff)
        return false;
    if (!message->wide && destination == 0xff)
        return true;
    if (!message->logical)
        return destination == (lapic->config.apic_id & 0xff);
    switch (lapic->dfr >> 28) {
    case 0xf:
        return destination & ldr;
    case 0:
        return destination >> 4 == ldr >> 4 && (destination & ldr & 0xf);
    default:
        return false;
    }
}

bool lapic_is_addressed(const struct lapic *lapic, const struct apic_message *message)
{
    if (!lapic_is_enabled(lapic))
        return false;
    if (message->wide && message->destination == UINT32_MAX)
        return true;
    return lapic_is_x2apic(lapic) ? matches_x2apic(lapic, message) : matches_xapic(lapic, message);
}

/* SDM: Interrupt Acceptance for Pentium 4 Processor and Intel Xeon Processor. A software-disabled
 * APIC still takes INIT, NMI, SMI and SIPI. */
bool lapic_receive(struct lapic *lapic, enum apic_delivery_mode mode, uint8_t vector, bool level)
{
    const struct lapic_ops *ops = lapic->config.ops;
    switch (mode) {
    case DELIVERY_FIXED:
    case DELIVERY_LOWEST_PRIORITY:
        return lapic_is_software_enabled(lapic) && accept_fixed(lapic, vector, level);
    case DELIVERY_SMI: /* there is no SMM to enter: what firmware without a handler would do */
        return true;
    case DELIVERY_NMI:
        ops->nmi(lapic->config.context);
        return true;
    case DELIVERY_INIT:
        ops->init(lapic->config.context);
        return true;
    case DELIVERY_STARTUP:
        ops->sipi(lapic->config.context, vector);
        return true;
    case DELIVERY_EXTINT:
        if (!lapic_is_software_enabled(lapic))
            return false;
        lapic->extint = true;
        lapic_update(lapic);
        return true;
    }
    return false;
}

/* ---- The local vector table ----------------------------------------------------------------- */

/* Timer and error entries have no delivery mode: their bits 10:8 are always zero, which is Fixed.
 * STARTUP and lowest priority do not exist here; lapic_has_extint sees ExtINT. */
static void deliver_lvt(struct lapic *lapic, uint32_t lvt, bool level)
{
    switch (lvt_mode(lvt)) {
    case DELIVERY_FIXED:
        accept_fixed(lapic, lvt & LVT_VECTOR, level);
        break;
    case DELIVERY_NMI:
        lapic->config.ops->nmi(lapic->config.context);
        break;
    case DELIVERY_INIT:
        lapic->config.ops->init(lapic->config.context);
        break;
    default:
        break;
    }
}

void lapic_deliver_local(struct lapic *lapic, enum lapic_lvt source)
{
    if (!(lapic->lvt[source] & LVT_MASKED))
        deliver_lvt(lapic, lapic->lvt[source], false);
}

void lapic_raise(struct lapic *lapic, enum lapic_lvt source)
{
    if (lapic->lvt[source] & LVT_MASKED)
        return;
    uint32_t lvt = lapic->lvt[source];
    if (source == LVT_PERFORMANCE) /* SDM: Local Vector Table: the delivery sets its mask */
        lapic->lvt[source] |= LVT_MASKED;
    deliver_lvt(lapic, lvt, false);
}

/* Only LINT0 in Fixed mode can be level sensitive; ExtINT is, by lapic_has_extint. */
static bool is_level_lint(const struct lapic *lapic, unsigned input)
{
    uint32_t lvt = lapic->lvt[LVT_LINT0];
    return input == 0 && (lvt & LVT_LEVEL) && lvt_mode(lvt) == DELIVERY_FIXED;
}

/* A level-sensitive LINT0 that is asserted interrupts once until its EOI. */
static void service_level_lint(struct lapic *lapic)
{
    uint32_t *lvt = &lapic->lvt[LVT_LINT0];
    if (!lapic->lint[0] || (*lvt & (LVT_MASKED | LVT_REMOTE_IRR)) || !is_level_lint(lapic, 0))
        return;
    if (accept_fixed(lapic, *lvt & LVT_VECTOR, true))
        *lvt |= LVT_REMOTE_IRR;
}

bool lapic_has_extint(const struct lapic *lapic)
{
    if (!lapic_is_enabled(lapic))
        return lapic->lint[0];
    if (lapic->extint)
        return true;
    for (unsigned input = 0; input < 2; input++) {
        uint32_t lvt = lapic->lvt[LVT_LINT0 + input];
        if (lapic->lint[input] && !(lvt & LVT_MASKED) && lvt_mode(lvt) == DELIVERY_EXTINT)
            return true;
    }
    return false;
}

void lapic_set_lint(void *controller, unsigned input, bool level)
{
    struct lapic *lapic = controller;
    if (input > 1 || lapic->lint[input] == level)
        return;
    lapic->lint[input] = level;
    if (!lapic_is_enabled(lapic)) {
        if (input == 1 && level)
            lapic->config.ops->nmi(lapic->config.context);
    } else if (is_level_lint(lapic, input)) {
        service_level_lint(lapic);
    } else if (level) {
        lapic_deliver_local(lapic, (enum lapic_lvt)(LVT_LINT0 + input));
    }
    lapic_update(lapic);
}

void lapic_eoi_lints(struct lapic *lapic, uint8_t vector)
{
    uint32_t *lvt = &lapic->lvt[LVT_LINT0];
    if (!(*lvt & LVT_REMOTE_IRR) || (*lvt & LVT_VECTOR) != vector)
        return;
    *lvt &= ~LVT_REMOTE_IRR;
    service_level_lint(lapic);
}

/* value holds writable bits only. SDM: Local APIC State After It Has Been Software Disabled: the
 * masks cannot be cleared then. */
void lapic_write_lvt(struct lapic *lapic, enum lapic_lvt source, uint32_t value)
{
    uint32_t old = lapic->lvt[source];
    if (!lapic_is_software_enabled(lapic))
        value |= LVT_MASKED;
    lapic->lvt[source] = value;
    if (source == LVT_TIMER)
        lapic_timer_mode_changed(lapic, old);
    if (source != LVT_LINT0 && source != LVT_LINT1)
        return;
    if (is_level_lint(lapic, source - LVT_LINT0)) {
        lapic->lvt[source] |= old & LVT_REMOTE_IRR;
        service_level_lint(lapic);
    }
    lapic_update(lapic);
}

void lapic_write_svr(struct lapic *lapic, uint32_t value)
{
    lapic->svr = value;
    if (lapic_is_software_enabled(lapic))
        return;
    for (unsigned i = 0; i < LVT_COUNT; i++)
        lapic->lvt[i] |= LVT_MASKED;
    lapic_update(lapic);
}

/* ---- IPIs ----------------------------------------------------------------------------------- */

#define ICR_LOGICAL BIT(11)
#define ICR_ASSERT BIT(14)
#define ICR_LEVEL BIT(15)

/* What may be sent at all, by delivery mode. SMIs are ignored; mode 3 and ExtINT are no IPIs. */
#define ICR_MODES                                                                                  \
    (BIT(DELIVERY_FIXED) | BIT(DELIVERY_LOWEST_PRIORITY) | BIT(DELIVERY_NMI) |                     \
     BIT(DELIVERY_INIT) | BIT(DELIVERY_STARTUP))
#define ICR_MODES_VECTOR (BIT(DELIVERY_FIXED) | BIT(DELIVERY_LOWEST_PRIORITY))
/* SDM: Valid Combinations for the Pentium 4 and Intel Xeon Processors' Local xAPIC Interrupt
 * Command Register: no processor resets or starts itself by a shorthand. */
#define ICR_MODES_NOT_SELF (BIT(DELIVERY_INIT) | BIT(DELIVERY_STARTUP))

void lapic_send_ipi(struct lapic *lapic)
{
    uint64_t icr = lapic->icr;
    struct apic_message message = {
        .wide = lapic_is_x2apic(lapic),
        .logical = icr & ICR_LOGICAL,
        .delivery_mode = (uint8_t)bits_get(icr, 10, 8),
        .vector = (uint8_t)icr,
        .shorthand = (uint8_t)bits_get(icr, 19, 18),
    };
    message.destination = (uint32_t)(message.wide ? icr >> 32 : icr >> 56);
    uint64_t mode = BIT(message.delivery_mode);
    bool with_self = message.shorthand == SHORTHAND_SELF || message.shorthand == SHORTHAND_ALL;
    if ((mode & ICR_MODES_VECTOR) && message.vector < VECTOR_LEGAL_FIRST) {
        lapic_error(lapic, ESR_SEND_ILLEGAL_VECTOR);
        return;
    }
    if (!(mode & ICR_MODES) || (with_self && (mode & ICR_MODES_NOT_SELF)))
        return;
    /* INIT Level De-assert is not supported since the Pentium 4; others are edges in any case. */
    if (message.delivery_mode == DELIVERY_INIT && (icr & ICR_LEVEL) && !(icr & ICR_ASSERT))
        return;
    apic_fabric_deliver(lapic->config.fabric, lapic, &message);
}

void lapic_send_self_ipi(struct lapic *lapic, uint8_t vector)
{
    if (vector < VECTOR_LEGAL_FIRST)
        lapic_error(lapic, ESR_SEND_ILLEGAL_VECTOR);
    else
        lapic_receive(lapic, DELIVERY_FIXED, vector, false);
}

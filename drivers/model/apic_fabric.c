#include "drivers/model/apic_fabric.h"

#include "drivers/model/lapic.h"
#include "kernel/core/bits.h"

INIT enum status apic_fabric_add(struct apic_fabric *fabric, struct lapic *lapic)
{
    for (unsigned i = 0; i < fabric->count; i++)
        if (fabric->lapic[i]->config.apic_id == lapic->config.apic_id)
            return ERR_EXISTS;
    if (fabric->count == APIC_FABRIC_LAPICS)
        return ERR_NO_SPACE;
    fabric->lapic[fabric->count++] = lapic;
    return STATUS_OK;
}

INIT enum status apic_fabric_add_listener(struct apic_fabric *fabric, struct eoi_listener listener)
{
    if (fabric->listeners == APIC_FABRIC_IOAPICS)
        return ERR_NO_SPACE;
    fabric->listener[fabric->listeners++] = listener;
    return STATUS_OK;
}

static bool is_target(const struct lapic *lapic, const struct lapic *sender,
                      const struct apic_message *message)
{
    switch (message->shorthand) {
    case SHORTHAND_SELF:
        return lapic == sender && lapic_is_enabled(lapic);
    case SHORTHAND_ALL:
        return lapic_is_enabled(lapic);
    case SHORTHAND_OTHERS:
        return lapic != sender && lapic_is_enabled(lapic);
    default:
        return lapic_is_addressed(lapic, message);
    }
}

/* SDM: Lowest Priority Delivery Mode. Priorities are compared by class, as the bus does; equals
 * take turns. Software-disabled APICs do not compete. */
static bool deliver_lowest_priority(struct apic_fabric *fabric, const struct lapic *sender,
                                    const struct apic_message *message)
{
    struct lapic *best = NULL;
    unsigned winner = 0;
    for (unsigned i = 1; i <= fabric->count; i++) {
        unsigned index = (fabric->last + i) % fabric->count;
        struct lapic *lapic = fabric->lapic[index];
        if (!lapic_is_software_enabled(lapic) || !is_target(lapic, sender, message))
            continue;
        if (best == NULL || lapic->ppr >> 4 < best->ppr >> 4) {
            best = lapic;
            winner = index;
        }
    }
    if (best == NULL)
        return false;
    fabric->last = winner;
    return lapic_receive(best, DELIVERY_FIXED, message->vector, message->level);
}

bool apic_fabric_deliver(struct apic_fabric *fabric, const struct lapic *sender,
                         const struct apic_message *message)
{
    if (message->delivery_mode == DELIVERY_LOWEST_PRIORITY)
        return deliver_lowest_priority(fabric, sender, message);
    bool accepted = false;
    for (unsigned i = 0; i < fabric->count; i++)
        if (is_target(fabric->lapic[i], sender, message))
            accepted |= lapic_receive(fabric->lapic[i], message->delivery_mode, message->vector,
                                      message->level);
    return accepted;
}

#define MSI_ADDRESS_BASE 0xfee00000ull
#define MSI_ADDRESS_MASK MASK(63, 20)
#define MSI_REDIRECTION_HINT BIT(3)
#define MSI_LOGICAL BIT(2)
#define MSI_DATA_ASSERT BIT(14)
#define MSI_DATA_LEVEL BIT(15)

void apic_fabric_send_msi(void *context, uint64_t address, uint32_t data)
{
    struct apic_fabric *fabric = context;
    if ((address & MSI_ADDRESS_MASK) != MSI_ADDRESS_BASE)
        return;
    struct apic_message message = {
        .destination = (uint32_t)bits_get(address, 19, 12),
        .logical = address & MSI_LOGICAL,
        .level = data & MSI_DATA_LEVEL,
        .delivery_mode = (uint8_t)bits_get(data, 10, 8),
        .vector = (uint8_t)data,
    };
    /* The de-assertion of a level is a message of its own, which changes nothing at the APIC. */
    if (message.level && !(data & MSI_DATA_ASSERT))
        return;
    if (message.delivery_mode == DELIVERY_FIXED && (address & MSI_REDIRECTION_HINT))
        message.delivery_mode = DELIVERY_LOWEST_PRIORITY;
    /* A STARTUP message exists only as an IPI. */
    if (message.delivery_mode != DELIVERY_STARTUP)
        apic_fabric_deliver(fabric, NULL, &message);
}

void apic_fabric_set_lint(void *context, unsigned input, bool level)
{
    struct apic_fabric *fabric = context;
    for (unsigned i = 0; i < fabric->count; i++)
        lapic_set_lint(fabric->lapic[i], input, level);
}

void apic_fabric_eoi(struct apic_fabric *fabric, uint8_t vector)
{
    for (unsigned i = 0; i < fabric->listeners; i++)
        fabric->listener[i].eoi(fabric->listener[i].ioapic, vector);
}

#include "drivers/model/ioapic.h"

#include "kernel/core/bits.h"

#define VERSION 0x20u

#define OFFSET_SELECT 0x00
#define OFFSET_WINDOW 0x10
#define OFFSET_EOI 0x40

#define INDEX_ID 0
#define INDEX_VERSION 1
#define INDEX_ARBITRATION 2
#define INDEX_REDIRECTION 0x10

/* 82093AA: I/O Redirection Table Registers. */
#define ENTRY_LOGICAL BIT(11)
#define ENTRY_DELIVERY_STATUS BIT(12)
#define ENTRY_REMOTE_IRR BIT(14)
#define ENTRY_LEVEL BIT(15)
#define ENTRY_MASKED BIT(16)
#define ENTRY_WRITABLE (MASK(11, 0) | MASK(13, 13) | ENTRY_LEVEL | ENTRY_MASKED | MASK(63, 56))
#define ENTRY_RESET ENTRY_MASKED

static enum apic_delivery_mode entry_mode(uint64_t entry)
{
    return (enum apic_delivery_mode)bits_get(entry, 10, 8);
}

/* SMI, NMI, INIT and ExtINT are edges, whatever the trigger mode says. */
static bool is_level(uint64_t entry)
{
    return (entry & ENTRY_LEVEL) && entry_mode(entry) <= DELIVERY_LOWEST_PRIORITY;
}

static bool is_asserted(const struct ioapic *ioapic, unsigned pin)
{
    return ioapic->lines & BIT(pin);
}

/* A STARTUP message or mode 3 does not exist here. */
static bool send(struct ioapic *ioapic, uint64_t entry)
{
    struct apic_message message = {
        .destination = (uint32_t)(entry >> 56),
        .logical = entry & ENTRY_LOGICAL,
        .level = is_level(entry),
        .delivery_mode = (uint8_t)entry_mode(entry),
        .vector = (uint8_t)entry,
    };
    if (message.delivery_mode == DELIVERY_STARTUP)
        return false;
    return apic_fabric_deliver(ioapic->fabric, NULL, &message);
}

/* Whether a level waits to be accepted by a local APIC. */
static bool is_waiting(const struct ioapic *ioapic, unsigned pin)
{
    uint64_t entry = ioapic->redirection[pin];
    return is_level(entry) && is_asserted(ioapic, pin) &&
           !(entry & (ENTRY_MASKED | ENTRY_REMOTE_IRR));
}

/* An asserted level is sent once until its EOI; not accepted, it waits for the next occasion. */
static void service_level(struct ioapic *ioapic, unsigned pin)
{
    if (is_waiting(ioapic, pin) && send(ioapic, ioapic->redirection[pin]))
        ioapic->redirection[pin] |= ENTRY_REMOTE_IRR;
}

void ioapic_set_line(void *controller, unsigned pin, bool level)
{
    struct ioapic *ioapic = controller;
    if (pin >= IOAPIC_PINS || is_asserted(ioapic, pin) == level)
        return;
    ioapic->lines ^= (uint32_t)BIT(pin);
    uint64_t entry = ioapic->redirection[pin];
    /* 82093AA: Interrupt Mask: an edge on a masked pin is neither delivered nor held. */
    if (!level || (entry & ENTRY_MASKED))
        return;
    if (is_level(entry))
        service_level(ioapic, pin);
    else
        send(ioapic, entry);
}

void ioapic_eoi(void *context, uint8_t vector)
{
    struct ioapic *ioapic = context;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        uint64_t *entry = &ioapic->redirection[pin];
        if ((uint8_t)*entry != vector || !(*entry & ENTRY_REMOTE_IRR))
            continue;
        *entry &= ~ENTRY_REMOTE_IRR;
        service_level(ioapic, pin);
    }
}

/* ---- Registers ------------------------------------------------------------------------------ */

/* The pin whose entry's half an index names: pairs of registers from INDEX_REDIRECTION on. */
static bool find_entry(uint8_t index, unsigned *pin, unsigned *shift)
{
#ifdef PLANTED_BUG_IOAPIC_BOUND /* for the fuzz guests' own test */
    if (index < INDEX_REDIRECTION)
        return false;
#else
    if (index < INDEX_REDIRECTION || index >= INDEX_REDIRECTION + 2 * IOAPIC_PINS)
        return false;
#endif
    *pin = (index - INDEX_REDIRECTION) / 2u;
    *shift = 32 * (index & 1u);
    return true;
}

static uint32_t read_window(const struct ioapic *ioapic)
{
    unsigned pin, shift;
    if (find_entry(ioapic->select, &pin, &shift)) {
        uint64_t status = is_waiting(ioapic, pin) ? ENTRY_DELIVERY_STATUS : 0;
        return (uint32_t)((ioapic->redirection[pin] | status) >> shift);
    }
    switch (ioapic->select) {
    case INDEX_ID:
    case INDEX_ARBITRATION: /* loaded with the ID; FSB delivery arbitrates by other means */
        return ioapic->id;
    case INDEX_VERSION:
        return VERSION | (IOAPIC_PINS - 1) << 16;
    default:
        return 0;
    }
}

static void write_entry(struct ioapic *ioapic, unsigned pin, unsigned shift, uint32_t value)
{
    uint64_t *entry = &ioapic->redirection[pin];
    uint64_t changed = ENTRY_WRITABLE & MASK(shift + 31, shift);
    *entry = (*entry & ~changed) | (((uint64_t)value << shift) & changed);
#ifndef PLANTED_BUG_IOAPIC
    /* An edge has no remote IRR: software that lost an EOI goes through edge to clear it. */
    if (!is_level(*entry))
        *entry &= ~ENTRY_REMOTE_IRR;
#endif
    service_level(ioapic, pin);
}

static void write_window(struct ioapic *ioapic, uint32_t value)
{
    unsigned pin, shift;
    if (find_entry(ioapic->select, &pin, &shift))
        write_entry(ioapic, pin, shift, value);
    else if (ioapic->select == INDEX_ID)
        ioapic->id = value & 0x0f000000;
}

static uint64_t mmio_read(void *device, uint64_t offset, unsigned size)
{
    struct ioapic *ioapic = device;
    uint64_t value = 0;
    switch (align_down(offset, 16)) {
    case OFFSET_SELECT:
        value = ioapic->select;
        break;
    case OFFSET_WINDOW:
        value = read_window(ioapic);
        break;
    default:
        break;
    }
    unsigned byte = offset & 15;
    return byte > 3 ? 0 : (value >> (8 * byte)) & bits_size_mask(size);
}

/* IOREGSEL and EOI are byte registers; the window takes whole doublewords only. */
static void mmio_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct ioapic *ioapic = device;
    switch (offset) {
    case OFFSET_SELECT:
        ioapic->select = (uint8_t)value;
        break;
    case OFFSET_WINDOW:
        if (size >= 4)
            write_window(ioapic, (uint32_t)value);
        break;
    case OFFSET_EOI:
        ioapic_eoi(ioapic, (uint8_t)value);
        break;
    default:
        break;
    }
}

const struct bus_ops ioapic_bus_ops = {mmio_read, mmio_write};

/* ---- Life ----------------------------------------------------------------------------------- */

void ioapic_reset(struct ioapic *ioapic)
{
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        ioapic->redirection[pin] = ENTRY_RESET;
    ioapic->select = 0;
}

INIT enum status ioapic_init(struct ioapic *ioapic, struct apic_fabric *fabric, uint8_t id)
{
    *ioapic = (struct ioapic){.fabric = fabric, .id = (uint32_t)(id & 15) << 24};
    ioapic_reset(ioapic);
    return apic_fabric_add_listener(fabric, (struct eoi_listener){ioapic_eoi, ioapic});
}

INIT enum status ioapic_attach(struct ioapic *ioapic, struct bus *bus, uint64_t base)
{
    return bus_add(bus, BUS_MMIO, base, IOAPIC_SIZE, &ioapic_bus_ops, ioapic);
}

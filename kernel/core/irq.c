/* The vector table is the machine's, hence a global; see irq.h for why it needs no lock. */
#include "kernel/core/irq.h"

#include "kernel/core/log.h"

#define UNCLAIMED_LOGGED 8

struct irq_slot {
    irq_handler *handler;
    void *argument;
};

static struct irq_slot slots[256];
static void (*end_of_interrupt)(void *context);
static void *eoi_context;
static uint32_t unclaimed;

INIT enum status irq_register(uint8_t vector, irq_handler *handler, void *argument)
{
    if (vector < 32)
        return ERR_INVALID;
    if (slots[vector].handler != NULL)
        return ERR_EXISTS;
    slots[vector].argument = argument;
    __atomic_store_n(&slots[vector].handler, handler, __ATOMIC_RELEASE);
    return STATUS_OK;
}

INIT enum status irq_allocate(irq_handler *handler, void *argument, uint8_t *vector)
{
    for (unsigned i = IRQ_VECTOR_FIRST; i <= IRQ_VECTOR_LAST; i++) {
        if (irq_register((uint8_t)i, handler, argument) == STATUS_OK) {
            *vector = (uint8_t)i;
            return STATUS_OK;
        }
    }
    return ERR_NO_SPACE;
}

INIT void irq_set_eoi(void (*eoi)(void *context), void *context)
{
    end_of_interrupt = eoi;
    eoi_context = context;
}

static void note_unclaimed(uint8_t vector)
{
    if (__atomic_fetch_add(&unclaimed, 1, __ATOMIC_RELAXED) < UNCLAIMED_LOGGED)
        log_warn("interrupt vector 0x%x has no handler", vector);
}

void irq_dispatch(uint8_t vector)
{
    const struct irq_slot *slot = &slots[vector];
    if (slot->handler != NULL)
        slot->handler(slot->argument);
    else
        note_unclaimed(vector);
    if (vector != IRQ_VECTOR_SPURIOUS && end_of_interrupt != NULL)
        end_of_interrupt(eoi_context);
}

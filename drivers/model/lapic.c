/* The local APIC's priorities, its life and its modes. */
#include "drivers/model/lapic.h"

#include "drivers/model/apic_fabric.h"
#include "drivers/model/lapic_internal.h"
#include "kernel/core/mem.h"
#include "kernel/core/panic.h"

/* ---- IRR, ISR and the priorities ------------------------------------------------------------ */

static int highest(const uint64_t set[4])
{
    for (int i = 3; i >= 0; i--)
        if (set[i] != 0)
            return i * 64 + 63 - __builtin_clzll(set[i]);
    return LAPIC_NO_VECTOR;
}

static void set_bit(uint64_t set[4], unsigned vector)
{
    set[vector / 64] |= BIT(vector % 64);
}

static void clear_bit(uint64_t set[4], unsigned vector)
{
    set[vector / 64] &= ~BIT(vector % 64);
}

static bool test_bit(const uint64_t set[4], unsigned vector)
{
    return set[vector / 64] & BIT(vector % 64);
}

static bool is_above_ppr(const struct lapic *lapic)
{
    return lapic->highest_irr >= 0 && lapic->highest_irr >> 4 > lapic->ppr >> 4;
}

void lapic_update(struct lapic *lapic)
{
    bool was_pending = lapic->pending;
    lapic->pending = is_above_ppr(lapic) || lapic_has_extint(lapic);
    if (lapic->pending && !was_pending)
        lapic->config.ops->wake(lapic->config.context);
}

/* SDM: Task and Processor Priorities. */
void lapic_update_ppr(struct lapic *lapic)
{
    unsigned in_service = lapic->highest_isr >= 0 ? (unsigned)lapic->highest_isr : 0;
    if (lapic->tpr >> 4 >= in_service >> 4)
        lapic->ppr = lapic->tpr;
    else
        lapic->ppr = in_service & 0xf0;
    lapic_update(lapic);
}

void lapic_set_tpr(struct lapic *lapic, uint8_t value)
{
    lapic->tpr = value;
    lapic_update_ppr(lapic);
}

enum status lapic_write_cr8(struct lapic *lapic, uint64_t value)
{
    if (value > 15)
        return ERR_FAULT;
    lapic_set_tpr(lapic, (uint8_t)(value << 4));
    return STATUS_OK;
}

/* SDM: Interrupt Acceptance for Fixed Interrupts. */
void lapic_accept(struct lapic *lapic, uint8_t vector, bool level)
{
    set_bit(lapic->irr, vector);
    if (level)
        set_bit(lapic->tmr, vector);
    else
        clear_bit(lapic->tmr, vector);
    if (vector > lapic->highest_irr)
        lapic->highest_irr = vector;
    lapic_update(lapic);
}

int lapic_acknowledge(struct lapic *lapic)
{
    if (lapic_has_extint(lapic)) {
        lapic->extint = false;
        uint8_t vector = lapic->config.ops->pic_acknowledge(lapic->config.context);
        lapic_update(lapic);
        return vector;
    }
    if (!is_above_ppr(lapic))
        return LAPIC_NO_VECTOR;
    int vector = lapic->highest_irr;
    clear_bit(lapic->irr, (unsigned)vector);
    set_bit(lapic->isr, (unsigned)vector);
#ifndef PLANTED_BUG_LAPIC
    lapic->highest_irr = highest(lapic->irr);
#endif
    /* What is above PPR is above everything in service. */
    lapic->highest_isr = vector;
    lapic_update_ppr(lapic);
    return vector;
}

/* SDM: Signaling Interrupt Servicing Completion. */
void lapic_eoi(struct lapic *lapic)
{
    if (lapic->highest_isr < 0)
        return;
    uint8_t vector = (uint8_t)lapic->highest_isr;
    clear_bit(lapic->isr, vector);
    lapic->highest_isr = highest(lapic->isr);
    lapic_update_ppr(lapic);
    if (!test_bit(lapic->tmr, vector))
        return;
    lapic_eoi_lints(lapic, vector);
    if (!(lapic->svr & SVR_SUPPRESS_EOI_BROADCAST))
        apic_fabric_eoi(lapic->config.fabric, vector);
}

/* ---- Reset ---------------------------------------------------------------------------------- */

static void reset_registers(struct lapic *lapic)
{
    memset(lapic->irr, 0, sizeof(lapic->irr));
    memset(lapic->isr, 0, sizeof(lapic->isr));
    memset(lapic->tmr, 0, sizeof(lapic->tmr));
    lapic->highest_irr = LAPIC_NO_VECTOR;
    lapic->highest_isr = LAPIC_NO_VECTOR;
    lapic->tpr = 0;
    lapic->icr = 0;
    lapic->ldr = 0;
    lapic->dfr = UINT32_MAX;
    lapic->svr = 0xff;
    lapic->esr = 0;
    lapic->esr_logged = 0;
    lapic->error_signalled = false;
    lapic->extint = false;
    for (unsigned i = 0; i < LVT_COUNT; i++)
        lapic->lvt[i] = LVT_MASKED;
    lapic_timer_reset(lapic);
    lapic_update_ppr(lapic);
}

static uint64_t reset_base(const struct lapic *lapic)
{
    return LAPIC_DEFAULT_BASE | APIC_BASE_EN | (lapic->config.is_bsp ? APIC_BASE_BSP : 0);
}

INIT void lapic_init(struct lapic *lapic, const struct lapic_config *config)
{
    ASSERT(config->timer_hz >= 1000000 && config->clock->hz != 0);
    ASSERT(config->physical_bits >= 32 && config->physical_bits <= 52);
    ASSERT(config->x2apic || config->apic_id < 255);
    memset(lapic, 0, sizeof(*lapic));
    lapic->config = *config;
    lapic->base = reset_base(lapic);
    lapic_timer_init(lapic);
    reset_registers(lapic);
}

static void set_base(struct lapic *lapic, uint64_t value)
{
    uint64_t old = lapic->base;
    lapic->base = value;
    if (value != old)
        lapic->config.ops->base_changed(lapic->config.context, old, value);
}

void lapic_reset(struct lapic *lapic)
{
    set_base(lapic, reset_base(lapic));
    reset_registers(lapic);
}

void lapic_init_reset(struct lapic *lapic)
{
    reset_registers(lapic);
}

void lapic_set_virtual_wire(struct lapic *lapic)
{
    lapic_write_svr(lapic, LAPIC_SVR_ENABLE | 0xff);
    lapic_write_lvt(lapic, LVT_LINT0, DELIVERY_EXTINT << 8);
    lapic_write_lvt(lapic, LVT_LINT1, DELIVERY_NMI << 8);
}

/* ---- IA32_APIC_BASE ------------------------------------------------------------------------- */

/* Which modes may follow which; a mode is EN and EXTD, as bits 1 and 0. SDM: x2APIC State
 * Transitions. */
#define MODE(base) bits_get(base, 11, 10)
enum { MODE_DISABLED = 0, MODE_INVALID = 1, MODE_XAPIC = 2, MODE_X2APIC = 3 };

static const uint8_t successors[4] = {
    [MODE_DISABLED] = BIT(MODE_DISABLED) | BIT(MODE_XAPIC),
    [MODE_XAPIC] = BIT(MODE_DISABLED) | BIT(MODE_XAPIC) | BIT(MODE_X2APIC),
    [MODE_X2APIC] = BIT(MODE_DISABLED) | BIT(MODE_X2APIC),
};

enum status lapic_write_base(struct lapic *lapic, uint64_t value)
{
    uint64_t valid = MASK(lapic->config.physical_bits - 1, 12) | APIC_BASE_BSP | APIC_BASE_EN |
                     (lapic->config.x2apic ? APIC_BASE_EXTD : 0);
    uint64_t old_mode = MODE(lapic->base), new_mode = MODE(value);
    if ((value & ~valid) || !(successors[old_mode] & BIT(new_mode)))
        return ERR_FAULT;
    set_base(lapic, value);
    if (new_mode == old_mode)
        return STATUS_OK;
    if (new_mode == MODE_X2APIC)
        lapic->icr &= UINT32_MAX; /* the destination has another format now */
    else                          /* what was there is lost, and comes back as after a reset */
        reset_registers(lapic);
    return STATUS_OK;
}

/* The register map of the local APIC, through the xAPIC page and the x2APIC MSRs. */
#include "drivers/model/lapic.h"
#include "drivers/model/lapic_internal.h"

#define READ 1u
#define WRITE 2u
#define XAPIC 4u
#define X2APIC 8u
#define BOTH (XAPIC | X2APIC)

/* A register's index is its offset in the page / 16, and its MSR's number - 800H. */
enum {
    REGISTER_ID = 0x02,
    REGISTER_VERSION = 0x03,
    REGISTER_TPR = 0x08,
    REGISTER_PPR = 0x0a,
    REGISTER_EOI = 0x0b,
    REGISTER_LDR = 0x0d,
    REGISTER_DFR = 0x0e,
    REGISTER_SVR = 0x0f,
    REGISTER_ISR = 0x10,
    REGISTER_TMR = 0x18,
    REGISTER_IRR = 0x20,
    REGISTER_ESR = 0x28,
    REGISTER_LVT_CMCI = 0x2f,
    REGISTER_ICR = 0x30,
    REGISTER_ICR_HIGH = 0x31,
    REGISTER_LVT_TIMER = 0x32,
    REGISTER_LVT_THERMAL = 0x33,
    REGISTER_LVT_PERFORMANCE = 0x34,
    REGISTER_LVT_LINT0 = 0x35,
    REGISTER_LVT_LINT1 = 0x36,
    REGISTER_LVT_ERROR = 0x37,
    REGISTER_INITIAL_COUNT = 0x38,
    REGISTER_CURRENT_COUNT = 0x39,
    REGISTER_DIVIDE = 0x3e,
    REGISTER_SELF_IPI = 0x3f,
    REGISTER_COUNT = 0x40,
};

struct register_rule {
    uint8_t access;
    uint32_t writable;
    uint32_t ignored; /* bits that only read: x2APIC lets them be written, without effect */
};

#define LVT_EVENT (LVT_MASKED | LVT_VECTOR)
#define LVT_SENSOR (LVT_EVENT | LVT_DELIVERY_MODE)
#define LVT_PIN (LVT_SENSOR | LVT_POLARITY | LVT_LEVEL)
#define ICR_WRITABLE 0xccfffu
#define ICR_BUSY 0x1000u

/* SDM: Local APIC Register Address Map; x2APIC Register Address Space. APR, RRD and the P6's LVT
 * layout ended before version 14H. */
static const struct register_rule rules[REGISTER_COUNT] = {
    [REGISTER_ID] = {READ | BOTH, 0, 0},
    [REGISTER_VERSION] = {READ | BOTH, 0, 0},
    [REGISTER_TPR] = {READ | WRITE | BOTH, 0xff, 0},
    [REGISTER_PPR] = {READ | BOTH, 0, 0},
    [REGISTER_EOI] = {WRITE | BOTH, 0, 0},
    [REGISTER_LDR] = {READ | WRITE | BOTH, 0xff000000, 0},
    [REGISTER_DFR] = {READ | WRITE | XAPIC, 0xf0000000, 0},
    [REGISTER_SVR] = {READ | WRITE | BOTH, LAPIC_SVR_ENABLE | 0xff | SVR_FOCUS, 0},
    [REGISTER_ISR... REGISTER_ESR - 1] = {READ | BOTH, 0, 0},
    [REGISTER_ESR] = {READ | WRITE | BOTH, 0, 0},
    [REGISTER_LVT_CMCI] = {READ | WRITE | BOTH, LVT_SENSOR, LVT_DELIVERY_STATUS},
    [REGISTER_ICR] = {READ | WRITE | BOTH, ICR_WRITABLE, ICR_BUSY},
    [REGISTER_ICR_HIGH] = {READ | WRITE | XAPIC, 0xff000000, 0},
    [REGISTER_LVT_TIMER] = {READ | WRITE | BOTH, LVT_EVENT | TIMER_PERIODIC, LVT_DELIVERY_STATUS},
    [REGISTER_LVT_THERMAL] = {READ | WRITE | BOTH, LVT_SENSOR, LVT_DELIVERY_STATUS},
    [REGISTER_LVT_PERFORMANCE] = {READ | WRITE | BOTH, LVT_SENSOR, LVT_DELIVERY_STATUS},
    [REGISTER_LVT_LINT0] = {READ | WRITE | BOTH, LVT_PIN, LVT_DELIVERY_STATUS | LVT_REMOTE_IRR},
    [REGISTER_LVT_LINT1] = {READ | WRITE | BOTH, LVT_PIN, LVT_DELIVERY_STATUS | LVT_REMOTE_IRR},
    [REGISTER_LVT_ERROR] = {READ | WRITE | BOTH, LVT_EVENT, LVT_DELIVERY_STATUS},
    [REGISTER_INITIAL_COUNT] = {READ | WRITE | BOTH, UINT32_MAX, 0},
    [REGISTER_CURRENT_COUNT] = {READ | BOTH, 0, 0},
    [REGISTER_DIVIDE] = {READ | WRITE | BOTH, 0xb, 0},
    [REGISTER_SELF_IPI] = {WRITE | X2APIC, 0xff, 0},
};

/* The rule for a register in the present mode; false: there is no such register. */
static bool find_rule(const struct lapic *lapic, unsigned index, struct register_rule *rule)
{
    bool x2apic = lapic_is_x2apic(lapic);
    if (index >= REGISTER_COUNT || !(rules[index].access & (x2apic ? X2APIC : XAPIC)))
        return false;
    *rule = rules[index];
    switch (index) {
    case REGISTER_LDR:
        if (x2apic)
            rule->access &= ~WRITE;
        break;
    case REGISTER_SVR:
        if (lapic->config.eoi_suppression)
            rule->writable |= SVR_SUPPRESS_EOI_BROADCAST;
        break;
    case REGISTER_LVT_CMCI:
        return lapic->config.cmci;
    case REGISTER_LVT_TIMER:
        if (lapic->config.tsc_deadline)
            rule->writable |= TIMER_TSC_DEADLINE;
        break;
    default:
        break;
    }
    return true;
}

static enum lapic_lvt lvt_of(unsigned index)
{
    return index == REGISTER_LVT_CMCI ? LVT_CMCI : (enum lapic_lvt)(index - REGISTER_LVT_TIMER);
}

/* ---- Reads ---------------------------------------------------------------------------------- */

static uint32_t read_id(const struct lapic *lapic)
{
    return lapic_is_x2apic(lapic) ? lapic->config.apic_id : lapic->config.apic_id << 24;
}

/* SDM: Local APIC Version Register. */
static uint32_t read_version(const struct lapic *lapic)
{
    uint32_t last_lvt = lapic->config.cmci ? 6 : 5;
    return 0x14 | last_lvt << 16 | (uint32_t)lapic->config.eoi_suppression << 24;
}

/* SDM: Deriving Logical x2APIC ID from the Local x2APIC ID. */
static uint32_t read_ldr(const struct lapic *lapic)
{
    uint32_t id = lapic->config.apic_id;
    return lapic_is_x2apic(lapic) ? id >> 4 << 16 | 1u << (id & 15) : lapic->ldr;
}

static uint32_t read_word(const uint64_t set[4], unsigned word)
{
    return (uint32_t)(set[word / 2] >> (32 * (word & 1)));
}

/* Registers that are write-only read as zero in the page. */
static uint32_t read_register(struct lapic *lapic, unsigned index)
{
    switch (index) {
    case REGISTER_ID:
        return read_id(lapic);
    case REGISTER_VERSION:
        return read_version(lapic);
    case REGISTER_TPR:
        return lapic->tpr;
    case REGISTER_PPR:
        return lapic->ppr;
    case REGISTER_LDR:
        return read_ldr(lapic);
    case REGISTER_DFR:
        return lapic->dfr;
    case REGISTER_SVR:
        return lapic->svr;
    case REGISTER_ISR ... REGISTER_TMR - 1:
        return read_word(lapic->isr, index - REGISTER_ISR);
    case REGISTER_TMR ... REGISTER_IRR - 1:
        return read_word(lapic->tmr, index - REGISTER_TMR);
    case REGISTER_IRR ... REGISTER_ESR - 1:
        return read_word(lapic->irr, index - REGISTER_IRR);
    case REGISTER_ESR:
        return lapic->esr;
    case REGISTER_ICR:
        return (uint32_t)lapic->icr;
    case REGISTER_ICR_HIGH:
        return (uint32_t)(lapic->icr >> 32);
    case REGISTER_LVT_CMCI:
    case REGISTER_LVT_TIMER ... REGISTER_LVT_ERROR:
        return lapic->lvt[lvt_of(index)];
    case REGISTER_INITIAL_COUNT:
        return lapic->timer.initial;
    case REGISTER_CURRENT_COUNT:
        return lapic_timer_current(lapic);
    case REGISTER_DIVIDE:
        return lapic->timer.divide;
    default:
        return 0;
    }
}

/* ---- Writes --------------------------------------------------------------------------------- */

/* SDM: Error Status Register (ESR): a write shows what was logged since the last, and rearms. */
static void write_esr(struct lapic *lapic)
{
    lapic->esr = lapic->esr_logged;
    lapic->esr_logged = 0;
    lapic->error_signalled = false;
}

/* value has no bits but the rule's writable ones. */
static void write_register(struct lapic *lapic, unsigned index, uint32_t value)
{
    switch (index) {
    case REGISTER_TPR:
        lapic_set_tpr(lapic, (uint8_t)value);
        break;
    case REGISTER_EOI:
        lapic_eoi(lapic);
        break;
    case REGISTER_LDR:
        lapic->ldr = value;
        break;
    case REGISTER_DFR:
        lapic->dfr = value | 0x0fffffff;
        break;
    case REGISTER_SVR:
        lapic_write_svr(lapic, value);
        break;
    case REGISTER_ESR:
        write_esr(lapic);
        break;
    case REGISTER_ICR:
        lapic->icr = (lapic->icr & MASK(63, 32)) | value;
        lapic_send_ipi(lapic);
        break;
    case REGISTER_ICR_HIGH:
        lapic->icr = (uint64_t)value << 32 | (uint32_t)lapic->icr;
        break;
    case REGISTER_LVT_CMCI:
    case REGISTER_LVT_TIMER ... REGISTER_LVT_ERROR:
        lapic_write_lvt(lapic, lvt_of(index), value);
        break;
    case REGISTER_INITIAL_COUNT:
        lapic_timer_write_initial(lapic, value);
        break;
    case REGISTER_DIVIDE:
        lapic_timer_write_divide(lapic, value);
        break;
    case REGISTER_SELF_IPI:
        lapic_send_self_ipi(lapic, (uint8_t)value);
        break;
    default:
        break;
    }
}

/* ---- The xAPIC page ------------------------------------------------------------------------- */

/* SDM: Local APIC Register Address Map: 32-bit registers, 16 bytes apart. Narrower loads see their
 * part of one; stores must be of the whole register. */
uint64_t lapic_mmio_read(void *device, uint64_t offset, unsigned size)
{
    struct lapic *lapic = device;
    struct register_rule rule;
    if (!lapic_has_page(lapic))
        return bits_size_mask(size);
    if (!find_rule(lapic, (unsigned)(offset >> 4), &rule)) {
        lapic_error(lapic, ESR_ILLEGAL_REGISTER);
        return 0;
    }
    unsigned byte = offset & 15;
    if (byte > 3)
        return 0;
    return ((uint64_t)read_register(lapic, (unsigned)(offset >> 4)) >> (8 * byte)) &
           bits_size_mask(size);
}

void lapic_mmio_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct lapic *lapic = device;
    struct register_rule rule;
    unsigned index = (unsigned)(offset >> 4);
    if (!lapic_has_page(lapic) || (offset & 15) != 0 || size < 4)
        return;
    if (!find_rule(lapic, index, &rule))
        lapic_error(lapic, ESR_ILLEGAL_REGISTER);
    else if (rule.access & WRITE)
        write_register(lapic, index, (uint32_t)value & rule.writable);
}

/* ---- The x2APIC MSRs ------------------------------------------------------------------------ */

static bool find_msr_rule(const struct lapic *lapic, uint32_t msr, uint8_t access,
                          struct register_rule *rule)
{
    return lapic_is_x2apic(lapic) && msr >= LAPIC_MSR_FIRST && msr <= LAPIC_MSR_LAST &&
           find_rule(lapic, msr - LAPIC_MSR_FIRST, rule) && (rule->access & access);
}

enum status lapic_msr_read(struct lapic *lapic, uint32_t msr, uint64_t *value)
{
    struct register_rule rule;
    if (!find_msr_rule(lapic, msr, READ, &rule))
        return ERR_FAULT;
    unsigned index = msr - LAPIC_MSR_FIRST;
    *value = index == REGISTER_ICR ? lapic->icr : read_register(lapic, index);
    return STATUS_OK;
}

enum status lapic_msr_write(struct lapic *lapic, uint32_t msr, uint64_t value)
{
    struct register_rule rule;
    if (!find_msr_rule(lapic, msr, WRITE, &rule))
        return ERR_FAULT;
    unsigned index = msr - LAPIC_MSR_FIRST;
    uint64_t allowed = rule.writable | rule.ignored;
    if (index == REGISTER_ICR) /* all of the destination, in the one 64-bit register */
        allowed |= MASK(63, 32);
    if (value & ~allowed)
        return ERR_FAULT;
    if (index == REGISTER_ICR)
        lapic->icr = value & MASK(63, 32);
    write_register(lapic, index, (uint32_t)value & rule.writable);
    return STATUS_OK;
}

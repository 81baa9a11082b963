#include "drivers/host/lapic.h"

#include "kernel/core/bits.h"
#include "kernel/core/hw.h"
#include "kernel/core/irq.h"
#include "kernel/core/log.h"
#include "kernel/core/msr.h"
#include "kernel/core/paging.h"
#include "kernel/core/panic.h"
#include "kernel/core/ratio.h"
#include "kernel/core/time.h"

/* SDM: Local APIC Register Address Map. */
enum host_lapic_register {
    LAPIC_ID = 0x020,
    LAPIC_VERSION = 0x030,
    LAPIC_TPR = 0x080,
    LAPIC_EOI = 0x0b0,
    LAPIC_SVR = 0x0f0,
    LAPIC_ISR = 0x100,
    LAPIC_ESR = 0x280,
    LAPIC_LVT_CMCI = 0x2f0,
    LAPIC_ICR_LOW = 0x300,
    LAPIC_ICR_HIGH = 0x310,
    LAPIC_LVT_TIMER = 0x320,
    LAPIC_LVT_THERMAL = 0x330,
    LAPIC_LVT_PMC = 0x340,
    LAPIC_LVT_LINT0 = 0x350,
    LAPIC_LVT_LINT1 = 0x360,
    LAPIC_LVT_ERROR = 0x370,
    LAPIC_INITIAL_COUNT = 0x380,
    LAPIC_CURRENT_COUNT = 0x390,
    LAPIC_DIVIDE = 0x3e0,
};

#define SVR_ENABLE BIT(8)
#define LVT_MASKED BIT(16)
#define LVT_TSC_DEADLINE BIT(18)
#define DIVIDE_BY_1 0xbu

#define ICR_FIXED (0u << 8)
#define ICR_NMI (4u << 8)
#define ICR_INIT (5u << 8)
#define ICR_STARTUP (6u << 8)
#define ICR_PENDING BIT(12)
#define ICR_ASSERT BIT(14)

#define ICR_TRIES 1000000
#define XAPIC_BROADCAST 0xff
#define LEAF1_ECX_TSC_DEADLINE BIT(24)
#define MEASURE_US 4000
#define MEASUREMENTS 5

static uint32_t read(const struct host_lapic *lapic, enum host_lapic_register reg)
{
    if (lapic->registers == NULL)
        return (uint32_t)hw_rdmsr(MSR_IA32_X2APIC_BASE + (uint32_t)reg / 16);
    return hw_mmio_read32(lapic->registers + reg / 4);
}

static void write(const struct host_lapic *lapic, enum host_lapic_register reg, uint32_t value)
{
    if (lapic->registers == NULL)
        hw_wrmsr(MSR_IA32_X2APIC_BASE + (uint32_t)reg / 16, value);
    else
        hw_mmio_write32(lapic->registers + reg / 4, value);
}

uint32_t host_lapic_id(const struct host_lapic *lapic)
{
    uint32_t id = read(lapic, LAPIC_ID);
    return lapic->registers == NULL ? id : id >> 24;
}

void host_lapic_eoi(const struct host_lapic *lapic)
{
    write(lapic, LAPIC_EOI, 0);
}

static void end_interrupt(void *context)
{
    host_lapic_eoi(context);
}

/* Waits, bounded, until the last interrupt command was sent (xAPIC mode only). */
static void wait_icr(const struct host_lapic *lapic)
{
    for (unsigned i = 0; i < ICR_TRIES && (read(lapic, LAPIC_ICR_LOW) & ICR_PENDING); i++)
        hw_pause();
}

static void send(const struct host_lapic *lapic, uint32_t apic_id, uint32_t command)
{
    if (lapic->registers == NULL) {
        hw_wrmsr(MSR_IA32_X2APIC_BASE + LAPIC_ICR_LOW / 16, (uint64_t)apic_id << 32 | command);
        return;
    }
    if (apic_id >= XAPIC_BROADCAST)
        return; /* not addressable in this mode */
    wait_icr(lapic);
    write(lapic, LAPIC_ICR_HIGH, apic_id << 24);
    write(lapic, LAPIC_ICR_LOW, command);
    wait_icr(lapic);
}

INIT void host_lapic_send_init(const struct host_lapic *lapic, uint32_t apic_id)
{
    send(lapic, apic_id, ICR_INIT | ICR_ASSERT);
}

INIT void host_lapic_send_startup(const struct host_lapic *lapic, uint32_t apic_id, uint8_t page)
{
    send(lapic, apic_id, ICR_STARTUP | ICR_ASSERT | page);
}

void host_lapic_send_nmi(const struct host_lapic *lapic, uint32_t apic_id)
{
    send(lapic, apic_id, ICR_NMI | ICR_ASSERT);
}

void host_lapic_send_fixed(const struct host_lapic *lapic, uint32_t apic_id, uint8_t vector)
{
    send(lapic, apic_id, ICR_FIXED | ICR_ASSERT | vector);
}

/* The entries that the version register says exist; LVT_ERROR is set up again afterwards. */
static INIT void mask_lvt(const struct host_lapic *lapic)
{
    static const uint16_t entries[] = {LAPIC_LVT_TIMER, LAPIC_LVT_LINT0, LAPIC_LVT_LINT1,
                                       LAPIC_LVT_ERROR, LAPIC_LVT_PMC,   LAPIC_LVT_THERMAL,
                                       LAPIC_LVT_CMCI};
    unsigned last = bits_get(read(lapic, LAPIC_VERSION), 23, 16);
    for (unsigned i = 0; i < ARRAY_SIZE(entries) && i <= last; i++)
        write(lapic, entries[i], LVT_MASKED);
}

/* What the firmware took and did not end would block its priority class for ever. */
static INIT void end_leftovers(const struct host_lapic *lapic)
{
    for (unsigned word = 0; word < 8; word++)
        for (unsigned tries = 0; read(lapic, LAPIC_ISR + word * 16) != 0 && tries < 32; tries++)
            host_lapic_eoi(lapic);
}

static INIT void enable(const struct host_lapic *lapic)
{
    mask_lvt(lapic);
    write(lapic, LAPIC_TPR, 0);
    write(lapic, LAPIC_SVR, SVR_ENABLE | IRQ_VECTOR_SPURIOUS);
    end_leftovers(lapic);
    write(lapic, LAPIC_LVT_ERROR, IRQ_VECTOR_ERROR);
    write(lapic, LAPIC_ESR, 0);
}

static void on_error(void *context)
{
    const struct host_lapic *lapic = context;
    write(lapic, LAPIC_ESR, 0);
    log_warn("local APIC %u: error status 0x%x", host_lapic_id(lapic), read(lapic, LAPIC_ESR));
}

static void only_wakes(void *context)
{
    (void)context;
}

static void on_timer(void *context)
{
    const struct host_lapic *lapic = context;
    if (lapic->tick != NULL)
        lapic->tick(lapic->tick_context);
}

static INIT void claim(uint8_t vector, irq_handler *handler, struct host_lapic *lapic)
{
    enum status status = irq_register(vector, handler, lapic);
    ASSERT(status == STATUS_OK);
}

INIT void host_lapic_init(struct host_lapic *lapic)
{
    uint64_t base = hw_rdmsr(MSR_IA32_APIC_BASE);
    struct cpuid_regs leaf1;
    hw_cpuid(1, 0, &leaf1);
    *lapic = (struct host_lapic){.has_tsc_deadline = (leaf1.ecx & LEAF1_ECX_TSC_DEADLINE) != 0};
    if (!(base & APIC_BASE_ENABLE))
        hw_wrmsr(MSR_IA32_APIC_BASE, base | APIC_BASE_ENABLE);
    if (!(base & APIC_BASE_X2APIC)) {
        lapic->registers =
            paging_map_device(HPA(base & APIC_BASE_ADDRESS), PAGE_SIZE, MAP_UC | MAP_WRITE);
        if (lapic->registers == NULL)
            panic("cannot map the local APIC at 0x%llx", base & APIC_BASE_ADDRESS);
    }
    claim(IRQ_VECTOR_SPURIOUS, only_wakes, lapic);
    claim(IRQ_VECTOR_ERROR, on_error, lapic);
    claim(IRQ_VECTOR_TIMER, on_timer, lapic);
    irq_set_eoi(end_interrupt, lapic);
    enable(lapic);
}

/* SDM: x2APIC States. An INIT keeps the mode, a processor that was never touched is in xAPIC. */
INIT uint32_t host_lapic_init_secondary(struct host_lapic *lapic)
{
    uint64_t base = hw_rdmsr(MSR_IA32_APIC_BASE);
    uint64_t wanted = base | APIC_BASE_ENABLE | (lapic->registers == NULL ? APIC_BASE_X2APIC : 0);
    if (!(base & APIC_BASE_ENABLE))
        hw_wrmsr(MSR_IA32_APIC_BASE, base | APIC_BASE_ENABLE);
    if (wanted != base)
        hw_wrmsr(MSR_IA32_APIC_BASE, wanted);
    enable(lapic);
    host_lapic_timer_enable(lapic);
    return host_lapic_id(lapic);
}

INIT void host_lapic_timer_enable(const struct host_lapic *lapic)
{
    write(lapic, LAPIC_DIVIDE, DIVIDE_BY_1);
    write(lapic, LAPIC_LVT_TIMER,
          IRQ_VECTOR_TIMER | (lapic->has_tsc_deadline ? LVT_TSC_DEADLINE : 0));
}

/* The rate by one measurement: too low rather than too high, should something interrupt it. */
static INIT uint64_t measure_timer(const struct host_lapic *lapic)
{
    uint64_t start = hw_rdtsc_ordered();
    write(lapic, LAPIC_INITIAL_COUNT, UINT32_MAX);
    time_busy_wait_us(MEASURE_US);
    uint32_t counted = UINT32_MAX - read(lapic, LAPIC_CURRENT_COUNT);
    uint64_t took = hw_rdtsc_ordered() - start;
    write(lapic, LAPIC_INITIAL_COUNT, 0);
    return ratio_apply(ratio_make(took, time_tsc_hz()), counted);
}

static INIT void measure_rate(struct host_lapic *lapic)
{
    write(lapic, LAPIC_DIVIDE, DIVIDE_BY_1);
    write(lapic, LAPIC_LVT_TIMER, LVT_MASKED | IRQ_VECTOR_TIMER);
    lapic->timer_hz = 0;
    for (unsigned i = 0; i < MEASUREMENTS; i++) {
        uint64_t hz = measure_timer(lapic);
        lapic->timer_hz = hz > lapic->timer_hz ? hz : lapic->timer_hz;
    }
    if (lapic->timer_hz == 0)
        panic("the local APIC's timer does not count");
    lapic->from_tsc = ratio_make(time_tsc_hz(), lapic->timer_hz);
}

INIT void host_lapic_timer_init(struct host_lapic *lapic)
{
    if (!lapic->has_tsc_deadline)
        measure_rate(lapic);
    host_lapic_timer_enable(lapic);
    log_debug("local APIC %u: %s mode, timer by %s", host_lapic_id(lapic),
              lapic->registers == NULL ? "x2APIC" : "xAPIC",
              lapic->has_tsc_deadline ? "TSC deadline" : "count");
}

static void arm_count(const struct host_lapic *lapic, uint64_t deadline)
{
    uint64_t now = time_now(), count = 1;
    if (deadline == UINT64_MAX) {
        write(lapic, LAPIC_INITIAL_COUNT, 0);
        return;
    }
    /* Past 2^40 the product below could overflow; either is far beyond the timer's range. */
    if (deadline > now)
        count = deadline - now >= BIT(40) ? UINT32_MAX
                                          : ratio_apply(lapic->from_tsc, deadline - now) + 1;
    write(lapic, LAPIC_INITIAL_COUNT, count > UINT32_MAX ? UINT32_MAX : (uint32_t)count);
}

void host_lapic_timer_arm(const struct host_lapic *lapic, uint64_t deadline)
{
    if (!lapic->has_tsc_deadline)
        arm_count(lapic, deadline);
    else /* zero disarms */
        hw_wrmsr(MSR_IA32_TSC_DEADLINE, deadline == UINT64_MAX ? 0 : deadline == 0 ? 1 : deadline);
}

static INIT void port_init(void *context, uint32_t apic_id)
{
    host_lapic_send_init(context, apic_id);
}

static INIT void port_startup(void *context, uint32_t apic_id, uint8_t page)
{
    host_lapic_send_startup(context, apic_id, page);
}

static void port_nmi(void *context, uint32_t apic_id)
{
    host_lapic_send_nmi(context, apic_id);
}

static void port_fixed(void *context, uint32_t apic_id, uint8_t vector)
{
    host_lapic_send_fixed(context, apic_id, vector);
}

static INIT uint32_t port_enable(void *context)
{
    return host_lapic_init_secondary(context);
}

INIT struct smp_ports host_lapic_smp_ports(struct host_lapic *lapic)
{
    return (struct smp_ports){.send_init = port_init,
                              .send_startup = port_startup,
                              .send_nmi = port_nmi,
                              .send_fixed = port_fixed,
                              .enable_local = port_enable,
                              .context = lapic};
}

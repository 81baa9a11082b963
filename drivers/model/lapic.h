/*
 * A virtual processor's local APIC, as an xAPIC page or x2APIC MSRs. SDM: Advanced Programmable
 * Interrupt Controller (APIC). Instance state only; messages to other APICs go through the VM's
 * struct apic_fabric, events for the processor through struct lapic_ops.
 *
 * Locking: the caller holds the VM's device lock for everything but lapic_has_interrupt, which the
 * vCPU may peek at without it and then look again with it.
 */
#pragma once

#include "drivers/model/apic_message.h"
#include "kernel/core/bits.h"
#include "kernel/core/ratio.h"
#include "kernel/core/status.h"
#include "kernel/core/types.h"
#include "kernel/vm/bus.h"
#include "kernel/vm/timers.h"

#define LAPIC_DEFAULT_BASE 0xfee00000ull
#define LAPIC_PAGE_SIZE 0x1000ull

/* SDM: IA32_APIC_BASE MSR. */
#define APIC_BASE_BSP BIT(8)
#define APIC_BASE_EXTD BIT(10) /* x2APIC mode */
#define APIC_BASE_EN BIT(11)   /* globally enabled */
#define APIC_BASE_MODE (APIC_BASE_EXTD | APIC_BASE_EN)

/* The range of MSRs that lapic_msr_read and lapic_msr_write answer for. */
#define LAPIC_MSR_FIRST 0x800u
#define LAPIC_MSR_LAST 0x8ffu

#define LAPIC_SVR_ENABLE 0x100u
#define LAPIC_NO_VECTOR (-1)

struct apic_fabric;

/* What a local APIC does to its processor. The calls come with the device lock held, on whatever
 * processor caused them, and must not call back into the LAPIC (take a note, and kick the vCPU);
 * only the 8259A changes its INTR pin from within pic_acknowledge. */
struct lapic_ops {
    void (*wake)(void *context); /* lapic_has_interrupt has become true */
    void (*nmi)(void *context);
    void (*init)(void *context); /* the vCPU, when it takes it, calls lapic_init_reset */
    void (*sipi)(void *context, uint8_t vector); /* to be ignored unless waiting for it */
    /* IA32_APIC_BASE has changed: move the page on the bus (it is there while lapic_has_page), and
     * let CPUID.01H:EDX[9] show EN. */
    void (*base_changed)(void *context, uint64_t old_base, uint64_t new_base);
    /* An INTA cycle for the 8259A; returns its vector. */
    uint8_t (*pic_acknowledge)(void *context);
};

struct lapic_config {
    uint32_t apic_id; /* initial; below 255 unless x2apic */
    bool is_bsp;
    bool x2apic;               /* CPUID.01H:ECX[21] */
    bool tsc_deadline;         /* CPUID.01H:ECX[24] */
    bool cmci;                 /* IA32_MCG_CAP[10]: a seventh LVT entry */
    bool eoi_suppression;      /* bit 24 of the version register */
    unsigned physical_bits;    /* MAXPHYADDR, 32 to 52 */
    uint64_t timer_hz;         /* before division, 1 MHz at least; as CPUID.15H:ECX says */
    const struct clock *clock; /* the host's TSC */
    struct timer_queue *timers;
    const uint64_t *tsc_offset; /* the guest's TSC is the clock plus this, modulo 2^64 */
    struct apic_fabric *fabric;
    const struct lapic_ops *ops; /* every member set */
    void *context;
};

enum lapic_lvt {
    LVT_TIMER,
    LVT_THERMAL,
    LVT_PERFORMANCE,
    LVT_LINT0,
    LVT_LINT1,
    LVT_ERROR,
    LVT_CMCI,
    LVT_COUNT
};

/* The count-down timer: runs from start; its first expiry comes after `first` counts, the others
 * follow each `initial` counts. */
struct lapic_timer {
    struct timer timer;
    struct ratio to_counts, to_clock;
    uint64_t start; /* clock */
    uint64_t first;
    uint64_t next_expiry; /* the number of the expiry that the timer is armed for */
    uint64_t gap;         /* least clock counts between two periodic interrupts */
    uint64_t deadline;    /* IA32_TSC_DEADLINE, guest TSC; 0: disarmed */
    uint32_t initial;
    uint32_t divide; /* the divide configuration register */
    bool running;
};

struct lapic {
    bool pending; /* what lapic_has_interrupt says */
    uint8_t tpr, ppr;
    int highest_irr, highest_isr; /* LAPIC_NO_VECTOR when empty */
    uint64_t irr[4], isr[4], tmr[4];
    uint64_t base; /* IA32_APIC_BASE */
    uint64_t icr;
    uint32_t ldr, dfr, svr;
    uint32_t esr, esr_logged; /* what a read shows, what the next write will make it show */
    uint32_t lvt[LVT_COUNT];
    bool error_signalled; /* no error interrupt again before a write to the ESR */
    bool extint;          /* an ExtINT message waits for its INTA cycle */
    bool lint[2];         /* levels of the pins */
    struct lapic_timer timer;
    struct lapic_config config;
};

/* Brings *lapic to its state after RESET; base_changed is not called. apic_fabric_add makes it
 * reachable. The config's pointers must live as long as the LAPIC. */
void lapic_init(struct lapic *lapic, const struct lapic_config *config);

/* RESET, and INIT. SDM: Local APIC State After Power-Up or Reset; Local APIC State After It
 * Receives an INIT Reset (the mode and address stay). */
void lapic_reset(struct lapic *lapic);
void lapic_init_reset(struct lapic *lapic);

/* What firmware leaves on the bootstrap processor: enabled, with the 8259A through LINT0 and NMI
 * through LINT1. MultiProcessor Specification: Virtual Wire Mode. */
void lapic_set_virtual_wire(struct lapic *lapic);

static inline bool lapic_is_enabled(const struct lapic *lapic)
{
    return lapic->base & APIC_BASE_EN;
}

static inline bool lapic_is_x2apic(const struct lapic *lapic)
{
    return (lapic->base & APIC_BASE_MODE) == APIC_BASE_MODE;
}

static inline bool lapic_is_software_enabled(const struct lapic *lapic)
{
    return lapic->svr & LAPIC_SVR_ENABLE;
}

/* Whether the xAPIC page is there, at lapic_page. */
static inline bool lapic_has_page(const struct lapic *lapic)
{
    return (lapic->base & APIC_BASE_MODE) == APIC_BASE_EN;
}

static inline gpa_t lapic_page(const struct lapic *lapic)
{
    return GPA(align_down(lapic->base, LAPIC_PAGE_SIZE));
}

/* ---- The vCPU's entry path ------------------------------------------------------------------ */

/* Whether an interrupt could be taken now if RFLAGS.IF and the interrupt shadow allow it. */
static inline bool lapic_has_interrupt(const struct lapic *lapic)
{
    return lapic->pending;
}

/* Takes the interrupt as an INTA cycle does; its vector, or LAPIC_NO_VECTOR. */
int lapic_acknowledge(struct lapic *lapic);

/* CR8. SDM: Task Priority in IA-32e Mode. A write of more than 15 is ERR_FAULT (#GP). */
static inline uint64_t lapic_read_cr8(const struct lapic *lapic)
{
    return lapic->tpr >> 4;
}
enum status MUST_CHECK lapic_write_cr8(struct lapic *lapic, uint64_t value);

/* ---- Registers ------------------------------------------------------------------------------ */

/* The xAPIC page. */
uint64_t lapic_mmio_read(void *lapic, uint64_t offset, unsigned size);
void lapic_mmio_write(void *lapic, uint64_t offset, unsigned size, uint64_t value);

/* MSRs LAPIC_MSR_FIRST to LAPIC_MSR_LAST. ERR_FAULT: #GP. SDM: x2APIC Register Address Space. */
enum status MUST_CHECK lapic_msr_read(struct lapic *lapic, uint32_t msr, uint64_t *value);
enum status MUST_CHECK lapic_msr_write(struct lapic *lapic, uint32_t msr, uint64_t value);

/* IA32_APIC_BASE. ERR_FAULT: #GP. SDM: x2APIC State Transitions. */
static inline uint64_t lapic_read_base(const struct lapic *lapic)
{
    return lapic->base;
}
enum status MUST_CHECK lapic_write_base(struct lapic *lapic, uint64_t value);

/* IA32_TSC_DEADLINE. ERR_FAULT: #GP, as it is not advertised. SDM: TSC-Deadline Mode. */
enum status MUST_CHECK lapic_read_tsc_deadline(struct lapic *lapic, uint64_t *value);
enum status MUST_CHECK lapic_write_tsc_deadline(struct lapic *lapic, uint64_t value);

/* *tsc_offset has changed: a pending TSC deadline moves with it. */
void lapic_tsc_offset_changed(struct lapic *lapic);

/* ---- What reaches it from outside ----------------------------------------------------------- */

/* Whether a message without shorthand is for this APIC. SDM: Determining IPI Destination. */
bool lapic_is_addressed(const struct lapic *lapic, const struct apic_message *message);

/* Takes a message that is for it; false: not accepted. For the fabric. */
bool lapic_receive(struct lapic *lapic, enum apic_delivery_mode mode, uint8_t vector, bool level);

/* The pins LINT0 and LINT1; matches struct irq_line. While the APIC is globally disabled they are
 * INTR and NMI. */
void lapic_set_lint(void *lapic, unsigned input, bool level);

/* An event inside the processor: LVT_THERMAL, LVT_PERFORMANCE or LVT_CMCI. */
void lapic_raise(struct lapic *lapic, enum lapic_lvt source);

/* A write to the EOI register. */
void lapic_eoi(struct lapic *lapic);

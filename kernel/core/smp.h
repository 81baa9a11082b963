/*
 * Starting the machine's other processors and giving them work. One unit of work at a time each;
 * between two a processor halts.
 */
#pragma once

#include "boot/boot_info.h"
#include "kernel/core/cpu.h"

/* The local APIC's part: interrupts to another processor. Each returns once it was accepted. */
struct smp_ports {
    void (*send_init)(void *context, uint32_t apic_id);
    void (*send_startup)(void *context, uint32_t apic_id, uint8_t page);
    void (*send_nmi)(void *context, uint32_t apic_id);
    void (*send_fixed)(void *context, uint32_t apic_id, uint8_t vector);
    /* On each new processor: its own local APIC; returns its id. */
    uint32_t (*enable_local)(void *context);
    void *context;
};

/* Starts every processor that info names and that is not this one, by INIT-SIPI-SIPI. One that does
 * not come up in time is left out with a warning. */
void smp_start(const struct boot_info *info, const struct smp_ports *ports);

/* Has the processor call run(argument) on its own stack, interrupts off; index 0 is this one's
 * caller's business and needs smp_idle to be running there. ERR_NOT_FOUND: no such processor, or
 * it is not online; ERR_BUSY: it has work. */
enum status MUST_CHECK smp_run(uint32_t index, void (*run)(void *argument), void *argument);

/* Whether smp_run's work on this processor has not returned yet. */
bool smp_is_busy(uint32_t index);

/* Ends a HLT on that processor, or makes a guest there exit where external-interrupt exiting works
 * and interrupts are not masked by the guest (a hint only; see smp_kick). */
void smp_wake(uint32_t index);

/* What the processor that takes the machine's interrupts does when it is woken. At the start. */
void smp_on_wake(void (*hook)(void *context), void *context);

/* An NMI: a processor in guest mode exits, one in root mode counts it (cpu->nmi_count). */
void smp_kick(uint32_t index);
void smp_kick_others(void);

/* The same, as a panic's port. */
void smp_stop_others(void *context);

/* Halts until there is work, does it, halts again. */
NORETURN void smp_idle(void);

/*
 * The machine that the monitor runs on, and the order in which it is taken over. The one instance
 * is kernel_main's; everything below gets what it needs as an argument.
 */
#pragma once

#include "boot/boot_info.h"
#include "drivers/host/acpi.h"
#include "drivers/host/framebuffer.h"
#include "drivers/host/ioapic.h"
#include "drivers/host/lapic.h"
#include "drivers/host/power.h"
#include "drivers/host/uart.h"
#include "kernel/core/irq.h"
#include "kernel/core/pages.h"
#include "kernel/core/panic.h"
#include "kernel/core/symbols.h"
#include "kernel/vm/config.h"

struct machine {
    uint64_t started;      /* TSC */
    struct boot_info boot; /* a copy; the original is gone */
    const struct config *config;
    struct pages pages;
    struct symbols symbols;
    struct panic_ports panic;
    struct acpi acpi;
    struct host_lapic lapic;
    struct host_ioapic ioapic;
    struct power power;
    struct framebuffer framebuffer;
    struct host_uart console; /* valid where has_console */
    bool has_console;
};

/*
 * Takes the machine over, in order: exception handling, the configuration's console, page tables,
 * screen, ACPI, local APIC, time, I/O APIC; then calls run(machine) on a guarded stack, interrupts
 * off. Does not return.
 */
NORETURN void machine_start(struct machine *machine, hpa_t boot_info,
                            void (*run)(struct machine *machine));

/* Starts the other processors; afterwards what the boot program used is given back as free. */
void machine_start_processors(struct machine *machine);

/* What only the start needs goes to the free pages; it can still be used until
 * paging_release_start. */
void machine_free_start(struct machine *machine);

/* Routes an ISA interrupt of the machine to handler(argument) on this processor. ERR_NOT_FOUND: irq
 * is 0, unknown; else what irq_allocate or the I/O APIC report. */
enum status MUST_CHECK machine_route_isa(struct machine *machine, uint8_t irq, irq_handler *handler,
                                         void *argument);

/* What a panic logs of the guests, and what it does last. */
void machine_set_panic(struct machine *machine, void (*last_exits)(void *context),
                       NORETURN void (*finish)(void *context), void *context);

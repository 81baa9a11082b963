/* The port by which Bochs, and QEMU's earlier firmware, are switched off: the bytes of "Shutdown",
 * one after the other. */
#pragma once

#include "kernel/vm/bus.h"

struct shutdown_port {
    void (*power_off)(void *context);
    void *context;
    unsigned matched; /* bytes of the word so far */
};

/* Claims the one port; power_off is called from inside an access. Errors of bus_add. */
enum status MUST_CHECK shutdown_port_attach(struct shutdown_port *device, struct bus *bus,
                                            uint16_t port, void (*power_off)(void *context),
                                            void *context);

/* Half a word is forgotten. */
void shutdown_port_reset(struct shutdown_port *device);

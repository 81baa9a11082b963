/* A port for the output of test programs and firmware: QEMU's isa-debugcon, Bochs's port 0xE9. */
#pragma once

#include "drivers/model/byte_sink.h"
#include "kernel/vm/bus.h"

/* What a read gives: by this a guest knows that somebody listens. */
#define DEBUG_CONSOLE_READBACK 0xe9

struct debug_console {
    struct byte_sink sink; /* a byte that it does not take is lost: the port has no status */
};

/* Claims the one port. Errors of bus_add. */
enum status MUST_CHECK debug_console_attach(struct debug_console *console,
                                            const struct byte_sink *sink, struct bus *bus,
                                            uint16_t port);

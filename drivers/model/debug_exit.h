/* A port by which a test program in a guest ends with a result, as QEMU's isa-debug-exit does. */
#pragma once

#include "kernel/vm/bus.h"

struct debug_exit {
    /* The value written, zero-extended; what becomes of it (QEMU: (value << 1) | 1) is the
     * receiver's business. */
    void (*exit)(void *context, uint32_t value);
    void *context;
    unsigned size; /* ports claimed: 1, 2 or 4 */
};

#define DEBUG_EXIT_SIZE_DEFAULT 4

/* ERR_INVALID: size is none of 1, 2 and 4. */
enum status MUST_CHECK debug_exit_init(struct debug_exit *device, unsigned size,
                                       void (*exit)(void *context, uint32_t value), void *context);

/* Claims `size` ports from base. Errors of bus_add. */
enum status MUST_CHECK debug_exit_attach(struct debug_exit *device, struct bus *bus, uint16_t base);
extern const struct bus_ops debug_exit_ops;

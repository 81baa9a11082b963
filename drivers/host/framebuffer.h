/* A text console on the firmware's framebuffer. */
#pragma once

#include "boot/boot_info.h"
#include "kernel/core/log.h"
#include "kernel/core/pages.h"
#include "kernel/core/status.h"

struct framebuffer {
    volatile uint32_t *pixels;
    uint32_t pitch; /* pixels a line */
    uint32_t columns, rows;
    uint32_t scale; /* screen pixels a font pixel, each way */
    uint32_t column, row;
    uint32_t ink;   /* as the hardware wants it */
    uint8_t *cells; /* what should be on the screen, rows x columns */
    uint8_t *shown; /* what is */
};

/* Maps and clears the screen. ERR_NOT_FOUND: the machine has none; ERR_INVALID: one that makes no
 * sense; ERR_NO_MEMORY. */
enum status MUST_CHECK framebuffer_init(struct framebuffer *fb, const struct boot_framebuffer *boot,
                                        struct pages *pages);

/* Prints text: newline, carriage return, tab and backspace move, the rest below 32 is left out. */
void framebuffer_write(struct framebuffer *fb, const char *text, size_t length);

struct log_sink framebuffer_log_sink(struct framebuffer *fb);

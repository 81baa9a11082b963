/* What a guest's firmware is handed by fw_cfg to start: a Linux kernel in two items, the real-mode
 * part, filled in as QEMU does for its option ROMs, and the rest; or an EFI program as it is. */
#pragma once

#include "kernel/vm/load.h"

#define LOAD_SETUP_MAX KIB(32)

/* Guest-physical addresses, for what has no allocator of its own. */
struct load_setup {
    uint64_t size; /* of the real-mode part, the file's first bytes; 0: there is none */
    uint32_t version;
    uint32_t setup, kernel, cmdline;
    uint32_t initrd; /* 0: there is none */
};

/*
 * Decides about the request's kernel, initrd and command line. ERR_INVALID: empty, or nothing that
 * firmware starts, or malformed; ERR_TRUNCATED, ERR_UNSUPPORTED: as load_kernel; ERR_NO_SPACE: the
 * initrd or the command line is too large. error says why then, and is left alone otherwise; setup
 * is always good for a file of any kind.
 */
enum status MUST_CHECK load_setup_plan(const struct load_request *request, struct load_setup *setup,
                                       struct load_error *error);

/* Writes the real-mode part, of setup->size bytes, with the fields that a loader fills in. */
void load_setup_fill(const struct load_request *request, const struct load_setup *setup,
                     uint8_t *part);

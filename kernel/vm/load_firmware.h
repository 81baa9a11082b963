/* A PC's firmware, which starts as the processor does after reset and loads everything else. */
#pragma once

#include "kernel/vm/load.h"

/* Firmware ends at 4 GiB; the last 128 KiB of it are below 1 MiB too. Of two files, code and below
 * it the variables, each has whole blocks of flash memory, as QEMU wants it. */
#define LOAD_FIRMWARE_UNIT KIB(64)
#define LOAD_FIRMWARE_BLOCK KIB(4)
#define LOAD_FIRMWARE_MAX MIB(8)
#define LOAD_FIRMWARE_LOW KIB(128)

/* Whether the image begins with a volume of UEFI variables, so that it is in flash memory. UEFI
 * Platform Initialization: EFI_FIRMWARE_VOLUME_HEADER. */
bool load_firmware_is_flash(const uint8_t *image, uint64_t size);

/*
 * As load_kernel, for a firmware image, and UEFI's variables if they are in a file of their own
 * (else of size 0). ERR_INVALID: not of whole units, empty or too large, or no variables; a warning
 * where both hardly belong together.
 */
enum status MUST_CHECK load_firmware(const struct load_file *firmware, const struct load_file *vars,
                                     struct load_plan *plan, struct load_error *error);

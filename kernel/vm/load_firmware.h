/* A PC's firmware, which starts as the processor does after reset and loads everything else. */
#pragma once

#include "kernel/vm/load.h"

/* Firmware ends at 4 GiB; the last 128 KiB of it are below 1 MiB too. */
#define LOAD_FIRMWARE_UNIT KIB(64)
#define LOAD_FIRMWARE_MAX MIB(8)
#define LOAD_FIRMWARE_LOW KIB(128)

/* Whether the image begins with a volume of UEFI variables, so that it is in flash memory. UEFI
 * Platform Initialization: EFI_FIRMWARE_VOLUME_HEADER. */
bool load_firmware_is_flash(const uint8_t *image, uint64_t size);

/*
 * As load_kernel, for a firmware image. ERR_INVALID: it is not of whole units, empty or too large.
 */
enum status MUST_CHECK load_firmware(const struct load_file *firmware, struct load_plan *plan,
                                     struct load_error *error);

/* Linux's bzImage. The Linux/x86 Boot Protocol: 64-bit Boot Protocol. */
#pragma once

#include "kernel/vm/load_common.h"

/* Whether the file is a Linux kernel image with a setup header. */
bool load_linux_recognises(const uint8_t *image, uint64_t size);

/* As load_kernel, for what load_linux_recognises. */
enum status MUST_CHECK load_linux(struct loader *loader);

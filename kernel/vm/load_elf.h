/* ELF files (32 or 64 bits) with a PVH entry. Xen: x86/HVM direct boot ABI. */
#pragma once

#include "kernel/vm/load_common.h"

bool load_elf_recognises(const uint8_t *image, uint64_t size);

/* As load_kernel, for what load_elf_recognises. */
enum status MUST_CHECK load_elf(struct loader *loader);

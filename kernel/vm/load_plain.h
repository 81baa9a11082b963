/* What follows no boot protocol: ELF files, and flat binaries. */
#pragma once

#include "kernel/vm/load_common.h"

bool load_elf_recognises(struct loader *loader);
enum status MUST_CHECK load_elf(struct loader *loader);
enum status MUST_CHECK load_flat(struct loader *loader);

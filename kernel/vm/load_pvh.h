/* ELF files with a PVH entry. Xen: x86/HVM direct boot ABI. */
#pragma once

#include "kernel/vm/load_common.h"

bool load_pvh_recognises(struct loader *loader);
enum status MUST_CHECK load_pvh(struct loader *loader);

/* Makes the start information (struct hvm_start_info, version 1) with command line, modules, memory
 * map and RSDP, and places the modules: the initrd first, as high below 4 GiB as they fit. */
enum status MUST_CHECK load_start_info(struct loader *loader, uint64_t *base);

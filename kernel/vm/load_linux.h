/* Linux's images. The Linux/x86 Boot Protocol. */
#pragma once

#include "kernel/vm/load_common.h"

/* Whether the file is a Linux kernel image with a setup header. */
bool load_linux_recognises(struct loader *loader);
enum status MUST_CHECK load_linux(struct loader *loader);

/* Putting a kernel into a guest's memory, whatever form it has. */
#pragma once

#include "kernel/core/status.h"
#include "kernel/core/types.h"
#include "kernel/vm/guest_entry.h"
#include "kernel/vm/guest_map.h"
#include "kernel/vm/guest_mem.h"

#define LOAD_ERROR_MAX 320

/* Why a kernel could not be loaded: names the file, what is wrong and what would help. */
struct load_error {
    const char *file; /* the request's kernel_name or initrd_name: which one it is about */
    char text[LOAD_ERROR_MAX];
};

struct load_request {
    const struct guest_mem *mem; /* covers map->backed; all zeros */
    const struct guest_map *map; /* the ACPI tables lie where it says, RSDP first */
    const char *kernel_name;     /* for messages, as initrd_name */
    const uint8_t *kernel;
    uint64_t kernel_size;
    const char *initrd_name;
    const uint8_t *initrd; /* NULL: there is none */
    uint64_t initrd_size;
    const char *cmdline;
};

/*
 * Loads a Linux bzImage (by the 64-bit boot protocol) or an ELF file with a PVH entry, as the
 * content says, with its initrd, command line and memory map; entry is where the first vCPU starts.
 * ERR_INVALID: neither of both, or malformed; ERR_UNSUPPORTED: a form that is not offered;
 * ERR_TRUNCATED: the file ends too early; ERR_NO_SPACE: too large for the guest's memory, or the
 * command line for the kernel; ERR_RANGE, ERR_EXISTS: a segment outside RAM or over another. error
 * is set exactly then. The guest's memory is undefined after an error.
 */
enum status MUST_CHECK load_kernel(const struct load_request *request, struct guest_entry *entry,
                                   struct load_error *error);

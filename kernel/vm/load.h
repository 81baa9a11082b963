/* Planning how a kernel comes into a guest's memory, whatever form it has. */
#pragma once

#include "kernel/vm/acpi_tables.h"
#include "kernel/vm/guest_map.h"
#include "kernel/vm/load_plan.h"

#define LOAD_ERROR_MAX 320

/* A file of the guest's; it stays where it is as long as the plan is used. */
struct load_file {
    const char *name; /* for messages */
    const uint8_t *at;
    uint64_t size;
    uint32_t line; /* of the configuration, where it is named */
};

/* Why a kernel could not be loaded: names the file, what is wrong and what would help. */
struct load_error {
    uint32_t line; /* of the file that it is about */
    char text[LOAD_ERROR_MAX];
};

struct load_request {
    const struct guest_map *map;
    struct acpi_facts acpi;
    struct load_file kernel;
    struct load_file initrd; /* at == NULL: there is none */
    const char *cmdline;
};

/* What a plan needs at most: what it does not use may be taken back. */
#define LOAD_PLAN_SIZE KIB(128)

/*
 * Plans how a Linux bzImage (by the 64-bit boot protocol) or an ELF file with a PVH entry, as the
 * content says, is loaded with its initrd, command line, memory map and ACPI tables; size is that
 * of the room for the plan, in bytes. ERR_INVALID: neither of both, or malformed; ERR_UNSUPPORTED:
 * a form that is not offered; ERR_TRUNCATED: the file ends too early; ERR_NO_SPACE: too large for
 * the guest's memory, the plan, or the command line for the kernel; ERR_RANGE, ERR_EXISTS: a
 * segment outside RAM or over another. error is set exactly then, and the plan is no use.
 */
enum status MUST_CHECK load_kernel(const struct load_request *request, struct load_plan *plan,
                                   uint32_t size, struct load_error *error);

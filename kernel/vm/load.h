/* Planning how a kernel comes into a guest's memory, whatever form it has. */
#pragma once

#include "kernel/vm/acpi_tables.h"
#include "kernel/vm/guest_map.h"
#include "kernel/vm/load_format.h"
#include "kernel/vm/load_plan.h"

#define LOAD_ERROR_MAX 320

/* A string that need not end in a NUL. */
struct load_text {
    const char *at;
    uint64_t size;
};

/* A file of the guest's; it stays where it is as long as the plan is used. */
struct load_file {
    const char *name; /* for messages, and what Multiboot's strings begin with */
    const uint8_t *at;
    uint64_t size;
    uint32_t line;              /* of the configuration, where it is named */
    struct load_text arguments; /* of a module */
};

/* What is worth knowing, after an error or without one: it names the file, what is wrong and what
 * would help. */
struct load_error {
    uint32_t line; /* of the file that it is about */
    char text[LOAD_ERROR_MAX];
};

struct load_request {
    struct guest_map *map; /* a framebuffer that the kernel asks for is taken from its RAM */
    struct acpi_facts acpi;
    struct load_file kernel;
    struct load_file initrd; /* at == NULL: there is none; elsewhere than in Linux a module, too */
    const struct load_file *module;
    unsigned modules;
    struct load_text bios; /* for what starts in real mode: see load_bios.h; empty: there is none */
    const char *cmdline;
    enum load_format format;
    unsigned entry;   /* of a Linux kernel: 16, 32 or 64 bits; 0: the widest that it has */
    unsigned mode;    /* of a flat binary: 16, 32 or 64; 0: 32 */
    uint64_t address; /* of a flat binary; 0: LOAD_FLAT_ADDRESS, or in mode 16 LOAD_BOOT_SECTOR */
};

#define LOAD_FLAT_ADDRESS MIB(1)
#define LOAD_BOOT_SECTOR 0x7c00

/* What a plan needs at most: what it does not use may be taken back. */
#define LOAD_PLAN_SIZE KIB(128)

/*
 * Plans how a kernel is loaded with its modules, strings, memory map and ACPI tables; size is that
 * of the room for the plan, in bytes. ERR_INVALID: no kernel, not of this format, or malformed;
 * ERR_UNSUPPORTED: it asks for what is not offered; ERR_TRUNCATED: the file ends too early;
 * ERR_NO_SPACE: too large for the guest's memory or the plan, or the command line for the kernel;
 * ERR_RANGE, ERR_EXISTS: a segment outside RAM or over another. The plan is no use then, and error
 * says why; without an error its text is empty, or a warning.
 */
enum status MUST_CHECK load_kernel(const struct load_request *request, struct load_plan *plan,
                                   uint32_t size, struct load_error *error);

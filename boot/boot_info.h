/*
 * What the boot program hands to the monitor. Fixed-width numbers only, and no pointer into
 * firmware memory except the RSDP's physical address; the structure and everything that it names
 * lie in memory that boot_info.memory calls BOOT_MEMORY_LOADER or BOOT_MEMORY_FILE.
 *
 * State at the monitor's entry point: long mode with 4-level paging, interrupts off, RDI = the
 * structure's physical address, RBP = 0, RSP = the top of a stack of 16 KiB (BOOT_MEMORY_LOADER),
 * the firmware's GDT and IDT (in memory that is BOOT_MEMORY_USABLE now), and CR3 = the boot
 * program's own tables (BOOT_MEMORY_LOADER). They map, all of it writable and executable, the first
 * 4 GiB, every GiB with memory that is not BOOT_MEMORY_FIRMWARE, and the framebuffer one to one,
 * and the monitor's image at its link address; the monitor builds its own tables at once.
 */
#pragma once

#include "kernel/core/types.h"

#define BOOT_INFO_MAGIC 0x31304b5250415254ull /* "TRAPRK01" */
#define BOOT_CPUS_MAX 256
#define BOOT_FILES_MAX 1024
#define BOOT_MEMORY_MAX 512
#define BOOT_NAME_MAX 128

enum boot_memory_type {
    BOOT_MEMORY_USABLE,   /* free for the monitor, firmware's boot services included */
    BOOT_MEMORY_IMAGE,    /* the monitor's loaded segments */
    BOOT_MEMORY_LOADER,   /* boot_info, the boot program and its tables, symbols, the parsed
                             configuration, trampoline; also what earlier loaders left */
    BOOT_MEMORY_FILE,     /* a loaded file */
    BOOT_MEMORY_ACPI,     /* ACPI tables and non-volatile storage: readable, never written */
    BOOT_MEMORY_FIRMWARE, /* runtime services, reserved, MMIO: never touched */
};

struct boot_memory {
    uint64_t base;  /* page aligned; sorted, without overlap */
    uint64_t pages; /* of 4096 bytes */
    uint32_t type;  /* enum boot_memory_type */
    uint32_t reserved;
};

struct boot_file {
    uint64_t base;            /* physical, page aligned; the tail of the last page is zero */
    uint64_t size;            /* bytes */
    char name[BOOT_NAME_MAX]; /* as the configuration spells it; file 0 is the configuration */
};

/* The order of a pixel's bytes in memory; the fourth is not used. */
enum boot_pixel_format { BOOT_PIXEL_NONE, BOOT_PIXEL_RGB, BOOT_PIXEL_BGR };

struct boot_framebuffer {
    uint64_t base;
    uint64_t size;   /* bytes */
    uint32_t width;  /* pixels */
    uint32_t height; /* pixels */
    uint32_t pitch;  /* bytes a line; 4 bytes a pixel */
    uint32_t format; /* enum boot_pixel_format; BOOT_PIXEL_NONE: there is none */
};

struct boot_info {
    uint64_t magic;
    uint64_t size;            /* of this structure in bytes, as a check of the version */
    uint64_t image_base;      /* physical; the image is contiguous */
    uint64_t image_size;      /* bytes, .bss included, page aligned */
    uint64_t symtab_base;     /* the monitor's Elf64_Sym array; 0: none */
    uint64_t symtab_size;     /* bytes */
    uint64_t strtab_base;     /* its string table */
    uint64_t strtab_size;     /* bytes */
    uint64_t config_base;     /* struct config of kernel/vm/config.h, page aligned */
    uint64_t config_size;     /* of that structure in bytes, as a check of the version */
    uint64_t rsdp;            /* physical; 0: the machine has no ACPI */
    uint64_t trampoline_base; /* one page below 640 KiB, to start other processors from; 0: none,
                                 and cpu_count is 1 */
    struct boot_framebuffer framebuffer;
    uint32_t cpu_count; /* usable processors, at least 1; the one that boots is the first */
    uint32_t file_count;
    uint32_t memory_count;
    uint32_t reserved;
    uint32_t cpu_apic_id[BOOT_CPUS_MAX];
    struct boot_memory memory[BOOT_MEMORY_MAX];
    struct boot_file file[BOOT_FILES_MAX]; /* those behind the last are not read */
};

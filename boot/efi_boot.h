/*
 * What the boot program's parts share. Everything that is allocated is noted in struct boot, so
 * that boot_release gives it back whatever went wrong.
 *
 * A function that fails has told the user what and what to do before it returns an EFI status.
 */
#pragma once

#include <efi.h>

#include "boot/boot_info.h"
#include "boot/boot_path.h"
#include "boot/efi_console.h"
#include "boot/elf_image.h"
#include "kernel/core/types.h"

#define ALLOCATIONS_MAX (BOOT_FILES_MAX + 16)

struct boot {
    EFI_HANDLE handle;
    EFI_BOOT_SERVICES *services;
    EFI_SYSTEM_TABLE *system;
    struct console console;
    bool from_shell; /* a person started us: nobody clears the screen behind our back */

    EFI_FILE_HANDLE volume;         /* root directory of the volume that we come from */
    CHAR16 own_directory[PATH_MAX]; /* ends in a backslash */
    CHAR16 conf_path[PATH_MAX];     /* full path on the volume */
    char conf_name[BOOT_NAME_MAX];  /* for messages: the path's last part */

    struct boot_info *info;
    struct elf_image image;
    uint64_t stack_top;
    uint64_t page_tables; /* physical address of the PML4 table */

    uint8_t *map; /* room for the firmware's memory map */
    UINTN map_room;

    struct boot_memory allocation[ALLOCATIONS_MAX]; /* for the monitor's map, too */
    unsigned allocation_count;
};

/* ---- efi_main.c ---- */

/* Physically contiguous pages of the given boot_memory_type, contents undefined, none of them above
 * limit (UINT64_MAX: anywhere); base is a multiple of alignment (a power of two, at least
 * PAGE_SIZE). EFI_OUT_OF_RESOURCES without a message. */
EFI_STATUS boot_allocate(struct boot *boot, uint64_t pages, uint64_t alignment, uint64_t limit,
                         uint32_t type, uint64_t *base);

/* What an EFI status means, in a word or two. */
const char *boot_status_text(EFI_STATUS status);

/* ---- efi_files.c ---- */

/* Opens the volume that the image was loaded from and finds out where the configuration lies. */
EFI_STATUS files_open_volume(struct boot *boot);

/* Reads the configuration as boot_info's file 0. */
EFI_STATUS files_read_conf(struct boot *boot);

/* Reads the file that the configuration names in the given line as the next file of boot_info; a
 * name that was read before is not read again. */
EFI_STATUS files_read(struct boot *boot, const char *name, unsigned line);

void files_close_volume(struct boot *boot);

/* ---- efi_config.c ---- */

/* Parses the configuration, sets the console's port and reads the files that it names. */
EFI_STATUS config_load(struct boot *boot);

/* ---- efi_machine.c ---- */

/* Fills rsdp, the processors, the framebuffer and the trampoline page of boot_info. */
EFI_STATUS machine_describe(struct boot *boot);

/* ---- load_monitor.c ---- */

/* Checks that this processor and its paging mode will do. */
EFI_STATUS monitor_check_machine(struct boot *boot);

/* Lays the monitor out in memory with its symbols, and builds the tables it starts under. */
EFI_STATUS monitor_load(struct boot *boot);

/* ---- efi_leave.c ---- */

/* Makes room for the memory map, and fills boot_info's from it as it stands now. */
EFI_STATUS leave_prepare(struct boot *boot);

/* Leaves the firmware and enters the monitor; returns only when the firmware does not let go. */
EFI_STATUS leave_to_monitor(struct boot *boot);

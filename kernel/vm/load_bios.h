/* What there is of a PC's BIOS: guests' code, which the composition gives. */
#pragma once

#include "kernel/vm/load_common.h"

#define LOAD_BIOS_SEGMENT 0xf000
#define LOAD_BIOS_RESET 0xffff0
#define LOAD_BIOS_RESET_SIZE 16

/* How the BIOS begins; it ends in what goes to LOAD_BIOS_RESET. */
struct PACKED load_bios_header {
    uint16_t start;   /* where it is entered, before a kernel in real mode */
    uint16_t nothing; /* the handler of interrupts that have no other */
    uint16_t vectors; /* numbers and handlers, up to 0xffff */
    uint16_t ip, cs, data, sp;
    uint32_t ebx; /* the kernel's */
    uint16_t map_count;
    uint16_t extended_kib; /* RAM from 1 MiB on, at most 15 MiB */
    uint16_t extended_64k; /* RAM from 16 MiB on, in 64 KiB */
    struct guest_map_e820 map[GUEST_MAP_ENTRIES_MAX];
};

/* Adds the request's BIOS, the interrupt vectors and the BIOS data area, if there is a BIOS and
 * nothing else is in page 0. ERR_NO_SPACE. */
enum status MUST_CHECK load_bios(struct loader *loader);

/* The same, and the plan enters the BIOS first, which then enters what load_entry_16 has set. */
enum status MUST_CHECK load_bios_enter(struct loader *loader);

/* The processor's state at a kernel's entry, in each mode. For loaders only. */
#pragma once

#include "kernel/vm/load_common.h"

#define LOAD_BOOT_CS 0x10
#define LOAD_BOOT_DS 0x18

/* 32-bit protected mode without paging, flat segments, interrupts off; GDTR is empty. */
void load_entry_32(struct loader *loader, uint64_t rip);

/* 64-bit mode, the low 4 GiB mapped onto themselves, flat segments, interrupts off. ERR_NO_SPACE:
 * no room for page tables and GDT. */
enum status MUST_CHECK load_entry_64(struct loader *loader, uint64_t rip);

/* Real mode, interrupts off, every segment but CS at 16 times data. */
void load_entry_16(struct loader *loader, uint16_t cs, uint16_t ip, uint16_t data, uint16_t sp);

/* A GDT with flat code of 32 or 64 bits at LOAD_BOOT_CS and data at LOAD_BOOT_DS, into GDTR. */
enum status MUST_CHECK load_gdt(struct loader *loader, bool is_64);

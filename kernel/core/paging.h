/*
 * The monitor's own address space, W^X throughout: paging_rules.h has its layout.
 */
#pragma once

#include "boot/boot_info.h"
#include "kernel/core/paging_rules.h"

/* The monitor's mapping of memory that the owner table knows (not of devices and firmware's). */
static inline void *phys_to_virt(hpa_t address)
{
    return (void *)(uintptr_t)(PAGING_PHYSMAP + address.v);
}

/* The way back, for an address in the physmap or in the image; anything else is an ASSERT. */
hpa_t virt_to_phys(const void *address);

/* Builds the tables from the memory map and loads them; pages already knows the memory. The boot
 * program's identity mapping is gone afterwards. A failure is a panic: there is nobody else. */
void paging_init(const struct boot_info *info, struct pages *pages);

/* CR3 of every processor; below 4 GiB. */
uint64_t paging_root(void);

/* Fresh stacks and a tables page for one processor: the arguments of cpu_add. */
enum status MUST_CHECK paging_map_cpu(uint32_t index, uint64_t stack[CPU_STACKS], void **tables);

/* Maps size bytes from frame (any alignment) and returns where they are; flags are MAP_UC for
 * registers, MAP_WC for a framebuffer, 0 for tables in memory that the physmap leaves out, and
 * MAP_WRITE. For the life of the monitor. NULL: no room, or the address is the monitor's own memory
 * and flags would allow a write. May be called on any processor. */
void *paging_map_device(hpa_t address, uint64_t size, uint64_t flags);

/* Read access to any physical memory that holds tables (ACPI): through the physmap where that has
 * it, else by paging_map_device. */
const void *paging_map_table(hpa_t address, uint64_t size);

/* The trampoline page, identity mapped and executable, while other processors start. */
enum status MUST_CHECK paging_map_trampoline(hpa_t page);
void paging_unmap_trampoline(hpa_t page);

/*
 * The pages that only the start needs (linker.ld), in two steps. paging_prepare_release, once
 * everything is built: maps them, read-only as yet, where the physmap has all memory, and returns
 * their size and where they begin. paging_release_start, by code that stays: now they are memory
 * like any other, and gone from the image. Every processor flushes its TLB then.
 */
uint64_t paging_prepare_release(hpa_t *base);
void paging_release_start(void);

/* Forgets all translations of this processor, global ones too. */
void paging_flush(void);

/* Whether a read of [address, address + size) in the monitor's address space would succeed. */
bool paging_is_mapped(uint64_t address, uint64_t size);

/* Walks every table, says what it found in one line of the log, and holds the processor's own
 * protections (WP, NX, SMEP, SMAP) against what it has. ERR_INVALID: something is not as
 * paging_rules.h wants it, or a guard is mapped; the first such is logged. */
COLD enum status MUST_CHECK paging_check(void);

/* Goes on with a hash (kernel/core/hash.h): text and constants; and the page tables, without what
 * the processor sets in them by itself. */
uint64_t paging_hash_image(uint64_t hash);
uint64_t paging_hash_tables(uint64_t hash);

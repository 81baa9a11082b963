/*
 * Both get the start information that a PVH kernel gets (in EBX or RBX, and in RDI too in 64-bit
 * mode) and a small stack, both below 640 KiB.
 */
#include "kernel/vm/load_plain.h"

#include "kernel/vm/load_bios.h"
#include "kernel/vm/load_elf.h"
#include "kernel/vm/load_entry.h"
#include "kernel/vm/load_pvh.h"

#define REAL_MODE_END MIB(1)

/* Modules go high, so what is loaded keeps the room behind it. */
static enum status enter(struct loader *loader, uint64_t entry, unsigned mode)
{
    struct guest_entry *state = &loader->plan->entry;
    uint64_t start_info, stack = 0;
    enum status status = load_start_info(loader, &start_info);
    if (status == STATUS_OK)
        status = load_claim_highest(loader, PAGE_SIZE, PAGE_SIZE, PAGE_SIZE, LOAD_LOW_END, &stack);
    if (status == STATUS_OK && mode == 64)
        status = load_entry_64(loader, entry);
    if (status != STATUS_OK)
        return status;
    if (mode == 32)
        load_entry_32(loader, entry);
    if (mode == 16)
        load_entry_16(loader, entry >> 16 != 0 ? (uint16_t)(entry >> 4) : 0,
                      entry >> 16 != 0 ? (uint16_t)(entry & 0xf) : (uint16_t)entry,
                      (uint16_t)(stack >> 4), PAGE_SIZE);
    else
        state->gpr[GPR_RSP] = stack + PAGE_SIZE;
    state->gpr[GPR_RBX] = start_info;
    state->gpr[GPR_RDI] = mode == 64 ? start_info : 0;
    return mode == 16 ? load_bios_enter(loader) : STATUS_OK;
}

bool load_elf_recognises(struct loader *loader)
{
    return load_elf_is(loader->request->kernel.at, loader->request->kernel.size);
}

enum status load_elf(struct loader *loader)
{
    struct elf elf;
    enum status status = load_elf_read(loader, &elf);
    if (status == STATUS_OK && elf.has_interpreter)
        status = load_fail(loader, ERR_UNSUPPORTED, &loader->request->kernel,
                           "a program for an operating system (it names an interpreter), and no "
                           "kernel: it has no Multiboot header and no PVH entry either");
    if (status == STATUS_OK)
        status = load_elf_place(&elf);
    if (status == STATUS_OK)
        status = load_elf_check_entry(&elf, elf.entry, "entry");
    return status == STATUS_OK ? enter(loader, elf.entry, elf.is_64 ? 64 : 32) : status;
}

enum status load_flat(struct loader *loader)
{
    const struct load_request *request = loader->request;
    const struct load_file *kernel = &request->kernel;
    unsigned mode = request->mode != 0 ? request->mode : 32;
    uint64_t address = request->address != 0 ? request->address
                       : mode == 16          ? LOAD_BOOT_SECTOR
                                             : LOAD_FLAT_ADDRESS;
    if (address >= (mode == 16 ? REAL_MODE_END : LOAD_4G))
        return load_fail(loader, ERR_RANGE, kernel, "in mode %u it must be loaded below %s", mode,
                         mode == 16 ? "1 MiB" : "4 GiB");
    enum status status = load_claim(loader, address, kernel->size);
    if (status != STATUS_OK)
        return load_fail(loader, status, kernel,
                         "its %llu KiB do not fit at 0x%llx into the guest's RAM of %llu MiB: "
                         "change `load`, or raise `memory`",
                         (unsigned long long)((kernel->size + 1023) >> 10),
                         (unsigned long long)address,
                         (unsigned long long)(request->map->ram_below_4g >> 20));
    status = load_add(loader, address, kernel->at, kernel->size);
    return status == STATUS_OK ? enter(loader, address, mode) : status;
}

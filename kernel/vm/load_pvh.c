/*
 * The start information with its tables and the strings below 640 KiB; the modules, the initrd the
 * first of them, as high below 4 GiB as they fit.
 */
#include "kernel/vm/load_pvh.h"

#include "kernel/vm/load_elf.h"
#include "kernel/vm/load_entry.h"

/* Xen: public/elfnote.h; HVM direct boot ABI: struct hvm_start_info, version 1. */
#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define START_INFO_MAGIC 0x336ec578u
#define START_INFO_VERSION 1
enum {
    START_INFO_VERSION_AT = 4,
    START_INFO_NR_MODULES = 12,
    START_INFO_MODLIST = 16,
    START_INFO_CMDLINE = 24,
    START_INFO_RSDP = 32,
    START_INFO_MEMMAP = 40,
    START_INFO_MEMMAP_ENTRIES = 48,
    START_INFO_SIZE = 56,
    MODULE_SIZE = 32,
    MEMMAP_ENTRY_SIZE = 24,
};

static void fill_memmap(const struct guest_map *map, uint8_t *at)
{
    for (unsigned i = 0; i < map->count; i++, at += MEMMAP_ENTRY_SIZE) {
        load_put(at, map->entry[i].base, 8);
        load_put(at + 8, map->entry[i].size, 8);
        load_put(at + 16, (uint64_t)map->entry[i].type, 4);
    }
}

static enum status fill_modules(struct loader *loader, uint8_t *at)
{
    enum status status = STATUS_OK;
    for (unsigned i = 0; status == STATUS_OK && i < load_module_count(loader); i++) {
        const struct load_file *module = load_module(loader, i);
        uint64_t base, text = 0;
        status = load_place_module(loader, module, 0, LOAD_4G, &base);
        if (status == STATUS_OK && module->arguments.size != 0)
            status = load_string(loader, NULL, module->arguments, &text);
        if (status != STATUS_OK)
            return status;
        load_put(at, base, 8);
        load_put(at + 8, module->size, 8);
        load_put(at + 16, text, 8);
        at += MODULE_SIZE;
    }
    return status;
}

enum status load_start_info(struct loader *loader, uint64_t *base)
{
    const struct guest_map *map = loader->request->map;
    unsigned modules = load_module_count(loader);
    uint64_t cmdline, modlist_at = START_INFO_SIZE,
                      memmap_at = modlist_at + (uint64_t)modules * MODULE_SIZE;
    enum status status = load_string(loader, NULL, load_cmdline(loader), &cmdline);
    if (status != STATUS_OK)
        return status;
    uint8_t *info = load_make_low(loader, memmap_at + map->count * MEMMAP_ENTRY_SIZE, 8, base);
    if (info == NULL)
        return load_fail(loader, ERR_NO_SPACE, &loader->request->kernel,
                         "no room for its start information");
    load_put(info, START_INFO_MAGIC, 4);
    load_put(info + START_INFO_VERSION_AT, START_INFO_VERSION, 4);
    load_put(info + START_INFO_NR_MODULES, modules, 4);
    load_put(info + START_INFO_MODLIST, modules != 0 ? *base + modlist_at : 0, 8);
    load_put(info + START_INFO_CMDLINE, cmdline, 8);
    load_put(info + START_INFO_RSDP, GUEST_MAP_ACPI_BASE, 8);
    load_put(info + START_INFO_MEMMAP, *base + memmap_at, 8);
    load_put(info + START_INFO_MEMMAP_ENTRIES, map->count, 4);
    fill_memmap(map, info + memmap_at);
    return fill_modules(loader, info + modlist_at);
}

/* Also where the notes cannot be read, so that the message is about them. */
bool load_pvh_recognises(struct loader *loader)
{
    const struct load_file *kernel = &loader->request->kernel;
    struct elf elf;
    uint64_t entry;
    bool found;
    return load_elf_is(kernel->at, kernel->size) && load_elf_read(loader, &elf) == STATUS_OK &&
           (load_elf_note(&elf, "Xen", XEN_ELFNOTE_PHYS32_ENTRY, &entry, &found) != STATUS_OK ||
            found);
}

/* 32-bit protected mode without paging, EBX points to the start information. */
enum status load_pvh(struct loader *loader)
{
    struct elf elf;
    uint64_t entry = 0, start_info;
    bool found;
    enum status status = load_elf_read(loader, &elf);
    if (status == STATUS_OK)
        status = load_elf_note(&elf, "Xen", XEN_ELFNOTE_PHYS32_ENTRY, &entry, &found);
    if (status == STATUS_OK && !found)
        status = load_fail(loader, ERR_UNSUPPORTED, &loader->request->kernel,
                           "an ELF file without a PVH entry (a note of type 18 by Xen); Linux has "
                           "one when built with CONFIG_PVH=y");
    if (status == STATUS_OK)
        status = load_elf_place(&elf);
    if (status == STATUS_OK)
        status = load_elf_check_entry(&elf, entry, "PVH entry");
    if (status == STATUS_OK)
        status = load_start_info(loader, &start_info);
    if (status != STATUS_OK)
        return status;
    load_entry_32(loader, entry);
    loader->plan->entry.gpr[GPR_RBX] = start_info;
    return STATUS_OK;
}

/*
 * Multiboot 1: the information, its tables and strings lie below 640 KiB, the modules behind the
 * kernel, in whole pages and in order.
 */
#include "kernel/vm/load_multiboot.h"

#include "kernel/vm/load_bios.h"
#include "kernel/vm/load_elf.h"
#include "kernel/vm/load_entry.h"

/* Multiboot Specification: OS image format. */
#define HEADER_MAGIC 0x1badb002u
#define HEADER_ALIGNMENT 4
#define SEARCH_SIZE 8192
#define HEADER_SIZE 12
#define ADDRESSES_SIZE 32 /* with the address fields */
#define HEADER_PAGE_ALIGN BIT(0)
#define HEADER_MEMORY BIT(1)
#define HEADER_VIDEO BIT(2)
#define HEADER_REQUIRED 0xffffu
#define HEADER_ADDRESSES BIT(16)

/* Multiboot Specification: Boot information format. */
#define BOOT_MAGIC 0x2badb002u
#define INFO_MEMORY BIT(0)
#define INFO_CMDLINE BIT(2)
#define INFO_MODULES BIT(3)
#define INFO_MEMORY_MAP BIT(6)
#define INFO_LOADER_NAME BIT(9)
enum {
    INFO_MEM_LOWER = 4,
    INFO_MEM_UPPER = 8,
    INFO_CMDLINE_AT = 16,
    INFO_MODS_COUNT = 20,
    INFO_MODS_ADDR = 24,
    INFO_MMAP_LENGTH = 44,
    INFO_MMAP_ADDR = 48,
    INFO_BOOT_LOADER_NAME = 64,
    INFO_SIZE = 116,
    MODULE_SIZE = 16,
    MMAP_ENTRY_SIZE = 24,
};

struct multiboot {
    struct loader *loader;
    const uint8_t *header;
    uint64_t offset; /* in the file */
    uint32_t flags;
    uint64_t entry, end; /* of the kernel in memory */
};

/* ---- The header ---- */

const uint8_t *load_find_header(const struct loader *loader, const struct load_search *search,
                                uint64_t *offset)
{
    const struct load_file *kernel = &loader->request->kernel;
    uint64_t limit = kernel->size < search->limit ? kernel->size : search->limit;
    for (*offset = 0; limit >= search->size && *offset <= limit - search->size;
         *offset += search->alignment) {
        const uint8_t *header = kernel->at + *offset;
        uint32_t sum = 0;
        if (!load_has_magic(header, search->magic))
            continue;
        for (unsigned at = 0; at < search->size; at += 4)
            sum += (uint32_t)load_get(header + at, 4);
        if (sum == 0)
            return header;
    }
    return NULL;
}

static bool find_header(struct loader *loader, struct multiboot *mb)
{
    static const struct load_search search = {HEADER_MAGIC, HEADER_ALIGNMENT, HEADER_SIZE,
                                              SEARCH_SIZE};
    *mb = (struct multiboot){.loader = loader};
    mb->header = load_find_header(loader, &search, &mb->offset);
    if (mb->header != NULL)
        mb->flags = (uint32_t)load_get(mb->header + 4, 4);
    return mb->header != NULL;
}

bool load_multiboot_recognises(struct loader *loader)
{
    struct multiboot mb;
    return find_header(loader, &mb);
}

bool load_multiboot_recognises_32(struct loader *loader)
{
    const struct load_file *kernel = &loader->request->kernel;
    struct multiboot mb;
    return find_header(loader, &mb) &&
           (mb.flags & HEADER_ADDRESSES || !load_elf_is_64(kernel->at, kernel->size));
}

static enum status check_flags(const struct multiboot *mb)
{
    const struct load_file *kernel = &mb->loader->request->kernel;
    uint32_t unknown = mb->flags & HEADER_REQUIRED &
                       (uint32_t) ~(HEADER_PAGE_ALIGN | HEADER_MEMORY | HEADER_VIDEO);
    if (unknown != 0)
        return load_fail(mb->loader, ERR_UNSUPPORTED, kernel,
                         "its Multiboot header requires what is not offered (flags 0x%x)", unknown);
    return STATUS_OK;
}

/* A requirement, too; but a kernel that asks for a video mode runs in QEMU, and is told here as
 * there that there is none: the information has no fields about one. */
static void warn_of_video(const struct multiboot *mb)
{
    if (mb->flags & HEADER_VIDEO)
        (void)load_fail(mb->loader, STATUS_OK, &mb->loader->request->kernel,
                        "its Multiboot header asks for a video mode, and there is no display");
}

/* ---- The kernel ---- */

enum status load_by_addresses(struct loader *loader, const struct load_addresses *fields,
                              uint64_t entry, uint64_t *end)
{
    const struct load_file *kernel = &loader->request->kernel;
    uint64_t into = fields->header - fields->load; /* from the first byte loaded to the header */
    uint64_t offset = fields->from_start ? 0 : fields->offset - into;
    uint64_t load = fields->from_start ? fields->header - fields->offset : fields->load;
    if (fields->header < load || offset > fields->offset || load >= LOAD_4G)
        return load_fail(loader, ERR_INVALID, kernel,
                         "malformed: its Multiboot header says that it is loaded from before the "
                         "file's beginning");
    uint64_t size = fields->load_end != 0 ? fields->load_end - load : kernel->size - offset;
    uint64_t room = fields->bss_end != 0 ? fields->bss_end - load : size;
    if ((fields->load_end != 0 && fields->load_end < load) ||
        (fields->bss_end != 0 && (fields->bss_end < load || room < size)) || room == 0)
        return load_fail(loader, ERR_INVALID, kernel,
                         "malformed: the addresses in its Multiboot header are not in order");
    if (size > kernel->size - offset)
        return load_fail(loader, ERR_TRUNCATED, kernel,
                         "truncated: its Multiboot header says that %llu bytes are loaded from "
                         "offset %llu",
                         (unsigned long long)size, (unsigned long long)offset);
    if (entry < load || entry - load >= room)
        return load_fail(loader, ERR_INVALID, kernel,
                         "malformed: its Multiboot entry 0x%llx lies outside what is loaded",
                         (unsigned long long)entry);
    enum status status = load_claim_image(loader, load, room);
    if (status != STATUS_OK)
        return load_fail(loader, status, kernel,
                         "its %llu KiB at 0x%llx lie outside the guest's RAM of %llu MiB: raise "
                         "`memory`",
                         (unsigned long long)((room + 1023) >> 10), (unsigned long long)load,
                         (unsigned long long)(loader->request->map->ram_below_4g >> 20));
    *end = load + room;
    return load_add(loader, load, kernel->at + offset, size);
}

static enum status place_addresses(struct multiboot *mb)
{
    const uint8_t *header = mb->header;
    const struct load_file *kernel = &mb->loader->request->kernel;
    if (kernel->size - mb->offset < ADDRESSES_SIZE)
        return load_fail(mb->loader, ERR_TRUNCATED, kernel, "truncated in the Multiboot header");
    struct load_addresses fields = {.offset = mb->offset,
                                    .header = load_get(header + 12, 4),
                                    .load = load_get(header + 16, 4),
                                    .load_end = load_get(header + 20, 4),
                                    .bss_end = load_get(header + 24, 4)};
    mb->entry = load_get(header + 28, 4);
    return load_by_addresses(mb->loader, &fields, mb->entry, &mb->end);
}

static enum status place_elf(struct multiboot *mb)
{
    struct loader *loader = mb->loader;
    const struct load_file *kernel = &loader->request->kernel;
    struct elf elf;
    if (!load_elf_is(kernel->at, kernel->size))
        return load_fail(loader, ERR_INVALID, kernel,
                         "malformed: a Multiboot header without address fields in a file that is "
                         "no ELF file");
    enum status status = load_elf_read(loader, &elf);
    if (status == STATUS_OK && elf.is_64)
        status = load_fail(loader, ERR_UNSUPPORTED, kernel,
                           "a 64-bit ELF file, and Multiboot 1 has 32-bit ones only: link it as "
                           "elf32-i386, or give it a Multiboot2 header or a PVH note");
    if (status == STATUS_OK)
        status = load_elf_place(&elf);
    if (status == STATUS_OK)
        status = load_elf_check_entry(&elf, elf.entry, "entry");
    mb->entry = elf.entry;
    mb->end = elf.high;
    return status;
}

/* ---- The information ---- */

void load_meminfo(const struct loader *loader, uint32_t *lower, uint32_t *upper)
{
    const struct guest_map *map = loader->request->map;
    *lower = (uint32_t)(map->entry[0].size >> 10);
    *upper = (uint32_t)((map->ram_below_4g - MIB(1)) >> 10);
}

static enum status make_memory_map(struct loader *loader, uint8_t *info)
{
    const struct guest_map *map = loader->request->map;
    uint64_t base, size = (uint64_t)map->count * MMAP_ENTRY_SIZE;
    uint8_t *entry = load_make_low(loader, size, 8, &base);
    if (entry == NULL)
        return ERR_NO_SPACE;
    for (unsigned i = 0; i < map->count; i++, entry += MMAP_ENTRY_SIZE) {
        load_put(entry, MMAP_ENTRY_SIZE - 4, 4);
        load_put(entry + 4, map->entry[i].base, 8);
        load_put(entry + 12, map->entry[i].size, 8);
        load_put(entry + 20, (uint64_t)map->entry[i].type, 4);
    }
    load_put(info + INFO_MMAP_LENGTH, size, 4);
    load_put(info + INFO_MMAP_ADDR, base, 4);
    return STATUS_OK;
}

static enum status make_modules(struct multiboot *mb, uint8_t *info)
{
    struct loader *loader = mb->loader;
    unsigned count = load_module_count(loader);
    uint64_t list, after = mb->end > MIB(1) ? mb->end : MIB(1);
    if (count == 0)
        return STATUS_OK;
    uint8_t *entry = load_make_low(loader, (uint64_t)count * MODULE_SIZE, 8, &list);
    enum status status = entry != NULL ? STATUS_OK : ERR_NO_SPACE;
    for (unsigned i = 0; status == STATUS_OK && i < count; i++, entry += MODULE_SIZE) {
        const struct load_file *module = load_module(loader, i);
        uint64_t base = 0, text = 0;
        status = load_place_module(loader, module, after, LOAD_4G, &base);
        if (status == STATUS_OK)
            status = load_string(loader, module->name, module->arguments, &text);
        after = base + module->size;
        load_put(entry, base, 4);
        load_put(entry + 4, after, 4);
        load_put(entry + 8, text, 4);
    }
    load_put(info + INFO_MODS_COUNT, count, 4);
    load_put(info + INFO_MODS_ADDR, list, 4);
    return status;
}

static enum status make_info(struct multiboot *mb, uint64_t *base)
{
    struct loader *loader = mb->loader;
    const char *name = loader->request->kernel.name;
    uint64_t cmdline, loader_name;
    uint32_t lower, upper;
    uint8_t *info = load_make_low(loader, INFO_SIZE, 8, base);
    enum status status = info != NULL ? make_memory_map(loader, info) : ERR_NO_SPACE;
    if (status == STATUS_OK)
        status = make_modules(mb, info);
    if (status == STATUS_OK)
        status = load_string(loader, name, load_cmdline(loader), &cmdline);
    if (status == STATUS_OK)
        status = load_string(loader, LOAD_BOOT_LOADER, (struct load_text){"", 0}, &loader_name);
    if (status != STATUS_OK)
        return status;
    load_meminfo(loader, &lower, &upper);
    load_put(info, INFO_MEMORY | INFO_CMDLINE | INFO_MODULES | INFO_MEMORY_MAP | INFO_LOADER_NAME,
             4);
    load_put(info + INFO_MEM_LOWER, lower, 4);
    load_put(info + INFO_MEM_UPPER, upper, 4);
    load_put(info + INFO_CMDLINE_AT, cmdline, 4);
    load_put(info + INFO_BOOT_LOADER_NAME, loader_name, 4);
    return STATUS_OK;
}

/* Multiboot Specification: I386 machine state. */
enum status load_multiboot(struct loader *loader)
{
    struct multiboot mb;
    uint64_t info = 0;
    if (!find_header(loader, &mb))
        return load_fail(loader, ERR_INVALID, &loader->request->kernel,
                         "no Multiboot header in its first 8 KiB");
    enum status status = check_flags(&mb);
    if (status == STATUS_OK)
        status = mb.flags & HEADER_ADDRESSES ? place_addresses(&mb) : place_elf(&mb);
    if (status == STATUS_OK)
        status = make_info(&mb, &info);
    if (status == STATUS_OK)
        status = load_bios(loader);
    if (status != STATUS_OK)
        return status;
    load_entry_32(loader, mb.entry);
    warn_of_video(&mb);
    loader->plan->entry.gpr[GPR_RAX] = BOOT_MAGIC;
    loader->plan->entry.gpr[GPR_RBX] = info;
    return STATUS_OK;
}

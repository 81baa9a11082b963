/*
 * Multiboot 2: the information with its tags, and the strings in them, in one piece below 640 KiB;
 * the modules behind the kernel, in whole pages and in order.
 */
#include "kernel/core/bits.h"
#include "kernel/vm/load_bios.h"
#include "kernel/vm/load_elf.h"
#include "kernel/vm/load_entry.h"
#include "kernel/vm/load_multiboot.h"

/* Multiboot2 Specification: OS image format. */
#define HEADER_MAGIC 0xe85250d6u
#define HEADER_ALIGNMENT 8
#define HEADER_SIZE 16
#define SEARCH_SIZE 32768
#define ARCHITECTURE_I386 0
#define TAG_SIZE 8
#define TAG_ALIGNMENT 8
#define TAG_OPTIONAL BIT(0)
#define CONSOLE_REQUIRED BIT(0)
#define FRAMEBUFFER_WIDTH 1024 /* where the kernel has no wish */
#define FRAMEBUFFER_HEIGHT 768
#define FRAMEBUFFER_BITS 32
#define LOAD_FROM_START 0xffffffffu
enum header_tag {
    HEADER_TAG_END,
    HEADER_TAG_INFORMATION_REQUEST,
    HEADER_TAG_ADDRESS,
    HEADER_TAG_ENTRY_ADDRESS,
    HEADER_TAG_CONSOLE_FLAGS,
    HEADER_TAG_FRAMEBUFFER,
    HEADER_TAG_MODULE_ALIGN,
    HEADER_TAG_EFI_BOOT_SERVICES,
    HEADER_TAG_ENTRY_ADDRESS_EFI32,
    HEADER_TAG_ENTRY_ADDRESS_EFI64,
    HEADER_TAG_RELOCATABLE,
    HEADER_TAGS
};
enum preference { PREFER_NONE, PREFER_LOWEST, PREFER_HIGHEST };

/* Multiboot2 Specification: Boot information. */
#define BOOT_MAGIC 0x36d76289u
#define INFO_HEADER 8
#define MMAP_ENTRY_SIZE 24
#define RSDP_OLD_SIZE 20
#define RSDP_SIZE 36
#define RSDP_CHECKSUM 8
#define RSDP_REVISION 15
enum info_tag {
    INFO_TAG_END = 0,
    INFO_TAG_CMDLINE = 1,
    INFO_TAG_BOOT_LOADER_NAME = 2,
    INFO_TAG_MODULE = 3,
    INFO_TAG_BASIC_MEMINFO = 4,
    INFO_TAG_MMAP = 6,
    INFO_TAG_FRAMEBUFFER = 8,
    INFO_TAG_ACPI_OLD = 14,
    INFO_TAG_ACPI_NEW = 15,
    INFO_TAG_LOAD_BASE = 21, /* the last that the specification names */
};

struct multiboot2 {
    struct loader *loader;
    const uint8_t *header;
    uint64_t offset, size;                       /* of the header in the file */
    const uint8_t *address, *relocatable, *wish; /* tags; wish: the framebuffer's */
    bool needs_console;                          /* a display, of whichever kind */
    uint64_t framebuffer, width, height;         /* where it is, and pixels; 0: there is none */
    bool has_entry;
    uint64_t entry;      /* as the file has it */
    uint64_t moved, end; /* of the kernel in memory */
    uint64_t base;       /* where it begins */
};

/* ---- The header ---- */

static bool find_header(struct loader *loader, struct multiboot2 *mb)
{
    static const struct load_search search = {HEADER_MAGIC, HEADER_ALIGNMENT, HEADER_SIZE,
                                              SEARCH_SIZE};
    *mb = (struct multiboot2){.loader = loader};
    mb->header = load_find_header(loader, &search, &mb->offset);
    if (mb->header != NULL)
        mb->size = load_get(mb->header + 8, 4);
    return mb->header != NULL;
}

bool load_multiboot2_recognises(struct loader *loader)
{
    struct multiboot2 mb;
    return find_header(loader, &mb);
}

static enum status check_header(const struct multiboot2 *mb)
{
    const struct load_file *kernel = &mb->loader->request->kernel;
    if (load_get(mb->header + 4, 4) != ARCHITECTURE_I386)
        return load_fail(mb->loader, ERR_UNSUPPORTED, kernel,
                         "its Multiboot2 header is for another processor; i386 (0) is needed");
    if (mb->size < HEADER_SIZE || mb->size > kernel->size - mb->offset)
        return load_fail(mb->loader, ERR_TRUNCATED, kernel, "truncated in the Multiboot2 header");
    return STATUS_OK;
}

/* What is malformed or not offered in a request for information: an item that nobody knows. */
static bool requests_unknown(const uint8_t *tag, uint64_t size)
{
    for (uint64_t at = TAG_SIZE; at + 4 <= size; at += 4)
        if (load_get(tag + at, 4) > INFO_TAG_LOAD_BASE)
            return true;
    return false;
}

/* Why a tag that is required cannot be obeyed; NULL: it can. */
static const char *refusal(unsigned type, const uint8_t *tag, uint64_t size)
{
    switch (type) {
    case HEADER_TAG_INFORMATION_REQUEST:
        return requests_unknown(tag, size) ? "information of an unknown type" : NULL;
    case HEADER_TAG_EFI_BOOT_SERVICES:
        return "EFI boot services";
    }
    return type < HEADER_TAGS ? NULL : "what an unknown tag stands for";
}

/* Takes a tag whose size is what its type has at least. */
static void take(struct multiboot2 *mb, unsigned type, const uint8_t *tag)
{
    if (type == HEADER_TAG_ADDRESS)
        mb->address = tag;
    if (type == HEADER_TAG_RELOCATABLE)
        mb->relocatable = tag;
    if (type == HEADER_TAG_FRAMEBUFFER)
        mb->wish = tag;
    if (type == HEADER_TAG_CONSOLE_FLAGS && !(load_get(tag + 2, 2) & TAG_OPTIONAL))
        mb->needs_console = load_get(tag + TAG_SIZE, 4) & CONSOLE_REQUIRED;
    if (type == HEADER_TAG_ENTRY_ADDRESS) {
        mb->has_entry = true;
        mb->entry = load_get(tag + TAG_SIZE, 4);
    }
}

static enum status read_tags(struct multiboot2 *mb)
{
    static const uint8_t least[HEADER_TAGS] = {
        [HEADER_TAG_ADDRESS] = 24,       [HEADER_TAG_ENTRY_ADDRESS] = 12,
        [HEADER_TAG_CONSOLE_FLAGS] = 12, [HEADER_TAG_FRAMEBUFFER] = 20,
        [HEADER_TAG_RELOCATABLE] = 24,
    };
    const struct load_file *kernel = &mb->loader->request->kernel;
    for (uint64_t at = HEADER_SIZE, size; at + TAG_SIZE <= mb->size;
         at = align_up(at + size, TAG_ALIGNMENT)) {
        const uint8_t *tag = mb->header + at;
        unsigned type = (unsigned)load_get(tag, 2), flags = (unsigned)load_get(tag + 2, 2);
        size = load_get(tag + 4, 4);
        if (type == HEADER_TAG_END)
            return STATUS_OK;
        if (size < TAG_SIZE || size > mb->size - at || (type < HEADER_TAGS && size < least[type]))
            return load_fail(mb->loader, ERR_INVALID, kernel,
                             "malformed: tag %u of its Multiboot2 header has %llu bytes", type,
                             (unsigned long long)size);
        const char *what = flags & TAG_OPTIONAL ? NULL : refusal(type, tag, size);
        if (what != NULL)
            return load_fail(mb->loader, ERR_UNSUPPORTED, kernel,
                             "its Multiboot2 header requires %s (tag %u), which is not offered",
                             what, type);
        take(mb, type, tag);
    }
    return load_fail(mb->loader, ERR_INVALID, kernel,
                     "malformed: its Multiboot2 header has no end tag");
}

/* ---- The framebuffer ---- */

/* It is RAM that nobody looks at, as that of a machine without a monitor: a kernel that has no way
 * without one runs, and one that only wishes for one finds what it finds elsewhere. */
static enum status make_framebuffer(struct multiboot2 *mb)
{
    const struct loader *loader = mb->loader;
    const struct load_file *kernel = &loader->request->kernel;
    if (mb->wish == NULL)
        return !mb->needs_console
                   ? STATUS_OK
                   : load_fail(loader, ERR_UNSUPPORTED, kernel,
                               "its Multiboot2 header requires a display (tag 4), which is not "
                               "offered but as a framebuffer (tag 5)");
    bool is_required = mb->needs_console || !(load_get(mb->wish + 2, 2) & TAG_OPTIONAL);
    uint64_t width = load_get(mb->wish + 8, 4), height = load_get(mb->wish + 12, 4);
    width = width != 0 ? width : FRAMEBUFFER_WIDTH;
    height = height != 0 ? height : FRAMEBUFFER_HEIGHT;
    bool is_sane = width <= UINT16_MAX && height <= UINT16_MAX;
    if (is_sane && guest_map_reserve_top(loader->request->map,
                                         width * height * FRAMEBUFFER_BITS / 8, &mb->framebuffer)) {
        mb->width = width;
        mb->height = height;
        return STATUS_OK;
    }
    return !is_required
               ? STATUS_OK
               : load_fail(loader, ERR_NO_SPACE, kernel,
                           "the framebuffer of %llux%llu pixels of 32 bits that its Multiboot2 "
                           "header requires takes more than half of the guest's RAM of %llu MiB: "
                           "raise `memory`",
                           (unsigned long long)width, (unsigned long long)height,
                           (unsigned long long)(loader->request->map->ram_below_4g >> 20));
}

/* ---- The kernel ---- */

static enum status place_addresses(struct multiboot2 *mb)
{
    const uint8_t *tag = mb->address;
    struct load_addresses fields = {.offset = mb->offset,
                                    .header = load_get(tag + 8, 4),
                                    .load = load_get(tag + 12, 4),
                                    .load_end = load_get(tag + 16, 4),
                                    .bss_end = load_get(tag + 20, 4),
                                    .from_start = load_get(tag + 12, 4) == LOAD_FROM_START};
    if (!mb->has_entry)
        return load_fail(mb->loader, ERR_INVALID, &mb->loader->request->kernel,
                         "malformed: its Multiboot2 header has an address tag and no entry tag");
    return load_by_addresses(mb->loader, &fields, mb->entry, &mb->end);
}

/* Finds the place that the relocatable tag wants; only then is the file moved. */
static enum status relocate(struct multiboot2 *mb, struct elf *elf)
{
    struct loader *loader = mb->loader;
    uint64_t min = load_get(mb->relocatable + 8, 4), max = load_get(mb->relocatable + 12, 4) + 1;
    uint64_t alignment = load_get(mb->relocatable + 16, 4), base = elf->low;
    uint64_t size = elf->high - elf->low;
    unsigned preference = (unsigned)load_get(mb->relocatable + 20, 4);
    if (alignment == 0 || (alignment & (alignment - 1)) != 0 || elf->high <= elf->low)
        return load_fail(loader, ERR_INVALID, &loader->request->kernel,
                         "malformed: it is relocatable to multiples of 0x%llx",
                         (unsigned long long)alignment);
    enum status status = STATUS_OK;
    if (preference == PREFER_HIGHEST)
        status = load_claim_highest(loader, size, alignment, min, max, &base);
    else if (preference == PREFER_LOWEST || base < min || elf->high > max ||
             !guest_map_is_ram(loader->request->map, base, size))
        status = load_claim_lowest(loader, size, alignment, min, max, &base);
    else
        status = load_claim(loader, base, size);
    if (status != STATUS_OK)
        return load_fail(loader, status, &loader->request->kernel,
                         "%llu KiB of RAM from 0x%llx to 0x%llx are needed: raise `memory`",
                         (unsigned long long)((size + 1023) >> 10), (unsigned long long)min,
                         (unsigned long long)max);
    loader->claims--; /* its segments claim it piece by piece */
    elf->moved = base - elf->low;
    return STATUS_OK;
}

static enum status place_elf(struct multiboot2 *mb)
{
    struct loader *loader = mb->loader;
    const struct load_file *kernel = &loader->request->kernel;
    struct elf elf;
    if (!load_elf_is(kernel->at, kernel->size))
        return load_fail(loader, ERR_INVALID, kernel,
                         "malformed: a Multiboot2 header without an address tag in a file that is "
                         "no ELF file");
    enum status status = load_elf_read(loader, &elf);
    if (status == STATUS_OK && mb->relocatable != NULL)
        status = relocate(mb, &elf);
    if (status == STATUS_OK)
        status = load_elf_place(&elf);
    if (!mb->has_entry)
        mb->entry = elf.entry;
    if (status == STATUS_OK)
        status = load_elf_check_entry(&elf, mb->entry, "entry");
    mb->moved = elf.moved;
    mb->base = elf.low + elf.moved;
    mb->end = elf.high + elf.moved;
    return status;
}

/* ---- The information ---- */

/* A tag that is being written; NULL from the first one on that finds no room. */
static uint8_t *add_tag(struct loader *loader, enum info_tag type, uint64_t size)
{
    uint8_t *tag = load_make(loader, align_up(size, TAG_ALIGNMENT));
    if (tag != NULL) {
        load_put(tag, (uint64_t)type, 4);
        load_put(tag + 4, size, 4);
    }
    return tag;
}

/* A tag that ends in a string, which is "NAME TEXT" or "NAME". */
static uint8_t *add_string_tag(struct loader *loader, enum info_tag type, uint64_t at,
                               const char *name, struct load_text text)
{
    uint64_t named = strlen(name), blank = text.size != 0;
    uint8_t *tag = text.size < LOAD_PLAN_SIZE
                       ? add_tag(loader, type, at + named + blank + text.size + 1)
                       : NULL;
    if (tag == NULL)
        return NULL;
    memcpy(tag + at, name, named);
    if (blank) {
        tag[at + named] = ' ';
        memcpy(tag + at + named + 1, text.at, text.size);
    }
    return tag;
}

static enum status add_modules(struct multiboot2 *mb)
{
    struct loader *loader = mb->loader;
    uint64_t after = mb->end > MIB(1) ? mb->end : MIB(1);
    for (unsigned i = 0; i < load_module_count(loader); i++) {
        const struct load_file *module = load_module(loader, i);
        uint64_t base;
        enum status status = load_place_module(loader, module, after, LOAD_4G, &base);
        if (status != STATUS_OK)
            return status;
        after = base + module->size;
        uint8_t *tag = add_string_tag(loader, INFO_TAG_MODULE, 16, module->name, module->arguments);
        if (tag == NULL)
            return ERR_NO_SPACE;
        load_put(tag + 8, base, 4);
        load_put(tag + 12, after, 4);
    }
    return STATUS_OK;
}

static bool add_memory(struct loader *loader)
{
    const struct guest_map *map = loader->request->map;
    uint32_t lower, upper;
    load_meminfo(loader, &lower, &upper);
    uint8_t *meminfo = add_tag(loader, INFO_TAG_BASIC_MEMINFO, 16);
    uint8_t *mmap = add_tag(loader, INFO_TAG_MMAP, 16 + (uint64_t)map->count * MMAP_ENTRY_SIZE);
    if (meminfo == NULL || mmap == NULL)
        return false;
    load_put(meminfo + 8, lower, 4);
    load_put(meminfo + 12, upper, 4);
    load_put(mmap + 8, MMAP_ENTRY_SIZE, 4);
    for (unsigned i = 0; i < map->count; i++) {
        uint8_t *entry = mmap + 16 + (uint64_t)i * MMAP_ENTRY_SIZE;
        load_put(entry, map->entry[i].base, 8);
        load_put(entry + 8, map->entry[i].size, 8);
        load_put(entry + 16, (uint64_t)map->entry[i].type, 4);
    }
    return true;
}

/* Direct colours: 8 bits each, blue in the lowest. */
static bool add_framebuffer(struct multiboot2 *mb)
{
    static const uint8_t colours[] = {16, 8, 8, 8, 0, 8};
    if (mb->width == 0)
        return true;
    uint8_t *tag = add_tag(mb->loader, INFO_TAG_FRAMEBUFFER, 32 + sizeof(colours));
    if (tag == NULL)
        return false;
    load_put(tag + 8, mb->framebuffer, 8);
    load_put(tag + 16, mb->width * FRAMEBUFFER_BITS / 8, 4);
    load_put(tag + 20, mb->width, 4);
    load_put(tag + 24, mb->height, 4);
    tag[28] = FRAMEBUFFER_BITS;
    tag[29] = 1; /* direct RGB */
    memcpy(tag + 32, colours, sizeof(colours));
    return true;
}

/* Copies of the RSDP: as ACPI 1.0 has it, and whole. */
static bool add_rsdp(struct loader *loader)
{
    uint8_t *old = add_tag(loader, INFO_TAG_ACPI_OLD, TAG_SIZE + RSDP_OLD_SIZE);
    uint8_t *new = add_tag(loader, INFO_TAG_ACPI_NEW, TAG_SIZE + RSDP_SIZE);
    if (old == NULL || new == NULL)
        return false;
    memcpy(new + TAG_SIZE, loader->rsdp, RSDP_SIZE);
    memcpy(old + TAG_SIZE, loader->rsdp, RSDP_OLD_SIZE);
    old[TAG_SIZE + RSDP_CHECKSUM] =
        (uint8_t)(old[TAG_SIZE + RSDP_CHECKSUM] + old[TAG_SIZE + RSDP_REVISION]);
    old[TAG_SIZE + RSDP_REVISION] = 0;
    return true;
}

static enum status add_tags(struct multiboot2 *mb)
{
    struct loader *loader = mb->loader;
    const char *name = loader->request->kernel.name;
    struct load_text cmdline = load_cmdline(loader);
    if (add_string_tag(loader, INFO_TAG_CMDLINE, 8, name, cmdline) == NULL ||
        add_string_tag(loader, INFO_TAG_BOOT_LOADER_NAME, 8, LOAD_BOOT_LOADER,
                       (struct load_text){"", 0}) == NULL ||
        !add_memory(loader) || !add_framebuffer(mb) || !add_rsdp(loader))
        return ERR_NO_SPACE;
    uint8_t *load_base = mb->relocatable != NULL && mb->address == NULL
                             ? add_tag(loader, INFO_TAG_LOAD_BASE, 12)
                             : NULL;
    if (load_base != NULL)
        load_put(load_base + 8, mb->base, 4);
    enum status status = add_modules(mb);
    if (status == STATUS_OK && add_tag(loader, INFO_TAG_END, 8) == NULL)
        status = ERR_NO_SPACE;
    return status;
}

/* The tags follow each other where they are made: only at the end it is known how many bytes. */
static enum status make_info(struct multiboot2 *mb, uint64_t *base)
{
    struct loader *loader = mb->loader;
    uint8_t *info = load_make(loader, INFO_HEADER);
    enum status status = info != NULL ? add_tags(mb) : ERR_NO_SPACE;
    if (status != STATUS_OK)
        return status;
    uint64_t size = (uint64_t)((uint8_t *)loader->plan + loader->plan->used - info);
    load_put(info, size, 4);
    return load_add_low(loader, info, size, TAG_ALIGNMENT, base);
}

/* Multiboot2 Specification: I386 machine state. */
enum status load_multiboot2(struct loader *loader)
{
    struct multiboot2 mb;
    uint64_t info = 0;
    if (!find_header(loader, &mb))
        return load_fail(loader, ERR_INVALID, &loader->request->kernel,
                         "no Multiboot2 header in its first 32 KiB");
    enum status status = check_header(&mb);
    if (status == STATUS_OK)
        status = read_tags(&mb);
    if (status == STATUS_OK)
        status = make_framebuffer(&mb);
    if (status == STATUS_OK)
        status = mb.address != NULL ? place_addresses(&mb) : place_elf(&mb);
    if (status == STATUS_OK)
        status = make_info(&mb, &info);
    if (status == STATUS_OK)
        status = load_bios(loader);
    if (status != STATUS_OK)
        return status;
    load_entry_32(loader, mb.entry + mb.moved);
    loader->plan->entry.gpr[GPR_RAX] = BOOT_MAGIC;
    loader->plan->entry.gpr[GPR_RBX] = info;
    return STATUS_OK;
}

/*
 * The segments lie where their physical addresses say; the start information with its tables and
 * the command line below 640 KiB; the initrd, as the one module, as high below 4 GiB as it fits.
 */
#include "kernel/vm/load_elf.h"

#include "kernel/core/bits.h"
#include "kernel/vm/load_common.h"

/* System V ABI: ELF Header; Program Header; Note Section. */
#define ELF_HEADER_MIN 52
#define ELF_CLASS_32 1
#define ELF_CLASS_64 2
#define ELF_LITTLE_ENDIAN 1
#define ET_EXEC 2
#define ET_DYN 3
#define EM_386 3
#define EM_X86_64 62
#define PT_LOAD 1
#define PT_NOTE 4
#define NOTE_HEADER 12
#define SEGMENTS_MAX 32

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

#define ENTRY_CS 0x10
#define ENTRY_DS 0x18

struct elf {
    struct loader *loader;
    const uint8_t *image;
    uint64_t size;
    bool is_64;
    uint64_t phoff;
    unsigned phnum, phentsize;
};

struct elf_segment {
    uint32_t type;
    uint64_t offset, paddr, filesz, memsz, align;
};

bool load_elf_recognises(const uint8_t *image, uint64_t size)
{
    return size >= 4 && memcmp(image,
                               "\x7f"
                               "ELF",
                               4) == 0;
}

/* ---- Headers ---- */

static enum status read_header(struct elf *elf)
{
    const uint8_t *image = elf->image;
    const struct load_file *name = &elf->loader->request->kernel;
    if (elf->size < ELF_HEADER_MIN)
        return load_fail(elf->loader, ERR_TRUNCATED, name, "truncated in the ELF header");
    elf->is_64 = image[4] == ELF_CLASS_64;
    unsigned type = (unsigned)load_get(image + 16, 2), machine = (unsigned)load_get(image + 18, 2);
    if ((image[4] != ELF_CLASS_32 && !elf->is_64) || image[5] != ELF_LITTLE_ENDIAN ||
        (machine != EM_386 && machine != EM_X86_64))
        return load_fail(elf->loader, ERR_UNSUPPORTED, name,
                         "an ELF file for another processor; x86 is needed");
    if (type != ET_EXEC && type != ET_DYN)
        return load_fail(elf->loader, ERR_UNSUPPORTED, name,
                         "an ELF file of type %u; an executable (type 2) is needed", type);
    if (elf->is_64 && elf->size < 64)
        return load_fail(elf->loader, ERR_TRUNCATED, name, "truncated in the ELF header");
    elf->phoff = elf->is_64 ? load_get(image + 32, 8) : load_get(image + 28, 4);
    elf->phentsize = (unsigned)load_get(image + (elf->is_64 ? 54 : 42), 2);
    elf->phnum = (unsigned)load_get(image + (elf->is_64 ? 56 : 44), 2);
    if (elf->phentsize < (elf->is_64 ? 56u : 32u) || elf->phnum == 0)
        return load_fail(elf->loader, ERR_INVALID, name, "malformed: no program headers");
    uint64_t table = (uint64_t)elf->phnum * elf->phentsize;
    if (elf->phoff > elf->size || table > elf->size - elf->phoff)
        return load_fail(elf->loader, ERR_TRUNCATED, name,
                         "truncated: its program headers lie past the end of the file");
    return STATUS_OK;
}

static void read_segment(const struct elf *elf, unsigned i, struct elf_segment *segment)
{
    const uint8_t *at = elf->image + elf->phoff + (uint64_t)i * elf->phentsize;
    if (elf->is_64)
        *segment = (struct elf_segment){(uint32_t)load_get(at, 4), load_get(at + 8, 8),
                                        load_get(at + 24, 8),      load_get(at + 32, 8),
                                        load_get(at + 40, 8),      load_get(at + 48, 8)};
    else
        *segment = (struct elf_segment){(uint32_t)load_get(at, 4), load_get(at + 4, 4),
                                        load_get(at + 12, 4),      load_get(at + 16, 4),
                                        load_get(at + 20, 4),      load_get(at + 28, 4)};
}

/* The fuzzer is shown to work by finding a planted fault: an offset that is not checked. */
#ifdef PLANTED_BUG_LOAD
#define IS_PAST_END(offset, size) false
#else
#define IS_PAST_END(offset, size) ((offset) > (size))
#endif

static bool is_in_file(const struct elf *elf, const struct elf_segment *segment)
{
    return !IS_PAST_END(segment->offset, elf->size) &&
           segment->filesz <= elf->size - segment->offset;
}

/* ---- The entry's note ---- */

/* Looks through one note segment. Offsets in it are below 2^33: no sum overflows. */
static bool find_note(const struct elf *elf, const struct elf_segment *segment, uint64_t *entry)
{
    const uint8_t *notes = elf->image + segment->offset;
    uint64_t alignment = segment->align == 8 ? 8 : 4, at = 0;
    while (at < segment->filesz && segment->filesz - at >= NOTE_HEADER) {
        uint64_t namesz = load_get(notes + at, 4), descsz = load_get(notes + at + 4, 4);
        uint32_t type = (uint32_t)load_get(notes + at + 8, 4);
        uint64_t name = at + NOTE_HEADER, desc = align_up(name + namesz, alignment);
        if (desc > segment->filesz || descsz > segment->filesz - desc)
            return false;
        if (type == XEN_ELFNOTE_PHYS32_ENTRY && namesz == 4 &&
            memcmp(notes + name, "Xen", 4) == 0 && (descsz == 4 || descsz == 8)) {
            *entry = load_get(notes + desc, (unsigned)descsz);
            return true;
        }
        at = align_up(desc + descsz, alignment);
    }
    return false;
}

static enum status find_entry(const struct elf *elf, uint64_t *entry)
{
    for (unsigned i = 0; i < elf->phnum; i++) {
        struct elf_segment segment;
        read_segment(elf, i, &segment);
        if (segment.type != PT_NOTE)
            continue;
        if (!is_in_file(elf, &segment))
            return load_fail(elf->loader, ERR_TRUNCATED, &elf->loader->request->kernel,
                             "truncated: its notes, segment %u, lie past the end of the file", i);
        if (find_note(elf, &segment, entry))
            return STATUS_OK;
    }
    return load_fail(elf->loader, ERR_UNSUPPORTED, &elf->loader->request->kernel,
                     "an ELF file without a PVH entry (a note of type 18 by Xen); Linux has one "
                     "when built with CONFIG_PVH=y");
}

/* ---- Segments ---- */

static enum status load_segment(const struct elf *elf, unsigned i,
                                const struct elf_segment *segment)
{
    const struct load_file *name = &elf->loader->request->kernel;
    unsigned long long base = segment->paddr, size = segment->memsz;
    if (segment->filesz > segment->memsz)
        return load_fail(elf->loader, ERR_INVALID, name,
                         "malformed: segment %u has more bytes in the file than in memory", i);
    if (!is_in_file(elf, segment))
        return load_fail(elf->loader, ERR_TRUNCATED, name,
                         "truncated: segment %u lies past the end of the file", i);
    enum status status = load_claim(elf->loader, segment->paddr, segment->memsz);
    if (status == ERR_RANGE)
        return load_fail(elf->loader, status, name,
                         "segment %u (0x%llx, %llu KiB) lies outside the guest's RAM of %llu MiB: "
                         "raise `memory`",
                         i, base, (size + 1023) >> 10,
                         (unsigned long long)(elf->loader->request->map->ram_below_4g >> 20));
    if (status == ERR_EXISTS)
        return load_fail(elf->loader, status, name,
                         "malformed: segment %u (0x%llx, %llu bytes) overlaps another", i, base,
                         size);
    if (status != STATUS_OK)
        return load_fail(elf->loader, ERR_UNSUPPORTED, name, "too many segments");
    return load_add(elf->loader, segment->paddr, elf->image + segment->offset, segment->filesz);
}

static enum status load_segments(const struct elf *elf, uint64_t entry)
{
    unsigned count = 0;
    bool has_entry = false;
    for (unsigned i = 0; i < elf->phnum; i++) {
        struct elf_segment segment;
        read_segment(elf, i, &segment);
        if (segment.type != PT_LOAD || segment.memsz == 0)
            continue;
        if (count++ == SEGMENTS_MAX)
            return load_fail(elf->loader, ERR_UNSUPPORTED, &elf->loader->request->kernel,
                             "has more than 32 segments");
        enum status status = load_segment(elf, i, &segment);
        if (status != STATUS_OK)
            return status;
        has_entry |= entry >= segment.paddr && entry - segment.paddr < segment.memsz;
    }
    if (!has_entry || entry >= LOAD_4G)
        return load_fail(elf->loader, ERR_INVALID, &elf->loader->request->kernel,
                         "malformed: its PVH entry 0x%llx lies in no segment below 4 GiB",
                         (unsigned long long)entry);
    return STATUS_OK;
}

/* ---- What the kernel is handed ---- */

static enum status place_initrd(struct loader *loader, uint64_t *base)
{
    const struct load_request *request = loader->request;
    const struct load_file *initrd = &request->initrd;
    if (initrd->at == NULL)
        return STATUS_OK;
    enum status status = load_claim_highest(loader, initrd->size, PAGE_SIZE, MIB(1), LOAD_4G, base);
    if (status != STATUS_OK)
        return load_fail(loader, status, initrd,
                         "the initrd of %llu KiB does not fit beside the kernel into %llu MiB "
                         "below 4 GiB: raise `memory`",
                         (unsigned long long)((initrd->size + 1023) >> 10),
                         (unsigned long long)(request->map->ram_below_4g >> 20));
    return load_add(loader, *base, initrd->at, initrd->size);
}

static void fill_start_info(const struct load_request *request, uint8_t *page, uint64_t base,
                            uint64_t cmdline, uint64_t initrd)
{
    const struct guest_map *map = request->map;
    uint8_t *module = page + START_INFO_SIZE, *memmap = module + MODULE_SIZE;
    bool has_module = request->initrd.at != NULL;
    load_put(page, START_INFO_MAGIC, 4);
    load_put(page + START_INFO_VERSION_AT, START_INFO_VERSION, 4);
    load_put(page + START_INFO_NR_MODULES, has_module, 4);
    load_put(page + START_INFO_MODLIST, has_module ? base + START_INFO_SIZE : 0, 8);
    load_put(page + START_INFO_CMDLINE, cmdline, 8);
    load_put(page + START_INFO_RSDP, GUEST_MAP_ACPI_BASE, 8);
    load_put(page + START_INFO_MEMMAP, base + START_INFO_SIZE + MODULE_SIZE, 8);
    load_put(page + START_INFO_MEMMAP_ENTRIES, map->count, 4);
    load_put(module, initrd, 8);
    load_put(module + 8, has_module ? request->initrd.size : 0, 8);
    for (unsigned i = 0; i < map->count; i++, memmap += MEMMAP_ENTRY_SIZE) {
        load_put(memmap, map->entry[i].base, 8);
        load_put(memmap + 8, map->entry[i].size, 8);
        load_put(memmap + 16, (uint64_t)map->entry[i].type, 4);
    }
}

static enum status make_start_info(struct loader *loader, uint64_t cmdline, uint64_t initrd,
                                   uint64_t *base)
{
    uint64_t size = START_INFO_SIZE + MODULE_SIZE + loader->request->map->count * MEMMAP_ENTRY_SIZE;
    uint8_t *info = load_make_low(loader, size, 8, base);
    if (info == NULL)
        return load_fail(loader, ERR_NO_SPACE, &loader->request->kernel,
                         "no room for its start information");
    fill_start_info(loader->request, info, *base, cmdline, initrd);
    return STATUS_OK;
}

/* Xen: x86/HVM direct boot ABI: 32-bit protected mode without paging, EBX points to the start
 * information, flat segments, interrupts off. */
static void fill_entry(struct guest_entry *state, uint64_t entry, uint64_t start_info)
{
    *state = (struct guest_entry){
        .rip = entry,
        .rflags = RFLAGS_FIXED,
        .cr0 = CR0_PE | CR0_ET,
    };
    state->gpr[GPR_RBX] = start_info;
    load_flat_segments(state, LOAD_ACCESS_CODE | (uint32_t)SEGMENT_DB, ENTRY_CS, ENTRY_DS);
}

enum status load_elf(struct loader *loader)
{
    struct elf elf = {.loader = loader,
                      .image = loader->request->kernel.at,
                      .size = loader->request->kernel.size};
    uint64_t entry = 0, cmdline, initrd = 0, start_info;
    enum status status = read_header(&elf);
    if (status == STATUS_OK)
        status = find_entry(&elf, &entry);
    if (status == STATUS_OK)
        status = load_segments(&elf, entry);
    if (status == STATUS_OK)
        status = load_cmdline(loader, &cmdline);
    if (status == STATUS_OK)
        status = place_initrd(loader, &initrd);
    if (status == STATUS_OK)
        status = make_start_info(loader, cmdline, initrd, &start_info);
    if (status == STATUS_OK)
        fill_entry(&loader->plan->entry, entry, start_info);
    return status;
}

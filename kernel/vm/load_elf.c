/* Segments lie where their physical addresses say. */
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
#define PT_INTERP 3
#define PT_NOTE 4
#define NOTE_HEADER 12
#define SEGMENTS_MAX 32

bool load_elf_is(const uint8_t *image, uint64_t size)
{
    return size >= 4 && memcmp(image,
                               "\x7f"
                               "ELF",
                               4) == 0;
}

bool load_elf_is_64(const uint8_t *image, uint64_t size)
{
    return load_elf_is(image, size) && size > 4 && image[4] == ELF_CLASS_64;
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
                                        load_get(at + 16, 8),      load_get(at + 24, 8),
                                        load_get(at + 32, 8),      load_get(at + 40, 8),
                                        load_get(at + 48, 8)};
    else
        *segment = (struct elf_segment){(uint32_t)load_get(at, 4), load_get(at + 4, 4),
                                        load_get(at + 8, 4),       load_get(at + 12, 4),
                                        load_get(at + 16, 4),      load_get(at + 20, 4),
                                        load_get(at + 28, 4)};
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

/* ---- Notes ---- */

/* Looks through one note segment. Offsets in it are below 2^33: no sum overflows. */
static bool find_note(const struct elf *elf, const struct elf_segment *segment, const char *name,
                      uint32_t wanted, uint64_t *value)
{
    const uint8_t *notes = elf->image + segment->offset;
    uint64_t alignment = segment->align == 8 ? 8 : 4, at = 0, length = strlen(name) + 1;
    while (at < segment->filesz && segment->filesz - at >= NOTE_HEADER) {
        uint64_t namesz = load_get(notes + at, 4), descsz = load_get(notes + at + 4, 4);
        uint32_t type = (uint32_t)load_get(notes + at + 8, 4);
        uint64_t desc = align_up(at + NOTE_HEADER + namesz, alignment);
        if (desc > segment->filesz || descsz > segment->filesz - desc)
            return false;
        if (type == wanted && namesz == length &&
            memcmp(notes + at + NOTE_HEADER, name, length) == 0 && (descsz == 4 || descsz == 8)) {
            *value = load_get(notes + desc, (unsigned)descsz);
            return true;
        }
        at = align_up(desc + descsz, alignment);
    }
    return false;
}

enum status load_elf_note(const struct elf *elf, const char *name, uint32_t type, uint64_t *value,
                          bool *found)
{
    *found = false;
    for (unsigned i = 0; i < elf->phnum && !*found; i++) {
        struct elf_segment segment;
        read_segment(elf, i, &segment);
        if (segment.type != PT_NOTE)
            continue;
        if (!is_in_file(elf, &segment))
            return load_fail(elf->loader, ERR_TRUNCATED, &elf->loader->request->kernel,
                             "truncated: its notes, segment %u, lie past the end of the file", i);
        *found = find_note(elf, &segment, name, type, value);
    }
    return STATUS_OK;
}

/* ---- Segments ---- */

static enum status place_segment(const struct elf *elf, unsigned i,
                                 const struct elf_segment *segment)
{
    const struct load_file *name = &elf->loader->request->kernel;
    uint64_t base = segment->paddr + elf->moved;
    unsigned long long at = base, size = segment->memsz;
    if (segment->filesz > segment->memsz)
        return load_fail(elf->loader, ERR_INVALID, name,
                         "malformed: segment %u has more bytes in the file than in memory", i);
    if (!is_in_file(elf, segment))
        return load_fail(elf->loader, ERR_TRUNCATED, name,
                         "truncated: segment %u lies past the end of the file", i);
    enum status status = load_claim_image(elf->loader, base, segment->memsz);
    if (status == ERR_RANGE && base < MIB(1))
        return load_fail(elf->loader, status, name,
                         "segment %u (0x%llx, %llu KiB) reaches into video memory or the ACPI "
                         "tables, 0xa0000 to 0xbffff and 0xe0000 to 0xeffff: link it elsewhere",
                         i, at, (size + 1023) >> 10);
    if (status == ERR_RANGE)
        return load_fail(elf->loader, status, name,
                         "segment %u (0x%llx, %llu KiB) lies outside the guest's RAM of %llu MiB: "
                         "raise `memory`",
                         i, at, (size + 1023) >> 10,
                         (unsigned long long)(elf->loader->request->map->ram_below_4g >> 20));
    if (status == ERR_EXISTS)
        return load_fail(elf->loader, status, name,
                         "malformed: segment %u (0x%llx, %llu bytes) overlaps another", i, at,
                         size);
    if (status != STATUS_OK)
        return load_fail(elf->loader, ERR_UNSUPPORTED, name, "too many segments");
    return load_add(elf->loader, base, elf->image + segment->offset, segment->filesz);
}

static bool is_loaded(const struct elf_segment *segment)
{
    return segment->type == PT_LOAD && segment->memsz != 0;
}

/* The ends of what is loaded, and the entry's physical address. */
static enum status survey(struct elf *elf)
{
    const uint8_t *image = elf->image;
    uint64_t entry = elf->is_64 ? load_get(image + 24, 8) : load_get(image + 24, 4);
    unsigned count = 0;
    elf->entry = entry;
    elf->low = UINT64_MAX;
    for (unsigned i = 0; i < elf->phnum; i++) {
        struct elf_segment segment;
        read_segment(elf, i, &segment);
        elf->has_interpreter |= segment.type == PT_INTERP;
        if (!is_loaded(&segment))
            continue;
        if (count++ == SEGMENTS_MAX)
            return load_fail(elf->loader, ERR_UNSUPPORTED, &elf->loader->request->kernel,
                             "has more than 32 segments");
        elf->low = segment.paddr < elf->low ? segment.paddr : elf->low;
        uint64_t end = segment.paddr + segment.memsz;
        elf->high = end > elf->high ? end : elf->high;
        if (entry >= segment.vaddr && entry - segment.vaddr < segment.memsz)
            elf->entry = entry - segment.vaddr + segment.paddr;
    }
    return STATUS_OK;
}

enum status load_elf_read(struct loader *loader, struct elf *elf)
{
    const struct load_file *kernel = &loader->request->kernel;
    *elf = (struct elf){.loader = loader, .image = kernel->at, .size = kernel->size};
    if (!load_elf_is(kernel->at, kernel->size))
        return load_fail(loader, ERR_INVALID, kernel, "no ELF file");
    enum status status = read_header(elf);
    return status == STATUS_OK ? survey(elf) : status;
}

enum status load_elf_place(const struct elf *elf)
{
    enum status status = STATUS_OK;
    for (unsigned i = 0; status == STATUS_OK && i < elf->phnum; i++) {
        struct elf_segment segment;
        read_segment(elf, i, &segment);
        if (is_loaded(&segment))
            status = place_segment(elf, i, &segment);
    }
    return status;
}

enum status load_elf_check_entry(const struct elf *elf, uint64_t entry, const char *what)
{
    for (unsigned i = 0; i < elf->phnum; i++) {
        struct elf_segment segment;
        read_segment(elf, i, &segment);
        if (is_loaded(&segment) && entry >= segment.paddr &&
            entry - segment.paddr < segment.memsz && entry + elf->moved < LOAD_4G)
            return STATUS_OK;
    }
    return load_fail(elf->loader, ERR_INVALID, &elf->loader->request->kernel,
                     "malformed: its %s 0x%llx lies in no segment below 4 GiB", what,
                     (unsigned long long)entry);
}

/* System V ABI: Object Files; and its AMD64 supplement. */
#include "boot/elf_image.h"

#include "kernel/core/bits.h"
#include "kernel/core/mem.h"

#define KERNEL_MODEL_BASE 0xffffffff80000000ull /* AMD64 ABI: Kernel code model */

#define ELF_TYPE_EXEC 2
#define ELF_MACHINE_X86_64 62
#define SEGMENT_LOAD 1
#define SECTION_SYMTAB 2

struct elf_header {
    uint8_t ident[16];
    uint16_t type;
    uint16_t machine;
    uint32_t version;
    uint64_t entry;
    uint64_t program_offset;
    uint64_t section_offset;
    uint32_t flags;
    uint16_t header_size;
    uint16_t program_size;
    uint16_t program_count;
    uint16_t section_size;
    uint16_t section_count;
    uint16_t section_names;
};

struct elf_program {
    uint32_t type;
    uint32_t flags;
    uint64_t offset;
    uint64_t linear;
    uint64_t physical;
    uint64_t file_size;
    uint64_t memory_size;
    uint64_t alignment;
};

struct elf_section {
    uint32_t name;
    uint32_t type;
    uint64_t flags;
    uint64_t linear;
    uint64_t offset;
    uint64_t size;
    uint32_t link;
    uint32_t info;
    uint64_t alignment;
    uint64_t entry_size;
};

static const uint8_t ident[] = {0x7f, 'E', 'L', 'F', 2 /* 64 bits */, 1 /* little-endian */, 1};

static bool inside(uint64_t offset, uint64_t length, uint64_t size)
{
    return offset <= size && length <= size - offset;
}

/* The header was checked by elf_image_open. */
static struct elf_header header_read(const uint8_t *file)
{
    struct elf_header header;

    memcpy(&header, file, sizeof(header));
    return header;
}

static struct elf_program program_read(const uint8_t *file, unsigned index)
{
    struct elf_header header = header_read(file);
    struct elf_program program;

    memcpy(&program, file + header.program_offset + (uint64_t)index * sizeof(program),
           sizeof(program));
    return program;
}

static struct elf_section section_read(const uint8_t *file, unsigned index)
{
    struct elf_header header = header_read(file);
    struct elf_section section;

    memcpy(&section, file + header.section_offset + (uint64_t)index * sizeof(section),
           sizeof(section));
    return section;
}

static bool header_holds(const struct elf_header *header, uint64_t size)
{
    return memcmp(header->ident, ident, sizeof(ident)) == 0 && header->type == ELF_TYPE_EXEC &&
           header->machine == ELF_MACHINE_X86_64 &&
           header->program_size == sizeof(struct elf_program) &&
           inside(header->program_offset,
                  (uint64_t)header->program_count * sizeof(struct elf_program), size) &&
           (header->section_count == 0 || header->section_size == sizeof(struct elf_section)) &&
           inside(header->section_offset,
                  (uint64_t)header->section_count * sizeof(struct elf_section), size);
}

/* Finds the range of linear addresses that the segments fill. */
static enum status image_measure(struct elf_image *image, unsigned count, uint64_t size)
{
    uint64_t low = UINT64_MAX, high = 0;

    for (unsigned i = 0; i < count; i++) {
        struct elf_program program = program_read(image->file, i);

        if (program.type != SEGMENT_LOAD)
            continue;
#ifdef PLANTED_BUG_ELF_IMAGE /* for the fuzzer's own test */
        if (program.memory_size == 0)
            continue;
#endif
        if (!inside(program.offset, program.file_size, size) ||
            program.file_size > program.memory_size)
            return ERR_INVALID;
        if (program.memory_size == 0)
            continue;
        if (program.linear < KERNEL_MODEL_BASE || program.linear > UINT64_MAX - PAGE_SIZE ||
            program.memory_size > UINT64_MAX - PAGE_SIZE - program.linear)
            return ERR_RANGE;
        if (program.linear < low)
            low = program.linear;
        if (program.linear + program.memory_size > high)
            high = program.linear + program.memory_size;
    }
    if (low >= high)
        return ERR_INVALID;
    image->link_base = align_down(low, PAGE_SIZE);
    image->size = align_up(high, PAGE_SIZE) - image->link_base;
    return STATUS_OK;
}

static void image_find_symbols(struct elf_image *image, unsigned count, uint64_t size)
{
    for (unsigned i = 0; i < count; i++) {
        struct elf_section symbols = section_read(image->file, i), strings;

        if (symbols.type != SECTION_SYMTAB || symbols.link >= count)
            continue;
        strings = section_read(image->file, symbols.link);
        if (!inside(symbols.offset, symbols.size, size) ||
            !inside(strings.offset, strings.size, size))
            continue;
        image->symtab_offset = symbols.offset;
        image->symtab_size = symbols.size;
        image->strtab_offset = strings.offset;
        image->strtab_size = strings.size;
        return;
    }
}

enum status elf_image_open(const uint8_t *file, uint64_t size, struct elf_image *image)
{
    struct elf_header header;
    enum status status;

    *image = (struct elf_image){.file = file};
    if (size < sizeof(header))
        return ERR_INVALID;
    header = header_read(file);
    if (!header_holds(&header, size))
        return ERR_INVALID;
    status = image_measure(image, header.program_count, size);
    if (status != STATUS_OK)
        return status;
    if (header.entry - image->link_base >= image->size)
        return ERR_RANGE;
    image->entry = header.entry;
    image_find_symbols(image, header.section_count, size);
    return STATUS_OK;
}

void elf_image_copy(const struct elf_image *image, uint8_t *to)
{
    unsigned count = header_read(image->file).program_count;

    memset(to, 0, image->size);
    for (unsigned i = 0; i < count; i++) {
        struct elf_program program = program_read(image->file, i);

        if (program.type == SEGMENT_LOAD && program.file_size != 0)
            memcpy(to + (program.linear - image->link_base), image->file + program.offset,
                   program.file_size);
    }
}

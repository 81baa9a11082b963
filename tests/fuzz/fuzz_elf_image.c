/*
 * The loader of the monitor's own ELF file, on changes of one that loads: it copies inside the
 * image, and the backtrace's symbols are looked up inside the file.
 */
#include <string.h>

#include "boot/elf_image.h"
#include "kernel/core/symbols.h"
#include "tests/fuzz/fuzz.h"

#define FILE_SIZE 1024u
#define LINK_BASE 0xffffffff80000000ull
#define IMAGE_MAX MIB(1)

static void put(uint8_t *file, unsigned at, uint64_t value, unsigned size)
{
    memcpy(file + at, &value, size);
}

static void make(uint8_t *file)
{
    memset(file, 0, FILE_SIZE);
    memcpy(file, "\x7f\x45\x4c\x46\x02\x01\x01", 7);
    put(file, 16, 2, 2);
    put(file, 18, 62, 2);
    put(file, 24, LINK_BASE + 0x10, 8);
    put(file, 32, 64, 8);  /* program headers */
    put(file, 40, 256, 8); /* section headers */
    put(file, 54, 56, 2);
    put(file, 56, 2, 2);
    put(file, 58, 64, 2);
    put(file, 60, 3, 2);
    for (unsigned i = 0; i < 2; i++) {
        unsigned at = 64 + 56 * i;
        put(file, at, 1, 4);
        put(file, at + 8, 512, 8);
        put(file, at + 16, LINK_BASE + 0x2000 * i, 8);
        put(file, at + 32, 128, 8);
        put(file, at + 40, 0x1100, 8);
    }
    put(file, 256 + 64 + 4, 2, 4); /* section 1: symbols, their names in section 2 */
    put(file, 256 + 64 + 24, 640, 8);
    put(file, 256 + 64 + 32, 48, 8);
    put(file, 256 + 64 + 40, 2, 4);
    put(file, 256 + 128 + 4, 3, 4);
    put(file, 256 + 128 + 24, 768, 8);
    put(file, 256 + 128 + 32, 16, 8);
    for (unsigned i = 0; i < 2; i++) {
        put(file, 640 + 24 * i, 1 + 4 * i, 4);
        put(file, 640 + 24 * i + 4, 2, 1);
        put(file, 640 + 24 * i + 6, 1, 2);
        put(file, 640 + 24 * i + 8, LINK_BASE + 0x40 * i, 8);
        put(file, 640 + 24 * i + 16, 0x20, 8);
    }
    memcpy(file + 769, "one\0two\0", 8);
}

/* Changes: where (2 bytes), how many bytes (1 byte, up to 8), the bytes. */
static void change(uint8_t *file, struct fuzz_input *input)
{
    while (!fuzz_is_done(input)) {
        uint64_t at = fuzz_take(input, 2), count = fuzz_take(input, 1) % 9;
        for (uint64_t i = 0; i < count && !fuzz_is_done(input); i++)
            file[(at + i) % FILE_SIZE] = (uint8_t)fuzz_take(input, 1);
    }
}

static void look_up(const uint8_t *file, const struct elf_image *image)
{
    const struct symbols symbols = {file + image->symtab_offset, image->symtab_size,
                                    (const char *)file + image->strtab_offset, image->strtab_size};
    const uint64_t addresses[] = {0, image->entry, LINK_BASE + 0x41, UINT64_MAX};
    uint64_t offset;
    for (unsigned i = 0; image->symtab_size != 0 && i < ARRAY_SIZE(addresses); i++) {
        const char *name = symbols_lookup(&symbols, addresses[i], &offset);
        if (name != NULL)
            REQUIRE(strlen(name) < image->strtab_size && offset <= addresses[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, data + size};
    struct elf_image image;
    size_t file_size = FILE_SIZE;
    uint64_t cut = fuzz_take(&input, 1);
    if (cut != 0)
        file_size = cut * 4;
    uint8_t *file = malloc(FILE_SIZE), *copy = malloc(file_size);
    REQUIRE(file != NULL && copy != NULL);
    make(file);
    change(file, &input);
    memcpy(copy, file, file_size);
    enum status status = elf_image_open(copy, file_size, &image);
    REQUIRE(status == STATUS_OK || status == ERR_INVALID || status == ERR_RANGE);
    if (status == STATUS_OK) {
        REQUIRE(image.size % PAGE_SIZE == 0 && image.link_base % PAGE_SIZE == 0);
        REQUIRE(image.link_base >= LINK_BASE && image.size != 0);
        REQUIRE(image.entry - image.link_base < image.size);
        look_up(copy, &image);
        uint8_t *to = image.size <= IMAGE_MAX ? malloc(image.size) : NULL;
        if (to != NULL)
            elf_image_copy(&image, to);
        free(to);
    }
    free(file);
    free(copy);
    return 0;
}

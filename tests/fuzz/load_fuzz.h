/* What the targets of the loaders share. */
#pragma once

#include <string.h>

#include "kernel/vm/load.h"
#include "tests/fuzz/fuzz.h"

#define NAME_SHOWN 128 /* of a long name, its beginning */

/* ---- A file that loads, and changes to it ---- */

#define LOAD_FUZZ_FILE 4096 /* bytes */

static inline void load_fuzz_put(uint8_t *file, unsigned offset, uint64_t value, unsigned size)
{
    memcpy(file + offset, &value, size);
}

/* What every loader of a bzImage looks at. Linux: The Linux/x86 Boot Protocol. */
static inline void load_fuzz_make_linux(uint8_t *file)
{
    load_fuzz_put(file, 0x1f1, 1, 1);
    load_fuzz_put(file, 0x1f4, (LOAD_FUZZ_FILE - 1024) / 16, 4);
    load_fuzz_put(file, 0x1fe, 0xaa55, 2);
    load_fuzz_put(file, 0x202, 0x53726448, 4);
    load_fuzz_put(file, 0x206, 0x020f, 2);
    load_fuzz_put(file, 0x211, 1, 1);
    load_fuzz_put(file, 0x22c, 0x7fffffff, 4);
    load_fuzz_put(file, 0x230, 0x1000, 4);
    load_fuzz_put(file, 0x234, 1, 1);
    load_fuzz_put(file, 0x236, 1, 2);
    load_fuzz_put(file, 0x238, 2047, 4);
}

/* Changes: an offset (2 bytes), how many bytes (1 byte), the bytes. */
static inline void load_fuzz_change(uint8_t *file, const uint8_t *data, size_t size)
{
    while (size > 3) {
        size_t offset = (data[0] | data[1] << 8) % LOAD_FUZZ_FILE, length = data[2] % 16;
        data += 3;
        size -= 3;
        length = length < size ? length : size;
        length = length < LOAD_FUZZ_FILE - offset ? length : LOAD_FUZZ_FILE - offset;
        memcpy(file + offset, data, length);
        data += length;
        size -= length;
    }
}

/* ---- What is said of it ---- */

static inline bool load_fuzz_names(const struct load_error *error, const struct load_file *file)
{
    size_t length = file->name != NULL ? strlen(file->name) : 0;
    length = length < NAME_SHOWN ? length : NAME_SHOWN;
    const char *behind = error->text + length;
    return length != 0 && memcmp(error->text, file->name, length) == 0 &&
           (*behind == ':' || *behind == ' ') && strlen(behind) > 2;
}

/* A refusal names one of the files, first thing, and says something of it, and where one of them is
 * named in the configuration; a warning does, too. */
static inline void load_fuzz_require_text(enum status status, const struct load_error *error,
                                          const struct load_file *const *files, unsigned count)
{
    bool names = false, has_line = false;
    REQUIRE(memchr(error->text, '\0', sizeof(error->text)) != NULL);
    for (unsigned i = 0; i < count; i++) {
        names = names || load_fuzz_names(error, files[i]);
        has_line = has_line || (error->line != 0 && error->line == files[i]->line);
    }
    REQUIRE((names && has_line) || (status == STATUS_OK && error->text[0] == '\0'));
}

/* What the targets of the loaders share. */
#pragma once

#include <string.h>

#include "kernel/vm/load.h"
#include "tests/fuzz/fuzz.h"

#define NAME_SHOWN 128 /* of a long name, its beginning */

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

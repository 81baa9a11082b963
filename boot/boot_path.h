/* Paths on the boot volume, in the firmware's 16-bit characters. Pure. */
#pragma once

#include "kernel/core/types.h"

#define PATH_MAX 512 /* characters, the terminator included */

/* Appends text, up to its terminator or length characters, to path; slashes become backslashes, and
 * several in a row one. false: it does not fit. */
bool MUST_CHECK path_append(uint16_t *path, const uint16_t *text, size_t length);

/* Cuts a path after its last separator; the root where it has none. */
void path_to_directory(uint16_t *path);

/* Joins a name to a directory that ends in a separator, or takes the name alone where it begins at
 * the volume's root. false: too long. */
bool MUST_CHECK path_join(uint16_t *path, const uint16_t *directory, const uint16_t *name);

/* false: empty, too long, or not printable ASCII. */
bool MUST_CHECK path_from_ascii(uint16_t *path, const char *text);

/* The last part of a path for messages; other characters than printable ASCII become '?', and what
 * does not fit is cut. */
void path_last_part(const uint16_t *path, char *text, size_t size);

/*
 * Copies the first word of an image's load options (size in bytes), or the second where the first
 * is the program's own name, as some loaders pass it. path keeps what it holds where there is no
 * such word, and where the options are not text: a firmware may put any bytes there. false: too
 * long.
 */
bool MUST_CHECK path_from_options(uint16_t *path, const void *options, size_t size);

/* Any load options, paths and names: what comes out is terminated, and never longer than PATH_MAX.
 */
#include <string.h>

#include "boot/boot_path.h"
#include "tests/fuzz/fuzz.h"

/* A path in a piece of memory of its own, so that the sanitizer sees a character too many. */
static uint16_t *path_new(const char *text)
{
    uint16_t *path = calloc(PATH_MAX, sizeof(*path));
    REQUIRE(path != NULL && path_from_ascii(path, text));
    return path;
}

static size_t path_length(const uint16_t *path)
{
    size_t length = 0;
    while (length < PATH_MAX && path[length] != 0)
        length++;
    REQUIRE(length < PATH_MAX);
    return length;
}

/* The input as 16-bit characters with a terminator, exactly as long as they are. */
static uint16_t *wide(const uint8_t *data, size_t size)
{
    size_t count = size / 2;
    uint16_t *text = calloc(count + 1, sizeof(*text));
    REQUIRE(text != NULL);
    if (count != 0)
        memcpy(text, data, 2 * count);
    return text;
}

static void options(const uint8_t *data, size_t size)
{
    uint16_t *path = path_new("default.conf");
    uint8_t *copy = malloc(size == 0 ? 1 : size);
    REQUIRE(copy != NULL);
    if (size != 0)
        memcpy(copy, data, size);
    bool fits = path_from_options(path, copy, size);
    size_t length = path_length(path);
    REQUIRE(!fits || length > 0);
    for (size_t i = 0; i < length; i++)
        REQUIRE(path[i] >= 0x20 && path[i] != '/' && path[i] != ' ');
    free(copy);
    free(path);
}

static void join(const uint16_t *name)
{
    uint16_t *path = path_new("x"), *directory = path_new("\\EFI\\BOOT\\");
    bool fits = path_join(path, directory, name);
    size_t length = path_length(path);
    for (size_t i = 1; i < length; i++)
        REQUIRE(path[i] != '/' && (path[i] != '\\' || path[i - 1] != '\\'));
    REQUIRE(fits || length == PATH_MAX - 1);
    path_to_directory(path);
    length = path_length(path);
    REQUIRE(length >= 1 && path[length - 1] == '\\');
    free(path);
    free(directory);
}

static void last_part(const uint16_t *name, size_t size)
{
    char *text = malloc(size);
    REQUIRE(text != NULL);
    path_last_part(name, text, size);
    REQUIRE(memchr(text, '\0', size) != NULL);
    for (const char *c = text; *c != '\0'; c++)
        REQUIRE(*c >= 0x20 && *c < 0x7f && *c != '/' && *c != '\\');
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    char *ascii = calloc(1, size);
    uint16_t *text = wide(data + 1, size - 1), *path = path_new("y");
    REQUIRE(ascii != NULL);
    memcpy(ascii, data + 1, size - 1);
    options(data + 1, size - 1);
    join(text);
    last_part(text, 1 + data[0] % 64);
    bool is_good = path_from_ascii(path, ascii);
    REQUIRE(!is_good || (path_length(path) == strlen(ascii) && path_length(path) > 0));
    free(ascii);
    free(text);
    free(path);
    return 0;
}

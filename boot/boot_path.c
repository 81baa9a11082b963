#include "boot/boot_path.h"

#include "kernel/core/mem.h"

static bool is_separator(uint16_t c)
{
    return c == '/' || c == '\\';
}

static bool is_blank(uint16_t c)
{
    return c == ' ' || c == '\t';
}

bool path_append(uint16_t *path, const uint16_t *text, size_t length)
{
    size_t at = 0;

    while (path[at] != 0)
        at++;
    for (size_t i = 0; i < length && text[i] != 0; i++) {
        uint16_t c = is_separator(text[i]) ? '\\' : text[i];

        if (at > 0 && c == '\\' && path[at - 1] == '\\')
            continue; /* firmware differs in what it makes of an empty name */
        if (at + 1 >= PATH_MAX)
            return false;
        path[at++] = c;
        path[at] = 0;
    }
    return true;
}

void path_to_directory(uint16_t *path)
{
    size_t end = 0;

    for (size_t i = 0; path[i] != 0; i++)
        if (is_separator(path[i]))
            end = i + 1;
    if (end == 0)
        path[end++] = '\\';
    path[end] = 0;
}

bool path_join(uint16_t *path, const uint16_t *directory, const uint16_t *name)
{
    path[0] = 0;
    return (is_separator(name[0]) || path_append(path, directory, PATH_MAX)) &&
           path_append(path, name, PATH_MAX);
}

bool path_from_ascii(uint16_t *path, const char *text)
{
    size_t n = 0;

    for (; text[n] != '\0'; n++) {
        if (n + 1 >= PATH_MAX || text[n] < 0x20 || text[n] > 0x7e)
            return false;
        path[n] = (uint16_t)text[n];
    }
    path[n] = 0;
    return n > 0;
}

void path_last_part(const uint16_t *path, char *text, size_t size)
{
    size_t n = 0;

#ifdef PLANTED_BUG_BOOT_PATH /* for the fuzzer's own test: no room for the terminator */
    size++;
#endif
    for (; *path != 0; path++) {
        if (is_separator(*path))
            n = 0;
        else if (n + 1 < size)
            text[n++] = *path >= 0x20 && *path < 0x7f ? (char)*path : '?';
    }
    text[n] = '\0';
}

static bool is_program_name(const uint16_t *word, size_t length)
{
    static const char suffix[] = ".efi";

    if (length < 4)
        return false;
    for (size_t i = 0; i < 4; i++) {
        uint16_t c = word[length - 4 + i];

        if (c >= 'A' && c <= 'Z')
            c |= 0x20;
        if (c != (uint16_t)suffix[i])
            return false;
    }
    return true;
}

/* The length of the text at the start of the options, 0 where they are something else. */
static size_t options_length(const uint16_t *options, size_t count)
{
    size_t n = 0;

    for (; n < count && options[n] != 0; n++)
        if ((options[n] < 0x20 && options[n] != '\t') || options[n] == 0x7f || options[n] >= 0xd800)
            return 0;
    return n;
}

bool path_from_options(uint16_t *path, const void *options, size_t size)
{
    const uint16_t *text = options;
    size_t count, at = 0;

    if (options == NULL || ((uintptr_t)options & 1) != 0)
        return true;
    count = options_length(text, size / sizeof(text[0]));
    while (at < count) {
        size_t start;

        while (at < count && is_blank(text[at]))
            at++;
        start = at;
        while (at < count && !is_blank(text[at]))
            at++;
        if (at == start || (start == 0 && is_program_name(text, at)))
            continue;
        path[0] = 0;
        return path_append(path, text + start, at - start);
    }
    return true;
}

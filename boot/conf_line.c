#include "boot/conf_line.h"

#include "kernel/core/mem.h"

/* What may stand beside a file's name in a value. */
static bool is_edge(char c)
{
    return c == ' ' || c == '\t' || c == '"' || c == ',' || c == '=' || c == '\r';
}

/* Whether the value in line[0..length) has the name as a whole. */
static bool line_names(const char *line, size_t length, const char *name, size_t name_length)
{
    size_t at = 0;

    while (at < length && line[at] != '=' && line[at] != '#')
        at++;
    if (at == length || line[at] == '#')
        return false;
    for (; at + 1 + name_length <= length; at++)
        if (is_edge(line[at]) && memcmp(line + at + 1, name, name_length) == 0 &&
            (at + 1 + name_length == length || is_edge(line[at + 1 + name_length])))
            return true;
    return false;
}

unsigned conf_line_of(const char *text, size_t size, const char *name)
{
    size_t name_length = strlen(name), start = 0;

    for (unsigned line = 1; start < size; line++) {
        size_t end = start;

        while (end < size && text[end] != '\n')
            end++;
        if (line_names(text + start, end - start, name, name_length))
            return line;
        start = end + 1;
    }
    return 0;
}

#include "kernel/debug/system_map.h"

#include "kernel/core/bits.h"
#include "kernel/core/mem.h"

#define LINE_MAX 1024u
#define OFFSET_MAX MIB(1)

struct symbol_line {
    uint64_t address;
    const char *name; /* not NUL-terminated */
    unsigned length;
    uint64_t end; /* of the line, behind its newline */
};

static unsigned digit(char byte)
{
    return byte >= '0' && byte <= '9'   ? (unsigned)(byte - '0')
           : byte >= 'a' && byte <= 'f' ? (unsigned)(byte - 'a' + 10)
                                        : 16;
}

/* Reads the line that begins at start, which lies in the file. False: it has another form. */
static bool read_line(const struct system_map *map, uint64_t start, struct symbol_line *line)
{
    uint64_t at = start, limit = map->size - start < LINE_MAX ? map->size : start + LINE_MAX;
    line->address = 0;
    while (at < limit && at - start < 16 && digit(map->text[at]) < 16)
        line->address = line->address << 4 | digit(map->text[at++]);
    bool is_right =
        at > start && limit - at >= 3 && map->text[at] == ' ' && map->text[at + 2] == ' ';
    at += is_right ? 3 : 0;
    line->name = map->text + at;
    uint64_t name = at;
    while (at < limit && map->text[at] > ' ')
        at++;
    line->length = (unsigned)(at - name);
    while (at < limit && map->text[at] != '\n')
        at++;
    line->end = at + 1;
    return is_right && line->length != 0 && (at < limit || at == map->size);
}

/* Where the line begins that position lies in. */
static uint64_t line_start(const struct system_map *map, uint64_t position)
{
    uint64_t least = position > LINE_MAX ? position - LINE_MAX : 0;
    while (position > least && map->text[position - 1] != '\n')
        position--;
    return position;
}

bool system_map_at(const struct system_map *map, uint64_t address, char name[SYSTEM_MAP_NAME_MAX],
                   uint64_t *offset)
{
    uint64_t low = 0, high = map->text != NULL ? map->size : 0;
    struct symbol_line line, best = {.length = 0};
    while (low < high) {
        uint64_t start = line_start(map, low + (high - low) / 2);
        if (!read_line(map, start, &line))
            return false;
        if (line.address <= address) {
            best = line;
            low = line.end;
        } else {
            high = start;
        }
    }
    if (best.length == 0 || address - best.address > OFFSET_MAX)
        return false;
    unsigned length = best.length < SYSTEM_MAP_NAME_MAX - 1 ? best.length : SYSTEM_MAP_NAME_MAX - 1;
    memcpy(name, best.name, length);
    name[length] = '\0';
    *offset = address - best.address;
    return true;
}

bool system_map_find(const struct system_map *map, const char *name, uint64_t *address)
{
    size_t length = strlen(name);
    struct symbol_line line;
    for (uint64_t at = 0; map->text != NULL && at < map->size; at = line.end) {
        if (!read_line(map, at, &line))
            return false;
        if (line.length == length && memcmp(line.name, name, length) == 0) {
            *address = line.address;
            return true;
        }
    }
    return false;
}

void system_map_offer(const struct system_map *map, struct completion *completion)
{
    char name[SYSTEM_MAP_NAME_MAX];
    struct symbol_line line;
    for (uint64_t at = 0; map->text != NULL && at < map->size; at = line.end) {
        if (!read_line(map, at, &line))
            return;
        if (line.length >= sizeof(name))
            continue;
        memcpy(name, line.name, line.length);
        name[line.length] = '\0';
        completion_offer(completion, name);
    }
}

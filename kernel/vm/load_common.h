/* What the loaders share: finding room in a guest's RAM, and writing there. For nobody else. */
#pragma once

#include "kernel/core/mem.h"
#include "kernel/vm/load.h"

#define LOAD_CLAIMS_MAX 64
#define LOAD_4G 0x100000000ull

/* What of the guest's RAM is taken; zero-initialise, with map. */
struct load_room {
    const struct guest_map *map;
    struct {
        uint64_t base, size;
    } claim[LOAD_CLAIMS_MAX];
    unsigned count;
};

/* Takes [base, base + size). ERR_RANGE: not all RAM; ERR_EXISTS: taken; ERR_NO_SPACE: table full.
 */
enum status MUST_CHECK load_room_claim(struct load_room *room, uint64_t base, uint64_t size);

/* Takes the lowest (highest) room of size bytes at a multiple of alignment, a power of two, wholly
 * inside [min, end). ERR_NO_SPACE: there is none. */
enum status MUST_CHECK load_room_lowest(struct load_room *room, uint64_t size, uint64_t alignment,
                                        uint64_t min, uint64_t end, uint64_t *base);
enum status MUST_CHECK load_room_highest(struct load_room *room, uint64_t size, uint64_t alignment,
                                         uint64_t min, uint64_t end, uint64_t *base);

/* Sets the error's file, and its text, which begins with the file's name; returns status. */
enum status load_fail(struct load_error *error, enum status status, const char *file_name,
                      const char *format, ...) PRINTF(4, 5);

/* Puts the command line, with its NUL, into room below 640 KiB. */
enum status MUST_CHECK load_cmdline(const struct load_request *request, struct load_room *room,
                                    uint64_t *base, struct load_error *error);

/* A little-endian number of size bytes (1 to 8). */
static inline uint64_t load_get(const uint8_t *at, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, at, size);
    return value;
}

static inline void load_put(uint8_t *at, uint64_t value, unsigned size)
{
    memcpy(at, &value, size);
}

/* Access rights of a present, accessed segment with a limit in pages, without D/B and L: data that
 * can be written, code that can be read. */
#define LOAD_ACCESS_DATA (0x93u | (uint32_t)SEGMENT_G)
#define LOAD_ACCESS_CODE (0x9bu | (uint32_t)SEGMENT_G)

/* Flat segments from these access rights, an empty LDT and a busy TSS, as an entry has them. */
void load_flat_segments(struct guest_entry *entry, uint32_t code_access, uint16_t code_selector,
                        uint16_t data_selector);

/* What the loaders share: finding room in a guest's RAM, and what goes there. For nobody else. */
#pragma once

#include "kernel/core/mem.h"
#include "kernel/vm/load.h"

#define LOAD_CLAIMS_MAX 96
#define LOAD_4G 0x100000000ull
#define LOAD_LOW_END 0xa0000ull /* of the RAM below the hole of a PC */

/* A plan that is being made. */
struct loader {
    const struct load_request *request;
    struct load_plan *plan;
    struct load_error *error;
    /* What of the guest's RAM is taken. */
    struct {
        uint64_t base, size;
    } claim[LOAD_CLAIMS_MAX];
    unsigned claims;
};

/* Takes [base, base + size). ERR_RANGE: not all RAM; ERR_EXISTS: taken; ERR_NO_SPACE: table full.
 */
enum status MUST_CHECK load_claim(struct loader *loader, uint64_t base, uint64_t size);

/* Takes the lowest (highest) room of size bytes at a multiple of alignment, a power of two, wholly
 * inside [min, end). ERR_NO_SPACE: there is none. */
enum status MUST_CHECK load_claim_lowest(struct loader *loader, uint64_t size, uint64_t alignment,
                                         uint64_t min, uint64_t end, uint64_t *base);
enum status MUST_CHECK load_claim_highest(struct loader *loader, uint64_t size, uint64_t alignment,
                                          uint64_t min, uint64_t end, uint64_t *base);

/* Adds a piece of the guest's memory: bytes that stay where they are, or numbers (see struct
 * load_piece). size may be 0. ERR_NO_SPACE: the plan is full. */
enum status MUST_CHECK load_add(struct loader *loader, uint64_t at, const void *from,
                                uint64_t size);
enum status MUST_CHECK load_add_numbers(struct loader *loader, uint64_t at, uint64_t count,
                                        uint64_t first, uint64_t step);

/* Zeroed bytes behind the plan, for what is made; NULL: no room. */
void *load_make(struct loader *loader, uint64_t size);

/* Zeroed bytes that will lie as high as they go below 640 KiB, at a multiple of alignment, and from
 * where on; NULL: no room. */
void *load_make_low(struct loader *loader, uint64_t size, uint64_t alignment, uint64_t *base);

/* Sets the error, whose text begins with the file's name; returns status. */
enum status load_fail(const struct loader *loader, enum status status, const struct load_file *file,
                      const char *format, ...) PRINTF(4, 5);

/* Puts the command line, with its NUL, into room below 640 KiB. */
enum status MUST_CHECK load_cmdline(struct loader *loader, uint64_t *base);

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

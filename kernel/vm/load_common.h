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
    const uint8_t *rsdp; /* as it will lie in memory */
    /* What of the guest's RAM is taken. */
    struct {
        uint64_t base, size;
    } claim[LOAD_CLAIMS_MAX];
    unsigned claims;
};

/* Takes [base, base + size). ERR_RANGE: not all RAM; ERR_EXISTS: taken; ERR_NO_SPACE: table full.
 */
enum status MUST_CHECK load_claim(struct loader *loader, uint64_t base, uint64_t size);

/* The same for a part of the kernel's file, which may also lie where a PC's BIOS would. */
enum status MUST_CHECK load_claim_image(struct loader *loader, uint64_t base, uint64_t size);

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

/* load_make and load_add_low in one; NULL: no room. */
void *load_make_low(struct loader *loader, uint64_t size, uint64_t alignment, uint64_t *base);

/* What was made, as high as it goes below 640 KiB. ERR_NO_SPACE. */
enum status MUST_CHECK load_add_low(struct loader *loader, const void *made, uint64_t size,
                                    uint64_t alignment, uint64_t *base);

/* Sets the error, whose text begins with the file's name; returns status. */
enum status load_fail(const struct loader *loader, enum status status, const struct load_file *file,
                      const char *format, ...) PRINTF(4, 5);

/* Puts text with a NUL behind it as high as it goes below 640 KiB; with a name and a blank before
 * it, unless name is NULL. */
enum status MUST_CHECK load_string(struct loader *loader, const char *name, struct load_text text,
                                   uint64_t *base);

struct load_text load_cmdline(const struct loader *loader);

/* The modules, of which the initrd is the first. */
unsigned load_module_count(const struct loader *loader);
const struct load_file *load_module(const struct loader *loader, unsigned i);

/* Places a module in whole pages below end: as low as it goes at or above `after`, or, where that
 * is 0, as high. */
enum status MUST_CHECK load_place_module(struct loader *loader, const struct load_file *module,
                                         uint64_t after, uint64_t end, uint64_t *base);

/* A little-endian number of size bytes (1 to 8). */
static inline uint64_t load_get(const uint8_t *at, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, at, size);
    return value;
}

/* Whether these four bytes are there: without a call, for the search through a file. */
static inline bool load_has_magic(const uint8_t *at, uint32_t magic)
{
    uint32_t value;
    __builtin_memcpy(&value, at, sizeof(value));
    return value == magic;
}

static inline void load_put(uint8_t *at, uint64_t value, unsigned size)
{
    memcpy(at, &value, size);
}

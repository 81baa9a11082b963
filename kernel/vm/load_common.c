#include "kernel/vm/load_common.h"

#include "kernel/core/bits.h"
#include "kernel/core/fmt.h"

#define LOW_MEMORY_FIRST PAGE_SIZE /* page 0 is a real-mode kernel's, and a null pointer's */

/* ---- Room ---- */

/* The first claim that [base, base + size) overlaps; -1: none. */
static int find_claim(const struct loader *loader, uint64_t base, uint64_t size)
{
    for (unsigned i = 0; i < loader->claims; i++)
        if (base < loader->claim[i].base + loader->claim[i].size &&
            loader->claim[i].base < base + size)
            return (int)i;
    return -1;
}

static enum status claim(struct loader *loader, uint64_t base, uint64_t size)
{
    if (find_claim(loader, base, size) >= 0)
        return ERR_EXISTS;
    if (loader->claims == LOAD_CLAIMS_MAX)
        return ERR_NO_SPACE;
    loader->claim[loader->claims].base = base;
    loader->claim[loader->claims++].size = size;
    return STATUS_OK;
}

enum status load_claim(struct loader *loader, uint64_t base, uint64_t size)
{
    bool is_there = guest_map_is_ram(loader->request->map, base, size);
    return is_there ? claim(loader, base, size) : ERR_RANGE;
}

enum status load_claim_image(struct loader *loader, uint64_t base, uint64_t size)
{
    bool is_there = guest_map_takes_image(loader->request->map, base, size);
    return is_there ? claim(loader, base, size) : ERR_RANGE;
}

/* The lowest room in [low, high), which is RAM. Each step passes a claim, so the loop ends. */
static bool find_lowest(const struct loader *loader, uint64_t size, uint64_t alignment,
                        uint64_t low, uint64_t high, uint64_t *base)
{
    *base = align_up(low, alignment);
    while (*base < high && high - *base >= size) {
        int i = find_claim(loader, *base, size);
        if (i < 0)
            return true;
        *base = align_up(loader->claim[i].base + loader->claim[i].size, alignment);
    }
    return false;
}

static bool find_highest(const struct loader *loader, uint64_t size, uint64_t alignment,
                         uint64_t low, uint64_t high, uint64_t *base)
{
    while (high > low && high - low >= size) {
        *base = align_down(high - size, alignment);
        if (*base < low)
            return false;
        int i = find_claim(loader, *base, size);
        if (i < 0)
            return true;
        high = loader->claim[i].base;
    }
    return false;
}

/* The part of a RAM entry in [min, end); false: none. */
static bool clip(const struct guest_map_entry *entry, uint64_t min, uint64_t end, uint64_t *low,
                 uint64_t *high)
{
    *low = entry->base > min ? entry->base : min;
    *high = entry->base + entry->size < end ? entry->base + entry->size : end;
    return entry->type == GUEST_MAP_RAM && *low < *high;
}

enum status load_claim_lowest(struct loader *loader, uint64_t size, uint64_t alignment,
                              uint64_t min, uint64_t end, uint64_t *base)
{
    uint64_t low, high;
    for (unsigned i = 0; i < loader->request->map->count; i++)
        if (clip(&loader->request->map->entry[i], min, end, &low, &high) &&
            find_lowest(loader, size, alignment, low, high, base))
            return load_claim(loader, *base, size);
    return ERR_NO_SPACE;
}

enum status load_claim_highest(struct loader *loader, uint64_t size, uint64_t alignment,
                               uint64_t min, uint64_t end, uint64_t *base)
{
    uint64_t low, high;
    for (unsigned i = loader->request->map->count; i-- > 0;)
        if (clip(&loader->request->map->entry[i], min, end, &low, &high) &&
            find_highest(loader, size, alignment, low, high, base))
            return load_claim(loader, *base, size);
    return ERR_NO_SPACE;
}

/* ---- Pieces ---- */

static enum status add_piece(struct loader *loader, const struct load_piece *piece)
{
    struct load_plan *plan = loader->plan;
    if (piece->size == 0)
        return STATUS_OK;
    if (plan->pieces == LOAD_PIECES_MAX)
        return ERR_NO_SPACE;
    plan->piece[plan->pieces++] = *piece;
    return STATUS_OK;
}

enum status load_add(struct loader *loader, uint64_t at, const void *from, uint64_t size)
{
    return add_piece(loader, &(struct load_piece){.at = at, .size = size, .from = from});
}

enum status load_add_numbers(struct loader *loader, uint64_t at, uint64_t count, uint64_t first,
                             uint64_t step)
{
    return add_piece(loader, &(struct load_piece){at, count * 8, NULL, first, step});
}

void *load_make(struct loader *loader, uint64_t size)
{
    struct load_plan *plan = loader->plan;
    if (size > plan->size - plan->used)
        return NULL;
    void *made = (uint8_t *)plan + plan->used;
    plan->used = (uint32_t)align_up(plan->used + size, 8);
    return memset(made, 0, size);
}

enum status load_add_low(struct loader *loader, const void *made, uint64_t size, uint64_t alignment,
                         uint64_t *base)
{
    enum status status =
        load_claim_highest(loader, size, alignment, LOW_MEMORY_FIRST, LOAD_LOW_END, base);
    return status == STATUS_OK ? load_add(loader, *base, made, size) : status;
}

void *load_make_low(struct loader *loader, uint64_t size, uint64_t alignment, uint64_t *base)
{
    void *made = load_make(loader, size);
    bool done = made != NULL && load_add_low(loader, made, size, alignment, base) == STATUS_OK;
    return done ? made : NULL;
}

/* ---- Messages, command line, segments ---- */

enum status load_fail(const struct loader *loader, enum status status, const struct load_file *file,
                      const char *format, ...)
{
    struct load_error *error = loader->error;
    va_list args;
    error->line = file->line;
#ifdef PLANTED_BUG_LOAD_NAMES /* for the fuzzer's own test */
    int used = 0;
#else
    int used = fmt_format(error->text, sizeof(error->text), "%.128s: ", file->name);
#endif
    va_start(args, format);
    fmt_vformat(error->text + used, sizeof(error->text) - (size_t)used, format, args);
    va_end(args);
    return status;
}

struct load_text load_cmdline(const struct loader *loader)
{
    const char *text = loader->request->cmdline;
    return (struct load_text){text, strlen(text)};
}

enum status load_string(struct loader *loader, const char *name, struct load_text text,
                        uint64_t *base)
{
    uint64_t named = name != NULL ? strlen(name) + 1 : 0;
    char *to =
        text.size < LOAD_PLAN_SIZE ? load_make_low(loader, named + text.size + 1, 16, base) : NULL;
    if (to == NULL)
        return load_fail(loader, ERR_NO_SPACE, &loader->request->kernel,
                         "no room for the command line, or a module's, below 640 KiB");
    if (named != 0) {
        memcpy(to, name, named - 1);
        to[named - 1] = text.size != 0 ? ' ' : '\0';
    }
    if (text.size != 0)
        memcpy(to + named, text.at, text.size);
    return STATUS_OK;
}

/* ---- Modules ---- */

unsigned load_module_count(const struct loader *loader)
{
    return loader->request->modules + (loader->request->initrd.at != NULL);
}

const struct load_file *load_module(const struct loader *loader, unsigned i)
{
    const struct load_request *request = loader->request;
    if (request->initrd.at == NULL)
        return &request->module[i];
    return i == 0 ? &request->initrd : &request->module[i - 1];
}

enum status load_place_module(struct loader *loader, const struct load_file *module, uint64_t after,
                              uint64_t end, uint64_t *base)
{
    const struct load_request *request = loader->request;
    enum status status =
        after != 0 ? load_claim_lowest(loader, module->size, PAGE_SIZE, after, end, base)
                   : load_claim_highest(loader, module->size, PAGE_SIZE, MIB(1), end, base);
    if (status != STATUS_OK)
        return load_fail(
            loader, status, module,
            "the %s of %llu KiB does not fit beside the kernel into %llu MiB%s: raise `memory`",
            module == &request->initrd ? "initrd" : "module",
            (unsigned long long)((module->size + 1023) >> 10),
            (unsigned long long)((request->map->ram_below_4g +
                                  (end > LOAD_4G ? request->map->ram_above_4g : 0)) >>
                                 20),
            end > LOAD_4G ? "" : " below 4 GiB");
    return load_add(loader, *base, module->at, module->size);
}

#include "tests/native/scene.h"

#include <string.h>

#include "tests/check.h"
#include "tests/native/emulated.h"
#include "tests/native/random.h"

#define SELECTOR_FLAT_CODE 0x23 /* the kernel's own, in the GDT */
#define SELECTOR_FLAT_DATA 0x2b
#define SELECTOR_CODE64 0x33

#define DATA_RW 0xf3u /* present, DPL 3, data, writable, accessed */
#define CODE_RX 0xfbu
#define TYPE_READABLE 2u /* or writable */
#define TYPE_EXPAND_DOWN 4u

/* The LDT: code of 16 and of 32 bits, data that is plain, data that is not. */
#define FIRST_CODE16 1u
#define FIRST_CODE32 13u
#define FIRST_PLAIN 25u
#define FIRST_ODD 49u

static struct segment descriptors[SEGMENTS];

static const struct segment flat_code = {.limit = 0xffffffff,
                                         .access = CODE_RX | SEGMENT_DB | SEGMENT_G};
static const struct segment flat_data = {.limit = 0xffffffff,
                                         .access = DATA_RW | SEGMENT_DB | SEGMENT_G};
static const struct segment null_data = {.access = SEGMENT_UNUSABLE};

static uint64_t draw_window(void)
{
    static const uint64_t bases[] = {WINDOW_MAIN, WINDOW_MAIN, WINDOW_MAIN, WINDOW_LOW, WINDOW_TOP};
    return bases[below(ARRAY_SIZE(bases))];
}

/* A limit and its granularity. */
static void set_limit(struct segment *segment, uint32_t limit)
{
    segment->limit = limit;
    segment->access &= ~(uint32_t)SEGMENT_G;
    if (limit <= 0xfffff)
        return;
    segment->limit |= 0xfff;
    segment->access |= SEGMENT_G;
}

static uint32_t draw_limit(void)
{
    switch (below(6)) {
    case 0:
        return below(0x9000);
    case 1:
        return below(0x9000) | 0xfff;
    case 2:
        return 0xffff;
    case 3:
        return below(3);
    case 4:
        return 0xffffffff;
    default:
        return (uint32_t)draw();
    }
}

static void draw_code(struct segment *segment, bool wide)
{
    segment->base = WINDOW_CODE - below(0xc000);
    segment->access = CODE_RX | (wide ? SEGMENT_DB : 0);
    if (one_in(4))
        segment->access &= ~TYPE_READABLE;
    set_limit(segment, one_in(3) ? 0xffffffff : 0xffff);
    if (one_in(3)) /* ends somewhere in the code */
        set_limit(segment, (uint32_t)(WINDOW_CODE - segment->base) + 64 + below(0x1f00));
    if (one_in(4)) { /* so that offsets pass FFFF in the code */
        segment->base = WINDOW_CODE - 0xf000 - below(0x800);
        set_limit(segment, one_in(2) ? 0xffff : 0xffffffff);
    }
}

static void draw_plain(struct segment *segment)
{
    segment->base = draw_window() - (one_in(2) ? below(0x7000) : 0);
    segment->access = DATA_RW | (one_in(2) ? SEGMENT_DB : 0);
    set_limit(segment, one_in(3) ? 0xffffffff : 0xffff);
}

static void draw_odd(struct segment *segment)
{
    static const uint32_t types[] = {DATA_RW, DATA_RW & ~TYPE_READABLE, DATA_RW | TYPE_EXPAND_DOWN,
                                     (DATA_RW | TYPE_EXPAND_DOWN) & ~TYPE_READABLE, CODE_RX};
    draw_plain(segment);
    segment->access = types[below(ARRAY_SIZE(types))] | (one_in(2) ? SEGMENT_DB : 0);
    set_limit(segment, draw_limit());
    if (one_in(4))
        segment->base = 0xffff0000 + below(0x10000); /* offsets wrap around 4 GBytes */
}

void scene_draw_descriptors(void)
{
    for (unsigned i = FIRST_CODE16; i < SEGMENTS; i++) {
        struct segment *segment = &descriptors[i];
        if (i < FIRST_PLAIN)
            draw_code(segment, i >= FIRST_CODE32);
        else if (i < FIRST_ODD)
            draw_plain(segment);
        else
            draw_odd(segment);
        CHECK(processor_set_segment(i, segment));
    }
}

static void choose(struct scene *scene, unsigned which, unsigned first, unsigned end)
{
    unsigned index = first + below(end - first);
    scene->selector[which] = processor_selector(index);
    scene->segment[which] = descriptors[index];
}

static void choose_flat(struct scene *scene, unsigned which)
{
    scene->selector[which] = which == SEG_CS ? SELECTOR_FLAT_CODE : SELECTOR_FLAT_DATA;
    scene->segment[which] = which == SEG_CS ? flat_code : flat_data;
}

static bool is_stack(const struct segment *segment)
{
    return (segment->access & (8 | TYPE_READABLE)) == TYPE_READABLE;
}

static void draw_data(struct scene *scene, unsigned which, bool near)
{
    if (one_in(24) && which != SEG_SS) {
        scene->selector[which] = (uint16_t)below(4);
        scene->segment[which] = null_data;
    } else if (one_in(4)) {
        do
            choose(scene, which, FIRST_ODD, SEGMENTS);
        while (which == SEG_SS && !is_stack(&scene->segment[which]));
    } else if (near || one_in(3)) {
        choose(scene, which, FIRST_PLAIN, FIRST_ODD);
    } else {
        choose_flat(scene, which);
    }
}

/* In 64-bit mode the bases of FS and GS are all that counts, and other segments mislead. */
static void draw_scene_64(struct scene *scene)
{
    for (unsigned i = SEG_ES; i <= SEG_GS && descriptors[FIRST_PLAIN].access != 0; i++)
        if (i != SEG_SS)
            draw_data(scene, i, true);
    scene->selector[SEG_CS] = SELECTOR_CODE64;
    scene->selector[SEG_SS] = SELECTOR_FLAT_DATA;
    for (unsigned i = SEG_FS; i <= SEG_GS; i++) {
        scene->segment[i] = (struct segment){.access = SEGMENT_UNUSABLE};
        /* In user mode's half: the kernel lets it have no other. */
        scene->segment[i].base = one_in(4) ? draw() >> 18 : draw_window() - below(0x10000);
    }
}

void scene_draw(struct scene *scene, enum native_mode mode, bool near)
{
    scene->mode = mode;
    scene->code_size = forms_code_size(mode);
    if (mode == NATIVE_64) {
        draw_scene_64(scene);
        return;
    }
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        if (i != SEG_CS)
            draw_data(scene, i, near);
    if (mode == NATIVE_16)
        choose(scene, SEG_CS, FIRST_CODE16, FIRST_CODE32);
    else if (one_in(2))
        choose(scene, SEG_CS, FIRST_CODE32, FIRST_PLAIN);
    else
        choose_flat(scene, SEG_CS);
}

uint64_t scene_base(const struct scene *scene, unsigned segment)
{
    return scene->mode == NATIVE_64 && segment < SEG_FS ? 0 : scene->segment[segment].base;
}

/* A linear address where an access of size bytes finds memory, or just not. */
static uint64_t draw_linear(const struct scene *scene, unsigned size)
{
    const struct window *window = &windows[below(WINDOWS)];
    while (window->base == WINDOW_CODE || (scene->mode != NATIVE_64 && window->base >> 32 != 0))
        window = &windows[below(WINDOWS)];
    if (one_in(2))
        window = &windows[1];
    uint64_t page = window->base + below(window->count) * PAGE_SIZE;
    if (one_in(3))
        return page - size - 1 + below(size + 3); /* at, or over, its beginning */
    return page + below(PAGE_SIZE - size);
}

static uint64_t draw_edge(const struct scene *scene, unsigned segment, uint64_t mask, unsigned size)
{
    static const uint64_t limits64[] = {0x800000000000, 0x7ffffffff000, 0xffff7fffffffffff,
                                        0x8000000000000000, 0x7fffffffffffffff};
    uint64_t limit = scene->segment[segment].limit;
    if (scene->mode == NATIVE_64 && mask == ~0ull)
        limit = limits64[below(ARRAY_SIZE(limits64))] - scene_base(scene, segment) - 1;
    else if (one_in(3))
        limit = mask;
    return (limit - size - 1 + below(size + 4)) & mask;
}

uint64_t scene_draw_offset(const struct scene *scene, unsigned segment, unsigned address_size,
                           unsigned size)
{
    uint64_t mask = bits_size_mask(address_size), base = scene_base(scene, segment);
    if (one_in(8))
        return draw_edge(scene, segment, mask, size);
    for (unsigned i = 0; i < 8; i++) {
        uint64_t offset = draw_linear(scene, size) - base;
        if (scene->mode != NATIVE_64)
            offset &= 0xffffffff;
        if ((offset & ~mask) != 0)
            continue;
        if (scene->mode != NATIVE_64 && offset > scene->segment[segment].limit && !one_in(4))
            continue;
        return offset;
    }
    return draw() & mask;
}

/* ---- Memory ---------------------------------------------------------------------------------- */

static bool is_writable(unsigned kind)
{
    return kind == PAGE_RAM || kind == PAGE_DEVICE;
}

static void put_page(uint64_t linear, const uint8_t *from)
{
    memcpy((void *)(uintptr_t)linear, from, PAGE_SIZE);
    memcpy(emulated_page(linear), from, PAGE_SIZE);
}

void memory_draw(void)
{
    uint8_t page[PAGE_SIZE];
    for (unsigned i = 0; i < WINDOWS; i++) {
        for (unsigned number = 0; number < windows[i].count; number++) {
            if (!is_writable(windows[i].kind[number]))
                continue;
            for (unsigned at = 0; at < PAGE_SIZE; at += 8) {
                uint64_t value = draw_value();
                memcpy(page + at, &value, 8);
            }
            put_page(windows[i].base + number * PAGE_SIZE, page);
        }
    }
}

static const struct window *find_window(uint64_t linear, unsigned *number)
{
    for (unsigned i = 0; i < WINDOWS; i++) {
        *number = (unsigned)((linear - windows[i].base) / PAGE_SIZE);
        if (linear >= windows[i].base && linear - windows[i].base < windows[i].count * PAGE_SIZE)
            return &windows[i];
    }
    return NULL;
}

bool memory_is_device(uint64_t linear)
{
    unsigned number;
    const struct window *window = find_window(linear, &number);
    return window != NULL && window->kind[number] == PAGE_DEVICE;
}

void memory_spoil(uint64_t linear)
{
    emulated_page(linear)[linear & (PAGE_SIZE - 1)] ^= 0xff;
}

bool memory_put(uint64_t linear, const void *from, unsigned size)
{
    unsigned number;
    const struct window *window = find_window(linear, &number);
    if (window == NULL || (linear & (PAGE_SIZE - 1)) + size > PAGE_SIZE ||
        (!is_writable(window->kind[number]) && window->kind[number] != PAGE_CODE))
        return false;
    memcpy((void *)(uintptr_t)linear, from, size);
    memcpy(emulated_page(linear) + (linear & (PAGE_SIZE - 1)), from, size);
    return true;
}

void memory_draw_around(uint64_t linear, bool uniform)
{
    uint64_t at = align_down(linear, 8) - (uniform ? 256 : 16);
    uint64_t value = one_in(2) ? 0 : (draw() & 0xff) * 0x0101010101010101ull;
    unsigned number;
    for (unsigned i = 0; i < (uniform ? 64u : 6u); i++, at += 8) {
        const struct window *window = find_window(at, &number);
        if (window == NULL || !is_writable(window->kind[number]))
            continue;
        if (!uniform)
            value = draw_value();
        memory_put(at, &value, 8);
    }
}

bool memory_peek(uint64_t linear, uint64_t *value)
{
    for (unsigned i = 0; i < 16; i += 8) {
        const uint8_t *page = emulated_page(linear + i);
        if (page == NULL || (linear & (PAGE_SIZE - 1)) > PAGE_SIZE - 16)
            return false;
        memcpy(&value[i / 8], page + ((linear + i) & (PAGE_SIZE - 1)), 8);
    }
    return true;
}

uint64_t memory_difference(uint8_t *native, uint8_t *emulated)
{
    for (unsigned i = 0; i < WINDOWS; i++) {
        for (unsigned number = 0; number < windows[i].count; number++) {
            uint64_t linear = windows[i].base + number * PAGE_SIZE;
            const uint8_t *one = (const uint8_t *)(uintptr_t)linear, *other = emulated_page(linear);
            if (other == NULL || memcmp(one, other, PAGE_SIZE) == 0)
                continue;
            unsigned at = 0;
            while (one[at] == other[at])
                at++;
            *native = one[at];
            *emulated = other[at];
            return linear + at;
        }
    }
    return 0;
}

void memory_repair(void)
{
    for (unsigned i = 0; i < WINDOWS; i++)
        for (unsigned number = 0; number < windows[i].count; number++) {
            uint64_t linear = windows[i].base + number * PAGE_SIZE;
            if (emulated_page(linear) != NULL)
                memcpy(emulated_page(linear), (const void *)(uintptr_t)linear, PAGE_SIZE);
        }
}

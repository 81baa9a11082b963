/*
 * Reading a framebuffer is slow, so what is on the screen is remembered: scrolling moves the cells
 * in memory, and only those that look different afterwards are drawn.
 */
#include "drivers/host/framebuffer.h"

#include "kernel/core/bits.h"
#include "kernel/core/hw.h"
#include "kernel/core/mem.h"
#include "kernel/core/paging.h"

#define TAB_STOP 8
#define INK_RED 0xd8
#define INK_GREEN 0xd8
#define INK_BLUE 0xd0
#define PIXELS_MAX 32768u
#define WIDTH_FOR_SCALE 1600 /* screen pixels from which on the font is drawn twice as large */
#define GLYPHS 256

/* What tests/vm/font.py writes. */
struct font {
    char magic[4];
    uint32_t width;
    uint32_t height;
    uint32_t count;
    uint8_t rows[];
};

extern const struct font framebuffer_font;

static const uint8_t *glyph_row(uint8_t character, uint32_t row)
{
    const struct font *font = &framebuffer_font;
    uint32_t row_bytes = (font->width + 7) / 8;
    return font->rows + ((size_t)character * font->height + row) * row_bytes;
}

static void draw_row(volatile uint32_t *to, const uint8_t *bits, uint32_t scale, uint32_t ink)
{
    for (uint32_t x = 0; x < framebuffer_font.width; x++) {
        uint32_t pixel = bits[x / 8] & (0x80 >> x % 8) ? ink : 0;
        for (uint32_t i = 0; i < scale; i++)
            *to++ = pixel;
    }
}

static void draw_cell(struct framebuffer *fb, uint32_t index)
{
    uint32_t line = index / fb->columns * framebuffer_font.height * fb->scale;
    uint32_t x = index % fb->columns * framebuffer_font.width * fb->scale;
    volatile uint32_t *to = fb->pixels + (size_t)line * fb->pitch + x;
    for (uint32_t row = 0; row < framebuffer_font.height; row++)
        for (uint32_t i = 0; i < fb->scale; i++, to += fb->pitch)
            draw_row(to, glyph_row(fb->cells[index], row), fb->scale, fb->ink);
    fb->shown[index] = fb->cells[index];
}

static void draw_changes(struct framebuffer *fb)
{
    for (uint32_t i = 0; i < fb->columns * fb->rows; i++)
        if (fb->cells[i] != fb->shown[i])
            draw_cell(fb, i);
}

static void new_line(struct framebuffer *fb)
{
    fb->column = 0;
    if (++fb->row < fb->rows)
        return;
    fb->row = fb->rows - 1;
    memmove(fb->cells, fb->cells + fb->columns, (size_t)fb->columns * fb->row);
    memset(fb->cells + (size_t)fb->columns * fb->row, ' ', fb->columns);
}

static void put(struct framebuffer *fb, uint8_t character)
{
    if (fb->column == fb->columns)
        new_line(fb);
    fb->cells[fb->row * fb->columns + fb->column++] = character;
}

static void put_or_move(struct framebuffer *fb, uint8_t character)
{
    switch (character) {
    case '\n':
        new_line(fb);
        return;
    case '\r':
        fb->column = 0;
        return;
    case '\b':
        fb->column -= fb->column > 0;
        return;
    case '\t':
        do
            put(fb, ' ');
        while (fb->column % TAB_STOP != 0 && fb->column < fb->columns);
        return;
    }
    if (character >= ' ')
        put(fb, character);
}

void framebuffer_write(struct framebuffer *fb, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        put_or_move(fb, (uint8_t)text[i]);
    draw_changes(fb);
}

static INIT bool is_sensible(const struct boot_framebuffer *boot)
{
    return boot->width >= framebuffer_font.width && boot->width <= PIXELS_MAX &&
           boot->height >= framebuffer_font.height && boot->height <= PIXELS_MAX &&
           boot->pitch % 4 == 0 && boot->pitch / 4 >= boot->width &&
           (uint64_t)boot->pitch * boot->height <= boot->size && framebuffer_font.count == GLYPHS;
}

static INIT void clear(struct framebuffer *fb, uint32_t height)
{
    for (size_t i = 0; i < (size_t)fb->pitch * height; i++)
        fb->pixels[i] = 0;
}

static INIT enum status allocate_cells(struct framebuffer *fb, struct pages *pages)
{
    hpa_t base;
    uint64_t size = (uint64_t)fb->columns * fb->rows;
    enum status status = pages_alloc(pages, align_up(2 * size, PAGE_SIZE) / PAGE_SIZE, PAGE_SIZE,
                                     PAGE_HEAP, PAGE_OWNER_MONITOR, &base);
    if (status != STATUS_OK)
        return status;
    fb->cells = phys_to_virt(base);
    fb->shown = fb->cells + size;
    memset(fb->cells, ' ', 2 * size);
    return STATUS_OK;
}

INIT enum status framebuffer_init(struct framebuffer *fb, const struct boot_framebuffer *boot,
                                  struct pages *pages)
{
    *fb = (struct framebuffer){.pitch = boot->pitch / 4};
    if (boot->format == BOOT_PIXEL_NONE)
        return ERR_NOT_FOUND;
    if ((boot->format != BOOT_PIXEL_RGB && boot->format != BOOT_PIXEL_BGR) || !is_sensible(boot))
        return ERR_INVALID;
    fb->pixels = paging_map_device(HPA(boot->base), boot->size, MAP_WC | MAP_WRITE);
    if (fb->pixels == NULL)
        return ERR_NO_MEMORY;
    fb->scale = boot->width > WIDTH_FOR_SCALE ? 2 : 1;
    fb->columns = boot->width / (framebuffer_font.width * fb->scale);
    fb->rows = boot->height / (framebuffer_font.height * fb->scale);
    bool is_rgb = boot->format == BOOT_PIXEL_RGB; /* red in the lowest byte */
    fb->ink = (is_rgb ? INK_BLUE : INK_RED) << 16 | INK_GREEN << 8 | (is_rgb ? INK_RED : INK_BLUE);
    enum status status = allocate_cells(fb, pages);
    if (status == STATUS_OK)
        clear(fb, boot->height);
    return status;
}

static void sink_write(void *context, const char *text, size_t length)
{
    framebuffer_write(context, text, length);
}

INIT struct log_sink framebuffer_log_sink(struct framebuffer *fb)
{
    return (struct log_sink){.write = sink_write, .context = fb};
}

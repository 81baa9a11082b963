/*
 * What a kernel may rely on when it is entered by Multiboot 1, Multiboot 2, PVH, or as a plain ELF
 * file. It says the same wherever it is started by the same protocol: nothing of it is particular
 * to a monitor. Two modules are expected, "m1 a b" and "m2", and the command line "one two"; with
 * MODULES=1 the first of them, which may be without arguments.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COM1 0x3f8
#define DEBUG_EXIT 0xf4
#define MULTIBOOT 0x2badb002u
#define MULTIBOOT2 0x36d76289u
#define PVH 0x336ec578u
#define PAGE_SIZE 4096
#define MODULE_1 300000u /* bytes */
#define MODULE_2 5000u
#ifndef MODULES
#define MODULES 2
#endif

struct handed {
    uint32_t eax, ebx, eflags, cr0;
};

extern const char image_begin[], bss_end[];
void protocol_main(const struct handed *handed);

static bool failed;

static void out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static uint8_t in8(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void print(const char *text)
{
    for (; *text != '\0'; text++) {
        while (!(in8(COM1 + 5) & 0x20)) {
        }
        out8(COM1, (uint8_t)*text);
    }
}

static void print_number(uint32_t number)
{
    char text[11];
    unsigned at = 10;
    text[at] = '\0';
    do
        text[--at] = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    print(text + at);
}

static void check(const char *name, bool holds)
{
    failed |= !holds;
    print(holds ? "ok " : "not ok ");
    print(name);
    print("\r\n");
}

static bool same(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

static void print_text(const char *what, uint32_t address)
{
    print(what);
    print("\"");
    print((const char *)address);
    print("\"\r\n");
}

static uint32_t get32(uint32_t address)
{
    return *(const volatile uint32_t *)address;
}

static uint64_t get64(uint32_t address)
{
    return *(const volatile uint64_t *)address;
}

/* ---- Rules for all protocols ---- */

static uint32_t kernel_end(void)
{
    return (uint32_t)bss_end;
}

static bool is_apart(uint32_t begin, uint32_t size)
{
    return begin >= PAGE_SIZE && (begin >= kernel_end() || begin + size <= (uint32_t)image_begin);
}

/* Module i has (i + 1) * 7 + n as its nth byte, and its size. */
static void check_module(unsigned i, uint32_t begin, uint32_t size)
{
    static uint32_t last_end;
    const uint8_t *bytes = (const uint8_t *)begin;
    bool is_whole = size == (i == 0 ? MODULE_1 : MODULE_2);
    for (uint32_t n = 0; is_whole && n < size; n++)
        is_whole = bytes[n] == (uint8_t)((i + 1) * 7 + n);
    check(i == 0 ? "module-1-content" : "module-2-content", is_whole);
    check(i == 0 ? "module-1-place" : "module-2-place",
          begin % PAGE_SIZE == 0 && is_apart(begin, size) && begin != last_end);
    last_end = begin;
}

struct range {
    uint64_t base, size;
    uint32_t type;
};

static struct range ranges[64];
static unsigned range_count;

static void add_range(uint64_t base, uint64_t size, uint32_t type)
{
    if (range_count < 64)
        ranges[range_count++] = (struct range){base, size, type};
}

static bool is_usable(uint64_t begin, uint64_t size)
{
    for (unsigned i = 0; i < range_count; i++)
        if (ranges[i].type == 1 && begin >= ranges[i].base &&
            begin + size <= ranges[i].base + ranges[i].size)
            return true;
    return false;
}

static void check_memory_map(void)
{
    bool typed = range_count > 0, apart = true;
    for (unsigned i = 0; i < range_count; i++) {
        typed = typed && ranges[i].type >= 1 && ranges[i].type <= 5 && ranges[i].size != 0;
        for (unsigned j = 0; j < i; j++)
            apart = apart && (ranges[i].base >= ranges[j].base + ranges[j].size ||
                              ranges[j].base >= ranges[i].base + ranges[i].size);
    }
    check("memory-map-types", typed);
    check("memory-map-apart", apart);
    check("memory-map-kernel",
          is_usable((uint32_t)image_begin, kernel_end() - (uint32_t)image_begin));
    check("memory-map-low", is_usable(0, 0x80000));
    check("memory-map-video", !is_usable(0xa0000, 1));
}

static void check_state(const struct handed *handed)
{
    check("protected-mode", (handed->cr0 & 1) != 0 && !(handed->cr0 & 0x80000000u));
    check("interrupts-off", !(handed->eflags & 0x200) && !(handed->eflags & 0x20000));
    check("a20", get32(0x100000) != get32(0));
    check("structures-apart", is_apart(handed->ebx, 116));
    bool is_clear = true;
    for (unsigned i = 1; i < 64; i++)
        is_clear = is_clear && ranges[i].size == 0;
    check("bss", is_clear);
}

/* ---- Multiboot 1 ---- */

static void multiboot(uint32_t info)
{
    uint32_t flags = get32(info), module = get32(info + 24), count = get32(info + 20);
    check("flags", (flags & 0x4d) == 0x4d);
    check("no-video", !(flags & 0x1800));
    check("mem-lower", get32(info + 4) >= 512 && get32(info + 4) <= 640);
    check("mem-upper", get32(info + 8) > 1024);
    print_text("cmdline ", get32(info + 16));
    check("module-count", count == MODULES);
    for (unsigned i = 0; i < count && i < 2; i++, module += 16) {
        print_text("module ", get32(module + 8));
        check_module(i, get32(module), get32(module + 4) - get32(module));
    }
    uint32_t at = get32(info + 48), end = at + get32(info + 44);
    for (; at < end; at += get32(at) + 4)
        add_range(get64(at + 4), get64(at + 12), get32(at + 20));
}

/* ---- Multiboot 2 ---- */

/* The header has asked for 1024x768x32. */
static void check_framebuffer(uint32_t tag)
{
    uint32_t base = get32(tag + 8), size = 1024 * 768 * 4;
    bool holds = true;
    check("framebuffer", get32(tag + 4) == 38 && get32(tag + 12) == 0 &&
                             get32(tag + 16) == 1024 * 4 && get32(tag + 20) == 1024 &&
                             get32(tag + 24) == 768 && (get32(tag + 28) & 0xffff) == 0x0120);
    check("framebuffer-colours",
          get32(tag + 32) == 0x08080810u && (get32(tag + 36) & 0xffff) == 0x0800);
    for (uint32_t at = base; holds && at < base + size; at += 4) {
        *(volatile uint32_t *)at = at;
        holds = get32(at) == at;
    }
    check("framebuffer-memory", holds);
    check("framebuffer-reserved", !is_usable(base, 1) && !is_usable(base + size - 1, 1));
}

static void multiboot2(uint32_t info)
{
    uint32_t seen = 0, modules = 0, framebuffer = 0, end = info + get32(info), at = info + 8;
    for (; at + 8 <= end && get32(at) != 0; at += (get32(at + 4) + 7) & ~7u) {
        uint32_t type = get32(at);
        seen |= type < 32 ? 1u << type : 0;
        if (type == 1)
            print_text("cmdline ", at + 8);
        if (type == 3) {
            print_text("module ", at + 16);
            check_module(modules++, get32(at + 8), get32(at + 12) - get32(at + 8));
        }
        if (type == 4)
            check("mem-upper", get32(at + 8) <= 640 && get32(at + 12) > 1024);
        if (type == 6)
            for (uint32_t n = at + 16; n < at + get32(at + 4); n += get32(at + 8))
                add_range(get64(n), get64(n + 8), get32(n + 16));
        if (type == 8)
            framebuffer = at;
        if (type == 15)
            check("rsdp", get64(at + 8) == 0x2052545020445352ull);
    }
    check("end-tag", at + 8 == end && get32(at) == 0 && get32(at + 4) == 8);
    check("module-count", modules == MODULES);
    check("tags", (seen & 0x5e) == 0x5e);
    print("rsdp-tags "); /* 1: of ACPI 1.0, 2: of a later one */
    print_number(seen >> 14 & 3);
    print("\r\n");
    check("no-efi", !(seen & (1u << 11 | 1u << 12 | 1u << 17)));
    print("framebuffers "); /* a loader need not have one */
    print_number(framebuffer != 0);
    print("\r\n");
    if (framebuffer != 0)
        check_framebuffer(framebuffer);
}

/* ---- PVH, and a plain ELF file ---- */

static void pvh(uint32_t info)
{
    uint32_t module = get32(info + 16), count = get32(info + 12), map = get32(info + 40);
    check("magic", get32(info) == PVH && get32(info + 4) >= 1);
    print_text("cmdline ", get32(info + 24));
    check("cmdline", same((const char *)get32(info + 24), "one two"));
    check("rsdp", get64(get32(info + 32)) == 0x2052545020445352ull);
    check("module-count", count == MODULES);
    for (unsigned i = 0; i < count && i < 2; i++, module += 32) {
        if (get32(module + 16) != 0)
            print_text("module ", get32(module + 16));
        check_module(i, get32(module), get32(module + 8));
    }
    for (uint32_t i = 0; i < get32(info + 48); i++, map += 24)
        add_range(get64(map), get64(map + 8), get32(map + 16));
}

void protocol_main(const struct handed *handed)
{
    out8(COM1 + 3, 3);
    out8(COM1 + 2, 7);
    check_state(handed);
    print("protocol ");
    print(handed->eax == MULTIBOOT    ? "multiboot"
          : handed->eax == MULTIBOOT2 ? "multiboot2"
                                      : "pvh");
    print("\r\n");
    if (handed->eax == MULTIBOOT)
        multiboot(handed->ebx);
    else if (handed->eax == MULTIBOOT2)
        multiboot2(handed->ebx);
    else
        pvh(handed->ebx);
    check_memory_map();
    print("ranges ");
    print_number(range_count != 0);
    print("\r\ndone\r\n");
    while ((in8(COM1 + 5) & 0x60) != 0x60) {
    }
    out8(DEBUG_EXIT, failed);
}

#include "kernel/vm/acpi_aml.h"

#include "kernel/core/mem.h"

#define OP_ZERO 0x00
#define OP_ONE 0x01
#define OP_NAME 0x08
#define OP_BYTE 0x0a
#define OP_WORD 0x0b
#define OP_DWORD 0x0c
#define OP_STRING 0x0d
#define OP_QWORD 0x0e
#define OP_SCOPE 0x10
#define OP_BUFFER 0x11
#define OP_PACKAGE 0x12
#define OP_METHOD 0x14
#define OP_DUAL_NAME 0x2e
#define OP_MULTI_NAME 0x2f
#define OP_EXTENDED 0x5b
#define OP_DEVICE 0x82 /* after OP_EXTENDED */
#define OP_IF 0xa0
#define OP_ELSE 0xa1

/* Package lengths are always written in three bytes: 20 bits, known only at the end. */
#define PACKAGE_LENGTH_BYTES 3

static void put(struct aml *aml, uint64_t value, unsigned size)
{
#ifdef PLANTED_BUG_ACPI_TABLES /* for the fuzzer's own test */
    if (aml->size == aml->used) {
#else
    if (aml->size - aml->used < size) {
#endif
        aml->overflow = true;
        return;
    }
    memcpy(aml->at + aml->used, &value, size);
    aml->used += size;
}

void aml_op(struct aml *aml, uint8_t opcode)
{
    put(aml, opcode, 1);
}

/* ---- Names and constants ---- */

static size_t segment_length(const char *path)
{
    size_t length = 0;
    while (path[length] != '\0' && path[length] != '.')
        length++;
    return length;
}

void aml_path(struct aml *aml, const char *path)
{
    unsigned segments = 0;
    if (*path == '\\')
        put(aml, (uint8_t)*path++, 1);
    for (const char *p = path; *p != '\0'; p += segment_length(p) + (p[segment_length(p)] == '.'))
        segments++;
    if (segments == 0) {
        put(aml, OP_ZERO, 1);
        return;
    }
    if (segments == 2)
        put(aml, OP_DUAL_NAME, 1);
    else if (segments > 2)
        put(aml, OP_MULTI_NAME | segments << 8, 2);
    while (*path != '\0') {
        size_t length = segment_length(path);
        for (size_t i = 0; i < 4; i++)
            put(aml, i < length ? (uint8_t)path[i] : '_', 1);
        path += length + (path[length] == '.');
    }
}

void aml_integer(struct aml *aml, uint64_t value)
{
    static const struct {
        uint64_t max;
        uint8_t opcode, size;
    } forms[] = {
        {0xff, OP_BYTE, 1},
        {0xffff, OP_WORD, 2},
        {0xffffffff, OP_DWORD, 4},
        {UINT64_MAX, OP_QWORD, 8},
    };

    if (value <= 1) {
        put(aml, value == 0 ? OP_ZERO : OP_ONE, 1);
        return;
    }
    unsigned i = 0;
    while (value > forms[i].max)
        i++;
    put(aml, forms[i].opcode, 1);
    put(aml, value, forms[i].size);
}

void aml_string(struct aml *aml, const char *text)
{
    put(aml, OP_STRING, 1);
    do
        put(aml, (uint8_t)*text, 1);
    while (*text++ != '\0');
}

static unsigned hex_digit(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
}

/* ACPI: EISAID: three letters of five bits and four digits, the most significant byte first. */
void aml_eisa_id(struct aml *aml, const char *id)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < 3; i++)
        value = value << 5 | (uint32_t)(id[i] - '@');
    for (unsigned i = 3; i < 7; i++)
        value = value << 4 | hex_digit(id[i]);
    put(aml, OP_DWORD, 1);
    put(aml, __builtin_bswap32(value), 4);
}

void aml_uuid(struct aml *aml, const char *uuid)
{
    /* Where in the text each byte stands: the first three groups are little-endian. */
    static const uint8_t position[16] = {6, 4, 2, 0, 11, 9, 16, 14, 19, 21, 24, 26, 28, 30, 32, 34};
    put(aml, OP_BUFFER, 1);
    size_t opened = aml->used;
    put(aml, 0, PACKAGE_LENGTH_BYTES);
    aml_integer(aml, sizeof(position));
    for (size_t i = 0; i < sizeof(position); i++)
        put(aml, hex_digit(uuid[position[i]]) << 4 | hex_digit(uuid[position[i] + 1]), 1);
    aml_close(aml, opened);
}

void aml_name(struct aml *aml, const char *path)
{
    put(aml, OP_NAME, 1);
    aml_path(aml, path);
}

void aml_name_integer(struct aml *aml, const char *path, uint64_t value)
{
    aml_name(aml, path);
    aml_integer(aml, value);
}

/* ---- What has a length ---- */

static size_t open_package(struct aml *aml)
{
    size_t opened = aml->used;
    put(aml, 0, PACKAGE_LENGTH_BYTES);
    return opened;
}

static size_t open_named(struct aml *aml, const char *path)
{
    size_t opened = open_package(aml);
    aml_path(aml, path);
    return opened;
}

size_t aml_scope(struct aml *aml, const char *path)
{
    put(aml, OP_SCOPE, 1);
    return open_named(aml, path);
}

size_t aml_device(struct aml *aml, const char *path)
{
    put(aml, OP_EXTENDED | OP_DEVICE << 8, 2);
    return open_named(aml, path);
}

size_t aml_method(struct aml *aml, const char *path, unsigned arguments)
{
    put(aml, OP_METHOD, 1);
    size_t opened = open_named(aml, path);
    put(aml, arguments & 7, 1);
    return opened;
}

size_t aml_package(struct aml *aml, unsigned elements)
{
    put(aml, OP_PACKAGE, 1);
    size_t opened = open_package(aml);
    put(aml, elements, 1);
    return opened;
}

size_t aml_if(struct aml *aml)
{
    put(aml, OP_IF, 1);
    return open_package(aml);
}

size_t aml_else(struct aml *aml)
{
    put(aml, OP_ELSE, 1);
    return open_package(aml);
}

/* ACPI: Package Length Encoding: the low four bits, and how many bytes follow, in the first. */
void aml_close(struct aml *aml, size_t opened)
{
    size_t length = aml->used - opened;
    if (length >= 1 << 20)
        aml->overflow = true;
    if (aml->overflow)
        return;
    aml->at[opened] = (uint8_t)((PACKAGE_LENGTH_BYTES - 1) << 6 | (length & 0xf));
    aml->at[opened + 1] = (uint8_t)(length >> 4);
    aml->at[opened + 2] = (uint8_t)(length >> 12);
}

/* ---- Resources ---- */

#define DESCRIPTOR_IRQ 0x22
#define DESCRIPTOR_IO 0x47
#define DESCRIPTOR_END 0x79
#define DESCRIPTOR_MEMORY32_FIXED 0x86
#define DESCRIPTOR_DWORD_SPACE 0x87
#define DESCRIPTOR_WORD_SPACE 0x88
#define IO_DECODE16 1
#define SPACE_MEMORY 0
#define SPACE_IO 1
#define SPACE_BUS 2
#define SPACE_MIN_AND_MAX_FIXED 0x0c
#define IO_ENTIRE_RANGE 3
#define MEMORY_READ_WRITE 1

struct aml_template aml_template_open(struct aml *aml)
{
    struct aml_template template;
    put(aml, OP_BUFFER, 1);
    template.opened = open_package(aml);
    put(aml, OP_WORD, 1);
    template.length = aml->used;
    put(aml, 0, 2);
    return template;
}

void aml_template_close(struct aml *aml, struct aml_template template)
{
    put(aml, DESCRIPTOR_END, 2); /* a checksum of 0 says that there is none */
    size_t length = aml->used - template.length - 2;
    if (!aml->overflow)
        memcpy(aml->at + template.length, &length, 2);
    aml_close(aml, template.opened);
}

void aml_io(struct aml *aml, uint16_t base, uint8_t length)
{
    put(aml, DESCRIPTOR_IO | IO_DECODE16 << 8, 2);
    put(aml, base, 2);
    put(aml, base, 2);
    put(aml, 1, 1);
    put(aml, length, 1);
}

void aml_irq(struct aml *aml, unsigned irq)
{
    put(aml, DESCRIPTOR_IRQ, 1);
    put(aml, 1u << (irq & 15), 2);
}

void aml_memory32_fixed(struct aml *aml, uint32_t base, uint32_t length)
{
    put(aml, DESCRIPTOR_MEMORY32_FIXED, 1);
    put(aml, 9, 2);
    put(aml, MEMORY_READ_WRITE, 1);
    put(aml, base, 4);
    put(aml, length, 4);
}

/* An address space descriptor: granularity, minimum, maximum, translation, length. */
static void put_window(struct aml *aml, unsigned width, uint8_t space, uint8_t flags,
                       uint32_t first, uint32_t last)
{
    put(aml, width == 2 ? DESCRIPTOR_WORD_SPACE : DESCRIPTOR_DWORD_SPACE, 1);
    put(aml, 3 + 5 * width, 2);
    put(aml, space, 1);
    put(aml, SPACE_MIN_AND_MAX_FIXED, 1);
    put(aml, flags, 1);
    put(aml, 0, width);
    put(aml, first, width);
    put(aml, last, width);
    put(aml, 0, width);
    put(aml, (uint64_t)last - first + 1, width);
}

void aml_bus_window(struct aml *aml, uint16_t first, uint16_t last)
{
    put_window(aml, 2, SPACE_BUS, 0, first, last);
}

void aml_io_window(struct aml *aml, uint16_t first, uint16_t last)
{
    put_window(aml, 2, SPACE_IO, IO_ENTIRE_RANGE, first, last);
}

void aml_memory_window(struct aml *aml, uint32_t first, uint32_t last)
{
    put_window(aml, 4, SPACE_MEMORY, MEMORY_READ_WRITE, first, last);
}

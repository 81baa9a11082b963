/*
 * ACPI tables for the fuzz targets of those who read them: a machine's that are as they should be,
 * which the input then changes. Physical memory is BASE to BASE + ACPI_IMAGE_SIZE; every mapping is
 * an exact copy, so that the sanitizer sees a read behind it.
 */
#pragma once

#include <string.h>

#include "tests/fuzz/fuzz.h"

#define ACPI_IMAGE_BASE 0xe0000ull
#define ACPI_IMAGE_SIZE 0x800u
#define ACPI_IMAGE_MAPS 64

/* Where the tables are. */
enum { IMAGE_RSDP, IMAGE_XSDT = 0x40, IMAGE_RSDT = 0xa0, IMAGE_MADT = 0x100, IMAGE_FADT = 0x200 };
enum { IMAGE_HPET = 0x340, IMAGE_DSDT = 0x380, IMAGE_SSDT = 0x400 };

struct acpi_image {
    uint8_t memory[ACPI_IMAGE_SIZE];
    void *copy[ACPI_IMAGE_MAPS]; /* what map gave; one map's result is used until the end */
    unsigned copies;
    unsigned maps; /* how often it was asked */
};

static inline void acpi_image_put(struct acpi_image *image, uint32_t at, unsigned size,
                                  uint64_t value)
{
    for (unsigned i = 0; i < size; i++)
        image->memory[at + i] = (uint8_t)(value >> (8 * i));
}

static inline void acpi_image_sum(struct acpi_image *image, uint32_t at, uint32_t size,
                                  uint32_t where)
{
    uint8_t sum = 0;
    if (size > ACPI_IMAGE_SIZE - at)
        return;
    image->memory[at + where] = 0;
    for (uint32_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + image->memory[at + i]);
    image->memory[at + where] = (uint8_t)-sum;
}

static inline void acpi_image_table(struct acpi_image *image, uint32_t at, const char *signature,
                                    uint32_t size)
{
    memcpy(image->memory + at, signature, 4);
    acpi_image_put(image, at + 4, 4, size);
}

/* Makes every checksum right, over the length that the table now says. */
static inline void acpi_image_fix(struct acpi_image *image)
{
    static const uint16_t tables[] = {IMAGE_XSDT, IMAGE_RSDT, IMAGE_MADT, IMAGE_FADT,
                                      IMAGE_HPET, IMAGE_DSDT, IMAGE_SSDT};
    for (unsigned i = 0; i < ARRAY_SIZE(tables); i++) {
        uint32_t size;
        memcpy(&size, image->memory + tables[i] + 4, 4);
        acpi_image_sum(image, tables[i], size, 9);
    }
    acpi_image_sum(image, IMAGE_RSDP, 20, 8);
    acpi_image_sum(image, IMAGE_RSDP, 36, 32);
}

static inline void acpi_image_make(struct acpi_image *image)
{
    static const uint8_t madt[] = {
        0, 8,  0, 0, 1,  0,    0,    0,                             /* a local APIC */
        0, 8,  1, 4, 1,  0,    0,    0,                             /* another */
        9, 16, 0, 0, 0,  1,    0,    0,    1,  0, 0, 0, 2, 0, 0, 0, /* a local x2APIC */
        1, 12, 2, 0, 0,  0x10, 0xc0, 0xfe, 24, 0, 0, 0,             /* an I/O APIC */
        2, 10, 0, 9, 20, 0,    0,    0,    15, 0,                   /* an override */
        5, 12, 0, 0, 0,  0,    0xe0, 0xfe, 1,  0, 0, 0};            /* the local APICs' address */
    static const uint8_t s5[] = {0x08, '_',  'S',  '5',  '_',  0x12,
                                 0x06, 0x04, 0x0a, 0x05, 0x01, 0x00};
    memset(image, 0, sizeof(*image));
    memcpy(image->memory, "RSD PTR ", 8);
    image->memory[IMAGE_RSDP + 15] = 2;
    acpi_image_put(image, IMAGE_RSDP + 16, 4, ACPI_IMAGE_BASE + IMAGE_RSDT);
    acpi_image_put(image, IMAGE_RSDP + 20, 4, 36);
    acpi_image_put(image, IMAGE_RSDP + 24, 8, ACPI_IMAGE_BASE + IMAGE_XSDT);
    acpi_image_table(image, IMAGE_XSDT, "XSDT", 36 + 4 * 8);
    acpi_image_table(image, IMAGE_RSDT, "RSDT", 36 + 4 * 4);
    static const uint16_t listed[] = {IMAGE_FADT, IMAGE_MADT, IMAGE_HPET, IMAGE_SSDT};
    for (unsigned i = 0; i < ARRAY_SIZE(listed); i++) {
        acpi_image_put(image, IMAGE_XSDT + 36 + 8 * i, 8, ACPI_IMAGE_BASE + listed[i]);
        acpi_image_put(image, IMAGE_RSDT + 36 + 4 * i, 4, ACPI_IMAGE_BASE + listed[i]);
    }
    acpi_image_table(image, IMAGE_MADT, "APIC", 44 + sizeof(madt));
    acpi_image_put(image, IMAGE_MADT + 36, 4, 0xfee00000);
    memcpy(image->memory + IMAGE_MADT + 44, madt, sizeof(madt));
    acpi_image_table(image, IMAGE_FADT, "FACP", 276);
    acpi_image_put(image, IMAGE_FADT + 40, 4, ACPI_IMAGE_BASE + IMAGE_DSDT);
    acpi_image_put(image, IMAGE_FADT + 64, 4, 0x604);
    acpi_image_put(image, IMAGE_FADT + 76, 4, 0x608);
    acpi_image_put(image, IMAGE_FADT + 112, 4, 0x500); /* a reset register, a 32-bit timer */
    acpi_image_put(image, IMAGE_FADT + 116, 2, 0x0801);
    acpi_image_put(image, IMAGE_FADT + 120, 8, 0xcf9);
    acpi_image_table(image, IMAGE_HPET, "HPET", 56);
    acpi_image_put(image, IMAGE_HPET + 44, 8, 0xfed00000);
    acpi_image_table(image, IMAGE_DSDT, "DSDT", 36 + sizeof(s5));
    memcpy(image->memory + IMAGE_DSDT + 36, s5, sizeof(s5));
    acpi_image_table(image, IMAGE_SSDT, "SSDT", 64);
    acpi_image_fix(image);
}

/* Changes: where (2 bytes), how many bytes (1 byte, up to 15), the bytes. Half of the inputs have
 * their checksums made right again. */
static inline void acpi_image_change(struct acpi_image *image, struct fuzz_input *input)
{
    bool is_fixed = (fuzz_take(input, 1) & 1) == 0;
    while (!fuzz_is_done(input)) {
        uint64_t at = fuzz_take(input, 2), count = fuzz_take(input, 1) % 16;
        for (uint64_t i = 0; i < count && !fuzz_is_done(input); i++)
            image->memory[(at + i) % ACPI_IMAGE_SIZE] = (uint8_t)fuzz_take(input, 1);
    }
    if (is_fixed)
        acpi_image_fix(image);
}

static inline const void *acpi_image_map(struct acpi_image *image, uint64_t address, uint64_t size)
{
    image->maps++;
    if (address < ACPI_IMAGE_BASE || size > ACPI_IMAGE_SIZE ||
        address - ACPI_IMAGE_BASE > ACPI_IMAGE_SIZE - size || image->copies == ACPI_IMAGE_MAPS)
        return NULL;
    void *copy = malloc(size == 0 ? 1 : size);
    REQUIRE(copy != NULL);
    memcpy(copy, image->memory + (address - ACPI_IMAGE_BASE), size);
    image->copy[image->copies++] = copy;
    return copy;
}

static inline void acpi_image_free(struct acpi_image *image)
{
    for (unsigned i = 0; i < image->copies; i++)
        free(image->copy[i]);
}

/* drivers/host/acpi.c: the machine's tables, as they should be and damaged. */
#include <stdlib.h>

#include "drivers/host/acpi.h"
#include "tests/check.h"

#define BASE 0xe0000ull
#define SPACE 0x10000u

/* Physical memory: an array at BASE; what is outside cannot be mapped. */
static uint8_t memory[SPACE];

static const void *map(void *context, hpa_t address, uint64_t size)
{
    (void)context;
    if (address.v < BASE || size > SPACE || address.v - BASE > SPACE - size)
        return NULL;
    /* An exact copy, so that the sanitizer sees every byte too many. It leaks on purpose: the
     * mapping lives as long as the monitor. */
    static void *copies[256];
    static unsigned next;
    free(copies[next % 256]);
    void *copy = copies[next++ % 256] = malloc(size);
    memcpy(copy, memory + (address.v - BASE), size);
    return copy;
}

static const struct acpi_memory port = {map, NULL};

static void put(uint32_t at, unsigned size, uint64_t value)
{
    for (unsigned i = 0; i < size; i++)
        memory[at + i] = (uint8_t)(value >> (8 * i));
}

static void fix_sum(uint32_t at, uint32_t size, uint32_t where)
{
    uint8_t sum = 0;
    memory[at + where] = 0;
    for (uint32_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + memory[at + i]);
    memory[at + where] = (uint8_t)-sum;
}

static void table(uint32_t at, const char *signature, uint32_t size)
{
    memcpy(memory + at, signature, 4);
    put(at + 4, 4, size);
    fix_sum(at, size, 9);
}

enum {
    RSDP = 0x0,
    XSDT = 0x100,
    RSDT = 0x200,
    MADT = 0x300,
    FADT = 0x400,
    HPET = 0x600,
    DSDT = 0x700,
    SSDT = 0x900,
};

static const uint8_t s5[] = {0x14, 0x08, 'A',  0x08, '_',  'S',  '5',  '_', 0x12,
                             0x06, 0x04, 0x0a, 0x05, 0x01, 0x00, 0x00, 0x70};

static void finish(void)
{
    table(XSDT, "XSDT", 36 + 5 * 8);
    table(RSDT, "RSDT", 36 + 3 * 4);
    table(MADT, "APIC", 44 + 12 + 10 + 10 + 8 + 12);
    table(FADT, "FACP", 276);
    table(HPET, "HPET", 56);
    table(DSDT, "DSDT", 36 + sizeof(s5));
    table(SSDT, "SSDT", 36 + 4);
    fix_sum(RSDP, 20, 8);
    fix_sum(RSDP, 36, 32);
}

static void put_madt(void)
{
    static const uint8_t entries[] = {
        1, 12, 2, 0, 0x00, 0x10, 0xc0, 0xfe, 24, 0, 0, 0, /* I/O APIC */
        2, 10, 0, 0, 2,    0,    0,    0,    0,  0,       /* IRQ 0 is input 2 */
        2, 10, 0, 9, 20,   0,    0,    0,    15, 0,       /* IRQ 9: level, low */
        0, 8,  0, 0, 1,    0,    0,    0,                 /* a processor */
        5, 12, 0, 0, 0,    0,    0,    0xf0, 0,  0, 0, 1, /* the APIC at 0x1f0000000... */
    };
    put(MADT + 36, 4, 0xfee00000);
    memcpy(memory + MADT + 44, entries, sizeof(entries));
    put(MADT + 44 + 12 + 10 + 10 + 8 + 4, 8, 0x1fee00000);
}

static void put_fadt(void)
{
    put(FADT + 40, 4, BASE + DSDT);
    put(FADT + 48, 4, 0xb2);
    put(FADT + 52, 1, 0xf1);
    put(FADT + 64, 4, 0x604);
    put(FADT + 68, 4, 0);
    put(FADT + 76, 4, 0x608);
    put(FADT + 112, 4, 1u << 8 | 1u << 10);
    put(FADT + 116, 1, 1);
    put(FADT + 117, 1, 8);
    put(FADT + 120, 8, 0xcf9);
    put(FADT + 128, 1, 0x0f);
}

static void machine(void)
{
    memset(memory, 0, sizeof(memory));
    memcpy(memory + RSDP, "RSD PTR ", 8);
    memory[RSDP + 15] = 2;
    put(RSDP + 16, 4, BASE + RSDT);
    put(RSDP + 20, 4, 36);
    put(RSDP + 24, 8, BASE + XSDT);
    put(XSDT + 36, 8, BASE + FADT);
    put(XSDT + 44, 8, BASE + MADT);
    put(XSDT + 52, 8, BASE + HPET);
    put(XSDT + 60, 8, BASE + SSDT);
    put(XSDT + 68, 8, 0x7fffffff0000); /* cannot be mapped */
    put(RSDT + 36, 4, BASE + FADT);
    put(RSDT + 40, 4, BASE + MADT);
    put_madt();
    put_fadt();
    put(HPET + 44, 8, 0xfed00000);
    memcpy(memory + DSDT + 36, s5, sizeof(s5));
    finish();
}

static void reads_a_whole_machine(void)
{
    struct acpi acpi;
    machine();
    CHECK_EQ(acpi_read(&acpi, BASE + RSDP, &port), STATUS_OK);
    CHECK(acpi.present && acpi.has_madt && acpi.has_fadt && acpi.has_s5);
    CHECK_EQ(acpi.lapic_address, 0x1fee00000);
    CHECK_EQ(acpi.ioapic_count, 1);
    CHECK_EQ(acpi.ioapic[0].address, 0xfec01000);
    CHECK_EQ(acpi.ioapic[0].gsi_base, 24);
    CHECK_EQ(acpi.isa[0].gsi, 2);
    CHECK(!acpi.isa[0].level && !acpi.isa[0].active_low);
    CHECK_EQ(acpi.isa[9].gsi, 20);
    CHECK(acpi.isa[9].level && acpi.isa[9].active_low);
    CHECK_EQ(acpi.isa[4].gsi, 4);
    CHECK_EQ(acpi.pm1a_control.address, 0x604);
    CHECK_EQ(acpi.pm1a_control.space, ACPI_SPACE_PORT);
    CHECK_EQ(acpi.pm1b_control.address, 0);
    CHECK_EQ(acpi.pm_timer.address, 0x608);
    CHECK(acpi.pm_timer_is_32bit);
    CHECK_EQ(acpi.smi_command, 0xb2);
    CHECK_EQ(acpi.acpi_enable, 0xf1);
    CHECK_EQ(acpi.reset.address, 0xcf9);
    CHECK_EQ(acpi.reset_value, 0x0f);
    CHECK_EQ(acpi.s5_typ_a, 5);
    CHECK_EQ(acpi.s5_typ_b, 1);
    CHECK_EQ(acpi.hpet_address, 0xfed00000);
}

static void extended_fields_win(void)
{
    struct acpi acpi;
    machine();
    put(FADT + 140, 8, BASE + SSDT); /* X_DSDT, without an _S5_ */
    put(FADT + 172, 1, 0);
    put(FADT + 176, 8, 0xfe000004);
    put(FADT + 208, 1, 1);
    put(FADT + 212, 8, 0x1808);
    finish();
    CHECK_EQ(acpi_read(&acpi, BASE + RSDP, &port), STATUS_OK);
    CHECK_EQ(acpi.pm1a_control.space, ACPI_SPACE_MEMORY);
    CHECK_EQ(acpi.pm1a_control.address, 0xfe000004);
    CHECK_EQ(acpi.pm_timer.address, 0x1808);
    CHECK(!acpi.has_s5);
}

static void old_tables_do(void)
{
    struct acpi acpi;
    machine();
    memory[RSDP + 15] = 0; /* ACPI 1.0: RSDT only */
    fix_sum(RSDP, 20, 8);
    table(FADT, "FACP", 116);
    CHECK_EQ(acpi_read(&acpi, BASE + RSDP, &port), STATUS_OK);
    CHECK(acpi.has_fadt && acpi.has_madt && acpi.has_s5);
    CHECK_EQ(acpi.pm1a_control.address, 0x604);
    CHECK_EQ(acpi.reset.address, 0);
    CHECK_EQ(acpi.hpet_address, 0);
}

static void hardware_reduced_machine(void)
{
    struct acpi acpi;
    machine();
    put(FADT + 112, 4, 1u << 20);
    put(FADT + 244, 1, 0);
    put(FADT + 248, 8, 0xfed80000);
    finish();
    CHECK_EQ(acpi_read(&acpi, BASE + RSDP, &port), STATUS_OK);
    CHECK_EQ(acpi.sleep_control.address, 0xfed80000);
    CHECK_EQ(acpi.pm1a_control.address, 0);
}

static void no_acpi(void)
{
    struct acpi acpi;
    machine();
    CHECK_EQ(acpi_read(&acpi, 0, &port), ERR_NOT_FOUND);
    CHECK(!acpi.present);
    CHECK_EQ(acpi.isa[7].gsi, 7);
    CHECK_EQ(acpi_read(&acpi, BASE + XSDT, &port), ERR_NOT_FOUND);
    CHECK_EQ(acpi_read(&acpi, UINT64_MAX - 3, &port), ERR_NOT_FOUND);
    memory[RSDP + 9]++;
    CHECK_EQ(acpi_read(&acpi, BASE + RSDP, &port), ERR_INVALID);
    machine();
    memory[RSDP + 33]++;
    CHECK_EQ(acpi_read(&acpi, BASE + RSDP, &port), ERR_INVALID);
    machine();
    memory[XSDT + 10]++;
    CHECK_EQ(acpi_read(&acpi, BASE + RSDP, &port), ERR_INVALID);
}

static void broken_tables_are_left_out(void)
{
    struct acpi acpi;
    machine();
    memory[MADT + 50]++;
    CHECK_EQ(acpi_read(&acpi, BASE + RSDP, &port), STATUS_OK);
    CHECK(!acpi.has_madt && acpi.has_fadt);
    machine();
    put(FADT + 4, 4, 0xffffffff);
    CHECK_EQ(acpi_read(&acpi, BASE + RSDP, &port), STATUS_OK);
    CHECK(acpi.has_madt && !acpi.has_fadt && !acpi.has_s5);
    machine();
    put(HPET + 4, 4, 35);
    CHECK_EQ(acpi_read(&acpi, BASE + RSDP, &port), STATUS_OK);
    CHECK_EQ(acpi.hpet_address, 0);
}

static void madt_entries_are_bounded(void)
{
    struct acpi acpi;
    static const uint8_t lengths[] = {0, 1, 2, 11, 255};
    for (unsigned i = 0; i < sizeof(lengths); i++) {
        machine();
        memory[MADT + 45] = lengths[i];
        finish();
        CHECK_EQ(acpi_read(&acpi, BASE + RSDP, &port), STATUS_OK);
        CHECK_EQ(acpi.ioapic_count, 0);
    }
    machine(); /* an override for an interrupt that ISA has not */
    memory[MADT + 44 + 12 + 3] = 200;
    finish();
    CHECK_EQ(acpi_read(&acpi, BASE + RSDP, &port), STATUS_OK);
    CHECK_EQ(acpi.isa[0].gsi, 0);
    machine(); /* more I/O APICs than there is room for */
    for (unsigned i = 0; i < 40; i++)
        memcpy(memory + MADT + 0x1000 + 44 + i * 12, memory + MADT + 44, 12);
    table(MADT + 0x1000, "APIC", 44 + 40 * 12);
    put(XSDT + 44, 8, BASE + MADT + 0x1000);
    finish();
    CHECK_EQ(acpi_read(&acpi, BASE + RSDP, &port), STATUS_OK);
    CHECK_EQ(acpi.ioapic_count, ACPI_IOAPICS_MAX);
}

static enum status find(const void *aml, size_t size, uint8_t *a, uint8_t *b)
{
    uint8_t *copy = malloc(size + (size == 0));
    memcpy(copy, aml, size);
    enum status status = acpi_find_s5(copy, size, a, b);
    free(copy);
    return status;
}

static void s5_in_every_spelling(void)
{
    static const struct {
        uint8_t aml[20];
        uint8_t size, typ_a, typ_b;
        bool found;
    } rows[] = {
        {"\x08_S5_\x12\x08\x04\x0a\x07\x0a\x06\x00\x00", 14, 7, 6, true},
        {"\x08\\_S5_\x12\x06\x04\x00\x01\x00\x00", 13, 0, 1, true},
        {"\x08_S5_\x12\x06\x02\x0b\x05\x00\x0c\x03\x00\x00\x00", 16, 5, 3, true},
        {"\x08_S5_\x12\x40\x01\x04\x0a\x05\x01\x00\x00", 14, 5, 1, true}, /* a long PkgLength */
        {"\x08_S5_\x12\x03\x01\x0a\x05", 10, 5, 0, true},                 /* one element */
        {"\x10_S5_\x12\x06\x04\x00\x01\x00\x00", 12, 0, 0, false},        /* not a Name */
        {"\x08_S5_\x11\x06\x04\x00\x01\x00\x00", 12, 0, 0, false},        /* not a Package */
        {"\x08_S5_\x12\x03\x00", 8, 0, 0, false},                         /* empty */
        {"\x08_S5_\x12\x06\x04\x0d\x01\x00\x00", 12, 0, 0, false},        /* a string */
        {"_S5_\x12\x06\x04\x00\x01\x00\x00", 11, 0, 0, false},
        {"", 0, 0, 0, false},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t a = 99, b = 99;
        enum status status = find(rows[i].aml, rows[i].size, &a, &b);
        CHECK_EQ(status, rows[i].found ? STATUS_OK : ERR_NOT_FOUND);
        CHECK(!rows[i].found || (a == rows[i].typ_a && b == rows[i].typ_b));
    }
}

static void cut_aml_is_read_to_its_end(void)
{
    uint8_t a, b;
    for (size_t size = 0; size <= sizeof(s5); size++)
        CHECK_EQ(find(s5, size, &a, &b), size >= 14 ? STATUS_OK : ERR_NOT_FOUND);
}

/* Any damage is survived: no sanitizer report, no endless loop. */
static void random_damage(void)
{
    uint64_t seed = 7;
    for (unsigned i = 0; i < 20000; i++) {
        struct acpi acpi;
        machine();
        for (unsigned n = 0; n < 3; n++) {
            seed = seed * 6364136223846793005ull + 1442695040888963407ull;
            memory[(seed >> 40) % 0xa00] = (uint8_t)(seed >> 32);
        }
        finish();
        enum status status = acpi_read(&acpi, BASE + RSDP, &port);
        CHECK(status == STATUS_OK || status == ERR_NOT_FOUND || status == ERR_INVALID);
        CHECK(acpi.ioapic_count <= ACPI_IOAPICS_MAX);
    }
}

TEST_MAIN({"reads_a_whole_machine", reads_a_whole_machine},
          {"extended_fields_win", extended_fields_win}, {"old_tables_do", old_tables_do},
          {"hardware_reduced_machine", hardware_reduced_machine}, {"no_acpi", no_acpi},
          {"broken_tables_are_left_out", broken_tables_are_left_out},
          {"madt_entries_are_bounded", madt_entries_are_bounded},
          {"s5_in_every_spelling", s5_in_every_spelling},
          {"cut_aml_is_read_to_its_end", cut_aml_is_read_to_its_end},
          {"random_damage", random_damage})

/* The ACPI tables, read back as an operating system does: from the RSDP on. */
#define _GNU_SOURCE /* memmem */
#include <stdlib.h>

#include "kernel/core/bits.h"
#include "kernel/vm/acpi_aml.h"
#include "kernel/vm/acpi_tables.h"
#include "kernel/vm/platform.h"
#include "tests/check.h"

static uint8_t region[ACPI_REGION_SIZE];

static uint64_t get(const uint8_t *at, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, at, size);
    return value;
}

static uint8_t sum(const uint8_t *at, size_t size)
{
    uint8_t total = 0;
    while (size-- > 0)
        total = (uint8_t)(total + *at++);
    return total;
}

static void build_for(const struct acpi_facts *facts)
{
    memset(region, 0xee, sizeof(region));
    CHECK_EQ(acpi_tables_build(region, facts), STATUS_OK);
}

static void build(uint32_t vcpu_count, bool has_keyboard)
{
    build_for(&(struct acpi_facts){.vcpu_count = vcpu_count, .has_keyboard = has_keyboard});
}

/* A table at a guest-physical address, after the checks that every reader makes. */
static const uint8_t *table_at(uint64_t address)
{
    CHECK(address >= GUEST_MAP_ACPI_BASE && address < GUEST_MAP_FACS);
    CHECK_EQ(address % 16, 0);
    const uint8_t *table = region + (address - GUEST_MAP_ACPI_BASE);
    uint64_t length = get(table + 4, 4);
    CHECK(length >= 36 && address + length <= GUEST_MAP_FACS);
    CHECK_EQ(sum(table, length), 0);
    CHECK(memcmp(table + 10, "TRAPRKTRAPROCK", 14) == 0);
    return table;
}

static const uint8_t *find(const char *signature)
{
    const uint8_t *xsdt = table_at(get(region + 24, 8));
    CHECK(memcmp(xsdt, "XSDT", 4) == 0);
    for (uint64_t i = 36; i < get(xsdt + 4, 4); i += 8) {
        const uint8_t *table = table_at(get(xsdt + i, 8));
        if (memcmp(table, signature, 4) == 0)
            return table;
    }
    return NULL;
}

static void the_rsdp_comes_first(void)
{
    build(1, true);
    CHECK(memcmp(region, "RSD PTR ", 8) == 0);
    CHECK_EQ(sum(region, 20), 0);
    CHECK_EQ(sum(region, 36), 0);
    CHECK_EQ(region[15], 2);
    CHECK_EQ(get(region + 20, 4), 36);
    CHECK(find("FACP") != NULL && find("APIC") != NULL && find("MCFG") != NULL);
    CHECK(find("DSDT") == NULL);
}

/* As a reader of ACPI 1.0 does, to which the RSDP has 20 bytes. */
static void the_rsdt_lists_what_the_xsdt_lists(void)
{
    build(1, true);
    const uint8_t *rsdt = table_at(get(region + 16, 4)), *xsdt = table_at(get(region + 24, 8));
    CHECK(memcmp(rsdt, "RSDT", 4) == 0);
    uint64_t count = (get(rsdt + 4, 4) - 36) / 4;
    CHECK_EQ(count, 3);
    CHECK_EQ(count, (get(xsdt + 4, 4) - 36) / 8);
    for (uint64_t i = 0; i < count; i++)
        CHECK_EQ(get(rsdt + 36 + 4 * i, 4), get(xsdt + 36 + 8 * i, 8));
}

static void the_fadt_says_what_the_platform_is(void)
{
    build(1, true);
    const uint8_t *fadt = find("FACP");
    CHECK_EQ(get(fadt + 4, 4), 276);
    CHECK_EQ(fadt[8], 6);
    CHECK_EQ(get(fadt + 36, 4), GUEST_MAP_FACS);
    CHECK_EQ(get(fadt + 132, 8), 0); /* or both would have to agree */
    CHECK_EQ(get(fadt + 40, 4), get(fadt + 140, 8));
    CHECK(memcmp(table_at(get(fadt + 40, 4)), "DSDT", 4) == 0);
    CHECK_EQ(get(fadt + 46, 2), 9);
    CHECK_EQ(get(fadt + 48, 4), 0xb2);
    CHECK_EQ(get(fadt + 56, 4), 0x600);
    CHECK_EQ(get(fadt + 64, 4), 0x604);
    CHECK_EQ(get(fadt + 76, 4), 0x608);
    CHECK_EQ(get(fadt + 80, 4), 0x620);
    CHECK_EQ(get(fadt + 88, 2), 2 << 8 | 4);
    CHECK_EQ(get(fadt + 91, 2), 4 << 8 | 4);
    CHECK_EQ(get(fadt + 109, 2), 0x17);
    CHECK_EQ(get(fadt + 112, 4), 0x525);
    CHECK_EQ(get(fadt + 116, 4), 0x01000801); /* an I/O port of 8 bits */
    CHECK_EQ(get(fadt + 120, 8), 0xcf9);
    CHECK_EQ(fadt[128], 6);
    /* Each extended block is the same port, as wide as the length says. */
    static const struct {
        unsigned block, extended, length;
    } blocks[] = {{56, 148, 88}, {60, 160, 88}, {64, 172, 89}, {68, 184, 89},
                  {72, 196, 90}, {76, 208, 91}, {80, 220, 92}, {84, 232, 93}};
    for (size_t i = 0; i < ARRAY_SIZE(blocks); i++) {
        uint64_t port = get(fadt + blocks[i].block, 4);
        CHECK_EQ(get(fadt + blocks[i].extended + 4, 8), port);
        CHECK_EQ(fadt[blocks[i].extended], port != 0);
        if (port != 0)
            CHECK_EQ(fadt[blocks[i].extended + 1], 8 * fadt[blocks[i].length]);
    }
    build(1, false);
    CHECK_EQ(get(find("FACP") + 109, 2), 0x15);
}

static void the_facs_lies_in_its_own_page(void)
{
    build(1, true);
    const uint8_t *facs = region + (GUEST_MAP_FACS - GUEST_MAP_ACPI_BASE);
    CHECK(memcmp(facs, "FACS", 4) == 0);
    CHECK_EQ(get(facs + 4, 4), 64);
    CHECK_EQ(facs[32], 2);
    for (unsigned i = 64; i < 4096; i++)
        CHECK_EQ(facs[i], 0);
}

/* Counts the MADT's entries by type, after checking that their lengths add up. */
static void count_madt(const uint8_t *madt, unsigned count[16])
{
    uint64_t at = 44, end = get(madt + 4, 4);
    memset(count, 0, 16 * sizeof(count[0]));
    while (at < end) {
        CHECK(madt[at] < 16 && madt[at + 1] >= 6 && madt[at + 1] <= end - at);
        count[madt[at]]++;
        at += madt[at + 1];
    }
    CHECK_EQ(at, end);
}

static void the_madt_counts_the_vcpus(void)
{
    unsigned count[16];
    build(3, true);
    const uint8_t *madt = find("APIC");
    CHECK_EQ(get(madt + 36, 4), 0xfee00000);
    CHECK_EQ(get(madt + 40, 4), 1);
    count_madt(madt, count);
    CHECK_EQ(count[0], 3);
    CHECK_EQ(count[1], 1);
    CHECK_EQ(count[2], 2);
    CHECK_EQ(count[4], 1);
    CHECK_EQ(count[9], 0);
    CHECK_EQ(get(madt + 44 + 16, 8), 0x0000000102020800ull); /* vCPU 2 */
    const uint8_t *ioapic = madt + 44 + 24;
    CHECK_EQ(get(ioapic + 4, 8), 0xfec00000);
    CHECK_EQ(get(ioapic + 12, 8), 0x0000000200000a02ull); /* IRQ 0 at GSI 2 */
    CHECK_EQ(get(ioapic + 22, 8), 0x0000000909000a02ull); /* the SCI, */
    CHECK_EQ(get(ioapic + 30, 2), 0x000d);                /* level, active high */
    build(300, true);
    count_madt(find("APIC"), count);
    CHECK_EQ(count[0], 255);
    CHECK_EQ(count[9], 45);
    CHECK_EQ(count[10], 1);
}

static void the_mcfg_names_the_ecam(void)
{
    build(1, true);
    const uint8_t *mcfg = find("MCFG");
    CHECK_EQ(get(mcfg + 4, 4), 60);
    CHECK_EQ(get(mcfg + 44, 8), PLATFORM_ECAM);
    CHECK_EQ(get(mcfg + 52, 8), 0xff000000ull);
}

/* Where bytes stand in the DSDT; -1: nowhere. */
static long search(const void *what, size_t size)
{
    const uint8_t *dsdt = table_at(get(find("FACP") + 40, 4));
    size_t length = (size_t)get(dsdt + 4, 4);
    for (size_t i = 36; i + size <= length; i++)
        if (memcmp(dsdt + i, what, size) == 0)
            return (long)i;
    return -1;
}

/* A package length of three bytes. */
static size_t package_length(const uint8_t *at)
{
    CHECK_EQ(at[0] >> 4, 8);
    return (size_t)(at[0] & 0xf) | (size_t)at[1] << 4 | (size_t)at[2] << 12;
}

static void the_dsdt_has_its_devices(void)
{
    build(2, true);
    const uint8_t *dsdt = table_at(get(find("FACP") + 40, 4));
    CHECK_EQ(dsdt[8], 2);
    CHECK(search("\x08\\_S5_\x12\x88\x00\x00\x04\x00\x00\x00\x00", 15) == 36);
    CHECK(search("PCI0", 4) > 0 && search("COM1", 4) > 0 && search("RTC_", 4) > 0);
    CHECK(search("C000", 4) > 0 && search("C001", 4) > 0 && search("C002", 4) < 0);
    CHECK(search("\x0c\x41\xd0\x0a\x08", 5) > 0);             /* EISAID PNP0A08 */
    CHECK(search("\x47\x01\xf8\x03\xf8\x03\x01\x08", 8) > 0); /* COM1's ports, */
    CHECK(search("\x22\x10\x00\x79\x00", 5) > 0);             /* its IRQ, and the end */
    CHECK(search("\x86\x09\x00\x01\x00\x00\x00\xe0\x00\x00\x00\x10", 12) > 0); /* the ECAM */
    CHECK(search("\x5b\x4d\xdb\x33\xf7\x1f\x1c\x40\x96\x57\x74\x41\xc0\x3d\xd7\x66", 16) > 0);
    CHECK(search("KBD_", 4) > 0);
    build(2, false);
    CHECK(search("KBD_", 4) < 0);
}

/* The scope ends with the table, and holds devices that follow each other without a gap. */
static void lengths_nest(void)
{
    build(2, true);
    const uint8_t *dsdt = table_at(get(find("FACP") + 40, 4));
    size_t length = (size_t)get(dsdt + 4, 4), devices = 0;
    long scope = search("\\_SB_", 5);
    CHECK(scope > 4 && dsdt[scope - 4] == 0x10);
    CHECK_EQ((size_t)(scope - 3) + package_length(dsdt + scope - 3), length);
    size_t at = (size_t)scope + 5;
    for (; at < length; devices++) {
        CHECK(dsdt[at] == 0x5b && dsdt[at + 1] == 0x82);
        at += 2 + package_length(dsdt + at + 2);
    }
    CHECK_EQ(at, length);
    CHECK_EQ(devices, 2 + 5);
}

static void every_pin_is_routed(void)
{
    build(1, true);
    for (uint32_t device = 0; device < 32; device++)
        for (uint32_t pin = 0; pin < 4; pin++) {
            uint32_t gsi = acpi_pci_gsi(device, pin);
            CHECK(gsi >= 16 && gsi < 24);
            CHECK_EQ(gsi, 16 + ((device + pin) & 7));
            uint8_t entry[16] = {0}, *p = entry;
            uint32_t address = device << 16 | 0xffff;
            *p++ = device == 0 ? 0x0b : 0x0c;
            memcpy(p, &address, device == 0 ? 2 : 4);
            p += device == 0 ? 2 : 4;
            if (pin > 1)
                *p++ = 0x0a;
            *p++ = (uint8_t)pin;
            *p++ = 0;
            *p++ = 0x0a;
            *p++ = (uint8_t)gsi;
            CHECK(search(entry, (size_t)(p - entry)) > 0);
        }
}

static void limits(void)
{
    struct acpi_facts facts = {.has_keyboard = true};
    CHECK_EQ(acpi_tables_build(region, &facts), ERR_INVALID);
    facts.vcpu_count = ACPI_VCPUS_MAX + 1;
    CHECK_EQ(acpi_tables_build(region, &facts), ERR_INVALID);
    facts.vcpu_count = ACPI_VCPUS_MAX;
    CHECK_EQ(acpi_tables_build(region, &facts), STATUS_OK);
}

static void aml_names_and_integers(void)
{
    static const struct {
        const char *path, *bytes;
        size_t size;
    } paths[] = {
        {"\\", "\\\0", 2},
        {"_CRS", "_CRS", 4},
        {"\\A", "\\A___", 5},
        {"_SB.PCI0", "\x2e_SB_PCI0", 9},
        {"\\_SB.PCI0.ISA", "\\\x2f\x03_SB_PCI0ISA_", 15},
    };
    uint8_t buffer[64];
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        struct aml aml = {.at = buffer, .size = sizeof(buffer)};
        aml_path(&aml, paths[i].path);
        CHECK_EQ(aml.used, paths[i].size);
        CHECK(memcmp(buffer, paths[i].bytes, aml.used) == 0);
    }
    static const struct {
        uint64_t value;
        size_t size;
    } integers[] = {{0, 1},      {1, 1},       {2, 2},          {0xff, 2},      {0x100, 3},
                    {0xffff, 3}, {0x10000, 5}, {0xffffffff, 5}, {1ull << 32, 9}};
    for (size_t i = 0; i < ARRAY_SIZE(integers); i++) {
        struct aml aml = {.at = buffer, .size = sizeof(buffer)};
        aml_integer(&aml, integers[i].value);
        CHECK_EQ(aml.used, integers[i].size);
    }
}

/* A buffer of any size is never written past its end. */
static void aml_overflow_is_noticed(void)
{
    for (size_t size = 0; size < 100; size++) {
        uint8_t *buffer = malloc(size == 0 ? 1 : size);
        struct aml aml = {.at = buffer, .size = size};
        size_t scope = aml_scope(&aml, "\\_SB");
        aml_name(&aml, "_CRS");
        struct aml_template template = aml_template_open(&aml);
        aml_memory_window(&aml, 1, 2);
        aml_template_close(&aml, template);
        aml_uuid(&aml, "33db4d5b-1ff7-401c-9657-7441c03dd766");
        aml_close(&aml, scope);
        CHECK_EQ(aml.overflow, size < 71);
        CHECK(aml.used <= size);
        free(buffer);
    }
}

static bool dsdt_has(const char *text)
{
    const uint8_t *fadt = find("FACP"), *dsdt = table_at(get(fadt + 40, 4));
    return memmem(dsdt, get(dsdt + 4, 4), text, strlen(text) + 1) != NULL;
}

/* By an ID that is a string, since it has four letters. */
static void pvpanic_is_named_where_it_is(void)
{
    build_for(&(struct acpi_facts){.vcpu_count = 1});
    CHECK(!dsdt_has("QEMU0001"));
    build_for(&(struct acpi_facts){.vcpu_count = 1, .has_pvpanic = true});
    CHECK(dsdt_has("QEMU0001"));
}

TEST_MAIN({"pvpanic is named where it is", pvpanic_is_named_where_it_is},
          {"the_rsdp_comes_first", the_rsdp_comes_first},
          {"the_rsdt_lists_what_the_xsdt_lists", the_rsdt_lists_what_the_xsdt_lists},
          {"the_fadt_says_what_the_platform_is", the_fadt_says_what_the_platform_is},
          {"the_facs_lies_in_its_own_page", the_facs_lies_in_its_own_page},
          {"the_madt_counts_the_vcpus", the_madt_counts_the_vcpus},
          {"the_mcfg_names_the_ecam", the_mcfg_names_the_ecam},
          {"the_dsdt_has_its_devices", the_dsdt_has_its_devices}, {"lengths_nest", lengths_nest},
          {"every_pin_is_routed", every_pin_is_routed}, {"limits", limits},
          {"aml_names_and_integers", aml_names_and_integers},
          {"aml_overflow_is_noticed", aml_overflow_is_noticed})

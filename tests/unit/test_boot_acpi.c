/* The processors that the firmware's MADT names, and the way to it. */
#include "boot/acpi_cpus.h"
#include "tests/check.h"

#define MEMORY_SIZE 0x4000
#define MEMORY_BASE 0x1000 /* physical address of memory[0] */

#define RSDP_AT 0x1000
#define ROOT_AT 0x1100
#define OTHER_AT 0x1801 /* tables need not be aligned */
#define MADT_AT 0x2003

struct machine {
    uint8_t memory[MEMORY_SIZE];
    struct acpi_reader reader;
};

static const void *map(void *context, uint64_t address, uint64_t size)
{
    struct machine *m = context;

    if (address < MEMORY_BASE || address - MEMORY_BASE > MEMORY_SIZE ||
        size > MEMORY_SIZE - (address - MEMORY_BASE))
        return NULL;
    return m->memory + (address - MEMORY_BASE);
}

static uint8_t *at(struct machine *m, uint64_t address)
{
    return m->memory + (address - MEMORY_BASE);
}

static void put(struct machine *m, uint64_t address, uint64_t value, size_t size)
{
    memcpy(at(m, address), &value, size);
}

static void sum(struct machine *m, uint64_t address, uint64_t size, unsigned where)
{
    uint8_t total = 0;

    *at(m, address + where) = 0;
    for (uint64_t i = 0; i < size; i++)
        total = (uint8_t)(total + *at(m, address + i));
    *at(m, address + where) = (uint8_t)-total;
}

static void table(struct machine *m, uint64_t address, const char *signature, uint32_t length)
{
    memcpy(at(m, address), signature, 4);
    put(m, address + 4, length, 4);
    sum(m, address, length, 9);
}

static void rsdp(struct machine *m, uint8_t revision)
{
    m->reader = (struct acpi_reader){map, m};
    memcpy(at(m, RSDP_AT), "RSD PTR ", 8);
    *at(m, RSDP_AT + 15) = revision;
    put(m, RSDP_AT + 16, ROOT_AT, 4);
    sum(m, RSDP_AT, 20, 8);
    if (revision >= 2) {
        put(m, RSDP_AT + 16, 0xdead0000, 4); /* the XSDT is preferred */
        put(m, RSDP_AT + 20, 36, 4);
        put(m, RSDP_AT + 24, ROOT_AT, 8);
        sum(m, RSDP_AT, 20, 8);
        sum(m, RSDP_AT, 36, 32);
    }
}

/* A machine whose MADT has the entries. */
static void machine_make(struct machine *m, uint8_t revision, const uint8_t *entries, uint32_t size)
{
    unsigned pointer = revision >= 2 ? 8 : 4;

    memset(m, 0, sizeof(*m));
    rsdp(m, revision);
    table(m, OTHER_AT, "FACP", 244);
    memcpy(at(m, MADT_AT + 44), entries, size);
    table(m, MADT_AT, "APIC", 44 + size);
    put(m, ROOT_AT + 36, 0, pointer); /* some firmware leaves holes */
    put(m, ROOT_AT + 36 + pointer, OTHER_AT, pointer);
    put(m, ROOT_AT + 36 + 2 * pointer, MADT_AT, pointer);
    table(m, ROOT_AT, revision >= 2 ? "XSDT" : "RSDT", 36 + 3 * pointer);
}

#define LAPIC(id, flags) 0, 8, 9, id, flags, 0, 0, 0
#define X2APIC(id, high, flags) 9, 16, 0, 0, id, 0, 0, high, flags, 0, 0, 0, 9, 0, 0, 0
#define IOAPIC 1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0

static const uint8_t two[] = {LAPIC(0, 1), IOAPIC, LAPIC(2, 1)};

static enum status find(struct machine *m, const uint8_t **madt, uint32_t *length)
{
    return acpi_find_table(&m->reader, RSDP_AT, "APIC", madt, length);
}

static enum status parse(const uint8_t *entries, uint32_t size, struct acpi_cpus *cpus)
{
    static uint8_t madt[8192];

    memset(madt, 0xee, sizeof(madt));
    memcpy(madt + 44, entries, size);
    return acpi_madt_cpus(madt, 44 + size, cpus);
}

static void finds_the_madt(void)
{
    static struct machine m;
    const uint8_t *madt;
    uint32_t length;

    for (uint8_t revision = 0; revision <= 2; revision += 2) {
        machine_make(&m, revision, two, sizeof(two));
        CHECK_EQ(find(&m, &madt, &length), STATUS_OK);
        CHECK(madt == at(&m, MADT_AT));
        CHECK_EQ(length, 44 + sizeof(two));
        CHECK_EQ(acpi_find_table(&m.reader, RSDP_AT, "HPET", &madt, &length), ERR_NOT_FOUND);
    }
}

static void falls_back_to_the_rsdt(void)
{
    static struct machine m;
    const uint8_t *madt;
    uint32_t length;

    machine_make(&m, 0, two, sizeof(two));
    *at(&m, RSDP_AT + 15) = 2;
    put(&m, RSDP_AT + 20, 36, 4);
    put(&m, RSDP_AT + 24, 0, 8);
    sum(&m, RSDP_AT, 20, 8);
    sum(&m, RSDP_AT, 36, 32);
    CHECK_EQ(find(&m, &madt, &length), STATUS_OK);
}

/* One wrong byte anywhere on the way: refused, or at least never the table. */
static void notices_damage(void)
{
    static const uint64_t places[] = {RSDP_AT,      RSDP_AT + 10, RSDP_AT + 30, ROOT_AT,
                                      ROOT_AT + 20, ROOT_AT + 53, MADT_AT + 10, MADT_AT + 46};
    static struct machine m;
    const uint8_t *madt;
    uint32_t length;

    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        machine_make(&m, 2, two, sizeof(two));
        *at(&m, places[i]) ^= 0x10;
        CHECK_EQ(find(&m, &madt, &length), ERR_INVALID);
    }
}

static void bounds_lengths(void)
{
    static const uint32_t lengths[] = {0, 35, MEMORY_SIZE, 1u << 20, (1u << 20) + 1, UINT32_MAX};
    static struct machine m;
    const uint8_t *madt;
    uint32_t length;

    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
        machine_make(&m, 2, two, sizeof(two));
        put(&m, MADT_AT + 4, lengths[i], 4);
        CHECK_EQ(find(&m, &madt, &length), ERR_INVALID);
        machine_make(&m, 2, two, sizeof(two));
        put(&m, ROOT_AT + 4, lengths[i], 4);
        CHECK_EQ(find(&m, &madt, &length), ERR_INVALID);
    }
    machine_make(&m, 2, two, sizeof(two));
    CHECK_EQ(acpi_find_table(&m.reader, MEMORY_BASE + MEMORY_SIZE - 4, "APIC", &madt, &length),
             ERR_INVALID);
    CHECK_EQ(acpi_find_table(&m.reader, UINT64_MAX - 3, "APIC", &madt, &length), ERR_INVALID);
}

static void lists_usable_processors(void)
{
    static const uint8_t entries[] = {LAPIC(4, 1),     LAPIC(5, 0),    LAPIC(6, 2),
                                      LAPIC(0xff, 1),  IOAPIC,         X2APIC(4, 0, 1),
                                      X2APIC(7, 1, 1), X2APIC(8, 0, 0)};
    struct acpi_cpus cpus;

    CHECK_EQ(parse(entries, sizeof(entries), &cpus), STATUS_OK);
    CHECK_EQ(cpus.count, 3);
    CHECK_EQ(cpus.apic_id[0], 4);
    CHECK_EQ(cpus.apic_id[1], 6);
    CHECK_EQ(cpus.apic_id[2], 0x01000007);
    CHECK_EQ(cpus.dropped, 0);
}

static void an_unused_x2apic_slot_is_none(void)
{
    static const uint8_t entries[] = {9, 16, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0};
    struct acpi_cpus cpus;

    CHECK_EQ(parse(entries, sizeof(entries), &cpus), ERR_NOT_FOUND);
}

static void notices_broken_entries(void)
{
    static const uint8_t zero[] = {LAPIC(1, 1), 0, 0, 0, 0};
    static const uint8_t one[] = {LAPIC(1, 1), 7, 1, 7, 1};
    static const uint8_t shorter[] = {LAPIC(1, 1), 0, 7, 0, 2, 1, 0, 0};
    static const uint8_t over[] = {LAPIC(1, 1), 0, 8, 0, 2, 1};
    static const uint8_t cut[] = {LAPIC(1, 1), 0};
    static const uint8_t short_x2apic[] = {LAPIC(1, 1), 9, 8, 0, 0, 2, 0, 0, 0};
    struct acpi_cpus cpus;

    CHECK_EQ(parse(zero, sizeof(zero), &cpus), ERR_TRUNCATED);
    CHECK_EQ(parse(one, sizeof(one), &cpus), ERR_TRUNCATED);
    CHECK_EQ(parse(shorter, sizeof(shorter), &cpus), ERR_TRUNCATED);
    CHECK_EQ(parse(over, sizeof(over), &cpus), ERR_TRUNCATED);
    CHECK_EQ(parse(cut, sizeof(cut), &cpus), ERR_TRUNCATED);
    CHECK_EQ(parse(short_x2apic, sizeof(short_x2apic), &cpus), ERR_TRUNCATED);
    CHECK_EQ(cpus.count, 1);
    CHECK_EQ(parse(cut, 0, &cpus), ERR_NOT_FOUND);
    CHECK_EQ(acpi_madt_cpus((const uint8_t *)"", 10, &cpus), ERR_NOT_FOUND);
}

static void counts_what_does_not_fit(void)
{
    static uint8_t entries[300 * 16];
    struct acpi_cpus cpus;

    for (unsigned i = 0; i < 300; i++) {
        const uint8_t entry[] = {X2APIC((uint8_t)i, 0, 1)};

        memcpy(entries + 16 * i, entry, 16);
        entries[16 * i + 5] = (uint8_t)(i >> 8);
    }
    CHECK_EQ(parse(entries, sizeof(entries), &cpus), STATUS_OK);
    CHECK_EQ(cpus.count, BOOT_CPUS_MAX);
    CHECK_EQ(cpus.dropped, 300 - BOOT_CPUS_MAX);
    CHECK_EQ(cpus.apic_id[255], 255);

    acpi_cpus_put_first(&cpus, 299); /* we run on one that was dropped */
    CHECK_EQ(cpus.count, BOOT_CPUS_MAX);
    CHECK_EQ(cpus.apic_id[0], 299);
    CHECK_EQ(cpus.apic_id[1], 0);
    CHECK_EQ(cpus.apic_id[255], 254);
    CHECK_EQ(cpus.dropped, 300 - BOOT_CPUS_MAX + 1);
}

static void puts_the_boot_processor_first(void)
{
    struct acpi_cpus cpus = {.count = 3, .apic_id = {4, 6, 8}};

    acpi_cpus_put_first(&cpus, 8);
    CHECK_EQ(cpus.count, 3);
    CHECK_EQ(cpus.apic_id[0], 8);
    CHECK_EQ(cpus.apic_id[1], 4);
    CHECK_EQ(cpus.apic_id[2], 6);
    acpi_cpus_put_first(&cpus, 8);
    CHECK_EQ(cpus.apic_id[0], 8);
    CHECK_EQ(cpus.apic_id[1], 4);
    acpi_cpus_put_first(&cpus, 1);
    CHECK_EQ(cpus.count, 4);
    CHECK_EQ(cpus.apic_id[0], 1);
    CHECK_EQ(cpus.apic_id[3], 6);
    cpus.count = 0;
    acpi_cpus_put_first(&cpus, 5);
    CHECK_EQ(cpus.count, 1);
    CHECK_EQ(cpus.apic_id[0], 5);
}

TEST_MAIN({"finds_the_madt", finds_the_madt}, {"falls_back_to_the_rsdt", falls_back_to_the_rsdt},
          {"notices_damage", notices_damage}, {"bounds_lengths", bounds_lengths},
          {"lists_usable_processors", lists_usable_processors},
          {"an_unused_x2apic_slot_is_none", an_unused_x2apic_slot_is_none},
          {"notices_broken_entries", notices_broken_entries},
          {"counts_what_does_not_fit", counts_what_does_not_fit},
          {"puts_the_boot_processor_first", puts_the_boot_processor_first})

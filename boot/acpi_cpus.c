#include "boot/acpi_cpus.h"

#include "kernel/core/bits.h"
#include "kernel/core/mem.h"

/* ACPI: Root System Description Pointer (RSDP) Structure. */
#define RSDP_V1_SIZE 20
#define RSDP_V2_SIZE 36
#define RSDP_REVISION 15
#define RSDP_RSDT 16
#define RSDP_XSDT 24

/* ACPI: System Description Table Header. */
#define HEADER_SIZE 36
#define HEADER_LENGTH 4
#define TABLE_MAX MIB(1)

/* ACPI: MADT; Interrupt Controller Structure Types. */
#define MADT_ENTRIES 44
#define MADT_LOCAL_APIC 0
#define MADT_LOCAL_X2APIC 9
#define LOCAL_APIC_ENABLED BIT(0)
#define LOCAL_APIC_ONLINE_CAPABLE BIT(1)

/* Tables need not be aligned. */
static uint32_t read32(const uint8_t *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return value;
}

static uint64_t read64(const uint8_t *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof(value));
    return value;
}

static bool checksum_holds(const uint8_t *at, uint64_t size)
{
    uint8_t sum = 0;

    for (uint64_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + at[i]);
    return sum == 0;
}

/* Maps the table at address if it has the signature, and checks its length and sum. */
static enum status table_map(const struct acpi_reader *reader, uint64_t address,
                             const char *signature, const uint8_t **table, uint32_t *length)
{
    const uint8_t *header = reader->map(reader->context, address, HEADER_SIZE);
    const uint8_t *whole;

    if (header == NULL)
        return ERR_INVALID;
    if (memcmp(header, signature, 4) != 0)
        return ERR_NOT_FOUND;
    *length = read32(header + HEADER_LENGTH);
    if (*length < HEADER_SIZE || *length > TABLE_MAX)
        return ERR_INVALID;
    whole = reader->map(reader->context, address, *length);
    if (whole == NULL || !checksum_holds(whole, *length))
        return ERR_INVALID;
    *table = whole;
    return STATUS_OK;
}

/* The root table's entries: its address, and the size of a pointer in it. */
static enum status rsdp_root(const struct acpi_reader *reader, uint64_t rsdp, uint64_t *root,
                             const char **signature, unsigned *pointer_size)
{
    const uint8_t *v1 = reader->map(reader->context, rsdp, RSDP_V1_SIZE);

    if (v1 == NULL || memcmp(v1, "RSD PTR ", 8) != 0 || !checksum_holds(v1, RSDP_V1_SIZE))
        return ERR_INVALID;
    *root = read32(v1 + RSDP_RSDT);
    *signature = "RSDT";
    *pointer_size = 4;
    if (v1[RSDP_REVISION] >= 2) {
        const uint8_t *v2 = reader->map(reader->context, rsdp, RSDP_V2_SIZE);

        if (v2 == NULL || !checksum_holds(v2, RSDP_V2_SIZE))
            return ERR_INVALID;
        if (read64(v2 + RSDP_XSDT) != 0) {
            *root = read64(v2 + RSDP_XSDT);
            *signature = "XSDT";
            *pointer_size = 8;
        }
    }
    return STATUS_OK;
}

enum status acpi_find_table(const struct acpi_reader *reader, uint64_t rsdp, const char *signature,
                            const uint8_t **table, uint32_t *length)
{
    const char *root_signature;
    const uint8_t *root_table;
    uint32_t root_length;
    unsigned pointer_size;
    uint64_t root;
    enum status status = rsdp_root(reader, rsdp, &root, &root_signature, &pointer_size);

    if (status == STATUS_OK)
        status = table_map(reader, root, root_signature, &root_table, &root_length);
    if (status != STATUS_OK)
        return ERR_INVALID;
    for (uint32_t at = HEADER_SIZE; root_length - at >= pointer_size; at += pointer_size) {
        uint64_t address = pointer_size == 8 ? read64(root_table + at) : read32(root_table + at);

        if (address == 0)
            continue;
        status = table_map(reader, address, signature, table, length);
        if (status != ERR_NOT_FOUND)
            return status;
    }
    return ERR_NOT_FOUND;
}

void acpi_cpus_add(struct acpi_cpus *cpus, uint32_t apic_id)
{
    for (uint32_t i = 0; i < cpus->count; i++)
        if (cpus->apic_id[i] == apic_id)
            return;
    if (cpus->count == BOOT_CPUS_MAX)
        cpus->dropped++;
    else
        cpus->apic_id[cpus->count++] = apic_id;
}

/* One row for each kind of entry that names a processor: where its APIC ID and flags stand. */
static const struct madt_kind {
    uint8_t type;
    uint8_t size;
    uint8_t id_at;
    uint8_t id_size;
    uint8_t flags_at;
} madt_kinds[] = {
    {MADT_LOCAL_APIC, 8, 3, 1, 4},
    {MADT_LOCAL_X2APIC, 16, 4, 4, 8},
};

static enum status madt_entry(const uint8_t *entry, uint32_t size, struct acpi_cpus *cpus)
{
    for (size_t i = 0; i < ARRAY_SIZE(madt_kinds); i++) {
        const struct madt_kind *kind = &madt_kinds[i];
        uint32_t id, broadcast = (uint32_t)bits_size_mask(kind->id_size);

        if (entry[0] != kind->type)
            continue;
        if (size < kind->size)
            return ERR_TRUNCATED;
        id = kind->id_size == 4 ? read32(entry + kind->id_at) : entry[kind->id_at];
        /* The broadcast ID marks an unused slot. */
        if (id != broadcast && (read32(entry + kind->flags_at) &
                                (LOCAL_APIC_ENABLED | LOCAL_APIC_ONLINE_CAPABLE)) != 0)
            acpi_cpus_add(cpus, id);
    }
    return STATUS_OK;
}

enum status acpi_madt_cpus(const uint8_t *madt, uint32_t length, struct acpi_cpus *cpus)
{
    uint32_t at = MADT_ENTRIES;

    cpus->count = cpus->dropped = 0;
    while (at < length) {
        uint32_t left = length - at;
        enum status status;

#ifndef PLANTED_BUG_BOOT_ACPI /* for the fuzzer's own test */
        if (left < 2)
            return ERR_TRUNCATED;
#endif
        if (madt[at + 1] < 2 || madt[at + 1] > left)
            return ERR_TRUNCATED;
        status = madt_entry(madt + at, madt[at + 1], cpus);
        if (status != STATUS_OK)
            return status;
        at += madt[at + 1];
    }
    return cpus->count == 0 ? ERR_NOT_FOUND : STATUS_OK;
}

void acpi_cpus_put_first(struct acpi_cpus *cpus, uint32_t bsp_apic_id)
{
    uint32_t at = 0;

    while (at < cpus->count && cpus->apic_id[at] != bsp_apic_id)
        at++;
    if (at == cpus->count && cpus->count == BOOT_CPUS_MAX) {
        cpus->dropped++;
        at--;
    } else if (at == cpus->count) {
        cpus->count++;
    }
    memmove(&cpus->apic_id[1], &cpus->apic_id[0], at * sizeof(cpus->apic_id[0]));
    cpus->apic_id[0] = bsp_apic_id;
}

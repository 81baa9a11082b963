#include "drivers/host/acpi.h"

#include "kernel/core/log.h"
#include "kernel/core/mem.h"

/* Offsets of ACPI Specification: RSDP Structure, System Description Table Header, FADT, MADT, and
 * IA-PC HPET: The ACPI 2.0 HPET Description Table. */
#define RSDP_SIZE_1 20
#define RSDP_SIZE_2 36
#define RSDP_REVISION 15
#define RSDP_RSDT 16
#define RSDP_XSDT 24
#define HEADER_SIZE 36
#define HEADER_LENGTH 4
#define TABLE_SIZE_MAX MIB(16)

#define FADT_DSDT 40
#define FADT_SMI_COMMAND 48
#define FADT_ACPI_ENABLE 52
#define FADT_PM1A_CONTROL 64
#define FADT_PM1B_CONTROL 68
#define FADT_PM_TIMER 76
#define FADT_FLAGS 112
#define FADT_RESET_REGISTER 116
#define FADT_RESET_VALUE 128
#define FADT_X_DSDT 140
#define FADT_X_PM1A_CONTROL 172
#define FADT_X_PM1B_CONTROL 184
#define FADT_X_PM_TIMER 208
#define FADT_SLEEP_CONTROL 244
#define FADT_SIZE_1 116
#define FLAG_TIMER_32BIT (1u << 8)
#define FLAG_RESET_REGISTER (1u << 10)
#define FLAG_HARDWARE_REDUCED (1u << 20)

#define MADT_LAPIC 36
#define MADT_ENTRIES 44
#define MADT_TYPE_IOAPIC 1
#define MADT_TYPE_OVERRIDE 2
#define MADT_TYPE_LAPIC_64 5

#define HPET_ADDRESS 44

#define GAS_SIZE 12

/* A table, mapped whole and with a right checksum. */
struct table {
    const uint8_t *bytes;
    uint32_t size;
};

struct reader {
    const struct acpi_memory *memory;
    struct acpi *acpi;
    struct table fadt;
};

/* A little-endian number; zero where the table is too short. */
static uint64_t field(const struct table *table, uint32_t offset, unsigned size)
{
    uint64_t value = 0;
    if (offset > table->size || table->size - offset < size)
        return 0;
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)table->bytes[offset + i] << (8 * i);
    return value;
}

static struct acpi_register generic_address(const struct table *table, uint32_t offset)
{
    return (struct acpi_register){.space = (uint8_t)field(table, offset, 1),
                                  .bits = (uint8_t)field(table, offset + 1, 1),
                                  .address = field(table, offset + 4, 8)};
}

/* The extended field where it is set, else the old port number. */
static struct acpi_register register_or_port(const struct table *table, uint32_t extended,
                                             uint32_t port, uint8_t bits)
{
    struct acpi_register found = generic_address(table, extended);
    if (found.address == 0)
        found = (struct acpi_register){ACPI_SPACE_PORT, bits, field(table, port, 4)};
    return found;
}

static bool sums_to_zero(const uint8_t *bytes, uint64_t size)
{
    uint8_t sum = 0;
    for (uint64_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + bytes[i]);
    return sum == 0;
}

static const void *map(const struct reader *reader, uint64_t address, uint64_t size)
{
    if (address == 0 || address + size < address)
        return NULL;
    return reader->memory->map(reader->memory->context, HPA(address), size);
}

static bool open_table(const struct reader *reader, uint64_t address, struct table *table)
{
    *table = (struct table){map(reader, address, HEADER_SIZE), HEADER_SIZE};
    if (table->bytes == NULL)
        return false;
    table->size = (uint32_t)field(table, HEADER_LENGTH, 4);
#ifndef PLANTED_BUG_HOST_ACPI /* for the fuzzer's own test */
    if (table->size < HEADER_SIZE)
        return false;
#endif
    if (table->size > TABLE_SIZE_MAX)
        return false;
    table->bytes = map(reader, address, table->size);
    return table->bytes != NULL && sums_to_zero(table->bytes, table->size);
}

/* ACPI Specification: Interrupt Source Override Structure; polarity 1:0, trigger mode 3:2, where
 * "conforms to the bus" is edge and active high for ISA. */
static void read_override(struct acpi *acpi, const struct table *madt, uint32_t at)
{
    uint8_t source = (uint8_t)field(madt, at + 3, 1);
    uint16_t flags = (uint16_t)field(madt, at + 8, 2);
    if (source < ACPI_ISA_IRQS)
        acpi->isa[source] = (struct acpi_override){.gsi = (uint32_t)field(madt, at + 4, 4),
                                                   .active_low = (flags & 3) == 3,
                                                   .level = (flags >> 2 & 3) == 3};
}

static void read_madt_entry(struct acpi *acpi, const struct table *madt, uint32_t at, uint32_t size)
{
    switch (madt->bytes[at]) {
    case MADT_TYPE_IOAPIC:
        if (size >= 12 && acpi->ioapic_count < ACPI_IOAPICS_MAX)
            acpi->ioapic[acpi->ioapic_count++] =
                (struct acpi_ioapic){field(madt, at + 4, 4), (uint32_t)field(madt, at + 8, 4)};
        return;
    case MADT_TYPE_OVERRIDE:
        if (size >= 10)
            read_override(acpi, madt, at);
        return;
    case MADT_TYPE_LAPIC_64:
        if (size >= 12)
            acpi->lapic_address = field(madt, at + 4, 8);
        return;
    }
}

static void read_madt(struct reader *reader, const struct table *madt)
{
    struct acpi *acpi = reader->acpi;
    acpi->has_madt = true;
    acpi->lapic_address = field(madt, MADT_LAPIC, 4);
    for (uint32_t at = MADT_ENTRIES; at + 2 <= madt->size;) {
        uint32_t size = madt->bytes[at + 1];
        if (size < 2 || size > madt->size - at)
            return;
        read_madt_entry(acpi, madt, at, size);
        at += size;
    }
}

static void read_fadt(struct reader *reader, const struct table *fadt)
{
    struct acpi *acpi = reader->acpi;
    if (fadt->size < FADT_SIZE_1)
        return;
    uint32_t flags = (uint32_t)field(fadt, FADT_FLAGS, 4);
    acpi->has_fadt = true;
    reader->fadt = *fadt;
    acpi->pm_timer = register_or_port(fadt, FADT_X_PM_TIMER, FADT_PM_TIMER, 32);
    acpi->pm_timer_is_32bit = (flags & FLAG_TIMER_32BIT) != 0;
    if (flags & FLAG_RESET_REGISTER) {
        acpi->reset = generic_address(fadt, FADT_RESET_REGISTER);
        acpi->reset_value = (uint8_t)field(fadt, FADT_RESET_VALUE, 1);
    }
    if (flags & FLAG_HARDWARE_REDUCED) {
        acpi->sleep_control = generic_address(fadt, FADT_SLEEP_CONTROL);
        return;
    }
    acpi->pm1a_control = register_or_port(fadt, FADT_X_PM1A_CONTROL, FADT_PM1A_CONTROL, 16);
    acpi->pm1b_control = register_or_port(fadt, FADT_X_PM1B_CONTROL, FADT_PM1B_CONTROL, 16);
    acpi->smi_command = (uint32_t)field(fadt, FADT_SMI_COMMAND, 4);
    acpi->acpi_enable = (uint8_t)field(fadt, FADT_ACPI_ENABLE, 1);
}

static void read_hpet(struct reader *reader, const struct table *hpet)
{
    reader->acpi->hpet_address = field(hpet, HPET_ADDRESS, 8);
}

static void read_aml(struct reader *reader, const struct table *aml)
{
    struct acpi *acpi = reader->acpi;
    if (!acpi->has_s5 && acpi_find_s5(aml->bytes + HEADER_SIZE, aml->size - HEADER_SIZE,
                                      &acpi->s5_typ_a, &acpi->s5_typ_b) == STATUS_OK)
        acpi->has_s5 = true;
}

static const struct {
    char signature[5];
    void (*read)(struct reader *reader, const struct table *table);
} table_readers[] = {
    {"APIC", read_madt}, {"FACP", read_fadt}, {"HPET", read_hpet}, {"SSDT", read_aml}};

static void read_table(struct reader *reader, uint64_t address)
{
    const uint8_t *signature = map(reader, address, HEADER_SIZE);
    struct table table;
    for (unsigned i = 0; signature != NULL && i < ARRAY_SIZE(table_readers); i++) {
        if (memcmp(signature, table_readers[i].signature, 4) != 0)
            continue;
        if (open_table(reader, address, &table))
            table_readers[i].read(reader, &table);
        else
            log_warn("ACPI table %s is broken, left out", table_readers[i].signature);
        return;
    }
}

/* The root table's address, and how wide its entries are. */
static enum status find_root(const struct reader *reader, uint64_t rsdp, uint64_t *root,
                             unsigned *width)
{
    struct table table = {map(reader, rsdp, RSDP_SIZE_1), RSDP_SIZE_1};
    if (table.bytes == NULL || memcmp(table.bytes, "RSD PTR ", 8) != 0)
        return ERR_NOT_FOUND;
    if (!sums_to_zero(table.bytes, RSDP_SIZE_1))
        return ERR_INVALID;
    *root = field(&table, RSDP_RSDT, 4);
    *width = 4;
    if (table.bytes[RSDP_REVISION] < 2)
        return STATUS_OK;
    table = (struct table){map(reader, rsdp, RSDP_SIZE_2), RSDP_SIZE_2};
    if (table.bytes == NULL || !sums_to_zero(table.bytes, RSDP_SIZE_2))
        return ERR_INVALID;
    uint64_t xsdt = field(&table, RSDP_XSDT, 8);
    if (xsdt != 0) {
        *root = xsdt;
        *width = 8;
    }
    return STATUS_OK;
}

static void read_dsdt(struct reader *reader)
{
    struct table dsdt;
    uint64_t address = field(&reader->fadt, FADT_X_DSDT, 8);
    if (address == 0)
        address = field(&reader->fadt, FADT_DSDT, 4);
    if (address == 0)
        return;
    if (open_table(reader, address, &dsdt))
        read_aml(reader, &dsdt);
    else
        log_warn("ACPI table DSDT is broken, left out");
}

enum status acpi_read(struct acpi *acpi, uint64_t rsdp, const struct acpi_memory *memory)
{
    struct reader reader = {.memory = memory, .acpi = acpi};
    uint64_t address;
    unsigned width;
    *acpi = (struct acpi){0};
    for (unsigned i = 0; i < ACPI_ISA_IRQS; i++)
        acpi->isa[i].gsi = i;
    enum status status = find_root(&reader, rsdp, &address, &width);
    if (status != STATUS_OK)
        return status;
    struct table root;
    if (!open_table(&reader, address, &root))
        return ERR_INVALID;
    acpi->present = true;
    for (uint32_t at = HEADER_SIZE; root.size - at >= width; at += width)
        read_table(&reader, field(&root, at, width));
    read_dsdt(&reader);
    return STATUS_OK;
}

/* ACPI Specification: ACPI Machine Language (AML) Specification. */
#define AML_ZERO 0x00
#define AML_ONE 0x01
#define AML_NAME 0x08
#define AML_BYTE 0x0a
#define AML_WORD 0x0b
#define AML_DWORD 0x0c
#define AML_PACKAGE 0x12

struct cursor {
    const uint8_t *next;
    const uint8_t *end;
};

static bool take(struct cursor *cursor, uint8_t *byte)
{
    if (cursor->next == cursor->end)
        return false;
    *byte = *cursor->next++;
    return true;
}

static bool skip(struct cursor *cursor, size_t count)
{
    if ((size_t)(cursor->end - cursor->next) < count)
        return false;
    cursor->next += count;
    return true;
}

/* An integer's low byte. */
static bool take_integer(struct cursor *cursor, uint8_t *value)
{
    uint8_t op;
    if (!take(cursor, &op))
        return false;
    switch (op) {
    case AML_ZERO:
    case AML_ONE:
        *value = op;
        return true;
    case AML_BYTE:
        return take(cursor, value);
    case AML_WORD:
        return take(cursor, value) && skip(cursor, 1);
    case AML_DWORD:
        return take(cursor, value) && skip(cursor, 3);
    }
    return false;
}

/* PackageOp PkgLength NumElements, then the elements. */
static bool take_package(struct cursor cursor, uint8_t *typ_a, uint8_t *typ_b)
{
    uint8_t op, length, elements;
    if (!take(&cursor, &op) || op != AML_PACKAGE || !take(&cursor, &length) ||
        !skip(&cursor, length >> 6) || !take(&cursor, &elements) || elements < 1 ||
        !take_integer(&cursor, typ_a))
        return false;
    *typ_b = 0;
    return elements < 2 || take_integer(&cursor, typ_b);
}

enum status acpi_find_s5(const void *aml, size_t size, uint8_t *typ_a, uint8_t *typ_b)
{
    const uint8_t *bytes = aml;
    for (size_t i = 1; size >= 4 && i <= size - 4; i++) {
        if (memcmp(bytes + i, "_S5_", 4) != 0)
            continue;
        bool is_name = bytes[i - 1] == AML_NAME ||
                       (i >= 2 && bytes[i - 1] == '\\' && bytes[i - 2] == AML_NAME);
        struct cursor cursor = {bytes + i + 4, bytes + size};
        if (is_name && take_package(cursor, typ_a, typ_b))
            return STATUS_OK;
    }
    return ERR_NOT_FOUND;
}

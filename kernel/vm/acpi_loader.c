#include "kernel/vm/acpi_loader.h"

#include "kernel/core/bits.h"
#include "kernel/core/mem.h"

#define ALLOCATE 1    /* file name, alignment (4 bytes), zone (1) */
#define ADD_POINTER 2 /* name of the file with the pointer, of its target, offset (4), size (1) */
#define ADD_CHECKSUM                                                                               \
    3 /* file name, offset of the checksum (4), of what it covers (4), length (4) */
#define ZONE_HIGH 1
#define ZONE_FSEG 2
#define NAME_SIZE 56

/* Within the files. ACPI: System Description Table Header, Root System Description Pointer. */
#define HEADER_LENGTH 4
#define HEADER_CHECKSUM 9
#define HEADER_SIZE 36
#define RSDP_CHECKSUM 8
#define RSDP_OLD_SIZE 20
#define RSDP_RSDT 16
#define RSDP_XSDT 24
#define RSDP_EXTENDED_CHECKSUM 32
#define RSDP_SIZE 36
#define FADT_FACS 36
#define FADT_DSDT 40
#define FADT_X_DSDT 140
#define FACS_SIZE 64
#define ALIGNMENT 64

/* The tables' file begins behind the RSDP, with the XSDT. */
#define TABLES_OFFSET 64
#define TABLES_BASE (GUEST_MAP_ACPI_BASE + TABLES_OFFSET)

static uint64_t get(const uint8_t *at, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, at, size);
    return value;
}

static void put(uint8_t *at, uint64_t value, unsigned size)
{
    memcpy(at, &value, size);
}

static uint8_t *command(struct acpi_loader *loader, uint32_t what, const char *file)
{
    uint8_t *byte = loader->command[loader->commands++].byte;
    memset(byte, 0, sizeof(loader->command[0]));
    put(byte, what, 4);
    memcpy(byte + 4, file, strlen(file));
    return byte + 4 + NAME_SIZE;
}

static void allocate(struct acpi_loader *loader, const char *file, uint32_t alignment, uint8_t zone)
{
    uint8_t *rest = command(loader, ALLOCATE, file);
    put(rest, alignment, 4);
    rest[4] = zone;
}

/* A pointer into the tables' file becomes relative to it. */
static void add_pointer(struct acpi_loader *loader, const char *file, uint8_t *start,
                        uint32_t offset, uint8_t size)
{
    put(start + offset, get(start + offset, size) - TABLES_BASE, size);
    uint8_t *rest = command(loader, ADD_POINTER, file);
    memcpy(rest, ACPI_LOADER_TABLES, sizeof(ACPI_LOADER_TABLES));
    put(rest + NAME_SIZE, offset, 4);
    rest[NAME_SIZE + 4] = size;
}

static void add_checksum(struct acpi_loader *loader, const char *file, uint8_t *start,
                         uint32_t checksum, uint32_t from, uint32_t length)
{
    start[checksum] = 0;
    uint8_t *rest = command(loader, ADD_CHECKSUM, file);
    put(rest, checksum, 4);
    put(rest + 4, from, 4);
    put(rest + 8, length, 4);
}

static void add_table_checksum(struct acpi_loader *loader, uint8_t *tables, uint32_t table)
{
    add_checksum(loader, ACPI_LOADER_TABLES, tables, table + HEADER_CHECKSUM, table,
                 (uint32_t)get(tables + table + HEADER_LENGTH, 4));
}

/* The FACS comes from the page where it lies alone to the end of the others. */
static void move_facs(uint8_t *region, uint8_t *fadt, uint64_t end)
{
    uint8_t *facs = region + (GUEST_MAP_FACS - GUEST_MAP_ACPI_BASE);
    memcpy(region + end, facs, FACS_SIZE);
    put(fadt + FADT_FACS, GUEST_MAP_ACPI_BASE + end, 4);
}

static uint64_t table_end(const uint8_t *region, uint64_t address)
{
    uint64_t offset = address - GUEST_MAP_ACPI_BASE;
    return align_up(offset + get(region + offset + HEADER_LENGTH, 4), ALIGNMENT);
}

static void add_fadt(struct acpi_loader *loader, uint8_t *tables, uint32_t fadt)
{
    add_pointer(loader, ACPI_LOADER_TABLES, tables, fadt + FADT_FACS, 4);
    add_pointer(loader, ACPI_LOADER_TABLES, tables, fadt + FADT_DSDT, 4);
    add_pointer(loader, ACPI_LOADER_TABLES, tables, fadt + FADT_X_DSDT, 8);
    add_table_checksum(loader, tables, fadt);
}

/* The same tables as in the XSDT, once more. */
static void add_rsdt(struct acpi_loader *loader, uint8_t *tables, uint32_t rsdt)
{
    uint32_t size = (uint32_t)get(tables + rsdt + HEADER_LENGTH, 4);
    for (uint32_t entry = HEADER_SIZE; entry < size; entry += 4)
        add_pointer(loader, ACPI_LOADER_TABLES, tables, rsdt + entry, 4);
    add_table_checksum(loader, tables, rsdt);
}

void acpi_loader_make(struct acpi_loader *loader, uint8_t region[ACPI_REGION_SIZE])
{
    uint8_t *tables = region + TABLES_OFFSET;
    uint32_t xsdt_size = (uint32_t)get(tables + HEADER_LENGTH, 4);
    uint64_t end = table_end(region, TABLES_BASE);
    loader->commands = 0;
    allocate(loader, ACPI_LOADER_RSDP, 16, ZONE_FSEG);
    allocate(loader, ACPI_LOADER_TABLES, ALIGNMENT, ZONE_HIGH);
    for (uint32_t entry = HEADER_SIZE; entry < xsdt_size; entry += 8) {
        uint64_t other = table_end(region, get(tables + entry, 8));
        end = other > end ? other : end;
    }
    for (uint32_t entry = HEADER_SIZE; entry < xsdt_size; entry += 8) {
        uint32_t table = (uint32_t)(get(tables + entry, 8) - TABLES_BASE);
        if (memcmp(tables + table, "FACP", 4) == 0) {
            move_facs(region, tables + table, end);
            add_fadt(loader, tables, table);
        }
        add_pointer(loader, ACPI_LOADER_TABLES, tables, entry, 8);
    }
    add_table_checksum(loader, tables, 0);
    add_rsdt(loader, tables, (uint32_t)(get(region + RSDP_RSDT, 4) - TABLES_BASE));
    add_pointer(loader, ACPI_LOADER_RSDP, region, RSDP_RSDT, 4);
    add_pointer(loader, ACPI_LOADER_RSDP, region, RSDP_XSDT, 8);
    add_checksum(loader, ACPI_LOADER_RSDP, region, RSDP_CHECKSUM, 0, RSDP_OLD_SIZE);
    add_checksum(loader, ACPI_LOADER_RSDP, region, RSDP_EXTENDED_CHECKSUM, 0, RSDP_SIZE);
    loader->rsdp = region;
    loader->rsdp_size = RSDP_SIZE;
    loader->tables = tables;
    loader->tables_size = (uint32_t)(end + FACS_SIZE - TABLES_OFFSET);
}

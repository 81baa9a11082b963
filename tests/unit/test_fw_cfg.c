/* The firmware configuration device: its registers, its DMA, its directory; and QEMU's table loader
 * carried out as firmware does. */
#define _GNU_SOURCE /* memmem */
#include <stdlib.h>

#include "drivers/model/fw_cfg.h"
#include "kernel/core/bits.h"
#include "kernel/vm/acpi_loader.h"
#include "tests/check.h"

#define SELECTOR PLATFORM_PORT_FW_CFG
#define DATA (PLATFORM_PORT_FW_CFG + 1)
#define DMA (PLATFORM_PORT_FW_CFG + FW_CFG_DMA)
#define RAM MIB(4)
#define ACCESS 0x1000

static struct fw_cfg device;
static struct bus bus;
static struct guest_mem mem;
static uint8_t *ram;
static unsigned asked;

static void more_work(void *context)
{
    (void)context;
    asked++;
}

static void build(void)
{
    free(ram);
    ram = calloc(1, RAM);
    memset(&bus, 0, sizeof(bus));
    memset(&mem, 0, sizeof(mem));
    asked = 0;
    CHECK_EQ(guest_mem_add(&mem, GPA(0), RAM, ram), STATUS_OK);
    fw_cfg_init(&device, &mem, more_work, NULL);
    CHECK_EQ(fw_cfg_attach(&device, &bus), STATUS_OK);
}

static void choose(unsigned key)
{
    bus_write(&bus, BUS_PORT, SELECTOR, 2, key);
}

static uint64_t take(unsigned size)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= bus_read(&bus, BUS_PORT, DATA, 1) << (8 * i);
    return value;
}

static void put_be(uint8_t *at, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        at[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
}

static uint64_t get_be(const uint8_t *at, unsigned size)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value = value << 8 | at[i];
    return value;
}

/* Starts a DMA; the control field as it then stands. */
static uint64_t dma(uint32_t control, uint32_t length, uint64_t to)
{
    put_be(ram + ACCESS, control, 4);
    put_be(ram + ACCESS + 4, length, 4);
    put_be(ram + ACCESS + 8, to, 8);
    bus_write(&bus, BUS_PORT, DMA, 4, 0);
    bus_write(&bus, BUS_PORT, DMA + 4, 4, __builtin_bswap32(ACCESS));
    return get_be(ram + ACCESS, 4);
}

static void signature_and_features(void)
{
    build();
    choose(FW_CFG_SIGNATURE);
    CHECK_EQ(take(4), 0x554d4551); /* "QEMU" */
    CHECK_EQ(take(4), 0);          /* zeros behind it */
    choose(FW_CFG_ID);
    CHECK_EQ(take(4), 3);
    choose(FW_CFG_ID | 0x4000); /* the write channel has the same items */
    CHECK_EQ(take(4), 3);
    CHECK_EQ(bus_read(&bus, BUS_PORT, DMA, 4), 0x554d4551);
    CHECK_EQ(bus_read(&bus, BUS_PORT, DMA + 4, 4), 0x47464320);
    CHECK_EQ(bus_read(&bus, BUS_PORT, DMA + 7, 1), 'G');
}

static void items_are_read_from_their_start(void)
{
    build();
    CHECK_EQ(fw_cfg_add_number(&device, FW_CFG_NB_CPUS, 0x1234, 2), STATUS_OK);
    CHECK_EQ(fw_cfg_add(&device, FW_CFG_CMDLINE_DATA, "quiet", 6), STATUS_OK);
    choose(FW_CFG_NB_CPUS);
    CHECK_EQ(take(4), 0x1234);
    choose(FW_CFG_CMDLINE_DATA);
    CHECK_EQ(take(2), 'q' | 'u' << 8);
    bus_write(&bus, BUS_PORT, DATA, 1, 'X'); /* nothing can be written */
    CHECK_EQ(take(1), 'i');
    choose(FW_CFG_CMDLINE_DATA);
    CHECK_EQ(take(1), 'q');
    choose(0x3fff);
    CHECK_EQ(take(8), 0);
    CHECK_EQ(bus_read(&bus, BUS_PORT, SELECTOR, 2), 0); /* a word is not the data port's */
    choose(FW_CFG_CMDLINE_DATA);
    fw_cfg_reset(&device);
    CHECK_EQ(take(4), 0);
}

static void dma_reads_selects_and_skips(void)
{
    build();
    CHECK_EQ(fw_cfg_add(&device, 0x30, "0123456789", 10), STATUS_OK);
    CHECK_EQ(dma(0x30 << 16 | 8 | 2, 4, 0x2000), 0);
    CHECK(memcmp(ram + 0x2000, "0123\0", 5) == 0);
    CHECK_EQ(dma(4, 2, 0), 0);
    CHECK_EQ(dma(2, 2, 0x2000), 0);
    CHECK(memcmp(ram + 0x2000, "6723\0", 5) == 0);
    memset(ram + 0x3000, 0xee, 16);
    CHECK_EQ(dma(2, 8, 0x3000), 0); /* two bytes, then zeros */
    CHECK(memcmp(ram + 0x3000, "89\0\0\0\0\0\0\xee", 9) == 0);
    CHECK_EQ(dma(0x30 << 16 | 8, 99, 0x3000), 0); /* selects and does no more */
    CHECK_EQ(take(1), '0');
    CHECK_EQ(dma(4, UINT32_MAX, 0), 0); /* far behind the end */
    CHECK_EQ(take(1), 0);
}

static void dma_fails_with_the_error_bit(void)
{
    build();
    CHECK_EQ(fw_cfg_add(&device, 0x30, "0123456789", 10), STATUS_OK);
    CHECK_EQ(dma(0x30 << 16 | 8 | 2, 4, RAM - 2), 1);
    CHECK_EQ(dma(0x30 << 16 | 8 | 2, 4, UINT64_MAX - 1), 1);
    CHECK_EQ(dma(0x30 << 16 | 8 | 16, 4, 0x2000), 1);     /* a write */
    CHECK_EQ(dma(0x30 << 16 | 8 | 2 | 16, 4, 0x2000), 0); /* a read goes before it */
    /* A structure that is not in RAM, or ends outside: nobody to tell. */
    bus_write(&bus, BUS_PORT, DMA, 4, 0xffffffff);
    bus_write(&bus, BUS_PORT, DMA + 4, 4, 0xffffffff);
    bus_write(&bus, BUS_PORT, DMA + 4, 4, __builtin_bswap32((uint32_t)RAM - 8));
    CHECK_EQ(dma(0x30 << 16 | 8 | 2, 4, 0x2000), 0);
}

static void long_dma_goes_on_later(void)
{
    static uint8_t image[3 * 0x100000 + 5];
    build();
    memset(image, 0x5a, sizeof(image));
    CHECK_EQ(fw_cfg_add(&device, FW_CFG_INITRD_DATA, image, sizeof(image)), STATUS_OK);
    uint32_t control = FW_CFG_INITRD_DATA << 16 | 8 | 2;
    CHECK_EQ(dma(control, sizeof(image), 0x10000), control); /* not done yet */
    for (unsigned i = 1; i < 4; i++) {
        CHECK_EQ(asked, i);
        CHECK_EQ(take(1), 0); /* busy */
        choose(FW_CFG_SIGNATURE);
        CHECK_EQ(get_be(ram + ACCESS, 4), control);
        fw_cfg_continue(&device);
    }
    CHECK_EQ(asked, 3);
    CHECK_EQ(get_be(ram + ACCESS, 4), 0);
    CHECK(memcmp(ram + 0x10000, image, sizeof(image)) == 0);
    CHECK_EQ(ram[0x10000 + sizeof(image)], 0);
    fw_cfg_continue(&device); /* nothing is left */
    CHECK_EQ(asked, 3);
    (void)dma(control, sizeof(image), 0x10000);
    fw_cfg_reset(&device);
    fw_cfg_continue(&device);
    CHECK_EQ(get_be(ram + ACCESS, 4), control); /* the machine that waited is gone */
}

static void directory_names_files(void)
{
    static const char long_name[] = "opt/org.example/1234567890123456789012345678901234567890";
    build();
    CHECK_EQ(fw_cfg_add_file(&device, "opt/two", "22", 2), STATUS_OK);
    CHECK_EQ(fw_cfg_add_file(&device, "etc/one", "1", 1), STATUS_OK); /* goes before it */
    CHECK_EQ(fw_cfg_add_file(&device, "etc/one", "1", 1), ERR_EXISTS);
    CHECK_EQ(fw_cfg_add_file(&device, "", "1", 1), ERR_INVALID);
    CHECK_EQ(sizeof(long_name), FW_CFG_NAME_MAX + 1);
    CHECK_EQ(fw_cfg_add_file(&device, long_name, "1", 1), ERR_INVALID);
    CHECK_EQ(fw_cfg_add_file(&device, long_name + 1, "1", 1), STATUS_OK);
    CHECK_EQ(fw_cfg_add_file(&device, "large", "", 1ull << 32), ERR_RANGE);
    CHECK_EQ(dma(FW_CFG_FILE_DIR << 16 | 8 | 2, 4 + 3 * 64, 0x2000), 0);
    CHECK_EQ(get_be(ram + 0x2000, 4), 3);
    CHECK_EQ(get_be(ram + 0x2004 + 64, 4), 2);
    CHECK_EQ(get_be(ram + 0x2008 + 64, 2), 0x21);
    CHECK_STR((char *)ram + 0x200c + 64, "opt/two");
    choose(0x21);
    CHECK_EQ(take(2), 0x3232);
    choose(0x20);
    CHECK_EQ(take(1), '1');
    for (unsigned i = 3; i < FW_CFG_FILES_MAX; i++) {
        char name[16];
        snprintf(name, sizeof(name), "opt/%u", i);
        CHECK_EQ(fw_cfg_add_file(&device, name, "x", 1), STATUS_OK);
    }
    CHECK_EQ(fw_cfg_add_file(&device, "opt/last", "x", 1), ERR_NO_SPACE);
}

/* ---- The table loader ---- */

#define RSDP_AT 0xf5a40u
#define TABLES_AT 0x3ffe040u /* 64 MiB - 8 KiB */

static uint8_t region[ACPI_REGION_SIZE];
static struct acpi_loader loader;

static uint64_t get(const uint8_t *at, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, at, size);
    return value;
}

static uint8_t *file_named(const uint8_t *name, uint8_t *rsdp, uint8_t *tables, uint64_t *base)
{
    bool is_rsdp = strcmp((const char *)name, ACPI_LOADER_RSDP) == 0;
    CHECK(is_rsdp || strcmp((const char *)name, ACPI_LOADER_TABLES) == 0);
    *base = is_rsdp ? RSDP_AT : TABLES_AT;
    return is_rsdp ? rsdp : tables;
}

static void carry_out(const uint8_t *command, uint8_t *rsdp, uint8_t *tables)
{
    const uint8_t *rest = command + 60;
    uint64_t base, target;
    uint8_t *file = file_named(command + 4, rsdp, tables, &base);
    uint8_t sum = 0;
    switch (get(command, 4)) {
    case 1:
        CHECK_EQ(base % get(rest, 4), 0);
        CHECK_EQ(rest[4], file == rsdp ? 2 : 1);
        return;
    case 2:
        (void)file_named(rest, rsdp, tables, &target);
        uint64_t value = get(file + get(rest + 56, 4), rest[60]);
        CHECK(value < loader.tables_size);
        value += target;
        memcpy(file + get(rest + 56, 4), &value, rest[60]);
        return;
    case 3:
        CHECK(get(rest + 4, 4) + get(rest + 8, 4) <= (file == rsdp ? 36 : loader.tables_size));
        for (uint64_t i = 0; i < get(rest + 8, 4); i++)
            sum = (uint8_t)(sum + file[get(rest + 4, 4) + i]);
        file[get(rest, 4)] = (uint8_t)(file[get(rest, 4)] - sum);
        return;
    }
    CHECK(false);
}

static uint8_t total(const uint8_t *at, uint64_t size)
{
    uint8_t sum = 0;
    while (size-- > 0)
        sum = (uint8_t)(sum + *at++);
    return sum;
}

static void tables_are_whole_where_firmware_puts_them(void)
{
    struct acpi_facts facts = {.vcpu_count = 1, .has_fw_cfg = true};
    CHECK_EQ(acpi_tables_build(region, &facts), STATUS_OK);
    acpi_loader_make(&loader, region);
    CHECK(loader.commands <= ACPI_LOADER_COMMANDS_MAX);
    CHECK_EQ(loader.rsdp_size, 36);
    uint8_t *rsdp = malloc(36), *tables = malloc(loader.tables_size);
    memcpy(rsdp, loader.rsdp, 36);
    memcpy(tables, loader.tables, loader.tables_size);
    for (uint32_t i = 0; i < loader.commands; i++)
        carry_out(loader.command[i].byte, rsdp, tables);
    CHECK_EQ(total(rsdp, 20), 0);
    CHECK_EQ(total(rsdp, 36), 0);
    const uint8_t *xsdt = tables + (get(rsdp + 24, 8) - TABLES_AT);
    CHECK(memcmp(xsdt, "XSDT", 4) == 0);
    CHECK_EQ(total(xsdt, get(xsdt + 4, 4)), 0);
    CHECK_EQ(get(xsdt + 4, 4), 36 + 3 * 8);
    static const char *const order[] = {"FACP", "APIC", "MCFG"};
    for (unsigned i = 0; i < 3; i++) {
        const uint8_t *table = tables + (get(xsdt + 36 + 8 * i, 8) - TABLES_AT);
        CHECK(memcmp(table, order[i], 4) == 0);
        CHECK_EQ(total(table, get(table + 4, 4)), 0);
    }
    const uint8_t *rsdt = tables + (get(rsdp + 16, 4) - TABLES_AT);
    CHECK(memcmp(rsdt, "RSDT", 4) == 0);
    CHECK_EQ(total(rsdt, get(rsdt + 4, 4)), 0);
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(get(rsdt + 36 + 4 * i, 4), get(xsdt + 36 + 8 * i, 8));
    const uint8_t *fadt = tables + (get(xsdt + 36, 8) - TABLES_AT);
    const uint8_t *dsdt = tables + (get(fadt + 40, 4) - TABLES_AT);
    const uint8_t *facs = tables + (get(fadt + 36, 4) - TABLES_AT);
    CHECK_EQ(get(fadt + 140, 8), get(fadt + 40, 4));
    CHECK(memcmp(dsdt, "DSDT", 4) == 0);
    CHECK_EQ(total(dsdt, get(dsdt + 4, 4)), 0);
    CHECK(memmem(dsdt, get(dsdt + 4, 4), "QEMU0002", 9) != NULL);
    CHECK(memcmp(facs, "FACS\x40", 5) == 0);
    CHECK_EQ(get(fadt + 36, 4) % 64, 0);
    CHECK(facs + 64 <= tables + loader.tables_size);
    free(rsdp);
    free(tables);
}

TEST_MAIN({"signature and features", signature_and_features},
          {"items are read from their start", items_are_read_from_their_start},
          {"DMA reads, selects and skips", dma_reads_selects_and_skips},
          {"DMA fails with the error bit", dma_fails_with_the_error_bit},
          {"long DMA goes on later", long_dma_goes_on_later},
          {"directory names files", directory_names_files},
          {"tables are whole where firmware puts them",
           tables_are_whole_where_firmware_puts_them}, )

/* What firmware for a PC finds: the host bridge, device 1, BARs where it puts them, its entry. */
#include "drivers/model/pc_chipset.h"
#include "kernel/vm/load_firmware.h"
#include "kernel/vm/platform.h"
#include "tests/check.h"
#include "tests/fake/hands.h"

#define BDF(device, function) ((device) << 3 | (function))

static struct bus bus;
static struct guest_mem mem;
static struct pci_bus pci;
static struct pc_chipset chipset;
static uint8_t ram[2 * 4096] ALIGNED(4096);

static struct hands hands;
static struct pin sci;
static struct acpi_pm pm;
static unsigned power_offs;

static void power_off(void *context)
{
    (void)context;
    power_offs++;
}

static void build_pm(void)
{
    hands_init(&hands, PLATFORM_PM_TIMER_HZ * 10ull);
    struct acpi_pm_config config = {.sci = pin_line(&sci, PLATFORM_IRQ_SCI),
                                    .clock = &hands.clock,
                                    .timers = &hands.timers,
                                    .power_off = power_off};
    acpi_pm_init(&pm, &config);
    CHECK_EQ(acpi_pm_attach(&pm, &bus), STATUS_OK);
}

static void build(void)
{
    struct pci_bus_config config = {.bus = &bus,
                                    .mem = &mem,
                                    .window_base = PLATFORM_PCI_MMIO,
                                    .window_size = PLATFORM_PCI_MMIO_SIZE,
                                    .decode_base = PLATFORM_PCI_LOW,
                                    .decode_size = BIT(40) - PLATFORM_PCI_LOW,
                                    .ecam_base = PLATFORM_ECAM,
                                    .ecam_size = PLATFORM_ECAM_SIZE};
    memset(&bus, 0, sizeof(bus));
    memset(&mem, 0, sizeof(mem));
    CHECK_EQ(guest_mem_add(&mem, GPA(PLATFORM_HIGH_RAM - sizeof(ram)), sizeof(ram), ram),
             STATUS_OK);
    build_pm();
    CHECK_EQ(pci_bus_init(&pci, &config), STATUS_OK);
    memset(&chipset, 0, sizeof(chipset));
    CHECK_EQ(pc_chipset_init(&chipset, &pci, &pm), STATUS_OK);
}

static uint32_t get(unsigned bdf, unsigned offset, unsigned size)
{
    return pci_bus_config_read(&pci, bdf, offset, size);
}

static void set(unsigned bdf, unsigned offset, unsigned size, uint32_t value)
{
    pci_bus_config_write(&pci, bdf, offset, size, value);
}

static void functions_are_where_firmware_looks(void)
{
    build();
    CHECK_EQ(get(BDF(0, 0), 0, 4), 0x12378086);
    CHECK_EQ(get(BDF(1, 0), 0, 4), 0x70008086);
    CHECK_EQ(get(BDF(1, 0), PCI_HEADER_TYPE, 1), 0x80);
    CHECK_EQ(get(BDF(1, 3), 0, 4), 0x71138086);
    set(BDF(1, 0), PCI_COMMAND, 2, 0);
    CHECK_EQ(get(BDF(1, 0), PCI_COMMAND, 2), 0);
    set(BDF(1, 0), PCI_COMMAND, 2, 7); /* OVMF wants to see that I/O is switched on */
    CHECK_EQ(get(BDF(1, 0), PCI_COMMAND, 2), 7);
    for (unsigned function = 1; function < 8; function++)
        if (function != 3)
            CHECK_EQ(get(BDF(1, function), 0, 4), 0xffffffff);
    CHECK_EQ(get(BDF(0, 3), 0, 4), 0xffffffff);
    CHECK_EQ(get(1 << 8 | BDF(1, 3), 0, 4), 0xffffffff);
}

static void power_management_is_there(void)
{
    build();
    CHECK_EQ(get(BDF(1, 3), 0x40, 4), 1);
    CHECK_EQ(get(BDF(1, 3), 0x80, 1), 0);           /* not enabled */
    CHECK_EQ(get(BDF(1, 3), 0x58, 4) >> 25 & 1, 1); /* SMM is set up already */
    CHECK_EQ(get(BDF(1, 3), PCI_INTERRUPT_LINE, 1), PLATFORM_IRQ_SCI);
}

/* Whether the PM1 control register answers at base + 4 with SCI_EN. */
static bool has_pm(unsigned base)
{
    return bus_read(&bus, BUS_PORT, base + 4, 2) == 1;
}

static void acpi_block_shows_where_firmware_puts_it(void)
{
    build();
    set(BDF(1, 3), 0x40, 4, 0xb001); /* OVMF's place */
    CHECK_EQ(get(BDF(1, 3), 0x40, 4), 0xb001);
    CHECK(!has_pm(0xb000));
    set(BDF(1, 3), 0x80, 1, 0xff);
    CHECK_EQ(get(BDF(1, 3), 0x80, 1), 1);
    CHECK(has_pm(0xb000));
    CHECK(has_pm(PLATFORM_PM_BASE));
    set(BDF(1, 3), 0x40, 4, 0xffffc07f);
    CHECK_EQ(get(BDF(1, 3), 0x40, 4), 0xc041);
    CHECK(!has_pm(0xb000) && has_pm(0xc040) && !has_pm(0xc080));
    set(BDF(1, 3), 0x41, 1, 0xb0); /* and by the byte */
    CHECK(has_pm(0xb040) && !has_pm(0xc040));
    bus_write(&bus, BUS_PORT, 0xb044, 2, 0x2000);
    CHECK_EQ(power_offs, 1);
    /* Where it is already, where another device is, and at 0, which is no base. */
    set(BDF(1, 3), 0x40, 2, PLATFORM_PM_BASE);
    CHECK(has_pm(PLATFORM_PM_BASE) && !has_pm(0xb040));
    CHECK_EQ(bus_add(&bus, BUS_PORT, 0xc110, 1, &reset_control_ops, &pm), STATUS_OK);
    set(BDF(1, 3), 0x40, 2, 0xc100);
    CHECK(!has_pm(0xc100) && has_pm(PLATFORM_PM_BASE));
    set(BDF(1, 3), 0x40, 2, 0);
    CHECK(!has_pm(0) && has_pm(PLATFORM_PM_BASE));
    set(BDF(1, 3), 0x40, 2, 0xb000);
    set(BDF(1, 3), 0x80, 1, 0);
    CHECK(!has_pm(0xb000));
    set(BDF(1, 3), 0x80, 1, 1);
    CHECK(has_pm(0xb000));
    pci_bus_reset(&pci);
    CHECK_EQ(get(BDF(1, 3), 0x40, 4), 1);
    CHECK(!has_pm(0xb000) && has_pm(PLATFORM_PM_BASE));
}

static void attributes_are_stored_until_a_reset(void)
{
    build();
    for (unsigned offset = 0x59; offset <= 0x5f; offset++) {
        set(BDF(0, 0), offset, 1, 0x33);
        CHECK_EQ(get(BDF(0, 0), offset, 1), 0x33);
    }
    set(BDF(0, 0), 0x72, 1, 0x4a);
    set(BDF(0, 0), 0x60, 1, 0xff); /* no such register */
    CHECK_EQ(get(BDF(0, 0), 0x60, 1), 0);
    set(BDF(1, 0), 0x60, 1, 11);
    CHECK_EQ(get(BDF(1, 0), 0x60, 1), 11);
    set(BDF(1, 3), PCI_INTERRUPT_LINE, 1, 5);
    pci_bus_reset(&pci);
    CHECK_EQ(get(BDF(0, 0), 0x59, 1), 0);
    CHECK_EQ(get(BDF(0, 0), 0x72, 1), 0);
    CHECK_EQ(get(BDF(1, 0), 0x60, 1), 0x80);
    CHECK_EQ(get(BDF(1, 3), PCI_INTERRUPT_LINE, 1), PLATFORM_IRQ_SCI);
}

static uint64_t read_bar(void *device, uint64_t offset, unsigned size)
{
    (void)device;
    (void)size;
    return 0x40 + offset;
}

static const struct bus_ops bar_ops = {read_bar, NULL};

static void bars_go_where_firmware_puts_them(void)
{
    static const struct {
        uint64_t address;
        bool decoded;
    } places[] = {
        {0x80000000, true},        {0xfebf0000, true},
        {0x7fff0000, false},       {PLATFORM_ECAM, false},
        {PLATFORM_HIGH_RAM, true}, {PLATFORM_HIGH_RAM - sizeof(ram), false},
        {BIT(40) - 0x1000, true},  {BIT(40), false},
        {PLATFORM_PCI_MMIO, true},
    };
    static const struct pci_identity identity = {.vendor = 0x1234, .device = 1};
    static const struct pci_function_ops ops = {0};
    struct pci_function function;
    build();
    pci_function_init(&function, &identity, &ops);
    pci_function_set_bar(&function, 0, 0x1000, true, &bar_ops, NULL);
    CHECK_EQ(pci_bus_add(&pci, 2, &function), STATUS_OK);
    CHECK_EQ(pci_function_bar_address(&function, 0), PLATFORM_PCI_MMIO);
    for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
        set(BDF(2, 0), PCI_BAR(0), 4, (uint32_t)places[i].address);
        set(BDF(2, 0), PCI_BAR(1), 4, (uint32_t)(places[i].address >> 32));
        CHECK_EQ(function.bar[0].is_decoded, places[i].decoded);
        if (places[i].decoded)
            CHECK_EQ(bus_read(&bus, BUS_MMIO, places[i].address + 8, 1), 0x48);
    }
}

/* ---- The image ---- */

static struct load_plan plan;
static struct load_error error;
static uint8_t image[LOAD_FIRMWARE_MAX + LOAD_FIRMWARE_UNIT];
static uint8_t volume[KIB(528)];
static const struct load_file none;

static void make_volume(uint8_t *at)
{
    memcpy(at + 0x10, "\x8d\x2b\xf1\xff\x96\x76\x8b\x4c\xa9\x85\x27\x47\x07\x5b\x4f\x50", 16);
    memcpy(at + 0x28, "_FVH", 4);
}

/* Sizes as OVMF_CODE_4M.fd and OVMF_VARS_4M.fd have them. */
static void variables_go_below_their_code(void)
{
    struct load_file code = {.name = "CODE.fd", .at = image, .size = KIB(3568), .line = 7};
    struct load_file vars = {.name = "VARS.fd", .at = volume, .size = KIB(528), .line = 8};
    make_volume(volume);
    memset(image, 0, 64);
    CHECK_EQ(load_firmware(&code, &vars, &plan, &error), STATUS_OK);
    CHECK_EQ(error.text[0], '\0');
    CHECK_EQ(plan.pieces, 3);
    CHECK_EQ(plan.lasting, 2);
    CHECK_EQ(plan.piece[0].at, 0xe0000);
    CHECK(plan.piece[0].from == image + KIB(3568) - KIB(128));
    CHECK_EQ(plan.piece[1].at, 0x100000000ull - KIB(3568));
    CHECK_EQ(plan.piece[2].at, 0xffc00000);
    CHECK_EQ(plan.piece[2].size, KIB(528));
    CHECK(plan.piece[2].from == volume);
}

static void what_does_not_fit_together_is_refused(void)
{
    static const struct {
        uint64_t code, vars;
        bool in_code, in_vars;
        enum status status;
        uint32_t line;
        const char *text;
    } rows[] = {
        {KIB(3568), KIB(528), false, false, ERR_INVALID, 8,
         "VARS.fd: no UEFI variables: no volume"},
        {KIB(3568), 100, false, true, ERR_INVALID, 8, "VARS.fd: no UEFI variables"},
        {KIB(3568), KIB(126) + 512, false, true, ERR_INVALID, 8, "VARS.fd: no UEFI variables"},
        {KIB(2048), KIB(128), true, true, ERR_INVALID, 8, "CODE.fd has variables of its own"},
        {KIB(3568) + 1, KIB(528), false, true, ERR_INVALID, 7, "CODE.fd: no firmware of a PC: "},
        {0, KIB(528), false, true, ERR_INVALID, 7, "CODE.fd: no firmware of a PC: "},
        {KIB(8192), KIB(128), false, true, ERR_INVALID, 7,
         "CODE.fd: no firmware of a PC: 8519680 bytes are no multiple of 4 KiB up to 8 MiB; take"},
        {KIB(3568), 0, false, false, ERR_INVALID, 7,
         "CODE.fd: no firmware of a PC: 3653632 bytes are no multiple of 64 KiB up to 8 MiB; if it "
         "is UEFI's code alone, add firmware-vars"},
        {KIB(1920), KIB(528), false, true, STATUS_OK, 8,
         "CODE.fd and VARS.fd have 2448 KiB together, which is no power of two"},
        {KIB(1920), KIB(128), false, true, STATUS_OK, 8, ""},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct load_file code = {.name = "CODE.fd", .at = image, .size = rows[i].code, .line = 7};
        struct load_file vars = {.name = "VARS.fd", .at = volume, .size = rows[i].vars, .line = 8};
        memset(image, 0, 64);
        memset(volume, 0, 64);
        if (rows[i].in_code)
            make_volume(image);
        if (rows[i].in_vars)
            make_volume(volume);
        CHECK_EQ(load_firmware(&code, &vars, &plan, &error), rows[i].status);
        CHECK_EQ(error.line, rows[i].line);
        CHECK(strncmp(error.text, rows[i].text, strlen(rows[i].text)) == 0);
        CHECK_EQ(error.text[0] == '\0', rows[i].text[0] == '\0');
    }
}

static void firmware_starts_at_the_reset_vector(void)
{
    struct load_file file = {.name = "f", .at = image, .size = KIB(256), .line = 7};
    CHECK_EQ(load_firmware(&file, &none, &plan, &error), STATUS_OK);
    CHECK_EQ(plan.pieces, 2);
    CHECK_EQ(plan.lasting, 1);
    CHECK_EQ(plan.piece[1].at, 0xfffc0000);
    CHECK_EQ(plan.piece[1].size, KIB(256));
    CHECK(plan.piece[1].from == image);
    CHECK_EQ(plan.piece[0].at, 0xe0000);
    CHECK_EQ(plan.piece[0].size, KIB(128));
    CHECK(plan.piece[0].from == image + KIB(128));
    const struct segment *cs = &plan.entry.segment[SEG_CS];
    CHECK_EQ(cs->base + plan.entry.rip, 0xfffffff0);
    CHECK_EQ(cs->selector, 0xf000);
    CHECK_EQ(plan.entry.rflags, 2);
    CHECK_EQ(plan.entry.cr0, 0x60000010);
    file.size = KIB(64);
    CHECK_EQ(load_firmware(&file, &none, &plan, &error), STATUS_OK);
    CHECK_EQ(plan.piece[0].at, 0xf0000);
    CHECK(plan.piece[0].from == image);
    file.size = LOAD_FIRMWARE_MAX;
    CHECK_EQ(load_firmware(&file, &none, &plan, &error), STATUS_OK);
    CHECK(!load_firmware_is_flash(image, file.size));
    memcpy(image + 0x10, "\x8d\x2b\xf1\xff\x96\x76\x8b\x4c\xa9\x85\x27\x47\x07\x5b\x4f\x50", 16);
    CHECK(!load_firmware_is_flash(image, file.size));
    memcpy(image + 0x28, "_FVH", 4);
    CHECK(load_firmware_is_flash(image, file.size));
    CHECK(!load_firmware_is_flash(image, 0x20));
}

static void what_is_no_firmware_is_refused(void)
{
    static const uint64_t sizes[] = {0, 1, KIB(64) - 1, KIB(96), LOAD_FIRMWARE_MAX + KIB(64)};
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct load_file file = {.name = "vmlinuz", .at = image, .size = sizes[i], .line = 7};
        CHECK_EQ(load_firmware(&file, &none, &plan, &error), ERR_INVALID);
        CHECK_EQ(error.line, 7);
        CHECK(strncmp(error.text, "vmlinuz: no firmware of a PC", 28) == 0);
    }
}

TEST_MAIN({"functions are where firmware looks", functions_are_where_firmware_looks},
          {"power management is there", power_management_is_there},
          {"ACPI block shows where firmware puts it", acpi_block_shows_where_firmware_puts_it},
          {"attributes are stored until a reset", attributes_are_stored_until_a_reset},
          {"BARs go where firmware puts them", bars_go_where_firmware_puts_them},
          {"firmware starts at the reset vector", firmware_starts_at_the_reset_vector},
          {"variables go below their code", variables_go_below_their_code},
          {"what does not fit together is refused", what_does_not_fit_together_is_refused},
          {"what is no firmware is refused", what_is_no_firmware_is_refused}, )

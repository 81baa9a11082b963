/*
 * ACPI: Device Configuration; PCI Firmware Specification: _OSC. What stands here is what the ports
 * and interrupts of kernel/vm/platform.h are, said in AML.
 */
#include "kernel/vm/acpi_dsdt.h"

#include "kernel/core/fmt.h"
#include "kernel/vm/platform.h"

#define PCI_DEVICES 32
#define PCI_PINS 4
#define PCI_ANY_FUNCTION 0xffff

#define PCI_UUID "33db4d5b-1ff7-401c-9657-7441c03dd766"
#define OSC_UNRECOGNIZED_UUID 0x04
#define OSC_UNRECOGNIZED_REVISION 0x08
#define OSC_CAPABILITIES_MASKED 0x10
/* Native hot plug, PME, AER and the PCI Express capability structure; no SHPC. */
#define OSC_GRANTED 0x1d

static void write_s5(struct aml *aml)
{
    aml_name(aml, "\\_S5");
    size_t package = aml_package(aml, 4);
    aml_integer(aml, PLATFORM_SLP_TYP_S5); /* for PM1a, PM1b; reserved */
    aml_integer(aml, PLATFORM_SLP_TYP_S5);
    aml_integer(aml, 0);
    aml_integer(aml, 0);
    aml_close(aml, package);
}

/* ---- The PCI host bridge ---- */

/* Firmware's choice, on a machine of its own, is wherever a PC has no RAM. */
static void write_pci_memory(struct aml *aml, const struct acpi_facts *facts)
{
    uint64_t low = facts->memory < PLATFORM_LOW_RAM_END ? facts->memory : PLATFORM_LOW_RAM_END;
    uint64_t first = !facts->is_pc            ? PLATFORM_PCI_MMIO
                     : low > PLATFORM_PCI_LOW ? low
                                              : PLATFORM_PCI_LOW;
    aml_memory_window(aml, (uint32_t)first,
                      (uint32_t)(PLATFORM_PCI_MMIO + PLATFORM_PCI_MMIO_SIZE - 1));
    if (facts->is_pc)
        aml_memory_window(aml, (uint32_t)(PLATFORM_ECAM + PLATFORM_ECAM_SIZE),
                          (uint32_t)(PLATFORM_IOAPIC - 1));
}

static void write_pci_resources(struct aml *aml, const struct acpi_facts *facts)
{
    aml_name(aml, "_CRS");
    struct aml_template template = aml_template_open(aml);
    aml_bus_window(aml, PLATFORM_ECAM_FIRST_BUS, PLATFORM_ECAM_LAST_BUS);
    aml_io(aml, PLATFORM_PORT_PCI_ADDRESS, 8);
    aml_io_window(aml, 0, PLATFORM_PORT_PCI_ADDRESS - 1);
    aml_io_window(aml, PLATFORM_PORT_PCI_ADDRESS + 8, 0xffff);
    write_pci_memory(aml, facts);
    aml_template_close(aml, template);
}

/* Every pin of every device goes straight to an input of the I/O APIC. */
static void write_pci_routing(struct aml *aml)
{
    aml_name(aml, "_PRT");
    size_t table = aml_package(aml, PCI_DEVICES * PCI_PINS);
    for (uint32_t device = 0; device < PCI_DEVICES; device++)
        for (uint32_t pin = 0; pin < PCI_PINS; pin++) {
            size_t route = aml_package(aml, 4);
            aml_integer(aml, device << 16 | PCI_ANY_FUNCTION);
            aml_integer(aml, pin);
            aml_integer(aml, 0);
            aml_integer(aml, acpi_pci_gsi(device, pin));
            aml_close(aml, route);
        }
    aml_close(aml, table);
}

static void write_or_status(struct aml *aml, uint8_t bits)
{
    aml_op(aml, AML_OR);
    aml_path(aml, "CDW1");
    aml_integer(aml, bits);
    aml_path(aml, "CDW1");
}

static void write_field(struct aml *aml, uint8_t offset, const char *name)
{
    aml_op(aml, AML_CREATE_DWORD_FIELD);
    aml_op(aml, AML_ARG3);
    aml_integer(aml, offset);
    aml_path(aml, name);
}

/* Local0 = what is granted of the control field; the status says what was not. */
static void write_osc_pci(struct aml *aml)
{
    write_field(aml, 8, "CDW3");
    aml_op(aml, AML_AND);
    aml_path(aml, "CDW3");
    aml_integer(aml, OSC_GRANTED);
    aml_op(aml, AML_LOCAL0);
    size_t revision = aml_if(aml);
    aml_op(aml, AML_LNOT);
    aml_op(aml, AML_LEQUAL);
    aml_op(aml, AML_ARG1);
    aml_integer(aml, 1);
    write_or_status(aml, OSC_UNRECOGNIZED_REVISION);
    aml_close(aml, revision);
    size_t masked = aml_if(aml);
    aml_op(aml, AML_LNOT);
    aml_op(aml, AML_LEQUAL);
    aml_path(aml, "CDW3");
    aml_op(aml, AML_LOCAL0);
    write_or_status(aml, OSC_CAPABILITIES_MASKED);
    aml_close(aml, masked);
    aml_op(aml, AML_STORE);
    aml_op(aml, AML_LOCAL0);
    aml_path(aml, "CDW3");
}

static void write_osc(struct aml *aml)
{
    size_t method = aml_method(aml, "_OSC", 4);
    write_field(aml, 0, "CDW1");
    size_t is_pci = aml_if(aml);
    aml_op(aml, AML_LEQUAL);
    aml_op(aml, AML_ARG0);
    aml_uuid(aml, PCI_UUID);
    write_osc_pci(aml);
    aml_close(aml, is_pci);
    size_t is_other = aml_else(aml);
    write_or_status(aml, OSC_UNRECOGNIZED_UUID);
    aml_close(aml, is_other);
    aml_op(aml, AML_RETURN);
    aml_op(aml, AML_ARG3);
    aml_close(aml, method);
}

static void write_pci(struct aml *aml, const struct acpi_facts *facts)
{
    size_t device = aml_device(aml, "PCI0");
    aml_name(aml, "_HID");
    aml_eisa_id(aml, "PNP0A08");
    aml_name(aml, "_CID");
    aml_eisa_id(aml, "PNP0A03");
    aml_name_integer(aml, "_UID", 0);
    aml_name_integer(aml, "_SEG", 0);
    aml_name_integer(aml, "_BBN", PLATFORM_ECAM_FIRST_BUS);
    write_pci_resources(aml, facts);
    write_pci_routing(aml);
    write_osc(aml);
    aml_close(aml, device);
}

/* ---- What sits on the board ---- */

#define EISA_ID_LENGTH 7

struct board_device {
    const char *name, *id; /* an EISA ID, or a longer one */
    struct {
        uint16_t base;
        uint8_t length; /* 0: no such ports */
    } ports[2];
    int irq; /* -1: none */
};

static const struct board_device uart = {
    "COM1", "PNP0501", {{PLATFORM_PORT_COM1, PLATFORM_PORT_UART_SIZE}}, PLATFORM_IRQ_COM1};
static const struct board_device rtc = {
    "RTC", "PNP0B00", {{PLATFORM_PORT_RTC, PLATFORM_PORT_RTC_SIZE}}, PLATFORM_IRQ_RTC};
static const struct board_device keyboard = {
    "KBD",
    "PNP0303",
    {{PLATFORM_PORT_KEYBOARD_DATA, 1}, {PLATFORM_PORT_KEYBOARD_COMMAND, 1}},
    PLATFORM_IRQ_KEYBOARD};

static const struct board_device pvpanic = {"PEVT", "QEMU0001", {{PLATFORM_PORT_PVPANIC, 1}}, -1};

static const struct board_device fw_cfg = {
    "FWCF", "QEMU0002", {{PLATFORM_PORT_FW_CFG, PLATFORM_PORT_FW_CFG_SIZE}}, -1};

static void write_board_device(struct aml *aml, const struct board_device *what)
{
    size_t device = aml_device(aml, what->name);
    aml_name(aml, "_HID");
    if (what->id[EISA_ID_LENGTH] == '\0')
        aml_eisa_id(aml, what->id);
    else
        aml_string(aml, what->id);
    aml_name_integer(aml, "_UID", 1);
    aml_name_integer(aml, "_STA", 0xf); /* present, enabled, shown, working */
    aml_name(aml, "_CRS");
    struct aml_template template = aml_template_open(aml);
    for (size_t i = 0; i < ARRAY_SIZE(what->ports) && what->ports[i].length != 0; i++)
        aml_io(aml, what->ports[i].base, what->ports[i].length);
    if (what->irq >= 0)
        aml_irq(aml, (unsigned)what->irq);
    aml_template_close(aml, template);
    aml_close(aml, device);
}

/* What belongs to no device: without it, an operating system distrusts the MCFG. */
static void write_motherboard(struct aml *aml)
{
    size_t device = aml_device(aml, "MBRD");
    aml_name(aml, "_HID");
    aml_eisa_id(aml, "PNP0C02");
    aml_name_integer(aml, "_UID", 1);
    aml_name(aml, "_CRS");
    struct aml_template template = aml_template_open(aml);
    aml_memory32_fixed(aml, (uint32_t)PLATFORM_ECAM, (uint32_t)PLATFORM_ECAM_SIZE);
    aml_io(aml, PLATFORM_PM_BASE, PLATFORM_PM_SIZE);
    aml_io(aml, PLATFORM_PORT_SMI_COMMAND, PLATFORM_PORT_SMI_SIZE);
    aml_io(aml, PLATFORM_PORT_ELCR, PLATFORM_PORT_ELCR_SIZE);
    aml_template_close(aml, template);
    aml_close(aml, device);
}

static void write_processors(struct aml *aml, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        char name[16];
        fmt_format(name, sizeof(name), "C%03X", i & 0xfff);
        size_t device = aml_device(aml, name);
        aml_name(aml, "_HID");
        aml_string(aml, "ACPI0007");
        aml_name_integer(aml, "_UID", i); /* as in the MADT */
        aml_close(aml, device);
    }
}

void acpi_dsdt_write(struct aml *aml, const struct acpi_facts *facts)
{
    write_s5(aml);
    size_t scope = aml_scope(aml, "\\_SB");
    write_processors(aml, facts->vcpu_count);
    write_motherboard(aml);
    write_pci(aml, facts);
    write_board_device(aml, &rtc);
    write_board_device(aml, &uart);
    if (facts->has_keyboard)
        write_board_device(aml, &keyboard);
    if (facts->has_pvpanic)
        write_board_device(aml, &pvpanic);
    if (facts->has_fw_cfg)
        write_board_device(aml, &fw_cfg);
    aml_close(aml, scope);
}

#include "drivers/model/pc_chipset.h"

#include "kernel/core/mem.h"
#include "kernel/vm/platform.h"

#define INTEL 0x8086
#define QEMU_SUBSYSTEM_VENDOR 0x1af4
#define QEMU_SUBSYSTEM 0x1100

#define POWER_FUNCTION 3

/* i440FX. */
#define PAM_FIRST 0x59
#define PAM_LAST 0x5f
#define SMRAM 0x72

/* PIIX: the inputs of the PICs that PIRQ A to D drive. */
#define PIRQ_ROUTE_FIRST 0x60
#define PIRQ_ROUTE_LAST 0x63
#define PIRQ_DISABLED 0x80

/* PIIX4, power management. */
#define PM_BASE 0x40
#define PM_BASE_IO 1
#define PM_BASE_MASK 0xffc0
#define DEVICE_ACTIVITY_B 0x58
#define DEVICE_ACTIVITY_B_APMC_ENABLE BIT(25) /* SMIs on; set: firmware has been here */
#define PM_MISC 0x80
#define PM_MISC_ENABLE 1

static const struct pci_function_ops no_ops = {0};

static const struct pci_identity host_bridge INIT_CONST = {.vendor = INTEL,
                                                           .device = 0x1237,
                                                           .subsystem_vendor =
                                                               QEMU_SUBSYSTEM_VENDOR,
                                                           .subsystem = QEMU_SUBSYSTEM,
                                                           .revision = 2,
                                                           .class_code = 0x060000};
static const struct pci_identity isa_bridge INIT_CONST = {.vendor = INTEL,
                                                          .device = 0x7000,
                                                          .subsystem_vendor = QEMU_SUBSYSTEM_VENDOR,
                                                          .subsystem = QEMU_SUBSYSTEM,
                                                          .class_code = 0x060100};
static const struct pci_identity power INIT_CONST = {.vendor = INTEL,
                                                     .device = 0x7113,
                                                     .subsystem_vendor = QEMU_SUBSYSTEM_VENDOR,
                                                     .subsystem = QEMU_SUBSYSTEM,
                                                     .revision = 3,
                                                     .class_code = 0x068000};

static INIT void put(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, 4);
}

/* What is behind these functions is there always; firmware switches it on all the same. */
static INIT void decode_io(struct pci_function *function)
{
    function->writable[PCI_COMMAND] |= PCI_COMMAND_IO;
    function->config[PCI_COMMAND] |= PCI_COMMAND_IO;
}

/* The ACPI block shows at the base while it is enabled, unless something else is there. */
static void place_power(struct pc_chipset *chipset)
{
    const uint8_t *config = chipset->power.config;
    uint16_t base = (uint16_t)((config[PM_BASE] | config[PM_BASE + 1] << 8) & PM_BASE_MASK);
    if (chipset->has_pm_base)
        bus_remove(chipset->bus, BUS_PORT, chipset->pm_base, chipset->pm);
    chipset->pm_base = base;
    chipset->has_pm_base = (config[PM_MISC] & PM_MISC_ENABLE) && base != 0 &&
                           bus_add(chipset->bus, BUS_PORT, base, PLATFORM_PM_SIZE, &acpi_pm_ops,
                                   chipset->pm) == STATUS_OK;
}

static void power_written(struct pci_function *function, unsigned offset, unsigned size)
{
    if (offset <= PM_MISC && offset + size > PM_BASE)
        place_power(CONTAINER_OF(function, struct pc_chipset, power));
}

static void reset_power(struct pci_function *function)
{
    place_power(CONTAINER_OF(function, struct pc_chipset, power));
}

static const struct pci_function_ops power_ops = {.config_written = power_written,
                                                  .reset = reset_power};

static INIT void make_power(struct pci_function *function)
{
    pci_function_init(function, &power, &power_ops);
    decode_io(function);
    put(function->config + PM_BASE, PM_BASE_IO);
    put(function->writable + PM_BASE, PM_BASE_MASK);
    function->writable[PM_MISC] = PM_MISC_ENABLE;
    put(function->config + DEVICE_ACTIVITY_B, (uint32_t)DEVICE_ACTIVITY_B_APMC_ENABLE);
    function->config[PCI_INTERRUPT_PIN] = 1;
}

static INIT void make_bridge(struct pci_bus *pci)
{
    struct pci_function *bridge = &pci->bridge;
    pci_function_init(bridge, &host_bridge, &no_ops);
    bridge->bus = pci;
    bridge->config[PCI_COMMAND] = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
    memset(bridge->writable + PAM_FIRST, 0xff, PAM_LAST - PAM_FIRST + 1);
    bridge->writable[SMRAM] = 0xff;
    memcpy(bridge->initial, bridge->config, sizeof(bridge->initial));
}

INIT enum status pc_chipset_init(struct pc_chipset *chipset, struct pci_bus *pci,
                                 struct acpi_pm *pm)
{
    chipset->bus = pci->config.bus;
    chipset->pm = pm;
    make_bridge(pci);
    pci_function_init(&chipset->isa, &isa_bridge, &no_ops);
    decode_io(&chipset->isa);
    for (unsigned i = PIRQ_ROUTE_FIRST; i <= PIRQ_ROUTE_LAST; i++) {
        chipset->isa.config[i] = PIRQ_DISABLED;
        chipset->isa.writable[i] = 0xff;
    }
    make_power(&chipset->power);
    enum status status = pci_bus_add(pci, PC_CHIPSET_SLOT, &chipset->isa);
    if (status != STATUS_OK)
        return status;
    pci_bus_add_function(pci, &chipset->isa, POWER_FUNCTION, &chipset->power);
    chipset->power.config[PCI_INTERRUPT_LINE] = PLATFORM_IRQ_SCI;
    chipset->power.initial[PCI_INTERRUPT_LINE] = PLATFORM_IRQ_SCI;
    return STATUS_OK;
}

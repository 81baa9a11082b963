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
#define DEVICE_ACTIVITY_B 0x58
#define DEVICE_ACTIVITY_B_APMC_ENABLE BIT(25) /* SMIs on; set: firmware has been here */
#define PM_MISC 0x80
#define PM_MISC_ENABLE 1

static const struct pci_function_ops no_ops = {0};

static const struct pci_identity host_bridge = {.vendor = INTEL,
                                                .device = 0x1237,
                                                .subsystem_vendor = QEMU_SUBSYSTEM_VENDOR,
                                                .subsystem = QEMU_SUBSYSTEM,
                                                .revision = 2,
                                                .class_code = 0x060000};
static const struct pci_identity isa_bridge = {.vendor = INTEL,
                                               .device = 0x7000,
                                               .subsystem_vendor = QEMU_SUBSYSTEM_VENDOR,
                                               .subsystem = QEMU_SUBSYSTEM,
                                               .class_code = 0x060100};
static const struct pci_identity power = {.vendor = INTEL,
                                          .device = 0x7113,
                                          .subsystem_vendor = QEMU_SUBSYSTEM_VENDOR,
                                          .subsystem = QEMU_SUBSYSTEM,
                                          .revision = 3,
                                          .class_code = 0x068000};

static void put(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, 4);
}

/* What is behind these functions is there always; firmware switches it on all the same. */
static void decode_io(struct pci_function *function)
{
    function->writable[PCI_COMMAND] |= PCI_COMMAND_IO;
    function->config[PCI_COMMAND] |= PCI_COMMAND_IO;
}

static void make_bridge(struct pci_bus *pci)
{
    struct pci_function *bridge = &pci->bridge;
    pci_function_init(bridge, &host_bridge, &no_ops);
    bridge->bus = pci;
    bridge->config[PCI_COMMAND] = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
    memset(bridge->writable + PAM_FIRST, 0xff, PAM_LAST - PAM_FIRST + 1);
    bridge->writable[SMRAM] = 0xff;
    memcpy(bridge->initial, bridge->config, sizeof(bridge->initial));
}

enum status pc_chipset_init(struct pc_chipset *chipset, struct pci_bus *pci)
{
    make_bridge(pci);
    pci_function_init(&chipset->isa, &isa_bridge, &no_ops);
    decode_io(&chipset->isa);
    for (unsigned i = PIRQ_ROUTE_FIRST; i <= PIRQ_ROUTE_LAST; i++) {
        chipset->isa.config[i] = PIRQ_DISABLED;
        chipset->isa.writable[i] = 0xff;
    }
    pci_function_init(&chipset->power, &power, &no_ops);
    decode_io(&chipset->power);
    put(chipset->power.config + PM_BASE, PLATFORM_PM_BASE | PM_BASE_IO);
    put(chipset->power.config + DEVICE_ACTIVITY_B, (uint32_t)DEVICE_ACTIVITY_B_APMC_ENABLE);
    chipset->power.config[PM_MISC] = PM_MISC_ENABLE;
    chipset->power.config[PCI_INTERRUPT_PIN] = 1;
    enum status status = pci_bus_add(pci, PC_CHIPSET_SLOT, &chipset->isa);
    if (status != STATUS_OK)
        return status;
    pci_bus_add_function(pci, &chipset->isa, POWER_FUNCTION, &chipset->power);
    chipset->power.config[PCI_INTERRUPT_LINE] = PLATFORM_IRQ_SCI;
    chipset->power.initial[PCI_INTERRUPT_LINE] = PLATFORM_IRQ_SCI;
    return STATUS_OK;
}

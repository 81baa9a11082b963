/*
 * What firmware for QEMU's PC asks of PCI before it asks fw_cfg: the host bridge of an i440FX, and
 * device 1 with the functions of a PIIX that matter, the ISA bridge and power management. Intel:
 * 82441FX PCI and Memory Controller; 82371AB PCI-to-ISA/IDE Xcelerator (PIIX4).
 *
 * RAM is behind 0xC0000 to 0xFFFFF always, the firmware's own copy of its end in it, so that the
 * attributes of memory (PAM) are stored and change nothing. The ACPI block stays where the FADT
 * says, and shows once more where firmware enables it: OVMF at 0xb000, where it powers off without
 * a look at any table. SMM is not there, and is said to be set up, so that firmware leaves it
 * alone.
 */
#pragma once

#include "drivers/model/acpi_pm.h"
#include "drivers/model/pci_bus.h"

#define PC_CHIPSET_SLOT 1

struct pc_chipset {
    struct pci_function isa;
    struct pci_function power;
    struct bus *bus;
    struct acpi_pm *pm;
    uint16_t pm_base; /* where pm is on the bus a second time */
    bool has_pm_base;
};

/* Makes the bus's host bridge the i440FX's, and adds device 1, whose power management is pm's.
 * *chipset is zeroed. Errors of pci_bus_add. */
enum status MUST_CHECK pc_chipset_init(struct pc_chipset *chipset, struct pci_bus *pci,
                                       struct acpi_pm *pm);

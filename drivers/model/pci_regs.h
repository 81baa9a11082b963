/* The registers of a type 0 configuration space. PCI Local Bus Specification: Configuration Space;
 * PCI Express Base Specification: MSI-X Capability and Table Structure. */
#pragma once

#include "kernel/core/bits.h"

#define PCI_VENDOR_ID 0x00
#define PCI_DEVICE_ID 0x02
#define PCI_COMMAND 0x04
#define PCI_STATUS 0x06
#define PCI_REVISION_ID 0x08
#define PCI_CLASS_CODE 0x09 /* three bytes: interface, sub-class, base class */
#define PCI_HEADER_TYPE 0x0e
#define PCI_HEADER_MULTI_FUNCTION BIT(7)
#define PCI_BAR(n) (0x10u + 4u * (n))
#define PCI_SUBSYSTEM_VENDOR_ID 0x2c
#define PCI_SUBSYSTEM_ID 0x2e
#define PCI_CAPABILITIES 0x34
#define PCI_INTERRUPT_LINE 0x3c
#define PCI_INTERRUPT_PIN 0x3d
#define PCI_FIRST_CAPABILITY 0x40

#define PCI_COMMAND_IO BIT(0)
#define PCI_COMMAND_MEMORY BIT(1)
#define PCI_COMMAND_MASTER BIT(2)
#define PCI_COMMAND_PARITY BIT(6)
#define PCI_COMMAND_SERR BIT(8)
#define PCI_COMMAND_INTX_DISABLE BIT(10)

#define PCI_STATUS_INTERRUPT BIT(3)
#define PCI_STATUS_CAPABILITIES BIT(4)

#define PCI_BAR_TYPE_64 BIT(2)
#define PCI_BAR_FLAGS 0xfu

#define PCI_CAPABILITY_MSIX 0x11
#define PCI_CAPABILITY_VENDOR 0x09

/* Offsets inside the MSI-X capability. */
#define PCI_MSIX_CONTROL 2
#define PCI_MSIX_TABLE 4
#define PCI_MSIX_PBA 8
#define PCI_MSIX_CAPABILITY_SIZE 12

#define PCI_MSIX_CONTROL_FUNCTION_MASK BIT(14)
#define PCI_MSIX_CONTROL_ENABLE BIT(15)

/*
 * Where the guest's platform has its devices: the one list from which the device models, the ACPI
 * tables and the construction of a virtual machine take their ports, interrupts and addresses.
 *
 * Interrupt numbers named IRQ are ISA interrupts (PIC inputs); GSI n is input n of the I/O APIC.
 * ISA interrupts are edge-triggered, active high, GSI = IRQ, with two exceptions that the MADT's
 * interrupt source overrides state: the timer, and the SCI, which is level-triggered.
 */
#pragma once

#include "kernel/core/types.h"

/* ---- Guest-physical addresses ---- */

/* RAM lies below PLATFORM_LOW_RAM_END, with the legacy hole, and goes on at PLATFORM_HIGH_RAM. */
#define PLATFORM_LEGACY_HOLE 0xa0000ull
#define PLATFORM_LEGACY_HOLE_END 0x100000ull
#define PLATFORM_LOW_RAM_END 0xc0000000ull
#define PLATFORM_HIGH_RAM 0x100000000ull

/* BARs of PCI devices. */
#define PLATFORM_PCI_MMIO 0xc0000000ull
#define PLATFORM_PCI_MMIO_SIZE 0x20000000ull

/* Firmware puts BARs where it likes: from here on, wherever there is neither RAM nor a device. */
#define PLATFORM_PCI_LOW 0x80000000ull

/* PCI Express Enhanced Configuration Access Mechanism, segment 0, buses 0 to 255. */
#define PLATFORM_ECAM 0xe0000000ull
#define PLATFORM_ECAM_SIZE 0x10000000ull
#define PLATFORM_ECAM_FIRST_BUS 0
#define PLATFORM_ECAM_LAST_BUS 255

#define PLATFORM_IOAPIC 0xfec00000ull
#define PLATFORM_IOAPIC_SIZE 0x1000ull
#define PLATFORM_LAPIC 0xfee00000ull
#define PLATFORM_LAPIC_SIZE 0x1000ull

/* ---- Interrupts ---- */

#define PLATFORM_IOAPIC_INPUTS 24

#define PLATFORM_IRQ_TIMER 0
#define PLATFORM_IRQ_KEYBOARD 1
#define PLATFORM_IRQ_CASCADE 2
#define PLATFORM_IRQ_COM2 3
#define PLATFORM_IRQ_COM1 4
#define PLATFORM_IRQ_RTC 8
#define PLATFORM_IRQ_SCI 9
#define PLATFORM_IRQ_MOUSE 12

#define PLATFORM_GSI_TIMER 2 /* interrupt source override: IRQ 0 arrives at input 2 */
#define PLATFORM_GSI_SCI 9   /* level-triggered, active high, in the MADT's override too */

/* The wires of the PCI slots: level-triggered, active low. */
#define PLATFORM_PCI_GSI_FIRST 16
#define PLATFORM_PCI_GSI_COUNT 8

/* ---- Ports ---- */

#define PLATFORM_PORT_PIC_MASTER 0x20
#define PLATFORM_PORT_PIC_SLAVE 0xa0
#define PLATFORM_PORT_PIC_SIZE 2
#define PLATFORM_PORT_ELCR 0x4d0
#define PLATFORM_PORT_ELCR_SIZE 2
#define PLATFORM_PORT_PIT 0x40
#define PLATFORM_PORT_PIT_SIZE 4
#define PLATFORM_PORT_KEYBOARD_DATA 0x60
#define PLATFORM_PORT_SYSTEM_CONTROL_B 0x61 /* gate of PIT channel 2, speaker */
#define PLATFORM_PORT_KEYBOARD_COMMAND 0x64
#define PLATFORM_PORT_RTC 0x70
#define PLATFORM_PORT_RTC_SIZE 4            /* standard bank at 0x70, extended bank at 0x72 */
#define PLATFORM_PORT_POST 0x80             /* power-on self-test codes; a delay for Linux */
#define PLATFORM_PORT_SYSTEM_CONTROL_A 0x92 /* fast A20 and reset */
#define PLATFORM_PORT_COM2 0x2f8
#define PLATFORM_PORT_COM1 0x3f8
#define PLATFORM_PORT_UART_SIZE 8
#define PLATFORM_PORT_PVPANIC 0x505
#define PLATFORM_PORT_FW_CFG 0x510
#define PLATFORM_PORT_FW_CFG_SIZE 12
#define PLATFORM_PORT_PCI_ADDRESS 0xcf8
#define PLATFORM_PORT_PCI_DATA 0xcfc
/* Inside PLATFORM_PORT_PCI_ADDRESS's four bytes: that register answers only to doubleword accesses,
 * so the host bridge hands byte accesses at this port to the reset control register. */
#define PLATFORM_PORT_RESET_CONTROL 0xcf9
#define PLATFORM_PORT_PCI_IO 0xc000 /* I/O BARs */
#define PLATFORM_PORT_PCI_IO_SIZE 0x4000

/* ---- ACPI fixed hardware: what the FADT and the DSDT state ---- */

#define PLATFORM_PM_BASE 0x600
#define PLATFORM_PM1A_EVENT (PLATFORM_PM_BASE + 0x00) /* status word, enable word */
#define PLATFORM_PM1A_EVENT_SIZE 4
#define PLATFORM_PM1A_CONTROL (PLATFORM_PM_BASE + 0x04)
#define PLATFORM_PM1A_CONTROL_SIZE 2
#define PLATFORM_PM_TIMER (PLATFORM_PM_BASE + 0x08)
#define PLATFORM_PM_TIMER_SIZE 4
#define PLATFORM_GPE0 (PLATFORM_PM_BASE + 0x20) /* two status bytes, two enable bytes */
#define PLATFORM_GPE0_SIZE 4
#define PLATFORM_PM_SIZE 0x24 /* all of it, as one range of ports */
#define PLATFORM_PM_TIMER_HZ 3579545u

#define PLATFORM_PORT_SMI_COMMAND 0xb2 /* and the status byte beside it */
#define PLATFORM_PORT_SMI_SIZE 2
#define PLATFORM_SMI_ACPI_ENABLE 0xa1
#define PLATFORM_SMI_ACPI_DISABLE 0xa0

#define PLATFORM_RESET_VALUE 0x06 /* FADT RESET_VALUE, for PLATFORM_PORT_RESET_CONTROL */
#define PLATFORM_SLP_TYP_S5 0     /* \_S5 in the DSDT: as on QEMU's machines */

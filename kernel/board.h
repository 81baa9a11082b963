/*
 * The motherboard of a guest: one instance of every device model, wired together and put on the
 * VM's bus. Everything here runs with the VM's device lock held, unless it says otherwise.
 */
#pragma once

#include "drivers/model/acpi_pm.h"
#include "drivers/model/apic_fabric.h"
#include "drivers/model/block_memory.h"
#include "drivers/model/flash.h"
#include "drivers/model/i8042.h"
#include "drivers/model/ioapic.h"
#include "drivers/model/irq_router.h"
#include "drivers/model/lapic.h"
#include "drivers/model/loopback.h"
#include "drivers/model/pc_chipset.h"
#include "drivers/model/pci_bus.h"
#include "drivers/model/pic.h"
#include "drivers/model/pit.h"
#include "drivers/model/rtc.h"
#include "drivers/model/uart.h"
#include "drivers/model/virtio_blk.h"
#include "drivers/model/virtio_console.h"
#include "drivers/model/virtio_rng.h"
#include "kernel/board_qemu.h"
#include "kernel/console/mux.h"
#include "kernel/vm/config.h"
#include "kernel/vm/vm.h"

/* PCI slots: where the DSDT's routing table and a user's lspci find them. */
#define BOARD_SLOT_RNG 1
#define BOARD_SLOT_RNG_PC 15 /* where device 1 is a PC's chipset */
#define BOARD_SLOT_CONSOLE 2
#define BOARD_SLOT_DISKS 3

/* Bytes that an hvc's `loop` holds. A kernel's virtio console driver waits for each write with
 * interrupts off, so that what is full must not hold it up: it would never come to read. */
#define BOARD_LOOP_SIZE MIB(1)

/* One vCPU's interrupt controller, and the way back from it. */
struct board_cpu {
    struct lapic lapic;
    struct vcpu *vcpu;
    struct board *board;
    bool has_page; /* the xAPIC page is on the bus, at page */
    uint64_t page;
};

struct board_disk {
    struct virtio_blk blk;
    struct block_memory memory;
};

struct board_loop {
    struct loopback loopback;
    struct byte_stream stream; /* the loopback's own end */
    bool is_lossy;             /* bytes have been dropped */
    struct board *board;
};

struct board {
    struct vm *vm;
    struct mux_guest *terminal;
    struct byte_sink said; /* what the guest says, on its way to the terminal */
    struct apic_fabric fabric;
    struct board_cpu cpu[VM_VCPUS_MAX];
    struct ioapic ioapic;
    struct pic pic;
    struct irq_router router;
    struct pit pit;
    struct rtc rtc;
    struct acpi_pm pm;
    struct i8042 i8042;
    struct uart com1;
    struct board_qemu qemu;
    struct pci_bus pci;
    struct pc_chipset chipset; /* only with firmware, as the next */
    struct flash flash;
    struct virtio_rng rng;
    struct virtio_console console;
    struct board_disk disk[CONFIG_DISKS_MAX];
    struct board_loop loop[CONFIG_HVCS_MAX];
    unsigned disks;
    bool has_rng;
    bool has_console;
};

/* What the composition gives a board. */
struct board_config {
    const struct config_vm *vm;
    struct byte_sink said;   /* where what it says goes: to the terminal, sooner or later */
    const char *config_name; /* the configuration's file, for messages */
    uint64_t wall_seconds;   /* Unix time, 0: unknown */
    uint64_t timer_hz;       /* of the local APIC's timer, as CPUID.15H says */
    bool x2apic;
    unsigned physical_bits;
    uint8_t *disk[CONFIG_DISKS_MAX]; /* the images, in memory that the board may write */
    uint64_t disk_size[CONFIG_DISKS_MAX];
    struct byte_stream hvc[CONFIG_HVCS_MAX]; /* the peers of the ports that are not `loop` */
    uint8_t *loop_ring[CONFIG_HVCS_MAX];     /* BOARD_LOOP_SIZE bytes for each that is */
    uint64_t flash_size;                     /* of firmware, from its start; the rest is a ROM */
    uint8_t *testdev_memory;                 /* PC_TESTDEV_MEMORY_SIZE bytes, with pc-testdev */
    struct entropy_source entropy;           /* fill == NULL: none, and no entropy device */
};

/* Builds every device of *board (zeroed) for vm, whose clock, memory and vCPUs are there. On an
 * error *what names the device. */
enum status MUST_CHECK board_init(struct board *board, struct vm *vm, struct mux_guest *terminal,
                                  const struct board_config *config, const char **what);

/* The reset button: every device as after power-on, disks keep what was written. */
void board_reset(struct board *board);

/* Puts BOARD_LOOP_SIZE bytes behind a port of the virtio console that is a `loop`. */
void board_connect_loop(struct board *board, unsigned port, uint8_t *ring);

/* Goes on with work that a device put off, and with what the terminal takes and gives. */
void board_continue(void *board);

/* Has the guest's vCPU 0 call board_continue, since the terminal has input or takes output again.
 * Takes no lock. */
void board_terminal_ready(void *board);

/* The vCPU's view of its local APIC. */
extern const struct interrupt_controller_ops board_interrupt_controller;

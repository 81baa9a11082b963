/*
 * QEMU's pc-testdev, by which test kernels (kvm-unit-tests among them) reach what a PC's devices
 * seldom do: a register in I/O space that gives back what it is given, in accesses of every width;
 * every interrupt line; memory that is a device's; and a port that takes a page's translation away.
 *
 * Locking: the caller holds the VM's device lock.
 */
#pragma once

#include "kernel/vm/bus.h"
#include "kernel/vm/irq_line.h"

#define PC_TESTDEV_ECHO 0xe0       /* four bytes */
#define PC_TESTDEV_FLUSH 0xe4      /* a doubleword: the address of a page */
#define PC_TESTDEV_ECHO_BYTES 0xe8 /* the register at PC_TESTDEV_ECHO once more */
#define PC_TESTDEV_LINES 0x2000    /* one port for each interrupt line */
#define PC_TESTDEV_LINE_COUNT 24
#define PC_TESTDEV_MEMORY 0xff000000ull
#define PC_TESTDEV_MEMORY_SIZE 0x10000u

struct pc_testdev {
    uint8_t echo[4];
    uint8_t *memory; /* PC_TESTDEV_MEMORY_SIZE bytes */
    struct irq_line line[PC_TESTDEV_LINE_COUNT];
};

/* Claims all of it, but of PC_TESTDEV_ECHO_BYTES only what no device has; device->memory and the
 * lines are there. Errors of bus_add. */
enum status MUST_CHECK pc_testdev_attach(struct pc_testdev *device, struct bus *bus);

/* As after power-on: zeros, and no line is asserted. */
void pc_testdev_reset(struct pc_testdev *device);

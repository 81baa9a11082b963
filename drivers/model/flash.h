/*
 * The chip that a PC's firmware is in: memory that is read and executed as such, and whose writes
 * come here. A ROM ignores them. A flash takes the commands of Intel's basic command set that
 * firmware keeps its variables with, as QEMU's does: program a byte, erase a block of 4 KiB, read
 * and clear the status, read the array. The status is read at the address of the command only,
 * since the array stays readable at every other; there is no query and no identification.
 *
 * Locking: the caller holds the VM's device lock.
 */
#pragma once

#include "kernel/vm/bus.h"
#include "kernel/vm/guest_mem.h"

#define FLASH_BLOCK 4096u

#define FLASH_STATUS_READY 0x80

enum flash_state { FLASH_READS, FLASH_PROGRAMS, FLASH_ERASES };

struct flash {
    const struct guest_mem *mem; /* the array lies there */
    uint64_t base, size;
    uint64_t writable;      /* bytes from base on; 0: a ROM */
    enum flash_state state; /* what the next write is for */
    uint8_t status;
    bool shows_status; /* at status_at, in place of hidden */
    uint64_t status_at;
    uint8_t hidden;
};

/* Claims the writes to [base, base + size), where mem has memory while the guest runs; the first
 * `writable` bytes, whole blocks, take commands. Errors of bus_add. */
enum status MUST_CHECK flash_attach(struct flash *flash, struct bus *bus,
                                    const struct guest_mem *mem, uint64_t base, uint64_t size,
                                    uint64_t writable);

/* The array is readable, and keeps what it holds. */
void flash_reset(struct flash *flash);

/*
 * Just enough of a driver for a virtio block device: one request at a time, and no interrupts.
 * Virtual I/O Device (VIRTIO) 1.2: Virtio Over PCI Bus, Split Virtqueues, Block Device.
 */
#pragma once

#include "tests/guests/lib/guest.h"

#define SECTOR_SIZE 512u

/* Request types, and what a request ends with. */
#define BLK_IN 0u
#define BLK_OUT 1u
#define BLK_FLUSH 4u
#define BLK_GET_ID 8u
#define BLK_DISCARD 11u
#define BLK_WRITE_ZEROES 13u
#define BLK_OK 0u
#define BLK_IOERR 1u
#define BLK_UNSUPP 2u
#define BLK_NO_ANSWER 0xffu

/* Features. */
#define BLK_F_RO BIT(5)
#define BLK_F_DISCARD BIT(13)
#define BLK_F_WRITE_ZEROES BIT(14)

struct blk_range {
    uint64_t sector;
    uint32_t sectors;
    uint32_t flags; /* 1: unmap */
};

/* Finds the device and brings it to DRIVER_OK with all of features that it offers; false: there is
 * none, or it refuses. */
bool blk_start(uint64_t features);

/* Makes the queue one that no driver can mean; true: the device asks for a reset, and says no more.
 */
bool blk_break(void);

uint64_t blk_features(void); /* what it offers */
uint64_t blk_capacity(void); /* in sectors */

/* Carries one request out; data, of length bytes, is written by the device if type says so. Returns
 * the status byte, BLK_NO_ANSWER where the device has not answered. */
uint8_t blk_request(uint32_t type, uint64_t sector, void *data, uint32_t length);

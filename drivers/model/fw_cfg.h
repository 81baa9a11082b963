/*
 * QEMU's firmware configuration device: numbered items and named files, read byte by byte at a
 * port or by DMA. QEMU: docs/specs/fw_cfg. Nothing can be written.
 *
 * A DMA of more than FW_CFG_SLICE bytes goes on in fw_cfg_continue: until its control field is 0,
 * which is what drivers wait for, the device answers to nothing else.
 *
 * Locking: the caller holds the VM's device lock.
 */
#pragma once

#include "kernel/vm/bus.h"
#include "kernel/vm/guest_mem.h"
#include "kernel/vm/platform.h"

/* From PLATFORM_PORT_FW_CFG on: selector, data port behind it, and the DMA's address register. */
#define FW_CFG_DMA 4

/* Keys. QEMU: standard-headers/linux/qemu_fw_cfg.h, hw/i386/fw_cfg.h */
enum fw_cfg_key {
    FW_CFG_SIGNATURE = 0x00,
    FW_CFG_ID = 0x01,
    FW_CFG_UUID = 0x02,
    FW_CFG_RAM_SIZE = 0x03,
    FW_CFG_NOGRAPHIC = 0x04,
    FW_CFG_NB_CPUS = 0x05,
    FW_CFG_KERNEL_ADDR = 0x07,
    FW_CFG_KERNEL_SIZE = 0x08,
    FW_CFG_INITRD_ADDR = 0x0a,
    FW_CFG_INITRD_SIZE = 0x0b,
    FW_CFG_NUMA = 0x0d,
    FW_CFG_BOOT_MENU = 0x0e,
    FW_CFG_MAX_CPUS = 0x0f,
    FW_CFG_KERNEL_DATA = 0x11,
    FW_CFG_INITRD_DATA = 0x12,
    FW_CFG_CMDLINE_ADDR = 0x13,
    FW_CFG_CMDLINE_SIZE = 0x14,
    FW_CFG_CMDLINE_DATA = 0x15,
    FW_CFG_SETUP_ADDR = 0x16,
    FW_CFG_SETUP_SIZE = 0x17,
    FW_CFG_SETUP_DATA = 0x18,
    FW_CFG_FILE_DIR = 0x19,
    FW_CFG_FILE_FIRST = 0x20,
    FW_CFG_IRQ0_OVERRIDE = 0x8002,
};

#define FW_CFG_NAME_MAX 56 /* with the NUL */
#define FW_CFG_FILES_MAX 32
#define FW_CFG_ITEMS_MAX (FW_CFG_FILES_MAX + 28)
#define FW_CFG_SLICE MIB(1)

struct fw_cfg_item {
    uint16_t key;
    uint32_t size;
    const uint8_t *at;
    uint8_t number[8]; /* at, of what is a number */
};

struct fw_cfg {
    const struct guest_mem *mem;
    void (*more_work)(void *context); /* asks for a call of fw_cfg_continue */
    void *context;
    struct fw_cfg_item item[FW_CFG_ITEMS_MAX];
    unsigned items;
    unsigned files;
    uint8_t directory[4 + 64 * FW_CFG_FILES_MAX];
    const struct fw_cfg_item *selected; /* NULL: no such item, which reads as zeros */
    uint64_t offset;
    uint64_t address; /* the DMA's register */
    struct {
        bool runs;
        bool copies; /* else it skips */
        uint64_t control;
        uint64_t to, left;
    } dma;
};

/* Starts the device, with its signature and features and no other item. */
void fw_cfg_init(struct fw_cfg *fw_cfg, const struct guest_mem *mem,
                 void (*more_work)(void *context), void *context);

/* Items of bytes, which the caller keeps, and of little-endian numbers of size bytes, 1 to 8.
 * ERR_NO_SPACE: FW_CFG_ITEMS_MAX are there; ERR_RANGE: 4 GiB or more. */
enum status MUST_CHECK fw_cfg_add(struct fw_cfg *fw_cfg, uint16_t key, const void *at,
                                  uint64_t size);
enum status MUST_CHECK fw_cfg_add_number(struct fw_cfg *fw_cfg, uint16_t key, uint64_t value,
                                         unsigned size);

/* A file of the directory. ERR_INVALID: no name of 1 to FW_CFG_NAME_MAX - 1 bytes; ERR_EXISTS;
 * ERR_NO_SPACE: FW_CFG_FILES_MAX; and as above. */
enum status MUST_CHECK fw_cfg_add_file(struct fw_cfg *fw_cfg, const char *name, const void *at,
                                       uint64_t size);

/* Claims its ports. Errors of bus_add. */
enum status MUST_CHECK fw_cfg_attach(struct fw_cfg *fw_cfg, struct bus *bus);

/* Goes on with a DMA. */
void fw_cfg_continue(struct fw_cfg *fw_cfg);

/* As after power-on; items stay. */
void fw_cfg_reset(struct fw_cfg *fw_cfg);

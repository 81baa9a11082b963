/* The header of a Linux image. The Linux/x86 Boot Protocol: The Real-Mode Kernel Header. */
#pragma once

#include "kernel/core/bits.h"
#include "kernel/vm/load_common.h"

/* Offsets in the image, and in the zero page too. The Linux/x86 Boot Protocol: The Real-Mode Kernel
 * Header; Zero Page. */
enum {
    SETUP_CL_MAGIC = 0x020,
    SETUP_CL_OFFSET = 0x022,
    ZP_ACPI_RSDP_ADDR = 0x070,
    ZP_EXT_RAMDISK_IMAGE = 0x0c0,
    ZP_EXT_RAMDISK_SIZE = 0x0c4,
    ZP_E820_ENTRIES = 0x1e8,
    HDR_SETUP_SECTS = 0x1f1,
    HDR_SYSSIZE = 0x1f4,
    HDR_VID_MODE = 0x1fa,
    HDR_BOOT_FLAG = 0x1fe,
    HDR_JUMP = 0x200,
    HDR_HEADER = 0x202,
    HDR_VERSION = 0x206,
    HDR_TYPE_OF_LOADER = 0x210,
    HDR_LOADFLAGS = 0x211,
    HDR_CODE32_START = 0x214,
    HDR_RAMDISK_IMAGE = 0x218,
    HDR_RAMDISK_SIZE = 0x21c,
    HDR_HEAP_END_PTR = 0x224,
    HDR_CMD_LINE_PTR = 0x228,
    HDR_INITRD_ADDR_MAX = 0x22c,
    HDR_KERNEL_ALIGNMENT = 0x230,
    HDR_RELOCATABLE_KERNEL = 0x234,
    HDR_XLOADFLAGS = 0x236,
    HDR_CMDLINE_SIZE = 0x238,
    HDR_PREF_ADDRESS = 0x258,
    HDR_INIT_SIZE = 0x260,
    HDR_END = 0x264, /* of what protocol 2.12 has */
    ZP_HEADER_END = 0x290,
    ZP_E820_TABLE = 0x2d0,
    ZP_SIZE = 0x1000,
};

#define LINUX_VERSION(minor) (0x200u | (minor))
#define LOADFLAGS_LOADED_HIGH BIT(0)
#define LOADFLAGS_CAN_USE_HEAP BIT(7)
#define SECTOR 512
#define CL_MAGIC 0xa33f
#define SETUP_BYTES_MAX KIB(32)
#define HEAP_END_BIAS 0x200 /* of the address in the header */

/* The image's header, read once. */
struct linux_header {
    unsigned version;
    unsigned entry;        /* 16, 32, 64 */
    uint64_t setup_bytes;  /* of the real-mode part, boot sector included */
    uint64_t system_bytes; /* of what runs in protected mode */
    uint64_t alignment;
    uint64_t preferred;
    uint64_t room; /* that the kernel needs from its first byte until it can read the E820 map */
    uint64_t initrd_end;
    uint32_t cmdline_size; /* without the NUL */
    bool relocatable;
    bool is_high;
    bool above_4g;
};

/* Reads the header of the request's kernel, and checks it against the file, the command line and
 * the entry that is asked for; sets the error. */
enum status MUST_CHECK load_linux_read_header(struct loader *loader, struct linux_header *header);

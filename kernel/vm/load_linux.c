/*
 * The order in memory: for the 32- and the 64-bit entry, below 640 KiB the zero page (struct
 * boot_params), the command line, a GDT and page tables; for the 16-bit entry, a segment with the
 * kernel's setup, its heap and the command line; the kernel at the address that it prefers with all
 * the room that it asks for; the initrd as high as it may be.
 */
#include "kernel/vm/load_linux.h"

#include "kernel/core/bits.h"
#include "kernel/vm/load_bios.h"
#include "kernel/vm/load_entry.h"

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

#define BOOT_FLAG 0xaa55
#define HEADER_MAGIC 0x53726448 /* "HdrS" */
#define VERSION(minor) (0x200u | (minor))
#define LOADFLAGS_LOADED_HIGH BIT(0)
#define LOADFLAGS_CAN_USE_HEAP BIT(7)
#define XLF_KERNEL_64 BIT(0)
#define XLF_CAN_BE_LOADED_ABOVE_4G BIT(1)
#define LOADER_UNDEFINED 0xff
#define VID_MODE_NORMAL 0xffff
#define CL_MAGIC 0xa33f
#define SETUP_SECTS_DEFAULT 4
#define SETUP_BYTES_MAX KIB(32)
#define SECTOR 512
#define PARAGRAPH 16
#define ENTRY_64 0x200
#define CMDLINE_SIZE_DEFAULT 255
#define INITRD_END_DEFAULT 0x38000000
#define LOW_KERNEL 0x10000 /* where a zImage lies */

/* The segment of the setup, by protocol; the heap and the stack end where the command line begins.
 */
#define SETUP_RECENT 0x10000
#define SETUP_ANCIENT 0x90000
#define HEAP_END_RECENT 0xe000
#define HEAP_END_ANCIENT 0x9800
#define HEAP_END_BIAS 0x200

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

/* Where everything lies, guest-physical. */
struct linux_layout {
    uint64_t kernel, cmdline, initrd, zero_page;
};

bool load_linux_recognises(struct loader *loader)
{
    const struct load_file *kernel = &loader->request->kernel;
    return kernel->size >= HDR_VERSION && load_get(kernel->at + HDR_BOOT_FLAG, 2) == BOOT_FLAG &&
           load_get(kernel->at + HDR_HEADER, 4) == HEADER_MAGIC;
}

/* ---- The header ---- */

/* The entry that is asked for, or the widest that is known to work. A header of 2.12 names the
 * 64-bit one; an address of 0 says that there is no 32-bit one, which a zImage cannot be entered
 * by. What has an old header may be a boot loader in a kernel's clothes, which knows nothing but
 * real mode. */
static enum status choose_entry(const struct loader *loader, struct linux_header *header)
{
    const struct load_file *kernel = &loader->request->kernel;
    unsigned wanted = loader->request->entry;
    bool has_64 =
        header->version >= VERSION(12) && load_get(kernel->at + HDR_XLOADFLAGS, 2) & XLF_KERNEL_64;
    bool has_32 = header->is_high && load_get(kernel->at + HDR_CODE32_START, 4) != 0;
    if ((wanted == 64 && !has_64) || (wanted == 32 && !has_32))
        return load_fail(loader, ERR_UNSUPPORTED, kernel,
                         "has no %u-bit entry point (its Linux boot protocol is %u.%02u)", wanted,
                         header->version >> 8, header->version & 0xff);
    bool prefers_32 = has_32 && header->version >= VERSION(10);
    header->entry = wanted != 0 ? wanted : has_64 ? 64 : prefers_32 ? 32 : 16;
    return STATUS_OK;
}

static enum status check_form(struct loader *loader, struct linux_header *header)
{
    const struct load_file *kernel = &loader->request->kernel;
    if (!load_linux_recognises(loader))
        return load_fail(loader, ERR_INVALID, kernel, "no Linux kernel: it has no setup header");
    if (kernel->size < HDR_END)
        return load_fail(loader, ERR_TRUNCATED, kernel,
                         "truncated: %llu bytes are less than a Linux kernel's header",
                         (unsigned long long)kernel->size);
    header->version = (unsigned)load_get(kernel->at + HDR_VERSION, 2);
    header->is_high = kernel->at[HDR_LOADFLAGS] & LOADFLAGS_LOADED_HIGH;
    if (header->version < VERSION(0))
        return load_fail(loader, ERR_UNSUPPORTED, kernel,
                         "its Linux boot protocol is %u.%02u, and 2.00 is needed (Linux 1.3.73)",
                         header->version >> 8, header->version & 0xff);
    return choose_entry(loader, header);
}

/* The file may go on behind the kernel (a signature), and may end in the middle of the last
 * paragraph. Before 2.04 the size in the header has 16 bits, too few for what is loaded high. */
static enum status read_sizes(const struct loader *loader, struct linux_header *header)
{
    const struct load_file *kernel = &loader->request->kernel;
    uint64_t sectors = kernel->at[HDR_SETUP_SECTS];
    header->setup_bytes = ((sectors != 0 ? sectors : SETUP_SECTS_DEFAULT) + 1) * SECTOR;
    header->system_bytes =
        load_get(kernel->at + HDR_SYSSIZE, header->version < VERSION(4) ? 2 : 4) * PARAGRAPH;
    if (header->version < VERSION(4) && header->is_high && kernel->size > header->setup_bytes)
        header->system_bytes = kernel->size - header->setup_bytes;
    uint64_t needed = header->setup_bytes + header->system_bytes;
    if (header->system_bytes == 0)
        return load_fail(loader, ERR_INVALID, kernel,
                         "malformed: its header says that there is no kernel behind it");
    if (kernel->size + PARAGRAPH <= needed || kernel->size <= header->setup_bytes)
        return load_fail(loader, ERR_TRUNCATED, kernel,
                         "truncated: %llu bytes, and its header says %llu",
                         (unsigned long long)kernel->size, (unsigned long long)needed);
    if (kernel->size < needed)
        header->system_bytes = kernel->size - header->setup_bytes;
    return STATUS_OK;
}

/* The fields that came with later protocols, or what held before. */
static void read_fields(const uint8_t *image, struct linux_header *header)
{
    unsigned version = header->version;
    header->preferred = header->is_high ? MIB(1) : LOW_KERNEL;
    header->initrd_end = INITRD_END_DEFAULT;
    header->cmdline_size = CMDLINE_SIZE_DEFAULT;
    if (version >= VERSION(3))
        header->initrd_end = load_get(image + HDR_INITRD_ADDR_MAX, 4) + 1;
    if (version >= VERSION(5) && header->is_high) {
        header->relocatable = image[HDR_RELOCATABLE_KERNEL] != 0;
        header->alignment = load_get(image + HDR_KERNEL_ALIGNMENT, 4);
    }
    if (version >= VERSION(6) && load_get(image + HDR_CMDLINE_SIZE, 4) != 0)
        header->cmdline_size = (uint32_t)load_get(image + HDR_CMDLINE_SIZE, 4);
    if (version >= VERSION(10) && header->is_high) {
        header->preferred = load_get(image + HDR_PREF_ADDRESS, 8);
        header->room = load_get(image + HDR_INIT_SIZE, 4);
    }
    if (version >= VERSION(12))
        header->above_4g =
            load_get(image + HDR_XLOADFLAGS, 2) & XLF_CAN_BE_LOADED_ABOVE_4G && header->entry == 64;
    if (header->room < header->system_bytes)
        header->room = header->system_bytes;
}

static enum status read_header(struct loader *loader, struct linux_header *header)
{
    const struct load_request *request = loader->request;
    *header = (struct linux_header){0};
    if (request->modules != 0)
        return load_fail(loader, ERR_UNSUPPORTED, &request->module[0],
                         "a Linux kernel takes no modules; name the file as `initrd`");
    enum status status = check_form(loader, header);
    if (status == STATUS_OK)
        status = read_sizes(loader, header);
    if (status != STATUS_OK)
        return status;
    read_fields(request->kernel.at, header);
    if (header->relocatable &&
        (header->alignment == 0 || (header->alignment & (header->alignment - 1)) != 0))
        return load_fail(loader, ERR_INVALID, &request->kernel,
                         "malformed: its alignment 0x%llx is no power of two",
                         (unsigned long long)header->alignment);
    if (strlen(request->cmdline) > header->cmdline_size)
        return load_fail(loader, ERR_NO_SPACE, &request->kernel,
                         "the command line has %zu bytes, and this kernel takes %u",
                         strlen(request->cmdline), header->cmdline_size);
    return STATUS_OK;
}

/* ---- Placing ---- */

/* A relocatable kernel that is loaded lower than it prefers moves itself up all the same: so it is
 * placed there or higher. */
static enum status place_kernel(struct loader *loader, const struct linux_header *header,
                                uint64_t *base)
{
    const struct load_request *request = loader->request;
    enum status status = ERR_NO_SPACE;
    if (!header->relocatable && header->preferred < LOAD_4G) {
        *base = header->preferred;
        status = load_claim(loader, *base, header->room);
    } else if (header->relocatable) {
        uint64_t lowest = header->preferred > MIB(1) ? header->preferred : MIB(1);
        status = load_claim_lowest(loader, header->room, header->alignment, lowest, LOAD_4G, base);
    }
    if (status != STATUS_OK)
        return load_fail(loader, ERR_NO_SPACE, &request->kernel,
                         "needs %llu MiB at 0x%llx or higher, and the guest has %llu MiB below "
                         "4 GiB: raise `memory`",
                         (unsigned long long)((header->room + MIB(1) - 1) >> 20),
                         (unsigned long long)header->preferred,
                         (unsigned long long)(request->map->ram_below_4g >> 20));
    return load_add(loader, *base, request->kernel.at + header->setup_bytes, header->system_bytes);
}

static enum status place_initrd(struct loader *loader, const struct linux_header *header,
                                uint64_t *base)
{
    const struct load_file *initrd = &loader->request->initrd;
    if (initrd->at == NULL)
        return STATUS_OK;
    enum status status =
        load_claim_highest(loader, initrd->size, PAGE_SIZE, MIB(1), header->initrd_end, base);
    if (status == STATUS_OK)
        return load_add(loader, *base, initrd->at, initrd->size);
    return load_place_module(loader, initrd, 0, header->above_4g ? UINT64_MAX : header->initrd_end,
                             base);
}

/* ---- What the kernel is handed ---- */

/* What a loader fills into the header, in the setup or in the zero page. */
static void fill_header(const struct load_request *request, const struct linux_layout *layout,
                        uint8_t *header)
{
    load_put(header + HDR_TYPE_OF_LOADER, LOADER_UNDEFINED, 1);
    load_put(header + HDR_VID_MODE, VID_MODE_NORMAL, 2);
    load_put(header + HDR_RAMDISK_IMAGE, layout->initrd, 4);
    load_put(header + HDR_RAMDISK_SIZE, request->initrd.at != NULL ? request->initrd.size : 0, 4);
}

/* The image's header, as much of it as it says that there is. */
static void copy_header(const struct load_request *request, uint8_t *page)
{
    uint64_t end = HDR_HEADER + (uint64_t)request->kernel.at[HDR_JUMP + 1];
    end = end > ZP_HEADER_END ? ZP_HEADER_END : end;
    end = end < request->kernel.size ? end : request->kernel.size;
    memcpy(page + HDR_SETUP_SECTS, request->kernel.at + HDR_SETUP_SECTS, end - HDR_SETUP_SECTS);
}

static enum status make_zero_page(struct loader *loader, struct linux_layout *layout)
{
    const struct load_request *request = loader->request;
    uint8_t *page = load_make_low(loader, ZP_SIZE, PAGE_SIZE, &layout->zero_page);
    if (page == NULL)
        return ERR_NO_SPACE;
    uint64_t initrd_size = request->initrd.at != NULL ? request->initrd.size : 0;
    copy_header(request, page);
    fill_header(request, layout, page);
    load_put(page + HDR_CODE32_START, layout->kernel, 4);
    load_put(page + HDR_CMD_LINE_PTR, layout->cmdline, 4);
    load_put(page + ZP_EXT_RAMDISK_IMAGE, layout->initrd >> 32, 4);
    load_put(page + ZP_EXT_RAMDISK_SIZE, initrd_size >> 32, 4);
    load_put(page + ZP_ACPI_RSDP_ADDR, GUEST_MAP_ACPI_BASE, 8);
    struct guest_map_e820 e820[GUEST_MAP_ENTRIES_MAX];
    unsigned count = guest_map_e820(request->map, e820);
    page[ZP_E820_ENTRIES] = (uint8_t)count;
    memcpy(page + ZP_E820_TABLE, e820, count * sizeof(e820[0]));
    return STATUS_OK;
}

/* The Linux/x86 Boot Protocol: 32-bit Boot Protocol, 64-bit Boot Protocol. */
static enum status enter_protected(struct loader *loader, const struct linux_header *header,
                                   struct linux_layout *layout)
{
    enum status status = load_string(loader, NULL, load_cmdline(loader), &layout->cmdline);
    if (status == STATUS_OK)
        status = make_zero_page(loader, layout);
    if (status != STATUS_OK)
        return status;
    if (header->entry == 64) {
        status = load_entry_64(loader, layout->kernel + ENTRY_64);
    } else {
        load_entry_32(loader, layout->kernel);
        status = load_gdt(loader, false);
    }
    loader->plan->entry.gpr[GPR_RSI] = layout->zero_page;
    return status;
}

/* The Linux/x86 Boot Protocol: Loading The Rest of The Kernel; The Kernel Command Line; Running the
 * Kernel. */
static enum status enter_real(struct loader *loader, const struct linux_header *header,
                              const struct linux_layout *layout)
{
    const struct load_request *request = loader->request;
    bool is_recent = header->is_high && header->version >= VERSION(2);
    uint64_t base = is_recent ? SETUP_RECENT : SETUP_ANCIENT;
    uint16_t heap_end = is_recent ? HEAP_END_RECENT : HEAP_END_ANCIENT;
    uint64_t cmdline = strlen(request->cmdline) + 1;
    if (header->setup_bytes > SETUP_BYTES_MAX)
        return load_fail(loader, ERR_UNSUPPORTED, &request->kernel,
                         "its setup of %llu KiB is larger than 32 KiB",
                         (unsigned long long)(header->setup_bytes >> 10));
    uint8_t *setup = load_make(loader, header->setup_bytes);
    char *text = load_make(loader, cmdline);
    if (setup == NULL || text == NULL || load_claim(loader, base, heap_end + cmdline) != STATUS_OK)
        return ERR_NO_SPACE;
    memcpy(setup, request->kernel.at, header->setup_bytes);
    memcpy(text, request->cmdline, cmdline);
    fill_header(request, layout, setup);
    if (header->version >= VERSION(1)) {
        setup[HDR_LOADFLAGS] |= (uint8_t)LOADFLAGS_CAN_USE_HEAP;
        load_put(setup + HDR_HEAP_END_PTR, heap_end - HEAP_END_BIAS, 2);
    }
    if (header->version >= VERSION(2)) {
        load_put(setup + HDR_CMD_LINE_PTR, base + heap_end, 4);
    } else {
        load_put(setup + SETUP_CL_MAGIC, CL_MAGIC, 2);
        load_put(setup + SETUP_CL_OFFSET, heap_end, 2);
    }
    if (layout->kernel > MIB(1))
        load_put(setup + HDR_CODE32_START, layout->kernel, 4);
    uint16_t data = (uint16_t)(base >> 4);
    load_entry_16(loader, data + (SECTOR >> 4), 0, data, heap_end);
    enum status status = load_bios_enter(loader);
    if (status == STATUS_OK)
        status = load_add(loader, base, setup, header->setup_bytes);
    return status == STATUS_OK ? load_add(loader, base + heap_end, text, cmdline) : status;
}

enum status load_linux(struct loader *loader)
{
    struct linux_header header;
    struct linux_layout layout = {0};
    enum status status = read_header(loader, &header);
    if (status == STATUS_OK)
        status = place_kernel(loader, &header, &layout.kernel);
    if (status == STATUS_OK)
        status = place_initrd(loader, &header, &layout.initrd);
    if (status == STATUS_OK)
        status = header.entry == 16 ? enter_real(loader, &header, &layout)
                                    : enter_protected(loader, &header, &layout);
    return status;
}

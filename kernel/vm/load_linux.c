/*
 * The order in memory: below 640 KiB the zero page (struct boot_params), the command line, a GDT
 * and page tables that map the low 4 GiB onto themselves; the kernel at the address that it prefers
 * with all the room that it asks for; the initrd as high as it may be.
 */
#include "kernel/vm/load_linux.h"

#include "kernel/core/bits.h"
#include "kernel/vm/load_common.h"

/* Offsets in the image, and in the zero page too. The Linux/x86 Boot Protocol: The Real-Mode Kernel
 * Header; Zero Page. */
enum {
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
#define VERSION_2_12 0x020c
#define LOADFLAGS_LOADED_HIGH BIT(0)
#define XLF_KERNEL_64 BIT(0)
#define XLF_CAN_BE_LOADED_ABOVE_4G BIT(1)
#define LOADER_UNDEFINED 0xff
#define VID_MODE_NORMAL 0xffff
#define SETUP_SECTS_DEFAULT 4
#define SECTOR 512
#define PARAGRAPH 16
#define ENTRY_64 0x200
#define CMDLINE_SIZE_DEFAULT 255

#define BOOT_CS 0x10
#define BOOT_DS 0x18
#define GDT_ENTRIES 4

#define PTE_PRESENT_WRITE 0x3ull
#define PTE_LARGE BIT(7)
#define TABLE_ENTRIES 512
#define IDENTITY_GIB 4
#define TABLE_PAGES (2 + IDENTITY_GIB) /* one PML4, one PDPT, a page directory for each GiB */

/* The image's header, read once. */
struct linux_header {
    uint64_t setup_bytes;  /* of the real-mode part, boot sector included */
    uint64_t system_bytes; /* of what runs in protected mode */
    uint64_t alignment;
    uint64_t preferred;
    uint64_t room; /* that the kernel needs from its first byte until it can read the E820 map */
    uint64_t initrd_end;
    uint32_t cmdline_size; /* without the NUL */
    bool relocatable;
    bool above_4g;
};

/* Where everything lies, guest-physical. */
struct linux_layout {
    uint64_t kernel, cmdline, initrd, zero_page, tables, gdt;
};

bool load_linux_recognises(const uint8_t *image, uint64_t size)
{
    return size >= HDR_VERSION && load_get(image + HDR_BOOT_FLAG, 2) == BOOT_FLAG &&
           load_get(image + HDR_HEADER, 4) == HEADER_MAGIC;
}

/* ---- The header ---- */

static enum status check_form(const struct loader *loader)
{
    const struct load_request *request = loader->request;
    const uint8_t *image = request->kernel.at;
    if (request->kernel.size < HDR_END)
        return load_fail(loader, ERR_TRUNCATED, &request->kernel,
                         "truncated: %llu bytes are less than a Linux kernel's header",
                         (unsigned long long)request->kernel.size);
    unsigned version = (unsigned)load_get(image + HDR_VERSION, 2);
    if (version < VERSION_2_12)
        return load_fail(loader, ERR_UNSUPPORTED, &request->kernel,
                         "its Linux boot protocol is %u.%02u, and 2.12 is needed (Linux 3.8)",
                         version >> 8, version & 0xff);
    if (!(image[HDR_LOADFLAGS] & LOADFLAGS_LOADED_HIGH))
        return load_fail(loader, ERR_UNSUPPORTED, &request->kernel,
                         "a zImage; a bzImage is needed");
    if (!(load_get(image + HDR_XLOADFLAGS, 2) & XLF_KERNEL_64))
        return load_fail(loader, ERR_UNSUPPORTED, &request->kernel,
                         "has no 64-bit entry point; a 64-bit Linux kernel is needed");
    return STATUS_OK;
}

/* The file may go on behind the kernel (a signature), and may end in the middle of the last
 * paragraph. */
static enum status read_sizes(const struct loader *loader, struct linux_header *header)
{
    const struct load_request *request = loader->request;
    const uint8_t *image = request->kernel.at;
    uint64_t sectors = image[HDR_SETUP_SECTS];
    header->setup_bytes = ((sectors != 0 ? sectors : SETUP_SECTS_DEFAULT) + 1) * SECTOR;
    header->system_bytes = load_get(image + HDR_SYSSIZE, 4) * PARAGRAPH;
    uint64_t needed = header->setup_bytes + header->system_bytes;
    if (header->system_bytes == 0)
        return load_fail(loader, ERR_INVALID, &request->kernel,
                         "malformed: its header says that there is no kernel behind it");
    if (request->kernel.size + PARAGRAPH <= needed)
        return load_fail(loader, ERR_TRUNCATED, &request->kernel,
                         "truncated: %llu bytes, and its header says %llu",
                         (unsigned long long)request->kernel.size, (unsigned long long)needed);
    if (request->kernel.size < needed)
        header->system_bytes = request->kernel.size - header->setup_bytes;
    return STATUS_OK;
}

static enum status read_header(const struct loader *loader, struct linux_header *header)
{
    const struct load_request *request = loader->request;
    const uint8_t *image = request->kernel.at;
    enum status status = check_form(loader);
    if (status == STATUS_OK)
        status = read_sizes(loader, header);
    if (status != STATUS_OK)
        return status;
    header->alignment = load_get(image + HDR_KERNEL_ALIGNMENT, 4);
    header->preferred = load_get(image + HDR_PREF_ADDRESS, 8);
    header->room = load_get(image + HDR_INIT_SIZE, 4);
    if (header->room < header->system_bytes)
        header->room = header->system_bytes;
    header->initrd_end = load_get(image + HDR_INITRD_ADDR_MAX, 4) + 1;
    header->cmdline_size = (uint32_t)load_get(image + HDR_CMDLINE_SIZE, 4);
    if (header->cmdline_size == 0)
        header->cmdline_size = CMDLINE_SIZE_DEFAULT;
    header->relocatable = image[HDR_RELOCATABLE_KERNEL] != 0;
    header->above_4g = load_get(image + HDR_XLOADFLAGS, 2) & XLF_CAN_BE_LOADED_ABOVE_4G;
    if (header->alignment == 0 || (header->alignment & (header->alignment - 1)) != 0)
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
    const struct load_request *request = loader->request;
    const struct load_file *initrd = &request->initrd;
    if (initrd->at == NULL)
        return STATUS_OK;
    enum status status =
        load_claim_highest(loader, initrd->size, PAGE_SIZE, MIB(1), header->initrd_end, base);
    if (status != STATUS_OK && header->above_4g)
        status = load_claim_highest(loader, initrd->size, PAGE_SIZE, MIB(1), UINT64_MAX, base);
    if (status != STATUS_OK)
        return load_fail(
            loader, ERR_NO_SPACE, initrd,
            "the initrd of %llu KiB does not fit beside the kernel into %llu MiB: "
            "raise `memory`",
            (unsigned long long)((initrd->size + 1023) >> 10),
            (unsigned long long)((request->map->ram_below_4g + request->map->ram_above_4g) >> 20));
    return load_add(loader, *base, initrd->at, initrd->size);
}

/* ---- What the kernel is handed ---- */

/* The image's header, as much of it as it says that there is. */
static void copy_header(const struct load_request *request, uint8_t *page)
{
    uint64_t end = HDR_HEADER + (uint64_t)request->kernel.at[HDR_JUMP + 1];
    end = end < HDR_END ? HDR_END : end > ZP_HEADER_END ? ZP_HEADER_END : end;
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
    load_put(page + HDR_TYPE_OF_LOADER, LOADER_UNDEFINED, 1);
    load_put(page + HDR_VID_MODE, VID_MODE_NORMAL, 2);
    load_put(page + HDR_CODE32_START, layout->kernel, 4);
    load_put(page + HDR_CMD_LINE_PTR, layout->cmdline, 4);
    load_put(page + HDR_RAMDISK_IMAGE, layout->initrd, 4);
    load_put(page + HDR_RAMDISK_SIZE, initrd_size, 4);
    load_put(page + ZP_EXT_RAMDISK_IMAGE, layout->initrd >> 32, 4);
    load_put(page + ZP_EXT_RAMDISK_SIZE, initrd_size >> 32, 4);
    load_put(page + ZP_ACPI_RSDP_ADDR, GUEST_MAP_ACPI_BASE, 8);
    struct guest_map_e820 e820[GUEST_MAP_ENTRIES_MAX];
    unsigned count = guest_map_e820(request->map, e820);
    page[ZP_E820_ENTRIES] = (uint8_t)count;
    memcpy(page + ZP_E820_TABLE, e820, count * sizeof(e820[0]));
    return STATUS_OK;
}

/* Maps the low 4 GiB onto themselves, in 2 MiB pages, which every processor has. SDM: 4-Level
 * Paging. */
static enum status make_page_tables(struct loader *loader, uint64_t *pml4)
{
    enum status status = load_claim_highest(loader, TABLE_PAGES * PAGE_SIZE, PAGE_SIZE, PAGE_SIZE,
                                            LOAD_LOW_END, pml4);
    uint64_t pdpt = *pml4 + PAGE_SIZE, directories = pdpt + PAGE_SIZE;
    if (status == STATUS_OK)
        status = load_add_numbers(loader, *pml4, 1, pdpt | PTE_PRESENT_WRITE, 0);
    if (status == STATUS_OK)
        status = load_add_numbers(loader, pdpt, IDENTITY_GIB, directories | PTE_PRESENT_WRITE,
                                  PAGE_SIZE);
    if (status == STATUS_OK)
        status = load_add_numbers(loader, directories, IDENTITY_GIB * TABLE_ENTRIES,
                                  PTE_LARGE | PTE_PRESENT_WRITE, PAGE_SIZE_2M);
    return status;
}

/* SDM: Segment Descriptors: flat, 64-bit code and data. */
static enum status make_gdt(struct loader *loader, uint64_t *base)
{
    uint64_t *gdt = load_make_low(loader, GDT_ENTRIES * 8, 16, base);
    if (gdt == NULL)
        return ERR_NO_SPACE;
    gdt[BOOT_CS / 8] = 0x00af9b000000ffff;
    gdt[BOOT_DS / 8] = 0x00cf93000000ffff;
    return STATUS_OK;
}

static void fill_entry(struct guest_entry *entry, const struct linux_layout *layout)
{
    *entry = (struct guest_entry){
        .rip = layout->kernel + ENTRY_64,
        .rflags = RFLAGS_FIXED,
        .cr0 = CR0_PE | CR0_ET | CR0_PG,
        .cr3 = layout->tables,
        .cr4 = CR4_PAE,
        .efer = EFER_LME | EFER_LMA,
        .gdtr = {layout->gdt, GDT_ENTRIES * 8 - 1},
    };
    entry->gpr[GPR_RSI] = layout->zero_page;
    load_flat_segments(entry, LOAD_ACCESS_CODE | (uint32_t)SEGMENT_L, BOOT_CS, BOOT_DS);
}

enum status load_linux(struct loader *loader)
{
    struct linux_header header;
    struct linux_layout layout = {0};
    enum status status = read_header(loader, &header);
    if (status == STATUS_OK)
        status = place_kernel(loader, &header, &layout.kernel);
    if (status == STATUS_OK)
        status = load_cmdline(loader, &layout.cmdline);
    if (status == STATUS_OK)
        status = place_initrd(loader, &header, &layout.initrd);
    if (status != STATUS_OK)
        return status;
    status = make_zero_page(loader, &layout);
    if (status == STATUS_OK)
        status = make_page_tables(loader, &layout.tables);
    if (status == STATUS_OK)
        status = make_gdt(loader, &layout.gdt);
    if (status != STATUS_OK)
        return load_fail(loader, status, &loader->request->kernel,
                         "no room for its boot parameters");
    fill_entry(&loader->plan->entry, &layout);
    return STATUS_OK;
}

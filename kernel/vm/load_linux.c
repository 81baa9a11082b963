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

static enum status check_form(const struct load_request *request, struct load_error *error)
{
    const uint8_t *image = request->kernel;
    if (request->kernel_size < HDR_END)
        return load_fail(error, ERR_TRUNCATED, request->kernel_name,
                         "truncated: %llu bytes are less than a Linux kernel's header",
                         (unsigned long long)request->kernel_size);
    unsigned version = (unsigned)load_get(image + HDR_VERSION, 2);
    if (version < VERSION_2_12)
        return load_fail(error, ERR_UNSUPPORTED, request->kernel_name,
                         "its Linux boot protocol is %u.%02u, and 2.12 is needed (Linux 3.8)",
                         version >> 8, version & 0xff);
    if (!(image[HDR_LOADFLAGS] & LOADFLAGS_LOADED_HIGH))
        return load_fail(error, ERR_UNSUPPORTED, request->kernel_name,
                         "a zImage; a bzImage is needed");
    if (!(load_get(image + HDR_XLOADFLAGS, 2) & XLF_KERNEL_64))
        return load_fail(error, ERR_UNSUPPORTED, request->kernel_name,
                         "has no 64-bit entry point; a 64-bit Linux kernel is needed");
    return STATUS_OK;
}

/* The file may go on behind the kernel (a signature), and may end in the middle of the last
 * paragraph. */
static enum status read_sizes(const struct load_request *request, struct linux_header *header,
                              struct load_error *error)
{
    const uint8_t *image = request->kernel;
    uint64_t sectors = image[HDR_SETUP_SECTS];
    header->setup_bytes = ((sectors != 0 ? sectors : SETUP_SECTS_DEFAULT) + 1) * SECTOR;
    header->system_bytes = load_get(image + HDR_SYSSIZE, 4) * PARAGRAPH;
    uint64_t needed = header->setup_bytes + header->system_bytes;
    if (header->system_bytes == 0)
        return load_fail(error, ERR_INVALID, request->kernel_name,
                         "malformed: its header says that there is no kernel behind it");
    if (request->kernel_size + PARAGRAPH <= needed)
        return load_fail(error, ERR_TRUNCATED, request->kernel_name,
                         "truncated: %llu bytes, and its header says %llu",
                         (unsigned long long)request->kernel_size, (unsigned long long)needed);
    if (request->kernel_size < needed)
        header->system_bytes = request->kernel_size - header->setup_bytes;
    return STATUS_OK;
}

static enum status read_header(const struct load_request *request, struct linux_header *header,
                               struct load_error *error)
{
    const uint8_t *image = request->kernel;
    enum status status = check_form(request, error);
    if (status == STATUS_OK)
        status = read_sizes(request, header, error);
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
        return load_fail(error, ERR_INVALID, request->kernel_name,
                         "malformed: its alignment 0x%llx is no power of two",
                         (unsigned long long)header->alignment);
    if (strlen(request->cmdline) > header->cmdline_size)
        return load_fail(error, ERR_NO_SPACE, request->kernel_name,
                         "the command line has %zu bytes, and this kernel takes %u",
                         strlen(request->cmdline), header->cmdline_size);
    return STATUS_OK;
}

/* ---- Placing ---- */

/* A relocatable kernel that is loaded lower than it prefers moves itself up all the same: so it is
 * placed there or higher. */
static enum status place_kernel(const struct load_request *request,
                                const struct linux_header *header, struct load_room *room,
                                uint64_t *base, struct load_error *error)
{
    enum status status = ERR_NO_SPACE;
    if (!header->relocatable && header->preferred < LOAD_4G) {
        *base = header->preferred;
        status = load_room_claim(room, *base, header->room);
    } else if (header->relocatable) {
        uint64_t lowest = header->preferred > MIB(1) ? header->preferred : MIB(1);
        status = load_room_lowest(room, header->room, header->alignment, lowest, LOAD_4G, base);
    }
    if (status != STATUS_OK)
        return load_fail(error, ERR_NO_SPACE, request->kernel_name,
                         "needs %llu MiB at 0x%llx or higher, and the guest has %llu MiB below "
                         "4 GiB: raise `memory`",
                         (unsigned long long)((header->room + MIB(1) - 1) >> 20),
                         (unsigned long long)header->preferred,
                         (unsigned long long)(request->map->ram_below_4g >> 20));
    status = guest_mem_write(request->mem, GPA(*base), request->kernel + header->setup_bytes,
                             header->system_bytes);
    return status == STATUS_OK ? STATUS_OK
                               : load_fail(error, status, request->kernel_name, "no RAM there");
}

static enum status place_initrd(const struct load_request *request,
                                const struct linux_header *header, struct load_room *room,
                                uint64_t *base, struct load_error *error)
{
    if (request->initrd == NULL)
        return STATUS_OK;
    enum status status =
        load_room_highest(room, request->initrd_size, PAGE_SIZE, MIB(1), header->initrd_end, base);
    if (status != STATUS_OK && header->above_4g)
        status = load_room_highest(room, request->initrd_size, PAGE_SIZE, MIB(1), UINT64_MAX, base);
    if (status != STATUS_OK)
        return load_fail(
            error, ERR_NO_SPACE, request->initrd_name,
            "the initrd of %llu KiB does not fit beside the kernel into %llu MiB: "
            "raise `memory`",
            (unsigned long long)((request->initrd_size + 1023) >> 10),
            (unsigned long long)((request->map->ram_below_4g + request->map->ram_above_4g) >> 20));
    status = guest_mem_write(request->mem, GPA(*base), request->initrd, request->initrd_size);
    return status == STATUS_OK ? STATUS_OK
                               : load_fail(error, status, request->initrd_name, "no RAM there");
}

/* ---- What the kernel is handed ---- */

/* The image's header, as much of it as it says that there is. */
static void copy_header(const struct load_request *request, uint8_t *page)
{
    uint64_t end = HDR_HEADER + (uint64_t)request->kernel[HDR_JUMP + 1];
    end = end < HDR_END ? HDR_END : end > ZP_HEADER_END ? ZP_HEADER_END : end;
    end = end < request->kernel_size ? end : request->kernel_size;
    memcpy(page + HDR_SETUP_SECTS, request->kernel + HDR_SETUP_SECTS, end - HDR_SETUP_SECTS);
}

static enum status fill_zero_page(const struct load_request *request,
                                  const struct linux_layout *layout)
{
    uint64_t available;
    uint8_t *page = guest_mem_span(request->mem, GPA(layout->zero_page), &available);
    if (page == NULL || available < ZP_SIZE)
        return ERR_RANGE;
    uint64_t initrd_size = request->initrd != NULL ? request->initrd_size : 0;
    memset(page, 0, ZP_SIZE);
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
static enum status fill_page_tables(const struct guest_mem *mem, uint64_t pml4)
{
    uint64_t pdpt = pml4 + PAGE_SIZE, directories = pdpt + PAGE_SIZE;
    enum status status = guest_mem_store(mem, GPA(pml4), 8, pdpt | PTE_PRESENT_WRITE);
    for (uint64_t i = 0; status == STATUS_OK && i < IDENTITY_GIB; i++)
        status = guest_mem_store(mem, GPA(pdpt + 8 * i), 8,
                                 (directories + i * PAGE_SIZE) | PTE_PRESENT_WRITE);
    for (uint64_t i = 0; status == STATUS_OK && i < IDENTITY_GIB * TABLE_ENTRIES; i++)
        status = guest_mem_store(mem, GPA(directories + 8 * i), 8,
                                 i * PAGE_SIZE_2M | PTE_LARGE | PTE_PRESENT_WRITE);
    return status;
}

/* SDM: Segment Descriptors: flat, 64-bit code and data. */
static enum status fill_gdt(const struct guest_mem *mem, uint64_t base)
{
    static const uint64_t gdt[GDT_ENTRIES] = {
        [BOOT_CS / 8] = 0x00af9b000000ffff,
        [BOOT_DS / 8] = 0x00cf93000000ffff,
    };
    return guest_mem_write(mem, GPA(base), gdt, sizeof(gdt));
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

static enum status place_parameters(struct load_room *room, struct linux_layout *layout)
{
    enum status status =
        load_room_lowest(room, ZP_SIZE, PAGE_SIZE, PAGE_SIZE, LOAD_4G, &layout->zero_page);
    if (status == STATUS_OK)
        status = load_room_lowest(room, TABLE_PAGES * PAGE_SIZE, PAGE_SIZE, PAGE_SIZE, LOAD_4G,
                                  &layout->tables);
    if (status == STATUS_OK)
        status = load_room_lowest(room, GDT_ENTRIES * 8, 16, PAGE_SIZE, LOAD_4G, &layout->gdt);
    return status;
}

enum status load_linux(const struct load_request *request, struct guest_entry *entry,
                       struct load_error *error)
{
    struct linux_header header;
    struct linux_layout layout = {0};
    struct load_room room = {.map = request->map};
    enum status status = read_header(request, &header, error);
    if (status == STATUS_OK)
        status = place_kernel(request, &header, &room, &layout.kernel, error);
    if (status == STATUS_OK)
        status = load_cmdline(request, &room, &layout.cmdline, error);
    if (status == STATUS_OK)
        status = place_initrd(request, &header, &room, &layout.initrd, error);
    if (status != STATUS_OK)
        return status;
    status = place_parameters(&room, &layout);
    if (status == STATUS_OK)
        status = fill_zero_page(request, &layout);
    if (status == STATUS_OK)
        status = fill_page_tables(request->mem, layout.tables);
    if (status == STATUS_OK)
        status = fill_gdt(request->mem, layout.gdt);
    if (status != STATUS_OK)
        return load_fail(error, status, request->kernel_name, "no room for its boot parameters");
    fill_entry(entry, &layout);
    return STATUS_OK;
}

/*
 * The order in memory: for the 32- and the 64-bit entry, below 640 KiB the zero page (struct
 * boot_params), the command line, a GDT and page tables; for the 16-bit entry, a segment with the
 * kernel's setup, its heap and the command line; the kernel at the address that it prefers with all
 * the room that it asks for; the initrd as high as it may be.
 */
#include "kernel/vm/load_linux.h"

#include "kernel/vm/load_bios.h"
#include "kernel/vm/load_entry.h"
#include "kernel/vm/load_linux_header.h"

#define LOADER_UNDEFINED 0xff
#define VID_MODE_NORMAL 0xffff
#define ENTRY_64 0x200

/* The segment of the setup, by protocol; the heap and the stack end where the command line begins.
 */
#define SETUP_RECENT 0x10000
#define SETUP_ANCIENT 0x90000
#define HEAP_END_RECENT 0xe000
#define HEAP_END_ANCIENT 0x9800

/* Where everything lies, guest-physical. */
struct linux_layout {
    uint64_t kernel, cmdline, initrd, zero_page;
};

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
    bool is_recent = header->is_high && header->version >= LINUX_VERSION(2);
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
    if (header->version >= LINUX_VERSION(1)) {
        setup[HDR_LOADFLAGS] |= (uint8_t)LOADFLAGS_CAN_USE_HEAP;
        load_put(setup + HDR_HEAP_END_PTR, heap_end - HEAP_END_BIAS, 2);
    }
    if (header->version >= LINUX_VERSION(2)) {
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
    enum status status = load_linux_read_header(loader, &header);
    if (status == STATUS_OK)
        status = place_kernel(loader, &header, &layout.kernel);
    if (status == STATUS_OK)
        status = place_initrd(loader, &header, &layout.initrd);
    if (status == STATUS_OK)
        status = header.entry == 16 ? enter_real(loader, &header, &layout)
                                    : enter_protected(loader, &header, &layout);
    return status;
}

#include "kernel/vm/load_setup.h"

#include "kernel/vm/load_linux.h"
#include "kernel/vm/load_linux_header.h"

/* Where QEMU's own loader, an option ROM, puts what it reads: by the boot protocol, and whether the
 * kernel is loaded high. */
#define SETUP_RECENT 0x10000u
#define CMDLINE_RECENT 0x20000u
#define SETUP_ANCIENT 0x90000u
#define CMDLINE_END_ANCIENT 0x9a000u
#define KERNEL_HIGH 0x100000u
#define KERNEL_LOW 0x10000u
#define LOADER_QEMU 0xb0
#define INITRD_ROOM_BEHIND 0x28000u /* for tables that firmware puts at the end of RAM */

/* PE Format: MS-DOS Stub; Signature. */
#define PE_OFFSET 0x3c
#define PE_SIGNATURE 0x4550 /* "PE" and two NULs */

/* The fuzzer is shown to work by finding a planted fault: an offset that is not checked. */
#ifdef PLANTED_BUG_SETUP
#define IS_IN_FILE(offset, size) true
#else
#define IS_IN_FILE(offset, size) ((offset) <= (size)-4)
#endif

static bool is_efi_program(const struct load_file *file)
{
    if (file->size < PE_OFFSET + 4 || memcmp(file->at, "MZ", 2) != 0)
        return false;
    uint64_t offset = load_get(file->at + PE_OFFSET, 4);
    return IS_IN_FILE(offset, file->size) && load_get(file->at + offset, 4) == PE_SIGNATURE;
}

/* As high as the kernel takes it and RAM goes. */
static enum status place_initrd(const struct loader *loader, uint64_t end, struct load_setup *setup)
{
    const struct load_file *initrd = &loader->request->initrd;
    uint64_t ram = loader->request->map->ram_below_4g - INITRD_ROOM_BEHIND;
    setup->initrd = 0;
    if (initrd->at == NULL)
        return STATUS_OK;
    if (initrd->size == 0)
        return load_fail(loader, ERR_INVALID, initrd, "the file is empty");
    end = (end < ram ? end : ram) - 1;
    if (end < KERNEL_HIGH || end - KERNEL_HIGH < initrd->size)
        return load_fail(loader, ERR_NO_SPACE, initrd,
                         "the initrd of %llu KiB does not fit between 1 MiB and %llu MiB, where "
                         "the kernel takes it: raise `memory`, or make it smaller",
                         (unsigned long long)((initrd->size + 1023) >> 10),
                         (unsigned long long)(end >> 20));
    setup->initrd = (uint32_t)align_down(end - initrd->size, PAGE_SIZE);
    return STATUS_OK;
}

/* The Linux/x86 Boot Protocol: Memory Layout. */
static void place_parts(const struct load_request *request, const struct linux_header *header,
                        struct load_setup *setup)
{
    setup->size = header->setup_bytes;
    setup->version = header->version;
    if (!header->is_high)
        setup->kernel = KERNEL_LOW;
    if (header->is_high && header->version >= LINUX_VERSION(2))
        return;
    setup->setup = SETUP_ANCIENT;
    setup->cmdline = CMDLINE_END_ANCIENT - (uint32_t)align_up(strlen(request->cmdline) + 1, 16);
}

static enum status plan_linux(struct loader *loader, struct load_setup *setup)
{
    const struct load_request *request = loader->request;
    struct linux_header header;
    enum status status = load_linux_read_header(loader, &header);
    if (status == STATUS_OK && header.setup_bytes > LOAD_SETUP_MAX)
        status = load_fail(loader, ERR_UNSUPPORTED, &request->kernel,
                           "its setup of %llu bytes is larger than 32 KiB",
                           (unsigned long long)header.setup_bytes);
    if (status == STATUS_OK)
        status = place_initrd(loader, header.above_4g ? LOAD_4G : header.initrd_end, setup);
    if (status == STATUS_OK)
        place_parts(request, &header, setup);
    return status;
}

enum status load_setup_plan(const struct load_request *request, struct load_setup *setup,
                            struct load_error *error)
{
    struct load_error unsaid;
    struct loader loader = {.request = request, .error = &unsaid};
    *setup = (struct load_setup){
        .setup = SETUP_RECENT, .kernel = KERNEL_HIGH, .cmdline = CMDLINE_RECENT};
    enum status status = place_initrd(&loader, LOAD_4G, setup);
    loader.error = error;
    if (request->kernel.size == 0)
        return load_fail(&loader, ERR_INVALID, &request->kernel, "the file is empty");
    if (load_linux_recognises(&loader))
        return plan_linux(&loader, setup);
    if (!is_efi_program(&request->kernel))
        return load_fail(&loader, ERR_INVALID, &request->kernel,
                         "firmware starts Linux kernels and EFI programs, and this is neither; "
                         "what is loaded without firmware (ELF, Multiboot, flat) needs `firmware` "
                         "removed");
    if (status != STATUS_OK)
        *error = unsaid;
    return status;
}

void load_setup_fill(const struct load_request *request, const struct load_setup *setup,
                     uint8_t *part)
{
    memcpy(part, request->kernel.at, setup->size);
    part[HDR_TYPE_OF_LOADER] = LOADER_QEMU;
    if (setup->version >= LINUX_VERSION(1)) {
        part[HDR_LOADFLAGS] |= (uint8_t)LOADFLAGS_CAN_USE_HEAP;
        load_put(part + HDR_HEAP_END_PTR, setup->cmdline - setup->setup - HEAP_END_BIAS, 2);
    }
    if (setup->version >= LINUX_VERSION(2)) {
        load_put(part + HDR_CMD_LINE_PTR, setup->cmdline, 4);
    } else {
        load_put(part + SETUP_CL_MAGIC, CL_MAGIC, 2);
        load_put(part + SETUP_CL_OFFSET, setup->cmdline - setup->setup, 2);
    }
    if (request->initrd.at != NULL) {
        load_put(part + HDR_RAMDISK_IMAGE, setup->initrd, 4);
        load_put(part + HDR_RAMDISK_SIZE, request->initrd.size, 4);
    }
}

/* What a Linux image says about itself. */
#include "kernel/vm/load_linux_header.h"

#include "kernel/vm/load_linux.h"

#define BOOT_FLAG 0xaa55
#define HEADER_MAGIC 0x53726448 /* "HdrS" */
#define XLF_KERNEL_64 BIT(0)
#define XLF_CAN_BE_LOADED_ABOVE_4G BIT(1)
#define SETUP_SECTS_DEFAULT 4
#define PARAGRAPH 16
#define CMDLINE_SIZE_DEFAULT 255
#define INITRD_END_DEFAULT 0x38000000
#define LOW_KERNEL 0x10000 /* where a zImage lies */

bool load_linux_recognises(struct loader *loader)
{
    const struct load_file *kernel = &loader->request->kernel;
    return kernel->size >= HDR_VERSION && load_get(kernel->at + HDR_BOOT_FLAG, 2) == BOOT_FLAG &&
           load_get(kernel->at + HDR_HEADER, 4) == HEADER_MAGIC;
}

/* The entry that is asked for, or the widest that is known to work. A header of 2.12 names the
 * 64-bit one; an address of 0 says that there is no 32-bit one, which a zImage cannot be entered
 * by. What has an old header may be a boot loader in a kernel's clothes, which knows nothing but
 * real mode. */
static enum status choose_entry(const struct loader *loader, struct linux_header *header)
{
    const struct load_file *kernel = &loader->request->kernel;
    unsigned wanted = loader->request->entry;
    bool has_64 = header->version >= LINUX_VERSION(12) &&
                  load_get(kernel->at + HDR_XLOADFLAGS, 2) & XLF_KERNEL_64;
    bool has_32 = header->is_high && load_get(kernel->at + HDR_CODE32_START, 4) != 0;
    if ((wanted == 64 && !has_64) || (wanted == 32 && !has_32))
        return load_fail(loader, ERR_UNSUPPORTED, kernel,
                         "has no %u-bit entry point (its Linux boot protocol is %u.%02u)", wanted,
                         header->version >> 8, header->version & 0xff);
    bool prefers_32 = has_32 && header->version >= LINUX_VERSION(10);
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
    if (header->version < LINUX_VERSION(0))
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
        load_get(kernel->at + HDR_SYSSIZE, header->version < LINUX_VERSION(4) ? 2 : 4) * PARAGRAPH;
    if (header->version < LINUX_VERSION(4) && header->is_high && kernel->size > header->setup_bytes)
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
    if (version >= LINUX_VERSION(3))
        header->initrd_end = load_get(image + HDR_INITRD_ADDR_MAX, 4) + 1;
    if (version >= LINUX_VERSION(5) && header->is_high) {
        header->relocatable = image[HDR_RELOCATABLE_KERNEL] != 0;
        header->alignment = load_get(image + HDR_KERNEL_ALIGNMENT, 4);
    }
    if (version >= LINUX_VERSION(6) && load_get(image + HDR_CMDLINE_SIZE, 4) != 0)
        header->cmdline_size = (uint32_t)load_get(image + HDR_CMDLINE_SIZE, 4);
    if (version >= LINUX_VERSION(10) && header->is_high) {
        header->preferred = load_get(image + HDR_PREF_ADDRESS, 8);
        header->room = load_get(image + HDR_INIT_SIZE, 4);
    }
    if (version >= LINUX_VERSION(12))
        header->above_4g =
            load_get(image + HDR_XLOADFLAGS, 2) & XLF_CAN_BE_LOADED_ABOVE_4G && header->entry == 64;
    if (header->room < header->system_bytes)
        header->room = header->system_bytes;
}

enum status load_linux_read_header(struct loader *loader, struct linux_header *header)
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

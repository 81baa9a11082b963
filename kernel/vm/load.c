#include "kernel/vm/load.h"

#include "kernel/core/bits.h"
#include "kernel/vm/load_linux.h"
#include "kernel/vm/load_multiboot.h"
#include "kernel/vm/load_plain.h"
#include "kernel/vm/load_pvh.h"

/* How the content shows the format, the first that fits: as QEMU has it where QEMU knows the
 * format. A file in the wrong form of Multiboot 1 may be good for another. */
static const struct {
    enum load_format format;
    bool (*recognises)(struct loader *loader);
} signs[] = {
    {LOAD_LINUX, load_linux_recognises},           {LOAD_MULTIBOOT, load_multiboot_recognises_32},
    {LOAD_MULTIBOOT2, load_multiboot2_recognises}, {LOAD_PVH, load_pvh_recognises},
    {LOAD_MULTIBOOT, load_multiboot_recognises},   {LOAD_ELF, load_elf_recognises},
};

/* What a file may be by mistake. */
static const struct {
    const char *magic;
    uint8_t length;
    const char *is;
} strangers[] = {
    {"\x1f\x8b", 2, "compressed by gzip; unpack it first"},
    {"\xfd"
     "7zXZ",
     5, "compressed by xz; unpack it first"},
    {"\x28\xb5\x2f\xfd", 4, "compressed by zstd; unpack it first"},
    {"070701", 6, "a cpio archive; is it the initrd?"},
    {"!<arch>", 7, "an archive, perhaps a Debian package; unpack it first"},
    {"MZ", 2, "an EFI program, but no Linux kernel"},
};

static enum status refuse(struct loader *loader)
{
    const struct load_file *kernel = &loader->request->kernel;
    for (size_t i = 0; i < ARRAY_SIZE(strangers); i++)
        if (kernel->size >= strangers[i].length &&
            memcmp(kernel->at, strangers[i].magic, strangers[i].length) == 0)
            return load_fail(loader, ERR_INVALID, kernel, "not a kernel: %s", strangers[i].is);
    return load_fail(loader, ERR_INVALID, kernel,
                     "not a kernel: no Linux image, no Multiboot header, no ELF file; for a flat "
                     "binary, add `format = flat`");
}

static size_t used_bytes(const uint8_t *at, size_t size)
{
    uint64_t word = 0;
    for (; size >= sizeof(word); size -= sizeof(word)) {
        __builtin_memcpy(&word, at + size - sizeof(word), sizeof(word));
        if (word != 0)
            break;
    }
    while (size > 0 && at[size - 1] == 0)
        size--;
    return size;
}

/* The region that the tables are built in is mostly zeros: only the tables stay, and the FACS at
 * its end. */
static enum status add_acpi_tables(struct loader *loader)
{
    uint32_t begun = loader->plan->used;
    uint8_t *region = load_make(loader, ACPI_REGION_SIZE);
    enum status status =
        region != NULL ? acpi_tables_build(region, &loader->request->acpi) : ERR_NO_SPACE;
    if (status != STATUS_OK)
        return load_fail(loader, status, &loader->request->kernel, "its ACPI tables: %s",
                         status_text(status));
    const uint8_t *facs = region + (GUEST_MAP_FACS - GUEST_MAP_ACPI_BASE);
    size_t tables = used_bytes(region, GUEST_MAP_FACS - GUEST_MAP_ACPI_BASE);
    size_t facs_size = used_bytes(facs, GUEST_MAP_BIOS - GUEST_MAP_FACS);
    memmove(region + tables, facs, facs_size);
    loader->rsdp = region;
    loader->plan->used = (uint32_t)align_up(begun + tables + facs_size, 8);
    status = load_add(loader, GUEST_MAP_ACPI_BASE, region, tables);
    return status == STATUS_OK ? load_add(loader, GUEST_MAP_FACS, region + tables, facs_size)
                               : status;
}

static enum status check_files(const struct loader *loader)
{
    if (loader->request->kernel.size == 0)
        return load_fail(loader, ERR_INVALID, &loader->request->kernel, "the file is empty");
    for (unsigned i = 0; i < load_module_count(loader); i++)
        if (load_module(loader, i)->size == 0)
            return load_fail(loader, ERR_INVALID, load_module(loader, i), "the file is empty");
    return STATUS_OK;
}

/* What the content is; LOAD_AUTO: nothing known. What a look finds wrong is said when it is loaded.
 */
static enum load_format find_format(const struct loader *loader)
{
    struct load_error unsaid;
    struct loader look = {.request = loader->request, .plan = loader->plan, .error = &unsaid};
    for (size_t i = 0; i < ARRAY_SIZE(signs); i++)
        if (signs[i].recognises(&look))
            return signs[i].format;
    return LOAD_AUTO;
}

static enum status load_any(struct loader *loader)
{
    static enum status (*const loaders[LOAD_FORMATS])(struct loader * loader) = {
        [LOAD_AUTO] = refuse,
        [LOAD_LINUX] = load_linux,
        [LOAD_PVH] = load_pvh,
        [LOAD_MULTIBOOT] = load_multiboot,
        [LOAD_MULTIBOOT2] = load_multiboot2,
        [LOAD_ELF] = load_elf,
        [LOAD_FLAT] = load_flat,
    };
    const struct load_request *request = loader->request;
    enum status status = check_files(loader);
    if (status != STATUS_OK)
        return status;
    enum load_format format = request->format != LOAD_AUTO ? request->format : find_format(loader);
    if (request->entry != 0 && format != LOAD_LINUX)
        return load_fail(loader, ERR_INVALID, &request->kernel,
                         "`entry` is for Linux kernels, and this is none: remove it");
    status = add_acpi_tables(loader);
    return status == STATUS_OK ? loaders[format](loader) : status;
}

enum status load_kernel(const struct load_request *request, struct load_plan *plan, uint32_t size,
                        struct load_error *error)
{
    struct loader loader = {.request = request, .plan = plan, .error = error};
    memset(plan, 0, sizeof(*plan));
    plan->size = size;
    plan->used = sizeof(*plan);
    *error = (struct load_error){.line = request->kernel.line};
    enum status status = load_any(&loader);
    if (status != STATUS_OK && error->text[0] == '\0')
        return load_fail(&loader, status, &request->kernel,
                         "no room for what it is handed at its start");
    return status;
}

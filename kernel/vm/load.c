#include "kernel/vm/load.h"

#include "kernel/core/bits.h"
#include "kernel/vm/load_common.h"
#include "kernel/vm/load_elf.h"
#include "kernel/vm/load_linux.h"

static const struct {
    bool (*recognises)(const uint8_t *image, uint64_t size);
    enum status (*load)(struct loader *loader);
} forms[] = {
    {load_linux_recognises, load_linux},
    {load_elf_recognises, load_elf},
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

static enum status refuse(const struct loader *loader)
{
    const struct load_file *kernel = &loader->request->kernel;
    if (kernel->size == 0)
        return load_fail(loader, ERR_INVALID, kernel, "the file is empty");
    for (size_t i = 0; i < ARRAY_SIZE(strangers); i++)
        if (kernel->size >= strangers[i].length &&
            memcmp(kernel->at, strangers[i].magic, strangers[i].length) == 0)
            return load_fail(loader, ERR_INVALID, kernel, "not a kernel: %s", strangers[i].is);
    return load_fail(loader, ERR_INVALID, kernel,
                     "not a kernel: neither a Linux bzImage nor an ELF file with a PVH entry");
}

static size_t used_bytes(const uint8_t *at, size_t size)
{
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
    loader->plan->used = (uint32_t)align_up(begun + tables + facs_size, 8);
    status = load_add(loader, GUEST_MAP_ACPI_BASE, region, tables);
    return status == STATUS_OK ? load_add(loader, GUEST_MAP_FACS, region + tables, facs_size)
                               : status;
}

static enum status load_any(struct loader *loader)
{
    const struct load_request *request = loader->request;
    if (request->initrd.at != NULL && request->initrd.size == 0)
        return load_fail(loader, ERR_INVALID, &request->initrd, "the initrd is empty");
    enum status status = add_acpi_tables(loader);
    for (size_t i = 0; status == STATUS_OK && i < ARRAY_SIZE(forms); i++)
        if (forms[i].recognises(request->kernel.at, request->kernel.size))
            return forms[i].load(loader);
    return status == STATUS_OK ? refuse(loader) : status;
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
        return load_fail(&loader, status, &request->kernel, "too much to load: the plan is full");
    return status;
}

#include "kernel/vm/load.h"

#include "kernel/vm/load_common.h"
#include "kernel/vm/load_elf.h"
#include "kernel/vm/load_linux.h"

static const struct {
    bool (*recognises)(const uint8_t *image, uint64_t size);
    enum status (*load)(const struct load_request *request, struct guest_entry *entry,
                        struct load_error *error);
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

static enum status refuse(const struct load_request *request, struct load_error *error)
{
    if (request->kernel_size == 0)
        return load_fail(error, ERR_INVALID, request->kernel_name, "the file is empty");
    for (size_t i = 0; i < ARRAY_SIZE(strangers); i++)
        if (request->kernel_size >= strangers[i].length &&
            memcmp(request->kernel, strangers[i].magic, strangers[i].length) == 0)
            return load_fail(error, ERR_INVALID, request->kernel_name, "not a kernel: %s",
                             strangers[i].is);
    return load_fail(error, ERR_INVALID, request->kernel_name,
                     "not a kernel: neither a Linux bzImage nor an ELF file with a PVH entry");
}

enum status load_kernel(const struct load_request *request, struct guest_entry *entry,
                        struct load_error *error)
{
    error->text[0] = '\0';
    error->file = request->kernel_name;
    if (request->initrd != NULL && request->initrd_size == 0)
        return load_fail(error, ERR_INVALID, request->initrd_name, "the initrd is empty");
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
        if (forms[i].recognises(request->kernel, request->kernel_size))
            return forms[i].load(request, entry, error);
    return refuse(request, error);
}

/* The monitor, which this program carries inside: checks, memory, symbols, page tables. */
#include "boot/boot_tables.h"
#include "boot/check_cpu.h"
#include "boot/efi_boot.h"
#include "kernel/core/bits.h"
#include "kernel/core/mem.h"

/* Enough for the monitor's first C function, which takes a stack of its own. */
#define START_STACK_PAGES 4

#define CR4_LA57 BIT(12)

/* monitor.asm; the length is a symbol with a size, not an absolute one: the image is moved. */
extern const uint8_t monitor_elf[];
extern const uint8_t monitor_elf_end[];

static const struct cpu_source this_cpu = {hw_cpuid, hw_rdmsr};

EFI_STATUS monitor_check_machine(struct boot *boot)
{
    const struct cpu_requirement *missing = check_cpu(&this_cpu);
    char name[49];

    check_cpu_name(&this_cpu, name);
    console_print(&boot->console, "traprock: %s\n", name);
    if (missing != NULL) {
        console_print(&boot->console,
                      "traprock: error: this machine cannot run guests: it lacks %s;\n  %s\n",
                      missing->missing, missing->advice);
        return EFI_UNSUPPORTED;
    }
    if ((hw_read_cr4() & CR4_LA57) != 0) {
        console_print(&boot->console, "traprock: error: the firmware runs with 5-level paging;\n"
                                      "  turn it off in the firmware's setup\n");
        return EFI_UNSUPPORTED;
    }
    return EFI_SUCCESS;
}

static EFI_STATUS no_memory(struct boot *boot, const char *what, uint64_t pages)
{
    console_print(&boot->console,
                  "traprock: error: no %llu KiB of memory in one piece for %s;\n"
                  "  use smaller files or a machine with more memory\n",
                  (unsigned long long)pages * 4, what);
    return EFI_OUT_OF_RESOURCES;
}

/* The segments, in pages of 2 MiB if that is to be had: the monitor maps itself with larger ones.
 */
static EFI_STATUS load_image(struct boot *boot)
{
    struct boot_info *info = boot->info;
    uint64_t pages = boot->image.size / PAGE_SIZE;

    if (EFI_ERROR(boot_allocate(boot, pages, PAGE_SIZE_2M, UINT64_MAX, BOOT_MEMORY_IMAGE,
                                &info->image_base)) &&
        EFI_ERROR(boot_allocate(boot, pages, PAGE_SIZE, UINT64_MAX, BOOT_MEMORY_IMAGE,
                                &info->image_base)))
        return no_memory(boot, "the monitor", pages);
    info->image_size = boot->image.size;
    elf_image_copy(&boot->image, (uint8_t *)(uintptr_t)info->image_base);
    return EFI_SUCCESS;
}

/* One block: the symbols, then their names. */
static EFI_STATUS load_symbols(struct boot *boot)
{
    const struct elf_image *image = &boot->image;
    uint64_t symbols = align_up(image->symtab_size, PAGE_SIZE);
    uint64_t pages = (symbols + align_up(image->strtab_size, PAGE_SIZE)) / PAGE_SIZE;
    struct boot_info *info = boot->info;
    uint64_t base;

    if (image->symtab_size == 0)
        return EFI_SUCCESS;
    if (EFI_ERROR(boot_allocate(boot, pages, PAGE_SIZE, UINT64_MAX, BOOT_MEMORY_LOADER, &base)))
        return no_memory(boot, "the monitor's symbols", pages);
    memset((void *)(uintptr_t)base, 0, pages * PAGE_SIZE);
    memcpy((void *)(uintptr_t)base, image->file + image->symtab_offset, image->symtab_size);
    memcpy((void *)(uintptr_t)(base + symbols), image->file + image->strtab_offset,
           image->strtab_size);
    info->symtab_base = base;
    info->symtab_size = image->symtab_size;
    info->strtab_base = base + symbols;
    info->strtab_size = image->strtab_size;
    return EFI_SUCCESS;
}

static EFI_STATUS build_tables(struct boot *boot)
{
    struct boot_info *info = boot->info;
    const struct boot_tables_request request = {
        .map = info->memory,
        .map_count = info->memory_count,
        .framebuffer = info->framebuffer.base,
        .framebuffer_size = info->framebuffer.size,
        .image_linear = boot->image.link_base,
        .image_physical = info->image_base,
        .image_size = info->image_size,
    };
    struct boot_tables tables = {.has_1g_pages = check_cpu_has_1g_pages(&this_cpu)};
    uint64_t base;
    enum status status;

    tables.max = boot_tables_bound(&request, tables.has_1g_pages);
    if (EFI_ERROR(
            boot_allocate(boot, tables.max, PAGE_SIZE, UINT64_MAX, BOOT_MEMORY_LOADER, &base)))
        return no_memory(boot, "page tables", tables.max);
    tables.page = (uint64_t *)(uintptr_t)base;
    status = boot_tables_build(&tables, &request);
    if (status != STATUS_OK) {
        console_print(&boot->console,
                      "traprock: error: page tables for the firmware's memory map: %s;\n"
                      "  update the firmware\n",
                      status_text(status));
        return EFI_LOAD_ERROR;
    }
    boot->page_tables = base;
    return EFI_SUCCESS;
}

EFI_STATUS monitor_load(struct boot *boot)
{
    enum status status;
    uint64_t stack;
    EFI_STATUS efi_status;

    status = elf_image_open(monitor_elf, (uint64_t)(monitor_elf_end - monitor_elf), &boot->image);
    if (status != STATUS_OK) {
        console_print(&boot->console,
                      "traprock: error: the monitor inside this program is %s;\n"
                      "  build or copy the program again\n",
                      status_text(status));
        return EFI_LOAD_ERROR;
    }
    efi_status = load_image(boot);
    if (!EFI_ERROR(efi_status))
        efi_status = load_symbols(boot);
    if (EFI_ERROR(efi_status))
        return efi_status;
    if (EFI_ERROR(boot_allocate(boot, START_STACK_PAGES, PAGE_SIZE, UINT64_MAX, BOOT_MEMORY_LOADER,
                                &stack)))
        return no_memory(boot, "a stack", START_STACK_PAGES);
    boot->stack_top = stack + START_STACK_PAGES * PAGE_SIZE;
    efi_status = leave_prepare(boot);
    return EFI_ERROR(efi_status) ? efi_status : build_tables(boot);
}

/* The way out: the last look at the memory map, ExitBootServices, and the jump. */
#include "boot/boot_enter.h"
#include "boot/efi_boot.h"
#include "boot/memory_map.h"
#include "kernel/core/bits.h"
#include "kernel/core/hw.h"

/* A map goes stale when anything in the firmware allocates between the two calls: a timer's
 * callback, once or twice. More often than this it is not chance. */
#define EXIT_ATTEMPTS 8

/* Descriptors that the map may grow by between asking for its size and the last attempt. */
#define MAP_SLACK 64

/* Reads the firmware's map; *key is what ExitBootServices wants to see. */
static EFI_STATUS map_read(struct boot *boot, struct memory_map_source *source, UINTN *key)
{
    UINTN size = boot->map_room, stride;
    UINT32 version;
    EFI_STATUS status = boot->services->GetMemoryMap(&size, (EFI_MEMORY_DESCRIPTOR *)boot->map, key,
                                                     &stride, &version);

    if (!EFI_ERROR(status))
        *source = (struct memory_map_source){boot->map, size, stride};
    return status;
}

/* Turns the firmware's map into boot_info's, with the allocations by their kind. */
static enum status map_normalise(struct boot *boot, const struct memory_map_source *source)
{
    return memory_map_normalise(source, boot->allocation, boot->allocation_count,
                                boot->info->memory, BOOT_MEMORY_MAX, &boot->info->memory_count);
}

/* Makes room for the map as it is now, and some. */
static EFI_STATUS map_make_room(struct boot *boot)
{
    UINTN size = 0, key, stride = 0;
    UINT32 version;
    uint64_t base;
    EFI_STATUS status;

    if (boot->map != NULL)
        return EFI_SUCCESS;
    boot->services->GetMemoryMap(&size, NULL, &key, &stride, &version);
    size = align_up(size + MAP_SLACK * stride, PAGE_SIZE);
    status =
        boot_allocate(boot, size / PAGE_SIZE, PAGE_SIZE, UINT64_MAX, BOOT_MEMORY_LOADER, &base);
    if (EFI_ERROR(status))
        return status;
    boot->map = (uint8_t *)(uintptr_t)base;
    boot->map_room = size;
    return EFI_SUCCESS;
}

EFI_STATUS leave_prepare(struct boot *boot)
{
    struct memory_map_source source;
    enum status normalised;
    UINTN key;
    EFI_STATUS status = map_make_room(boot);

    if (!EFI_ERROR(status))
        status = map_read(boot, &source, &key);
    if (EFI_ERROR(status)) {
        console_print(&boot->console,
                      "traprock: error: the firmware gives no memory map (%s);\n"
                      "  update the firmware\n",
                      boot_status_text(status));
        return status;
    }
    normalised = map_normalise(boot, &source);
    if (normalised == STATUS_OK)
        return EFI_SUCCESS;
    console_print(&boot->console,
                  "traprock: error: the firmware's memory map has more than %u pieces, or is "
                  "damaged (%s);\n  start without other programs before this one, or update the "
                  "firmware\n",
                  BOOT_MEMORY_MAX, status_text(normalised));
    return EFI_UNSUPPORTED;
}

EFI_STATUS leave_to_monitor(struct boot *boot)
{
    EFI_STATUS status = EFI_INVALID_PARAMETER;
    EFI_BOOT_SERVICES *services = boot->services;

    console_print(&boot->console, "traprock: leaving the firmware\n");
    for (unsigned i = 0; i < EXIT_ATTEMPTS && status == EFI_INVALID_PARAMETER; i++) {
        struct memory_map_source source;
        UINTN key;

        status = map_read(boot, &source, &key);
        if (EFI_ERROR(status))
            break;
        if (map_normalise(boot, &source) != STATUS_OK) {
            status = EFI_UNSUPPORTED;
            break;
        }
        status = services->ExitBootServices(boot->handle, key);
    }
    if (!EFI_ERROR(status))
        boot_enter(boot->page_tables, boot->image.entry, (uintptr_t)boot->info, boot->stack_top);

    /* Part of the firmware may have gone: its console is not touched any more (UEFI:
     * EFI_BOOT_SERVICES.ExitBootServices()). */
    console_leave_firmware(&boot->console);
    console_print(&boot->console,
                  "traprock: error: the firmware does not give the machine away (%s, %u tries);\n"
                  "  power-cycle, or update the firmware\n",
                  boot_status_text(status), EXIT_ATTEMPTS);
    return status;
}

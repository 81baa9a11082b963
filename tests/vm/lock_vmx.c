/*
 * A UEFI program for a test: locks VMX out, as a firmware does whose setup has it turned off, and
 * chain-loads TRAPROCK.EFI from its own folder, with a load option that is no text.
 */
#include <efi.h>

#include "kernel/core/hw.h"
#include "kernel/core/mem.h"
#include "kernel/core/msr.h"
#include "kernel/core/panic.h"

#define FEATURE_CONTROL_LOCK 1

static EFI_GUID loaded_image_guid = LOADED_IMAGE_PROTOCOL;
static EFI_GUID device_path_guid = DEVICE_PATH_PROTOCOL;

EFI_STATUS efi_main(EFI_HANDLE handle, EFI_SYSTEM_TABLE *system);

/* hw_x86.c asserts that the number of a debug register exists; nothing here touches one. */
NORETURN void panic(const char *format, ...)
{
    (void)format;
    for (;;)
        hw_hlt();
}

/* Writes the device's path and the file's node to path; returns the bytes used. */
static UINTN path_make(uint8_t *path, const uint8_t *device, UINTN room)
{
    static const CHAR16 name[] = {'\\', 'E', 'F', 'I', '\\', 'B', 'O', 'O', 'T', '\\', 'T', 'R',
                                  'A',  'P', 'R', 'O', 'C',  'K', '.', 'E', 'F', 'I',  0};
    const EFI_DEVICE_PATH_PROTOCOL file = {
        MEDIA_DEVICE_PATH, MEDIA_FILEPATH_DP, {sizeof(file) + sizeof(name), 0}};
    const EFI_DEVICE_PATH_PROTOCOL end = {
        END_DEVICE_PATH_TYPE, END_ENTIRE_DEVICE_PATH_SUBTYPE, {sizeof(end), 0}};
    UINTN used = 0;

    while (!IsDevicePathEnd((const EFI_DEVICE_PATH_PROTOCOL *)(device + used)))
        used += DevicePathNodeLength((const EFI_DEVICE_PATH_PROTOCOL *)(device + used));
    if (used + sizeof(file) + sizeof(name) + sizeof(end) > room)
        return 0;
    memcpy(path, device, used);
    memcpy(path + used, &file, sizeof(file));
    memcpy(path + used + sizeof(file), name, sizeof(name));
    memcpy(path + used + sizeof(file) + sizeof(name), &end, sizeof(end));
    return used;
}

EFI_STATUS efi_main(EFI_HANDLE handle, EFI_SYSTEM_TABLE *system)
{
    static uint8_t options[16] = {0x3f, 0x9c, 0x81, 0xdc, 0x00, 0x41};
    static uint8_t path[512];
    EFI_BOOT_SERVICES *services = system->BootServices;
    EFI_LOADED_IMAGE *image;
    EFI_HANDLE next;
    EFI_STATUS status;
    void *device;

    status = services->HandleProtocol(handle, &loaded_image_guid, (void **)&image);
    if (!EFI_ERROR(status))
        status = services->HandleProtocol(image->DeviceHandle, &device_path_guid, &device);
    if (!EFI_ERROR(status) && path_make(path, device, sizeof(path)) == 0)
        status = EFI_BUFFER_TOO_SMALL;
    if (!EFI_ERROR(status))
        status = services->LoadImage(FALSE, handle, (EFI_DEVICE_PATH *)path, NULL, 0, &next);
    if (EFI_ERROR(status))
        return status;
    services->HandleProtocol(next, &loaded_image_guid, (void **)&image);
    image->LoadOptions = options;
    image->LoadOptionsSize = sizeof(options);
    if ((hw_rdmsr(MSR_IA32_FEATURE_CONTROL) & FEATURE_CONTROL_LOCK) == 0)
        hw_wrmsr(MSR_IA32_FEATURE_CONTROL, FEATURE_CONTROL_LOCK);
    return services->StartImage(next, NULL, NULL);
}

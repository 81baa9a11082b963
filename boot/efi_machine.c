/* What the firmware knows of the machine: ACPI, processors, framebuffer, low memory. */
#include "boot/acpi_cpus.h"
#include "boot/check_cpu.h"
#include "boot/efi_boot.h"
#include "kernel/core/bits.h"
#include "kernel/core/mem.h"

/* The trampoline's page: real mode reaches it, and a start-up IPI's vector names it. */
#define TRAMPOLINE_LIMIT 0x9ffff

static EFI_GUID acpi_20_guid = ACPI_20_TABLE_GUID;
static EFI_GUID acpi_10_guid = ACPI_TABLE_GUID;
static EFI_GUID graphics_output_guid = EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID;
/* UEFI Platform Initialization: EFI_MP_SERVICES_PROTOCOL. */
static EFI_GUID mp_services_guid = {
    0x3fdda605, 0xa76e, 0x4f46, {0xad, 0x29, 0x12, 0xf4, 0x53, 0x1b, 0x3d, 0x08}};

#define PROCESSOR_ENABLED BIT(1)

/* Each processor's local APIC ID and state, as GetProcessorInfo fills it in. Newer firmware writes
 * a second location after this one, on request only. */
struct processor_information {
    uint64_t processor_id;
    uint32_t status_flag;
    uint32_t package;
    uint32_t core;
    uint32_t thread;
    uint32_t reserved[6];
};

struct mp_services {
    EFI_STATUS(EFIAPI *get_number)(struct mp_services *self, UINTN *processors, UINTN *enabled);
    EFI_STATUS(EFIAPI *get_info)
    (struct mp_services *self, UINTN number, struct processor_information *info);
};

static const struct cpu_source this_cpu = {hw_cpuid, hw_rdmsr};

/* ---- ACPI ---- */

static uint64_t configuration_table(const EFI_SYSTEM_TABLE *system, const EFI_GUID *guid)
{
    for (UINTN i = 0; i < system->NumberOfTableEntries; i++)
        if (memcmp(&system->ConfigurationTable[i].VendorGuid, guid, sizeof(*guid)) == 0)
            return (uintptr_t)system->ConfigurationTable[i].VendorTable;
    return 0;
}

/* The firmware maps all memory that tables can lie in, one to one (UEFI: x64 Platforms). */
static const void *physical_map(void *context, uint64_t address, uint64_t size)
{
    (void)context;
    return address == 0 || address > UINTPTR_MAX - size ? NULL : (const void *)(uintptr_t)address;
}

/* ---- Processors ---- */

static bool cpus_from_madt(struct boot *boot, struct acpi_cpus *cpus)
{
    const struct acpi_reader reader = {physical_map, NULL};
    enum status status = ERR_NOT_FOUND;
    const uint8_t *madt;
    uint32_t length;

    if (boot->info->rsdp != 0)
        status = acpi_find_table(&reader, boot->info->rsdp, "APIC", &madt, &length);
    if (status == STATUS_OK)
        status = acpi_madt_cpus(madt, length, cpus);
    if (status != STATUS_OK && status != ERR_NOT_FOUND)
        console_print(&boot->console, "traprock: the firmware's MADT is %s and is not used\n",
                      status_text(status));
    return status == STATUS_OK;
}

static bool cpus_from_mp_services(struct boot *boot, struct acpi_cpus *cpus)
{
    struct mp_services *services;
    UINTN count, enabled;

    cpus->count = cpus->dropped = 0;
    if (EFI_ERROR(boot->services->LocateProtocol(&mp_services_guid, NULL, (void **)&services)) ||
        EFI_ERROR(services->get_number(services, &count, &enabled)))
        return false;
    for (UINTN i = 0; i < count; i++) {
        struct processor_information info;

        if (!EFI_ERROR(services->get_info(services, i, &info)) &&
            (info.status_flag & PROCESSOR_ENABLED) != 0)
            acpi_cpus_add(cpus, (uint32_t)info.processor_id);
    }
    return cpus->count != 0;
}

static void describe_cpus(struct boot *boot)
{
    struct boot_info *info = boot->info;
    struct acpi_cpus cpus = {0};
    const char *from = "MADT";

    if (!cpus_from_madt(boot, &cpus)) {
        from = "EFI_MP_SERVICES";
        if (!cpus_from_mp_services(boot, &cpus)) {
            from = "the firmware names none";
            cpus.count = cpus.dropped = 0;
        }
    }
    acpi_cpus_put_first(&cpus, check_cpu_apic_id(&this_cpu));
    if (cpus.dropped != 0)
        console_print(&boot->console, "traprock: %u processors above %u stay unused\n",
                      cpus.dropped, BOOT_CPUS_MAX);
    info->cpu_count = cpus.count;
    memcpy(info->cpu_apic_id, cpus.apic_id, cpus.count * sizeof(cpus.apic_id[0]));
    console_print(&boot->console, "traprock: %u processor%s (%s)\n", cpus.count,
                  cpus.count == 1 ? "" : "s", from);
}

/* ---- The framebuffer ---- */

/* UEFI: EFI_GRAPHICS_OUTPUT_PROTOCOL, pixel formats; the names give the order of bytes in memory.
 */
static uint32_t pixel_format(const EFI_GRAPHICS_OUTPUT_MODE_INFORMATION *mode)
{
    const EFI_PIXEL_BITMASK *mask = &mode->PixelInformation;

    switch (mode->PixelFormat) {
    case PixelRedGreenBlueReserved8BitPerColor:
        return BOOT_PIXEL_RGB;
    case PixelBlueGreenRedReserved8BitPerColor:
        return BOOT_PIXEL_BGR;
    case PixelBitMask:
        if (mask->GreenMask != 0xff00)
            return BOOT_PIXEL_NONE;
        if (mask->RedMask == 0xff && mask->BlueMask == 0xff0000)
            return BOOT_PIXEL_RGB;
        if (mask->RedMask == 0xff0000 && mask->BlueMask == 0xff)
            return BOOT_PIXEL_BGR;
        return BOOT_PIXEL_NONE;
    default:
        return BOOT_PIXEL_NONE;
    }
}

static void describe_framebuffer(struct boot *boot)
{
    struct boot_framebuffer *framebuffer = &boot->info->framebuffer;
    const EFI_GRAPHICS_OUTPUT_MODE_INFORMATION *mode;
    EFI_GRAPHICS_OUTPUT_PROTOCOL *output;
    EFI_STATUS status;

    /* The console's own screen, where the firmware says which; else the first. */
    status = boot->services->HandleProtocol(boot->system->ConsoleOutHandle, &graphics_output_guid,
                                            (void **)&output);
    if (EFI_ERROR(status))
        status = boot->services->LocateProtocol(&graphics_output_guid, NULL, (void **)&output);
    if (EFI_ERROR(status) || output->Mode == NULL || output->Mode->Info == NULL)
        return;
    mode = output->Mode->Info;
    if (pixel_format(mode) == BOOT_PIXEL_NONE || output->Mode->FrameBufferBase == 0 ||
        mode->PixelsPerScanLine < mode->HorizontalResolution ||
        (uint64_t)mode->PixelsPerScanLine * 4 * mode->VerticalResolution >
            output->Mode->FrameBufferSize)
        return;
    framebuffer->base = output->Mode->FrameBufferBase;
    framebuffer->size = output->Mode->FrameBufferSize;
    framebuffer->width = mode->HorizontalResolution;
    framebuffer->height = mode->VerticalResolution;
    framebuffer->pitch = mode->PixelsPerScanLine * 4;
    framebuffer->format = pixel_format(mode);
    console_print(&boot->console, "traprock: screen %ux%u\n", framebuffer->width,
                  framebuffer->height);
}

/* ---- All of it ---- */

EFI_STATUS machine_describe(struct boot *boot)
{
    struct boot_info *info = boot->info;

    info->rsdp = configuration_table(boot->system, &acpi_20_guid);
    if (info->rsdp == 0)
        info->rsdp = configuration_table(boot->system, &acpi_10_guid);
    describe_cpus(boot);
    describe_framebuffer(boot);
    if (EFI_ERROR(boot_allocate(boot, 1, PAGE_SIZE, TRAMPOLINE_LIMIT, BOOT_MEMORY_LOADER,
                                &info->trampoline_base)) &&
        info->cpu_count > 1) {
        console_print(&boot->console, "traprock: no free page below 640 KiB to start other "
                                      "processors from: only one is used\n");
        info->cpu_count = 1;
    }
    return EFI_SUCCESS;
}

/*
 * Traprock's UEFI program: gathers what the monitor needs, leaves the firmware, and enters the
 * monitor. Until then nothing is changed that is not put back: on any error the firmware goes on
 * with its next boot option.
 */
#include "boot/efi_boot.h"

#include "boot/uart16550.h"
#include "kernel/core/bits.h"
#include "kernel/core/mem.h"

/* How long an error stays on the screen before the firmware clears it. */
#define ERROR_PAUSE_SECONDS 10

EFI_STATUS efi_main(EFI_HANDLE handle, EFI_SYSTEM_TABLE *system);

const char *boot_status_text(EFI_STATUS status)
{
    static const struct {
        EFI_STATUS status;
        const char *text;
    } texts[] = {
        {EFI_SUCCESS, "success"},
        {EFI_LOAD_ERROR, "load error"},
        {EFI_INVALID_PARAMETER, "invalid parameter"},
        {EFI_UNSUPPORTED, "unsupported"},
        {EFI_BAD_BUFFER_SIZE, "bad buffer size"},
        {EFI_BUFFER_TOO_SMALL, "buffer too small"},
        {EFI_NOT_READY, "not ready"},
        {EFI_DEVICE_ERROR, "device error"},
        {EFI_OUT_OF_RESOURCES, "out of memory"},
        {EFI_VOLUME_CORRUPTED, "damaged file system"},
        {EFI_NO_MEDIA, "no medium"},
        {EFI_MEDIA_CHANGED, "medium changed"},
        {EFI_NOT_FOUND, "not found"},
        {EFI_ACCESS_DENIED, "access denied"},
        {EFI_TIMEOUT, "timeout"},
        {EFI_ABORTED, "aborted"},
        {EFI_SECURITY_VIOLATION, "security violation"},
        {EFI_END_OF_FILE, "truncated"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        if (texts[i].status == status)
            return texts[i].text;
    return "unknown status";
}

/* ---- Memory ---- */

EFI_STATUS boot_allocate(struct boot *boot, uint64_t pages, uint64_t alignment, uint64_t limit,
                         uint32_t type, uint64_t *base)
{
    uint64_t extra = alignment / PAGE_SIZE - 1, tail;
    EFI_PHYSICAL_ADDRESS got = limit;
    EFI_STATUS status;

    if (boot->allocation_count == ALLOCATIONS_MAX)
        return EFI_OUT_OF_RESOURCES;
    status =
        boot->services->AllocatePages(limit == UINT64_MAX ? AllocateAnyPages : AllocateMaxAddress,
                                      EfiLoaderData, pages + extra, &got);
    if (EFI_ERROR(status))
        return status;
    /* What the alignment cuts off at both ends goes back. */
    *base = align_up(got, alignment);
    if (*base != got)
        boot->services->FreePages(got, (*base - got) / PAGE_SIZE);
    tail = extra - (*base - got) / PAGE_SIZE;
    if (tail != 0)
        boot->services->FreePages(*base + pages * PAGE_SIZE, tail);
    boot->allocation[boot->allocation_count++] = (struct boot_memory){*base, pages, type, 0};
    return EFI_SUCCESS;
}

static void release_all(struct boot *boot)
{
    files_close_volume(boot);
    while (boot->allocation_count != 0) {
        const struct boot_memory *allocation = &boot->allocation[--boot->allocation_count];

        boot->services->FreePages(allocation->base, allocation->pages);
    }
}

static EFI_STATUS allocate_info(struct boot *boot)
{
    uint64_t base, size = align_up(sizeof(struct boot_info), PAGE_SIZE);
    EFI_STATUS status =
        boot_allocate(boot, size / PAGE_SIZE, PAGE_SIZE, UINT64_MAX, BOOT_MEMORY_LOADER, &base);

    if (EFI_ERROR(status)) {
        console_print(&boot->console,
                      "traprock: error: the firmware has no memory left (%s);\n"
                      "  use a machine with more memory\n",
                      boot_status_text(status));
        return status;
    }
    boot->info = (struct boot_info *)(uintptr_t)base;
    memset(boot->info, 0, size);
    boot->info->magic = BOOT_INFO_MAGIC;
    boot->info->size = sizeof(struct boot_info);
    return EFI_SUCCESS;
}

/* ---- The sequence ---- */

/* Each says why it fails. The first comes before the files, which take time to read; the last but
 * one sees the memory map with everything allocated. */
static EFI_STATUS (*const steps[])(struct boot *boot) = {
    allocate_info, files_open_volume, files_read_conf, monitor_check_machine,
    config_load,   machine_describe,  monitor_load,
};

/* A firmware that goes on to its next boot option clears the screen at once. */
static void pause_for_reader(struct boot *boot)
{
    EFI_BOOT_SERVICES *services = boot->services;
    SIMPLE_INPUT_INTERFACE *keyboard = boot->system->ConIn;
    EFI_EVENT events[2];
    EFI_INPUT_KEY key;
    UINTN index;

    if (boot->from_shell || keyboard == NULL)
        return;
    if (EFI_ERROR(services->CreateEvent(EVT_TIMER, 0, NULL, NULL, &events[0])))
        return;
    console_print(&boot->console, "traprock: press a key, or wait %u seconds\n",
                  ERROR_PAUSE_SECONDS);
    while (!EFI_ERROR(keyboard->ReadKeyStroke(keyboard, &key)))
        continue;
    events[1] = keyboard->WaitForKey;
    services->SetTimer(events[0], TimerRelative, ERROR_PAUSE_SECONDS * 10000000ull);
    if (!EFI_ERROR(services->WaitForEvent(2, events, &index)) && index == 1)
        keyboard->ReadKeyStroke(keyboard, &key);
    services->CloseEvent(events[0]);
}

EFI_STATUS efi_main(EFI_HANDLE handle, EFI_SYSTEM_TABLE *system)
{
    struct boot boot = {.handle = handle, .services = system->BootServices, .system = system};
    EFI_STATUS status = EFI_SUCCESS;

    console_init(&boot.console, system);
    console_print(&boot.console, "\ntraprock: starting\n");
    /* Files may take longer than the firmware's five minutes. */
    boot.services->SetWatchdogTimer(0, 0, 0, NULL);

    for (size_t i = 0; i < ARRAY_SIZE(steps) && !EFI_ERROR(status); i++)
        status = steps[i](&boot);
    if (!EFI_ERROR(status)) {
        files_close_volume(&boot);
        return leave_to_monitor(&boot);
    }

    console_set_port(&boot.console, UART_COM1);
    console_print(&boot.console, "traprock: not started (%s)\n", boot_status_text(status));
    pause_for_reader(&boot);
    release_all(&boot);
    return status;
}

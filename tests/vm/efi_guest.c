/*
 * A UEFI program for a guest that firmware starts: looks at what the firmware made of the machine,
 * keeps a variable over a reset, and ends by the debug exit. Reports on the firmware's console.
 */
#include <efi.h>

#include "kernel/core/hw.h"
#include "kernel/core/mem.h"
#include "kernel/core/panic.h"

#define DEBUG_EXIT 0xf4

static EFI_GUID acpi_guid = ACPI_20_TABLE_GUID;
static EFI_GUID variable_guid = {0x54524150, 0x524f, 0x434b, {0xa0, 0, 0, 0, 0, 0, 0, 7}};
static CHAR16 variable_name[] = {'T', 'r', 'a', 'p', 'r', 'o', 'c', 'k', 0};

EFI_STATUS efi_main(EFI_HANDLE handle, EFI_SYSTEM_TABLE *system);

/* hw_x86.c asserts that the number of a debug register exists; nothing here touches one. */
NORETURN void panic(const char *format, ...)
{
    (void)format;
    for (;;)
        hw_hlt();
}

static void print(EFI_SYSTEM_TABLE *system, const char *text)
{
    CHAR16 wide[2] = {0, 0};
    for (; *text != '\0'; text++) {
        wide[0] = (CHAR16)*text;
        system->ConOut->OutputString(system->ConOut, wide);
    }
}

static uint32_t failures;

static void report(EFI_SYSTEM_TABLE *system, const char *name, BOOLEAN passed)
{
    failures += !passed;
    print(system, passed ? "\r\nok " : "\r\nnot ok ");
    print(system, name);
    print(system, "\r\n");
}

static uint8_t sum(const uint8_t *at, UINTN size)
{
    uint8_t total = 0;
    while (size-- > 0)
        total = (uint8_t)(total + *at++);
    return total;
}

static const uint8_t *find_rsdp(const EFI_SYSTEM_TABLE *system)
{
    for (UINTN i = 0; i < system->NumberOfTableEntries; i++)
        if (memcmp(&system->ConfigurationTable[i].VendorGuid, &acpi_guid, sizeof(acpi_guid)) == 0)
            return system->ConfigurationTable[i].VendorTable;
    return NULL;
}

/* The table with the signature among those that the XSDT names. */
static const uint8_t *find_table(const uint8_t *rsdp, const char *signature)
{
    uint64_t address, length = 0;
    memcpy(&address, rsdp + 24, 8);
    const uint8_t *xsdt = (const uint8_t *)address;
    memcpy(&length, xsdt + 4, 4);
    for (uint64_t at = 36; at + 8 <= length; at += 8) {
        memcpy(&address, xsdt + at, 8);
        if (memcmp((const void *)address, signature, 4) == 0)
            return (const uint8_t *)address;
    }
    return NULL;
}

static BOOLEAN is_whole(const uint8_t *table)
{
    uint32_t length = 0;
    if (table != NULL)
        memcpy(&length, table + 4, 4);
    return length != 0 && sum(table, length) == 0;
}

static void check_tables(EFI_SYSTEM_TABLE *system)
{
    const uint8_t *rsdp = find_rsdp(system);
    report(system, "acpi-rsdp", rsdp != NULL && sum(rsdp, 20) == 0);
    if (rsdp == NULL)
        return;
    report(system, "acpi-fadt", is_whole(find_table(rsdp, "FACP")));
    report(system, "acpi-madt", is_whole(find_table(rsdp, "APIC")));
}

/* The first life writes it and resets the machine; the second finds it, and takes it away. */
static void check_variable(EFI_SYSTEM_TABLE *system)
{
    EFI_RUNTIME_SERVICES *services = system->RuntimeServices;
    uint32_t value = 0, attributes = EFI_VARIABLE_NON_VOLATILE | EFI_VARIABLE_BOOTSERVICE_ACCESS |
                                     EFI_VARIABLE_RUNTIME_ACCESS;
    UINTN size = sizeof(value);
    EFI_STATUS status = services->GetVariable(variable_name, &variable_guid, NULL, &size, &value);
    if (status == EFI_NOT_FOUND) {
        value = 0x5ca1ab1e;
        status =
            services->SetVariable(variable_name, &variable_guid, attributes, sizeof(value), &value);
        report(system, "variable-written", !EFI_ERROR(status));
        if (!EFI_ERROR(status))
            services->ResetSystem(EfiResetCold, EFI_SUCCESS, 0, NULL);
    }
    report(system, "variable-kept-over-a-reset", !EFI_ERROR(status) && value == 0x5ca1ab1e);
    status = services->SetVariable(variable_name, &variable_guid, attributes, 0, NULL);
    report(system, "variable-deleted", !EFI_ERROR(status));
}

EFI_STATUS efi_main(EFI_HANDLE handle, EFI_SYSTEM_TABLE *system)
{
    (void)handle;
    check_variable(system);
    check_tables(system);
    report(system, "all", failures == 0);
    system->BootServices->Stall(100000); /* the console's last bytes */
    hw_outl(DEBUG_EXIT, failures);
    return EFI_SUCCESS;
}

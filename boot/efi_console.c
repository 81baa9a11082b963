#include "boot/efi_console.h"

#include "boot/uart16550.h"
#include "kernel/core/bits.h"
#include "kernel/core/fmt.h"
#include "kernel/core/mem.h"

#define PRINT_MAX 400

/* EDK II marks with this "protocol" the handles of the devices that its console is split over. */
static EFI_GUID console_out_device_guid = {
    0xd3b36f2c, 0xd551, 0x11d4, {0x9a, 0x46, 0x00, 0x90, 0x27, 0x3f, 0xc1, 0x4d}};
static EFI_GUID device_path_guid = DEVICE_PATH_PROTOCOL;
static EFI_GUID global_variable_guid = EFI_GLOBAL_VARIABLE;

/* The legacy serial ports, by the unique ID that their ACPI node has in device paths. */
static const uint16_t com_ports[] = {UART_COM1, UART_COM2};

/*
 * Bit n for each Acpi(PNP0501,n)/Uart pair of nodes in a device path of size bytes, which may hold
 * several instances. UEFI: ACPI Device Path; UART Device Path.
 */
static uint32_t path_com_ports(const uint8_t *path, UINTN size)
{
    uint32_t found = 0, uid = UINT32_MAX;

    for (UINTN at = 0; size - at >= sizeof(EFI_DEVICE_PATH_PROTOCOL);) {
        const EFI_DEVICE_PATH_PROTOCOL *node = (const EFI_DEVICE_PATH_PROTOCOL *)(path + at);
        UINTN length = DevicePathNodeLength(node);
        ACPI_HID_DEVICE_PATH acpi;

        if (length < sizeof(*node) || length > size - at)
            break;
        if (node->Type == ACPI_DEVICE_PATH && node->SubType == ACPI_DP && length >= sizeof(acpi)) {
            memcpy(&acpi, node, sizeof(acpi));
            uid = acpi.HID == EISA_PNP_ID(0x0501) ? acpi.UID : UINT32_MAX;
        } else if (node->Type == MESSAGING_DEVICE_PATH && node->SubType == MSG_UART_DP) {
            if (uid < ARRAY_SIZE(com_ports))
                found |= 1u << uid;
        }
        if (IsDevicePathEnd(node))
            break;
        at += length;
    }
    return found;
}

/* The serial ports among the devices of the firmware's console; false: this firmware does not mark
 * the devices. */
static bool covered_by_devices(EFI_BOOT_SERVICES *services, uint32_t *covered)
{
    EFI_HANDLE *handles;
    UINTN count;

    if (EFI_ERROR(services->LocateHandleBuffer(ByProtocol, &console_out_device_guid, NULL, &count,
                                               &handles)))
        return false;
    for (UINTN i = 0; i < count; i++) {
        void *path;

        /* A path in memory has no length but its own end node. */
        if (!EFI_ERROR(services->HandleProtocol(handles[i], &device_path_guid, &path)))
            *covered |= path_com_ports(path, 4096);
    }
    services->FreePool(handles);
    return true;
}

/* UEFI: Globally Defined Variables, ConOut: the device paths that the console is meant for. */
static void covered_by_variable(EFI_RUNTIME_SERVICES *services, uint32_t *covered)
{
    uint8_t paths[1024];
    UINTN size = sizeof(paths);

    if (!EFI_ERROR(
            services->GetVariable((CHAR16 *)L"ConOut", &global_variable_guid, NULL, &size, paths)))
        *covered |= path_com_ports(paths, size);
}

void console_init(struct console *console, EFI_SYSTEM_TABLE *system)
{
    memset(console, 0, sizeof(*console));
    console->firmware = system->ConOut;
    if (console->firmware != NULL && !covered_by_devices(system->BootServices, &console->covered))
        covered_by_variable(system->RuntimeServices, &console->covered);
}

static void port_send(struct console *console, const char *text, uint32_t length)
{
    for (uint32_t i = 0; i < length && console->port != 0; i++) {
        if (text[i] == '\n')
            uart16550_send(console->port, '\r');
        uart16550_send(console->port, (uint8_t)text[i]);
    }
}

static bool is_covered(const struct console *console, uint16_t port)
{
    for (size_t i = 0; i < ARRAY_SIZE(com_ports); i++)
        if (com_ports[i] == port && (console->covered & (1u << i)) != 0)
            return true;
    return false;
}

void console_set_port(struct console *console, uint16_t port)
{
    if (console->port_known)
        return;
    console->port_known = true;
    console->configured = port;
    if (is_covered(console, port) || !uart16550_init(port))
        return;
    console->port = port;
    port_send(console, console->early, console->early_length);
}

/* Names from the configuration may be UTF-8; the console gets what every font has. */
static void firmware_send(struct console *console, const char *text)
{
    CHAR16 wide[2 * PRINT_MAX + 1];
    UINTN n = 0;

    if (console->firmware == NULL)
        return;
    for (; *text != '\0'; text++) {
        uint8_t c = (uint8_t)*text;

        if ((c & 0xc0) == 0x80) /* a later byte of a character */
            continue;
        if (c == '\n')
            wide[n++] = '\r';
        wide[n++] = c < 0x80 ? c : '?';
    }
    wide[n] = 0;
    console->firmware->OutputString(console->firmware, wide);
}

void console_print(struct console *console, const char *format, ...)
{
    char text[PRINT_MAX + 1];
    uint32_t length;
    va_list args;

    va_start(args, format);
    fmt_vformat(text, sizeof(text), format, args);
    va_end(args);
    length = (uint32_t)strlen(text);

    firmware_send(console, text);
    if (console->port_known) {
        port_send(console, text, length);
    } else if (length <= CONSOLE_EARLY_MAX - console->early_length) {
        memcpy(console->early + console->early_length, text, length);
        console->early_length += length;
    }
}

void console_leave_firmware(struct console *console)
{
    console->firmware = NULL;
    if (console->port == 0 && is_covered(console, console->configured) &&
        uart16550_init(console->configured))
        console->port = console->configured;
}

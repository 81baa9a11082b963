/* The configuration's part in booting: it is parsed for the monitor, the console's port, and which
 * files to read. */
#include "boot/efi_boot.h"
#include "boot/uart16550.h"
#include "kernel/core/bits.h"
#include "kernel/vm/config.h"

#define ERROR_TEXT_SIZE 4096

/* Prints the parser's messages line by line. */
static void print_errors(struct boot *boot, const struct config_errors *errors)
{
    const char *at = errors->text;

    while (*at != '\0') {
        size_t length = 0;

        while (at[length] != '\0' && at[length] != '\n')
            length++;
        console_print(&boot->console, "traprock: error: %.*s\n", (int)length, at);
        at += length + (at[length] == '\n');
    }
    console_print(&boot->console,
                  "traprock: %u error%s in the configuration; correct %s and start again\n",
                  errors->count, errors->count == 1 ? "" : "s", errors->count == 1 ? "it" : "them");
}

static EFI_STATUS read_named_files(struct boot *boot, const struct config *config)
{
    const char *name;
    uint32_t line;
    EFI_STATUS status = EFI_SUCCESS;

    for (unsigned i = 0; (name = config_file(config, i, &line)) != NULL && !EFI_ERROR(status); i++)
        status = files_read(boot, name, line);
    return status;
}

/* Room for the configuration, and for messages, which are too much for the firmware's stack. */
static EFI_STATUS allocate(struct boot *boot, struct config_errors *errors)
{
    struct boot_info *info = boot->info;
    uint64_t pages = align_up(sizeof(struct config), PAGE_SIZE) / PAGE_SIZE;
    EFI_STATUS status =
        boot_allocate(boot, pages, PAGE_SIZE, UINT64_MAX, BOOT_MEMORY_LOADER, &info->config_base);

    info->config_size = sizeof(struct config);
    errors->size = ERROR_TEXT_SIZE;
    if (!EFI_ERROR(status))
        status = boot->services->AllocatePool(EfiLoaderData, errors->size, (void **)&errors->text);
    if (EFI_ERROR(status))
        console_print(&boot->console,
                      "traprock: error: no memory to parse the configuration (%s); "
                      "use a machine with more memory\n",
                      boot_status_text(status));
    return status;
}

EFI_STATUS config_load(struct boot *boot)
{
    const struct boot_file *file = &boot->info->file[0];
    const char *text = (const char *)(uintptr_t)file->base;
    struct config_errors errors = {0};
    struct config *config;
    EFI_STATUS status = allocate(boot, &errors);

    if (EFI_ERROR(status))
        return status;
    config = (struct config *)(uintptr_t)boot->info->config_base;
    if (config_parse(config, boot->conf_name, text, file->size, &errors) == STATUS_OK) {
        console_set_port(&boot->console, config->console);
        status = read_named_files(boot, config);
    } else {
        console_set_port(&boot->console, UART_COM1);
        print_errors(boot, &errors);
        status = EFI_INVALID_PARAMETER;
    }
    boot->services->FreePool(errors.text);
    return status;
}

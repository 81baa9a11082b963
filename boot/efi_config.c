/* The configuration's part in booting: the console's port, and which files to read. */
#include "boot/efi_boot.h"
#include "boot/uart16550.h"
#include "kernel/core/mem.h"
#include "kernel/vm/config.h"

#define ERROR_TEXT_SIZE 4096

/* config_parse's working memory, too large for the firmware's stack. */
struct work {
    struct config config;
    char error_text[ERROR_TEXT_SIZE];
};

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

EFI_STATUS config_load(struct boot *boot)
{
    const struct boot_file *file = &boot->info->file[0];
    const char *text = (const char *)(uintptr_t)file->base;
    struct config_errors errors = {0};
    struct work *work;
    EFI_STATUS status;

    status = boot->services->AllocatePool(EfiLoaderData, sizeof(*work), (void **)&work);
    if (EFI_ERROR(status)) {
        console_print(&boot->console,
                      "traprock: error: no memory to parse the configuration (%s); "
                      "use a machine with more memory\n",
                      boot_status_text(status));
        return status;
    }
    memset(work, 0, sizeof(*work));
    errors.text = work->error_text;
    errors.size = sizeof(work->error_text);
    if (config_parse(&work->config, boot->conf_name, text, file->size, &errors) == STATUS_OK) {
        console_set_port(&boot->console, work->config.console);
        status = read_named_files(boot, &work->config);
    } else {
        console_set_port(&boot->console, UART_COM1);
        print_errors(boot, &errors);
        status = EFI_INVALID_PARAMETER;
    }
    boot->services->FreePool(work);
    return status;
}

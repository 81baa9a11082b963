/* Any bytes as a configuration: what is accepted obeys every rule that its readers rely on. */
#include <stdlib.h>
#include <string.h>

#include "kernel/vm/config.h"
#include "kernel/vm/guest_map.h"
#include "tests/fuzz/fuzz.h"

static struct config config;

static void require_path(const char *path)
{
    REQUIRE(memchr(path, '\0', CONFIG_PATH_MAX) != NULL);
    REQUIRE(path[0] != '/' && strchr(path, '\\') == NULL && strstr(path, "//") == NULL);
    REQUIRE(strncmp(path, "../", 3) != 0 && strstr(path, "/../") == NULL);
    for (; *path != '\0'; path++)
        REQUIRE(*path >= 0x20 && *path < 0x7f);
}

static void require_vm(const struct config_vm *vm)
{
    struct guest_map map;
    REQUIRE(vm->name[0] != '\0' && memchr(vm->name, '\0', CONFIG_NAME_MAX) != NULL);
    REQUIRE(guest_map_make(&map, vm->memory) == STATUS_OK);
    REQUIRE(vm->kernel[0] != '\0' || vm->firmware[0] != '\0');
    REQUIRE(memchr(vm->cmdline, '\0', CONFIG_CMDLINE_MAX) != NULL);
    REQUIRE(vm->disk_count <= CONFIG_DISKS_MAX && vm->hvc_count <= CONFIG_HVCS_MAX);
    REQUIRE(vm->pin == CONFIG_PIN_ANY || vm->pin <= 255);
    require_path(vm->kernel);
    require_path(vm->initrd);
    for (uint32_t i = 0; i < vm->disk_count; i++) {
        REQUIRE(vm->disk[i].file[0] != '\0');
        require_path(vm->disk[i].file);
    }
    for (uint32_t i = 0; i < vm->hvc_count; i++)
        REQUIRE(vm->hvc[i].loop != (vm->hvc[i].port != 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char messages[1024];
    struct config_errors errors = {.text = messages, .size = sizeof(messages)};
    enum status status = config_parse(&config, "f", (const char *)data, size, &errors);
    REQUIRE((status == STATUS_OK) == (errors.count == 0));
    REQUIRE(errors.used == strlen(messages) && errors.used < sizeof(messages));
    REQUIRE(errors.used == 0 || messages[errors.used - 1] == '\n');
    if (status != STATUS_OK)
        return 0;
    REQUIRE(config.vm_count >= 1 && config.vm_count <= CONFIG_VMS_MAX);
    REQUIRE(config.escape >= 1 && config.escape <= 0x1f && config.console != 0);
    for (uint32_t i = 0; i < config.vm_count; i++)
        require_vm(&config.vm[i]);
    unsigned files = 0;
    uint32_t line = 0;
    while (config_file(&config, files, &line) != NULL)
        files++;
    REQUIRE(files >= 1 && files <= CONFIG_FILES_MAX);
    return 0;
}

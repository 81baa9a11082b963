/* The configuration as a whole: the files that it names, and what no single line shows. */
#include "kernel/core/mem.h"
#include "kernel/vm/config_parser.h"
#include "kernel/vm/platform.h"
#include "kernel/vm/watch.h"

static bool uarts_overlap(uint16_t a, uint16_t b)
{
    return (a > b ? a - b : b - a) < PLATFORM_PORT_UART_SIZE;
}

/* Who has a port, in the order in which check_uarts takes them; the rest are those of hvcs. */
static const char *used_by(unsigned index)
{
    static const char *const users[] = {"the console", "the shell", "gdb"};
    return index < ARRAY_SIZE(users) ? users[index] : "another hvc";
}

/* The console shares its line with the shell and gdb, but only as a whole. */
static void check_debugger_uart(const struct config_parser *parser, uint16_t port, uint16_t other,
                                uint32_t line, const char *owner)
{
    bool shares = port == parser->config->console;
    if (port != 0 && other != 0 && !shares && uarts_overlap(port, other))
        config_report(
            parser, line,
            "the serial port at 0x%x belongs to %s already; name another, or the console's, "
            "0x%x, for a channel of that",
            port, owner, parser->config->console);
}

static void check_uarts(const struct config_parser *parser)
{
    const struct config *config = parser->config;
    uint16_t used[3 + CONFIG_VMS_MAX * CONFIG_HVCS_MAX];
    unsigned count = 0;
    used[count++] = config->console;
    used[count++] = config->shell != 0 ? config->shell : config->console;
    used[count++] = config->gdb != 0 ? config->gdb : config->console;
    check_debugger_uart(parser, config->shell, config->console, config->shell_line, "the console");
    check_debugger_uart(parser, config->gdb, config->console, config->gdb_line, "the console");
    if (config->shell != config->console)
        check_debugger_uart(parser, config->gdb, config->shell, config->gdb_line, "the shell");
    for (uint32_t v = 0; v < config->vm_count; v++) {
        const struct config_vm *vm = &config->vm[v];
        for (uint32_t h = 0; h < vm->hvc_count; h++) {
            if (vm->hvc[h].loop)
                continue;
            for (unsigned i = 0; i < count; i++) {
                if (!uarts_overlap(vm->hvc[h].port, used[i]))
                    continue;
                config_report(parser, vm->hvc[h].line,
                              "[vm %s]: the serial port at 0x%x of its hvc belongs to %s already",
                              vm->name, vm->hvc[h].port, used_by(i));
                break;
            }
            used[count++] = vm->hvc[h].port;
        }
    }
}

/* One after the other: each must come to an end, and processor 0 runs them all. */
static void check_sequence(const struct config_parser *parser, const struct config_vm *vm)
{
    if (vm->pin != CONFIG_PIN_ANY)
        config_report(parser, vm->pin_line,
                      "[vm %s] is pinned, and with run = sequence all guests run on processor 0; "
                      "remove `pin`",
                      vm->name);
    if (vm->on_end == CONFIG_END_RESTART)
        config_report(parser, vm->line,
                      "[vm %s] has on-end = restart, so that with run = sequence the next guest's "
                      "turn would never come; remove one of both",
                      vm->name);
}

static void report_pattern(const struct config_parser *parser, const struct config_vm *vm,
                           const struct config_pattern *pattern, const struct regex_error *error)
{
    bool cut = pattern->length > CONFIG_ECHO_MAX;
    config_report(parser, pattern->line, "%s = %.*s%s: column %u: %s",
                  pattern->rejects ? "reject" : "expect",
                  (int)(cut ? CONFIG_ECHO_MAX : pattern->length), vm->pattern_text + pattern->at,
                  cut ? "..." : "", pattern->column + (unsigned)error->at, error->what);
}

/* Each for itself, then whether there is room for all. */
static void check_patterns(const struct config_parser *parser, const struct config_vm *vm)
{
    struct regex_program program;
    struct regex_error error;
    unsigned before = parser->errors->count, which;
    for (which = 0; which < vm->pattern_count; which++) {
        const struct config_pattern *pattern = &vm->pattern[which];
        memset(&program, 0, sizeof(program));
        if (regex_add(&program, vm->pattern_text + pattern->at, pattern->length, &error) !=
            STATUS_OK)
            report_pattern(parser, vm, pattern, &error);
    }
    if (vm->pattern_count != 0 && parser->errors->count == before &&
        watch_compile(&program, vm, &which, &error) != STATUS_OK)
        report_pattern(parser, vm, &vm->pattern[which], &error);
}

/* What a kernel is handed, and how it is started, is nothing for firmware: as with QEMU. */
static void check_firmware(const struct config_parser *parser, const struct config_vm *vm)
{
    const struct config *config = parser->config;
    if (vm->firmware[0] == '\0') {
        if (vm->firmware_vars[0] != '\0')
            config_report(parser, vm->firmware_vars_line,
                          "[vm %s]: firmware-vars go with the code; add 'firmware = FILE', or "
                          "remove them",
                          vm->name);
        return;
    }
    if (vm->start_line != 0)
        config_report(
            parser, vm->start_line,
            "[vm %s]: format and entry say how a kernel is started, and here the firmware "
            "starts; remove them",
            vm->name);
    if (!vm->has_kernel && vm->initrd[0] != '\0')
        config_report(parser, vm->initrd_line,
                      "[vm %s]: an initrd goes with a kernel; add 'kernel = FILE', or remove it",
                      vm->name);
    if (!vm->has_kernel && vm->cmdline_line != 0)
        config_report(parser, vm->cmdline_line,
                      "[vm %s]: a cmdline goes with a kernel; add 'kernel = FILE', or remove it",
                      vm->name);
    for (uint32_t i = 0; i < config->module_count; i++)
        if (&config->vm[config->module[i].vm] == vm)
            config_report(
                parser, config->module[i].line,
                "[vm %s]: firmware takes no modules; hand the file over by 'fw-cfg-file = "
                "opt/NAME FILE'",
                vm->name);
}

/* The device is there with what it is needed for. */
static void check_fw_cfg(const struct config_parser *parser, struct config_vm *vm)
{
    if (vm->firmware[0] != '\0' || vm->fw_file_count != 0)
        vm->has_fw_cfg = true;
    if (vm->has_fw_cfg && vm->no_fw_cfg_line != 0)
        config_report(parser, vm->no_fw_cfg_line,
                      "[vm %s] has fw-cfg = no, and %s needs it; remove one of both", vm->name,
                      vm->firmware[0] != '\0' ? "its firmware" : "fw-cfg-file");
    for (uint32_t i = 0; i < vm->fw_file_count; i++)
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(vm->fw_file[i].name, vm->fw_file[j].name) == 0)
                config_report(parser, vm->fw_file[i].line,
                              "[vm %s] has a file %s of fw-cfg in line %u already", vm->name,
                              vm->fw_file[i].name, vm->fw_file[j].line);
}

static void check_vms(const struct config_parser *parser)
{
    struct config *config = parser->config;
    if (config->vm_count == 0 && parser->errors->count == 0)
        config_report(parser, 0, "there is no guest; add a section [vm NAME] with 'kernel = FILE'");
    for (uint32_t i = 0; i < config->vm_count; i++) {
        struct config_vm *vm = &config->vm[i];
        if (!vm->has_kernel && vm->firmware[0] == '\0')
            config_report(parser, vm->line, "[vm %s] has no kernel; add 'kernel = FILE'", vm->name);
        if (config->run == CONFIG_RUN_SEQUENCE)
            check_sequence(parser, vm);
        if ((vm->load != 0 || vm->mode != 0) && vm->format != LOAD_FLAT)
            config_report(parser, vm->format_line,
                          "[vm %s]: load and mode say where a flat binary goes; add 'format = "
                          "flat', or remove them",
                          vm->name);
        check_firmware(parser, vm);
        check_fw_cfg(parser, vm);
        if (vm->action_line != 0 && !vm->has_watchdog)
            config_report(
                parser, vm->action_line,
                "[vm %s]: watchdog-action is what a watchdog does; add 'watchdog = ib700'",
                vm->name);
        if (vm->success_line != 0 && !vm->has_debug_exit)
            config_report(parser, vm->success_line,
                          "[vm %s]: debug-exit-success says which value of debug-exit passes; add "
                          "'debug-exit = PORT'",
                          vm->name);
        check_patterns(parser, vm);
        for (uint32_t j = 0; j < i; j++)
            if (vm->pin != CONFIG_PIN_ANY && config->vm[j].pin == vm->pin)
                config_report(parser, vm->pin_line,
                              "[vm %s] is pinned to processor %u, as [vm %s]; each "
                              "guest needs a processor of its own",
                              vm->name, vm->pin, config->vm[j].name);
    }
}

/* A slot is a place for a file's name: SLOTS for each VM (kernel, initrd, disks, files of
 * fw-cfg, firmware, its variables, symbols), then one for each module. */
#define SLOT_FW (2 + CONFIG_DISKS_MAX)
#define SLOT_FIRMWARE (SLOT_FW + CONFIG_FW_FILES_MAX)
#define SLOT_FIRMWARE_VARS (SLOT_FIRMWARE + 1)
#define SLOT_SYMBOLS (SLOT_FIRMWARE_VARS + 1)
#define SLOTS (SLOT_SYMBOLS + 1)

static unsigned slot_count(const struct config *config)
{
    return config->vm_count * SLOTS + config->module_count;
}

/* The module that the slot is; NULL: it is a VM's. */
static const struct config_module *module_slot(const struct config *config, unsigned slot)
{
    unsigned first = config->vm_count * SLOTS;
    return slot >= first ? &config->module[slot - first] : NULL;
}

static uint32_t slot_line(const struct config *config, unsigned slot)
{
    unsigned i = slot % SLOTS;
    if (module_slot(config, slot) != NULL)
        return module_slot(config, slot)->line;
    const struct config_vm *vm = &config->vm[slot / SLOTS];
    if (i >= SLOT_FIRMWARE)
        return i == SLOT_FIRMWARE        ? vm->firmware_line
               : i == SLOT_FIRMWARE_VARS ? vm->firmware_vars_line
                                         : vm->symbols_line;
    if (i >= SLOT_FW)
        return vm->fw_file[i - SLOT_FW].line;
    return i == 0 ? vm->kernel_line : i == 1 ? vm->initrd_line : vm->disk[i - 2].line;
}

static const char *file_slot(const struct config *config, unsigned slot)
{
    unsigned i = slot % SLOTS;
    if (module_slot(config, slot) != NULL)
        return module_slot(config, slot)->file;
    const struct config_vm *vm = &config->vm[slot / SLOTS];
    const char *name = i == 0                    ? vm->kernel
                       : i == 1                  ? vm->initrd
                       : i == SLOT_FIRMWARE      ? vm->firmware
                       : i == SLOT_FIRMWARE_VARS ? vm->firmware_vars
                       : i == SLOT_SYMBOLS       ? vm->symbols
                       : i >= SLOT_FW            ? vm->fw_file[i - SLOT_FW].file
                                                 : vm->disk[i - 2].file;
    return name[0] != '\0' ? name : NULL;
}

const char *config_file(const struct config *config, unsigned index, uint32_t *line)
{
    if (index >= config->file_count)
        return NULL;
    *line = slot_line(config, config->file[index]);
    return file_slot(config, config->file[index]);
}

/* Whether the slot's file has its place already. */
static bool is_known(const struct config *config, unsigned slot)
{
    for (uint32_t i = 0; i < config->file_count; i++)
        if (strcmp(file_slot(config, config->file[i]), file_slot(config, slot)) == 0)
            return true;
    return false;
}

static void check_case(const struct config_parser *parser, unsigned slot)
{
    const struct config *config = parser->config;
    const char *name = file_slot(config, slot);
    for (uint32_t i = 0; i < config->file_count; i++) {
        const char *other = file_slot(config, config->file[i]);
        if (!config_same_but_case(name, other))
            continue;
        config_report(
            parser, slot_line(config, slot),
            "the files %s and %s differ in case only, which the image's file system cannot "
            "keep apart",
            other, name);
        return;
    }
}

static void collect_files(const struct config_parser *parser)
{
    struct config *config = parser->config;
    for (unsigned slot = 0; slot < slot_count(config); slot++) {
        if (file_slot(config, slot) == NULL || is_known(config, slot))
            continue;
        if (config->file_count == CONFIG_FILES_MAX) {
            config_report(parser, slot_line(config, slot), "too many files; %u are allowed",
                          CONFIG_FILES_MAX);
            return;
        }
        check_case(parser, slot);
        config->file[config->file_count++] = (uint16_t)slot;
    }
}

void config_check(const struct config_parser *parser)
{
    struct config *config = parser->config;
    if (config->terminal == CONFIG_TERMINAL_DEFAULT)
        config->terminal =
            config->run == CONFIG_RUN_SEQUENCE ? CONFIG_TERMINAL_LINES : CONFIG_TERMINAL_FOCUS;
    check_vms(parser);
    if (parser->errors->count != 0)
        return;
    check_uarts(parser);
    collect_files(parser);
}

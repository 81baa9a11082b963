/* The keys of the configuration: one row and one function each. */
#include "kernel/core/fmt.h"
#include "kernel/core/mem.h"
#include "kernel/vm/config_parser.h"
#include "kernel/vm/guest_map.h"

static void parse_word(struct config_parser *parser, const char *const *words, const char *allowed,
                       int *index)
{
    int found = config_word(parser->value, words);
    if (found < 0)
        config_report_value(parser, allowed);
    else
        *index = found;
}

static void parse_path(struct config_parser *parser, struct config_slice name, char *to)
{
    const char *fault = config_path(name, to, CONFIG_PATH_MAX);
    if (fault != NULL)
        config_report_value(parser, fault);
}

static void parse_console(struct config_parser *parser)
{
    if (config_uart(parser->value, &parser->config->console) != STATUS_OK)
        config_report_value(parser, "allowed are com1, com2, or an I/O port from 1 to 0xfff8");
}

static void parse_gdb(struct config_parser *parser)
{
    parser->config->gdb_line = parser->line;
    if (config_uart(parser->value, &parser->config->gdb) != STATUS_OK)
        config_report_value(parser, "allowed are com1, com2, or an I/O port from 1 to 0xfff8");
}

static void parse_loglevel(struct config_parser *parser)
{
    static const char *const words[] = {"error", "warn", "info", "debug", NULL};
    STATIC_ASSERT(LOG_ERROR == 0 && LOG_WARN == 1 && LOG_INFO == 2 && LOG_DEBUG == 3,
                  "the words stand in the order of the levels");
    int index = (int)parser->config->loglevel;
    parse_word(parser, words, "allowed are error, warn, info, debug", &index);
    parser->config->loglevel = (enum log_level)index;
}

static void parse_on_idle(struct config_parser *parser)
{
    static const char *const words[] = {"poweroff", "reboot", "wait", NULL};
    int index = (int)parser->config->on_idle;
    parse_word(parser, words, "allowed are poweroff, reboot, wait", &index);
    parser->config->on_idle = (enum config_on_idle)index;
}

static void parse_escape(struct config_parser *parser)
{
    if (config_control_key(parser->value, &parser->config->escape) != STATUS_OK)
        config_report_value(parser,
                            "allowed are ctrl-a to ctrl-z, ctrl-], ctrl-\\, ctrl-^, ctrl-_");
}

/* Whether the UART is free is seen when all is read. */
static void parse_shell(struct config_parser *parser)
{
    parser->config->shell_line = parser->line;
    if (config_uart(parser->value, &parser->config->shell) != STATUS_OK)
        config_report_value(parser, "allowed are com1, com2, or an I/O port from 1 to 0xfff8");
}

static void parse_run(struct config_parser *parser)
{
    static const char *const words[] = {"parallel", "sequence", NULL};
    int index = (int)parser->config->run;
    parse_word(parser, words, "allowed are parallel, sequence", &index);
    parser->config->run = (enum config_run)index;
}

static void parse_terminal(struct config_parser *parser)
{
    static const char *const words[] = {"focus", "lines", NULL};
    int index = CONFIG_TERMINAL_FOCUS - 1;
    parse_word(parser, words, "allowed are focus, lines", &index);
    parser->config->terminal = (enum config_terminal)(index + 1);
}

static void parse_memory(struct config_parser *parser)
{
    uint64_t bytes = 0;
    parser->vm->memory_line = parser->line;
    enum status status = config_size(parser->value, &bytes);
    if (status == ERR_INVALID)
        config_report_value(parser, "not a number of bytes; write for example 256M (K, M or G)");
    else if (status != STATUS_OK || bytes < GUEST_MEMORY_MIN || bytes > GUEST_MEMORY_MAX)
        config_report_value(parser, "allowed are 2M to 1024G");
    else if (bytes % PAGE_SIZE != 0)
        config_report_value(parser, "must be a multiple of 4K");
    else
        parser->vm->memory = bytes;
}

static void parse_kernel(struct config_parser *parser)
{
    parser->vm->has_kernel = true;
    parser->vm->kernel_line = parser->line;
    parse_path(parser, parser->value, parser->vm->kernel);
}

static void parse_firmware(struct config_parser *parser)
{
    parser->vm->firmware_line = parser->line;
    parse_path(parser, parser->value, parser->vm->firmware);
}

static void parse_firmware_vars(struct config_parser *parser)
{
    parser->vm->firmware_vars_line = parser->line;
    parse_path(parser, parser->value, parser->vm->firmware_vars);
}

static void parse_initrd(struct config_parser *parser)
{
    parser->vm->initrd_line = parser->line;
    parse_path(parser, parser->value, parser->vm->initrd);
}

static void parse_symbols(struct config_parser *parser)
{
    parser->vm->symbols_line = parser->line;
    parse_path(parser, parser->value, parser->vm->symbols);
}

static void parse_format(struct config_parser *parser)
{
    static const char *const words[] = {"linux", "pvh",  "multiboot", "multiboot2",
                                        "elf",   "flat", NULL};
    STATIC_ASSERT(LOAD_LINUX == 1 && LOAD_FLAT == 6, "the words stand in the order of the formats");
    int index = -1;
    parse_word(parser, words, "allowed are linux, pvh, multiboot, multiboot2, elf, flat", &index);
    parser->vm->format = (enum load_format)(index + 1);
    parser->vm->start_line = parser->line;
    parser->vm->format_line = parser->line;
}

static void parse_bits(struct config_parser *parser, uint8_t *bits)
{
    static const char *const words[] = {"16", "32", "64", NULL};
    int index = 0;
    parse_word(parser, words, "allowed are 16, 32, 64", &index);
    *bits = (uint8_t)(16 << index);
}

static void parse_entry(struct config_parser *parser)
{
    parser->vm->start_line = parser->line;
    parse_bits(parser, &parser->vm->entry);
}

static void parse_mode(struct config_parser *parser)
{
    parser->vm->format_line = parser->line;
    parse_bits(parser, &parser->vm->mode);
}

static void parse_load(struct config_parser *parser)
{
    uint64_t address = 0;
    parser->vm->format_line = parser->line;
    if (config_size(parser->value, &address) != STATUS_OK || address < PAGE_SIZE ||
        address >= GIB(4))
        config_report_value(parser, "allowed is an address from 0x1000 to 4G, for example 1M");
    else
        parser->vm->load = address;
}

/* The arguments stay in the configuration's text. */
static void parse_module(struct config_parser *parser)
{
    struct config *config = parser->config;
    if (config->module_count == CONFIG_MODULES_MAX || parser->modules == CONFIG_VM_MODULES_MAX) {
        config_report_value(parser,
                            "too many modules; 64 are allowed for a VM, 256 in a configuration");
        return;
    }
    struct config_module *module = &config->module[config->module_count++];
    parser->modules++;
    struct config_slice name = parser->value, arguments = {parser->text, 0}, tabbed = name, rest;
    (void)config_slice_split(&name, ' ', &arguments);
    if (config_slice_split(&tabbed, '\t', &rest) && tabbed.length < name.length) {
        name = tabbed;
        arguments = rest;
    }
    module->line = parser->line;
    module->vm = (uint32_t)(parser->vm - config->vm);
    module->arguments = (uint32_t)(arguments.at - parser->text);
    module->arguments_size = (uint32_t)arguments.length;
    parse_path(parser, name, module->file);
}

static void parse_cmdline(struct config_parser *parser)
{
    parser->vm->cmdline_line = parser->line;
    if (parser->value.length >= CONFIG_CMDLINE_MAX) {
        config_report(parser, parser->line, "cmdline is %zu bytes long; 4095 are allowed",
                      parser->value.length);
        return;
    }
    memcpy(parser->vm->cmdline, parser->value.at, parser->value.length);
}

static void parse_disk(struct config_parser *parser)
{
    struct config_vm *vm = parser->vm;
#ifndef PLANTED_BUG_CONFIG /* for the fuzzer's own test */
    if (vm->disk_count == CONFIG_DISKS_MAX) {
        config_report_value(parser, "a VM may have 8 disks");
        return;
    }
#endif
    struct config_disk *disk = &vm->disk[vm->disk_count++];
    struct config_slice name = parser->value, option;
    disk->line = parser->line;
    if (config_slice_split(&name, ',', &option)) {
        disk->read_only = config_slice_is(option, "ro");
        if (!disk->read_only && !config_slice_is(option, "discard")) {
            config_report_value(parser,
                                "after the comma, allowed are ro and discard (a file name with a "
                                "comma goes between quotation marks)");
            return;
        }
    }
    parse_path(parser, name, disk->file);
}

static void parse_on_reset(struct config_parser *parser)
{
    static const char *const words[] = {"reset", "stop", NULL};
    int index = (int)parser->vm->on_reset;
    parse_word(parser, words, "allowed are reset, stop", &index);
    parser->vm->on_reset = (enum config_on_reset)index;
}

static void parse_on_end(struct config_parser *parser)
{
    static const char *const words[] = {"stop", "restart", NULL};
    int index = (int)parser->vm->on_end;
    parse_word(parser, words, "allowed are stop, restart", &index);
    parser->vm->on_end = (enum config_on_end)index;
}

static void parse_debug_exit(struct config_parser *parser)
{
    uint64_t port = 0;
    /* The device has four ports. */
    if (config_number(parser->value, &port) != STATUS_OK || port == 0 || port > 0xfffc) {
        config_report_value(parser, "allowed is an I/O port from 1 to 0xfffc, for example 0xf4");
        return;
    }
    parser->vm->has_debug_exit = true;
    parser->vm->debug_exit = (uint16_t)port;
}

static void parse_debug_exit_success(struct config_parser *parser)
{
    uint64_t value = 0;
    parser->vm->success_line = parser->line;
    if (config_number(parser->value, &value) != STATUS_OK || value > UINT32_MAX)
        config_report_value(parser, "allowed is a value from 0 to 0xffffffff, for example 0x10");
    else
        parser->vm->debug_exit_success = (uint32_t)value;
}

/* A port that a device has for itself alone. */
static void parse_port(struct config_parser *parser, const char *allowed, uint16_t *to)
{
    uint64_t port = 0;
    if (config_number(parser->value, &port) != STATUS_OK || port == 0 || port > 0xffff)
        config_report_value(parser, allowed);
    else
        *to = (uint16_t)port;
}

static void parse_debug_console(struct config_parser *parser)
{
    parse_port(parser, "allowed is an I/O port from 1 to 0xffff, for example 0xe9",
               &parser->vm->debug_console);
}

static void parse_shutdown_port(struct config_parser *parser)
{
    parse_port(parser, "allowed is an I/O port from 1 to 0xffff, for example 0x8900",
               &parser->vm->shutdown_port);
}

static void parse_switch(struct config_parser *parser, bool *to)
{
    static const char *const words[] = {"no", "yes", NULL};
    int index = *to;
    parse_word(parser, words, "allowed are yes, no", &index);
    *to = index != 0;
}

static void parse_pc_testdev(struct config_parser *parser)
{
    parse_switch(parser, &parser->vm->has_pc_testdev);
}

static void parse_pvpanic(struct config_parser *parser)
{
    parse_switch(parser, &parser->vm->has_pvpanic);
}

static void parse_fw_cfg(struct config_parser *parser)
{
    parse_switch(parser, &parser->vm->has_fw_cfg);
    if (!parser->vm->has_fw_cfg)
        parser->vm->no_fw_cfg_line = parser->line;
}

/* NAME FILE, which makes the device. */
static void parse_fw_cfg_file(struct config_parser *parser)
{
    struct config_vm *vm = parser->vm;
    struct config_slice name = parser->value, path;
    if (vm->fw_file_count == CONFIG_FW_FILES_MAX) {
        config_report_value(parser, "a VM may have 4 files of fw-cfg");
        return;
    }
    if (!config_slice_split(&name, ' ', &path) || path.length == 0 ||
        name.length >= CONFIG_FW_NAME_MAX) {
        config_report_value(parser,
                            "allowed is NAME FILE, for example opt/org.example/key key.txt; "
                            "a name has up to 55 characters");
        return;
    }
    struct config_fw_file *file = &vm->fw_file[vm->fw_file_count++];
    file->line = parser->line;
    memcpy(file->name, name.at, name.length);
    parse_path(parser, path, file->file);
}

static void parse_watchdog(struct config_parser *parser)
{
    static const char *const words[] = {"no", "ib700", NULL};
    int index = 0;
    parse_word(parser, words, "allowed are ib700, no", &index);
    parser->vm->has_watchdog = index != 0;
}

static void parse_watchdog_action(struct config_parser *parser)
{
    static const char *const words[] = {"reset", "stop", "nmi", "none", NULL};
    parser->vm->action_line = parser->line;
    int index = (int)parser->vm->watchdog_action;
    parse_word(parser, words, "allowed are reset, stop, nmi, none", &index);
    parser->vm->watchdog_action = (enum config_watchdog_action)index;
}

static void parse_pin(struct config_parser *parser)
{
    uint64_t processor = 0;
    parser->vm->pin_line = parser->line;
    if (config_number(parser->value, &processor) != STATUS_OK || processor > 255)
        config_report_value(parser, "allowed is the number of a processor, from 0 to 255");
    else
        parser->vm->pin = (uint32_t)processor;
}

static void parse_accounting(struct config_parser *parser)
{
    parse_switch(parser, &parser->vm->has_accounting);
}

static void parse_trace(struct config_parser *parser)
{
    uint64_t exits = 0;
    if (config_number(parser->value, &exits) != STATUS_OK || exits == 0 || exits > CONFIG_TRACE_MAX)
        config_report_value(parser, "allowed is a number of exits, from 1 to 1048576");
    else
        parser->vm->trace = (uint32_t)exits;
}

static void parse_timeout(struct config_parser *parser)
{
    uint64_t ms = 0;
    enum status status = config_duration(parser->value, &ms);
    if (status == ERR_INVALID)
        config_report_value(parser, "not a time; write for example 60s (ms, s, m or h)");
    else if (status != STATUS_OK || ms == 0 || ms > CONFIG_TIMEOUT_MAX)
        config_report_value(parser, "allowed are 1ms to 1000h");
    else
        parser->vm->timeout = ms;
}

/* Whether it is right is seen when all of the VM's are there. */
static void parse_pattern(struct config_parser *parser)
{
    struct config_vm *vm = parser->vm;
    struct config_slice text = config_slice_unquote(parser->value);
    if (vm->pattern_count == CONFIG_PATTERNS_MAX) {
        config_report_value(parser, "a VM may have 8 of expect and reject together");
        return;
    }
    if (text.length > CONFIG_PATTERN_TEXT_MAX - vm->pattern_used) {
        config_report_value(parser, "the VM's patterns have more than 1024 bytes together");
        return;
    }
    vm->pattern[vm->pattern_count++] = (struct config_pattern){
        .line = parser->line,
        .column = (uint16_t)(text.at - parser->line_at + 1),
        .at = (uint16_t)vm->pattern_used,
        .length = (uint16_t)text.length,
        .rejects = config_slice_is(parser->key, "reject"),
    };
    memcpy(vm->pattern_text + vm->pattern_used, text.at, text.length);
    vm->pattern_used += (uint32_t)text.length;
}

static void parse_on_panic(struct config_parser *parser)
{
    static const char *const words[] = {"stop", "reset", "ignore", NULL};
    int index = (int)parser->vm->on_panic;
    parse_word(parser, words, "allowed are stop, reset, ignore", &index);
    parser->vm->on_panic = (enum config_on_panic)index;
    parser->vm->on_panic_line = parser->line;
}

static void parse_start(struct config_parser *parser)
{
    static const char *const words[] = {"run", "paused", NULL};
    int index = parser->vm->starts_paused;
    parse_word(parser, words, "allowed are run, paused", &index);
    parser->vm->starts_paused = index != 0;
}

static void parse_hvc(struct config_parser *parser)
{
    struct config_vm *vm = parser->vm;
    if (vm->hvc_count == CONFIG_HVCS_MAX) {
        config_report_value(parser, "a VM may have 8 ports of its virtio console");
        return;
    }
    struct config_hvc *hvc = &vm->hvc[vm->hvc_count++];
    hvc->line = parser->line;
    hvc->loop = config_slice_is(parser->value, "loop");
    if (!hvc->loop && config_uart(parser->value, &hvc->port) != STATUS_OK)
        config_report_value(parser,
                            "allowed are com1, com2, loop, or an I/O port from 1 to 0xfff8");
}

/* ---- Keys ---- */

struct key {
    const char *name;
    bool repeatable;
    void (*parse)(struct config_parser *parser); /* of parser->value */
};

static const struct key traprock_keys[] = {
    {"console", false, parse_console},
    {"loglevel", false, parse_loglevel},
    {"on-idle", false, parse_on_idle},
    {"escape", false, parse_escape},
    {"shell", false, parse_shell},
    {"run", false, parse_run},
    {"terminal", false, parse_terminal},
    {"gdb", false, parse_gdb},
    {NULL, false, NULL},
};

static const struct key vm_keys[] = {
    {"memory", false, parse_memory},
    {"kernel", false, parse_kernel},
    {"firmware", false, parse_firmware},
    {"firmware-vars", false, parse_firmware_vars},
    {"format", false, parse_format},
    {"entry", false, parse_entry},
    {"load", false, parse_load},
    {"mode", false, parse_mode},
    {"initrd", false, parse_initrd},
    {"symbols", false, parse_symbols},
    {"module", true, parse_module},
    {"cmdline", false, parse_cmdline},
    {"disk", true, parse_disk},
    {"on-reset", false, parse_on_reset},
    {"on-end", false, parse_on_end},
    {"debug-exit", false, parse_debug_exit},
    {"debug-exit-success", false, parse_debug_exit_success},
    {"debug-console", false, parse_debug_console},
    {"shutdown-port", false, parse_shutdown_port},
    {"pc-testdev", false, parse_pc_testdev},
    {"pvpanic", false, parse_pvpanic},
    {"fw-cfg", false, parse_fw_cfg},
    {"fw-cfg-file", true, parse_fw_cfg_file},
    {"watchdog", false, parse_watchdog},
    {"watchdog-action", false, parse_watchdog_action},
    {"pin", false, parse_pin},
    {"hvc", true, parse_hvc},
    {"timeout", false, parse_timeout},
    {"expect", true, parse_pattern},
    {"reject", true, parse_pattern},
    {"on-panic", false, parse_on_panic},
    {"start", false, parse_start},
    {"accounting", false, parse_accounting},
    {"trace", false, parse_trace},
    {NULL, false, NULL},
};

static void report_unknown_key(const struct config_parser *parser, const struct key *keys)
{
    char list[512];
    size_t used = 0;
    for (unsigned i = 0; keys[i].name != NULL; i++)
        used += (size_t)fmt_format(list + used, sizeof(list) - used, "%s%s", i == 0 ? "" : ", ",
                                   keys[i].name);
    bool cut = parser->key.length > CONFIG_ECHO_MAX;
    config_report(parser, parser->line, "unknown key '%.*s%s'; allowed are %s",
                  (int)(cut ? CONFIG_ECHO_MAX : parser->key.length), parser->key.at,
                  cut ? "..." : "", list);
}

void config_parse_key(struct config_parser *parser)
{
    const struct key *keys = parser->section == SECTION_VM ? vm_keys : traprock_keys;
    unsigned i = 0;
    while (keys[i].name != NULL && !config_slice_is(parser->key, keys[i].name))
        i++;
    if (keys[i].name == NULL) {
        report_unknown_key(parser, keys);
        return;
    }
    if ((parser->seen & 1ull << i) != 0 && !keys[i].repeatable) {
        config_report(parser, parser->line, "%s is set a second time in this section",
                      keys[i].name);
        return;
    }
    parser->seen |= 1ull << i;
    keys[i].parse(parser);
}

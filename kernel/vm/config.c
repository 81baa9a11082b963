#include "kernel/vm/config.h"

#include "kernel/core/fmt.h"
#include "kernel/core/mem.h"
#include "kernel/vm/config_parser.h"
#include "kernel/vm/platform.h"

#define MESSAGE_MAX 640

/* ---- Messages ---- */

static void append(struct config_errors *errors, const char *message)
{
    size_t length = strlen(message);
    if (errors->used + length + 1 > errors->size)
        return;
    memcpy(errors->text + errors->used, message, length + 1);
    errors->used += length;
}

static void vreport(const struct config_parser *parser, uint32_t line, const char *format,
                    va_list args)
{
    char what[MESSAGE_MAX], message[MESSAGE_MAX + CONFIG_PATH_MAX + 16];
    struct config_errors *errors = parser->errors;
    if (errors->count++ >= CONFIG_ERRORS_MAX)
        return;
    fmt_vformat(what, sizeof(what), format, args);
    if (line != 0)
        fmt_format(message, sizeof(message), "%.*s:%u: %s\n", CONFIG_PATH_MAX, parser->file_name,
                   line, what);
    else
        fmt_format(message, sizeof(message), "%.*s: %s\n", CONFIG_PATH_MAX, parser->file_name,
                   what);
    append(errors, message);
}

void config_report(const struct config_parser *parser, uint32_t line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vreport(parser, line, format, args);
    va_end(args);
}

void config_report_value(const struct config_parser *parser, const char *what)
{
    struct config_slice value = parser->value;
    bool cut = value.length > CONFIG_ECHO_MAX;
    config_report(parser, parser->line, "%.*s = %.*s%s: %s", (int)parser->key.length,
                  parser->key.at, (int)(cut ? CONFIG_ECHO_MAX : value.length), value.at,
                  cut ? "..." : "", what);
}

/* ---- Sections ---- */

static void open_traprock(struct config_parser *parser)
{
    parser->section = SECTION_TRAPROCK;
    if (parser->has_traprock)
        config_report(parser, parser->line, "[traprock] stands a second time");
    parser->has_traprock = true;
}

static bool is_vm_name(struct config_slice name)
{
    for (size_t i = 0; i < name.length; i++) {
        char c = name.at[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!is_letter && !(c >= '0' && c <= '9') && c != '-' && c != '_' && c != '.')
            return false;
    }
    return name.length != 0 && name.length < CONFIG_NAME_MAX;
}

static void open_vm(struct config_parser *parser, struct config_slice name)
{
    struct config *config = parser->config;
    if (!is_vm_name(name)) {
        config_report(parser, parser->line,
                      "a VM's section is [vm NAME], with 1 to 31 letters, digits, '-', '_' or '.'");
        return;
    }
    if (config_slice_is(name, "traprock")) {
        config_report(parser, parser->line, "the name traprock is the monitor's own");
        return;
    }
    for (uint32_t i = 0; i < config->vm_count; i++)
        if (config_slice_is(name, config->vm[i].name)) {
            config_report(parser, parser->line,
                          "[vm %s] stands a second time; the first is in line %u",
                          config->vm[i].name, config->vm[i].line);
            return;
        }
    if (config->vm_count == CONFIG_VMS_MAX) {
        config_report(parser, parser->line, "too many VMs; %u are allowed", CONFIG_VMS_MAX);
        return;
    }
    parser->vm = &config->vm[config->vm_count++];
    memset(parser->vm, 0, sizeof(*parser->vm));
    parser->vm->line = parser->vm->memory_line = parser->vm->kernel_line = parser->line;
    parser->vm->initrd_line = parser->vm->format_line = parser->vm->pin_line = parser->line;
    parser->vm->memory = CONFIG_MEMORY_DEFAULT;
    parser->vm->pin = CONFIG_PIN_ANY;
    memcpy(parser->vm->name, name.at, name.length);
    parser->section = SECTION_VM;
}

/* The text between the brackets: a word, and behind blanks a name. */
static void open_section(struct config_parser *parser, struct config_slice header)
{
    parser->section = SECTION_BAD;
    parser->vm = NULL;
    parser->seen = 0;
    parser->modules = 0;
    size_t length = 0;
    while (length < header.length && header.at[length] != ' ' && header.at[length] != '\t')
        length++;
    struct config_slice name = {header.at + length, header.length - length};
    name = config_slice_trim(name);
    header.length = length;
    if (config_slice_is(header, "traprock") && name.length == 0)
        open_traprock(parser);
    else if (config_slice_is(header, "vm"))
        open_vm(parser, name);
    else
        config_report(parser, parser->line,
                      "unknown section; allowed are [traprock] and [vm NAME]");
}

/* ---- Lines ---- */

/* What makes a line unreadable as text, or NULL. */
static const char *line_fault(struct config_slice line)
{
    if (line.length > CONFIG_LINE_MAX)
        return "the line is longer than 8192 bytes";
    for (size_t i = 0; i < line.length; i++) {
        unsigned char c = (unsigned char)line.at[i];
        if (c == 0)
            return "a NUL byte; the configuration must be plain text in UTF-8";
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return "a control character; only printable characters, spaces and tabs are allowed";
    }
    return NULL;
}

static void parse_line(struct config_parser *parser, struct config_slice line)
{
    const char *fault = line_fault(line);
    parser->line_at = line.at;
    if (fault == NULL && config_slice_uncomment(&line) != STATUS_OK)
        fault = "a quotation mark is not closed";
    if (fault != NULL) {
        config_report(parser, parser->line, "%s", fault);
        return;
    }
    line = config_slice_trim(line);
    if (line.length == 0)
        return;
    if (line.at[0] == '[') {
        if (line.at[line.length - 1] != ']')
            config_report(parser, parser->line, "a section's name must end with ']'");
        struct config_slice header = {line.at + 1, line.length - 1};
        header.length -= line.at[line.length - 1] == ']';
        open_section(parser, config_slice_trim(header));
        return;
    }
    parser->key = line;
    if (!config_slice_split(&parser->key, '=', &parser->value) || parser->key.length == 0)
        config_report(parser, parser->line, "not a section and not 'key = value'");
    else if (parser->section == SECTION_NONE)
        config_report(parser, parser->line,
                      "a key before the first section; begin with [traprock] or "
                      "[vm NAME]");
    else if (parser->section != SECTION_BAD && parser->value.length == 0)
        config_report_value(parser, "there is no value");
    else if (parser->section != SECTION_BAD)
        config_parse_key(parser);
}

static void parse_lines(struct config_parser *parser, const char *text, size_t size)
{
    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3;
        size -= 3;
    }
    while (size != 0) {
        size_t length = 0;
        while (length < size && text[length] != '\n')
            length++;
        size_t next = length < size ? length + 1 : length;
        parser->line++;
        struct config_slice line = {text, length};
        line.length -= length != 0 && text[length - 1] == '\r';
        parse_line(parser, line);
        text += next;
        size -= next;
    }
}

enum status config_parse(struct config *config, const char *file_name, const char *text,
                         size_t size, struct config_errors *errors)
{
    struct config_parser parser = {
        .config = config, .file_name = file_name, .text = text, .errors = errors};
    memset(config, 0, offsetof(struct config, vm));
    config->console = PLATFORM_PORT_COM1;
    config->loglevel = LOG_INFO;
    config->escape = 'a' & 0x1f;
    errors->used = 0;
    errors->count = 0;
    errors->text[0] = '\0';
    if (size > CONFIG_SIZE_MAX)
        config_report(&parser, 0, "larger than 1 MiB; is this the configuration?");
    else if (size >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0))
        config_report(&parser, 1, "the text is in UTF-16; save it as UTF-8");
    else
        parse_lines(&parser, text, size);
    config_check(&parser);
    return errors->count == 0 ? STATUS_OK : ERR_INVALID;
}

#include "kernel/debug/gdb_command.h"

#include "kernel/core/fmt.h"
#include "kernel/core/mem.h"

static void say_text(struct gdb_stub *stub, const char *text)
{
    gdb_writer_hex(&stub->writer, text, strlen(text));
}

static void show_guests(struct gdb_stub *stub)
{
    const struct gdb_target *target = stub->target;
    char line[96];
    const char *name;
    for (unsigned i = 0; (name = target->name(target->context, i)) != NULL; i++) {
        fmt_format(line, sizeof(line), "%c %s%s\n", i == stub->guest ? '*' : ' ', name,
                   target->is_alive(target->context, i) ? "" : " (ended)");
        say_text(stub, line);
    }
}

/* gdb does not notice: it has to ask for everything again. */
static void choose_guest(struct gdb_stub *stub, const char *wanted)
{
    const struct gdb_target *target = stub->target;
    const char *name;
    unsigned i = 0;
    if (*wanted == 0) {
        show_guests(stub);
        return;
    }
    while ((name = target->name(target->context, i)) != NULL && strcmp(name, wanted) != 0)
        i++;
    if (name == NULL) {
        say_text(stub, "no guest has this name; `monitor guest` lists them\n");
        return;
    }
    if (i != stub->guest) {
        target->clear_points(target->context, stub->guest);
        target->resume(target->context, stub->guest);
        stub->guest = i;
        stub->vcpu = 0;
        (void)!target->pause(target->context, i);
    }
    say_text(stub, "this guest's from here on, and it stands: enter `maintenance flush "
                   "register-cache`, or attach anew\n");
}

static void reset_guest(struct gdb_stub *stub, const char *rest)
{
    (void)rest;
    stub->target->reset(stub->target->context, stub->guest);
    say_text(stub, "reset; the guest stands before its first instruction: enter `maintenance flush "
                   "register-cache`\n");
}

static void choose_addresses(struct gdb_stub *stub, const char *rest)
{
    if (strcmp(rest, "on") == 0 || strcmp(rest, "off") == 0)
        stub->is_physical = rest[1] == 'n';
    say_text(stub, stub->is_physical ? "addresses are guest-physical\n"
                                     : "addresses are guest-virtual\n");
}

static void help(struct gdb_stub *stub, const char *rest);

static const struct command {
    const char name[12];
    void (*run)(struct gdb_stub *stub, const char *rest);
    const char *help;
} commands[] = {
    {"help", help, "this list"},
    {"guest", choose_guest, "the guests; with a name: that one is debugged from here on"},
    {"physical", choose_addresses, "on, off: what addresses of memory mean"},
    {"reset", reset_guest, "the guest, which then stands before its first instruction"},
};

static void help(struct gdb_stub *stub, const char *rest)
{
    char line[96];
    (void)rest;
    for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
        fmt_format(line, sizeof(line), "%-10s %s\n", commands[i].name, commands[i].help);
        say_text(stub, line);
    }
}

void gdb_command_run(struct gdb_stub *stub, char *text)
{
    size_t word = 0;
    while (text[word] != 0 && text[word] != ' ')
        word++;
    const char *rest = text + word;
    while (*rest == ' ')
        rest++;
    text[word] = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
        if (strcmp(commands[i].name, text) == 0) {
            commands[i].run(stub, rest);
            return;
        }
    }
    say_text(stub, "no such command; `monitor help` shows those that there are\n");
}

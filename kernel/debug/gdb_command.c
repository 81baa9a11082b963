#include "kernel/debug/gdb_command.h"

#include "kernel/core/fmt.h"
#include "kernel/core/mem.h"
#include "kernel/debug/gdb_reply.h"

/* Of output at a time: two digits for each byte. */
#define OUTPUT_PIECE 1024u

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
        fmt_format(line, sizeof(line), "%c %u %s%s\n", i == stub->guest ? '*' : ' ', i + 1, name,
                   target->is_alive(target->context, i) ? "" : " (ended)");
        say_text(stub, line);
    }
}

/* By its name or its number; false: there is none. */
static bool find_guest(const struct gdb_stub *stub, const char *wanted, unsigned *guest)
{
    const struct gdb_target *target = stub->target;
    const char *name;
    char number[12];
    for (*guest = 0; (name = target->name(target->context, *guest)) != NULL; ++*guest) {
        fmt_format(number, sizeof(number), "%u", *guest + 1);
        if (strcmp(name, wanted) == 0 || strcmp(number, wanted) == 0)
            return true;
    }
    return false;
}

void gdb_command_choose_guest(struct gdb_stub *stub, unsigned guest)
{
    const struct gdb_target *target = stub->target;
    if (guest == stub->guest)
        return;
    target->clear_points(target->context, stub->guest);
    if (stub->is_attached)
        target->resume(target->context, stub->guest);
    stub->guest = guest;
    stub->vcpu = 0;
    stub->is_interrupted = false;
    gdb_forget_told(stub);
    stub->stop = (struct gdb_stop){.signal = GDB_SIGNAL_TRAP};
}

/* gdb does not notice: it has to ask for everything again. */
static void choose_guest(struct gdb_stub *stub, const char *wanted)
{
    const struct gdb_target *target = stub->target;
    unsigned guest;
    char line[96];
    if (*wanted == 0) {
        show_guests(stub);
    } else if (!find_guest(stub, wanted, &guest)) {
        say_text(stub, "no guest has this name or number; `monitor guest` lists them\n");
    } else {
        gdb_command_choose_guest(stub, guest);
        if (!stub->is_attached) { /* nobody would let it go on */
            fmt_format(line, sizeof(line),
                       "this guest's from here on; `attach %u`, or `continue` and "
                       "Ctrl-C, stops it\n",
                       guest + 1);
            say_text(stub, line);
            return;
        }
        (void)!target->pause(target->context, guest);
        say_text(stub, "this guest's from here on, and it stands: enter `maintenance flush "
                       "register-cache`, or attach anew\n");
    }
}

static void reset_guest(struct gdb_stub *stub, const char *rest)
{
    (void)rest;
    if (!stub->target->is_alive(stub->target->context, stub->guest)) {
        say_text(stub,
                 "the guest has ended; the shell's `start`, or `run` of an extended-remote gdb, "
                 "runs it again\n");
        return;
    }
    stub->target->reset(stub->target->context, stub->guest);
    gdb_forget_told(stub);
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
static void run_shell(struct gdb_stub *stub, const char *line);

static const struct command {
    const char name[12];
    void (*run)(struct gdb_stub *stub, const char *rest);
    const char *help;
} commands[] = {
    {"help", help, "this list"},
    {"guest", choose_guest, "the guests; with a name or number: that one is debugged from here on"},
    {"physical", choose_addresses, "on, off: what addresses of memory mean"},
    {"reset", reset_guest, "the guest, which then stands before its first instruction"},
};

/* Returns how much of it was sent. */
static size_t send_piece(struct gdb_stub *stub, const char *text, size_t length)
{
    const struct gdb_target *target = stub->target;
    struct gdb_writer *writer = &stub->writer;
    size_t piece = length < OUTPUT_PIECE ? length : OUTPUT_PIECE;
    gdb_writer_begin(writer);
    gdb_writer_byte(writer, 'O');
    gdb_writer_hex(writer, text, piece);
    gdb_writer_end(writer);
    target->send(target->context, writer->data, writer->length);
    return piece;
}

void gdb_command_output(struct gdb_stub *stub, const char *text, size_t length)
{
    for (size_t piece; length > 0; text += piece, length -= piece)
        piece = send_piece(stub, text, length);
    gdb_writer_begin(&stub->writer);
    gdb_writer_text(&stub->writer, "OK");
}

bool gdb_command_continue(struct gdb_stub *stub)
{
    const struct gdb_target *target = stub->target;
    while (stub->output != NULL && target->has_room(target->context)) {
        if (stub->output_left == 0) {
            stub->output = target->command_more(target->context, &stub->output_left);
            continue;
        }
        size_t piece = send_piece(stub, stub->output, stub->output_left);
        stub->output += piece;
        stub->output_left -= piece;
    }
    if (stub->output != NULL)
        return false;
    gdb_writer_begin(&stub->writer);
    gdb_writer_text(&stub->writer, "OK");
    return true;
}

static void run_shell(struct gdb_stub *stub, const char *line)
{
    const struct gdb_target *target = stub->target;
    if (target->command != NULL)
        stub->output = target->command(target->context, stub->guest, line, &stub->output_left);
    if (stub->output == NULL)
        say_text(stub, "no such command; `monitor help` shows those that there are\n");
}

/* This list, then the shell's; `help COMMAND` is the shell's, too. */
static void help(struct gdb_stub *stub, const char *rest)
{
    char line[160];
    bool has_shell = stub->target->command != NULL;
    for (unsigned i = 0; *rest == 0 && i < ARRAY_SIZE(commands); i++) {
        int length =
            fmt_format(line, sizeof(line), "  %-28s %s\n", commands[i].name, commands[i].help);
        if (has_shell)
            gdb_command_output(stub, line, (size_t)length);
        else
            say_text(stub, line);
    }
    fmt_format(line, sizeof(line), "help%s%s", *rest != 0 ? " " : "", rest);
    if (has_shell || *rest != 0)
        run_shell(stub, line);
}

void gdb_command_run(struct gdb_stub *stub, const char *text)
{
    size_t word = 0;
    while (text[word] != 0 && text[word] != ' ')
        word++;
    const char *rest = text + word;
    while (*rest == ' ')
        rest++;
    for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
        if (strlen(commands[i].name) == word && strncmp(commands[i].name, text, word) == 0) {
            commands[i].run(stub, rest);
            return;
        }
    }
    run_shell(stub, text);
}

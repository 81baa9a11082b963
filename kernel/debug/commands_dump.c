/*
 * A guest's core file over the shell's own line, for a program on the other side
 * (kernel/debug/host/traprock_dump.py): blocks as text, each of which can be asked for again. The
 * guest stands as long as that takes.
 */
#include "kernel/core/mem.h"
#include "kernel/debug/debugger.h"
#include "kernel/debug/dump.h"

#define LINE_BYTES 90u /* of a block, in a line of text */
#define LINE_CHARS (LINE_BYTES / 3 * 4)
#define HEAD_ROOM 256u    /* of output, for the lines around a block */
#define TEXT_WANTED 8192u /* of output, if a block is not more */

static void tell(struct shell *shell, const struct dump *dump)
{
    const struct core_dump *core = &dump->core;
    const char *name = dump->guest->vm.name;
    shell_print(shell, "dump: %s id %08x size %lu blocks %u\n", name, core->id, core->size,
                core->blocks);
    if (core->runs.is_cut)
        shell_print(shell, "its page tables map more pieces than there is room for: %u are in\n",
                    core->runs.count);
    shell_print(shell, "%s stands until `dump %s stop`; %s\n", name, name,
                dump_offer(dump->guest->monitor)
                    ? "the program at the line's other end takes the file"
                    : "build/traprock-dump takes the file over this line");
}

/* ---- Blocks as text ------------------------------------------------------------------------- */

/* RFC 4648, of at most LINE_BYTES, and a newline. */
static void print_line(struct shell *shell, const uint8_t *bytes, unsigned count)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char line[LINE_CHARS + 1];
    unsigned used = 0;
    for (unsigned i = 0; i < count; i += 3) {
        unsigned left = count - i;
        uint32_t word = (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                        (left > 2 ? bytes[i + 2] : 0u);
        line[used++] = digit[word >> 18];
        line[used++] = digit[word >> 12 & 63];
        line[used++] = left > 1 ? digit[word >> 6 & 63] : '=';
        line[used++] = left > 2 ? digit[word & 63] : '=';
    }
    line[used++] = '\n';
    shell_write(shell, line, used);
}

static void print_piece(struct shell *shell, const struct core_piece *piece)
{
    shell_print(shell, "dump: block %u size %u used %u crc %08x\n", piece->block, piece->size,
                piece->used, piece->crc);
    for (unsigned i = 0; i < piece->used; i += LINE_BYTES) {
        unsigned left = piece->used - i;
        print_line(shell, piece->bytes + i, left < LINE_BYTES ? left : LINE_BYTES);
    }
}

/* A few, so that little is asked for again after a line was cut; at least one. */
static void print_blocks(struct shell *shell, struct dump *dump, uint32_t from)
{
    struct core_piece *piece = &dump->piece;
    uint32_t next = from, end = from + DUMP_LOOKS;
    STATIC_ASSERT(TEXT_WANTED + DEFLATE_ROOM(CORE_BLOCK) / LINE_BYTES * (LINE_CHARS + 1) <
                      SHELL_OUTPUT_MAX - HEAD_ROOM - LINE_CHARS,
                  "a block of noise finds room, too");
    while (shell->used < TEXT_WANTED && next < end &&
           core_dump_next(&dump->core, &next, end - next, piece))
        print_piece(shell, piece);
    if (next >= dump->core.blocks)
        shell_print(shell, "dump: end\n");
    else
        shell_print(shell, "dump: next %u\n", next);
}

static void run_dump(struct shell *shell, unsigned count, char *const argument[])
{
    struct guest *guest = debug_present_guest(shell, count, argument, 1);
    uint64_t from = 0;
    if (guest == NULL)
        return;
    struct monitor *monitor = guest->monitor;
    bool stops = count > 2 && strcmp(argument[2], "stop") == 0;
    if (count > 2 && !stops && !shell_number(shell, argument[2], &from))
        return;
    struct dump *dump = dump_current(monitor, guest);
    if (stops) {
        dump_end(monitor);
    } else if (count > 2 && (dump == NULL || from > dump->core.blocks)) {
        shell_print(shell,
                    "there is no such block: `dump %s` begins, and says how many there are\n",
                    guest->vm.name);
    } else if (count > 2) {
        print_blocks(shell, dump, (uint32_t)from);
    } else {
        enum status status = dump != NULL ? STATUS_OK : dump_begin(guest);
        if (status == STATUS_OK)
            tell(shell, monitor->dump);
        else
            debug_refused(shell, guest, "no dump", status);
    }
}

static void complete(struct shell *shell, struct completion *completion)
{
    debug_complete_guests(shell, completion);
    completion_offer(completion, "stop");
}

const struct shell_command commands_dump[] = {
    {"dump", "[NAME [BLOCK|stop]]", "send a guest as an ELF core file that gdb opens",
     "The guest is held; build/traprock-dump, on the other side of this line, asks\n"
     "for its blocks by their numbers, goes on where a line was cut, and lets the guest go "
     "(stop).\n",
     run_dump, complete, 0, 2, 0},
    {NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 0},
};

/* Noise into the lines of a monitor, megabytes of it: what comes in is taken from the UART's bytes
 * on, through frames, channels, terminals, the shell and gdb's packets, and all of them answer
 * afterwards. */
#include <stdlib.h>

#include "kernel/core/paging.h"
#include "kernel/core/time.h"
#include "kernel/debug/debugger.h"
#include "kernel/debug/split.h"
#include "tests/check.h"
#include "tests/unit/gdb_world.h"

#define NOISE (10u << 20)
#define PIECE 4096u
#define HEARD_MAX 65536u
#define HZ 1000000000u

static struct monitor monitor;
static struct machine machine;
static struct config config;
static struct debug_shell debug;
static struct mux_guest guest;
static struct link far;
static struct link_channel far_channel[LINK_GUESTS + 1];
static uint8_t far_ring[LINK_GUESTS + 1][1024];
static struct frame_reader far_reader;
static uint64_t now;
static unsigned welcomes, states, echoes, status_requests;
/* What the line has for the monitor, and what was said: plain, and on the shell's channel. */
static const uint8_t *input;
static size_t input_length;
static char heard[HEARD_MAX];
static size_t heard_length;
static char guest_typed[64];
static size_t guest_typed_length;

/* ---- The machine's side ---- */

uint64_t time_now(void)
{
    return now;
}

uint64_t time_tsc_hz(void)
{
    return HZ;
}

void host_lapic_timer_arm(const struct host_lapic *lapic, uint64_t deadline)
{
    (void)lapic;
    (void)deadline;
}

static void *allocated[16];
static unsigned allocations;

enum status pages_alloc(struct pages *pages, uint64_t count, uint64_t alignment,
                        enum page_kind kind, uint16_t owner, hpa_t *base)
{
    (void)pages;
    (void)kind;
    (void)owner;
    CHECK(allocations < ARRAY_SIZE(allocated));
    allocated[allocations] = aligned_alloc(alignment, count * PAGE_SIZE);
    base->v = (uint64_t)(uintptr_t)allocated[allocations++] - PAGING_PHYSMAP;
    return STATUS_OK;
}

static void keep(const void *bytes, size_t count)
{
    if (count > HEARD_MAX - 1 - heard_length)
        heard_length = 0;
    memcpy(heard + heard_length, bytes, count);
    heard_length += count;
    heard[heard_length] = '\0';
}

static void take_frame(void)
{
    const uint8_t *payload = frame_payload(&far_reader);
    if (far_reader.header.channel == LINK_CONTROL && far_reader.length > 0) {
        welcomes += *payload == LINK_WELCOME;
        states += *payload == LINK_STATE;
        if (*payload == LINK_WELCOME)
            link_start(&far, payload[2] == 0);
    }
    link_receive(&far, &far_reader);
}

void serial_line_write(struct serial_line *line, const void *bytes, size_t count)
{
    const uint8_t *at = bytes;
    (void)line;
    for (; count > 0; count--, at++) {
        enum frame_event event = frame_reader_put(&far_reader, *at);
        if (event == FRAME_WHOLE)
            take_frame();
        else if (event == FRAME_PLAIN)
            keep(at, 1);
    }
}

bool serial_line_has_room(struct serial_line *line)
{
    (void)line;
    return true;
}

size_t serial_line_read(struct serial_line *line, void *bytes, size_t count)
{
    (void)line;
    count = count < input_length ? count : input_length;
    memcpy(bytes, input, count);
    input += count;
    input_length -= count;
    return count;
}

void host_uart_write(struct host_uart *uart, const void *bytes, size_t count)
{
    (void)uart;
    (void)bytes;
    (void)count;
}

/* At 115,200 baud. */
static void put(const void *bytes, size_t count)
{
    input = bytes;
    input_length = count;
    monitor.line.input(monitor.line.context);
    CHECK_EQ(input_length, 0);
    now += count * HZ / 11520;
}

static void type(const char *text)
{
    put(text, strlen(text));
}

/* ---- The noise ---- */

static uint64_t state;

static uint32_t draw(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 16);
}

static void any_bytes(uint8_t *to)
{
    for (unsigned i = 0; i < PIECE; i++)
        to[i] = (uint8_t)draw();
}

/* What a line makes of text: mostly characters, some keys that mean something. */
static void any_keys(uint8_t *to)
{
    static const char keys[] = "\r\r\t\t\x03\x04\x0b\x15\x17\x1b[A\x1b[B\x1b[D\x7f\x10 qc\"'";
    for (unsigned i = 0; i < PIECE; i++)
        to[i] = (uint8_t)(draw() % 4 == 0 ? (uint8_t)keys[draw() % (sizeof(keys) - 1)]
                                          : ' ' + draw() % 95);
}

/* Marks, and what stands between them. */
static void any_frames(uint8_t *to)
{
    static const uint8_t marks[] = {FRAME_START, FRAME_END,  FRAME_ESCAPE,
                                    0,           LINK_SHELL, LINK_GUESTS};
    for (unsigned i = 0; i < PIECE; i++)
        to[i] = draw() % 8 == 0 ? marks[draw() % sizeof(marks)] : (uint8_t)draw();
}

/* A share of the noise, which is all of the kind. */
static void make(unsigned shares, void (*kind)(uint8_t *to),
                 void (*take)(const uint8_t *bytes, size_t count))
{
    uint8_t piece[PIECE];
    for (unsigned at = 0; at < NOISE / shares; at += PIECE) {
        kind(piece);
        take(piece, PIECE);
    }
}

/* ---- The monitor ---- */

static void echo(struct shell *shell, unsigned count, char *const argument[])
{
    echoes++;
    for (unsigned i = 1; i < count; i++)
        shell_print(shell, "<%s>\n", argument[i]);
}

static void count_up(struct shell *shell, unsigned count, char *const argument[])
{
    (void)count;
    (void)argument;
    for (unsigned i = 0; i < 1000; i++)
        shell_print(shell, "line %u\n", i);
}

static const struct shell_command table[] = {
    {"e", "[WORD...]", "repeats", "", echo, NULL, 0, 15, SHELL_FORMAT},
    {"c", "", "counts", "", count_up, NULL, 0, 0, SHELL_FORMAT},
    {"help", "[COMMAND]", "helps", "", shell_help, shell_complete_commands, 0, 1, 0},
    {NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 0},
};
static const struct shell_command *const tables[] = {table, NULL};

static void write_line(void *context, const char *bytes, size_t count)
{
    (void)context;
    serial_line_write(NULL, bytes, count);
}

static bool has_room(void *context)
{
    (void)context;
    return true;
}

static void show_status(void *context)
{
    (void)context;
    status_requests++;
}

static void reset_guest(void *context, unsigned number)
{
    (void)context;
    CHECK_EQ(number, 0);
}

static void end_machine(void *context)
{
    (void)context;
}

static void guest_ready(void *context)
{
    uint8_t byte;
    (void)context;
    while (mux_take_input(&guest, &byte)) {
        if (guest_typed_length == sizeof(guest_typed) - 1)
            guest_typed_length = 0;
        guest_typed[guest_typed_length++] = (char)byte;
        guest_typed[guest_typed_length] = '\0';
    }
}

static void start_monitor(void)
{
    static const struct mux_line line = {write_line, has_room, NULL};
    static const struct mux_commands commands = {show_status, reset_guest, end_machine, NULL};
    memset(&monitor, 0, sizeof(monitor));
    memset(&debug, 0, sizeof(debug));
    memset(&guest, 0, sizeof(guest));
    memset(&far_reader, 0, sizeof(far_reader));
    while (allocations > 0)
        free(allocated[--allocations]);
    now = HZ;
    state = 88172645463325252;
    welcomes = states = echoes = status_requests = 0;
    heard_length = 0;
    config.vm_count = 1;
    machine.config = &config;
    monitor.machine = &machine;
    monitor.has_line = true;
    mux_init(&monitor.mux, &line, &commands, 1, 0);
    CHECK_EQ(mux_add(&monitor.mux, &guest, "guest", guest_ready, NULL), STATUS_OK);
    monitor.shell[0] = &debug;
    debug.monitor = &monitor;
    struct shell_ports ports = shell_terminal_on_mux(&debug.terminal, &debug.shell, &monitor.mux);
    shell_init(&debug.shell, &ports, tables, &debug);
    monitor.split = split_start(&monitor);
    CHECK(monitor.split != NULL);
}

/* ---- The program at the other end ---- */

static uint8_t far_out[PIECE * 4];
static size_t far_out_length;

static void far_write(void *context, const void *bytes, size_t count)
{
    (void)context;
    CHECK(count <= sizeof(far_out) - far_out_length);
    memcpy(far_out + far_out_length, bytes, count);
    far_out_length += count;
}

static void far_receive(void *context, const uint8_t *bytes, size_t count)
{
    (void)context;
    keep(bytes, count);
}

static size_t far_room(void *context)
{
    (void)context;
    return 4096;
}

/* What it has to say reaches the monitor, whose answers reach it, until nobody says anything. */
static void exchange(void)
{
    for (unsigned round = 0; round < 1000; round++) {
        link_serve(&far);
        if (far_out_length == 0)
            return;
        uint8_t copy[sizeof(far_out)];
        size_t count = far_out_length;
        memcpy(copy, far_out, count);
        far_out_length = 0;
        put(copy, count);
    }
    CHECK(!"they come to an end");
}

static void begin_frames(void)
{
    struct link_port port = {far_write, has_room, NULL};
    struct link_user user = {far_room, far_receive, NULL, NULL};
    uint8_t hello[] = "Htraprock\x01\xff\1\2\3\4";
    memset(&far, 0, sizeof(far));
    memset(far_channel, 0, sizeof(far_channel));
    far_out_length = 0;
    link_init(&far, &port, far_channel, ARRAY_SIZE(far_channel));
    link_open(&far, LINK_DIRECTORY, NULL, far_ring[LINK_DIRECTORY], sizeof(far_ring[0]), NULL);
    link_open(&far, LINK_MONITOR, "far", far_ring[LINK_MONITOR], sizeof(far_ring[0]), &user);
    link_open(&far, LINK_SHELL, "far", far_ring[LINK_SHELL], sizeof(far_ring[0]), &user);
    link_open(&far, LINK_GUESTS, "far", far_ring[LINK_GUESTS], sizeof(far_ring[0]), &user);
    link_control(&far, (enum link_control)hello[0], hello + 1, sizeof(hello) - 2);
    exchange();
    CHECK_EQ(welcomes, 1);
    CHECK(split_is_on(monitor.split));
}

static void poll_monitor(void)
{
    unsigned before = states;
    link_control(&far, LINK_POLL, NULL, 0);
    exchange();
    /* Of what the noise has begun, the first frame may be the end. */
    if (states == before) {
        link_control(&far, LINK_POLL, NULL, 0);
        exchange();
    }
    CHECK(states > before);
}

static void frames_answer(void)
{
    poll_monitor();
    heard_length = 0;
    CHECK_EQ(link_write(&far, LINK_SHELL, "e frames\r", 9), 9);
    CHECK_EQ(link_write(&far, LINK_GUESTS, "keys", 4), 4);
    guest_typed_length = 0;
    exchange();
    poll_monitor();
    CHECK(strstr(heard, "<frames>") != NULL);
    CHECK_STR(guest_typed, "keys");
}

/* ---- Tests ---- */

static unsigned pieces;

static void put_in_frames(const uint8_t *bytes, size_t count)
{
    put(bytes, count);
    if (++pieces % 64 == 0)
        poll_monitor();
}

/* While the line is split: nothing of it is anybody's. */
static void into_the_split_line(void)
{
    static void (*const kinds[])(uint8_t *) = {any_bytes, any_frames};
    for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
        start_monitor();
        begin_frames();
        frames_answer();
        make(ARRAY_SIZE(kinds), kinds[i], put_in_frames);
        CHECK(split_is_on(monitor.split));
        frames_answer();
        CHECK_EQ(echoes, 2);
        CHECK_EQ(status_requests, 0);
    }
}

/* At a plain terminal it is keys, with all that keys do. */
static void into_the_console(void)
{
    static void (*const kinds[])(uint8_t *) = {any_bytes, any_keys, any_frames};
    for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
        start_monitor();
        make(ARRAY_SIZE(kinds), kinds[i], (void (*)(const uint8_t *, size_t))put);
        unsigned before = status_requests;
        type("\r\x01s");
        CHECK_EQ(status_requests, before + 1);
        if (monitor.mux.focus != MUX_SHELL)
            type("\x01"
                 "c");
        heard_length = 0;
        type("\x03\x03\re plain\r");
        CHECK(strstr(heard, "<plain>") != NULL);
        begin_frames();
        frames_answer();
    }
}

/* The shell's own port, or gdb's. */
static void into_the_shell(void)
{
    static void (*const kinds[])(uint8_t *) = {any_bytes, any_keys};
    for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
        start_monitor();
        struct shell_ports ports =
            shell_terminal_on_line(&debug.terminal, &debug.shell, &monitor.line);
        shell_init(&debug.shell, &ports, tables, &debug);
        shell_enter(&debug.shell);
        make(ARRAY_SIZE(kinds), kinds[i], (void (*)(const uint8_t *, size_t))put);
        CHECK(i == 0 || echoes > 0);
        heard_length = 0;
        type("\x03\x03\re alone\r");
        CHECK(strstr(heard, "<alone>") != NULL);
    }
}

static struct gdb_world world;

/* Half of it packets whose sum is right: a peer that is out of its mind; and some without an end.
 */
static void put_packets(const uint8_t *bytes, size_t count)
{
    static const char hex[] = "0123456789abcdef", kinds[] = "gGpPmMxXqQvZzHTsScC?D!";
    bool has_sum = bytes[0] % 2 == 0, has_marks = bytes[0] % 4 != 1;
    for (size_t i = 0; i < count; i++) {
        uint8_t sum = 0;
        unsigned length = has_sum ? bytes[i] % 64 : 0;
        world.sent_length = 0;
        if (length == 0) {
            if (has_marks || (bytes[i] != '#' && bytes[i] != '$'))
                gdb_stub_input(&world.stub, bytes[i]);
            continue;
        }
        gdb_stub_input(&world.stub, '$');
        for (unsigned j = 0; j < length && i < count; j++, i++) {
            uint8_t byte = (uint8_t)(j == 0              ? kinds[bytes[i] % (sizeof(kinds) - 1)]
                                     : bytes[i] % 4 == 0 ? ",:;="[bytes[i] / 4 % 4]
                                                         : hex[bytes[i] / 4 % 16]);
            sum = (uint8_t)(sum + byte);
            gdb_stub_input(&world.stub, byte);
        }
        gdb_stub_input(&world.stub, '#');
        gdb_stub_input(&world.stub, (uint8_t)hex[sum >> 4]);
        gdb_stub_input(&world.stub, (uint8_t)hex[sum & 15]);
    }
}

static void into_gdbs_port(void)
{
    static const char hello[] = "+$qSupported:swbreak+#8b";
    state = 88172645463325252;
    world_start(&world);
    make(1, any_bytes, put_packets);
    world.sent_length = 0;
    /* gdb says it once more when there is no answer: the noise may have ended as a packet's sum. */
    for (unsigned i = 0; i < 2 * (sizeof(hello) - 1); i++)
        gdb_stub_input(&world.stub, (uint8_t)hello[i % (sizeof(hello) - 1)]);
    CHECK(strstr(world.sent, "PacketSize=") != NULL);
    while (allocations > 0)
        free(allocated[--allocations]);
}

TEST_MAIN({"into_the_split_line", into_the_split_line}, {"into_the_console", into_the_console},
          {"into_the_shell", into_the_shell}, {"into_gdbs_port", into_gdbs_port})

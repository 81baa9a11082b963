#include "kernel/debug/gdb_stub.h"

#include "kernel/core/fmt.h"
#include "kernel/core/mem.h"
#include "kernel/debug/gdb_command.h"
#include "kernel/debug/gdb_reply.h"
#include "kernel/debug/line_edit.h"

static void send_reply(struct gdb_stub *stub)
{
    const struct gdb_target *target = stub->target;
    gdb_writer_end(&stub->writer);
    target->send(target->context, stub->writer.data, stub->writer.length);
}

static bool is_alive(const struct gdb_stub *stub)
{
    return stub->target->is_alive(stub->target->context, stub->guest);
}

static struct gdb_end end_of(const struct gdb_stub *stub)
{
    return stub->target->end(stub->target->context, stub->guest);
}

/* Alive, or dead and still to be looked at. */
static bool is_there(const struct gdb_stub *stub)
{
    return is_alive(stub) || end_of(stub).is_there;
}

/* Without its points, and whatever is asked of it. */
static void leave(struct gdb_stub *stub)
{
    stub->target->clear_points(stub->target->context, stub->guest);
    stub->is_attached = stub->is_running = stub->is_interrupted = false;
}

/* ---- Stops --------------------------------------------------------------------------------- */

static void say_thread(struct gdb_stub *stub, uint32_t vcpu)
{
    gdb_writer_number(&stub->writer, vcpu + 1u);
}

/* What gdb looks at after every step goes along with the stop, so that it need not ask for all
 * registers each time: RBP, RSP, RIP and the flags, by gdb's numbers. */
static void say_first_registers(struct gdb_stub *stub)
{
    static const uint8_t numbers[] = {6, 7, 16, 17};
    if (gdb_load_registers(stub) != STATUS_OK)
        return;
    for (unsigned i = 0; i < sizeof(numbers); i++) {
        gdb_writer_number(&stub->writer, numbers[i]);
        say(stub, ":");
        gdb_say_register(stub, numbers[i]);
        say(stub, ";");
    }
}

static void say_exit(struct gdb_stub *stub)
{
    uint8_t code = end_of(stub).code;
    say(stub, "W");
    gdb_writer_hex(&stub->writer, &code, 1);
}

/* gdb: Stop Reply Packets. */
static void say_stop(struct gdb_stub *stub)
{
    static const char *const reason[GDB_POINTS] = {
        "swbreak:", "hwbreak:", "watch:", "rwatch:", "awatch:"};
    const struct gdb_stop *stop = &stub->stop;
    if (!is_there(stub)) { /* so that it does not stand for a gdb that has left */
        gdb_stub_detach(stub);
        say_exit(stub);
        return;
    }
    say(stub, "T");
    gdb_writer_hex(&stub->writer, &stop->signal, 1);
    say(stub, "thread:");
    say_thread(stub, stop->vcpu);
    say(stub, ";");
    say_first_registers(stub);
    if (!stop->has_point)
        return;
    say(stub, reason[stop->point]);
    if (stop->point >= GDB_POINT_WRITE)
        gdb_writer_number(&stub->writer, stop->address);
    say(stub, ";");
}

void gdb_stub_stopped(struct gdb_stub *stub, unsigned guest, const struct gdb_stop *stop)
{
    if (guest != stub->guest || !stub->is_attached)
        return;
    if (stub->is_running && !is_there(stub))
        return; /* one that dies just now is told of when it stands, or has ended */
    stub->stop = *stop;
    stub->stop.text = NULL;
    stub->vcpu = stop->vcpu;
    if (!stub->is_running)
        return;
    stub->is_running = false;
    if (stop->text != NULL)
        gdb_command_output(stub, stop->text, strlen(stop->text));
    gdb_writer_begin(&stub->writer);
    say_stop(stub);
    send_reply(stub);
}

void gdb_stub_ended(struct gdb_stub *stub, unsigned guest)
{
    if (guest != stub->guest || !stub->is_attached || !stub->is_running)
        return;
    struct gdb_end end = end_of(stub);
    struct gdb_stop stop = {.signal = end.signal};
    if (end.is_dying)
        return;
    if (end.stands) {
        gdb_stub_stopped(stub, guest, &stop);
        return;
    }
    gdb_writer_begin(&stub->writer);
    say_exit(stub);
    send_reply(stub); /* at once: the machine may be about to go off */
    leave(stub);
}

static void stop_guest(struct gdb_stub *stub, uint8_t signal)
{
    const struct gdb_target *target = stub->target;
    if (is_alive(stub) && target->pause(target->context, stub->guest) != STATUS_OK &&
        is_alive(stub))
        return; /* it comes to a stop when its processor looks up; another Ctrl-C asks again */
    struct gdb_stop stop = {.signal = is_alive(stub) ? signal : end_of(stub).signal};
    gdb_stub_stopped(stub, stub->guest, &stop);
}

/* ---- Threads ------------------------------------------------------------------------------- */

/* "1", or "-1" and "0" for any. */
static bool take_thread(const struct gdb_stub *stub, struct packet *packet, unsigned *vcpu)
{
    const struct gdb_target *target = stub->target;
    uint64_t number;
    if (starts_with(packet, "-1")) {
        *vcpu = stub->vcpu;
        return true;
    }
    if (!take_number(packet, &number) || number > target->vcpus(target->context, stub->guest))
        return false;
    *vcpu = number == 0 ? stub->vcpu : (unsigned)number - 1;
    return true;
}

static void choose_thread(struct gdb_stub *stub, struct packet *packet)
{
    unsigned vcpu;
    if (packet->at < packet->end)
        packet->at++; /* 'g' or 'c' */
    if (take_thread(stub, packet, &vcpu)) {
        stub->vcpu = vcpu;
        say(stub, "OK");
    } else {
        say_error(stub, ERROR_NO_ENTRY);
    }
}

static void is_thread_alive(struct gdb_stub *stub, struct packet *packet)
{
    unsigned vcpu;
    if (take_thread(stub, packet, &vcpu) && is_there(stub))
        say(stub, "OK");
    else
        say_error(stub, ERROR_NO_ENTRY);
}

static void list_threads(struct gdb_stub *stub)
{
    const struct gdb_target *target = stub->target;
    unsigned count = target->vcpus(target->context, stub->guest);
    say(stub, "m");
    for (unsigned i = 0; i < count; i++) {
        if (i > 0)
            say(stub, ",");
        say_thread(stub, i);
    }
}

static void describe_thread(struct gdb_stub *stub, struct packet *packet)
{
    const struct gdb_target *target = stub->target;
    char text[80];
    unsigned vcpu;
    if (!take_thread(stub, packet, &vcpu)) {
        say_error(stub, ERROR_NO_ENTRY);
        return;
    }
    int length = fmt_format(text, sizeof(text), "vCPU %u of %s", vcpu,
                            target->name(target->context, stub->guest));
    gdb_writer_hex(&stub->writer, text,
                   (size_t)length < sizeof(text) ? (size_t)length : sizeof(text) - 1);
}

/* ---- Going on ------------------------------------------------------------------------------ */

void gdb_stub_detach(struct gdb_stub *stub)
{
    leave(stub);
    stub->target->resume(stub->target->context, stub->guest);
}

/* One that has ended does not stand afterwards for a gdb that takes its leave. */
static void go_on(struct gdb_stub *stub)
{
    const struct gdb_target *target = stub->target;
    bool alive = is_alive(stub);
    struct gdb_end end = end_of(stub);
    if (!alive && !end.stands && !end.is_dying) {
        gdb_stub_detach(stub);
        say_exit(stub);
        send_reply(stub);
        return;
    }
    stub->is_attached = stub->is_running = true; /* also where somebody has let it go meanwhile */
    if (alive && stub->is_interrupted) {
        stub->is_interrupted = false;
        stop_guest(stub, GDB_SIGNAL_INT);
    } else if (alive || end.stands) {
        target->resume(target->context, stub->guest);
    }
}

/* Nothing but an error is said now. */
static void step(struct gdb_stub *stub, unsigned vcpu, uint64_t start, uint64_t end)
{
    const struct gdb_target *target = stub->target;
    enum status status = STATUS_OK; /* what is dead takes no step, but goes on to its end */
    if (is_alive(stub))
        status = target->step(target->context, stub->guest, vcpu, start, end);
    if (status == STATUS_OK) {
        go_on(stub);
    } else {
        say_status(stub, status);
        send_reply(stub);
    }
}

/* "c", "s", "C 05" and "S 05", with an address to go on from: gdb itself writes registers instead.
 */
static void old_continue(struct gdb_stub *stub, struct packet *packet, bool is_step)
{
    if (packet->at < packet->end && *packet->at != ';') {
        say_error(stub, ERROR_INVALID);
        send_reply(stub);
    } else if (is_step) {
        step(stub, stub->vcpu, 0, 0);
    } else {
        go_on(stub);
    }
}

struct action {
    char kind; /* 'c', 's', 'r' or 't'; 0: none for this thread */
    uint64_t start, end;
};

/* One ";ACTION[:THREAD]" of vCont. False: it is malformed. */
static bool take_action(const struct gdb_stub *stub, struct packet *packet, struct action *action,
                        unsigned *vcpu)
{
    uint64_t signal;
    *vcpu = stub->vcpu;
    if (!take(packet, ';') || packet->at == packet->end)
        return false;
    *action = (struct action){.kind = (char)*packet->at++};
    if (action->kind == 'C' || action->kind == 'S') { /* a guest has no use for gdb's signals */
        if (!take_number(packet, &signal))
            return false;
        action->kind |= 0x20;
    }
    if (action->kind == 'r' && (!take_number(packet, &action->start) || !take(packet, ',') ||
                                !take_number(packet, &action->end) || action->end < action->start))
        return false;
    return !take(packet, ':') || take_thread(stub, packet, vcpu);
}

/* All vCPUs run or stand together: a step of one wins, since the first action that fits a thread
 * is its own. */
static void continue_threads(struct gdb_stub *stub, struct packet *packet)
{
    struct action chosen = {0}, action;
    unsigned vcpu = stub->vcpu, of = vcpu;
    while (packet->at < packet->end) {
        if (!take_action(stub, packet, &action, &of)) {
            say_error(stub, ERROR_INVALID);
            send_reply(stub);
            return;
        }
        if (chosen.kind == 0 || (chosen.kind == 'c' && action.kind != 'c' && of == vcpu)) {
            chosen = action;
            vcpu = of;
        }
    }
    switch (chosen.kind) {
    case 'c':
        go_on(stub);
        return;
    case 's':
        step(stub, vcpu, 0, 0);
        return;
    case 'r':
        step(stub, vcpu, chosen.start, chosen.end);
        return;
    case 't':
        say(stub, "OK");
        send_reply(stub);
        return;
    default:
        say_error(stub, ERROR_INVALID);
        send_reply(stub);
    }
}

/* ---- Breakpoints --------------------------------------------------------------------------- */

static void change_point(struct gdb_stub *stub, struct packet *packet, bool is_set)
{
    const struct gdb_target *target = stub->target;
    uint64_t point, address, size;
    if (!take_number(packet, &point) || !take(packet, ',') ||
        !take_range(packet, &address, &size)) {
        say_error(stub, ERROR_INVALID);
        return;
    }
    if (point >= GDB_POINTS)
        return; /* not known: an empty reply */
    enum status (*change)(void *, unsigned, unsigned, enum gdb_point, bool, uint64_t, uint64_t) =
        is_set ? target->set_point : target->clear_point;
    enum status status = change(target->context, stub->guest, stub->vcpu, (enum gdb_point)point,
                                stub->is_physical, address, size);
    if (status != ERR_UNSUPPORTED)
        say_status(stub, status);
}

/* ---- Questions ----------------------------------------------------------------------------- */

/* A text of which gdb asks for a part. */
static void describe(struct gdb_stub *stub, struct packet *packet,
                     bool (*text)(struct gdb_writer *, uint64_t offset, uint64_t length))
{
    uint64_t offset, length;
    if (!take_range(packet, &offset, &length)) {
        say_error(stub, ERROR_INVALID);
        return;
    }
    length = length < GDB_PACKET_MAX / 2 ? length : GDB_PACKET_MAX / 2;
    say(stub, "m");
    if (!text(&stub->writer, offset, length))
        stub->writer.data[1] = 'l';
}

/* A new gdb: nothing of the last one's is left. */
static void support(struct gdb_stub *stub)
{
    char text[160];
    leave(stub);
    gdb_forget_told(stub);
    stub->is_quiet = stub->is_last_ack = stub->is_physical = stub->is_extended = false;
    stub->vcpu = 0;
    fmt_format(text, sizeof(text),
               "PacketSize=%x;QStartNoAckMode+;qXfer:features:read+;qXfer:memory-map:read+;"
               "vContSupported+;binary-upload+;swbreak+;hwbreak+;QThreadEvents+",
               GDB_PACKET_MAX);
    say(stub, text);
}

static void run_text(struct gdb_stub *stub, struct packet *packet)
{
    static const char too_long[] = "a command has up to 255 characters\n";
    char text[LINE_EDIT_MAX];
    size_t length = (size_t)(packet->end - packet->at) / 2;
    if (length >= sizeof(text)) {
        gdb_writer_hex(&stub->writer, too_long, strlen(too_long));
    } else if (gdb_take_bytes(&packet->at, packet->end, text, length)) {
        text[length] = 0;
        gdb_command_run(stub, text);
    } else {
        say_error(stub, ERROR_INVALID);
    }
}

/* ---- Packets ------------------------------------------------------------------------------- */

static void query(struct gdb_stub *stub, struct packet *packet)
{
    if (starts_with(packet, "Supported"))
        support(stub);
    else if (starts_with(packet, "Xfer:features:read:target.xml:"))
        describe(stub, packet, gdb_description);
    else if (starts_with(packet, "Xfer:memory-map:read::"))
        describe(stub, packet, gdb_memory_map);
    else if (starts_with(packet, "fThreadInfo"))
        list_threads(stub);
    else if (starts_with(packet, "sThreadInfo"))
        say(stub, "l");
    else if (starts_with(packet, "ThreadExtraInfo,"))
        describe_thread(stub, packet);
    else if (starts_with(packet, "Attached"))
        say(stub, "1");
    else if (starts_with(packet, "Rcmd,"))
        run_text(stub, packet);
    else if (starts_with(packet, "Symbol::"))
        say(stub, "OK");
    else if (starts_with(packet, "qemu.PhyMemMode"))
        say(stub, stub->is_physical ? "1" : "0");
    else if (starts_with(packet, "C") && packet->at == packet->end) { /* qCRC: is another */
        say(stub, "QC");
        say_thread(stub, stub->vcpu);
    }
}

static void set(struct gdb_stub *stub, struct packet *packet)
{
    if (starts_with(packet, "StartNoAckMode")) {
        stub->is_quiet = stub->is_last_ack = true;
        say(stub, "OK");
    } else if (starts_with(packet, "ThreadEvents:") || starts_with(packet, "NonStop:0")) {
        say(stub, "OK"); /* vCPUs neither come nor go */
    } else if (starts_with(packet, "qemu.PhyMemMode:")) {
        stub->is_physical = take(packet, '1');
        say(stub, "OK");
    }
}

/* The guest stands now, and gdb sees it. */
static void attach(struct gdb_stub *stub)
{
    if (is_there(stub) && (!stub->is_attached || stub->is_running)) {
        stub->is_attached = true;
        stub->is_running = false;
        stop_guest(stub, GDB_SIGNAL_TRAP);
    }
    say_stop(stub);
}

/* "Attach;2": guests are gdb's processes, from 1 on. */
static void attach_process(struct gdb_stub *stub, struct packet *packet)
{
    const struct gdb_target *target = stub->target;
    uint64_t number;
    if (!take_number(packet, &number) || number == 0 || number > UINT32_MAX ||
        target->name(target->context, (unsigned)number - 1) == NULL) {
        say_error(stub, ERROR_NO_ENTRY);
        return;
    }
    if (number - 1 != stub->guest) {
        gdb_command_choose_guest(stub, (unsigned)number - 1);
        stub->is_attached = false;
    }
    attach(stub);
}

/* gdb leaves with it. */
static void kill(struct gdb_stub *stub)
{
    leave(stub);
    stub->target->kill(stub->target->context, stub->guest);
}

/* gdb: target extended-remote: `run` kills and runs again. So there the guest stands after a kill,
 * and a run resets it, or starts it where it has ended. True: the reply comes with its stop. */
static bool run_again(struct gdb_stub *stub)
{
    const struct gdb_target *target = stub->target;
    enum status status = target->restart(target->context, stub->guest);
    stub->is_attached = stub->is_running = status == STATUS_OK;
    stub->is_interrupted = false;
    gdb_forget_told(stub);
    if (status != STATUS_OK) {
        say_status(stub, status);
        send_reply(stub);
    }
    return true;
}

/* Packets whose reply comes when the guest stops, or never: true. */
static bool run_packet(struct gdb_stub *stub, struct packet *packet, uint8_t kind)
{
    switch (kind) {
    case 'c':
    case 's':
        old_continue(stub, packet, kind == 's');
        return true;
    case 'C':
    case 'S': {
        uint64_t signal;
        (void)take_number(packet, &signal);
        old_continue(stub, packet, kind == 'S');
        return true;
    }
    case 'k':
        kill(stub);
        return true;
    case 'v':
        if (starts_with(packet, "Cont") && packet->at < packet->end && *packet->at == ';') {
            continue_threads(stub, packet);
            return true;
        }
        return starts_with(packet, "Run;") && run_again(stub);
    default:
        return false;
    }
}

static void long_packet(struct gdb_stub *stub, struct packet *packet)
{
    packet->at = stub->reader.data + 1;
    if (starts_with(packet, "Cont?")) {
        say(stub, "vCont;c;C;s;S;r;t");
    } else if (starts_with(packet, "Kill")) {
        (stub->is_extended ? leave : kill)(stub);
        say(stub, "OK");
    } else if (starts_with(packet, "Attach;")) {
        attach_process(stub, packet);
    }
}

static void answer(struct gdb_stub *stub, struct packet *packet, uint8_t kind)
{
    static void (*const handler[128])(struct gdb_stub *,
                                      struct packet *) = {['g'] = gdb_read_registers,
                                                          ['G'] = gdb_write_registers,
                                                          ['p'] = gdb_read_register,
                                                          ['P'] = gdb_write_register,
                                                          ['m'] = gdb_read_memory,
                                                          ['x'] = gdb_read_binary,
                                                          ['M'] = gdb_write_memory,
                                                          ['X'] = gdb_write_binary,
                                                          ['H'] = choose_thread,
                                                          ['T'] = is_thread_alive,
                                                          ['q'] = query,
                                                          ['Q'] = set,
                                                          ['v'] = long_packet};
    switch (kind) {
    case '?':
        attach(stub);
        return;
    case 'D':
        gdb_stub_detach(stub);
        say(stub, "OK");
        return;
    case 'Z':
    case 'z':
        change_point(stub, packet, kind == 'Z');
        return;
    case '!':
        stub->is_extended = true;
        say(stub, "OK");
        return;
    default:
        if (kind < ARRAY_SIZE(handler) && handler[kind] != NULL)
            handler[kind](stub, packet);
    }
}

/* A packet while the guest runs is a new gdb's, whose predecessor was lost: it stops the guest. */
static void handle(struct gdb_stub *stub)
{
    struct packet packet = {stub->reader.data, stub->reader.data + stub->reader.length};
    stub->output = NULL;
    gdb_writer_begin(&stub->writer);
    if (packet.at == packet.end) {
        send_reply(stub);
        return;
    }
    uint8_t kind = *packet.at++;
    if (run_packet(stub, &packet, kind))
        return;
    answer(stub, &packet, kind);
    if (stub->output == NULL)
        send_reply(stub);
    else
        gdb_stub_continue(stub);
}

void gdb_stub_continue(struct gdb_stub *stub)
{
    if (stub->output != NULL && gdb_command_continue(stub))
        send_reply(stub);
}

static void acknowledge(struct gdb_stub *stub, char sign)
{
    if (!stub->is_quiet)
        stub->target->send(stub->target->context, &sign, 1);
}

void gdb_stub_input(struct gdb_stub *stub, uint8_t byte)
{
    /* While the guest runs gdb sends nothing that may hold this byte: what looks like the beginning
     * of a packet was noise. */
    if (stub->is_running && byte == GDB_INTERRUPT_BYTE)
        gdb_reader_drop(&stub->reader);
    switch (gdb_reader_put(&stub->reader, byte)) {
    case GDB_PACKET:
        acknowledge(stub, '+');
        handle(stub);
        return;
    case GDB_BROKEN:
        acknowledge(stub, '-');
        return;
    case GDB_NAK:
        if (!stub->is_quiet && stub->writer.length > 1) /* else its reply has only begun */
            stub->target->send(stub->target->context, stub->writer.data, stub->writer.length);
        return;
    case GDB_INTERRUPT:
        if (stub->is_running)
            stop_guest(stub, GDB_SIGNAL_INT);
        else /* gdb waits for the guest, but has just looked at it: it is for the next run */
            stub->is_interrupted = true;
        return;
    case GDB_ACK: /* which a quiet gdb never sends: a new one is at the line */
        stub->is_quiet = stub->is_last_ack;
        stub->is_last_ack = false;
        return;
    case GDB_NOTHING:
        return;
    }
}

void gdb_stub_init(struct gdb_stub *stub, const struct gdb_target *target)
{
    memset(stub, 0, sizeof(*stub));
    stub->target = target;
    stub->stop.signal = GDB_SIGNAL_TRAP;
}

/* gdb's remote serial protocol: packets, registers, and the stub. */
#include <ctype.h>

#include "kernel/vm/msr_policy.h"
#include "tests/check.h"
#include "tests/unit/gdb_world.h"

static struct gdb_world world;

static void put(const char *bytes, size_t count)
{
    world_put(&world, bytes, count);
}

static const char *ask_bytes(const char *packet, size_t length)
{
    return world_ask(&world, packet, length);
}

static const char *ask(const char *packet)
{
    return ask_bytes(packet, strlen(packet));
}

/* RBP, RSP, RIP and the flags, with every stop. */
#define FIRST "6:0000000000000000;7:8877665544332211;10:0010000000000000;11:02000000;"

static void start(void)
{
    world_start(&world);
    world.registers.cpu.gpr[GPR_RSP] = 0x1122334455667788;
    world.registers.cpu.rip = 0x1000;
    world.registers.cpu.rflags = 2;
    CHECK(strstr(ask("qSupported:multiprocess+;swbreak+;hwbreak+"), "PacketSize=1000;") != NULL);
    CHECK_STR(ask("?"), "T05thread:1;" FIRST);
    CHECK(world.is_paused);
}

/* ---- Packets ------------------------------------------------------------------------------- */

static enum gdb_event feed(struct gdb_reader *reader, const char *bytes, size_t count)
{
    enum gdb_event event = GDB_NOTHING;
    for (size_t i = 0; i < count; i++)
        event = gdb_reader_put(reader, (uint8_t)bytes[i]);
    return event;
}

static void packets_are_framed(void)
{
    struct gdb_reader reader = {0};
    CHECK_EQ(feed(&reader, "noise$g#67", 10), GDB_PACKET);
    CHECK_EQ(reader.length, 1);
    CHECK_EQ(reader.data[0], 'g');
    CHECK_EQ(feed(&reader, "$g#68", 5), GDB_BROKEN);
    CHECK_EQ(feed(&reader, "$g#zz", 5), GDB_BROKEN);
    CHECK_EQ(feed(&reader, "+", 1), GDB_ACK);
    CHECK_EQ(feed(&reader, "-", 1), GDB_NAK);
    CHECK_EQ(feed(&reader, "\3", 1), GDB_INTERRUPT);
    /* Cut off, and begun anew. */
    CHECK_EQ(feed(&reader, "$X123456$g#67", 13), GDB_PACKET);
    CHECK_EQ(reader.length, 1);
    /* An escaped '#' and a Ctrl-C, which is data in a packet. */
    CHECK_EQ(feed(&reader, "$a}\3\3#61", 8), GDB_BROKEN);
    CHECK_EQ(feed(&reader, "$a}\3\3#e4", 8), GDB_PACKET);
    CHECK_EQ(reader.length, 3);
    CHECK_EQ(reader.data[1], '#');
    CHECK_EQ(reader.data[2], 3);
}

static void long_packets_are_refused(void)
{
    struct gdb_reader reader = {0};
    feed(&reader, "$", 1);
    for (unsigned i = 0; i < GDB_PACKET_MAX + 1; i++)
        CHECK_EQ(feed(&reader, "a", 1), GDB_NOTHING);
    uint8_t sum = (uint8_t)('a' * (GDB_PACKET_MAX + 1));
    char end[8];
    snprintf(end, sizeof(end), "#%02x", sum);
    CHECK_EQ(feed(&reader, end, 3), GDB_BROKEN);
    CHECK_EQ(feed(&reader, "$g#67", 5), GDB_PACKET);
}

/* Written and read again, runs of all lengths keep what they stand for, and none of the characters
 * that begin and end packets stands inside. */
static void runs_are_shortened(void)
{
    for (unsigned length = 1; length < 300; length++) {
        struct gdb_writer writer;
        char out[600];
        size_t used = 0;
        gdb_writer_begin(&writer);
        gdb_writer_byte(&writer, 'x');
        for (unsigned i = 0; i < length; i++)
            gdb_writer_byte(&writer, '0');
        gdb_writer_end(&writer);
        CHECK(length < 10 || writer.length < length);
        for (size_t i = 1; i < writer.length - 3; i++) {
            CHECK(writer.data[i] != '$' && writer.data[i] != '#');
            if (writer.data[i] != '*') {
                out[used++] = (char)writer.data[i];
                continue;
            }
            CHECK(writer.data[++i] >= ' ' && writer.data[i] < 127);
            for (int more = writer.data[i] - 29; more > 0; more--)
                out[used++] = '0';
        }
        CHECK_EQ(used, length + 1);
        for (size_t i = 1; i < used; i++)
            CHECK_EQ(out[i], '0');
    }
}

static void broken_packets_are_asked_for_again(void)
{
    start();
    world.sent_length = 0;
    put("$g#00", 5);
    CHECK_EQ(world.sent_length, 1);
    CHECK_EQ(world.sent[0], '-');
    const char *reply = ask("qC");
    CHECK_STR(reply, "QC1");
    world.sent_length = 0;
    put("-", 1); /* gdb did not get it */
    CHECK(memcmp(world.sent, "$QC1#", 5) == 0);
}

/* ---- Registers and memory ------------------------------------------------------------------ */

static void registers_go_back_and_forth(void)
{
    start();
    struct gdb_registers before;
    memset(&world.registers, 0, sizeof(world.registers));
    world.registers.cpu.cr0 = CR0_PE;
    world.registers.cpu.gpr[GPR_RAX] = 0x1122334455667788;
    world.registers.cpu.gpr[GPR_RBX] = 1;
    world.registers.cpu.rip = 0xfff0;
    world.registers.fpu[4] = 0x80; /* ST(0) is register 7, and in use */
    world.registers.fpu[3] = 7 << 3;
    world.registers.fpu[32 + 7] = 0x80;
    world.registers.fpu[32 + 9] = 0x40;
    before = world.registers;
    const char *all = ask("g");
    CHECK(memcmp(all, "88776655443322110100000000000000", 32) == 0);
    size_t size = 0;
    for (unsigned i = 0; i < gdb_register_count(); i++)
        size += gdb_register_size(i);
    CHECK_EQ(strlen(all), 2 * size);
    char packet[GDB_PACKET_MAX];
    snprintf(packet, sizeof(packet), "G%s", all);
    memset(&world.registers.cpu.gpr, 0xff, 64);
    CHECK_STR(ask(packet), "OK");
    CHECK(memcmp(&before, &world.registers, sizeof(before)) == 0);
    CHECK_STR(ask("p10"), "f0ff000000000000");
    CHECK_STR(ask("p22"), "ff3f0000"); /* ftag: seven empty, one valid */
    CHECK_STR(ask("P1=0200000000000000"), "OK");
    CHECK_EQ(world.registers.cpu.gpr[GPR_RBX], 2);
    CHECK_STR(ask("pffff"), "E02");
    CHECK_STR(ask("p"), "E16");
    CHECK_STR(ask("P1=02"), "E16");
    CHECK_STR(ask("G00"), "E16");
    CHECK_STR(ask("P12=08000000"), "OK"); /* CS: see the tests of selectors */
    CHECK_EQ(world.registers.cpu.segment[SEG_CS].selector, 8);
    world.is_dead = true;
    CHECK_STR(ask("g"), "E02");
}

static void memory_goes_back_and_forth(void)
{
    start();
    for (unsigned i = 0; i < WORLD_SIZE; i++)
        world.memory[i] = (uint8_t)(i * 7);
    CHECK_STR(ask("m1000,4"), "00070e15");
    CHECK_EQ(strlen(ask("m1000,800")), 4096);
    CHECK_EQ(strlen(ask("m1000,ffffffff")), 4096); /* as much as goes */
    CHECK_EQ(strlen(ask("m10ffe,10")), 4);         /* up to the end */
    CHECK_STR(ask("m11000,1"), "E0e");
    CHECK_STR(ask("m0,1"), "E0e");
    CHECK_STR(ask("m1000"), "E16");
    CHECK_STR(ask("m,4"), "E16");
    CHECK_STR(ask("m11111111111111111,4"), "E16");
    CHECK_STR(ask("M1000,3:aabbcc"), "OK");
    CHECK_STR(ask("m1000,4"), "aabbcc15");
    CHECK_STR(ask("x1000,3"), "b\xaa\xbb\xcc");
    CHECK_STR(ask("x1000,0"), "b");
    CHECK_STR(ask("x11000,1"), "E0e");
    CHECK_STR(ask("x1000"), "E16");
    memset(world.memory + 0x10, '}', 0xff0);
    CHECK_EQ(strlen(ask("x1010,fff")), GDB_PACKET_MAX - 1); /* each of them escaped */
    CHECK_STR(ask("M1000,3:aabb"), "E16");
    CHECK_STR(ask("M1000,1:aabb"), "E16");
    CHECK_STR(ask("M10fff,2:0102"), "E0e");
    CHECK_STR(ask_bytes("X1000,3:}\3\0z", 12), "OK");
    CHECK_STR(ask("m1000,4"), "23007a15");
    CHECK_STR(ask("X1000,0:"), "OK");
    CHECK_STR(ask("X1000,4:abc"), "E16");
    CHECK(!world.was_physical);
    CHECK_STR(ask("Qqemu.PhyMemMode:1"), "OK");
    CHECK_STR(ask("qqemu.PhyMemMode"), "1");
    ask("m1000,4");
    CHECK(world.was_physical);
}

static void description_is_one_text(void)
{
    start();
    static char text[65536];
    size_t used = 0;
    for (;;) {
        char packet[64];
        snprintf(packet, sizeof(packet), "qXfer:features:read:target.xml:%zx,39", used);
        const char *piece = ask(packet);
        strcpy(text + used, piece + 1);
        used += strlen(piece + 1);
        if (piece[0] == 'l')
            break;
        CHECK_EQ(piece[0], 'm');
        CHECK_EQ(strlen(piece), 0x3a);
    }
    CHECK(strncmp(text, "<?xml", 5) == 0);
    CHECK_STR(text + used - 9, "</target>");
    CHECK(strstr(text, "\"k_gs_base\" bitsize=\"64\"") != NULL);
    unsigned registers = 0;
    for (const char *at = text; (at = strstr(at, "<reg ")) != NULL; at++)
        registers++;
    unsigned msrs = 0;
    uint32_t msr;
    while (gdb_register_msr(gdb_register_count() + msrs, &msr))
        msrs++;
    CHECK_EQ(registers, gdb_register_count() + msrs);
    CHECK_STR(ask("qXfer:features:read:target.xml:ffffff,10"), "l");
    CHECK_STR(ask("qXfer:features:read:target.xml:1"), "E16");
    CHECK_STR(ask("qXfer:features:read:other.xml:0,10"), "");
    CHECK_EQ(ask("qXfer:memory-map:read::0,1000")[0], 'l');
    CHECK_STR(ask("qXfer:memory-map:read::0,6"), "m<?xml ");
    CHECK_STR(ask("qXfer:memory-map:read::fffff,6"), "l");
}

/* ---- Going on and stopping ----------------------------------------------------------------- */

static void guest_goes_on_until_it_stops(void)
{
    start();
    CHECK_STR(ask("vCont?"), "vCont;c;C;s;S;r;t");
    CHECK_STR(ask("vCont;c"), "(nothing)");
    CHECK_EQ(world.resumes, 1);
    world.sent_length = 0;
    put("\3", 1);
    CHECK(strncmp(world.sent, "$T02thread:1;6:", 15) == 0);
    CHECK(world.is_paused);
    CHECK_EQ(world.pauses, 2);
    put("\3", 1); /* while it stands: for the next run */
    CHECK_EQ(world.pauses, 2);
    unsigned resumes = world.resumes;
    CHECK(strncmp(ask("c"), "T02thread:1;6:", 14) == 0);
    CHECK_EQ(world.resumes, resumes);
    CHECK_STR(ask("c"), "(nothing)");
    world.sent_length = 0;
    put("-", 1); /* there is no reply yet that could be sent again */
    CHECK_EQ(world.sent_length, 0);
    put("$m10\3", 5); /* noise, and then Ctrl-C */
    CHECK(strncmp(world.sent, "$T02thread:1;6:", 15) == 0);
    CHECK_STR(ask("vCont;s:1;c"), "(nothing)");
    CHECK_EQ(world.steps, 1);
    world.sent_length = 0;
    struct gdb_stop stop = {GDB_SIGNAL_TRAP, true, GDB_POINT_WRITE, 0x1234, 0, NULL};
    gdb_stub_stopped(&world.stub, 1, &stop); /* another guest's */
    CHECK_EQ(world.sent_length, 0);
    gdb_stub_stopped(&world.stub, 0, &stop);
    CHECK(strncmp(world.sent, "$T05thread:1;6:", 15) == 0);
    CHECK(strstr(world.sent, ";watch:1234;#") != NULL);
    CHECK_STR(ask("?"), "T05thread:1;" FIRST "watch:1234;");
    CHECK_STR(ask("vCont;r1000,1010:1;c"), "(nothing)");
    CHECK_EQ(world.step_start, 0x1000);
    CHECK_EQ(world.step_end, 0x1010);
    stop.point = GDB_POINT_SOFTWARE;
    gdb_stub_stopped(&world.stub, 0, &stop);
    CHECK_STR(ask("?"), "T05thread:1;" FIRST "swbreak:;");
    CHECK_STR(ask("vCont;x"), "E16");
    CHECK_STR(ask("vCont;r10"), "E16");
    CHECK_STR(ask("vCont;r5,3:1"), "E16"); /* it would be all addresses but two */
    CHECK_STR(ask("vCont;c:99"), "E16");
    CHECK_STR(ask("c1000"), "E16");
    CHECK_STR(ask("vCont;t"), "OK");
    CHECK_STR(ask("S05"), "(nothing)");
    CHECK_EQ(world.steps, 3);
}

static void guest_ends(void)
{
    start();
    ask("c");
    world.sent_length = 0;
    world.is_dead = true;
    world.end = (struct gdb_end){.code = 7};
    gdb_stub_ended(&world.stub, 0);
    CHECK(strstr(world.sent, "$W07#") != NULL);
    CHECK(!world.stub.is_attached && world.cleared == 2); /* the start's, and this */
    world.sent_length = 0;
    gdb_stub_ended(&world.stub, 0);
    CHECK_EQ(world.sent_length, 0);
    CHECK_STR(ask("c"), "W07");
    CHECK_STR(ask("?"), "W07");
    CHECK_STR(ask("T1"), "E02");
}

/* The last acknowledgement is that of the packet which asks for none. gdb: Packet Acknowledgment.
 */
static void no_acknowledgements_where_gdb_wants_none(void)
{
    start();
    ask("qC");
    CHECK_EQ(world.sent[0], '+');
    CHECK_STR(ask("QStartNoAckMode"), "OK");
    put("+", 1);
    ask("qC");
    CHECK_EQ(world.sent[0], '$');
    put("+", 1); /* a new gdb's */
    ask("qC");
    CHECK_EQ(world.sent[0], '+');
}

/* It stands where it died until gdb lets it go; then it ends. */
static void guest_dies(void)
{
    start();
    ask("c");
    world.sent_length = 0;
    world.is_dead = true;
    world.end = (struct gdb_end){.is_there = true, .stands = true, .signal = 11, .code = 1};
    gdb_stub_ended(&world.stub, 0);
    CHECK(strstr(world.sent, "$T0bthread:1;#") != NULL);
    unsigned pauses = world.pauses, resumes = world.resumes, steps = world.steps;
    CHECK_STR(ask("?"), "T0bthread:1;");
    CHECK_STR(ask("T1"), "OK");
    CHECK(strncmp(ask("m1000,4"), "E", 1) != 0);
    CHECK_STR(ask("s"), "(nothing)"); /* to its end: what is dead takes no step */
    CHECK_EQ(world.steps, steps);
    CHECK_EQ(world.resumes, resumes + 1);
    CHECK_EQ(world.pauses, pauses);
    world.end.stands = false;
    world.sent_length = 0;
    gdb_stub_ended(&world.stub, 0);
    CHECK(strstr(world.sent, "$W01#") != NULL);
}

/* A gdb that comes later finds it as it was, and its end when it lets it go. */
static void guest_is_kept(void)
{
    start();
    world.is_dead = true;
    world.end = (struct gdb_end){.is_there = true, .signal = 6, .code = 1};
    ask("qSupported");
    CHECK_STR(ask("?"), "T06thread:1;");
    CHECK_EQ(world.pauses, 1); /* the start's */
    CHECK_STR(ask("vCont;c"), "W01");
}

/* Between its death and where it stands, or is kept, there is a report, which takes a while. */
static void guest_is_dying(void)
{
    start();
    ask("c");
    world.is_dead = true;
    world.end = (struct gdb_end){.is_dying = true, .signal = 11, .code = 1};
    world.sent_length = 0;
    put("\x03", 1); /* it stands soon anyway */
    CHECK_EQ(world.sent_length, 0);
    CHECK(world.stub.is_attached && world.stub.is_running);
    world.end = (struct gdb_end){.is_there = true, .stands = true, .signal = 11, .code = 1};
    gdb_stub_ended(&world.stub, 0);
    CHECK(strstr(world.sent, "$T0bthread:1;#") != NULL);
    world.end.is_there = world.end.stands = false;
    CHECK_STR(ask("c"), "W01"); /* nobody is left for whom it could stand */
    CHECK(!world.stub.is_attached);
    unsigned resumes = world.resumes;
    CHECK_STR(ask("?"), "W01");
    CHECK(!world.stub.is_attached);
    CHECK(world.resumes > resumes);
}

/* Its line was cut while the guest ran. */
static void next_gdb_begins_anew(void)
{
    start();
    ask("QStartNoAckMode");
    put("+", 1);
    ask("Qqemu.PhyMemMode:1");
    ask("c");
    CHECK(!world.is_paused);
    unsigned cleared = world.cleared;
    put("+", 1);
    CHECK(strstr(ask("qSupported"), "vContSupported+") != NULL);
    CHECK_EQ(world.cleared, cleared + 1);
    CHECK_STR(ask("?"), "T05thread:1;" FIRST);
    CHECK(world.is_paused);
    CHECK_STR(ask("qqemu.PhyMemMode"), "0");
    CHECK_STR(ask("D"), "OK");
    CHECK(!world.is_paused);
    struct gdb_stop stop = {.signal = GDB_SIGNAL_TRAP};
    world.sent_length = 0;
    gdb_stub_stopped(&world.stub, 0, &stop);
    CHECK_EQ(world.sent_length, 0);
}

static void ends_that_gdb_wants(void)
{
    start();
    unsigned cleared = world.cleared;
    ask("?");
    CHECK_STR(ask("vKill;1"), "OK");
    CHECK_EQ(world.kills, 1);
    CHECK_EQ(world.cleared, cleared + 1);
    CHECK(!world.stub.is_attached);
    ask("?");
    CHECK_STR(ask("k"), "(nothing)");
    CHECK_EQ(world.kills, 2);
    CHECK(!world.stub.is_attached);
}

/* What `run`, `kill` and `attach` send where the target is extended-remote. */
static void extended_remote_runs_again(void)
{
    struct gdb_stop stop = {.signal = GDB_SIGNAL_TRAP};
    start();
    CHECK_STR(ask("!"), "OK");
    ask("?");
    CHECK_STR(ask("vKill;a410"), "OK");
    CHECK_EQ(world.kills, 0);
    CHECK_STR(ask("vRun;"), "(nothing)");
    CHECK_EQ(world.restarts, 1);
    world.sent_length = 0;
    gdb_stub_stopped(&world.stub, 0, &stop);
    CHECK(strncmp(world.sent, "$T05thread:1;", 13) == 0);
    CHECK_STR(ask("D"), "OK");
    CHECK(!world.is_paused);
    CHECK(strncmp(ask("vAttach;1"), "T05thread:1;", 12) == 0);
    CHECK(world.is_paused);
    world.pause_status = ERR_UNSUPPORTED;
    CHECK_STR(ask("vRun;"), "E26");
    CHECK(!world.stub.is_running);
    ask("qSupported");
    CHECK_STR(ask("vKill;1"), "OK");
    CHECK_EQ(world.kills, 1);
}

static void points_go_through(void)
{
    start();
    CHECK_STR(ask("Z0,1234,1"), "OK");
    CHECK_EQ(world.point_address, 0x1234);
    CHECK_STR(ask("z0,1234,1"), "OK");
    CHECK_STR(ask("z0,9999,1"), "E02");
    CHECK_STR(ask("Z2,2000,8"), "OK");
    CHECK_EQ(world.point, GDB_POINT_WRITE);
    CHECK_EQ(world.point_size, 8);
    CHECK_STR(ask("Z3,2000,8"), ""); /* not offered */
    CHECK_STR(ask("Z5,2000,8"), "");
    CHECK_STR(ask("Z0,2000"), "E16");
    CHECK_STR(ask("Z1,2000,1"), "OK");
    CHECK(!world.was_physical);
    CHECK_STR(ask("Qqemu.PhyMemMode:1"), "OK");
    CHECK_STR(ask("Z1,2000,1"), "OK");
    CHECK(world.was_physical);
}

/* Each that the policy has and that can be read is in the description, by its name. */
static void every_msr_is_described(void)
{
    static char text[65536];
    char wanted[64];
    const struct msr_policy *row;
    start();
    for (size_t used = 0;;) {
        char packet[64];
        snprintf(packet, sizeof(packet), "qXfer:features:read:target.xml:%zx,700", used);
        const char *piece = ask(packet);
        strcpy(text + used, piece + 1);
        used += strlen(piece + 1);
        if (piece[0] == 'l')
            break;
    }
    unsigned number = gdb_register_count();
    for (unsigned i = 0; (row = msr_policy_at(i)) != NULL; i++) {
        uint32_t msr = 0;
        bool is_there = row->kind != MSR_COMMAND && row->kind != MSR_SINK && row->msr != 0x800;
        snprintf(wanted, sizeof(wanted), "<reg name=\"%s\" bitsize=\"64\"", row->name);
        for (char *at = strchr(wanted, 'I'); *at != '"'; at++)
            *at = (char)tolower(*at);
        CHECK_EQ(strstr(text, wanted) != NULL, is_there);
        CHECK(!is_there || (gdb_register_msr(number++, &msr) && msr == row->msr));
    }
    CHECK(strstr(text, "\"ia32_lstar\"") != NULL && strstr(text, "\"cs_access\"") != NULL);
}

/* What the shell may set: by names that are there once, and no vectors. */
static void integers_have_names(void)
{
    const char *name, *other;
    unsigned named = 0;
    for (unsigned i = 0; (name = gdb_register_name(i)) != NULL; i++) {
        for (unsigned j = 0; j < i && name[0] != 0; j++)
            CHECK((other = gdb_register_name(j)) != NULL && strcmp(name, other) != 0);
        CHECK(name[0] == 0 || gdb_register_size(i) <= 8);
        named += name[0] != 0;
    }
    CHECK(named > 60);
    CHECK(gdb_register_name(100000) == NULL);
}

/* Behind the registers that `g` has. */
static void msrs_are_registers(void)
{
    char packet[64];
    unsigned first = gdb_register_count(), lstar = first;
    start();
    uint32_t msr;
    CHECK(!gdb_register_msr(first - 1, &msr));
    while (gdb_register_msr(lstar, &msr) && msr != 0xc0000082)
        lstar++;
    CHECK_EQ(msr, 0xc0000082);
    CHECK(!gdb_register_msr(first + 1000, &msr));
    snprintf(packet, sizeof(packet), "P%x=8877665544332211", lstar);
    CHECK_STR(ask(packet), "OK");
    CHECK_EQ(world.registers.cpu.gpr[GPR_R15], 0x1122334455667788);
    snprintf(packet, sizeof(packet), "p%x", lstar);
    CHECK_STR(ask(packet), "8877665544332211");
    /* What gdb was told is not changed when it writes that back. */
    world.registers.cpu.gpr[GPR_R15] = 5;
    snprintf(packet, sizeof(packet), "P%x=8877665544332211", lstar);
    CHECK_STR(ask(packet), "OK");
    CHECK_EQ(world.registers.cpu.gpr[GPR_R15], 5);
    snprintf(packet, sizeof(packet), "P%x=0700000000000000", lstar);
    CHECK_STR(ask(packet), "OK");
    CHECK_EQ(world.registers.cpu.gpr[GPR_R15], 7);
    CHECK(!gdb_register_msr(first + GDB_TOLD_MAX, &msr)); /* it is remembered for each */
    snprintf(packet, sizeof(packet), "p%x", first);
    CHECK_STR(ask(packet), "xxxxxxxxxxxxxxxx"); /* it has none */
    snprintf(packet, sizeof(packet), "P%x=00", first);
    CHECK_STR(ask(packet), "E16");
    snprintf(packet, sizeof(packet), "P%x=0000000000000000", first);
    CHECK_STR(ask(packet), "E26");
    CHECK_STR(ask("p1000"), "E02");
    CHECK_STR(ask("pffffffffffffffff"), "E02");
}

static void stops_may_say_why(void)
{
    struct gdb_stop stop = {.signal = GDB_SIGNAL_SEGV, .text = "catch 1: no\n"};
    start();
    ask("?");
    ask("vCont;c");
    world.sent_length = 0;
    gdb_stub_stopped(&world.stub, 0, &stop);
    CHECK(strncmp(world.sent, "$O636174636820313a206e6f0a#", 27) == 0);
    CHECK(strstr(world.sent, "$T0bthread:1;") != NULL);
    CHECK(strncmp(ask("?"), "T0bthread:1;", 12) == 0);
}

static void threads_and_questions(void)
{
    start();
    CHECK_STR(ask("qfThreadInfo"), "m1");
    CHECK_STR(ask("qsThreadInfo"), "l");
    CHECK_STR(ask("qThreadExtraInfo,1"), "764350552030206f66206c696e7578");
    CHECK_STR(ask("qThreadExtraInfo,9"), "E02");
    CHECK_STR(ask("Hg0"), "OK");
    CHECK_STR(ask("Hc-1"), "OK");
    CHECK_STR(ask("Hg5"), "E02");
    CHECK_STR(ask("H"), "E02");
    CHECK_STR(ask("T1"), "OK");
    CHECK_STR(ask("qAttached"), "1");
    CHECK_STR(ask("QThreadEvents:1"), "OK");
    CHECK_STR(ask("vMustReplyEmpty"), "");
    CHECK_STR(ask("qNobodyKnowsThis"), "");
    CHECK_STR(ask("qCRC:1000,10"), ""); /* which is not qC */
    CHECK_STR(ask("\x80"), "");
    CHECK_STR(ask(""), "");
}

/* What `monitor TEXT` prints. */
static const char *monitor(const char *text)
{
    static char said[GDB_PACKET_MAX];
    char packet[1024] = "qRcmd,";
    for (size_t i = 0; i < strlen(text); i++)
        snprintf(packet + 6 + 2 * i, 3, "%02x", (uint8_t)text[i]);
    const uint8_t *reply = (const uint8_t *)ask(packet);
    size_t length = strlen((const char *)reply) / 2;
    CHECK(gdb_take_bytes(&reply, reply + 2 * length, said, length));
    said[length] = 0;
    return said;
}

static void monitor_commands(void)
{
    start();
    CHECK_STR(monitor("guest"), "* 1 linux\n  2 other\n");
    CHECK(strstr(monitor("guest nobody"), "no guest has this name") != NULL);
    CHECK_EQ(world.stub.guest, 0);
    monitor("guest other");
    CHECK_EQ(world.stub.guest, 1);
    CHECK_EQ(world.resumes, 1); /* the first one goes on, */
    CHECK(world.is_paused);     /* and the other one stands */
    monitor("guest 1");
    CHECK_EQ(world.stub.guest, 0);
    CHECK(strstr(monitor("guest 3"), "no guest has this name or number") != NULL);
    CHECK(strstr(monitor("physical on"), "guest-physical") != NULL);
    CHECK(strstr(monitor("physical off"), "guest-virtual") != NULL);
    monitor("reset");
    CHECK_EQ(world.resets, 1);
    world.is_dead = true;
    CHECK(strstr(monitor("reset"), "has ended") != NULL);
    CHECK_EQ(world.resets, 1);
    CHECK(strstr(monitor("help"), "physical") != NULL);
    CHECK(strstr(monitor("nonsense"), "monitor help") != NULL);
    CHECK_STR(ask("qRcmd,zz"), "E16");
    char text[257] = {0};
    memset(text, 'x', 255);
    CHECK(strstr(monitor(text), "monitor help") != NULL);
    text[255] = 'x';
    CHECK(strstr(monitor(text), "up to 255") != NULL);
}

/* Guests are processes: the one that was debugged goes on, one that was let go is left alone. */
static void guests_are_attached_by_number(void)
{
    start();
    CHECK_STR(ask("vAttach;0"), "E02");
    CHECK_STR(ask("vAttach;3"), "E02");
    CHECK_STR(ask("vAttach;100000002"), "E02");
    CHECK_STR(ask("vAttach;ffffffffffffffffff"), "E02");
    CHECK_STR(ask("vAttach;"), "E02");
    CHECK_EQ(world.stub.guest, 0);
    unsigned cleared = world.cleared;
    CHECK(strncmp(ask("vAttach;2"), "T05thread:1;", 12) == 0);
    CHECK_EQ(world.stub.guest, 1);
    CHECK_EQ(world.resumes, 1);
    CHECK_EQ(world.cleared, cleared + 1);
    CHECK(world.is_paused && world.stub.is_attached);
    CHECK_STR(ask("qThreadExtraInfo,1"), "764350552030206f66206f74686572"); /* vCPU 0 of other */
    CHECK_STR(ask("D"), "OK");
    CHECK_EQ(world.resumes, 2);
    CHECK(strncmp(ask("vAttach;1"), "T05thread:1;", 12) == 0);
    CHECK_EQ(world.stub.guest, 0);
    CHECK_EQ(world.resumes, 2);
}

/* A shell that says what it was told, many times. */
static const char *shell_command(void *context, unsigned guest, const char *line, size_t *length)
{
    static char said[8192];
    (void)context;
    *length = 0;
    for (unsigned i = 0; i < 300; i++)
        *length += (size_t)sprintf(said + *length, "%u %s %u\n", guest, line, i);
    return said;
}

/* And says more, in so many pieces. */
static unsigned shell_pieces;

static const char *shell_more(void *context, size_t *length)
{
    if (shell_pieces == 0)
        return NULL;
    shell_pieces--;
    return shell_command(context, 0, "more", length);
}

static unsigned packets_of(char kind)
{
    unsigned count = 0;
    for (const char *at = world.sent; (at = strchr(at, '$')) != NULL; at++)
        count += at[1] == kind && (kind != 'O' || at[2] != 'K');
    return count;
}

/* What gdb prints: the O packets before the reply, which is OK. */
static const char *printed(const char *packet)
{
    static char text[GDB_PACKET_MAX * 4];
    char *next = text;
    const char *reply = ask(packet), *at = world.sent;
    for (; (at = strchr(at, '$')) != NULL && strncmp(at, "$OK#", 4) != 0; at++) {
        size_t used = 0;
        char plain[GDB_PACKET_MAX];
        for (at++; *at != '#'; at++) {
            for (int more = *at == '*' ? *++at - 29 : 0; more > 0; more--, used++)
                plain[used] = plain[used - 1];
            if (at[-1] != '*')
                plain[used++] = *at;
        }
        const uint8_t *hex = (const uint8_t *)plain + 1;
        CHECK_EQ(plain[0], 'O');
        CHECK(gdb_take_bytes(&hex, (const uint8_t *)plain + used, next, (used - 1) / 2));
        next += (used - 1) / 2;
    }
    *next = 0;
    CHECK(at != NULL && reply[0] == 'O');
    return text;
}

static void monitor_is_the_shell(void)
{
    size_t length;
    start();
    world.target.command = shell_command;
    world.target.command_more = shell_more;
    shell_pieces = 0;
    CHECK_STR(printed("qRcmd,766d"), shell_command(NULL, 0, "vm", &length));
    CHECK(length > GDB_PACKET_MAX / 2);
    const char *help = printed("qRcmd,68656c70");
    CHECK(strstr(help, "physical") != NULL && strstr(help, "0 help  0\n") == NULL);
    CHECK(strstr(help, "\n0 help") != NULL);
    CHECK_STR(printed("qRcmd,68656c702078"), shell_command(NULL, 0, "help x", &length));
    CHECK_STR(monitor("physical on"), "addresses are guest-physical\n");
}

/* A command's output waits for the line, piece by piece, and its reply comes last; a gdb that asks
 * for something else meanwhile is a new one, which the rest is not for. */
static void output_waits_for_the_line(void)
{
    start();
    world.target.command = shell_command;
    world.target.command_more = shell_more;
    shell_pieces = 2;
    world.room = 3;
    (void)ask("qRcmd,766d");
    CHECK_EQ(packets_of('O'), 2);
    CHECK(strstr(world.sent, "$OK#") == NULL);
    gdb_stub_continue(&world.stub);
    CHECK_EQ(packets_of('O'), 2);
    unsigned calls = 0;
    for (; strstr(world.sent, "$OK#") == NULL; calls++) {
        world.room = 2;
        gdb_stub_continue(&world.stub);
    }
    CHECK(packets_of('O') > 6 && calls >= packets_of('O') - 2);
    size_t length = world.sent_length;
    world.room = ~0u;
    gdb_stub_continue(&world.stub);
    CHECK_EQ(world.sent_length, length);
    shell_pieces = 2;
    world.room = 3;
    (void)ask("qRcmd,766d");
    (void)ask("?");
    world.room = ~0u;
    gdb_stub_continue(&world.stub);
    CHECK_EQ(packets_of('O'), 0);
}

TEST_MAIN({"packets_are_framed", packets_are_framed},
          {"long_packets_are_refused", long_packets_are_refused},
          {"runs_are_shortened", runs_are_shortened},
          {"broken_packets_are_asked_for_again", broken_packets_are_asked_for_again},
          {"registers_go_back_and_forth", registers_go_back_and_forth},
          {"memory_goes_back_and_forth", memory_goes_back_and_forth},
          {"description_is_one_text", description_is_one_text},
          {"guest_goes_on_until_it_stops", guest_goes_on_until_it_stops},
          {"guest_ends", guest_ends}, {"guest_dies", guest_dies}, {"guest_is_kept", guest_is_kept},
          {"no_acknowledgements_where_gdb_wants_none", no_acknowledgements_where_gdb_wants_none},
          {"next_gdb_begins_anew", next_gdb_begins_anew},
          {"ends_that_gdb_wants", ends_that_gdb_wants}, {"points_go_through", points_go_through},
          {"extended_remote_runs_again", extended_remote_runs_again},
          {"guest_is_dying", guest_is_dying}, {"msrs_are_registers", msrs_are_registers},
          {"every_msr_is_described", every_msr_is_described},
          {"integers_have_names", integers_have_names}, {"stops_may_say_why", stops_may_say_why},
          {"threads_and_questions", threads_and_questions}, {"monitor_commands", monitor_commands},
          {"guests_are_attached_by_number", guests_are_attached_by_number},
          {"output_waits_for_the_line", output_waits_for_the_line},
          {"monitor_is_the_shell", monitor_is_the_shell})

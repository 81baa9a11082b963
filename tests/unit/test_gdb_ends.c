/* gdb's stub where the guest dies, or somebody lets it go, while gdb asks for something. */
#include "tests/check.h"
#include "tests/unit/gdb_world.h"

static struct gdb_world world;

static const struct gdb_end dying = {.is_dying = true, .signal = 11, .code = 1};
static const struct gdb_end stands = {.is_there = true, .stands = true, .signal = 11, .code = 1};
static const struct gdb_end over = {.is_there = true, .signal = 11, .code = 1};

static const char *ask(const char *packet)
{
    return world_ask(&world, packet, strlen(packet));
}

static void monitor(const char *command)
{
    char packet[128] = "qRcmd,";
    for (; *command != 0; command++)
        snprintf(packet + strlen(packet), 3, "%02x", (unsigned char)*command);
    ask(packet);
}

static void interrupt(void)
{
    world.sent_length = 0;
    world.sent[0] = 0;
    world_put(&world, "\x03", 1);
}

static void start(void)
{
    world_start(&world);
    ask("qSupported");
    ask("?");
}

/* What gdb hears of an end that has come so far. */
static const char *ended(const struct gdb_end *end)
{
    world.is_dead = true;
    world.end = *end;
    world.sent_length = 0;
    world.sent[0] = 0;
    gdb_stub_ended(&world.stub, 0);
    return world.sent;
}

static void look_while_it_dies(void)
{
    start();
    ask("c");
    CHECK_STR(ended(&dying), "");
    CHECK(world.stub.is_attached); /* so that it stands */
    CHECK(strncmp(ended(&stands), "$T0b", 4) == 0);
    CHECK_STR(ask("c"), "(nothing)");
    CHECK_STR(ended(&dying), "");
    CHECK(strncmp(ended(&over), "$W01#", 5) == 0);
    CHECK(!world.stub.is_attached);
}

/* It does not become one that nobody told of its end. */
static void continue_while_it_dies(void)
{
    start();
    world.is_dead = true;
    world.end = dying;
    unsigned resumes = world.resumes;
    CHECK_STR(ask("c"), "(nothing)");
    CHECK_EQ(world.resumes, resumes); /* or it would not stand */
    CHECK(strncmp(ended(&stands), "$T0b", 4) == 0);
}

/* Between two lives, of which the second has begun. */
static void live_again(void)
{
    const struct gdb_stop stop = {.signal = GDB_SIGNAL_TRAP};
    start();
    ask("c");
    CHECK_STR(ended(&dying), "");
    world.is_dead = false;
    gdb_stub_stopped(&world.stub, 0, &stop);
    CHECK(strncmp(world.sent, "$T05", 4) == 0);
}

static void interrupt_comes_too_late(void)
{
    start();
    ask("c");
    world.dies_first = true;
    world.end = dying;
    interrupt();
    CHECK_STR(world.sent, "");
    CHECK(world.stub.is_attached && world.stub.is_running);
    CHECK(strncmp(ended(&stands), "$T0b", 4) == 0);
}

/* It had reached a breakpoint, and somebody ended it there. */
static void stop_comes_too_late(void)
{
    const struct gdb_stop stop = {.signal = GDB_SIGNAL_TRAP};
    start();
    ask("c");
    world.is_dead = true;
    world.end = dying;
    world.sent_length = 0;
    world.sent[0] = 0;
    gdb_stub_stopped(&world.stub, 0, &stop);
    CHECK_STR(world.sent, "");
    CHECK(strncmp(ended(&over), "$W01#", 5) == 0);
}

/* gdb takes it for gone: it must not stand for it. */
static void attach_comes_too_late(void)
{
    start();
    CHECK_STR(ask("D"), "OK");
    world.dies_first = true;
    world.end = dying;
    CHECK_STR(ask("?"), "W01");
    CHECK(!world.stub.is_attached);
    CHECK(!world.is_paused);
}

/* From gdb, which is still there, by the shell. */
static void continue_what_was_let_go(void)
{
    const struct gdb_stop stop = {.signal = GDB_SIGNAL_TRAP};
    start();
    gdb_stub_detach(&world.stub);
    CHECK_STR(ask("c"), "(nothing)");
    world.sent_length = 0;
    gdb_stub_stopped(&world.stub, 0, &stop);
    CHECK(strncmp(world.sent, "$T05", 4) == 0);
}

static void choose_without_a_guest(void)
{
    start();
    CHECK_STR(ask("D"), "OK");
    unsigned pauses = world.pauses;
    monitor("guest other");
    CHECK_EQ(world.stub.guest, 1);
    CHECK_EQ(world.pauses, pauses); /* nobody would let it go on */
    CHECK(strncmp(ask("vAttach;2"), "T05", 3) == 0);
    CHECK_EQ(world.pauses, pauses + 1);
    monitor("guest linux");
    CHECK_EQ(world.pauses, pauses + 2);
}

/* A Ctrl-C was for the run that did not come. */
static void interrupt_is_of_one_guest(void)
{
    static const char *const leave[] = {"D", "vKill;1", "vRun;"};
    for (unsigned extended = 0; extended < 2; extended++) {
        for (unsigned i = 0; i < ARRAY_SIZE(leave); i++) {
            start();
            if (extended)
                ask("!");
            interrupt();
            CHECK(world.stub.is_interrupted);
            ask(leave[i]);
            CHECK(!world.stub.is_interrupted);
        }
    }
    start();
    interrupt();
    monitor("guest other");
    CHECK_STR(ask("c"), "(nothing)");
    CHECK(world.stub.is_running);
}

/* They are what a reset has made of them. */
static void told_is_of_one_life(void)
{
    static const char *const begin[] = {"vRun;", NULL};
    for (unsigned i = 0; i < ARRAY_SIZE(begin); i++) {
        start();
        world.stub.told[3].is_known = true;
        if (begin[i] != NULL)
            ask(begin[i]);
        else
            monitor("reset");
        CHECK(!world.stub.told[3].is_known);
    }
}

TEST_MAIN({"look_while_it_dies", look_while_it_dies},
          {"continue_while_it_dies", continue_while_it_dies}, {"live_again", live_again},
          {"interrupt_comes_too_late", interrupt_comes_too_late},
          {"stop_comes_too_late", stop_comes_too_late},
          {"attach_comes_too_late", attach_comes_too_late},
          {"continue_what_was_let_go", continue_what_was_let_go},
          {"choose_without_a_guest", choose_without_a_guest},
          {"interrupt_is_of_one_guest", interrupt_is_of_one_guest},
          {"told_is_of_one_life", told_is_of_one_life})

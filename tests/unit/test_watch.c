/* What a guest says against what its configuration expects and rejects. */
#include "kernel/vm/watch.h"
#include "tests/check.h"

static struct config config;
static struct watch watch;
static char events[64];

static void tell(void *context, enum watch_event event)
{
    static const char letters[] = {[WATCH_REJECTED] = 'R',
                                   [WATCH_PANICKED] = 'P',
                                   [WATCH_COMPLETE] = 'C',
                                   [WATCH_LINE_END] = 'L'};
    CHECK(context == &watch);
    strncat(events, &letters[event], 1);
}

static void start(const char *keys)
{
    char text[512], messages[512];
    struct config_errors errors = {.text = messages, .size = sizeof(messages)};
    snprintf(text, sizeof(text), "[vm x]\nkernel = k\n%s", keys);
    CHECK_EQ(config_parse(&config, "c.conf", text, strlen(text), &errors), STATUS_OK);
    CHECK(watch_is_needed(&config.vm[0]));
    watch_init(&watch, 2, &config.vm[0], tell, &watch);
    events[0] = '\0';
}

static void say_on(unsigned stream, const char *text)
{
    for (; *text != '\0'; text++)
        watch_put(&watch.stream[stream], (uint8_t)*text);
}

static void say(const char *text)
{
    say_on(0, text);
}

static void check_text(const char *text, uint32_t line)
{
    CHECK_EQ(watch.length, strlen(text));
    CHECK(memcmp(watch.text, text, watch.length) == 0);
    CHECK_EQ(watch.line, line);
}

static void all_that_is_expected(void)
{
    start("expect = two\nexpect = o+ne\n");
    CHECK_EQ(watch_missing(&watch), 3);
    say("ooone\r\nt");
    CHECK_STR(events, "");
    check_text("ooone", 4);
    CHECK_EQ(watch_missing(&watch), 3);
    CHECK(!watch_is_complete(&watch));
    say("\rwo");
    CHECK_STR(events, "C");
    check_text("two", 3);
    CHECK_EQ(watch_missing(&watch), 0);
    say(" two\nmore\n");
    CHECK_STR(events, "CLL");
}

static void what_is_rejected_counts_most(void)
{
    start("expect = ok\nreject = bad\nreject = worse\non-panic = stop\n");
    say("ok bad worse\n");
    CHECK_STR(events, "CRRL");
    CHECK(watch_is_rejected(&watch) && watch_is_complete(&watch));
    check_text("bad", 4);
    say("Kernel panic - not syncing: x");
    CHECK_STR(events, "CRRLP");
    check_text("bad", 4);
}

static void a_panic_counts_more_than_what_is_expected(void)
{
    start("expect = ok\non-panic = reset\n");
    say("Kernel panic - not syncing: ok");
    CHECK_STR(events, "PC");
    check_text("Kernel panic - not syncing", 4);
    watch_forget_panic(&watch);
    CHECK(!watch_is_panicked(&watch));
    say("\nKernel panic - not syncing");
    CHECK(watch_is_panicked(&watch));
    CHECK_STR(events, "PCLP");
}

static void the_end_is_the_end_of_a_line(void)
{
    start("expect = ^done$\n");
    say("done");
    CHECK_STR(events, "");
    watch_end(&watch);
    CHECK(watch_is_complete(&watch));
    check_text("done", 3);
    start("reject = ^a$\\n^b$\n");
    say("a\nb\n");
    CHECK_STR(events, "R");
    check_text("a\nb", 3);
}

static void long_matches_keep_their_end(void)
{
    start("expect = a.*z\n");
    say("a");
    for (unsigned i = 0; i < 1000; i++)
        say("b");
    say("z");
    CHECK_STR(events, "C");
    CHECK_EQ(watch.length, 0); /* its beginning is not there any more */
    start("expect = ^b+z\n");
    for (unsigned i = 0; i < 250; i++)
        say("x");
    say("\n");
    for (unsigned i = 0; i < 200; i++)
        say("b");
    say("z");
    CHECK_EQ(watch.length, 201);
}

/* What is said on two consoles at once are lines of their own, and counts together. */
static void consoles_have_lines_of_their_own(void)
{
    start("expect = ^one$\nexpect = ^two$\nreject = on.*e tw\n");
    say_on(0, "on");
    say_on(1, "tw");
    say_on(0, "e");
    say_on(1, " tw");
    CHECK_STR(events, "");
    say_on(0, "\n");
    check_text("one", 3);
    say_on(1, "\ntwo\n");
    CHECK_STR(events, "CL");
    check_text("two", 4);
    CHECK(!watch_is_rejected(&watch));
    start("expect = ^end$\n");
    say_on(1, "end");
    watch_end(&watch);
    CHECK(watch_is_complete(&watch));
}

static void who_is_not_watched(void)
{
    char messages[256];
    struct config_errors errors = {.text = messages, .size = sizeof(messages)};
    static const char text[] = "[vm x]\nkernel = k\non-panic = ignore\n";
    CHECK_EQ(config_parse(&config, "c.conf", text, sizeof(text) - 1, &errors), STATUS_OK);
    CHECK(!watch_is_needed(&config.vm[0]));
}

TEST_MAIN({"all_that_is_expected", all_that_is_expected},
          {"what_is_rejected_counts_most", what_is_rejected_counts_most},
          {"a_panic_counts_more_than_what_is_expected", a_panic_counts_more_than_what_is_expected},
          {"the_end_is_the_end_of_a_line", the_end_is_the_end_of_a_line},
          {"long_matches_keep_their_end", long_matches_keep_their_end},
          {"consoles_have_lines_of_their_own", consoles_have_lines_of_their_own},
          {"who_is_not_watched", who_is_not_watched})

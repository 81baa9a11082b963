/* What a person writes and reads of catches. */
#include "tests/check.h"

#include <string.h>

#include "kernel/vm/catch.h"

static struct catch wanted;
static char text[CATCH_TEXT_MAX];

/* The words of a line; what it is printed as, or what is wrong with it. */
static const char *parse(const char *line)
{
    static char copy[64];
    char *word[8];
    unsigned count = 0;
    strcpy(copy, line);
    for (char *at = strtok(copy, " "); at != NULL; at = strtok(NULL, " "))
        word[count++] = at;
    const char *wrong = catch_parse(count, word, &wanted);
    if (wrong != NULL)
        return wrong;
    catch_print(&wanted, text);
    return text;
}

static void lines_are_read(void)
{
    CHECK_STR(parse("reset"), "reset");
    CHECK_STR(parse("TRIPLE-FAULT"), "triple-fault");
    CHECK_STR(parse("exception pf"), "exception #PF");
    CHECK_STR(parse("exception #GP"), "exception #GP");
    CHECK_STR(parse("exception 0x1f"), "exception 31");
    CHECK_STR(parse("msr ia32_lstar"), "msr 0xc0000082 LSTAR access");
    CHECK_STR(parse("msr LSTAR write"), "msr 0xc0000082 LSTAR write");
    CHECK_STR(parse("msr 0x1234 read"), "msr 0x1234  read");
    CHECK_STR(parse("port 0x60"), "port 0x60-0x60 access");
    CHECK_STR(parse("port 96-0x64 in"), "port 0x60-0x64 read");
    CHECK_STR(parse("cpuid"), "cpuid");
    CHECK_STR(parse("cpuid 0x80000008"), "cpuid 0x80000008");
    CHECK_STR(parse("cr cr4"), "cr 0x4");
    CHECK_STR(parse("cr 8"), "cr 0x8");
    CHECK_STR(parse("mode"), "mode ");
    CHECK_STR(parse("mode long"), "mode long");
    CHECK_STR(parse("mode v86"), "mode v86");
    CHECK_STR(parse("mode compatibility"), "mode compatibility");
}

static void nonsense_is_refused(void)
{
    static const char *const lines[] = {"nothing",
                                        "reset now",
                                        "exception",
                                        "exception 2",
                                        "exception 32",
                                        "exception xx",
                                        "msr",
                                        "msr nonsense",
                                        "msr 0x1ffffffff",
                                        "msr LSTAR sometimes",
                                        "port",
                                        "port 0x10000",
                                        "port 5-4",
                                        "port 5-",
                                        "port 5 in out",
                                        "cpuid eax",
                                        "cr",
                                        "cr 2",
                                        "cr cr",
                                        "cr 40",
                                        "mode virtual",
                                        "mode long out",
                                        "exception pf write",
                                        "msr 12x",
                                        "port 0x"};
    for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        const char *said = parse(lines[i]);
        if (said == text || said[0] == 0)
            CHECK_STR(lines[i], "");
    }
}

static bool meets(const char *line, struct catch_event event)
{
    (void)parse(line);
    wanted.id = 7;
    bool met = catch_meets(&wanted, &event);
    CHECK_EQ(event.id, met ? 7 : 0);
    return met;
}

static void events_are_met(void)
{
    CHECK(meets("reset", (struct catch_event){.kind = CATCH_RESET}));
    CHECK(meets("reset", (struct catch_event){.kind = CATCH_TRIPLE_FAULT}));
    CHECK(!meets("triple-fault", (struct catch_event){.kind = CATCH_RESET}));
    CHECK(!meets("reset", (struct catch_event){.kind = CATCH_NOTHING}));
    CHECK(meets("exception pf", (struct catch_event){.kind = CATCH_EXCEPTION, .number = 14}));
    CHECK(!meets("exception pf", (struct catch_event){.kind = CATCH_EXCEPTION, .number = 13}));
    struct catch_event in = {.kind = CATCH_PORT, .access = CATCH_READ, .number = 0x62};
    CHECK(meets("port 0x60-0x64", in));
    CHECK(meets("port 0x62 in", in));
    CHECK(!meets("port 0x62 out", in));
    CHECK(!meets("port 0x60", in));
    CHECK(meets("cpuid", (struct catch_event){.kind = CATCH_CPUID, .number = 0xffffffff}));
    CHECK(!meets("cpuid 1", (struct catch_event){.kind = CATCH_CPUID}));
    CHECK(meets("mode", (struct catch_event){.kind = CATCH_MODE, .number = CATCH_MODE_REAL}));
    CHECK(!meets("mode long", (struct catch_event){.kind = CATCH_MODE}));
}

static const char *describe(struct catch_event event)
{
    catch_describe(&event, text);
    return text;
}

static void events_are_told(void)
{
    struct catch_event event = {.kind = CATCH_MSR,
                                .access = CATCH_WRITE,
                                .number = 0xc0000082,
                                .rip = 0x1000,
                                .before = 5,
                                .after = 6};
    CHECK_STR(describe(event), "write of MSR 0xc0000082 LSTAR at 0x1000: 0x5 -> 0x6");
    event.access = CATCH_READ;
    event.has_failed = true;
    CHECK_STR(describe(event),
              "read of MSR 0xc0000082 LSTAR at 0x1000: 0x5, refused by an exception");
    event = (struct catch_event){.kind = CATCH_MODE,
                                 .rip = 0x7c00,
                                 .before = CATCH_MODE_REAL,
                                 .number = CATCH_MODE_PROTECTED};
    CHECK_STR(describe(event), "mode at 0x7c00: real -> protected");
    event = (struct catch_event){
        .kind = CATCH_EXCEPTION, .number = 14, .rip = 0x10, .after = 2, .before = 0x123};
    CHECK_STR(describe(event), "exception #PF at 0x10, error code 0x2, CR2 0x123");
    event = (struct catch_event){.kind = CATCH_CR, .number = 3, .rip = 1, .after = 0x2000};
    CHECK_STR(describe(event), "write of CR3 at 0x1: 0x0 -> 0x2000");
    event = (struct catch_event){.kind = CATCH_TRIPLE_FAULT, .rip = 1};
    CHECK_STR(describe(event), "triple-fault at 0x1");
    for (unsigned kind = 0; kind < CATCH_KINDS; kind++) {
        event = (struct catch_event){(uint8_t)kind, 3, true, 0xffff, ~0u, ~0ull, ~0ull, ~0ull};
        CHECK(strlen(describe(event)) < CATCH_TEXT_MAX);
    }
}

TEST_MAIN({"lines_are_read", lines_are_read}, {"nonsense_is_refused", nonsense_is_refused},
          {"events_are_met", events_are_met}, {"events_are_told", events_are_told})

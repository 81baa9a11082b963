/* Patterns on a stream of bytes: what matches, where, and what is refused. Against Python's re:
 * tests/unit/regex.py. */
#include "kernel/vm/regex.h"
#include "tests/check.h"

static struct regex_program program;
static struct regex regex;
static struct regex_error error;
static uint64_t room[REGEX_ROOM / 8];

static enum status compile(const char *pattern)
{
    memset(&program, 0, sizeof(program));
    enum status status = regex_add(&program, pattern, strlen(pattern), &error);
    if (status == STATUS_OK) {
        regex_finish(&program);
        regex_init(&regex, &program, room);
    }
    return status;
}

/* The length of the text after which it matches; -1: it does not; one more than the length: where
 * it ends. */
static int matched_after(const char *text)
{
    size_t length = strlen(text);
    regex_init(&regex, &program, room);
    for (size_t i = 0; i < length; i++)
        if (regex_put(&regex, (uint8_t)text[i]) != 0)
            return (int)i + 1;
    return regex_put_end(&regex) != 0 ? (int)length + 1 : -1;
}

static const struct {
    const char *pattern, *text;
    int after;
} cases[] = {
    {"ok", "it is ok.", 8},
    {"ok", "o k", -1},
    {"a|b|cd", "xxcd", 4},
    {"a|b|cd", "xxb", 3},
    {"(ab|c)+d", "ababcd", 6},
    {"x(ab|c){2,3}y", "xaby xabcaby", 12},
    {"xa{0}y", "xay xy", 6},
    {"xa{2,}y", "xay xaaaay", 10},
    {"xa{1,2}y", "xaaay xaay", 10},
    {"xa?b?y", "xaby", 4},
    {"[a-c]x", "dx bx", 5},
    {"[^a-c]x", "ax dx", 5},
    {"[]x]y", "]y", 2},
    {"[x-]y", "-y", 2},
    {"\\d+ passed", "12 passed", 9},
    {"[\\d_]\\W", "a_ ", 3},
    {"\\x41\\.", "B.A.", 4},
    {"\\[a\\]", "[a]", 3},
    {"a.c", "a\nc abc", 7},
    {"^b", "ab\nb", 4},
    {"^b", "b", 1},
    {"a$", "a", 2},
    {"a$", "ab a\n", 5},
    {"^$", "a\n\n", 3},
    {"^$", "a", -1},
    {"a\nb", "a\nb", 3},
    {"a\\r\\nb", "a\nb", 3},
    {"a\\r?\\nb", "a\nb", 3},
    {"end$\n^begin", "end\nbegin", 9},
    {"(a*)*b", "aab", 3},
    {"(a|)+b", "aab", 3},
    {"(?:^|x)y", "y", 1},
    {"(?i)PANIC [a-f]", "Panic F", 7},
    {"(?i)[^a]b", "Ab xB", 5},
    {"\xc3\xa4+b",
     "\xc3\xa4\xc3\xa4"
     "b",
     5},
};

static void what_matches(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        CHECK_EQ(compile(cases[i].pattern), STATUS_OK);
        int after = matched_after(cases[i].text);
        if (after != cases[i].after)
            printf("# %s on %s: %d\n", cases[i].pattern, cases[i].text, after);
        CHECK_EQ(after, cases[i].after);
    }
}

static const struct {
    const char *pattern;
    size_t at;
    const char *what; /* its beginning */
} mistakes[] = {
    {"a(b", 1, "the group is not closed"},
    {"ab)", 2, "there is no group to close"},
    {"a[b", 1, "the set is not closed"},
    {"[b-a]", 1, "a range goes from"},
    {"[\\d-z]", 1, "a range goes from"},
    {"[[:alpha:]]", 1, "[:name:] is not offered"},
    {"[\xc3\xa4]", 1, "only ASCII"},
    {"*a", 0, "there is nothing to repeat"},
    {"a|+", 2, "there is nothing to repeat"},
    {"a**", 1, "two repetitions"},
    {"a+?b", 1, "two repetitions"},
    {"^*", 1, "^ and $ cannot be repeated"},
    {"a{3,2}", 1, "the first number is larger"},
    {"a{x}", 1, "allowed are {n}"},
    {"a{,3}", 1, "allowed are {n}"},
    {"a{256}", 1, "the numbers go up to 255"},
    {"a{4294967297}", 1, "allowed are {n}"},
    {"a\\", 1, "a backslash at the end"},
    {"a\\q", 1, "unknown escape"},
    {"\\1", 0, "unknown escape"},
    {"\\x4", 0, "unknown escape"},
    {"(?=a)", 0, "of groups with a question mark"},
    {"a(?i)b", 1, "of groups with a question mark"},
    {"a*", 0, "it matches where nothing stands"},
    {"", 0, "it matches where nothing stands"},
    {"^", 0, "it matches where nothing stands"},
    {"\\r", 0, "it matches where nothing stands"},
    {"(((((((((((((((((a)))))))))))))))))", 16, "groups are nested"},
};

static void what_is_refused(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(mistakes); i++) {
        enum status status = compile(mistakes[i].pattern);
        if (status != ERR_INVALID)
            printf("# %s\n", mistakes[i].pattern);
        CHECK_EQ(status, ERR_INVALID);
        if (strncmp(error.what, mistakes[i].what, strlen(mistakes[i].what)) != 0)
            printf("# %s: %s\n", mistakes[i].pattern, error.what);
        CHECK(strncmp(error.what, mistakes[i].what, strlen(mistakes[i].what)) == 0);
        CHECK_EQ(error.at, mistakes[i].at);
    }
}

static void what_is_too_large(void)
{
    CHECK_EQ(compile("(abc){200}"), ERR_NO_SPACE);
    CHECK_EQ(compile("((a{9}){9}){9}"), ERR_NO_SPACE);
    CHECK_EQ(compile("(abc){100}"), STATUS_OK);
    memset(&program, 0, sizeof(program));
    for (unsigned i = 0; i < REGEX_PATTERNS_MAX; i++)
        CHECK_EQ(regex_add(&program, "a", 1, &error), STATUS_OK);
    CHECK_EQ(regex_add(&program, "a", 1, &error), ERR_NO_SPACE);
}

static void several_patterns(void)
{
    memset(&program, 0, sizeof(program));
    CHECK_EQ(regex_add(&program, "passed$", 7, &error), STATUS_OK);
    CHECK_EQ(regex_add(&program, "fail|passed", 11, &error), STATUS_OK);
    regex_finish(&program);
    regex_init(&regex, &program, room);
    unsigned matched = 0;
    for (const char *at = "all passe"; *at != '\0'; at++)
        matched |= regex_put(&regex, (uint8_t)*at);
    CHECK_EQ(matched, 0);
    CHECK_EQ(regex_put(&regex, 'd'), 2);
    CHECK_EQ(regex_put_end(&regex), 1);
    CHECK_EQ(regex_put(&regex, '\n'), 1);
    CHECK_EQ(regex_put_end(&regex), 0);
}

static void the_matched_text(void)
{
    CHECK_EQ(compile("a+b"), STATUS_OK);
    CHECK_EQ(regex_find(&regex, 0, "xaaab", 5, true, false), 4);
    CHECK_EQ(regex_find(&regex, 0, "xaaabc", 6, true, false), 0);
    CHECK_EQ(compile("^\\d+$"), STATUS_OK);
    CHECK_EQ(regex_find(&regex, 0, "x1\n22", 5, true, true), 2);
    CHECK_EQ(regex_find(&regex, 0, "x1\n22", 5, true, false), 0);
    CHECK_EQ(regex_find(&regex, 0, "22", 2, false, true), 0);
}

/* Sets without number: the room stays what it was, and so does the answer. */
static void more_sets_than_room(void)
{
    enum { BEHIND = 14 };
    char last[BEHIND + 1] = {0};
    uint32_t random = 1;
    unsigned full = 0;
    CHECK_EQ(compile("a(a|b){14}c"), STATUS_OK);
    for (unsigned i = 0; i < 100000; i++) {
        random = random * 1103515245 + 12345;
        char byte = (random >> 20 & 63) == 0 ? 'c' : random >> 16 & 1 ? 'a' : 'b';
        bool matches = byte == 'c' && last[0] == 'a' && memchr(last, 'c', sizeof(last)) == NULL;
        CHECK_EQ(regex_put(&regex, (uint8_t)byte), matches);
        memmove(last, last + 1, BEHIND);
        last[BEHIND] = byte;
        CHECK(regex.known <= regex.records);
        full += regex.known == regex.records;
    }
    CHECK(full > 10);
}

TEST_MAIN({"what_matches", what_matches}, {"what_is_refused", what_is_refused},
          {"what_is_too_large", what_is_too_large}, {"several_patterns", several_patterns},
          {"the_matched_text", the_matched_text}, {"more_sets_than_room", more_sets_than_room})

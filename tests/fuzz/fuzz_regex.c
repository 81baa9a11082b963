/*
 * Any patterns on any text: refused with a place and a reason, or run in the room that there is,
 * and what the run says of each byte is what a look at each part of the text from its beginning
 * says.
 */
#include <string.h>

#include "kernel/vm/regex.h"
#include "tests/fuzz/fuzz.h"

#define TEXT_MAX 48

static struct regex_program program;
static struct regex regex;
static uint64_t room[REGEX_ROOM / 8];

/* The patterns with a match that ends with text[0..length), where another byte follows. */
static unsigned expected(const char *text, size_t length, bool ends)
{
    unsigned matched = 0;
    for (unsigned i = 0; i < program.patterns; i++)
        if (regex_find(&regex, i, text, length, true, ends) != 0)
            matched |= 1u << i;
    return matched;
}

static bool compile(const uint8_t *data, size_t size)
{
    struct regex_error error = {0, NULL};
    memset(&program, 0, sizeof(program));
    for (unsigned i = 0; i < 2; i++) {
        const uint8_t *end = memchr(data, '\0', size);
        size_t length = end != NULL ? (size_t)(end - data) : size;
        if (regex_add(&program, (const char *)data, length, &error) != STATUS_OK) {
            REQUIRE(error.what != NULL && error.at <= length);
            return false;
        }
        data += length + (end != NULL);
        size -= length + (end != NULL);
    }
    regex_finish(&program);
    REQUIRE(program.steps <= REGEX_STEPS_MAX && program.sets <= REGEX_SETS_MAX);
    REQUIRE(program.classes >= 2 && program.classes <= 256);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, data + size};
    size_t length = fuzz_take(&input, 1) % TEXT_MAX, patterns;
    unsigned times = (unsigned)fuzz_take(&input, 1), random = times;
    const char *text = (const char *)input.next;
    if ((size_t)(input.end - input.next) < length)
        return 0;
    patterns = (size_t)(input.end - input.next) - length;
    if (!compile(input.next + length, patterns))
        return 0;
    regex_init(&regex, &program, room);
    for (size_t i = 0; i < length; i++) {
        unsigned matched = regex_put(&regex, (uint8_t)text[i]), before = 0, empty = 0;
        unsigned exact = expected(text, i + 1, false);
        if (text[i] == '\n') /* a match may have ended before it; an empty one is not found */
            before = expected(text, i, true), empty = ~0u;
        /* What did not need the line's end was told before. */
        unsigned now = before != 0 ? before & ~expected(text, i, false) : 0;
        REQUIRE((exact & ~matched) == 0 && (now & ~matched) == 0);
        REQUIRE((matched & ~exact & ~before & ~empty) == 0);
    }
    for (unsigned i = 0; i < times * 64; i++) {
        random = random * 1664525 + 1013904223;
        (void)regex_put(&regex, length != 0 ? (uint8_t)text[(random >> 12) % length] : 'a');
        REQUIRE(regex.known <= regex.records && regex.at < regex.records);
    }
    return 0;
}

/* Running a program of regex_parse.c: sets of steps, made when they first come up. */
#include "kernel/vm/regex.h"

#include "kernel/core/bits.h"
#include "kernel/core/mem.h"

static bool has(const uint64_t *set, unsigned step)
{
    return set[step / 64] >> step % 64 & 1;
}

static void add(uint64_t *set, unsigned step)
{
    set[step / 64] |= 1ull << step % 64;
}

static bool takes(const struct regex_program *program, const struct regex_step *step, uint8_t byte)
{
    switch (step->op) {
    case REGEX_BYTE:
        return step->argument == byte;
    case REGEX_FOLD:
        return step->argument == (byte | 0x20);
    case REGEX_SET:
        return has(program->set[step->argument], byte);
    default:
        return false;
    }
}

/* Adds to set what the step leads to without a byte; returns the patterns that match here. seen
 * has what was looked at before. */
static unsigned follow(struct regex *regex, uint64_t *set, unsigned step, bool begins, bool ends)
{
    const struct regex_program *program = regex->program;
    unsigned depth = 0, matched = 0;
    regex->stack[depth++] = (uint16_t)step;
    while (depth != 0) {
        unsigned at = regex->stack[--depth];
        const struct regex_step *this = &program->step[at];
        if (has(regex->seen, at))
            continue;
        add(regex->seen, at);
        bool goes_on = this->op == REGEX_SPLIT || (this->op == REGEX_BEGIN && begins) ||
                       (this->op == REGEX_END && ends);
        if (this->op == REGEX_MATCH)
            matched |= 1u << this->argument;
        else if (this->op <= REGEX_SET || this->op == REGEX_END)
            add(set, at);
        /* Only a split, which is seen once, leaves more here than it took. */
        if (this->op == REGEX_SPLIT || this->op == REGEX_JUMP)
            regex->stack[depth++] = this->target;
        if (goes_on)
            regex->stack[depth++] = (uint16_t)(at + 1);
    }
    return matched;
}

static void forget_seen(struct regex *regex)
{
    memset(regex->seen, 0, sizeof(regex->seen));
}

/* At the end of a line: what the ends in set lead to is added to it. */
static unsigned end_line(struct regex *regex, uint64_t *set, bool begins)
{
    unsigned matched = 0, words = regex_words(regex->program);
    forget_seen(regex);
    for (unsigned word = 0; word < words; word++)
        for (uint64_t left = set[word]; left != 0; left &= left - 1) {
            unsigned step = word * 64 + (unsigned)__builtin_ctzll(left);
            if (regex->program->step[step].op == REGEX_END)
                matched |= follow(regex, set, step, begins, true);
        }
    return matched;
}

/* regex->next becomes what follows byte from set. */
static unsigned take(struct regex *regex, const uint64_t *set, uint8_t byte)
{
    const struct regex_program *program = regex->program;
    unsigned matched = 0, words = regex_words(program);
    memset(regex->next, 0, sizeof(regex->next));
    forget_seen(regex);
    for (unsigned word = 0; word < words; word++)
        for (uint64_t left = set[word]; left != 0; left &= left - 1) {
            unsigned step = word * 64 + (unsigned)__builtin_ctzll(left);
            if (takes(program, &program->step[step], byte))
                matched |= follow(regex, regex->next, step + 1, byte == '\n', false);
        }
    return matched;
}

/* A match may begin anywhere. */
static void add_starts(struct regex *regex, bool begins)
{
    for (unsigned i = 0; i < regex->program->patterns; i++)
        (void)follow(regex, regex->next, regex->program->start[i], begins, false);
}

/* The record of regex->next; where there is no room for another, all are forgotten. */
static unsigned remember(struct regex *regex, unsigned matched, bool begins)
{
    unsigned size = regex_words(regex->program) * 8;
    for (unsigned i = 0; i < regex->known; i++) {
        const struct regex_record *record = regex_record(regex, i);
        if (record->matched == matched && record->begins == begins &&
            memcmp(record->set, regex->next, size) == 0)
            return i;
    }
#ifndef PLANTED_BUG_REGEX /* for the fuzzer's own test */
    if (regex->known == regex->records)
        regex->known = 0;
#endif
    struct regex_record *record = regex_record(regex, regex->known);
    memset(record, 0, regex->record);
    record->matched = (uint16_t)matched;
    record->begins = begins;
    memcpy(record->set, regex->next, size);
    return regex->known++;
}

INIT void regex_init(struct regex *regex, const struct regex_program *program, void *room)
{
    memset(regex, 0, sizeof(*regex));
    regex->program = program;
    regex->room = room;
    regex->record = (unsigned)align_up(
        sizeof(struct regex_record) + regex_words(program) * 8 + program->classes * 2u, 8);
    regex->records = REGEX_ROOM / regex->record;
    add_starts(regex, true);
    regex->at = remember(regex, 0, true);
}

void regex_learn(struct regex *regex, uint8_t byte)
{
    const struct regex_record *record = regex_record(regex, regex->at);
    uint64_t set[REGEX_WORDS];
    memcpy(set, record->set, regex_words(regex->program) * 8);
    unsigned matched = byte == '\n' ? end_line(regex, set, record->begins) : 0;
    matched |= take(regex, set, byte);
    add_starts(regex, byte == '\n');
    uint16_t *follower = regex_follower(regex, byte);
    bool is_full = regex->known == regex->records;
    unsigned next = remember(regex, matched, byte == '\n');
    if (!is_full || regex->known == regex->records) /* else its own record is gone */
        *follower = (uint16_t)(next + 1);
    regex->at = next;
}

unsigned regex_put_end(struct regex *regex)
{
    const struct regex_record *record = regex_record(regex, regex->at);
    uint64_t set[REGEX_WORDS];
    memcpy(set, record->set, regex_words(regex->program) * 8);
    return end_line(regex, set, record->begins);
}

/* Whether the pattern matches all of the text. */
static bool matches(struct regex *regex, unsigned pattern, const char *text, size_t length,
                    bool begins, bool ends)
{
    uint64_t set[REGEX_WORDS] = {0}, any = 1;
    unsigned matched = 0;
    forget_seen(regex);
    (void)follow(regex, set, regex->program->start[pattern], begins, false);
    for (size_t i = 0; i < length && any != 0; i++) {
        if (text[i] == '\n')
            (void)end_line(regex, set, begins);
        matched = take(regex, set, (uint8_t)text[i]);
        begins = text[i] == '\n';
        any = 0;
        for (unsigned word = 0; word < regex_words(regex->program); word++)
            any |= set[word] = regex->next[word];
        if (any == 0 && i + 1 < length)
            return false;
    }
    if (ends)
        matched |= end_line(regex, set, begins);
    return matched >> pattern & 1;
}

size_t regex_find(struct regex *regex, unsigned pattern, const char *text, size_t length,
                  bool begins, bool ends)
{
    for (size_t i = 0; i < length; i++)
        if (matches(regex, pattern, text + i, length - i, i == 0 ? begins : text[i - 1] == '\n',
                    ends))
            return length - i;
    return 0;
}

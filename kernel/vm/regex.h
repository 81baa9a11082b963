/*
 * Regular expressions on a stream of bytes: whether one of a few patterns has matched by now, found
 * at the byte that completes it, in time that does not depend on the patterns. The patterns become
 * one program (regex_compile), the program is run as a set of places in it, and the sets that come
 * up are remembered with what follows each byte, in room that the caller gives: one look-up a byte,
 * until a new set has to be made.
 *
 *     a .           the byte itself; any byte but a newline
 *     [a-z_] [^0-9] a byte of the set, or none of it (a newline too)
 *     \d \w \s      [0-9], [A-Za-z0-9_], [ \t\n\v\f]; \D \W \S what is none of them
 *     \n \t \v \f \xHH, and \ before punctuation: that byte; \r matches nothing, since carriage
 *                   returns are not part of what is matched
 *     (...) (?:...) a group; a|b either
 *     * + ? {n} {n,} {n,m} the piece before, so often
 *     ^ $           the beginning and the end of a line, or of everything
 *     (?i)          at the beginning of the pattern: letters match in upper and lower case
 *
 * As in Python's re with MULTILINE, on bytes; a character of UTF-8 is a piece of several bytes.
 */
#pragma once

#include "kernel/core/status.h"
#include "kernel/core/types.h"

#define REGEX_PATTERNS_MAX 10
#define REGEX_STEPS_MAX 512
#define REGEX_SETS_MAX 40
#define REGEX_WORDS (REGEX_STEPS_MAX / 64)

/* A step takes a byte and goes on to the next step, unless it says otherwise. */
enum regex_op {
    REGEX_BYTE,  /* argument: the byte */
    REGEX_FOLD,  /* argument: a small letter; takes the capital too */
    REGEX_SET,   /* argument: a set */
    REGEX_SPLIT, /* takes nothing, goes on at the next step and at target */
    REGEX_JUMP,  /* takes nothing, goes on at target */
    REGEX_BEGIN, /* takes nothing, goes on at the beginning of a line */
    REGEX_END,   /* takes nothing, goes on at the end of a line */
    REGEX_MATCH, /* argument: the pattern that has matched */
};

struct regex_step {
    uint8_t op;
    uint8_t argument;
    uint16_t target;
};

struct regex_program {
    uint16_t steps, sets, patterns;
    uint16_t classes;                   /* of bytes that no step tells apart */
    uint16_t start[REGEX_PATTERNS_MAX]; /* the first step of each pattern */
    uint8_t class_of[256];
    struct regex_step step[REGEX_STEPS_MAX];
    uint64_t set[REGEX_SETS_MAX][4]; /* a bit for each byte */
};

struct regex_error {
    size_t at;        /* in the pattern */
    const char *what; /* and what to do about it */
};

/* Adds the pattern text[0..length) to the program, which begins as all zeros. ERR_INVALID, and
 * *error says where and what; ERR_NO_SPACE: the program has no room for it, error as well. After an
 * error the program is no use. */
enum status MUST_CHECK regex_add(struct regex_program *program, const char *text, size_t length,
                                 struct regex_error *error);

/* Makes the program ready to run, after its last pattern. */
void regex_finish(struct regex_program *program);

/* A run of a program. */
struct regex {
    const struct regex_program *program;
    uint8_t *room;
    unsigned record, records; /* the size of what is remembered of a set; how many there is room for
                               */
    unsigned known;           /* how many there are */
    unsigned at;              /* the set that the last byte has led to */
    uint64_t seen[REGEX_WORDS];
    uint64_t next[REGEX_WORDS];
    uint16_t stack[REGEX_STEPS_MAX];
};

/* Room in bytes that suits any program; less than half of it is refused. */
#define REGEX_ROOM KIB(16)

/* Begins at the beginning of a text. room is aligned to 8 and of REGEX_ROOM bytes. */
void regex_init(struct regex *regex, const struct regex_program *program, void *room);

/* What is remembered of a set. */
struct regex_record {
    uint16_t matched; /* patterns that have matched when it was come to, a bit each */
    uint16_t begins;  /* whether a line begins here */
    uint32_t unused;
    uint64_t set[]; /* of steps; then, for each class of bytes, 1 + the record that follows, or 0 */
};

static inline struct regex_record *regex_record(const struct regex *regex, unsigned index)
{
    return (struct regex_record *)(void *)(regex->room + (size_t)index * regex->record);
}

static inline unsigned regex_words(const struct regex_program *program)
{
    return (program->steps + 63u) / 64;
}

static inline uint16_t *regex_follower(const struct regex *regex, uint8_t byte)
{
    struct regex_record *record = regex_record(regex, regex->at);
    uint16_t *followers = (uint16_t *)(void *)(record->set + regex_words(regex->program));
    return &followers[regex->program->class_of[byte]];
}

/* Makes the set that follows the byte. */
COLD void regex_learn(struct regex *regex, uint8_t byte);

/* The next byte; returns the patterns that match and end before or with it, a bit each. */
static inline unsigned regex_put(struct regex *regex, uint8_t byte)
{
    unsigned follower = *regex_follower(regex, byte);
    if (__builtin_expect(follower != 0, 1))
        regex->at = follower - 1;
    else
        regex_learn(regex, byte);
    return regex_record(regex, regex->at)->matched;
}

/* The patterns that match where the text ends here. */
unsigned regex_put_end(struct regex *regex);

/* The length of the longest match of the pattern that ends text[0..length), at most all of it;
 * begins: whether a line begins at text[0]; ends: whether the line ends behind the text. 0: there
 * is none. Does not change how the run goes on. */
size_t regex_find(struct regex *regex, unsigned pattern, const char *text, size_t length,
                  bool begins, bool ends);

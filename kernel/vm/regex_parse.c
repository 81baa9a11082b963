/*
 * From a pattern to a program. A piece of a pattern is a run of steps that is entered at its first
 * and left behind its last, so that it can be moved and copied.
 */
#include "kernel/core/mem.h"
#include "kernel/vm/regex.h"

#define NESTING_MAX 16
#define REPEAT_MAX 255
#define NO_STEP UINT16_MAX /* in a chain of jumps: the last */

struct parser {
    struct regex_program *program;
    const char *text;
    size_t length, at;
    bool folds;
    unsigned depth;
    enum status status;
    struct regex_error *error;
};

static enum status fail(struct parser *parser, size_t at, enum status status, const char *what)
{
    if (parser->status == STATUS_OK) {
        parser->status = status;
        *parser->error = (struct regex_error){at, what};
    }
    return parser->status;
}

static enum status invalid(struct parser *parser, size_t at, const char *what)
{
    return fail(parser, at, ERR_INVALID, what);
}

static bool is_done(const struct parser *parser)
{
    return parser->status != STATUS_OK || parser->at == parser->length;
}

static bool is_next(const struct parser *parser, char c)
{
    return !is_done(parser) && parser->text[parser->at] == c;
}

static bool accept(struct parser *parser, char c)
{
    bool is = is_next(parser, c);
    parser->at += is;
    return is;
}

/* ---- Steps --------------------------------------------------------------------------------- */

/* Makes room for count steps at `at`; those behind it move, with what they point to. */
static bool insert(struct parser *parser, unsigned at, unsigned count)
{
    struct regex_program *program = parser->program;
    if (program->steps + count > REGEX_STEPS_MAX) {
        fail(parser, parser->at, ERR_NO_SPACE,
             "the VM's patterns are too large together; shorten them or their repetitions");
        return false;
    }
    for (unsigned i = program->steps; i-- > at;) {
        struct regex_step step = program->step[i];
        if ((step.op == REGEX_SPLIT || step.op == REGEX_JUMP) && step.target != NO_STEP &&
            step.target >= at)
            step.target = (uint16_t)(step.target + count);
        program->step[i + count] = step;
    }
    program->steps = (uint16_t)(program->steps + count);
    return true;
}

static void emit(struct parser *parser, enum regex_op op, unsigned argument, unsigned target)
{
    unsigned at = parser->program->steps;
    if (insert(parser, at, 1))
        parser->program->step[at] =
            (struct regex_step){(uint8_t)op, (uint8_t)argument, (uint16_t)target};
}

/* A split before the piece at `start`, which goes on there or behind `skipped` more steps. */
static void emit_split(struct parser *parser, unsigned start, unsigned skipped)
{
    if (insert(parser, start, 1))
        parser->program->step[start] =
            (struct regex_step){REGEX_SPLIT, 0, (uint16_t)(start + 1 + skipped)};
}

/* The piece [start, start + count) once more at the end. */
static void copy(struct parser *parser, unsigned start, unsigned count)
{
    struct regex_program *program = parser->program;
    unsigned to = program->steps;
    if (!insert(parser, to, count))
        return;
    for (unsigned i = 0; i < count; i++) {
        struct regex_step step = program->step[start + i];
        if (step.op == REGEX_SPLIT || step.op == REGEX_JUMP)
            step.target = (uint16_t)(step.target + to - start);
        program->step[to + i] = step;
    }
}

/* ---- Sets ---------------------------------------------------------------------------------- */

static void set_add(uint64_t *set, unsigned first, unsigned last)
{
    for (unsigned byte = first; byte <= last; byte++)
        set[byte / 64] |= 1ull << byte % 64;
}

static void set_invert(uint64_t *set)
{
    for (unsigned i = 0; i < 4; i++)
        set[i] = ~set[i];
}

static void set_fold(uint64_t *set)
{
    uint64_t letters = 0x7fffffeull, both = (set[1] | set[1] >> 32) & letters;
    set[1] |= both | both << 32;
}

static void emit_set(struct parser *parser, const uint64_t *set)
{
    struct regex_program *program = parser->program;
    unsigned i = 0;
    while (i < program->sets && memcmp(program->set[i], set, sizeof(program->set[0])) != 0)
        i++;
    if (i == REGEX_SETS_MAX) {
        fail(parser, parser->at, ERR_NO_SPACE,
             "the VM's patterns have more than 40 different sets of bytes; use fewer");
        return;
    }
    memcpy(program->set[i], set, sizeof(program->set[0]));
    program->sets = (uint16_t)(program->sets + (i == program->sets));
    emit(parser, REGEX_SET, i, 0);
}

/* \d, \w, \s and their opposites; false: the letter is none of them. */
static bool add_named_set(uint64_t *set, char letter)
{
    uint64_t named[4] = {0};
    switch (letter | 0x20) {
    case 'w':
        set_add(named, 'a', 'z');
        set_add(named, 'A', 'Z');
        set_add(named, '_', '_');
        /* fall through */
    case 'd':
        set_add(named, '0', '9');
        break;
    case 's':
        set_add(named, '\t', '\r');
        set_add(named, ' ', ' ');
        break;
    default:
        return false;
    }
    if ((letter & 0x20) == 0)
        set_invert(named);
    for (unsigned i = 0; i < 4; i++)
        set[i] |= named[i];
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_word_character(char c)
{
    return hex_digit(c) >= 0 || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* What stands behind a backslash, as one byte. */
static uint8_t parse_escape(struct parser *parser)
{
    static const char letters[] = "ntvfr", bytes[] = "\n\t\v\f\r";
    size_t begin = parser->at - 1;
    if (is_done(parser)) {
        invalid(parser, begin, "a backslash at the end; write \\\\ for the character");
        return 0;
    }
    char c = parser->text[parser->at++];
    for (unsigned i = 0; letters[i] != '\0'; i++)
        if (c == letters[i])
            return (uint8_t)bytes[i];
    if (c == 'x' && parser->length - parser->at >= 2) {
        int high = hex_digit(parser->text[parser->at]),
            low = hex_digit(parser->text[parser->at + 1]);
        parser->at += 2;
        if (high >= 0 && low >= 0)
            return (uint8_t)(high << 4 | low);
    }
    if (is_word_character(c))
        invalid(parser, begin,
                "unknown escape; allowed are \\d \\w \\s \\D \\W \\S \\n \\t \\v \\f \\r \\xHH and "
                "\\ before "
                "punctuation");
    return (uint8_t)c;
}

/* An end of a range in a set; false: it was one of the named sets, which is in *set. */
static bool parse_member(struct parser *parser, uint64_t *set, uint8_t *byte)
{
    char c = parser->text[parser->at++];
    if (c == '\\' && !is_done(parser) && add_named_set(set, parser->text[parser->at])) {
        parser->at++;
        return false;
    }
    if (c == '[' && (is_next(parser, ':') || is_next(parser, '.') || is_next(parser, '=')))
        invalid(parser, parser->at - 1,
                "[:name:] is not offered; write \\d, \\w, \\s, a range, or \\[ for the character");
    if ((uint8_t)c >= 0x80)
        invalid(parser, parser->at - 1,
                "only ASCII characters are allowed between brackets; write (a|b) for others");
    *byte = c == '\\' ? parse_escape(parser) : (uint8_t)c;
    return true;
}

static void parse_members(struct parser *parser, uint64_t *set)
{
    size_t first = parser->at;
    while (!is_done(parser) && (parser->text[parser->at] != ']' || parser->at == first)) {
        size_t begin = parser->at;
        uint8_t low = 0, high = 0;
        bool is_byte = parse_member(parser, set, &low);
        bool is_range = is_next(parser, '-') && parser->length - parser->at > 1 &&
                        parser->text[parser->at + 1] != ']';
        high = low;
        if (is_range) {
            parser->at++;
            is_byte = parse_member(parser, set, &high) && is_byte;
            if (!is_byte || high < low)
                invalid(
                    parser, begin,
                    "a range goes from one character to one that is not before it; write \\- for "
                    "the character");
        }
        if (is_byte)
            set_add(set, low, high);
    }
}

static void parse_set(struct parser *parser)
{
    uint64_t set[4] = {0};
    size_t begin = parser->at - 1;
    bool inverts = accept(parser, '^');
    parse_members(parser, set);
    if (!accept(parser, ']'))
        invalid(parser, begin, "the set is not closed; add ], or write \\[ for the character");
    if (parser->folds)
        set_fold(set);
    if (inverts)
        set_invert(set);
    emit_set(parser, set);
}

/* ---- Pieces -------------------------------------------------------------------------------- */

static void emit_byte(struct parser *parser, uint8_t byte)
{
    uint8_t small = byte | 0x20;
    bool folds = parser->folds && small >= 'a' && small <= 'z';
    emit(parser, folds ? REGEX_FOLD : REGEX_BYTE, folds ? small : byte, 0);
}

/* A byte, and what follows it of a character of several. */
static void parse_character(struct parser *parser, char c)
{
    emit_byte(parser, (uint8_t)c);
    while ((uint8_t)c >= 0xc0 && !is_done(parser) &&
           ((uint8_t)parser->text[parser->at] & 0xc0) == 0x80)
        emit_byte(parser, (uint8_t)parser->text[parser->at++]);
}

static void parse_backslash(struct parser *parser)
{
    uint64_t set[4] = {0};
    if (!is_done(parser) && add_named_set(set, parser->text[parser->at])) {
        parser->at++;
        emit_set(parser, set);
    } else if (!accept(parser, 'r')) {
        emit_byte(parser, parse_escape(parser));
    }
}

static void parse_alternatives(struct parser *parser);

static void parse_group(struct parser *parser)
{
    size_t begin = parser->at - 1;
    if (accept(parser, '?') && !accept(parser, ':'))
        invalid(parser, begin,
                "of groups with a question mark there is only (?:...), and (?i) at the beginning");
    if (++parser->depth > NESTING_MAX)
        invalid(parser, begin, "groups are nested more than 16 deep");
    parse_alternatives(parser);
    parser->depth--;
    if (!accept(parser, ')'))
        invalid(parser, begin, "the group is not closed; add ), or write \\( for the character");
}

/* False: what comes cannot be repeated. */
static bool parse_piece(struct parser *parser)
{
    static const uint64_t no_newline[4] = {~(1ull << '\n'), ~0ull, ~0ull, ~0ull};
    char c = parser->text[parser->at++];
    switch (c) {
    case '(':
        parse_group(parser);
        return true;
    case '[':
        parse_set(parser);
        return true;
    case '.':
        emit_set(parser, no_newline);
        return true;
    case '\\':
        parse_backslash(parser);
        return true;
    case '^':
        emit(parser, REGEX_BEGIN, 0, 0);
        return false;
    case '$':
        emit(parser, REGEX_END, 0, 0);
        return false;
    case '*':
    case '+':
    case '?':
    case '{':
        invalid(parser, parser->at - 1,
                "there is nothing to repeat before it; write \\ before it for the character");
        return false;
    default:
        parse_character(parser, c);
        return true;
    }
}

/* ---- Repetition ---------------------------------------------------------------------------- */

static bool parse_number(struct parser *parser, unsigned *number)
{
    size_t begin = parser->at;
    for (*number = 0; !is_done(parser) && hex_digit(parser->text[parser->at]) >= 0 &&
                      hex_digit(parser->text[parser->at]) < 10 && *number <= REPEAT_MAX;)
        *number = *number * 10 + (unsigned)(parser->text[parser->at++] - '0');
    return parser->at != begin;
}

/* Behind the brace. *most is UINT32_MAX without an upper bound. */
static void parse_bounds(struct parser *parser, unsigned *least, unsigned *most)
{
    size_t begin = parser->at - 1;
    bool is_right = parse_number(parser, least);
    *most = *least;
    if (accept(parser, ',') && !parse_number(parser, most))
        *most = UINT32_MAX;
    if (!is_right || !accept(parser, '}'))
        invalid(
            parser, begin,
            "allowed are {n}, {n,} and {n,m} with numbers up to 255; write \\{ for the character");
    else if (*least > *most)
        invalid(parser, begin, "the first number is larger than the second");
    else if (*least > REPEAT_MAX || (*most > REPEAT_MAX && *most != UINT32_MAX))
        invalid(parser, begin, "the numbers go up to 255");
}

/* The piece from start on comes at least and at most so often. */
static void repeat(struct parser *parser, unsigned start, unsigned least, unsigned most)
{
    struct regex_program *program = parser->program;
    unsigned count = program->steps - start;
    if (most == 0) {
        program->steps = (uint16_t)start;
        return;
    }
    for (unsigned i = 1; i < least; i++)
        copy(parser, start, count);
    unsigned last = program->steps - count;
    if (most == UINT32_MAX && least == 0) {
        emit_split(parser, start, count + 1);
        emit(parser, REGEX_JUMP, 0, start);
        return;
    }
    if (most == UINT32_MAX) {
        emit(parser, REGEX_SPLIT, 0, last);
        return;
    }
    /* The others are there or not, each for itself. */
    unsigned more = most - least;
    if (least == 0) {
        emit_split(parser, start, count);
        more--;
    }
    for (; more > 0 && parser->status == STATUS_OK; more--) {
        emit(parser, REGEX_SPLIT, 0, program->steps + 1u + count);
        copy(parser, least == 0 ? start + 1 : start, count);
    }
}

static void parse_repetition(struct parser *parser, unsigned start)
{
    size_t begin = parser->at;
    unsigned least = 0, most = UINT32_MAX;
    if (accept(parser, '?'))
        most = 1;
    else if (accept(parser, '+'))
        least = 1;
    else if (accept(parser, '{'))
        parse_bounds(parser, &least, &most);
    else if (!accept(parser, '*'))
        return;
    if (is_next(parser, '*') || is_next(parser, '+') || is_next(parser, '?') ||
        is_next(parser, '{'))
        invalid(parser, begin,
                "two repetitions behind each other; write one of them, or a group: a lazy or "
                "possessive "
                "one finds the same");
    if (parser->status == STATUS_OK)
        repeat(parser, start, least, most);
}

/* ---- Alternatives -------------------------------------------------------------------------- */

static void parse_sequence(struct parser *parser)
{
    while (!is_done(parser) && !is_next(parser, '|') && !is_next(parser, ')')) {
        unsigned start = parser->program->steps;
        if (parse_piece(parser))
            parse_repetition(parser, start);
        else if (is_next(parser, '*') || is_next(parser, '+') || is_next(parser, '?') ||
                 is_next(parser, '{'))
            invalid(parser, parser->at, "^ and $ cannot be repeated");
    }
}

/* Each alternative but the last ends in a jump behind all; until it is known where that is, the
 * jumps are a chain. */
static void parse_alternatives(struct parser *parser)
{
    struct regex_program *program = parser->program;
    unsigned start = program->steps, chain = NO_STEP;
    parse_sequence(parser);
    while (accept(parser, '|')) {
        emit_split(parser, start, program->steps - start + 1u);
        emit(parser, REGEX_JUMP, 0, chain);
        chain = program->steps - 1u;
        start = program->steps;
        parse_sequence(parser);
    }
    while (chain != NO_STEP && parser->status == STATUS_OK) {
        unsigned next = program->step[chain].target;
        program->step[chain].target = program->steps;
        chain = next;
    }
}

/* ---- The pattern as a whole ---------------------------------------------------------------- */

/* Whether the pattern matches without a byte, where a line begins. */
static bool matches_nothing(const struct regex_program *program, unsigned start)
{
    bool seen[REGEX_STEPS_MAX] = {false};
    uint16_t stack[REGEX_STEPS_MAX];
    unsigned depth = 0;
    stack[depth++] = (uint16_t)start;
    while (depth != 0) {
        unsigned at = stack[--depth];
        const struct regex_step *step = &program->step[at];
        if (step->op == REGEX_MATCH)
            return true;
        if (seen[at])
            continue;
        seen[at] = true;
        if (step->op == REGEX_SPLIT || step->op == REGEX_JUMP)
            stack[depth++] = step->target;
        if (step->op == REGEX_SPLIT || step->op == REGEX_BEGIN)
            stack[depth++] = (uint16_t)(at + 1);
    }
    return false;
}

enum status regex_add(struct regex_program *program, const char *text, size_t length,
                      struct regex_error *error)
{
    struct parser parser = {.program = program, .text = text, .length = length, .error = error};
    if (program->patterns == REGEX_PATTERNS_MAX)
        return fail(&parser, 0, ERR_NO_SPACE, "too many patterns");
    unsigned start = program->steps;
    program->start[program->patterns] = (uint16_t)start;
    if (length >= 4 && memcmp(text, "(?i)", 4) == 0) {
        parser.folds = true;
        parser.at = 4;
    }
    parse_alternatives(&parser);
    if (parser.status == STATUS_OK && parser.at != length)
        invalid(&parser, parser.at, "there is no group to close; write \\) for the character");
    emit(&parser, REGEX_MATCH, program->patterns, 0);
    if (parser.status == STATUS_OK && matches_nothing(program, start))
        invalid(&parser, 0, "it matches where nothing stands, and so on every console");
    program->patterns++;
    return parser.status;
}

/* Splits the classes by whether a step takes their bytes. */
static void tell_apart(struct regex_program *program, const uint64_t *set)
{
    uint16_t inside[256] = {
        0}; /* for each class: 1 + that of its bytes in the set, if it is split */
    bool has_in[256] = {false}, has_out[256] = {false};
    for (unsigned byte = 0; byte < 256; byte++) {
        bool is_in = set[byte / 64] >> byte % 64 & 1;
        has_in[program->class_of[byte]] |= is_in;
        has_out[program->class_of[byte]] |= !is_in;
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        unsigned class = program->class_of[byte];
        if (!has_in[class] || !has_out[class] || !(set[byte / 64] >> byte % 64 & 1))
            continue;
        if (inside[class] == 0)
            inside[class] = ++program->classes;
        program->class_of[byte] = (uint8_t)(inside[class] - 1);
    }
}

void regex_finish(struct regex_program *program)
{
    uint64_t newline[4] = {1ull << '\n'};
    memset(program->class_of, 0, sizeof(program->class_of));
    program->classes = 1;
    tell_apart(program, newline);
    for (unsigned i = 0; i < program->sets; i++)
        tell_apart(program, program->set[i]);
    for (unsigned i = 0; i < program->steps; i++) {
        const struct regex_step *step = &program->step[i];
        uint64_t set[4] = {0};
        if (step->op != REGEX_BYTE && step->op != REGEX_FOLD)
            continue;
        set_add(set, step->argument, step->argument);
        if (step->op == REGEX_FOLD)
            set_fold(set);
        tell_apart(program, set);
    }
}

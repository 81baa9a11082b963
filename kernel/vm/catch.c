#include "kernel/vm/catch.h"

#include "kernel/core/fmt.h"
#include "kernel/core/mem.h"
#include "kernel/vm/msr_policy.h"

static const char *const kinds[CATCH_KINDS] = {
    [CATCH_NOTHING] = "",
    [CATCH_RESET] = "reset",
    [CATCH_TRIPLE_FAULT] = "triple-fault",
    [CATCH_EXCEPTION] = "exception",
    [CATCH_MSR] = "msr",
    [CATCH_PORT] = "port",
    [CATCH_CPUID] = "cpuid",
    [CATCH_CR] = "cr",
    [CATCH_MODE] = "mode",
};

static const char modes[CATCH_MODES][16] = {"real", "protected", "paged",
                                            "long", "v86",       "compatibility"};

/* SDM: Protected-Mode Exceptions and Interrupts. */
static const char vectors[][3] = {"de", "db", "",   "bp", "of", "br", "ud", "nm", "df", "",   "ts",
                                  "np", "ss", "gp", "pf", "",   "mf", "ac", "mc", "xm", "ve", "cp"};

static const char *const accesses[] = {"", "read", "write", "access"};

/* ---- What is written ------------------------------------------------------------------------ */

static char lower(char character)
{
    return character >= 'A' && character <= 'Z' ? (char)(character | 0x20) : character;
}

static bool is_same(const char *a, const char *b)
{
    while (*a != 0 && lower(*a) == lower(*b))
        a++, b++;
    return lower(*a) == lower(*b);
}

/* A decimal number, or a hexadecimal one after 0x. */
static bool take_number(const char **text, uint32_t *value)
{
    const char *at = *text;
    unsigned base = 10;
    uint64_t sum = 0;
    if (at[0] == '0' && lower(at[1]) == 'x') {
        base = 16;
        at += 2;
    }
    const char *start = at;
    for (;; at++) {
        unsigned digit = *at >= '0' && *at <= '9' ? (unsigned)(*at - '0')
                         : lower(*at) >= 'a' && lower(*at) <= 'f'
                             ? (unsigned)(lower(*at) - 'a' + 10)
                             : base;
        if (digit >= base || sum > UINT32_MAX)
            break;
        sum = sum * base + digit;
    }
    *text = at;
    *value = (uint32_t)sum;
    return at > start && sum <= UINT32_MAX;
}

static bool find_number(const char *text, uint32_t *value)
{
    return take_number(&text, value) && *text == 0;
}

static const char *without_prefix(const char *name)
{
    static const char prefix[] = "ia32_";
    unsigned i = 0;
    while (prefix[i] != 0 && lower(name[i]) == prefix[i])
        i++;
    return prefix[i] == 0 ? name + i : name;
}

bool catch_find_msr(const char *text, uint32_t *msr)
{
    const struct msr_policy *row;
    for (unsigned i = 0; (row = msr_policy_at(i)) != NULL; i++)
        if (is_same(without_prefix(row->name), without_prefix(text))) {
            *msr = row->msr;
            return true;
        }
    return find_number(text, msr);
}

static bool find_vector(const char *text, uint32_t *vector)
{
    if (*text == '#')
        text++;
    for (unsigned i = 0; i < ARRAY_SIZE(vectors); i++)
        if (vectors[i][0] != 0 && is_same(vectors[i], text)) {
            *vector = i;
            return true;
        }
    return find_number(text, vector) && *vector < 32 && *vector != 2;
}

static bool find_ports(const char *text, struct catch *wanted)
{
    if (!take_number(&text, &wanted->first))
        return false;
    wanted->last = wanted->first;
    if (*text == '-') {
        text++;
        if (!take_number(&text, &wanted->last))
            return false;
    }
    return *text == 0 && wanted->first <= wanted->last && wanted->last <= UINT16_MAX;
}

static bool find_access(const char *text, struct catch *wanted)
{
    if (is_same(text, "read") || is_same(text, "in"))
        wanted->access = CATCH_READ;
    else if (is_same(text, "write") || is_same(text, "out"))
        wanted->access = CATCH_WRITE;
    else
        return false;
    return true;
}

static bool find_mode(const char *text, uint32_t *mode)
{
    for (unsigned i = 0; i < CATCH_MODES; i++)
        if (is_same(modes[i], text)) {
            *mode = i;
            return true;
        }
    return false;
}

static bool find_register(const char *text, uint32_t *number)
{
    if (lower(text[0]) == 'c' && lower(text[1]) == 'r')
        text += 2;
    return find_number(text, number) && *number <= 8 && (0x119u >> *number & 1) != 0;
}

/* Of the kind that is known: which ones. NULL, or what is wrong. */
static const char *parse_which(unsigned count, char *const word[], struct catch *wanted)
{
    const char *which = count > 1 ? word[1] : NULL;
    bool has_access = wanted->kind == CATCH_MSR || wanted->kind == CATCH_PORT;
    if (count > 3)
        return "there are too many words";
    if (count > 2 && (!has_access || !find_access(word[2], wanted)))
        return has_access ? "the access is read or write" : "there are too many words";
    switch (wanted->kind) {
    case CATCH_EXCEPTION:
        return which != NULL && find_vector(which, &wanted->first)
                   ? NULL
                   : "write exception and its vector: 0 to 31, but 2, or pf, gp, ud, ...";
    case CATCH_MSR:
        return which != NULL && catch_find_msr(which, &wanted->first)
                   ? NULL
                   : "write msr and its number, or a name of the SDM's that the guest has";
    case CATCH_PORT:
        return which != NULL && find_ports(which, wanted)
                   ? NULL
                   : "write port and its number, or FIRST-LAST";
    case CATCH_CR:
        return which != NULL && find_register(which, &wanted->first)
                   ? NULL
                   : "the control registers are 0, 3, 4 and 8";
    case CATCH_CPUID:
    case CATCH_MODE:
        if (which == NULL) {
            wanted->last = UINT32_MAX; /* any */
            return NULL;
        }
        if (wanted->kind == CATCH_CPUID)
            return find_number(which, &wanted->first) ? NULL : "a leaf is a number";
        return find_mode(which, &wanted->first)
                   ? NULL
                   : "the modes are real, protected, paged, long, v86 and "
                     "compatibility";
    default:
        return which == NULL ? NULL : "there are too many words";
    }
}

const char *catch_parse(unsigned count, char *const word[], struct catch *wanted)
{
    unsigned kind = CATCH_RESET;
    while (kind < CATCH_KINDS && !is_same(kinds[kind], word[0]))
        kind++;
    if (kind == CATCH_KINDS)
        return "what can be caught is reset, triple-fault, exception, msr, port, cpuid, cr and "
               "mode";
    *wanted = (struct catch){.kind = (uint8_t)kind, .access = CATCH_READ | CATCH_WRITE};
    const char *wrong = parse_which(count, word, wanted);
    if (wanted->last < wanted->first)
        wanted->last = wanted->first;
    return wrong;
}

/* ---- What is read --------------------------------------------------------------------------- */

static const char *msr_name(uint32_t msr)
{
    const struct msr_policy *row = msr_policy_find(msr);
    return row != NULL && row->msr == msr ? without_prefix(row->name) : "";
}

static void print_vector(uint32_t vector, char text[8])
{
    if (vector < ARRAY_SIZE(vectors) && vectors[vector][0] != 0)
        fmt_format(text, 8, "#%c%c", vectors[vector][0] & ~0x20, vectors[vector][1] & ~0x20);
    else
        fmt_format(text, 8, "%u", vector);
}

void catch_print(const struct catch *catch, char text[CATCH_TEXT_MAX])
{
    const char *kind = kinds[catch->kind];
    char vector[8];
    bool any = catch->last == UINT32_MAX;
    switch (catch->kind) {
    case CATCH_EXCEPTION:
        print_vector(catch->first, vector);
        fmt_format(text, CATCH_TEXT_MAX, "%s %s", kind, vector);
        return;
    case CATCH_MSR:
        fmt_format(text, CATCH_TEXT_MAX, "%s 0x%x %s %s", kind, catch->first,
                   msr_name(catch->first), accesses[catch->access]);
        return;
    case CATCH_PORT:
        fmt_format(text, CATCH_TEXT_MAX, "%s 0x%x-0x%x %s", kind, catch->first, catch->last,
                   accesses[catch->access]);
        return;
    case CATCH_MODE:
        fmt_format(text, CATCH_TEXT_MAX, "%s %s", kind, any ? "" : modes[catch->first]);
        return;
    case CATCH_CPUID:
    case CATCH_CR:
        if (!any) {
            fmt_format(text, CATCH_TEXT_MAX, "%s 0x%x", kind, catch->first);
            return;
        }
        break;
    default:
        break;
    }
    fmt_format(text, CATCH_TEXT_MAX, "%s", kind);
}

void catch_describe(const struct catch_event *event, char text[CATCH_TEXT_MAX])
{
    const char *access = accesses[event->access];
    const char *failed = event->has_failed ? ", refused by an exception" : "";
    char vector[8];
    switch (event->kind) {
    case CATCH_EXCEPTION:
        print_vector(event->number, vector);
        fmt_format(text, CATCH_TEXT_MAX, "exception %s at 0x%lx, error code 0x%lx, CR2 0x%lx",
                   vector, event->rip, event->after, event->before);
        return;
    case CATCH_MSR:
        if (event->access == CATCH_READ)
            fmt_format(text, CATCH_TEXT_MAX, "read of MSR 0x%x %s at 0x%lx: 0x%lx%s", event->number,
                       msr_name(event->number), event->rip, event->before, failed);
        else
            fmt_format(text, CATCH_TEXT_MAX, "write of MSR 0x%x %s at 0x%lx: 0x%lx -> 0x%lx%s",
                       event->number, msr_name(event->number), event->rip, event->before,
                       event->after, failed);
        return;
    case CATCH_PORT:
        fmt_format(text, CATCH_TEXT_MAX, "%s of port 0x%x at 0x%lx: 0x%lx", access, event->number,
                   event->rip, event->after);
        return;
    case CATCH_CPUID:
        fmt_format(text, CATCH_TEXT_MAX, "CPUID leaf 0x%x, subleaf 0x%lx at 0x%lx", event->number,
                   event->after, event->rip);
        return;
    case CATCH_CR:
        fmt_format(text, CATCH_TEXT_MAX, "write of CR%u at 0x%lx: 0x%lx -> 0x%lx%s", event->number,
                   event->rip, event->before, event->after, failed);
        return;
    case CATCH_MODE:
        fmt_format(text, CATCH_TEXT_MAX, "mode at 0x%lx: %s -> %s", event->rip,
                   modes[event->before % CATCH_MODES], modes[event->number % CATCH_MODES]);
        return;
    default:
        fmt_format(text, CATCH_TEXT_MAX, "%s at 0x%lx", kinds[event->kind], event->rip);
    }
}

bool catch_meets(const struct catch *catch, struct catch_event *event)
{
    bool has_access = event->kind == CATCH_MSR || event->kind == CATCH_PORT;
    bool is_reset = catch->kind == CATCH_RESET && event->kind == CATCH_TRIPLE_FAULT;
    if ((catch->kind != event->kind && !is_reset) || event->number < catch->first ||
        event->number > catch->last || (has_access && !(catch->access & event->access)))
        return false;
    event->id = catch->id;
    return true;
}

/*
 * The processor's verdict against that of vmx/entry_check.c: the processor refuses with an error
 * exactly where a rule of that error is broken, and none whose check comes before; it enters
 * exactly where none is. What the emulator is known to do otherwise is a list with reasons,
 * defects.def.
 */
#include "tests/guests/bare/entry_check/entry_check.h"

#define SHOWN_MAX 20
#define RULES_MAX 512
#define MEMORY MIB(64) /* what lies above is not there, and reads as ones */

/* A rule of entry_check.c that was, alone, why the processor refused. */
struct shown_rule {
    uint16_t field;
    const char *text;
    uint64_t times;
};

struct judge {
    unsigned disagreements;
    uint64_t entered, refused, explained;
    struct shown_rule shown[RULES_MAX];
    unsigned rules;
};

static struct judge results;

/* All memory that entries read is the program's own (see keep_machine), or none. */
static bool load_memory(void *context, uint64_t address, uint64_t *value)
{
    (void)context;
    *value = address < MEMORY ? *(const volatile uint64_t *)(uintptr_t)address : ~0ull;
    return true;
}

static uint64_t read_wanted(void *context, enum vmcs_field field)
{
    (void)context;
    return world.want[field];
}

static void note_reason(void *context, const struct broken_rule *rule)
{
    (void)context;
    if (world.reasons < REASONS_MAX)
        world.reason[world.reasons++] = *rule;
}

/* ---- The emulator's defects ---- */

static bool is_injecting(unsigned type)
{
    uint64_t event = world.want[VMCS_VM_ENTRY_INTERRUPTION_INFORMATION];
    return event >> 31 & 1 && (event >> 8 & 7) == type;
}

static bool is_stack_null(void)
{
    return (world.want[VMCS_GUEST_SS_SELECTOR] & ~3ull) == 0 && is_on(world.want, IA32E_GUEST) &&
           world.want[VMCS_GUEST_CS_ACCESS_RIGHTS] & SEGMENT_L;
}

/* What Bochs wants of CS: the RPL is the DPL, or not below it for conforming code. */
static bool has_code_rpl_of_dpl(void)
{
    uint64_t access = world.want[VMCS_GUEST_CS_ACCESS_RIGHTS];
    uint64_t rpl = world.want[VMCS_GUEST_CS_SELECTOR] & 3, dpl = SEGMENT_DPL(access);
    return access & 4 ? rpl >= dpl : rpl == dpl;
}

#define UNCHECKED(name, field, text, condition, sentence, bochs) DEFECT_##name,
#define REFUSED(name, error, condition, sentence, bochs) DEFECT_##name,
enum {
#include "tests/guests/bare/entry_check/defects.def"
    DEFECTS
};
#undef UNCHECKED
#undef REFUSED

static uint64_t defect_seen[DEFECTS];

static const struct {
    const char *name;
    const char *text; /* NULL: a REFUSED */
    uint16_t field;
} defects[] = {
#define UNCHECKED(name, field, text, condition, sentence, bochs) {#name, text, field},
#define REFUSED(name, error, condition, sentence, bochs) {#name, NULL, 0},
#include "tests/guests/bare/entry_check/defects.def"
#undef UNCHECKED
#undef REFUSED
};

/* Whether the defect has what it needs in the VMCS under test, and in the rule that it lets go. */
static bool is_condition_met(unsigned defect, const struct broken_rule *rule)
{
    switch (defect) {
#define UNCHECKED(name, field, text, condition, sentence, bochs)                                   \
    case DEFECT_##name:                                                                            \
        return (condition);
#define REFUSED(name, error, condition, sentence, bochs)                                           \
    case DEFECT_##name:                                                                            \
        return (condition);
#include "tests/guests/bare/entry_check/defects.def"
#undef UNCHECKED
#undef REFUSED
    default:
        return false;
    }
}

static const uint8_t refusal_error[DEFECTS] = {
#define UNCHECKED(name, field, text, condition, sentence, bochs)
#define REFUSED(name, error, condition, sentence, bochs) [DEFECT_##name] = (error),
#include "tests/guests/bare/entry_check/defects.def"
#undef UNCHECKED
#undef REFUSED
};

/* The defect that lets the rule go, or DEFECTS. */
static unsigned defect_of_rule(const struct broken_rule *rule)
{
    for (unsigned i = 0; i < DEFECTS; i++) {
        const char *text = defects[i].text;
        if (text != NULL && (text[0] == '\0' || strcmp(text, rule->text) == 0) &&
            (defects[i].field == 0 || defects[i].field == rule->field) && is_condition_met(i, rule))
            return i;
    }
    return DEFECTS;
}

static unsigned defect_of_refusal(const struct verdict *verdict)
{
    for (unsigned i = 0; i < DEFECTS; i++)
        if (defects[i].text == NULL && refusal_error[i] == verdict->error &&
            is_condition_met(i, NULL))
            return i;
    return DEFECTS;
}

/* ---- Agreement ---- */

/* Whether a rule is broken that is checked before those of the verdict's error. */
static bool is_refused_before(const struct verdict *verdict)
{
    for (unsigned i = 0; i < world.reasons; i++)
        if (world.reason[i].error < verdict->error && defect_of_rule(&world.reason[i]) == DEFECTS)
            return true;
    return false;
}

static bool agree(const struct verdict *verdict, bool without_unchecked)
{
    bool found = false;
    for (unsigned i = 0; i < world.reasons; i++) {
        const struct broken_rule *rule = &world.reason[i];
        if (without_unchecked && defect_of_rule(rule) != DEFECTS)
            continue;
        if (verdict->error == 0 || rule->error < verdict->error)
            return false;
        found |= rule->error == verdict->error && rule->qualification == verdict->qualification;
    }
    return found || verdict->error == 0;
}

/* Whether the list of defects is why they disagree. */
static bool is_explained(const struct verdict *verdict)
{
    if (!agree(verdict, true)) {
        unsigned defect = defect_of_refusal(verdict);
        if (defect == DEFECTS || is_refused_before(verdict))
            return false;
        defect_seen[defect]++;
    }
    for (unsigned i = 0; i < world.reasons; i++) {
        unsigned defect = defect_of_rule(&world.reason[i]);
        if (defect != DEFECTS)
            defect_seen[defect]++;
    }
    return true;
}

/* Counts the rule that alone is why the processor refuses; the MSRs are often there to end the
 * entry. */
static void count_rule(const struct verdict *verdict)
{
    const struct broken_rule *rule = &world.reason[0];
    unsigned i = 0, others = 0;
    for (unsigned n = 1; n < world.reasons; n++)
        others += world.reason[n].error != ENTRY_ERROR_MSR_LOADING;
    if (world.reasons == 0 || others != 0 || defect_of_rule(rule) != DEFECTS ||
        defect_of_refusal(verdict) != DEFECTS)
        return;
    while (i < results.rules &&
           (results.shown[i].field != rule->field || results.shown[i].text != rule->text))
        i++;
    if (i == RULES_MAX)
        return;
    results.shown[i].field = (uint16_t)rule->field;
    results.shown[i].text = rule->text;
    results.shown[i].times++;
    if (i == results.rules)
        results.rules++;
}

static void print_field(enum vmcs_field field, uint64_t value)
{
    guest_print(" ");
    guest_print(vmcs_field_name(field));
    guest_print("=");
    guest_print_hex(value);
}

static void show(uint64_t number, const struct verdict *verdict)
{
    guest_print("disagree: case ");
    guest_print_decimal(number);
    guest_print(" mode ");
    guest_print_decimal(world.mode);
    guest_print(":");
    for (unsigned i = 0; i < world.fields; i++) {
        enum vmcs_field field = world.field[i].encoding;
        if (world.want[field] != world.base[field])
            print_field(field, world.want[field]);
    }
    guest_print("\n  the processor: ");
    guest_print_decimal(verdict->error);
    guest_print(" qualification ");
    guest_print_decimal(verdict->qualification);
    for (unsigned i = 0; i < world.reasons; i++) {
        guest_print("\n  entry_check: ");
        guest_print_decimal(world.reason[i].error);
        print_field(world.reason[i].field, world.reason[i].value);
        guest_print(": ");
        guest_print(world.reason[i].text);
    }
    guest_print("\n");
}

void judge(uint64_t number, const struct verdict *verdict)
{
    struct entry_check_ports ports = {read_wanted, load_memory, note_reason, NULL};
    world.reasons = 0;
    entry_check(&world.machine, &ports);
    if (verdict->error == 0)
        results.entered++;
    else
        results.refused++;
    if (agree(verdict, false)) {
        count_rule(verdict);
        return;
    }
    if (is_explained(verdict)) {
        results.explained++;
        return;
    }
    if (results.disagreements++ < SHOWN_MAX)
        show(number, verdict);
}

static void print_count(const char *what, uint64_t count)
{
    guest_print(what);
    guest_print_decimal(count);
}

unsigned judge_end(bool show_rules)
{
    for (unsigned i = 0; show_rules && i < results.rules; i++) {
        guest_print("rule: ");
        guest_print(vmcs_field_name(results.shown[i].field));
        guest_print(": ");
        guest_print(results.shown[i].text);
        print_count(": ", results.shown[i].times);
        guest_print("\n");
    }
    for (unsigned i = 0; i < DEFECTS; i++) {
        guest_print("defect: ");
        guest_print(defects[i].name);
        print_count(": ", defect_seen[i]);
        guest_print("\n");
    }
    print_count("cases: entered ", results.entered);
    print_count(" refused ", results.refused);
    print_count(" by defects ", results.explained);
    print_count(" disagreements ", results.disagreements);
    guest_print("\n");
    return results.disagreements;
}

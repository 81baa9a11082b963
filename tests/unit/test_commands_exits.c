/* `exits` and `trace` of as many exits as there can be: every piece of it, and one whole text. */
#include "kernel/debug/debugger.h"
#include "tests/check.h"
#include "vmx/vmx.h"

#include <stdlib.h>

#define EXITS 1000u
#define TEXT_MAX (4u << 20)
/* SDM: VMX Basic Exit Reasons */
#define REASON_CPUID 10u
#define REASON_IO 30u

static const struct shell_command *const tables[] = {commands_exits, NULL};
static const struct config_vm configs[2];
static struct debug_shell debug;
static struct monitor monitor;
static struct guest guest;
static struct account *account;
static char text[TEXT_MAX];
static size_t length;
static unsigned pieces;

/* ---- What the debugger has besides ---- */

struct debug_shell *debug_shell_of(struct shell *shell)
{
    return shell->context;
}

struct guest *debug_guest(struct shell *shell, unsigned count, char *const argument[],
                          unsigned index)
{
    (void)shell;
    (void)count;
    (void)argument;
    (void)index;
    return &guest;
}

void debug_complete_guests(struct shell *shell, struct completion *completion)
{
    (void)shell;
    completion_offer(completion, "full");
}

void debug_refused(struct shell *shell, const struct guest *which, const char *what,
                   enum status status)
{
    shell_print(shell, "%s: %s: %s\n", which->vm.name, what, status_text(status));
}

/* ---- A guest with an exit of every kind that there is room for ---- */

static void fill_times(struct account_times *times)
{
    times->sum = times->span = UINT64_MAX / 3;
    times->min = 1ull << 40;
    for (unsigned i = 0; i < ACCOUNT_BUCKETS; i++)
        times->bucket[i] = UINT32_MAX - i;
}

static void start(void)
{
    free(account);
    memset(&guest, 0, sizeof(guest));
    memset(&debug, 0, sizeof(debug));
    guest.monitor = debug.monitor = &monitor;
    guest.config = &configs[0];
    guest.vm = (struct vm){.name = "full", .outcome = VM_KILLED, .clock.hz = 2000000000};
    guest.vcpu[0].vm = &guest.vm;
    monitor.guest[0] = &guest;
    monitor.guests = 1;
    account = aligned_alloc(4096, align_up(account_size(EXITS), 4096));
    account_start(&guest.vcpu[0], account, EXITS);
    for (unsigned port = 0; port < ACCOUNT_SLOTS + 9; port++) {
        struct account_slot *slot = account_find(ACCOUNT_TAG(REASON_IO) + port, account);
        fill_times(&slot->own);
        fill_times(&slot->guest);
    }
    shell_init(&debug.shell, &(struct shell_ports){0}, tables, &debug);
}

/* So many exits, each with its own number as RIP. */
static void exit_so_often(unsigned count)
{
    struct vcpu *vcpu = &guest.vcpu[0];
    for (unsigned i = 0; i < count; i++) {
        uint64_t number = vcpu_exits(vcpu);
        struct vcpu_history *history = &vcpu->history;
        history->newest =
            history->newest + 1 == history->end ? history->first : history->newest + 1;
        *history->newest = (struct vcpu_exit){
            .reason = REASON_CPUID, .rip = number, .start = number * 10, .own = 5};
        vcpu->exit_count[REASON_CPUID]++;
    }
}

static void keep(const char *said, size_t size)
{
    CHECK(size < TEXT_MAX - length && size < SHELL_OUTPUT_MAX);
    memcpy(text + length, said, size);
    length += size;
    text[length] = '\0';
    pieces++;
}

static void begin(const char *line)
{
    size_t size;
    length = pieces = 0;
    const char *said = shell_execute(&debug.shell, line, &size);
    keep(said, size);
}

static bool go_on(void)
{
    size_t size;
    const char *said = shell_execute_more(&debug.shell, &size);
    if (said != NULL)
        keep(said, size);
    return said != NULL;
}

static const char *all_of(const char *line)
{
    begin(line);
    while (go_on())
        continue;
    return text;
}

/* ---- JSON, as RFC 8259 has it; NULL: it is none ---- */

static const char *skip_value(const char *at);

static const char *skip_string(const char *at)
{
    for (at++; *at != '"'; at++)
        if (*at < ' ' || *at == '\\')
            return NULL;
    return at + 1;
}

static const char *skip_list(const char *at, char end, bool has_names)
{
    if (*++at == end)
        return at + 1;
    for (;; at++) {
        if (has_names) {
            at = *at == '"' ? skip_string(at) : NULL;
            if (at == NULL || *at++ != ':')
                return NULL;
        }
        at = skip_value(at);
        if (at == NULL || *at != ',')
            return at != NULL && *at == end ? at + 1 : NULL;
    }
}

static const char *skip_number(const char *at)
{
    char *end;
    if (*at < '0' || *at > '9' || (at[0] == '0' && at[1] >= '0' && at[1] <= '9'))
        return NULL;
    (void)strtod(at, &end);
    return end;
}

static const char *skip_value(const char *at)
{
    return *at == '"'                    ? skip_string(at)
           : *at == '{'                  ? skip_list(at, '}', true)
           : *at == '['                  ? skip_list(at, ']', false)
           : strncmp(at, "true", 4) == 0 ? at + 4
                                         : skip_number(at);
}

static bool is_json_line(const char *said)
{
    const char *end = skip_value(said);
    return end != NULL && strcmp(end, "\n") == 0 && strchr(said, '\n') == said + strlen(said) - 1;
}

static unsigned count_of(const char *what)
{
    unsigned count = 0;
    for (const char *at = text; (at = strstr(at, what)) != NULL; at++)
        count++;
    return count;
}

/* ---- Tests ---- */

static void knows_json(void)
{
    CHECK(is_json_line("{\"a\":[1,2.5,{}],\"b\":\"c\"}\n"));
    CHECK(!is_json_line("{\"a\":[1,2.5,{}],\"b\":\"c\"\n"));
    CHECK(!is_json_line("[1,]\n") && !is_json_line("[1]") && !is_json_line("[\"a]\n"));
}

static void all_kinds_are_one_line(void)
{
    start();
    CHECK(is_json_line(all_of("exits json")));
    CHECK(length > 5 * SHELL_OUTPUT_MAX && pieces > 50);
    CHECK_EQ(count_of("\"reason\":\"IO_INSTRUCTION\""), ACCOUNT_SLOTS);
    CHECK_EQ(count_of("{\"reason\":\"(all others)\",\"what\":\"\""), 1);
    CHECK_EQ(count_of("\"what\":\"port 0x1ff\""), 1);
    CHECK_EQ(count_of("cut"), 0);
}

/* What comes while it is under way neither spoils it nor comes twice. */
static void the_guest_goes_on(void)
{
    start();
    account->slot[0].key = 0;
    begin("exits json");
    CHECK(go_on());
    account_find(ACCOUNT_TAG(REASON_CPUID), account)->guest.bucket[3] = 1;
    while (go_on())
        continue;
    CHECK(is_json_line(text));
    CHECK_EQ(count_of("\"what\":\"port 0x1ff\""), 1);
}

/* One that is gone, or is another's by now, ends it; the text is whole all the same. */
static void the_guest_goes(void)
{
    for (unsigned how = 0; how < 3; how++) {
        start();
        begin("exits json");
        CHECK(go_on());
        if (how == 0)
            monitor.guests = 0;
        else if (how == 1)
            guest.config = &configs[1];
        else
            account_stop(&guest.vcpu[0]);
        CHECK(go_on());
        CHECK(!go_on());
        CHECK(is_json_line(text));
        CHECK_EQ(count_of("],\"cut\":true}\n"), 1);
    }
}

static void all_exits_are_one_line(void)
{
    start();
    exit_so_often(3 * EXITS + 7);
    CHECK(is_json_line(all_of("trace json full 5000")));
    CHECK(length > SHELL_OUTPUT_MAX);
    CHECK_EQ(count_of("\"ph\":\"X\""), EXITS);
    CHECK_EQ(count_of("\"rip\":\"0xbbe\""), 1); /* the last one, 3006 */
    CHECK_EQ(count_of("\"rip\":\"0x7d7\""), 1); /* and the oldest, 2007 */
    CHECK(is_json_line(all_of("trace json full 400 7")));
    CHECK_EQ(count_of("\"ph\":\"X\""), 400);
    CHECK_EQ(count_of("\"rip\":\"0xbb7\""), 1);
    CHECK_EQ(count_of("\"rip\":\"0xbb8\""), 0);
    CHECK(is_json_line(all_of("trace json full 400 100000")));
    CHECK_EQ(count_of("\"ph\":\"X\""), 0);
}

/* What was asked for stays what is told, as long as it is kept; what is no more is left out. */
static void exits_pass_the_trace(void)
{
    start();
    exit_so_often(EXITS);
    begin("trace json full 1000");
    exit_so_often(500);
    while (go_on())
        continue;
    CHECK(is_json_line(text));
    CHECK_EQ(count_of("\"rip\":\"0x3e7\""), 1); /* 999 */
    CHECK_EQ(count_of("\"rip\":\"0x3e8\""), 0);
    CHECK(count_of("\"ph\":\"X\"") >= 500 && count_of("\"ph\":\"X\"") < EXITS);
    begin("trace json full 1000");
    account_stop(&guest.vcpu[0]);
    while (go_on())
        continue;
    CHECK(is_json_line(text));
}

static void tables_come_whole(void)
{
    start();
    exit_so_often(EXITS);
    (void)all_of("trace full 1000");
    CHECK_EQ(count_of("\n"), 2 + EXITS);
    (void)all_of("trace raw full 1000");
    CHECK_EQ(count_of("\n"), 2 + EXITS);
    CHECK_EQ(count_of("=CPUID"), 1);
    (void)all_of("exits");
    CHECK_EQ(count_of("\n"), 2 + ACCOUNT_KINDS_MAX);
    CHECK_EQ(count_of("found no room"), 0);
}

static void nothing_is_counted(void)
{
    start();
    account_stop(&guest.vcpu[0]);
    CHECK(strstr(all_of("exits json"), "its exits are not accounted") != NULL);
    CHECK(strstr(all_of("trace json"), "its exits are not accounted") != NULL);
    CHECK_EQ(pieces, 1);
    free(account);
    account = NULL;
}

TEST_MAIN({"knows_json", knows_json}, {"all_kinds_are_one_line", all_kinds_are_one_line},
          {"the_guest_goes_on", the_guest_goes_on}, {"the_guest_goes", the_guest_goes},
          {"all_exits_are_one_line", all_exits_are_one_line},
          {"exits_pass_the_trace", exits_pass_the_trace}, {"tables_come_whole", tables_come_whole},
          {"nothing_is_counted", nothing_is_counted})

/* Commands for what exits cost: the accounting, and the trace of the last ones. */
#include "kernel/core/fmt.h"
#include "kernel/core/mem.h"
#include "kernel/core/ratio.h"
#include "kernel/debug/debugger.h"
#include "kernel/debug/gate.h"

/* A guest that has ended has nobody who counts any more; else the reading is a call. */
static enum status on_vcpu(struct guest *guest, void (*run)(struct vcpu *vcpu, void *context),
                           void *context)
{
    if (__atomic_load_n(&guest->vm.outcome, __ATOMIC_SEQ_CST) == VM_RUNNING)
        return vcpu_call(&guest->vcpu[0], run, context);
    run(&guest->vcpu[0], context);
    return STATUS_OK;
}

struct request {
    struct shell *shell;
    uint64_t count, skip;
};

static bool is_on(struct shell *shell, const struct vcpu *vcpu)
{
    if (vcpu->account == NULL)
        shell_print(shell,
                    "%s: its exits are not accounted; `accounting = yes` in its section of "
                    "the configuration turns that on\n",
                    vcpu->vm->name);
    return vcpu->account != NULL;
}

/* ---- exits --------------------------------------------------------------------------------- */

static uint64_t ns_of(const struct vcpu *vcpu, uint64_t counts)
{
    struct ratio to_ns = ratio_make(vcpu->vm->clock.hz, 1000000000);
    return ratio_apply(to_ns, counts);
}

static uint64_t mean_of(const struct account_times *times)
{
    uint64_t count = account_count(times);
    return count != 0 ? times->sum / count : 0;
}

static uint64_t min_of(const struct account_times *times)
{
    return times->min == UINT64_MAX ? 0 : times->min;
}

static const char *const by_name[] = {[ACCOUNT_NOTHING] = "",
                                      [ACCOUNT_LEAF] = "leaf",
                                      [ACCOUNT_MSR] = "msr",
                                      [ACCOUNT_PORT] = "port",
                                      [ACCOUNT_PAGE] = "page"};

/* "RDMSR", and in what: "msr 0x1b"; the rest of all has no reason. */
static const char *describe(const struct vcpu *vcpu, const struct account_slot *slot, char *what,
                            size_t room)
{
    what[0] = 0;
    if (slot == &vcpu->account->rest)
        return "(all others)";
    uint32_t reason = account_key_reason(slot->key);
    enum account_by by = vmx_account_by(reason);
    uint64_t value = account_key_value(slot->key) << (by == ACCOUNT_PAGE ? 8 : 0);
    if (by != ACCOUNT_NOTHING)
        fmt_format(what, room, "%s 0x%lx", by_name[by], value);
    return exit_reason_name(reason);
}

static void show_table(struct vcpu *vcpu, void *context)
{
    struct shell *shell = ((struct request *)context)->shell;
    const struct account_slot *list[ACCOUNT_KINDS_MAX];
    if (!is_on(shell, vcpu))
        return;
    unsigned count = account_list(vcpu->account, true, list);
    shell_print(shell,
                "%s vcpu%u: times in ns; own: the monitor's, guest: before the exit\n"
                "%-22s %-16s %9s %12s %8s %8s %10s %12s\n",
                vcpu->vm->name, vcpu->index, "EXIT", "", "COUNT", "OWN", "OWN MEAN", "OWN MIN",
                "OWN MAX", "GUEST MEAN");
    for (unsigned i = 0; i < count; i++) {
        const struct account_times *own = &list[i]->own;
        char what[32];
        const char *name = describe(vcpu, list[i], what, sizeof(what));
        shell_print(shell, "%-22s %-16s %9lu %12lu %8lu %8lu %10lu %12lu\n", name, what,
                    account_count(&list[i]->guest), ns_of(vcpu, own->sum),
                    ns_of(vcpu, mean_of(own)), ns_of(vcpu, min_of(own)),
                    ns_of(vcpu, account_max(own)), ns_of(vcpu, mean_of(&list[i]->guest)));
    }
}

static void show_bars(struct shell *shell, const char *whose, const struct account_times *times)
{
    uint64_t most = 1;
    for (unsigned i = 0; i < ACCOUNT_BUCKETS; i++)
        most = times->bucket[i] > most ? times->bucket[i] : most;
    for (unsigned i = 0; i < ACCOUNT_BUCKETS; i++) {
        static const char bar[] = "########################################";
        if (times->bucket[i] != 0)
            shell_print(shell, "  %s 2^%-2u %9u %.*s\n", whose, i, times->bucket[i],
                        (int)((uint64_t)times->bucket[i] * (sizeof(bar) - 1) / most), bar);
    }
}

static void show_histograms(struct vcpu *vcpu, void *context)
{
    struct shell *shell = ((struct request *)context)->shell;
    const struct account_slot *list[ACCOUNT_KINDS_MAX];
    if (!is_on(shell, vcpu))
        return;
    unsigned count = account_list(vcpu->account, true, list);
    for (unsigned i = 0; i < count; i++) {
        char what[32];
        const char *name = describe(vcpu, list[i], what, sizeof(what));
        shell_print(shell, "%s %s: counts of the TSC, from 2^n on\n", name, what);
        show_bars(shell, "own  ", &list[i]->own);
        show_bars(shell, "guest", &list[i]->guest);
    }
}

static void print_times(struct shell *shell, const char *name, const struct account_times *times)
{
    const char *comma = "";
    shell_print(shell, "\"%s\":{\"sum\":%lu,\"min\":%lu,\"mean\":%lu,\"max\":%lu,\"log2\":{", name,
                times->sum, min_of(times), mean_of(times), account_max(times));
    for (unsigned i = 0; i < ACCOUNT_BUCKETS; i++) {
        if (times->bucket[i] == 0)
            continue;
        shell_print(shell, "%s\"%u\":%u", comma, i, times->bucket[i]);
        comma = ",";
    }
    shell_print(shell, "}}");
}

static void print_json(struct vcpu *vcpu, void *context)
{
    struct shell *shell = ((struct request *)context)->shell;
    const struct account_slot *list[ACCOUNT_KINDS_MAX];
    if (!is_on(shell, vcpu))
        return;
    unsigned count = account_list(vcpu->account, false, list);
    shell_print(shell, "{\"name\":\"%s\",\"vcpu\":%u,\"hz\":%lu,\"exits\":[", vcpu->vm->name,
                vcpu->index, vcpu->vm->clock.hz);
    for (unsigned i = 0; i < count; i++) {
        char what[32];
        const char *name = describe(vcpu, list[i], what, sizeof(what));
        shell_print(shell, "%s{\"reason\":\"%s\",\"what\":\"%s\",\"count\":%lu,", i != 0 ? "," : "",
                    name, what, account_count(&list[i]->guest));
        print_times(shell, "own", &list[i]->own);
        shell_print(shell, ",");
        print_times(shell, "guest", &list[i]->guest);
        shell_print(shell, "}");
    }
    shell_print(shell, "]}\n");
}

/* A word of the command's own before the guest's name. */
static bool take_word(unsigned *count, char *const **argument, const char *word)
{
    if (*count < 2 || strcmp((*argument)[1], word) != 0)
        return false;
    (*count)--;
    (*argument)++;
    return true;
}

static void run_exits(struct shell *shell, unsigned count, char *const argument[])
{
    void (*show)(struct vcpu * vcpu, void *context) = show_table;
    struct request request = {.shell = shell};
    if (take_word(&count, &argument, "json"))
        show = print_json;
    else if (take_word(&count, &argument, "histogram"))
        show = show_histograms;
    struct guest *guest = debug_guest(shell, count, argument, 1);
    if (guest == NULL)
        return;
    enum status status = on_vcpu(guest, show, &request);
    if (status != STATUS_OK)
        debug_refused(shell, guest, "its exits cannot be read", status);
}

/* ---- trace --------------------------------------------------------------------------------- */

/* The exit with which the part of the trace begins that was asked for: its oldest. */
static const struct vcpu_exit *find_first(const struct vcpu *vcpu, const struct request *request,
                                          uint64_t *count)
{
    const struct vcpu_exit *exit = NULL, *found = NULL;
    for (uint64_t i = 0; i < request->skip; i++)
        if ((exit = vcpu_exit_before(vcpu, exit)) == NULL)
            break;
    if (request->skip != 0 && exit == NULL)
        return NULL;
    for (*count = 0; *count < request->count; (*count)++) {
        exit = vcpu_exit_before(vcpu, exit);
        if (exit == NULL)
            break;
        found = exit;
    }
    return found;
}

static const struct vcpu_exit *after(const struct vcpu *vcpu, const struct vcpu_exit *exit)
{
    return exit + 1 == vcpu->history.end ? vcpu->history.first : exit + 1;
}

/* The newest one's is noted with the next exit only. */
static uint64_t own_of(const struct vcpu *vcpu, const struct vcpu_exit *exit)
{
    if (exit != vcpu->history.newest)
        return exit->own;
    return vcpu->account_mark > exit->start ? vcpu->account_mark - exit->start : 0;
}

/* What the entry after an exit injected. */
static void print_event(struct shell *shell, uint16_t event, const char *before)
{
    struct text text = shell_text(shell);
    if (event == 0)
        return;
    shell_print(shell, "%s", before);
    gate_describe_event(&text, event);
}

static void show_trace(struct vcpu *vcpu, void *context)
{
    const struct request *request = context;
    uint64_t count;
    const struct vcpu_exit *exit = find_first(vcpu, request, &count);
    bool is_timed = vcpu->account != NULL;
    shell_print(request->shell, "%s vcpu%u: the last exits\n%-20s %8s %-22s %-18s %-18s %s\n",
                vcpu->vm->name, vcpu->index, "TSC", "OWN", "EXIT", "RIP", "QUALIFICATION",
                "RESULT");
    for (; count > 0; count--, exit = after(vcpu, exit)) {
        if (is_timed)
            shell_print(request->shell, "%-20lu %8lu ", exit->start, own_of(vcpu, exit));
        else
            shell_print(request->shell, "%-20s %8s ", "-", "-");
        shell_print(request->shell, "%-22s 0x%016lx 0x%016lx %s", exit_reason_name(exit->reason),
                    exit->rip, exit->qualification,
                    is_timed ? vmx_verdict_name(exit->result) : "-");
        print_event(request->shell, exit->event, ", ");
        shell_print(request->shell, "\n");
    }
}

/* Chrome's trace event format: complete events, times in microseconds. */
static void print_trace(struct vcpu *vcpu, void *context)
{
    const struct request *request = context;
    uint64_t count;
    if (!is_on(request->shell, vcpu))
        return;
    const struct vcpu_exit *exit = find_first(vcpu, request, &count);
    shell_print(request->shell, "{\"traceEvents\":[");
    for (uint64_t i = 0; i < count; i++, exit = after(vcpu, exit)) {
        uint64_t start = ns_of(vcpu, exit->start), own = ns_of(vcpu, own_of(vcpu, exit));
        shell_print(request->shell,
                    "%s{\"name\":\"%s\",\"ph\":\"X\",\"pid\":%u,\"tid\":%u,\"ts\":%lu.%03lu,"
                    "\"dur\":%lu.%03lu,\"args\":{\"rip\":\"0x%lx\",\"qualification\":\"0x%lx\","
                    "\"result\":\"%s\",\"event\":\"",
                    i != 0 ? "," : "", exit_reason_name(exit->reason), vcpu->vm->id, vcpu->index,
                    start / 1000, start % 1000, own / 1000, own % 1000, exit->rip,
                    exit->qualification, vmx_verdict_name(exit->result));
        print_event(request->shell, exit->event, "");
        shell_print(request->shell, "\"}}");
    }
    shell_print(request->shell, "],\"displayTimeUnit\":\"ns\",\"otherData\":{\"name\":\"%s\"}}\n",
                vcpu->vm->name);
}

static void print_field(struct shell *shell, uint64_t value, char end)
{
    if (value != 0)
        shell_print(shell, "%lx", value);
    shell_print(shell, "%c", end);
}

/* For programs at a slow line; a reason's name stands where it comes first. */
static void print_raw(struct vcpu *vcpu, void *context)
{
    const struct request *request = context;
    struct shell *shell = request->shell;
    uint64_t count, named[2] = {0};
    struct vcpu_exit before = {0};
    if (!is_on(shell, vcpu))
        return;
    const struct vcpu_exit *exit = find_first(vcpu, request, &count);
    shell_print(shell, "hz %lu\nresults", vcpu->vm->clock.hz);
    for (uint32_t result = 0; vmx_verdict_name(result)[0] != '?'; result++)
        shell_print(shell, " %s", vmx_verdict_name(result));
    shell_print(shell, "\n");
    for (; count > 0; count--, before = *exit, exit = after(vcpu, exit)) {
        uint32_t reason = exit->reason & 0x7f;
        print_field(shell, exit->start - before.start, ',');
        print_field(shell, own_of(vcpu, exit), ',');
        if (!(named[reason / 64] & BIT(reason % 64)))
            shell_print(shell, "%x=%s,", reason, exit_reason_name(exit->reason));
        else
            shell_print(shell, "%x,", reason);
        named[reason / 64] |= BIT(reason % 64);
        print_field(shell, exit->rip ^ before.rip, ',');
        print_field(shell, exit->qualification ^ before.qualification, ',');
        print_field(shell, exit->result, ',');
        print_event(shell, exit->event, "");
        shell_print(shell, "\n");
    }
}

static void run_trace(struct shell *shell, unsigned count, char *const argument[])
{
    struct request request = {shell, 20, 0};
    void (*show)(struct vcpu * vcpu, void *context) = show_trace;
    if (take_word(&count, &argument, "json"))
        show = print_trace;
    else if (take_word(&count, &argument, "raw"))
        show = print_raw;
    struct guest *guest = debug_guest(shell, count, argument, 1);
    if (guest == NULL)
        return;
    if (count > 2 && !shell_number(shell, argument[2], &request.count))
        return;
    if (count > 3 && !shell_number(shell, argument[3], &request.skip))
        return;
    enum status status = on_vcpu(guest, show, &request);
    if (status != STATUS_OK)
        debug_refused(shell, guest, "its trace cannot be read", status);
}

const struct shell_command commands_exits[] = {
    {"exits", "[json|histogram] [NAME]", "show what a guest's exits cost",
     "Those first that took most of the monitor's time. `json` is one line, by reason; its times\n"
     "are counts of the TSC. Only with `accounting = yes` in the guest's configuration.\n",
     run_exits, debug_complete_guests, 0, 2, 0},
    {"trace", "[json|raw] [NAME [COUNT [SKIP]]]", "show a guest's last exits",
     "The last COUNT (20) of them but for the newest SKIP, the oldest first; `json` is Chrome's\n"
     "trace event format. Times are there only with `accounting = yes`; how many exits are kept\n"
     "says `trace` in the guest's configuration. `raw` is for programs at a slow line: the TSC's\n"
     "rate, the results' names, and a line for each exit, in hexadecimal, empty for 0: TSC since\n"
     "the one before, the monitor's own time, reason (with its name where it comes first), RIP\n"
     "and qualification XOR those of the one before, result, and the event that went in after.\n",
     run_trace, debug_complete_guests, 0, 4, 0},
    {NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 0},
};

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

static bool is_on(struct shell *shell, const struct vcpu *vcpu)
{
    if (vcpu->account == NULL)
        shell_print(shell,
                    "%s: its exits are not accounted; `accounting = yes` in its section of "
                    "the configuration turns that on\n",
                    vcpu->vm->name);
    return vcpu->account != NULL;
}

/* ---- In pieces ----------------------------------------------------------------------------- */

static struct debug_report *report_of(struct shell *shell)
{
    return &debug_shell_of(shell)->report;
}

static struct guest *find_guest(const struct monitor *monitor, const struct config_vm *config)
{
    for (uint32_t i = 0; i < monitor->guests; i++)
        if (monitor->guest[i]->config == config)
            return monitor->guest[i];
    return NULL;
}

/* The guest may have ended since the last piece, its processor be stuck: the end is to be a whole
 * one even so. */
static void print_piece(struct shell *shell)
{
    struct debug_report *report = report_of(shell);
    struct guest *guest = find_guest(debug_shell_of(shell)->monitor, report->config);
    enum status status = guest != NULL ? on_vcpu(guest, report->print, shell) : ERR_NOT_FOUND;
    if (status != STATUS_OK && !report->is_begun)
        debug_refused(shell, guest, "its exits cannot be read", status);
    else if (status != STATUS_OK)
        report->print(NULL, shell);
}

static void begin_report(struct shell *shell, const struct guest *guest,
                         void (*print)(struct vcpu *vcpu, void *shell))
{
    struct debug_report *report = report_of(shell);
    *report = (struct debug_report){.print = print, .config = guest->config};
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
    struct shell *shell = context;
    const struct account_slot *list[ACCOUNT_KINDS_MAX];
    if (!is_on(shell, vcpu))
        return;
    unsigned count = account_list(vcpu->account, list);
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
    struct shell *shell = context;
    const struct account_slot *list[ACCOUNT_KINDS_MAX];
    if (!is_on(shell, vcpu))
        return;
    unsigned count = account_list(vcpu->account, list);
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

/* The kinds go by their keys. NULL: that was the last one. */
static const struct account_slot *slot_above(const struct account *account, uint64_t key)
{
    const struct account_slot *next =
        account_count(&account->rest.guest) != 0 ? &account->rest : NULL;
    for (unsigned i = 0; i < ACCOUNT_SLOTS; i++) {
        const struct account_slot *slot = &account->slot[i];
        if (slot->key > key && (next == NULL || slot->key < next->key))
            next = slot;
    }
    return next != NULL && next->key > key ? next : NULL;
}

static void print_slot(struct shell *shell, const struct vcpu *vcpu,
                       const struct account_slot *slot)
{
    char what[32];
    const char *name = describe(vcpu, slot, what, sizeof(what));
    shell_print(shell, "%s{\"reason\":\"%s\",\"what\":\"%s\",\"count\":%lu,",
                report_of(shell)->next != 0 ? "," : "", name, what, account_count(&slot->guest));
    print_times(shell, "own", &slot->own);
    shell_print(shell, ",");
    print_times(shell, "guest", &slot->guest);
    shell_print(shell, "}");
}

static void print_json(struct vcpu *vcpu, void *context)
{
    struct shell *shell = context;
    struct debug_report *report = report_of(shell);
    const struct account_slot *slot;
    if (!report->is_begun && !is_on(shell, vcpu))
        return;
    if (!report->is_begun)
        shell_print(shell, "{\"name\":\"%s\",\"vcpu\":%u,\"hz\":%lu,\"exits\":[", vcpu->vm->name,
                    vcpu->index, vcpu->vm->clock.hz);
    report->is_begun = true;
    if (vcpu == NULL || vcpu->account == NULL) {
        shell_print(shell, "],\"cut\":true}\n");
        return;
    }
    while ((slot = slot_above(vcpu->account, report->next)) != NULL) {
        if (shell_is_piece(shell)) {
            shell_go_on(shell, print_piece);
            return;
        }
        print_slot(shell, vcpu, slot);
        report->next = slot->key;
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
    void (*show)(struct vcpu * vcpu, void *shell) = show_table;
    bool is_json = take_word(&count, &argument, "json");
    if (!is_json && take_word(&count, &argument, "histogram"))
        show = show_histograms;
    struct guest *guest = debug_guest(shell, count, argument, 1);
    if (guest == NULL)
        return;
    begin_report(shell, guest, is_json ? print_json : show);
    print_piece(shell);
}

/* ---- trace --------------------------------------------------------------------------------- */

/* Exits have numbers, from 0 for the first one on; the history has the last ones. */
static uint64_t oldest_of(const struct vcpu *vcpu, uint64_t total)
{
    uint64_t known = total - vcpu->history.before;
    uint64_t size = (uint64_t)(vcpu->history.end - vcpu->history.first);
    return total - (known < size ? known : size);
}

static const struct vcpu_exit *exit_of(const struct vcpu *vcpu, uint64_t age)
{
    const struct vcpu_history *history = &vcpu->history;
    uint64_t before = (uint64_t)(history->newest - history->first);
    return age <= before ? history->newest - age : history->end - (age - before);
}

/* Which ones are asked for. */
static void choose_exits(struct debug_report *report, const struct vcpu *vcpu)
{
    uint64_t total = vcpu_exits(vcpu);
    report->end = total > report->skip ? total - report->skip : 0;
    report->next = report->end > report->count ? report->end - report->count : 0;
}

/* True: that was the last one, or there is no guest any more. */
static bool print_each(struct shell *shell, const struct vcpu *vcpu,
                       void (*print)(struct shell *shell, const struct vcpu *vcpu,
                                     const struct vcpu_exit *exit))
{
    struct debug_report *report = report_of(shell);
    uint64_t total = vcpu != NULL ? vcpu_exits(vcpu) : 0;
    uint64_t oldest = vcpu != NULL ? oldest_of(vcpu, total) : 0;
    uint64_t end = report->end < total ? report->end : total;
    report->next = report->next > oldest ? report->next : oldest;
    for (; report->next < end; report->next++) {
        if (shell_is_piece(shell)) {
            shell_go_on(shell, print_piece);
            return false;
        }
        const struct vcpu_exit *exit = exit_of(vcpu, total - 1 - report->next);
        print(shell, vcpu, exit);
        report->before = *exit;
        report->has_before = true;
    }
    return true;
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

static void show_exit(struct shell *shell, const struct vcpu *vcpu, const struct vcpu_exit *exit)
{
    bool is_timed = vcpu->account != NULL;
    if (is_timed)
        shell_print(shell, "%-20lu %8lu ", exit->start, own_of(vcpu, exit));
    else
        shell_print(shell, "%-20s %8s ", "-", "-");
    shell_print(shell, "%-22s 0x%016lx 0x%016lx %s", exit_reason_name(exit->reason), exit->rip,
                exit->qualification, is_timed ? vmx_verdict_name(exit->result) : "-");
    print_event(shell, exit->event, ", ");
    shell_print(shell, "\n");
}

static void show_trace(struct vcpu *vcpu, void *context)
{
    struct shell *shell = context;
    struct debug_report *report = report_of(shell);
    if (!report->is_begun) {
        choose_exits(report, vcpu);
        shell_print(shell, "%s vcpu%u: the last exits\n%-20s %8s %-22s %-18s %-18s %s\n",
                    vcpu->vm->name, vcpu->index, "TSC", "OWN", "EXIT", "RIP", "QUALIFICATION",
                    "RESULT");
    }
    report->is_begun = true;
    (void)print_each(shell, vcpu, show_exit);
}

static void print_exit(struct shell *shell, const struct vcpu *vcpu, const struct vcpu_exit *exit)
{
    uint64_t start = ns_of(vcpu, exit->start), own = ns_of(vcpu, own_of(vcpu, exit));
    shell_print(shell,
                "%s{\"name\":\"%s\",\"ph\":\"X\",\"pid\":%u,\"tid\":%u,\"ts\":%lu.%03lu,"
                "\"dur\":%lu.%03lu,\"args\":{\"rip\":\"0x%lx\",\"qualification\":\"0x%lx\","
                "\"result\":\"%s\",\"event\":\"",
                report_of(shell)->has_before ? "," : "", exit_reason_name(exit->reason),
                vcpu->vm->id, vcpu->index, start / 1000, start % 1000, own / 1000, own % 1000,
                exit->rip, exit->qualification, vmx_verdict_name(exit->result));
    print_event(shell, exit->event, "");
    shell_print(shell, "\"}}");
}

/* Chrome's trace event format: complete events, times in microseconds. */
static void print_trace(struct vcpu *vcpu, void *context)
{
    struct shell *shell = context;
    struct debug_report *report = report_of(shell);
    if (!report->is_begun) {
        if (!is_on(shell, vcpu))
            return;
        choose_exits(report, vcpu);
        shell_print(shell, "{\"otherData\":{\"name\":\"%s\"},\"displayTimeUnit\":\"ns\",",
                    vcpu->vm->name);
        shell_print(shell, "\"traceEvents\":[");
    }
    report->is_begun = true;
    if (print_each(shell, vcpu, print_exit))
        shell_print(shell, "]}\n");
}

static void print_field(struct shell *shell, uint64_t value, char end)
{
    if (value != 0)
        shell_print(shell, "%lx", value);
    shell_print(shell, "%c", end);
}

/* For programs at a slow line; a reason's name stands where it comes first. */
static void print_short(struct shell *shell, const struct vcpu *vcpu, const struct vcpu_exit *exit)
{
    struct debug_report *report = report_of(shell);
    uint32_t reason = exit->reason & 0x7f;
    print_field(shell, exit->start - report->before.start, ',');
    print_field(shell, own_of(vcpu, exit), ',');
    if (!(report->named[reason / 64] & BIT(reason % 64)))
        shell_print(shell, "%x=%s,", reason, exit_reason_name(exit->reason));
    else
        shell_print(shell, "%x,", reason);
    report->named[reason / 64] |= BIT(reason % 64);
    print_field(shell, exit->rip ^ report->before.rip, ',');
    print_field(shell, exit->qualification ^ report->before.qualification, ',');
    print_field(shell, exit->result, ',');
    print_event(shell, exit->event, "");
    shell_print(shell, "\n");
}

static void print_raw(struct vcpu *vcpu, void *context)
{
    struct shell *shell = context;
    struct debug_report *report = report_of(shell);
    if (!report->is_begun) {
        if (!is_on(shell, vcpu))
            return;
        choose_exits(report, vcpu);
        shell_print(shell, "hz %lu\nresults", vcpu->vm->clock.hz);
        for (uint32_t result = 0; vmx_verdict_name(result)[0] != '?'; result++)
            shell_print(shell, " %s", vmx_verdict_name(result));
        shell_print(shell, "\n");
    }
    report->is_begun = true;
    (void)print_each(shell, vcpu, print_short);
}

static void run_trace(struct shell *shell, unsigned count, char *const argument[])
{
    uint64_t wanted = 20, skip = 0;
    void (*print)(struct vcpu * vcpu, void *shell) = show_trace;
    if (take_word(&count, &argument, "json"))
        print = print_trace;
    else if (take_word(&count, &argument, "raw"))
        print = print_raw;
    struct guest *guest = debug_guest(shell, count, argument, 1);
    if (guest == NULL)
        return;
    if (count > 2 && !shell_number(shell, argument[2], &wanted))
        return;
    if (count > 3 && !shell_number(shell, argument[3], &skip))
        return;
    begin_report(shell, guest, print);
    report_of(shell)->count = wanted;
    report_of(shell)->skip = skip;
    print_piece(shell);
}

const struct shell_command commands_exits[] = {
    {"exits", "[json|histogram] [NAME]", "show what a guest's exits cost",
     "Those first that took most of the monitor's time. `json` is one line, by reason; its times\n"
     "are counts of the TSC; the guest runs on while it is read. Only with `accounting = yes` in "
     "the guest's configuration.\n",
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

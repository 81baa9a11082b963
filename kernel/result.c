/* What a guest's end tells whoever started the machine: two lines, and the exit code of the run. */
#include "kernel/core/fmt.h"
#include "kernel/core/time.h"
#include "kernel/monitor.h"

#define LINE_MAX 512

/* For the reader at the other end: one line of JSON, in ASCII. */
static void say_json(struct monitor *monitor, const struct result *result)
{
    char line[LINE_MAX];
    uint64_t us = time_to_ns(result->time) / 1000;
    int length =
        fmt_format(line, sizeof(line),
                   "traprock-result {\"name\":\"%s\",\"outcome\":\"%s\",\"code\":%u,\"passed\":%s,"
                   "\"seconds\":%lu.%06lu,\"exits\":%lu,\"resets\":%lu}\r\n",
                   result->name, vm_outcome_text(result->outcome), result->code,
                   vm_exit_code(result->outcome, result->code) == 0 ? "true" : "false",
                   us / 1000000, us % 1000000, result->exits, result->resets);
    monitor_say(monitor, line, (size_t)length);
}

void monitor_report(struct monitor *monitor, const struct result *result)
{
    char line[128];
    int length = fmt_format(line, sizeof(line), "traprock: vm %s: %s code=%u\r\n", result->name,
                            vm_outcome_text(result->outcome), result->code);
    monitor_say(monitor, line, (size_t)length);
    say_json(monitor, result);
    int code = vm_exit_code(result->outcome, result->code), none = 0;
    if (code != 0)
        __atomic_compare_exchange_n(&monitor->exit_code, &none, code, false, __ATOMIC_SEQ_CST,
                                    __ATOMIC_SEQ_CST);
    if (__atomic_sub_fetch(&monitor->running, 1, __ATOMIC_SEQ_CST) == 0)
        monitor_finish(monitor);
}

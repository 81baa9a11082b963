/* What a guest's end tells whoever started the machine: two lines, and the exit code of the run. */
#include "kernel/core/fmt.h"
#include "kernel/core/hw.h"
#include "kernel/core/smp.h"
#include "kernel/core/time.h"
#include "kernel/monitor.h"

/* Each byte of the matched text may become six. */
#define JSON_MAX (512 + 6 * VERDICT_TEXT_MAX)

/* JSON: Strings, in ASCII; a byte that is not stands for the character of its number. */
static size_t append_string(char *to, size_t room, const char *text, size_t length)
{
    size_t used = (size_t)fmt_format(to, room, "\"");
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        bool is_plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
        used += (size_t)fmt_format(to + used, room - used, is_plain ? "%c" : "\\u%04x", c);
    }
    return used + (size_t)fmt_format(to + used, room - used, "\"");
}

static int exit_code(const struct result *result)
{
    int code = vm_exit_code(result->outcome, result->code, result->success);
    bool is_silent = result->verdict != NULL && result->verdict->missing != 0;
    return code == 0 && is_silent ? 1 : code;
}

/* What it said that counts, and what it did not say. */
static size_t append_verdict(char *to, size_t room, const struct verdict *verdict)
{
    size_t used = 0;
    if (verdict->line != 0) {
        used += (size_t)fmt_format(to, room, ",\"line\":%u,\"matched\":", verdict->line);
        used += append_string(to + used, room - used, verdict->text, verdict->length);
    }
    if (verdict->missing != 0)
        used += (size_t)fmt_format(to + used, room - used, ",\"missing\":%u", verdict->missing);
    return used;
}

/* For the reader at the other end: one line of JSON. */
static COLD void say_json(struct monitor *monitor, const struct result *result)
{
    char line[JSON_MAX];
    uint64_t us = time_to_ns(result->time) / 1000;
    size_t used = (size_t)fmt_format(
        line, sizeof(line),
        "traprock-result {\"name\":\"%s\",\"outcome\":\"%s\",\"code\":%u,\"passed\":%s,"
        "\"seconds\":%lu.%06lu,\"exits\":%lu,\"resets\":%lu",
        result->name, vm_outcome_text(result->outcome), result->code,
        exit_code(result) == 0 ? "true" : "false", us / 1000000, us % 1000000, result->exits,
        result->resets);
    if (result->verdict != NULL)
        used += append_verdict(line + used, sizeof(line) - used, result->verdict);
    used += (size_t)fmt_format(line + used, sizeof(line) - used, "}\r\n");
    monitor_say(monitor, line, used);
}

void monitor_report(struct monitor *monitor, const struct result *result)
{
    char line[128];
    int length = fmt_format(line, sizeof(line), "traprock: vm %s: %s code=%u\r\n", result->name,
                            vm_outcome_text(result->outcome), result->code);
    monitor_say(monitor, line, (size_t)length);
    say_json(monitor, result);
    int code = exit_code(result), none = 0;
    if (monitor->machine->config->gdb != 0) { /* which waits for its guest */
        smp_wake(0);
        if (cpu_takes_lines(cpu_this()))
            hw_take_interrupts(); /* the machine may be about to go off */
    }
    if (code != 0)
        __atomic_compare_exchange_n(&monitor->exit_code, &none, code, false, __ATOMIC_SEQ_CST,
                                    __ATOMIC_SEQ_CST);
    if (__atomic_sub_fetch(&monitor->running, 1, __ATOMIC_SEQ_CST) == 0)
        monitor_finish(monitor);
}

/*
 * How long a guest may run, and what becomes of it by what it says on its console. Its time is the
 * machine's, from its first start on, but for what lies between an end and the next life, and
 * begins anew when somebody starts it. Everything here but verdict_init and verdict_judge runs with
 * the VM's device lock held, on the guest's own processor.
 */
#include "kernel/core/mem.h"
#include "kernel/core/paging.h"
#include "kernel/core/time.h"
#include "kernel/monitor.h"

/* What decides is seldom all that is said about it. */
#define LAST_WORDS_NS 1000000000ull

static void arm(struct guest *guest, uint64_t deadline)
{
    struct verdict *verdict = &guest->verdict;
    if (deadline < verdict->timer.deadline)
        timer_arm(&verdict->timer, deadline);
}

/* Its last words are said: what they mean. */
static void end_by_words(struct guest *guest)
{
    struct watch *watch = guest->verdict.watch;
    struct vm *vm = &guest->vm;
    if (watch == NULL)
        return;
    if (watch_is_rejected(watch)) {
        vm_stop(vm, VM_REJECTED, 0);
    } else if (watch_is_panicked(watch)) {
        watch_forget_panic(watch);
        vm_panicked(vm, true);
    } else if (watch_is_complete(watch)) {
        vm_stop(vm, VM_EXPECTED, 0);
    }
}

static void time_is_up(void *owner, uint64_t now)
{
    struct guest *guest = owner;
    struct verdict *verdict = &guest->verdict;
    bool is_over = now >= verdict->deadline;
    end_by_words(guest);
    if (is_over)
        vm_stop(&guest->vm, VM_TIMEOUT, 0); /* unless what it said was its end */
    else
        timer_arm(&verdict->timer, verdict->deadline);
}

static void hear(void *context, enum watch_event event)
{
    struct guest *guest = context;
    struct watch *watch = guest->verdict.watch;
    bool is_bad = watch_is_rejected(watch) || watch_is_panicked(watch);
    if (event != WATCH_LINE_END)
        arm(guest, clock_now(&guest->vm.clock) + time_from_ns(LAST_WORDS_NS));
    else if (!is_bad)
        end_by_words(guest);
}

static bool put(void *context, uint8_t byte)
{
    struct guest *guest = context;
    if (!mux_put(&guest->terminal, byte))
        return false;
    watch_put(&guest->verdict.watch->stream[0], byte);
    return true;
}

/* The bytes are the guest's memory, so it is a copy that goes out and is looked at. */
static size_t write_watched(void *context, const uint8_t *bytes, size_t n)
{
    struct watched *watched = context;
    uint8_t copy[64];
    size_t sent = 0, taken = sizeof(copy);
    while (sent < n && taken == sizeof(copy)) {
        size_t piece = n - sent < sizeof(copy) ? n - sent : sizeof(copy);
        memcpy(copy, bytes + sent, piece);
        taken = byte_stream_write(&watched->to, copy, piece);
        for (size_t i = 0; i < taken; i++)
            watch_put(watched->watch, copy[i]);
        sent += taken;
    }
    return sent;
}

static void writable_watched(void *context)
{
    struct watched *watched = context;
    byte_stream_writable(&watched->to);
}

void verdict_listen(struct guest *guest, unsigned hvc)
{
    struct verdict *verdict = &guest->verdict;
    struct virtio_console *console = &guest->board.console;
    if (verdict->watch == NULL)
        return;
    verdict->hvc[hvc] =
        (struct watched){console->port[hvc].config.peer, &verdict->watch->stream[1 + hvc]};
    virtio_console_connect(
        console, hvc, (struct byte_stream){write_watched, writable_watched, &verdict->hvc[hvc]});
}

INIT enum status verdict_init(struct guest *guest, uint16_t owner)
{
    struct verdict *verdict = &guest->verdict;
    const struct config_vm *config = guest->config;
    unsigned streams = 1 + config->hvc_count;
    hpa_t frame;
    timer_init(&verdict->timer, &guest->vcpu[0].timers, time_is_up, guest);
    verdict->deadline = TIMER_NEVER;
    verdict->said = (struct byte_sink){mux_put, &guest->terminal};
    STATIC_ASSERT((int)CONFIG_PANIC_STOP == VM_PANIC_STOP &&
                      (int)CONFIG_PANIC_RESET == VM_PANIC_RESET &&
                      (int)CONFIG_PANIC_IGNORE == VM_PANIC_IGNORE,
                  "the words stand for the same");
    guest->vm.on_panic = (enum vm_on_panic)config->on_panic;
    if (!watch_is_needed(config))
        return STATUS_OK;
    enum status status = pages_alloc(&guest->monitor->machine->pages,
                                     align_up(watch_size(streams), PAGE_SIZE) / PAGE_SIZE,
                                     PAGE_SIZE, PAGE_VM, owner, &frame);
    if (status != STATUS_OK) {
        log_error("%s: no memory to watch its console: %s", guest->vm.name, status_text(status));
        return status;
    }
    verdict->watch = phys_to_virt(frame);
    verdict->said = (struct byte_sink){put, guest};
    watch_init(verdict->watch, streams, config, hear, guest);
    return STATUS_OK;
}

void verdict_start(struct guest *guest)
{
    uint64_t ms = guest->config->timeout;
    guest->started = clock_now(&guest->vm.clock);
    if (ms == 0)
        return;
    guest->verdict.deadline = guest->started + time_from_ns(ms * 1000000);
    timer_arm(&guest->verdict.timer, guest->verdict.deadline);
}

void verdict_continue(struct guest *guest, bool is_anew)
{
    uint64_t now = clock_now(&guest->vm.clock);
    struct verdict *verdict = &guest->verdict;
    if (verdict->deadline == TIMER_NEVER)
        return;
    if (is_anew)
        verdict->deadline = now + time_from_ns(guest->config->timeout * 1000000);
    else
        verdict->deadline += now - guest->ended;
    timer_arm(&verdict->timer, verdict->deadline);
}

/* What it said, and how it ended by itself. */
static enum vm_outcome judge(const struct guest *guest, const struct watch *watch)
{
    enum vm_outcome outcome = guest->vm.outcome;
    uint32_t success = guest->config->debug_exit_success;
    bool is_orderly = vm_exit_code(outcome, guest->vm.code, success) == 0 || outcome == VM_RESET ||
                      outcome == VM_TIMEOUT;
    if (outcome == VM_KILLED)
        return outcome;
    if (watch_is_rejected(watch))
        return VM_REJECTED;
    if (watch_is_panicked(watch) && guest->vm.on_panic == VM_PANIC_STOP)
        return VM_PANIC;
    return watch_is_complete(watch) && is_orderly ? VM_EXPECTED : outcome;
}

void verdict_judge(struct guest *guest)
{
    struct verdict *verdict = &guest->verdict;
    struct watch *watch = verdict->watch;
    spinlock_acquire(&guest->vm.lock);
    timer_cancel(&verdict->timer);
    guest->ended = clock_now(&guest->vm.clock);
    if (watch != NULL) {
        watch_end(watch);
        guest->vm.outcome = judge(guest, watch);
        verdict->missing = watch_missing(watch);
        verdict->line = watch->line;
        verdict->length = watch->length;
        memcpy(verdict->text, watch->text, watch->length);
    }
    spinlock_release(&guest->vm.lock);
}

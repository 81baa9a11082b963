/* What becomes of a guest at its end: whether there is a report, and whether it stands for gdb. */
#include <string.h>

#include "tests/check.h"

#include "kernel/debug/ended.h"
#include "kernel/debug/gdb_server.h"
#include "kernel/debug/post_mortem.h"
#include "tests/fake/hw.h"

static struct config config;
static struct machine machine;
static struct monitor monitor;
static struct guest guest;
static unsigned reports, released;
static enum vm_outcome reported;
static bool is_attended;
static unsigned line_is_full; /* how often it is asked */
static void (*during_report)(void);

bool serial_line_has_room(struct serial_line *line)
{
    CHECK(line == &monitor.line);
    fake_hw.tsc += 1000000;
    return line_is_full == 0 || line_is_full-- == 0;
}

bool gdb_server_attends(const struct guest *of)
{
    return is_attended && of == &guest;
}

void post_mortem_report(struct guest *of, enum vm_outcome outcome)
{
    reports += of == &guest;
    reported = outcome;
    if (during_report != NULL)
        during_report();
}

void vmx_vcpu_visit(struct vcpu *vcpu, void (*run)(struct vcpu *vcpu, void *context), void *context)
{
    run(vcpu, context);
}

void guest_release(struct guest *of)
{
    released += of == &guest;
}

static void kick(struct vcpu *vcpu)
{
    (void)vcpu;
}

/* It has left its processor for good, by this outcome. */
static void end(enum vm_outcome outcome)
{
    fake_hw_start();
    memset(&guest, 0, sizeof(guest));
    machine.config = &config;
    monitor = (struct monitor){.machine = &machine};
    guest.monitor = &monitor;
    guest.vm.clock = (struct clock){vm_clock_read, &guest.vm, 1000000000};
    guest.vm.kick = kick;
    guest.vm.vcpu[0] = &guest.vcpu[0];
    guest.vm.vcpu_count = 1;
    guest.vcpu[0].vm = &guest.vm;
    reports = released = 0;
    is_attended = true;
    during_report = NULL;
    vm_stop(&guest.vm, outcome, 0);
    ended_begin(&guest);
}

/* Nothing else comes: whoever stands then would stand for ever. */
static void let_go(void)
{
    vm_resume(&guest.vm);
}

static unsigned stood(void)
{
    fake_hw.on_halt = let_go;
    ended_examine(&guest);
    CHECK(!vm_is_paused(&guest.vm));
    return fake_hw.halts;
}

static void stands_for_gdb(void)
{
    end(VM_TRIPLE_FAULT);
    CHECK_EQ(stood(), 1);
    CHECK_EQ(fake_hw.wakes, 1); /* gdb is told */
    end(VM_TRIPLE_FAULT);
    is_attended = false;
    CHECK_EQ(stood(), 0);
    CHECK_EQ(reports, 1);
}

static void let_go_once_it_stands(void)
{
    CHECK(guest.vcpu[0].stands && vm_is_paused(&guest.vm));
    let_go();
}

/* gdb is told when it stands, and may let it go on at once. */
static void stands_before_gdb_is_told(void)
{
    end(VM_TRIPLE_FAULT);
    fake_hw.on_wake = let_go_once_it_stands;
    CHECK_EQ(stood(), 0);
    CHECK_EQ(fake_hw.wakes, 1);
    CHECK(!guest.vcpu[0].stands);
}

static void stop_it(void)
{
    vm_stop(&guest.vm, VM_KILLED, 0);
}

static void end_all(void)
{
    monitor.powers_off = true;
}

static void detach(void)
{
    is_attended = false;
    vm_resume(&guest.vm);
}

/* A report takes its time on a slow line. */
static void what_comes_during_the_report_counts(void)
{
    static void (*const comes[])(void) = {stop_it, end_all, detach};
    for (unsigned i = 0; i < ARRAY_SIZE(comes); i++) {
        end(VM_TRIPLE_FAULT);
        during_report = comes[i];
        CHECK_EQ(stood(), 0);
        CHECK_EQ(reports, 1);
        CHECK_EQ(guest.vm.outcome, VM_TRIPLE_FAULT);
    }
}

/* Reports are on what nobody wanted; a reset that the guest may not have is no death. */
static void ends_that_call_for_a_report(void)
{
    static const struct {
        enum vm_outcome outcome;
        bool is_reported, stands;
    } ends[] = {
        {VM_POWEROFF, false, false},   {VM_RESET, true, false},   {VM_DEBUG_EXIT, false, false},
        {VM_TRIPLE_FAULT, true, true}, {VM_STOPPED, true, true},  {VM_KILLED, false, false},
        {VM_PANIC, true, true},        {VM_WATCHDOG, true, true}, {VM_TIMEOUT, true, true},
        {VM_EXPECTED, false, false},   {VM_REJECTED, true, true},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(ends); i++) {
        end(ends[i].outcome);
        CHECK_EQ(stood(), ends[i].stands);
        CHECK_EQ(reports, ends[i].is_reported);
        if (reports != 0)
            CHECK_EQ(reported, ends[i].outcome);
    }
}

static void resets_that_call_for_a_report(void)
{
    static const struct {
        enum vm_outcome cause;
        bool is_reported;
    } resets[] = {
        {VM_RESET, false}, {VM_TRIPLE_FAULT, true}, {VM_WATCHDOG, true}, {VM_PANIC, true}};
    for (unsigned i = 0; i < ARRAY_SIZE(resets); i++) {
        end(VM_RUNNING);
        guest.vm.is_ending = false;
        if (resets[i].cause == VM_PANIC) {
            guest.vm.on_panic = VM_PANIC_RESET;
            vm_panicked(&guest.vm, true);
        } else {
            vm_request_reset(&guest.vm, resets[i].cause);
        }
        CHECK(guest.vm.reset_pending);
        CHECK_EQ(stood(), 0);
        CHECK_EQ(reports, resets[i].is_reported);
        if (reports != 0)
            CHECK_EQ(reported, resets[i].cause);
    }
}

/* With on-reset = stop a watchdog's reset is the end that any reset is. */
static void resets_that_are_ends(void)
{
    end(VM_RUNNING);
    guest.vm.is_ending = false;
    guest.vm.stops_at_reset = true;
    vm_request_reset(&guest.vm, VM_WATCHDOG);
    CHECK_EQ(guest.vm.outcome, VM_RESET);
    CHECK(!guest.vm.reset_pending);
}

static void wait_for_the_line(void)
{
    fake_hw.tsc += 1000000;
}

/* Whose time goes on after a reset. */
static void reports_take_no_time(void)
{
    end(VM_RUNNING);
    guest.vm.is_ending = false;
    vm_request_reset(&guest.vm, VM_TRIPLE_FAULT);
    during_report = wait_for_the_line;
    uint64_t before = clock_now(&guest.vm.clock);
    CHECK_EQ(stood(), 0);
    CHECK_EQ(reports, 1);
    CHECK(clock_now(&guest.vm.clock) - before < 500000);
}

/* The processor may be the one that serves the line. */
static void interrupts_are_taken_while_a_report_leaves(void)
{
    static const struct {
        bool has_line;
        unsigned full, most, least;
    } lines[] = {{true, 5, 5, 5}, {true, 0, 0, 0}, {true, 1000000, 3000, 1000}, {false, 5, 0, 0}};
    for (unsigned i = 0; i < ARRAY_SIZE(lines); i++) {
        end(VM_TRIPLE_FAULT);
        monitor.has_line = lines[i].has_line;
        line_is_full = lines[i].full;
        is_attended = false;
        CHECK_EQ(stood(), 0);
        CHECK_EQ(reports, 1);
        CHECK(fake_hw.taken_interrupts >= lines[i].least);
        CHECK(fake_hw.taken_interrupts <= lines[i].most);
        line_is_full = 0;
    }
}

static void what_is_lost_is_not_looked_at(void)
{
    end(VM_STOPPED);
    guest.is_lost = true;
    CHECK_EQ(stood(), 0);
    CHECK_EQ(reports, 0);
    ended_keep(&guest);
    CHECK_EQ(released, 1);
    CHECK(!guest.vm.is_kept);
}

static void all_are_kept(void)
{
    end(VM_POWEROFF);
    ended_keep(&guest);
    CHECK_EQ(released, 0);
    CHECK(guest.vm.is_kept);
    monitor.guest[0] = &guest;
    monitor.guests = 1;
    guest.pages = 7;
    CHECK_EQ(ended_settle(&monitor, false), 7);
    CHECK_EQ(released, 0);
    CHECK_EQ(ended_settle(&monitor, true), 0);
    CHECK_EQ(released, 1);
}

TEST_MAIN(
    {"stands_for_gdb", stands_for_gdb}, {"stands_before_gdb_is_told", stands_before_gdb_is_told},
    {"what_comes_during_the_report_counts", what_comes_during_the_report_counts},
    {"ends_that_call_for_a_report", ends_that_call_for_a_report},
    {"resets_that_call_for_a_report", resets_that_call_for_a_report},
    {"resets_that_are_ends", resets_that_are_ends}, {"reports_take_no_time", reports_take_no_time},
    {"interrupts_are_taken_while_a_report_leaves", interrupts_are_taken_while_a_report_leaves},
    {"what_is_lost_is_not_looked_at", what_is_lost_is_not_looked_at},
    {"all_are_kept", all_are_kept})

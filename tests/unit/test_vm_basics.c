/* The bus, the timers, guest memory and clock ratios. */
#include "kernel/core/ratio.h"
#include "kernel/vm/bus.h"
#include "kernel/vm/guest_mem.h"
#include "kernel/vm/timers.h"
#include "kernel/vm/vm.h"
#include "tests/check.h"

struct recorder {
    uint64_t offset, value;
    unsigned size, calls;
};

static uint64_t record_read(void *device, uint64_t offset, unsigned size)
{
    struct recorder *recorder = device;
    recorder->offset = offset;
    recorder->size = size;
    recorder->calls++;
    return 0x1122334455667788ull;
}

static void record_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct recorder *recorder = device;
    recorder->offset = offset;
    recorder->size = size;
    recorder->value = value;
    recorder->calls++;
}

static const struct bus_ops record_ops = {record_read, record_write};

static void bus_dispatches(void)
{
    struct bus bus = {0};
    struct recorder a = {0}, b = {0};
    CHECK_EQ(bus_add(&bus, BUS_PORT, 0x60, 4, &record_ops, &a), STATUS_OK);
    CHECK_EQ(bus_add(&bus, BUS_PORT, 0x40, 4, &record_ops, &b), STATUS_OK);
    CHECK_EQ(bus_add(&bus, BUS_PORT, 0x3e, 3, &record_ops, &b), ERR_EXISTS);
    CHECK_EQ(bus_add(&bus, BUS_PORT, 0xffff, 2, &record_ops, &b), ERR_INVALID);
    CHECK_EQ(bus_add(&bus, BUS_PORT, 0x50, 0, &record_ops, &b), ERR_INVALID);
    CHECK_EQ(bus_read(&bus, BUS_PORT, 0x61, 2), 0x7788);
    CHECK_EQ(a.offset, 1);
    CHECK_EQ(a.size, 2);
    CHECK_EQ(bus_read(&bus, BUS_PORT, 0x50, 4), 0xffffffff);
    bus_write(&bus, BUS_PORT, 0x43, 1, 0x1ff);
    CHECK_EQ(b.value, 0xff);
    /* Straddling the edge: the byte inside reaches the device, the one outside reads as ones. */
    CHECK_EQ(bus_read(&bus, BUS_PORT, 0x43, 2), 0xff88);
    CHECK(bus_claims(&bus, BUS_PORT, 0x63));
    bus_remove(&bus, BUS_PORT, 0x60, &a);
    CHECK(!bus_claims(&bus, BUS_PORT, 0x63));
    CHECK(bus_claims(&bus, BUS_PORT, 0x40));
}

static void bus_fills_up(void)
{
    struct bus bus = {0};
    struct recorder a = {0};
    for (unsigned i = 0; i < BUS_RANGES_MAX; i++)
        CHECK_EQ(bus_add(&bus, BUS_MMIO, i * 16, 8, &record_ops, &a), STATUS_OK);
    CHECK_EQ(bus_add(&bus, BUS_MMIO, 1 << 20, 8, &record_ops, &a), ERR_NO_SPACE);
    /* Past the top of the address space the bytes come from its bottom, where device a is. */
    CHECK_EQ(bus_read(&bus, BUS_MMIO, UINT64_MAX - 2, 8), 0x8888888888ffffffull);
}

static unsigned fired;

static void count_fire(void *owner, uint64_t now)
{
    fired = fired * 10 + *(unsigned *)owner;
    (void)now;
}

static struct timer again;

static void rearm_fire(void *owner, uint64_t now)
{
    fired++;
    timer_arm(owner, now);
}

static void timers_fire_in_order(void)
{
    struct timer_queue queue;
    struct timer t[3];
    unsigned id[3] = {1, 2, 3};
    timer_queue_init(&queue);
    for (int i = 0; i < 3; i++)
        timer_init(&t[i], &queue, count_fire, &id[i]);
    timer_arm(&t[0], 30);
    timer_arm(&t[1], 10);
    timer_arm(&t[2], 20);
    CHECK_EQ(queue.next, 10);
    timer_arm(&t[1], 40);
    CHECK_EQ(queue.next, 20);
    fired = 0;
    timers_run(&queue, 30);
    CHECK_EQ(fired, 31);
    timer_cancel(&t[1]);
    CHECK_EQ(queue.next, TIMER_NEVER);
    timer_cancel(&t[1]);
}

static void timer_that_arms_itself_in_the_past_is_bounded(void)
{
    struct timer_queue queue;
    timer_queue_init(&queue);
    timer_init(&again, &queue, rearm_fire, &again);
    timer_arm(&again, 5);
    fired = 0;
    timers_run(&queue, 100);
    CHECK_EQ(fired, 1);
    CHECK_EQ(queue.next, 100);
}

static void guest_memory_has_borders(void)
{
    static uint8_t low[8192], high[4096];
    struct guest_mem mem = {0};
    CHECK_EQ(guest_mem_add(&mem, GPA(0x2000), sizeof(high), high), STATUS_OK);
    CHECK_EQ(guest_mem_add(&mem, GPA(0), sizeof(low), low), STATUS_OK);
    CHECK_EQ(guest_mem_add(&mem, GPA(0x1000), 4096, low), ERR_EXISTS);
    CHECK_EQ(guest_mem_add(&mem, GPA(0x8001), 4096, low), ERR_INVALID);
    uint64_t value = 0x0123456789abcdefull, back = 0;
    CHECK_EQ(guest_mem_write(&mem, GPA(0x1ffd), &value, 8), STATUS_OK);
    CHECK_EQ(guest_mem_read(&mem, GPA(0x1ffd), &back, 8), STATUS_OK);
    CHECK_EQ(back, value);
    CHECK_EQ(high[0], 0x89);
    CHECK_EQ(guest_mem_write(&mem, GPA(0x2ffc), &back, 8), ERR_RANGE);
    CHECK_EQ(high[0xffc], 0);
    CHECK_EQ(guest_mem_read(&mem, GPA(UINT64_MAX - 3), &back, 8), ERR_RANGE);
    CHECK_EQ(guest_mem_load(&mem, GPA(0x2001), 2, &back), ERR_INVALID);
    CHECK_EQ(guest_mem_store(&mem, GPA(0x2008), 8, value), STATUS_OK);
    uint64_t expected = 0;
    bool swapped;
    CHECK_EQ(guest_mem_compare_exchange(&mem, GPA(0x2008), 8, &expected, 1, &swapped), STATUS_OK);
    CHECK(!swapped);
    CHECK_EQ(expected, value);
    CHECK_EQ(guest_mem_compare_exchange(&mem, GPA(0x2008), 8, &expected, 1, &swapped), STATUS_OK);
    CHECK(swapped);
    CHECK_EQ(guest_mem_load(&mem, GPA(0x2008), 8, &back), STATUS_OK);
    CHECK_EQ(back, 1);
}

static void ratios_do_not_drift(void)
{
    struct ratio up = ratio_make(1193182, 3000000000ull), down = ratio_make(3000000000ull, 1193182);
    CHECK_EQ(ratio_apply(down, 3000000000ull * 86400), 1193182ull * 86400 - 1);
    CHECK(ratio_apply(up, 1193182ull * 86400) >= 3000000000ull * 86400 - 1);
    CHECK_EQ(ratio_apply(ratio_make(50000000, 50000000), 12345), 12345);
}

static unsigned kicks;

static void count_kick(struct vcpu *vcpu)
{
    (void)vcpu;
    kicks++;
}

static void first_outcome_stands(void)
{
    struct vcpu vcpu = {0};
    struct vm vm = {.vcpu = {&vcpu}, .vcpu_count = 1, .kick = count_kick};
    vcpu.vm = &vm;
    kicks = 0;
    vm_stop(&vm, VM_DEBUG_EXIT, 5);
    vm_stop(&vm, VM_POWEROFF, 0);
    vm_stop(&vm, VM_DEBUG_EXIT, 0);
    CHECK_EQ(vm.outcome, VM_DEBUG_EXIT);
    CHECK_EQ(vm.code, 5);
    CHECK_EQ(vcpu.requests, VCPU_REQUEST_STOP);
    CHECK_EQ(kicks, 1);
    CHECK_EQ(vm_exit_code(vm.outcome, vm.code, 0), 11);
    CHECK_EQ(vm_exit_code(vm.outcome, vm.code, 5), 0);
    CHECK_EQ(vm_exit_code(VM_POWEROFF, 0, 5), 0);
    CHECK_EQ(vm_exit_code(VM_DEBUG_EXIT, 0, 0), 0);
    CHECK_EQ(vm_exit_code(VM_DEBUG_EXIT, 0, 5), 1);
    CHECK_EQ(vm_exit_code(VM_KILLED, 0, 0), 1);
    CHECK_EQ(vm_exit_code(VM_KILLED, 5, 5), 1);
}

static void resets_obey_the_configuration(void)
{
    struct vcpu vcpu = {0};
    struct vm vm = {.vcpu = {&vcpu}, .vcpu_count = 1, .kick = count_kick};
    vcpu.vm = &vm;
    vm_request_reset(&vm, VM_TRIPLE_FAULT);
    CHECK(vm.reset_pending && vm.outcome == VM_RUNNING);
    vm.reset_pending = false;
    vm.stops_at_reset = true;
    vm_request_reset(&vm, VM_TRIPLE_FAULT);
    CHECK(!vm.reset_pending && vm.outcome == VM_TRIPLE_FAULT);
    vm_reset(&vm);
    CHECK(vm.reset_pending);
}

static void panics_do_what_was_asked(void)
{
    static const struct {
        enum vm_on_panic wish;
        bool is_over;
        enum vm_outcome outcome;
        bool resets;
    } rows[] = {
        {VM_PANIC_STOP, true, VM_PANIC, false},     {VM_PANIC_STOP, false, VM_RUNNING, false},
        {VM_PANIC_RESET, true, VM_RUNNING, true},   {VM_PANIC_RESET, false, VM_RUNNING, false},
        {VM_PANIC_IGNORE, true, VM_RUNNING, false},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vcpu vcpu = {0};
        struct vm vm = {.vcpu = {&vcpu}, .vcpu_count = 1, .kick = count_kick};
        vcpu.vm = &vm;
        vm.on_panic = rows[i].wish;
        vm_panicked(&vm, rows[i].is_over);
        CHECK_EQ(vm.outcome, rows[i].outcome);
        CHECK_EQ(vm.reset_pending, rows[i].resets);
    }
}

static void outcomes_have_names(void)
{
    for (unsigned i = 0; i <= VM_REJECTED; i++)
        for (unsigned other = 0; other < i; other++)
            CHECK(strcmp(vm_outcome_text(i), vm_outcome_text(other)) != 0);
    CHECK(strcmp(vm_outcome_text(VM_EXPECTED), "expected") == 0);
    CHECK(strcmp(vm_outcome_text(VM_REJECTED + 1), "?") == 0);
    CHECK_EQ(vm_exit_code(VM_EXPECTED, 0, 0), 0);
    CHECK_EQ(vm_exit_code(VM_REJECTED, 0, 0), 1);
}

static void standing_request_makes_no_kick(void)
{
    struct vcpu vcpu = {0};
    struct vm vm = {.vcpu = {&vcpu}, .vcpu_count = 1, .kick = count_kick};
    vcpu.vm = &vm;
    kicks = 0;
    vcpu_request(&vcpu, VCPU_REQUEST_EVENT);
    vcpu_request(&vcpu, VCPU_REQUEST_EVENT);
    CHECK_EQ(kicks, 1);
    vcpu_request(&vcpu, VCPU_REQUEST_WORK);
    CHECK_EQ(kicks, 2);
    vcpu_raise_nmi(&vcpu);
    CHECK_EQ(kicks, 2);
    CHECK(vcpu.events.nmi_pending);
}

TEST_MAIN({"bus_dispatches", bus_dispatches}, {"bus_fills_up", bus_fills_up},
          {"timers_fire_in_order", timers_fire_in_order},
          {"timer_that_arms_itself_in_the_past_is_bounded",
           timer_that_arms_itself_in_the_past_is_bounded},
          {"guest_memory_has_borders", guest_memory_has_borders},
          {"ratios_do_not_drift", ratios_do_not_drift},
          {"first_outcome_stands", first_outcome_stands},
          {"resets_obey_the_configuration", resets_obey_the_configuration},
          {"panics_do_what_was_asked", panics_do_what_was_asked},
          {"outcomes_have_names", outcomes_have_names},
          {"standing_request_makes_no_kick", standing_request_makes_no_kick})

/* Which event goes into a guest, and what combines to what. */
#include "kernel/vm/events.h"
#include "tests/check.h"

static const struct exception page_fault = {
    .vector = VECTOR_PF, .has_error_code = true, .error_code = 2};
static const struct exception protection = {
    .vector = VECTOR_GP, .has_error_code = true, .error_code = 0x10};
static const struct exception debug = {.vector = VECTOR_DB};

static struct event_queue delivering(unsigned type, unsigned vector)
{
    return (struct event_queue){
        .next = {.valid = true, .type = (uint8_t)type, .vector = (uint8_t)vector}};
}

static void exception_is_queued(void)
{
    struct event_queue events = {0};
    CHECK_EQ(event_raise(&events, &protection), EVENT_QUEUED);
    CHECK(events.next.valid);
    CHECK_EQ(events.next.type, EVENT_HARDWARE_EXCEPTION);
    CHECK_EQ(events.next.vector, VECTOR_GP);
    CHECK_EQ(events.next.error_code, 0x10);
}

/* SDM: Conditions for Generating a Double Fault, the whole table. */
static void pairs_make_double_faults(void)
{
    static const struct {
        uint8_t first, second;
        bool is_double;
    } pairs[] = {
        {VECTOR_DB, VECTOR_GP, false}, {VECTOR_DB, VECTOR_PF, false}, {VECTOR_GP, VECTOR_DB, false},
        {VECTOR_GP, VECTOR_GP, true},  {VECTOR_DE, VECTOR_NP, true},  {VECTOR_GP, VECTOR_PF, false},
        {VECTOR_PF, VECTOR_GP, true},  {VECTOR_PF, VECTOR_PF, true},  {VECTOR_PF, VECTOR_DB, false},
        {VECTOR_TS, VECTOR_SS, true},  {VECTOR_UD, VECTOR_GP, false}, {VECTOR_CP, VECTOR_GP, true},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct event_queue events = delivering(EVENT_HARDWARE_EXCEPTION, pairs[i].first);
        struct exception second = {.vector = pairs[i].second};
        CHECK_EQ(event_raise(&events, &second), EVENT_QUEUED);
        CHECK_EQ(events.next.vector, pairs[i].is_double ? VECTOR_DF : pairs[i].second);
        CHECK(!pairs[i].is_double || (events.next.has_error_code && events.next.error_code == 0));
    }
}

static void third_fault_is_the_end(void)
{
    struct event_queue events = delivering(EVENT_HARDWARE_EXCEPTION, VECTOR_DF);
    CHECK_EQ(event_raise(&events, &page_fault), EVENT_TRIPLE_FAULT);
    events = delivering(EVENT_HARDWARE_EXCEPTION, VECTOR_DF);
    CHECK_EQ(event_raise(&events, &debug), EVENT_QUEUED);
    CHECK_EQ(events.next.vector, VECTOR_DB);
}

static void fault_in_an_interrupts_delivery_is_served_first(void)
{
    struct event_queue events = delivering(EVENT_EXTERNAL_INTERRUPT, VECTOR_GP);
    CHECK_EQ(event_raise(&events, &protection), EVENT_QUEUED);
    CHECK_EQ(events.next.vector, VECTOR_GP);
    CHECK_EQ(events.next.type, EVENT_HARDWARE_EXCEPTION);
}

static void interrupt_waits_for_flag_and_shadow(void)
{
    struct event_queue events = {0};
    struct event_blocking open = {.interrupt_flag = true};
    struct event_blocking masked = {0};
    struct event_blocking shadowed = {.interrupt_flag = true, .shadow = true};
    struct event_choice choice = event_choose(&events, &open, true);
    CHECK(choice.take_interrupt && !choice.interrupt_window);
    choice = event_choose(&events, &masked, true);
    CHECK(!choice.take_interrupt && choice.interrupt_window);
    choice = event_choose(&events, &shadowed, true);
    CHECK(!choice.take_interrupt && choice.interrupt_window);
    choice = event_choose(&events, &open, false);
    CHECK(!choice.take_interrupt && !choice.interrupt_window);
    events = delivering(EVENT_HARDWARE_EXCEPTION, VECTOR_GP);
    choice = event_choose(&events, &open, true);
    CHECK(!choice.take_interrupt && choice.interrupt_window);
    CHECK_EQ(events.next.vector, VECTOR_GP);
}

static void nmi_goes_before_interrupts(void)
{
    struct event_queue events = {.nmi_pending = true};
    struct event_blocking open = {.interrupt_flag = true};
    struct event_choice choice = event_choose(&events, &open, true);
    CHECK_EQ(events.next.type, EVENT_NMI);
    CHECK(!events.nmi_pending);
    CHECK(!choice.take_interrupt && choice.interrupt_window && !choice.nmi_window);
}

static void blocked_nmi_asks_for_its_window(void)
{
    struct event_queue events = {.nmi_pending = true};
    struct event_blocking blocked = {.interrupt_flag = true, .nmi = true};
    struct event_choice choice = event_choose(&events, &blocked, true);
    CHECK(choice.nmi_window && events.nmi_pending);
    CHECK(choice.take_interrupt);
    event_queue_interrupt(&events, 0x31);
    CHECK_EQ(events.next.type, EVENT_EXTERNAL_INTERRUPT);
    CHECK_EQ(events.next.vector, 0x31);
}

TEST_MAIN({"exception_is_queued", exception_is_queued},
          {"pairs_make_double_faults", pairs_make_double_faults},
          {"third_fault_is_the_end", third_fault_is_the_end},
          {"fault_in_an_interrupts_delivery_is_served_first",
           fault_in_an_interrupts_delivery_is_served_first},
          {"interrupt_waits_for_flag_and_shadow", interrupt_waits_for_flag_and_shadow},
          {"nmi_goes_before_interrupts", nmi_goes_before_interrupts},
          {"blocked_nmi_asks_for_its_window", blocked_nmi_asks_for_its_window})

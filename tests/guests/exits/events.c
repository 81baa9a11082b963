/* What comes from outside while code of some mode runs: interrupts, NMIs, timers; and the end. */
#include "tests/guests/exits/exits.h"

#define CMOS_INDEX 0x70
#define CMOS_DATA 0x71
#define CMOS_STAGE 0x60 /* bytes that nobody uses, which a reset does not change */
#define CMOS_COUNT 0x61
#define STAGE_FAULTS 0xa5
#define STAGE_OVER 0x5a
#define TIMER_TICKS 60000

typedef const struct exits_environment environment;

extern uint64_t handlers64[256];
void test_end(void);
void serial_drain(void);

/* Code of two bytes, in the environment, with the flag; the event comes at its first instruction.
 */
static void run_until(environment *env, uint8_t first, uint8_t second, uint64_t flag,
                      uint64_t vector, const char *what)
{
    struct exits_place at;
    uint64_t want[GPRS];
    exits_find_place(env, &at);
    exits_prepare(env, &at);
    at.code[0] = first;
    at.code[1] = second;
    exits_run.rflags |= flag;
    for (unsigned i = 0; i < GPRS; i++)
        want[i] = exits_run.gpr[i];
    exits_go(env);
    guest_expect(exits_run.out.vector, vector, what);
    exits_check(env, want, exits_run.rflags, at.rip, what);
    exits_drop_events();
}

static void test_interrupt_window(environment *env)
{
    exits_case("INTERRUPT_WINDOW", "iret", "", env);
    exits_send_interrupt();
    run_until(env, 0x90, 0xcc, FLAG_IF, EXITS_VECTOR, "an interrupt that waited for IF");
}

/* JMP to itself until the timer's interrupt. What the machine's own devices want meanwhile, for one
 * the line that the last case's name goes over, is not seen. */
static void test_spin(const char *reason, environment *env)
{
    exits_case(reason, "spin", "", env);
    exits_start_timer(TIMER_TICKS);
    run_until(env, 0xeb, 0xfe, FLAG_IF, EXITS_VECTOR, "the timer's interrupt");
}

static environment *nmi_environment;

/* A second NMI waits until the IRET into the environment. */
static void handle_nmi(uint64_t *frame)
{
    (void)frame;
    handlers64[VECTOR_NMI] = 0;
    exits_send_nmi();
    run_until(nmi_environment, 0x90, 0xcc, 0, VECTOR_NMI, "an NMI that waited for IRET");
}

static void test_nmi_window(environment *env)
{
    exits_case("NMI_WINDOW", "iret", "", env);
    nmi_environment = env;
    handlers64[VECTOR_NMI] = (uintptr_t)handle_nmi;
    exits_send_nmi();
    for (unsigned i = 0; i < 100; i++)
        __asm__ volatile("pause");
    guest_expect(handlers64[VECTOR_NMI], 0, "the first NMI");
}

void exits_test_events(void)
{
    for (unsigned i = 0; i < exits_environment_count; i++) {
        environment *env = &exits_environments[i];
        test_interrupt_window(env);
        test_spin("PREEMPTION_TIMER", env);
        test_spin("EXTERNAL_INTERRUPT", env);
        test_nmi_window(env);
    }
}

/* ---- Triple faults ---- */

static uint8_t cmos_read(uint8_t index)
{
    uint8_t value;
    __asm__ volatile("outb %b1, $0x70; inb $0x71, %0" : "=a"(value) : "0"(index));
    return value;
}

static void cmos_write(uint8_t index, uint8_t value)
{
    __asm__ volatile("outb %0, $0x70" : : "a"(index));
    __asm__ volatile("outb %0, $0x71" : : "a"(value));
}

/* UD2 without an IDT: #UD, #DF and shutdown. */
static void fault_three_times(environment *env)
{
    struct exits_place at;
    exits_find_place(env, &at);
    exits_prepare(env, &at);
    at.code[0] = 0x0f;
    at.code[1] = 0x0b;
    exits_run.no_idt = 1;
    serial_drain();
    exits_go(env);
    guest_expect(1, 0, "the machine goes on");
}

void exits_test_triple_faults(void)
{
    unsigned count = cmos_read(CMOS_COUNT);
    if (!exits_has_monitor())
        return; /* a bare machine is not reset here */
    if (cmos_read(CMOS_STAGE) == STAGE_OVER) {
        guest_case("restart");
        guest_expect(1, 0, "a reset that nobody asked for");
        return;
    }
    if (cmos_read(CMOS_STAGE) != STAGE_FAULTS)
        count = 0;
    if (count > 0) {
        exits_case("TRIPLE_FAULT", "no-idt", "", &exits_environments[count - 1]);
        guest_expect(guest_read_dr7(), 0x400, "DR7 after the reset");
        test_end();
    }
    cmos_write(CMOS_STAGE, count < exits_environment_count ? STAGE_FAULTS : STAGE_OVER);
    cmos_write(CMOS_COUNT, (uint8_t)(count + 1));
    if (count < exits_environment_count)
        fault_three_times(&exits_environments[count]);
}

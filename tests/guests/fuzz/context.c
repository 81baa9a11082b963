/* Running code of any kind and coming back: see struct context. */
#include "tests/guests/fuzz/guest.h"

/* As common64 of fault.inc pushes it. */
struct frame {
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

#define DB 1
#define NMI 2
#define FIRST_INTERRUPT 32

/* start.asm */
extern void (*handlers64[256])(struct frame *frame);
extern uint64_t idt64[512];
extern uint8_t tss64[104];
extern uint64_t idt_real_at;
extern char ist_nmi_top[], ist_df_top[], real_end_ip[];
extern volatile uint64_t legacy_vector;
void run_context(const struct context *context);
void run_legacy(const struct context *context, uint32_t mode);
__attribute__((noreturn)) void run_return(void);

volatile uint64_t interrupts;
static volatile uint64_t barks;
static volatile bool is_running;
static volatile unsigned steps_left;
static uint64_t cr4_base = 0x220; /* PAE, OSFXSR, and OSXSAVE where it is there */
static uint64_t barks_before, interrupts_before;
static struct ended end;

#define PIT 0x40
#define PIT_TICKS 11932 /* of 1.193182 MHz: a hundredth of a second */
#define GSI_TIMER 2

static void ioapic_write(uint32_t index, uint32_t value)
{
    mmio_write(IOAPIC, index);
    mmio_write(IOAPIC + 0x10, value);
}

void watchdog_start(void)
{
    outb(0x70, 0x0d); /* bit 7 would mask NMIs */
    outb(PIT + 3, 0x34);
    outb(PIT, PIT_TICKS & 0xff);
    outb(PIT, PIT_TICKS >> 8);
    ioapic_write(0x11 + 2 * GSI_TIMER, 0);
    ioapic_write(0x10 + 2 * GSI_TIMER, 0x400); /* NMI, edge */
}

void watchdog_stop(void)
{
    ioapic_write(0x10 + 2 * GSI_TIMER, 0x10000);
}

void lapic_repair(void)
{
    if ((rdmsr(0x1b) & ~0x100ull) == LAPIC + 0x800)
        return;
    wrmsr(0x1b, LAPIC); /* from x2APIC mode, only by way of off */
    wrmsr(0x1b, LAPIC + 0x800);
    mmio_write(LAPIC + 0xf0, 0x1ff);
}

/* To the local APIC in either mode, and to both PICs: whoever asked is content. */
static void acknowledge(void)
{
    uint64_t base = rdmsr(0x1b);
    if ((base & 0xc00) == 0xc00)
        wrmsr(0x80b, 0);
    else if (base & 0x800)
        mmio_write(LAPIC + 0xb0, 0);
    outb(0xa0, 0x20);
    outb(0x20, 0x20);
}

/* Nothing that this guest can have meant: it is broken, as fuzzers are at times. */
static void crash(void)
{
    extern uint16_t idt_empty[];
    __asm__ volatile("lidt (%0); ud2" : : "r"(idt_empty));
}

static void finish(const struct frame *frame, unsigned vector)
{
    end.vector = vector;
    end.error = frame->error;
    end.rip = frame->rip;
    is_running = false;
    run_return();
}

/* Vectors that push an error code come without one as interrupts, and then the frame is no frame:
 * a context can only be ended. */
static void on_event(struct frame *frame)
{
    unsigned vector = frame->vector & 0xff;
    if (vector == NMI) {
        barks++;
        if (is_running && barks - barks_before > 2)
            finish(frame, vector);
        if (barks - barks_before > STORM)
            crash(); /* NMIs without end: nothing else comes to run */
        return;
    }
    if (vector >= FIRST_INTERRUPT) {
        interrupts++;
        acknowledge();
        if (is_running && interrupts - interrupts_before > STORM)
            finish(frame, vector);
        return;
    }
    if (!is_running)
        crash();
    if (vector == DB && steps_left > 0) {
        steps_left--;
        end.steps++;
        return;
    }
    finish(frame, vector);
}

static void set_ist(unsigned vector, unsigned ist)
{
    ((uint8_t *)&idt64[2 * vector])[4] = (uint8_t)ist;
}

/* All events change to a stack of their own, whatever became of the context's. */
void contexts_init(void)
{
    uint32_t a = 1, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    if (c & 1u << 26)
        cr4_base |= 0x40000;
    __asm__ volatile("mov %0, %%cr4" : : "r"(cr4_base));
    *(uint64_t *)&tss64[44] = (uint64_t)ist_nmi_top;
    *(uint64_t *)&tss64[52] = (uint64_t)ist_df_top;
    for (unsigned vector = 0; vector < 256; vector++) {
        handlers64[vector] = on_event;
        set_ist(vector, 1);
        ((volatile uint16_t *)idt_real_at)[2 * vector] = (uint16_t)(uintptr_t)real_end_ip;
    }
    set_ist(NMI, 2);
    set_ist(8, 3);
    watchdog_start();
}

void context_clear(struct context *context, enum mode mode)
{
    bool is_low = mode == MODE_REAL;
    *context = (struct context){
        .rip = is_low ? LOW_CODE : HIGH_CODE,
        .cs = is_low              ? LOW_BASE >> 4
              : mode == MODE_LONG ? SEL_CODE64
                                  : SEL_CODE32,
        .rflags = RFLAGS_FIXED,
        .rsp = is_low ? 0xff00 : HIGH_CODE + 0xff00,
        .ss = SEL_DATA,
        .ds = is_low ? LOW_BASE >> 4 : SEL_DATA,
        .es = is_low ? LOW_BASE >> 4 : SEL_DATA,
        .fs = SEL_DATA,
        .gs = is_low ? LOW_BASE >> 4 : SEL_DATA,
    };
}

/* What code at ring 0 may have turned on, and would hit the guest itself. */
static void restore_registers(void)
{
    uint64_t cr0, cr4;
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    if (cr4 != cr4_base)
        __asm__ volatile("mov %0, %%cr4" : : "r"(cr4_base));
    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    if ((cr0 & 0xe005002cu) != 0x80000020u)
        __asm__ volatile("mov %0, %%cr0" : : "r"((cr0 & ~0x6005000cull) | 0x80000020u));
}

void context_run(const struct context *context, enum mode mode, unsigned steps, struct ended *ended)
{
    end = (struct ended){0};
    steps_left = steps;
    barks_before = barks;
    interrupts_before = interrupts;
    if (mode == MODE_LONG) {
        is_running = true;
        run_context(context);
    } else {
        run_legacy(context, mode);
        end.vector = (unsigned)legacy_vector;
    }
    restore_registers();
    *ended = end;
}

static void (*function_to_run)(void);

static void run_function(void)
{
    function_to_run();
    __asm__ volatile("cli; int3");
}

unsigned function_run(void (*function)(void), uint64_t rflags)
{
    struct context context;
    struct ended ended;
    context_clear(&context, MODE_LONG);
    function_to_run = function;
    context.rip = (uint64_t)run_function;
    context.rsp -= 8; /* as a call would leave it */
    context.rflags |= rflags;
    context_run(&context, MODE_LONG, 0, &ended);
    return ended.vector;
}

uint64_t mmio_read_sized(uint64_t address, unsigned size)
{
    switch (size) {
    case 1:
        return *(volatile uint8_t *)address;
    case 2:
        return *(volatile uint16_t *)address;
    case 4:
        return *(volatile uint32_t *)address;
    default:
        return *(volatile uint64_t *)address;
    }
}

void mmio_write_sized(uint64_t address, unsigned size, uint64_t value)
{
    switch (size) {
    case 1:
        *(volatile uint8_t *)address = (uint8_t)value;
        break;
    case 2:
        *(volatile uint16_t *)address = (uint16_t)value;
        break;
    case 4:
        *(volatile uint32_t *)address = (uint32_t)value;
        break;
    default:
        *(volatile uint64_t *)address = value;
    }
}

/*
 * One processor panics, the others stop; the first one wins. The ports and the owner are the
 * machine's, hence globals: panic() has no argument to find them by.
 */
#include "kernel/core/panic.h"

#include "kernel/core/bits.h"
#include "kernel/core/cpu.h"
#include "kernel/core/hw.h"
#include "kernel/core/log.h"
#include "kernel/core/mem.h"
#include "kernel/core/paging.h"
#include "kernel/core/symbols.h"
#include "kernel/core/x86.h"

#define BACKTRACE_MAX 32 /* lines */
#define FRAMES_MAX 4096
#define NO_CPU UINT32_MAX

static struct panic_ports ports;
static uint32_t owner = NO_CPU; /* index of the processor that panics */
static uint32_t depth;          /* how often it did */

extern uint8_t image_start[], text_end[], init_start[], init_text_end[];
extern uint8_t early_stack[], early_stack_top[];

static const char *const exception_names[32] = {
    "#DE divide error",
    "#DB debug exception",
    "NMI",
    "#BP breakpoint",
    "#OF overflow",
    "#BR BOUND range exceeded",
    "#UD invalid opcode",
    "#NM device not available",
    "#DF double fault",
    "coprocessor segment overrun",
    "#TS invalid TSS",
    "#NP segment not present",
    "#SS stack-segment fault",
    "#GP general protection",
    "#PF page fault",
    NULL,
    "#MF x87 error",
    "#AC alignment check",
    "#MC machine check",
    "#XM SIMD error",
    "#VE virtualization exception",
    "#CP control protection",
};

INIT void panic_set_ports(const struct panic_ports *new_ports)
{
    ports = *new_ports;
}

bool panic_in_progress(void)
{
    return __atomic_load_n(&owner, __ATOMIC_ACQUIRE) != NO_CPU;
}

bool panic_elsewhere(void)
{
    return panic_in_progress() && __atomic_load_n(&owner, __ATOMIC_ACQUIRE) != cpu_this()->index;
}

void panic_halt(void)
{
    for (;;) {
        hw_cli();
        hw_hlt();
    }
}

/* Returns on the processor that may report; a second panic there while reporting ends it. */
static void begin(void)
{
    uint32_t index = cpu_this()->index, expected = NO_CPU;
    hw_cli();
    if (!__atomic_compare_exchange_n(&owner, &expected, index, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE) &&
        expected != index)
        panic_halt();
    if (++depth > 2)
        panic_halt();
    if (depth == 1 && ports.stop_others != NULL)
        ports.stop_others(ports.context);
    log_break_lock();
}

static bool is_stack(uint64_t address)
{
    if (!is_aligned(address, 8))
        return false;
    if (address >= (uint64_t)(uintptr_t)early_stack &&
        address < (uint64_t)(uintptr_t)early_stack_top - 16)
        return true;
    return paging_is_mapped(address, 16);
}

/* A return address may lie behind its function, whose last instruction was a call that does not
 * return: it is looked up by the byte before it. */
static void show_code(const char *what, uint64_t address, bool is_return)
{
    uint64_t offset;
    const char *name =
        ports.symbols != NULL ? symbols_lookup(ports.symbols, address - is_return, &offset) : NULL;
    if (name != NULL)
        log_error("%s 0x%lx %s+0x%lx", what, address, name, offset + is_return);
    else
        log_error("%s 0x%lx", what, address);
}

static bool is_code(uint64_t address)
{
    return (address >= (uint64_t)(uintptr_t)image_start &&
            address < (uint64_t)(uintptr_t)text_end) ||
           (address >= (uint64_t)(uintptr_t)init_start &&
            address < (uint64_t)(uintptr_t)init_text_end);
}

/* A function without a frame of its own has its return address on top of the stack, and one that
 * has a frame may have anything there: shown, but marked. */
static void show_stack_top(uint64_t rsp)
{
    uint64_t word;
    if (!is_stack(rsp))
        return;
    memcpy(&word, (const void *)(uintptr_t)rsp, sizeof(word));
    if (is_code(word))
        show_code("(on top of the stack)", word, true);
}

/* Frame records: the caller's RBP, then the return address. They only go up a stack, or over to
 * another one, never round in circles: the number is bounded. */
static void show_backtrace(uint64_t rbp)
{
    uint64_t last = 0;
    log_error("backtrace:");
    for (unsigned lines = 0, i = 0; lines < BACKTRACE_MAX && i < FRAMES_MAX && is_stack(rbp); i++) {
        uint64_t record[2];
        memcpy(record, (const void *)(uintptr_t)rbp, sizeof(record));
        if (!is_code(record[1]))
            return;
        if (record[1] != last) { /* a recursion is one line */
            show_code("   ", record[1], true);
            lines++;
        }
        last = record[1];
        rbp = record[0];
    }
}

static void show_registers(const struct cpu_frame *f)
{
    log_error("rax %016lx rbx %016lx rcx %016lx rdx %016lx", f->rax, f->rbx, f->rcx, f->rdx);
    log_error("rsi %016lx rdi %016lx rbp %016lx rsp %016lx", f->rsi, f->rdi, f->rbp, f->rsp);
    log_error("r8  %016lx r9  %016lx r10 %016lx r11 %016lx", f->r8, f->r9, f->r10, f->r11);
    log_error("r12 %016lx r13 %016lx r14 %016lx r15 %016lx", f->r12, f->r13, f->r14, f->r15);
    log_error("rip %016lx rflags %lx cs %lx ss %lx", f->rip, f->rflags, f->cs, f->ss);
}

static void show_control_registers(void)
{
    log_error("cr0 %lx cr2 %016lx cr3 %lx cr4 %lx", hw_read_cr0(), hw_read_cr2(), hw_read_cr3(),
              hw_read_cr4());
}

/* A push onto a guard page faults, and so does the push of the fault's own frame: what comes in the
 * end is #DF, on a stack of its own, and CR2 tells. */
static void show_overflow(const struct cpu_frame *frame)
{
    static const char *const names[CPU_STACKS] = {"kernel", "NMI", "#DF", "#MC"};
    uint32_t processor;
    enum cpu_stack stack;
    if ((frame->vector == VECTOR_PF || frame->vector == VECTOR_DF) &&
        paging_is_guard(hw_read_cr2(), &processor, &stack))
        log_error("stack overflow: guard page of the %s stack of processor %u", names[stack],
                  processor);
}

static NORETURN void finish(void)
{
    if (depth == 1 && ports.last_exits != NULL)
        ports.last_exits(ports.context);
    log_error("processor %u stopped the machine", cpu_this()->index);
    log_flush();
    if (depth == 1 && ports.finish != NULL)
        ports.finish(ports.context);
    panic_halt();
}

void panic(const char *format, ...)
{
    va_list args;
    begin();
    va_start(args, format);
    log_write(LOG_ERROR, "panic on processor %u:", cpu_this()->index);
    log_vwrite(LOG_ERROR, format, args);
    va_end(args);
    show_control_registers();
    show_backtrace((uint64_t)(uintptr_t)__builtin_frame_address(0));
    finish();
}

void panic_frame(const struct cpu_frame *frame)
{
    begin();
    const char *name =
        frame->vector < ARRAY_SIZE(exception_names) ? exception_names[frame->vector] : NULL;
    log_error("panic on processor %u: %s (vector %lu, error code 0x%lx)", cpu_this()->index,
              name != NULL ? name : "exception", frame->vector, frame->error_code);
    show_code("at", frame->rip, false);
    show_overflow(frame);
    show_registers(frame);
    show_control_registers();
    show_stack_top(frame->rsp);
    show_backtrace(frame->rbp);
    finish();
}

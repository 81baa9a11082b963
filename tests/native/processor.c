#define _GNU_SOURCE
#include "tests/native/processor.h"

#include <asm/ldt.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_GET_FS 0x1003 /* arch_prctl(2) */
#define UC_SIGCONTEXT_SS                                                                           \
    2 /* the kernel's asm/ucontext.h: SS is there, and is to be loaded as is                       \
       */
#define UC_STRICT_RESTORE_SS 4

#define SELECTOR_CODE64 0x33
#define PAGE 4096u

const struct window windows[WINDOWS] = {
    {WINDOW_LOW, 2, {PAGE_RAM, PAGE_DEVICE}},
    {WINDOW_MAIN,
     8,
     {PAGE_RAM, PAGE_RAM, PAGE_DEVICE, PAGE_RAM, PAGE_READ_ONLY, PAGE_RAM, PAGE_ABSENT,
      PAGE_DEVICE}},
    {WINDOW_CODE, 5, {PAGE_CODE, PAGE_CODE, PAGE_RAM, PAGE_CODE, PAGE_ABSENT}},
    {WINDOW_TOP, 2, {PAGE_RAM, PAGE_RAM}},
    {WINDOW_ABOVE, 1, {PAGE_RAM}},
    {WINDOW_HIGH, 2, {PAGE_RAM, PAGE_DEVICE}},
};

/* What native_enter loads; the offsets are in its text. */
struct entry {
    void *frame;
    uint64_t fs_base, gs_base;
    uint32_t long_mode;
    uint16_t ds, es, fs, gs;
};

ucontext_t *native_enter(const struct entry *entry);
void native_signal(int number, siginfo_t *info, void *ucontext);
uint64_t native_own_fs_base;

/*
 * native_enter loads the data segments and has the kernel load everything else (rt_sigreturn(2),
 * which also knows how to enter 16-bit stacks). The signal's handler is its way back: it gets the
 * program's own segments, flags and stack again. All on the alternate stack, without C.
 */
__asm__(".text\n"
        ".globl native_enter\n"
        "native_enter:\n"
        "    push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "    mov %rsp, native_rsp(%rip)\n"
        "    mov %rdi, %rbx\n"
        "    mov 28(%rbx), %ds; mov 30(%rbx), %es; mov 32(%rbx), %fs; mov 34(%rbx), %gs\n"
        "    cmpl $0, 24(%rbx)\n"
        "    je 1f\n"
        "    mov $158, %eax; mov $0x1002, %edi; mov 8(%rbx), %rsi; syscall\n"  /* FS base */
        "    mov $158, %eax; mov $0x1001, %edi; mov 16(%rbx), %rsi; syscall\n" /* GS base */
        "1:  mov 0(%rbx), %rsp\n"
        "    mov $15, %eax; syscall\n"
        "    ud2\n"
        ".globl native_signal\n"
        "native_signal:\n"
        "    push $2; popfq\n" /* the kernel leaves AC as it was */
        "    mov %rdx, %rbx\n"
        "    xor %ecx, %ecx\n"
        "    mov %ecx, %ds; mov %ecx, %es; mov %ecx, %fs; mov %ecx, %gs\n"
        "    mov $158, %eax; mov $0x1002, %edi; mov native_own_fs_base(%rip), %rsi; syscall\n"
        "    mov %rbx, %rax\n"
        "    mov native_rsp(%rip), %rsp\n"
        "    pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "    ret\n"
        ".local native_rsp\n"
        ".comm native_rsp, 8, 8\n");

static struct {
    char *return_address; /* where rt_sigreturn expects the stack pointer to have been */
    ucontext_t ucontext;
} frame;

static uint8_t signal_stack[64 * 1024] __attribute__((aligned(64)));

/* Where the kernel keeps each register. */
static const uint8_t places[GPR_COUNT] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                          REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                          REG_R12, REG_R13, REG_R14, REG_R15};

static bool map_window(const struct window *window)
{
    static const int protection[] = {
        [PAGE_ABSENT] = PROT_NONE,
        [PAGE_RAM] = PROT_READ | PROT_WRITE,
        [PAGE_DEVICE] = PROT_READ | PROT_WRITE,
        [PAGE_READ_ONLY] = PROT_READ,
        [PAGE_CODE] = PROT_READ | PROT_WRITE | PROT_EXEC,
    };
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE;
    for (unsigned i = 0; i < window->count; i++) {
        uint8_t *page = (uint8_t *)(window->base + i * PAGE);
        if (mmap(page, PAGE, PROT_READ | PROT_WRITE, flags, -1, 0) != page)
            return false;
        memset(page, 0x5a + (int)i, PAGE);
        if (mprotect(page, PAGE, protection[window->kind[i]]) != 0)
            return false;
    }
    return true;
}

static bool catch_signals(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGTRAP, SIGILL, SIGFPE};
    const stack_t stack = {.ss_sp = signal_stack, .ss_size = sizeof(signal_stack)};
    struct sigaction action = {.sa_sigaction = native_signal,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    if (sigaltstack(&stack, NULL) != 0)
        return false;
    for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        if (sigaction(signals[i], &action, NULL) != 0)
            return false;
    frame.ucontext.uc_flags = UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS;
    frame.ucontext.uc_stack = stack;
    return syscall(SYS_arch_prctl, ARCH_GET_FS, &native_own_fs_base) == 0;
}

const char *processor_prepare(void)
{
    for (unsigned i = 0; i < WINDOWS; i++)
        if (!map_window(&windows[i]))
            return "the addresses that the test needs cannot be mapped";
    return catch_signals() ? NULL : "no signal stack";
}

bool processor_has_segments(void)
{
    const struct segment probe = {.limit = 0xffff, .access = 0xf3};
    return processor_set_segment(1, &probe);
}

bool processor_set_segment(unsigned index, const struct segment *segment)
{
    uint32_t type = segment->access & SEGMENT_TYPE_MASK;
    bool pages = (segment->access & SEGMENT_G) != 0;
    struct user_desc descriptor = {
        .entry_number = index,
        .base_addr = (unsigned)segment->base,
        .limit = pages ? segment->limit >> 12 : segment->limit,
        .seg_32bit = (segment->access & SEGMENT_DB) != 0,
        .contents = type >> 2 & 3,
        .read_exec_only = (type & 2) == 0,
        .limit_in_pages = pages,
        .useable = 1,
    };
    return syscall(SYS_modify_ldt, 1, &descriptor, sizeof(descriptor)) == 0;
}

static uint64_t code_and_stack(const struct context *context)
{
    return context->selector[SEG_CS] | (uint64_t)context->selector[SEG_SS] << 48;
}

void processor_run(struct context *context)
{
    greg_t *registers = frame.ucontext.uc_mcontext.gregs;
    const struct entry entry = {.frame = &frame.ucontext,
                                .fs_base = context->fs_base,
                                .gs_base = context->gs_base,
                                .long_mode = context->long_mode,
                                .ds = context->selector[SEG_DS],
                                .es = context->selector[SEG_ES],
                                .fs = context->long_mode ? 0 : context->selector[SEG_FS],
                                .gs = context->long_mode ? 0 : context->selector[SEG_GS]};
    for (unsigned i = 0; i < GPR_COUNT; i++)
        registers[places[i]] = (greg_t)context->gpr[i];
    registers[REG_RIP] = (greg_t)context->rip;
    registers[REG_EFL] = (greg_t)context->rflags;
    registers[REG_CSGSFS] = (greg_t)code_and_stack(context);
    const ucontext_t *after = native_enter(&entry);
    const greg_t *found = after->uc_mcontext.gregs;
    for (unsigned i = 0; i < GPR_COUNT; i++)
        context->gpr[i] = (uint64_t)found[places[i]];
    context->rip = (uint64_t)found[REG_RIP];
    context->rflags = (uint64_t)found[REG_EFL];
    context->vector = (uint8_t)found[REG_TRAPNO];
    context->error_code = (uint32_t)found[REG_ERR];
    context->cr2 = context->vector == VECTOR_PF ? (uint64_t)found[REG_CR2] : 0;
}

/* The instructions: how each is written, what it finds, and what it leaves. */
#include "tests/guests/exits/exits.h"

typedef const struct exits_environment environment;
typedef const struct exits_place place;

#define SCRATCH 0x3ffu /* the UART's scratch register: one byte that is kept */
#define MSR_APIC_BASE 0x1bu
#define MSR_MTRR_FIX64K 0x250u
#define MSR_ABSENT 0x12345u
#define HYPERCALL_UNKNOWN 0xfffffffffffffc18ull
#define CR0_CD BIT(30)
#define CR0_TS BIT(3)
#define CR0_MP BIT(1)
#define CR4_OSXSAVE BIT(18)

static uint64_t *gpr(void)
{
    return exits_run.gpr;
}

static void outb(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static uint8_t inb(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void put_low(uint64_t *reg, unsigned bytes, uint64_t value)
{
    uint64_t mask = bits_size_mask(bytes);
    *reg = (*reg & ~mask) | (value & mask);
}

/* ---- CPUID ---- */

/* The upper halves are not looked at. */
static void set_cpuid(environment *env, place *at)
{
    (void)env;
    (void)at;
    gpr()[RAX] = 0xdeadbeef00000000;
    gpr()[RCX] = 0xdeadbeef00000000;
}

static void expect_cpuid(environment *env, place *at, uint64_t *want, uint64_t *flags)
{
    (void)env;
    (void)at;
    (void)flags;
    want[RAX] = guest_cpuid(0, 0, EAX);
    want[RBX] = guest_cpuid(0, 0, EBX);
    want[RCX] = guest_cpuid(0, 0, ECX);
    want[RDX] = guest_cpuid(0, 0, EDX);
}

/* ---- VMCALL ---- */

static void expect_vmcall(environment *env, place *at, uint64_t *want, uint64_t *flags)
{
    (void)env;
    (void)at;
    (void)flags;
    want[RAX] = HYPERCALL_UNKNOWN;
}

/* ---- Control registers ---- */

/* The processor may forbid caching and nothing that it computes changes. */
static void set_mov_cr0(environment *env, place *at)
{
    (void)at;
    gpr()[RAX] = guest_read_cr0() | CR0_CD;
    if (env->mode == MODE_FLAT32 || IS_REAL(env))
        gpr()[RAX] &= ~BIT(31);
    if (IS_REAL(env))
        gpr()[RAX] &= ~1ull;
}

static void set_lmsw(environment *env, place *at)
{
    (void)at;
    gpr()[RAX] = 0x123400000000ull | CR0_TS | CR0_MP | !IS_REAL(env);
}

static void set_lmsw_memory(environment *env, place *at)
{
    *(volatile uint16_t *)at->data = (uint16_t)(CR0_TS | CR0_MP | !IS_REAL(env));
}

static void set_mov_cr4(environment *env, place *at)
{
    (void)at;
    uint64_t cr4 = guest_read_cr4() & ~BIT(17);
    if (env->mode == MODE_PAGED32)
        cr4 = (cr4 & ~BIT(5)) | BIT(4);
    gpr()[RAX] = guest_has(1, 0, ECX, 26) ? cr4 ^ CR4_OSXSAVE : cr4;
}

static void set_mov_cr4_bad(environment *env, place *at)
{
    (void)env;
    (void)at;
    gpr()[RAX] = guest_read_cr4() | BIT(31);
}

static void set_mov_cr8(environment *env, place *at)
{
    (void)env;
    (void)at;
    gpr()[RAX] = 0;
}

static void expect_zero(environment *env, place *at, uint64_t *want, uint64_t *flags)
{
    (void)env;
    (void)at;
    (void)flags;
    want[RAX] = 0;
}

/* ---- Debug registers ---- */

static void set_mov_dr(environment *env, place *at)
{
    (void)env;
    (void)at;
    gpr()[RAX] = 0x1234567812345678;
}

static void expect_mov_to_dr3(environment *env, place *at, uint64_t *want, uint64_t *flags)
{
    (void)at;
    (void)want;
    (void)flags;
    guest_expect(guest_read_dr3(), env->bits == BITS_64 ? 0x1234567812345678 : 0x12345678, "DR3");
    (void)guest_try_write_dr3(0);
}

static void expect_mov_from_dr6(environment *env, place *at, uint64_t *want, uint64_t *flags)
{
    (void)env;
    (void)at;
    (void)flags;
    want[RAX] = DR6_CLEAR;
}

/* ---- Ports ---- */

static void set_port(environment *env, place *at)
{
    (void)env;
    outb(SCRATCH, 0x5c);
    gpr()[RDX] = 0xdeadbeef00000000 | SCRATCH;
    gpr()[RCX] = 1;
    gpr()[RSI] = gpr()[RDI] = at->pointer + 16;
    at->data[16] = 0xa7;
    at->data[17] = 0;
}

static void expect_in(environment *env, place *at, uint64_t *want, uint64_t *flags)
{
    (void)env;
    (void)at;
    (void)flags;
    put_low(&want[RAX], 1, 0x5c);
}

static void expect_out(environment *env, place *at, uint64_t *want, uint64_t *flags)
{
    (void)env;
    (void)at;
    (void)flags;
    guest_expect(inb(SCRATCH), want[RAX] & 0xff, "the register behind the port");
}

static void expect_string(environment *env, uint64_t *reg, uint64_t add)
{
    if (env->bits == BITS_16)
        put_low(reg, 2, *reg + add);
    else
        *reg += add;
}

static void expect_insb(environment *env, place *at, uint64_t *want, uint64_t *flags)
{
    (void)flags;
    expect_string(env, &want[RDI], 1);
    guest_expect(at->data[16], 0x5c, "the byte that INS stored");
    guest_expect(at->data[17], 0, "the byte behind it");
}

static void expect_outsb(environment *env, place *at, uint64_t *want, uint64_t *flags)
{
    (void)at;
    (void)flags;
    expect_string(env, &want[RSI], 1);
    guest_expect(inb(SCRATCH), 0xa7, "the register behind the port");
}

static void expect_rep_insb(environment *env, place *at, uint64_t *want, uint64_t *flags)
{
    expect_insb(env, at, want, flags);
    want[RCX] = 0;
}

static void expect_rep_outsb(environment *env, place *at, uint64_t *want, uint64_t *flags)
{
    expect_outsb(env, at, want, flags);
    want[RCX] = 0;
}

/* ---- MSRs ---- */

static void set_rdmsr(environment *env, place *at)
{
    (void)env;
    (void)at;
    gpr()[RCX] = 0xdeadbeef00000000 | MSR_APIC_BASE;
}

static void expect_rdmsr(environment *env, place *at, uint64_t *want, uint64_t *flags)
{
    (void)env;
    (void)at;
    (void)flags;
    uint64_t value = guest_rdmsr(MSR_APIC_BASE);
    want[RAX] = (uint32_t)value;
    want[RDX] = value >> 32;
}

static void set_wrmsr(environment *env, place *at)
{
    (void)env;
    (void)at;
    guest_wrmsr(MSR_MTRR_FIX64K, 0x0606060606060606);
    gpr()[RCX] = 0xdeadbeef00000000 | MSR_MTRR_FIX64K;
    gpr()[RAX] = 0xdeadbeef04050601;
    gpr()[RDX] = 0xdeadbeef06000506;
}

static void expect_wrmsr(environment *env, place *at, uint64_t *want, uint64_t *flags)
{
    (void)env;
    (void)at;
    (void)want;
    (void)flags;
    guest_expect(guest_rdmsr(MSR_MTRR_FIX64K), 0x0600050604050601, "the MSR");
    guest_wrmsr(MSR_MTRR_FIX64K, 0x0606060606060606);
}

static void set_absent_msr(environment *env, place *at)
{
    (void)env;
    (void)at;
    gpr()[RCX] = MSR_ABSENT;
}

/* ---- XSETBV ---- */

static void set_xsetbv(environment *env, place *at)
{
    (void)env;
    (void)at;
    gpr()[RCX] = 0xdeadbeef00000000;
    gpr()[RAX] = 0xdeadbeef00000003;
    gpr()[RDX] = 0xdeadbeef00000000;
}

static void expect_xsetbv(environment *env, place *at, uint64_t *want, uint64_t *flags)
{
    (void)env;
    (void)at;
    (void)want;
    (void)flags;
    guest_expect(guest_xgetbv(0), 3, "XCR0");
    (void)guest_try_xsetbv(0, 1);
}

static void set_xsetbv_bad(environment *env, place *at)
{
    set_xsetbv(env, at);
    gpr()[RAX] = 2; /* without x87 */
}

/* ---- Memory that is no RAM ---- */

static void set_load(environment *env, place *at)
{
    (void)env;
    (void)at;
    gpr()[RAX] = 0x1111111111111100;
}

static void expect_load(environment *env, place *at, uint64_t *want, uint64_t *flags)
{
    (void)env;
    (void)at;
    (void)flags;
    put_low(&want[RAX], 1, 0xff);
}

/* FFH + 1: carry, auxiliary carry and zero, and parity is even. */
static void set_compare(environment *env, place *at)
{
    (void)env;
    (void)at;
    gpr()[RAX] = 0x11111111111111ff;
}

static void expect_equal_flags(environment *env, place *at, uint64_t *want, uint64_t *flags)
{
    (void)env;
    (void)at;
    (void)want;
    *flags = (*flags & ~FLAGS_STATUS) | BIT(6) | BIT(2);
}

/* ---- Exceptions ---- */

static void set_unaligned(environment *env, place *at)
{
    (void)env;
    gpr()[RBX] = at->pointer + 1;
}

#define VMX FORM_UNDEFINED
#define MEMORY2 FORM_MEMORY(2)
#define MEMORY3 FORM_MEMORY(3)
#define MEMORY4 FORM_MEMORY(4)
#define DEVICE (FORM_DEVICE | FORM_LOCKABLE)

const struct exits_form exits_forms[] = {
    {"EXCEPTION_OR_NMI", "step", 1, {0x90}, FORM_LOCKABLE, NULL, NULL},
    {"EXCEPTION_OR_NMI", "int1", 1, {0xf1}, FORM_TRAPS, NULL, NULL},
    {"EXCEPTION_OR_NMI",
     "alignment",
     2,
     {0x8b, 0x03},
     FORM_MEMORY(1) | FORM_ALIGNED | FORM_USER,
     set_unaligned,
     NULL},
    {"CPUID", "cpuid", 2, {0x0f, 0xa2}, FORM_EDGE, set_cpuid, expect_cpuid},
    {"CPUID",
     "prefixes",
     6,
     {0x66, 0x67, 0x2e, 0xf3, 0x0f, 0xa2},
     FORM_LOCKABLE | FORM_EDGE,
     set_cpuid,
     expect_cpuid},
    {"CPUID",
     "15-bytes",
     15,
     {0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x66, 0x0f, 0xa2},
     FORM_LOCKABLE | FORM_EDGE,
     set_cpuid,
     expect_cpuid},
    {"CPUID",
     "16-bytes",
     16,
     {0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x66, 0x0f,
      0xa2},
     FORM_LOCKABLE | FORM_PROTECTED,
     set_cpuid,
     NULL},
    {"GETSEC", "getsec", 2, {0x0f, 0x37}, FORM_UNDEFINED, NULL, NULL},
    {"HLT", "hlt", 1, {0xf4}, FORM_CPL0 | FORM_NEEDS_IF, NULL, NULL},
    {"HLT", "hlt-stepped", 1, {0xf4}, FORM_CPL0 | FORM_NEEDS_IF | FORM_STEPS, NULL, NULL},
    {"INVD", "invd", 2, {0x0f, 0x08}, FORM_CPL0, NULL, NULL},
    {"RDPMC", "absent", 2, {0x0f, 0x33}, FORM_PROTECTED, set_absent_msr, NULL},
    {"RSM", "rsm", 2, {0x0f, 0xaa}, FORM_UNDEFINED, NULL, NULL},
    {"VMCALL", "vmcall", 3, {0x0f, 0x01, 0xc1}, FORM_HYPERCALL | FORM_EDGE, NULL, expect_vmcall},
    {"VMCLEAR", "vmclear", 4, {0x66, 0x0f, 0xc7, 0x33}, VMX | MEMORY3, NULL, NULL},
    {"VMLAUNCH", "vmlaunch", 3, {0x0f, 0x01, 0xc2}, VMX, NULL, NULL},
    {"VMPTRLD", "vmptrld", 3, {0x0f, 0xc7, 0x33}, VMX | MEMORY2, NULL, NULL},
    {"VMPTRST", "vmptrst", 3, {0x0f, 0xc7, 0x3b}, VMX | MEMORY2, NULL, NULL},
    {"VMREAD", "vmread", 3, {0x0f, 0x78, 0xc1}, VMX, NULL, NULL},
    {"VMRESUME", "vmresume", 3, {0x0f, 0x01, 0xc3}, VMX, NULL, NULL},
    {"VMWRITE", "vmwrite", 3, {0x0f, 0x79, 0xc1}, VMX, NULL, NULL},
    {"VMXOFF", "vmxoff", 3, {0x0f, 0x01, 0xc4}, VMX, NULL, NULL},
    {"VMXON", "vmxon", 4, {0xf3, 0x0f, 0xc7, 0x33}, VMX | MEMORY3, NULL, NULL},
    {"CONTROL_REGISTER_ACCESS", "mov-to-cr0", 3, {0x0f, 0x22, 0xc0}, FORM_CPL0, set_mov_cr0, NULL},
    {"CONTROL_REGISTER_ACCESS", "lmsw", 3, {0x0f, 0x01, 0xf0}, FORM_CPL0, set_lmsw, NULL},
    {"CONTROL_REGISTER_ACCESS",
     "lmsw-memory",
     3,
     {0x0f, 0x01, 0x33},
     FORM_CPL0 | MEMORY2,
     set_lmsw_memory,
     NULL},
    {"CONTROL_REGISTER_ACCESS", "clts", 2, {0x0f, 0x06}, FORM_CPL0, NULL, NULL},
    {"CONTROL_REGISTER_ACCESS", "mov-to-cr4", 3, {0x0f, 0x22, 0xe0}, FORM_CPL0, set_mov_cr4, NULL},
    {"CONTROL_REGISTER_ACCESS",
     "mov-to-cr4-reserved",
     3,
     {0x0f, 0x22, 0xe0},
     FORM_PROTECTED,
     set_mov_cr4_bad,
     NULL},
    {"CONTROL_REGISTER_ACCESS",
     "mov-to-cr8",
     4,
     {0x44, 0x0f, 0x22, 0xc0},
     FORM_CPL0 | FORM_LONG,
     set_mov_cr8,
     NULL},
    {"CONTROL_REGISTER_ACCESS",
     "mov-from-cr8",
     4,
     {0x44, 0x0f, 0x20, 0xc0},
     FORM_CPL0 | FORM_LONG,
     NULL,
     expect_zero},
    {"MOV_DR", "mov-to-dr3", 3, {0x0f, 0x23, 0xd8}, FORM_CPL0, set_mov_dr, expect_mov_to_dr3},
    {"MOV_DR", "mov-from-dr6", 3, {0x0f, 0x21, 0xf0}, FORM_CPL0, set_mov_dr, expect_mov_from_dr6},
    {"MOV_DR", "mov-from-dr4", 3, {0x0f, 0x21, 0xe0}, FORM_CPL0, set_mov_dr, expect_mov_from_dr6},
    {"MOV_DR",
     "mov-to-dr7-reserved",
     3,
     {0x0f, 0x23, 0xf8},
     FORM_PROTECTED | FORM_LONG,
     set_mov_dr,
     NULL},
    {"IO_INSTRUCTION", "in", 1, {0xec}, FORM_EDGE, set_port, expect_in},
    {"IO_INSTRUCTION", "out", 1, {0xee}, FORM_EDGE, set_port, expect_out},
    {"IO_INSTRUCTION", "ins", 1, {0x6c}, FORM_EDGE, set_port, expect_insb},
    {"IO_INSTRUCTION", "outs", 1, {0x6e}, 0, set_port, expect_outsb},
    {"IO_INSTRUCTION", "rep-ins", 2, {0xf3, 0x6c}, 0, set_port, expect_rep_insb},
    {"IO_INSTRUCTION", "rep-outs", 2, {0xf3, 0x6e}, 0, set_port, expect_rep_outsb},
    {"IO_INSTRUCTION", "in-denied", 1, {0xec}, FORM_IOPL0, set_port, expect_in},
    {"IO_INSTRUCTION", "outs-denied", 1, {0x6e}, FORM_IOPL0, set_port, expect_outsb},
    {"RDMSR", "rdmsr", 2, {0x0f, 0x32}, FORM_CPL0, set_rdmsr, expect_rdmsr},
    {"RDMSR", "absent", 2, {0x0f, 0x32}, FORM_PROTECTED, set_absent_msr, NULL},
    {"WRMSR", "wrmsr", 2, {0x0f, 0x30}, FORM_CPL0, set_wrmsr, expect_wrmsr},
    {"WRMSR", "absent", 2, {0x0f, 0x30}, FORM_PROTECTED, set_absent_msr, NULL},
    {"MWAIT", "mwait", 3, {0x0f, 0x01, 0xc9}, FORM_UNDEFINED | FORM_MONITOR, NULL, NULL},
    {"MONITOR", "monitor", 3, {0x0f, 0x01, 0xc8}, FORM_UNDEFINED | FORM_MONITOR, NULL, NULL},
    {"EPT_VIOLATION",
     "load",
     2,
     {0x8a, 0x03},
     FORM_MEMORY(1) | DEVICE | FORM_EDGE,
     set_load,
     expect_load},
    {"EPT_VIOLATION", "store", 2, {0x88, 0x03}, FORM_MEMORY(1) | DEVICE | FORM_EDGE, NULL, NULL},
    {"EPT_VIOLATION",
     "compare",
     2,
     {0x3a, 0x03},
     FORM_MEMORY(1) | DEVICE,
     set_compare,
     expect_equal_flags},
    {"INVEPT", "invept", 5, {0x66, 0x0f, 0x38, 0x80, 0x0b}, VMX | MEMORY4, NULL, NULL},
    {"INVVPID", "invvpid", 5, {0x66, 0x0f, 0x38, 0x81, 0x0b}, VMX | MEMORY4, NULL, NULL},
    {"WBINVD_OR_WBNOINVD", "wbinvd", 2, {0x0f, 0x09}, FORM_CPL0, NULL, NULL},
    {"WBINVD_OR_WBNOINVD",
     "wbnoinvd",
     3,
     {0xf3, 0x0f, 0x09},
     FORM_CPL0 | FORM_LOCKABLE,
     NULL,
     NULL},
    {"XSETBV",
     "xsetbv",
     3,
     {0x0f, 0x01, 0xd1},
     FORM_CPL0 | FORM_OSXSAVE,
     set_xsetbv,
     expect_xsetbv},
    {"XSETBV",
     "refused",
     3,
     {0x0f, 0x01, 0xd1},
     FORM_PROTECTED | FORM_OSXSAVE,
     set_xsetbv_bad,
     NULL},
    {"VMFUNC", "vmfunc", 3, {0x0f, 0x01, 0xd4}, FORM_UNDEFINED, NULL, NULL},
};
const unsigned exits_form_count = ARRAY_SIZE(exits_forms);

struct exits_outcome exits_outcome(const struct exits_form *form, environment *env)
{
    bool is_denied = form->flags & FORM_CPL0 || form->flags & FORM_IOPL0;
    if (form->flags & FORM_UNDEFINED || (form->flags & FORM_HYPERCALL && !exits_has_monitor()))
        return (struct exits_outcome){VECTOR_UD, 0};
    if (form->flags & FORM_PROTECTED || (is_denied && env->cpl != 0))
        return (struct exits_outcome){VECTOR_GP, 0};
    if (form->flags & FORM_ALIGNED)
        return (struct exits_outcome){VECTOR_AC, 0};
    return (struct exits_outcome){NO_EVENT, 0};
}

void exits_encode(const struct exits_form *form, environment *env, uint8_t *bytes)
{
    unsigned modrm = form->flags >> 8 & 0xf;
    for (unsigned i = 0; i < form->length; i++)
        bytes[i] = form->bytes[i];
    if (modrm != 0 && env->bits == BITS_16)
        bytes[modrm] |= 7; /* [BX] */
}

/* Random MSRs and ports: RDMSR, WRMSR, IN, OUT, INS, OUTS of every size, with and without REP, at
 * ring 0 and 3, in 64-bit and 32-bit code, with interrupts on. */
#include "tests/guests/fuzz/guest.h"

#define INT3 0xcc
#define CODE ((uint8_t *)(uintptr_t)HIGH_CODE)

/* MSRs that the architecture or a hypervisor knows, as starting points. */
static const uint32_t known_msrs[] = {
    0x10,       0x11,       0x12,       0x17,       0x1b,       0x3a,       0x3b,       0x48,
    0x49,       0x79,       0x8b,       0x9b,       0xce,       0xe7,       0xfe,       0x10a,
    0x10b,      0x122,      0x174,      0x175,      0x176,      0x179,      0x17a,      0x198,
    0x1a0,      0x1d9,      0x1db,      0x200,      0x20f,      0x250,      0x268,      0x277,
    0x2ff,      0x38d,      0x38f,      0x400,      0x480,      0x48b,      0x491,      0x4e0,
    0x560,      0x6a0,      0x6a4,      0x6e0,      0x800,      0x802,      0x808,      0x80b,
    0x80f,      0x830,      0x832,      0x838,      0x83e,      0x83f,      0x8ff,      0xd90,
    0xda0,      0x1fff,     0x2000,     0x40000000, 0x4b564d00, 0xbfffffff, 0xc0000080, 0xc0000081,
    0xc0000082, 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103, 0xc0001fff, 0xc0002000,
    0xc0010015, 0xc0010114};

static const uint16_t known_ports[] = {
    0x20,  0x21,  0xa0,  0xa1,  0x40,  0x41,  0x42,   0x43,  0x60,  0x61,  0x64,
    0x70,  0x71,  0x72,  0x73,  0x80,  0x92,  0xb2,   0xb3,  0xcd,  0x2f8, 0x3f8,
    0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff,  0x4d0, 0x4d1, 0x600, 0x602,
    0x604, 0x605, 0x608, 0x620, 0x622, 0xcf8, 0xcf9,  0xcfa, 0xcfb, 0xcfc, 0xcfd,
    0xcfe, 0xcff, 0xc00, 0xf4,  0x0,   0x1f0, 0x8900, 0xe9,  0xffff};

static uint32_t random_msr(void)
{
    switch (random_below(6)) {
    case 0:
        return random_below(0x2000);
    case 1:
        return 0xc0000000u + random_below(0x2000);
    case 2:
        return 0x800 + random_below(0x100);
    case 3:
        return (uint32_t)random_value();
    default:
        return PICK(known_msrs);
    }
}

static uint16_t random_port(void)
{
    switch (random_below(8)) {
    case 0:
        return (uint16_t)random64();
    case 1:
        return (uint16_t)(PICK(known_ports) + random_below(8) - 4);
    case 2:
        return (uint16_t)(0x600 + random_below(0x24));
    case 3:
        return (uint16_t)(0xcfc + random_below(4));
    default:
        return PICK(known_ports);
    }
}

/* What would end the run, or the record of it. */
static bool is_spared(uint16_t port)
{
    return port >= DEBUG_EXIT - 4 && port < DEBUG_EXIT + 4;
}

static void msr_case(struct context *context)
{
    uint64_t value = random_value();
    CODE[0] = 0x0f;
    CODE[1] = one_in(2) ? 0x30 : 0x32;
    CODE[2] = INT3;
    context->gpr[RCX] = random_msr();
    context->gpr[RAX] = value;
    context->gpr[RDX] = value >> 32;
    if (one_in(4))
        context->gpr[RCX] |= random64() << 32;
}

/* How far REP goes: mostly little, at times as far as the watchdog lets it. */
static uint64_t random_count(void)
{
    return one_in(64) ? random_value() : random_below(24);
}

static void port_case(struct context *context)
{
    static const uint8_t opcodes[] = {0xec, 0xed, 0xee, 0xef, 0x6c, 0x6d, 0x6e, 0x6f};
    unsigned at = 0;
    uint16_t port = random_port();
    while (is_spared(port))
        port = random_port();
    if (one_in(4))
        CODE[at++] = 0x66;
    if (one_in(3))
        CODE[at++] = one_in(3) ? 0xf2 : 0xf3;
    if (one_in(16))
        CODE[at++] = 0x67;
    CODE[at++] = PICK(opcodes);
    CODE[at] = INT3;
    context->gpr[RAX] = random_value();
    context->gpr[RDX] = port | (one_in(8) ? random64() << 16 : 0);
    context->gpr[RCX] = random_count();
    context->gpr[RSI] = random_address();
    context->gpr[RDI] = random_address();
    if (one_in(8))
        context->rflags |= 0x400; /* DF */
}

/* Ring 3 with and without IOPL; 32-bit code. */
static void change_privilege(struct context *context)
{
    bool is_32bit = one_in(4);
    if (one_in(4)) {
        context->cs = is_32bit ? SEL_USER_CODE32 : SEL_USER_CODE64;
        context->ss = SEL_USER_DATA;
        context->rflags |= one_in(2) ? 0x3000 : 0;
    } else if (is_32bit) {
        context->cs = SEL_CODE32;
    }
    if (one_in(8))
        context->rflags |= RFLAGS_TF;
}

/* Where the fuzzing has turned off what the guest lives by: its watchdog, and its IDT's vectors. */
static void repair(void)
{
    lapic_repair();
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
}

static void step(void)
{
    struct context context;
    struct ended ended;
    context_clear(&context, MODE_LONG);
    context.rflags |= RFLAGS_IF;
    bool is_msr = one_in(2);
    if (is_msr)
        msr_case(&context);
    else
        port_case(&context);
    change_privilege(&context);
    context_run(&context, MODE_LONG, 0, &ended);
    uint16_t port = (uint16_t)context.gpr[RDX];
    if (is_msr ? (uint32_t)context.gpr[RCX] == 0x1b : one_in(16))
        repair();
    if (is_msr)
        return;
    if (port >= 0x6c && port < 0x74)
        life_save();
    if ((port >= 0x3c && port < 0x44) || (port >= 0x6c && port < 0x71))
        watchdog_start();
}

static void prepare(void)
{
    watchdog_start();
}

static const struct fuzzer fuzzer = {"fuzz_msr_port", 4000, prepare, step};

void guest_main(void)
{
    fuzz(&fuzzer);
}

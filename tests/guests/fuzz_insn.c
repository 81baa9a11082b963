/* Random instructions in every mode and at rings 0 and 3: bytes of no plan, those that exit, and
 * those that touch devices, with random registers, prefixes and flags, mostly a step at a time.
 * What becomes of it, a fault, a crash or a stop by the monitor, is as it may be. */
#include "tests/guests/fuzz/guest.h"

#define INT3 0xcc
#define LENGTH_MAX 64

struct text {
    uint8_t byte[LENGTH_MAX];
    unsigned length;
};

static void add(struct text *text, uint8_t byte)
{
    if (text->length < LENGTH_MAX)
        text->byte[text->length++] = byte;
}

static void add_bytes(struct text *text, const uint8_t *bytes, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        add(text, bytes[i]);
}

static void add_random(struct text *text, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        add(text, (uint8_t)random64());
}

/* ---- Instructions ---------------------------------------------------------------------------- */

/* Without operands, or with those given: all that exits, changes privilege or has a say in it. */
static const struct {
    uint8_t length;
    uint8_t byte[4];
} plain[] = {
    {2, {0x0f, 0xa2}},
    {1, {0xf4}},
    {2, {0x0f, 0x08}},
    {2, {0x0f, 0x09}},
    {3, {0xf3, 0x0f, 0x09}},
    {2, {0x0f, 0x31}},
    {2, {0x0f, 0x33}},
    {2, {0x0f, 0x32}},
    {2, {0x0f, 0x30}},
    {2, {0x0f, 0xaa}},
    {2, {0x0f, 0x37}},
    {2, {0x0f, 0x34}},
    {2, {0x0f, 0x35}},
    {2, {0x0f, 0x05}},
    {2, {0x0f, 0x07}},
    {3, {0x48, 0x0f, 0x07}},
    {2, {0x0f, 0x0b}},
    {2, {0x0f, 0xb9}},
    {2, {0x0f, 0xff}},
    {2, {0x0f, 0x06}},
    {3, {0x0f, 0x01, 0xc1}},
    {3, {0x0f, 0x01, 0xc2}},
    {3, {0x0f, 0x01, 0xc3}},
    {3, {0x0f, 0x01, 0xc4}},
    {3, {0x0f, 0x01, 0xc5}},
    {3, {0x0f, 0x01, 0xc8}},
    {3, {0x0f, 0x01, 0xc9}},
    {3, {0x0f, 0x01, 0xca}},
    {3, {0x0f, 0x01, 0xcb}},
    {3, {0x0f, 0x01, 0xcf}},
    {3, {0x0f, 0x01, 0xd1}},
    {3, {0x0f, 0x01, 0xd0}},
    {3, {0x0f, 0x01, 0xd1}},
    {3, {0x0f, 0x01, 0xd4}},
    {3, {0x0f, 0x01, 0xd5}},
    {3, {0x0f, 0x01, 0xd6}},
    {3, {0x0f, 0x01, 0xd7}},
    {3, {0x0f, 0x01, 0xd8}},
    {3, {0x0f, 0x01, 0xd9}},
    {3, {0x0f, 0x01, 0xda}},
    {3, {0x0f, 0x01, 0xdd}},
    {3, {0x0f, 0x01, 0xf8}},
    {3, {0x0f, 0x01, 0xf9}},
    {3, {0x0f, 0x01, 0xfa}},
    {3, {0x0f, 0x01, 0xee}},
    {1, {0xec}},
    {1, {0xed}},
    {1, {0xee}},
    {1, {0xef}},
    {1, {0x6c}},
    {1, {0x6d}},
    {1, {0x6e}},
    {1, {0x6f}},
    {2, {0xf3, 0x6d}},
    {2, {0xf3, 0x6e}},
    {1, {0xcc}},
    {1, {0xf1}},
    {1, {0xce}},
    {1, {0xcf}},
    {2, {0x48, 0xcf}},
    {1, {0xfa}},
    {1, {0xfb}},
    {1, {0x9c}},
    {1, {0x9d}},
    {2, {0xf3, 0x90}},
    {1, {0xcb}},
    {1, {0xf0}},
    {1, {0x17}},
    {1, {0x1f}},
    {1, {0x07}},
    {2, {0x0f, 0x77}},
    {3, {0x0f, 0xae, 0xe8}},
    {1, {0x9b}},
    {1, {0xa4}},
    {1, {0xa5}},
    {1, {0xaa}},
    {1, {0xab}},
    {1, {0xac}},
    {1, {0xad}},
    {1, {0xae}},
    {1, {0xaf}},
    {1, {0xa6}},
    {1, {0xa7}},
    {2, {0xf3, 0xa5}},
    {2, {0xf3, 0xab}},
    {2, {0xf2, 0xae}},
    {2, {0xf3, 0xa6}},
};

/* Opcodes with a ModRM byte: those that the emulator knows, with operands in devices; */
static const uint8_t device_byte[] = {
    0x00, 0x01, 0x02, 0x03, 0x08, 0x09, 0x0a, 0x0b, 0x10, 0x11, 0x13, 0x18, 0x19,
    0x1b, 0x20, 0x21, 0x23, 0x28, 0x29, 0x2b, 0x30, 0x31, 0x33, 0x38, 0x39, 0x3a,
    0x3b, 0x80, 0x81, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0x8f,
    0xc0, 0xc1, 0xc6, 0xc7, 0xd0, 0xd1, 0xd2, 0xd3, 0xf6, 0xf7, 0xfe, 0xfe};
static const uint8_t device_0f[] = {0x0d, 0x18, 0x1f, 0x40, 0x4f, 0x90, 0x9f, 0xa3,
                                    0xab, 0xb0, 0xb1, 0xb3, 0xb6, 0xb7, 0xba, 0xba,
                                    0xbb, 0xbe, 0xbf, 0xc0, 0xc1, 0xc7};
/* and the others, which may stop a guest there, so that their operands are mostly RAM. */
static const uint8_t other_byte[] = {0x62, 0x63, 0x69, 0x6b, 0x8c, 0x8d, 0x8e,
                                     0xc4, 0xc5, 0xd8, 0xd9, 0xdd, 0xff, 0xff};
static const uint8_t other_0f[] = {0x00, 0x01, 0x01, 0x02, 0x03, 0x10, 0x11, 0x20, 0x20,
                                   0x21, 0x22, 0x23, 0x28, 0x29, 0x6e, 0x6f, 0x78, 0x79,
                                   0x7e, 0x7f, 0xa4, 0xa5, 0xac, 0xad, 0xae, 0xaf, 0xb2,
                                   0xb4, 0xb5, 0xb8, 0xbc, 0xbd, 0xc2, 0xc7, 0xe7};

static void add_modrm(struct text *text)
{
    uint8_t modrm = (uint8_t)random64();
    if (one_in(2))
        modrm &= 0x3f; /* memory, mostly by one register */
    add(text, modrm);
    add_random(text,
               random_below(10)); /* SIB, displacement, immediate: what is left over follows */
}

static void add_prefixes(struct text *text, bool is_64bit)
{
    static const uint8_t prefixes[] = {0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e,
                                       0x36, 0x3e, 0x26, 0x64, 0x65};
    while (one_in(4))
        add(text, PICK(prefixes));
    if (is_64bit && one_in(3))
        add(text, (uint8_t)(0x40 | random_below(16)));
}

/* Far transfers by immediate, also to task gates and TSSs. */
static void add_far(struct text *text)
{
    static const uint16_t selectors[] = {0,    8,    0x10, 0x18, 0x20, 0x28, 0x33,  0x3b,
                                         0x43, 0x48, 0x58, 0x60, 0x68, 0x70, 0xfff8};
    uint16_t selector = PICK(selectors);
    add(text, one_in(2) ? 0xea : 0x9a);
    add_random(text, one_in(4) ? 2 : 4);
    add(text, (uint8_t)selector);
    add(text, (uint8_t)(selector >> 8));
}

/* Returns whether devices are no place for its operands. */
static bool add_other(struct text *text)
{
    static const uint8_t immediate[] = {0xe4, 0xe5, 0xe6, 0xe7, 0xcd, 0xcd, 0xc8, 0xca};
    switch (random_below(5)) {
    case 0:
        add(text, PICK(immediate));
        add_random(text, 2);
        return true;
    case 1:
        add(text, 0x0f);
        add(text, one_in(4) ? 0x3a : 0x38);
        add(text, one_in(2) ? (uint8_t)(0x80 + random_below(3)) : (uint8_t)random64());
        break;
    case 2:
        add(text, PICK(other_byte));
        break;
    default:
        add(text, 0x0f);
        add(text, PICK(other_0f));
    }
    add_modrm(text);
    return true;
}

static bool add_instruction(struct text *text, bool is_64bit)
{
    unsigned kind = random_below(32);
    if (kind == 0) {
        add_far(text);
        return true;
    }
    if (kind < 3) {
        add_random(text, 1 + random_below(15));
        return true;
    }
    add_prefixes(text, is_64bit);
    if (kind < 16) {
        unsigned i = random_below(ARRAY_SIZE(plain));
        add_bytes(text, plain[i].byte, plain[i].length);
        return false;
    }
    if (kind < 22)
        return add_other(text);
    if (kind < 25)
        add(text, 0x0f);
    add(text, kind < 25 ? PICK(device_0f) : PICK(device_byte));
    add_modrm(text);
    return false;
}

/* ---- Contexts -------------------------------------------------------------------------------- */

static const struct {
    enum mode mode;
    uint8_t cs;
    bool is_v86, is_low;
} kinds[] = {
    {MODE_LONG, SEL_CODE64, false, false},
    {MODE_LONG, SEL_CODE64, false, false},
    {MODE_LONG, SEL_CODE64, false, false},
    {MODE_LONG, SEL_USER_CODE64, false, false},
    {MODE_LONG, SEL_USER_CODE64, false, false},
    {MODE_LONG, SEL_CODE32, false, false},
    {MODE_LONG, SEL_USER_CODE32, false, false},
    {MODE_LONG, SEL_CODE16, false, true},
    {MODE_FLAT32, SEL_CODE32, false, false},
    {MODE_FLAT32, SEL_USER_CODE32, false, false},
    {MODE_FLAT32, SEL_CODE16, false, true},
    {MODE_FLAT32, 0, true, true},
    {MODE_PAGED32, SEL_CODE32, false, false},
    {MODE_PAGED32, SEL_USER_CODE32, false, false},
    {MODE_PAGED32, 0, true, true},
    {MODE_PAE, SEL_CODE32, false, false},
    {MODE_PAE, SEL_USER_CODE32, false, false},
    {MODE_PAE, 0, true, true},
    {MODE_REAL, 0, false, true},
    {MODE_REAL, 0, false, true},
};

/* Segments as real mode has them; data away from the code that brings the guest back. */
static void use_paragraphs(struct context *context)
{
    context->rip = LOW_CODE;
    context->cs = LOW_BASE >> 4;
    context->ds = context->es = context->ss = context->fs = context->gs = LOW_DATA >> 4;
    context->rsp = 0xff00;
    if (one_in(8))
        context->es = random_below(0x10000);
}

static void set_mode(struct context *context, unsigned kind)
{
    context_clear(context, kinds[kind].mode);
    if (kinds[kind].is_v86 || kinds[kind].mode == MODE_REAL) {
        use_paragraphs(context);
        if (kinds[kind].is_v86)
            context->rflags |= RFLAGS_VM | (one_in(2) ? 0x3000 : 0);
        return;
    }
    context->cs = kinds[kind].cs;
    if (kinds[kind].is_low) {
        context->rip = LOW_CODE;
        if (one_in(2))
            context->ds = context->es = SEL_DATA16;
    }
    if ((context->cs & 3) == 3) {
        context->ss = context->ds = context->es = SEL_USER_DATA;
        context->rflags |= one_in(2) ? 0x3000 : 0;
    }
}

static uint64_t ram_address(void)
{
    return HIGH_CODE + 0x10000 + random_below(RAM_END - HIGH_CODE - 0x10000);
}

static void set_registers(struct context *context, bool is_tame)
{
    static const uint32_t msrs[] = {0x10,  0x1b,  0x3a,  0x174, 0x1a0,      0x1d9,      0x277,
                                    0x2ff, 0x6e0, 0x802, 0x830, 0xc0000080, 0xc0000082, 0xc0000103};
    static const uint16_t ports[] = {0x20,  0x40,  0x60,  0x64,  0x70,  0x71,  0x80, 0x3f8, 0x3f9,
                                     0x3fd, 0x4d0, 0x604, 0x608, 0xcf8, 0xcfc, 0x21, 0x61};
    for (unsigned i = 0; i < ARRAY_SIZE(context->gpr); i++)
        context->gpr[i] = is_tame && !one_in(32) ? ram_address()
                          : one_in(3)            ? random_value()
                                                 : random_address();
    if (one_in(3))
        context->gpr[RCX] = PICK(msrs);
    else if (one_in(2))
        context->gpr[RCX] = random_below(one_in(2) ? 2 : 32);
    if (one_in(2))
        context->gpr[RDX] = PICK(ports);
    if (one_in(3))
        context->gpr[RAX] = random_below(32);
    context->rflags |= random64() & 0xcd5; /* CF PF AF ZF SF DF OF */
    if (one_in(3))
        context->rflags |= RFLAGS_IF;
    if (one_in(64))
        context->rflags |= 0x44000; /* NT, AC */
}

static void step(void)
{
    struct context context;
    struct ended ended;
    struct text text = {.length = 0};
    unsigned kind = random_below(ARRAY_SIZE(kinds));
    bool is_64bit = kinds[kind].cs == SEL_CODE64 || kinds[kind].cs == SEL_USER_CODE64;
    set_mode(&context, kind);
    bool is_tame = false;
    for (unsigned i = 1 + random_below(3); i > 0; i--)
        is_tame = add_instruction(&text, is_64bit) || is_tame;
    set_registers(&context, is_tame);
    add(&text, INT3);
    uint8_t *code = (uint8_t *)(uintptr_t)(kinds[kind].is_low ? LOW_BASE + LOW_CODE : HIGH_CODE);
    for (unsigned i = 0; i < text.length; i++)
        code[i] = text.byte[i];
    if (!one_in(8))
        context.rflags |= RFLAGS_TF;
    context_run(&context, kinds[kind].mode, 3, &ended);
    lapic_repair();
    if (one_in(4)) {
        __asm__ volatile("mov %0, %%dr7" : : "r"(0x400ull));
        outb(0x21, 0xff);
        outb(0xa1, 0xff);
        watchdog_start();
    }
}

static void prepare(void)
{
}

static const struct fuzzer fuzzer = {"fuzz_insn", 3000, prepare, step};

void guest_main(void)
{
    fuzz(&fuzzer);
}

/* The emulator where the native comparison does not reach: segments, faults, repetition, ports,
 * 16- and 32-bit modes, rivals for a locked operand. */
#include "kernel/vm/emulate.h"
#include "tests/check.h"

#define MEMORY_SIZE 0x20000u

static uint8_t memory[MEMORY_SIZE];
static uint64_t gpr[GPR_COUNT];
static struct emulate_state state;
static struct exception exception;
static enum status status;

/* What the doubles of memory and ports saw, and how they are to behave. */
static struct {
    uint64_t fault_at; /* a linear address that faults */
    unsigned loads, stores, exchanges, prepared;
    unsigned rival; /* that many compare_exchange lose */
    unsigned last_size;
    uint64_t last_linear;
    unsigned port_reads, port_writes, port_checks;
    uint16_t port;
    uint64_t port_value;
    bool port_refused;
} seen;

static enum status touch(uint64_t linear, unsigned size, struct exception *out)
{
    seen.last_linear = linear;
    seen.last_size = size;
    if (seen.fault_at >= linear && seen.fault_at < linear + size) {
        *out = (struct exception){.vector = VECTOR_PF, .has_error_code = true, .cr2 = linear};
        return ERR_FAULT;
    }
    return linear <= MEMORY_SIZE - size ? STATUS_OK : ERR_RANGE;
}

static enum status fake_load(void *context, uint64_t linear, unsigned size, bool modify,
                             uint64_t *value, struct exception *out)
{
    enum status result = touch(linear, size, out);
    (void)context, (void)modify;
    seen.loads++;
    value[0] = 0;
    if (result == STATUS_OK)
        memcpy(value, memory + linear, size);
    return result;
}

static enum status fake_store(void *context, uint64_t linear, unsigned size, const uint64_t *value,
                              struct exception *out)
{
    enum status result = touch(linear, size, out);
    (void)context;
    seen.stores++;
    if (result == STATUS_OK)
        memcpy(memory + linear, value, size);
    return result;
}

static enum status fake_compare_exchange(void *context, uint64_t linear, unsigned size,
                                         const uint64_t *expected, const uint64_t *desired,
                                         bool *swapped, struct exception *out)
{
    enum status result = touch(linear, size, out);
    (void)context;
    seen.exchanges++;
    *swapped = false;
    if (result == STATUS_OK && seen.rival > 0) {
        seen.rival--;
        memory[linear]++;
    }
    if (result == STATUS_OK && memcmp(memory + linear, expected, size) == 0) {
        memcpy(memory + linear, desired, size);
        *swapped = true;
    }
    return result;
}

static enum status fake_prepare(void *context, uint64_t linear, unsigned size, bool write,
                                struct exception *out)
{
    (void)context, (void)write;
    seen.prepared++;
    return touch(linear, size, out);
}

static enum status fake_check(void *context, uint16_t port, unsigned size, struct exception *out)
{
    (void)context, (void)port, (void)size;
    seen.port_checks++;
    *out = (struct exception){.vector = VECTOR_GP, .has_error_code = true};
    return seen.port_refused ? ERR_FAULT : STATUS_OK;
}

static enum status fake_in(void *context, uint16_t port, unsigned size, uint64_t *value)
{
    (void)context;
    seen.port_reads++;
    seen.port = port;
    *value = (0x11223344 + seen.port_reads) & bits_size_mask(size);
    return STATUS_OK;
}

static enum status fake_out(void *context, uint16_t port, unsigned size, uint64_t value)
{
    (void)context;
    (void)size;
    seen.port_writes++;
    seen.port = port;
    seen.port_value = value;
    return STATUS_OK;
}

static const struct emulate_ops ops = {.load = fake_load,
                                       .store = fake_store,
                                       .compare_exchange = fake_compare_exchange,
                                       .prepare = fake_prepare,
                                       .check_port = fake_check,
                                       .port_in = fake_in,
                                       .port_out = fake_out};

static void begin(unsigned code_size)
{
    memset(memory, 0, sizeof(memory));
    memset(gpr, 0, sizeof(gpr));
    memset(&seen, 0, sizeof(seen));
    seen.fault_at = UINT64_MAX;
    state = (struct emulate_state){.gpr = gpr,
                                   .rip = 0x100,
                                   .rflags = RFLAGS_FIXED,
                                   .cr0 = CR0_PE,
                                   .code_size = (uint8_t)code_size};
    for (unsigned i = 0; i <= SEG_GS; i++)
        state.segment[i] = (struct segment){
            .limit = 0xffffffff, .access = 0x93 | (code_size == 2 ? 0 : SEGMENT_DB), .selector = 8};
    state.segment[SEG_CS].access = 0x9b;
}

/* 16-bit real-address mode. */
static void begin_real(void)
{
    begin(2);
    state.cr0 = 0;
    for (unsigned i = 0; i <= SEG_GS; i++)
        state.segment[i].limit = 0xffff;
}

static enum emulate_result run(const char *hex)
{
    uint8_t bytes[16];
    unsigned count = 0, value;
    int used;
    struct instruction instruction;
    for (; sscanf(hex, " %2x%n", &value, &used) == 1; hex += used)
        bytes[count++] = (uint8_t)value;
    memset(&exception, 0, sizeof(exception));
    CHECK_EQ(decode_instruction(bytes, count, state.code_size, &instruction, &exception),
             STATUS_OK);
    return emulate_instruction(&state, &instruction, &ops, NULL, &exception, &status);
}

#define CHECK_DONE(hex) CHECK_EQ(run(hex), EMULATE_DONE)

static void check_fault(const char *hex, unsigned vector, bool has_error_code)
{
    uint64_t before[GPR_COUNT];
    struct emulate_state old = state;
    memcpy(before, gpr, sizeof(gpr));
    CHECK_EQ(run(hex), EMULATE_FAULT);
    CHECK_EQ(status, ERR_FAULT);
    CHECK_EQ(exception.vector, vector);
    CHECK_EQ(exception.has_error_code, has_error_code);
    CHECK_EQ(exception.error_code, 0);
    CHECK_EQ(state.rip, old.rip);
    CHECK_EQ(state.rflags, old.rflags);
    CHECK(memcmp(before, gpr, sizeof(gpr)) == 0);
}

static void put(uint64_t at, uint64_t value, unsigned size)
{
    memcpy(memory + at, &value, size);
}

static uint64_t get(uint64_t at, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, memory + at, size);
    return value;
}

static void limits(void)
{
    begin(4);
    state.segment[SEG_DS].limit = 0x1003;
    gpr[GPR_RBX] = 0x1000;
    CHECK_DONE("8b 03");
    gpr[GPR_RBX] = 0x1001;
    check_fault("8b 03", VECTOR_GP, true);
    check_fault("89 03", VECTOR_GP, true);
    check_fault("01 03", VECTOR_GP, true);
    CHECK_DONE("66 8b 03");
    gpr[GPR_RBX] = 0xffffffff;
    state.segment[SEG_DS].limit = 0xffffffff;
    check_fault("8b 03", VECTOR_GP, true); /* would wrap */
    CHECK_EQ(seen.loads, 2);
    state.segment[SEG_SS].limit = 0x1003;
    gpr[GPR_RBP] = 0x1001;
    check_fault("8b 45 00", VECTOR_SS, true);
    check_fault("36 8b 03", VECTOR_SS, true);
    state.cr0 = 0; /* real-address mode pushes no error code */
    check_fault("8b 45 00", VECTOR_SS, false);
    check_fault("8b 03", VECTOR_GP, false);
}

static void expand_down_segments(void)
{
    begin(4);
    state.segment[SEG_DS].access = 0x97 | SEGMENT_DB;
    state.segment[SEG_DS].limit = 0xfff;
    gpr[GPR_RBX] = 0xfff;
    check_fault("8a 03", VECTOR_GP, true);
    gpr[GPR_RBX] = 0x1000;
    CHECK_DONE("8b 03");
    gpr[GPR_RBX] = 0x10000;
    CHECK_DONE("8b 03");
    state.segment[SEG_DS].access = 0x97; /* 16 bits: up to FFFF */
    check_fault("8a 03", VECTOR_GP, true);
    gpr[GPR_RBX] = 0xfffd;
    check_fault("8b 03", VECTOR_GP, true);
    gpr[GPR_RBX] = 0xfffc;
    CHECK_DONE("8b 03");
    state.segment[SEG_DS].limit = 0xffffffff; /* then nothing is inside */
    check_fault("8b 03", VECTOR_GP, true);
}

static void types(void)
{
    begin(4);
    state.segment[SEG_DS].access = 0x91 | SEGMENT_DB; /* read-only */
    CHECK_DONE("8b 03");
    CHECK_DONE("39 03"); /* CMP and TEST and BT only read */
    CHECK_DONE("85 03");
    CHECK_DONE("0f a3 03");
    check_fault("89 03", VECTOR_GP, true);
    check_fault("01 03", VECTOR_GP, true);
    check_fault("f0 0f b1 03", VECTOR_GP, true);
    check_fault("0f c7 0b", VECTOR_GP, true);
    CHECK_DONE("aa"); /* STOS uses ES */
    state.segment[SEG_ES].access = 0x91 | SEGMENT_DB;
    check_fault("aa", VECTOR_GP, true);
}

static void code_segments_and_unusable_ones(void)
{
    begin(4);
    CHECK_DONE("2e 8b 03");
    check_fault("2e 89 03", VECTOR_GP, true);
    state.segment[SEG_CS].access = 0x99; /* execute-only */
    check_fault("2e 8b 03", VECTOR_GP, true);
    state.segment[SEG_DS].access = SEGMENT_UNUSABLE;
    check_fault("8b 03", VECTOR_GP, true);
    state.segment[SEG_SS].access |= SEGMENT_UNUSABLE;
    check_fault("8b 04 24", VECTOR_SS, true);
    /* Virtual-8086 and real-address mode know no types. */
    state.rflags |= RFLAGS_VM;
    CHECK_DONE("2e 89 03");
    begin_real();
    CHECK_DONE("2e 89 07");
}

static void sixty_four_bit_mode_ignores_segments(void)
{
    begin(8);
    for (unsigned i = 0; i <= SEG_GS; i++)
        state.segment[i] = (struct segment){.base = 0x1000, .access = SEGMENT_UNUSABLE};
    gpr[GPR_RBX] = 0x2000;
    put(0x2000, 0x1234, 4);
    put(0x3000, 0x5678, 4);
    CHECK_DONE("8b 03");
    CHECK_EQ(gpr[GPR_RAX], 0x1234);
    CHECK_DONE("64 8b 03");
    CHECK_EQ(gpr[GPR_RAX], 0x5678);
    state.segment[SEG_GS].base = -0x1000ull;
    gpr[GPR_RBX] = 0x3000;
    CHECK_DONE("65 8b 03");
    CHECK_EQ(gpr[GPR_RAX], 0x1234);
}

static void canonical_addresses(void)
{
    begin(8);
    gpr[GPR_RBX] = 0x800000000000;
    check_fault("8b 03", VECTOR_GP, true);
    gpr[GPR_RBX] = 0x7ffffffffffd;
    check_fault("8b 03", VECTOR_GP, true);
    CHECK_EQ(run("8a 03"), EMULATE_UNSUPPORTED); /* canonical; the double has no memory there */
    CHECK_EQ(status, ERR_RANGE);
    gpr[GPR_RBX] = 0xffff7fffffffffff;
    check_fault("8b 03", VECTOR_GP, true);
    gpr[GPR_RBP] = 0x8000000000000000;
    check_fault("8b 45 00", VECTOR_SS, true);
    check_fault("3e 8b 45 00", VECTOR_SS, true);
    gpr[GPR_RSP] = 0x8000000000000000;
    gpr[GPR_RBX] = 0x100;
    check_fault("ff 33", VECTOR_SS, true);
    check_fault("8f 03", VECTOR_SS, true);
    gpr[GPR_RDI] = 0x8000000000000000;
    check_fault("aa", VECTOR_GP, true);
    CHECK_DONE("f3 aa"); /* RCX is zero: nothing is touched */
}

static void offsets_wrap(void)
{
    begin_real();
    state.segment[SEG_DS].base = 0x10000;
    gpr[GPR_RBX] = 0xabcdfff0;
    gpr[GPR_RSI] = 0x12340020;
    put(0x10010, 0x77, 1);
    CHECK_DONE("8a 00"); /* BX + SI = 10010, cut to 16 bits */
    CHECK_EQ(gpr[GPR_RAX], 0x77);
    CHECK_DONE("8a 47 20");
    CHECK_EQ(gpr[GPR_RAX], 0x77);
    gpr[GPR_RBX] = 0xffff;
    check_fault("8b 07", VECTOR_GP, false); /* two bytes at FFFF */
    begin(4);
    state.segment[SEG_DS].base = 0xfffff000; /* linear addresses wrap at 4 GBytes */
    gpr[GPR_RBX] = 0x2000;
    put(0x1000, 0x55, 1);
    CHECK_DONE("8a 03");
    CHECK_EQ(gpr[GPR_RAX], 0x55);
    begin(8);
    gpr[GPR_RBX] = 0xdead00001000; /* a 32-bit address in 64-bit mode */
    gpr[GPR_RAX] = ~0ull;
    put(0x1000, 0x99, 4);
    CHECK_DONE("67 8b 03");
    CHECK_EQ(gpr[GPR_RAX], 0x99);
}

static void instruction_pointer_moves(void)
{
    begin(8);
    state.rip = 0x10000 - 10;
    CHECK_DONE("c6 05 10 00 00 00 5a"); /* RIP-relative from the end, immediate included */
    CHECK_EQ(get(0x10000 - 10 + 7 + 0x10, 1), 0x5a);
    CHECK_EQ(state.rip, 0x10000 - 3);
    state.rip = 0x7fffffffffff;
    CHECK_DONE("8a 03");
    CHECK_EQ(state.rip, 0x800000000001); /* for the caller to find */
    begin(4);
    state.rip = 0xffffffff;
    CHECK_DONE("8a 03");
    CHECK_EQ(state.rip, 1);
}

static void alignment_check(void)
{
    begin(8);
    state.cpl = 3;
    state.cr0 |= CR0_AM;
    state.rflags |= RFLAGS_AC;
    gpr[GPR_RBX] = 0x1001;
    check_fault("8b 03", VECTOR_AC, true);
    check_fault("66 89 03", VECTOR_AC, true);
    CHECK_DONE("8a 03");
    gpr[GPR_RBX] = 0x1004;
    CHECK_DONE("8b 03");
    check_fault("48 8b 03", VECTOR_AC, true);
    gpr[GPR_RSP] = 0x2004;
    check_fault("ff 33", VECTOR_AC, true);
    gpr[GPR_RBX] = 0x1001;
    state.cpl = 2;
    CHECK_DONE("8b 03");
    state.cpl = 3;
    state.cr0 &= ~CR0_AM;
    CHECK_DONE("8b 03");
    state.cr0 |= CR0_AM;
    state.rflags &= ~RFLAGS_AC;
    CHECK_DONE("8b 03");
    gpr[GPR_RBX] = 0x1008;
    check_fault("48 0f c7 0b", VECTOR_GP, true); /* CMPXCHG16B checks of its own */
    state.rflags |= RFLAGS_AC;
    state.cpl = 3;
    check_fault("48 0f c7 0b", VECTOR_GP, true); /* before the alignment check */
}

/* A fault of any part of an instruction leaves everything as it was. */
static void faults_change_nothing(void)
{
    static const char *const forms[] = {"8b 03",    "89 03",       "01 03",
                                        "03 03",    "f0 01 03",    "87 03",
                                        "0f c1 03", "0f b1 03",    "f0 0f b1 03",
                                        "0f c7 0b", "ff 33",       "8f 03",
                                        "0f b6 03", "0f ab 03",    "d1 23",
                                        "f7 1b",    "ff 03",       "0f 94 03",
                                        "0f 44 03", "0f 38 f0 03", "c7 03 01 00 00 00"};
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        begin(8);
        memset(memory, 0x5a, sizeof(memory));
        for (unsigned r = 0; r < GPR_COUNT; r++)
            gpr[r] = 0x1111111111111111ull * r;
        gpr[GPR_RBX] = 0x1000;
        gpr[GPR_RSP] = 0x2000;
        state.rflags |= RFLAGS_ZF | RFLAGS_CF;
        seen.fault_at = 0x1000;
        check_fault(forms[i], VECTOR_PF, true);
        CHECK_EQ(exception.cr2, 0x1000);
        for (unsigned at = 0; at < MEMORY_SIZE; at++)
            CHECK(memory[at] == 0x5a);
    }
    begin(8); /* the stack's half of PUSH and POP */
    gpr[GPR_RBX] = 0x1000;
    gpr[GPR_RSP] = 0x2000;
    seen.fault_at = 0x1ff8;
    check_fault("ff 33", VECTOR_PF, true);
    seen.fault_at = 0x2000;
    check_fault("8f 03", VECTOR_PF, true);
}

static void stack(void)
{
    begin_real();
    state.segment[SEG_SS].base = 0x10000;
    gpr[GPR_RSP] = 0xabcd0000; /* SP = 0 wraps, the upper half stays */
    gpr[GPR_RBX] = 0x40;
    put(0x40, 0xbeef, 2);
    CHECK_DONE("ff 37");
    CHECK_EQ(gpr[GPR_RSP], 0xabcdfffe);
    CHECK_EQ(get(0x1fffe, 2), 0xbeef);
    CHECK_DONE("8f 47 02");
    CHECK_EQ(gpr[GPR_RSP], 0xabcd0000);
    CHECK_EQ(get(0x42, 2), 0xbeef);
    begin(4);
    gpr[GPR_RSP] = 0x1004;
    put(0x1004, 0x11223344, 4);
    CHECK_DONE("8f 04 24"); /* POP [ESP] writes where ESP points afterwards */
    CHECK_EQ(gpr[GPR_RSP], 0x1008);
    CHECK_EQ(get(0x1008, 4), 0x11223344);
    CHECK_DONE("ff 74 24 00"); /* PUSH [ESP] reads where it pointed before */
    CHECK_EQ(gpr[GPR_RSP], 0x1004);
    CHECK_EQ(get(0x1004, 4), 0x11223344);
    state.segment[SEG_SS].access &= ~(uint32_t)SEGMENT_DB; /* 32-bit code on a 16-bit stack */
    gpr[GPR_RSP] = 0x51002;
    CHECK_DONE("ff 33");
    CHECK_EQ(gpr[GPR_RSP], 0x50ffe);
}

static void locked_operands_have_rivals(void)
{
    begin(8);
    gpr[GPR_RBX] = 0x1000;
    gpr[GPR_RAX] = 0x10;
    put(0x1000, 5, 4);
    seen.rival = 3;
    CHECK_DONE("f0 01 03");
    CHECK_EQ(get(0x1000, 4), 0x18);
    CHECK_EQ(seen.exchanges, 4);
    CHECK_EQ(seen.stores, 0);
    CHECK_DONE("87 03"); /* XCHG locks by itself */
    CHECK_EQ(seen.exchanges, 5);
    CHECK_EQ(gpr[GPR_RAX], 0x18);
    /* A rival that never tires: the instruction is entered again later, unchanged. */
    seen.rival = 1000000;
    gpr[GPR_RAX] = 0x10;
    CHECK_EQ(run("f0 0f c1 03"), EMULATE_AGAIN);
    CHECK_EQ(gpr[GPR_RAX], 0x10);
    CHECK_EQ(state.rip, 0x105);
    CHECK_EQ(run("48 0f c7 0b"), EMULATE_AGAIN);
    CHECK(seen.exchanges <= 200);
}

static void compare_exchange_writes_back(void)
{
    begin(8);
    gpr[GPR_RBX] = 0x1000;
    put(0x1000, 7, 4);
    CHECK_DONE("0f b1 0b"); /* not equal: the old value is written */
    CHECK_EQ(seen.stores, 1);
    CHECK_EQ(gpr[GPR_RAX], 7);
    CHECK_EQ(state.rflags & RFLAGS_ZF, 0);
    CHECK_DONE("0f c7 0b");
    CHECK_EQ(seen.exchanges, 1);
}

static void repetition(void)
{
    begin(8);
    gpr[GPR_RSI] = 0x1000;
    gpr[GPR_RDI] = 0x2000;
    gpr[GPR_RCX] = 0;
    CHECK_DONE("f3 a5"); /* none */
    CHECK_EQ(seen.loads, 0);
    for (unsigned i = 0; i < 0x800; i++)
        memory[0x1000 + i] = (uint8_t)(i * 7);
    gpr[GPR_RCX] = 600;
    CHECK_EQ(run("f3 a4"), EMULATE_AGAIN);
    CHECK_EQ(gpr[GPR_RCX], 600 - EMULATE_ITERATIONS_MAX);
    CHECK_EQ(gpr[GPR_RSI], 0x1000 + EMULATE_ITERATIONS_MAX);
    CHECK_EQ(gpr[GPR_RDI], 0x2000 + EMULATE_ITERATIONS_MAX);
    CHECK_EQ(state.rip, 0x102);
    CHECK_EQ(run("f3 a4"), EMULATE_AGAIN);
    CHECK_DONE("f3 a4");
    CHECK_EQ(gpr[GPR_RCX], 0);
    CHECK_EQ(state.rip, 0x104);
    CHECK(memcmp(memory + 0x1000, memory + 0x2000, 600) == 0);
    CHECK_EQ(memory[0x2000 + 600], 0);
    /* A count of exactly one portion is done with it. */
    gpr[GPR_RCX] = EMULATE_ITERATIONS_MAX;
    CHECK_DONE("f3 aa");
    /* The trap flag stops after every iteration. */
    state.rflags |= RFLAGS_TF;
    gpr[GPR_RCX] = 2;
    CHECK_EQ(run("f3 aa"), EMULATE_AGAIN);
    CHECK_EQ(gpr[GPR_RCX], 1);
    CHECK_DONE("f3 aa");
}

static void repetition_stops_at_a_fault(void)
{
    begin(8);
    gpr[GPR_RAX] = 0xab;
    gpr[GPR_RDI] = 0x1000;
    gpr[GPR_RCX] = 10;
    seen.fault_at = 0x1004;
    CHECK_EQ(run("f3 aa"), EMULATE_FAULT);
    CHECK_EQ(exception.cr2, 0x1004);
    CHECK_EQ(gpr[GPR_RCX], 6);
    CHECK_EQ(gpr[GPR_RDI], 0x1004);
    CHECK_EQ(state.rip, 0x100);
    seen.fault_at = UINT64_MAX;
    CHECK_DONE("f3 aa");
    CHECK_EQ(gpr[GPR_RDI], 0x100a);
    CHECK_EQ(get(0x1000, 8), 0xabababababababab);
    /* Downwards over the segment's start. */
    begin(4);
    state.rflags |= RFLAGS_DF;
    gpr[GPR_RDI] = 4;
    gpr[GPR_RCX] = 3;
    state.segment[SEG_ES].limit = 0x7;
    CHECK_EQ(run("f3 ab"), EMULATE_FAULT);
    CHECK_EQ(exception.vector, VECTOR_GP);
    CHECK_EQ(gpr[GPR_RCX], 1);
    CHECK_EQ(gpr[GPR_RDI], 0xfffffffc);
}

static void string_registers_wrap_by_address_size(void)
{
    begin_real();
    gpr[GPR_RSI] = 0xaaaaffff;
    gpr[GPR_RDI] = 0xbbbb0010;
    gpr[GPR_RCX] = 0xcccc0002;
    CHECK_DONE("f3 a4");
    CHECK_EQ(gpr[GPR_RSI], 0xaaaa0001);
    CHECK_EQ(gpr[GPR_RDI], 0xbbbb0012);
    CHECK_EQ(gpr[GPR_RCX], 0xcccc0000);
    begin(8);
    gpr[GPR_RSI] = 0xaaaa00001000;
    gpr[GPR_RDI] = 0xbbbb00002000;
    gpr[GPR_RCX] = 0xcccc00000001;
    CHECK_DONE("67 f3 a4");
    CHECK_EQ(gpr[GPR_RSI], 0x1001);
    CHECK_EQ(gpr[GPR_RDI], 0x2001);
    CHECK_EQ(gpr[GPR_RCX], 0);
    /* The override is the source's; the destination stays in ES. */
    begin(4);
    state.segment[SEG_FS].base = 0x4000;
    state.segment[SEG_ES].base = 0x8000;
    gpr[GPR_RSI] = 0x10;
    gpr[GPR_RDI] = 0x20;
    put(0x4010, 0x31, 1);
    CHECK_DONE("64 a4");
    CHECK_EQ(memory[0x8020], 0x31);
}

static void ports(void)
{
    begin(8);
    gpr[GPR_RDX] = 0xffff00001f0;
    gpr[GPR_RDI] = 0x1000;
    gpr[GPR_RCX] = 3;
    CHECK_DONE("f3 6d");
    CHECK_EQ(seen.port, 0x1f0);
    CHECK_EQ(seen.port_reads, 3);
    CHECK_EQ(get(0x1000, 8), 0x1122334611223345);
    CHECK_EQ(gpr[GPR_RDI], 0x100c);
    gpr[GPR_RSI] = 0x1000;
    CHECK_DONE("66 6f");
    CHECK_EQ(seen.port_value, 0x3345);
    CHECK_EQ(gpr[GPR_RSI], 0x1002);
    /* A port is not read for a destination that faults. */
    seen.fault_at = 0x100c;
    check_fault("6d", VECTOR_PF, true);
    CHECK_EQ(seen.port_reads, 3);
    CHECK_EQ(seen.port_checks, 0);
}

static void ports_are_privileged(void)
{
    begin(8);
    gpr[GPR_RDI] = 0x1000;
    seen.port_refused = true;
    state.cpl = 3;
    state.rflags |= 2 << 12;
    check_fault("6d", VECTOR_GP, true);
    check_fault("6f", VECTOR_GP, true);
    CHECK_EQ(seen.port_reads + seen.port_writes, 0);
    state.rflags |= 3 << 12; /* IOPL 3 */
    CHECK_DONE("6d");
    begin(2);
    seen.port_refused = true;
    state.cpl = 3;
    state.rflags |= RFLAGS_VM | 3 << 12; /* virtual-8086 mode asks the bit map all the same */
    check_fault("6d", VECTOR_GP, true);
    state.cr0 = 0;
    state.rflags = RFLAGS_FIXED;
    CHECK_DONE("6d");
}

static void bit_strings(void)
{
    begin(8);
    gpr[GPR_RBX] = 0x1000;
    gpr[GPR_RAX] = (uint64_t)-1;
    CHECK_DONE("48 0f ab 03"); /* bit -1 */
    CHECK_EQ(memory[0xfff], 0x80);
    CHECK_EQ(seen.last_linear, 0xff8);
    gpr[GPR_RAX] = 0xffffffff00000021;
    CHECK_DONE("0f ab 03"); /* a 32-bit number: 33 */
    CHECK_EQ(get(0x1004, 4), 2);
    gpr[GPR_RAX] = 0xffff8000; /* a 16-bit number: -32768 */
    CHECK_DONE("66 0f bb 03");
    CHECK_EQ(seen.last_linear, 0x1000 - 0x1000);
    CHECK_EQ(memory[0], 1);
    gpr[GPR_RAX] = 0x8000000000000000;
    check_fault("48 0f a3 03", VECTOR_GP, true);
    CHECK_DONE("0f ba 2b 23"); /* an immediate is modulo the size */
    CHECK_EQ(get(0x1000, 4), 8);
    begin_real();
    gpr[GPR_RBX] = 0; /* and the address wraps as others do */
    gpr[GPR_RAX] = 0xfff0;
    CHECK_DONE("0f ab 07");
    CHECK_EQ(seen.last_linear, 0xfffe);
}

/* SDM: CLFLUSH: the checks of a one-byte load, but that a segment may be execute-only. */
static void clflush_is_checked_as_a_load(void)
{
    begin(4);
    gpr[GPR_RBX] = 0x1000;
    state.segment[SEG_CS].access = 0x99;
    check_fault("2e 8a 03", VECTOR_GP, true);
    CHECK_DONE("2e 0f ae 3b");
    seen.fault_at = 0x1000;
    check_fault("0f ae 3b", VECTOR_PF, true);
    CHECK_EQ(seen.loads, 0);
    state.segment[SEG_DS].access = SEGMENT_UNUSABLE;
    check_fault("0f ae 3b", VECTOR_GP, true);
}

static void hints_touch_nothing(void)
{
    begin(8);
    gpr[GPR_RBX] = 0x8000000000000000;
    CHECK_DONE("0f 18 0b");
    CHECK_DONE("0f 1f 03");
    check_fault("0f ae 3b", VECTOR_GP, true);
    gpr[GPR_RBX] = 0x1000;
    CHECK_DONE("0f ae 3b");
    CHECK_EQ(seen.loads, 0);
}

static void read_modify_write_is_one_of_each(void)
{
    static const char *const forms[] = {"01 03", "80 03 01", "f7 13",    "ff 03",
                                        "d1 23", "0f ab 03", "0f c1 03", "0f b1 03"};
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        begin(8);
        gpr[GPR_RBX] = 0x1000;
        CHECK_DONE(forms[i]);
        CHECK_EQ(seen.loads, 1);
        CHECK_EQ(seen.stores, 1);
    }
    begin(8);
    CHECK_DONE("85 03");
    CHECK_DONE("39 03");
    CHECK_DONE("0f a3 03");
    CHECK_EQ(seen.stores, 0);
}

static void high_bytes(void)
{
    begin(4);
    gpr[GPR_RBX] = 0x1000;
    gpr[GPR_RAX] = 0x11223344;
    gpr[GPR_RCX] = 0x55667788;
    CHECK_DONE("88 23");
    CHECK_EQ(memory[0x1000], 0x33);
    CHECK_DONE("02 2b");
    CHECK_EQ(gpr[GPR_RCX], 0x5566aa88);
    CHECK_DONE("86 23");
    CHECK_EQ(gpr[GPR_RAX], 0x11223344);
}

TEST_MAIN({"limits", limits}, {"expand_down_segments", expand_down_segments}, {"types", types},
          {"code_segments_and_unusable_ones", code_segments_and_unusable_ones},
          {"sixty_four_bit_mode_ignores_segments", sixty_four_bit_mode_ignores_segments},
          {"canonical_addresses", canonical_addresses}, {"offsets_wrap", offsets_wrap},
          {"instruction_pointer_moves", instruction_pointer_moves},
          {"alignment_check", alignment_check}, {"faults_change_nothing", faults_change_nothing},
          {"stack", stack}, {"locked_operands_have_rivals", locked_operands_have_rivals},
          {"compare_exchange_writes_back", compare_exchange_writes_back},
          {"repetition", repetition}, {"repetition_stops_at_a_fault", repetition_stops_at_a_fault},
          {"string_registers_wrap_by_address_size", string_registers_wrap_by_address_size},
          {"ports", ports}, {"ports_are_privileged", ports_are_privileged},
          {"bit_strings", bit_strings},
          {"clflush_is_checked_as_a_load", clflush_is_checked_as_a_load},
          {"hints_touch_nothing", hints_touch_nothing},
          {"read_modify_write_is_one_of_each", read_modify_write_is_one_of_each},
          {"high_bytes", high_bytes})

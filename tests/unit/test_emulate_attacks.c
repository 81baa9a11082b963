/*
 * How emulators of others were broken, each a test: segment checks left out, addresses that wrap,
 * ports without privilege, vector instructions, instruction bytes that change between two reads.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "kernel/vm/guest_access.h"
#include "tests/check.h"

#define NOTHING 0xffu /* no exception */
#define MEMORY_SIZE 0x30000u

static uint8_t memory[MEMORY_SIZE];
static uint64_t gpr[GPR_COUNT];
static struct emulate_state state;
static struct exception exception;
static uint64_t touched; /* the linear address of the last access, ~0: none */
static unsigned port_checks;

static enum status flat_load(void *context, uint64_t linear, unsigned size, bool modify,
                             uint64_t *value, struct exception *out)
{
    (void)context, (void)modify, (void)out;
    touched = linear;
    value[0] = 0;
    if (linear > MEMORY_SIZE - size)
        return ERR_RANGE;
    memcpy(value, memory + linear, size);
    return STATUS_OK;
}

static enum status flat_store(void *context, uint64_t linear, unsigned size, const uint64_t *value,
                              struct exception *out)
{
    (void)context, (void)out;
    touched = linear;
    if (linear > MEMORY_SIZE - size)
        return ERR_RANGE;
    memcpy(memory + linear, value, size);
    return STATUS_OK;
}

static enum status flat_exchange(void *context, uint64_t linear, unsigned size,
                                 const uint64_t *expected, const uint64_t *desired, bool *swapped,
                                 struct exception *out)
{
    (void)expected;
    *swapped = true;
    return flat_store(context, linear, size, desired, out);
}

static enum status flat_prepare(void *context, uint64_t linear, unsigned size, bool write,
                                struct exception *out)
{
    (void)context, (void)size, (void)write, (void)out;
    touched = linear;
    return STATUS_OK;
}

static enum status refuse_port(void *context, uint16_t port, unsigned size, struct exception *out)
{
    (void)context, (void)port, (void)size;
    port_checks++;
    *out = (struct exception){.vector = VECTOR_GP, .has_error_code = true};
    return ERR_FAULT;
}

static enum status port_in(void *context, uint16_t port, unsigned size, uint64_t *value)
{
    (void)context, (void)port, (void)size;
    *value = 0;
    return STATUS_OK;
}

static enum status port_out(void *context, uint16_t port, unsigned size, uint64_t value)
{
    (void)context, (void)port, (void)size, (void)value;
    return STATUS_OK;
}

static const struct emulate_ops ops = {.load = flat_load,
                                       .store = flat_store,
                                       .compare_exchange = flat_exchange,
                                       .prepare = flat_prepare,
                                       .check_port = refuse_port,
                                       .port_in = port_in,
                                       .port_out = port_out};

static void begin(unsigned code_size)
{
    memset(gpr, 0, sizeof(gpr));
    touched = ~0ull;
    port_checks = 0;
    state = (struct emulate_state){.gpr = gpr,
                                   .rip = 0x100,
                                   .rflags = RFLAGS_FIXED,
                                   .cr0 = CR0_PE,
                                   .code_size = (uint8_t)code_size};
    for (unsigned i = 0; i <= SEG_GS; i++)
        state.segment[i] = (struct segment){.limit = 0xffffffff, .access = 0x93 | SEGMENT_DB};
    state.segment[SEG_CS].access = 0x9b;
}

/* Executes the bytes; returns the exception, or NOTHING. */
static unsigned run(const uint8_t *bytes, unsigned count)
{
    struct instruction instruction;
    enum status status;
    exception = (struct exception){0};
    CHECK_EQ(decode_instruction(bytes, count, state.code_size, &instruction, &exception),
             STATUS_OK);
    enum emulate_result result =
        emulate_instruction(&state, &instruction, &ops, NULL, &exception, &status);
    if (result == EMULATE_FAULT)
        return exception.vector;
    CHECK(result == EMULATE_DONE || status == ERR_RANGE);
    return NOTHING;
}

/* ---- Segments ---- */

enum use { READ, WRITE, MODIFY, COMPARE, LOCKED, USES };

/* [EBX] or, with the override SS, the same in SS. */
static const struct {
    uint8_t bytes[4];
    uint8_t count;
    bool writes;
} uses[USES] = {
    [READ] = {{0x8b, 0x03}, 2, false},              /* MOV EAX, [EBX] */
    [WRITE] = {{0x89, 0x03}, 2, true},              /* MOV [EBX], EAX */
    [MODIFY] = {{0x01, 0x03}, 2, true},             /* ADD [EBX], EAX */
    [COMPARE] = {{0x39, 0x03}, 2, false},           /* CMP [EBX], EAX */
    [LOCKED] = {{0xf0, 0x0f, 0xb1, 0x03}, 4, true}, /* LOCK CMPXCHG [EBX], EAX */
};

static unsigned use_segment(enum use use, unsigned segment, uint64_t offset)
{
    static const uint8_t override[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
    uint8_t bytes[8] = {override[segment]};
    memcpy(bytes + 1, uses[use].bytes, uses[use].count);
    gpr[GPR_RBX] = offset;
    touched = ~0ull;
    unsigned vector = run(bytes, uses[use].count + 1u);
    CHECK(vector == NOTHING || touched == ~0ull); /* a refused access touches nothing */
    return vector;
}

#define LIMIT 0x1fffu

/* What a segment is, and which accesses of four bytes it allows. */
static const struct {
    uint32_t access;
    bool readable, writable;
    bool down;          /* offsets above the limit */
    uint32_t last_down; /* the highest of them */
} kinds[] = {
    {SEGMENT_UNUSABLE, false, false, false, 0}, /* null */
    {SEGMENT_UNUSABLE | 0x93, false, false, false, 0},
    {0x13 | SEGMENT_DB, false, false, false, 0}, /* not present */
    {0x1b | SEGMENT_DB, false, false, false, 0},
    {0x91 | SEGMENT_DB, true, false, false, 0}, /* read-only */
    {0x93 | SEGMENT_DB, true, true, false, 0},
    {0x93, true, true, false, 0},
    {0x95 | SEGMENT_DB, true, false, true, 0xffffffff}, /* expand-down */
    {0x97 | SEGMENT_DB, true, true, true, 0xffffffff},
    {0x95, true, false, true, 0xffff},
    {0x97, true, true, true, 0xffff},
    {0x99 | SEGMENT_DB, false, false, false, 0}, /* execute-only */
    {0x9b | SEGMENT_DB, true, false, false, 0},
    {0x9d | SEGMENT_DB, false, false, false, 0}, /* and conforming */
    {0x9f | SEGMENT_DB, true, false, false, 0},
};

static void segment_checks_null_limit_nonpresent_matrix(void)
{
    static const uint32_t offsets[] = {0,       1,         LIMIT - 4,  LIMIT - 3,  LIMIT - 2,
                                       LIMIT,   LIMIT + 1, 0xfffc,     0xfffd,     0xffff,
                                       0x10000, 0x20000,   0xfffffffc, 0xfffffffd, 0xffffffff};
    for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
        for (unsigned i = 0; i < ARRAY_SIZE(offsets) * USES; i++) {
            uint64_t offset = offsets[i / USES], last = offset + 3;
            enum use use = i % USES;
            bool inside =
                kinds[k].down ? offset > LIMIT && last <= kinds[k].last_down : last <= LIMIT;
            bool allowed = uses[use].writes ? kinds[k].writable : kinds[k].readable;
            for (unsigned segment = SEG_ES; segment <= SEG_GS; segment++) {
                unsigned fault = segment == SEG_SS ? VECTOR_SS : VECTOR_GP;
                begin(4);
                state.segment[segment].access = kinds[k].access;
                state.segment[segment].limit = LIMIT;
                CHECK_EQ(use_segment(use, segment, offset), inside && allowed ? NOTHING : fault);
                CHECK(exception.vector == 0 || exception.has_error_code);
            }
        }
    }
}

/* Without protection, or in virtual-8086 mode, there are limits and no types; in 64-bit mode there
 * is neither. */
static void segment_types_count_in_protected_mode_only(void)
{
    for (unsigned i = 0; i < USES; i++) {
        begin(4);
        state.segment[SEG_DS].access = 0x99;
        state.cr0 = 0;
        CHECK_EQ(use_segment(i, SEG_DS, 0x100), NOTHING);
        state.segment[SEG_DS].limit = 0xffff;
        CHECK_EQ(use_segment(i, SEG_DS, 0xfffd), VECTOR_GP);
        CHECK(!exception.has_error_code);
        CHECK_EQ(use_segment(i, SEG_DS, 0xfffc), NOTHING);
        begin(4);
        state.segment[SEG_DS] = (struct segment){.limit = 0xffff, .access = 0x99};
        state.rflags |= RFLAGS_VM;
        state.cpl = 3;
        CHECK_EQ(use_segment(i, SEG_DS, 0x100), NOTHING);
        CHECK_EQ(use_segment(i, SEG_DS, 0xfffd), VECTOR_GP);
        CHECK(exception.has_error_code);
        begin(8);
        state.segment[SEG_DS] = (struct segment){.access = SEGMENT_UNUSABLE};
        CHECK_EQ(use_segment(i, SEG_DS, 0x100), NOTHING);
    }
}

/* ---- Addresses ---- */

static void addresses_wrap_by_their_size(void)
{
    static const uint8_t load16[] = {0x8a, 0x00};       /* MOV AL, [BX+SI] */
    static const uint8_t load32[] = {0x8a, 0x04, 0x33}; /* MOV AL, [EBX+ESI] */
    static const uint8_t load64_32[] = {0x67, 0x8a, 0x04, 0x33};
    begin(2);
    state.segment[SEG_DS].base = 0x8000;
    gpr[GPR_RBX] = 0x1234fff0;
    gpr[GPR_RSI] = 0x56780020;
    CHECK_EQ(run(load16, sizeof(load16)), NOTHING);
    CHECK_EQ(touched, 0x8010);
    begin(4);
    state.segment[SEG_DS].base = 0xfffff000; /* the linear address wraps too */
    gpr[GPR_RBX] = 0xfffffff0;
    gpr[GPR_RSI] = 0x3020;
    CHECK_EQ(run(load32, sizeof(load32)), NOTHING);
    CHECK_EQ(touched, 0x2010);
    begin(8);
    gpr[GPR_RBX] = 0xdeadbeeffffffff0;
    gpr[GPR_RSI] = 0xfeedf00d00000020;
    CHECK_EQ(run(load64_32, sizeof(load64_32)), NOTHING);
    CHECK_EQ(touched, 0x10);
    CHECK_EQ(run(load32, sizeof(load32)), VECTOR_GP); /* the sum of 64 bits is not canonical */
}

/* A bit's number reaches half the address space in both directions; no further, and never past the
 * operand's size when it is an immediate. */
static void bit_offsets_stay_where_the_processor_puts_them(void)
{
    static const uint8_t bts[] = {0x48, 0x0f, 0xab, 0x03}; /* BTS [RBX], RAX */
    static const uint8_t bts32[] = {0x0f, 0xab, 0x03};
    static const uint8_t bts16[] = {0x66, 0x0f, 0xab, 0x03};
    static const uint8_t immediate[] = {0x0f, 0xba, 0x2b, 0xff}; /* BTS dword [RBX], 255 */
    begin(8);
    gpr[GPR_RBX] = 0x2000000000000100;
    gpr[GPR_RAX] = 0x8000000000000000; /* the lowest: 2^60 bytes below */
    CHECK_EQ(run(bts, sizeof(bts)), VECTOR_GP);
    gpr[GPR_RBX] = 0x1000000000000100;
    CHECK_EQ(run(bts, sizeof(bts)), NOTHING);
    CHECK_EQ(touched, 0x100);
    gpr[GPR_RBX] = 0x20000000;
    gpr[GPR_RAX] = 0xffffffff7fffffff; /* 2^31 - 1 as 32 bits */
    CHECK_EQ(run(bts32, sizeof(bts32)), NOTHING);
    CHECK_EQ(touched, 0x20000000 + 0xffffffc);
    gpr[GPR_RAX] = 0x80000000;
    CHECK_EQ(run(bts32, sizeof(bts32)), NOTHING);
    CHECK_EQ(touched, 0x20000000 - 0x10000000);
    gpr[GPR_RAX] = 0xffff7fff;
    CHECK_EQ(run(bts16, sizeof(bts16)), NOTHING);
    CHECK_EQ(touched, 0x20000000 + 0xffe);
    CHECK_EQ(run(immediate, sizeof(immediate)), NOTHING);
    CHECK_EQ(touched, 0x20000000);
    begin(2); /* in a segment the result is checked after it has wrapped */
    state.segment[SEG_DS].limit = 0x7fff;
    gpr[GPR_RBX] = 0x10;
    gpr[GPR_RAX] = 0xff00; /* -256 bits: 16 - 32 bytes wrap to FFF0 */
    CHECK_EQ(run((const uint8_t[]){0x0f, 0xab, 0x07}, 3), VECTOR_GP);
}

/* ---- Ports ---- */

static void string_ports_obey_cpl_and_iopl(void)
{
    static const uint8_t codes[][2] = {{0x6c}, {0x6d}, {0x6e}, {0x6f}, {0xf3, 0x6c}, {0xf3, 0x6f}};
    for (unsigned i = 0; i < ARRAY_SIZE(codes) * 16; i++) {
        const uint8_t *code = codes[i / 16];
        unsigned iopl = i & 3, cpl = i >> 2 & 3;
        begin(4);
        gpr[GPR_RCX] = 1;
        state.rflags |= iopl << 12;
        state.cpl = (uint8_t)cpl;
        CHECK_EQ(run(code, code[1] != 0 ? 2 : 1), cpl > iopl ? VECTOR_GP : NOTHING);
        CHECK_EQ(port_checks, cpl > iopl);
        begin(4); /* virtual-8086 mode asks the bit map whatever IOPL is */
        gpr[GPR_RCX] = 1;
        state.rflags |= RFLAGS_VM | iopl << 12;
        state.cpl = 3;
        CHECK_EQ(run(code, code[1] != 0 ? 2 : 1), VECTOR_GP);
        begin(4);
        gpr[GPR_RCX] = 1;
        state.cr0 = 0; /* real-address mode asks nobody */
        CHECK_EQ(run(code, code[1] != 0 ? 2 : 1), NOTHING);
    }
}

/* ---- Vector and x87 instructions ---- */

/* None is carried out, so none can be carried out past CR0.TS and CR0.EM: the processor checks
 * those before it reaches for memory. All of 0F with no, 66, F2 and F3 prefix; 0F 38, 0F 3A, VEX,
 * EVEX, XOP and x87. */
static bool is_vector(uint8_t map, uint8_t opcode)
{
    if (map != 0x0f)
        return opcode < 0xf0;
    return (opcode >= 0x10 && opcode <= 0x17) || (opcode >= 0x28 && opcode <= 0x2f) ||
           (opcode >= 0x50 && opcode <= 0x7f && opcode != 0x77 && opcode != 0x78 &&
            opcode != 0x79) ||
           opcode == 0xc2 || (opcode >= 0xc4 && opcode <= 0xc6) || opcode >= 0xd0;
}

static void check_refused(const uint8_t *bytes, unsigned count, unsigned code_size)
{
    struct instruction instruction;
    CHECK_EQ(decode_instruction(bytes, count, code_size, &instruction, &exception),
             ERR_UNSUPPORTED);
}

static void vector_instructions_are_refused(void)
{
    static const uint8_t prefixes[] = {0x3e, 0x66, 0xf2, 0xf3};
    static const uint8_t code_sizes[] = {2, 4, 8};
    for (unsigned i = 0; i < 256 * 4 * 3; i++) {
        uint8_t opcode = (uint8_t)i;
        unsigned code_size = code_sizes[i / 256 % 3];
        uint8_t prefix = prefixes[i / 768];
        if (is_vector(0x0f, opcode))
            check_refused((const uint8_t[15]){prefix, 0x0f, opcode, 0x07}, 15, code_size);
        if (is_vector(0x38, opcode))
            check_refused((const uint8_t[15]){prefix, 0x0f, 0x38, opcode, 0x07}, 15, code_size);
        check_refused((const uint8_t[15]){prefix, 0x0f, 0x3a, opcode, 0x07}, 15, code_size);
        if (opcode >= 0xd8 && opcode <= 0xdf)
            check_refused((const uint8_t[15]){prefix, opcode, 0x07}, 15, code_size);
    }
    for (unsigned i = 0; i < 256; i++) {
        uint8_t opcode = (uint8_t)i;
        check_refused((const uint8_t[15]){0xc5, 0xf8, opcode, 0x07}, 15, 8);
        check_refused((const uint8_t[15]){0xc4, 0xe1, 0x78, opcode, 0x07}, 15, 8);
        check_refused((const uint8_t[15]){0x62, 0xf1, 0x7c, 0x48, opcode, 0x07}, 15, 8);
    }
    check_refused((const uint8_t[15]){0x0f, 0xae, 0x07}, 15, 8); /* FXSAVE */
    check_refused((const uint8_t[15]){0x0f, 0xae, 0x27}, 15, 8); /* XSAVE */
    check_refused((const uint8_t[15]){0x9b, 0xd9, 0x3f}, 15, 8); /* WAIT */
}

/* ---- Code that changes ---- */

#define ROUNDS 40u
#define EXECUTIONS 2000u
#define CODE 0x1000u
#define DATA 0x2000u

static uint8_t ram[4 * PAGE_SIZE] ALIGNED(4096);
static atomic_bool stop;

/* Both in eight aligned bytes: MOV [RBX], EAX in two bytes, MOV dword [RBX+4], 55555555 in seven.
 */
static const uint8_t short_code[8] = {0x89, 0x03, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90};
static const uint8_t long_code[8] = {0xc7, 0x43, 0x04, 0x55, 0x55, 0x55, 0x55, 0x90};

static void *rewrite_code(void *unused)
{
    uint64_t words[2];
    memcpy(&words[0], short_code, 8);
    memcpy(&words[1], long_code, 8);
    for (unsigned i = 0; !atomic_load(&stop); i++)
        __atomic_store_n((uint64_t *)(void *)(ram + CODE), words[i & 1], __ATOMIC_RELAXED);
    return unused;
}

/* Each execution is all of one of them: length, operands and effect are never of different reads.
 * Returns whether it was the short one. */
static bool execute_short(struct guest_access *access)
{
    uint64_t data = 0;
    memcpy(ram + DATA, &data, 8);
    state.rip = CODE;
    CHECK_EQ(guest_access_emulate(access, &state, &exception), EMULATE_DONE);
    memcpy(&data, ram + DATA, 8);
    if (state.rip == CODE + 2) {
        CHECK_EQ(data, 0x11111111);
        return true;
    }
    CHECK_EQ(state.rip, CODE + 7);
    CHECK_EQ(data, 0x5555555500000000);
    return false;
}

static void instruction_bytes_are_read_once(void)
{
    static struct guest_mem mem;
    static struct guest_access access;
    static struct bus bus;
    pthread_t rival;
    begin(8);
    gpr[GPR_RBX] = DATA;
    gpr[GPR_RAX] = 0x11111111;
    memcpy(ram + CODE, short_code, 8);
    CHECK_EQ(guest_mem_add(&mem, GPA(0), sizeof(ram), ram), STATUS_OK);
    guest_access_init(&access, &mem, &bus);
    for (unsigned round = 0; round < ROUNDS; round++) {
        bool seen[2] = {false, false};
        atomic_store(&stop, false);
        CHECK_EQ(pthread_create(&rival, NULL, rewrite_code, NULL), 0);
        for (unsigned i = 0; i < EXECUTIONS || !seen[0] || !seen[1]; i++)
            seen[execute_short(&access)] = true;
        atomic_store(&stop, true);
        CHECK_EQ(pthread_join(rival, NULL), 0);
        /* What was remembered of the bytes that stand there now is what they say. */
        CHECK_EQ(execute_short(&access), memcmp(ram + CODE, short_code, 8) == 0);
    }
}

/* The same without a second thread: the instruction rewrites itself while it is carried out. */
static uint64_t rewriting_read(void *device, uint64_t offset, unsigned size)
{
    (void)device, (void)offset, (void)size;
    memset(ram + CODE, 0xcc, 16);
    return 0x77777777;
}

static void rewriting_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    (void)device, (void)offset, (void)size;
    CHECK_EQ(value, 0x77777778);
}

static void a_device_that_rewrites_the_instruction_changes_nothing(void)
{
    static const struct bus_ops device = {rewriting_read, rewriting_write};
    static const uint8_t add[] = {0x83, 0x03, 0x01}; /* ADD dword [RBX], 1 */
    static struct guest_mem mem;
    static struct guest_access access;
    static struct bus bus;
    begin(8);
    gpr[GPR_RBX] = 0x10000;
    memcpy(ram + CODE, add, sizeof(add));
    CHECK_EQ(guest_mem_add(&mem, GPA(0), sizeof(ram), ram), STATUS_OK);
    CHECK_EQ(bus_add(&bus, BUS_MMIO, 0x10000, PAGE_SIZE, &device, NULL), STATUS_OK);
    guest_access_init(&access, &mem, &bus);
    state.rip = CODE;
    CHECK_EQ(guest_access_emulate(&access, &state, &exception), EMULATE_DONE);
    CHECK_EQ(state.rip, CODE + 3);
}

TEST_MAIN({"segment_checks_null_limit_nonpresent_matrix",
           segment_checks_null_limit_nonpresent_matrix},
          {"segment_types_count_in_protected_mode_only",
           segment_types_count_in_protected_mode_only},
          {"addresses_wrap_by_their_size", addresses_wrap_by_their_size},
          {"bit_offsets_stay_where_the_processor_puts_them",
           bit_offsets_stay_where_the_processor_puts_them},
          {"string_ports_obey_cpl_and_iopl", string_ports_obey_cpl_and_iopl},
          {"vector_instructions_are_refused", vector_instructions_are_refused},
          {"instruction_bytes_are_read_once", instruction_bytes_are_read_once},
          {"a_device_that_rewrites_the_instruction_changes_nothing",
           a_device_that_rewrites_the_instruction_changes_nothing})

/*
 * Guest `emulator`: makes the instructions, has emulator.asm carry them out in each mode, and
 * compares. The operand lies at a fixed offset; what differs between RAM and device is the segment
 * alone. The device is what keeps the bits that are written to it: for operands of 32 bits the
 * local APIC's initial count, for smaller ones the upper half of a BAR in configuration space.
 */
#include "kernel/vm/decode_table.h"
#include "tests/guests/lib/guest.h"
#include "tests/native/flags.h"

#define LOW_BASE 0x20000u
#define LAPIC_INITIAL 0xfee00380u
#define RECORDS 32u
#define CASES_A_FORM 6u /* in each mode, operand and address size */

/* Where the operand lies in its segment: BAR and APIC register differ in their lowest bits, and
 * segments of virtual-8086 mode begin at multiples of 16. */
#define OFFSET_WIDE 0x400u
#define OFFSET_NARROW (uint32_t)(0x400 + (narrow_register & 15))

/* Of start.inc; behind them, in our own copy of the table: the targets. */
#define GDT_ENTRIES 14u
#define TSS32 11u
#define SELECTOR_RAM (8 * GDT_ENTRIES)
#define SELECTOR_WIDE (SELECTOR_RAM + 8)
#define SELECTOR_NARROW (SELECTOR_RAM + 16)

/* Linear pages of virtual-8086 mode. */
#define V86_RAM 0x60000u
#define V86_WIDE 0x61000u
#define V86_NARROW 0x62000u

/* One execution. Known to emulator.asm. */
struct record {
    uint8_t code[24]; /* the instruction, and a jump back */
    uint16_t segment;
    uint16_t offset;
    uint32_t flags;
    uint32_t gpr[8];
    uint32_t stack; /* what lies on it */
    uint32_t operand;
    int16_t moved;   /* the stack pointer, by the instruction */
    uint8_t present; /* else the batch ends before this record */
    uint8_t keeps_ds;
    uint8_t wide;
    uint8_t unused[3];
};

struct mode {
    const char *name;
    enum guest_mode mode;
    void (*run)(void);
    unsigned code_size;
    bool real, v86;
    uint16_t own_segment;
};

extern struct record emulator_records[RECORDS + 1];
extern uint8_t emulator_exec[], emulator_pattern[];
extern uint32_t emulator_after[2];
extern uint32_t emulator_fault[5]; /* vector, RIP's distance, ESI, EDI, SP's distance */
extern uint16_t emulator_is_real, emulator_own_segment;
extern uint32_t emulator_page_table[1024];
extern uint64_t gdt[GDT_ENTRIES];
void emulator_run16(void);
void emulator_run32(void);
void emulator_run_v86(void);
void emulator_fault_real(void);
uint64_t ecam_take_scratch(void);
void ecam_give_back(void);
void emulator_main(void);

static const struct mode modes[] = {
    {"real", MODE_REAL, emulator_run16, 2, true, false, LOW_BASE >> 4},
    {"virtual-8086", MODE_PAGED32, emulator_run_v86, 2, false, true, LOW_BASE >> 4},
    {"protected-16", MODE_PM16, emulator_run16, 2, false, false, 0x28},
    {"protected-32", MODE_FLAT32, emulator_run32, 4, false, false, 0x10},
};

static uint64_t table[GDT_ENTRIES + 3];
static uint8_t ram[8192] __attribute__((aligned(4096)));
static uint64_t narrow_register; /* its address; 0: none */

/* What a batch was made of. */
static struct {
    const struct mode *mode;
    unsigned count; /* records */
    uint64_t undefined[RECORDS];
    const char *what[RECORDS];
    uint8_t length[RECORDS];
    unsigned executed;
} batch;

static uint64_t random_state = 0x9e3779b97f4a7c15;

static uint32_t draw(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state * 0x2545f4914f6cdd1dull >> 32);
}

static uint32_t draw_value(void)
{
    static const uint32_t edges[] = {0,      1,          0x7f,       0x80,       0xff,   0x7fff,
                                     0x8000, 0x7fffffff, 0x80000000, 0xffffffff, 0xffff, 0x10};
    return draw() % 3 == 0 ? edges[draw() % 12] : draw();
}

/* ---- Running --------------------------------------------------------------------------------- */

static void print_case(const struct record *ram_run, const struct record *device_run, unsigned i)
{
    guest_print("# ");
    for (unsigned byte = 0; byte < batch.length[i]; byte++) {
        guest_print_hex(ram_run->code[byte]);
        guest_print(" ");
    }
    guest_print("\n");
    for (unsigned number = 0; number < 8; number++) {
        guest_print("# ");
        guest_print_hex(ram_run->gpr[number]);
        guest_print(" ");
        guest_print_hex(device_run->gpr[number]);
        guest_print("\n");
    }
}

static void compare(unsigned i)
{
    const struct record *on_ram = &emulator_records[i], *on_device = on_ram + 1;
    const uint64_t flags =
        (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF | RFLAGS_DF) &
        ~batch.undefined[i];
    bool same = ((on_ram->flags ^ on_device->flags) & flags) == 0 &&
                on_ram->operand == on_device->operand && on_ram->stack == on_device->stack &&
                on_ram->moved == on_device->moved;
    for (unsigned number = 0; number < 8; number++)
        same = same && on_ram->gpr[number] == on_device->gpr[number];
    if (same)
        return;
    print_case(on_ram, on_device, i);
    guest_expect(on_device->operand, on_ram->operand, "the operand");
    guest_expect(on_device->flags & flags, on_ram->flags & flags, "the flags");
    guest_expect(on_device->stack, on_ram->stack, "the stack");
    guest_expect((uint64_t)on_device->moved, (uint64_t)on_ram->moved, "the stack pointer");
    guest_expect(1, 0, "a register");
}

static void run_batch(void)
{
    emulator_records[batch.count].present = 0;
    table[TSS32] &= ~BIT(41); /* not busy, so that it can be loaded */
    guest_call_mode(batch.mode->mode, (uint64_t)batch.mode->run);
    for (unsigned i = 0; i < batch.count; i += 2)
        compare(i);
    batch.executed += batch.count / 2;
    batch.count = 0;
}

/* ---- Making ---------------------------------------------------------------------------------- */

/* A case under construction. */
struct maker {
    struct record record;
    const struct opcode *opcode;
    unsigned length, size, address_size;
    unsigned override; /* a prefix, 0: none */
    bool free[8];      /* registers that no address uses yet */
};

static void emit(struct maker *maker, uint32_t value, unsigned size)
{
    for (; size > 0; size--, value >>= 8)
        maker->record.code[maker->length++] = (uint8_t)value;
}

static bool is_string(const struct maker *maker)
{
    return maker->opcode->operation >= OPERATION_MOVS;
}

static bool uses_offset(const struct maker *maker)
{
    return opcode_destination(maker->opcode) == FORM_OFFSET ||
           opcode_source(maker->opcode) == FORM_OFFSET;
}

static void emit_prefixes(struct maker *maker)
{
    static const uint8_t overrides[] = {0x26, 0x64, 0x65};
    unsigned code_size = batch.mode->code_size;
    maker->override = draw() % 2 == 0 ? overrides[draw() % 3] : 0;
    maker->record.keeps_ds = maker->override != 0 && draw() % 2 == 0;
    if (is_string(maker) && maker->override == 0)
        maker->record.keeps_ds = maker->opcode->operation <= OPERATION_CMPS;
    if (maker->address_size != code_size)
        emit(maker, 0x67, 1);
    bool wide = maker->size == 4 || (maker->size == 1 && draw() % 2 == 0);
    if (wide != (code_size == 4) && (maker->opcode->flags & OPCODE_NO_66) == 0)
        emit(maker, 0x66, 1);
    if ((maker->opcode->flags & OPCODE_LOCK) != 0 && draw() % 3 == 0)
        emit(maker, 0xf0, 1);
    if (is_string(maker) && draw() % 2 == 0) {
        emit(maker, 0xf2 + draw() % 2, 1);
        maker->record.gpr[GPR_RCX] = draw() % 8 != 0;
        if (maker->address_size == 2)
            maker->record.gpr[GPR_RCX] |= draw() << 16;
    }
    if (maker->override != 0)
        emit(maker, maker->override, 1);
}

/* A register's share of an address; above 16 bits anything where they do not count. */
static void set_address_register(struct maker *maker, unsigned number, uint32_t value)
{
    if (maker->address_size == 2)
        value = (value & 0xffff) | draw() << 16;
    maker->record.gpr[number] = value;
    maker->free[number] = false;
}

/* What the address must be, less what the number of a bit adds to it. */
static uint32_t wanted_offset(struct maker *maker, unsigned reg)
{
    uint32_t offset = maker->record.offset;
    bool strings = maker->opcode->operation >= OPERATION_BT &&
                   maker->opcode->operation <= OPERATION_BTC &&
                   opcode_source(maker->opcode) == FORM_REG;
    if (!strings)
        return offset;
    int32_t operands = (int32_t)(draw() % 65) - 32;
    uint32_t number = (uint32_t)operands * maker->size * 8 + draw() % (maker->size * 8);
    maker->record.gpr[reg] = maker->size == 2 ? (number & 0xffff) | draw() << 16 : number;
    maker->free[reg] = false;
    return offset - (uint32_t)operands * maker->size;
}

static bool emit_address_16(struct maker *maker, unsigned mod, unsigned rm, uint32_t offset)
{
    static const uint8_t bases[] = {GPR_RBX, GPR_RBX, GPR_RBP, GPR_RBP,
                                    GPR_RSI, GPR_RDI, GPR_RBP, GPR_RBX};
    uint32_t displacement = mod == 1 ? (uint32_t)(int8_t)draw() : mod == 2 ? draw() : 0;
    unsigned base = bases[rm], index = GPR_RSI + (rm & 1);
    if (mod == 0 && rm == 6) {
        emit(maker, offset, 2);
        return true;
    }
    if ((base == GPR_RBP && maker->override == 0) || !maker->free[base])
        return false;
    offset -= displacement;
    if (rm < 4) {
        uint32_t value = draw_value();
        if (!maker->free[index])
            return false;
        set_address_register(maker, index, value);
        offset -= value;
    }
    set_address_register(maker, base, offset);
    emit(maker, displacement, mod);
    return true;
}

static bool emit_address_32(struct maker *maker, unsigned mod, unsigned rm, uint32_t offset)
{
    uint32_t displacement = mod == 1 ? (uint32_t)(int8_t)draw() : mod == 2 ? draw() : 0;
    unsigned base = rm;
    if (rm == 4) {
        unsigned sib = draw() & 0xff, index = sib >> 3 & 7;
        emit(maker, sib, 1);
        base = sib & 7;
        if (index != 4) {
            uint32_t value = draw_value();
            if (!maker->free[index])
                return false;
            set_address_register(maker, index, value);
            offset -= value << (sib >> 6);
        }
    }
    if (mod == 0 && base == 5) {
        emit(maker, offset, 4);
        return true;
    }
    if (base == GPR_RSP || (base == GPR_RBP && maker->override == 0) || !maker->free[base])
        return false;
    set_address_register(maker, base, offset - displacement);
    emit(maker, displacement, mod == 2 ? 4 : mod);
    return true;
}

/* False where the random choice contradicts itself, or would move the stack away. */
static bool emit_modrm(struct maker *maker, int extension)
{
    unsigned reg = extension >= 0 ? (unsigned)extension : draw() % 8;
    unsigned mod = draw() % 3, rm = draw() % 8;
    if (extension < 0 && reg == GPR_RSP && maker->size != 1)
        return false;
    emit(maker, mod << 6 | reg << 3 | rm, 1);
    uint32_t offset = wanted_offset(maker, reg);
    return maker->address_size == 2 ? emit_address_16(maker, mod, rm, offset)
                                    : emit_address_32(maker, mod, rm, offset);
}

/* MOVS and CMPS without override read the runner's own segment. */
static void set_string_registers(struct maker *maker)
{
    uint32_t source = maker->record.offset, own = (uint32_t)(uint64_t)emulator_pattern;
    if (maker->record.keeps_ds && maker->override == 0)
        source = own - (batch.mode->code_size == 2 ? LOW_BASE : 0);
    set_address_register(maker, GPR_RSI, source);
    set_address_register(maker, GPR_RDI, maker->record.offset);
}

static void emit_immediate(struct maker *maker)
{
    if (opcode_source(maker->opcode) == FORM_IMMEDIATE_8)
        emit(maker, draw() % 2 == 0 ? draw() % 40 : draw_value(), 1);
    else if (opcode_source(maker->opcode) == FORM_IMMEDIATE_Z)
        emit(maker, draw_value(), maker->size == 2 ? 2 : maker->size == 1 ? 1 : 4);
}

static unsigned shift_count(const struct maker *maker)
{
    if (opcode_source(maker->opcode) == FORM_IMMEDIATE_8)
        return maker->record.code[maker->length - 1];
    return opcode_source(maker->opcode) == FORM_CL ? (uint8_t)maker->record.gpr[GPR_RCX] : 1;
}

static void emit_jump_back(struct maker *maker)
{
    uint32_t after = emulator_after[batch.mode->code_size == 4];
    uint32_t here = (uint32_t)(uint64_t)emulator_exec;
    unsigned size = batch.mode->code_size;
    emit(maker, 0xe9, 1);
    emit(maker, after - (here + maker->length + size), size);
}

static uint16_t segment_of(bool device, bool wide)
{
    uint32_t offset = wide ? OFFSET_WIDE : OFFSET_NARROW;
    if (!batch.mode->v86)
        return (uint16_t)(!device ? SELECTOR_RAM : wide ? SELECTOR_WIDE : SELECTOR_NARROW);
    if (!device)
        return (uint16_t)((V86_RAM + 0x800 - OFFSET_WIDE) >> 4);
    if (wide)
        return (uint16_t)((V86_WIDE + (LAPIC_INITIAL & 0xfff) - offset) >> 4);
    return (uint16_t)((V86_NARROW + (narrow_register & 0xfff) - offset) >> 4);
}

static bool try_make(struct maker *maker, const uint8_t *escape, uint8_t byte, int extension)
{
    struct record *record = &maker->record;
    *record = (struct record){.present = 1, .wide = maker->size == 4};
    record->offset = record->wide ? OFFSET_WIDE : OFFSET_NARROW;
    maker->length = 0;
    for (unsigned i = 0; i < 8; i++) {
        record->gpr[i] = draw_value();
        maker->free[i] = true;
    }
    record->operand = draw_value() & (record->wide ? 0xffffffff : 0xffff);
    if (draw() % 3 == 0)
        record->gpr[GPR_RAX] = record->operand; /* comparisons succeed */
    record->stack = draw();
    record->flags = RFLAGS_FIXED | (draw() & (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF |
                                              RFLAGS_SF | RFLAGS_OF | RFLAGS_DF));
    emit_prefixes(maker);
    for (; *escape != 0; escape++)
        emit(maker, *escape, 1);
    emit(maker, byte, 1);
    if ((maker->opcode->flags & OPCODE_MODRM) != 0 && !emit_modrm(maker, extension))
        return false;
    if (uses_offset(maker))
        emit(maker, record->offset, maker->address_size);
    if (is_string(maker))
        set_string_registers(maker);
    emit_immediate(maker);
    return maker->length <= INSTRUCTION_BYTES_MAX;
}

/* One case: two records. */
static void add_case(struct maker *maker, const uint8_t *escape, uint8_t byte, int extension)
{
    while (!try_make(maker, escape, byte, extension))
        continue;
    unsigned i = batch.count;
    batch.length[i] = (uint8_t)maker->length;
    batch.undefined[i] = flags_undefined(maker->opcode->operation, maker->size, shift_count(maker));
    emit_jump_back(maker);
    for (unsigned device = 0; device < 2; device++) {
        maker->record.segment = segment_of(device != 0, maker->record.wide);
        emulator_records[batch.count++] = maker->record;
    }
    if (batch.count == RECORDS)
        run_batch();
}

static bool has_size(uint32_t flags, unsigned size)
{
    if ((flags & OPCODE_BYTE) != 0)
        return size == 1;
    if ((flags & OPCODE_NO_66) != 0)
        return size == 4;
    return size != 1;
}

/* A row of the tables in each size. String I/O is the guest `ports`'; the device has no register of
 * eight bytes. */
static void try_row(const struct opcode *opcode, const uint8_t *escape, uint8_t byte, int extension)
{
    struct maker maker = {.opcode = opcode};
    if ((opcode->flags & OPCODE_KNOWN) == 0 || (opcode->flags & (OPCODE_64 | OPCODE_DOUBLE)) != 0 ||
        opcode->operation >= OPERATION_INS)
        return;
    for (maker.size = 1; maker.size <= 4; maker.size *= 2)
        for (maker.address_size = 2; maker.address_size <= 4; maker.address_size *= 2)
            for (unsigned i = 0; i < CASES_A_FORM && has_size(opcode->flags, maker.size); i++)
                add_case(&maker, escape, byte, extension);
}

static void try_opcode(const struct opcode *opcode, const uint8_t *escape, uint8_t byte)
{
    if ((opcode->flags & OPCODE_KNOWN) == 0 || (opcode->flags & OPCODE_64) != 0)
        return;
    if ((opcode->flags & OPCODE_GROUP) == 0) {
        try_row(opcode, escape, byte, -1);
        return;
    }
    for (int extension = 0; extension < 8; extension++)
        try_row(&opcode_groups[opcode->operation][extension], escape, byte, extension);
}

static void try_mode(const struct mode *mode)
{
    batch.mode = mode;
    batch.executed = 0;
    emulator_is_real = mode->real;
    emulator_own_segment = mode->own_segment;
    for (unsigned byte = 0; byte < 256; byte++) {
        try_opcode(&opcode_map_1[byte], (const uint8_t[]){0}, (uint8_t)byte);
        try_opcode(&opcode_map_2[byte], (const uint8_t[]){0x0f, 0}, (uint8_t)byte);
    }
    for (unsigned i = 0; i < 2; i++)
        try_opcode(&opcode_movbe[i], (const uint8_t[]){0x0f, 0x38, 0}, (uint8_t)(0xf0 + i));
    run_batch();
    guest_print("# ");
    guest_print_decimal(batch.executed);
    guest_print(" instructions in ");
    guest_print(mode->name);
    guest_print("\n");
}

/* ---- Preparing ------------------------------------------------------------------------------- */

/* Data, writable, 64 KBytes. */
static uint64_t descriptor(uint64_t base)
{
    return 0xffffull | 0x93ull << 40 | (base & 0xffffff) << 16 | (base >> 24 & 0xff) << 56;
}

static void make_segments(void)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) pointer = {sizeof(table) - 1, (uint64_t)table};
    for (unsigned i = 0; i < GDT_ENTRIES; i++)
        table[i] = gdt[i];
    table[GDT_ENTRIES] = descriptor((uint64_t)ram + 0x800 - OFFSET_WIDE);
    table[GDT_ENTRIES + 1] = descriptor(LAPIC_INITIAL - OFFSET_WIDE);
    table[GDT_ENTRIES + 2] = descriptor(narrow_register - OFFSET_NARROW);
    __asm__ volatile("lgdt %0" : : "m"(pointer) : "memory");
}

static void make_page_table(void)
{
    for (unsigned i = 0; i < 1024; i++)
        emulator_page_table[i] = i << 12 | 7;
    emulator_page_table[V86_RAM >> 12] = (uint32_t)(uint64_t)ram | 7;
    emulator_page_table[V86_WIDE >> 12] = (LAPIC_INITIAL & ~0xfffu) | 0x1f;
    emulator_page_table[V86_NARROW >> 12] = (uint32_t)(narrow_register & ~0xfffull) | 0x1f;
}

void emulator_main(void)
{
    for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        guest_case(modes[i].name);
        if (i == 0)
            narrow_register = ecam_take_scratch();
        if (narrow_register == 0) {
            guest_skip("no memory-mapped configuration space with a BAR");
            continue;
        }
        if (i == 0) {
            make_segments();
            make_page_table();
        }
        try_mode(&modes[i]);
    }
    if (narrow_register != 0)
        ecam_give_back();
    guest_case("real-fault");
    guest_call_mode(MODE_REAL, (uint64_t)emulator_fault_real);
    guest_expect(emulator_fault[0], VECTOR_GP_, "#GP beyond the limit");
    guest_expect(emulator_fault[1], 0, "where");
    guest_expect(emulator_fault[2], LAPIC_INITIAL, "ESI");
    guest_expect(emulator_fault[3], 0xffff, "EDI");
    guest_expect(emulator_fault[4], 0, "the stack, without an error code");
}

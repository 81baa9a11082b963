#include "tests/native/build.h"

#include <string.h>

#include "kernel/vm/alu.h"
#include "tests/check.h"
#include "tests/native/flags.h"
#include "tests/native/random.h"

#define BREAKPOINT 0xcc
#define BREAKPOINTS 16u
#define NOWHERE ~0u

/* The instruction under construction. */
struct builder {
    struct sample *sample;
    uint64_t *gpr;
    unsigned size, address_size;
    uint8_t rex;       /* 0: none */
    unsigned override; /* a segment, or SEG_COUNT */
    bool repeats, locked;
    uint32_t fixed;        /* registers that must keep their value */
    unsigned rip_relative; /* where in bytes[] its displacement is, or NOWHERE */
    bool in_memory;
    uint64_t offset; /* of the memory operand, as far as it was aimed at */
    unsigned segment;
    uint64_t displaced; /* what a bit string's number adds to the address */
};

static void emit(struct builder *builder, uint64_t value, unsigned size)
{
    memcpy(builder->sample->bytes + builder->sample->length, &value, size);
    builder->sample->length += size;
}

static bool has(const struct builder *builder, uint32_t flag)
{
    return (builder->sample->form->opcode.flags & flag) != 0;
}

static bool is_string(const struct builder *builder)
{
    return builder->sample->form->opcode.operation >= OPERATION_MOVS;
}

static bool is_bit_string(const struct builder *builder)
{
    const struct opcode *opcode = &builder->sample->form->opcode;
    return opcode->operation >= OPERATION_BT && opcode->operation <= OPERATION_BTC &&
           opcode_source(opcode) == FORM_REG;
}

static bool is_offset(const struct builder *builder)
{
    const struct opcode *opcode = &builder->sample->form->opcode;
    return opcode_destination(opcode) == FORM_OFFSET || opcode_source(opcode) == FORM_OFFSET;
}

/* ---- Prefixes -------------------------------------------------------------------------------- */

/* Prefix 66 and REX.W for the operand size, or in vain where the size is fixed. */
static bool wants_66(const struct builder *builder)
{
    unsigned mode = builder->sample->scene.mode, size = builder->size;
    if (has(builder, OPCODE_NO_66))
        return false;
    if (has(builder, OPCODE_BYTE | OPCODE_DOUBLE | OPCODE_NO_66))
        return one_in(8);
    if (size == 8)
        return one_in(8); /* REX.W goes before */
    return mode == NATIVE_16 ? size == 4 : size == 2;
}

static void draw_rex(struct builder *builder)
{
    bool wide = builder->size == (has(builder, OPCODE_DOUBLE) ? 16 : 8);
    if (has(builder, OPCODE_STACK))
        wide = builder->size == 8 && one_in(4);
    if (has(builder, OPCODE_BYTE))
        wide = one_in(4);
    if (has(builder, OPCODE_PORT) && builder->size == 4)
        wide = one_in(4);
    if (wide || one_in(2))
        builder->rex = (uint8_t)(0x40 | below(8) | (wide ? 8 : 0));
}

static unsigned add_prefix(uint8_t *prefixes, unsigned count, unsigned byte)
{
    /* At a random place. */
    unsigned at = below(count + 1);
    memmove(prefixes + at + 1, prefixes + at, count - at);
    prefixes[at] = (uint8_t)byte;
    return count + 1;
}

/* The last override counts. In 64-bit mode those of ES, CS, SS and DS are ignored: by AMD's
 * processors in place of one of FS or GS before them, by Intel's not, so none comes behind it. */
static void find_override(struct builder *builder, uint8_t *prefixes, unsigned count)
{
    bool wide = builder->sample->scene.mode == NATIVE_64;
    for (unsigned i = 0, last = 0; i < count && wide; i++) {
        if (prefixes[i] == 0x64 || prefixes[i] == 0x65)
            last = prefixes[i];
        else if ((prefixes[i] & 0xe7) == 0x26 && last != 0)
            prefixes[i] = (uint8_t)last;
    }
    for (unsigned i = 0; i < count; i++) {
        if (prefixes[i] == 0x64 || prefixes[i] == 0x65)
            builder->override = SEG_FS + (prefixes[i] & 1u);
        else if ((prefixes[i] & 0xe7) == 0x26 && !wide)
            builder->override = prefixes[i] >> 3 & 3;
    }
}

static void draw_prefixes(struct builder *builder)
{
    static const uint8_t overrides[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
    const struct sample *sample = builder->sample;
    uint8_t prefixes[32];
    unsigned count = 0;
    bool swaps_address = builder->address_size != sample->scene.code_size;
    if (wants_66(builder))
        count = add_prefix(prefixes, count, 0x66);
    if (swaps_address)
        count = add_prefix(prefixes, count, 0x67);
    for (unsigned i = 0; i < 2; i++)
        if (one_in(3 + 5 * i))
            count = add_prefix(prefixes, count, overrides[below(6)]);
    if (is_string(builder) ? !one_in(3) : !has(builder, OPCODE_NO_REPEAT) && one_in(16)) {
        builder->repeats = is_string(builder);
        count = add_prefix(prefixes, count, 0xf2 + below(2));
    }
    bool lockable = has(builder, OPCODE_LOCK) && builder->in_memory;
    builder->locked = one_in(lockable ? 3 : 100);
    if (builder->locked)
        count = add_prefix(prefixes, count, 0xf0);
    if (count > 0 && one_in(16))
        count = add_prefix(prefixes, count, prefixes[below(count)]); /* once more */
    if (one_in(200)) /* up to the longest instruction and past it */
        for (unsigned i = 4 + below(8); i > 0; i--)
            count = add_prefix(prefixes, count, 0x3e);
    find_override(builder, prefixes, count);
    if (sample->scene.mode == NATIVE_64) {
        if (count > 0 && one_in(16)) /* a REX that does not count */
            prefixes[count] = prefixes[count - 1],
            prefixes[count++ - 1] = (uint8_t)(0x40 | below(16));
        draw_rex(builder);
    }
    for (unsigned i = 0; i < count; i++)
        emit(builder, prefixes[i], 1);
    if (builder->rex != 0)
        emit(builder, builder->rex, 1);
}

/* ---- Addresses ------------------------------------------------------------------------------- */

/* Registers have junk above what an address uses of them. */
static void fix_register(struct builder *builder, unsigned number, uint64_t value)
{
    uint64_t mask = bits_size_mask(builder->address_size);
    uint64_t above = builder->sample->scene.mode == NATIVE_64 ? ~0ull : 0xffffffff;
    builder->gpr[number] = (value & mask) | (draw() & above & ~mask);
    builder->fixed |= 1u << number;
}

/* A register as part of an address; false where it is spoken for. */
static bool is_free(const struct builder *builder, unsigned number)
{
    return (builder->fixed >> number & 1) == 0;
}

/* The number of a bit reaches outside the operand: it is chosen before the address. */
static bool draw_bit_number(struct builder *builder, unsigned reg)
{
    unsigned bits = 8 * builder->size;
    int64_t number = one_in(4) ? (int64_t)below(bits) : (int64_t)below(8000) - 4000;
    if (one_in(32))
        number = (int64_t)draw_value();
    if (!builder->in_memory)
        return true;
    reg |= (builder->rex & 4u) << 1;
    uint64_t mask = bits_size_mask(builder->size);
    uint64_t above = builder->sample->scene.mode == NATIVE_64 ? ~0ull : 0xffffffff;
    builder->gpr[reg] = ((uint64_t)number & mask) | (draw() & above & ~mask);
    builder->fixed |= 1u << reg;
    number = (int64_t)((uint64_t)number << (64 - bits)) >> (64 - bits);
    builder->displaced = (uint64_t)(number >> (bits == 64   ? 6
                                               : bits == 32 ? 5
                                                            : 4)) *
                         builder->size;
    return true;
}

/* Chooses the memory operand, in the segment that override and base register lead to. */
static void aim(struct builder *builder, unsigned default_segment)
{
    const struct scene *scene = &builder->sample->scene;
    builder->segment = builder->override != SEG_COUNT ? builder->override : default_segment;
    if (scene->mode == NATIVE_64 && builder->segment < SEG_FS)
        builder->segment = default_segment;
    builder->offset =
        scene_draw_offset(scene, builder->segment, builder->address_size, builder->size);
    uint64_t linear = builder->offset + scene_base(scene, builder->segment);
    if (builder->size == 16 && !one_in(16))
        builder->offset -= linear & 15;
    /* On some processors and kernels, locks across cache lines are made to cost milliseconds. */
    bool locks = builder->locked || builder->sample->form->opcode.operation == OPERATION_XCHG;
    if (locks && (linear & 63) + builder->size > 64 && !one_in(64))
        builder->offset -= linear & 63;
    builder->offset -= builder->displaced;
}

static bool draw_address_16(struct builder *builder, unsigned mod, unsigned rm)
{
    static const uint8_t bases[] = {GPR_RBX, GPR_RBX, GPR_RBP, GPR_RBP,
                                    GPR_RSI, GPR_RDI, GPR_RBP, GPR_RBX};
    bool absolute = mod == 0 && rm == 6;
    uint64_t displacement = mod == 1 ? (uint64_t)(int8_t)draw() : mod == 2 ? draw() : 0;
    aim(builder, bases[rm] == GPR_RBP && !absolute ? SEG_SS : SEG_DS);
    uint64_t rest = builder->offset - displacement;
    if (absolute) {
        emit(builder, builder->offset, 2);
        return true;
    }
    if (!is_free(builder, bases[rm]))
        return false;
    if (rm < 4) {
        unsigned index = GPR_RSI + (rm & 1);
        uint64_t value = draw_value();
        if (!is_free(builder, index))
            return false;
        fix_register(builder, index, value);
        rest -= value;
    }
    fix_register(builder, bases[rm], rest);
    emit(builder, displacement, mod);
    return true;
}

/* The index's share of the address; false where its register is spoken for. */
static bool draw_index(struct builder *builder, uint8_t sib, uint64_t *scaled)
{
    unsigned index = (sib >> 3 & 7u) | (builder->rex & 2u) << 2;
    *scaled = 0;
    if (index == 4)
        return true;
    if (!is_free(builder, index))
        return false;
    uint64_t value = one_in(4) ? draw() : (uint64_t)(int64_t)below(200) - 100;
    fix_register(builder, index, value);
    *scaled = builder->gpr[index] << (sib >> 6);
    return true;
}

static bool draw_address_32(struct builder *builder, unsigned mod, unsigned rm)
{
    uint64_t scaled = 0, displacement = 0;
    unsigned base = rm;
    bool wide = builder->sample->scene.mode == NATIVE_64;
    if (rm == 4) {
        uint8_t sib = (uint8_t)draw();
        emit(builder, sib, 1);
        base = sib & 7;
        if (!draw_index(builder, sib, &scaled))
            return false;
    }
    if (mod == 0 && base == 5) {
        aim(builder, SEG_DS);
        if (wide && rm == 5)
            builder->rip_relative = builder->sample->length;
        emit(builder, builder->offset - scaled, 4);
        return true;
    }
    aim(builder, base == GPR_RSP || base == GPR_RBP ? SEG_SS : SEG_DS);
    base |= (builder->rex & 1u) << 3;
    if (base >= 8 && builder->override == SEG_COUNT)
        builder->segment = SEG_DS; /* R12 and R13 are in DS */
    if (!is_free(builder, base))
        return false;
    if (mod == 1)
        displacement = (uint64_t)(int8_t)draw();
    else if (mod == 2)
        displacement = (uint64_t)(int32_t)(one_in(2) ? draw() : below(4096));
    fix_register(builder, base, builder->offset - scaled - displacement);
    emit(builder, displacement, mod == 0 ? 0 : mod == 1 ? 1 : 4);
    return true;
}

static bool draw_modrm(struct builder *builder)
{
    int extension = builder->sample->form->extension;
    unsigned reg = extension >= 0 ? (unsigned)extension : below(8);
    unsigned mod = builder->in_memory ? below(3) : 3, rm = below(8);
    emit(builder, mod << 6 | reg << 3 | rm, 1);
    if (is_bit_string(builder) && !draw_bit_number(builder, reg))
        return false;
    if (mod == 3)
        return true;
    return builder->address_size == 2 ? draw_address_16(builder, mod, rm)
                                      : draw_address_32(builder, mod, rm);
}

/* ---- Registers ------------------------------------------------------------------------------- */

static void set_register(struct builder *builder, unsigned number, uint64_t value)
{
    if (is_free(builder, number))
        builder->gpr[number] = builder->sample->scene.mode == NATIVE_64 ? value : (uint32_t)value;
}

/* Half of the time, comparisons with the accumulator succeed. */
static void draw_accumulator(struct builder *builder)
{
    unsigned operation = builder->sample->form->opcode.operation;
    uint64_t words[2], linear;
    linear = builder->offset + scene_base(&builder->sample->scene, builder->segment);
    if (!builder->in_memory || one_in(2) || !memory_peek(linear, words))
        return;
    if (operation != OPERATION_CMPXCHG && operation != OPERATION_CMPXCHG8B)
        return;
    set_register(builder, GPR_RAX, words[0]);
    if (operation == OPERATION_CMPXCHG8B)
        set_register(builder, GPR_RDX, builder->size == 16 ? words[1] : words[0] >> 32);
}

static void draw_string(struct builder *builder)
{
    const struct scene *scene = &builder->sample->scene;
    unsigned source = builder->override != SEG_COUNT ? builder->override : SEG_DS;
    uint64_t from = scene_draw_offset(scene, source, builder->address_size, builder->size);
    uint64_t to = scene_draw_offset(scene, SEG_ES, builder->address_size, builder->size);
    if (one_in(8) && scene_base(scene, source) == scene_base(scene, SEG_ES))
        to = from + below(32) - 16; /* they overlap */
    bool uniform = one_in(2);
    memory_draw_around(from + scene_base(scene, source), uniform);
    memory_draw_around(to + scene_base(scene, SEG_ES), uniform);
    fix_register(builder, GPR_RSI, from);
    fix_register(builder, GPR_RDI, to);
    if (one_in(2))
        builder->gpr[GPR_RAX] = 0;
    if (!builder->repeats)
        return;
    uint64_t count = one_in(64) ? 200 + below(400) : below(40);
    /* With 32-bit addresses in 64-bit mode and a count of zero, vendors differ in what becomes of
     * the registers' upper halves. */
    if (count == 0 && scene->mode == NATIVE_64 && builder->address_size == 4)
        count = 1;
    fix_register(builder, GPR_RCX, count);
}

static void draw_stack_pointer(struct builder *builder)
{
    const struct scene *scene = &builder->sample->scene;
    unsigned operation = builder->sample->form->opcode.operation;
    bool wide = (scene->segment[SEG_SS].access & SEGMENT_DB) != 0;
    unsigned size = scene->mode == NATIVE_64 ? 8 : wide ? 4 : 2;
    uint64_t offset = scene_draw_offset(scene, SEG_SS, size, builder->size), above = ~0ull;
    if (!is_free(builder, GPR_RSP))
        return;
    if (operation == OPERATION_PUSH || operation == OPERATION_PUSHF)
        offset += builder->size;
    if (scene->mode != NATIVE_64)
        above = 0xffffffff;
    uint64_t mask = bits_size_mask(size);
    builder->gpr[GPR_RSP] = (offset & mask) | (draw() & above & ~mask);
}

static void draw_registers(struct builder *builder)
{
    bool wide = builder->sample->scene.mode == NATIVE_64;
    for (unsigned i = 0; i < GPR_COUNT; i++) {
        builder->gpr[i] = draw_value();
        if (!wide && i < GPR_R8)
            builder->gpr[i] &= 0xffffffff;
    }
    if (one_in(2)) /* a count */
        builder->gpr[GPR_RCX] = (builder->gpr[GPR_RCX] & 0xffffff00) | below(70);
}

/* ---- All of it ------------------------------------------------------------------------------- */

static void draw_immediate(struct builder *builder)
{
    unsigned form = opcode_source(&builder->sample->form->opcode);
    if (form == FORM_IMMEDIATE_8)
        emit(builder, one_in(2) ? below(70) : draw_value(), 1);
    else if (form == FORM_IMMEDIATE_Z)
        emit(builder, draw_value(), builder->size == 2 ? 2 : builder->size == 1 ? 1 : 4);
}

static unsigned shift_count(const struct builder *builder)
{
    switch (opcode_source(&builder->sample->form->opcode)) {
    case FORM_IMMEDIATE_8:
        return builder->sample->bytes[builder->sample->length - 1];
    case FORM_CL:
        return (uint8_t)builder->gpr[GPR_RCX];
    default:
        return 1;
    }
}

static bool is_code(uint64_t linear)
{
    uint64_t page = (linear - WINDOW_CODE) / PAGE_SIZE;
    return linear >= WINDOW_CODE && page < 5 && windows[2].kind[page] == PAGE_CODE;
}

/* Where the instruction goes: mostly into the two pages of code, sometimes over their end or the
 * segment's. False: CS does not reach there. */
static bool place(struct builder *builder)
{
    struct sample *sample = builder->sample;
    const struct segment *cs = &sample->scene.segment[SEG_CS];
    uint64_t base = sample->scene.mode == NATIVE_64 ? 0 : cs->base;
    uint64_t linear = WINDOW_CODE + below(2 * PAGE_SIZE - 64);
    if (one_in(16))
        linear = WINDOW_CODE + PAGE_SIZE - below(sample->length + 1);
    if (one_in(64)) /* goes on in a page that is not for code, or not there */
        linear = WINDOW_CODE + (one_in(2) ? 2 : 4) * PAGE_SIZE - 1 - below(sample->length + 1);
    if (sample->scene.mode != NATIVE_64 && one_in(32))
        linear = base + cs->limit - below(sample->length + 2);
    uint64_t offset = linear - base;
    if (!is_code(linear) || (sample->scene.mode != NATIVE_64 && offset >> 32 != 0))
        return false;
    if (sample->scene.mode != NATIVE_64 && offset > cs->limit)
        return false;
    sample->linear = linear;
    sample->context.rip = offset;
    return true;
}

/* Whether the processor could fetch the byte behind the instruction; else only the trap flag tells
 * that the instruction is over. */
static bool is_followed(const struct sample *sample)
{
    uint64_t end = sample->linear + sample->length;
    if (!is_code(end))
        return false;
    return sample->scene.mode == NATIVE_64 ||
           sample->context.rip + sample->length <= sample->scene.segment[SEG_CS].limit;
}

static void put_code(const struct sample *sample)
{
    for (unsigned i = 0; i < sample->length + BREAKPOINTS; i++) {
        uint8_t byte = i < sample->length ? sample->bytes[i] : BREAKPOINT;
        if (is_code(sample->linear + i))
            memory_put(sample->linear + i, &byte, 1);
    }
}

static void patch_rip_relative(struct builder *builder)
{
    struct sample *sample = builder->sample;
    uint64_t next = sample->context.rip + sample->length;
    uint32_t displacement = (uint32_t)(builder->offset - next);
    if (builder->rip_relative != NOWHERE)
        memcpy(sample->bytes + builder->rip_relative, &displacement, 4);
}

static bool try_build(struct sample *sample, const struct cell *cell)
{
    memset(sample, 0, sizeof(*sample));
    sample->cell = cell;
    sample->form = &forms[cell->form];
    struct builder builder = {.sample = sample,
                              .gpr = sample->context.gpr,
                              .size = cell->size,
                              .address_size = cell->address_size,
                              .override = SEG_COUNT,
                              .segment = SEG_DS,
                              .rip_relative = NOWHERE};
    const struct form *form = sample->form;
    scene_draw(&sample->scene, cell->mode, cell->address_size == 2);
    draw_registers(&builder);
    builder.in_memory = !has(&builder, OPCODE_MODRM) || has(&builder, OPCODE_MEMORY) || !one_in(8);
    draw_prefixes(&builder);
    for (unsigned i = 0; i < form->escapes; i++)
        emit(&builder, form->escape[i], 1);
    emit(&builder, form->byte, 1);
    if (has(&builder, OPCODE_MODRM) && !draw_modrm(&builder))
        return false;
    if (is_offset(&builder)) {
        aim(&builder, SEG_DS);
        emit(&builder, builder.offset, builder.address_size);
    }
    memory_draw_around(builder.offset + scene_base(&sample->scene, builder.segment), false);
    if (is_string(&builder))
        draw_string(&builder);
    draw_stack_pointer(&builder);
    draw_accumulator(&builder);
    draw_immediate(&builder);
    if (!place(&builder))
        return false;
    patch_rip_relative(&builder);
    sample->operand = builder.offset + scene_base(&sample->scene, builder.segment);
    sample->undefined_flags =
        flags_undefined(form->opcode.operation, builder.size, shift_count(&builder));
    return true;
}

void build_sample(struct sample *sample, const struct cell *cell)
{
    struct context *context = &sample->context;
    while (!try_build(sample, cell))
        continue;
    context->long_mode = sample->scene.mode == NATIVE_64;
    memcpy(context->selector, sample->scene.selector, sizeof(context->selector));
    context->fs_base = sample->scene.segment[SEG_FS].base;
    context->gs_base = sample->scene.segment[SEG_GS].base;
    context->rflags = RFLAGS_FIXED | RFLAGS_IF | (draw() & (RFLAGS_STATUS | RFLAGS_DF));
    if (one_in(20))
        context->rflags |= RFLAGS_AC;
    if (!is_followed(sample) || one_in(64))
        context->rflags |= RFLAGS_TF;
    put_code(sample);
}

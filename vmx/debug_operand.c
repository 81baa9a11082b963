/*
 * How much of memory an instruction accesses, for those that the decoder does not know: a
 * watchpoint beside what an SSE register, an x87 number or a stack slot is stored to is not met.
 * One size for each opcode of a map, or a rule by which prefixes tell it. SDM: Opcode Map;
 * Instruction Format.
 */
#include "kernel/vm/decode.h"
#include "vmx/debug_internal.h"

enum size_rule {
    BY_DEFAULT, /* not known: as much as an SSE register */
    BYTE,
    WORD,
    DWORD,
    QWORD,
    FULL, /* the vector's length: 16 bytes without VEX */
    HALF, /* of that, */
    QUARTER,
    EIGHTH,
    OPERAND, /* operand size */
    STACK,   /* the same, of 8 bytes in 64-bit mode */
    FAR,     /* a pointer: operand size and a selector */
    BY_W,    /* 4 or 8 */
    /* By the prefix: */
    HALF_FULL, /* a half; 66: all; of conversions */
    MMX,       /* 8 without one, which is MMX, else all */
    MMX_HALF,  /* the same with 4 */
    SCALAR,    /* all; F3: 4; F2: 8 */
    COMPARED,  /* 4; with one 8 */
    LOW,       /* 8; F3, and F2 with a long vector: all */
    CONVERTED, /* 8; 66: all; F3: 4 */
    INTEGER,   /* 8; F3, F2: 4 or 8 */
    MOVED,     /* 4 or 8; F3: 8 */
    COUNTED,   /* of shifts: 8 without one, else 16 */
    XMM,       /* 16 whatever the vector's length */
    YMM,
    TABLE, /* a descriptor table's register */
    X87_CONTROL,
    X87_TEN,
    X87_STATE,
    X87_WORD,
    FX_STATE,
};

static const uint8_t map_1[256] = {
    [0x50 ... 0x61] = STACK,
    [0x62] = FAR,
    [0x68] = STACK,
    [0x69] = OPERAND,
    [0x6a] = STACK,
    [0x6b] = OPERAND,
    [0x8c] = WORD,
    [0x8e] = QWORD,
    [0x8f] = STACK,
    [0x9a] = STACK,
    [0x9c ... 0x9d] = STACK,
    [0xc2 ... 0xc3] = STACK,
    [0xc4 ... 0xc5] = FAR,
    [0xc8 ... 0xc9] = STACK,
    [0xca ... 0xcb] = OPERAND,
    [0xcf] = OPERAND,
    [0xd7] = BYTE,
    [0xd8] = DWORD,
    [0xd9] = X87_CONTROL,
    [0xda] = DWORD,
    [0xdb] = X87_TEN,
    [0xdc] = QWORD,
    [0xdd] = X87_STATE,
    [0xde] = WORD,
    [0xdf] = X87_WORD,
    [0xe8] = STACK,
    [0xff] = STACK,
};

static const uint8_t map_0f[256] = {
    [0x00] = QWORD,
    [0x01] = TABLE,
    [0x02 ... 0x03] = QWORD,
    [0x10 ... 0x11] = SCALAR,
    [0x12] = LOW,
    [0x13] = QWORD,
    [0x14 ... 0x15] = FULL,
    [0x16] = LOW,
    [0x17] = QWORD,
    [0x28 ... 0x29] = FULL,
    [0x2a] = INTEGER,
    [0x2b] = FULL,
    [0x2c ... 0x2d] = CONVERTED,
    [0x2e ... 0x2f] = COMPARED,
    [0x51 ... 0x53] = SCALAR,
    [0x54 ... 0x57] = FULL,
    [0x58 ... 0x59] = SCALAR,
    [0x5a] = HALF_FULL,
    [0x5b] = FULL,
    [0x5c ... 0x5f] = SCALAR,
    [0x60 ... 0x62] = MMX_HALF,
    [0x63 ... 0x6d] = MMX,
    [0x6e] = BY_W,
    [0x6f ... 0x70] = MMX,
    [0x71 ... 0x73] = FULL,
    [0x74 ... 0x76] = MMX,
    [0x7c ... 0x7d] = FULL,
    [0x7e] = MOVED,
    [0x7f] = MMX,
    [0xa0 ... 0xa1] = STACK,
    [0xa4 ... 0xa5] = OPERAND,
    [0xa8 ... 0xa9] = STACK,
    [0xac ... 0xad] = OPERAND,
    [0xae] = FX_STATE,
    [0xaf] = OPERAND,
    [0xb2] = FAR,
    [0xb4 ... 0xb5] = FAR,
    [0xb8] = OPERAND,
    [0xbc ... 0xbd] = OPERAND,
    [0xc2] = SCALAR,
    [0xc4] = WORD,
    [0xc6] = FULL,
    [0xc7] = FX_STATE,
    [0xd0] = FULL,
    [0xd1 ... 0xd3] = COUNTED,
    [0xd4 ... 0xd5] = MMX,
    [0xd6] = QWORD,
    [0xd8 ... 0xe0] = MMX,
    [0xe1 ... 0xe2] = COUNTED,
    [0xe3 ... 0xe5] = MMX,
    [0xe6] = HALF_FULL,
    [0xe7 ... 0xef] = MMX,
    [0xf0] = FULL,
    [0xf1 ... 0xf3] = COUNTED,
    [0xf4 ... 0xfe] = MMX,
};

static const uint8_t map_0f38[256] = {
    [0x00 ... 0x0b] = MMX,  [0x0c ... 0x0f] = FULL, [0x10] = HALF,          [0x11] = QUARTER,
    [0x12] = EIGHTH,        [0x13] = HALF,          [0x14] = FULL,          [0x15 ... 0x17] = FULL,
    [0x18] = DWORD,         [0x19] = QWORD,         [0x1a] = XMM,           [0x1b] = YMM,
    [0x1c ... 0x1f] = MMX,  [0x20] = HALF,          [0x21] = QUARTER,       [0x22] = EIGHTH,
    [0x23] = HALF,          [0x24] = QUARTER,       [0x25] = HALF,          [0x26 ... 0x2f] = FULL,
    [0x30] = HALF,          [0x31] = QUARTER,       [0x32] = EIGHTH,        [0x33] = HALF,
    [0x34] = QUARTER,       [0x35] = HALF,          [0x36 ... 0x47] = FULL, [0x58] = DWORD,
    [0x59] = QWORD,         [0x5a] = XMM,           [0x5b] = YMM,           [0x78] = BYTE,
    [0x79] = WORD,          [0x8c] = FULL,          [0x8e] = FULL,          [0x90 ... 0x93] = BY_W,
    [0x96 ... 0x98] = FULL, [0x99] = BY_W,          [0x9a] = FULL,          [0x9b] = BY_W,
    [0x9c] = FULL,          [0x9d] = BY_W,          [0x9e] = FULL,          [0x9f] = BY_W,
    [0xa6 ... 0xa8] = FULL, [0xa9] = BY_W,          [0xaa] = FULL,          [0xab] = BY_W,
    [0xac] = FULL,          [0xad] = BY_W,          [0xae] = FULL,          [0xaf] = BY_W,
    [0xb6 ... 0xb8] = FULL, [0xb9] = BY_W,          [0xba] = FULL,          [0xbb] = BY_W,
    [0xbc] = FULL,          [0xbd] = BY_W,          [0xbe] = FULL,          [0xbf] = BY_W,
    [0xc8 ... 0xcd] = XMM,  [0xdb ... 0xdf] = FULL, [0xf0] = BYTE,          [0xf1] = OPERAND,
    [0xf2 ... 0xf7] = BY_W,
};

static const uint8_t map_0f3a[256] =
    {
        [0x00 ... 0x09] = FULL, [0x0a] = DWORD,        [0x0b] = QWORD,
        [0x0c ... 0x0e] = FULL, [0x0f] = MMX,          [0x14] = BYTE,
        [0x15] = WORD,          [0x16] = BY_W,         [0x17] = DWORD,
        [0x18 ... 0x19] = XMM,  [0x1a ... 0x1b] = YMM, [0x1d] = HALF,
        [0x20] = BYTE,          [0x21] = DWORD,        [0x22] = BY_W,
        [0x38 ... 0x39] = XMM,  [0x3a ... 0x3b] = YMM, [0x40 ... 0x4c] = FULL,
        [0x60 ... 0x63] = XMM,  [0xcc] = XMM,          [0xdf] = XMM,
        [0xf0] = BY_W,
};

static const uint8_t *const maps[] = {map_1, map_0f, map_0f38, map_0f3a};

/* SDM: VEX, pp: which of these prefixes there is. */
enum { NO_PREFIX, PREFIX_66, PREFIX_F3, PREFIX_F2 };

struct opcode_bytes {
    const uint8_t *at, *end;
    unsigned code_size;
    unsigned operand, vector; /* sizes */
    uint8_t map, opcode, prefix, reg;
    bool has_66, wide, is_broadcast;
};

static uint8_t next(struct opcode_bytes *bytes)
{
    return bytes->at < bytes->end ? *bytes->at++ : 0;
}

static uint8_t peek(const struct opcode_bytes *bytes)
{
    return bytes->at < bytes->end ? *bytes->at : 0;
}

static void take_prefixes(struct opcode_bytes *bytes)
{
    uint8_t rex = 0;
    for (;; bytes->at++) {
        uint8_t byte = peek(bytes);
        if (bytes->code_size == 8 && (byte & 0xf0) == 0x40) {
            rex = byte;
            continue;
        }
        if (byte == 0x66)
            bytes->has_66 = true;
        else if (byte == 0xf2 || byte == 0xf3)
            bytes->prefix = byte == 0xf2 ? PREFIX_F2 : PREFIX_F3;
        else if (byte != 0x67 && byte != 0xf0 && (byte & 0xe7) != 0x26 && (byte & 0xfe) != 0x64)
            break;
        rex = 0; /* it counts before the opcode only */
    }
    bytes->wide = rex & 8;
    if (bytes->prefix == NO_PREFIX && bytes->has_66)
        bytes->prefix = PREFIX_66;
}

/* SDM: The VEX Prefix; Instruction Encoding for AVX-512. Outside 64-bit mode the first byte is an
 * instruction's own unless what follows names two registers. */
static bool take_vector_prefix(struct opcode_bytes *bytes)
{
    uint8_t first = peek(bytes);
    bool is_vector = first == 0xc4 || first == 0xc5 || first == 0x62;
    if (!is_vector || bytes->end - bytes->at < 2 || (bytes->code_size != 8 && bytes->at[1] < 0xc0))
        return false;
    next(bytes);
    uint8_t second = next(bytes), third = second;
    bytes->map = 1;
    if (first != 0xc5) {
        third = next(bytes);
        bytes->map = second & 3;
        bytes->wide = third & 0x80;
    }
    bytes->prefix = third & 3;
    bytes->vector = 16u << (third >> 2 & 1);
    if (first == 0x62) {
        uint8_t fourth = next(bytes);
        bytes->vector = 16u << (fourth >> 5 & 3);
        bytes->is_broadcast = fourth & 0x10;
    }
    return true;
}

static void take_opcode(struct opcode_bytes *bytes)
{
    take_prefixes(bytes);
    if (!take_vector_prefix(bytes) && peek(bytes) == 0x0f) {
        next(bytes);
        bytes->map = peek(bytes) == 0x38 ? 2 : peek(bytes) == 0x3a ? 3 : 1;
        if (bytes->map != 1)
            next(bytes);
    }
    bytes->opcode = next(bytes);
    bytes->reg = peek(bytes) >> 3 & 7;
    unsigned small = bytes->code_size == 2 ? 2 : 4, other = small ^ 6;
    bytes->operand = bytes->wide ? 8 : bytes->has_66 ? (bytes->code_size == 8 ? 2 : other) : small;
}

/* x87: by ModRM.reg; of the environment and all state, smaller with 16-bit operands. */
static unsigned x87_size(const struct opcode_bytes *bytes, enum size_rule rule)
{
    static const uint8_t control[] = {4, 4, 4, 4, 28, 2, 28, 2}, ten[] = {4, 4, 4, 4, 4, 10, 4, 10},
                         state[] = {8, 8, 8, 8, 108, 8, 108, 2},
                         word[] = {2, 2, 2, 2, 10, 8, 10, 8};
    unsigned size = rule == X87_CONTROL ? control[bytes->reg]
                    : rule == X87_TEN   ? ten[bytes->reg]
                    : rule == X87_STATE ? state[bytes->reg]
                                        : word[bytes->reg];
    return size >= 28 && bytes->operand == 2 ? size - 14 : size;
}

/* Groups 15 and 9: FXSAVE and FXRSTOR, MXCSR, and the XSAVE area. */
static unsigned state_size(const struct opcode_bytes *bytes)
{
    static const uint16_t group_15[] = {512, 512, 4, 4, DEBUG_XSAVE, DEBUG_XSAVE, DEBUG_XSAVE, 64},
                          group_9[] = {8, 16, 8, DEBUG_XSAVE, DEBUG_XSAVE, DEBUG_XSAVE, 8, 8};
    return bytes->opcode == 0xae ? group_15[bytes->reg] : group_9[bytes->reg];
}

static unsigned table_size(const struct opcode_bytes *bytes)
{
    return bytes->reg >= 4 ? 2 : bytes->code_size == 8 ? 10 : 6;
}

/* What depends on the prefix: without one, with 66, F3, F2; 0 stands for the vector. */
static unsigned prefixed_size(const struct opcode_bytes *bytes, enum size_rule rule)
{
    unsigned by_w = bytes->wide ? 8 : 4, half = bytes->vector / 2;
    unsigned low = bytes->vector > 16 ? 0 : 8, count = 16;
    const unsigned sizes[][4] = {
        [HALF_FULL - HALF_FULL] = {half, 0, bytes->opcode == 0x5a ? 4 : half,
                                   bytes->opcode == 0x5a ? 8 : 0},
        [MMX - HALF_FULL] = {8, 0, 0, 0},
        [MMX_HALF - HALF_FULL] = {4, 0, 0, 0},
        [SCALAR - HALF_FULL] = {0, 0, 4, 8},
        [COMPARED - HALF_FULL] = {4, 8, 8, 8},
        [LOW - HALF_FULL] = {8, 8, 0, low},
        [CONVERTED - HALF_FULL] = {8, 0, 4, 8},
        [INTEGER - HALF_FULL] = {8, 8, by_w, by_w},
        [MOVED - HALF_FULL] = {by_w, by_w, 8, 8},
        [COUNTED - HALF_FULL] = {8, count, count, count},
    };
    unsigned size = sizes[rule - HALF_FULL][bytes->prefix];
    return size != 0 ? size : bytes->vector;
}

static unsigned size_of(const struct opcode_bytes *bytes, enum size_rule rule)
{
    unsigned stack = bytes->code_size == 8 && !bytes->has_66 ? 8 : bytes->operand;
    switch (rule) {
    case BYTE:
    case WORD:
    case DWORD:
    case QWORD:
        return 1u << (rule - BYTE);
    case HALF:
    case QUARTER:
    case EIGHTH:
        return bytes->vector >> (rule - FULL);
    case OPERAND:
        return bytes->operand;
    case STACK:
        return stack;
    case FAR:
        return bytes->operand + 2;
    case BY_W:
        return bytes->wide ? 8 : 4;
    case XMM:
        return 16;
    case YMM:
        return 32;
    case TABLE:
        return table_size(bytes);
    case X87_CONTROL:
    case X87_TEN:
    case X87_STATE:
    case X87_WORD:
        return x87_size(bytes, rule);
    case FX_STATE:
        return state_size(bytes);
    case FULL:
    case BY_DEFAULT:
        return bytes->vector;
    default:
        return prefixed_size(bytes, rule);
    }
}

/* What the decoder knows, it knows better. */
static unsigned decoded_size(const uint8_t *bytes, unsigned count, unsigned code_size)
{
    struct instruction instruction;
    struct exception exception;
    if (decode_instruction(bytes, count, code_size, &instruction, &exception) != STATUS_OK)
        return 0;
    if (instruction.destination.kind == OPERAND_MEMORY)
        return instruction.destination.size;
    if (instruction.source.kind == OPERAND_MEMORY)
        return instruction.source.size;
    return instruction.size;
}

unsigned debug_operand_size(const uint8_t *bytes, unsigned count, unsigned code_size)
{
    struct opcode_bytes opcode = {
        .at = bytes, .end = bytes + count, .code_size = code_size, .vector = 16};
    unsigned size = decoded_size(bytes, count, code_size);
    if (size != 0)
        return size;
    take_opcode(&opcode);
    if (opcode.is_broadcast)
        return opcode.wide ? 8 : 4;
    return size_of(&opcode, (enum size_rule)maps[opcode.map][opcode.opcode]);
}

/* The opcode maps behind decode.c. SDM: Opcode Map. */
#pragma once

#include "kernel/vm/decode.h"

/* How an opcode names an operand. */
enum operand_form {
    FORM_NONE,
    FORM_RM,          /* ModRM.rm: register or memory */
    FORM_REG,         /* ModRM.reg */
    FORM_IMMEDIATE_8, /* one byte */
    FORM_IMMEDIATE_Z, /* two bytes for 16-bit operands, else four */
    FORM_ONE,         /* the constant 1 */
    FORM_CL,
    FORM_ACCUMULATOR, /* AL, AX, EAX or RAX */
    FORM_OFFSET,      /* memory at an offset of address-size bytes */
};

#define OPCODE_KNOWN BIT(0)
#define OPCODE_MODRM BIT(1)
#define OPCODE_GROUP BIT(2)      /* ModRM.reg chooses in opcode_groups[operation] */
#define OPCODE_BYTE BIT(3)       /* 8-bit operands */
#define OPCODE_LOCK BIT(4)       /* LOCK is allowed when the destination is memory */
#define OPCODE_MEMORY BIT(5)     /* ModRM.rm must be memory; else it is another instruction */
#define OPCODE_STACK BIT(6)      /* 64-bit mode: 8 bytes unless prefix 66 makes them 2 */
#define OPCODE_64 BIT(7)         /* only in 64-bit mode */
#define OPCODE_NOT_64 BIT(8)     /* not in 64-bit mode */
#define OPCODE_SOURCE_8 BIT(9)   /* the source has 8 bits */
#define OPCODE_SOURCE_16 BIT(10) /* the source has 16 bits */
#define OPCODE_SOURCE_32 BIT(11) /* the source has 32 bits, 16 with a 16-bit destination */
#define OPCODE_PORT BIT(12)      /* operands of at most 4 bytes */
#define OPCODE_DOUBLE BIT(13)    /* operands of twice 4 or 8 bytes */
#define OPCODE_NO_66 BIT(14)     /* no 16-bit operands: prefix 66 makes it another instruction */
#define OPCODE_NO_REPEAT BIT(15) /* so do F2 and F3 */

struct opcode {
    uint8_t operation; /* enum operation, or the group; without flags, enum opcode_prefix */
    uint8_t forms;     /* enum operand_form: the destination's in bits 7:4, the source's in 3:0 */
    uint16_t flags;    /* without OPCODE_KNOWN: not an instruction that the decoder knows */
};

static inline unsigned opcode_destination(const struct opcode *opcode)
{
    return opcode->forms >> 4;
}

static inline unsigned opcode_source(const struct opcode *opcode)
{
    return opcode->forms & 0xf;
}

enum opcode_group {
    GROUP_1_BYTE,
    GROUP_1,
    GROUP_1_SIGNED,
    GROUP_1A,
    GROUP_2_BYTE_IMMEDIATE,
    GROUP_2_IMMEDIATE,
    GROUP_2_BYTE_ONE,
    GROUP_2_ONE,
    GROUP_2_BYTE_CL,
    GROUP_2_CL,
    GROUP_3_BYTE,
    GROUP_3,
    GROUP_4,
    GROUP_5,
    GROUP_8,
    GROUP_9,
    GROUP_11_BYTE,
    GROUP_11,
    GROUP_15,
    GROUP_P,
    GROUP_COUNT
};

/* What the prefixes are; they stand in opcode_map_1. */
enum opcode_prefix {
    PREFIX_NONE,
    PREFIX_SEGMENT, /* ES, CS, SS, DS: ignored in 64-bit mode */
    PREFIX_SEGMENT_FS_GS,
    PREFIX_OPERAND_SIZE,
    PREFIX_ADDRESS_SIZE,
    PREFIX_LOCK,
    PREFIX_REPEAT_EQUAL,
    PREFIX_REPEAT_NOT_EQUAL,
    PREFIX_REX, /* in 64-bit mode only */
};

extern const struct opcode opcode_map_1[256]; /* one byte */
extern const struct opcode opcode_map_2[256]; /* 0F and one byte */
extern const struct opcode opcode_movbe[2];   /* 0F 38 F0 and F1 */
extern const struct opcode opcode_groups[GROUP_COUNT][8];

#include "kernel/vm/decode_table.h"

#define M (OPCODE_KNOWN | OPCODE_MODRM)
#define MB (M | OPCODE_BYTE)
#define ML (M | OPCODE_LOCK)
#define MBL (MB | OPCODE_LOCK)
#define STRING OPCODE_KNOWN
#define STRING_BYTE (OPCODE_KNOWN | OPCODE_BYTE)

const uint8_t opcode_prefixes[256] = {
    [0x26] = PREFIX_SEGMENT,       [0x2e] = PREFIX_SEGMENT,          [0x36] = PREFIX_SEGMENT,
    [0x3e] = PREFIX_SEGMENT,       [0x40 ... 0x4f] = PREFIX_REX,     [0x64] = PREFIX_SEGMENT_FS_GS,
    [0x65] = PREFIX_SEGMENT_FS_GS, [0x66] = PREFIX_OPERAND_SIZE,     [0x67] = PREFIX_ADDRESS_SIZE,
    [0xf0] = PREFIX_LOCK,          [0xf2] = PREFIX_REPEAT_NOT_EQUAL, [0xf3] = PREFIX_REPEAT_EQUAL,
};

/* The four forms with a ModRM byte of an arithmetic instruction; lock is OPCODE_LOCK or 0. */
#define ARITHMETIC(first, name, lock)                                                              \
    [first] = {OPERATION_##name, FORM_RM, FORM_REG, MB | (lock)},                                  \
    [(first) + 1] = {OPERATION_##name, FORM_RM, FORM_REG, M | (lock)},                             \
    [(first) + 2] = {OPERATION_##name, FORM_REG, FORM_RM, MB},                                     \
    [(first) + 3] = {OPERATION_##name, FORM_REG, FORM_RM, M}
#define GROUP(first, group) [first] = {group, FORM_NONE, FORM_NONE, M | OPCODE_GROUP}

const struct opcode opcode_map_1[256] = {
    ARITHMETIC(0x00, ADD, OPCODE_LOCK),
    ARITHMETIC(0x08, OR, OPCODE_LOCK),
    ARITHMETIC(0x10, ADC, OPCODE_LOCK),
    ARITHMETIC(0x18, SBB, OPCODE_LOCK),
    ARITHMETIC(0x20, AND, OPCODE_LOCK),
    ARITHMETIC(0x28, SUB, OPCODE_LOCK),
    ARITHMETIC(0x30, XOR, OPCODE_LOCK),
    ARITHMETIC(0x38, CMP, 0),
    [0x63] = {OPERATION_MOVSX, FORM_REG, FORM_RM, M | OPCODE_64 | OPCODE_SOURCE_32},
    [0x6c] = {OPERATION_INS, FORM_NONE, FORM_NONE, STRING_BYTE},
    [0x6d] = {OPERATION_INS, FORM_NONE, FORM_NONE, STRING | OPCODE_PORT},
    [0x6e] = {OPERATION_OUTS, FORM_NONE, FORM_NONE, STRING_BYTE},
    [0x6f] = {OPERATION_OUTS, FORM_NONE, FORM_NONE, STRING | OPCODE_PORT},
    GROUP(0x80, GROUP_1_BYTE),
    GROUP(0x81, GROUP_1),
    [0x82] = {GROUP_1_BYTE, FORM_NONE, FORM_NONE, M | OPCODE_GROUP | OPCODE_NOT_64},
    GROUP(0x83, GROUP_1_SIGNED),
    [0x84] = {OPERATION_TEST, FORM_RM, FORM_REG, MB},
    [0x85] = {OPERATION_TEST, FORM_RM, FORM_REG, M},
    [0x86] = {OPERATION_XCHG, FORM_RM, FORM_REG, MBL},
    [0x87] = {OPERATION_XCHG, FORM_RM, FORM_REG, ML},
    [0x88] = {OPERATION_MOV, FORM_RM, FORM_REG, MB},
    [0x89] = {OPERATION_MOV, FORM_RM, FORM_REG, M},
    [0x8a] = {OPERATION_MOV, FORM_REG, FORM_RM, MB},
    [0x8b] = {OPERATION_MOV, FORM_REG, FORM_RM, M},
    GROUP(0x8f, GROUP_1A),
    [0xa0] = {OPERATION_MOV, FORM_ACCUMULATOR, FORM_OFFSET, STRING_BYTE},
    [0xa1] = {OPERATION_MOV, FORM_ACCUMULATOR, FORM_OFFSET, OPCODE_KNOWN},
    [0xa2] = {OPERATION_MOV, FORM_OFFSET, FORM_ACCUMULATOR, STRING_BYTE},
    [0xa3] = {OPERATION_MOV, FORM_OFFSET, FORM_ACCUMULATOR, OPCODE_KNOWN},
    [0xa4] = {OPERATION_MOVS, FORM_NONE, FORM_NONE, STRING_BYTE},
    [0xa5] = {OPERATION_MOVS, FORM_NONE, FORM_NONE, STRING},
    [0xa6] = {OPERATION_CMPS, FORM_NONE, FORM_NONE, STRING_BYTE},
    [0xa7] = {OPERATION_CMPS, FORM_NONE, FORM_NONE, STRING},
    [0xaa] = {OPERATION_STOS, FORM_NONE, FORM_NONE, STRING_BYTE},
    [0xab] = {OPERATION_STOS, FORM_NONE, FORM_NONE, STRING},
    [0xac] = {OPERATION_LODS, FORM_NONE, FORM_NONE, STRING_BYTE},
    [0xad] = {OPERATION_LODS, FORM_NONE, FORM_NONE, STRING},
    [0xae] = {OPERATION_SCAS, FORM_NONE, FORM_NONE, STRING_BYTE},
    [0xaf] = {OPERATION_SCAS, FORM_NONE, FORM_NONE, STRING},
    GROUP(0xc0, GROUP_2_BYTE_IMMEDIATE),
    GROUP(0xc1, GROUP_2_IMMEDIATE),
    GROUP(0xc6, GROUP_11_BYTE),
    GROUP(0xc7, GROUP_11),
    GROUP(0xd0, GROUP_2_BYTE_ONE),
    GROUP(0xd1, GROUP_2_ONE),
    GROUP(0xd2, GROUP_2_BYTE_CL),
    GROUP(0xd3, GROUP_2_CL),
    GROUP(0xf6, GROUP_3_BYTE),
    GROUP(0xf7, GROUP_3),
    GROUP(0xfe, GROUP_4),
    GROUP(0xff, GROUP_5),
};

#define BIT_TEST(byte, name, lock) [byte] = {OPERATION_##name, FORM_RM, FORM_REG, M | (lock)}

const struct opcode opcode_map_2[256] = {
    GROUP(0x0d, GROUP_P),
    [0x18] = {OPERATION_NOP, FORM_RM, FORM_NONE, M | OPCODE_MEMORY},
    [0x1f] = {OPERATION_NOP, FORM_RM, FORM_NONE, M},
    [0x40 ... 0x4f] = {OPERATION_CMOVCC, FORM_REG, FORM_RM, M},
    [0x90 ... 0x9f] = {OPERATION_SETCC, FORM_RM, FORM_NONE, MB},
    BIT_TEST(0xa3, BT, 0),
    BIT_TEST(0xab, BTS, OPCODE_LOCK),
    GROUP(0xae, GROUP_15),
    [0xb0] = {OPERATION_CMPXCHG, FORM_RM, FORM_REG, MBL},
    [0xb1] = {OPERATION_CMPXCHG, FORM_RM, FORM_REG, ML},
    BIT_TEST(0xb3, BTR, OPCODE_LOCK),
    [0xb6] = {OPERATION_MOVZX, FORM_REG, FORM_RM, M | OPCODE_SOURCE_8},
    [0xb7] = {OPERATION_MOVZX, FORM_REG, FORM_RM, M | OPCODE_SOURCE_16},
    GROUP(0xba, GROUP_8),
    BIT_TEST(0xbb, BTC, OPCODE_LOCK),
    [0xbe] = {OPERATION_MOVSX, FORM_REG, FORM_RM, M | OPCODE_SOURCE_8},
    [0xbf] = {OPERATION_MOVSX, FORM_REG, FORM_RM, M | OPCODE_SOURCE_16},
    [0xc0] = {OPERATION_XADD, FORM_RM, FORM_REG, MBL},
    [0xc1] = {OPERATION_XADD, FORM_RM, FORM_REG, ML},
    [0xc3] = {OPERATION_MOV, FORM_RM, FORM_REG,
              M | OPCODE_MEMORY | OPCODE_NO_66 | OPCODE_NO_REPEAT | OPCODE_SIZES_48},
    GROUP(0xc7, GROUP_9),
};

const struct opcode opcode_movbe[2] = {
    {OPERATION_MOVBE, FORM_REG, FORM_RM, M | OPCODE_MEMORY | OPCODE_NO_REPEAT},
    {OPERATION_MOVBE, FORM_RM, FORM_REG, M | OPCODE_MEMORY | OPCODE_NO_REPEAT},
};

#define GROUP_1_ROWS(immediate, flags)                                                             \
    {                                                                                              \
        {OPERATION_ADD, FORM_RM, immediate, (flags) | OPCODE_LOCK},                                \
            {OPERATION_OR, FORM_RM, immediate, (flags) | OPCODE_LOCK},                             \
            {OPERATION_ADC, FORM_RM, immediate, (flags) | OPCODE_LOCK},                            \
            {OPERATION_SBB, FORM_RM, immediate, (flags) | OPCODE_LOCK},                            \
            {OPERATION_AND, FORM_RM, immediate, (flags) | OPCODE_LOCK},                            \
            {OPERATION_SUB, FORM_RM, immediate, (flags) | OPCODE_LOCK},                            \
            {OPERATION_XOR, FORM_RM, immediate, (flags) | OPCODE_LOCK},                            \
            {OPERATION_CMP, FORM_RM, immediate, (flags)},                                          \
    }
#define GROUP_2_ROWS(count, flags)                                                                 \
    {                                                                                              \
        {OPERATION_ROL, FORM_RM, count, flags}, {OPERATION_ROR, FORM_RM, count, flags},            \
            {OPERATION_RCL, FORM_RM, count, flags}, {OPERATION_RCR, FORM_RM, count, flags},        \
            {OPERATION_SHL, FORM_RM, count, flags}, {OPERATION_SHR, FORM_RM, count, flags},        \
            {OPERATION_SAL, FORM_RM, count, flags}, {OPERATION_SAR, FORM_RM, count, flags},        \
    }
#define PREFETCH                                                                                   \
    {                                                                                              \
        OPERATION_NOP, FORM_RM, FORM_NONE, M | OPCODE_MEMORY                                       \
    }

const struct opcode opcode_groups[GROUP_COUNT][8] = {
    [GROUP_1_BYTE] = GROUP_1_ROWS(FORM_IMMEDIATE_8, MB),
    [GROUP_1] = GROUP_1_ROWS(FORM_IMMEDIATE_Z, M),
    [GROUP_1_SIGNED] = GROUP_1_ROWS(FORM_IMMEDIATE_8, M),
    [GROUP_1A] = {{OPERATION_POP, FORM_RM, FORM_NONE, M | OPCODE_STACK}},
    [GROUP_2_BYTE_IMMEDIATE] = GROUP_2_ROWS(FORM_IMMEDIATE_8, MB),
    [GROUP_2_IMMEDIATE] = GROUP_2_ROWS(FORM_IMMEDIATE_8, M),
    [GROUP_2_BYTE_ONE] = GROUP_2_ROWS(FORM_ONE, MB),
    [GROUP_2_ONE] = GROUP_2_ROWS(FORM_ONE, M),
    [GROUP_2_BYTE_CL] = GROUP_2_ROWS(FORM_CL, MB),
    [GROUP_2_CL] = GROUP_2_ROWS(FORM_CL, M),
    [GROUP_3_BYTE] = {{OPERATION_TEST, FORM_RM, FORM_IMMEDIATE_8, MB},
                      {0},
                      {OPERATION_NOT, FORM_RM, FORM_NONE, MBL},
                      {OPERATION_NEG, FORM_RM, FORM_NONE, MBL}},
    [GROUP_3] = {{OPERATION_TEST, FORM_RM, FORM_IMMEDIATE_Z, M},
                 {0},
                 {OPERATION_NOT, FORM_RM, FORM_NONE, ML},
                 {OPERATION_NEG, FORM_RM, FORM_NONE, ML}},
    [GROUP_4] = {{OPERATION_INC, FORM_RM, FORM_NONE, MBL},
                 {OPERATION_DEC, FORM_RM, FORM_NONE, MBL}},
    [GROUP_5] = {{OPERATION_INC, FORM_RM, FORM_NONE, ML},
                 {OPERATION_DEC, FORM_RM, FORM_NONE, ML},
                 [6] = {OPERATION_PUSH, FORM_NONE, FORM_RM, M | OPCODE_STACK}},
    [GROUP_8] = {[4] = {OPERATION_BT, FORM_RM, FORM_IMMEDIATE_8, M},
                 [5] = {OPERATION_BTS, FORM_RM, FORM_IMMEDIATE_8, ML},
                 [6] = {OPERATION_BTR, FORM_RM, FORM_IMMEDIATE_8, ML},
                 [7] = {OPERATION_BTC, FORM_RM, FORM_IMMEDIATE_8, ML}},
    [GROUP_9] = {[1] = {OPERATION_CMPXCHG8B, FORM_RM, FORM_NONE,
                        ML | OPCODE_MEMORY | OPCODE_DOUBLE}},
    [GROUP_11_BYTE] = {{OPERATION_MOV, FORM_RM, FORM_IMMEDIATE_8, MB}},
    [GROUP_11] = {{OPERATION_MOV, FORM_RM, FORM_IMMEDIATE_Z, M}},
    /* CLFLUSH, and with prefix 66 CLFLUSHOPT. */
    [GROUP_15] = {[7] = {OPERATION_CLFLUSH, FORM_RM, FORM_NONE,
                         MB | OPCODE_MEMORY | OPCODE_NO_REPEAT}},
    [GROUP_P] = {PREFETCH, PREFETCH, PREFETCH, PREFETCH, PREFETCH, PREFETCH, PREFETCH, PREFETCH},
};

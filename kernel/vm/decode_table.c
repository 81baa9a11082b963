#include "kernel/vm/decode_table.h"

#define FORMS(destination, source) ((destination) << 4 | (source))
#define M (OPCODE_KNOWN | OPCODE_MODRM)
#define MB (M | OPCODE_BYTE)
#define ML (M | OPCODE_LOCK)
#define MBL (MB | OPCODE_LOCK)
#define STRING OPCODE_KNOWN
#define STRING_BYTE (OPCODE_KNOWN | OPCODE_BYTE)

/* The four forms with a ModRM byte of an arithmetic instruction; lock is OPCODE_LOCK or 0. */
#define ARITHMETIC(first, name, lock)                                                              \
    [first] = {OPERATION_##name, FORMS(FORM_RM, FORM_REG), MB | (lock)},                           \
    [(first) + 1] = {OPERATION_##name, FORMS(FORM_RM, FORM_REG), M | (lock)},                      \
    [(first) + 2] = {OPERATION_##name, FORMS(FORM_REG, FORM_RM), MB},                              \
    [(first) + 3] = {OPERATION_##name, FORMS(FORM_REG, FORM_RM), M}
#define GROUP(first, group) [first] = {group, FORMS(FORM_NONE, FORM_NONE), M | OPCODE_GROUP}

/* No instruction: its first column is the kind of prefix. */
#define PREFIX(name)                                                                               \
    {                                                                                              \
        PREFIX_##name, 0, 0                                                                        \
    }

const struct opcode opcode_map_1[256] = {
    [0x26] = PREFIX(SEGMENT),
    [0x2e] = PREFIX(SEGMENT),
    [0x36] = PREFIX(SEGMENT),
    [0x3e] = PREFIX(SEGMENT),
    [0x40 ... 0x4f] = PREFIX(REX),
    [0x64] = PREFIX(SEGMENT_FS_GS),
    [0x65] = PREFIX(SEGMENT_FS_GS),
    [0x66] = PREFIX(OPERAND_SIZE),
    [0x67] = PREFIX(ADDRESS_SIZE),
    [0xf0] = PREFIX(LOCK),
    [0xf2] = PREFIX(REPEAT_NOT_EQUAL),
    [0xf3] = PREFIX(REPEAT_EQUAL),
    ARITHMETIC(0x00, ADD, OPCODE_LOCK),
    ARITHMETIC(0x08, OR, OPCODE_LOCK),
    ARITHMETIC(0x10, ADC, OPCODE_LOCK),
    ARITHMETIC(0x18, SBB, OPCODE_LOCK),
    ARITHMETIC(0x20, AND, OPCODE_LOCK),
    ARITHMETIC(0x28, SUB, OPCODE_LOCK),
    ARITHMETIC(0x30, XOR, OPCODE_LOCK),
    ARITHMETIC(0x38, CMP, 0),
    [0x63] = {OPERATION_MOVSX, FORMS(FORM_REG, FORM_RM), M | OPCODE_64 | OPCODE_SOURCE_32},
    [0x6c] = {OPERATION_INS, FORMS(FORM_NONE, FORM_NONE), STRING_BYTE},
    [0x6d] = {OPERATION_INS, FORMS(FORM_NONE, FORM_NONE), STRING | OPCODE_PORT},
    [0x6e] = {OPERATION_OUTS, FORMS(FORM_NONE, FORM_NONE), STRING_BYTE},
    [0x6f] = {OPERATION_OUTS, FORMS(FORM_NONE, FORM_NONE), STRING | OPCODE_PORT},
    GROUP(0x80, GROUP_1_BYTE),
    GROUP(0x81, GROUP_1),
    [0x82] = {GROUP_1_BYTE, FORMS(FORM_NONE, FORM_NONE), M | OPCODE_GROUP | OPCODE_NOT_64},
    GROUP(0x83, GROUP_1_SIGNED),
    [0x84] = {OPERATION_TEST, FORMS(FORM_RM, FORM_REG), MB},
    [0x85] = {OPERATION_TEST, FORMS(FORM_RM, FORM_REG), M},
    [0x86] = {OPERATION_XCHG, FORMS(FORM_RM, FORM_REG), MBL},
    [0x87] = {OPERATION_XCHG, FORMS(FORM_RM, FORM_REG), ML},
    [0x88] = {OPERATION_MOV, FORMS(FORM_RM, FORM_REG), MB},
    [0x89] = {OPERATION_MOV, FORMS(FORM_RM, FORM_REG), M},
    [0x8a] = {OPERATION_MOV, FORMS(FORM_REG, FORM_RM), MB},
    [0x8b] = {OPERATION_MOV, FORMS(FORM_REG, FORM_RM), M},
    GROUP(0x8f, GROUP_1A),
    [0x9c] = {OPERATION_PUSHF, FORMS(FORM_NONE, FORM_NONE), OPCODE_KNOWN | OPCODE_STACK},
    [0xa0] = {OPERATION_MOV, FORMS(FORM_ACCUMULATOR, FORM_OFFSET), STRING_BYTE},
    [0xa1] = {OPERATION_MOV, FORMS(FORM_ACCUMULATOR, FORM_OFFSET), OPCODE_KNOWN},
    [0xa2] = {OPERATION_MOV, FORMS(FORM_OFFSET, FORM_ACCUMULATOR), STRING_BYTE},
    [0xa3] = {OPERATION_MOV, FORMS(FORM_OFFSET, FORM_ACCUMULATOR), OPCODE_KNOWN},
    [0xa4] = {OPERATION_MOVS, FORMS(FORM_NONE, FORM_NONE), STRING_BYTE},
    [0xa5] = {OPERATION_MOVS, FORMS(FORM_NONE, FORM_NONE), STRING},
    [0xa6] = {OPERATION_CMPS, FORMS(FORM_NONE, FORM_NONE), STRING_BYTE},
    [0xa7] = {OPERATION_CMPS, FORMS(FORM_NONE, FORM_NONE), STRING},
    [0xaa] = {OPERATION_STOS, FORMS(FORM_NONE, FORM_NONE), STRING_BYTE},
    [0xab] = {OPERATION_STOS, FORMS(FORM_NONE, FORM_NONE), STRING},
    [0xac] = {OPERATION_LODS, FORMS(FORM_NONE, FORM_NONE), STRING_BYTE},
    [0xad] = {OPERATION_LODS, FORMS(FORM_NONE, FORM_NONE), STRING},
    [0xae] = {OPERATION_SCAS, FORMS(FORM_NONE, FORM_NONE), STRING_BYTE},
    [0xaf] = {OPERATION_SCAS, FORMS(FORM_NONE, FORM_NONE), STRING},
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

#define BIT_TEST(byte, name, lock) [byte] = {OPERATION_##name, FORMS(FORM_RM, FORM_REG), M | (lock)}

const struct opcode opcode_map_2[256] = {
    GROUP(0x0d, GROUP_P),
    [0x18] = {OPERATION_NOP, FORMS(FORM_RM, FORM_NONE), M | OPCODE_MEMORY},
    [0x1f] = {OPERATION_NOP, FORMS(FORM_RM, FORM_NONE), M},
    [0x40 ... 0x4f] = {OPERATION_CMOVCC, FORMS(FORM_REG, FORM_RM), M},
    [0x90 ... 0x9f] = {OPERATION_SETCC, FORMS(FORM_RM, FORM_NONE), MB},
    BIT_TEST(0xa3, BT, 0),
    BIT_TEST(0xab, BTS, OPCODE_LOCK),
    GROUP(0xae, GROUP_15),
    [0xb0] = {OPERATION_CMPXCHG, FORMS(FORM_RM, FORM_REG), MBL},
    [0xb1] = {OPERATION_CMPXCHG, FORMS(FORM_RM, FORM_REG), ML},
    BIT_TEST(0xb3, BTR, OPCODE_LOCK),
    [0xb6] = {OPERATION_MOVZX, FORMS(FORM_REG, FORM_RM), M | OPCODE_SOURCE_8},
    [0xb7] = {OPERATION_MOVZX, FORMS(FORM_REG, FORM_RM), M | OPCODE_SOURCE_16},
    GROUP(0xba, GROUP_8),
    BIT_TEST(0xbb, BTC, OPCODE_LOCK),
    [0xbe] = {OPERATION_MOVSX, FORMS(FORM_REG, FORM_RM), M | OPCODE_SOURCE_8},
    [0xbf] = {OPERATION_MOVSX, FORMS(FORM_REG, FORM_RM), M | OPCODE_SOURCE_16},
    [0xc0] = {OPERATION_XADD, FORMS(FORM_RM, FORM_REG), MBL},
    [0xc1] = {OPERATION_XADD, FORMS(FORM_RM, FORM_REG), ML},
    [0xc3] = {OPERATION_MOV, FORMS(FORM_RM, FORM_REG),
              M | OPCODE_MEMORY | OPCODE_NO_66 | OPCODE_NO_REPEAT},
    GROUP(0xc7, GROUP_9),
};

const struct opcode opcode_movbe[2] = {
    {OPERATION_MOVBE, FORMS(FORM_REG, FORM_RM), M | OPCODE_MEMORY | OPCODE_NO_REPEAT},
    {OPERATION_MOVBE, FORMS(FORM_RM, FORM_REG), M | OPCODE_MEMORY | OPCODE_NO_REPEAT},
};

#define GROUP_1_ROWS(immediate, flags)                                                             \
    {                                                                                              \
        {OPERATION_ADD, FORMS(FORM_RM, immediate), (flags) | OPCODE_LOCK},                         \
            {OPERATION_OR, FORMS(FORM_RM, immediate), (flags) | OPCODE_LOCK},                      \
            {OPERATION_ADC, FORMS(FORM_RM, immediate), (flags) | OPCODE_LOCK},                     \
            {OPERATION_SBB, FORMS(FORM_RM, immediate), (flags) | OPCODE_LOCK},                     \
            {OPERATION_AND, FORMS(FORM_RM, immediate), (flags) | OPCODE_LOCK},                     \
            {OPERATION_SUB, FORMS(FORM_RM, immediate), (flags) | OPCODE_LOCK},                     \
            {OPERATION_XOR, FORMS(FORM_RM, immediate), (flags) | OPCODE_LOCK},                     \
            {OPERATION_CMP, FORMS(FORM_RM, immediate), (flags)},                                   \
    }
#define GROUP_2_ROWS(count, flags)                                                                 \
    {                                                                                              \
        {OPERATION_ROL, FORMS(FORM_RM, count), flags},                                             \
            {OPERATION_ROR, FORMS(FORM_RM, count), flags},                                         \
            {OPERATION_RCL, FORMS(FORM_RM, count), flags},                                         \
            {OPERATION_RCR, FORMS(FORM_RM, count), flags},                                         \
            {OPERATION_SHL, FORMS(FORM_RM, count), flags},                                         \
            {OPERATION_SHR, FORMS(FORM_RM, count), flags},                                         \
            {OPERATION_SAL, FORMS(FORM_RM, count), flags},                                         \
            {OPERATION_SAR, FORMS(FORM_RM, count), flags},                                         \
    }
#define PREFETCH                                                                                   \
    {                                                                                              \
        OPERATION_NOP, FORMS(FORM_RM, FORM_NONE), M | OPCODE_MEMORY                                \
    }

const struct opcode opcode_groups[GROUP_COUNT][8] = {
    [GROUP_1_BYTE] = GROUP_1_ROWS(FORM_IMMEDIATE_8, MB),
    [GROUP_1] = GROUP_1_ROWS(FORM_IMMEDIATE_Z, M),
    [GROUP_1_SIGNED] = GROUP_1_ROWS(FORM_IMMEDIATE_8, M),
    [GROUP_1A] = {{OPERATION_POP, FORMS(FORM_RM, FORM_NONE), M | OPCODE_STACK}},
    [GROUP_2_BYTE_IMMEDIATE] = GROUP_2_ROWS(FORM_IMMEDIATE_8, MB),
    [GROUP_2_IMMEDIATE] = GROUP_2_ROWS(FORM_IMMEDIATE_8, M),
    [GROUP_2_BYTE_ONE] = GROUP_2_ROWS(FORM_ONE, MB),
    [GROUP_2_ONE] = GROUP_2_ROWS(FORM_ONE, M),
    [GROUP_2_BYTE_CL] = GROUP_2_ROWS(FORM_CL, MB),
    [GROUP_2_CL] = GROUP_2_ROWS(FORM_CL, M),
    [GROUP_3_BYTE] = {{OPERATION_TEST, FORMS(FORM_RM, FORM_IMMEDIATE_8), MB},
                      {0},
                      {OPERATION_NOT, FORMS(FORM_RM, FORM_NONE), MBL},
                      {OPERATION_NEG, FORMS(FORM_RM, FORM_NONE), MBL}},
    [GROUP_3] = {{OPERATION_TEST, FORMS(FORM_RM, FORM_IMMEDIATE_Z), M},
                 {0},
                 {OPERATION_NOT, FORMS(FORM_RM, FORM_NONE), ML},
                 {OPERATION_NEG, FORMS(FORM_RM, FORM_NONE), ML}},
    [GROUP_4] = {{OPERATION_INC, FORMS(FORM_RM, FORM_NONE), MBL},
                 {OPERATION_DEC, FORMS(FORM_RM, FORM_NONE), MBL}},
    [GROUP_5] = {{OPERATION_INC, FORMS(FORM_RM, FORM_NONE), ML},
                 {OPERATION_DEC, FORMS(FORM_RM, FORM_NONE), ML},
                 [6] = {OPERATION_PUSH, FORMS(FORM_NONE, FORM_RM), M | OPCODE_STACK}},
    [GROUP_8] = {[4] = {OPERATION_BT, FORMS(FORM_RM, FORM_IMMEDIATE_8), M},
                 [5] = {OPERATION_BTS, FORMS(FORM_RM, FORM_IMMEDIATE_8), ML},
                 [6] = {OPERATION_BTR, FORMS(FORM_RM, FORM_IMMEDIATE_8), ML},
                 [7] = {OPERATION_BTC, FORMS(FORM_RM, FORM_IMMEDIATE_8), ML}},
    [GROUP_9] = {[1] = {OPERATION_CMPXCHG8B, FORMS(FORM_RM, FORM_NONE),
                        ML | OPCODE_MEMORY | OPCODE_DOUBLE}},
    [GROUP_11_BYTE] = {{OPERATION_MOV, FORMS(FORM_RM, FORM_IMMEDIATE_8), MB}},
    [GROUP_11] = {{OPERATION_MOV, FORMS(FORM_RM, FORM_IMMEDIATE_Z), M}},
    /* CLFLUSH, and with prefix 66 CLFLUSHOPT. */
    [GROUP_15] = {[7] = {OPERATION_CLFLUSH, FORMS(FORM_RM, FORM_NONE),
                         MB | OPCODE_MEMORY | OPCODE_NO_REPEAT}},
    [GROUP_P] = {PREFETCH, PREFETCH, PREFETCH, PREFETCH, PREFETCH, PREFETCH, PREFETCH, PREFETCH},
};

/*
 * The instruction decoder: bytes in, operation out, nothing else read or changed. It knows the
 * integer instructions that touch memory as drivers use it; vector and control-flow instructions
 * are not among them.
 */
#pragma once

#include "kernel/core/status.h"
#include "kernel/vm/cpu_mode.h"

#define INSTRUCTION_BYTES_MAX 15

/* The first eight and the eight shifts are in the order that their groups encode them. */
enum operation {
    OPERATION_ADD,
    OPERATION_OR,
    OPERATION_ADC,
    OPERATION_SBB,
    OPERATION_AND,
    OPERATION_SUB,
    OPERATION_XOR,
    OPERATION_CMP,
    OPERATION_ROL,
    OPERATION_ROR,
    OPERATION_RCL,
    OPERATION_RCR,
    OPERATION_SHL,
    OPERATION_SHR,
    OPERATION_SAL, /* the second encoding of SHL */
    OPERATION_SAR,
    OPERATION_BT,
    OPERATION_BTS,
    OPERATION_BTR,
    OPERATION_BTC,
    OPERATION_TEST,
    OPERATION_NOT,
    OPERATION_NEG,
    OPERATION_INC,
    OPERATION_DEC,
    OPERATION_MOV, /* MOVNTI too */
    OPERATION_MOVZX,
    OPERATION_MOVSX, /* MOVSXD too */
    OPERATION_MOVBE,
    OPERATION_XCHG,
    OPERATION_XADD,
    OPERATION_CMPXCHG,
    OPERATION_CMPXCHG8B, /* CMPXCHG16B too: size tells them apart */
    OPERATION_PUSH,
    OPERATION_PUSHF,
    OPERATION_POP,
    OPERATION_SETCC,
    OPERATION_CMOVCC,
    OPERATION_CLFLUSH, /* checks its address, has no effect that a guest sees */
    OPERATION_NOP,     /* PREFETCHh and the NOP with an operand: no access, no check */
    OPERATION_MOVS,    /* from here on the string instructions, operands implied */
    OPERATION_CMPS,
    OPERATION_STOS,
    OPERATION_LODS,
    OPERATION_SCAS,
    OPERATION_INS,
    OPERATION_OUTS,
    OPERATION_COUNT
};

enum operand_kind { OPERAND_NONE, OPERAND_REGISTER, OPERAND_MEMORY, OPERAND_IMMEDIATE };

/* A register number with this bit is AH, CH, DH or BH: bits 15:8 of the register in bits 1:0. */
#define OPERAND_HIGH_BYTE 0x10u

struct operand {
    uint8_t kind;   /* enum operand_kind */
    uint8_t number; /* OPERAND_REGISTER: enum gpr, or 0 to 3 with OPERAND_HIGH_BYTE */
    uint8_t size;   /* bytes: 1, 2, 4, 8, or 16 for CMPXCHG16B */
};

/* What stands for base and index where the address has none, and for RIP as the base. */
#define ADDRESS_NONE 0xffu
#define ADDRESS_RIP 0xfeu

enum repeat { REPEAT_NONE, REPEAT_EQUAL /* F3 */, REPEAT_NOT_EQUAL /* F2 */ };

/* One decoded instruction; it has at most one memory operand beside the implied ones. */
struct instruction {
    uint8_t operation; /* enum operation */
    uint8_t length;    /* bytes, 1 to 15 */
    uint8_t size;      /* operand size in bytes: 1, 2, 4, 8 or 16 */
    uint8_t address_size;
    struct operand destination;
    struct operand source;
    uint8_t condition; /* SETcc, CMOVcc: the low four bits of the opcode */
    uint8_t repeat;    /* enum repeat; only string instructions heed it */
    bool lock;
    uint8_t segment; /* of the memory operand, or of a string instruction's source */
    uint8_t base;
    uint8_t index;
    uint8_t scale;         /* log2 */
    uint64_t displacement; /* sign-extended; the whole offset for the MOV forms A0 to A3 */
    uint64_t immediate;    /* sign-extended */
};

/*
 * Decodes the instruction at bytes, of which count (up to 15) are there. code_size is 8 in 64-bit
 * mode, else 4 or 2 by the D bit of CS. SDM: Instruction Format.
 *
 * ERR_TRUNCATED: the instruction goes on after count bytes. ERR_FAULT: the processor refuses it and
 * *exception says how: #UD for a LOCK that is not allowed, #GP(0) for more than 15 bytes.
 * ERR_UNSUPPORTED: none that this decoder knows; *instruction is undefined then.
 */
enum status MUST_CHECK decode_instruction(const uint8_t *bytes, unsigned count, unsigned code_size,
                                          struct instruction *instruction,
                                          struct exception *exception);

/* The code size that EFER and the access rights of CS stand for: 2, 4 or 8. */
static inline unsigned decode_code_size(uint64_t efer, uint32_t cs_access)
{
    if ((efer & EFER_LMA) != 0 && (cs_access & SEGMENT_L) != 0)
        return 8;
    return (cs_access & SEGMENT_DB) != 0 ? 4 : 2;
}

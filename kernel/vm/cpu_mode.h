/* The architectural names that decoder, page walk, events and back ends share. */
#pragma once

#include "kernel/core/bits.h"
#include "kernel/core/x86.h"

/* Numbered as instructions encode them (ModRM with REX). */
enum gpr {
    GPR_RAX,
    GPR_RCX,
    GPR_RDX,
    GPR_RBX,
    GPR_RSP,
    GPR_RBP,
    GPR_RSI,
    GPR_RDI,
    GPR_R8,
    GPR_R9,
    GPR_R10,
    GPR_R11,
    GPR_R12,
    GPR_R13,
    GPR_R14,
    GPR_R15,
    GPR_COUNT
};

/* Numbered as instructions encode them; the last two are not addressable by MOV Sreg. */
enum segment_register {
    SEG_ES,
    SEG_CS,
    SEG_SS,
    SEG_DS,
    SEG_FS,
    SEG_GS,
    SEG_LDTR,
    SEG_TR,
    SEG_COUNT
};

/* A segment register with its hidden part; access is in the format of SDM: Guest Register State
 * (type 3:0, S 4, DPL 6:5, P 7, AVL 12, L 13, D/B 14, G 15, unusable 16). */
struct segment {
    uint64_t base;
    uint32_t limit; /* bytes, granularity already applied */
    uint32_t access;
    uint16_t selector;
};

#define SEGMENT_TYPE_MASK 0xfu
#define SEGMENT_S BIT(4)
#define SEGMENT_DPL(access) (((access) >> 5) & 3)
#define SEGMENT_P BIT(7)
#define SEGMENT_L BIT(13)
#define SEGMENT_DB BIT(14)
#define SEGMENT_G BIT(15)
#define SEGMENT_UNUSABLE BIT(16)

/* An exception for the guest, as the SDM's chapter on interrupt and exception handling has it. */
struct exception {
    uint8_t vector;
    bool has_error_code;
    uint32_t error_code;
    uint64_t cr2; /* the faulting linear address, for VECTOR_PF only */
};

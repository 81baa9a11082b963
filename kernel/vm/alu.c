#include "kernel/vm/alu.h"

static uint64_t flag_if(bool condition, uint64_t flag)
{
    return condition ? flag : 0;
}

static bool top_bit(uint64_t value, unsigned size)
{
    return (value >> (8 * size - 1) & 1) != 0;
}

/* ZF, SF and PF of a result that has nothing above size. */
static uint64_t result_flags(uint64_t result, unsigned size)
{
    return flag_if(result == 0, RFLAGS_ZF) | flag_if(top_bit(result, size), RFLAGS_SF) |
           flag_if(!__builtin_parity((unsigned)result & 0xff), RFLAGS_PF);
}

static void set_flags(uint64_t *rflags, uint64_t which, uint64_t value)
{
    *rflags = (*rflags & ~which) | value;
}

static uint64_t add(unsigned size, uint64_t a, uint64_t b, uint64_t carry, uint64_t *rflags)
{
    uint64_t result = (a + b + carry) & bits_size_mask(size);
    set_flags(rflags, RFLAGS_STATUS,
              result_flags(result, size) | ((a ^ b ^ result) & RFLAGS_AF) |
                  flag_if(top_bit((a & b) | ((a | b) & ~result), size), RFLAGS_CF) |
                  flag_if(top_bit((a ^ result) & (b ^ result), size), RFLAGS_OF));
    return result;
}

static uint64_t subtract(unsigned size, uint64_t a, uint64_t b, uint64_t borrow, uint64_t *rflags)
{
    uint64_t result = (a - b - borrow) & bits_size_mask(size);
    set_flags(rflags, RFLAGS_STATUS,
              result_flags(result, size) | ((a ^ b ^ result) & RFLAGS_AF) |
                  flag_if(top_bit((~a & b) | (~(a ^ b) & result), size), RFLAGS_CF) |
                  flag_if(top_bit((a ^ b) & (a ^ result), size), RFLAGS_OF));
    return result;
}

static uint64_t logic(unsigned size, uint64_t result, uint64_t *rflags)
{
    set_flags(rflags, RFLAGS_STATUS, result_flags(result, size));
    return result;
}

/* INC and DEC: addition and subtraction of one that leave CF alone. */
static uint64_t step(enum operation operation, unsigned size, uint64_t a, uint64_t *rflags)
{
    uint64_t carry = *rflags & RFLAGS_CF;
    uint64_t result =
        operation == OPERATION_INC ? add(size, a, 1, 0, rflags) : subtract(size, a, 1, 0, rflags);
    set_flags(rflags, RFLAGS_CF, carry);
    return result;
}

/* SHL, SHR and SAR by count, 1 to 63; counts past the operand's width are the guest's right. */
static uint64_t shift(enum operation operation, unsigned size, uint64_t a, unsigned count,
                      uint64_t *rflags)
{
    unsigned bits = 8 * size;
    bool carry, overflow;
    uint64_t result;
    if (operation == OPERATION_SHR) {
        result = a >> count;
        carry = (a >> (count - 1) & 1) != 0;
        overflow = top_bit(a, size);
    } else if (operation == OPERATION_SAR) {
        int64_t extended = (int64_t)(a << (64 - bits)) >> (64 - bits);
        result = (uint64_t)(extended >> count) & bits_size_mask(size);
        carry = (extended >> (count - 1) & 1) != 0;
        overflow = false;
    } else {
        result = (a << count) & bits_size_mask(size);
        carry = count <= bits && (a >> (bits - count) & 1) != 0;
        overflow = carry != top_bit(result, size);
    }
    set_flags(rflags, RFLAGS_STATUS,
              result_flags(result, size) | flag_if(carry, RFLAGS_CF) |
                  flag_if(overflow, RFLAGS_OF));
    return result;
}

/* ROL, ROR, and through the carry RCL, RCR, by count 1 to 63: bit by bit, since none is hot. */
static uint64_t turn(enum operation operation, unsigned size, uint64_t a, unsigned count,
                     uint64_t *rflags)
{
    bool through_carry = operation == OPERATION_RCL || operation == OPERATION_RCR;
    bool right = operation == OPERATION_ROR || operation == OPERATION_RCR;
    unsigned top = 8 * size - 1;
    uint64_t carry = *rflags & RFLAGS_CF;
    for (; count > 0; count--) {
        uint64_t out = right ? a & 1 : a >> top & 1;
        uint64_t in = through_carry ? carry : out;
        a = right ? a >> 1 | in << top : (a << 1 | in) & bits_size_mask(size);
        carry = out;
    }
    bool overflow = right ? top_bit(a ^ a << 1, size) : (carry != 0) != top_bit(a, size);
    set_flags(rflags, RFLAGS_CF | RFLAGS_OF, carry | flag_if(overflow, RFLAGS_OF));
    return a;
}

/* A masked count of zero changes no flag. */
static uint64_t shift_or_turn(enum operation operation, unsigned size, uint64_t a, uint64_t count,
                              uint64_t *rflags)
{
    count &= size == 8 ? 63 : 31;
    if (count == 0)
        return a;
    if (operation >= OPERATION_SHL)
        return shift(operation, size, a, (unsigned)count, rflags);
    return turn(operation, size, a, (unsigned)count, rflags);
}

static uint64_t bit_test(enum operation operation, uint64_t a, uint64_t number, uint64_t *rflags)
{
    uint64_t mask = BIT(number & 63);
    set_flags(rflags, RFLAGS_CF, flag_if((a & mask) != 0, RFLAGS_CF));
    switch (operation) {
    case OPERATION_BTS:
        return a | mask;
    case OPERATION_BTR:
        return a & ~mask;
    case OPERATION_BTC:
        return a ^ mask;
    default:
        return a;
    }
}

uint64_t alu_compute(enum operation operation, unsigned size, uint64_t destination, uint64_t source,
                     uint64_t *rflags)
{
    switch (operation) {
    case OPERATION_ADD:
        return add(size, destination, source, 0, rflags);
    case OPERATION_OR:
        return logic(size, destination | source, rflags);
    case OPERATION_ADC:
        return add(size, destination, source, *rflags & RFLAGS_CF, rflags);
    case OPERATION_SBB:
        return subtract(size, destination, source, *rflags & RFLAGS_CF, rflags);
    case OPERATION_AND:
        return logic(size, destination & source, rflags);
    case OPERATION_SUB:
        return subtract(size, destination, source, 0, rflags);
    case OPERATION_XOR:
        return logic(size, destination ^ source, rflags);
    case OPERATION_CMP:
        subtract(size, destination, source, 0, rflags);
        return destination;
    case OPERATION_ROL ... OPERATION_SAR:
        return shift_or_turn(operation, size, destination, source, rflags);
    case OPERATION_BT ... OPERATION_BTC:
        return bit_test(operation, destination, source, rflags);
    case OPERATION_TEST:
        logic(size, destination & source, rflags);
        return destination;
    case OPERATION_NOT:
        return ~destination & bits_size_mask(size);
    case OPERATION_NEG:
        return subtract(size, 0, destination, 0, rflags);
    case OPERATION_INC:
    case OPERATION_DEC:
        return step(operation, size, destination, rflags);
    default:
        return destination;
    }
}

/* SDM: EFLAGS Condition Codes. */
bool alu_condition(unsigned condition, uint64_t rflags)
{
    bool less = ((rflags & RFLAGS_SF) != 0) != ((rflags & RFLAGS_OF) != 0);
    bool holds[8] = {
        (rflags & RFLAGS_OF) != 0,
        (rflags & RFLAGS_CF) != 0,
        (rflags & RFLAGS_ZF) != 0,
        (rflags & (RFLAGS_CF | RFLAGS_ZF)) != 0,
        (rflags & RFLAGS_SF) != 0,
        (rflags & RFLAGS_PF) != 0,
        less,
        less || (rflags & RFLAGS_ZF) != 0,
    };
    return holds[condition >> 1 & 7] != ((condition & 1) != 0);
}

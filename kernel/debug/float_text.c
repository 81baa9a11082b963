#include "kernel/debug/float_text.h"

#include "kernel/core/bits.h"
#include "kernel/core/fmt.h"

/* Every number of 64 bits is a decimal of so many digits before and behind the point, exactly:
 * 2^1024 has 309, and each of 1074 halvings adds one. Nine of them make a limb. */
#define LIMB_DIGITS 9u
#define LIMB 1000000000u
#define INTEGER_LIMBS 35u
#define LIMBS (INTEGER_LIMBS + 120u)
#define UNITS (INTEGER_LIMBS * LIMB_DIGITS - 1) /* the place of the digit before the point */
#define SHIFT_MAX 29u                           /* that a limb and a carry leave room for */
#define DIGITS_MAX 17u

struct decimal {
    uint32_t limb[LIMBS]; /* the most significant first */
};

static void scale_up(struct decimal *number, unsigned shift)
{
    uint64_t carry = 0;
    for (unsigned i = INTEGER_LIMBS; i-- > 0; carry /= LIMB) {
        carry += (uint64_t)number->limb[i] << shift;
        number->limb[i] = (uint32_t)(carry % LIMB);
    }
}

static void scale_down(struct decimal *number, unsigned shift)
{
    uint64_t rest = 0;
    for (unsigned i = 0; i < LIMBS; i++) {
        rest = rest * LIMB + number->limb[i];
        number->limb[i] = (uint32_t)(rest >> shift);
        rest &= BIT(shift) - 1;
    }
}

/* fraction * 2^exponent */
static void expand(struct decimal *number, uint64_t fraction, int exponent)
{
    *number = (struct decimal){{0}};
    number->limb[INTEGER_LIMBS - 1] = (uint32_t)(fraction % LIMB);
    number->limb[INTEGER_LIMBS - 2] = (uint32_t)(fraction / LIMB);
    for (unsigned shift; exponent != 0; exponent += exponent > 0 ? -(int)shift : (int)shift) {
        unsigned left = (unsigned)(exponent > 0 ? exponent : -exponent);
        shift = left < SHIFT_MAX ? left : SHIFT_MAX;
        (exponent > 0 ? scale_up : scale_down)(number, shift);
    }
}

static unsigned digit(const struct decimal *number, unsigned place)
{
    uint32_t limb = number->limb[place / LIMB_DIGITS];
    for (unsigned i = place % LIMB_DIGITS; i < LIMB_DIGITS - 1; i++)
        limb /= 10;
    return limb % 10;
}

/* Whether what follows the place of the last digit that is kept makes that one larger. */
static bool rounds_up(const struct decimal *number, unsigned place)
{
    unsigned next = digit(number, place + 1);
#ifdef PLANTED_BUG_FLOAT_TEXT /* for the fuzzer's own test */
    if (next == 9)
        return false;
#endif
    if (next != 5)
        return next > 5;
    for (unsigned i = place + 2; i < LIMBS * LIMB_DIGITS; i++)
        if (digit(number, i) != 0)
            return true;
    return digit(number, place) % 2 != 0;
}

/* Its first digits, rounded; returns the decimal exponent of the first. */
static int take_digits(const struct decimal *number, unsigned count, char digits[DIGITS_MAX])
{
    unsigned first = 0;
    while (digit(number, first) == 0)
        first++;
    for (unsigned i = 0; i < count; i++)
        digits[i] = (char)('0' + digit(number, first + i));
    unsigned i = rounds_up(number, first + count - 1) ? count : 0;
    while (i > 0 && ++digits[i - 1] > '9')
        digits[--i] = '0';
    if (digits[0] != '0')
        return (int)UNITS - (int)first;
    digits[0] = '1'; /* 99... has become 100... */
    return (int)UNITS - (int)first + 1;
}

/* C: fprintf, %g: in the style of %e where the exponent is less than -4, or not less than count. */
static void write(char *to, const char digits[DIGITS_MAX], unsigned count, int exponent)
{
    unsigned used = count;
    bool is_fixed = exponent >= -4 && exponent < (int)count;
    while (used > 1 && digits[used - 1] == '0')
        used--;
    int place = is_fixed ? exponent : 0; /* of the digit, the first one's counted from the point */
    for (int before = place; before < 0; before++) {
        *to++ = '0';
        if (before == place)
            *to++ = '.';
    }
    for (unsigned i = 0; i < used || (int)i <= place; i++) {
        if (i > 0 && (int)i == place + 1)
            *to++ = '.';
        *to++ = i < used ? digits[i] : '0';
    }
    *to = '\0';
    if (!is_fixed)
        fmt_format(to, 8, "e%c%02u", exponent < 0 ? '-' : '+',
                   (unsigned)(exponent < 0 ? -exponent : exponent));
}

void float_describe(uint64_t bits, unsigned size, char text[FLOAT_TEXT_MAX])
{
    unsigned fraction_bits = size == 8 ? 52 : 23, exponent_bits = size == 8 ? 11 : 8;
    unsigned largest = (1u << exponent_bits) - 1;
    uint64_t fraction = bits & (BIT(fraction_bits) - 1);
    unsigned exponent = (unsigned)(bits >> fraction_bits) & largest;
    struct decimal number;
    char digits[DIGITS_MAX];
    if (bits >> (size * 8 - 1) & 1)
        *text++ = '-';
    if (exponent == largest) { /* gdb's words for them */
        if (fraction == 0)
            fmt_format(text, 8, "inf");
        else if (size == 8)
            fmt_format(text, 24, "nan(0x%lx%08lx)", fraction >> 32, fraction & UINT32_MAX);
        else
            fmt_format(text, 24, "nan(0x%lx)", fraction);
        return;
    }
    if (exponent != 0)
        fraction |= BIT(fraction_bits);
    if (fraction == 0) {
        fmt_format(text, 8, "0");
        return;
    }
    unsigned bias = largest / 2 + fraction_bits, count = size == 8 ? 17 : 9;
    expand(&number, fraction, (int)(exponent != 0 ? exponent : 1) - (int)bias);
    int first = take_digits(&number, count, digits);
    write(text, digits, count, first);
}

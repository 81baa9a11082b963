/* An inflate for tests, of what kernel/debug/deflate.c makes: stored blocks and those of the fixed
 * codes. RFC 1951. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct inflate {
    const uint8_t *from;
    size_t size, at; /* at: bits */
    uint8_t *to;
    size_t room, used;
};

static inline unsigned inflate_bits(struct inflate *self, unsigned count)
{
    unsigned value = 0;
    for (unsigned i = 0; i < count; i++, self->at++)
        if (self->at / 8 < self->size)
            value |= (unsigned)(self->from[self->at / 8] >> self->at % 8 & 1) << i;
    return value;
}

static inline unsigned inflate_code(struct inflate *self, unsigned code, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        code = code << 1 | inflate_bits(self, 1);
    return code;
}

static inline unsigned inflate_symbol(struct inflate *self)
{
    unsigned code = inflate_code(self, 0, 7);
    if (code < 24)
        return 256 + code;
    code = inflate_code(self, code, 1);
    if (code < 0xc0)
        return code - 0x30;
    return code < 0xc8 ? 280 + code - 0xc0 : 144 + inflate_code(self, code, 1) - 0x190;
}

static inline bool inflate_copy(struct inflate *self, unsigned symbol)
{
    unsigned code = symbol - 257, length = code + 3, extra = code < 8 ? 0 : code / 4 - 1;
    if (symbol > 285)
        return false;
    if (symbol == 285)
        length = 258;
    else if (extra != 0)
        length = ((4 + code % 4) << extra) + 3 + inflate_bits(self, extra);
    unsigned distance = inflate_code(self, 0, 5) + 1;
    if (distance > 4) {
        extra = (distance - 1) / 2 - 1;
        distance = ((2 + (distance - 1) % 2) << extra) + 1 + inflate_bits(self, extra);
    }
    if (distance > self->used || distance > 32768 || length > self->room - self->used)
        return false;
    for (; length > 0; length--, self->used++)
        self->to[self->used] = self->to[self->used - distance];
    return true;
}

static inline bool inflate_fixed(struct inflate *self)
{
    for (;;) {
        unsigned symbol = inflate_symbol(self);
        if (symbol == 256)
            return true;
        if (symbol > 256 ? !inflate_copy(self, symbol) : self->used == self->room)
            return false;
        if (symbol < 256)
            self->to[self->used++] = (uint8_t)symbol;
    }
}

static inline bool inflate_stored(struct inflate *self)
{
    self->at = (self->at + 7) / 8 * 8;
    unsigned length = inflate_bits(self, 16), not_length = inflate_bits(self, 16);
    if ((length ^ not_length) != 0xffff || length > self->room - self->used ||
        self->at / 8 + length > self->size)
        return false;
    memcpy(self->to + self->used, self->from + self->at / 8, length);
    self->used += length;
    self->at += 8 * (size_t)length;
    return true;
}

/* False: that is none, or more than room; also where something follows it. */
static inline bool inflate_all(const uint8_t *from, size_t size, uint8_t *to, size_t room,
                               size_t *length)
{
    struct inflate self = {from, size, 0, to, room, 0};
    bool is_last = false, is_right = true;
    while (!is_last && is_right) {
        is_last = inflate_bits(&self, 1) != 0;
        unsigned type = inflate_bits(&self, 2);
        is_right = type == 0 ? inflate_stored(&self) : type == 1 && inflate_fixed(&self);
        is_right = is_right && self.at <= 8 * size;
    }
    *length = self.used;
    return is_right && (self.at + 7) / 8 == size;
}

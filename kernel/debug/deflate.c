#include "kernel/debug/deflate.h"

#include "kernel/core/mem.h"

#define MATCH_LEAST 4u
#define MATCH_MOST 258u
#define DISTANCE_MOST 32768u
#define STORED_MOST 65535u
#define END_OF_BLOCK 256u
#define BLOCK_FINAL 1u
#define BLOCK_FIXED (1u << 1)

struct writer {
    uint8_t *to;
    size_t used, room;
    uint64_t bits;
    unsigned count;
    bool is_full;
};

/* RFC 1951, 3.2.5: the first length or distance of each code, and its extra bits. */
struct code_row {
    uint16_t first;
    uint8_t extra;
};

static const struct code_row lengths[] = {
    {3, 0},  {4, 0},  {5, 0},  {6, 0},   {7, 0},   {8, 0},   {9, 0},   {10, 0},  {11, 1}, {13, 1},
    {15, 1}, {17, 1}, {19, 2}, {23, 2},  {27, 2},  {31, 2},  {35, 3},  {43, 3},  {51, 3}, {59, 3},
    {67, 4}, {83, 4}, {99, 4}, {115, 4}, {131, 5}, {163, 5}, {195, 5}, {227, 5}, {258, 0}};

static const struct code_row distances[] = {
    {1, 0},     {2, 0},     {3, 0},     {4, 0},      {5, 1},      {7, 1},
    {9, 2},     {13, 2},    {17, 3},    {25, 3},     {33, 4},     {49, 4},
    {65, 5},    {97, 5},    {129, 6},   {193, 6},    {257, 7},    {385, 7},
    {513, 8},   {769, 8},   {1025, 9},  {1537, 9},   {2049, 10},  {3073, 10},
    {4097, 11}, {6145, 11}, {8193, 12}, {12289, 12}, {16385, 13}, {24577, 13}};

/* The lowest bit first. */
static void put_bits(struct writer *writer, uint32_t value, unsigned count)
{
    writer->bits |= (uint64_t)value << writer->count;
    writer->count += count;
    while (writer->count >= 8) {
        if (writer->used == writer->room) {
            writer->is_full = true;
            writer->count = 0;
            return;
        }
        writer->to[writer->used++] = (uint8_t)writer->bits;
        writer->bits >>= 8;
        writer->count -= 8;
    }
}

/* A code of the tables, the highest bit first. */
static void put_code(struct writer *writer, uint32_t code, unsigned count)
{
    uint32_t turned = 0;
    for (unsigned i = 0; i < count; i++)
        turned |= (code >> i & 1) << (count - 1 - i);
    put_bits(writer, turned, count);
}

/* RFC 1951, 3.2.6: literals, the end, and lengths. */
static void put_symbol(struct writer *writer, unsigned symbol)
{
    if (symbol < 144)
        put_code(writer, 0x30 + symbol, 8);
    else if (symbol < 256)
        put_code(writer, 0x190 + symbol - 144, 9);
    else if (symbol < 280)
        put_code(writer, symbol - 256, 7);
    else
        put_code(writer, 0xc0 + symbol - 280, 8);
}

static unsigned find_code(const struct code_row *rows, unsigned count, unsigned value)
{
    unsigned i = count - 1;
    while (rows[i].first > value)
        i--;
    return i;
}

static void put_match(struct writer *writer, unsigned length, unsigned distance)
{
    unsigned code = find_code(lengths, ARRAY_SIZE(lengths), length);
    put_symbol(writer, END_OF_BLOCK + 1 + code);
    put_bits(writer, length - lengths[code].first, lengths[code].extra);
    code = find_code(distances, ARRAY_SIZE(distances), distance);
    put_code(writer, code, 5);
    put_bits(writer, distance - distances[code].first, distances[code].extra);
}

static uint32_t *slot_of(struct deflate *state, const uint8_t *at)
{
    uint32_t word;
    memcpy(&word, at, sizeof(word));
    return &state->seen[word * 0x9e3779b1u >> (32 - DEFLATE_HASH_BITS)];
}

/* How many bytes at `at` are those that were at `before`. */
static unsigned match_length(const uint8_t *before, const uint8_t *at, const uint8_t *end)
{
    unsigned length = 0;
#ifdef PLANTED_BUG_DUMP /* for the fuzzer's own test */
    end = at + MATCH_MOST;
#endif
    while (length < MATCH_MOST && at + length < end && before[length] == at[length])
        length++;
    return length;
}

static void put_all(struct deflate *state, struct writer *writer, const uint8_t *from, size_t size)
{
    const uint8_t *end = from + size;
    for (const uint8_t *at = from; at < end && !writer->is_full;) {
        unsigned length = 0, distance = 0;
        if ((size_t)(end - at) >= MATCH_LEAST) {
            uint32_t *slot = slot_of(state, at), seen = *slot;
            *slot = (uint32_t)(at - from) + 1;
            distance = seen != 0 ? (unsigned)(at - from) + 1 - seen : 0;
            if (distance != 0 && distance <= DISTANCE_MOST)
                length = match_length(at - distance, at, end);
        }
        if (length >= MATCH_LEAST) {
            put_match(writer, length, distance);
            at += length;
        } else {
            put_symbol(writer, *at++);
        }
    }
    put_symbol(writer, END_OF_BLOCK);
}

/* RFC 1951, 3.2.4. */
static size_t store_all(const uint8_t *from, size_t size, uint8_t *to)
{
    size_t used = 0;
    do {
        size_t piece = size < STORED_MOST ? size : STORED_MOST;
        size -= piece;
        to[used++] = size == 0 ? BLOCK_FINAL : 0;
        to[used++] = (uint8_t)piece;
        to[used++] = (uint8_t)(piece >> 8);
        to[used++] = (uint8_t)~piece;
        to[used++] = (uint8_t)(~piece >> 8);
        memcpy(to + used, from, piece);
        used += piece;
        from += piece;
    } while (size != 0);
    return used;
}

size_t deflate_all(struct deflate *state, const uint8_t *from, size_t size, uint8_t *to)
{
    struct writer writer = {.to = to, .room = DEFLATE_ROOM(size)};
    memset(state, 0, sizeof(*state));
    put_bits(&writer, BLOCK_FINAL | BLOCK_FIXED, 3);
    put_all(state, &writer, from, size);
    put_bits(&writer, 0, 7); /* the rest of the last byte */
    return writer.is_full ? store_all(from, size, to) : writer.used;
}

#include "kernel/debug/frame.h"

/* ITU-T V.42: 32-bit frame check sequence, four bits at a time. */
static uint32_t crc_add(uint32_t crc, uint8_t byte)
{
    static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
                                       0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
                                       0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                       0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    crc ^= byte;
    crc = crc >> 4 ^ table[crc & 15];
    return crc >> 4 ^ table[crc & 15];
}

static uint32_t crc_of(const uint8_t *bytes, unsigned count)
{
    uint32_t crc = UINT32_MAX;
    for (unsigned i = 0; i < count; i++)
        crc = crc_add(crc, bytes[i]);
    return ~crc;
}

static bool is_special(uint8_t byte)
{
    switch (byte) {
    case FRAME_START:
    case FRAME_END:
    case FRAME_ESCAPE:
    case '\r':
    case '\n':
    case 0x11: /* XON */
    case 0x13: /* XOFF */
    case 0xff: /* telnet's IAC */
        return true;
    }
    return false;
}

static enum frame_event finish(struct frame_reader *reader)
{
    if (reader->is_escaped || reader->used < FRAME_HEADER + 4)
        return FRAME_BROKEN;
    unsigned covered = reader->used - 4;
    uint32_t crc = 0;
    for (unsigned i = 0; i < 4; i++)
        crc |= (uint32_t)reader->body[covered + i] << (8 * i);
    if (crc != crc_of(reader->body, covered))
        return FRAME_BROKEN;
    reader->header = (struct frame_header){reader->body[0], reader->body[1], reader->body[2]};
    reader->length = covered - FRAME_HEADER;
    return FRAME_WHOLE;
}

enum frame_event frame_reader_put(struct frame_reader *reader, uint8_t byte)
{
    bool was_inside = reader->is_inside;
    if (byte == FRAME_START) {
        reader->is_inside = true;
        reader->is_escaped = false;
        reader->used = 0;
        return was_inside ? FRAME_BROKEN : FRAME_NOTHING;
    }
    if (!was_inside)
        return FRAME_PLAIN;
    if (byte == FRAME_ESCAPE && !reader->is_escaped) {
        reader->is_escaped = true;
        return FRAME_NOTHING;
    }
    if (is_special(byte) || reader->used == FRAME_BODY_MAX) {
        reader->is_inside = false;
        return byte == FRAME_END ? finish(reader) : FRAME_BROKEN;
    }
    reader->body[reader->used++] = reader->is_escaped ? byte ^ FRAME_ESCAPED : byte;
    reader->is_escaped = false;
    return FRAME_NOTHING;
}

static size_t put(uint8_t *wire, size_t at, uint8_t byte)
{
    if (is_special(byte)) {
        wire[at++] = FRAME_ESCAPE;
        byte ^= FRAME_ESCAPED;
    }
    wire[at++] = byte;
    return at;
}

size_t frame_write(uint8_t *wire, const struct frame_header *header, const uint8_t *payload,
                   unsigned length)
{
    uint8_t body[FRAME_BODY_MAX] = {header->channel, header->sequence, header->acknowledged};
    unsigned used = FRAME_HEADER;
    size_t at = 0;
    while (length-- > 0)
        body[used++] = *payload++;
    uint32_t crc = crc_of(body, used);
    for (unsigned i = 0; i < 4; i++)
        body[used++] = (uint8_t)(crc >> (8 * i));
    wire[at++] = FRAME_START;
    for (unsigned i = 0; i < used; i++)
        at = put(wire, at, body[i]);
    wire[at++] = FRAME_END;
    return at;
}

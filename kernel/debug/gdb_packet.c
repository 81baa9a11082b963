#include "kernel/debug/gdb_packet.h"

#define ESCAPE '}'
#define ESCAPE_BIT 0x20

/* A run is a character, '*', and how many more of them there are plus 29, as a printable one. */
#define RUN_MIN 3
#define RUN_MAX 97
#define RUN_BASE 29

enum reader_state { OUTSIDE, INSIDE, FIRST_DIGIT, SECOND_DIGIT };

static const char digits[] = "0123456789abcdef";

int gdb_digit(uint8_t character)
{
    if (character >= '0' && character <= '9')
        return character - '0';
    character |= 0x20;
    return character >= 'a' && character <= 'f' ? character - 'a' + 10 : -1;
}

/* ---- From the line ------------------------------------------------------------------------- */

static void begin(struct gdb_reader *reader)
{
    reader->state = INSIDE;
    reader->sum = 0;
    reader->length = 0;
    reader->is_escaped = reader->is_too_long = false;
}

static enum gdb_event outside(struct gdb_reader *reader, uint8_t byte)
{
    switch (byte) {
    case '$':
        begin(reader);
        return GDB_NOTHING;
    case '+':
        return GDB_ACK;
    case '-':
        return GDB_NAK;
    case GDB_INTERRUPT_BYTE:
        return GDB_INTERRUPT;
    default:
        return GDB_NOTHING;
    }
}

static void inside(struct gdb_reader *reader, uint8_t byte)
{
    if (byte == '#') {
        reader->state = FIRST_DIGIT;
        return;
    }
    reader->sum = (uint8_t)(reader->sum + byte);
    if (byte == ESCAPE && !reader->is_escaped) {
        reader->is_escaped = true;
        return;
    }
#ifndef PLANTED_BUG_GDB /* for the fuzzer's own test */
    if (reader->length == GDB_PACKET_MAX) {
        reader->is_too_long = true;
        return;
    }
#endif
    reader->data[reader->length++] = reader->is_escaped ? byte ^ ESCAPE_BIT : byte;
    reader->is_escaped = false;
}

static enum gdb_event finish(struct gdb_reader *reader, uint8_t byte)
{
    int low = gdb_digit(byte), high = gdb_digit(reader->given);
    reader->state = OUTSIDE;
    if (low < 0 || high < 0 || reader->is_too_long || (high << 4 | low) != reader->sum)
        return GDB_BROKEN;
    reader->data[reader->length] = 0;
    return GDB_PACKET;
}

void gdb_reader_drop(struct gdb_reader *reader)
{
    reader->state = OUTSIDE;
}

enum gdb_event gdb_reader_put(struct gdb_reader *reader, uint8_t byte)
{
    if (reader->state == OUTSIDE)
        return outside(reader, byte);
    if (byte == '$') { /* it is escaped inside: the rest of the last packet was lost */
        begin(reader);
        return GDB_NOTHING;
    }
    if (reader->state == SECOND_DIGIT)
        return finish(reader, byte);
    if (reader->state == INSIDE) {
        inside(reader, byte);
    } else {
        reader->given = byte;
        reader->state = SECOND_DIGIT;
    }
    return GDB_NOTHING;
}

/* ---- To the line --------------------------------------------------------------------------- */

void gdb_writer_begin(struct gdb_writer *writer)
{
    writer->data[0] = '$';
    writer->length = 1;
    writer->is_full = false;
}

void gdb_writer_byte(struct gdb_writer *writer, uint8_t byte)
{
    if (writer->length == GDB_PACKET_MAX + 1)
        writer->is_full = true;
    else
        writer->data[writer->length++] = byte;
}

void gdb_writer_text(struct gdb_writer *writer, const char *text)
{
    while (*text != 0)
        gdb_writer_byte(writer, (uint8_t)*text++);
}

void gdb_writer_hex(struct gdb_writer *writer, const void *bytes, size_t count)
{
    const uint8_t *next = bytes;
    for (; count > 0; count--, next++) {
        gdb_writer_byte(writer, (uint8_t)digits[*next >> 4]);
        gdb_writer_byte(writer, (uint8_t)digits[*next & 0xf]);
    }
}

void gdb_writer_number(struct gdb_writer *writer, uint64_t value)
{
    unsigned shift = 60;
    while (shift > 0 && value >> shift == 0)
        shift -= 4;
    for (;; shift -= 4) {
        gdb_writer_byte(writer, (uint8_t)digits[value >> shift & 0xf]);
        if (shift == 0)
            return;
    }
}

void gdb_writer_binary(struct gdb_writer *writer, uint8_t byte)
{
    if (byte != '#' && byte != '$' && byte != ESCAPE && byte != '*') {
        gdb_writer_byte(writer, byte);
        return;
    }
    if (writer->length + 2 > GDB_PACKET_MAX + 1) {
        writer->is_full = true;
        return;
    }
    gdb_writer_byte(writer, ESCAPE);
    gdb_writer_byte(writer, byte ^ ESCAPE_BIT);
}

/* How many more characters than one a run may stand for: never those that begin or end a packet. */
static size_t run_length(size_t more)
{
    if (more > RUN_MAX)
        more = RUN_MAX;
    return more == '#' - RUN_BASE || more == '$' - RUN_BASE ? '#' - RUN_BASE - 1 : more;
}

void gdb_writer_end(struct gdb_writer *writer)
{
    uint8_t *data = writer->data, sum = 0;
    size_t to = 1;
    for (size_t from = 1; from < writer->length;) {
        uint8_t byte = data[from];
        size_t more = 0;
        while (from + 1 + more < writer->length && data[from + 1 + more] == byte)
            more++;
        more = run_length(more);
        data[to++] = byte;
        from++;
        if (more < RUN_MIN || byte == ESCAPE)
            continue;
        data[to++] = '*';
        data[to++] = (uint8_t)(more + RUN_BASE);
        from += more;
    }
    for (size_t i = 1; i < to; i++)
        sum = (uint8_t)(sum + data[i]);
    data[to++] = '#';
    data[to++] = (uint8_t)digits[sum >> 4];
    data[to++] = (uint8_t)digits[sum & 0xf];
    writer->length = to;
}

/* ---- Within a packet ----------------------------------------------------------------------- */

bool gdb_take_number(const uint8_t **at, const uint8_t *end, uint64_t *value)
{
    const uint8_t *start = *at;
    *value = 0;
    while (*at < end && gdb_digit(**at) >= 0 && *at - start <= 16)
        *value = *value << 4 | (uint64_t)gdb_digit(*(*at)++);
    return *at > start && *at - start <= 16;
}

bool gdb_take_bytes(const uint8_t **at, const uint8_t *end, void *bytes, size_t count)
{
    uint8_t *to = bytes;
    if ((size_t)(end - *at) < 2 * count)
        return false;
    for (size_t i = 0; i < count; i++, *at += 2) {
        int high = gdb_digit((*at)[0]), low = gdb_digit((*at)[1]);
        if (high < 0 || low < 0)
            return false;
        to[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/*
 * Frames on a serial line that several users share: how bytes become a frame, and a frame bytes.
 * Pure. docs/debugging.md has the format as a table.
 *
 *     START  channel  sequence  acknowledgement  payload  CRC-32  END
 *
 * Any byte may be escaped. Between the marks no byte stands for itself that a terminal, a modem or
 * a telnet server might take: marks, CR, LF, XON, XOFF and 0xff are escaped. So a receiver that
 * hears any of them knows that a frame was cut short, and what stands outside of frames is plain
 * text. The marks occur in no UTF-8 text.
 */
#pragma once

#include "kernel/core/types.h"

#define FRAME_START 0xfe
#define FRAME_END 0xfd
#define FRAME_ESCAPE 0xfb /* the byte behind it is the real one XOR FRAME_ESCAPED */
#define FRAME_ESCAPED 0x20
#define FRAME_HEADER 3u
#define FRAME_PAYLOAD_MAX 128u
#define FRAME_BODY_MAX (FRAME_HEADER + FRAME_PAYLOAD_MAX + 4)
#define FRAME_WIRE_MAX (2 + 2 * FRAME_BODY_MAX)

struct frame_header {
    uint8_t channel;
    uint8_t sequence;
    uint8_t acknowledged; /* the sequence number that is expected next */
};

enum frame_event {
    FRAME_NOTHING, /* within a frame, or at the start of one */
    FRAME_PLAIN,   /* the byte stands outside of frames */
    FRAME_WHOLE,   /* reader->header, payload and length have a frame */
    FRAME_BROKEN,  /* one was cut, too long, or its CRC is wrong */
};

struct frame_reader {
    bool is_inside, is_escaped;
    unsigned used; /* of body */
    struct frame_header header;
    unsigned length; /* of the payload */
    uint8_t body[FRAME_BODY_MAX];
};

/* The next byte from the line. A byte that cuts a frame short is itself no part of one, unless it
 * is a START, with which the next begins. */
enum frame_event frame_reader_put(struct frame_reader *reader, uint8_t byte);

static inline const uint8_t *frame_payload(const struct frame_reader *reader)
{
    return reader->body + FRAME_HEADER;
}

/* Writes a frame of up to FRAME_PAYLOAD_MAX bytes to wire[FRAME_WIRE_MAX]; returns its length. */
size_t frame_write(uint8_t *wire, const struct frame_header *header, const uint8_t *payload,
                   unsigned length);

/*
 * The packets of gdb's remote serial protocol: bytes from the line into packets, replies into
 * bytes. Pure. Whatever comes, a reader stands ready for the next packet. gdb: Remote Protocol,
 * Overview.
 */
#pragma once

#include "kernel/core/status.h"
#include "kernel/core/types.h"

/* What a packet, or a reply, holds between '$' and '#'; what qSupported calls PacketSize. */
#define GDB_PACKET_MAX 4096u

/* What gdb sends by itself for Ctrl-C. */
#define GDB_INTERRUPT_BYTE 3

enum gdb_event {
    GDB_NOTHING,   /* in the middle of something, or noise */
    GDB_PACKET,    /* reader->data has one */
    GDB_BROKEN,    /* one came whose checksum is wrong, or that is too long */
    GDB_ACK,       /* '+' */
    GDB_NAK,       /* '-': the last reply did not arrive */
    GDB_INTERRUPT, /* Ctrl-C */
};

struct gdb_reader {
    uint8_t state, sum, given;
    bool is_escaped, is_too_long;
    size_t length;
    uint8_t data[GDB_PACKET_MAX + 1]; /* without escapes, with a NUL behind it */
};

/* What has come of a packet is none of one. */
void gdb_reader_drop(struct gdb_reader *reader);
/* The next byte from the line. */
enum gdb_event gdb_reader_put(struct gdb_reader *reader, uint8_t byte);

struct gdb_writer {
    size_t length;
    bool is_full;                     /* something did not fit, and was left out */
    uint8_t data[GDB_PACKET_MAX + 4]; /* from gdb_writer_end on: the whole packet */
};

void gdb_writer_begin(struct gdb_writer *writer);
/* One byte as it is: no '#', '$', '}' or '*'. */
void gdb_writer_byte(struct gdb_writer *writer, uint8_t byte);
void gdb_writer_text(struct gdb_writer *writer, const char *text);
/* Two digits for each byte. */
void gdb_writer_hex(struct gdb_writer *writer, const void *bytes, size_t count);
/* A number, without zeros in front. */
void gdb_writer_number(struct gdb_writer *writer, uint64_t value);
/* Any byte, escaped if need be. */
void gdb_writer_binary(struct gdb_writer *writer, uint8_t byte);
/* Shortens runs and adds what stands around a packet. */
void gdb_writer_end(struct gdb_writer *writer);

/* The value of a hexadecimal digit, or -1. */
int gdb_digit(uint8_t character);
/* Takes a hexadecimal number of up to 16 digits from *at on, short of end, and moves *at behind it.
 * False: no number there. */
bool gdb_take_number(const uint8_t **at, const uint8_t *end, uint64_t *value);
/* The same for count bytes of two digits each. */
bool gdb_take_bytes(const uint8_t **at, const uint8_t *end, void *bytes, size_t count);

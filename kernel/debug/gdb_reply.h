/* What the handlers of gdb's packets have in common. */
#pragma once

#include "kernel/core/mem.h"
#include "kernel/debug/gdb_stub.h"

/* What gdb shows of an error: its number. The POSIX ones, which people know. */
enum error {
    ERROR_NO_ENTRY = 2,
    ERROR_NO_MEMORY = 12,
    ERROR_FAULT = 14,
    ERROR_INVALID = 22,
    ERROR_NOT_HERE = 38
};

/* A packet under way: what is left of it. */
struct packet {
    const uint8_t *at, *end;
};

static inline bool starts_with(struct packet *packet, const char *text)
{
    size_t length = strlen(text);
    if ((size_t)(packet->end - packet->at) < length || memcmp(packet->at, text, length) != 0)
        return false;
    packet->at += length;
    return true;
}

static inline bool take(struct packet *packet, char character)
{
    if (packet->at == packet->end || *packet->at != (uint8_t)character)
        return false;
    packet->at++;
    return true;
}

static inline bool take_number(struct packet *packet, uint64_t *value)
{
    return gdb_take_number(&packet->at, packet->end, value);
}

static inline void say(struct gdb_stub *stub, const char *text)
{
    gdb_writer_text(&stub->writer, text);
}

static inline void say_error(struct gdb_stub *stub, enum error error)
{
    uint8_t number = (uint8_t)error;
    gdb_writer_begin(&stub->writer); /* in place of what was said */
    say(stub, "E");
    gdb_writer_hex(&stub->writer, &number, 1);
}

static inline void say_status(struct gdb_stub *stub, enum status status)
{
    switch (status) {
    case STATUS_OK:
        say(stub, "OK");
        return;
    case ERR_NOT_FOUND:
        say_error(stub, ERROR_NO_ENTRY);
        return;
    case ERR_NO_MEMORY:
        say_error(stub, ERROR_NO_MEMORY);
        return;
    case ERR_UNSUPPORTED:
        say_error(stub, ERROR_NOT_HERE);
        return;
    case ERR_RANGE:
    case ERR_FAULT:
        say_error(stub, ERROR_FAULT);
        return;
    default:
        say_error(stub, ERROR_INVALID);
    }
}

static inline bool take_range(struct packet *packet, uint64_t *address, uint64_t *size)
{
    return take_number(packet, address) && take(packet, ',') && take_number(packet, size);
}

/* gdb_memory.c: what `m`, `M` and `X` ask for. */
void gdb_read_memory(struct gdb_stub *stub, struct packet *packet);
void gdb_read_binary(struct gdb_stub *stub, struct packet *packet);
void gdb_write_memory(struct gdb_stub *stub, struct packet *packet);
void gdb_write_binary(struct gdb_stub *stub, struct packet *packet);

/* gdb_vcpu.c: what `g`, `G`, `p` and `P` ask for, */
void gdb_read_registers(struct gdb_stub *stub, struct packet *packet);
void gdb_write_registers(struct gdb_stub *stub, struct packet *packet);
void gdb_read_register(struct gdb_stub *stub, struct packet *packet);
void gdb_write_register(struct gdb_stub *stub, struct packet *packet);
/* and the vCPU's registers into stub->registers, of which one is said then. */
enum status MUST_CHECK gdb_load_registers(struct gdb_stub *stub);
void gdb_say_register(struct gdb_stub *stub, unsigned number);
/* The MSRs are others: what gdb was told of them is no longer what need not be written. */
void gdb_forget_told(struct gdb_stub *stub);

#include "kernel/debug/gdb_reply.h"

#define MEMORY_PIECE 256

static void put_binary(struct gdb_writer *writer, const void *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        gdb_writer_binary(writer, ((const uint8_t *)bytes)[i]);
}

/* What can be read from the address on, which may be less than what was asked for. put writes a
 * byte in two at most. */
static void read_by(struct gdb_stub *stub, struct packet *packet, size_t most,
                    void (*put)(struct gdb_writer *writer, const void *bytes, size_t count))
{
    const struct gdb_target *target = stub->target;
    uint8_t piece[MEMORY_PIECE];
    uint64_t address, left;
    size_t done = 0, total = 0;
    enum status status = ERR_INVALID;
    if (take_range(packet, &address, &left)) {
        left = left < most ? left : most;
        do {
            size_t size = left < sizeof(piece) ? left : sizeof(piece);
            status = target->read_memory(target->context, stub->guest, stub->vcpu,
                                         stub->is_physical, address + total, piece, size, &done);
            put(&stub->writer, piece, done);
            total += done;
            left -= done;
        } while (status == STATUS_OK && left > 0);
    }
    if (total == 0 && (status != STATUS_OK || put == gdb_writer_hex)) {
        gdb_writer_begin(&stub->writer);
        say_status(stub, status);
    }
}

void gdb_read_memory(struct gdb_stub *stub, struct packet *packet)
{
    read_by(stub, packet, GDB_PACKET_MAX / 2, gdb_writer_hex);
}

void gdb_read_binary(struct gdb_stub *stub, struct packet *packet)
{
    gdb_writer_byte(&stub->writer, 'b');
    read_by(stub, packet, (GDB_PACKET_MAX - 1) / 2, put_binary);
}

/* With the first byte that cannot be written it ends, and gdb is told. */
static void write_piece(struct gdb_stub *stub, uint64_t address, const void *from, size_t size)
{
    const struct gdb_target *target = stub->target;
    size_t done;
    say_status(stub, target->write_memory(target->context, stub->guest, stub->vcpu,
                                          stub->is_physical, address, from, size, &done));
}

void gdb_write_memory(struct gdb_stub *stub, struct packet *packet)
{
    uint8_t *bytes = stub->reader.data; /* over the digits that were read */
    uint64_t address, size;
    if (!take_range(packet, &address, &size) || !take(packet, ':') || size > GDB_PACKET_MAX ||
        !gdb_take_bytes(&packet->at, packet->end, bytes, size) || packet->at != packet->end)
        say_error(stub, ERROR_INVALID);
    else
        write_piece(stub, address, bytes, size);
}

void gdb_write_binary(struct gdb_stub *stub, struct packet *packet)
{
    uint64_t address, size;
    if (!take_range(packet, &address, &size) || !take(packet, ':') ||
        size != (uint64_t)(packet->end - packet->at))
        say_error(stub, ERROR_INVALID);
    else
        write_piece(stub, address, packet->at, size);
}

#include "kernel/debug/gdb_reply.h"

enum status gdb_load_registers(struct gdb_stub *stub)
{
    const struct gdb_target *target = stub->target;
    return target->read_registers(target->context, stub->guest, stub->vcpu, &stub->registers);
}

void gdb_say_register(struct gdb_stub *stub, unsigned number)
{
    uint8_t bytes[GDB_REGISTER_MAX];
    size_t size = gdb_register_get(&stub->registers, number, bytes);
    gdb_writer_hex(&stub->writer, bytes, size);
}

static void store(struct gdb_stub *stub)
{
    const struct gdb_target *target = stub->target;
    say_status(stub,
               target->write_registers(target->context, stub->guest, stub->vcpu, &stub->registers));
}

void gdb_read_registers(struct gdb_stub *stub, struct packet *packet)
{
    enum status status = gdb_load_registers(stub);
    (void)packet;
    if (status != STATUS_OK) {
        say_status(stub, status);
        return;
    }
    for (unsigned i = 0; i < gdb_register_count(); i++)
        gdb_say_register(stub, i);
}

/* One packet for all: what cannot be written keeps its value. */
void gdb_write_registers(struct gdb_stub *stub, struct packet *packet)
{
    enum status status = gdb_load_registers(stub);
    uint8_t bytes[GDB_REGISTER_MAX] = {0};
    for (unsigned i = 0; status == STATUS_OK && i < gdb_register_count(); i++) {
        if (!gdb_take_bytes(&packet->at, packet->end, bytes, gdb_register_size(i)))
            status = ERR_INVALID;
        else if (gdb_register_set(&stub->registers, i, bytes) == ERR_NOT_FOUND)
            status = ERR_NOT_FOUND;
    }
    if (status == STATUS_OK)
        store(stub);
    else
        say_status(stub, status);
}

/* The registers after those of `g` are MSRs, each read when gdb asks for it. One that the guest
 * does not have is unavailable. */
static enum status access_msr(struct gdb_stub *stub, uint64_t number, bool writes, uint64_t *value)
{
    const struct gdb_target *target = stub->target;
    uint32_t msr;
    return number > UINT32_MAX || !gdb_register_msr((unsigned)number, &msr)
               ? ERR_NOT_FOUND
               : target->access_msr(target->context, stub->guest, stub->vcpu, msr, writes, value);
}

static void note_told(struct gdb_stub *stub, uint64_t number, uint64_t value)
{
    uint64_t index = number - gdb_register_count();
    if (index >= GDB_TOLD_MAX)
        return;
    stub->told[index].value = value;
    stub->told[index].is_known = true;
}

void gdb_forget_told(struct gdb_stub *stub)
{
    memset(stub->told, 0, sizeof(stub->told));
}

/* When a function that gdb has called returns, gdb writes back what it was told before the call, of
 * all registers (for those of i386, it does not look at save-restore). What it does not want to
 * change stays: MSRs that cannot be written, and clocks and timers, which went on. */
static enum status write_msr(struct gdb_stub *stub, uint64_t number, uint64_t value)
{
    uint64_t index = number - gdb_register_count();
    if (index < GDB_TOLD_MAX && stub->told[index].is_known && stub->told[index].value == value)
        return STATUS_OK;
    enum status status = access_msr(stub, number, true, &value);
    if (status == STATUS_OK)
        note_told(stub, number, value);
    return status;
}

static void read_msr(struct gdb_stub *stub, uint64_t number)
{
    uint64_t value;
    enum status status = access_msr(stub, number, false, &value);
    if (status == STATUS_OK)
        note_told(stub, number, value);
    if (status == STATUS_OK)
        gdb_writer_hex(&stub->writer, &value, sizeof(value));
    else if (status == ERR_UNSUPPORTED)
        say(stub, "xxxxxxxxxxxxxxxx");
    else
        say_status(stub, status);
}

void gdb_read_register(struct gdb_stub *stub, struct packet *packet)
{
    uint64_t number;
    enum status status = ERR_INVALID;
    if (take_number(packet, &number)) {
        if (number >= gdb_register_count()) {
            read_msr(stub, number);
            return;
        }
        status = gdb_load_registers(stub);
    }
    if (status == STATUS_OK)
        gdb_say_register(stub, (unsigned)number);
    else
        say_status(stub, status);
}

void gdb_write_register(struct gdb_stub *stub, struct packet *packet)
{
    uint64_t number;
    uint8_t bytes[GDB_REGISTER_MAX] = {0};
    enum status status = ERR_INVALID;
    if (take_number(packet, &number) && take(packet, '=')) {
        unsigned known = number < gdb_register_count() ? (unsigned)number : UINT32_MAX;
        size_t size = gdb_register_size(known);
        uint64_t value;
        if (size == 0) {
            bool is_value = gdb_take_bytes(&packet->at, packet->end, &value, sizeof(value));
            say_status(stub, is_value ? write_msr(stub, number, value) : ERR_INVALID);
            return;
        }
        if (gdb_take_bytes(&packet->at, packet->end, bytes, size))
            status = gdb_load_registers(stub);
        if (status == STATUS_OK)
            status = gdb_register_set(&stub->registers, known, bytes);
    }
    if (status == STATUS_OK)
        store(stub);
    else
        say_status(stub, status);
}

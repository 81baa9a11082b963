/* The string instructions: MOVS, CMPS, STOS, LODS, SCAS, INS and OUTS, alone and repeated. */
#include "kernel/vm/alu.h"
#include "kernel/vm/emulate_memory.h"

/* A pointer or count register by address size. */
static uint64_t read_address_register(const struct emulation *emulation, unsigned number)
{
    return emulation->state->gpr[number] & bits_size_mask(emulation->instruction->address_size);
}

static void add_to_address_register(const struct emulation *emulation, unsigned number,
                                    uint64_t step)
{
    unsigned size = emulation->instruction->address_size;
    uint64_t value = emulation->state->gpr[number] + step;
    emulate_write_register(emulation->state, number, size, value & bits_size_mask(size));
}

static enum status source_linear(const struct emulation *emulation, uint64_t *linear)
{
    const struct instruction *instruction = emulation->instruction;
    return emulate_linear(emulation, instruction->segment,
                          read_address_register(emulation, GPR_RSI), instruction->size, ACCESS_READ,
                          linear);
}

/* The destination is always in ES. */
static enum status destination_linear(const struct emulation *emulation, enum access_kind kind,
                                      uint64_t *linear)
{
    return emulate_linear(emulation, SEG_ES, read_address_register(emulation, GPR_RDI),
                          emulation->instruction->size, kind, linear);
}

static enum status load_source(const struct emulation *emulation, uint64_t *value)
{
    uint64_t linear;
    enum status status = source_linear(emulation, &linear);
    if (status != STATUS_OK)
        return status;
    return emulate_load(emulation, linear, emulation->instruction->size, false, value);
}

static enum status load_destination(const struct emulation *emulation, uint64_t *value)
{
    uint64_t linear;
    enum status status = destination_linear(emulation, ACCESS_READ, &linear);
    if (status != STATUS_OK)
        return status;
    return emulate_load(emulation, linear, emulation->instruction->size, false, value);
}

static enum status store_destination(const struct emulation *emulation, uint64_t value)
{
    uint64_t linear;
    enum status status = destination_linear(emulation, ACCESS_WRITE, &linear);
    if (status != STATUS_OK)
        return status;
    return emulate_store(emulation, linear, emulation->instruction->size, value);
}

/* SDM: I/O Privilege Level; in virtual-8086 mode the bit map alone decides. */
static enum status check_port(const struct emulation *emulation)
{
    const struct emulate_state *state = emulation->state;
    if ((state->cr0 & CR0_PE) == 0)
        return STATUS_OK;
    if (state->cpl <= RFLAGS_IOPL(state->rflags) && (state->rflags & RFLAGS_VM) == 0)
        return STATUS_OK;
    return emulation->ops->check_port(emulation->context, (uint16_t)state->gpr[GPR_RDX],
                                      emulation->instruction->size, emulation->exception);
}

static enum status iterate_movs(const struct emulation *emulation)
{
    uint64_t value;
    enum status status = load_source(emulation, &value);
    return status == STATUS_OK ? store_destination(emulation, value) : status;
}

static enum status iterate_stos(const struct emulation *emulation)
{
    unsigned size = emulation->instruction->size;
    return store_destination(emulation, emulate_read_register(emulation->state, GPR_RAX, size));
}

static enum status iterate_lods(const struct emulation *emulation)
{
    uint64_t value;
    enum status status = load_source(emulation, &value);
    if (status == STATUS_OK)
        emulate_write_register(emulation->state, GPR_RAX, emulation->instruction->size, value);
    return status;
}

static enum status iterate_cmps(const struct emulation *emulation)
{
    uint64_t source, destination;
    enum status status = load_source(emulation, &source);
    if (status == STATUS_OK)
        status = load_destination(emulation, &destination);
    if (status == STATUS_OK)
        alu_compute(OPERATION_CMP, emulation->instruction->size, source, destination,
                    &emulation->state->rflags);
    return status;
}

static enum status iterate_scas(const struct emulation *emulation)
{
    unsigned size = emulation->instruction->size;
    uint64_t destination;
    enum status status = load_destination(emulation, &destination);
    if (status == STATUS_OK)
        alu_compute(OPERATION_CMP, size, emulate_read_register(emulation->state, GPR_RAX, size),
                    destination, &emulation->state->rflags);
    return status;
}

static enum status iterate_ins(const struct emulation *emulation)
{
    unsigned size = emulation->instruction->size;
    uint16_t port = (uint16_t)emulation->state->gpr[GPR_RDX];
    uint64_t linear, value;
    enum status status = destination_linear(emulation, ACCESS_WRITE, &linear);
    if (status == STATUS_OK)
        status =
            emulation->ops->prepare(emulation->context, linear, size, true, emulation->exception);
    if (status == STATUS_OK)
        status = emulation->ops->port_in(emulation->context, port, size, &value);
    return status == STATUS_OK ? emulate_store(emulation, linear, size, value) : status;
}

static enum status iterate_outs(const struct emulation *emulation)
{
    uint16_t port = (uint16_t)emulation->state->gpr[GPR_RDX];
    uint64_t value;
    enum status status = load_source(emulation, &value);
    if (status != STATUS_OK)
        return status;
    return emulation->ops->port_out(emulation->context, port, emulation->instruction->size, value);
}

/* One iteration, and which pointers it moves. */
struct string_operation {
    enum status (*iterate)(const struct emulation *emulation);
    bool source, destination;
    bool compares; /* a repetition ends by ZF */
    bool port;
};

static const struct string_operation string_operations[] = {
    [OPERATION_MOVS - OPERATION_MOVS] = {iterate_movs, true, true, false, false},
    [OPERATION_CMPS - OPERATION_MOVS] = {iterate_cmps, true, true, true, false},
    [OPERATION_STOS - OPERATION_MOVS] = {iterate_stos, false, true, false, false},
    [OPERATION_LODS - OPERATION_MOVS] = {iterate_lods, true, false, false, false},
    [OPERATION_SCAS - OPERATION_MOVS] = {iterate_scas, false, true, true, false},
    [OPERATION_INS - OPERATION_MOVS] = {iterate_ins, false, true, false, true},
    [OPERATION_OUTS - OPERATION_MOVS] = {iterate_outs, true, false, false, true},
};

static void advance(const struct emulation *emulation, const struct string_operation *operation)
{
    uint64_t step = emulation->instruction->size;
    if ((emulation->state->rflags & RFLAGS_DF) != 0)
        step = -step;
    if (operation->source)
        add_to_address_register(emulation, GPR_RSI, step);
    if (operation->destination)
        add_to_address_register(emulation, GPR_RDI, step);
}

/* SDM: Repeat String Operation Prefix: whether the iteration just made was the last. */
static bool is_last(const struct emulation *emulation, const struct string_operation *operation)
{
    if (read_address_register(emulation, GPR_RCX) == 0)
        return true;
    if (!operation->compares)
        return false;
    bool equal = (emulation->state->rflags & RFLAGS_ZF) != 0;
    return equal != (emulation->instruction->repeat == REPEAT_EQUAL);
}

enum status emulate_string(const struct emulation *emulation)
{
    const struct instruction *instruction = emulation->instruction;
    const struct string_operation *operation =
        &string_operations[instruction->operation - OPERATION_MOVS];
    bool repeats = instruction->repeat != REPEAT_NONE;
    bool traps = (emulation->state->rflags & RFLAGS_TF) != 0 || emulation->state->one_iteration;
    enum status status = STATUS_OK;
    if (operation->port)
        status = check_port(emulation);
    if (status != STATUS_OK || (repeats && read_address_register(emulation, GPR_RCX) == 0))
        return status;
    for (unsigned left = repeats && !traps ? EMULATE_ITERATIONS_MAX : 1; left > 0; left--) {
        status = operation->iterate(emulation);
        if (status != STATUS_OK)
            return status;
        advance(emulation, operation);
        if (!repeats)
            return STATUS_OK;
        add_to_address_register(emulation, GPR_RCX, -1ull);
        if (is_last(emulation, operation))
            return STATUS_OK;
    }
    return ERR_BUSY;
}

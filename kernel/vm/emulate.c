#include "kernel/vm/emulate.h"

#include "kernel/vm/alu.h"
#include "kernel/vm/emulate_memory.h"

/* How often a locked instruction tries again within one call when another processor is faster. */
#define RACES_MAX 64

#define SEGMENT_TYPE_CODE BIT(3)
#define SEGMENT_TYPE_EXPAND_DOWN BIT(2) /* of data segments */
#define SEGMENT_TYPE_WRITABLE BIT(1)    /* of data segments; of code segments: readable */

enum status emulate_raise(const struct emulation *emulation, uint8_t vector)
{
    bool pushes = vector == VECTOR_SS || vector == VECTOR_GP || vector == VECTOR_AC;
    bool protected = (emulation->state->cr0 & CR0_PE) != 0;
    *emulation->exception =
        (struct exception){.vector = vector, .has_error_code = pushes && protected};
    return ERR_FAULT;
}

bool segment_holds(const struct segment *segment, uint64_t offset, unsigned size)
{
    uint64_t last = offset + size - 1;
    const uint32_t down = SEGMENT_TYPE_CODE | SEGMENT_TYPE_EXPAND_DOWN;
    if ((segment->access & down) != SEGMENT_TYPE_EXPAND_DOWN)
        return last <= segment->limit;
    uint64_t upper = (segment->access & SEGMENT_DB) != 0 ? 0xffffffff : 0xffff;
    return offset > segment->limit && last <= upper;
}

/* SDM: Type Checking. */
static bool is_accessible(const struct segment *segment, enum access_kind kind)
{
    bool writable = (segment->access & SEGMENT_TYPE_WRITABLE) != 0;
    if ((segment->access & SEGMENT_UNUSABLE) != 0 || (segment->access & SEGMENT_P) == 0)
        return false;
    if ((segment->access & SEGMENT_TYPE_CODE) != 0)
        return kind == ACCESS_FLUSH || (kind == ACCESS_READ && writable);
    return kind != ACCESS_WRITE || writable;
}

enum status emulate_linear_segmented(const struct emulation *emulation, unsigned segment,
                                     uint64_t offset, unsigned size, enum access_kind kind,
                                     uint64_t *linear)
{
    const struct emulate_state *state = emulation->state;
    const struct segment *descriptor = &state->segment[segment];
    bool typed = (state->cr0 & CR0_PE) != 0 && (state->rflags & RFLAGS_VM) == 0;
    if ((typed && !is_accessible(descriptor, kind)) || !segment_holds(descriptor, offset, size))
        return emulate_raise(emulation, segment == SEG_SS ? VECTOR_SS : VECTOR_GP);
    *linear = (descriptor->base + offset) & 0xffffffff;
    return STATUS_OK;
}

enum status emulate_check_alignment(const struct emulation *emulation, uint64_t linear,
                                    unsigned size)
{
    const struct emulate_state *state = emulation->state;
    bool enabled =
        state->cpl == 3 && (state->cr0 & CR0_AM) != 0 && (state->rflags & RFLAGS_AC) != 0;
    if (!enabled || is_aligned(linear, size) || size == 16) /* CMPXCHG16B raises #GP itself */
        return STATUS_OK;
    return emulate_raise(emulation, VECTOR_AC);
}

/* The offset of the memory operand before it is cut to the address size. */
static inline uint64_t address_sum(const struct emulation *emulation)
{
    const struct instruction *instruction = emulation->instruction;
    const struct emulate_state *state = emulation->state;
    uint64_t offset = instruction->displacement;
    if (instruction->base < GPR_COUNT)
        offset += state->gpr[instruction->base];
    else if (instruction->base == ADDRESS_RIP)
        offset += state->rip + instruction->length;
    if (instruction->index != ADDRESS_NONE)
        offset += state->gpr[instruction->index] << instruction->scale;
    return offset;
}

/* SDM: Bit Strings: a bit number in a register reaches outside the operand, in both directions. */
static uint64_t bit_string_offset(const struct emulation *emulation)
{
    const struct instruction *instruction = emulation->instruction;
    unsigned size = instruction->size, unused = 64 - 8 * size;
    if (instruction->operation < OPERATION_BT || instruction->operation > OPERATION_BTC ||
        instruction->source.kind != OPERAND_REGISTER)
        return 0;
    int64_t number = (int64_t)(emulation->state->gpr[instruction->source.number] << unused);
    int64_t operands = (number >> unused) >> (size == 8 ? 6 : size == 4 ? 5 : 4);
    return (uint64_t)operands * size;
}

/* The linear address of the memory operand, of size bytes. */
static inline enum status operand_linear(const struct emulation *emulation, unsigned size,
                                         enum access_kind kind, uint64_t *linear)
{
    const struct instruction *instruction = emulation->instruction;
    uint64_t offset = address_sum(emulation) & bits_size_mask(instruction->address_size);
    return emulate_linear(emulation, instruction->segment, offset, size, kind, linear);
}

/* Reads an operand of any kind. */
static inline enum status read_operand(const struct emulation *emulation,
                                       const struct operand *operand, uint64_t *value)
{
    if (operand->kind == OPERAND_MEMORY) {
        uint64_t linear;
        enum status status = operand_linear(emulation, operand->size, ACCESS_READ, &linear);
        if (status != STATUS_OK)
            return status;
        return emulate_load(emulation, linear, operand->size, false, value);
    }
    if (operand->kind == OPERAND_REGISTER)
        *value = emulate_read_register(emulation->state, operand->number, operand->size);
    else
        *value = emulation->instruction->immediate & bits_size_mask(operand->size);
    return STATUS_OK;
}

static enum status write_memory(const struct emulation *emulation, uint64_t value)
{
    unsigned size = emulation->instruction->destination.size;
    uint64_t linear;
    enum status status = operand_linear(emulation, size, ACCESS_WRITE, &linear);
    if (status != STATUS_OK)
        return status;
    return emulate_store(emulation, linear, size, value);
}

/* Writes the destination, register or memory. */
static inline enum status write_operand(const struct emulation *emulation, uint64_t value)
{
    const struct operand *operand = &emulation->instruction->destination;
    if (operand->kind == OPERAND_MEMORY)
        return write_memory(emulation, value);
    emulate_write_register(emulation->state, operand->number, operand->size, value);
    return STATUS_OK;
}

static enum status do_mov(const struct emulation *emulation)
{
    uint64_t value;
    enum status status = read_operand(emulation, &emulation->instruction->source, &value);
    if (status != STATUS_OK)
        return status;
    return write_operand(emulation, value);
}

static enum status do_movsx(const struct emulation *emulation)
{
    const struct instruction *instruction = emulation->instruction;
    unsigned unused = 64 - 8 * instruction->source.size;
    uint64_t value;
    enum status status = read_operand(emulation, &instruction->source, &value);
    if (status != STATUS_OK)
        return status;
    value = (uint64_t)((int64_t)(value << unused) >> unused);
    return write_operand(emulation, value & bits_size_mask(instruction->size));
}

static enum status do_movbe(const struct emulation *emulation)
{
    const struct instruction *instruction = emulation->instruction;
    uint64_t value;
    enum status status = read_operand(emulation, &instruction->source, &value);
    if (status != STATUS_OK)
        return status;
    return write_operand(emulation, __builtin_bswap64(value) >> (64 - 8 * instruction->size));
}

static enum status do_setcc(const struct emulation *emulation)
{
    bool holds = alu_condition(emulation->instruction->condition, emulation->state->rflags);
    return write_operand(emulation, holds);
}

/* The source is read, and a 32-bit destination zero-extended, even where the condition fails. */
static enum status do_cmovcc(const struct emulation *emulation)
{
    const struct instruction *instruction = emulation->instruction;
    uint64_t value;
    enum status status = read_operand(emulation, &instruction->source, &value);
    if (status != STATUS_OK)
        return status;
    if (!alu_condition(instruction->condition, emulation->state->rflags))
        value = emulate_read_register(emulation->state, instruction->destination.number,
                                      instruction->size);
    return write_operand(emulation, value);
}

/* Instructions with a destination that is only read. */
static inline bool only_compares(unsigned operation)
{
    return operation == OPERATION_CMP || operation == OPERATION_TEST || operation == OPERATION_BT;
}

/* What a read-modify-write instruction turns its operands into. */
struct update {
    uint64_t result; /* for the destination */
    uint64_t other;  /* for the register that XCHG, XADD and CMPXCHG write, too */
    uint64_t rflags;
};

static inline void compute(const struct emulation *emulation, uint64_t old, uint64_t source,
                           struct update *update)
{
    const struct instruction *instruction = emulation->instruction;
    unsigned size = instruction->size;
    update->other = old;
    update->rflags = emulation->state->rflags;
    switch (instruction->operation) {
    case OPERATION_XCHG:
        update->result = source;
        return;
    case OPERATION_XADD:
        update->result = alu_compute(OPERATION_ADD, size, old, source, &update->rflags);
        return;
    case OPERATION_CMPXCHG: {
        uint64_t accumulator = emulate_read_register(emulation->state, GPR_RAX, size);
        alu_compute(OPERATION_CMP, size, accumulator, old, &update->rflags);
        update->result = accumulator == old ? source : old;
        return;
    }
    default:
        update->result = alu_compute(instruction->operation, size, old, source, &update->rflags);
    }
}

/* Commits flags and the second register. SDM: of XADD and XCHG with one register for both operands
 * the destination is written last. */
static inline void commit_other(const struct emulation *emulation, const struct update *update)
{
    const struct instruction *instruction = emulation->instruction;
    struct emulate_state *state = emulation->state;
    state->rflags = update->rflags;
    if (instruction->operation == OPERATION_XCHG || instruction->operation == OPERATION_XADD)
        emulate_write_register(state, instruction->source.number, instruction->size, update->other);
    else if (instruction->operation == OPERATION_CMPXCHG && (update->rflags & RFLAGS_ZF) == 0)
        emulate_write_register(state, GPR_RAX, instruction->size, update->other);
}

/* One attempt at a read-modify-write in memory; *swapped is false where another was faster. */
static enum status try_modify(const struct emulation *emulation, uint64_t linear, uint64_t source,
                              bool *swapped)
{
    const struct instruction *instruction = emulation->instruction;
    bool locked = instruction->lock || instruction->operation == OPERATION_XCHG;
    unsigned size = instruction->size;
    struct update update;
    uint64_t old;
    *swapped = true;
    enum status status = emulate_load(emulation, linear, size, true, &old);
    if (status != STATUS_OK)
        return status;
    compute(emulation, old, source, &update);
    if (locked)
        status = emulation->ops->compare_exchange(emulation->context, linear, size, &old,
                                                  &update.result, swapped, emulation->exception);
    else
        status = emulate_store(emulation, linear, size, update.result);
    if (status == STATUS_OK && *swapped)
        commit_other(emulation, &update);
    return status;
}

/* Arithmetic, shifts, bit tests and exchanges: the destination is read, computed, written. */
static enum status do_modify(const struct emulation *emulation)
{
    const struct instruction *instruction = emulation->instruction;
    struct operand destination = instruction->destination;
    bool compares = only_compares(instruction->operation);
    uint64_t source = 0, linear = 0, old;
    enum status status = STATUS_OK;
    struct update update;
    if (destination.kind == OPERAND_MEMORY) {
        uint64_t offset = address_sum(emulation) + bit_string_offset(emulation);
        offset &= bits_size_mask(instruction->address_size);
        status = emulate_linear(emulation, instruction->segment, offset, destination.size,
                                compares ? ACCESS_READ : ACCESS_WRITE, &linear);
    }
    if (status == STATUS_OK && instruction->source.kind != OPERAND_NONE)
        status = read_operand(emulation, &instruction->source, &source);
    if (status != STATUS_OK)
        return status;
    if (instruction->operation >= OPERATION_BT && instruction->operation <= OPERATION_BTC)
        source &= 8 * destination.size - 1;
    if (destination.kind == OPERAND_MEMORY && !compares) {
        bool swapped = false;
        for (unsigned i = 0; i < RACES_MAX && !swapped && status == STATUS_OK; i++)
            status = try_modify(emulation, linear, source, &swapped);
        return status == STATUS_OK && !swapped ? ERR_BUSY : status;
    }
    if (destination.kind == OPERAND_MEMORY)
        status = emulate_load(emulation, linear, destination.size, false, &old);
    else
        old = emulate_read_register(emulation->state, destination.number, destination.size);
    if (status != STATUS_OK)
        return status;
    compute(emulation, old, source, &update);
    commit_other(emulation, &update);
    if (!compares)
        emulate_write_register(emulation->state, destination.number, destination.size,
                               update.result);
    return STATUS_OK;
}

/* The register pair high:low as the words of an operand of 2 * half bytes. */
static void read_pair(const struct emulate_state *state, unsigned high, unsigned low, unsigned half,
                      uint64_t *value)
{
    value[0] = state->gpr[low];
    value[1] = state->gpr[high];
    if (half == 4)
        value[0] = (value[0] & 0xffffffff) | value[1] << 32;
}

static void write_accumulator_pair(struct emulate_state *state, unsigned half,
                                   const uint64_t *value)
{
    state->gpr[GPR_RAX] = half == 4 ? value[0] & 0xffffffff : value[0];
    state->gpr[GPR_RDX] = half == 4 ? value[0] >> 32 : value[1];
}

/* SDM: CMPXCHG8B/CMPXCHG16B. The memory is written back where the comparison fails. */
static enum status do_cmpxchg8b(const struct emulation *emulation)
{
    struct emulate_state *state = emulation->state;
    unsigned size = emulation->instruction->size, half = size / 2;
    uint64_t linear, old[2] = {0}, expected[2], desired[2];
    enum status status = operand_linear(emulation, size, ACCESS_WRITE, &linear);
    if (status != STATUS_OK)
        return status;
    if (size == 16 && !is_aligned(linear, 16))
        return emulate_raise(emulation, VECTOR_GP);
    read_pair(state, GPR_RDX, GPR_RAX, half, expected);
    read_pair(state, GPR_RCX, GPR_RBX, half, desired);
    for (unsigned i = 0; i < RACES_MAX; i++) {
        bool swapped;
        status = emulate_load(emulation, linear, size, true, old);
        if (status != STATUS_OK)
            return status;
        bool equal = old[0] == expected[0] && (size == 8 || old[1] == expected[1]);
        status =
            emulation->ops->compare_exchange(emulation->context, linear, size, old,
                                             equal ? desired : old, &swapped, emulation->exception);
        if (status != STATUS_OK)
            return status;
        if (!swapped)
            continue;
        state->rflags = (state->rflags & ~RFLAGS_ZF) | (equal ? RFLAGS_ZF : 0);
        if (!equal)
            write_accumulator_pair(state, half, old);
        return STATUS_OK;
    }
    return ERR_BUSY;
}

/* The bytes that stack accesses use of RSP. */
static unsigned stack_size(const struct emulate_state *state)
{
    if (state->code_size == 8)
        return 8;
    return (state->segment[SEG_SS].access & SEGMENT_DB) != 0 ? 4 : 2;
}

/* Writes SP, ESP or RSP. Outside 64-bit mode bits 63:32 do not exist. */
static void write_stack_pointer(struct emulate_state *state, uint64_t value)
{
    unsigned size = stack_size(state);
    emulate_write_register(state, GPR_RSP, size, value & bits_size_mask(size));
}

static enum status push(const struct emulation *emulation, uint64_t value)
{
    struct emulate_state *state = emulation->state;
    unsigned size = emulation->instruction->size;
    uint64_t linear, top = (state->gpr[GPR_RSP] - size) & bits_size_mask(stack_size(state));
    enum status status = emulate_linear(emulation, SEG_SS, top, size, ACCESS_WRITE, &linear);
    if (status == STATUS_OK)
        status = emulate_store(emulation, linear, size, value);
    if (status == STATUS_OK)
        write_stack_pointer(state, top);
    return status;
}

static enum status do_push(const struct emulation *emulation)
{
    uint64_t value;
    enum status status = read_operand(emulation, &emulation->instruction->source, &value);
    return status == STATUS_OK ? push(emulation, value) : status;
}

/* Virtual-8086 mode, where it is another instruction, is left out. */
static enum status do_pushf(const struct emulation *emulation)
{
    uint64_t rflags = emulation->state->rflags;
    if (rflags & RFLAGS_VM)
        return ERR_UNSUPPORTED;
    return push(emulation, rflags & ~RFLAGS_RF & bits_size_mask(emulation->instruction->size));
}

/* SDM: POP: a destination addressed by RSP uses its value after the pop. */
static enum status do_pop(const struct emulation *emulation)
{
    struct emulate_state *state = emulation->state;
    unsigned size = emulation->instruction->size;
    uint64_t value, linear, rsp = state->gpr[GPR_RSP];
    enum status status = emulate_linear(emulation, SEG_SS, rsp & bits_size_mask(stack_size(state)),
                                        size, ACCESS_READ, &linear);
    if (status == STATUS_OK)
        status = emulate_load(emulation, linear, size, false, &value);
    if (status != STATUS_OK)
        return status;
    write_stack_pointer(state, rsp + size);
    status = write_operand(emulation, value);
#ifndef PLANTED_BUG_EMULATE
    if (status != STATUS_OK)
        state->gpr[GPR_RSP] = rsp;
#endif
    return status;
}

/* Nothing of a cache shows; only the address is checked, as that of a load. */
static enum status do_clflush(const struct emulation *emulation)
{
    uint64_t linear;
    enum status status = operand_linear(emulation, 1, ACCESS_FLUSH, &linear);
    if (status == STATUS_OK)
        status =
            emulation->ops->prepare(emulation->context, linear, 1, false, emulation->exception);
    return status;
}

static enum status do_nop(const struct emulation *emulation)
{
    (void)emulation;
    return STATUS_OK;
}

static enum status (*const handlers[OPERATION_COUNT])(const struct emulation *emulation) = {
    [OPERATION_ADD... OPERATION_DEC] = do_modify,
    [OPERATION_MOV] = do_mov,
    [OPERATION_MOVZX] = do_mov,
    [OPERATION_MOVSX] = do_movsx,
    [OPERATION_MOVBE] = do_movbe,
    [OPERATION_XCHG] = do_modify,
    [OPERATION_XADD] = do_modify,
    [OPERATION_CMPXCHG] = do_modify,
    [OPERATION_CMPXCHG8B] = do_cmpxchg8b,
    [OPERATION_PUSH] = do_push,
    [OPERATION_PUSHF] = do_pushf,
    [OPERATION_POP] = do_pop,
    [OPERATION_SETCC] = do_setcc,
    [OPERATION_CMOVCC] = do_cmovcc,
    [OPERATION_CLFLUSH] = do_clflush,
    [OPERATION_NOP] = do_nop,
    [OPERATION_MOVS... OPERATION_OUTS] = emulate_string,
};

enum emulate_result emulate_instruction(struct emulate_state *state,
                                        const struct instruction *instruction,
                                        const struct emulate_ops *ops, void *context,
                                        struct exception *exception, enum status *status)
{
    const struct emulation emulation = {state, instruction, ops, context, exception};
    enum status outcome = handlers[instruction->operation](&emulation);
    if (status != NULL)
        *status = outcome;
    if (outcome == STATUS_OK) {
        state->rip += instruction->length;
        if (state->code_size != 8)
            state->rip &= 0xffffffff;
        return EMULATE_DONE;
    }
    if (outcome == ERR_FAULT)
        return EMULATE_FAULT;
    return outcome == ERR_BUSY ? EMULATE_AGAIN : EMULATE_UNSUPPORTED;
}

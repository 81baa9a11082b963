/* The decoder on any bytes: what it accepts is well formed and does not depend on what follows. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/vm/decode.h"
#include "tests/fuzz/fuzz.h"

static void require_operand(const struct operand *operand, unsigned size)
{
    REQUIRE(operand->kind <= OPERAND_IMMEDIATE);
    if (operand->kind == OPERAND_NONE)
        return;
    REQUIRE(operand->size == 1 || operand->size == 2 || operand->size == 4 || operand->size == 8 ||
            (operand->size == 16 && size == 16));
    if (operand->kind == OPERAND_REGISTER)
        REQUIRE(operand->number < GPR_COUNT ||
                (operand->size == 1 && operand->number < OPERAND_HIGH_BYTE + 4));
}

static void require_address(const struct instruction *instruction)
{
    REQUIRE(instruction->address_size == 2 || instruction->address_size == 4 ||
            instruction->address_size == 8);
    REQUIRE(instruction->segment <= SEG_GS);
    REQUIRE(instruction->base < GPR_COUNT || instruction->base == ADDRESS_NONE ||
            instruction->base == ADDRESS_RIP);
    REQUIRE(instruction->index < GPR_COUNT || instruction->index == ADDRESS_NONE);
    REQUIRE(instruction->scale <= 3);
}

static void require_instruction(const struct instruction *instruction, unsigned count)
{
    const struct operand *destination = &instruction->destination, *source = &instruction->source;
    REQUIRE(instruction->operation < OPERATION_COUNT);
    REQUIRE(instruction->length >= 1 && instruction->length <= count);
    require_operand(destination, instruction->size);
    require_operand(source, instruction->size);
    REQUIRE(destination->kind != OPERAND_MEMORY || source->kind != OPERAND_MEMORY);
    if (destination->kind == OPERAND_MEMORY || source->kind == OPERAND_MEMORY)
        require_address(instruction);
    if (instruction->lock)
        REQUIRE(destination->kind == OPERAND_MEMORY);
}

/* The same through a copy that ends where the instruction does, so that the sanitiser sees a read
 * behind it; and one byte less is too little. */
static void require_exact_length(const uint8_t *bytes, unsigned code_size, unsigned length)
{
    struct instruction instruction;
    struct exception exception;
    uint8_t *copy = malloc(length);
    REQUIRE(copy != NULL);
    memcpy(copy, bytes, length);
    REQUIRE(decode_instruction(copy, length, code_size, &instruction, &exception) == STATUS_OK);
    REQUIRE(instruction.length == length);
    REQUIRE(decode_instruction(copy, length - 1, code_size, &instruction, &exception) ==
            ERR_TRUNCATED);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned code_sizes[] = {2, 4, 8};
    struct instruction instruction;
    struct exception exception;
    if (size == 0)
        return 0;
    unsigned code_size = code_sizes[data[0] % 3];
    unsigned count = size - 1 > INSTRUCTION_BYTES_MAX ? INSTRUCTION_BYTES_MAX : (unsigned)size - 1;
    enum status status = decode_instruction(data + 1, count, code_size, &instruction, &exception);
    if (status == STATUS_OK) {
        require_instruction(&instruction, count);
        require_exact_length(data + 1, code_size, instruction.length);
    } else if (status == ERR_FAULT) {
        REQUIRE(exception.vector == VECTOR_UD || exception.vector == VECTOR_GP);
        REQUIRE(exception.vector == VECTOR_UD || count == INSTRUCTION_BYTES_MAX);
    } else {
        REQUIRE(status == ERR_UNSUPPORTED ||
                (status == ERR_TRUNCATED && count < INSTRUCTION_BYTES_MAX));
    }
    return 0;
}

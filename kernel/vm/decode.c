#include "kernel/vm/decode.h"

#include "kernel/core/mem.h"
#include "kernel/vm/decode_table.h"

/* Where decoding stands. */
struct decoder {
    const uint8_t *bytes;
    unsigned count;
    unsigned at; /* the next byte */
    unsigned code_size;
    bool prefix_66;
    bool prefix_67;
    uint8_t rex;      /* 0: none */
    uint8_t override; /* enum segment_register, or SEG_COUNT for none */
    uint8_t opcode;   /* its last byte */
    uint8_t modrm;
};

#define REX_W(decoder) (((decoder)->rex & 8) != 0)
#define REX_R(decoder) (((decoder)->rex & 4) << 1)
#define REX_X(decoder) (((decoder)->rex & 2) << 2)
#define REX_B(decoder) (((decoder)->rex & 1) << 3)

/* The bytes are used up: the caller fetches more, unless no instruction may be that long. */
static enum status run_out(unsigned count, struct exception *exception)
{
    if (count < INSTRUCTION_BYTES_MAX)
        return ERR_TRUNCATED;
    *exception = (struct exception){.vector = VECTOR_GP, .has_error_code = true};
    return ERR_FAULT;
}

/* Takes size bytes (1, 2, 4 or 8), sign-extended; false where there are not as many. */
static inline bool take(struct decoder *decoder, unsigned size, uint64_t *value)
{
    const uint8_t *from = decoder->bytes + decoder->at;
#ifndef PLANTED_BUG_DECODE
    if (size > decoder->count - decoder->at)
        return false;
#endif
    decoder->at += size;
    if (size == 1) {
        *value = (uint64_t)(int8_t)*from;
    } else if (size == 4) {
        int32_t four;
        memcpy(&four, from, 4);
        *value = (uint64_t)four;
    } else if (size == 2) {
        int16_t two;
        memcpy(&two, from, 2);
        *value = (uint64_t)two;
    } else {
        memcpy(value, from, 8);
    }
    return true;
}

/* The segment that the override prefixes 26, 2E, 36, 3E, 64 and 65 name. */
static uint8_t override_segment(uint8_t prefix)
{
    return prefix >= 0x64 ? SEG_FS + (prefix - 0x64) : (prefix >> 3) & 3;
}

static void apply_prefix(struct decoder *decoder, struct instruction *instruction, uint8_t byte)
{
    decoder->rex = 0; /* a REX that is not the last prefix is ignored */
    switch (opcode_map_1[byte].operation) {
    case PREFIX_SEGMENT:
        if (decoder->code_size == 8)
            break;
        decoder->override = override_segment(byte);
        break;
    case PREFIX_SEGMENT_FS_GS:
        decoder->override = override_segment(byte);
        break;
    case PREFIX_OPERAND_SIZE:
        decoder->prefix_66 = true;
        break;
    case PREFIX_ADDRESS_SIZE:
        decoder->prefix_67 = true;
        break;
    case PREFIX_LOCK:
        instruction->lock = true;
        break;
    case PREFIX_REPEAT_EQUAL:
        instruction->repeat = REPEAT_EQUAL;
        break;
    case PREFIX_REPEAT_NOT_EQUAL:
        instruction->repeat = REPEAT_NOT_EQUAL;
        break;
    case PREFIX_REX:
        decoder->rex = byte;
        break;
    }
}

/* Takes the prefixes and the opcode's first byte; false where the bytes end before it. */
static inline bool take_prefixes(struct decoder *decoder, struct instruction *instruction,
                                 uint8_t *opcode)
{
    while (decoder->at < decoder->count) {
        uint8_t byte = decoder->bytes[decoder->at++];
        const struct opcode *row = &opcode_map_1[byte];
        unsigned prefix = row->flags == 0 ? row->operation : PREFIX_NONE;
        if (prefix == PREFIX_NONE || (prefix == PREFIX_REX && decoder->code_size != 8)) {
            *opcode = byte;
            return true;
        }
        apply_prefix(decoder, instruction, byte);
    }
    return false;
}

static inline void address_init(struct decoder *decoder, struct instruction *instruction,
                                uint8_t default_segment)
{
    instruction->segment = decoder->override != SEG_COUNT ? decoder->override : default_segment;
}

/* SDM: 16-Bit Addressing Forms with the ModR/M Byte. */
static bool take_address_16(struct decoder *decoder, struct instruction *instruction)
{
    static const uint8_t base[8] = {GPR_RBX, GPR_RBX, GPR_RBP, GPR_RBP,
                                    GPR_RSI, GPR_RDI, GPR_RBP, GPR_RBX};
    static const uint8_t index[4] = {GPR_RSI, GPR_RDI, GPR_RSI, GPR_RDI};
    unsigned mod = decoder->modrm >> 6, rm = decoder->modrm & 7;
    bool absolute = mod == 0 && rm == 6;
    instruction->base = absolute ? ADDRESS_NONE : base[rm];
    instruction->index = rm < 4 ? index[rm] : ADDRESS_NONE;
    instruction->scale = 0;
    instruction->displacement = 0;
    address_init(decoder, instruction, instruction->base == GPR_RBP ? SEG_SS : SEG_DS);
    if (mod == 0 && !absolute)
        return true;
    return take(decoder, mod == 1 ? 1 : 2, &instruction->displacement);
}

/* SDM: 32-Bit Addressing Forms with the ModR/M Byte, and RIP-Relative Addressing. */
static inline bool take_address_32(struct decoder *decoder, struct instruction *instruction)
{
    unsigned mod = decoder->modrm >> 6, base = decoder->modrm & 7;
    bool sib_byte = base == 4;
    instruction->index = ADDRESS_NONE;
    instruction->scale = 0;
    instruction->displacement = 0;
    if (sib_byte) {
        if (decoder->at == decoder->count)
            return false;
        uint8_t sib = decoder->bytes[decoder->at++];
        unsigned index = ((sib >> 3) & 7) | REX_X(decoder);
        if (index != 4)
            instruction->index = (uint8_t)index;
        instruction->scale = sib >> 6;
        base = sib & 7;
    }
    if (mod == 0 && base == 5) { /* no base: RIP, or nothing */
        bool rip = decoder->code_size == 8 && !sib_byte;
        instruction->base = rip ? ADDRESS_RIP : ADDRESS_NONE;
        address_init(decoder, instruction, SEG_DS);
        return take(decoder, 4, &instruction->displacement);
    }
    base |= REX_B(decoder);
    instruction->base = (uint8_t)base;
    address_init(decoder, instruction, base == GPR_RSP || base == GPR_RBP ? SEG_SS : SEG_DS);
    return mod == 0 || take(decoder, mod == 1 ? 1 : 4, &instruction->displacement);
}

/* The instruction's operand size, and the address size. SDM: Operand-Size and Address-Size
 * Attributes. */
static inline void set_sizes(const struct decoder *decoder, uint32_t flags,
                             struct instruction *instruction)
{
    bool wide = (decoder->code_size == 2) == decoder->prefix_66; /* 4 bytes rather than 2 */
    unsigned size = REX_W(decoder) ? 8 : wide ? 4 : 2;
    if ((flags & OPCODE_BYTE) != 0)
        size = 1;
    if ((flags & OPCODE_STACK) != 0 && decoder->code_size == 8 && size == 4)
        size = 8;
    if ((flags & OPCODE_PORT) != 0 && size == 8)
        size = 4;
    if ((flags & OPCODE_DOUBLE) != 0)
        size = REX_W(decoder) ? 16 : 8;
    if ((flags & OPCODE_NO_66) != 0 && size == 2)
        size = 4;
    instruction->size = (uint8_t)size;
}

static inline unsigned address_size(const struct decoder *decoder)
{
    if (!decoder->prefix_67)
        return decoder->code_size;
    return decoder->code_size == 4 ? 2 : 4;
}

/* A register operand. SDM: without REX, byte registers 4 to 7 are AH, CH, DH and BH. */
static inline void set_register(const struct decoder *decoder, struct operand *operand,
                                unsigned number)
{
    operand->kind = OPERAND_REGISTER;
    if (operand->size == 1 && decoder->rex == 0 && number >= 4)
        number = (number & 3) | OPERAND_HIGH_BYTE;
    operand->number = (uint8_t)number;
}

static inline unsigned immediate_size(unsigned form, unsigned size)
{
    if (form == FORM_IMMEDIATE_8)
        return 1;
    return size == 2 ? 2 : 4;
}

/* Fills one operand in; false where its bytes are missing. operand->size is set. */
static inline bool set_operand(struct decoder *decoder, struct instruction *instruction,
                               unsigned form, struct operand *operand)
{
    operand->kind = OPERAND_NONE;
    switch (form) {
    case FORM_RM:
        if (decoder->modrm >= 0xc0)
            set_register(decoder, operand, (decoder->modrm & 7) | REX_B(decoder));
        else
            operand->kind = OPERAND_MEMORY;
        break;
    case FORM_REG:
        set_register(decoder, operand, ((decoder->modrm >> 3) & 7) | REX_R(decoder));
        break;
    case FORM_IMMEDIATE_8:
    case FORM_IMMEDIATE_Z:
        operand->kind = OPERAND_IMMEDIATE;
        return take(decoder, immediate_size(form, operand->size), &instruction->immediate);
    case FORM_ONE:
        operand->kind = OPERAND_IMMEDIATE;
        instruction->immediate = 1;
        break;
    case FORM_CL:
        operand->kind = OPERAND_REGISTER;
        operand->number = GPR_RCX;
        operand->size = 1;
        break;
    case FORM_ACCUMULATOR:
        operand->kind = OPERAND_REGISTER;
        operand->number = GPR_RAX;
        break;
    case FORM_OFFSET:
        operand->kind = OPERAND_MEMORY;
        instruction->base = ADDRESS_NONE;
        instruction->index = ADDRESS_NONE;
        instruction->scale = 0;
        address_init(decoder, instruction, SEG_DS);
        return take(decoder, instruction->address_size, &instruction->displacement);
    }
    return true;
}

static inline bool set_operands(struct decoder *decoder, struct instruction *instruction,
                                const struct opcode *opcode)
{
    unsigned size = instruction->size, source_size = size;
    if ((opcode->flags & (OPCODE_SOURCE_8 | OPCODE_SOURCE_16 | OPCODE_SOURCE_32)) != 0) {
        source_size = (opcode->flags & OPCODE_SOURCE_8) != 0 ? 1 : 2;
        if ((opcode->flags & OPCODE_SOURCE_32) != 0 && size != 2)
            source_size = 4;
    }
    instruction->destination.size = (uint8_t)size;
    instruction->source.size = (uint8_t)source_size;
    return set_operand(decoder, instruction, opcode_destination(opcode),
                       &instruction->destination) &&
           set_operand(decoder, instruction, opcode_source(opcode), &instruction->source);
}

/* Finds the opcode whose first byte is given. NULL with ERR_TRUNCATED in *status: the bytes end;
 * with ERR_UNSUPPORTED: unknown. */
static inline const struct opcode *find_opcode(struct decoder *decoder, uint8_t byte,
                                               enum status *status)
{
    decoder->opcode = byte;
    if (byte != 0x0f)
        return &opcode_map_1[byte];
    *status = ERR_TRUNCATED;
    if (decoder->at == decoder->count)
        return NULL;
    byte = decoder->bytes[decoder->at++];
    decoder->opcode = byte;
    if (byte != 0x38)
        return &opcode_map_2[byte];
    if (decoder->at == decoder->count)
        return NULL;
    byte = decoder->bytes[decoder->at++];
    *status = ERR_UNSUPPORTED;
    return (byte & 0xfe) == 0xf0 ? &opcode_movbe[byte & 1] : NULL;
}

/* Whether mode, prefixes and ModRM leave the opcode the instruction that the table says. */
static inline bool is_known(const struct decoder *decoder, const struct instruction *instruction,
                            uint32_t flags)
{
    const uint32_t rare =
        OPCODE_64 | OPCODE_NOT_64 | OPCODE_MEMORY | OPCODE_NO_66 | OPCODE_NO_REPEAT;
    if ((flags & OPCODE_KNOWN) == 0)
        return false;
    if ((flags & rare) == 0)
        return true;
    return !((flags & OPCODE_64) != 0 && decoder->code_size != 8) &&
           !((flags & OPCODE_NOT_64) != 0 && decoder->code_size == 8) &&
           !((flags & OPCODE_MEMORY) != 0 && decoder->modrm >= 0xc0) &&
           !((flags & OPCODE_NO_66) != 0 && decoder->prefix_66) &&
           !((flags & OPCODE_NO_REPEAT) != 0 && instruction->repeat != REPEAT_NONE);
}

/* Takes ModRM, resolves the group that the opcode may stand for, and takes the address. */
static inline enum status take_modrm(struct decoder *decoder, struct instruction *instruction,
                                     const struct opcode **opcode)
{
    if (decoder->at == decoder->count)
        return ERR_TRUNCATED;
    decoder->modrm = decoder->bytes[decoder->at++];
    uint32_t flags = (*opcode)->flags;
    if ((flags & OPCODE_GROUP) != 0) {
        if (!is_known(decoder, instruction, flags))
            return ERR_UNSUPPORTED;
        *opcode = &opcode_groups[(*opcode)->operation][(decoder->modrm >> 3) & 7];
    }
    if (!is_known(decoder, instruction, (*opcode)->flags))
        return ERR_UNSUPPORTED;
    if (decoder->modrm >= 0xc0)
        return STATUS_OK;
    bool complete = instruction->address_size == 2 ? take_address_16(decoder, instruction)
                                                   : take_address_32(decoder, instruction);
    return complete ? STATUS_OK : ERR_TRUNCATED;
}

/* Why the bytes after the opcode would not do. FF /7, of all that the decoder does not know, it
 * knows to be undefined: that is what memory that is not there reads as. */
static COLD enum status refuse(const struct decoder *decoder, uint8_t opcode, unsigned count,
                               enum status status, struct exception *exception)
{
    if (status == ERR_TRUNCATED)
        return run_out(count, exception);
    if (opcode != 0xff || (decoder->modrm >> 3 & 7) != 7)
        return status;
    *exception = (struct exception){.vector = VECTOR_UD};
    return ERR_FAULT;
}

enum status decode_instruction(const uint8_t *bytes, unsigned count, unsigned code_size,
                               struct instruction *instruction, struct exception *exception)
{
    struct decoder decoder = {
        .bytes = bytes, .count = count, .code_size = code_size, .override = SEG_COUNT};
    enum status status = STATUS_OK;
    uint8_t byte;
    instruction->lock = false;
    instruction->repeat = REPEAT_NONE;
    if (!take_prefixes(&decoder, instruction, &byte))
        return run_out(count, exception);
    const struct opcode *opcode = find_opcode(&decoder, byte, &status);
    if (opcode == NULL)
        return status == ERR_TRUNCATED ? run_out(count, exception) : status;
    instruction->address_size = (uint8_t)address_size(&decoder);
    if ((opcode->flags & OPCODE_MODRM) != 0) {
        status = take_modrm(&decoder, instruction, &opcode);
        if (status != STATUS_OK)
            return refuse(&decoder, byte, count, status, exception);
    } else {
        if (!is_known(&decoder, instruction, opcode->flags))
            return ERR_UNSUPPORTED;
        address_init(&decoder, instruction, SEG_DS);
    }
    set_sizes(&decoder, opcode->flags, instruction);
    if (!set_operands(&decoder, instruction, opcode))
        return run_out(count, exception);
    instruction->operation = opcode->operation;
    instruction->condition = decoder.opcode & 0xf;
    instruction->length = (uint8_t)decoder.at;
    if (instruction->lock &&
        ((opcode->flags & OPCODE_LOCK) == 0 || instruction->destination.kind != OPERAND_MEMORY)) {
        *exception = (struct exception){.vector = VECTOR_UD};
        return ERR_FAULT;
    }
    return STATUS_OK;
}

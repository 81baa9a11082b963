/*
 * The emulator against the processor that runs this test: random instructions of every form, with
 * random prefixes, addressing, registers, flags and memory, are executed by both, in 64-bit mode.
 * Registers, memory, the next instruction's address and the flags that the SDM defines must agree.
 *
 * NATIVE_CASES in the environment sets how many instructions (20000), NATIVE_SEED the sequence.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/vm/emulate.h"
#include "tests/check.h"

#define DATA_SIZE 4096u
#define MARGIN 1024u       /* around the operands, for displaced bit strings and stacks */
#define ARCH_SET_GS 0x1001 /* arch_prctl(2) */

struct native {
    uint64_t gpr[GPR_COUNT];
    uint64_t rflags;
};

void native_enter(struct native *native, const void *code);
extern const uint8_t native_exit[];

/* Loads all registers from *native, jumps to code, which jumps back, and stores them again. */
__asm__(".text\n"
        "native_enter:\n"
        "    push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "    mov %rsp, native_rsp(%rip)\n"
        "    mov %rdi, native_pointer(%rip)\n"
        "    mov %rsi, native_target(%rip)\n"
        "    push 128(%rdi); popfq\n"
        "    mov 0(%rdi), %rax; mov 8(%rdi), %rcx; mov 16(%rdi), %rdx; mov 24(%rdi), %rbx\n"
        "    mov 32(%rdi), %rsp; mov 40(%rdi), %rbp; mov 48(%rdi), %rsi\n"
        "    mov 64(%rdi), %r8; mov 72(%rdi), %r9; mov 80(%rdi), %r10; mov 88(%rdi), %r11\n"
        "    mov 96(%rdi), %r12; mov 104(%rdi), %r13; mov 112(%rdi), %r14; mov 120(%rdi), %r15\n"
        "    mov 56(%rdi), %rdi\n"
        "    jmp *native_target(%rip)\n"
        ".globl native_exit\n"
        "native_exit:\n"
        "    mov %rdi, native_rdi(%rip)\n"
        "    mov native_pointer(%rip), %rdi\n"
        "    mov %rax, 0(%rdi); mov %rcx, 8(%rdi); mov %rdx, 16(%rdi); mov %rbx, 24(%rdi)\n"
        "    mov %rsp, 32(%rdi); mov %rbp, 40(%rdi); mov %rsi, 48(%rdi)\n"
        "    mov %r8, 64(%rdi); mov %r9, 72(%rdi); mov %r10, 80(%rdi); mov %r11, 88(%rdi)\n"
        "    mov %r12, 96(%rdi); mov %r13, 104(%rdi); mov %r14, 112(%rdi); mov %r15, 120(%rdi)\n"
        "    mov native_rsp(%rip), %rsp\n"
        "    pushfq; pop 128(%rdi)\n"
        "    mov native_rdi(%rip), %rax; mov %rax, 56(%rdi)\n"
        "    cld\n"
        "    pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "    ret\n"
        ".local native_rsp, native_pointer, native_target, native_rdi\n"
        ".comm native_rsp, 8, 8\n"
        ".comm native_pointer, 8, 8\n"
        ".comm native_target, 8, 8\n"
        ".comm native_rdi, 8, 8\n");

/* Which flags an instruction leaves undefined. */
enum undefined { DEFINED, LOGIC, SHIFT, ROTATE, BIT_STRING };

enum form_flag {
    MODRM = 1,    /* has a ModRM byte */
    BYTE = 2,     /* 8-bit operands */
    LOCKABLE = 4, /* LOCK is allowed with memory */
    MEMORY = 8,   /* ModRM must name memory */
    STRING = 16,  /* and REP may precede it */
    BIT_IN_REG = 32,
    ACCUMULATOR = 64, /* compares with the accumulator */
    PAIR = 128,       /* compares with rDX:rAX */
    OFFSET = 256,     /* an absolute address follows */
    NO_66 = 512,
};

struct form {
    uint8_t map; /* 1: opcode; 2: 0F opcode; 3: 0F 38 opcode */
    uint8_t opcode;
    int8_t extension;  /* ModRM.reg, -1: a register */
    uint8_t immediate; /* bytes; 4: two with a 16-bit operand */
    uint16_t flags;
    uint8_t undefined;
};

static const struct form forms[] = {
    {1, 0x63, -1, 0, MODRM, DEFINED},
    {1, 0x84, -1, 0, MODRM | BYTE, LOGIC},
    {1, 0x85, -1, 0, MODRM, LOGIC},
    {1, 0x86, -1, 0, MODRM | BYTE | LOCKABLE, DEFINED},
    {1, 0x87, -1, 0, MODRM | LOCKABLE, DEFINED},
    {1, 0x88, -1, 0, MODRM | BYTE, DEFINED},
    {1, 0x89, -1, 0, MODRM, DEFINED},
    {1, 0x8a, -1, 0, MODRM | BYTE, DEFINED},
    {1, 0x8b, -1, 0, MODRM, DEFINED},
    {1, 0x8f, 0, 0, MODRM, DEFINED},
    {1, 0xa0, -1, 0, OFFSET | BYTE, DEFINED},
    {1, 0xa1, -1, 0, OFFSET, DEFINED},
    {1, 0xa2, -1, 0, OFFSET | BYTE, DEFINED},
    {1, 0xa3, -1, 0, OFFSET, DEFINED},
    {1, 0xa4, -1, 0, STRING | BYTE, DEFINED},
    {1, 0xa5, -1, 0, STRING, DEFINED},
    {1, 0xa6, -1, 0, STRING | BYTE, DEFINED},
    {1, 0xa7, -1, 0, STRING, DEFINED},
    {1, 0xaa, -1, 0, STRING | BYTE, DEFINED},
    {1, 0xab, -1, 0, STRING, DEFINED},
    {1, 0xac, -1, 0, STRING | BYTE, DEFINED},
    {1, 0xad, -1, 0, STRING, DEFINED},
    {1, 0xae, -1, 0, STRING | BYTE, DEFINED},
    {1, 0xaf, -1, 0, STRING, DEFINED},
    {1, 0xc6, 0, 1, MODRM | BYTE, DEFINED},
    {1, 0xc7, 0, 4, MODRM, DEFINED},
    {1, 0xf6, 0, 1, MODRM | BYTE, LOGIC},
    {1, 0xf7, 0, 4, MODRM, LOGIC},
    {1, 0xf6, 2, 0, MODRM | BYTE | LOCKABLE, DEFINED},
    {1, 0xf7, 2, 0, MODRM | LOCKABLE, DEFINED},
    {1, 0xf6, 3, 0, MODRM | BYTE | LOCKABLE, DEFINED},
    {1, 0xf7, 3, 0, MODRM | LOCKABLE, DEFINED},
    {1, 0xfe, 0, 0, MODRM | BYTE | LOCKABLE, DEFINED},
    {1, 0xfe, 1, 0, MODRM | BYTE | LOCKABLE, DEFINED},
    {1, 0xff, 0, 0, MODRM | LOCKABLE, DEFINED},
    {1, 0xff, 1, 0, MODRM | LOCKABLE, DEFINED},
    {1, 0xff, 6, 0, MODRM, DEFINED},
    {2, 0x0d, 1, 0, MODRM | MEMORY, DEFINED},
    {2, 0x18, 1, 0, MODRM | MEMORY, DEFINED},
    {2, 0x1f, 0, 0, MODRM, DEFINED},
    {2, 0xa3, -1, 0, MODRM | BIT_IN_REG, BIT_STRING},
    {2, 0xab, -1, 0, MODRM | BIT_IN_REG | LOCKABLE, BIT_STRING},
    {2, 0xb3, -1, 0, MODRM | BIT_IN_REG | LOCKABLE, BIT_STRING},
    {2, 0xbb, -1, 0, MODRM | BIT_IN_REG | LOCKABLE, BIT_STRING},
    {2, 0xae, 7, 0, MODRM | MEMORY | NO_66, DEFINED},
    {2, 0xb0, -1, 0, MODRM | BYTE | LOCKABLE | ACCUMULATOR, DEFINED},
    /* Vendors differ in bits 63:32 of a register destination where the comparison fails. */
    {2, 0xb1, -1, 0, MODRM | MEMORY | LOCKABLE | ACCUMULATOR, DEFINED},
    {2, 0xb6, -1, 0, MODRM, DEFINED},
    {2, 0xb7, -1, 0, MODRM, DEFINED},
    {2, 0xba, 4, 1, MODRM, BIT_STRING},
    {2, 0xba, 5, 1, MODRM | LOCKABLE, BIT_STRING},
    {2, 0xba, 6, 1, MODRM | LOCKABLE, BIT_STRING},
    {2, 0xba, 7, 1, MODRM | LOCKABLE, BIT_STRING},
    {2, 0xbe, -1, 0, MODRM, DEFINED},
    {2, 0xbf, -1, 0, MODRM, DEFINED},
    {2, 0xc0, -1, 0, MODRM | BYTE | LOCKABLE, DEFINED},
    {2, 0xc1, -1, 0, MODRM | LOCKABLE, DEFINED},
    {2, 0xc3, -1, 0, MODRM | MEMORY | NO_66, DEFINED},
    {2, 0xc7, 1, 0, MODRM | MEMORY | LOCKABLE | PAIR, DEFINED},
    {3, 0xf0, -1, 0, MODRM | MEMORY, DEFINED},
    {3, 0xf1, -1, 0, MODRM | MEMORY, DEFINED},
};

/* The instruction under construction. */
struct builder {
    struct native native; /* its registers */
    uint8_t bytes[32];    /* more than any that is kept */
    unsigned length;
    unsigned size; /* operand size in bytes */
    uint64_t gs;   /* what a GS override adds to its address, else 0 */
    uint64_t target;
    uint32_t fixed;           /* registers that its address depends on */
    int64_t rip_displacement; /* where in bytes[] the RIP-relative displacement is, or -1 */
    uint8_t rex;
    bool short_address; /* prefix 67 */
    bool repeats;
    bool in_memory;
    uint64_t undefined_flags;
};

static uint64_t seed;
static uint8_t *code, *data, shadow[DATA_SIZE], before[DATA_SIZE];

static uint64_t draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed * 0x2545f4914f6cdd1dull;
}

static unsigned below(unsigned limit)
{
    return (unsigned)((draw() >> 32) % limit);
}

static bool one_in(unsigned n)
{
    return below(n) == 0;
}

/* A value with a bias to the edges of the operand sizes. */
static uint64_t draw_value(void)
{
    static const uint64_t edges[] = {0,
                                     1,
                                     0x7f,
                                     0x80,
                                     0xff,
                                     0x7fff,
                                     0x8000,
                                     0xffff,
                                     0x7fffffff,
                                     0x80000000,
                                     0xffffffff,
                                     0x7fffffffffffffff,
                                     0x8000000000000000,
                                     0xffffffffffffffff,
                                     0x0f,
                                     0x10};
    return one_in(3) ? edges[below(ARRAY_SIZE(edges))] : draw();
}

static void emit(struct builder *builder, uint64_t value, unsigned size)
{
    memcpy(builder->bytes + builder->length, &value, size);
    builder->length += size;
}

static void draw_prefixes(struct builder *builder, const struct form *form)
{
    static const uint8_t ignored[] = {0x26, 0x2e, 0x36, 0x3e};
    bool wide;
    if (one_in(8))
        emit(builder, 0x65, 1), builder->gs = (uintptr_t)data - 0x12340;
    if (one_in(4) && (form->flags & NO_66) == 0)
        emit(builder, 0x66, 1), builder->size = 2;
    if (one_in(8))
        emit(builder, ignored[below(4)], 1);
    if (one_in(6))
        emit(builder, 0x67, 1), builder->short_address = true;
    if (((form->flags & STRING) != 0 && !one_in(3)) || (form->map == 1 && one_in(16))) {
        emit(builder, 0xf2 + below(2), 1);
        builder->repeats = (form->flags & STRING) != 0;
    }
    if ((form->flags & LOCKABLE) != 0 && builder->in_memory && one_in(3))
        emit(builder, 0xf0, 1);
    if (one_in(16))
        emit(builder, 0x40 | below(16), 1), emit(builder, 0x3e, 1); /* a REX that does not count */
    if (one_in(2)) {
        builder->rex = (uint8_t)(0x40 | below(16));
        emit(builder, builder->rex, 1);
    }
    wide = (builder->rex & 8) != 0;
    if (wide)
        builder->size = 8;
    if ((form->flags & BYTE) != 0)
        builder->size = 1;
}

/* Junk above what a 32-bit address uses. */
static uint64_t junk(const struct builder *builder)
{
    return builder->short_address ? draw() << 32 : 0;
}

/* SIB, displacement and registers so that the address is builder->target. */
static bool draw_address(struct builder *builder, unsigned mod, unsigned rm)
{
    uint64_t offset = builder->target - builder->gs, displacement = 0, scaled = 0;
    unsigned base = rm;
    if (rm == 4) {
        uint8_t sib = (uint8_t)draw();
        unsigned index = ((sib >> 3) & 7) | (builder->rex & 2) << 2;
        emit(builder, sib, 1);
        base = sib & 7;
        if (index != 4) {
            uint64_t value = (uint64_t)(int64_t)(below(200)) - 100;
            builder->native.gpr[index] = value + junk(builder);
            builder->fixed |= 1u << index;
            scaled = value << (sib >> 6);
        }
    }
    if (mod == 0 && base == 5) {
        builder->rip_displacement = rm == 5 ? (int64_t)builder->length : -1;
        emit(builder, offset - scaled, 4);
        return true;
    }
    base |= (builder->rex & 1) << 3;
    /* RSP stays near the data, for PUSH and POP. */
    if ((builder->fixed >> base & 1) != 0 || (base == GPR_RSP && builder->gs != 0))
        return false;
    bool wide = mod == 2 && base != GPR_RSP;
    if (mod != 0)
        displacement = (uint64_t)below(wide ? 100000 : 256) - (wide ? 50000 : 128);
    emit(builder, displacement, mod == 0 ? 0 : mod == 1 ? 1 : 4);
    builder->native.gpr[base] = offset - scaled - displacement;
    if (base != GPR_RSP)
        builder->native.gpr[base] += junk(builder);
    builder->fixed |= 1u << base;
    return true;
}

static bool draw_modrm(struct builder *builder, const struct form *form)
{
    unsigned reg = form->extension >= 0 ? (unsigned)form->extension : below(8);
    unsigned mod = builder->in_memory ? below(3) : 3, rm = below(8);
    emit(builder, mod << 6 | reg << 3 | rm, 1);
    if (mod != 3 && !draw_address(builder, mod, rm))
        return false;
    if ((form->flags & BIT_IN_REG) != 0 && builder->in_memory) {
        unsigned number = reg | (builder->rex & 4) << 1;
        uint64_t bit = (uint64_t)(int64_t)below(8000) - 4000;
        if ((builder->fixed >> number & 1) != 0)
            return false;
        if (builder->size < 8)
            bit = (bit & bits_size_mask(builder->size)) | draw() << (8 * builder->size);
        builder->native.gpr[number] = bit;
        builder->fixed |= 1u << number;
    }
    return true;
}

static void set_register(struct builder *builder, unsigned number, uint64_t value)
{
    if ((builder->fixed >> number & 1) == 0)
        builder->native.gpr[number] = value;
}

/* Half of the time, comparisons with the accumulator are to succeed. */
static void draw_accumulator(struct builder *builder, const struct form *form)
{
    uint64_t words[2];
    memcpy(words, before + (builder->target - (uintptr_t)data), sizeof(words));
    if ((form->flags & (ACCUMULATOR | PAIR)) == 0 || one_in(2))
        return;
    set_register(builder, GPR_RAX, words[0]);
    if ((form->flags & PAIR) != 0)
        set_register(builder, GPR_RDX, builder->size == 8 ? words[1] : words[0] >> 32);
}

static void draw_string(struct builder *builder)
{
    uint64_t to = (uintptr_t)data + MARGIN + below(MARGIN);
    builder->native.gpr[GPR_RSI] = builder->target - builder->gs + junk(builder);
    builder->native.gpr[GPR_RDI] = to + junk(builder);
    /* With 32-bit addresses and a count of zero, vendors differ in the upper halves. */
    if (builder->repeats)
        builder->native.gpr[GPR_RCX] = below(40) + (builder->short_address ? 1 : 0) + junk(builder);
    if (one_in(2))
        builder->native.gpr[GPR_RAX] = 0;
}

static uint64_t undefined_flags(const struct builder *builder, const struct form *form)
{
    unsigned count = 1;
    switch (form->undefined) {
    case LOGIC:
        return RFLAGS_AF;
    case BIT_STRING:
        return RFLAGS_OF | RFLAGS_SF | RFLAGS_AF | RFLAGS_PF;
    case SHIFT:
    case ROTATE:
        if (form->immediate != 0)
            count = builder->bytes[builder->length - 1];
        else if (form->opcode >= 0xd2)
            count = (unsigned)builder->native.gpr[GPR_RCX];
        count &= builder->size == 8 ? 63 : 31;
        if (count == 0)
            return 0;
        return (count != 1 ? RFLAGS_OF : 0) | (form->undefined == SHIFT ? RFLAGS_AF : 0) |
               (form->undefined == SHIFT && count > 8 * builder->size ? RFLAGS_CF : 0);
    default:
        return 0;
    }
}

/* Memory of random bytes, or of one byte so that string comparisons run on. */
static void fill_memory(void)
{
    uint8_t same = (uint8_t)draw();
    bool uniform = one_in(4);
    for (unsigned i = 0; i < DATA_SIZE; i += 8) {
        uint64_t value = uniform ? 0 : draw_value();
        memcpy(before + i, &value, 8);
    }
    if (uniform)
        memset(before, one_in(2) ? 0 : same, DATA_SIZE);
    if (uniform)
        before[MARGIN + below(2 * MARGIN)] ^= 1;
}

/* Makes an instruction of the form; false where the choice of registers contradicts itself. */
static bool build(struct builder *builder, const struct form *form)
{
    const uint64_t flags = RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF;
    memset(builder, 0, sizeof(*builder));
    for (unsigned i = 0; i < GPR_COUNT; i++)
        builder->native.gpr[i] = draw_value();
    builder->native.gpr[GPR_RSP] = (uintptr_t)data + 2 * MARGIN + 8 * below(64) + below(2);
    builder->native.rflags = 0x202 | (draw() & (flags | RFLAGS_DF));
    builder->size = 4;
    builder->rip_displacement = -1;
    builder->in_memory = (form->flags & MEMORY) != 0 || !one_in(5);
    builder->target = (uintptr_t)data + MARGIN + below(2 * MARGIN - 64);
    draw_prefixes(builder, form);
    if ((form->flags & PAIR) != 0 && builder->size == 8)
        builder->target = align_down(builder->target, 16);
    emit(builder, form->map == 1 ? 0 : 0x0f, form->map == 1 ? 0 : 1);
    emit(builder, 0x38, form->map == 3 ? 1 : 0);
    emit(builder, form->opcode, 1);
    if ((form->flags & MODRM) != 0 && !draw_modrm(builder, form))
        return false;
    if ((form->flags & OFFSET) != 0)
        emit(builder, builder->target - builder->gs, builder->short_address ? 4 : 8);
    if ((form->flags & STRING) != 0)
        draw_string(builder);
    draw_accumulator(builder, form);
    emit(builder, draw(), form->immediate == 4 && builder->size == 2 ? 2 : form->immediate);
    if (builder->length > INSTRUCTION_BYTES_MAX)
        return false;
    if (builder->rip_displacement >= 0) {
        uint32_t displacement =
            (uint32_t)(builder->target - builder->gs - (uintptr_t)code - builder->length);
        memcpy(builder->bytes + builder->rip_displacement, &displacement, 4);
    }
    builder->undefined_flags = undefined_flags(builder, form);
    return true;
}

static uint8_t *shadow_at(uint64_t linear, unsigned size)
{
    uint64_t offset = linear - (uintptr_t)data;
    return offset <= DATA_SIZE - size ? shadow + offset : NULL;
}

static enum status flat_load(void *context, uint64_t linear, unsigned size, bool modify,
                             uint64_t *value, struct exception *exception)
{
    const uint8_t *from = shadow_at(linear, size);
    (void)context, (void)modify, (void)exception;
    if (from == NULL)
        return ERR_RANGE;
    value[0] = 0;
    memcpy(value, from, size);
    return STATUS_OK;
}

static enum status flat_store(void *context, uint64_t linear, unsigned size, const uint64_t *value,
                              struct exception *exception)
{
    uint8_t *to = shadow_at(linear, size);
    (void)context, (void)exception;
    if (to == NULL)
        return ERR_RANGE;
    memcpy(to, value, size);
    return STATUS_OK;
}

static enum status flat_compare_exchange(void *context, uint64_t linear, unsigned size,
                                         const uint64_t *expected, const uint64_t *desired,
                                         bool *swapped, struct exception *exception)
{
    const uint8_t *at = shadow_at(linear, size);
    *swapped = at != NULL && memcmp(at, expected, size) == 0;
    return flat_store(context, linear, size, desired, exception);
}

static const struct emulate_ops flat_ops = {
    .load = flat_load, .store = flat_store, .compare_exchange = flat_compare_exchange};

static void run_native(const struct builder *builder, struct native *after)
{
    static const uint8_t jump[6] = {0xff, 0x25}; /* jmp [rip], the address behind it */
    const uint8_t *back = native_exit;
    memcpy(data, before, DATA_SIZE);
    memcpy(code, builder->bytes, builder->length);
    memcpy(code + builder->length, jump, sizeof(jump));
    memcpy(code + builder->length + sizeof(jump), &back, sizeof(back));
    *after = builder->native;
    native_enter(after, code);
}

static enum emulate_result run_emulated(const struct builder *builder, struct native *after,
                                        uint64_t *rip)
{
    struct instruction instruction;
    struct exception exception = {0};
    struct emulate_state state = {.gpr = after->gpr,
                                  .rip = (uintptr_t)code,
                                  .rflags = builder->native.rflags,
                                  .cr0 = CR0_PE | CR0_PG,
                                  .code_size = 8,
                                  .cpl = 3};
    state.segment[SEG_GS].base = (uintptr_t)data - 0x12340;
    memcpy(shadow, before, DATA_SIZE);
    *after = builder->native;
    if (decode_instruction(builder->bytes, builder->length, 8, &instruction, &exception) != 0)
        return EMULATE_UNSUPPORTED;
    enum emulate_result result =
        emulate_instruction(&state, &instruction, &flat_ops, NULL, &exception, NULL);
    after->rflags = state.rflags;
    *rip = state.rip;
    return result;
}

static void print_case(const struct builder *builder, const struct native *native,
                       const struct native *emulated)
{
    printf("#");
    for (unsigned i = 0; i < builder->length; i++)
        printf(" %02x", builder->bytes[i]);
    printf("\n");
    for (unsigned i = 0; i < GPR_COUNT; i++)
        printf("# r%-2u %016" PRIx64 " -> %016" PRIx64 " native, %016" PRIx64 " emulated%s\n", i,
               builder->native.gpr[i], native->gpr[i], emulated->gpr[i],
               native->gpr[i] != emulated->gpr[i] ? " <-" : "");
    printf("# flags %" PRIx64 " -> %" PRIx64 " native, %" PRIx64 " emulated\n",
           builder->native.rflags, native->rflags, emulated->rflags);
    for (unsigned i = 0; i < DATA_SIZE; i++)
        if (data[i] != shadow[i])
            printf("# data[%x] %02x -> %02x native, %02x emulated\n", i, before[i], data[i],
                   shadow[i]);
}

static void compare_one(const struct form *form)
{
    struct builder builder;
    struct native native, emulated;
    uint64_t rip = 0;
    if (one_in(4) || seed == 0)
        fill_memory();
    while (!build(&builder, form))
        continue;
    enum emulate_result result = run_emulated(&builder, &emulated, &rip);
    run_native(&builder, &native);
    uint64_t flags = ~(builder.undefined_flags | RFLAGS_RF);
    bool same = result == EMULATE_DONE && rip == (uintptr_t)code + builder.length &&
                memcmp(native.gpr, emulated.gpr, sizeof(native.gpr)) == 0 &&
                (native.rflags & flags) == (emulated.rflags & flags) &&
                memcmp(data, shadow, DATA_SIZE) == 0;
    if (!same)
        print_case(&builder, &native, &emulated);
    CHECK_EQ(result, EMULATE_DONE);
    CHECK_EQ(rip, (uintptr_t)code + builder.length);
    CHECK(same);
}

static void prepare(void)
{
    const size_t size = 2 * 4096;
    if (code != NULL)
        return;
    /* Low addresses, so that absolute and 32-bit addressing reach them. */
    code = mmap(NULL, size, PROT_READ | PROT_WRITE | PROT_EXEC,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    CHECK(code != MAP_FAILED);
    data = code + 4096;
    CHECK_EQ(syscall(SYS_arch_prctl, ARCH_SET_GS, (uintptr_t)data - 0x12340), 0);
    const char *text = getenv("NATIVE_SEED");
    seed = text != NULL ? strtoull(text, NULL, 0) * 2 + 1 : 0x9e3779b97f4a7c15ull;
    fill_memory();
}

static unsigned cases_of(unsigned share)
{
    const char *text = getenv("NATIVE_CASES");
    unsigned long cases = text != NULL ? strtoul(text, NULL, 0) : 20000;
    return (unsigned)(cases / share);
}

/* The six forms of each arithmetic instruction. */
static void arithmetic_agrees(void)
{
    static const struct form kinds[] = {
        {1, 0x00, -1, 0, MODRM | BYTE | LOCKABLE, 0},
        {1, 0x01, -1, 0, MODRM | LOCKABLE, 0},
        {1, 0x02, -1, 0, MODRM | BYTE, 0},
        {1, 0x03, -1, 0, MODRM, 0},
        {1, 0x80, 0, 1, MODRM | BYTE | LOCKABLE, 0},
        {1, 0x81, 0, 4, MODRM | LOCKABLE, 0},
        {1, 0x83, 0, 1, MODRM | LOCKABLE, 0},
    };
    prepare();
    for (unsigned i = 0; i < cases_of(4); i++) {
        unsigned operation = below(8);
        struct form form = kinds[below(ARRAY_SIZE(kinds))];
        if (form.extension >= 0)
            form.extension = (int8_t)operation;
        else
            form.opcode = (uint8_t)(form.opcode + 8 * operation);
        if (operation == 7) /* CMP */
            form.flags &= (uint16_t)~LOCKABLE;
        if (operation == 1 || operation == 4 || operation == 6)
            form.undefined = LOGIC;
        compare_one(&form);
    }
}

static void shifts_agree(void)
{
    static const uint8_t opcodes[] = {0xc0, 0xc1, 0xd0, 0xd1, 0xd2, 0xd3};
    prepare();
    for (unsigned i = 0; i < cases_of(5); i++) {
        uint8_t opcode = opcodes[below(6)];
        struct form form = {1, opcode, (int8_t)below(8), opcode < 0xd0, MODRM, ROTATE};
        if ((opcode & 1) == 0)
            form.flags |= BYTE;
        if (form.extension >= 4)
            form.undefined = SHIFT;
        compare_one(&form);
    }
}

static void conditions_agree(void)
{
    prepare();
    for (unsigned i = 0; i < cases_of(20); i++) {
        struct form set = {2, (uint8_t)(0x90 + below(16)), 0, 0, MODRM | BYTE, DEFINED};
        struct form move = {2, (uint8_t)(0x40 + below(16)), -1, 0, MODRM, DEFINED};
        compare_one(one_in(2) ? &set : &move);
    }
}

static void everything_else_agrees(void)
{
    prepare();
    for (unsigned i = 0; i < cases_of(2); i++)
        compare_one(&forms[i % ARRAY_SIZE(forms)]);
}

TEST_MAIN({"arithmetic_agrees", arithmetic_agrees}, {"shifts_agree", shifts_agree},
          {"conditions_agree", conditions_agree},
          {"everything_else_agrees", everything_else_agrees})

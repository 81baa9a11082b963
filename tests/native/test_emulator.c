/*
 * The emulator against the processor that runs this test: random instructions of every form that
 * the decoder's tables know, in 64-bit mode and in segments of 32 and 16 bits, with random
 * prefixes, addresses, registers, flags and memory. Registers, the flags that the manual defines,
 * memory, the instruction pointer and what is raised, with its error code and address, must agree.
 *
 * NATIVE_CASES in the environment sets how many instructions, NATIVE_SEED the sequence,
 * NATIVE_TABLE=1 prints what was executed.
 */
#include <stdlib.h>

#include "tests/check.h"
#include "tests/native/build.h"
#include "tests/native/emulated.h"
#include "tests/native/random.h"

#define CASES 150000u
#define CASES_A_DESCRIPTOR_TABLE 4096u
#define FAILURES_MAX 8u
#define USER_END 0x7ffffffff000u /* of the linear addresses of user mode */
#define KERNEL_BEGIN 0xffff800000000000u

static const char *refusal; /* by the kernel, of what this test needs */
static bool has_segments;
static unsigned failures;
static uint64_t repetitions; /* by the emulator's short way */

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 0) : otherwise;
}

/* What both have to agree in: in the form of the processor's record, without what is undefined. */
static void normalise(struct context *context, const struct sample *sample)
{
    bool wide = sample->scene.mode == NATIVE_64;
    context->rflags &= ~(RFLAGS_RF | sample->undefined_flags);
    if (!wide)
        context->rip &= 0xffffffff;
    for (unsigned i = 0; i < GPR_R8 && !wide; i++)
        context->gpr[i] &= 0xffffffff; /* a switch of modes may change what is above */
    /* The kernel tells user mode that all of its own addresses are present. */
    if (context->vector == VECTOR_PF && context->cr2 >= USER_END)
        context->error_code |= 1;
}

static bool is_same(const struct context *a, const struct context *b)
{
    return memcmp(a->gpr, b->gpr, sizeof(a->gpr)) == 0 && a->rip == b->rip &&
           a->rflags == b->rflags && a->vector == b->vector && a->error_code == b->error_code &&
           a->cr2 == b->cr2;
}

static void print_outcome(const char *who, const struct context *context)
{
    printf("# %s: vector %u error %x cr2 %" PRIx64 " rip %" PRIx64 " flags %" PRIx64 "\n", who,
           context->vector, context->error_code, context->cr2, context->rip, context->rflags);
}

static void print_sample(const struct sample *sample, uint64_t seed, const struct context *native,
                         const struct context *emulated)
{
    static const char *const segments[] = {"ES", "CS", "SS", "DS", "FS", "GS"};
    printf("# seed %#" PRIx64 ", %u-bit code at %" PRIx64 ":", seed, 8 * sample->scene.code_size,
           sample->linear);
    for (unsigned i = 0; i < sample->length; i++)
        printf(" %02x", sample->bytes[i]);
    printf(" (%s)\n", forms_name(sample->form));
    for (unsigned i = 0; i <= SEG_GS; i++)
        printf("# %s %04x base %" PRIx64 " limit %x access %x\n", segments[i],
               sample->scene.selector[i], sample->scene.segment[i].base,
               sample->scene.segment[i].limit, sample->scene.segment[i].access);
    for (unsigned i = 0; i < GPR_COUNT; i++)
        printf("# r%-2u %016" PRIx64 " -> %016" PRIx64 " native, %016" PRIx64 " emulated%s\n", i,
               sample->context.gpr[i], native->gpr[i], emulated->gpr[i],
               native->gpr[i] != emulated->gpr[i] ? " <-" : "");
    print_outcome("before", &sample->context);
    print_outcome("native", native);
    print_outcome("emulated", emulated);
}

/*
 * Where processors differ and the emulator follows Intel's manual: what an AMD EPYC of family 1Ah
 * was seen to do otherwise.
 *
 * - CMPXCHG of a 32-bit register that fails leaves bits 63:32 of its destination alone.
 * - MOVSXD with a 16-bit destination reads four bytes, not two.
 * - CMPXCHG16B of a stack operand that is not aligned and not canonical to its end: #GP, not #SS.
 * - An offset in FS or GS that is not canonical is refused even where base and offset make a
 *   canonical address.
 */
static bool is_vendors_own(const struct sample *sample, const struct context *native,
                           const struct context *emulated)
{
    unsigned operation = sample->form->opcode.operation;
    struct context copy = *native;
    if (sample->scene.mode != NATIVE_64)
        return false;
    if (operation == OPERATION_CMPXCHG && native->vector <= VECTOR_BP) {
        struct operand operand = emulated_instruction()->destination;
        if (operand.kind == OPERAND_REGISTER && operand.size == 4)
            copy.gpr[operand.number] &= 0xffffffff;
        return is_same(&copy, emulated);
    }
    if (operation == OPERATION_MOVSX && sample->form->opcode.flags & OPCODE_SOURCE_32 &&
        sample->cell->size == 2)
        return native->vector > VECTOR_BP && native->vector != emulated->vector;
    if (operation == OPERATION_CMPXCHG8B && emulated->vector == VECTOR_SS)
        return native->vector == VECTOR_GP && sample->cell->size == 16;
    return native->vector == VECTOR_GP && emulated->vector == VECTOR_PF &&
           emulated->cr2 - KERNEL_BEGIN < 1ull << 47;
}

/* A device's register is mostly met again: by the short way the outcome must be the same. */
static bool repeats_alike(const struct sample *sample, const struct context *native)
{
    const struct instruction *instruction = emulated_instruction();
    struct context repeated = sample->context;
    uint8_t ignored;
    if (sample->scene.mode != NATIVE_64 || native->vector > VECTOR_BP || instruction == NULL ||
        !memory_is_device(sample->operand))
        return true;
    bool write = instruction->destination.kind == OPERAND_MEMORY;
    if (write && instruction->operation == OPERATION_MOV)
        memory_spoil(sample->operand); /* to be stored again */
    if (!emulated_repeat(&repeated, sample->operand, write)) {
        memory_repair();
        return true;
    }
    repetitions++;
    normalise(&repeated, sample);
    if (!is_same(&repeated, native) || memory_difference(&ignored, &ignored) != 0)
        return false;
    /* Another address, or the other direction, is another access: it is refused. */
    repeated = sample->context;
    return !emulated_repeat(&repeated, sample->operand ^ 8, write) &&
           !emulated_repeat(&repeated, sample->operand, !write);
}

static void compare(struct cell *cell)
{
    struct sample sample;
    uint64_t seed = random_seed;
    uint8_t native_byte = 0, emulated_byte = 0;
    build_sample(&sample, cell);
    struct context native = sample.context, emulated = sample.context;
    bool known = emulated_run(&emulated, sample.scene.segment, sample.scene.code_size);
    processor_run(&native);
    if (native.vector == VECTOR_BP)
        native.rip--; /* of the breakpoint behind the instruction */
    uint64_t difference = memory_difference(&native_byte, &emulated_byte);
    if (native.vector == VECTOR_BP || native.vector == VECTOR_DB)
        cell->done++;
    else
        cell->faulted++;
    normalise(&native, &sample);
    normalise(&emulated, &sample);
    if (known && difference == 0 && is_same(&native, &emulated) && repeats_alike(&sample, &native))
        return;
    if (!is_vendors_own(&sample, &native, &emulated)) {
        failures++;
        print_sample(&sample, seed, &native, &emulated);
        if (!known)
            printf("# the emulator refuses it\n");
        if (difference != 0)
            printf("# memory at %" PRIx64 ": %02x native, %02x emulated\n", difference, native_byte,
                   emulated_byte);
    }
    memory_repair();
}

static void prepare(void)
{
    refusal = processor_prepare();
    if (refusal != NULL)
        return;
    forms_prepare();
    has_segments = processor_has_segments();
    if (!has_segments)
        printf("# skipped: 32- and 16-bit code, since this kernel refuses modify_ldt(2)\n");
    if (!has_segments)
        forms_keep_64();
    emulated_prepare();
    random_seed = number_from("NATIVE_SEED", 1) * 0x9e3779b97f4a7c15 | 1;
    memory_draw();
}

static void emulator_agrees_with_the_processor(void)
{
    uint64_t cases = number_from("NATIVE_CASES", CASES);
    prepare();
    if (refusal != NULL) {
        printf("# skipped: %s\n", refusal);
        return;
    }
    for (uint64_t i = 0; i < cases && failures < FAILURES_MAX; i++) {
        if (has_segments && i % CASES_A_DESCRIPTOR_TABLE == 0)
            scene_draw_descriptors();
        compare(&cells[i % cell_count]);
    }
    CHECK_EQ(failures, 0);
    CHECK(repetitions > cases / 5000);
}

/* None of them was left out, and none only ever faulted. */
static void every_form_was_executed(void)
{
    if (refusal != NULL)
        return;
    CHECK_EQ(forms_print_coverage(number_from("NATIVE_TABLE", 0) != 0), 0);
}

TEST_MAIN({"emulator_agrees_with_the_processor", emulator_agrees_with_the_processor},
          {"every_form_was_executed", every_form_was_executed})

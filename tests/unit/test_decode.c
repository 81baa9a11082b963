/* The instruction decoder: every prefix, addressing form and refusal. */
#include "kernel/vm/decode.h"
#include "tests/check.h"

static const char *const names[OPERATION_COUNT] = {
    "add",  "or",      "adc",       "sbb",  "and",   "sub", "xor",   "cmp",    "rol",     "ror",
    "rcl",  "rcr",     "shl",       "shr",  "sal",   "sar", "bt",    "bts",    "btr",     "btc",
    "test", "not",     "neg",       "inc",  "dec",   "mov", "movzx", "movsx",  "movbe",   "xchg",
    "xadd", "cmpxchg", "cmpxchg8b", "push", "pushf", "pop", "setcc", "cmovcc", "clflush", "nop",
    "movs", "cmps",    "stos",      "lods", "scas",  "ins", "outs"};

/* Turns "8b 43 10" into bytes; returns how many. */
static unsigned parse_bytes(const char *hex, uint8_t *bytes)
{
    unsigned count = 0, value;
    int used;
    while (sscanf(hex, " %2x%n", &value, &used) == 1) {
        bytes[count++] = (uint8_t)value;
        hex += used;
    }
    return count;
}

static void print_register(char *text, const struct operand *operand)
{
    sprintf(text, " r%u%s.%u", operand->number & 0xf,
            (operand->number & OPERAND_HIGH_BYTE) != 0 ? "h" : "", operand->size);
}

/* Writes the memory operand as "ds:[r3+r1*4+10]/8", displacement in hexadecimal, address size
 * behind the slash. */
static void print_memory(char *text, const struct instruction *instruction, unsigned size)
{
    static const char *const segments[] = {"es", "cs", "ss", "ds", "fs", "gs"};
    text += sprintf(text, " %s:[", segments[instruction->segment]);
    if (instruction->base == ADDRESS_RIP)
        text += sprintf(text, "rip");
    else if (instruction->base != ADDRESS_NONE)
        text += sprintf(text, "r%u", instruction->base);
    if (instruction->index != ADDRESS_NONE)
        text += sprintf(text, "+r%u*%u", instruction->index, 1u << instruction->scale);
    int64_t displacement = (int64_t)instruction->displacement;
    if (displacement < 0)
        text += sprintf(text, "-%" PRIx64, -instruction->displacement);
    else if (displacement > 0)
        text += sprintf(text, "+%" PRIx64, instruction->displacement);
    sprintf(text, "]/%u.%u", instruction->address_size, size);
}

static void print_operand(char *text, const struct instruction *instruction,
                          const struct operand *operand)
{
    text += strlen(text);
    switch (operand->kind) {
    case OPERAND_REGISTER:
        print_register(text, operand);
        break;
    case OPERAND_MEMORY:
        print_memory(text, instruction, operand->size);
        break;
    case OPERAND_IMMEDIATE:
        sprintf(text, " #%" PRIx64 ".%u", instruction->immediate & bits_size_mask(operand->size),
                operand->size);
        break;
    }
}

/* The instruction as text, or its refusal: "#ud", "#gp", "truncated", "unsupported". */
static const char *decode_text(unsigned code_size, const char *hex)
{
    static char text[256];
    uint8_t bytes[32];
    struct instruction instruction;
    struct exception exception = {0};
    unsigned count = parse_bytes(hex, bytes);
    enum status status =
        decode_instruction(bytes, count < 15 ? count : 15, code_size, &instruction, &exception);
    if (status == ERR_FAULT)
        return exception.vector == VECTOR_UD ? "#ud" : exception.error_code == 0 ? "#gp" : "?";
    if (status != STATUS_OK)
        return status_text(status);
    CHECK(instruction.operation < OPERATION_COUNT);
    sprintf(text, "%s%s%s", instruction.lock ? "lock " : "",
            instruction.repeat == REPEAT_EQUAL       ? "rep "
            : instruction.repeat == REPEAT_NOT_EQUAL ? "repne "
                                                     : "",
            names[instruction.operation]);
    if (instruction.operation >= OPERATION_MOVS)
        sprintf(text + strlen(text), ".%u/%u seg %u", instruction.size, instruction.address_size,
                instruction.segment);
    print_operand(text, &instruction, &instruction.destination);
    print_operand(text, &instruction, &instruction.source);
    CHECK_EQ(instruction.length, count);
    return text;
}

struct row {
    unsigned code_size;
    const char *hex;
    const char *text;
};

static void check_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *text = decode_text(rows[i].code_size, rows[i].hex);
        if (strcmp(text, rows[i].text) != 0)
            printf("# %s\n", rows[i].hex);
        CHECK_STR(text, rows[i].text);
    }
}

#define ROWS(...)                                                                                  \
    do {                                                                                           \
        static const struct row rows[] = {__VA_ARGS__};                                            \
        check_rows(rows, ARRAY_SIZE(rows));                                                        \
    } while (0)

static void sizes_follow_mode_and_prefixes(void)
{
    ROWS({8, "8b 03", "mov r0.4 ds:[r3]/8.4"}, {8, "66 8b 03", "mov r0.2 ds:[r3]/8.2"},
         {8, "48 8b 03", "mov r0.8 ds:[r3]/8.8"}, {8, "66 48 8b 03", "mov r0.8 ds:[r3]/8.8"},
         {8, "67 8b 03", "mov r0.4 ds:[r3]/4.4"}, {8, "8a 03", "mov r0.1 ds:[r3]/8.1"},
         {4, "8b 03", "mov r0.4 ds:[r3]/4.4"}, {4, "66 8b 03", "mov r0.2 ds:[r3]/4.2"},
         {2, "8b 03", "mov r0.2 ss:[r5+r7*1]/2.2"}, {2, "8b 07", "mov r0.2 ds:[r3]/2.2"},
         {2, "66 8b 07", "mov r0.4 ds:[r3]/2.4"}, {2, "67 8b 03", "mov r0.2 ds:[r3]/4.2"},
         {2, "66 67 8b 03", "mov r0.4 ds:[r3]/4.4"}, {4, "67 8b 07", "mov r0.4 ds:[r3]/2.4"});
}

static void sixteen_bit_addresses(void)
{
    ROWS({2, "8a 00", "mov r0.1 ds:[r3+r6*1]/2.1"}, {2, "8a 01", "mov r0.1 ds:[r3+r7*1]/2.1"},
         {2, "8a 02", "mov r0.1 ss:[r5+r6*1]/2.1"}, {2, "8a 04", "mov r0.1 ds:[r6]/2.1"},
         {2, "8a 05", "mov r0.1 ds:[r7]/2.1"}, {2, "8a 06 34 12", "mov r0.1 ds:[+1234]/2.1"},
         {2, "8a 46 fe", "mov r0.1 ss:[r5-2]/2.1"}, {2, "8a 47 7f", "mov r0.1 ds:[r3+7f]/2.1"},
         {2, "8a 82 00 80", "mov r0.1 ss:[r5+r6*1-8000]/2.1"},
         {2, "26 8a 46 00", "mov r0.1 es:[r5]/2.1"}, {2, "2e 8a 07", "mov r0.1 cs:[r3]/2.1"},
         {2, "36 8a 07", "mov r0.1 ss:[r3]/2.1"}, {2, "3e 8a 46 00", "mov r0.1 ds:[r5]/2.1"});
}

static void thirty_two_bit_addresses(void)
{
    ROWS({4, "8b 45 00", "mov r0.4 ss:[r5]/4.4"},
         {4, "8b 05 78 56 34 12", "mov r0.4 ds:[+12345678]/4.4"},
         {4, "8b 04 24", "mov r0.4 ss:[r4]/4.4"},
         {4, "8b 44 8b f0", "mov r0.4 ds:[r3+r1*4-10]/4.4"},
         {4, "8b 04 cd 00 00 00 80", "mov r0.4 ds:[+r1*8-80000000]/4.4"},
         {4, "8b 04 2b", "mov r0.4 ds:[r3+r5*1]/4.4"},
         {4, "8b 44 1d 00", "mov r0.4 ss:[r5+r3*1]/4.4"},
         {4, "8b 84 24 00 01 00 00", "mov r0.4 ss:[r4+100]/4.4"},
         {4, "64 8b 45 00", "mov r0.4 fs:[r5]/4.4"}, {4, "65 26 8b 03", "mov r0.4 es:[r3]/4.4"});
}

static void sixty_four_bit_addresses(void)
{
    ROWS({8, "8b 05 10 00 00 00", "mov r0.4 ds:[rip+10]/8.4"},
         {8, "67 8b 05 10 00 00 00", "mov r0.4 ds:[rip+10]/4.4"},
         {8, "8b 04 25 00 00 e0 fe", "mov r0.4 ds:[-1200000]/8.4"},
         {8, "45 8b 45 00", "mov r8.4 ds:[r13]/8.4"}, {8, "41 8b 04 24", "mov r0.4 ds:[r12]/8.4"},
         {8, "42 8b 04 23", "mov r0.4 ds:[r3+r12*1]/8.4"},
         {8, "41 8b 44 25 08", "mov r0.4 ds:[r13+8]/8.4"},
         {8, "4d 8b 3c fe", "mov r15.8 ds:[r14+r7*8]/8.8"},
         {8, "41 8b 04 25 00 00 00 10", "mov r0.4 ds:[+10000000]/8.4"},
         {8, "41 8b 05 00 00 00 00", "mov r0.4 ds:[rip]/8.4"},
         /* ES, CS, SS and DS are ignored and do not even undo FS. */
         {8, "26 8b 45 00", "mov r0.4 ss:[r5]/8.4"}, {8, "64 3e 8b 03", "mov r0.4 fs:[r3]/8.4"},
         {8, "64 65 8b 03", "mov r0.4 gs:[r3]/8.4"});
}

static void registers(void)
{
    ROWS({8, "88 23", "mov ds:[r3]/8.1 r0h.1"}, {8, "40 88 23", "mov ds:[r3]/8.1 r4.1"},
         {8, "88 3b", "mov ds:[r3]/8.1 r3h.1"}, {8, "44 88 3b", "mov ds:[r3]/8.1 r15.1"},
         {8, "88 e5", "mov r1h.1 r0h.1"}, {8, "41 88 e5", "mov r13.1 r4.1"},
         {8, "0f b6 c4", "movzx r0.4 r0h.1"}, {8, "48 0f b6 c4", "movzx r0.8 r4.1"},
         {4, "88 2b", "mov ds:[r3]/4.1 r1h.1"},
         /* A REX prefix counts only right before the opcode. */
         {8, "48 66 8b 03", "mov r0.2 ds:[r3]/8.2"}, {8, "41 48 8b 03", "mov r0.8 ds:[r3]/8.8"});
}

static void moves(void)
{
    ROWS({8, "89 0b", "mov ds:[r3]/8.4 r1.4"}, {8, "c6 03 80", "mov ds:[r3]/8.1 #80.1"},
         {8, "c7 03 ff ff ff ff", "mov ds:[r3]/8.4 #ffffffff.4"},
         {8, "48 c7 03 ff ff ff ff", "mov ds:[r3]/8.8 #ffffffffffffffff.8"},
         {8, "66 c7 03 34 12", "mov ds:[r3]/8.2 #1234.2"},
         {2, "c7 07 34 12", "mov ds:[r3]/2.2 #1234.2"},
         {8, "c7 05 10 00 00 00 01 02 03 04", "mov ds:[rip+10]/8.4 #4030201.4"},
         {8, "a1 88 77 66 55 44 33 22 11", "mov r0.4 ds:[+1122334455667788]/8.4"},
         {8, "67 a1 44 33 22 11", "mov r0.4 ds:[+11223344]/4.4"},
         {8, "65 48 a3 88 77 66 55 44 33 22 11", "mov gs:[+1122334455667788]/8.8 r0.8"},
         {4, "a0 44 33 22 f1", "mov r0.1 ds:[-eddccbc]/4.1"},
         {2, "a3 44 33", "mov ds:[+3344]/2.2 r0.2"}, {8, "0f b6 03", "movzx r0.4 ds:[r3]/8.1"},
         {8, "66 0f b6 03", "movzx r0.2 ds:[r3]/8.1"}, {8, "48 0f b7 03", "movzx r0.8 ds:[r3]/8.2"},
         {8, "0f be 03", "movsx r0.4 ds:[r3]/8.1"}, {8, "0f bf 03", "movsx r0.4 ds:[r3]/8.2"},
         {8, "48 63 03", "movsx r0.8 ds:[r3]/8.4"}, {8, "63 03", "movsx r0.4 ds:[r3]/8.4"},
         {8, "66 63 03", "movsx r0.2 ds:[r3]/8.2"}, {4, "63 03", "not supported"},
         {8, "0f c3 03", "mov ds:[r3]/8.4 r0.4"}, {8, "48 0f c3 03", "mov ds:[r3]/8.8 r0.8"},
         {8, "66 0f c3 03", "not supported"}, {8, "0f c3 c0", "not supported"},
         {8, "0f 38 f0 03", "movbe r0.4 ds:[r3]/8.4"},
         {8, "66 0f 38 f1 03", "movbe ds:[r3]/8.2 r0.2"}, {8, "f2 0f 38 f0 03", "not supported"},
         {8, "0f 38 f0 c3", "not supported"}, {8, "0f 38 00 03", "not supported"},
         {8, "c6 0b 00", "not supported"}, {8, "c7 f8 00 00 00 00", "not supported"});
}

static void arithmetic(void)
{
    static const char *const operations[] = {"add", "or", "adc", "sbb", "and", "sub", "xor", "cmp"};
    for (unsigned i = 0; i < 8; i++) {
        char hex[32], text[64];
        sprintf(hex, "%02x 03", 8 * i);
        sprintf(text, "%s ds:[r3]/8.1 r0.1", operations[i]);
        CHECK_STR(decode_text(8, hex), text);
        sprintf(hex, "48 %02x 03", 8 * i + 3);
        sprintf(text, "%s r0.8 ds:[r3]/8.8", operations[i]);
        CHECK_STR(decode_text(8, hex), text);
        sprintf(hex, "83 %02x ff", 8 * i + 3);
        sprintf(text, "%s ds:[r3]/8.4 #ffffffff.4", operations[i]);
        CHECK_STR(decode_text(8, hex), text);
    }
    ROWS({8, "81 03 01 02 03 04", "add ds:[r3]/8.4 #4030201.4"},
         {8, "66 81 03 01 02", "add ds:[r3]/8.2 #201.2"}, {8, "80 3b 05", "cmp ds:[r3]/8.1 #5.1"},
         {4, "82 3b 05", "cmp ds:[r3]/4.1 #5.1"}, {8, "82 3b 05", "not supported"},
         {8, "f6 03 01", "test ds:[r3]/8.1 #1.1"},
         {8, "f7 03 01 00 00 80", "test ds:[r3]/8.4 #80000001.4"}, {8, "f7 13", "not ds:[r3]/8.4"},
         {8, "f7 1b", "neg ds:[r3]/8.4"}, {8, "f7 0b 00 00 00 00", "not supported"},
         {8, "f7 23", "not supported"}, {8, "fe 03", "inc ds:[r3]/8.1"},
         {8, "ff 0b", "dec ds:[r3]/8.4"}, {8, "fe 13", "not supported"},
         {8, "c1 23 05", "shl ds:[r3]/8.4 #5.4"}, {8, "d1 3b", "sar ds:[r3]/8.4 #1.4"},
         {8, "48 d3 13", "rcl ds:[r3]/8.8 r1.1"}, {8, "0f a3 0b", "bt ds:[r3]/8.4 r1.4"},
         {8, "0f ba 2b 1f", "bts ds:[r3]/8.4 #1f.4"}, {8, "0f ba 03 1f", "not supported"},
         {8, "0f b0 0b", "cmpxchg ds:[r3]/8.1 r1.1"}, {8, "48 0f c1 0b", "xadd ds:[r3]/8.8 r1.8"},
         {8, "0f c7 0b", "cmpxchg8b ds:[r3]/8.8"}, {8, "48 0f c7 0b", "cmpxchg8b ds:[r3]/8.16"},
         {8, "0f c7 cb", "not supported"}, {8, "0f 94 03", "setcc ds:[r3]/8.1"},
         {8, "0f 44 03", "cmovcc r0.4 ds:[r3]/8.4"});
}

static void stack_and_hints(void)
{
    ROWS({8, "9c", "pushf"}, {8, "ff 33", "push ds:[r3]/8.8"}, {8, "66 ff 33", "push ds:[r3]/8.2"},
         {8, "48 ff 33", "push ds:[r3]/8.8"}, {4, "ff 33", "push ds:[r3]/4.4"},
         {2, "ff 37", "push ds:[r3]/2.2"}, {8, "8f 04 24", "pop ss:[r4]/8.8"},
         {8, "8f 0b", "not supported"}, {8, "ff 13", "not supported"},
         {8, "0f ae 3b", "clflush ds:[r3]/8.1"}, {8, "66 0f ae 3b", "clflush ds:[r3]/8.1"},
         {8, "0f ae f8", "not supported"}, {8, "0f 18 0b", "nop ds:[r3]/8.4"},
         {8, "0f 0d 0b", "nop ds:[r3]/8.4"}, {8, "0f 1f 44 00 00", "nop ds:[r0+r0*1]/8.4"});
}

static void strings(void)
{
    ROWS({8, "a4", "movs.1/8 seg 3"}, {8, "f3 a5", "rep movs.4/8 seg 3"},
         {8, "f3 48 a5", "rep movs.8/8 seg 3"}, {8, "65 a5", "movs.4/8 seg 5"},
         {2, "2e a5", "movs.2/2 seg 1"}, {8, "67 f2 a6", "repne cmps.1/4 seg 3"},
         {8, "66 ab", "stos.2/8 seg 3"}, {8, "ad", "lods.4/8 seg 3"},
         {8, "48 af", "scas.8/8 seg 3"}, {8, "6c", "ins.1/8 seg 3"}, {8, "48 6d", "ins.4/8 seg 3"},
         {8, "66 6f", "outs.2/8 seg 3"}, {2, "6d", "ins.2/2 seg 3"},
         {8, "f2 f3 a4", "rep movs.1/8 seg 3"}, {8, "f3 f2 a4", "repne movs.1/8 seg 3"},
         {8, "f0 a4", "#ud"});
}

static void lock_is_for_writers_to_memory(void)
{
    static const char *const allowed[] = {
        "00 03",       "09 03",    "10 03",    "19 03",    "20 03",    "29 03",
        "30 03",       "80 03 01", "83 03 01", "f6 13",    "f7 1b",    "fe 03",
        "ff 0b",       "86 03",    "87 03",    "0f ab 03", "0f b3 03", "0f bb 03",
        "0f ba 2b 01", "0f b0 03", "0f b1 03", "0f c7 0b", "0f c0 03", "0f c1 03"};
    static const char *const refused[] = {"38 03",
                                          "39 03",
                                          "80 3b 01",
                                          "02 03",
                                          "03 03",
                                          "00 c3",
                                          "84 03",
                                          "88 03",
                                          "8b 03",
                                          "f6 03 01",
                                          "87 c3",
                                          "0f a3 03",
                                          "0f ba 23 01",
                                          "0f ab c3",
                                          "0f c1 c3",
                                          "ff 33",
                                          "8f 03",
                                          "c1 23 01",
                                          "d3 03",
                                          "0f b6 03",
                                          "c7 03 00 00 00 00",
                                          "a1 00 00 00 00 00 00 00 00",
                                          "0f 94 03",
                                          "0f 1f 03"};
    char hex[64];
    for (size_t i = 0; i < ARRAY_SIZE(allowed); i++) {
        sprintf(hex, "f0 %s", allowed[i]);
        CHECK(strncmp(decode_text(8, hex), "lock ", 5) == 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        sprintf(hex, "f0 %s", refused[i]);
        CHECK_STR(decode_text(8, hex), "#ud");
    }
}

static void length_is_bounded(void)
{
    ROWS({8, "66 66 66 66 66 66 66 66 66 66 66 66 66 8b 03", "mov r0.2 ds:[r3]/8.2"},
         {8, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 8b 03", "#gp"},
         {8, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 66", "#gp"},
         {8, "66 66 66 66 66 66 66 66 66 66 66 81 03 01 02", "add ds:[r3]/8.2 #201.2"});
}

static void what_is_missing_is_asked_for(void)
{
    static const char *const whole[] = {"8b 43 10",
                                        "8b 84 8b 00 01 00 00",
                                        "c7 05 10 00 00 00 01 02 03 04",
                                        "65 48 a3 88 77 66 55 44 33 22 11",
                                        "f0 48 0f c7 0b",
                                        "0f 38 f0 03",
                                        "48 f3 a4",
                                        "66 81 04 24 01 02"};
    for (size_t i = 0; i < ARRAY_SIZE(whole); i++) {
        uint8_t bytes[16];
        unsigned count = parse_bytes(whole[i], bytes);
        struct instruction instruction;
        struct exception exception;
        for (unsigned have = 0; have < count; have++)
            CHECK_EQ(decode_instruction(bytes, have, 8, &instruction, &exception), ERR_TRUNCATED);
        CHECK_EQ(decode_instruction(bytes, count, 8, &instruction, &exception), STATUS_OK);
        CHECK_EQ(instruction.length, count);
    }
}

/* Every opcode of both maps, with every ModRM.reg, is decoded, refused or asked to go on; nothing
 * that moves control, touches control registers or vectors is taken for something else. */
static void the_rest_is_refused(void)
{
    static const char *const foreign[] = {"90",
                                          "50",
                                          "58",
                                          "cc",
                                          "cd 80",
                                          "e8 00 00 00 00",
                                          "eb fe",
                                          "c3",
                                          "f4",
                                          "fa",
                                          "0f 05",
                                          "0f 01 18",
                                          "0f 20 c0",
                                          "0f 30",
                                          "0f a2",
                                          "0f 10 03",
                                          "66 0f 6f 03",
                                          "f3 0f b8 03",
                                          "0f af 03",
                                          "0f bc 03",
                                          "d8 03",
                                          "9d",
                                          "c5 f8 10 03",
                                          "62 f1 7c 48 10 03",
                                          "c4 e2 79 18 03",
                                          "8e 03",
                                          "8c 03",
                                          "8d 03",
                                          "04 01",
                                          "a8 01",
                                          "0f 0b",
                                          "0f ff 03",
                                          "0f a4 03 01",
                                          "c8 00 00 00",
                                          "0f 38 f8 03",
                                          "0f 3a 0f 03 00",
                                          "0f ae 33",
                                          "0f c7 33"};
    for (size_t i = 0; i < ARRAY_SIZE(foreign); i++)
        CHECK_STR(decode_text(8, foreign[i]), "not supported");
    CHECK_STR(decode_text(4, "40"), "not supported");
    CHECK_STR(decode_text(4, "c5 03"), "not supported");
}

TEST_MAIN({"sizes_follow_mode_and_prefixes", sizes_follow_mode_and_prefixes},
          {"sixteen_bit_addresses", sixteen_bit_addresses},
          {"thirty_two_bit_addresses", thirty_two_bit_addresses},
          {"sixty_four_bit_addresses", sixty_four_bit_addresses}, {"registers", registers},
          {"moves", moves}, {"arithmetic", arithmetic}, {"stack_and_hints", stack_and_hints},
          {"strings", strings}, {"lock_is_for_writers_to_memory", lock_is_for_writers_to_memory},
          {"length_is_bounded", length_is_bounded},
          {"what_is_missing_is_asked_for", what_is_missing_is_asked_for},
          {"the_rest_is_refused", the_rest_is_refused})

/* How much of memory an instruction accesses: what the decoder does not know. */
#include <stdio.h>

#include "tests/check.h"
#include "vmx/debug_internal.h"

struct example {
    const char *text, *bytes;
    unsigned count, size, code_size;
};

#define CODE(bytes) bytes, sizeof(bytes) - 1

static const struct example examples[] = {
    {"mov [rbx], al", CODE("\x88\x03"), 1, 8},
    {"mov [rbx], rax", CODE("\x48\x89\x03"), 8, 8},
    {"push rax", CODE("\x50"), 8, 8},
    {"push ax", CODE("\x66\x50"), 2, 8},
    {"push eax", CODE("\x50"), 4, 4},
    {"pop r8", CODE("\x41\x58"), 8, 8},
    {"call", CODE("\xe8\x00\x00\x00\x00"), 8, 8},
    {"ret", CODE("\xc3"), 8, 8},
    {"ret, 16 bit", CODE("\xc3"), 2, 2},
    {"iretq", CODE("\x48\xcf"), 8, 8},
    {"imul eax, [rbx]", CODE("\x0f\xaf\x03"), 4, 8},
    {"movsb", CODE("\xa4"), 1, 8},
    {"rep movsq", CODE("\xf3\x48\xa5"), 8, 8},
    {"stosw", CODE("\x66\xab"), 2, 8},
    {"cmpxchg16b [rbx]", CODE("\xf0\x48\x0f\xc7\x0b"), 16, 8},
    {"cmpxchg8b [rbx]", CODE("\x0f\xc7\x0b"), 8, 8},
    {"sgdt [rbx]", CODE("\x0f\x01\x03"), 10, 8},
    {"sgdt [ebx]", CODE("\x0f\x01\x03"), 6, 4},
    {"movups [rbx], xmm0", CODE("\x0f\x11\x03"), 16, 8},
    {"movss xmm0, [rbx]", CODE("\xf3\x0f\x10\x03"), 4, 8},
    {"movsd [rbx], xmm8", CODE("\xf2\x44\x0f\x11\x03"), 8, 8},
    {"movlps xmm0, [rbx]", CODE("\x0f\x12\x03"), 8, 8},
    {"movd [rbx], xmm0", CODE("\x66\x0f\x7e\x03"), 4, 8},
    {"movq [rbx], xmm0 (7e)", CODE("\x66\x48\x0f\x7e\x03"), 8, 8},
    {"movq xmm0, [rbx]", CODE("\xf3\x0f\x7e\x03"), 8, 8},
    {"movq [rbx], xmm0", CODE("\x66\x0f\xd6\x03"), 8, 8},
    {"movq mm0, [rbx]", CODE("\x0f\x6f\x03"), 8, 8},
    {"movdqa xmm0, [rbx]", CODE("\x66\x0f\x6f\x03"), 16, 8},
    {"movdqu [rbx], xmm0", CODE("\xf3\x0f\x7f\x03"), 16, 8},
    {"movntq [rbx], mm0", CODE("\x0f\xe7\x03"), 8, 8},
    {"movntdq [rbx], xmm0", CODE("\x66\x0f\xe7\x03"), 16, 8},
    {"punpcklbw mm0, [rbx]", CODE("\x0f\x60\x03"), 4, 8},
    {"addss xmm0, [rbx]", CODE("\xf3\x0f\x58\x03"), 4, 8},
    {"addpd xmm0, [rbx]", CODE("\x66\x0f\x58\x03"), 16, 8},
    {"cvtsi2sd xmm0, [rbx]", CODE("\xf2\x0f\x2a\x03"), 4, 8},
    {"cvtsi2sd xmm0, qword [rbx]", CODE("\xf2\x48\x0f\x2a\x03"), 8, 8},
    {"cvttss2si eax, [rbx]", CODE("\xf3\x0f\x2c\x03"), 4, 8},
    {"cvttsd2si eax, [rbx]", CODE("\xf2\x0f\x2c\x03"), 8, 8},
    {"cvtps2pd xmm0, [rbx]", CODE("\x0f\x5a\x03"), 8, 8},
    {"cvtsd2ss xmm0, [rbx]", CODE("\xf2\x0f\x5a\x03"), 8, 8},
    {"cvtdq2pd xmm0, [rbx]", CODE("\xf3\x0f\xe6\x03"), 8, 8},
    {"ucomisd xmm0, [rbx]", CODE("\x66\x0f\x2e\x03"), 8, 8},
    {"ucomiss xmm0, [rbx]", CODE("\x0f\x2e\x03"), 4, 8},
    {"psllw xmm0, [rbx]", CODE("\x66\x0f\xf1\x03"), 16, 8},
    {"pinsrw xmm0, [rbx], 1", CODE("\x66\x0f\xc4\x03\x01"), 2, 8},
    {"pextrb [rbx], xmm0, 1", CODE("\x66\x0f\x3a\x14\x03\x01"), 1, 8},
    {"pextrq [rbx], xmm0, 1", CODE("\x66\x48\x0f\x3a\x16\x03\x01"), 8, 8},
    {"insertps xmm0, [rbx], 1", CODE("\x66\x0f\x3a\x21\x03\x01"), 4, 8},
    {"pmovzxbd xmm0, [rbx]", CODE("\x66\x0f\x38\x31\x03"), 4, 8},
    {"crc32 eax, byte [rbx]", CODE("\xf2\x0f\x38\xf0\x03"), 1, 8},
    {"vmovdqu [rbx], ymm0", CODE("\xc5\xfe\x7f\x03"), 32, 8},
    {"vmovss xmm0, [rbx]", CODE("\xc5\xfa\x10\x03"), 4, 8},
    {"vpsllw ymm0, ymm0, [rbx]", CODE("\xc5\xfd\xf1\x03"), 16, 8},
    {"vextracti128 [rbx], ymm0, 1", CODE("\xc4\xe3\x7d\x39\x03\x01"), 16, 8},
    {"vbroadcastss ymm0, [rbx]", CODE("\xc4\xe2\x7d\x18\x03"), 4, 8},
    {"vfmadd231sd xmm0, xmm1, [rbx]", CODE("\xc4\xe2\xf1\xb9\x03"), 8, 8},
    {"vmovdqu32 [rbx], zmm0", CODE("\x62\xf1\x7e\x48\x7f\x03"), 64, 8},
    {"vaddps zmm0, zmm0, [rbx]{1to16}", CODE("\x62\xf1\x7c\x58\x58\x03"), 4, 8},
    {"vmovdqu [ebx], ymm0", CODE("\xc5\xfe\x7f\x03"), 32, 4},
    {"les eax, [ebx]", CODE("\xc4\x03"), 6, 4},
    {"lds ax, [ebx]", CODE("\x66\xc5\x03"), 4, 4},
    {"fld dword [rbx]", CODE("\xd9\x03"), 4, 8},
    {"fld qword [rbx]", CODE("\xdd\x03"), 8, 8},
    {"fld tword [rbx]", CODE("\xdb\x2b"), 10, 8},
    {"fstp tword [rbx]", CODE("\xdb\x3b"), 10, 8},
    {"fbstp [rbx]", CODE("\xdf\x33"), 10, 8},
    {"fistp qword [rbx]", CODE("\xdf\x3b"), 8, 8},
    {"fnstcw [rbx]", CODE("\xd9\x3b"), 2, 8},
    {"fnstenv [rbx]", CODE("\xd9\x33"), 28, 8},
    {"fnsave [rbx]", CODE("\xdd\x33"), 108, 8},
    {"fnsave [bx]", CODE("\xdd\x37"), 94, 2},
    {"fnstsw [rbx]", CODE("\xdd\x3b"), 2, 8},
    {"fiadd word [rbx]", CODE("\xde\x03"), 2, 8},
    {"fxsave [rbx]", CODE("\x0f\xae\x03"), 512, 8},
    {"fxrstor64 [rbx]", CODE("\x48\x0f\xae\x0b"), 512, 8},
    {"stmxcsr [rbx]", CODE("\x0f\xae\x1b"), 4, 8},
    {"xsave [rbx]", CODE("\x0f\xae\x23"), DEBUG_XSAVE, 8},
    {"xsavec [rbx]", CODE("\x0f\xc7\x23"), DEBUG_XSAVE, 8},
    {"mov [rbx], ds", CODE("\x8c\x1b"), 2, 8},
};

static void all_have_their_sizes(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(examples); i++) {
        const struct example *now = &examples[i];
        unsigned size = debug_operand_size((const uint8_t *)now->bytes, now->count, now->code_size);
        if (size != now->size)
            printf("# %s: %u\n", now->text, size);
        CHECK_EQ(size, now->size);
    }
}

/* What is cut short, or means nothing, has some size all the same. */
static void any_bytes_have_a_size(void)
{
    uint8_t bytes[INSTRUCTION_BYTES_MAX];
    for (unsigned first = 0; first < 0x10000; first++)
        for (unsigned mode = 2; mode <= 8; mode *= 2) {
            memset(bytes, (uint8_t)(first * 7), sizeof(bytes));
            bytes[0] = (uint8_t)first;
            bytes[1] = (uint8_t)(first >> 8);
            for (unsigned count = 0; count <= 6; count += 3) {
                unsigned size = debug_operand_size(bytes, count, mode);
                CHECK(size >= 1 && (size <= 512 || size == DEBUG_XSAVE));
            }
        }
}

TEST_MAIN({"all_have_their_sizes", all_have_their_sizes},
          {"any_bytes_have_a_size", any_bytes_have_a_size})

#include "kernel/debug/gdb_registers.h"

#include "kernel/core/mem.h"
#include "kernel/core/msr.h"
#include "kernel/vm/msr_policy.h"

enum feature { CORE, SSE, SEGMENTS, SYSTEM, FEATURES };

static const char *const feature_name[FEATURES] = {
    [CORE] = "org.gnu.gdb.i386.core",
    [SSE] = "org.gnu.gdb.i386.sse",
    [SEGMENTS] = "org.gnu.gdb.i386.segments",
    [SYSTEM] = "org.traprock.system",
};

#define SPECIAL 0xffff /* as the offset: made or taken by a function */

struct row {
    const char name[12];
    uint8_t wire;    /* bytes on the line */
    uint8_t bytes;   /* in struct gdb_registers */
    uint16_t offset; /* there */
    uint8_t feature;
    const char *type;
};

#define AT(member) offsetof(struct gdb_registers, member)
#define GPR(name, number)                                                                          \
    {                                                                                              \
        name, 8, 8, AT(cpu.gpr[GPR_##number]), CORE, "int64"                                       \
    }
#define SELECTOR(name, number)                                                                     \
    {                                                                                              \
        name, 4, 2, AT(cpu.segment[SEG_##number].selector), CORE, "int32"                          \
    }
#define ST(name, number)                                                                           \
    {                                                                                              \
        name, 10, 10, AT(fpu[32 + 16 * (number)]), CORE, "i387_ext"                                \
    }
#define XMM(name, number)                                                                          \
    {                                                                                              \
        name, 16, 16, AT(fpu[160 + 16 * (number)]), SSE, "vec128"                                  \
    }
#define SYSTEM_64(name, member)                                                                    \
    {                                                                                              \
        name, 8, 8, AT(cpu.member), SYSTEM, "int64"                                                \
    }
/* Limit and access, as SDM: Guest Register State has it. */
#define HIDDEN(name, number)                                                                       \
    SYSTEM_32(name "_limit", 4, segment[SEG_##number].limit),                                      \
        SYSTEM_32(name "_access", 4, segment[SEG_##number].access)
#define SYSTEM_32(name, size, member)                                                              \
    {                                                                                              \
        name, 4, size, AT(cpu.member), SYSTEM, "int32"                                             \
    }

/* In the order of their numbers: as gdb has those of its own features. */
static const struct row rows[] = {
    GPR("rax", RAX),
    GPR("rbx", RBX),
    GPR("rcx", RCX),
    GPR("rdx", RDX),
    GPR("rsi", RSI),
    GPR("rdi", RDI),
    {"rbp", 8, 8, AT(cpu.gpr[GPR_RBP]), CORE, "data_ptr"},
    {"rsp", 8, 8, AT(cpu.gpr[GPR_RSP]), CORE, "data_ptr"},
    GPR("r8", R8),
    GPR("r9", R9),
    GPR("r10", R10),
    GPR("r11", R11),
    GPR("r12", R12),
    GPR("r13", R13),
    GPR("r14", R14),
    GPR("r15", R15),
    {"rip", 8, 8, AT(cpu.rip), CORE, "code_ptr"},
    {"eflags", 4, 4, AT(cpu.rflags), CORE, "i386_eflags"},
    SELECTOR("cs", CS),
    SELECTOR("ss", SS),
    SELECTOR("ds", DS),
    SELECTOR("es", ES),
    SELECTOR("fs", FS),
    SELECTOR("gs", GS),
    ST("st0", 0),
    ST("st1", 1),
    ST("st2", 2),
    ST("st3", 3),
    ST("st4", 4),
    ST("st5", 5),
    ST("st6", 6),
    ST("st7", 7),
    {"fctrl", 4, 2, AT(fpu[0]), CORE, "int"},
    {"fstat", 4, 2, AT(fpu[2]), CORE, "int"},
    {"ftag", 4, 0, SPECIAL, CORE, "int"},
    {"fiseg", 4, 2, AT(fpu[12]), CORE, "int"},
    {"fioff", 4, 4, AT(fpu[8]), CORE, "int"},
    {"foseg", 4, 2, AT(fpu[20]), CORE, "int"},
    {"fooff", 4, 4, AT(fpu[16]), CORE, "int"},
    {"fop", 4, 2, AT(fpu[6]), CORE, "int"},
    XMM("xmm0", 0),
    XMM("xmm1", 1),
    XMM("xmm2", 2),
    XMM("xmm3", 3),
    XMM("xmm4", 4),
    XMM("xmm5", 5),
    XMM("xmm6", 6),
    XMM("xmm7", 7),
    XMM("xmm8", 8),
    XMM("xmm9", 9),
    XMM("xmm10", 10),
    XMM("xmm11", 11),
    XMM("xmm12", 12),
    XMM("xmm13", 13),
    XMM("xmm14", 14),
    XMM("xmm15", 15),
    {"mxcsr", 4, 4, AT(fpu[24]), SSE, "int32"},
    {"fs_base", 8, 8, AT(cpu.segment[SEG_FS].base), SEGMENTS, "int64"},
    {"gs_base", 8, 8, AT(cpu.segment[SEG_GS].base), SEGMENTS, "int64"},
    SYSTEM_64("k_gs_base", kernel_gs_base),
    SYSTEM_64("cr0", cr0),
    SYSTEM_64("cr2", cr2),
    SYSTEM_64("cr3", cr3),
    SYSTEM_64("cr4", cr4),
    SYSTEM_64("cr8", cr8),
    SYSTEM_64("efer", efer),
    SYSTEM_64("cs_base", segment[SEG_CS].base),
    SYSTEM_64("ss_base", segment[SEG_SS].base),
    SYSTEM_64("ds_base", segment[SEG_DS].base),
    SYSTEM_64("es_base", segment[SEG_ES].base),
    SYSTEM_64("gdtr_base", gdtr.base),
    SYSTEM_32("gdtr_limit", 4, gdtr.limit),
    SYSTEM_64("idtr_base", idtr.base),
    SYSTEM_32("idtr_limit", 4, idtr.limit),
    SYSTEM_32("ldtr", 2, segment[SEG_LDTR].selector),
    SYSTEM_64("ldtr_base", segment[SEG_LDTR].base),
    SYSTEM_32("tr", 2, segment[SEG_TR].selector),
    SYSTEM_64("tr_base", segment[SEG_TR].base),
    SYSTEM_64("dr0", dr[0]),
    SYSTEM_64("dr1", dr[1]),
    SYSTEM_64("dr2", dr[2]),
    SYSTEM_64("dr3", dr[3]),
    SYSTEM_64("dr6", dr6),
    SYSTEM_64("dr7", dr7),
    SYSTEM_64("xcr0", xcr0),
    HIDDEN("cs", CS),
    HIDDEN("ss", SS),
    HIDDEN("ds", DS),
    HIDDEN("es", ES),
    HIDDEN("fs", FS),
    HIDDEN("gs", GS),
    HIDDEN("ldtr", LDTR),
    HIDDEN("tr", TR),
};

/* MSRs are a feature of its own, behind all others; each of 8 bytes, and named as in
 * kernel/vm/msrs.def, in small letters. Not among them are those that are only written, and the
 * x2APIC's, which are one row for 256. */
static bool is_register(const struct msr_policy *row)
{
    return row->kind != MSR_COMMAND && row->kind != MSR_SINK && row->msr != MSR_IA32_X2APIC_BASE;
}

/* The row of MSR number i of the description; NULL: there are no more. */
static const struct msr_policy *find_msr(unsigned i)
{
    const struct msr_policy *row;
    for (unsigned at = 0; (row = msr_policy_at(at)) != NULL; at++)
        if (is_register(row) && i-- == 0)
            return row;
    return NULL;
}

bool gdb_register_msr(unsigned number, uint32_t *msr)
{
    const struct msr_policy *row =
        number >= ARRAY_SIZE(rows) ? find_msr(number - (unsigned)ARRAY_SIZE(rows)) : NULL;
    if (row != NULL)
        *msr = row->msr;
    return row != NULL;
}

static bool is_integer_of_cpu(const struct row *row)
{
    return row->wire <= 8 && row->offset < sizeof(struct vcpu_registers);
}

const char *gdb_register_name(unsigned number)
{
    return number >= ARRAY_SIZE(rows)         ? NULL
           : is_integer_of_cpu(&rows[number]) ? rows[number].name
                                              : "";
}

unsigned gdb_register_count(void)
{
    return ARRAY_SIZE(rows);
}

size_t gdb_register_size(unsigned number)
{
    return number < ARRAY_SIZE(rows) ? rows[number].wire : 0;
}

/* ---- The x87 tag word, of which FXSAVE keeps one bit for each register ---------------------- */

enum tag { TAG_VALID, TAG_ZERO, TAG_SPECIAL, TAG_EMPTY };

static enum tag classify(const uint8_t *st)
{
    uint64_t fraction;
    memcpy(&fraction, st, sizeof(fraction));
    unsigned exponent = (st[8] | (unsigned)st[9] << 8) & 0x7fff;
    if (exponent == 0 && fraction == 0)
        return TAG_ZERO;
    return exponent == 0x7fff || !(fraction >> 63) ? TAG_SPECIAL : TAG_VALID;
}

static uint32_t full_tags(const uint8_t *fpu)
{
    uint32_t tags = 0;
    unsigned top = fpu[3] >> 3 & 7;
    for (unsigned i = 0; i < 8; i++) {
        const uint8_t *st = &fpu[32 + 16 * ((i - top) & 7)];
        enum tag tag = fpu[4] >> i & 1 ? classify(st) : TAG_EMPTY;
        tags |= (uint32_t)tag << 2 * i;
    }
    return tags;
}

static uint8_t short_tags(uint32_t tags)
{
    uint8_t used = 0;
    for (unsigned i = 0; i < 8; i++)
        used |= (uint8_t)((tags >> 2 * i & 3) != TAG_EMPTY) << i;
    return used;
}

/* ---- Values -------------------------------------------------------------------------------- */

size_t gdb_register_get(const struct gdb_registers *registers, unsigned number,
                        uint8_t bytes[GDB_REGISTER_MAX])
{
    if (number >= ARRAY_SIZE(rows))
        return 0;
    const struct row *row = &rows[number];
    memset(bytes, 0, GDB_REGISTER_MAX);
    if (row->offset == SPECIAL) {
        uint32_t tags = full_tags(registers->fpu);
        memcpy(bytes, &tags, sizeof(tags));
    } else {
        memcpy(bytes, (const uint8_t *)registers + row->offset, row->bytes);
    }
    return row->wire;
}

enum status gdb_register_set(struct gdb_registers *registers, unsigned number,
                             const uint8_t bytes[GDB_REGISTER_MAX])
{
    if (number >= ARRAY_SIZE(rows))
        return ERR_NOT_FOUND;
    const struct row *row = &rows[number];
    if (row->offset == SPECIAL) {
        registers->fpu[4] = short_tags((uint32_t)bytes[0] | (uint32_t)bytes[1] << 8);
        return STATUS_OK;
    }
    memcpy((uint8_t *)registers + row->offset, bytes, row->bytes);
    return STATUS_OK;
}

/* ---- The description ----------------------------------------------------------------------- */

/* What of the text is wanted, and where we are in it. */
struct window {
    struct gdb_writer *writer;
    uint64_t at, offset, length;
};

static void say(struct window *window, const char *text)
{
    for (; *text != 0; text++, window->at++)
        if (window->at >= window->offset && window->at - window->offset < window->length)
            gdb_writer_binary(window->writer, (uint8_t)*text);
}

static void say_number(struct window *window, unsigned value)
{
    char text[4] = {(char)('0' + value / 100), (char)('0' + value / 10 % 10),
                    (char)('0' + value % 10), 0};
    say(window, value >= 100 ? text : value >= 10 ? text + 1 : text + 2);
}

static void say_flags(struct window *window)
{
    static const struct {
        const char name[5];
        uint8_t bit;
    } flags[] = {{"CF", 0},  {"", 1},    {"PF", 2},   {"AF", 4},   {"ZF", 6},  {"SF", 7},
                 {"TF", 8},  {"IF", 9},  {"DF", 10},  {"OF", 11},  {"NT", 14}, {"RF", 16},
                 {"VM", 17}, {"AC", 18}, {"VIF", 19}, {"VIP", 20}, {"ID", 21}};
    say(window, "<flags id=\"i386_eflags\" size=\"4\">");
    for (unsigned i = 0; i < ARRAY_SIZE(flags); i++) {
        say(window, "<field name=\"");
        say(window, flags[i].name);
        say(window, "\" start=\"");
        say_number(window, flags[i].bit);
        say(window, "\" end=\"");
        say_number(window, flags[i].bit);
        say(window, "\"/>");
    }
    say(window, "</flags>");
}

static void say_vector(struct window *window)
{
    say(window, "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>"
                "<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
                "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/>"
                "<vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
                "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/>"
                "<vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"
                "<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/>"
                "<field name=\"v2_double\" type=\"v2d\"/><field name=\"v16_int8\" type=\"v16i8\"/>"
                "<field name=\"v8_int16\" type=\"v8i16\"/><field name=\"v4_int32\" type=\"v4i32\"/>"
                "<field name=\"v2_int64\" type=\"v2i64\"/>"
                "<field name=\"uint128\" type=\"uint128\"/></union>");
}

static void say_register(struct window *window, const struct row *row)
{
    static const char *const group[FEATURES] = {[SYSTEM] = "\" group=\"system"};
    say(window, "<reg name=\"");
    say(window, row->name);
    say(window, "\" bitsize=\"");
    say_number(window, 8u * row->wire);
    say(window, "\" type=\"");
    say(window, row->type);
    if (group[row->feature] != NULL)
        say(window, group[row->feature]);
    say(window, "\"/>");
}

static void say_small(struct window *window, const char *text)
{
    for (; *text != 0; text++) {
        char letter[2] = {*text >= 'A' && *text <= 'Z' ? (char)(*text | 0x20) : *text, 0};
        say(window, letter);
    }
}

static void say_msrs(struct window *window)
{
    const struct msr_policy *row;
    say(window, "<feature name=\"org.traprock.msr\">");
    for (unsigned i = 0; (row = find_msr(i)) != NULL; i++) {
        say(window, "<reg name=\"");
        say_small(window, row->name);
        say(window, "\" bitsize=\"64\" type=\"int64\" save-restore=\"no\" group=\"msr\"/>");
    }
}

bool gdb_description(struct gdb_writer *writer, uint64_t offset, uint64_t length)
{
    struct window window = {writer, 0, offset, length};
    unsigned feature = FEATURES;
    say(&window, "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target>"
                 "<architecture>i386:x86-64</architecture>");
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        if (rows[i].feature != feature) {
            if (feature != FEATURES)
                say(&window, "</feature>");
            feature = rows[i].feature;
            say(&window, "<feature name=\"");
            say(&window, feature_name[feature]);
            say(&window, "\">");
            if (feature == CORE)
                say_flags(&window);
            if (feature == SSE)
                say_vector(&window);
        }
        say_register(&window, &rows[i]);
    }
    say(&window, "</feature>");
    say_msrs(&window);
    say(&window, "</feature></target>");
    return window.at > offset && window.at - offset > length;
}

/* gdb: Memory Map Format. Addresses are virtual, and where a guest's page tables lead changes, so
 * that gdb may not count on more than that everything can be written and breakpoints be set. */
bool gdb_memory_map(struct gdb_writer *writer, uint64_t offset, uint64_t length)
{
    struct window window = {writer, 0, offset, length};
    say(&window,
        "<?xml version=\"1.0\"?><!DOCTYPE memory-map PUBLIC \"+//IDN gnu.org//DTD GDB Memory "
        "Map V1.0//EN\" \"http://sourceware.org/gdb/gdb-memory-map.dtd\"><memory-map>"
        "<memory type=\"ram\" start=\"0x0\" length=\"0xffffffffffffffff\"/>"
        "</memory-map>");
    return window.at > offset && window.at - offset > length;
}

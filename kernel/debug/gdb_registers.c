#include "kernel/debug/gdb_registers.h"

#include "kernel/core/mem.h"

enum feature { CORE, SSE, SEGMENTS, SYSTEM, FEATURES };

static const char *const feature_name[FEATURES] = {
    [CORE] = "org.gnu.gdb.i386.core",
    [SSE] = "org.gnu.gdb.i386.sse",
    [SEGMENTS] = "org.gnu.gdb.i386.segments",
    [SYSTEM] = "org.traprock.system",
};

#define READ_ONLY 0x80u /* in `bytes` */
#define SPECIAL 0xffff  /* as the offset: made or taken by a function */

struct row {
    const char name[12];
    uint8_t wire;    /* bytes on the line */
    uint8_t bytes;   /* in struct gdb_registers, with READ_ONLY */
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
    {"xcr0", 8, 8 | READ_ONLY, AT(cpu.xcr0), SYSTEM, "int64"},
};

/* A feature of its own, behind all others; each of 8 bytes. Names are those of SDM: Architectural
 * MSRs; for FMASK and the clock, those that kernels use. */
static const struct msr_row {
    char name[12];
    uint32_t msr;
} msr_rows[] = {
    {"star", 0xc0000081},   {"lstar", 0xc0000082},   {"cstar", 0xc0000083},  {"fmask", 0xc0000084},
    {"sysenter_cs", 0x174}, {"sysenter_sp", 0x175},  {"sysenter_ip", 0x176}, {"pat", 0x277},
    {"debugctl", 0x1d9},    {"misc_enable", 0x1a0},  {"apic_base", 0x1b},    {"tsc", 0x10},
    {"tsc_adjust", 0x3b},   {"tsc_aux", 0xc0000103}, {"tsc_dline", 0x6e0},   {"mtrr_def", 0x2ff},
    {"mtrrcap", 0xfe},      {"spec_ctrl", 0x48},     {"xss", 0xda0},         {"arch_caps", 0x10a},
    {"feature_ctl", 0x3a},  {"mcg_cap", 0x179},      {"mcg_status", 0x17a},
};

bool gdb_register_msr(unsigned number, uint32_t *msr)
{
    if (number < ARRAY_SIZE(rows) || number - ARRAY_SIZE(rows) >= ARRAY_SIZE(msr_rows))
        return false;
    *msr = msr_rows[number - ARRAY_SIZE(rows)].msr;
    return true;
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
        memcpy(bytes, (const uint8_t *)registers + row->offset, row->bytes & ~READ_ONLY);
    }
    return row->wire;
}

static bool is_selector(const struct row *row)
{
    return row->offset >= AT(cpu.segment) && row->offset < AT(cpu.gdtr) && row->bytes == 2;
}

/* SDM: Real-Address Mode Operation; Virtual-8086 Mode: the selector says it all. */
static enum status set_selector(struct gdb_registers *registers, const struct row *row,
                                uint16_t selector)
{
    struct segment *segment =
        &registers->cpu.segment[(row->offset - AT(cpu.segment)) / sizeof(struct segment)];
    bool is_real = !(registers->cpu.cr0 & CR0_PE) || registers->cpu.rflags & RFLAGS_VM;
    if (selector == segment->selector)
        return STATUS_OK;
    if (!is_real || segment > &registers->cpu.segment[SEG_GS])
        return ERR_UNSUPPORTED;
    segment->selector = selector;
    segment->base = (uint64_t)selector << 4;
    return STATUS_OK;
}

enum status gdb_register_set(struct gdb_registers *registers, unsigned number,
                             const uint8_t bytes[GDB_REGISTER_MAX])
{
    if (number >= ARRAY_SIZE(rows))
        return ERR_NOT_FOUND;
    const struct row *row = &rows[number];
    if (is_selector(row))
        return set_selector(registers, row, (uint16_t)(bytes[0] | bytes[1] << 8));
    if (row->offset == SPECIAL) {
        registers->fpu[4] = short_tags((uint32_t)bytes[0] | (uint32_t)bytes[1] << 8);
        return STATUS_OK;
    }
    uint8_t *to = (uint8_t *)registers + row->offset;
    if (row->bytes & READ_ONLY)
        return memcmp(to, bytes, row->wire) == 0 ? STATUS_OK : ERR_UNSUPPORTED;
    memcpy(to, bytes, row->bytes);
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

static void say_msrs(struct window *window)
{
    say(window, "<feature name=\"org.traprock.msr\">");
    for (unsigned i = 0; i < ARRAY_SIZE(msr_rows); i++) {
        say(window, "<reg name=\"");
        say(window, msr_rows[i].name);
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

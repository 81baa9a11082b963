#include "kernel/debug/describe.h"

/* ---- Names of bits ---- */

struct bit_name {
    uint8_t bit;
    char name[12];
};

static const struct bit_name rflags_bits[] = {{0, "CF"},  {2, "PF"},   {4, "AF"},   {6, "ZF"},
                                              {7, "SF"},  {8, "TF"},   {9, "IF"},   {10, "DF"},
                                              {11, "OF"}, {14, "NT"},  {16, "RF"},  {17, "VM"},
                                              {18, "AC"}, {19, "VIF"}, {20, "VIP"}, {21, "ID"}};
static const struct bit_name cr0_bits[] = {{0, "PE"},  {1, "MP"},  {2, "EM"},  {3, "TS"},
                                           {4, "ET"},  {5, "NE"},  {16, "WP"}, {18, "AM"},
                                           {29, "NW"}, {30, "CD"}, {31, "PG"}};
static const struct bit_name cr4_bits[] = {
    {0, "VME"},   {1, "PVI"},   {2, "TSD"},   {3, "DE"},        {4, "PSE"},         {5, "PAE"},
    {6, "MCE"},   {7, "PGE"},   {8, "PCE"},   {9, "OSFXSR"},    {10, "OSXMMEXCPT"}, {11, "UMIP"},
    {12, "LA57"}, {13, "VMXE"}, {14, "SMXE"}, {16, "FSGSBASE"}, {17, "PCIDE"},      {18, "OSXSAVE"},
    {20, "SMEP"}, {21, "SMAP"}, {22, "PKE"}};
static const struct bit_name efer_bits[] = {{0, "SCE"}, {8, "LME"}, {10, "LMA"}, {11, "NXE"}};
static const struct bit_name shadow_bits[] = {{0, "STI"}, {1, "MOV-SS"}, {2, "SMI"}, {3, "NMI"}};

/* The bits that are set, the highest first, and a newline. */
static void show_bits(const struct text *text, uint64_t value, const struct bit_name *bits,
                      unsigned count)
{
    text_print(text, " [");
    for (unsigned i = count; i-- > 0;)
        if ((value >> bits[i].bit & 1) != 0)
            text_print(text, " %s", bits[i].name);
    text_print(text, " ]\n");
}

#define SHOW_BITS(text, value, bits) show_bits(text, value, bits, ARRAY_SIZE(bits))

void describe_symbol(const struct text *text, const struct system_map *symbols, uint64_t address)
{
    char name[SYSTEM_MAP_NAME_MAX];
    uint64_t offset;
    if (system_map_at(symbols, address, name, &offset))
        text_print(text, offset != 0 ? " <%s+0x%lx>" : " <%s>", name, offset);
}

/* ---- Registers ---- */

static void show_general(const struct text *text, const struct system_map *symbols,
                         const struct vcpu_registers *registers)
{
    /* As the SDM counts them, and as people look for them. */
    static const struct {
        char name[4];
        uint8_t gpr;
    } order[] = {{"rax", GPR_RAX}, {"rbx", GPR_RBX}, {"rcx", GPR_RCX}, {"rdx", GPR_RDX},
                 {"rsi", GPR_RSI}, {"rdi", GPR_RDI}, {"rbp", GPR_RBP}, {"rsp", GPR_RSP},
                 {"r8 ", GPR_R8},  {"r9 ", GPR_R9},  {"r10", GPR_R10}, {"r11", GPR_R11},
                 {"r12", GPR_R12}, {"r13", GPR_R13}, {"r14", GPR_R14}, {"r15", GPR_R15}};
    for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
        text_print(text, "%s %016lx%s", order[i].name, registers->gpr[order[i].gpr],
                   i % 3 == 2 || i == ARRAY_SIZE(order) - 1 ? "\n" : "  ");
    text_print(text, "rip %016lx", registers->rip);
    describe_symbol(text, symbols, registers->rip);
    text_print(text, "\nrflags %08lx iopl %lu", registers->rflags, RFLAGS_IOPL(registers->rflags));
    SHOW_BITS(text, registers->rflags, rflags_bits);
}

/* What the descriptor in a segment register is. SDM: Code- and Data-Segment Descriptor Types;
 * System-Segment and Gate-Descriptor Types. */
void describe_segment(const struct text *text, const char *name, const struct segment *segment,
                      bool is_long)
{
    uint32_t access = segment->access, type = access & SEGMENT_TYPE_MASK;
    const char *not_present = (access & SEGMENT_P) != 0 ? "" : "not present, ";
    text_print(text, "%-4s %04x base %016lx limit %08x access %05x", name, segment->selector,
               segment->base, segment->limit, access);
    if ((access & SEGMENT_UNUSABLE) != 0)
        text_print(text, " [ unusable ]\n");
    else if ((access & SEGMENT_S) == 0)
        text_print(text, " [ %s%s%s DPL%u ]\n", not_present,
                   type == 2           ? "LDT"
                   : (type & ~2u) == 9 ? "TSS"
                   : (type & ~2u) == 1 ? "16-bit TSS"
                                       : "system",
                   (type & ~8u) == 3 ? " busy" : "", (unsigned)SEGMENT_DPL(access));
    else
        text_print(text, " [ %s%s%s%s DPL%u %s%s ]\n", not_present,
                   (type & 8) != 0 ? "code" : "data",
                   (type & 2) == 0   ? ""
                   : (type & 8) != 0 ? " readable"
                                     : " writable",
                   (type & 4) == 0   ? ""
                   : (type & 8) != 0 ? " conforming"
                                     : " expand-down",
                   (unsigned)SEGMENT_DPL(access),
                   is_long && (access & SEGMENT_L) != 0 ? "64-bit"
                   : (access & SEGMENT_DB) != 0         ? "32-bit"
                                                        : "16-bit",
                   (access & SEGMENT_G) != 0 ? " G" : "");
}

static void show_segments(const struct text *text, const struct vcpu_registers *registers)
{
    static const char *const names[SEG_COUNT] = {"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"};
    bool is_long = (registers->efer & EFER_LMA) != 0;
    for (unsigned i = 0; i < SEG_COUNT; i++)
        describe_segment(text, names[i], &registers->segment[i], is_long);
    text_print(text, "gdtr base %016lx limit %04x\nidtr base %016lx limit %04x\n",
               registers->gdtr.base, registers->gdtr.limit, registers->idtr.base,
               registers->idtr.limit);
}

static const char *mode_of(const struct vcpu_registers *registers)
{
    uint32_t code = registers->segment[SEG_CS].access;
    if ((registers->cr0 & CR0_PE) == 0)
        return "real-address mode";
    if ((registers->rflags & RFLAGS_VM) != 0)
        return "virtual-8086 mode";
    if ((registers->efer & EFER_LMA) != 0)
        return (code & SEGMENT_L) != 0 ? "64-bit mode" : "compatibility mode";
    return (code & SEGMENT_DB) != 0 ? "protected mode, 32 bits" : "protected mode, 16 bits";
}

static void show_control(const struct text *text, const struct vcpu_registers *registers)
{
    static const char *const activities[] = {"active", "halted", "waits for SIPI"};
    text_print(text, "cr0 %08lx", registers->cr0);
    SHOW_BITS(text, registers->cr0, cr0_bits);
    text_print(text, "cr2 %016lx  cr3 %016lx  cr8 %lx\ncr4 %08lx", registers->cr2, registers->cr3,
               registers->cr8, registers->cr4);
    SHOW_BITS(text, registers->cr4, cr4_bits);
    text_print(text, "efer %03lx", registers->efer);
    SHOW_BITS(text, registers->efer, efer_bits);
    text_print(text, "xcr0 %lx  kernel_gs_base %016lx\n", registers->xcr0,
               registers->kernel_gs_base);
    text_print(text, "dr0 %016lx  dr1 %016lx\ndr2 %016lx  dr3 %016lx\ndr6 %08lx  dr7 %08lx\n",
               registers->dr[0], registers->dr[1], registers->dr[2], registers->dr[3],
               registers->dr6, registers->dr7);
    text_print(text, "%s, CPL%u, %s; blocking by", mode_of(registers),
               (unsigned)SEGMENT_DPL(registers->segment[SEG_SS].access),
               registers->activity < ARRAY_SIZE(activities) ? activities[registers->activity]
                                                            : "?");
    SHOW_BITS(text, registers->interruptibility, shadow_bits);
}

void describe_registers(const struct text *text, const struct system_map *symbols,
                        const struct vcpu_registers *registers)
{
    show_general(text, symbols, registers);
    show_segments(text, registers);
    show_control(text, registers);
}

/* ---- Page walks ---- */

/* SDM: Paging-structure entries; of these bits, all levels have the same. */
static const struct bit_text page_bits[] = {{BIT(0), "present", "not present"},
                                            {BIT(1), " writable", " read-only"},
                                            {BIT(2), " user", " supervisor"},
                                            {BIT(3), " PWT", ""},
                                            {BIT(4), " PCD", ""},
                                            {BIT(5), " accessed", ""}};
static const struct bit_text leaf_bits[] = {{BIT(6), " dirty", ""}, {BIT(8), " global", ""}};

void describe_flags(const struct text *text, uint64_t value, const struct bit_text *bits,
                    unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        text_print(text, "%s", (value & bits[i].bit) != 0 ? bits[i].set : bits[i].clear);
}

void describe_page_size(const struct text *text, uint64_t size)
{
    text_print(text,
               size >= GIB(1)   ? "; maps %lu GiB"
               : size >= MIB(1) ? "; maps %lu MiB"
                                : "; maps %lu KiB",
               size >> (size >= GIB(1)   ? 30
                        : size >= MIB(1) ? 20
                                         : 10));
}

void describe_walk(const struct text *text, const struct page_walk *walk)
{
    for (unsigned i = 0; i < walk->count; i++) {
        const struct page_walk_entry *entry = &walk->entry[i];
        bool is_leaf = i + 1 == walk->count && walk->why == NULL;
        bool has_rights = walk->mode[0] != 'P' || i != 0; /* PAE's PDPTEs have none */
        text_print(text, "  %-5s %4u at 0x%-12lx %016lx  ", entry->name, entry->index, entry->at.v,
                   entry->value);
        if ((entry->value & 1) == 0 || !has_rights)
            describe_flags(text, entry->value, page_bits, 1);
        else
            describe_flags(text, entry->value, page_bits, ARRAY_SIZE(page_bits));
        if (is_leaf)
            describe_flags(text, entry->value, leaf_bits, ARRAY_SIZE(leaf_bits));
        if ((entry->value & BIT(63)) != 0)
            text_print(text, " no-execute");
        if (is_leaf)
            describe_page_size(text, walk->page);
        text_print(text, "\n");
    }
}

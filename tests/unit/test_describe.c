/* A guest's state in words: registers, page walks, calls. */
#include "kernel/debug/backtrace.h"
#include "tests/unit/said.h"

static const char map_text[] = "0000000000001000 T first\n0000000000002000 T second\n";
static const struct system_map symbols = {map_text, sizeof(map_text) - 1};
static const struct system_map no_symbols = {NULL, 0};

static struct vcpu_registers registers;

static const char *describe(void)
{
    said_length = 0;
    describe_registers(&text, &symbols, &registers);
    return said;
}

static void all_registers(void)
{
    memset(&registers, 0, sizeof(registers));
    registers.rip = 0x1010;
    registers.gpr[GPR_R15] = 0x15;
    registers.rflags = RFLAGS_IF | RFLAGS_ZF | 2 | 3 << 12;
    registers.cr0 = CR0_PG | CR0_PE;
    registers.efer = EFER_LME | EFER_LMA;
    registers.segment[SEG_CS] =
        (struct segment){.selector = 8, .limit = UINT32_MAX, .access = 0xa09b};
    registers.segment[SEG_SS] = (struct segment){.selector = 0x10, .access = 0xc0f7};
    registers.segment[SEG_DS] = (struct segment){.selector = 0x18, .access = 0x0013};
    registers.segment[SEG_TR] = (struct segment){.selector = 0x40, .access = 0x8b};
    registers.segment[SEG_LDTR] = (struct segment){.access = SEGMENT_UNUSABLE};
    registers.interruptibility = 8;
    describe();
    CHECK(says("r15 0000000000000015\n"));
    CHECK(says("rip 0000000000001010 <first+0x10>\n"));
    CHECK(says("rflags 00003242 iopl 3 [ IF ZF ]\n"));
    CHECK(says("cs   0008 base 0000000000000000 limit ffffffff access 0a09b [ code readable DPL0 "
               "64-bit G ]\n"));
    CHECK(says("ss   0010 base 0000000000000000 limit 00000000 access 0c0f7 [ data writable "
               "expand-down DPL3 32-bit G ]\n"));
    CHECK(says("[ not present, data writable DPL0 16-bit ]"));
    CHECK(says("tr   0040 base 0000000000000000 limit 00000000 access 0008b [ TSS busy DPL0 ]\n"));
    CHECK(says("[ unusable ]"));
    CHECK(says("cr0 80000001 [ PG PE ]\n"));
    CHECK(says("64-bit mode, CPL3, active; blocking by [ NMI ]\n"));
    CHECK_STR(said + said_length - 2, "]\n");
}

static void modes(void)
{
    registers.segment[SEG_CS].access = 0xc09f;
    CHECK(strstr(describe(), "compatibility mode, ") != NULL && says("code readable conforming"));
    registers.efer = 0;
    CHECK(strstr(describe(), "protected mode, 32 bits, ") != NULL);
    registers.segment[SEG_CS].access = 0x9b;
    CHECK(strstr(describe(), "protected mode, 16 bits, ") != NULL);
    registers.rflags |= RFLAGS_VM;
    CHECK(strstr(describe(), "virtual-8086 mode, ") != NULL);
    registers.cr0 = 0;
    registers.activity = VCPU_HALTED;
    CHECK(strstr(describe(), "real-address mode, CPL3, halted; ") != NULL);
    registers.segment[SEG_LDTR] = (struct segment){.access = 0x82};
    registers.segment[SEG_TR] = (struct segment){.access = 0x83};
    CHECK(strstr(describe(), "[ LDT DPL0 ]") != NULL && says("[ 16-bit TSS busy DPL0 ]"));
    registers.segment[SEG_TR] = (struct segment){.access = 0x8c};
    CHECK(strstr(describe(), "[ system DPL0 ]") != NULL);
}

/* ---- Memory -------------------------------------------------------------------------------- */

static uint8_t memory[0x10000] ALIGNED(4096);
static struct guest_mem mem;
static struct paging paging;

static void store(uint64_t at, uint64_t value, unsigned size)
{
    memcpy(memory + at, &value, size);
}

static void start(void)
{
    memset(memory, 0, sizeof(memory));
    mem = (struct guest_mem){0};
    CHECK_EQ(guest_mem_add(&mem, GPA(0), sizeof(memory), memory), STATUS_OK);
    paging =
        (struct paging){.cr0 = CR0_PE | CR0_PG, .cr3 = 0x1000, .cr4 = CR4_PAE, .efer = EFER_LMA};
    memset(&registers, 0, sizeof(registers));
}

static void walks(void)
{
    struct page_walk walk;
    start();
    store(0x1000, 0x2003, 8);
    store(0x2000, 0x3007, 8);
    store(0x3000, 0x4023, 8);
    store(0x4000 + 8 * 5, 0x6063 | BIT(63), 8);
    page_walk(&paging, &mem, 0x5123, &walk);
    said_length = 0;
    describe_walk(&text, &walk);
    CHECK(says("  PML4E    0 at 0x1000         0000000000002003  present writable supervisor\n"));
    CHECK(says("  PDPTE    0 at 0x2000         0000000000003007  present writable user\n"));
    CHECK(says("present writable supervisor accessed dirty no-execute; maps 4 KiB\n"));
    page_walk(&paging, &mem, 0x6123, &walk);
    said_length = 0;
    describe_walk(&text, &walk);
    CHECK(says("  PTE      6 at 0x4030         0000000000000000  not present\n"));
    said_length = 0;
    describe_page_size(&text, MIB(2));
    describe_page_size(&text, GIB(1));
    CHECK_STR(said, "; maps 2 MiB; maps 1 GiB");
}

/* Frame records at 0x8000, 0x8100 and 0x8200, without paging. */
static void calls(void)
{
    struct backtrace trace;
    start();
    paging = (struct paging){.efer = EFER_LMA};
    registers.efer = EFER_LMA;
    registers.cr0 = CR0_PE;
    registers.rip = 0x1004;
    registers.segment[SEG_CS].access = 0xa09b;
    registers.gpr[GPR_RBP] = 0x8000;
    store(0x8000, 0x8100, 8);
    store(0x8008, 0x2000, 8);
    store(0x8100, 0x8200, 8);
    store(0x8108, 0x2abc, 8);
    backtrace_collect(&trace, &registers, &paging, &mem);
    said_length = 0;
    backtrace_describe(&text, &symbols, &trace);
    CHECK(says("#0  0x0000000000001004 <first+0x4>\n#1  0x0000000000002000 <second>\n"
               "#2  0x0000000000002abc <second+0xabc>\n(no frame at 0x8200)\n"));
    store(0x8200, 0x8200, 8); /* its own caller */
    store(0x8208, 0x3000, 8);
    backtrace_collect(&trace, &registers, &paging, &mem);
    CHECK_EQ(trace.count, 3);
    store(0x8100, 0x8000, 8); /* a circle */
    backtrace_collect(&trace, &registers, &paging, &mem);
    CHECK_EQ(trace.count, BACKTRACE_MAX);
    store(0x8100, 0x900000, 8);
    backtrace_collect(&trace, &registers, &paging, &mem);
    said_length = 0;
    backtrace_describe(&text, &no_symbols, &trace);
    CHECK(says("#2  0x0000000000002abc\n(no frame at 0x900000)\n"));
    store(0x8100, 0, 8);
    backtrace_collect(&trace, &registers, &paging, &mem);
    said_length = 0;
    backtrace_describe(&text, &no_symbols, &trace);
    CHECK(!says("(no frame"));
}

static void calls_of_other_code(void)
{
    struct backtrace trace;
    start();
    paging = (struct paging){0};
    registers.cr0 = CR0_PE;
    registers.segment[SEG_CS].access = 0xc09b;
    registers.segment[SEG_SS].base = 0x1000;
    registers.gpr[GPR_RBP] = 0x7000;
    store(0x8004, 0x2000, 4);
    backtrace_collect(&trace, &registers, &paging, &mem);
    CHECK_EQ(trace.count, 2);
    CHECK_EQ(trace.frame[1], 0x2000);
    registers.cr0 = 0;
    backtrace_collect(&trace, &registers, &paging, &mem);
    said_length = 0;
    backtrace_describe(&text, &no_symbols, &trace);
    CHECK(says("(16-bit code has no frames that are known)\n"));
}

TEST_MAIN({"all_registers", all_registers}, {"modes", modes}, {"walks", walks}, {"calls", calls},
          {"calls_of_other_code", calls_of_other_code})

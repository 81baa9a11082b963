/* What is said of a vector's gate, and of what would stop a delivery through it. */
#include "kernel/debug/gate.h"
#include "tests/unit/said.h"

#define MEMORY_SIZE MIB(2)
#define ROOT 0x1000u
#define GDT 0x10000u
#define IDT 0x11000u
#define TSS 0x12000u
#define STACK 0x20000u
#define CODE 0x0008u
#define DATA 0x0010u
#define USER_CODE 0x0018u
#define ABSENT_CODE 0x0020u
#define TASK 0x0028u
#define CODE_16 0x0030u

static uint8_t memory[MEMORY_SIZE] ALIGNED(4096);
static struct guest_mem mem;
static struct paging paging;
static struct vcpu_registers registers;
static struct gate_failure failure;

static void store(uint64_t at, uint64_t value)
{
    memcpy(memory + at, &value, sizeof(value));
}

static void segments(bool is_long)
{
    store(GDT + CODE, is_long ? 0x00af9b000000ffff : 0x00cf9b000000ffff);
    store(GDT + DATA, 0x00cf93000000ffff);
    store(GDT + USER_CODE, 0x00cffb000000ffff);
    store(GDT + ABSENT_CODE, is_long ? 0x00af1b000000ffff : 0x00cf1b000000ffff);
    store(GDT + TASK, 0x0000890000000067 | (uint64_t)(TSS + 0x800) << 16);
    store(GDT + CODE_16, 0x00009b000000ffff);
    registers.gdtr = (struct descriptor_table){.base = GDT, .limit = 0x37};
    registers.segment[SEG_CS] = (struct segment){
        .selector = CODE, .limit = UINT32_MAX, .access = is_long ? 0xa09b : 0xc09b};
    registers.segment[SEG_SS] =
        (struct segment){.selector = DATA, .limit = UINT32_MAX, .access = 0xc093};
    registers.segment[SEG_TR] =
        (struct segment){.selector = 0x40, .base = TSS, .limit = 103, .access = 0x8b};
    registers.segment[SEG_LDTR] = (struct segment){.access = SEGMENT_UNUSABLE};
}

static void start(bool is_long)
{
    memset(memory, 0, sizeof(memory));
    memset(&registers, 0, sizeof(registers));
    mem = (struct guest_mem){0};
    CHECK_EQ(guest_mem_add(&mem, GPA(0), MEMORY_SIZE, memory), STATUS_OK);
    segments(is_long);
    registers.idtr = (struct descriptor_table){.base = IDT, .limit = 0xfff};
    registers.cr0 = CR0_PE | (is_long ? CR0_PG : 0);
    registers.efer = is_long ? EFER_LME | EFER_LMA : 0;
    registers.gpr[GPR_RSP] = STACK;
    store(ROOT, 0x2003);
    store(0x2000, 0x3003);
    store(0x3000, 0x83); /* 2 MiB, one to one */
    paging = (struct paging){.cr0 = registers.cr0 | CR0_WP,
                             .cr3 = ROOT,
                             .cr4 = is_long ? CR4_PAE : 0,
                             .efer = registers.efer,
                             .rflags = RFLAGS_AC,
                             .maxphyaddr = 40};
}

static void gate(unsigned vector, uint16_t selector, unsigned type, unsigned ist, uint64_t offset)
{
    bool is_long = (registers.efer & EFER_LMA) != 0;
    uint64_t low = (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)ist << 32 |
                   (uint64_t)type << 40 | (offset >> 16 & 0xffff) << 48;
    store(IDT + vector * (is_long ? 16 : 8), low);
    if (is_long)
        store(IDT + vector * 16 + 8, offset >> 32);
}

/* The exception that stops it, and why; 0: nothing does. */
static unsigned look(unsigned vector, bool is_software)
{
    struct gate_view view = {&registers, &paging, &mem};
    said_length = 0;
    return gate_describe(&text, &view, vector, is_software, &failure) ? failure.vector : 0;
}

static void selectors_are_described(void)
{
    struct gate_view view = {&registers, &paging, &mem};
    start(true);
    said_length = 0;
    gate_describe_selector(&text, &view, DATA);
    CHECK(says("GDT entry at 0x10010: 00cf93000000ffff\n"));
    CHECK(says("selector 0010 base 0000000000000000 limit ffffffff access 0c093 [ data writable"));
    said_length = 0;
    gate_describe_selector(&text, &view, 0x1230);
    CHECK(says("selector 1230 lies beyond the GDT, whose limit is 0x37\n"));
    said_length = 0;
    gate_describe_selector(&text, &view, DATA | 4);
    CHECK(says("selector 0014 is of the LDT, and there is none\n"));
}

static void stopped_at_the_gate(void)
{
    start(true);
    gate(8, CODE, 0x8e, 0, 0x100000);
    CHECK_EQ(look(8, false), 0);
    CHECK(says("vector 8, #DF: IDT entry at 0x11080: "));
    CHECK(says("  present, 64-bit interrupt gate (type 14) to 0008:0000000000100000, DPL0\n"));
    CHECK(says("  its stack: the one in use, 0x20000\n"));
    CHECK(says("nothing of this would stop a delivery"));
    gate(8, CODE, 0x0e, 1, 0x100000);
    CHECK_EQ(look(8, false), VECTOR_NP);
    CHECK(says(
        "not present, 64-bit interrupt gate (type 14) to 0008:0000000000100000, DPL0, IST1\n"));
    CHECK_STR(failure.why, "the gate is not present");
    gate(8, CODE, 0x85, 0, 0x100000); /* a task gate is none in 64-bit mode */
    CHECK_EQ(look(8, false), VECTOR_GP);
    CHECK_STR(failure.why, "type 5 is none of a gate for events");
    gate(8, CODE, 0x9e, 0, 0x100000); /* a data segment's */
    CHECK_EQ(look(8, false), VECTOR_GP);
    CHECK_STR(failure.why, "type 30 is none of a gate for events");
    gate(8, CODE, 0x8e, 0, 0x0000800000000000);
    CHECK_EQ(look(8, false), VECTOR_GP);
    CHECK_STR(failure.why, "the handler's address 0x800000000000 is not canonical");
    registers.idtr.limit = 0x8e;
    CHECK_EQ(look(8, false), VECTOR_GP);
    CHECK_STR(failure.why, "the gate lies beyond the IDT, whose limit is 0x8e");
    registers.idtr = (struct descriptor_table){.base = MIB(2) - 0x88, .limit = 0xfff};
    CHECK_EQ(look(8, false), VECTOR_PF);
    CHECK(failure.has_address);
    CHECK_EQ(failure.address, MIB(2)); /* the second half of the gate */
    CHECK(says("which cannot be read"));
}

/* DPL counts for INT n only. */
static void stopped_by_its_privilege(void)
{
    start(true);
    gate(0x80, CODE, 0x8e, 0, 0x100000);
    registers.segment[SEG_SS].access |= 3 << 5;
    store(TSS + 4, STACK);
    CHECK_EQ(look(0x80, true), VECTOR_GP);
    CHECK(says("vector 128: IDT entry"));
    CHECK_STR(failure.why, "INT n at CPL3 needs a gate whose DPL is not 0");
    CHECK_EQ(look(0x80, false), 0);
    CHECK(says("  RSP0 of the TSS at 0x12000: 0x20000\n"));
}

static void stopped_at_the_segment(void)
{
    start(true);
    gate(14, 0, 0x8e, 0, 0x100000);
    CHECK_EQ(look(14, false), VECTOR_GP);
    CHECK_STR(failure.why, "handler's CS is the null selector");
    gate(14, 0x38, 0x8e, 0, 0x100000);
    CHECK_EQ(look(14, false), VECTOR_GP);
    CHECK_STR(failure.why, "handler's CS 0038 lies beyond the GDT, whose limit is 0x37");
    gate(14, 0x0c, 0x8e, 0, 0x100000);
    CHECK_EQ(look(14, false), VECTOR_GP);
    CHECK_STR(failure.why, "handler's CS 000c is of the LDT, and there is none");
    gate(14, DATA, 0x8e, 0, 0x100000);
    CHECK_EQ(look(14, false), VECTOR_GP);
    CHECK_STR(failure.why, "the gate's selector 0010 is no code segment");
    CHECK(says("handler's CS 0010 base 0000000000000000 limit ffffffff access 0c093"));
    gate(14, USER_CODE, 0x8e, 0, 0x100000);
    CHECK_EQ(look(14, false), VECTOR_GP);
    CHECK_STR(failure.why, "the handler's segment has DPL3, the guest CPL0");
    gate(14, ABSENT_CODE, 0x8e, 0, 0x100000);
    CHECK_EQ(look(14, false), VECTOR_NP);
    CHECK(says("[ not present, code readable DPL0 64-bit G ]"));
    gate(14, CODE_16, 0x8e, 0, 0x100000);
    CHECK_EQ(look(14, false), VECTOR_GP);
    CHECK_STR(failure.why, "the handler's segment 0030 is not one of 64-bit code");
    registers.gdtr.base = MIB(2);
    CHECK_EQ(look(14, false), VECTOR_PF);
    CHECK_STR(failure.why, "the GDT cannot be accessed at 0x200030");
}

static void stopped_at_the_stack(void)
{
    start(true);
    gate(8, CODE, 0x8e, 1, 0x100000);
    store(TSS + 36, STACK + 0x1000);
    CHECK_EQ(look(8, false), 0);
    CHECK(says("  IST1 of the TSS at 0x12000: 0x21000\n"));
    registers.segment[SEG_TR].limit = 42;
    CHECK_EQ(look(8, false), VECTOR_TS);
    CHECK_STR(failure.why, "the TSS has no IST1: its limit is 0x2a");
    registers.segment[SEG_TR].limit = 43;
    CHECK_EQ(look(8, false), 0);
    store(TSS + 36, 0x0000900000000000);
    CHECK_EQ(look(8, false), VECTOR_SS);
    store(TSS + 36, MIB(2) + 40); /* five words fit, not the error code */
    CHECK_EQ(look(8, false), VECTOR_PF);
    store(TSS + 36, 0); /* below it the address space's end, which is not mapped */
    CHECK_EQ(look(8, false), VECTOR_PF);
    store(TSS + 36, MIB(2) - 0x1000);
    store(0x3000, 0x81); /* read-only */
    CHECK_EQ(look(8, false), VECTOR_PF);
    CHECK_STR(failure.why, "the handler's stack cannot be written at 0x1fefff");
    CHECK_EQ(failure.address, 0x1fefff);
    registers.segment[SEG_TR].access |= SEGMENT_UNUSABLE;
    CHECK_EQ(look(8, false), VECTOR_TS);
    CHECK_STR(failure.why, "there is no TSS to take IST1 from: TR is 0040");
}

static void protected_mode(void)
{
    start(false);
    gate(13, CODE, 0x8e, 0, 0x100000);
    CHECK_EQ(look(13, false), 0);
    CHECK(says("32-bit interrupt gate (type 14) to 0008:00100000, DPL0"));
    CHECK(says("its stack: the one in use, 0010:00020000"));
    registers.gpr[GPR_RSP] = 15; /* of 16 bytes */
    CHECK_EQ(look(13, false), VECTOR_SS);
    registers.gpr[GPR_RSP] = 16;
    CHECK_EQ(look(13, false), 0);
    gate(13, CODE_16, 0x86, 0, 0xfff0);
    registers.gpr[GPR_RSP] = 8;
    CHECK_EQ(look(13, false), 0);
    registers.segment[SEG_SS].access |= 3 << 5; /* from ring 3 */
    store(TSS + 4, STACK | (uint64_t)DATA << 32);
    CHECK_EQ(look(13, false), 0);
    CHECK(says("ESP0 of the TSS at 0x12000: 0x20000"));
    CHECK(says("SS0 of the TSS at 0x12000: 0010"));
    store(TSS + 4, STACK);
    CHECK_EQ(look(13, false), VECTOR_TS);
    CHECK_STR(failure.why, "SS0 is the null selector");
    store(TSS + 4, STACK | (uint64_t)CODE << 32);
    CHECK_EQ(look(13, false), VECTOR_TS);
    CHECK_STR(failure.why, "SS0, 0008, is no stack for CPL0");
}

static void task_gates(void)
{
    start(false);
    gate(8, TASK, 0x85, 0, 0);
    CHECK_EQ(look(8, false), 0);
    CHECK(says("task gate (type 5) to 0028:"));
    store(GDT + TASK, 0x00008b0000000067 | (uint64_t)TSS << 16);
    CHECK_EQ(look(8, false), VECTOR_GP);
    CHECK_STR(failure.why, "the TSS 0028 is busy");
    store(GDT + TASK, 0x0000090000000067 | (uint64_t)TSS << 16);
    CHECK_EQ(look(8, false), VECTOR_NP);
    store(GDT + TASK, 0x0000890000000066 | (uint64_t)TSS << 16);
    CHECK_EQ(look(8, false), VECTOR_TS);
    gate(8, CODE, 0x85, 0, 0);
    CHECK_EQ(look(8, false), VECTOR_GP);
}

static void real_mode(void)
{
    start(false);
    registers.cr0 = 0;
    registers.idtr = (struct descriptor_table){.base = 0, .limit = 0x3ff};
    registers.gpr[GPR_RSP] = 0x1000;
    store(0x18, 0x12345678);
    CHECK_EQ(look(6, false), 0);
    CHECK(says("vector 6, #UD: entry of the interrupt table at 0x18: to 1234:5678"));
    registers.idtr.limit = 0x1a;
    CHECK_EQ(look(6, false), VECTOR_GP);
    registers.idtr.limit = 0x1b;
    registers.gpr[GPR_RSP] = 3;
    CHECK_EQ(look(6, false), VECTOR_SS);
}

TEST_MAIN({"selectors_are_described", selectors_are_described},
          {"stopped_at_the_gate", stopped_at_the_gate},
          {"stopped_by_its_privilege", stopped_by_its_privilege},
          {"stopped_at_the_segment", stopped_at_the_segment},
          {"stopped_at_the_stack", stopped_at_the_stack}, {"protected_mode", protected_mode},
          {"task_gates", task_gates}, {"real_mode", real_mode})

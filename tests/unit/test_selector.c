/* What a new selector brings along when a debugger writes it. */
#include <string.h>

#include "kernel/debug/selector.h"
#include "tests/check.h"

#define GDT 0x1000u
#define LDT 0x2000u

static uint8_t memory[0x4000] ALIGNED(4096);
static struct guest_mem mem;
static struct paging paging;
static struct vcpu_registers before, after;

static void put(uint64_t at, uint64_t value)
{
    memcpy(&memory[at], &value, sizeof(value));
}

static void start(void)
{
    memset(memory, 0, sizeof(memory));
    mem = (struct guest_mem){0};
    CHECK_EQ(guest_mem_add(&mem, GPA(0), sizeof(memory), memory), STATUS_OK);
    paging = (struct paging){.cr0 = CR0_PE};
    memset(&before, 0, sizeof(before));
    before.cr0 = CR0_PE;
    before.gdtr = (struct descriptor_table){.base = GDT, .limit = 0x3f};
    before.segment[SEG_LDTR].access = SEGMENT_UNUSABLE;
    put(GDT + 0x08, 0x00af9a000000ffff);
    put(GDT + 0x10, 0x12cf92345678ffff);
    put(GDT + 0x18, 0x004012000000ffff); /* not present */
    put(GDT + 0x20, 0x0000820020000017); /* an LDT */
    put(GDT + 0x28, 0x1200893456780067); /* a TSS of 64 bits: */
    put(GDT + 0x30, 0x00000000ffffffff); /* its upper half */
    put(LDT + 0x08, 0x0040920001000fff);
    after = before;
}

static enum status load(enum segment_register number, uint16_t selector)
{
    after.segment[number].selector = selector;
    return selector_load(&before, &after, &paging, &mem);
}

static void descriptors_come_along(void)
{
    start();
    CHECK_EQ(load(SEG_CS, 0x08), STATUS_OK);
    CHECK_EQ(after.segment[SEG_CS].base, 0);
    CHECK_EQ(after.segment[SEG_CS].limit, 0xffffffff);
    CHECK_EQ(after.segment[SEG_CS].access, 0xa09b);
    CHECK_EQ(load(SEG_DS, 0x13), STATUS_OK);
    CHECK_EQ(after.segment[SEG_DS].base, 0x12345678);
    CHECK_EQ(after.segment[SEG_DS].access, 0xc093);
    CHECK_EQ(load(SEG_ES, 3), STATUS_OK);
    CHECK_EQ(after.segment[SEG_ES].access, SEGMENT_UNUSABLE);
}

static void system_segments_have_their_own(void)
{
    start();
    CHECK_EQ(load(SEG_DS, 0x0c), ERR_NOT_FOUND); /* there is no LDT */
    start();
    CHECK_EQ(load(SEG_LDTR, 0x20), STATUS_OK);
    CHECK_EQ(after.segment[SEG_LDTR].base, LDT);
    CHECK_EQ(after.segment[SEG_LDTR].limit, 0x17);
    CHECK_EQ(after.segment[SEG_LDTR].access, 0x82);
    before = after;
    CHECK_EQ(load(SEG_DS, 0x0c), STATUS_OK);
    CHECK_EQ(after.segment[SEG_DS].base, 0x100);
    CHECK_EQ(after.segment[SEG_DS].limit, 0xfff);
    CHECK_EQ(load(SEG_TR, 0x28), STATUS_OK);
    CHECK_EQ(after.segment[SEG_TR].base, 0x12345678);
    CHECK_EQ(after.segment[SEG_TR].access, 0x8b); /* busy */
    after = before;
    after.efer = EFER_LMA;
    CHECK_EQ(load(SEG_TR, 0x28), STATUS_OK);
    CHECK_EQ(after.segment[SEG_TR].base, 0xffffffff12345678);
}

static void what_does_not_fit_is_refused(void)
{
    static const struct {
        uint8_t segment;
        uint16_t selector;
        enum status status;
    } cases[] = {{SEG_DS, 0x18, ERR_INVALID},   {SEG_DS, 0x20, ERR_INVALID},
                 {SEG_LDTR, 0x10, ERR_INVALID}, {SEG_LDTR, 0x28, ERR_INVALID},
                 {SEG_TR, 0x20, ERR_INVALID},   {SEG_TR, 0x08, ERR_INVALID},
                 {SEG_DS, 0x40, ERR_NOT_FOUND}, {SEG_DS, 0xfff8, ERR_NOT_FOUND}};
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        start();
        CHECK_EQ(load((enum segment_register)cases[i].segment, cases[i].selector), cases[i].status);
    }
    start();
    before.gdtr.base = after.gdtr.base = 0x8000; /* no memory */
    CHECK_EQ(load(SEG_DS, 0x10), ERR_FAULT);
    before.gdtr.base = after.gdtr.base = UINT64_MAX - 0x13;
    CHECK_EQ(load(SEG_DS, 0x10), ERR_FAULT);
}

/* A part that was written by itself stays as it was written. */
static void parts_stay(void)
{
    start();
    after.segment[SEG_DS].limit = 5;
    CHECK_EQ(load(SEG_DS, 0x10), STATUS_OK);
    CHECK_EQ(after.segment[SEG_DS].base, 0);
    CHECK_EQ(after.segment[SEG_DS].limit, 5);
    start();
    after.segment[SEG_DS].base = 7;
    CHECK_EQ(selector_load(&before, &after, &paging, &mem), STATUS_OK);
    CHECK_EQ(after.segment[SEG_DS].base, 7);
}

static void real_mode_needs_no_table(void)
{
    start();
    before.cr0 = after.cr0 = 0;
    CHECK_EQ(load(SEG_CS, 0xf000), STATUS_OK);
    CHECK_EQ(after.segment[SEG_CS].base, 0xf0000);
    start();
    before.rflags = after.rflags = RFLAGS_VM;
    CHECK_EQ(load(SEG_GS, 0x1234), STATUS_OK);
    CHECK_EQ(after.segment[SEG_GS].base, 0x12340);
}

TEST_MAIN({"descriptors_come_along", descriptors_come_along},
          {"system_segments_have_their_own", system_segments_have_their_own},
          {"what_does_not_fit_is_refused", what_does_not_fit_is_refused},
          {"parts_stay", parts_stay}, {"real_mode_needs_no_table", real_mode_needs_no_table})

/* The trial of XSAVEC, on a processor made here: one that works, and ones that do not. */
#include "kernel/core/hw.h"
#include "kernel/core/xsave_check.h"
#include "tests/check.h"

#define XCR0_TESTED 0xe7ull
#define COMPACTED (1ull << 63)

/* Components 2, 5, 6 and 7, as AVX-512 has them in the standard form. */
static const struct {
    unsigned component;
    uint32_t size, offset;
} layout[] = {{2, 256, 576}, {5, 64, 1088}, {6, 512, 1152}, {7, 1024, 1664}};

enum defect { NONE, HEADER, SHIFTED, FORGETS, REFUSES };

static enum defect defect;
static bool has_xsavec;
static uint8_t registers[4][1024];
static uint64_t in_use;

void hw_cpuid(uint32_t leaf, uint32_t subleaf, struct cpuid_regs *regs)
{
    *regs = (struct cpuid_regs){0};
    if (leaf == 0xd && subleaf == 1)
        regs->eax = has_xsavec ? 2 : 0;
    for (size_t i = 0; i < sizeof(layout) / sizeof(layout[0]); i++)
        if (leaf == 0xd && subleaf == layout[i].component) {
            regs->eax = layout[i].size;
            regs->ebx = layout[i].offset;
        }
}

static uint64_t get(const uint8_t *area, unsigned offset)
{
    uint64_t value;
    memcpy(&value, area + offset, sizeof(value));
    return value;
}

static void set(uint8_t *area, unsigned offset, uint64_t value)
{
    memcpy(area + offset, &value, sizeof(value));
}

static void load(const uint8_t *area, uint64_t mask)
{
    uint64_t present = get(area, 512), form = get(area, 520);
    uint32_t next = 576;
    for (size_t i = 0; i < sizeof(layout) / sizeof(layout[0]); i++) {
        uint64_t bit = 1ull << layout[i].component;
        uint32_t at = form & COMPACTED ? next : layout[i].offset;
        next += form & bit ? layout[i].size : 0;
        if (!(mask & bit))
            continue;
        memset(registers[i], 0, sizeof(registers[i]));
        if (present & bit)
            memcpy(registers[i], area + at, layout[i].size);
        in_use = (in_use & ~bit) | (present & bit);
    }
}

static void save(uint8_t *area, uint64_t mask, bool compacted)
{
    uint32_t next = 576 + (compacted && defect == SHIFTED ? 16 : 0);
    set(area, 512, compacted ? in_use & mask : mask);
    set(area, 520, compacted ? COMPACTED | mask : 0);
    for (size_t i = 0; i < sizeof(layout) / sizeof(layout[0]); i++) {
        uint64_t bit = 1ull << layout[i].component;
        uint32_t at = compacted ? next : layout[i].offset;
        if (mask & bit)
            memcpy(area + at, registers[i], layout[i].size);
        next += mask & bit ? layout[i].size : 0;
    }
    if (compacted && defect == HEADER)
        set(area, 528, 0x4f);
    if (compacted && defect == FORGETS && (in_use & 0xe4) == 0x84)
        set(area, 512, in_use & 0x80); /* one combination only */
}

void hw_xrstor(const void *area, uint64_t mask)
{
    load(area, mask);
}

enum status hw_xrstor_safe(const void *area, uint64_t mask)
{
    for (unsigned offset = 528; offset < 576; offset += 8)
        if (get(area, offset) != 0)
            return ERR_FAULT; /* SDM: reserved bytes of the XSAVE header */
    if (defect == REFUSES)
        return ERR_FAULT;
    load(area, mask);
    return STATUS_OK;
}

void hw_xsave(void *area, uint64_t mask)
{
    save(area, mask, false);
}

void hw_xsavec(void *area, uint64_t mask)
{
    save(area, mask, true);
}

static bool try_with(enum defect with)
{
    defect = with;
    has_xsavec = true;
    in_use = 0;
    return xsave_check_compacted(XCR0_TESTED);
}

static void working_processor_is_believed(void)
{
    CHECK(try_with(NONE));
    CHECK_EQ(in_use, 0);
}

static void defects_are_found(void)
{
    CHECK(!try_with(HEADER));
    CHECK(!try_with(SHIFTED));
    CHECK(!try_with(FORGETS));
    CHECK(!try_with(REFUSES));
}

static void nothing_to_try(void)
{
    defect = REFUSES;
    has_xsavec = false;
    CHECK(xsave_check_compacted(XCR0_TESTED));
    has_xsavec = true;
    CHECK(xsave_check_compacted(0));
}

TEST_MAIN({"working_processor_is_believed", working_processor_is_believed},
          {"defects_are_found", defects_are_found}, {"nothing_to_try", nothing_to_try})

/* kernel/core/paging_rules.c: what no mapping of the monitor's own may be, violation by violation.
 */
#include "kernel/core/paging_rules.h"
#include "tests/check.h"

#define IMAGE_HPA 0x1400000ull
#define TEXT 0x30000ull
#define RODATA 0x10000ull
#define INIT_TEXT 0x8000ull
#define INIT_RODATA 0x4000ull
#define INIT_END (TEXT + RODATA + INIT_TEXT + INIT_RODATA)
#define IMAGE_SIZE 0x80000ull
#define ACPI_HPA 0x7000000ull
#define FIRMWARE_HPA 0x8000000ull
#define RAM_END 0x9000000ull

static enum page_kind kind(void *context, hpa_t frame)
{
    (void)context;
    if (frame.v >= RAM_END)
        return PAGE_NONE;
    if (frame.v >= FIRMWARE_HPA)
        return PAGE_FIRMWARE;
    return frame.v >= ACPI_HPA ? PAGE_ACPI : PAGE_FREE;
}

static const struct paging_rules rules = {.text_size = TEXT,
                                          .rodata_size = RODATA,
                                          .init_text_size = INIT_TEXT,
                                          .init_rodata_size = INIT_RODATA,
                                          .image_size = IMAGE_SIZE,
                                          .image_hpa = IMAGE_HPA,
                                          .kind = kind};

/* Where a stack begins: eight lanes of 64 KiB for each slot, the use of each 16 KiB into it. */
#define STACK(processor, lane)                                                                     \
    (PAGING_STACKS + (1 + (processor)) * 0x80000ull + (lane)*0x10000ull + 0x4000)

struct row {
    struct page_mapping map;
    const char *broken; /* NULL: as it should be */
};

static const struct row rows[] = {
    {{PAGING_IMAGE, 4096, {IMAGE_HPA}, MAP_EXECUTE}, NULL},
    {{PAGING_IMAGE + TEXT - 4096, 4096, {IMAGE_HPA + TEXT - 4096}, MAP_EXECUTE | MAP_GLOBAL}, NULL},
    {{PAGING_IMAGE + TEXT, 4096, {IMAGE_HPA + TEXT}, 0}, NULL},
    {{PAGING_IMAGE + TEXT + RODATA, 4096, {IMAGE_HPA + TEXT + RODATA}, MAP_EXECUTE}, NULL},
    {{PAGING_IMAGE + INIT_END - 4096, 4096, {IMAGE_HPA + INIT_END - 4096}, 0}, NULL},
    {{PAGING_IMAGE + INIT_END, 4096, {IMAGE_HPA + INIT_END}, MAP_WRITE}, NULL},
    {{PAGING_IMAGE + TEXT + RODATA - 4096, 8192, {IMAGE_HPA + TEXT + RODATA - 4096}, MAP_EXECUTE},
     "executable, but not text"},
    {{PAGING_IMAGE + INIT_END - INIT_RODATA,
      4096,
      {IMAGE_HPA + INIT_END - INIT_RODATA},
      MAP_EXECUTE},
     "executable, but not text"},
    {{PAGING_IMAGE + INIT_END - 4096, 4096, {IMAGE_HPA + INIT_END - 4096}, MAP_WRITE},
     "writable text or constants"},
    {{PAGING_IMAGE + TEXT + RODATA, 4096, {IMAGE_HPA + TEXT + RODATA}, MAP_WRITE},
     "writable text or constants"},
    {{PAGING_IMAGE, 4096, {IMAGE_HPA}, MAP_EXECUTE | MAP_WRITE}, "writable and executable"},
    {{PAGING_IMAGE, 4096, {IMAGE_HPA}, MAP_WRITE}, "writable text or constants"},
    {{PAGING_IMAGE + TEXT, 4096, {IMAGE_HPA + TEXT}, MAP_WRITE}, "writable text or constants"},
    {{PAGING_IMAGE + TEXT, 4096, {IMAGE_HPA + TEXT}, MAP_EXECUTE}, "executable, but not text"},
    {{PAGING_IMAGE, 2 << 20, {IMAGE_HPA}, MAP_EXECUTE}, "not where the image is"},
    {{PAGING_IMAGE, 4096, {IMAGE_HPA + 4096}, MAP_EXECUTE}, "not where the image is"},
    {{PAGING_IMAGE + IMAGE_SIZE, 4096, {IMAGE_HPA + IMAGE_SIZE}, 0}, "not where the image is"},

    {{PAGING_PHYSMAP + (4 << 20), 2 << 20, {4 << 20}, MAP_WRITE}, NULL},
    {{PAGING_PHYSMAP + (4 << 20), 2 << 20, {4 << 20}, MAP_EXECUTE}, "executable outside the image"},
    {{PAGING_PHYSMAP + (4 << 20), 4096, {4 << 20}, MAP_EXECUTE | MAP_WRITE},
     "writable and executable"},
    {{PAGING_PHYSMAP + (4 << 20), 4096, {8 << 20}, MAP_WRITE},
     "at another distance in the physmap"},
    {{PAGING_PHYSMAP + IMAGE_HPA, 4096, {IMAGE_HPA}, 0}, "a second mapping of the image"},
    {{PAGING_PHYSMAP + 0x1200000, 4 << 20, {0x1200000}, MAP_WRITE},
     "a second mapping of the image"},
    {{PAGING_PHYSMAP + ACPI_HPA, 4096, {ACPI_HPA}, 0}, NULL},
    {{PAGING_PHYSMAP + ACPI_HPA, 4096, {ACPI_HPA}, MAP_WRITE}, "a writable ACPI table"},
    {{PAGING_PHYSMAP + FIRMWARE_HPA, 4096, {FIRMWARE_HPA}, 0}, "firmware's memory in the physmap"},
    {{PAGING_PHYSMAP + FIRMWARE_HPA - 4096, 8192, {FIRMWARE_HPA - 4096}, 0},
     "firmware's memory in the physmap"},
    {{PAGING_PHYSMAP + ACPI_HPA - 4096, 8192, {ACPI_HPA - 4096}, MAP_WRITE},
     "a writable ACPI table"},
    {{PAGING_PHYSMAP + RAM_END, 4096, {RAM_END}, 0}, "firmware's memory in the physmap"},

    {{0x8000, 4096, {0x8000}, MAP_EXECUTE}, "executable outside the image"},
    {{0x8000, 4096, {0x8000}, MAP_WRITE}, "in the lower half"},

    {{PAGING_STACKS + PAGING_LANE_OFFSET, 4096, {IMAGE_HPA + 0x50000}, 0}, NULL}, /* the IDT */
    {{PAGING_STACKS + PAGING_LANE_OFFSET, 4096, {IMAGE_HPA + 0x50000}, MAP_WRITE},
     "a second mapping of the image"},
    {{PAGING_STACKS + PAGING_LANE_OFFSET + 4096, 4096, {4 << 20}, 0}, "a guard page that is there"},
    {{PAGING_STACKS + PAGING_LANE_SIZE + PAGING_LANE_OFFSET, 4096, {4 << 20}, 0},
     "in a lane without a use"},
    {{STACK(0, CPU_STACK_KERNEL), 4096, {4 << 20}, MAP_WRITE}, NULL},
    {{STACK(0, CPU_STACK_MC) + PAGING_STACK_SIZE - 4096, 4096, {4 << 20}, MAP_WRITE}, NULL},
    {{STACK(255, CPU_STACK_NMI), 4096, {4 << 20}, MAP_WRITE}, NULL},
    {{STACK(0, CPU_STACK_NMI) - 4096, 4096, {4 << 20}, MAP_WRITE}, "a guard page that is there"},
    {{STACK(3, CPU_STACK_DF) + PAGING_STACK_SIZE, 4096, {4 << 20}, MAP_WRITE},
     "a guard page that is there"},
    {{STACK(3, CPU_STACK_DF), 2 << 20, {4 << 20}, MAP_WRITE}, "a guard page that is there"},
    {{STACK(3, PAGING_LANE_TABLES), 4096, {4 << 20}, MAP_WRITE}, NULL},
    {{STACK(3, PAGING_LANE_TABLES) + 4096, 4096, {4 << 20}, MAP_WRITE},
     "a guard page that is there"},
    {{STACK(3, PAGING_LANE_TABLES + 1), 4096, {4 << 20}, MAP_WRITE}, "in a lane without a use"},
    {{STACK(256, 0), 4096, {4 << 20}, MAP_WRITE}, "in a lane without a use"},

    {{PAGING_DEVICES, 4096, {0xfee00000}, MAP_WRITE | MAP_UC}, NULL},
    {{PAGING_DEVICES, 4096, {0xfee00000}, MAP_EXECUTE}, "executable outside the image"},
    {{PAGING_DEVICES, 4096, {ACPI_HPA}, 0}, NULL},
    {{PAGING_DEVICES, 4096, {4 << 20}, MAP_WRITE}, "a second writable mapping of memory"},
    {{PAGING_DEVICES, 2 << 20, {FIRMWARE_HPA - (1 << 20)}, MAP_WRITE},
     "a second writable mapping of memory"},
    {{PAGING_DEVICES, 4096, {IMAGE_HPA + 4096}, 0}, "a second mapping of the image"},
};

static void each_planted_violation_is_named(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *broken = paging_rule_broken(&rules, &rows[i].map);
        CHECK_STR(broken != NULL ? broken : "nothing",
                  rows[i].broken != NULL ? rows[i].broken : "nothing");
    }
}

static void guards_know_their_stack(void)
{
    uint32_t processor = 9;
    enum cpu_stack stack = CPU_STACKS;
    uint64_t base = STACK(2, CPU_STACK_DF);
    CHECK(paging_is_guard(base - 1, &processor, &stack));
    CHECK_EQ(processor, 2);
    CHECK_EQ(stack, CPU_STACK_DF);
    CHECK(!paging_is_guard(base, &processor, &stack));
    CHECK(!paging_is_guard(base + PAGING_STACK_SIZE - 1, &processor, &stack));
    CHECK(paging_is_guard(base + PAGING_STACK_SIZE, &processor, &stack));
    CHECK_EQ(stack, CPU_STACK_DF);
    CHECK(paging_is_guard(STACK(255, CPU_STACK_KERNEL) - 8, &processor, &stack));
    CHECK_EQ(processor, 255);
    CHECK(!paging_is_guard(STACK(256, CPU_STACK_KERNEL) - 8, &processor, &stack));
    CHECK(!paging_is_guard(STACK(0, PAGING_LANE_TABLES) - 8, &processor, &stack));
    CHECK(!paging_is_guard(PAGING_STACKS, &processor, &stack));
    CHECK(!paging_is_guard(PAGING_PHYSMAP, &processor, &stack));
    CHECK(!paging_is_guard(0, &processor, &stack));
}

TEST_MAIN({"each_planted_violation_is_named", each_planted_violation_is_named},
          {"guards_know_their_stack", guards_know_their_stack})

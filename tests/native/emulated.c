#include "tests/native/emulated.h"

#include <string.h>

#include "tests/check.h"

#define PAGES_MAX 32u
#define TABLES_MAX 32u
#define TABLES_BASE 0x1000u     /* guest-physical */
#define RAM_BASE 0x100000u      /* the windows' pages, in order */
#define DEVICE_BASE 0x40000000u /* and again, as far as they are devices */
#define REPETITIONS_MAX 1000u   /* calls until a string instruction has ended */
#define ENTRY_TABLE 7u          /* present, writable, user */

static uint8_t tables[TABLES_MAX][PAGE_SIZE] ALIGNED(4096);
static uint8_t pages[PAGES_MAX][PAGE_SIZE] ALIGNED(4096);
static unsigned tables_used, pages_used;
static struct guest_mem mem;
static struct bus bus;
static struct guest_access access;

static uint64_t device_read(void *page, uint64_t offset, unsigned size)
{
    uint64_t value = 0;
    CHECK(offset + size <= PAGE_SIZE);
    memcpy(&value, (const uint8_t *)page + offset, size);
    return value;
}

static void device_write(void *page, uint64_t offset, unsigned size, uint64_t value)
{
    CHECK(offset + size <= PAGE_SIZE);
    memcpy((uint8_t *)page + offset, &value, size);
}

static const struct bus_ops device_ops = {device_read, device_write};

static uint64_t *entry_at(uint64_t table, unsigned index)
{
    return (uint64_t *)(void *)tables[(table - TABLES_BASE) / PAGE_SIZE] + index;
}

static void map(uint64_t linear, uint64_t entry)
{
    uint64_t table = TABLES_BASE;
    for (unsigned shift = 39; shift > PAGE_SHIFT; shift -= 9) {
        uint64_t *slot = entry_at(table, linear >> shift & 511);
        if (*slot == 0) {
            CHECK(tables_used < TABLES_MAX);
            *slot = (TABLES_BASE + tables_used++ * PAGE_SIZE) | ENTRY_TABLE;
        }
        table = *slot & MASK(51, 12);
    }
    *entry_at(table, linear >> PAGE_SHIFT & 511) = entry;
}

static void map_page(uint64_t linear, unsigned kind)
{
    static const uint64_t rights[] = {[PAGE_RAM] = 7 | BIT(63),
                                      [PAGE_DEVICE] = 7 | BIT(63),
                                      [PAGE_READ_ONLY] = 5 | BIT(63),
                                      [PAGE_CODE] = 7};
    unsigned number = pages_used++;
    CHECK(number < PAGES_MAX);
    uint64_t gpa = RAM_BASE + number * PAGE_SIZE;
    if (kind == PAGE_ABSENT)
        return;
    memcpy(pages[number], (const void *)(uintptr_t)linear, PAGE_SIZE);
    if (kind == PAGE_DEVICE) {
        gpa = DEVICE_BASE + number * PAGE_SIZE;
        CHECK_EQ(bus_add(&bus, BUS_MMIO, gpa, PAGE_SIZE, &device_ops, pages[number]), STATUS_OK);
    }
    map(linear, gpa | rights[kind]);
}

void emulated_prepare(void)
{
    CHECK_EQ(guest_mem_add(&mem, GPA(TABLES_BASE), sizeof(tables), tables), STATUS_OK);
    CHECK_EQ(guest_mem_add(&mem, GPA(RAM_BASE), sizeof(pages), pages), STATUS_OK);
    tables_used = 1;
    for (unsigned i = 0; i < WINDOWS; i++)
        for (unsigned page = 0; page < windows[i].count; page++)
            map_page(windows[i].base + page * PAGE_SIZE, windows[i].kind[page]);
    guest_access_init(&access, &mem, &bus);
    access.paging = (struct paging){.cr3 = TABLES_BASE,
                                    .cr4 = CR4_PAE,
                                    .efer = EFER_LMA | EFER_LME | EFER_NXE,
                                    .maxphyaddr = 40};
    access.tr = (struct segment){.access = SEGMENT_UNUSABLE}; /* no port is allowed */
}

uint8_t *emulated_page(uint64_t linear)
{
    unsigned number = 0;
    for (unsigned i = 0; i < WINDOWS; i++) {
        uint64_t page = (linear - windows[i].base) / PAGE_SIZE;
        if (linear >= windows[i].base && page < windows[i].count)
            return windows[i].kind[page] == PAGE_ABSENT ? NULL : pages[number + page];
        number += windows[i].count;
    }
    return NULL;
}

const struct instruction *emulated_instruction(void)
{
    return access.instruction;
}

bool emulated_repeat(struct context *context, uint64_t linear, bool write)
{
    const uint8_t *page = emulated_page(linear);
    uint64_t number = (uint64_t)(page - pages[0]) / PAGE_SIZE;
    const struct guest_repeat repeat = {.rip = context->rip,
                                        .cr3 = TABLES_BASE,
                                        .linear = linear,
                                        .gpa = DEVICE_BASE + number * PAGE_SIZE +
                                               (linear & (PAGE_SIZE - 1)),
                                        .write = write};
    context->vector = (context->rflags & RFLAGS_TF) != 0 ? VECTOR_DB : VECTOR_BP;
    return guest_access_repeat(&access, &repeat, context->gpr, &context->rip);
}

bool emulated_run(struct context *context, const struct segment *segments, unsigned code_size)
{
    struct exception exception = {0};
    struct emulate_state state = {.gpr = context->gpr,
                                  .rip = context->rip,
                                  .rflags = context->rflags,
                                  .cr0 = CR0_PE | CR0_PG | CR0_WP | CR0_AM,
                                  .code_size = (uint8_t)code_size,
                                  .cpl = 3};
    enum emulate_result result = EMULATE_AGAIN;
    memcpy(state.segment, segments, sizeof(state.segment));
    bool traps = (context->rflags & RFLAGS_TF) != 0;
    for (unsigned i = 0; i < REPETITIONS_MAX && result == EMULATE_AGAIN; i++) {
        result = guest_access_emulate(&access, &state, &exception);
        if (traps)
            break;
    }
    context->rip = state.rip;
    context->rflags = state.rflags;
    context->vector = traps ? VECTOR_DB : VECTOR_BP;
    context->error_code = 0;
    context->cr2 = 0;
    if (result == EMULATE_FAULT) {
        context->vector = exception.vector;
        context->error_code = exception.error_code;
        context->cr2 = exception.cr2;
    }
    return result == EMULATE_DONE || result == EMULATE_FAULT || (traps && result == EMULATE_AGAIN);
}

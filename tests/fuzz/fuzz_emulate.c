/*
 * A whole instruction, from fetch to store, on hostile code, registers, segments and page tables:
 * it ends, touches nothing outside the guest, and where it faults nothing has changed.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/vm/guest_access.h"
#include "tests/fuzz/fuzz.h"

#define RAM_PAGES 12u
#define RAM_SIZE (RAM_PAGES * PAGE_SIZE)
#define DEVICE_PAGE 14u

/* The input; the rest of it is code, then whatever RAM holds. */
struct input {
    uint64_t gpr[GPR_COUNT];
    uint64_t rip;
    uint32_t rflags;
    uint32_t segment_limit[SEG_GS + 1];
    uint16_t segment_access[SEG_GS + 1];
    uint16_t segment_base[SEG_GS + 1];
    uint8_t mode; /* 0: real, 1: protected 16, 2: protected 32, 3: 64-bit */
    uint8_t cpl;
    uint8_t cr0, cr4;
    uint8_t page[32]; /* what each linear page maps: a page number and rights */
    uint8_t assume;
};

static uint8_t ram[RAM_SIZE] ALIGNED(4096), before[RAM_SIZE];
static unsigned device_accesses;

static uint64_t device_read(void *device, uint64_t offset, unsigned size)
{
    (void)device;
    REQUIRE((size == 1 || size == 2 || size == 4 || size == 8) && offset + size <= PAGE_SIZE);
    device_accesses++;
    return offset * 0x0101010101010101ull;
}

static void device_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    (void)value;
    device_read(device, offset, size);
}

static const struct bus_ops device_ops = {device_read, device_write};

/* The input's bytes, over and over. */
static void fill_memory(const uint8_t *data, size_t size)
{
    size_t done = size < RAM_SIZE ? size : RAM_SIZE;
    memcpy(ram, data, done);
    for (size_t chunk; done < RAM_SIZE; done += chunk) {
        chunk = done < RAM_SIZE - done ? done : RAM_SIZE - done;
        memcpy(ram + done, ram, chunk);
    }
}

/* 4-level tables in RAM pages 0 to 3 for the first 32 linear pages, as the input maps them. */
static void make_tables(const struct input *input)
{
    uint64_t entry;
    for (unsigned level = 0; level < 3; level++) {
        entry = (level + 1) * PAGE_SIZE | 7;
        memcpy(ram + level * PAGE_SIZE, &entry, 8);
    }
    for (unsigned i = 0; i < 32; i++) {
        uint64_t page = input->page[i] % 16;
        entry = page << 12 | ((input->page[i] >> 4 & 7) ^ 7);
        if ((input->page[i] & 0x80) != 0)
            entry |= BIT(63);
        memcpy(ram + 3 * PAGE_SIZE + 8 * i, &entry, 8);
    }
}

static void make_state(const struct input *input, struct emulate_state *state, uint64_t *gpr)
{
    static const uint8_t code_sizes[] = {2, 2, 4, 8};
    unsigned mode = input->mode % 4;
    memcpy(gpr, input->gpr, sizeof(input->gpr));
    for (unsigned i = 0; i < GPR_COUNT; i++)
        if ((input->assume >> (i % 8) & 1) != 0)
            gpr[i] %= 32 * PAGE_SIZE;
    *state = (struct emulate_state){.gpr = gpr,
                                    .rip = input->rip % (32 * PAGE_SIZE),
                                    .rflags = (input->rflags & 0x7ffd7) | RFLAGS_FIXED,
                                    .cr0 = (input->cr0 & 1) != 0 ? CR0_WP : 0,
                                    .code_size = code_sizes[mode],
                                    .cpl = mode == 0 ? 0 : input->cpl & 3};
    if (mode != 0)
        state->cr0 |= CR0_PE | ((input->cr0 & 2) != 0 ? CR0_AM : 0);
    if (mode == 3)
        state->cr0 |= CR0_PG;
    if (mode == 3)
        state->rflags &= ~RFLAGS_VM;
    for (unsigned i = 0; i <= SEG_GS; i++)
        state->segment[i] = (struct segment){.base = input->segment_base[i],
                                             .limit = input->segment_limit[i],
                                             .access = input->segment_access[i]};
}

static bool is_string(const struct guest_access *access)
{
    return access->instruction != NULL && access->instruction->operation >= OPERATION_MOVS;
}

/* Page tables may lie where the instruction writes; only then may they have changed on a fault,
 * and by their accessed and dirty flags. */
static void require_unchanged(void)
{
    const unsigned tables = 4 * PAGE_SIZE;
    REQUIRE(memcmp(ram + tables, before + tables, RAM_SIZE - tables) == 0);
    if (memcmp(ram, before, tables) == 0)
        return;
    for (unsigned i = 0; i < tables; i += 8)
        REQUIRE(memcmp(ram + i + 1, before + i + 1, 7) == 0 && ((ram[i] ^ before[i]) & ~0x60) == 0);
}

static void require_outcome(enum emulate_result result, const struct guest_access *access,
                            const struct emulate_state *old, const struct emulate_state *new,
                            const uint64_t *old_gpr, const struct exception *exception)
{
    if (result == EMULATE_DONE) {
        uint64_t next = old->rip + access->instruction->length;
        REQUIRE(new->rip == (old->code_size == 8 ? next : (uint32_t)next));
        return;
    }
    REQUIRE(new->rip == old->rip);
    REQUIRE(access->status != STATUS_OK);
    REQUIRE((result == EMULATE_FAULT) == (access->status == ERR_FAULT));
    if (result == EMULATE_FAULT)
        REQUIRE(exception->vector < 32 && (old->cr0 & CR0_PE || !exception->has_error_code));
    if (is_string(access))
        return;
    REQUIRE(new->rflags == old->rflags);
    REQUIRE(memcmp(new->gpr, old_gpr, GPR_COUNT * sizeof(*old_gpr)) == 0);
    require_unchanged();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct guest_access access;
    struct guest_mem mem = {0};
    static struct bus bus;
    struct emulate_state state, old;
    struct exception exception = {0};
    struct input input;
    uint64_t gpr[GPR_COUNT], old_gpr[GPR_COUNT];
    if (size < sizeof(input) + 1)
        return 0;
    memcpy(&input, data, sizeof(input));
    data += sizeof(input);
    size -= sizeof(input);
    fill_memory(data, size);
    make_tables(&input);
    make_state(&input, &state, gpr);
    memset(&bus, 0, sizeof(bus));
    if (guest_mem_add(&mem, GPA(0), RAM_SIZE, ram) != STATUS_OK ||
        bus_add(&bus, BUS_MMIO, DEVICE_PAGE * PAGE_SIZE, PAGE_SIZE, &device_ops, NULL) != 0 ||
        bus_add(&bus, BUS_PORT, 0x100, 0x1000, &device_ops, NULL) != 0)
        abort();
    guest_access_init(&access, &mem, &bus);
    access.paging = (struct paging){.cr4 = CR4_PAE | ((input.cr4 & 1) != 0 ? CR4_SMAP : 0),
                                    .efer = EFER_LMA | EFER_NXE,
                                    .maxphyaddr = 40};
    access.tr = (struct segment){.base = gpr[GPR_R8], .limit = 0x2067, .access = 0x8b};
    if ((access.tr.base & 1) != 0)
        access.tr.base &= 0xffff;
    else
        access.tr.access = SEGMENT_UNUSABLE;
    /* Twice: the second time what the first one remembered is there. */
    for (unsigned i = 0; i < 2; i++) {
        old = state;
        memcpy(old_gpr, gpr, sizeof(gpr));
        memcpy(before, ram, RAM_SIZE);
        device_accesses = 0;
        enum emulate_result result = guest_access_emulate(&access, &state, &exception);
        require_outcome(result, &access, &old, &state, old_gpr, &exception);
        REQUIRE(device_accesses <= 16 * EMULATE_ITERATIONS_MAX);
        state.rip = old.rip;
    }
    return 0;
}

/*
 * Nothing that the emulator leaves behind comes from memory that nobody wrote: every form of the
 * decoder's tables with every operand size, on RAM, on a device and across the border of both. The
 * device answers with as many bytes as it was asked for; what is above them is poison, and so is
 * everything that the emulator has to fill in. For MemorySanitizer.
 */
#include <sanitizer/msan_interface.h>

#include "kernel/vm/guest_access.h"
#include "tests/check.h"
#include "tests/native/forms.h"

#define RAM_PAGES 8u
#define CODE 0x1000u
#define DEVICE_PAGE 16u
#define BORDER (6 * PAGE_SIZE) /* linear: RAM before it, the device behind it */
#define TABLE 0x5000u          /* guest-physical, of linear 0 to 2 MBytes */

static uint8_t ram[RAM_PAGES * PAGE_SIZE] ALIGNED(4096);
static uint64_t gpr[GPR_COUNT];
static unsigned device_accesses;

static uint64_t device_read(void *device, uint64_t offset, unsigned size)
{
    uint64_t value = 0x8899aabbccddeeff;
    (void)device, (void)offset;
    device_accesses++;
    if (size < 8)
        __msan_poison((uint8_t *)&value + size, 8 - size);
    return value;
}

static void device_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    (void)device, (void)offset, (void)size;
    device_accesses++;
    __msan_check_mem_is_initialized(&value, sizeof(value));
}

static const struct bus_ops device_ops = {device_read, device_write};

static void put_entry(unsigned table, unsigned index, uint64_t entry)
{
    memcpy(ram + table + 8 * index, &entry, 8);
}

/* Linear pages 0 to 5 are RAM's, the two from BORDER on the device. */
static void make_memory(void)
{
    memset(ram, 0x5c, sizeof(ram));
    memset(ram + 0x2000, 0, 4 * PAGE_SIZE);
    put_entry(0x2000, 0, 0x3000 | 7);
    put_entry(0x3000, 0, 0x4000 | 7);
    put_entry(0x4000, 0, TABLE | 7);
    for (unsigned i = 0; i < 6; i++)
        put_entry(TABLE, i, (i < 2 ? i : i + 2 < RAM_PAGES ? i + 2 : 0) * PAGE_SIZE | 7);
    for (unsigned i = 0; i < 2; i++)
        put_entry(TABLE, (unsigned)(BORDER / PAGE_SIZE) + i, (DEVICE_PAGE + i) * PAGE_SIZE | 7);
}

/* The form with its memory operand at [RBX], or at an absolute address. */
static void put_instruction(const struct form *form, const struct cell *cell, uint64_t operand)
{
    uint8_t *at = ram + CODE;
    bool wide = cell->size == (form->opcode.flags & OPCODE_DOUBLE ? 16 : 8);
    memset(at, 0, INSTRUCTION_BYTES_MAX + 1);
    if (cell->size == 2)
        *at++ = 0x66;
    if (cell->address_size == 4)
        *at++ = 0x67;
    if (wide)
        *at++ = 0x48;
    for (unsigned i = 0; i < form->escapes; i++)
        *at++ = form->escape[i];
    *at++ = form->byte;
    if (form->opcode.flags & OPCODE_MODRM)
        *at++ = (uint8_t)((form->extension < 0 ? 1 : form->extension) << 3 | GPR_RBX);
    if (opcode_destination(&form->opcode) == FORM_OFFSET ||
        opcode_source(&form->opcode) == FORM_OFFSET)
        memcpy(at, &operand, cell->address_size);
}

static void check_initialised(const struct emulate_state *state, enum emulate_result result,
                              const struct exception *exception)
{
    __msan_check_mem_is_initialized(gpr, sizeof(gpr));
    __msan_check_mem_is_initialized(&state->rip, sizeof(state->rip));
    __msan_check_mem_is_initialized(&state->rflags, sizeof(state->rflags));
    __msan_check_mem_is_initialized(ram, sizeof(ram));
    if (result != EMULATE_FAULT)
        return;
    __msan_check_mem_is_initialized(&exception->vector, sizeof(exception->vector));
    __msan_check_mem_is_initialized(&exception->has_error_code, 1);
    __msan_check_mem_is_initialized(&exception->error_code, sizeof(exception->error_code));
    __msan_check_mem_is_initialized(&exception->cr2, sizeof(exception->cr2));
}

/* Leaves poison where the calls that follow keep their locals. */
static __attribute__((noinline)) void poison_stack(void)
{
    volatile uint8_t stack[4096];
    __msan_allocated_memory((void *)(uintptr_t)stack, sizeof(stack));
}

static void run_at(struct guest_access *access, const struct cell *cell, uint64_t operand)
{
    struct exception exception;
    struct emulate_state state = {.gpr = gpr,
                                  .rip = CODE,
                                  .rflags = RFLAGS_FIXED,
                                  .cr0 = CR0_PE | CR0_PG | CR0_WP,
                                  .code_size = 8};
    __msan_poison(state.segment, SEG_FS * sizeof(state.segment[0])); /* may be left out */
    __msan_poison(&exception, sizeof(exception));
    make_memory();
    put_instruction(&forms[cell->form], cell, operand);
    for (unsigned i = 0; i < GPR_COUNT; i++)
        gpr[i] = 0x0102030405060708 * i;
    gpr[GPR_RBX] = gpr[GPR_RSI] = gpr[GPR_RDI] = operand;
    gpr[GPR_RCX] = 3;
    gpr[GPR_RSP] = 0x800;
    poison_stack();
    enum emulate_result result = guest_access_emulate(access, &state, &exception);
    CHECK(result == EMULATE_DONE || result == EMULATE_FAULT);
    check_initialised(&state, result, &exception);
}

static void prepare(struct guest_access *access, struct guest_mem *mem, struct bus *bus)
{
    CHECK_EQ(guest_mem_add(mem, GPA(0), sizeof(ram), ram), STATUS_OK);
    CHECK_EQ(bus_add(bus, BUS_MMIO, DEVICE_PAGE * PAGE_SIZE, 2 * PAGE_SIZE, &device_ops, NULL), 0);
    CHECK_EQ(bus_add(bus, BUS_PORT, 0, 0x10000, &device_ops, NULL), 0);
    __msan_poison(access, sizeof(*access));
    guest_access_init(access, mem, bus);
    access->paging = (struct paging){
        .cr3 = 0x2000, .cr4 = CR4_PAE, .efer = EFER_LMA | EFER_LME | EFER_NXE, .maxphyaddr = 40};
}

static void results_are_initialised_at_all_widths(void)
{
    static struct guest_access access;
    static struct guest_mem mem;
    static struct bus bus;
    prepare(&access, &mem, &bus);
    forms_prepare();
    for (unsigned i = 0; i < cell_count; i++) {
        if (cells[i].mode != NATIVE_64)
            continue;
        run_at(&access, &cells[i], 0x40);
        run_at(&access, &cells[i], BORDER + 0x40);
        run_at(&access, &cells[i], BORDER - cells[i].size / 2);
        run_at(&access, &cells[i], BORDER + PAGE_SIZE - 1);
        run_at(&access, &cells[i], BORDER + 2 * PAGE_SIZE); /* not mapped */
    }
    CHECK(device_accesses > 1000);
}

/* The bus itself: nobody there, and accesses over the edge of a range. */
static void bus_answers_are_initialised_at_all_widths(void)
{
    static struct bus bus;
    CHECK_EQ(bus_add(&bus, BUS_MMIO, 0x1001, 6, &device_ops, NULL), 0);
    for (uint64_t at = 0xff0; at < 0x1010; at++) {
        for (unsigned size = 1; size <= 8; size *= 2) {
            uint64_t value = bus_read(&bus, BUS_MMIO, at, size);
            __msan_check_mem_is_initialized(&value, sizeof(value));
            CHECK_EQ(value & ~bits_size_mask(size), 0);
        }
    }
}

TEST_MAIN({"results_are_initialised_at_all_widths", results_are_initialised_at_all_widths},
          {"bus_answers_are_initialised_at_all_widths", bus_answers_are_initialised_at_all_widths})

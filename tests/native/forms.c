#include "tests/native/forms.h"

#include <stdio.h>

#include "tests/check.h"

struct form forms[FORMS_MAX];
unsigned form_count;
struct cell cells[CELLS_MAX];
unsigned cell_count;

static void add_cell(unsigned mode, unsigned size, unsigned address_size)
{
    CHECK(cell_count < CELLS_MAX);
    cells[cell_count++] = (struct cell){.form = (uint16_t)form_count,
                                        .mode = (uint8_t)mode,
                                        .size = (uint8_t)size,
                                        .address_size = (uint8_t)address_size};
}

/* Whether an operand size exists. SDM: the instructions' own pages, and Operand-Size Attribute. */
static bool has_size(uint32_t flags, unsigned mode, unsigned size)
{
    bool wide = mode == NATIVE_64;
    if ((flags & OPCODE_BYTE) != 0)
        return size == 1;
    if ((flags & OPCODE_DOUBLE) != 0)
        return size == 8 || (wide && size == 16);
    if ((flags & OPCODE_STACK) != 0 && wide)
        return size == 2 || size == 8;
    if ((flags & OPCODE_NO_66) != 0)
        return size == 4 || (wide && size == 8);
    if ((flags & OPCODE_PORT) != 0)
        return size == 2 || size == 4;
    return size == 2 || size == 4 || (wide && size == 8);
}

static void add_form(const struct form *form)
{
    uint32_t flags = form->opcode.flags;
    CHECK(form_count < FORMS_MAX);
    forms[form_count] = *form;
    for (unsigned mode = 0; mode < NATIVE_MODES; mode++) {
        if ((flags & (mode == NATIVE_64 ? OPCODE_NOT_64 : OPCODE_64)) != 0)
            continue;
        for (unsigned size = 1; size <= 16; size *= 2) {
            if (!has_size(flags, mode, size))
                continue;
            add_cell(mode, size, forms_code_size(mode));
            add_cell(mode, size, mode == NATIVE_32 ? 2 : 4);
        }
    }
    form_count++;
}

/* What holds for an opcode with a group holds for the group's rows. */
static void add_opcode(const struct opcode *opcode, struct form form)
{
    const uint32_t inherited = opcode->flags & (OPCODE_64 | OPCODE_NOT_64);
    if ((opcode->flags & OPCODE_KNOWN) == 0)
        return;
    form.extension = -1;
    form.opcode = *opcode;
    if ((opcode->flags & OPCODE_GROUP) == 0) {
        add_form(&form);
        return;
    }
    for (unsigned i = 0; i < 8; i++) {
        form.opcode = opcode_groups[opcode->operation][i];
        form.opcode.flags |= inherited;
        form.extension = (int8_t)i;
        if ((form.opcode.flags & OPCODE_KNOWN) != 0)
            add_form(&form);
    }
}

void forms_prepare(void)
{
    for (unsigned i = 0; i < 256; i++)
        add_opcode(&opcode_map_1[i], (struct form){.byte = (uint8_t)i});
    for (unsigned i = 0; i < 256; i++)
        add_opcode(&opcode_map_2[i],
                   (struct form){.escape = {0x0f}, .escapes = 1, .byte = (uint8_t)i});
    for (unsigned i = 0; i < 2; i++)
        add_opcode(
            &opcode_movbe[i],
            (struct form){.escape = {0x0f, 0x38}, .escapes = 2, .byte = (uint8_t)(0xf0 + i)});
}

void forms_keep_64(void)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < cell_count; i++)
        if (cells[i].mode == NATIVE_64)
            cells[kept++] = cells[i];
    cell_count = kept;
}

unsigned forms_code_size(enum native_mode mode)
{
    return mode == NATIVE_64 ? 8 : mode == NATIVE_32 ? 4 : 2;
}

const char *forms_name(const struct form *form)
{
    static char name[24];
    static const char *const escapes[] = {"", "0f ", "0f 38 "};
    int length = snprintf(name, sizeof(name), "%s%02x", escapes[form->escapes], form->byte);
    if (form->extension >= 0)
        snprintf(name + length, sizeof(name) - (size_t)length, " /%d", form->extension);
    return name;
}

bool forms_needs_port(const struct form *form)
{
    return form->opcode.operation == OPERATION_INS || form->opcode.operation == OPERATION_OUTS;
}

static bool is_covered(const struct cell *cell)
{
    return forms_needs_port(&forms[cell->form]) ? cell->faulted > 0 : cell->done > 0;
}

#define LISTED_MAX 10u

static const char *const mode_names[] = {"64", "32", "16"};

static void print_cell(const struct cell *cell)
{
    printf(" %s/%u/%u:%u+%u", mode_names[cell->mode], 8 * cell->size, 8 * cell->address_size,
           cell->done, cell->faulted);
}

unsigned forms_print_coverage(bool whole)
{
    unsigned missing = 0, least = ~0u;
    if (whole)
        printf("# form, then mode/operand bits/address bits: executed to the end + to a fault\n");
    for (unsigned i = 0; i < cell_count; i++) {
        const struct cell *cell = &cells[i];
        unsigned executed = cell->done + cell->faulted;
        bool covered = is_covered(cell), first = i == 0 || cells[i - 1].form != cell->form;
        least = executed < least ? executed : least;
        missing += !covered;
        if (whole) {
            if (first)
                printf("%s# %-9s", i == 0 ? "" : "\n", forms_name(&forms[cell->form]));
            print_cell(cell);
        } else if (!covered && missing <= LISTED_MAX) {
            printf("# never executed: %s", forms_name(&forms[cell->form]));
            print_cell(cell);
            printf("\n");
        }
    }
    printf("%s# %u forms, %u with their modes and sizes, each executed at least %u times\n",
           whole ? "\n" : "", form_count, cell_count, least);
    return missing;
}

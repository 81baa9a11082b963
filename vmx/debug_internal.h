/* What the files of the debugger's engine share, and nobody else. */
#pragma once

#include "vmx/internal.h"

/* debug_table.c: room for as many rows in all, of which the rest cannot fail; a new row, zeroed but
 * for its key (NULL: no memory); the first row of a key, or the next one after a row (NULL: none);
 * all rows gone; after rows have moved; and the memory given back. Rows move when others come. */
enum status MUST_CHECK debug_table_reserve(const struct debug_memory *memory,
                                           struct debug_table *table, uint64_t rows);
void *debug_table_add(const struct debug_memory *memory, struct debug_table *table, uint64_t key);
void *debug_table_find(const struct debug_table *table, uint64_t key, const void *after);
void debug_table_clear(struct debug_table *table);
void debug_table_index(struct debug_table *table);
void debug_table_free(const struct debug_memory *memory, struct debug_table *table);

static inline void *debug_table_row(const struct debug_table *table, uint32_t index)
{
    return table->rows + (size_t)index * table->size;
}

/* debug_tree.c: trees with nothing denied, which share all of own. ERR_NO_MEMORY. */
enum status MUST_CHECK debug_tree_begin(struct debug_points *points, const struct ept *own);

/* Takes rights (EPT_READ, ...) away from the page at gpa, in one of the trees; *changed: it had
 * some of them. ERR_RANGE: no RAM is there; ERR_NO_MEMORY. */
enum status MUST_CHECK debug_tree_deny(struct debug_points *points, struct ept *tree, uint64_t gpa,
                                       uint64_t rights, bool *changed);

/* The entry of the page at gpa, if it is the tree's own; NULL. */
uint64_t *debug_tree_leaf(const struct ept *tree, uint64_t gpa);

/* debug_access.c: the exit, an EPT violation, is one of step_tree's making, and noted. */
bool debug_note_violation(struct vcpu *vcpu);

/* debug_places.c: the page that a point at this address needs, which is walked to when it is new
 * (NULL: no memory); pieces of a new point, wherever it leads now, and of all of them, anew, with
 * the trees denying their pages, or new trees; ERR_NO_MEMORY. */
const struct debug_page *debug_need_page(struct vcpu *vcpu, uint64_t address, bool is_physical);
enum status MUST_CHECK debug_place(struct vcpu *vcpu, uint32_t point);
enum status MUST_CHECK debug_place_all(struct vcpu *vcpu, bool anew);
uint64_t debug_pages_of(const struct debug_point *point);

/* Points find their places anew if the guest's translation has changed; the latter if there are any
 * at linear addresses. */
void debug_check_places(struct vcpu *vcpu);
void debug_refresh(struct vcpu *vcpu);
void debug_read_paging(struct vcpu *vcpu, struct paging *paging);
void debug_warn_of_places(struct vcpu *vcpu);
void debug_flush(void);

/* debug_exit.c: sets what makes the guest exit, as points and catches need it. */
void debug_apply(struct vcpu *vcpu);

/* debug_catch.c: all of an exit but the entry after it, with a look at what is caught; and at an
 * exception that a step has raised. */
void debug_handle_exit(struct vcpu *vcpu);
void debug_see_exception(struct vcpu *vcpu, uint32_t information);

/* debug_catch.c: the guest goes on by single instructions as long as a catch needs that; false:
 * leave it. */
bool debug_run_by_mode(struct vcpu *vcpu);

/* debug_step.c: what has passed since debug.left_at is not the guest's time; and an exception that
 * exited, and that is the guest's. */
void debug_hide_time(struct vcpu *vcpu);

/* debug_step.c: delivers what waits in the entry's fields, and executes nothing. */
void debug_deliver(struct vcpu *vcpu);
void debug_pass_on(struct vcpu *vcpu, uint32_t information);

/* debug_operand.c: how many bytes of memory the instruction accesses at once, at most; DEBUG_XSAVE:
 * all of an XSAVE area. */
#define DEBUG_XSAVE 0xffff
unsigned debug_operand_size(const uint8_t *bytes, unsigned count, unsigned code_size);

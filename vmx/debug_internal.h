/* What the files of the debugger's engine share, and nobody else. */
#pragma once

#include "vmx/internal.h"

/* debug_tree.c: trees with nothing denied, which share all of own. ERR_NO_MEMORY. */
enum status MUST_CHECK debug_tree_begin(struct debug_points *points, const struct ept *own);

/* Takes rights (EPT_READ, ...) away from the page at gpa, in one of the trees; *changed: it had
 * some of them. ERR_RANGE: no RAM is there; ERR_NO_MEMORY: the frames are used up. */
enum status MUST_CHECK debug_tree_deny(struct debug_points *points, struct ept *tree, uint64_t gpa,
                                       uint64_t rights, bool *changed);

/* debug_access.c: the exit, an EPT violation, is one of step_tree's making, and noted. */
bool debug_note_violation(struct vcpu *vcpu);

/* debug_points.c: points find their places anew if the guest's translation has changed. */
void debug_refresh(struct vcpu *vcpu);

/* debug_exit.c: sets what makes the guest exit, as points and catches need it. */
void debug_apply(struct vcpu *vcpu);

/* debug_catch.c: all of an exit but the entry after it, with a look at what is caught; and at an
 * exception that a step has raised. */
void debug_handle_exit(struct vcpu *vcpu);
void debug_see_exception(struct vcpu *vcpu, uint32_t information);

/* debug_step.c: an exception that exited, and that is the guest's. */
void debug_pass_on(struct vcpu *vcpu, uint32_t information);

static inline bool debug_is_active(const struct debug_point *point)
{
    return !point->is_removed && point->is_mapped;
}

/* Breakpoints and watchpoints without limit, and where they lead: see debug.h. */
#include "kernel/core/mem.h"
#include "vmx/debug_internal.h"
#include "vmx/vmx_hw.h"

#define ENTRY_P BIT(0)
#define ENTRY_US BIT(2)
#define ENTRY_FLAGS (BIT(5) | BIT(6)) /* accessed, dirty: they change nothing here */
#define ENTRY_ADDRESS MASK(51, 12)
#define IS_SPACE BIT(0) /* beside the table's address */

/* ---- Paths ---------------------------------------------------------------------------------- */

static void read_paging(struct vcpu *vcpu, struct paging *paging)
{
    vmx_vcpu_get_paging(vcpu, paging);
    paging->cr0 &= CR0_PG;
    paging->cr4 &= CR4_PAE | CR4_PSE;
    paging->efer &= EFER_LMA | EFER_NXE;
}

static bool is_same_paging(const struct paging *a, const struct paging *b)
{
    return a->cr0 == b->cr0 && a->cr3 == b->cr3 && a->cr4 == b->cr4 && a->efer == b->efer &&
           memcmp(a->pdpte, b->pdpte, sizeof(a->pdpte)) == 0;
}

static bool is_pae(const struct paging *paging)
{
    return paging->cr4 & CR4_PAE && !(paging->efer & EFER_LMA);
}

/* The address space that a path is of. SDM: PAE paging's PDPTEs do not tell users' pages. */
static uint64_t space_of(const struct paging *paging, const struct debug_path *path)
{
    uint64_t user = ENTRY_US;
    for (unsigned i = is_pae(paging); i < path->count; i++)
        if (path->value[i] & ENTRY_P)
            user &= path->value[i];
    return path->count != 0 && path->value[0] & ENTRY_P && user != 0
               ? (path->value[0] & ENTRY_ADDRESS) | IS_SPACE
               : 0;
}

static bool is_reachable(const struct paging *paging, uint64_t linear)
{
    return paging->efer & EFER_LMA ? is_canonical(linear) : linear >> 32 == 0;
}

static void walk(const struct vcpu *vcpu, const struct paging *paging, struct debug_path *path)
{
    struct page_walk walked = {0};
    struct exception exception;
    gpa_t gpa;
    uint8_t byte;
    if (is_reachable(paging, path->page))
        page_walk(paging, &vcpu->vm->mem, path->page, &walked);
    else
        walked.why = "";
    path->count = (uint8_t)walked.count;
    for (unsigned i = 0; i < walked.count; i++) {
        path->at[i] = walked.entry[i].at.v;
        path->value[i] = walked.entry[i].value;
    }
    path->space = space_of(paging, path);
    path->is_mapped = walked.why == NULL &&
                      guest_walk(paging, &vcpu->vm->mem, GVA(path->page), GUEST_WALK_PEEK, &gpa,
                                 &exception) == STATUS_OK &&
                      guest_mem_read(&vcpu->vm->mem, gpa, &byte, 1) == STATUS_OK;
    path->gpa = path->is_mapped ? gpa.v : 0;
}

static const struct debug_path *find_path(const struct vcpu *vcpu, struct debug_points *points,
                                          uint64_t linear)
{
    uint64_t page = align_down(linear, PAGE_SIZE);
    unsigned i = 0;
    while (i < points->paths && points->path[i].page != page)
        i++;
    if (i == points->paths) {
        points->path[i].page = page;
        walk(vcpu, &points->paging, &points->path[i]);
        points->paths++;
    }
    return &points->path[i];
}

/* Whether all of them lead where they led: they do as long as no entry has changed. */
static bool paths_stand(const struct vcpu *vcpu, const struct debug_points *points)
{
    unsigned size = points->paging.cr4 & CR4_PAE ? 8 : 4;
    for (unsigned i = 0; i < points->paths; i++) {
        const struct debug_path *path = &points->path[i];
        for (unsigned level = 0; level < path->count; level++) {
            uint64_t now;
            if (guest_mem_load(&vcpu->vm->mem, GPA(path->at[level]), size, &now) != STATUS_OK ||
                (now ^ path->value[level]) & ~ENTRY_FLAGS)
                return false;
        }
    }
    return true;
}

/* ---- The tree ------------------------------------------------------------------------------- */

/* What its page lacks. Not to be read means not to be written either; and not to be executed where
 * the processor knows no pages for that alone. SDM: IA32_VMX_EPT_VPID_CAP. */
static uint64_t denied_by(const struct vcpu *vcpu, const struct debug_point *point)
{
    bool execute_only = vmx_of(vcpu)->cpu->capabilities.ept_vpid & EPT_CAP_EXECUTE_ONLY;
    if (point->kind == DEBUG_EXECUTE)
        return EPT_EXECUTE;
    if (point->kind == DEBUG_WRITE)
        return EPT_WRITE;
    return EPT_READ | EPT_WRITE | (execute_only ? 0 : EPT_EXECUTE);
}

static enum status deny_point(const struct vcpu *vcpu, struct debug_points *points,
                              const struct debug_point *point, bool *changed)
{
    uint64_t rights = denied_by(vcpu, point);
    enum status status = debug_tree_deny(points, &points->ept, point->gpa, rights, changed);
    if (status == STATUS_OK && point->kind != DEBUG_EXECUTE)
        status = debug_tree_deny(points, &points->data, point->gpa, rights, changed);
    return status;
}

/* Where no RAM is any more, since the local APIC has moved there, nothing is to be met. */
static enum status deny_all(const struct vcpu *vcpu, struct debug_points *points, bool *changed)
{
    enum status status = STATUS_OK;
    for (unsigned i = 0; i < points->paths; i++)
        for (unsigned level = 0; status != ERR_NO_MEMORY && level < points->path[i].count; level++)
            status = debug_tree_deny(points, &points->ept, points->path[i].at[level], EPT_WRITE,
                                     changed);
    for (unsigned i = 0; status != ERR_NO_MEMORY && i < points->count; i++)
        if (debug_is_active(&points->point[i]))
            status = deny_point(vcpu, points, &points->point[i], changed);
    return status == ERR_RANGE ? STATUS_OK : status;
}

static void flush(void)
{
    vmx_hw_invept(INVEPT_ALL_CONTEXT, 0);
}

/* Once for each gdb. */
static void warn_of_places(struct vcpu *vcpu)
{
    struct debug_points *points = vmx_of(vcpu)->debug.points;
    if (!points->is_short)
        log_warn("%s: breakpoints lie in too many places: some will not be met", vcpu->vm->name);
    points->is_short = true;
}

/* Denies what is to be denied now; what was before stays so, which costs exits at most, unless
 * there is no room left or it is to be anew. */
static enum status update(struct vcpu *vcpu, bool anew)
{
    struct debug_points *points = vmx_of(vcpu)->debug.points;
    bool changed = anew;
    enum status status = anew ? ERR_NO_MEMORY : deny_all(vcpu, points, &changed);
    if (status == ERR_NO_MEMORY) {
        status = debug_tree_begin(points, &vmx_of(vcpu)->vm->used);
        if (status == STATUS_OK)
            status = deny_all(vcpu, points, &changed);
    }
    if (changed)
        flush();
    return status;
}

void debug_renew_points(struct vcpu *vcpu)
{
    if (vmx_of(vcpu)->debug.points->used == 0)
        return;
    if (update(vcpu, true) != STATUS_OK)
        warn_of_places(vcpu);
    debug_apply(vcpu);
}

/* ---- Places --------------------------------------------------------------------------------- */

static void place(const struct vcpu *vcpu, struct debug_points *points, struct debug_point *point)
{
    if (point->is_physical)
        return;
    const struct debug_path *path = find_path(vcpu, points, point->address);
    /* Without paging, and where the page is a supervisor's, there is no other to be apart from. */
    point->is_mapped =
        path->is_mapped && (point->space == 0 || path->space == 0 || point->space == path->space);
    point->gpa = path->gpa + point->address % PAGE_SIZE;
}

static void place_all(const struct vcpu *vcpu, struct debug_points *points)
{
    points->paths = 0;
    for (unsigned i = 0; i < points->count; i++)
        if (!points->point[i].is_removed)
            place(vcpu, points, &points->point[i]);
}

void debug_refresh(struct vcpu *vcpu)
{
    struct debug_points *points = vmx_of(vcpu)->debug.points;
    struct paging now;
    if (points == NULL || points->linear == 0)
        return;
    read_paging(vcpu, &now);
    if (is_same_paging(&now, &points->paging) && paths_stand(vcpu, points))
        return;
    points->paging = now;
    place_all(vcpu, points);
    if (update(vcpu, false) != STATUS_OK)
        warn_of_places(vcpu);
}

/* ---- Points --------------------------------------------------------------------------------- */

void debug_use_points(struct vcpu *vcpu, struct debug_points *points)
{
    vmx_of(vcpu)->debug.points = points;
    if (points != NULL) {
        points->count = points->active = points->linear = points->watched = 0;
        points->paths = points->used = 0;
        points->is_short = false;
    }
    debug_apply(vcpu);
    flush();
    state_write_dr7(vcpu, vmcs_read(VMCS_GUEST_DR7)); /* exits look for points now, or no longer */
}

static bool is_same(const struct debug_point *a, const struct debug_point *b)
{
    return a->kind == b->kind && a->type == b->type && a->size == b->size &&
           a->address == b->address;
}

static struct debug_point *find(struct debug_points *points, const struct debug_point *wanted)
{
    for (unsigned i = 0; i < points->count; i++)
        if (is_same(&points->point[i], wanted))
            return &points->point[i];
    return NULL;
}

/* True: there were some. */
static bool forget_removed(struct debug_points *points)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < points->count; i++)
        if (!points->point[i].is_removed)
            points->point[kept++] = points->point[i];
    bool some = kept != points->count;
    points->count = kept;
    return some;
}

static void count(struct debug_points *points, const struct debug_point *point, unsigned one)
{
    points->active += one;
    points->linear += point->is_physical ? 0 : one;
    points->watched += point->kind == DEBUG_EXECUTE ? 0 : one;
}

/* Its gpa, if it is not for place to find; or what is wrong with it. */
static enum status check(const struct vcpu *vcpu, struct debug_point *point)
{
    uint8_t byte;
    if (point->size == 0 || point->size > DEBUG_POINT_BYTES ||
        point->address % PAGE_SIZE + point->size > PAGE_SIZE)
        return ERR_RANGE;
    point->is_mapped = point->is_physical;
    point->gpa = point->address;
    point->space = 0;
    return point->is_physical ? guest_mem_read(&vcpu->vm->mem, GPA(point->gpa), &byte, 1)
                              : STATUS_OK;
}

static enum status begin(struct vcpu *vcpu, struct debug_points *points)
{
    if (points->active == 0) {
        points->used = points->paths = 0;
        read_paging(vcpu, &points->paging);
    }
    debug_refresh(vcpu);
    return points->used != 0 ? STATUS_OK : debug_tree_begin(points, &vmx_of(vcpu)->vm->used);
}

/* One that was removed comes back as what it was. */
static struct debug_point *make_room(const struct vcpu *vcpu, struct debug_points *points,
                                     const struct debug_point *wanted)
{
    struct debug_point *point = find(points, wanted);
    if (point != NULL)
        return point;
    if (points->count == DEBUG_POINTS_MAX) {
        if (!forget_removed(points))
            return NULL;
        place_all(vcpu, points); /* their paths, too */
    }
    point = &points->point[points->count++];
    *point = *wanted;
    if (!point->is_physical)
        point->space = find_path(vcpu, points, point->address)->space;
    return point;
}

enum status debug_add_point(struct vcpu *vcpu, const struct debug_point *wanted)
{
    struct debug_points *points = vmx_of(vcpu)->debug.points;
    struct debug_point copy = *wanted;
    if (points == NULL)
        return ERR_NO_SPACE;
    struct debug_point *point = find(points, wanted);
    if (point != NULL && !point->is_removed)
        return STATUS_OK; /* gdb: inserting twice is inserting once */
    enum status status = check(vcpu, &copy);
    if (status == STATUS_OK)
        status = begin(vcpu, points);
    if (status != STATUS_OK)
        return status;
    point = make_room(vcpu, points, &copy);
    if (point == NULL)
        return ERR_NO_SPACE;
    point->is_removed = false;
    count(points, point, 1);
    place(vcpu, points, point);
    status = update(vcpu, false);
    if (status != STATUS_OK)
        (void)!debug_remove_point(vcpu, point);
    debug_apply(vcpu);
    return status;
}

enum status debug_remove_point(struct vcpu *vcpu, const struct debug_point *wanted)
{
    struct debug_points *points = vmx_of(vcpu)->debug.points;
    struct debug_point *point = points != NULL ? find(points, wanted) : NULL;
    if (point == NULL || point->is_removed)
        return ERR_NOT_FOUND;
    point->is_removed = true;
    count(points, point, -1u);
    if (points->active == 0)
        debug_apply(vcpu);
    return STATUS_OK;
}

void debug_settle_points(struct vcpu *vcpu)
{
    struct debug_points *points = vmx_of(vcpu)->debug.points;
    if (points == NULL || vmx_of(vcpu)->debug.steps || !forget_removed(points) ||
        points->active == 0)
        return;
    place_all(vcpu, points);
    (void)!update(vcpu, true);
}

void debug_reset(struct vcpu *vcpu)
{
    static const struct debug_stop stop = {.reason = DEBUG_STEPPED};
    struct vmx_debug *debug = &vmx_of(vcpu)->debug;
    struct debug_points *points = debug->points;
    debug->cr0_mask = vmcs_read(VMCS_CR0_GUEST_HOST_MASK);
    debug->cr4_mask = vmcs_read(VMCS_CR4_GUEST_HOST_MASK);
    debug->exceptions = (uint32_t)vmcs_read(VMCS_EXCEPTION_BITMAP);
    if (__atomic_exchange_n(&debug->forgets_at_start, false, __ATOMIC_SEQ_CST)) {
        debug->points = points = NULL;
        debug_remove_catches(vcpu, true);
    }
    if (points != NULL) {
        for (unsigned i = 0; i < points->count; i++)
            points->point[i].space = 0; /* it is gone */
        read_paging(vcpu, &points->paging);
        place_all(vcpu, points);
        (void)!update(vcpu, true);
    }
    debug_apply(vcpu);
    if (debug->stops_at_start)
        debug_stop(vcpu, &stop);
    debug->stops_at_start = false;
}

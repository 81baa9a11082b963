/* Breakpoints and watchpoints without limit: see debug.h. */
#include "kernel/core/mem.h"
#include "vmx/debug_internal.h"

/* That all points cover, one by one: each change of page tables walks to all of them, and nobody
 * waits for more than that. */
#define PAGES_MAX (1u << 16)

/* ---- Their memory --------------------------------------------------------------------------- */

static void release(struct debug_points *points)
{
    const struct debug_memory *memory = &points->memory;
    for (uint32_t i = 0; i < points->frames.count; i++) {
        const struct debug_row *row = debug_table_row(&points->frames, i);
        memory->give(memory->context, HPA(row->key), 1);
    }
    if (points->before.v != 0)
        memory->give(memory->context, points->before, DEBUG_ACCESSES_MAX);
    debug_table_free(memory, &points->frames);
    debug_table_free(memory, &points->point);
    debug_table_free(memory, &points->page);
    debug_table_free(memory, &points->piece);
    debug_table_free(memory, &points->link);
}

static void begin_empty(struct debug_points *points)
{
    *points = (struct debug_points){
        .memory = points->memory,
        .generation = points->generation + 1,
        .frames.size = sizeof(struct debug_row),
        .point.size = sizeof(struct debug_point),
        .page.size = sizeof(struct debug_page),
        .piece.size = sizeof(struct debug_piece),
        .link.size = sizeof(struct debug_link),
    };
}

/* No point is in force. */
static void give_back(struct vcpu *vcpu, struct debug_points *points)
{
    vmx_of(vcpu)->debug.step_tree = NULL; /* a step may be under way */
    debug_apply(vcpu);
    debug_flush();
    release(points);
    begin_empty(points);
}

static void leave(struct vcpu *vcpu, struct debug_points *points)
{
    vmx_of(vcpu)->debug.points = NULL;
    give_back(vcpu, points);
}

void debug_use_points(struct vcpu *vcpu, struct debug_points *points)
{
    struct vmx_debug *debug = &vmx_of(vcpu)->debug;
    if (debug->points != NULL)
        leave(vcpu, debug->points);
    if (points != NULL) {
        release(points); /* of a guest that is no more */
        begin_empty(points);
    }
    debug->points = points;
    debug_apply(vcpu);
    state_write_dr7(vcpu, vmcs_read(VMCS_GUEST_DR7)); /* exits look for points now, or no longer */
}

/* ---- Points --------------------------------------------------------------------------------- */

static struct debug_point *find(const struct debug_points *points, const struct debug_point *wanted)
{
    struct debug_point *point = debug_table_find(&points->point, wanted->row.key, NULL);
    while (point != NULL &&
           (point->kind != wanted->kind || point->type != wanted->type ||
            point->size != wanted->size || point->is_physical != wanted->is_physical))
        point = debug_table_find(&points->point, wanted->row.key, point);
    return point;
}

/* True: there were some. */
static bool forget_removed(struct debug_points *points)
{
    struct debug_table *table = &points->point;
    uint32_t kept = 0;
    points->covered = 0;
    for (uint32_t i = 0; i < table->count; i++) {
        const struct debug_point *point = debug_table_row(table, i);
        if (point->is_removed)
            continue;
        points->covered += debug_pages_of(point);
        if (kept != i)
            memcpy(debug_table_row(table, kept), point, sizeof(*point));
        kept++;
    }
    if (kept == table->count)
        return false;
    table->count = kept;
    debug_table_index(table);
    return true;
}

static void count(struct debug_points *points, const struct debug_point *point, unsigned one)
{
    points->active += one;
    points->linear += point->is_physical ? 0 : one;
    points->watched += point->kind == DEBUG_EXECUTE ? 0 : one;
}

static bool is_sound(const struct vcpu *vcpu, const struct debug_point *point)
{
    uint64_t last = point->row.key + (point->size - 1);
    return point->size != 0 && last >= point->row.key &&
           !(point->is_physical && last >> cpuid_maxphyaddr(&vcpu->cpuid));
}

/* Nobody has looked while there were none. */
static enum status begin(struct vcpu *vcpu, struct debug_points *points)
{
    if (points->used == 0) {
        debug_read_paging(vcpu, &points->paging);
        return debug_place_all(vcpu, true);
    }
    points->is_touched |= points->active == 0;
    debug_check_places(vcpu);
    return STATUS_OK;
}

/* Room for all pages, whether they are mapped now or later; and for copies of those with watched
 * data that an instruction is about to access. */
static enum status make_room(struct debug_points *points, const struct debug_point *wanted)
{
    const struct debug_memory *memory = &points->memory;
    uint64_t pages = debug_pages_of(wanted);
    if (pages > PAGES_MAX || points->covered + pages > PAGES_MAX)
        return ERR_NO_MEMORY;
    enum status status = debug_table_reserve(memory, &points->piece, points->covered + pages);
    if (status == STATUS_OK)
        status = debug_table_reserve(memory, &points->page, points->page.count + pages);
    if (status == STATUS_OK && points->before.v == 0 && wanted->kind != DEBUG_EXECUTE)
        status = memory->take(memory->context, DEBUG_ACCESSES_MAX, &points->before);
    return status == STATUS_OK ? STATUS_OK : ERR_NO_MEMORY;
}

static enum status add_new(struct vcpu *vcpu, const struct debug_point *wanted)
{
    struct debug_points *points = vmx_of(vcpu)->debug.points;
    uint64_t address = wanted->row.key;
    if (make_room(points, wanted) != STATUS_OK)
        return ERR_NO_MEMORY;
    const struct debug_page *page = debug_need_page(vcpu, address, wanted->is_physical);
    uint64_t space = page != NULL ? page->space : 0;
    struct debug_point *point =
        page != NULL ? debug_table_add(&points->memory, &points->point, address) : NULL;
    if (point == NULL)
        return ERR_NO_MEMORY;
    struct debug_row row = point->row;
    *point = *wanted;
    point->row = row;
    point->space = space;
    points->covered += debug_pages_of(point);
    return debug_place(vcpu, points->point.count - 1);
}

/* As if the last one had never come. */
static void drop_last(struct debug_points *points)
{
    points->covered -= debug_pages_of(debug_table_row(&points->point, --points->point.count));
    debug_table_index(&points->point);
}

/* What a point has left behind that there was no memory for. */
static void tidy(struct vcpu *vcpu, struct debug_points *points)
{
    if (points->point.count == 0)
        give_back(vcpu, points);
    else if (points->used != 0 && debug_place_all(vcpu, false) != STATUS_OK)
        debug_warn_of_places(vcpu);
}

/* One that was removed comes back as what it was. */
enum status debug_add_point(struct vcpu *vcpu, const struct debug_point *wanted)
{
    struct debug_points *points = vmx_of(vcpu)->debug.points;
    if (points == NULL)
        return ERR_NO_MEMORY;
    struct debug_point *point = find(points, wanted);
    if (point != NULL && !point->is_removed)
        return STATUS_OK; /* gdb: inserting twice is inserting once */
    if (!is_sound(vcpu, wanted))
        return ERR_RANGE;
    uint32_t before = points->point.count;
    enum status status = begin(vcpu, points);
    if (status == STATUS_OK && point == NULL)
        status = add_new(vcpu, wanted);
    if (status == STATUS_OK) {
        point = find(points, wanted); /* rows may have moved */
        point->is_removed = false;
        count(points, point, 1);
    } else {
        if (points->point.count != before)
            drop_last(points);
        tidy(vcpu, points);
    }
    debug_apply(vcpu);
    return status;
}

enum status debug_remove_point(struct vcpu *vcpu, const struct debug_point *wanted)
{
    struct debug_points *points = vmx_of(vcpu)->debug.points;
    struct debug_point *point = points != NULL ? find(points, wanted) : NULL;
    struct debug_point other = *wanted;
    other.is_physical = !wanted->is_physical; /* of addresses it may have been set by before */
    if (points != NULL && (point == NULL || point->is_removed))
        point = find(points, &other);
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
    if (points == NULL || vmx_of(vcpu)->debug.steps || !forget_removed(points))
        return;
    if (points->point.count == 0) {
        give_back(vcpu, points);
        return;
    }
    points->used = 0;
    if (points->active != 0 && debug_place_all(vcpu, true) != STATUS_OK)
        debug_warn_of_places(vcpu);
    debug_apply(vcpu);
}

/* Where that fails, the points are in force no more: see debug_apply. */
void debug_renew_points(struct vcpu *vcpu)
{
    struct debug_points *points = vmx_of(vcpu)->debug.points;
    if (points->used != 0 && debug_place_all(vcpu, true) != STATUS_OK)
        debug_warn_of_places(vcpu);
    debug_apply(vcpu);
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
        debug_use_points(vcpu, NULL);
        debug_remove_catches(vcpu, true);
        points = NULL;
    }
    if (points != NULL)
        points->used = 0; /* the trees share tables that the VM may not have any more */
    if (points != NULL && points->point.count != 0) {
        for (uint32_t i = 0; i < points->point.count; i++) /* it is gone */
            ((struct debug_point *)debug_table_row(&points->point, i))->space = 0;
        debug_read_paging(vcpu, &points->paging);
        if (debug_place_all(vcpu, true) != STATUS_OK)
            debug_warn_of_places(vcpu);
    }
    debug_apply(vcpu);
    if (debug->stops_at_start)
        debug_stop(vcpu, &stop);
    debug->stops_at_start = false;
}

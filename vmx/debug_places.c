/*
 * Where the addresses of points lead: see debug.h. A point has a piece for each page that it covers
 * and that is mapped, so that an access is looked up by its guest-physical address, however many
 * points there are and however large.
 */
#include "kernel/core/mem.h"
#include "vmx/debug_internal.h"
#include "vmx/vmx_hw.h"

#define ENTRY_P BIT(0)
#define ENTRY_US BIT(2)
#define ENTRY_FLAGS (BIT(5) | BIT(6)) /* accessed, dirty: they change nothing here */
#define ENTRY_ADDRESS MASK(51, 12)
#define IS_SPACE BIT(0) /* beside the table's address */

/* Of links, compared at an exit after which nobody says that the guest wrote to any. */
#define LINKS_AT_ONCE 64u

/* What is denied in vain, since points have left the place, is given back after so many changes. */
#define REPLACEMENTS_MAX 64

static struct debug_points *points_of(const struct vcpu *vcpu)
{
    return vmx_of(vcpu)->debug.points;
}

/* ---- The tree ------------------------------------------------------------------------------- */

/* What its page lacks. Not to be read means not to be written either; and not to be executed where
 * the processor knows no pages for that alone. SDM: IA32_VMX_EPT_VPID_CAP. */
static uint64_t denied_by(const struct vcpu *vcpu, uint8_t kind)
{
    bool execute_only = vmx_of(vcpu)->cpu->capabilities.ept_vpid & EPT_CAP_EXECUTE_ONLY;
    if (kind == DEBUG_EXECUTE)
        return EPT_EXECUTE;
    if (kind == DEBUG_WRITE)
        return EPT_WRITE;
    return EPT_READ | EPT_WRITE | (execute_only ? 0 : EPT_EXECUTE);
}

/* Where no RAM is, or none any more since the local APIC has moved there, accesses exit anyway. */
static enum status deny(struct debug_points *points, uint64_t gpa, uint64_t rights, bool data,
                        bool *changed)
{
    if (gpa >> 48) /* beyond what a tree of four levels maps */
        return STATUS_OK;
    enum status status = debug_tree_deny(points, &points->ept, gpa, rights, changed);
    if (status == STATUS_OK && data)
        status = debug_tree_deny(points, &points->data, gpa, rights, changed);
    return status == ERR_RANGE ? STATUS_OK : status;
}

static enum status deny_piece(const struct vcpu *vcpu, const struct debug_piece *piece,
                              bool *changed)
{
    struct debug_points *points = points_of(vcpu);
    uint64_t key = piece->row.key, page = key & ENTRY_ADDRESS;
    if (key & DEBUG_PAGE_TABLE)
        return deny(points, page, EPT_WRITE, true, changed);
    const struct debug_point *point = debug_table_row(&points->point, piece->point);
    return deny(points, page, denied_by(vcpu, point->kind), point->kind != DEBUG_EXECUTE, changed);
}

void debug_flush(void)
{
    vmx_hw_invept(INVEPT_ALL_CONTEXT, 0);
}

/* ---- Pages ---------------------------------------------------------------------------------- */

void debug_read_paging(struct vcpu *vcpu, struct paging *paging)
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

/* The address space that a page is of. SDM: PAE paging's PDPTEs do not tell users' pages. */
static uint64_t space_of(const struct paging *paging, const struct page_walk *walked)
{
    uint64_t user = ENTRY_US, first = walked->entry[0].value;
    for (unsigned i = is_pae(paging); i < walked->count; i++)
        if (walked->entry[i].value & ENTRY_P)
            user &= walked->entry[i].value;
    return walked->count != 0 && first & ENTRY_P && user != 0 ? (first & ENTRY_ADDRESS) | IS_SPACE
                                                              : 0;
}

static bool is_reachable(const struct paging *paging, uint64_t linear)
{
    return paging->efer & EFER_LMA ? is_canonical(linear) : linear >> 32 == 0;
}

/* The entry's page cannot be written unseen from now on. */
static enum status add_link(const struct vcpu *vcpu, const struct page_walk_entry *entry,
                            bool *changed)
{
    struct debug_points *points = points_of(vcpu);
    uint64_t table = align_down(entry->at.v, PAGE_SIZE) | DEBUG_PAGE_TABLE;
    if (debug_table_find(&points->link, entry->at.v, NULL) != NULL)
        return STATUS_OK;
    struct debug_link *link = debug_table_add(&points->memory, &points->link, entry->at.v);
    if (link == NULL)
        return ERR_NO_MEMORY;
    link->value = entry->value;
    if (debug_table_find(&points->piece, table, NULL) != NULL)
        return STATUS_OK;
    const struct debug_piece *piece = debug_table_add(&points->memory, &points->piece, table);
    return piece != NULL ? deny_piece(vcpu, piece, changed) : ERR_NO_MEMORY;
}

static enum status walk(struct vcpu *vcpu, struct debug_page *page, bool *changed)
{
    const struct paging *paging = &points_of(vcpu)->paging;
    struct page_walk walked;
    struct exception exception;
    uint64_t linear = page->row.key;
    enum status status = STATUS_OK;
    gpa_t gpa;
    if (!is_reachable(paging, linear))
        return STATUS_OK;
    page_walk(paging, &vcpu->vm->mem, linear, &walked);
    page->space = space_of(paging, &walked);
    page->is_mapped =
        walked.why == NULL && guest_walk(paging, &vcpu->vm->mem, GVA(linear), GUEST_WALK_PEEK, &gpa,
                                         &exception) == STATUS_OK;
    page->gpa = page->is_mapped ? gpa.v : 0;
    for (unsigned i = 0; status == STATUS_OK && i < walked.count; i++)
        status = add_link(vcpu, &walked.entry[i], changed);
    return status;
}

static struct debug_page *need_page(struct vcpu *vcpu, uint64_t address, bool is_physical,
                                    bool *changed)
{
    struct debug_points *points = points_of(vcpu);
    uint64_t first = align_down(address, PAGE_SIZE);
    uint64_t key = first | (is_physical ? DEBUG_IS_PHYSICAL : 0);
    struct debug_page *page = debug_table_find(&points->page, key, NULL);
    if (page != NULL)
        return page;
    page = debug_table_add(&points->memory, &points->page, key);
    if (page == NULL)
        return NULL;
    page->gpa = first;
    page->is_mapped = is_physical;
    return is_physical || walk(vcpu, page, changed) == STATUS_OK ? page : NULL;
}

const struct debug_page *debug_need_page(struct vcpu *vcpu, uint64_t address, bool is_physical)
{
    bool changed = false;
    const struct debug_page *page = need_page(vcpu, address, is_physical, &changed);
    if (changed)
        debug_flush();
    return page;
}

/* ---- Pieces --------------------------------------------------------------------------------- */

uint64_t debug_pages_of(const struct debug_point *point)
{
    uint64_t first = point->row.key / PAGE_SIZE;
    return (point->row.key + (point->size - 1)) / PAGE_SIZE - first + 1;
}

/* Without paging, and where the page is a supervisor's, there is no other to be apart from. */
static bool is_in_space(const struct debug_point *point, const struct debug_page *page)
{
    return point->space == 0 || page->space == 0 || point->space == page->space;
}

static enum status add_piece(struct vcpu *vcpu, uint32_t index, uint64_t address,
                             const struct debug_page *page, bool *changed)
{
    struct debug_points *points = points_of(vcpu);
    const struct debug_point *point = debug_table_row(&points->point, index);
    uint64_t offset = address % PAGE_SIZE, left = point->size - (address - point->row.key);
    uint64_t key =
        point->kind == DEBUG_EXECUTE ? (page->gpa + offset) | DEBUG_BREAKPOINT : page->gpa;
    struct debug_piece *piece = debug_table_add(&points->memory, &points->piece, key);
    if (piece == NULL)
        return ERR_NO_MEMORY;
    piece->point = index;
    piece->offset = (uint16_t)offset;
    piece->count = (uint16_t)(left < PAGE_SIZE - offset ? left : PAGE_SIZE - offset);
    piece->address = address;
    return deny_piece(vcpu, piece, changed);
}

static enum status place(struct vcpu *vcpu, uint32_t index, bool *changed)
{
    struct debug_points *points = points_of(vcpu);
    const struct debug_point *point = debug_table_row(&points->point, index);
    uint64_t address = point->row.key, pages = debug_pages_of(point);
    enum status status = STATUS_OK;
    for (; status == STATUS_OK && pages > 0; pages--) {
        const struct debug_page *page = need_page(vcpu, address, point->is_physical, changed);
        if (page == NULL)
            return ERR_NO_MEMORY;
        if (page->is_mapped && is_in_space(point, page))
            status = add_piece(vcpu, index, address, page, changed);
        address = align_down(address, PAGE_SIZE) + PAGE_SIZE;
    }
    return status;
}

enum status debug_place(struct vcpu *vcpu, uint32_t point)
{
    bool changed = false;
    enum status status = place(vcpu, point, &changed);
    if (changed)
        debug_flush();
    return status;
}

/* What was denied before stays so, which costs exits at most, unless the trees are made anew. */
enum status debug_place_all(struct vcpu *vcpu, bool anew)
{
    struct debug_points *points = points_of(vcpu);
    bool changed = anew;
    enum status status = anew ? debug_tree_begin(points, &vmx_of(vcpu)->vm->used) : STATUS_OK;
    debug_table_clear(&points->page);
    debug_table_clear(&points->link);
    debug_table_clear(&points->piece);
    points->is_touched = false;
    points->looked = 0;
    for (uint32_t i = 0; status == STATUS_OK && i < points->point.count; i++)
        status = place(vcpu, i, &changed);
    if (changed)
        debug_flush();
    return status;
}

/* ---- Changes -------------------------------------------------------------------------------- */

/* Whether links lead where they led: all of them if the guest may have written to one. What others
 * write is seen soon, a part at each exit. */
static bool links_stand(const struct vcpu *vcpu, struct debug_points *points)
{
    unsigned size = points->paging.cr4 & CR4_PAE ? 8 : 4;
    uint32_t count = points->link.count, left = count;
    if (!points->is_touched && left > LINKS_AT_ONCE)
        left = LINKS_AT_ONCE;
    points->is_touched = false;
    for (; left > 0; left--) {
        uint64_t now;
        points->looked = points->looked < count ? points->looked : 0;
        const struct debug_link *link = debug_table_row(&points->link, points->looked++);
        if (guest_mem_load(&vcpu->vm->mem, GPA(link->row.key), size, &now) != STATUS_OK ||
            (now ^ link->value) & ~ENTRY_FLAGS)
            return false;
    }
    return true;
}

/* Once for each gdb. */
void debug_warn_of_places(struct vcpu *vcpu)
{
    struct debug_points *points = points_of(vcpu);
    if (!points->is_short)
        log_warn("%s: no memory is left for breakpoints: some will not be met", vcpu->vm->name);
    points->is_short = true;
}

void debug_check_places(struct vcpu *vcpu)
{
    struct debug_points *points = points_of(vcpu);
    struct paging now;
    debug_read_paging(vcpu, &now);
    if (is_same_paging(&now, &points->paging) && links_stand(vcpu, points))
        return;
    points->paging = now;
    if (debug_place_all(vcpu, ++points->replacements > REPLACEMENTS_MAX) != STATUS_OK)
        debug_warn_of_places(vcpu);
}

void debug_refresh(struct vcpu *vcpu)
{
    const struct debug_points *points = points_of(vcpu);
    if (points != NULL && points->linear != 0)
        debug_check_places(vcpu);
}

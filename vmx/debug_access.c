/* What an access to a page with points comes to: see debug.h. */
#include "kernel/core/mem.h"
#include "kernel/vm/decode.h"
#include "vmx/debug_internal.h"

/* SDM: Exit Qualification for EPT Violations; the first three are as the rights in an entry. */
#define VIOLATION_READ BIT(0)
#define VIOLATION_WRITE BIT(1)
#define VIOLATION_FETCH BIT(2)
#define VIOLATION_KINDS (VIOLATION_READ | VIOLATION_WRITE | VIOLATION_FETCH)
#define VIOLATION_FINAL BIT(8)

static uint64_t linear_of(uint64_t rip)
{
    return state_is_64bit() ? rip : (uint32_t)(vmcs_read(VMCS_GUEST_CS_BASE) + rip);
}

/* Where RIP leads; false: to a page fault, or to no RAM. */
static bool find_code(struct vcpu *vcpu, uint64_t linear, uint64_t *gpa)
{
    struct paging paging;
    struct exception exception;
    gpa_t found;
    vmx_vcpu_get_paging(vcpu, &paging);
    if (guest_walk(&paging, &vcpu->vm->mem, GVA(linear), GUEST_WALK_PEEK, &found, &exception) !=
        STATUS_OK)
        return false;
    *gpa = found.v;
    return true;
}

static bool is_active(const struct debug_points *points, const struct debug_piece *piece)
{
    return !((const struct debug_point *)debug_table_row(&points->point, piece->point))->is_removed;
}

/* The breakpoint at RIP, but for one at which the guest stood before. */
static const struct debug_point *find_breakpoint(struct vcpu *vcpu, uint64_t rip)
{
    struct debug_points *points = vmx_of(vcpu)->debug.points;
    const struct debug_piece *piece = NULL;
    uint64_t linear = linear_of(rip), gpa;
    bool skips = points->skip == linear && linear != 0;
    points->skip = 0;
    if (skips || !find_code(vcpu, linear, &gpa))
        return NULL;
    while ((piece = debug_table_find(&points->piece, gpa | DEBUG_BREAKPOINT, piece)) != NULL) {
        const struct debug_point *point = debug_table_row(&points->point, piece->point);
        if (is_active(points, piece) && (point->is_physical || point->row.key == linear))
            return point;
    }
    return NULL;
}

/* gdb steps over a breakpoint by itself where it finds it at its program counter, which is RIP,
 * without the base of CS. */
static void stop_at_breakpoint(struct vcpu *vcpu, const struct debug_point *point, uint64_t rip)
{
    struct debug_points *points = vmx_of(vcpu)->debug.points;
    struct debug_stop stop = {.reason = DEBUG_AT_POINT,
                              .type = point->type,
                              .is_at_rip = point->row.key == rip,
                              .address = point->row.key};
    if (!stop.is_at_rip)
        points->skip = linear_of(rip);
    debug_stop(vcpu, &stop);
}

/* ---- Data ----------------------------------------------------------------------------------- */

/* SDM: CPUID leaf 0DH: of the area for what XCR0 has on. */
static unsigned xsave_size(const struct vcpu *vcpu)
{
    const struct cpuid_result *leaf = cpuid_find(&vcpu->cpuid, 0xd, 0);
    return leaf != NULL ? leaf->ebx : 512 + 64;
}

/* How many bytes the instruction at RIP accesses. */
static unsigned access_size(struct vcpu *vcpu, uint64_t rip)
{
    uint8_t bytes[INSTRUCTION_BYTES_MAX];
    unsigned count = debug_fetch(vcpu, rip, bytes);
    unsigned size =
        debug_operand_size(bytes, count,
                           decode_code_size(vmcs_read(VMCS_GUEST_IA32_EFER),
                                            (uint32_t)vmcs_read(VMCS_GUEST_CS_ACCESS_RIGHTS)));
    return size == DEBUG_XSAVE ? xsave_size(vcpu) : size;
}

#define COMPARED_BYTES 64u

/* The first byte from `first` on that is not what it was in a copy of the page; end: none. */
static unsigned find_change(const struct guest_mem *mem, uint64_t page, const uint8_t *before,
                            unsigned first, unsigned end)
{
    uint8_t now[COMPARED_BYTES];
    while (first < end) {
        unsigned count = end - first < COMPARED_BYTES ? end - first : COMPARED_BYTES, i = 0;
        if (guest_mem_read(mem, GPA(page + first), now, count) != STATUS_OK)
            return end;
        while (i < count && now[i] == before[first + i])
            i++;
        first += i;
        if (i < count)
            break;
    }
    return first;
}

/* The first byte of the piece that the access meets, or that it has changed; PAGE_SIZE: none. */
static unsigned meets(const struct vcpu *vcpu, const struct debug_piece *piece,
                      const struct data_access *access, const uint8_t *before)
{
    static const uint8_t kinds[] = {[DEBUG_WRITE] = VIOLATION_WRITE,
                                    [DEBUG_READ] = VIOLATION_READ,
                                    [DEBUG_ACCESS] = VIOLATION_READ | VIOLATION_WRITE};
    const struct debug_point *point =
        debug_table_row(&vmx_of(vcpu)->debug.points->point, piece->point);
    unsigned offset = access->gpa % PAGE_SIZE, end = piece->offset + piece->count;
    unsigned first = offset > piece->offset ? offset : piece->offset;
    if (point->is_removed)
        return PAGE_SIZE;
    if (kinds[point->kind] & access->kinds && first < end && first - offset < access->size)
        return first;
    if (point->kind == DEBUG_READ || before == NULL)
        return PAGE_SIZE;
    first =
        find_change(&vcpu->vm->mem, align_down(access->gpa, PAGE_SIZE), before, piece->offset, end);
    return first < end ? first : PAGE_SIZE;
}

/* Stops at the first watchpoint that is met. */
static bool judge(struct vcpu *vcpu, const struct data_access *access, const uint8_t *before)
{
    const struct debug_points *points = vmx_of(vcpu)->debug.points;
    const struct debug_piece *piece = NULL;
    uint64_t page = align_down(access->gpa, PAGE_SIZE);
    while ((piece = debug_table_find(&points->piece, page, piece)) != NULL) {
        unsigned first = meets(vcpu, piece, access, before);
        if (first == PAGE_SIZE)
            continue;
        const struct debug_point *point = debug_table_row(&points->point, piece->point);
        struct debug_stop stop = {.reason = DEBUG_AT_POINT,
                                  .type = point->type,
                                  .address = piece->address + (first - piece->offset)};
        debug_stop(vcpu, &stop);
        return true;
    }
    return false;
}

void debug_see_access(void *context, uint64_t linear, unsigned size, bool write)
{
    struct vcpu *vcpu = context;
    struct paging paging;
    struct exception exception;
    if (vmx_of(vcpu)->debug.points->watched == 0)
        return;
    vmx_vcpu_get_paging(vcpu, &paging);
    while (size > 0) {
        unsigned in_page = PAGE_SIZE - linear % PAGE_SIZE, piece = size < in_page ? size : in_page;
        gpa_t gpa;
        if (guest_walk(&paging, &vcpu->vm->mem, GVA(linear), GUEST_WALK_PEEK, &gpa, &exception) ==
            STATUS_OK) {
            struct data_access access = {gpa.v, write ? VIOLATION_WRITE : VIOLATION_READ, piece};
            if (judge(vcpu, &access, NULL))
                return;
        }
        linear += piece;
        size -= piece;
    }
}

/* ---- An instruction by itself --------------------------------------------------------------- */

static uint8_t *copy_at(const struct debug_points *points, unsigned i)
{
    const struct debug_memory *memory = &points->memory;
    return points->before.v == 0
               ? NULL
               : (uint8_t *)memory->map(memory->context, points->before) + i * PAGE_SIZE;
}

/* What lets this access pass: a page that is written can be read. SDM: EPT Misconfigurations. */
static uint64_t rights_for(uint64_t entry, uint64_t kinds)
{
    uint64_t wanted = kinds & VIOLATION_WRITE ? EPT_WRITE | EPT_READ : EPT_READ;
    return entry & (wanted | EPT_EXECUTE);
}

/* The VM's own tree lets it pass. */
static bool is_denied_here(const struct vcpu *vcpu, uint64_t gpa, uint64_t kinds, uint64_t *entry)
{
    uint64_t size;
    return ept_walk(&vmx_of(vcpu)->vm->used, GPA(gpa), entry, &size) == STATUS_OK &&
           !(kinds & ~*entry);
}

/* Lets it pass in the tree of the instruction, and keeps what is there before it. False: it is one
 * of too many. */
static bool note(struct vcpu *vcpu, const struct data_access *access, uint64_t kinds,
                 uint64_t entry)
{
    struct debug_points *points = vmx_of(vcpu)->debug.points;
    struct debug_accesses *met = &points->met;
    uint64_t page = align_down(access->gpa, PAGE_SIZE);
    if (kinds & VIOLATION_WRITE &&
        debug_table_find(&points->piece, page | DEBUG_PAGE_TABLE, NULL) != NULL)
        points->is_touched = true;
    uint64_t *leaf = debug_tree_leaf(&points->data, page);
    if (met->count == DEBUG_ACCESSES_MAX || leaf == NULL) {
        met->is_more = true;
        return false;
    }
    unsigned i = met->count++;
    met->access[i] = *access;
    met->leaf[i] = leaf;
    met->denied[i] = *leaf;
    *leaf |= rights_for(entry, kinds);
    uint8_t *copy = copy_at(points, i);
    if (copy != NULL)
        (void)!guest_mem_read(&vcpu->vm->mem, GPA(page), copy, PAGE_SIZE);
    return true;
}

static struct data_access read_access(struct vcpu *vcpu, uint64_t rip, uint64_t gpa,
                                      uint64_t qualification)
{
    struct data_access access = {.gpa = gpa};
    if (qualification & VIOLATION_FINAL) {
        access.kinds = qualification & (VIOLATION_READ | VIOLATION_WRITE);
        access.size = access_size(vcpu, rip);
    }
    return access;
}

/* Repetitions are looked at one by one from the first access on. */
bool debug_note_violation(struct vcpu *vcpu)
{
    struct vmx_debug *debug = &vmx_of(vcpu)->debug;
    uint64_t gpa = vmcs_read(VMCS_GUEST_PHYSICAL_ADDRESS), entry;
    uint64_t qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);
    uint64_t kinds = qualification & VIOLATION_KINDS;
    if (!is_denied_here(vcpu, gpa, kinds, &entry))
        return false;
    struct data_access access = read_access(vcpu, vmcs_read(VMCS_GUEST_RIP), gpa, qualification);
    debug->takes_whole = false;
    if (!note(vcpu, &access, kinds, entry))
        debug->step_tree = NULL;
    return true;
}

/* All is denied again. */
static void restore(struct debug_points *points)
{
    struct debug_accesses *met = &points->met;
    if (met->count == 0)
        return;
    for (unsigned i = met->count; i-- > 0;)
        *met->leaf[i] = met->denied[i];
    debug_flush();
}

/* The instruction at RIP by itself, and whether what it did met a watchpoint. */
static bool execute_watched(struct vcpu *vcpu, const struct data_access *access, uint64_t kinds,
                            uint64_t entry)
{
    struct vmx_debug *debug = &vmx_of(vcpu)->debug;
    struct debug_points *points = debug->points;
    unsigned generation = points->generation;
    points->met.count = 0;
    points->met.is_more = false;
    debug->takes_whole = !debug->steps && kinds == 0;
    debug->step_tree = kinds == 0 || note(vcpu, access, kinds, entry) ? &points->data : NULL;
    debug_execute(vcpu);
    debug->takes_whole = false;
    /* An interrupt of the machine may have come meanwhile, and with it a debugger that takes its
     * points away. */
    if (debug->points != points || points->generation != generation)
        return false;
    restore(points);
    points->is_touched |= points->met.is_more;
    for (unsigned i = 0; i < points->met.count; i++)
        if (judge(vcpu, &points->met.access[i], copy_at(points, i)))
            return true;
    return false;
}

/* No RAM is there: who carries the access out sees it. */
static bool stop_at_device(struct vcpu *vcpu, uint64_t rip, uint64_t gpa, uint64_t qualification)
{
    if (qualification & VIOLATION_FETCH) {
        const struct debug_point *point = find_breakpoint(vcpu, rip);
        if (point != NULL)
            stop_at_breakpoint(vcpu, point, rip);
        return point != NULL;
    }
    struct data_access access = read_access(vcpu, rip, gpa, qualification);
    (void)judge(vcpu, &access, NULL);
    return false;
}

bool debug_take_violation(struct vcpu *vcpu, uint64_t rip, uint64_t gpa, uint64_t qualification)
{
    struct vmx_debug *debug = &vmx_of(vcpu)->debug;
    uint64_t kinds = qualification & VIOLATION_KINDS, entry;
    if (debug->points->active == 0)
        return false;
    if (!is_denied_here(vcpu, gpa, kinds, &entry))
        return stop_at_device(vcpu, rip, gpa, qualification);
    if (debug->is_stepping)
        return false;
    if (!debug->looks)
        debug->left_at = hw_rdtsc();
    struct data_access access = {.gpa = gpa};
    if (qualification & VIOLATION_FETCH) {
        const struct debug_point *point = find_breakpoint(vcpu, rip);
        if (point != NULL) {
            stop_at_breakpoint(vcpu, point, rip);
            return true;
        }
        kinds = 0;
    } else {
        access = read_access(vcpu, rip, gpa, qualification);
    }
    (void)execute_watched(vcpu, &access, kinds, entry);
    return true;
}

/* A step that gdb asked for. Breakpoints in its way count from its second instruction on. */
bool debug_step_over_point(struct vcpu *vcpu, uint64_t rip)
{
    struct vmx_debug *debug = &vmx_of(vcpu)->debug;
    static const struct data_access none = {0};
    debug->left_at = hw_rdtsc();
    if (debug->points == NULL || debug->points->active == 0 || debug->points->used == 0) {
        debug_execute(vcpu);
        return true;
    }
    debug_refresh(vcpu);
    const struct debug_point *point = find_breakpoint(vcpu, rip);
    if (point != NULL && debug->has_stepped) {
        stop_at_breakpoint(vcpu, point, rip);
        return false;
    }
    debug->has_stepped = true;
    return !execute_watched(vcpu, &none, 0, 0);
}

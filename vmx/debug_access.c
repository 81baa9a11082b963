/* What an access to a page with points comes to: see debug.h. */
#include "kernel/core/mem.h"
#include "kernel/vm/decode.h"
#include "vmx/debug_internal.h"

/* Bytes that an instruction which the decoder does not know may access. */
#define ACCESS_UNKNOWN 16

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

/* The breakpoint at RIP, but for one at which the guest stood before. */
static const struct debug_point *find_breakpoint(struct vcpu *vcpu, uint64_t rip)
{
    struct debug_points *points = vmx_of(vcpu)->debug.points;
    uint64_t linear = linear_of(rip), gpa;
    bool skips = points->skip == linear && linear != 0;
    points->skip = 0;
    if (skips || !find_code(vcpu, linear, &gpa))
        return NULL;
    for (unsigned i = 0; i < points->count; i++) {
        const struct debug_point *point = &points->point[i];
        if (point->kind == DEBUG_EXECUTE && debug_is_active(point) && point->gpa == gpa &&
            (point->is_physical || point->address == linear))
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
                              .is_at_rip = point->address == rip,
                              .address = point->address};
    if (!stop.is_at_rip)
        points->skip = linear_of(rip);
    debug_stop(vcpu, &stop);
}

static bool is_watched(const struct debug_point *point)
{
    return point->kind != DEBUG_EXECUTE && debug_is_active(point);
}

static void look_before(struct vcpu *vcpu)
{
    struct debug_points *points = vmx_of(vcpu)->debug.points;
    for (unsigned i = 0; i < points->count; i++)
        if (is_watched(&points->point[i]))
            (void)!guest_mem_read(&vcpu->vm->mem, GPA(points->point[i].gpa), points->before[i],
                                  points->point[i].size);
}

static bool has_changed(struct vcpu *vcpu, unsigned i)
{
    const struct debug_points *points = vmx_of(vcpu)->debug.points;
    uint8_t now[DEBUG_POINT_BYTES];
    return guest_mem_read(&vcpu->vm->mem, GPA(points->point[i].gpa), now, points->point[i].size) ==
               STATUS_OK &&
           memcmp(now, points->before[i], points->point[i].size) != 0;
}

/* How many bytes the instruction at RIP accesses. */
static unsigned access_size(struct vcpu *vcpu, uint64_t rip)
{
    uint8_t bytes[INSTRUCTION_BYTES_MAX];
    struct instruction instruction;
    struct exception exception;
    unsigned count = debug_fetch(vcpu, rip, bytes);
    unsigned code_size = decode_code_size(vmcs_read(VMCS_GUEST_IA32_EFER),
                                          (uint32_t)vmcs_read(VMCS_GUEST_CS_ACCESS_RIGHTS));
    if (decode_instruction(bytes, count, code_size, &instruction, &exception) != STATUS_OK)
        return ACCESS_UNKNOWN;
    if (instruction.destination.kind == OPERAND_MEMORY)
        return instruction.destination.size;
    if (instruction.source.kind == OPERAND_MEMORY)
        return instruction.source.size;
    return instruction.size;
}

static bool is_met(struct vcpu *vcpu, const struct data_access *access, unsigned i)
{
    const struct debug_point *point = &vmx_of(vcpu)->debug.points->point[i];
    static const uint64_t kinds[] = {[DEBUG_WRITE] = VIOLATION_WRITE,
                                     [DEBUG_READ] = VIOLATION_READ,
                                     [DEBUG_ACCESS] = VIOLATION_READ | VIOLATION_WRITE};
    if (!is_watched(point))
        return false;
    bool overlaps = access->gpa < point->gpa ? point->gpa - access->gpa < access->size
                                             : access->gpa - point->gpa < point->size;
    return (overlaps && kinds[point->kind] & access->kinds) ||
           (point->kind != DEBUG_READ && has_changed(vcpu, i));
}

/* The VM's own tree lets it pass. */
static bool is_denied_here(const struct vcpu *vcpu, uint64_t gpa, uint64_t kinds)
{
    uint64_t entry, size;
    return ept_walk(&vmx_of(vcpu)->vm->used, GPA(gpa), &entry, &size) == STATUS_OK &&
           !(kinds & ~entry);
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

bool debug_note_violation(struct vcpu *vcpu)
{
    uint64_t gpa = vmcs_read(VMCS_GUEST_PHYSICAL_ADDRESS);
    uint64_t qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);
    if (!is_denied_here(vcpu, gpa, qualification & VIOLATION_KINDS))
        return false;
    vmx_of(vcpu)->debug.met = read_access(vcpu, vmcs_read(VMCS_GUEST_RIP), gpa, qualification);
    return true;
}

/* The instruction at RIP by itself, and whether what it did met a watchpoint. */
static bool execute_watched(struct vcpu *vcpu, const struct data_access *access)
{
    struct vmx_debug *debug = &vmx_of(vcpu)->debug;
    look_before(vcpu);
    debug->met = *access;
    debug->takes_whole = !debug->steps && debug->points->watched == 0;
    debug->step_tree =
        access->kinds == 0 && debug->points->watched != 0 ? &debug->points->data : NULL;
    debug_execute(vcpu);
    debug->takes_whole = false;
    /* An interrupt of the machine may have come meanwhile, and with it a debugger that takes its
     * points away. */
    const struct debug_points *points = debug->points;
    for (unsigned i = 0; points != NULL && i < points->count; i++) {
        if (!is_met(vcpu, &debug->met, i))
            continue;
        struct debug_stop stop = {.reason = DEBUG_AT_POINT,
                                  .type = points->point[i].type,
                                  .address = points->point[i].address};
        debug_stop(vcpu, &stop);
        return true;
    }
    return false;
}

bool debug_take_violation(struct vcpu *vcpu, uint64_t rip, uint64_t gpa, uint64_t qualification)
{
    const struct vmx_debug *debug = &vmx_of(vcpu)->debug;
    if (debug->is_stepping || debug->points->active == 0 ||
        !is_denied_here(vcpu, gpa, qualification & VIOLATION_KINDS))
        return false;
    struct data_access access = {.gpa = gpa};
    if (qualification & VIOLATION_FETCH) {
        const struct debug_point *point = find_breakpoint(vcpu, rip);
        if (point != NULL) {
            stop_at_breakpoint(vcpu, point, rip);
            return true;
        }
    } else {
        access = read_access(vcpu, rip, gpa, qualification);
    }
    (void)execute_watched(vcpu, &access);
    return true;
}

/* A step that gdb asked for. Breakpoints in its way count from its second instruction on. */
bool debug_step_over_point(struct vcpu *vcpu, uint64_t rip)
{
    struct vmx_debug *debug = &vmx_of(vcpu)->debug;
    static const struct data_access none = {0};
    if (debug->points == NULL || debug->points->active == 0) {
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
    return !execute_watched(vcpu, &none);
}

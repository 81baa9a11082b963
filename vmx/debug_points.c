/* Breakpoints and watchpoints without limit: see debug.h. */
#include "kernel/core/mem.h"
#include "kernel/vm/decode.h"
#include "vmx/internal.h"
#include "vmx/vmx_hw.h"

#define LEVELS 4
#define ENTRIES 512
#define ACCESS_UNKNOWN                                                                             \
    16 /* bytes that an instruction which the decoder does not know may access                     \
        */

/* SDM: Exit Qualification for EPT Violations. */
#define VIOLATION_READ BIT(0)
#define VIOLATION_WRITE BIT(1)
#define VIOLATION_FETCH BIT(2)
#define VIOLATION_FINAL BIT(8)

/* ---- The tree ------------------------------------------------------------------------------- */

static uint64_t *table_at(const struct ept *ept, hpa_t table)
{
    return ept->ports.map(ept->ports.context, table);
}

static unsigned shift_of(unsigned level)
{
    return PAGE_SHIFT + 9 * (level - 1);
}

static bool is_own(const struct debug_points *points, uint64_t frame)
{
    return frame - points->frames.v < DEBUG_FRAMES * PAGE_SIZE;
}

static enum status take_frame(struct debug_points *points, hpa_t *frame)
{
    if (points->used == DEBUG_FRAMES)
        return ERR_NO_MEMORY;
    *frame = HPA(points->frames.v + points->used++ * PAGE_SIZE);
    return STATUS_OK;
}

/* The table below an entry of this level becomes the tree's own: a copy, or a large page's pieces.
 */
static enum status make_own(struct debug_points *points, uint64_t *entry, unsigned level)
{
    hpa_t frame;
    enum status status = take_frame(points, &frame);
    if (status != STATUS_OK)
        return status;
    uint64_t *table = table_at(&points->ept, frame);
    if (!(*entry & EPT_LARGE)) {
        memcpy(table, table_at(&points->ept, HPA(*entry & EPT_ADDRESS)), PAGE_SIZE);
    } else {
        uint64_t piece = level == 2 ? *entry & ~EPT_LARGE : *entry;
        for (unsigned i = 0; i < ENTRIES; i++)
            table[i] = piece + ((uint64_t)i << shift_of(level - 1));
    }
    *entry = frame.v | EPT_READ | EPT_WRITE | EPT_EXECUTE;
    return STATUS_OK;
}

static enum status deny(struct debug_points *points, uint64_t gpa, uint64_t access)
{
    hpa_t table = points->ept.root;
    for (unsigned level = LEVELS; level > 1; level--) {
        uint64_t *entry = &table_at(&points->ept, table)[gpa >> shift_of(level) & (ENTRIES - 1)];
        if (*entry == 0)
            return ERR_RANGE;
        if (*entry & EPT_LARGE || !is_own(points, *entry & EPT_ADDRESS)) {
            enum status status = make_own(points, entry, level);
            if (status != STATUS_OK)
                return status;
        }
        table.v = *entry & EPT_ADDRESS;
    }
    uint64_t *leaf = &table_at(&points->ept, table)[gpa >> PAGE_SHIFT & (ENTRIES - 1)];
    *leaf &= ~access;
    return *leaf & EPT_ADDRESS ? STATUS_OK : ERR_RANGE;
}

/* What its page lacks. Not to be read means not to be written either; and not to be executed where
 * the processor knows no pages for that alone. SDM: IA32_VMX_EPT_VPID_CAP. */
static uint64_t denied_by(const struct vcpu *vcpu, const struct debug_point *point)
{
    bool execute_only = vmx_of(vcpu)->cpu->capabilities.ept_vpid & BIT(0);
    if (point->kind == DEBUG_EXECUTE)
        return EPT_EXECUTE;
    if (point->kind == DEBUG_WRITE)
        return EPT_WRITE;
    return EPT_READ | EPT_WRITE | (execute_only ? 0 : EPT_EXECUTE);
}

/* From nothing: points come and go only while the guest stands. */
static enum status build(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = vmx_of(vcpu);
    struct debug_points *points = vmx->debug.points;
    const struct ept *own = &vmx->vm->ept;
    points->used = 0;
    points->ept = *own;
    enum status status = take_frame(points, &points->ept.root);
    if (status == STATUS_OK)
        memcpy(table_at(own, points->ept.root), table_at(own, own->root), PAGE_SIZE);
    for (unsigned i = 0; status == STATUS_OK && i < points->count; i++)
        status = deny(points, points->point[i].gpa, denied_by(vcpu, &points->point[i]));
    vmcs_write(VMCS_EPT_POINTER, ept_pointer(points->count != 0 ? &points->ept : own));
    vmx_hw_invept(INVEPT_ALL_CONTEXT, 0);
    return status;
}

void debug_use_points(struct vcpu *vcpu, struct debug_points *points)
{
    struct vmx_vcpu *vmx = vmx_of(vcpu);
    vmx->debug.points = points;
    if (points != NULL)
        points->count = 0;
    vmcs_write(VMCS_EPT_POINTER, ept_pointer(&vmx->vm->ept));
    vmx_hw_invept(INVEPT_ALL_CONTEXT, 0);
    state_write_dr7(vcpu, vmcs_read(VMCS_GUEST_DR7)); /* exits look for points now, or no longer */
}

static bool is_same(const struct debug_point *a, const struct debug_point *b)
{
    return a->type == b->type && a->size == b->size && a->address == b->address;
}

static struct debug_point *find(struct debug_points *points, const struct debug_point *wanted)
{
    for (unsigned i = 0; i < points->count; i++)
        if (is_same(&points->point[i], wanted))
            return &points->point[i];
    return NULL;
}

static enum status resolve(struct vcpu *vcpu, struct debug_point *point)
{
    struct paging paging;
    struct exception exception;
    gpa_t gpa = GPA(point->address);
    uint8_t byte;
    if (point->size == 0 || point->size > DEBUG_POINT_BYTES ||
        point->address % PAGE_SIZE + point->size > PAGE_SIZE)
        return ERR_RANGE;
    vmx_vcpu_get_paging(vcpu, &paging);
    if (!point->is_physical) {
        enum status status = guest_walk(&paging, &vcpu->vm->mem, GVA(point->address),
                                        GUEST_WALK_PEEK, &gpa, &exception);
        if (status != STATUS_OK)
            return status;
    }
    point->gpa = gpa.v;
    return guest_mem_read(&vcpu->vm->mem, gpa, &byte, 1);
}

enum status debug_add_point(struct vcpu *vcpu, const struct debug_point *wanted)
{
    struct debug_points *points = vmx_of(vcpu)->debug.points;
    struct debug_point point = *wanted;
    if (points == NULL)
        return ERR_NO_SPACE;
    if (find(points, wanted) != NULL)
        return STATUS_OK; /* gdb: inserting twice is inserting once */
    if (points->count == DEBUG_POINTS_MAX)
        return ERR_NO_SPACE;
    enum status status = resolve(vcpu, &point);
    if (status != STATUS_OK)
        return status;
    points->point[points->count++] = point;
    status = build(vcpu);
    if (status != STATUS_OK) {
        points->count--;
        (void)!build(vcpu);
    }
    return status;
}

enum status debug_remove_point(struct vcpu *vcpu, const struct debug_point *wanted)
{
    struct debug_points *points = vmx_of(vcpu)->debug.points;
    struct debug_point *point = points != NULL ? find(points, wanted) : NULL;
    if (point == NULL)
        return ERR_NOT_FOUND;
    *point = points->point[--points->count];
    return build(vcpu);
}

/* ---- Accesses ------------------------------------------------------------------------------- */

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
        if (point->kind == DEBUG_EXECUTE && point->gpa == gpa &&
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

static void look_before(struct vcpu *vcpu)
{
    struct debug_points *points = vmx_of(vcpu)->debug.points;
    for (unsigned i = 0; i < points->count; i++)
        if (points->point[i].kind != DEBUG_EXECUTE)
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

/* An access to data, as its exit tells of it. */
struct data_access {
    uint64_t gpa, kinds; /* VIOLATION_READ, VIOLATION_WRITE; 0: none */
    unsigned size;
};

static bool is_met(struct vcpu *vcpu, const struct data_access *access, unsigned i)
{
    const struct debug_point *point = &vmx_of(vcpu)->debug.points->point[i];
    static const uint64_t kinds[] = {[DEBUG_WRITE] = VIOLATION_WRITE,
                                     [DEBUG_READ] = VIOLATION_READ,
                                     [DEBUG_ACCESS] = VIOLATION_READ | VIOLATION_WRITE};
    if (point->kind == DEBUG_EXECUTE)
        return false;
    bool overlaps = access->gpa < point->gpa ? point->gpa - access->gpa < access->size
                                             : access->gpa - point->gpa < point->size;
    return (overlaps && kinds[point->kind] & access->kinds) ||
           (point->kind != DEBUG_READ && has_changed(vcpu, i));
}

/* The instruction at RIP by itself, and whether what it did met a watchpoint. */
static bool execute_watched(struct vcpu *vcpu, const struct data_access *access)
{
    look_before(vcpu);
    debug_execute(vcpu);
    /* An interrupt of the machine may have come meanwhile, and with it a debugger that takes its
     * points away. */
    const struct debug_points *points = vmx_of(vcpu)->debug.points;
    for (unsigned i = 0; points != NULL && i < points->count; i++) {
        if (!is_met(vcpu, access, i))
            continue;
        struct debug_stop stop = {.reason = DEBUG_AT_POINT,
                                  .type = points->point[i].type,
                                  .address = points->point[i].address};
        debug_stop(vcpu, &stop);
        return true;
    }
    return false;
}

static bool is_pointed_at(const struct debug_points *points, uint64_t gpa)
{
    for (unsigned i = 0; i < points->count; i++)
        if ((points->point[i].gpa ^ gpa) >> PAGE_SHIFT == 0)
            return true;
    return false;
}

bool debug_take_violation(struct vcpu *vcpu, uint64_t rip, uint64_t gpa, uint64_t qualification)
{
    const struct vmx_debug *debug = &vmx_of(vcpu)->debug;
    if (debug->is_stepping || !is_pointed_at(debug->points, gpa))
        return false;
    struct data_access access = {.gpa = gpa};
    if (qualification & VIOLATION_FETCH) {
        const struct debug_point *point = find_breakpoint(vcpu, rip);
        if (point != NULL) {
            stop_at_breakpoint(vcpu, point, rip);
            return true;
        }
    } else if (qualification & VIOLATION_FINAL) {
        access.kinds = qualification & (VIOLATION_READ | VIOLATION_WRITE);
        access.size = access_size(vcpu, rip);
    }
    (void)execute_watched(vcpu, &access);
    return true;
}

/* A step that gdb asked for. Breakpoints in its way count from its second instruction on. */
bool debug_step_over_point(struct vcpu *vcpu, uint64_t rip)
{
    struct vmx_debug *debug = &vmx_of(vcpu)->debug;
    static const struct data_access none = {0};
    if (debug->points == NULL || debug->points->count == 0) {
        debug_execute(vcpu);
        return true;
    }
    const struct debug_point *point = find_breakpoint(vcpu, rip);
    if (point != NULL && debug->has_stepped) {
        stop_at_breakpoint(vcpu, point, rip);
        return false;
    }
    debug->has_stepped = true;
    return !execute_watched(vcpu, &none);
}

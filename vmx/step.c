/*
 * One instruction that the emulator does not know, on an address without RAM, by the processor
 * itself: a far return from a stack that is not there, LGDT from a device, a vector load. It is
 * entered for a single step with EPT of its own, which has a page of the monitor's there, and all
 * that it raises exits before it is delivered. What it reads is what the bus answers; what it
 * stores is thrown away where nobody answers, stays in a device that is memory, and ends the guest
 * elsewhere, since a page does not tell what was stored.
 */
#include "kernel/core/hw.h"
#include "kernel/core/mem.h"
#include "kernel/core/paging.h"
#include "kernel/vm/decode_table.h"
#include "vmx/internal.h"
#include "vmx/vmx_hw.h"

/* How much of a device is read, from the first byte of the access on: more than any far return or
 * table register takes. */
#define DEVICE_BYTES 64

#define POPF 0x9d
#define INT_N 0xcd
#define IRET 0xcf
#define SYSCALL 0x0f05

#define TRAP (EVENT_HARDWARE_EXCEPTION << 8 | VECTOR_DB)
#define WINDOWS (CONTROL_INTERRUPT_WINDOW_EXITING | CONTROL_NMI_WINDOW_EXITING)

struct step {
    struct vcpu *vcpu;
    const struct ept *own; /* the VM's, */
    struct ept ept;        /* and with the pages of the step */
    unsigned frames;       /* of VMX_STEP_FRAMES, used */
    /* The guest's own, while it steps. */
    uint64_t rflags, shadow, traps, debugctl;
};

static void *map_frame(void *context, hpa_t frame)
{
    const struct ept *own = ((const struct step *)context)->own;
    return own->ports.map(own->ports.context, frame);
}

static enum status take_frame(void *context, hpa_t *frame)
{
    struct step *step = context;
    if (step->frames == VMX_STEP_FRAMES)
        return ERR_NO_MEMORY;
    *frame = HPA(vmx_of(step->vcpu)->step_frames.v + step->frames++ * PAGE_SIZE);
    memset(map_frame(step, *frame), 0, PAGE_SIZE);
    return STATUS_OK;
}

/* ---- Pages ---- */

static const struct bus_range *find_device(const struct bus *bus, uint64_t page)
{
    for (unsigned i = 0; i < bus->count[BUS_MMIO]; i++) {
        const struct bus_range *range = &bus->range[BUS_MMIO][i];
        if (range->base - page < PAGE_SIZE || page - range->base < range->length)
            return range;
    }
    return NULL;
}

/* With what a device answers where the access may mean it, and all ones beside. */
static void fill(struct bus *bus, uint8_t *data, uint64_t gpa)
{
    uint64_t page = align_down(gpa, PAGE_SIZE), first = align_down(gpa, 4);
    memset(data, 0xff, PAGE_SIZE);
    for (uint64_t at = first; at - first < DEVICE_BYTES && at - page < PAGE_SIZE; at += 4) {
        uint32_t word = (uint32_t)bus_read(bus, BUS_MMIO, at, 4);
        memcpy(data + (at - page), &word, 4);
    }
}

/* What is to be at page, and whether it may be stored to. */
static enum status choose_frame(struct step *step, uint64_t gpa, hpa_t *frame, bool *writable)
{
    struct vm *vm = step->vcpu->vm;
    uint64_t page = align_down(gpa, PAGE_SIZE);
    const struct bus_range *device = find_device(&vm->bus, page);
    *writable = true;
    if (device != NULL && device->ops == &bus_memory_ops) {
        uint8_t *const *memory = device->device;
        *frame = virt_to_phys(*memory + (page - device->base));
        return STATUS_OK;
    }
    *writable = device == NULL;
    enum status status = take_frame(step, frame);
    if (status == STATUS_OK)
        fill(&vm->bus, map_frame(step, *frame), gpa);
    return status;
}

/* False: there is RAM, or what the step has already, but not for this access; or it needs too much.
 */
static bool lend(struct step *step, uint64_t gpa)
{
    struct vm *vm = step->vcpu->vm;
    uint64_t page = align_down(gpa, PAGE_SIZE), access = EPT_READ | EPT_EXECUTE, byte;
    hpa_t frame;
    bool writable;
    if (guest_mem_load(&vm->mem, GPA(gpa), 1, &byte) == STATUS_OK)
        return false;
    spinlock_acquire(&vm->lock);
    enum status status = choose_frame(step, gpa, &frame, &writable);
    spinlock_release(&vm->lock);
    if (status != STATUS_OK)
        return false;
    return ept_overlay_map(step->own, &step->ept, GPA(page), frame,
                           writable ? access | EPT_WRITE : access) == STATUS_OK;
}

/* ---- The step ---- */

/* Lets the guest execute one instruction; false: the entry failed. Afterwards the VMCS tells of the
 * exit, and its guest's state is what the exit saved. */
static bool enter(const struct step *step)
{
    struct vcpu *vcpu = step->vcpu;
    const struct vmx_vcpu *vmx = vmx_of(vcpu);
    uint64_t host_rsp = vmcs_read(VMCS_HOST_RSP), host_rip = vmcs_read(VMCS_HOST_RIP);
    uint64_t exceptions = vmcs_read(VMCS_EXCEPTION_BITMAP), ept = vmcs_read(VMCS_EPT_POINTER);
    vmcs_write(VMCS_GUEST_RFLAGS, step->rflags | RFLAGS_TF);
    vmcs_write(VMCS_GUEST_INTERRUPTIBILITY_STATE, step->shadow & ~BLOCKING_BY_SHADOW);
    vmcs_write(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS, 0);
    vmcs_write(VMCS_GUEST_IA32_DEBUGCTL, 0);
    vmcs_write(VMCS_PROCESSOR_BASED_CONTROLS, vmx->primary & ~WINDOWS);
    vmcs_write(VMCS_EXCEPTION_BITMAP, UINT32_MAX);
    vmcs_write(VMCS_EPT_POINTER, ept_pointer(&step->ept));
    vmcs_write(VMCS_HOST_RIP, (uintptr_t)vmx_once_stub);
    vmx_hw_invept(INVEPT_ALL_CONTEXT, 0);
    bool entered = vmx_guest_once(vcpu, true) == 0;
    vmcs_write(VMCS_HOST_RSP, host_rsp);
    vmcs_write(VMCS_HOST_RIP, host_rip);
    vmcs_write(VMCS_EPT_POINTER, ept); /* a debugger may have one of its own there */
    vmcs_write(VMCS_EXCEPTION_BITMAP, exceptions);
    vmcs_write(VMCS_PROCESSOR_BASED_CONTROLS, vmx->primary);
    vmcs_write(VMCS_GUEST_IA32_DEBUGCTL, step->debugctl);
    return entered;
}

/* The instruction is over, and its trap is ours alone, unless the guest steps, too. */
static void finish(const struct step *step, bool loads_flags, uint64_t hits)
{
    vmcs_write(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS, step->traps);
    state_add_breakpoints((unsigned)hits & 0xf);
    state_end_shadow();
    if (step->rflags & RFLAGS_TF)
        state_add_single_step();
    else if (!loads_flags)
        vmcs_write(VMCS_GUEST_RFLAGS, vmcs_read(VMCS_GUEST_RFLAGS) & ~RFLAGS_TF);
}

/* As if the instruction had not begun. An IRET that has unblocked NMIs and then met an exception
 * has done so; one that will be tried again has not. */
static void undo(const struct step *step, bool again)
{
    uint64_t now = vmcs_read(VMCS_GUEST_INTERRUPTIBILITY_STATE);
    vmcs_write(VMCS_GUEST_RFLAGS, step->rflags);
    vmcs_write(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS, step->traps);
    vmcs_write(VMCS_GUEST_INTERRUPTIBILITY_STATE,
               again ? step->shadow
                     : (now & ~BLOCKING_BY_SHADOW) | (step->shadow & BLOCKING_BY_SHADOW));
}

/* What the instruction raised is the guest's. */
static enum verdict pass_on(struct vcpu *vcpu, struct vmx_exit *exit, uint32_t information)
{
    unsigned type = (unsigned)bits_get(information, 10, 8);
    if (type >= EVENT_SOFTWARE_INTERRUPT) {
        vcpu->events.next = (struct event){
            .valid = true,
            .type = type,
            .vector = (uint8_t)information,
            .instruction_length = (uint8_t)vmcs_read(VMCS_VM_EXIT_INSTRUCTION_LENGTH),
        };
        return RETRY;
    }
    exit->exception = (struct exception){
        .vector = (uint8_t)information,
        .has_error_code = information & EVENT_INFORMATION_ERROR_CODE,
        .error_code = (uint32_t)vmcs_read(VMCS_VM_EXIT_INTERRUPTION_ERROR_CODE),
    };
    if (exit->exception.vector == VECTOR_PF)
        hw_write_cr2(vmcs_read(VMCS_EXIT_QUALIFICATION));
    return INJECT;
}

/* The opcode behind the prefixes; of two bytes, where it begins with 0F. */
static unsigned opcode_of(const struct guest_access *access)
{
    const uint8_t *at = access->bytes, *last = at + access->count - 1;
    bool has_rex = state_is_64bit();
    for (; at < last; at++) {
        const struct opcode *row = &opcode_map_1[*at];
        if (row->flags != 0 || row->operation == PREFIX_NONE ||
            (row->operation == PREFIX_REX && !has_rex))
            break;
    }
    return *at == 0x0f && at < last ? 0x0f00u | at[1] : *at;
}

/* Whether the instruction would show the guest the flag that is set for the step, and end the step
 * without a trap. So would PUSHF, which the emulator knows. */
static bool hides_step(unsigned opcode)
{
    return opcode == INT_N || opcode == SYSCALL;
}

static bool is_violation(uint64_t reason)
{
    const uint64_t linear = BIT(7); /* SDM: Exit Qualification for EPT Violations */
    return reason == EXIT_REASON_EPT_VIOLATION && vmcs_read(VMCS_EXIT_QUALIFICATION) & linear;
}

static bool is_over(const struct vmx_exit *exit)
{
    return vmcs_read(VMCS_GUEST_RIP) != exit->rip;
}

/* Steps until the processor has all the pages that it asks for. False: it cannot be. */
static bool execute(struct step *step, const struct vmx_exit *exit, uint64_t *reason)
{
    step->ept = *step->own;
    step->ept.ports = (struct ept_ports){take_frame, map_frame, step};
    if (ept_overlay_init(step->own, &step->ept) != STATUS_OK)
        return false;
    for (;;) {
        if (!lend(step, vmcs_read(VMCS_GUEST_PHYSICAL_ADDRESS)) || !enter(step))
            return false;
        *reason = vmcs_read(VMCS_EXIT_REASON);
        if (!is_violation(*reason) || is_over(exit))
            return true;
        undo(step, true);
    }
}

/* The exit that ended the step, other than its trap. */
static enum verdict go_on(struct vcpu *vcpu, struct vmx_exit *exit, uint64_t reason,
                          uint32_t information)
{
    bool is_exception =
        reason == EXIT_REASON_EXCEPTION_OR_NMI && bits_get(information, 10, 8) != EVENT_NMI;
    unsigned vector = information & 0xff;
    exit->rip = vmcs_read(VMCS_GUEST_RIP);
    if (is_exception && vector != VECTOR_DB && vector != VECTOR_MC)
        return pass_on(vcpu, exit, information);
    return is_violation(reason) ? RETRY : exit_again(vcpu, exit);
}

/* Should a processor not trap behind the instruction, for the flags that it loaded, say, the exit
 * is a later one's, at which the instruction is over nonetheless. */
COLD bool step_instruction(struct vcpu *vcpu, struct vmx_exit *exit, enum verdict *verdict)
{
    struct step step = {.vcpu = vcpu,
                        .own = &vmx_of(vcpu)->vm->used,
                        .rflags = vmcs_read(VMCS_GUEST_RFLAGS),
                        .shadow = vmcs_read(VMCS_GUEST_INTERRUPTIBILITY_STATE),
                        .traps = vmcs_read(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS),
                        .debugctl = vmcs_read(VMCS_GUEST_IA32_DEBUGCTL)};
    unsigned opcode = opcode_of(&vmx_of(vcpu)->access);
    bool loads_flags = opcode == IRET || opcode == POPF;
    uint64_t reason;
    if (hides_step(opcode) || !execute(&step, exit, &reason))
        return false;
    uint32_t information = (uint32_t)vmcs_read(VMCS_VM_EXIT_INTERRUPTION_INFORMATION);
    uint64_t qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);
    if (reason == EXIT_REASON_EXCEPTION_OR_NMI && (information & 0x7ff) == TRAP &&
        qualification & PENDING_DEBUG_BS) {
        finish(&step, loads_flags, qualification);
        *verdict = RETRY;
        return true;
    }
    if (is_over(exit))
        finish(&step, loads_flags, 0);
    else
        undo(&step, false);
    *verdict = go_on(vcpu, exit, reason, information);
    return true;
}

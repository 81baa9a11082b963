/* Building a VM's and a vCPU's VMX structures, and the state of a vCPU after reset. */
#include "kernel/core/hash.h"
#include "kernel/core/hw.h"
#include "kernel/core/mem.h"
#include "kernel/core/msr.h"
#include "kernel/core/paging.h"
#include "vmx/internal.h"
#include "vmx/vmx_hw.h"

#define DR6_RESET 0xffff0ff0ull
#define DR7_RESET 0x400ull
#define PAT_RESET 0x0007040600070406ull
#define NO_SHADOW_VMCS ~0ull

/* Guest and host share what the guest may change without an exit. */
#define CR0_GUEST_OWNED (CR0_MP | CR0_EM | CR0_TS | CR0_WP | CR0_AM)
#define CR4_GUEST_OWNED                                                                            \
    (CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_MCE | CR4_PGE | CR4_PCE | CR4_OSFXSR |   \
     CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE | CR4_SMEP | CR4_SMAP)
/* Everything that Traprock lets a guest turn on where the processor has it. */
#define CR4_OFFERED (CR4_GUEST_OWNED | CR4_PAE | CR4_PCIDE | CR4_OSXSAVE | CR4_PKE)

static enum status alloc_frames(struct vmx_vm *vmx, uint64_t count, enum page_kind kind,
                                hpa_t *frame)
{
    enum status status = pages_alloc(vmx->pages, count, PAGE_SIZE, kind, vmx->owner, frame);
    if (status == STATUS_OK)
        memset(phys_to_virt(*frame), 0, count * PAGE_SIZE);
    return status;
}

static enum status alloc_ept_frame(void *context, hpa_t *frame)
{
    return alloc_frames(context, 1, PAGE_EPT, frame);
}

static void *map_ept_frame(void *context, hpa_t frame)
{
    (void)context;
    return phys_to_virt(frame);
}

/* SDM: MSR-Bitmap Address: read bitmaps for the low and high ranges, then write bitmaps. */
static void allow_msr(uint8_t *bitmap, uint32_t msr, bool read, bool write)
{
    uint32_t offset = msr >= 0xc0000000 ? 1024 : 0;
    uint32_t index = msr & 0x1fff;
    if (read)
        bitmap[offset + index / 8] &= (uint8_t) ~(1u << index % 8);
    if (write)
        bitmap[2048 + offset + index / 8] &= (uint8_t) ~(1u << index % 8);
}

/* SDM: RDMSR of the TSC adds the offset by itself. */
static void fill_msr_bitmap(uint8_t *bitmap, const struct msr_state *msrs)
{
    memset(bitmap, 0xff, PAGE_SIZE);
    const struct msr_policy *row;
    for (unsigned i = 0; (row = msr_policy_at(i)) != NULL; i++)
        if ((row->kind == MSR_PASS_THROUGH || row->kind == MSR_VMCS_DIRECT) &&
            msr_is_offered(msrs, row))
            allow_msr(bitmap, row->msr, true, true);
    allow_msr(bitmap, MSR_IA32_TSC, true, false);
}

static enum status map_guest_memory(struct vmx_vm *vmx, const struct guest_mem *mem)
{
    for (unsigned i = 0; i < mem->count; i++) {
        const struct guest_region *region = &mem->region[i];
        uint64_t write = guest_mem_is_rom(mem, region->base.v) ? 0 : EPT_WRITE;
        enum status status = ept_map(&vmx->ept, region->base, virt_to_phys(region->host),
                                     region->size, EPT_READ | EPT_EXECUTE | write);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static bool has_multihit(void)
{
    struct cpuid_regs regs;
    uint64_t capabilities = 0;
    if (hw_rdmsr_safe(MSR_IA32_ARCH_CAPABILITIES, &capabilities) != STATUS_OK)
        capabilities = 0;
    hw_cpuid(1, 0, &regs);
    return ept_multihit_affects(regs.eax, capabilities);
}

static uint64_t end_of_own(void *context, hpa_t frame)
{
    const struct vmx_vm *vmx = context;
    struct page_extent extent;
    if (!pages_lookup(vmx->pages, frame, &extent) || extent.kind != PAGE_GUEST ||
        extent.owner != vmx->owner)
        return 0;
    return extent.base + extent.pages * PAGE_SIZE;
}

uint64_t vmx_vm_hash(const struct vmx_vm *vmx, uint64_t hash)
{
    hash = ept_hash(&vmx->ept, hash);
    hash = hash_words(hash, phys_to_virt(vmx->io_bitmap), 2 * PAGE_SIZE);
    return hash_words(hash, phys_to_virt(vmx->msr_bitmap), PAGE_SIZE);
}

enum status vmx_vm_check(struct vmx_vm *vmx, const char *name)
{
    const struct ept_owner owner = {end_of_own, vmx};
    gpa_t where;
    const char *wrong = ept_check(&vmx->used, &owner, &where);
    if (wrong == NULL)
        return STATUS_OK;
    log_error("%s: EPT: %s at guest-physical 0x%lx", name, wrong, where.v);
    return ERR_INVALID;
}

static enum status take_hiding_frame(void *context, hpa_t *frame)
{
    struct vmx_vm *vmx = context;
    *frame = HPA(vmx->hiding_frames.v + vmx->hiding++ * PAGE_SIZE);
    return vmx->hiding <= EPT_HIDE_FRAMES ? STATUS_OK : ERR_NO_MEMORY;
}

enum status vmx_vm_create(struct vmx_vm *vmx, struct vm *vm, struct pages *pages,
                          uint64_t ept_capabilities)
{
    struct ept_ports ports = {alloc_ept_frame, map_ept_frame, vmx};
    vmx->pages = pages;
    vmx->owner = (uint16_t)vm->id;
    enum status status = ept_init(&vmx->ept, &ports, ept_capabilities);
    vmx->ept.small_executable = has_multihit();
    if (status == STATUS_OK)
        status = map_guest_memory(vmx, &vm->mem);
    log_debug("%s: EPT: %lu leaves of 1 GiB, %lu of 2 MiB, %lu of 4 KiB", vm->name,
              vmx->ept.leaves[2], vmx->ept.leaves[1], vmx->ept.leaves[0]);
    vmx->used = vmx->ept;
    if (status == STATUS_OK)
        status = alloc_frames(vmx, EPT_HIDE_FRAMES, PAGE_EPT, &vmx->hiding_frames);
    if (status == STATUS_OK)
        status = alloc_frames(vmx, 2, PAGE_VMX, &vmx->io_bitmap);
    if (status == STATUS_OK)
        status = alloc_frames(vmx, 1, PAGE_VMX, &vmx->msr_bitmap);
    if (status != STATUS_OK)
        return status;
    memset(phys_to_virt(vmx->io_bitmap), 0xff, 2 * PAGE_SIZE);
    fill_msr_bitmap(phys_to_virt(vmx->msr_bitmap), &vm->vcpu[0]->msrs);
    vm->backend = vmx;
    return STATUS_OK;
}

static uint64_t xsave_size(void)
{
    struct cpuid_regs regs;
    hw_cpuid(0xd, 0, &regs);
    return regs.ecx;
}

/* What CPUID tells the guest must hold. SDM: CPUID, leaf 80000001H. */
static void read_offers(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = vmx_of(vcpu);
    struct cpuid_result extended;
    cpuid_lookup(&vcpu->cpuid, 0x80000001, 0, &extended);
    vmx->has_1g_pages = extended.edx & BIT(26);
    vmx->efer_allowed =
        (extended.edx & BIT(11) ? EFER_SCE : 0) | (extended.edx & BIT(29) ? EFER_LME : 0);
    vmx->xcr0_allowed = cpuid_xcr0_offered(&vcpu->cpuid);
}

enum status vmx_vcpu_create(struct vmx_vcpu *vmx, struct vcpu *vcpu, struct vmx_vm *vm,
                            const struct vmx_cpu *cpu)
{
    memset(vmx, 0, offsetof(struct vmx_vcpu, debug));
    vmx->cpu = cpu;
    vmx->vm = vm;
    guest_access_init(&vmx->access, &vcpu->vm->mem, &vcpu->vm->bus);
    vcpu->backend = vmx;
    read_offers(vcpu);
    enum status status = alloc_frames(vm, 1, PAGE_VMX, &vmx->vmcs);
    if (status != STATUS_OK)
        return status;
    *(uint32_t *)phys_to_virt(vmx->vmcs) = (uint32_t)(cpu->capabilities.basic & 0x7fffffff);
    uint64_t area = vmx->xcr0_allowed != 0 ? xsave_size() : 512;
    hpa_t frame;
    status = alloc_frames(vm, align_up(area, PAGE_SIZE) / PAGE_SIZE, PAGE_VMX, &frame);
    if (status == STATUS_OK)
        status = alloc_frames(vm, VMX_STEP_FRAMES, PAGE_VMX, &vmx->step_frames);
    if (status != STATUS_OK)
        return status;
    vmx->xsave_area = phys_to_virt(frame);
    vmx->cr0_fixed = CR0_NE;
    vmx->cr4_allowed = cpu->capabilities.cr4_fixed1 & CR4_OFFERED;
    if (vmx->xcr0_allowed == 0)
        vmx->cr4_allowed &= ~CR4_OSXSAVE;
    if (!(vmx->xcr0_allowed & CPUID_XCR0_PKRU))
        vmx->cr4_allowed &= ~CR4_PKE;
    return STATUS_OK;
}

/* An instruction that CPUID hides, though the processor has it, is #UD. */
static uint32_t secondary_controls(const struct vcpu *vcpu)
{
    uint32_t controls = vmx_of(vcpu)->cpu->controls.word[CONTROL_SECONDARY];
    struct cpuid_result xsave;
    cpuid_lookup(&vcpu->cpuid, 0xd, 1, &xsave);
    return xsave.eax & BIT(3) ? controls : controls & ~CONTROL_ENABLE_XSAVES;
}

static void write_controls(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = vmx_of(vcpu);
    const uint32_t *word = vmx->cpu->controls.word;
    vmx->primary = word[CONTROL_PRIMARY];
    vmx->entry_controls = word[CONTROL_ENTRY];
    vmcs_write(VMCS_PIN_BASED_CONTROLS, word[CONTROL_PIN]);
    vmcs_write(VMCS_PROCESSOR_BASED_CONTROLS, vmx->primary);
    vmcs_write(VMCS_SECONDARY_PROCESSOR_BASED_CONTROLS, secondary_controls(vcpu));
    vmcs_write(VMCS_VM_EXIT_CONTROLS, word[CONTROL_EXIT]);
    vmcs_write(VMCS_VM_ENTRY_CONTROLS, vmx->entry_controls);
    vmcs_write(VMCS_EXCEPTION_BITMAP, BIT(VECTOR_DB) | BIT(VECTOR_AC) | BIT(VECTOR_MC));
    vmcs_write(VMCS_PAGE_FAULT_ERROR_CODE_MASK, 0);
    vmcs_write(VMCS_PAGE_FAULT_ERROR_CODE_MATCH, 0);
    vmcs_write(VMCS_CR3_TARGET_COUNT, 0);
    vmcs_write(VMCS_VM_EXIT_MSR_STORE_COUNT, 0);
    vmcs_write(VMCS_VM_EXIT_MSR_LOAD_COUNT, 0);
    vmcs_write(VMCS_VM_ENTRY_MSR_LOAD_COUNT, 0);
    vmcs_write(VMCS_VM_ENTRY_INTERRUPTION_INFORMATION, 0);
    vmcs_write(VMCS_IO_BITMAP_A, vmx->vm->io_bitmap.v);
    vmcs_write(VMCS_IO_BITMAP_B, vmx->vm->io_bitmap.v + PAGE_SIZE);
    vmcs_write(VMCS_MSR_BITMAPS, vmx->vm->msr_bitmap.v);
    vmcs_write(VMCS_EPT_POINTER, ept_pointer(&vmx->vm->used));
    vmcs_write(VMCS_TSC_OFFSET, vcpu_machine_tsc_offset(vcpu));
    vmcs_write(VMCS_VMCS_LINK_POINTER, NO_SHADOW_VMCS);
    vmcs_write(VMCS_CR0_GUEST_HOST_MASK, ~CR0_GUEST_OWNED);
    vmcs_write(VMCS_CR4_GUEST_HOST_MASK, ~(CR4_GUEST_OWNED & vmx->cr4_allowed));
    /* VPID 0 is the monitor's; one for each vCPU of each VM, of which there are few. */
    if (word[CONTROL_SECONDARY] & CONTROL_ENABLE_VPID)
        vmcs_write(VMCS_VPID, (vmx->vm->owner - 1u) * VM_VCPUS_MAX + vcpu->index + 1);
    if (word[CONTROL_SECONDARY] & CONTROL_ENABLE_XSAVES)
        vmcs_write(VMCS_XSS_EXITING_BITMAP, ~0ull);
}

static void write_host_state(void)
{
    const struct cpu *cpu = cpu_this();
    vmcs_write(VMCS_HOST_CR0, hw_read_cr0());
    vmcs_write(VMCS_HOST_CR3, hw_read_cr3());
    vmcs_write(VMCS_HOST_CR4, hw_read_cr4());
    vmcs_write(VMCS_HOST_CS_SELECTOR, CPU_SELECTOR_CODE);
    vmcs_write(VMCS_HOST_SS_SELECTOR, CPU_SELECTOR_DATA);
    vmcs_write(VMCS_HOST_DS_SELECTOR, 0);
    vmcs_write(VMCS_HOST_ES_SELECTOR, 0);
    vmcs_write(VMCS_HOST_FS_SELECTOR, 0);
    vmcs_write(VMCS_HOST_GS_SELECTOR, 0);
    vmcs_write(VMCS_HOST_TR_SELECTOR, CPU_SELECTOR_TSS);
    vmcs_write(VMCS_HOST_FS_BASE, 0);
    vmcs_write(VMCS_HOST_GS_BASE, (uintptr_t)cpu);
    vmcs_write(VMCS_HOST_TR_BASE, cpu->host_tr_base);
    vmcs_write(VMCS_HOST_GDTR_BASE, cpu->host_gdtr_base);
    vmcs_write(VMCS_HOST_IDTR_BASE, cpu->host_idtr_base);
    vmcs_write(VMCS_HOST_IA32_SYSENTER_CS, 0);
    vmcs_write(VMCS_HOST_IA32_SYSENTER_ESP, 0);
    vmcs_write(VMCS_HOST_IA32_SYSENTER_EIP, 0);
    vmcs_write(VMCS_HOST_IA32_PAT, CPU_PAT);
    vmcs_write(VMCS_HOST_IA32_EFER, hw_rdmsr(MSR_IA32_EFER));
}

static void write_guest_state(struct vcpu *vcpu, const struct guest_entry *entry)
{
    for (unsigned i = 0; i < SEG_COUNT; i++)
        state_write_segment((enum segment_register)i, &entry->segment[i]);
    vmcs_write(VMCS_GUEST_GDTR_BASE, entry->gdtr.base);
    vmcs_write(VMCS_GUEST_GDTR_LIMIT, entry->gdtr.limit);
    vmcs_write(VMCS_GUEST_IDTR_BASE, entry->idtr.base);
    vmcs_write(VMCS_GUEST_IDTR_LIMIT, entry->idtr.limit);
    memcpy(vcpu->gpr, entry->gpr, sizeof(vcpu->gpr));
    vmcs_write(VMCS_GUEST_RSP, entry->gpr[GPR_RSP]);
    vmcs_write(VMCS_GUEST_RIP, entry->rip);
    vmcs_write(VMCS_GUEST_RFLAGS, entry->rflags);
    vmcs_write(VMCS_GUEST_CR3, entry->cr3);
    state_write_dr7(vcpu, DR7_RESET);
    vmcs_write(VMCS_GUEST_IA32_DEBUGCTL, 0);
    vmcs_write(VMCS_GUEST_IA32_PAT, PAT_RESET);
    vmcs_write(VMCS_GUEST_IA32_SYSENTER_CS, 0);
    vmcs_write(VMCS_GUEST_IA32_SYSENTER_ESP, 0);
    vmcs_write(VMCS_GUEST_IA32_SYSENTER_EIP, 0);
    vmcs_write(VMCS_GUEST_INTERRUPTIBILITY_STATE, 0);
    vmcs_write(VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_ACTIVE);
    vmcs_write(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS, 0);
    cr_set_initial(vcpu, entry->cr0, entry->cr4, entry->efer);
}

/* SDM: Processor State After Reset, for what the VMCS does not hold. */
static void reset_switched_state(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = vmx_of(vcpu);
    uint32_t *area = vmx->xsave_area;
    uint64_t size = vmx->xcr0_allowed != 0 ? xsave_size() : 512;
    memset(area, 0, size);
    area[0] = 0x37f;  /* FCW after FNINIT, where a loader of ours would leave it */
    area[6] = 0x1f80; /* MXCSR */
    vmx->xcr0 = 1;
    vmx->cr2 = 0;
    memset(vmx->dr, 0, sizeof(vmx->dr));
    vmx->dr6 = DR6_RESET;
}

/* SDM: VMCLEAR writes what the processor keeps of a VMCS to its frame; INVEPT: cached translations
 * outlive the tables that they came from. */
static void forget_translations(const struct vmx_vcpu *vmx)
{
    if (vmx->cpu->controls.word[CONTROL_SECONDARY] & CONTROL_ENABLE_VPID)
        vmx_hw_invvpid(INVVPID_ALL_CONTEXT, 0);
    vmx_hw_invept(INVEPT_ALL_CONTEXT, 0);
}

COLD void vmx_vcpu_hide(struct vcpu *vcpu, uint64_t gpa, bool runs)
{
    struct vmx_vcpu *vmx = vmx_of(vcpu);
    struct vmx_vm *vm = vmx->vm;
    vm->used = vm->ept;
    if (gpa != UINT64_MAX) {
        vm->hiding = 0;
        vm->used.ports = (struct ept_ports){take_hiding_frame, map_ept_frame, vm};
        enum status status = ept_overlay_init(&vm->ept, &vm->used);
        if (status == STATUS_OK)
            status = ept_overlay_hide(&vm->ept, &vm->used, GPA(gpa));
        if (status != STATUS_OK) { /* never: the frames are there */
            vm->used = vm->ept;
            vm_stop(vcpu->vm, VM_STOPPED, 0);
        }
    }
    if (!runs)
        return;
    vmcs_write(VMCS_EPT_POINTER, ept_pointer(&vm->used));
    if (vmx->debug.points != NULL)
        debug_renew_points(vcpu);
    forget_translations(vmx);
}

void vmx_vcpu_release(struct vcpu *vcpu)
{
    ASSERT(vmx_hw_vmclear(vmx_of(vcpu)->vmcs));
    forget_translations(vmx_of(vcpu));
}

void vmx_vcpu_reset(struct vcpu *vcpu, const struct guest_entry *entry)
{
    struct vmx_vcpu *vmx = vmx_of(vcpu);
    ASSERT(vmx_hw_vmclear(vmx->vmcs) && vmx_hw_vmptrld(vmx->vmcs));
    vmx->launched = false;
    vmx->armed = 0;
    vmx->break_at = 0;
    vmx->needs_breaks = cpu_takes_lines(cpu_this()) && !vmx->cpu->interrupts_exit;
    vmx->break_length = vcpu->vm->clock.hz / 1024;
    vcpu->events = (struct event_queue){0};
    vcpu->activity = VCPU_RUNNING;
    vcpu->requests = VCPU_REQUEST_EVENT | VCPU_REQUEST_DEBUG; /* it may be paused */
    write_controls(vcpu);
    write_host_state();
    write_guest_state(vcpu, entry);
    reset_switched_state(vcpu);
    debug_reset(vcpu);
    forget_translations(vmx);
}

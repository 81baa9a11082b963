/*
 * Control registers and EFER. The guest owns what does not change what its addresses mean; the rest
 * exits, is checked here as the processor would, and keeps VMCS, EFER.LMA and the "IA-32e mode
 * guest" control in agreement. SDM: Control Registers; Exit Qualification for Control-Register
 * Accesses; Changes to Instruction Behavior in VMX Non-Root Operation.
 */
#include "kernel/core/mem.h"
#include "vmx/internal.h"
#include "vmx/vmx_hw.h"

#define CR0_DEFINED                                                                                \
    (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD |     \
     CR0_PG)
/* What the processor gets to see: caching stays on, whatever the guest's view. */
#define CR0_HIDDEN (CR0_CD | CR0_NW)
/* Changes to these reload PAE's page-directory pointers. SDM: PDPTE Registers. */
#define CR0_PAGING (CR0_PG | CR0_CD | CR0_NW)
#define CR4_PAGING (CR4_PAE | CR4_PSE | CR4_PGE | CR4_SMEP)

#define TYPE_BUSY_TSS_16 3

/* What the guest believes CR0 and CR4 to hold. */
static uint64_t read_shadowed(enum vmcs_field real, enum vmcs_field shadow, enum vmcs_field mask)
{
    uint64_t owned = vmcs_read(mask);
    return (vmcs_read(real) & ~owned) | (vmcs_read(shadow) & owned);
}

static uint64_t guest_cr0(void)
{
    return read_shadowed(VMCS_GUEST_CR0, VMCS_CR0_READ_SHADOW, VMCS_CR0_GUEST_HOST_MASK);
}

static uint64_t guest_cr4(void)
{
    return read_shadowed(VMCS_GUEST_CR4, VMCS_CR4_READ_SHADOW, VMCS_CR4_GUEST_HOST_MASK);
}

uint64_t cr_read_cr0(void)
{
    return guest_cr0();
}

uint64_t cr_read_cr4(void)
{
    return guest_cr4();
}

static void flush_translations(const struct vcpu *vcpu)
{
    const struct vmx_vcpu *vmx = vmx_of(vcpu);
    if (!(vmx->cpu->controls.word[CONTROL_SECONDARY] & CONTROL_ENABLE_VPID))
        return; /* without VPIDs every entry and exit flushes */
    if (vmx->cpu->capabilities.ept_vpid & VPID_CAP_INVVPID_SINGLE)
        vmx_hw_invvpid(INVVPID_SINGLE_CONTEXT, vmcs_read(VMCS_VPID));
    else
        vmx_hw_invvpid(INVVPID_ALL_CONTEXT, 0);
}

static void set_cr0(struct vcpu *vcpu, uint64_t value)
{
    vmcs_write(VMCS_GUEST_CR0, (value & ~CR0_HIDDEN) | CR0_ET | vmx_of(vcpu)->cr0_fixed);
    vmcs_write(VMCS_CR0_READ_SHADOW, value | CR0_ET);
}

static void set_cr4(struct vcpu *vcpu, uint64_t value)
{
    vmcs_write(VMCS_GUEST_CR4, value | CR4_VMXE);
    vmcs_write(VMCS_CR4_READ_SHADOW, value);
    cpuid_set_osxsave(&vcpu->cpuid, value & CR4_OSXSAVE);
    cpuid_set_ospke(&vcpu->cpuid, value & CR4_PKE);
}

/* SDM: IA32_EFER.LMA is LME and paging; the entry control must say the same. */
static void set_efer(struct vcpu *vcpu, uint64_t efer, uint64_t cr0)
{
    struct vmx_vcpu *vmx = vmx_of(vcpu);
    bool active = efer & EFER_LME && cr0 & CR0_PG;
    efer = active ? efer | EFER_LMA : efer & ~EFER_LMA;
    vmcs_write(VMCS_GUEST_IA32_EFER, efer);
    uint32_t control = CONTROL_IA32E_MODE_GUEST;
    vmx->entry_controls = active ? vmx->entry_controls | control : vmx->entry_controls & ~control;
    vmcs_write(VMCS_VM_ENTRY_CONTROLS, vmx->entry_controls);
}

static bool is_pae_paging(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    return cr0 & CR0_PG && cr4 & CR4_PAE && !(efer & EFER_LME);
}

/* SDM: PDPTE Registers: loaded when PAE paging begins; false: #GP, for a reserved bit. Where there
 * is no memory, all bits are set. */
static bool load_pdptes(struct vcpu *vcpu)
{
    static const enum vmcs_field field[4] = {VMCS_GUEST_PDPTE0, VMCS_GUEST_PDPTE1,
                                             VMCS_GUEST_PDPTE2, VMCS_GUEST_PDPTE3};
    uint64_t pdpte[4];
    uint64_t reserved = MASK(2, 1) | MASK(8, 5) | MASK(63, cpuid_maxphyaddr(&vcpu->cpuid));
    uint64_t cr3 = vmcs_read(VMCS_GUEST_CR3) & MASK(31, 5);
    if (guest_mem_read(&vcpu->vm->mem, GPA(cr3), pdpte, sizeof(pdpte)) != STATUS_OK)
        memset(pdpte, 0xff, sizeof(pdpte));
    for (unsigned i = 0; i < 4; i++)
        if (pdpte[i] & 1 && pdpte[i] & reserved)
            return false;
    for (unsigned i = 0; i < 4; i++)
        vmcs_write(field[i], pdpte[i]);
    return true;
}

/* SDM: MOV - Move to/from Control Registers, the conditions for #GP(0). */
static bool is_valid_cr0(uint64_t value, uint64_t cr4, uint64_t efer)
{
    if (value >> 32 || (value & CR0_PG && !(value & CR0_PE)) ||
        (value & CR0_NW && !(value & CR0_CD)))
        return false;
    if (value & CR0_PG)
        return !(efer & EFER_LME) || efer & EFER_LMA ||
               (cr4 & CR4_PAE && !(vmcs_read(VMCS_GUEST_CS_ACCESS_RIGHTS) & SEGMENT_L) &&
                (vmcs_read(VMCS_GUEST_TR_ACCESS_RIGHTS) & SEGMENT_TYPE_MASK) != TYPE_BUSY_TSS_16);
    return !(cr4 & CR4_PCIDE) && !state_is_64bit();
}

static bool write_cr0(struct vcpu *vcpu, uint64_t value)
{
    uint64_t old = guest_cr0(), cr4 = guest_cr4();
    uint64_t efer = vmcs_read(VMCS_GUEST_IA32_EFER);
    if (!is_valid_cr0(value, cr4, efer))
        return false;
    value &= CR0_DEFINED;
    if (is_pae_paging(value, cr4, efer) && (value ^ old) & CR0_PAGING && !load_pdptes(vcpu))
        return false;
    set_cr0(vcpu, value);
    if ((value ^ old) & CR0_PG)
        set_efer(vcpu, efer, value);
    if ((value ^ old) & (CR0_PAGING | CR0_WP))
        flush_translations(vcpu);
    return true;
}

bool cr_switch_cr3(struct vcpu *vcpu, uint64_t cr3)
{
    vmcs_write(VMCS_GUEST_CR3, cr3);
    flush_translations(vcpu);
    return !is_pae_paging(guest_cr0(), guest_cr4(), vmcs_read(VMCS_GUEST_IA32_EFER)) ||
           load_pdptes(vcpu);
}

static bool write_cr4(struct vcpu *vcpu, uint64_t value)
{
    uint64_t old = guest_cr4();
    uint64_t efer = vmcs_read(VMCS_GUEST_IA32_EFER);
    if (value & ~vmx_of(vcpu)->cr4_allowed)
        return false;
    if (efer & EFER_LMA && !(value & CR4_PAE))
        return false;
    if (value & ~old & CR4_PCIDE && (!(efer & EFER_LMA) || vmcs_read(VMCS_GUEST_CR3) & 0xfff))
        return false;
    if (is_pae_paging(guest_cr0(), value, efer) && (value ^ old) & CR4_PAGING && !load_pdptes(vcpu))
        return false;
    set_cr4(vcpu, value);
    if ((value ^ old) & (CR4_PAGING | CR4_PCIDE | CR4_SMAP))
        flush_translations(vcpu);
    return true;
}

bool cr_write_efer(struct vcpu *vcpu, uint64_t value)
{
    uint64_t old = vmcs_read(VMCS_GUEST_IA32_EFER);
    uint64_t no_execute = cpuid_has_nx(&vcpu->cpuid) ? EFER_NXE : 0;
    if (value & ~(vmx_of(vcpu)->efer_allowed | no_execute | EFER_LMA))
        return false;
    /* SDM: long mode cannot be turned on or off while paging is on. */
    if ((value ^ old) & EFER_LME && guest_cr0() & CR0_PG)
        return false;
    set_efer(vcpu, value, guest_cr0());
    if ((value ^ old) & EFER_NXE)
        flush_translations(vcpu);
    return true;
}

void cr_set_initial(struct vcpu *vcpu, uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    set_cr0(vcpu, cr0);
    set_cr4(vcpu, cr4);
    set_efer(vcpu, efer, cr0);
}

static bool write_cr8(struct vcpu *vcpu, uint64_t value)
{
    if (value & ~0xfull)
        return false;
    spinlock_acquire(&vcpu->vm->lock);
    vcpu->intc_ops->write_cr8(vcpu->intc, value);
    spinlock_release(&vcpu->vm->lock);
    return true;
}

bool cr_write(struct vcpu *vcpu, unsigned number, uint64_t value)
{
    switch (number) {
    case 0:
        return write_cr0(vcpu, value);
    case 3:
        return debug_write_cr3(vcpu, value);
    case 4:
        return write_cr4(vcpu, value);
    case 8:
        return write_cr8(vcpu, value);
    default:
        return false;
    }
}

static enum verdict move_to(struct vcpu *vcpu, struct vmx_exit *exit, unsigned number, unsigned gpr)
{
    uint64_t value = state_read_gpr(vcpu, gpr);
    if (!state_is_64bit())
        value = (uint32_t)value;
    return cr_write(vcpu, number, value) ? ADVANCE : exit_raise_code(exit, VECTOR_GP, 0);
}

/* Only CR8's loads exit to be read here: CR0's and CR4's come from the shadow, CR3's do not exit.
 */
static enum verdict move_from(struct vcpu *vcpu, struct vmx_exit *exit, unsigned number,
                              unsigned gpr)
{
    if (number != 8)
        return exit_refuse(vcpu, exit);
    spinlock_acquire(&vcpu->vm->lock);
    uint64_t value = vcpu->intc_ops->read_cr8(vcpu->intc);
    spinlock_release(&vcpu->vm->lock);
    state_write_gpr(vcpu, gpr, value);
    return ADVANCE;
}

/* SDM: LMSW - Load Machine Status Word: the low four bits, of which PE is never cleared. */
static enum verdict load_machine_status(struct vcpu *vcpu, struct vmx_exit *exit)
{
    uint64_t source = bits_get(exit->qualification, 31, 16);
    uint64_t old = guest_cr0();
    uint64_t value = (old & ~0xeull) | (source & 0xf);
    return write_cr0(vcpu, value) ? ADVANCE : exit_raise_code(exit, VECTOR_GP, 0);
}

enum verdict exit_control_register(struct vcpu *vcpu, struct vmx_exit *exit)
{
    unsigned number = exit->qualification & 0xf;
    unsigned gpr = (unsigned)bits_get(exit->qualification, 11, 8);
    switch (bits_get(exit->qualification, 5, 4)) {
    case 0:
        return move_to(vcpu, exit, number, gpr);
    case 1:
        return move_from(vcpu, exit, number, gpr);
    case 2: /* CLTS */
        return write_cr0(vcpu, guest_cr0() & ~CR0_TS) ? ADVANCE
                                                      : exit_raise_code(exit, VECTOR_GP, 0);
    default:
        return load_machine_status(vcpu, exit);
    }
}

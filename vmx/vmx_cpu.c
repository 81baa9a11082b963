/* Taking one processor into VMX operation. SDM: Enabling and Entering VMX Operation. */
#include "kernel/core/hw.h"
#include "kernel/core/mem.h"
#include "kernel/core/msr.h"
#include "kernel/core/paging.h"
#include "kernel/vm/cpu_mode.h"
#include "vmx/internal.h"
#include "vmx/vmx_hw.h"

#define MSR_IA32_VMX_BASIC 0x480u
#define MSR_IA32_VMX_MISC 0x485u
#define MSR_IA32_VMX_CR0_FIXED0 0x486u
#define MSR_IA32_VMX_CR0_FIXED1 0x487u
#define MSR_IA32_VMX_CR4_FIXED0 0x488u
#define MSR_IA32_VMX_CR4_FIXED1 0x489u
#define MSR_IA32_VMX_EPT_VPID_CAP 0x48cu
#define MSR_IA32_VMX_VMFUNC 0x491u
#define MSR_IA32_VMX_PROCBASED_CTLS3 0x492u
#define MSR_IA32_VMX_EXIT_CTLS2 0x493u

#define FEATURE_CONTROL_LOCK BIT(0)
#define FEATURE_CONTROL_VMXON_OUTSIDE_SMX BIT(2)
#define VMX_BASIC_TRUE_CONTROLS BIT(55)
#define CPUID_1_ECX_VMX BIT(5)

/* The capability MSR of each control word, without and with VMX_BASIC_TRUE_CONTROLS. */
static const uint32_t control_msr[CONTROL_WORDS][2] = {
    [CONTROL_PIN] = {0x481, 0x48d},       [CONTROL_PRIMARY] = {0x482, 0x48e},
    [CONTROL_SECONDARY] = {0x48b, 0x48b}, [CONTROL_EXIT] = {0x483, 0x48f},
    [CONTROL_ENTRY] = {0x484, 0x490},
};

/* Absent MSRs stand for absent features. */
static uint64_t read_or_zero(uint32_t msr)
{
    uint64_t value;
    return hw_rdmsr_safe(msr, &value) == STATUS_OK ? value : 0;
}

static void read_capabilities(struct vmx_capabilities *capabilities)
{
    capabilities->basic = hw_rdmsr(MSR_IA32_VMX_BASIC);
    bool has_true = capabilities->basic & VMX_BASIC_TRUE_CONTROLS;
    for (unsigned i = 0; i < CONTROL_WORDS; i++)
        capabilities->control[i] = read_or_zero(control_msr[i][has_true]);
    capabilities->misc = hw_rdmsr(MSR_IA32_VMX_MISC);
    capabilities->cr0_fixed0 = hw_rdmsr(MSR_IA32_VMX_CR0_FIXED0);
    capabilities->cr0_fixed1 = hw_rdmsr(MSR_IA32_VMX_CR0_FIXED1);
    capabilities->cr4_fixed0 = hw_rdmsr(MSR_IA32_VMX_CR4_FIXED0);
    capabilities->cr4_fixed1 = hw_rdmsr(MSR_IA32_VMX_CR4_FIXED1);
    capabilities->ept_vpid = read_or_zero(MSR_IA32_VMX_EPT_VPID_CAP);
    capabilities->vmfunc = read_or_zero(MSR_IA32_VMX_VMFUNC);
    capabilities->tertiary = read_or_zero(MSR_IA32_VMX_PROCBASED_CTLS3);
    capabilities->secondary_exit = read_or_zero(MSR_IA32_VMX_EXIT_CTLS2);
}

static enum status check_feature_control(const char **reason)
{
    uint64_t value = read_or_zero(MSR_IA32_FEATURE_CONTROL);
    if (value & FEATURE_CONTROL_LOCK) {
        *reason = "VMX is locked out by IA32_FEATURE_CONTROL: enable virtualization (VT-x) in the "
                  "firmware's setup and switch the machine off and on";
        return value & FEATURE_CONTROL_VMXON_OUTSIDE_SMX ? STATUS_OK : ERR_UNSUPPORTED;
    }
    *reason = "IA32_FEATURE_CONTROL cannot be written, although the firmware left it unlocked";
    return hw_wrmsr_safe(MSR_IA32_FEATURE_CONTROL,
                         value | FEATURE_CONTROL_VMXON_OUTSIDE_SMX | FEATURE_CONTROL_LOCK);
}

static enum status check_processor(struct vmx_cpu *cpu, const char **reason)
{
    struct cpuid_regs regs;
    hw_cpuid(1, 0, &regs);
    if (!(regs.ecx & CPUID_1_ECX_VMX)) {
        *reason = "no VMX (CPUID.1:ECX.VMX is 0): Traprock needs an Intel processor with VT-x";
        return ERR_UNSUPPORTED;
    }
    if (check_feature_control(reason) != STATUS_OK)
        return ERR_UNSUPPORTED;
    read_capabilities(&cpu->capabilities);
    enum status status = controls_negotiate(&cpu->capabilities, &cpu->controls, reason);
    if (status == STATUS_OK && !(cpu->capabilities.misc & VMX_MISC_ACTIVITY_HLT)) {
        *reason = "activity state HLT (IA32_VMX_MISC)";
        status = ERR_UNSUPPORTED;
    }
    return status;
}

enum status vmx_cpu_enable(struct vmx_cpu *cpu, struct pages *pages, const char **reason)
{
    enum status status = check_processor(cpu, reason);
    if (status != STATUS_OK)
        return status;
    *reason = "not enough memory for the VMXON region";
    status = pages_alloc(pages, 1, PAGE_SIZE, PAGE_VMX, PAGE_OWNER_MONITOR, &cpu->vmxon_region);
    if (status != STATUS_OK)
        return status;
    uint32_t *region = phys_to_virt(cpu->vmxon_region);
    memset(region, 0, PAGE_SIZE);
    region[0] = (uint32_t)(cpu->capabilities.basic & 0x7fffffff);
    hw_write_cr0((hw_read_cr0() | cpu->capabilities.cr0_fixed0) & cpu->capabilities.cr0_fixed1);
    hw_write_cr4((hw_read_cr4() | CR4_VMXE | cpu->capabilities.cr4_fixed0) &
                 cpu->capabilities.cr4_fixed1);
    *reason = "VMXON failed: another monitor may be running, or the firmware forbids it";
    if (!vmx_hw_vmxon(cpu->vmxon_region))
        return ERR_UNSUPPORTED;
    /* Guests have no state in IA32_XSS; were some enabled here, their XSAVES would exit. */
    if (cpu->controls.word[CONTROL_SECONDARY] & CONTROL_ENABLE_XSAVES)
        (void)!hw_wrmsr_safe(MSR_IA32_XSS, 0);
    /* Whatever ran here before us may have left translations behind. */
    vmx_hw_invept(INVEPT_ALL_CONTEXT, 0);
    if (cpu->controls.word[CONTROL_SECONDARY] & CONTROL_ENABLE_VPID)
        vmx_hw_invvpid(INVVPID_ALL_CONTEXT, 0);
    return STATUS_OK;
}

/*
 * What every exit leaves: SDM: Loading Host State. Registers that the exit sets to a constant or
 * loads from the VMCS are compared one by one; MSRs that no guest shall touch, by a hash; and once
 * per stay in the guest, all MSRs that can be read.
 */
#include "kernel/checks/host_check.h"

#include "kernel/core/cpu.h"
#include "kernel/core/hash.h"
#include "kernel/core/hw.h"
#include "kernel/core/log.h"
#include "kernel/core/msr.h"
#include "kernel/core/panic.h"
#include "kernel/core/x86.h"
#include "kernel/vm/vm.h"
#include "vmx/internal.h"

#define CHECKED_CPUS_MAX 8
#define MSR_GROUPS 256 /* 64 MSRs each, of the two ranges that the MSR bitmap covers */
#define MSR_RANGE 0x2000u
/* Bochs writes a line into its log for each read of these MSRs: they are looked at after one of so
 * many exits; a prime, so that in time it is every kind of exit. */
#define QUICK_EXITS 251
#define MSR_HIGH_RANGE 0xc0000000u

/* In the order of host_registers_read. */
struct host_registers {
    uint64_t es, cs, ss, ds, fs, gs, ldtr, tr, tr_limit;
    uint64_t gdtr_limit, gdtr_base, idtr_limit, idtr_base;
    uint64_t cr0, cr3, cr4, cr8, dr7;
};

void host_registers_read(struct host_registers *registers);

/* Of one processor. */
struct host_check {
    uint64_t exits;
    uint64_t cr0, cr3, cr4, cr8, efer;
    uint64_t quick_hash; /* of quick_msrs */
    uint64_t vmcs_hash;  /* of vmcs_constants */
    uint64_t own_hash;   /* of vmcs_unless_debugged */
    uint64_t msr_hash[MSR_GROUPS];
    uint64_t volatile_msrs[MSR_GROUPS];
};

static struct host_check checks[CHECKED_CPUS_MAX];

/* Which no guest shall change, and which stand still. */
static const uint32_t quick_msrs[] = {
    MSR_IA32_APIC_BASE, MSR_IA32_FEATURE_CONTROL, MSR_IA32_MISC_ENABLE, MSR_IA32_MTRR_DEF_TYPE,
    MSR_IA32_XSS,       MSR_IA32_BIOS_SIGN_ID,
};

/* Fields of the VMCS that are written once. */
static const enum vmcs_field vmcs_constants[] = {
    VMCS_VPID,
    VMCS_VMCS_LINK_POINTER,
    VMCS_HOST_ES_SELECTOR,
    VMCS_HOST_CS_SELECTOR,
    VMCS_HOST_SS_SELECTOR,
    VMCS_HOST_DS_SELECTOR,
    VMCS_HOST_FS_SELECTOR,
    VMCS_HOST_GS_SELECTOR,
    VMCS_HOST_TR_SELECTOR,
    VMCS_HOST_IA32_PAT,
    VMCS_HOST_IA32_EFER,
    VMCS_HOST_IA32_SYSENTER_CS,
    VMCS_HOST_IA32_SYSENTER_ESP,
    VMCS_HOST_IA32_SYSENTER_EIP,
    VMCS_HOST_CR0,
    VMCS_HOST_CR3,
    VMCS_HOST_CR4,
    VMCS_HOST_FS_BASE,
    VMCS_HOST_GS_BASE,
    VMCS_HOST_TR_BASE,
    VMCS_HOST_GDTR_BASE,
    VMCS_HOST_IDTR_BASE,
    VMCS_HOST_RSP,
    VMCS_HOST_RIP,
    VMCS_PIN_BASED_CONTROLS,
    VMCS_SECONDARY_PROCESSOR_BASED_CONTROLS,
    VMCS_VM_EXIT_CONTROLS,
    VMCS_VM_EXIT_MSR_STORE_COUNT,
    VMCS_VM_EXIT_MSR_LOAD_COUNT,
    VMCS_VM_ENTRY_MSR_LOAD_COUNT,
};

/* What a debugger changes, and puts back when it is done. */
static const enum vmcs_field vmcs_unless_debugged[] = {
    VMCS_IO_BITMAP_A, VMCS_IO_BITMAP_B,         VMCS_MSR_BITMAPS,         VMCS_EXCEPTION_BITMAP,
    VMCS_EPT_POINTER, VMCS_CR0_GUEST_HOST_MASK, VMCS_CR4_GUEST_HOST_MASK,
};

static struct host_check *this_check(void)
{
    uint32_t index = cpu_this()->index;
    if (index >= CHECKED_CPUS_MAX)
        panic("host checks are for %u processors", CHECKED_CPUS_MAX);
    return &checks[index];
}

/* ---- Hashes ---- */

static uint64_t hash_quick_msrs(void)
{
    uint64_t hash = HASH_START, value;
    for (size_t i = 0; i < ARRAY_SIZE(quick_msrs); i++)
        hash = hash_word(hash, hw_rdmsr_safe(quick_msrs[i], &value) == STATUS_OK ? value : ~0ull);
    return hash;
}

static uint64_t hash_vmcs(const enum vmcs_field *fields, size_t count)
{
    uint64_t hash = HASH_START;
    for (size_t i = 0; i < count; i++)
        hash = hash_word(hash, vmcs_read(fields[i]));
    return hash;
}

static uint64_t hash_constants(void)
{
    return hash_vmcs(vmcs_constants, ARRAY_SIZE(vmcs_constants));
}

static uint64_t hash_unless_debugged(void)
{
    return hash_vmcs(vmcs_unless_debugged, ARRAY_SIZE(vmcs_unless_debugged));
}

static uint32_t msr_number(unsigned group, unsigned i)
{
    uint32_t number = group * 64 + i;
    return number < MSR_RANGE ? number : number - MSR_RANGE + MSR_HIGH_RANGE;
}

/* The guests' own, which stay loaded; what the first exit sets to what the VMCS says; and the
 * monitor's APIC. */
static bool is_left_out(uint32_t msr)
{
    const struct msr_policy *policy = msr_policy_find(msr);
    return (msr >= MSR_IA32_SYSENTER_CS && msr <= MSR_IA32_SYSENTER_EIP) ||
           msr == MSR_IA32_DEBUGCTL || msr == MSR_IA32_TSC_DEADLINE || msr >> 8 == 0x8 ||
           (policy != NULL && policy->kind == MSR_PASS_THROUGH);
}

/* With find_volatile, MSRs that differ from one read to the next are left out from then on. */
static uint64_t hash_msr_group(struct host_check *check, unsigned group, bool find_volatile)
{
    uint64_t hash = HASH_START, value, again;
    for (unsigned i = 0; i < 64; i++) {
        uint32_t msr = msr_number(group, i);
        if (check->volatile_msrs[group] & BIT(i) || is_left_out(msr) ||
            hw_rdmsr_safe(msr, &value) != STATUS_OK)
            continue;
        if (find_volatile && (hw_rdmsr_safe(msr, &again) != STATUS_OK || again != value))
            check->volatile_msrs[group] |= BIT(i);
        else
            hash = hash_word(hash_word(hash, msr), value);
    }
    return hash;
}

/* ---- The checks ---- */

static void expect(const struct vcpu *vcpu, uint64_t got, uint64_t want, const char *what)
{
    if (got != want)
        panic("host check: %s, exit reason %lu: %s is 0x%lx, not 0x%lx", vcpu->vm->name,
              vmcs_read(VMCS_EXIT_REASON), what, got, want);
}

static void check_registers(const struct vcpu *vcpu, const struct host_check *check)
{
    struct host_registers now;
    const struct cpu *cpu = cpu_this();
    host_registers_read(&now);
    expect(vcpu, vcpu->gpr[GPR_RSP], RFLAGS_FIXED, "RFLAGS");
    expect(vcpu, now.cs, CPU_SELECTOR_CODE, "CS");
    expect(vcpu, now.ss, CPU_SELECTOR_DATA, "SS");
    expect(vcpu, now.ds | now.es | now.fs | now.gs, 0, "one of DS, ES, FS and GS");
    expect(vcpu, now.ldtr, 0, "LDTR");
    expect(vcpu, now.tr, CPU_SELECTOR_TSS, "TR");
    expect(vcpu, now.tr_limit, 0x67, "TR's limit");
    expect(vcpu, now.gdtr_limit, 0xffff, "GDTR's limit");
    expect(vcpu, now.gdtr_base, cpu->host_gdtr_base, "GDTR's base");
    expect(vcpu, now.idtr_limit, 0xffff, "IDTR's limit");
    expect(vcpu, now.idtr_base, cpu->host_idtr_base, "IDTR's base");
    expect(vcpu, now.cr0, check->cr0, "CR0");
    expect(vcpu, now.cr3, check->cr3, "CR3");
    expect(vcpu, now.cr4, check->cr4, "CR4");
    expect(vcpu, now.cr8, check->cr8, "CR8");
    expect(vcpu, now.dr7, 0x400, "DR7");
}

static void check_msrs(const struct vcpu *vcpu, const struct host_check *check)
{
    uint64_t value;
    expect(vcpu, hw_rdmsr(MSR_IA32_EFER), check->efer, "IA32_EFER");
    expect(vcpu, hw_rdmsr(MSR_IA32_PAT), CPU_PAT, "IA32_PAT");
    expect(vcpu, hw_rdmsr(MSR_IA32_FS_BASE), 0, "FS's base");
    expect(vcpu, hw_rdmsr(MSR_IA32_GS_BASE), (uintptr_t)cpu_this(), "GS's base");
    expect(vcpu, hw_rdmsr(MSR_IA32_SYSENTER_CS), 0, "IA32_SYSENTER_CS");
    expect(vcpu, hw_rdmsr(MSR_IA32_SYSENTER_ESP), 0, "IA32_SYSENTER_ESP");
    expect(vcpu, hw_rdmsr(MSR_IA32_SYSENTER_EIP), 0, "IA32_SYSENTER_EIP");
    if (check->exits % QUICK_EXITS != 1)
        return;
    if (hw_rdmsr_safe(MSR_IA32_DEBUGCTL, &value) == STATUS_OK)
        expect(vcpu, value, 0, "IA32_DEBUGCTL");
    expect(vcpu, hash_quick_msrs(), check->quick_hash, "the hash of the monitor's MSRs");
}

void host_check_begin(struct vcpu *vcpu)
{
    struct host_check *check = this_check();
    struct host_registers now;
    host_registers_read(&now);
    *check = (struct host_check){.cr0 = now.cr0, .cr3 = now.cr3, .cr4 = now.cr4, .cr8 = now.cr8};
    check->efer = hw_rdmsr(MSR_IA32_EFER);
    check->quick_hash = hash_quick_msrs();
    check->vmcs_hash = hash_constants();
    check->own_hash = vmx_of(vcpu)->debug.is_active ? 0 : hash_unless_debugged();
    for (unsigned i = 0; i < MSR_GROUPS; i++)
        check->msr_hash[i] = hash_msr_group(check, i, true);
}

bool host_check_exit(struct vcpu *vcpu)
{
    struct host_check *check = this_check();
    check->exits++;
    check_registers(vcpu, check);
    check_msrs(vcpu, check);
    const struct vmx_debug *debug = &vmx_of(vcpu)->debug;
    bool goes_on = debug->looks            ? vmx_exit_debug(vcpu)
                   : vcpu->account != NULL ? vmx_exit_accounted(vcpu)
                                           : vmx_exit(vcpu);
    expect(vcpu, hash_constants(), check->vmcs_hash, "the hash of the VMCS's constant fields");
    if (check->own_hash == 0 && !debug->is_active)
        check->own_hash = hash_unless_debugged();
    if (!debug->is_active)
        expect(vcpu, hash_unless_debugged(), check->own_hash,
               "the hash of the fields that debuggers change");
    return goes_on;
}

void host_check_end(struct vcpu *vcpu)
{
    struct host_check *check = this_check();
    for (unsigned i = 0; i < MSR_GROUPS; i++)
        if (hash_msr_group(check, i, false) != check->msr_hash[i])
            panic("host check: %s: one of the MSRs 0x%x to 0x%x has changed", vcpu->vm->name,
                  msr_number(i, 0), msr_number(i, 63));
    log_info("host checks: %s: %lu exits, %lu of port instructions, %lu of MSRs", vcpu->vm->name,
             check->exits, vcpu->exit_count[EXIT_REASON_IO_INSTRUCTION],
             vcpu->exit_count[EXIT_REASON_RDMSR] + vcpu->exit_count[EXIT_REASON_WRMSR]);
}

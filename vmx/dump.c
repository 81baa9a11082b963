/* What a stopped guest looked like: registers, controls, the last exits, the rules it broke. */
#include "kernel/core/hw.h"
#include "kernel/core/log.h"
#include "vmx/entry_check.h"
#include "vmx/internal.h"

typedef unsigned long long ull;

/* Of a report: a guest that is started anew after each stop may fill no log with them. */
#define REPORT_LINES 34

void vmx_log_history(const struct vcpu *vcpu)
{
    const struct vcpu_exit *shown[VCPU_HISTORY], *exit = NULL;
    unsigned count = 0;
    while (count < VCPU_HISTORY && (exit = vcpu_exit_before(vcpu, exit)) != NULL)
        shown[count++] = exit;
    log_info("%s vcpu%u: %llu exits; the last ones:", vcpu->vm->name, vcpu->index,
             (ull)vcpu_exits(vcpu));
    while (count-- > 0)
        log_info("  %-28s rip %016llx qualification %llx", exit_reason_name(shown[count]->reason),
                 (ull)shown[count]->rip, (ull)shown[count]->qualification);
}

void vmx_log_counts(const struct vcpu *vcpu)
{
    for (unsigned i = 0; i < VCPU_EXIT_REASONS_MAX; i++)
        if (vcpu->exit_count[i] != 0)
            log_debug("%s vcpu%u: %llu exits %s", vcpu->vm->name, vcpu->index,
                      (ull)vcpu->exit_count[i], exit_reason_name(i));
}

static void log_registers(const struct vcpu *vcpu)
{
    const uint64_t *r = vcpu->gpr;
    log_info("  rax %016llx rbx %016llx rcx %016llx rdx %016llx", (ull)r[GPR_RAX], (ull)r[GPR_RBX],
             (ull)r[GPR_RCX], (ull)r[GPR_RDX]);
    log_info("  rsi %016llx rdi %016llx rbp %016llx rsp %016llx", (ull)r[GPR_RSI], (ull)r[GPR_RDI],
             (ull)r[GPR_RBP], (ull)vmcs_read(VMCS_GUEST_RSP));
    log_info("  r8  %016llx r9  %016llx r10 %016llx r11 %016llx", (ull)r[GPR_R8], (ull)r[GPR_R9],
             (ull)r[GPR_R10], (ull)r[GPR_R11]);
    log_info("  r12 %016llx r13 %016llx r14 %016llx r15 %016llx", (ull)r[GPR_R12], (ull)r[GPR_R13],
             (ull)r[GPR_R14], (ull)r[GPR_R15]);
    log_info("  rip %016llx rflags %08llx", (ull)vmcs_read(VMCS_GUEST_RIP),
             (ull)vmcs_read(VMCS_GUEST_RFLAGS));
    log_info("  cr0 %08llx cr2 %016llx cr3 %016llx cr4 %08llx efer %llx", (ull)cr_read_cr0(),
             (ull)hw_read_cr2(), (ull)vmcs_read(VMCS_GUEST_CR3), (ull)cr_read_cr4(),
             (ull)vmcs_read(VMCS_GUEST_IA32_EFER));
}

static void log_segments(void)
{
    static const char name[SEG_COUNT][5] = {"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"};
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        struct segment segment;
        state_read_segment((enum segment_register)i, &segment);
        log_info("  %-4s %04x base %016llx limit %08x access %05x", name[i], segment.selector,
                 (ull)segment.base, segment.limit, segment.access);
    }
    log_info("  gdtr base %016llx limit %04llx  idtr base %016llx limit %04llx",
             (ull)vmcs_read(VMCS_GUEST_GDTR_BASE), (ull)vmcs_read(VMCS_GUEST_GDTR_LIMIT),
             (ull)vmcs_read(VMCS_GUEST_IDTR_BASE), (ull)vmcs_read(VMCS_GUEST_IDTR_LIMIT));
}

void dump_report(struct vcpu *vcpu)
{
    if (!log_guest_take(&vcpu->vm->log, REPORT_LINES))
        return;
    log_info("%s vcpu%u: state when it stopped", vcpu->vm->name, vcpu->index);
    log_registers(vcpu);
    log_segments();
    log_info("  interruptibility %llx activity %llx entry event %llx IDT-vectoring %llx",
             (ull)vmcs_read(VMCS_GUEST_INTERRUPTIBILITY_STATE),
             (ull)vmcs_read(VMCS_GUEST_ACTIVITY_STATE),
             (ull)vmcs_read(VMCS_VM_ENTRY_INTERRUPTION_INFORMATION),
             (ull)vmcs_read(VMCS_IDT_VECTORING_INFORMATION));
    vmx_log_history(vcpu);
}

static uint64_t read_current(void *context, enum vmcs_field field)
{
    (void)context;
    return vmcs_read_optional(field);
}

static void log_broken(void *context, const struct broken_rule *rule)
{
    struct vcpu *vcpu = context;
    log_info("%s: %s = 0x%llx: %s", vcpu->vm->name, vmcs_field_name(rule->field), (ull)rule->value,
             rule->text);
}

/* SDM: CPUID, leaves 07H, 0AH, 80000001H and 80000008H. */
unsigned entry_check_report(struct vcpu *vcpu)
{
    struct entry_check_ports ports = {read_current, NULL, log_broken, vcpu};
    struct cpuid_regs features, counters, extended, widths;
    hw_cpuid(7, 0, &features);
    hw_cpuid(0xa, 0, &counters);
    hw_cpuid(0x80000001, 0, &extended);
    hw_cpuid(0x80000008, 0, &widths);
    struct entry_machine machine = {
        .capabilities = &vmx_of(vcpu)->cpu->capabilities,
        .efer_supported = entry_efer_supported(extended.edx),
        .perf_global_supported = entry_perf_global_supported(counters.eax, counters.edx),
        .current_vmcs = vmx_of(vcpu)->vmcs.v,
        .leaf7_ebx = features.ebx,
        .leaf7_ecx = features.ecx,
        .physical_bits = (uint8_t)widths.eax,
        .linear_bits = (uint8_t)(widths.eax >> 8),
    };
    return entry_check(&machine, &ports);
}

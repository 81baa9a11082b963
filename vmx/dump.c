/* What is logged of a guest: the last exits, and the rules of the SDM that its VMCS breaks. */
#include "kernel/core/fmt.h"
#include "kernel/core/hw.h"
#include "kernel/core/log.h"
#include "vmx/entry_check.h"
#include "vmx/internal.h"

typedef unsigned long long ull;

/* What the qualification says. SDM: Exit Qualification for I/O Instructions, for Control-Register
 * Accesses, for EPT Violations. */
static void put_words(char *to, size_t size, const struct vcpu_exit *exit)
{
    static const char *const accesses[] = {"mov to cr%llu", "mov from cr%llu", "clts", "lmsw"};
    uint64_t q = exit->qualification;
    to[0] = '\0';
    if (exit->reason == EXIT_REASON_IO_INSTRUCTION)
        fmt_format(to, size, ": %s%s 0x%llx, %llu byte%s", q & 8 ? "in" : "out", q & 16 ? "s" : "",
                   (ull)bits_get(q, 31, 16), (ull)(q & 7) + 1, (q & 7) != 0 ? "s" : "");
    else if (exit->reason == EXIT_REASON_CONTROL_REGISTER_ACCESS) {
        to[0] = ':';
        to[1] = ' ';
        fmt_format(to + 2, size - 2, accesses[bits_get(q, 5, 4)], (ull)(q & 0xf));
    } else if (exit->reason == EXIT_REASON_EPT_VIOLATION)
        fmt_format(to, size, ": %s", q & 4 ? "fetch" : q & 2 ? "write" : "read");
}

void vmx_log_history(const struct vcpu *vcpu)
{
    const struct vcpu_exit *shown[VCPU_HISTORY], *exit = NULL;
    unsigned count = 0;
    while (count < VCPU_HISTORY && (exit = vcpu_exit_before(vcpu, exit)) != NULL)
        shown[count++] = exit;
    log_info("%s vcpu%u: %llu exits; the last ones:", vcpu->vm->name, vcpu->index,
             (ull)vcpu_exits(vcpu));
    while (count-- > 0) {
        char words[48];
        put_words(words, sizeof(words), shown[count]);
        log_info("  %-28s rip %016llx qualification %llx%s", exit_reason_name(shown[count]->reason),
                 (ull)shown[count]->rip, (ull)shown[count]->qualification, words);
    }
}

void vmx_log_counts(const struct vcpu *vcpu)
{
    for (unsigned i = 0; i < VCPU_EXIT_REASONS_MAX; i++)
        if (vcpu->exit_count[i] != 0)
            log_debug("%s vcpu%u: %llu exits %s", vcpu->vm->name, vcpu->index,
                      (ull)vcpu->exit_count[i], exit_reason_name(i));
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

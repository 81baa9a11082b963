/* CPUID, and what has to agree with it. */
#include "tests/guests/architecture/architecture.h"

#define IA32_MCG_CAP 0x179u
#define IA32_MCG_STATUS 0x17au
#define IA32_MISC_ENABLE 0x1a0u
#define IA32_PERF_GLOBAL_CTRL 0x38fu
#define IA32_PMC0 0xc1u
#define IA32_PERFEVTSEL0 0x186u
#define IA32_MC0_STATUS 0x401u
#define IA32_EFER 0xc0000080u
#define IA32_TSC_AUX 0xc0000103u

#define LIMIT_CPUID_MAXVAL BIT(22)
#define XD_BIT_DISABLE BIT(34)
#define EFER_NXE BIT(11)
#define CR4_PKE BIT(22)

/* SDM: IA32_MISC_ENABLE. The 22nd bit limits the highest basic leaf to 2; what is asked for above
 * is answered as that one. */
static void limit_cpuid(void)
{
    uint64_t old;
    guest_case("misc-enable-limits-cpuid");
    if (guest_try_rdmsr(IA32_MISC_ENABLE, &old) != NO_FAULT) {
        guest_skip("no IA32_MISC_ENABLE");
        return;
    }
    uint32_t highest = guest_cpuid(0, 0, EAX), vendor = guest_cpuid(0, 0, EBX);
    guest_expect(guest_try_wrmsr(IA32_MISC_ENABLE, old | LIMIT_CPUID_MAXVAL), NO_FAULT, "WRMSR");
    guest_expect(guest_cpuid(0, 0, EAX), 2, "the highest basic leaf");
    guest_expect(guest_cpuid(0, 0, EBX), vendor, "the vendor");
    guest_expect(guest_cpuid(7, 0, EAX), guest_cpuid(2, 0, EAX), "EAX of a leaf past it");
    guest_expect(guest_cpuid(0xd, 0, EDX), guest_cpuid(2, 0, EDX), "EDX of a leaf past it");
    guest_expect(guest_cpuid(0x80000000, 0, EAX) >= 0x80000008, 1, "extended leaves");
    guest_expect(guest_try_wrmsr(IA32_MISC_ENABLE, old), NO_FAULT, "WRMSR");
    guest_expect(guest_cpuid(0, 0, EAX), highest, "the highest basic leaf again");
}

static void disable_xd(void)
{
    uint64_t old;
    guest_case("misc-enable-hides-nx");
    if (guest_try_rdmsr(IA32_MISC_ENABLE, &old) != NO_FAULT) {
        guest_skip("no IA32_MISC_ENABLE");
        return;
    }
    uint64_t efer = guest_rdmsr(IA32_EFER) & ~EFER_NXE;
    guest_expect(guest_try_wrmsr(IA32_EFER, efer), NO_FAULT, "EFER without NXE");
    guest_wrmsr(IA32_MISC_ENABLE, old | XD_BIT_DISABLE);
    guest_expect(guest_has(0x80000001, 0, EDX, 20), 0, "NX");
    guest_expect(guest_try_wrmsr(IA32_EFER, efer | EFER_NXE), VECTOR_GP_, "NXE");
    guest_wrmsr(IA32_MISC_ENABLE, old & ~XD_BIT_DISABLE);
    guest_expect(guest_has(0x80000001, 0, EDX, 20), 1, "NX again");
    guest_expect(guest_try_wrmsr(IA32_EFER, efer | EFER_NXE), NO_FAULT, "NXE again");
    guest_wrmsr(IA32_MISC_ENABLE, old);
}

static void tsc_aux(void)
{
    uint64_t low, high, aux, pid;
    guest_case("tsc-aux");
    if (!guest_has(0x80000001, 0, EDX, 27)) {
        guest_skip("no RDTSCP");
        return;
    }
    guest_expect(guest_try_wrmsr(IA32_TSC_AUX, 0x89abcdef), NO_FAULT, "WRMSR");
    __asm__ volatile("mov $-1, %%rcx; rdtscp" : "=a"(low), "=d"(high), "=c"(aux));
    guest_expect(aux, 0x89abcdef, "RCX after RDTSCP");
    if (!guest_has(7, 0, ECX, 22))
        return;
    __asm__ volatile("rdpid %0" : "=r"(pid));
    guest_expect(pid, 0x89abcdef, "RDPID");
}

/* An idle machine: no bank has anything to say. */
static void machine_checks(void)
{
    uint64_t capabilities, value;
    guest_case("machine-check-banks");
    if (!guest_has(1, 0, EDX, 14) || guest_try_rdmsr(IA32_MCG_CAP, &capabilities) != NO_FAULT) {
        guest_skip("no IA32_MCG_CAP");
        return;
    }
    guest_expect(guest_try_rdmsr(IA32_MCG_STATUS, &value), NO_FAULT, "IA32_MCG_STATUS");
    guest_expect(value, 0, "IA32_MCG_STATUS");
    for (uint32_t bank = 0; bank < (capabilities & 0xff); bank++) {
        guest_expect(guest_try_rdmsr(IA32_MC0_STATUS + 4 * bank, &value), NO_FAULT, "a bank");
        guest_expect(value >> 63, 0, "its status");
    }
    guest_expect(guest_try_rdmsr(IA32_MC0_STATUS + 4 * (capabilities & 0xff), &value), VECTOR_GP_,
                 "a bank too many");
}

/* SDM: Architectural Performance Monitoring: the leaf and its MSRs are there together. */
static void performance_monitoring(void)
{
    uint64_t value;
    guest_case("performance-monitoring");
    uint32_t version = guest_cpuid(0, 0, EAX) >= 0xa ? guest_cpuid(0xa, 0, EAX) & 0xff : 0;
    uint64_t expected = version >= 1 ? NO_FAULT : VECTOR_GP_;
    guest_expect(guest_try_rdmsr(IA32_PMC0, &value), expected, "IA32_PMC0");
    guest_expect(guest_try_rdmsr(IA32_PERFEVTSEL0, &value), expected, "IA32_PERFEVTSEL0");
    guest_expect(guest_try_rdmsr(IA32_PERF_GLOBAL_CTRL, &value),
                 version >= 2 ? NO_FAULT : VECTOR_GP_, "IA32_PERF_GLOBAL_CTRL");
}

static void protection_keys(void)
{
    guest_case("protection-keys");
    bool offered = guest_has(7, 0, ECX, 3);
    uint64_t cr4 = guest_read_cr4();
    guest_expect(guest_try_write_cr4(cr4 | CR4_PKE), offered ? NO_FAULT : VECTOR_GP_, "CR4.PKE");
    if (offered)
        guest_expect(guest_has(7, 0, ECX, 4), 1, "OSPKE follows");
    (void)guest_try_write_cr4(cr4);
    guest_expect(guest_has(7, 0, ECX, 4), 0, "OSPKE");
    __asm__ volatile(GUEST_TRY("rdpkru") : : "c"(0) : "rax", "rdx", "memory");
    guest_expect(caught_vector, VECTOR_UD_, "RDPKRU while CR4.PKE is clear");
}

void cpuid_test(void)
{
    limit_cpuid();
    disable_xd();
    tsc_aux();
    machine_checks();
    performance_monitoring();
    protection_keys();
}

/*
 * Some values that the processor rightly accepts would lose the machine: a host's CR3 without a
 * host, an EPT pointer to what is no EPT, a state that nothing ends. The part of them that no rule
 * is about is replaced by memory of ours, and what would wait for ever fails in the entry's last
 * step.
 */
#include "tests/guests/bare/entry_check/entry_check.h"

static uint64_t *at(enum vmcs_field field)
{
    return &world.want[field];
}

/* The bits of a physical address that no rule is about become those of a page of ours. */
static void put_page(enum vmcs_field field, const uint8_t *pages, unsigned count)
{
    uint64_t *value = at(field), middle = MASK(world.machine.physical_bits - 1, 12);
    for (unsigned i = 0; i < count; i++)
        if ((*value & middle) == page_address((enum page)pages[i]))
            return;
    uint64_t hash = (*value & middle) * 0x9e3779b97f4a7c15ull >> 56;
    *value = (*value & ~middle) | page_address((enum page)pages[hash % count]);
}

#define PUT_PAGE(field, ...)                                                                       \
    put_page(field, (const uint8_t[]){__VA_ARGS__}, ARRAY_SIZE(((const uint8_t[]){__VA_ARGS__})))

/* Whether the processor would use the area; `bits` is with how many it computes the size. */
static bool is_area_used(uint64_t address, uint64_t count, unsigned bits)
{
    uint64_t limit = BIT(world.machine.physical_bits), size = count * 16 & MASK(bits - 1, 0);
    return count != 0 && !(address & 15) && address < limit && address + size - 1 < limit;
}

static void keep_msr_areas(void)
{
    static const uint16_t areas[][2] = {
        {VMCS_VM_EXIT_MSR_STORE_ADDRESS, VMCS_VM_EXIT_MSR_STORE_COUNT},
        {VMCS_VM_EXIT_MSR_LOAD_ADDRESS, VMCS_VM_EXIT_MSR_LOAD_COUNT},
    };
    for (unsigned i = 0; i < 2; i++) {
        uint64_t *address = at(areas[i][0]), *count = at(areas[i][1]);
        if (!is_area_used(*address, *count, 64) && !is_area_used(*address, *count, 32))
            continue;
        *address = page_address(PAGE_MSRS);
        *count = 1 + *count % 4;
    }
    uint64_t *address = at(VMCS_VM_ENTRY_MSR_LOAD_ADDRESS);
    if (is_area_used(*address, *at(VMCS_VM_ENTRY_MSR_LOAD_COUNT), 64) &&
        align_down(*address, 4096) != page_address(PAGE_BAD_MSRS))
        *address = page_address(PAGE_MSRS);
}

static void keep_host(void)
{
    uint64_t *rip = at(VMCS_HOST_RIP), *pkrs = at(VMCS_HOST_IA32_PKRS);
    PUT_PAGE(VMCS_HOST_CR3, PAGE_HOST_CR3, PAGE_HOST_CR3_COPY);
    *rip = (*rip & MASK(63, 32)) | (world.base[VMCS_HOST_RIP] & MASK(31, 0));
    if (!(*pkrs >> 32))
        *pkrs &= ~3ull; /* key 0 is that of every page */
}

/* Bochs ends with a panic where it injects this. */
static bool is_other_event_unknown(void)
{
    uint64_t event = *at(VMCS_VM_ENTRY_INTERRUPTION_INFORMATION);
    return event & BIT(31) && bits_get(event, 10, 8) == 7 && !is_allowed(MONITOR_TRAP_FLAG);
}

/* Where a guest would wait for what never comes, the last step of the entry, which loads MSRs,
 * shall fail: that all rules before it were kept can be seen from this. */
static void keep_awake(void)
{
    uint64_t activity = *at(VMCS_GUEST_ACTIVITY_STATE);
    bool wakes =
        activity == 0 || activity > 3 || (activity == 1 && is_on(world.want, PREEMPTION_TIMER));
    if (wakes && !is_other_event_unknown())
        return;
    *at(VMCS_VM_ENTRY_MSR_LOAD_COUNT) = 2;
    *at(VMCS_VM_ENTRY_MSR_LOAD_ADDRESS) = page_address(PAGE_BAD_MSRS);
}

void keep_machine(void)
{
    /* Bochs enters IA-32e mode without paging, and ends with a panic without protection too. */
    if (is_on(world.want, IA32E_GUEST))
        *at(VMCS_GUEST_CR0) |= CR0_PE;
    keep_host();
    keep_msr_areas();
    keep_awake();
    PUT_PAGE(VMCS_EPT_POINTER, PAGE_EMPTY_EPT);
    PUT_PAGE(VMCS_VIRTUAL_APIC_ADDRESS, PAGE_VTPR_0, PAGE_VTPR_7, PAGE_VTPR_15);
    if (*at(VMCS_VMCS_LINK_POINTER) != ~0ull)
        PUT_PAGE(VMCS_VMCS_LINK_POINTER, PAGE_SHADOW_VMCS, PAGE_ORDINARY_VMCS, PAGE_ZERO,
                 PAGE_VMCS);
    if (!is_on(world.want, EPT) || !is_on(world.want, SECONDARY_CONTROLS))
        PUT_PAGE(VMCS_GUEST_CR3, PAGE_ZERO, PAGE_PDPTES, PAGE_BAD_PDPTES);
    PUT_PAGE(VMCS_VIRTUALIZATION_EXCEPTION_INFORMATION_ADDRESS, PAGE_ZERO);
}

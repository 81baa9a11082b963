/* The rules of VM entry: how they are gone through, and those of the host-state area. */
#include "vmx/entry_check_internal.h"

COLD uint64_t entry_field(const struct check *check, enum vmcs_field field)
{
    return check->ports->read(check->ports->context, field);
}

COLD bool entry_on(const struct check *check, unsigned condition)
{
    return check->word[condition / 32] >> condition % 32 & 1;
}

COLD void entry_set_fact(struct check *check, unsigned condition, bool holds)
{
    check->word[WORD_FACTS] &= ~(1u << condition % 32);
    check->word[WORD_FACTS] |= (uint32_t)holds << condition % 32;
}

COLD void entry_report(struct check *check, const struct broken_rule *rule)
{
    check->broken++;
    check->ports->broken(check->ports->context, rule);
}

/* A rule broken gives the error of the field's area. */
COLD void entry_fail(struct check *check, enum vmcs_field field, uint64_t qualification,
                     const char *text)
{
    static const uint8_t error[] = {[VMCS_TYPE_CONTROL] = ENTRY_ERROR_CONTROLS,
                                    [VMCS_TYPE_HOST] = ENTRY_ERROR_HOST_STATE,
                                    [VMCS_TYPE_GUEST] = ENTRY_ERROR_GUEST_STATE};
    struct broken_rule rule = {field, error[field >> 10 & 3], qualification,
                               entry_field(check, field), text};
    entry_report(check, &rule);
}

COLD void entry_rule(struct check *check, bool holds, enum vmcs_field field, const char *text)
{
    if (!holds)
        entry_fail(check, field, 0, text);
}

/* SDM: IA32_PAT MSR: the memory types are 0, 1, 4, 5, 6 and 7. */
static bool is_valid_pat(uint64_t pat)
{
    for (unsigned i = 0; i < 8; i++, pat >>= 8)
        if ((pat & 0xff) > 7 || (pat & 0xfe) == 2)
            return false;
    return true;
}

/* Whether all bits from `low` on are the same. */
static bool is_uniform(uint64_t value, unsigned low)
{
    uint64_t upper = (uint64_t)((int64_t)value >> low);
    return upper == 0 || upper == ~0ull;
}

static bool holds(const struct check *check, const struct row *row, uint64_t value)
{
    switch ((enum kind)row->kind) {
    case CLEAR:
        return (value & row->operand) == 0;
    case SET:
        return (value & row->operand) == row->operand;
    case NONZERO:
        return value != 0;
    case AT_MOST:
        return value <= row->operand;
    case ADDRESS:
        return (value & row->operand) == 0 && value < check->address_limit;
    case CANONICAL:
        return is_uniform(value, check->machine->linear_bits - 1u);
    case IDENTICAL:
        return is_uniform(value, check->machine->linear_bits);
    case MEMORY_TYPES:
        return is_valid_pat(value);
    case NEEDS:
        return entry_on(check, (unsigned)row->operand);
    case EXCLUDES:
        return !entry_on(check, (unsigned)row->operand);
    }
    return true;
}

/* `offset` is added to the fields: which of the segment registers the rows are for. */
COLD void entry_apply(struct check *check, const struct row *row, size_t count, unsigned offset)
{
    static const char *const of_kind[] = {
        [CLEAR] = "reserved bits must be 0",
        [NONZERO] = "must not be 0",
        [ADDRESS] = "must be aligned and within the physical-address width",
        [CANONICAL] = "must be canonical",
        [IDENTICAL] = "the bits beyond the linear-address width must be identical",
        [MEMORY_TYPES] = "each byte must be 0, 1, 4, 5, 6 or 7",
    };
    for (const struct row *end = row + count; row < end; row++) {
        enum vmcs_field field = row->field + offset;
        if (entry_on(check, row->when))
            entry_rule(check, holds(check, row, entry_field(check, field)), field,
                       row->text != NULL ? row->text : of_kind[row->kind]);
    }
}

/* ---- What host and guest state have in common ---- */

void entry_check_fixed(struct check *check, enum vmcs_field field, uint64_t fixed0, uint64_t fixed1)
{
    uint64_t value = entry_field(check, field);
    entry_rule(check, !(fixed0 & ~value) && !(value & ~fixed1), field,
               "must have the bits that VMX operation fixes");
}

/* SDM: IA32_EFER: LMA must be that of `long_mode`, LME too while it counts. */
void entry_check_efer(struct check *check, enum vmcs_field field, bool long_mode, bool lme_counts)
{
    uint64_t efer = entry_field(check, field);
    entry_rule(check, !(efer & ~check->machine->efer_supported), field, "reserved bits must be 0");
    entry_rule(check, !(efer & EFER_LMA) == !long_mode, field,
               "LMA must agree with the address-space size");
    entry_rule(check, !lme_counts || !(efer & EFER_LME) == !(efer & EFER_LMA), field,
               "LME must equal LMA");
}

void entry_check_cr3_and_cet(struct check *check, enum vmcs_field cr4, uint64_t cr0,
                             enum vmcs_field cr3)
{
    entry_rule(check, !(entry_field(check, cr4) & CR4_CET) || cr0 & CR0_WP, cr4,
               "CET needs CR0.WP");
    entry_rule(check, entry_field(check, cr3) < check->width_limit, cr3,
               "must be within the physical-address width");
}

/* SDM: IA32_S_CET: SUPPRESS and TRACKER exclude each other. */
void entry_check_s_cet(struct check *check, enum vmcs_field field)
{
    uint64_t value = entry_field(check, field);
    entry_rule(check, !(value & MASK(9, 6)) && (value & MASK(11, 10)) != MASK(11, 10), field,
               "reserved bits must be 0");
}

/* ---- SDM: Checks on Host Control Registers, MSRs, and SSP; ... ---- */

#define SELECTOR(name)                                                                             \
    {                                                                                              \
        VMCS_HOST_##name##_SELECTOR, ALWAYS, CLEAR, "RPL and TI must be 0", 7                      \
    }
#define LINEAR(name)                                                                               \
    {                                                                                              \
        VMCS_HOST_##name, ALWAYS, CANONICAL, NULL, 0                                               \
    }

static const struct row host_rows[] = {
    LINEAR(IA32_SYSENTER_ESP),
    LINEAR(IA32_SYSENTER_EIP),
    {VMCS_HOST_IA32_PAT, EXIT_PAT, MEMORY_TYPES, NULL, 0},
    {VMCS_HOST_IA32_S_CET, EXIT_CET, CANONICAL, NULL, 0},
    {VMCS_HOST_IA32_INTERRUPT_SSP_TABLE_ADDR, EXIT_CET, CANONICAL, NULL, 0},
    {VMCS_HOST_SSP, EXIT_CET, CANONICAL, NULL, 0},
    {VMCS_HOST_SSP, EXIT_CET, CLEAR, "bits 1:0 must be 0", 3},
    {VMCS_HOST_IA32_PKRS, EXIT_PKRS, CLEAR, "bits 63:32 must be 0", MASK(63, 32)},
    SELECTOR(ES),
    SELECTOR(CS),
    SELECTOR(SS),
    SELECTOR(DS),
    SELECTOR(FS),
    SELECTOR(GS),
    SELECTOR(TR),
    {VMCS_HOST_CS_SELECTOR, ALWAYS, NONZERO, NULL, 0},
    {VMCS_HOST_TR_SELECTOR, ALWAYS, NONZERO, NULL, 0},
    {VMCS_HOST_SS_SELECTOR, HOST_32, NONZERO, NULL, 0},
    LINEAR(FS_BASE),
    LINEAR(GS_BASE),
    LINEAR(GDTR_BASE),
    LINEAR(IDTR_BASE),
    LINEAR(TR_BASE),
    {VMCS_HOST_CR4, HOST_64, SET, "a 64-bit host needs PAE", CR4_PAE},
    {VMCS_HOST_RIP, HOST_64, CANONICAL, NULL, 0},
};

static void check_host_state(struct check *check)
{
    const struct vmx_capabilities *capabilities = check->capabilities;
    entry_check_fixed(check, VMCS_HOST_CR0, capabilities->cr0_fixed0, capabilities->cr0_fixed1);
    entry_check_fixed(check, VMCS_HOST_CR4, capabilities->cr4_fixed0, capabilities->cr4_fixed1);
    entry_check_cr3_and_cet(check, VMCS_HOST_CR4, entry_field(check, VMCS_HOST_CR0), VMCS_HOST_CR3);
    APPLY(check, host_rows);
    if (entry_on(check, EXIT_CET))
        entry_check_s_cet(check, VMCS_HOST_IA32_S_CET);
    if (entry_on(check, EXIT_PERF_GLOBAL))
        entry_rule(check,
                   !(entry_field(check, VMCS_HOST_IA32_PERF_GLOBAL_CTRL) &
                     ~check->machine->perf_global_supported),
                   VMCS_HOST_IA32_PERF_GLOBAL_CTRL, "reserved bits must be 0");
    if (entry_on(check, EXIT_EFER))
        entry_check_efer(check, VMCS_HOST_IA32_EFER, entry_on(check, HOST_64), true);
    /* A rule between a control and the processor's mode; it counts as one of the host's. */
    if (!entry_on(check, HOST_64))
        entry_report(check, &(struct broken_rule){VMCS_VM_EXIT_CONTROLS, ENTRY_ERROR_HOST_STATE, 0,
                                                  entry_field(check, VMCS_VM_EXIT_CONTROLS),
                                                  "IA-32e mode needs \"host address-space size\""});
}

/* ---- SDM: Loading MSRs ---- */

static bool is_msr_loadable(uint64_t entry)
{
    return !(entry >> 32) && entry != 0xc0000100 && entry != 0xc0000101 && entry >> 8 != 8 &&
           entry != 0x9b; /* FS and GS base, x2APIC, IA32_SMM_MONITOR_CTL */
}

/* Whether WRMSR of its value would fault only the processor knows. */
static void check_loaded_msrs(struct check *check)
{
    uint64_t address = entry_field(check, VMCS_VM_ENTRY_MSR_LOAD_ADDRESS), entry;
    uint64_t count = entry_field(check, VMCS_VM_ENTRY_MSR_LOAD_COUNT);
    if (check->ports->load == NULL || address & 15 || address >= check->address_limit)
        return;
    for (uint64_t i = 0; i < count && i < 512; i++) {
        if (!check->ports->load(check->ports->context, address + 16 * i, &entry))
            return;
        if (is_msr_loadable(entry))
            continue;
        entry_report(check, &(struct broken_rule){VMCS_VM_ENTRY_MSR_LOAD_ADDRESS,
                                                  ENTRY_ERROR_MSR_LOADING, i + 1, entry,
                                                  "the MSR must be one that VM entries load"});
        return;
    }
}

unsigned entry_check(const struct entry_machine *machine, const struct entry_check_ports *ports)
{
    struct check check = {.ports = ports,
                          .machine = machine,
                          .capabilities = machine->capabilities,
                          .word[WORD_FACTS] = 1};
    check.width_limit = BIT(machine->physical_bits);
    check.address_limit =
        check.capabilities->basic & BASIC_32_BIT_ADDRESSES ? BIT(32) : check.width_limit;
    check.cr0 = entry_field(&check, VMCS_GUEST_CR0);
    check.cr4 = entry_field(&check, VMCS_GUEST_CR4);
    check.rflags = entry_field(&check, VMCS_GUEST_RFLAGS);
    check.event = entry_field(&check, VMCS_VM_ENTRY_INTERRUPTION_INFORMATION);
    check.interruptibility = entry_field(&check, VMCS_GUEST_INTERRUPTIBILITY_STATE);
    check.activity = entry_field(&check, VMCS_GUEST_ACTIVITY_STATE);
    check.cs_access = entry_field(&check, VMCS_GUEST_CS_ACCESS_RIGHTS);
    check.ss_access = entry_field(&check, VMCS_GUEST_SS_ACCESS_RIGHTS);
    entry_check_controls(&check);
    check_host_state(&check);
    entry_check_guest_state(&check);
    check_loaded_msrs(&check);
    return check.broken;
}

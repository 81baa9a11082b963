/* SDM: VM-Execution Control Fields; VM-Exit Control Fields; VM-Entry Control Fields. */
#include "vmx/entry_check_internal.h"

/* SDM: allowed 0-settings in the low half of a capability MSR, allowed 1-settings in the high. */
static void check_control_words(struct check *check)
{
    static const struct {
        uint16_t field;
        uint8_t when;
    } words[] = {
        [CONTROL_PIN] = {VMCS_PIN_BASED_CONTROLS, ALWAYS},
        [CONTROL_PRIMARY] = {VMCS_PROCESSOR_BASED_CONTROLS, ALWAYS},
        [CONTROL_SECONDARY] = {VMCS_SECONDARY_PROCESSOR_BASED_CONTROLS, SECONDARY_CONTROLS},
        [CONTROL_EXIT] = {VMCS_VM_EXIT_CONTROLS, ALWAYS},
        [CONTROL_ENTRY] = {VMCS_VM_ENTRY_CONTROLS, ALWAYS},
    };
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (!entry_on(check, words[i].when))
            continue;
        uint64_t capability = check->capabilities->control[i];
        uint64_t value = check->word[i] = (uint32_t)entry_field(check, words[i].field);
        entry_rule(check, ((uint32_t)capability & ~value) == 0, words[i].field,
                   "bits without an allowed 0-setting must be 1");
        entry_rule(check, (value & ~(capability >> 32)) == 0, words[i].field,
                   "bits without an allowed 1-setting must be 0");
    }
    uint64_t tertiary = entry_field(check, VMCS_TERTIARY_PROCESSOR_BASED_CONTROLS);
    if (entry_on(check, TERTIARY_CONTROLS)) {
        check->word[WORD_TERTIARY] = (uint32_t)tertiary;
        entry_rule(check, !(tertiary & ~check->capabilities->tertiary),
                   VMCS_TERTIARY_PROCESSOR_BASED_CONTROLS, "reserved bits must be 0");
    }
    entry_rule(check,
               !entry_on(check, SECONDARY_EXIT_CONTROLS) ||
                   !(entry_field(check, VMCS_SECONDARY_VM_EXIT_CONTROLS) &
                     ~check->capabilities->secondary_exit),
               VMCS_SECONDARY_VM_EXIT_CONTROLS, "reserved bits must be 0");
}

static const struct row control_rows[] = {
    {VMCS_CR3_TARGET_COUNT, ALWAYS, AT_MOST, "must not be above 4", 4},
    {VMCS_IO_BITMAP_A, IO_BITMAPS, ADDRESS, NULL, PAGE},
    {VMCS_IO_BITMAP_B, IO_BITMAPS, ADDRESS, NULL, PAGE},
    {VMCS_MSR_BITMAPS, MSR_BITMAPS, ADDRESS, NULL, PAGE},
    {VMCS_VIRTUAL_APIC_ADDRESS, TPR_SHADOW, ADDRESS, NULL, PAGE},
    {VMCS_TPR_THRESHOLD, TPR_THRESHOLD, CLEAR, "bits 31:4 must be 0", MASK(31, 4)},
    {VMCS_SECONDARY_PROCESSOR_BASED_CONTROLS, X2APIC_MODE, NEEDS,
     "\"virtualize x2APIC mode\" needs \"use TPR shadow\"", TPR_SHADOW},
    {VMCS_SECONDARY_PROCESSOR_BASED_CONTROLS, APIC_REGISTERS, NEEDS,
     "\"APIC-register virtualization\" needs \"use TPR shadow\"", TPR_SHADOW},
    {VMCS_SECONDARY_PROCESSOR_BASED_CONTROLS, INTERRUPT_DELIVERY, NEEDS,
     "\"virtual-interrupt delivery\" needs \"use TPR shadow\"", TPR_SHADOW},
    {VMCS_TERTIARY_PROCESSOR_BASED_CONTROLS, IPI_VIRTUALIZATION, NEEDS,
     "\"IPI virtualization\" needs \"use TPR shadow\"", TPR_SHADOW},
    {VMCS_PIN_BASED_CONTROLS, VIRTUAL_NMIS, NEEDS, "\"virtual NMIs\" needs \"NMI exiting\"",
     NMI_EXITING},
    {VMCS_PROCESSOR_BASED_CONTROLS, NMI_WINDOW, NEEDS,
     "\"NMI-window exiting\" needs \"virtual NMIs\"", VIRTUAL_NMIS},
    {VMCS_APIC_ACCESS_ADDRESS, APIC_ACCESSES, ADDRESS, NULL, PAGE},
    {VMCS_SECONDARY_PROCESSOR_BASED_CONTROLS, X2APIC_MODE, EXCLUDES,
     "\"virtualize x2APIC mode\" excludes \"virtualize APIC accesses\"", APIC_ACCESSES},
    {VMCS_SECONDARY_PROCESSOR_BASED_CONTROLS, INTERRUPT_DELIVERY, NEEDS,
     "\"virtual-interrupt delivery\" needs \"external-interrupt exiting\"",
     EXTERNAL_INTERRUPT_EXITING},
    {VMCS_PIN_BASED_CONTROLS, POSTED_INTERRUPTS, NEEDS,
     "\"process posted interrupts\" needs \"virtual-interrupt delivery\"", INTERRUPT_DELIVERY},
    {VMCS_PIN_BASED_CONTROLS, POSTED_INTERRUPTS, NEEDS,
     "\"process posted interrupts\" needs \"acknowledge interrupt on exit\"",
     ACKNOWLEDGE_INTERRUPT},
    {VMCS_POSTED_INTERRUPT_NOTIFICATION_VECTOR, POSTED_INTERRUPTS, AT_MOST, "must not be above 255",
     255},
    {VMCS_POSTED_INTERRUPT_DESCRIPTOR_ADDRESS, POSTED_INTERRUPTS, ADDRESS, NULL, MASK(5, 0)},
    {VMCS_VPID, VPID, NONZERO, NULL, 0},
    {VMCS_SECONDARY_PROCESSOR_BASED_CONTROLS, PML, NEEDS, "\"enable PML\" needs \"enable EPT\"",
     EPT},
    {VMCS_PML_ADDRESS, PML, ADDRESS, NULL, PAGE},
    {VMCS_SECONDARY_PROCESSOR_BASED_CONTROLS, UNRESTRICTED, NEEDS,
     "\"unrestricted guest\" needs \"enable EPT\"", EPT},
    {VMCS_SECONDARY_PROCESSOR_BASED_CONTROLS, MODE_BASED_EXECUTE, NEEDS,
     "\"mode-based execute control for EPT\" needs \"enable EPT\"", EPT},
    {VMCS_SECONDARY_PROCESSOR_BASED_CONTROLS, SUB_PAGE, NEEDS,
     "\"sub-page write permissions for EPT\" needs \"enable EPT\"", EPT},
    {VMCS_SUB_PAGE_PERMISSION_TABLE_POINTER, SUB_PAGE, ADDRESS, NULL, PAGE},
    {VMCS_VM_FUNCTION_CONTROLS, EPTP_SWITCHING, NEEDS, "\"EPTP switching\" needs \"enable EPT\"",
     EPT},
    {VMCS_EPTP_LIST_ADDRESS, EPTP_SWITCHING, ADDRESS, NULL, PAGE},
    {VMCS_VMREAD_BITMAP_ADDRESS, SHADOWING, ADDRESS, NULL, PAGE},
    {VMCS_VMWRITE_BITMAP_ADDRESS, SHADOWING, ADDRESS, NULL, PAGE},
    {VMCS_VIRTUALIZATION_EXCEPTION_INFORMATION_ADDRESS, EPT_VIOLATION_VE, ADDRESS, NULL, PAGE},
    {VMCS_LOW_PASID_DIRECTORY_ADDRESS, PASID, ADDRESS, NULL, PAGE},
    {VMCS_HIGH_PASID_DIRECTORY_ADDRESS, PASID, ADDRESS, NULL, PAGE},
    {VMCS_SECONDARY_PROCESSOR_BASED_CONTROLS, PT_GUEST_PHYSICAL, NEEDS,
     "\"Intel PT uses guest physical addresses\" needs \"enable EPT\"", EPT},
    {VMCS_SECONDARY_PROCESSOR_BASED_CONTROLS, PT_GUEST_PHYSICAL, NEEDS,
     "\"Intel PT uses guest physical addresses\" needs \"load IA32_RTIT_CTL\"", ENTRY_RTIT},
    {VMCS_SECONDARY_PROCESSOR_BASED_CONTROLS, PT_GUEST_PHYSICAL, NEEDS,
     "\"Intel PT uses guest physical addresses\" needs \"clear IA32_RTIT_CTL\"", CLEAR_RTIT},
    {VMCS_TSC_MULTIPLIER, TSC_SCALING, NONZERO, NULL, 0},
    {VMCS_TERTIARY_PROCESSOR_BASED_CONTROLS, HLAT, NEEDS, "\"enable HLAT\" needs \"enable EPT\"",
     EPT},
    {VMCS_HLAT_POINTER, HLAT, ADDRESS, NULL, MASK(11, 5) | MASK(2, 0)},
    {VMCS_TERTIARY_PROCESSOR_BASED_CONTROLS, EPT_PAGING_WRITE, NEEDS,
     "\"EPT paging-write control\" needs \"enable EPT\"", EPT},
    {VMCS_TERTIARY_PROCESSOR_BASED_CONTROLS, GUEST_PAGING_VERIFICATION, NEEDS,
     "\"guest-paging verification\" needs \"enable EPT\"", EPT},
    {VMCS_PID_POINTER_TABLE_ADDRESS, IPI_VIRTUALIZATION, ADDRESS, NULL, MASK(2, 0)},
    {VMCS_VM_EXIT_CONTROLS, SAVE_PREEMPTION_TIMER, NEEDS,
     "\"save VMX-preemption timer value\" needs \"activate VMX-preemption timer\"",
     PREEMPTION_TIMER},
    {VMCS_VM_ENTRY_CONTROLS, ENTRY_TO_SMM, EXCLUDES, "\"entry to SMM\" must be 0 outside SMM",
     ALWAYS},
    {VMCS_VM_ENTRY_CONTROLS, DEACTIVATE_DUAL_MONITOR, EXCLUDES,
     "\"deactivate dual-monitor treatment\" must be 0 outside SMM", ALWAYS},
};

static void check_ept_pointer(struct check *check)
{
    static const uint8_t capability[] = {[0] = 8, [6] = 14}; /* uncacheable, write-back */
    uint64_t eptp = entry_field(check, VMCS_EPT_POINTER), has = check->capabilities->ept_vpid;
    unsigned type = eptp & 7, length = (unsigned)bits_get(eptp, 5, 3);
    entry_rule(check, (type == 0 || type == 6) && has & BIT(capability[type]), VMCS_EPT_POINTER,
               "the memory type must be supported");
    entry_rule(check, (length == 3 && has & EPT_CAP_WALK_4) || (length == 4 && has & BIT(7)),
               VMCS_EPT_POINTER, "the page-walk length must be supported");
    entry_rule(check, !(eptp & BIT(6)) || has & EPT_CAP_AD, VMCS_EPT_POINTER,
               "accessed and dirty flags must be supported");
    entry_rule(check, !(eptp & BIT(7)) || has & BIT(23), VMCS_EPT_POINTER,
               "supervisor shadow-stack control must be supported");
    entry_rule(check, !(eptp & MASK(11, 8)) && eptp < check->width_limit, VMCS_EPT_POINTER,
               "reserved bits must be 0");
}

/* `address` is that of 16-byte entries, of which the processor will use so many. */
static void check_msr_area(struct check *check, enum vmcs_field field, enum vmcs_field count_field)
{
    uint64_t count = entry_field(check, count_field), address = entry_field(check, field);
    if (count == 0)
        return;
    bool valid = !(address & 15) && address < check->address_limit;
    entry_rule(check, valid, field, "must be aligned and within the physical-address width");
    entry_rule(check, !valid || address + count * 16 <= check->address_limit, count_field,
               "the last byte of the area must be within the physical-address width");
}

static void check_tpr_threshold(struct check *check)
{
    uint64_t page = entry_field(check, VMCS_VIRTUAL_APIC_ADDRESS), vtpr;
    if (!entry_on(check, TPR_THRESHOLD) || entry_on(check, APIC_ACCESSES) || page & PAGE ||
        page >= check->address_limit || check->ports->load == NULL ||
        !check->ports->load(check->ports->context, page + 0x80, &vtpr))
        return;
    entry_rule(check, (entry_field(check, VMCS_TPR_THRESHOLD) & 0xf) <= bits_get(vtpr, 7, 4),
               VMCS_TPR_THRESHOLD, "bits 3:0 must not be above bits 7:4 of VTPR");
}

/* The vectors of exceptions that have an error code. */
#define WITH_ERROR_CODE (BIT(8) | MASK(14, 10) | BIT(17))

static void check_injected_event(struct check *check)
{
    enum vmcs_field field = VMCS_VM_ENTRY_INTERRUPTION_INFORMATION;
    uint64_t length = entry_field(check, VMCS_VM_ENTRY_INSTRUCTION_LENGTH);
    const struct vmx_capabilities *capabilities = check->capabilities;
    unsigned type = (unsigned)bits_get(check->event, 10, 8), vector = check->event & 0xff;
    bool has_other = capabilities->control[CONTROL_PRIMARY] >> 32 & BIT(MONITOR_TRAP_FLAG % 32);
    entry_rule(check, type != TYPE_RESERVED && (type != TYPE_OTHER || has_other), field,
               "the type must not be reserved");
    entry_rule(check, type != TYPE_NMI || vector == VECTOR_NMI, field, "an NMI must have vector 2");
    entry_rule(check, type != TYPE_HARDWARE_EXCEPTION || vector <= 31, field,
               "a hardware exception's vector must not be above 31");
    entry_rule(check, type != TYPE_OTHER || vector == 0, field, "other events must have vector 0");
    bool has_code = check->event & BIT(11), any = capabilities->basic & BASIC_ANY_ERROR_CODE;
    bool can_have =
        type == TYPE_HARDWARE_EXCEPTION && (!entry_on(check, UNRESTRICTED) || check->cr0 & CR0_PE);
    bool listed = vector <= 31 && WITH_ERROR_CODE & BIT(vector);
    entry_rule(check, !has_code || (can_have && (listed || any)), field,
               "an error code must not be delivered here");
    entry_rule(check, has_code || !can_have || !listed || any, field,
               "this exception must deliver an error code");
    entry_rule(check, !(check->event & MASK(30, 12)), field, "reserved bits must be 0");
    entry_rule(check,
               !has_code ||
                   !(entry_field(check, VMCS_VM_ENTRY_EXCEPTION_ERROR_CODE) & MASK(31, 16)),
               VMCS_VM_ENTRY_EXCEPTION_ERROR_CODE, "bits 31:16 must be 0");
    if (type >= TYPE_SOFTWARE_INTERRUPT && type < TYPE_OTHER)
        entry_rule(check,
                   length <= 15 && (length != 0 || capabilities->misc & MISC_INJECT_LENGTH_0),
                   VMCS_VM_ENTRY_INSTRUCTION_LENGTH, "must be from 1 (0 where supported) to 15");
}

void entry_check_controls(struct check *check)
{
    check_control_words(check);
    uint64_t functions = entry_field(check, VMCS_VM_FUNCTION_CONTROLS);
    entry_set_fact(check, HOST_32, !entry_on(check, HOST_64));
    entry_set_fact(check, LEGACY_GUEST, !entry_on(check, IA32E_GUEST));
    entry_set_fact(check, EPTP_SWITCHING, entry_on(check, VM_FUNCTIONS) && functions & 1);
    entry_set_fact(check, TPR_THRESHOLD,
                   entry_on(check, TPR_SHADOW) && !entry_on(check, INTERRUPT_DELIVERY));
    APPLY(check, control_rows);
    entry_rule(check, !entry_on(check, VM_FUNCTIONS) || !(functions & ~check->capabilities->vmfunc),
               VMCS_VM_FUNCTION_CONTROLS, "reserved bits must be 0");
    check_tpr_threshold(check);
    if (entry_on(check, EPT))
        check_ept_pointer(check);
    if (entry_on(check, IPI_VIRTUALIZATION))
        entry_rule(check,
                   entry_field(check, VMCS_PID_POINTER_TABLE_ADDRESS) +
                           8 * entry_field(check, VMCS_LAST_PID_POINTER_INDEX) <
                       check->address_limit,
                   VMCS_LAST_PID_POINTER_INDEX,
                   "the last entry must be within the physical-address width");
    check_msr_area(check, VMCS_VM_EXIT_MSR_STORE_ADDRESS, VMCS_VM_EXIT_MSR_STORE_COUNT);
    check_msr_area(check, VMCS_VM_EXIT_MSR_LOAD_ADDRESS, VMCS_VM_EXIT_MSR_LOAD_COUNT);
    check_msr_area(check, VMCS_VM_ENTRY_MSR_LOAD_ADDRESS, VMCS_VM_ENTRY_MSR_LOAD_COUNT);
    if (check->event & BIT(31))
        check_injected_event(check);
}

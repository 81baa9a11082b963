/* The rules stand in the SDM's order; each is one line with its words. */
#include "vmx/entry_check.h"

#include "kernel/vm/cpu_mode.h"

struct check {
    const struct entry_check_ports *ports;
    const struct vmx_capabilities *capabilities;
    uint64_t address_limit; /* the first physical address that the machine does not have */
    unsigned broken;
    /* what many rules depend on */
    uint64_t cr0, cr4, efer, rflags, primary, secondary, entry, interruptibility, activity;
    bool ia32e, v86, unrestricted;
};

static uint64_t get(const struct check *check, enum vmcs_field field)
{
    return check->ports->read(check->ports->context, field);
}

static void rule(struct check *check, bool holds, enum vmcs_field field, const char *text)
{
    if (holds)
        return;
    check->broken++;
    check->ports->broken(check->ports->context, field, get(check, field), text);
}

/* SDM: allowed 0-settings in the low half of a capability MSR, allowed 1-settings in the high. */
static void check_control_words(struct check *check)
{
    static const struct {
        enum vmcs_field field;
        enum control_word word;
    } words[] = {
        {VMCS_PIN_BASED_CONTROLS, CONTROL_PIN},
        {VMCS_PROCESSOR_BASED_CONTROLS, CONTROL_PRIMARY},
        {VMCS_SECONDARY_PROCESSOR_BASED_CONTROLS, CONTROL_SECONDARY},
        {VMCS_VM_EXIT_CONTROLS, CONTROL_EXIT},
        {VMCS_VM_ENTRY_CONTROLS, CONTROL_ENTRY},
    };
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        uint64_t capability = check->capabilities->control[words[i].word];
        uint64_t value = get(check, words[i].field);
        rule(check, ((uint32_t)capability & ~value) == 0, words[i].field,
             "bits that the capability MSR reports as allowed-1 only must be 1");
        rule(check, (value & ~(capability >> 32)) == 0, words[i].field,
             "bits that the capability MSR reports as allowed-0 only must be 0");
    }
}

static void check_page(struct check *check, bool used, enum vmcs_field field)
{
    uint64_t value = get(check, field);
    rule(check, !used || (is_aligned(value, PAGE_SIZE) && value < check->address_limit), field,
         "the address must be 4-KByte aligned and within the physical-address width");
}

static void check_execution_controls(struct check *check)
{
    check_control_words(check);
    rule(check, get(check, VMCS_CR3_TARGET_COUNT) <= 4, VMCS_CR3_TARGET_COUNT,
         "the CR3-target count must not be greater than 4");
    check_page(check, check->primary & CONTROL_USE_IO_BITMAPS, VMCS_IO_BITMAP_A);
    check_page(check, check->primary & CONTROL_USE_IO_BITMAPS, VMCS_IO_BITMAP_B);
    check_page(check, check->primary & CONTROL_USE_MSR_BITMAPS, VMCS_MSR_BITMAPS);
    uint64_t pin = get(check, VMCS_PIN_BASED_CONTROLS);
    rule(check, pin & CONTROL_NMI_EXITING || !(pin & CONTROL_VIRTUAL_NMIS), VMCS_PIN_BASED_CONTROLS,
         "\"virtual NMIs\" needs \"NMI exiting\"");
    rule(check, pin & CONTROL_VIRTUAL_NMIS || !(check->primary & CONTROL_NMI_WINDOW_EXITING),
         VMCS_PROCESSOR_BASED_CONTROLS, "\"NMI-window exiting\" needs \"virtual NMIs\"");
    rule(check, !(check->secondary & CONTROL_ENABLE_VPID) || get(check, VMCS_VPID) != 0, VMCS_VPID,
         "the VPID must not be 0");
    rule(check, check->secondary & CONTROL_ENABLE_EPT || !check->unrestricted,
         VMCS_SECONDARY_PROCESSOR_BASED_CONTROLS, "\"unrestricted guest\" needs \"enable EPT\"");
    if (!(check->secondary & CONTROL_ENABLE_EPT))
        return;
    uint64_t eptp = get(check, VMCS_EPT_POINTER);
    rule(check, (eptp & 7) == 6 || (eptp & 7) == 0, VMCS_EPT_POINTER,
         "the EPT memory type must be write-back or uncacheable");
    rule(check, bits_get(eptp, 5, 3) == 3, VMCS_EPT_POINTER, "the EPT page-walk length must be 4");
    rule(check, !(eptp & BIT(6)) || check->capabilities->ept_vpid & EPT_CAP_AD, VMCS_EPT_POINTER,
         "accessed and dirty flags must be supported to be enabled");
    rule(check, !(eptp & MASK(11, 7)) && eptp < check->address_limit, VMCS_EPT_POINTER,
         "reserved bits must be 0");
}

/* SDM: VM-Entry Control Fields: the event to inject. */
static void check_injected_event(struct check *check)
{
    enum vmcs_field field = VMCS_VM_ENTRY_INTERRUPTION_INFORMATION;
    uint64_t information = get(check, field);
    if (!(information & BIT(31)))
        return;
    unsigned type = (unsigned)bits_get(information, 10, 8), vector = information & 0xff;
    rule(check, type != 1 && !(information & MASK(30, 12)), field,
         "the type must not be reserved, nor bits 30:12 set");
    rule(check, type != 2 || vector == VECTOR_NMI, field, "an NMI must have vector 2");
    rule(check, type != 3 || vector <= 31, field, "a hardware exception's vector is at most 31");
    bool wants_code = type == 3 && check->cr0 & CR0_PE &&
                      BIT(vector) & (BIT(8) | MASK(14, 10) | BIT(17) | BIT(21));
    bool has_code = information & BIT(11);
    rule(check, !has_code || (type == 3 && check->cr0 & CR0_PE), field,
         "an error code is delivered with a hardware exception in protected mode only");
    rule(check, has_code || !wants_code, field, "this exception must deliver an error code");
    rule(check, type < 4 || get(check, VMCS_VM_ENTRY_INSTRUCTION_LENGTH) <= 15,
         VMCS_VM_ENTRY_INSTRUCTION_LENGTH, "the instruction length must be at most 15");
    rule(check, type != 0 || (check->rflags & RFLAGS_IF && !(check->interruptibility & 3)),
         VMCS_GUEST_INTERRUPTIBILITY_STATE,
         "an external interrupt needs RFLAGS.IF and no blocking by STI or MOV SS");
    rule(check, type != 2 || !(check->interruptibility & 2), VMCS_GUEST_INTERRUPTIBILITY_STATE,
         "an NMI needs no blocking by MOV SS");
}

static void check_fixed(struct check *check, enum vmcs_field field, uint64_t fixed0,
                        uint64_t fixed1, const char *text)
{
    uint64_t value = get(check, field);
    rule(check, (fixed0 & ~value) == 0 && (value & ~fixed1) == 0, field, text);
}

static void check_canonical(struct check *check, enum vmcs_field field)
{
    rule(check, is_canonical(get(check, field)), field, "the address must be canonical");
}

static void check_host_state(struct check *check)
{
    static const enum vmcs_field canonical[] = {
        VMCS_HOST_IA32_SYSENTER_ESP, VMCS_HOST_IA32_SYSENTER_EIP,
        VMCS_HOST_FS_BASE,           VMCS_HOST_GS_BASE,
        VMCS_HOST_TR_BASE,           VMCS_HOST_GDTR_BASE,
        VMCS_HOST_IDTR_BASE,         VMCS_HOST_RIP,
    };
    static const enum vmcs_field selectors[] = {
        VMCS_HOST_ES_SELECTOR, VMCS_HOST_CS_SELECTOR, VMCS_HOST_SS_SELECTOR, VMCS_HOST_DS_SELECTOR,
        VMCS_HOST_FS_SELECTOR, VMCS_HOST_GS_SELECTOR, VMCS_HOST_TR_SELECTOR,
    };
    const struct vmx_capabilities *caps = check->capabilities;
    check_fixed(check, VMCS_HOST_CR0, caps->cr0_fixed0, caps->cr0_fixed1,
                "CR0 must have the bits that VMX operation fixes");
    check_fixed(check, VMCS_HOST_CR4, caps->cr4_fixed0, caps->cr4_fixed1,
                "CR4 must have the bits that VMX operation fixes");
    rule(check, get(check, VMCS_HOST_CR4) & CR4_PAE, VMCS_HOST_CR4,
         "PAE must be 1 in a 64-bit host");
    rule(check, get(check, VMCS_HOST_CR3) < check->address_limit, VMCS_HOST_CR3,
         "CR3 must be within the physical-address width");
    for (size_t i = 0; i < ARRAY_SIZE(canonical); i++)
        check_canonical(check, canonical[i]);
    for (size_t i = 0; i < ARRAY_SIZE(selectors); i++)
        rule(check, !(get(check, selectors[i]) & 7), selectors[i], "RPL and TI must be 0");
    rule(check, get(check, VMCS_HOST_CS_SELECTOR) != 0, VMCS_HOST_CS_SELECTOR,
         "the selector must not be null");
    rule(check, get(check, VMCS_HOST_TR_SELECTOR) != 0, VMCS_HOST_TR_SELECTOR,
         "the selector must not be null");
    rule(check, (get(check, VMCS_HOST_IA32_EFER) & (EFER_LMA | EFER_LME)) == (EFER_LMA | EFER_LME),
         VMCS_HOST_IA32_EFER, "LMA and LME must be 1 in a 64-bit host");
}

static bool is_valid_pat(uint64_t pat)
{
    for (unsigned i = 0; i < 8; i++, pat >>= 8)
        if (!(BIT(pat & 0xff & 63) & (BIT(0) | BIT(1) | BIT(4) | BIT(5) | BIT(6) | BIT(7))) ||
            (pat & 0xff) > 7)
            return false;
    return true;
}

static void check_guest_control_registers(struct check *check)
{
    const struct vmx_capabilities *caps = check->capabilities;
    uint64_t relaxed = check->unrestricted ? CR0_PE | CR0_PG : 0;
    check_fixed(check, VMCS_GUEST_CR0, caps->cr0_fixed0 & ~(relaxed | CR0_NW | CR0_CD),
                caps->cr0_fixed1 | CR0_NW | CR0_CD,
                "CR0 must have the bits that VMX operation fixes");
    rule(check, !(check->cr0 & CR0_PG) || check->cr0 & CR0_PE, VMCS_GUEST_CR0, "PG needs PE");
    check_fixed(check, VMCS_GUEST_CR4, caps->cr4_fixed0, caps->cr4_fixed1,
                "CR4 must have the bits that VMX operation fixes");
    rule(check, !check->ia32e || (check->cr0 & CR0_PG && check->cr4 & CR4_PAE), VMCS_GUEST_CR0,
         "\"IA-32e mode guest\" needs CR0.PG and CR4.PAE");
    rule(check, check->ia32e || !(check->cr4 & CR4_PCIDE), VMCS_GUEST_CR4,
         "PCIDE needs \"IA-32e mode guest\"");
    rule(check, get(check, VMCS_GUEST_CR3) < check->address_limit, VMCS_GUEST_CR3,
         "CR3 must be within the physical-address width");
    rule(check, !(get(check, VMCS_GUEST_DR7) >> 32), VMCS_GUEST_DR7, "bits 63:32 must be 0");
    check_canonical(check, VMCS_GUEST_IA32_SYSENTER_ESP);
    check_canonical(check, VMCS_GUEST_IA32_SYSENTER_EIP);
    rule(check, is_valid_pat(get(check, VMCS_GUEST_IA32_PAT)), VMCS_GUEST_IA32_PAT,
         "each byte must be 0, 1, 4, 5, 6 or 7");
    rule(check, !(check->efer & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)), VMCS_GUEST_IA32_EFER,
         "reserved bits must be 0");
    rule(check, !(check->efer & EFER_LMA) == !check->ia32e, VMCS_GUEST_IA32_EFER,
         "LMA must equal \"IA-32e mode guest\"");
    rule(check, !(check->cr0 & CR0_PG) || !(check->efer & EFER_LMA) == !(check->efer & EFER_LME),
         VMCS_GUEST_IA32_EFER, "LMA must equal LME while CR0.PG is 1");
}

#define SEGMENT_FIELD(first, number) ((enum vmcs_field)(VMCS_GUEST_ES_##first + 2 * (number)))

static void check_limit_granularity(struct check *check, unsigned number, uint64_t access)
{
    uint64_t limit = get(check, SEGMENT_FIELD(LIMIT, number));
    bool low_clear = (limit & 0xfff) != 0xfff, high_set = limit & MASK(31, 20);
    rule(check, !(access & SEGMENT_G && low_clear) && !(!(access & SEGMENT_G) && high_set),
         SEGMENT_FIELD(LIMIT, number), "the limit must agree with the granularity bit");
}

static void check_v86_segment(struct check *check, unsigned number)
{
    uint64_t selector = get(check, SEGMENT_FIELD(SELECTOR, number));
    rule(check, get(check, SEGMENT_FIELD(BASE, number)) == selector << 4,
         SEGMENT_FIELD(BASE, number),
         "the base must be 16 times the selector in virtual-8086 mode");
    rule(check, get(check, SEGMENT_FIELD(LIMIT, number)) == 0xffff, SEGMENT_FIELD(LIMIT, number),
         "the limit must be FFFFH in virtual-8086 mode");
    rule(check, get(check, SEGMENT_FIELD(ACCESS_RIGHTS, number)) == 0xf3,
         SEGMENT_FIELD(ACCESS_RIGHTS, number),
         "the access rights must be F3H in virtual-8086 mode");
}

static void check_code_segment(struct check *check, uint64_t access)
{
    enum vmcs_field field = VMCS_GUEST_CS_ACCESS_RIGHTS;
    unsigned type = access & 0xf;
    unsigned dpl = SEGMENT_DPL(access);
    unsigned ss_dpl = SEGMENT_DPL(get(check, VMCS_GUEST_SS_ACCESS_RIGHTS));
    rule(check, (type & 9) == 9 || (check->unrestricted && type == 3), field,
         "the type must be an accessed code segment");
    rule(check, type != 3 || dpl == 0, field, "DPL must be 0 for a data segment in CS");
    rule(check, (type != 9 && type != 11) || dpl == ss_dpl, field,
         "DPL must equal SS's for non-conforming code");
    rule(check, (type != 13 && type != 15) || dpl <= ss_dpl, field,
         "DPL must not be above SS's for conforming code");
    rule(check, !(check->ia32e && access & SEGMENT_L && access & SEGMENT_DB), field,
         "D must be 0 where L is 1");
}

static void check_segment(struct check *check, unsigned number)
{
    uint64_t access = get(check, SEGMENT_FIELD(ACCESS_RIGHTS, number));
    enum vmcs_field field = SEGMENT_FIELD(ACCESS_RIGHTS, number);
    if (number == SEG_FS || number == SEG_GS)
        check_canonical(check, SEGMENT_FIELD(BASE, number));
    else if (!(access & SEGMENT_UNUSABLE) || number == SEG_CS)
        rule(check, !(get(check, SEGMENT_FIELD(BASE, number)) >> 32), SEGMENT_FIELD(BASE, number),
             "bits 63:32 of the base must be 0");
    if (access & SEGMENT_UNUSABLE && number != SEG_CS)
        return;
    rule(check, access & SEGMENT_S && access & SEGMENT_P, field, "S and P must be 1");
    rule(check, !(access & (MASK(11, 8) | MASK(31, 17))), field, "reserved bits must be 0");
    check_limit_granularity(check, number, access);
    if (number == SEG_CS)
        check_code_segment(check, access);
    else if (number == SEG_SS)
        rule(check, (access & 0xb) == 3, field, "the type must be accessed, writable data");
    else
        rule(check, access & 1 && (!(access & 8) || access & 2), field,
             "the type must be accessed and readable");
}

static void check_system_segments(struct check *check)
{
    uint64_t ldtr = get(check, VMCS_GUEST_LDTR_ACCESS_RIGHTS);
    uint64_t tr = get(check, VMCS_GUEST_TR_ACCESS_RIGHTS);
    rule(check, (tr & 0xf) == 11 || (!check->ia32e && (tr & 0xf) == 3), VMCS_GUEST_TR_ACCESS_RIGHTS,
         "the type must be a busy TSS");
    rule(check, !(tr & SEGMENT_S) && tr & SEGMENT_P && !(tr & SEGMENT_UNUSABLE),
         VMCS_GUEST_TR_ACCESS_RIGHTS, "TR must be present, usable, and a system segment");
    rule(check, !(get(check, VMCS_GUEST_TR_SELECTOR) & 4), VMCS_GUEST_TR_SELECTOR, "TI must be 0");
    check_canonical(check, VMCS_GUEST_TR_BASE);
    check_limit_granularity(check, SEG_TR, tr);
    if (ldtr & SEGMENT_UNUSABLE)
        return;
    rule(check, (ldtr & 0xf) == 2 && !(ldtr & SEGMENT_S) && ldtr & SEGMENT_P,
         VMCS_GUEST_LDTR_ACCESS_RIGHTS, "LDTR must be a present LDT");
    check_canonical(check, VMCS_GUEST_LDTR_BASE);
    check_limit_granularity(check, SEG_LDTR, ldtr);
}

static void check_guest_segments(struct check *check)
{
    for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
        if (check->v86)
            check_v86_segment(check, i);
        else
            check_segment(check, i);
    }
    check_system_segments(check);
    check_canonical(check, VMCS_GUEST_GDTR_BASE);
    check_canonical(check, VMCS_GUEST_IDTR_BASE);
    rule(check, get(check, VMCS_GUEST_GDTR_LIMIT) <= 0xffff, VMCS_GUEST_GDTR_LIMIT,
         "bits 31:16 must be 0");
    rule(check, get(check, VMCS_GUEST_IDTR_LIMIT) <= 0xffff, VMCS_GUEST_IDTR_LIMIT,
         "bits 31:16 must be 0");
}

#define LINEAR_BITS 48

static void check_rip_and_rflags(struct check *check)
{
    uint64_t rip = get(check, VMCS_GUEST_RIP);
    bool long_code = check->ia32e && get(check, VMCS_GUEST_CS_ACCESS_RIGHTS) & SEGMENT_L;
    rule(check, long_code || !(rip >> 32), VMCS_GUEST_RIP,
         "bits 63:32 must be 0 outside 64-bit mode");
    /* Not canonical: the first address past the lower half is one that the guest can reach. */
    rule(check, !long_code || rip >> LINEAR_BITS == 0 || rip >> LINEAR_BITS == 0xffff,
         VMCS_GUEST_RIP, "bits 63:48 must be equal");
    rule(check,
         check->rflags & BIT(1) && !(check->rflags & (MASK(63, 22) | BIT(15) | BIT(5) | BIT(3))),
         VMCS_GUEST_RFLAGS, "reserved bits must have their fixed values");
    rule(check, !check->v86 || (!check->ia32e && check->cr0 & CR0_PE), VMCS_GUEST_RFLAGS,
         "VM needs protected mode outside IA-32e mode");
}

static void check_non_register_state(struct check *check)
{
    uint64_t blocking = check->interruptibility;
    uint64_t pending = get(check, VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS);
    rule(check, check->activity <= 3, VMCS_GUEST_ACTIVITY_STATE,
         "the activity state must be known");
    rule(check, check->activity != 1 || !SEGMENT_DPL(get(check, VMCS_GUEST_SS_ACCESS_RIGHTS)),
         VMCS_GUEST_ACTIVITY_STATE, "HLT needs CPL 0");
    rule(check, check->activity == 0 || !(blocking & 3), VMCS_GUEST_ACTIVITY_STATE,
         "blocking by STI or MOV SS needs the active state");
    rule(check, !(blocking & MASK(31, 5)), VMCS_GUEST_INTERRUPTIBILITY_STATE,
         "reserved bits must be 0");
    rule(check, (blocking & 3) != 3, VMCS_GUEST_INTERRUPTIBILITY_STATE,
         "blocking by STI and by MOV SS exclude each other");
    rule(check, !(blocking & 1) || check->rflags & RFLAGS_IF, VMCS_GUEST_INTERRUPTIBILITY_STATE,
         "blocking by STI needs RFLAGS.IF");
    rule(check, !(pending & ~(0x1500full)), VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS,
         "reserved bits must be 0");
    if (blocking & 3 || check->activity == 1) {
        bool stepping =
            check->rflags & RFLAGS_TF && !(get(check, VMCS_GUEST_IA32_DEBUGCTL) & BIT(1));
        rule(check, !(pending & BIT(14)) == !stepping, VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS,
             "BS must say whether a single step is pending");
    }
    uint64_t link = get(check, VMCS_VMCS_LINK_POINTER);
    rule(check, link == ~0ull || (is_aligned(link, PAGE_SIZE) && link < check->address_limit),
         VMCS_VMCS_LINK_POINTER, "the pointer must be 4-KByte aligned, or all ones");
}

/* SDM: Checks on Guest Page-Directory-Pointer-Table Entries. */
static void check_pdptes(struct check *check)
{
    static const enum vmcs_field field[] = {VMCS_GUEST_PDPTE0, VMCS_GUEST_PDPTE1, VMCS_GUEST_PDPTE2,
                                            VMCS_GUEST_PDPTE3};
    if (!(check->cr0 & CR0_PG && check->cr4 & CR4_PAE) || check->ia32e ||
        !(check->secondary & CONTROL_ENABLE_EPT))
        return;
    for (unsigned i = 0; i < 4; i++) {
        uint64_t pdpte = get(check, field[i]);
        rule(check,
             !(pdpte & 1) || !(pdpte & (MASK(2, 1) | MASK(8, 5) | ~(check->address_limit - 1))),
             field[i], "reserved bits of a present entry must be 0");
    }
}

unsigned entry_check(const struct vmx_capabilities *capabilities, unsigned maxphyaddr,
                     const struct entry_check_ports *ports)
{
    struct check check = {.ports = ports, .capabilities = capabilities};
    check.address_limit = BIT(maxphyaddr);
    check.cr0 = get(&check, VMCS_GUEST_CR0);
    check.cr4 = get(&check, VMCS_GUEST_CR4);
    check.efer = get(&check, VMCS_GUEST_IA32_EFER);
    check.rflags = get(&check, VMCS_GUEST_RFLAGS);
    check.primary = get(&check, VMCS_PROCESSOR_BASED_CONTROLS);
    check.secondary = get(&check, VMCS_SECONDARY_PROCESSOR_BASED_CONTROLS);
    check.entry = get(&check, VMCS_VM_ENTRY_CONTROLS);
    check.interruptibility = get(&check, VMCS_GUEST_INTERRUPTIBILITY_STATE);
    check.activity = get(&check, VMCS_GUEST_ACTIVITY_STATE);
    check.ia32e = check.entry & CONTROL_IA32E_MODE_GUEST;
    check.v86 = check.rflags & RFLAGS_VM;
    check.unrestricted = check.secondary & CONTROL_UNRESTRICTED_GUEST;
    check_execution_controls(&check);
    check_injected_event(&check);
    check_host_state(&check);
    check_guest_control_registers(&check);
    check_guest_segments(&check);
    check_rip_and_rflags(&check);
    check_non_register_state(&check);
    check_pdptes(&check);
    return check.broken;
}

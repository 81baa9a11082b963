/* SDM: Checking and Loading Guest State. */
#include "vmx/entry_check_internal.h"

/* ---- SDM: Checks on Guest Control Registers, Debug Registers, and MSRs; ... ---- */

#define LINEAR_GUEST(name)                                                                         \
    {                                                                                              \
        VMCS_GUEST_##name, ALWAYS, CANONICAL, NULL, 0                                              \
    }
#define UPPER "bits 63:32 must be 0"

static const struct row guest_rows[] = {
    {VMCS_GUEST_CR0, IA32E_GUEST, SET, "\"IA-32e mode guest\" needs PG", CR0_PG},
    {VMCS_GUEST_CR4, IA32E_GUEST, SET, "\"IA-32e mode guest\" needs PAE", CR4_PAE},
    {VMCS_GUEST_CR4, LEGACY_GUEST, CLEAR, "PCIDE needs \"IA-32e mode guest\"", CR4_PCIDE},
    {VMCS_GUEST_DR7, ENTRY_DEBUG, CLEAR, UPPER, MASK(63, 32)},
    LINEAR_GUEST(IA32_SYSENTER_ESP),
    LINEAR_GUEST(IA32_SYSENTER_EIP),
    {VMCS_GUEST_IA32_S_CET, ENTRY_CET, CANONICAL, NULL, 0},
    {VMCS_GUEST_IA32_INTERRUPT_SSP_TABLE_ADDR, ENTRY_CET, CANONICAL, NULL, 0},
    {VMCS_GUEST_IA32_PAT, ENTRY_PAT, MEMORY_TYPES, NULL, 0},
    {VMCS_GUEST_IA32_BNDCFGS, ENTRY_BNDCFGS, CLEAR, NULL, MASK(11, 2)},
    {VMCS_GUEST_IA32_BNDCFGS, ENTRY_BNDCFGS, CANONICAL, NULL, 0},
    {VMCS_GUEST_IA32_RTIT_CTL, ENTRY_RTIT, CLEAR, NULL,
     MASK(63, 57) | MASK(54, 48) | MASK(30, 28) | BIT(23) | BIT(18)},
    {VMCS_GUEST_IA32_PKRS, ENTRY_PKRS, CLEAR, UPPER, MASK(63, 32)},
    {VMCS_GUEST_UINV, ENTRY_UINV, CLEAR, "bits 15:8 must be 0", MASK(15, 8)},
    {VMCS_GUEST_IA32_LBR_CTL, ENTRY_LBR, CLEAR, NULL, MASK(63, 23) | MASK(15, 4)},
    LINEAR_GUEST(GDTR_BASE),
    LINEAR_GUEST(IDTR_BASE),
    {VMCS_GUEST_GDTR_LIMIT, ALWAYS, CLEAR, "bits 31:16 must be 0", MASK(31, 16)},
    {VMCS_GUEST_IDTR_LIMIT, ALWAYS, CLEAR, "bits 31:16 must be 0", MASK(31, 16)},
    {VMCS_GUEST_RIP, SHORT_CODE, CLEAR, "bits 63:32 must be 0 outside 64-bit mode", MASK(63, 32)},
    {VMCS_GUEST_RIP, LONG_CODE, IDENTICAL, NULL, 0},
    {VMCS_GUEST_RFLAGS, ALWAYS, CLEAR, NULL, MASK(63, 22) | BIT(15) | BIT(5) | BIT(3)},
    {VMCS_GUEST_RFLAGS, ALWAYS, SET, "bit 1 must be 1", RFLAGS_FIXED},
    {VMCS_GUEST_RFLAGS, IA32E_GUEST, CLEAR, "VM must be 0 in IA-32e mode", RFLAGS_VM},
    {VMCS_GUEST_SSP, ENTRY_CET, CLEAR, "bits 1:0 must be 0", 3},
    {VMCS_GUEST_SSP, ENTRY_CET, IDENTICAL, NULL, 0},
};

static void check_guest_registers(struct check *check)
{
    const struct vmx_capabilities *capabilities = check->capabilities;
    const struct entry_machine *machine = check->machine;
    uint64_t relaxed = entry_on(check, UNRESTRICTED) ? CR0_PE | CR0_PG : 0;
    entry_check_fixed(check, VMCS_GUEST_CR0, capabilities->cr0_fixed0 & ~relaxed,
                      capabilities->cr0_fixed1);
    entry_check_fixed(check, VMCS_GUEST_CR4, capabilities->cr4_fixed0, capabilities->cr4_fixed1);
    entry_rule(check, !(check->cr0 & CR0_PG) || check->cr0 & CR0_PE, VMCS_GUEST_CR0, "PG needs PE");
    entry_check_cr3_and_cet(check, VMCS_GUEST_CR4, check->cr0, VMCS_GUEST_CR3);
    APPLY(check, guest_rows);
    if (entry_on(check, ENTRY_DEBUG)) {
        uint64_t bus_lock = machine->leaf7_ecx & LEAF7_ECX_BUS_LOCK ? 0 : BIT(2);
        uint64_t rtm = machine->leaf7_ebx & LEAF7_EBX_RTM ? 0 : BIT(15);
        entry_rule(check,
                   !(entry_field(check, VMCS_GUEST_IA32_DEBUGCTL) &
                     (MASK(63, 16) | MASK(5, 3) | bus_lock | rtm)),
                   VMCS_GUEST_IA32_DEBUGCTL, "reserved bits must be 0");
    }
    if (entry_on(check, ENTRY_CET))
        entry_check_s_cet(check, VMCS_GUEST_IA32_S_CET);
    if (entry_on(check, ENTRY_PERF_GLOBAL))
        entry_rule(check,
                   !(entry_field(check, VMCS_GUEST_IA32_PERF_GLOBAL_CTRL) &
                     ~machine->perf_global_supported),
                   VMCS_GUEST_IA32_PERF_GLOBAL_CTRL, "reserved bits must be 0");
    if (entry_on(check, ENTRY_EFER))
        entry_check_efer(check, VMCS_GUEST_IA32_EFER, entry_on(check, IA32E_GUEST),
                         check->cr0 & CR0_PG);
    entry_rule(check, !entry_on(check, V86) || check->cr0 & CR0_PE, VMCS_GUEST_RFLAGS,
               "VM needs CR0.PE");
    entry_rule(check,
               !(check->event & BIT(31)) ||
                   bits_get(check->event, 10, 8) != TYPE_EXTERNAL_INTERRUPT ||
                   check->rflags & RFLAGS_IF,
               VMCS_GUEST_RFLAGS, "an external interrupt needs IF");
}

/* ---- SDM: Checks on Guest Segment Registers ---- */

#define SEGMENT_FIELD(first, number) ((enum vmcs_field)(VMCS_GUEST_ES_##first + 2 * (number)))
#define RPL 3
#define TI 4

static const struct row segment_rows[] = {
    {VMCS_GUEST_ES_BASE, SEGMENT_ANY_BASE, CANONICAL, NULL, 0},
    {VMCS_GUEST_ES_BASE, SEGMENT_LOW_BASE, CLEAR, UPPER, MASK(63, 32)},
    {VMCS_GUEST_ES_ACCESS_RIGHTS, SEGMENT_USER, SET, "S must be 1", SEGMENT_S},
    {VMCS_GUEST_ES_ACCESS_RIGHTS, SEGMENT_SYSTEM, CLEAR, "S must be 0", SEGMENT_S},
    {VMCS_GUEST_ES_ACCESS_RIGHTS, SEGMENT_CHECKED, SET, "P must be 1", SEGMENT_P},
    {VMCS_GUEST_ES_ACCESS_RIGHTS, SEGMENT_CHECKED, CLEAR, NULL, MASK(31, 17) | MASK(11, 8)},
    {VMCS_GUEST_ES_LIMIT, SEGMENT_BIG, SET, "bits 11:0 must be 1 where G is 1", MASK(11, 0)},
    {VMCS_GUEST_ES_LIMIT, SEGMENT_SMALL, CLEAR, "bits 31:20 must be 0 where G is 0", MASK(31, 20)},
};

static void check_v86_segment(struct check *check, unsigned number)
{
    uint64_t selector = entry_field(check, SEGMENT_FIELD(SELECTOR, number));
    entry_rule(check, entry_field(check, SEGMENT_FIELD(BASE, number)) == selector << 4,
               SEGMENT_FIELD(BASE, number), "must be 16 times the selector in virtual-8086 mode");
    entry_rule(check, entry_field(check, SEGMENT_FIELD(LIMIT, number)) == 0xffff,
               SEGMENT_FIELD(LIMIT, number), "must be FFFFH in virtual-8086 mode");
    entry_rule(check, entry_field(check, SEGMENT_FIELD(ACCESS_RIGHTS, number)) == 0xf3,
               SEGMENT_FIELD(ACCESS_RIGHTS, number), "must be F3H in virtual-8086 mode");
}

static void check_code_segment(struct check *check, uint64_t access)
{
    enum vmcs_field field = VMCS_GUEST_CS_ACCESS_RIGHTS;
    unsigned type = access & SEGMENT_TYPE_MASK, dpl = SEGMENT_DPL(access);
    unsigned ss_dpl = SEGMENT_DPL(check->ss_access);
    entry_rule(check, (type & 9) == 9 || (entry_on(check, UNRESTRICTED) && type == 3), field,
               "the type must be 9, 11, 13 or 15, or 3 for an unrestricted guest");
    entry_rule(check, type != 3 || dpl == 0, field, "DPL must be 0 where the type is 3");
    entry_rule(check, (type & 13) != 9 || dpl == ss_dpl, field,
               "DPL must equal SS.DPL where the type is 9 or 11");
    entry_rule(check, (type & 13) != 13 || dpl <= ss_dpl, field,
               "DPL must not be above SS.DPL where the type is 13 or 15");
    entry_rule(check, !entry_on(check, LONG_CODE) || !(access & SEGMENT_DB), field,
               "D must be 0 where L is 1");
}

/* What concerns SS even while it is unusable, which bears the guest's privilege level. */
static void check_stack_privilege(struct check *check)
{
    uint64_t selector = entry_field(check, VMCS_GUEST_SS_SELECTOR);
    unsigned dpl = SEGMENT_DPL(check->ss_access);
#ifndef PLANTED_BUG_ENTRY_CHECK /* for the comparison's own test */
    entry_rule(check,
               entry_on(check, UNRESTRICTED) ||
                   (selector & RPL) == (entry_field(check, VMCS_GUEST_CS_SELECTOR) & RPL),
               VMCS_GUEST_SS_SELECTOR, "RPL must equal CS.RPL");
#endif
    entry_rule(check, entry_on(check, UNRESTRICTED) || dpl == (selector & RPL),
               VMCS_GUEST_SS_ACCESS_RIGHTS, "DPL must equal SS.RPL");
    bool is_real = (check->cs_access & SEGMENT_TYPE_MASK) == 3 || !(check->cr0 & CR0_PE);
    entry_rule(check, !is_real || dpl == 0, VMCS_GUEST_SS_ACCESS_RIGHTS,
               "DPL must be 0 where CS's type is 3 or CR0.PE is 0");
}

static void check_data_segment(struct check *check, unsigned number, uint64_t access)
{
    enum vmcs_field field = SEGMENT_FIELD(ACCESS_RIGHTS, number);
    unsigned type = access & SEGMENT_TYPE_MASK;
    entry_rule(check, type & 1 && (type & 10) != 8, field,
               "the type must be accessed and readable");
    entry_rule(check,
               entry_on(check, UNRESTRICTED) || type > 11 ||
                   SEGMENT_DPL(access) >=
                       (entry_field(check, SEGMENT_FIELD(SELECTOR, number)) & RPL),
               field, "DPL must not be below RPL where the type is up to 11");
}

static void check_segment_type(struct check *check, unsigned number, uint64_t access)
{
    enum vmcs_field field = SEGMENT_FIELD(ACCESS_RIGHTS, number);
    unsigned type = access & SEGMENT_TYPE_MASK;
    switch (number) {
    case SEG_CS:
        check_code_segment(check, access);
        break;
    case SEG_SS:
        entry_rule(check, (type & 11) == 3, field, "the type must be 3 or 7");
        break;
    case SEG_LDTR:
        entry_rule(check, type == 2, field, "the type must be 2");
        break;
    case SEG_TR:
        entry_rule(check, type == 11 || (type == 3 && !entry_on(check, IA32E_GUEST)), field,
                   "the type must be 11, or 3 outside IA-32e mode");
        entry_rule(check, !(access & SEGMENT_UNUSABLE), field, "TR must be usable");
        break;
    default:
        check_data_segment(check, number, access);
    }
    entry_rule(check,
               number < SEG_LDTR || !(entry_field(check, SEGMENT_FIELD(SELECTOR, number)) & TI),
               SEGMENT_FIELD(SELECTOR, number), "TI must be 0");
}

static void check_segment(struct check *check, unsigned number)
{
    uint64_t access = entry_field(check, SEGMENT_FIELD(ACCESS_RIGHTS, number));
    bool checked = !(access & SEGMENT_UNUSABLE) || number == SEG_CS || number == SEG_TR;
    bool system = number >= SEG_LDTR, has_base = number == SEG_FS || number == SEG_GS;
    entry_set_fact(check, SEGMENT_CHECKED, checked);
    entry_set_fact(check, SEGMENT_BIG, checked && access & SEGMENT_G);
    entry_set_fact(check, SEGMENT_SMALL, checked && !(access & SEGMENT_G));
    entry_set_fact(check, SEGMENT_USER, checked && !system);
    entry_set_fact(check, SEGMENT_SYSTEM, checked && system);
    entry_set_fact(check, SEGMENT_LOW_BASE, checked && !system && !has_base);
    entry_set_fact(check, SEGMENT_ANY_BASE, has_base || (checked && system));
    entry_apply(check, segment_rows, ARRAY_SIZE(segment_rows), 2 * number);
    if (checked)
        check_segment_type(check, number, access);
}

static void check_guest_segments(struct check *check)
{
    for (unsigned i = SEG_ES; i < SEG_COUNT; i++) {
        if (entry_on(check, V86) && i <= SEG_GS)
            check_v86_segment(check, i);
        else
            check_segment(check, i);
    }
    if (!entry_on(check, V86))
        check_stack_privilege(check);
}

/* ---- SDM: Checks on Guest Non-Register State ---- */

/* SDM: what may be injected into which activity state. */
static bool may_inject(const struct check *check)
{
    unsigned type = (unsigned)bits_get(check->event, 10, 8), vector = check->event & 0xff;
    bool exception = type == TYPE_HARDWARE_EXCEPTION;
    switch (check->activity) {
    case HLT:
        return type == TYPE_EXTERNAL_INTERRUPT || type == TYPE_NMI ||
               (exception && (vector == VECTOR_DB || vector == VECTOR_MC)) ||
               (type == TYPE_OTHER && vector == 0);
    case SHUTDOWN:
        return type == TYPE_NMI || (exception && vector == VECTOR_MC);
    case WAIT_FOR_SIPI:
        return false;
    default:
        return true;
    }
}

static void check_activity(struct check *check)
{
    enum vmcs_field field = VMCS_GUEST_ACTIVITY_STATE;
    uint64_t activity = check->activity;
    entry_rule(check,
               activity == ACTIVE || (activity <= WAIT_FOR_SIPI &&
                                      check->capabilities->misc & BIT(5 + (activity & 3))),
               field, "the activity state must be supported");
    entry_rule(check, activity != HLT || !SEGMENT_DPL(check->ss_access), field,
               "HLT needs SS.DPL 0");
    entry_rule(check, activity == ACTIVE || !(check->interruptibility & 3), field,
               "blocking by STI or MOV SS needs the active state");
    entry_rule(check, !(check->event & BIT(31)) || may_inject(check), field,
               "the event must be one that is injected into this state");
}

static void check_interruptibility(struct check *check)
{
    enum vmcs_field field = VMCS_GUEST_INTERRUPTIBILITY_STATE;
    uint64_t state = check->interruptibility;
    unsigned type = check->event & BIT(31) ? (unsigned)bits_get(check->event, 10, 8) : ~0u;
    entry_rule(check, !(state & MASK(31, 5)), field, "reserved bits must be 0");
    entry_rule(check, (state & 3) != 3, field, "blocking by STI and by MOV SS exclude each other");
    entry_rule(check, !(state & 1) || check->rflags & RFLAGS_IF, field, "blocking by STI needs IF");
    entry_rule(check, type != TYPE_EXTERNAL_INTERRUPT || !(state & 3), field,
               "an external interrupt needs no blocking by STI or MOV SS");
    entry_rule(check, type != TYPE_NMI || !(state & 2), field,
               "an NMI needs no blocking by MOV SS");
    entry_rule(check, !(state & 4), field, "blocking by SMI must be 0 outside SMM");
    if (type == TYPE_NMI && state & 1)
        entry_fail(check, field, ENTRY_QUALIFICATION_NMI,
                   "an NMI needs no blocking by STI on some processors");
    entry_rule(check, type != TYPE_NMI || !(state & 8) || !entry_on(check, VIRTUAL_NMIS), field,
               "a virtual NMI needs no blocking by NMI");
    entry_rule(check, !(state & 16) || (!(state & 2) && check->machine->leaf7_ebx & LEAF7_EBX_SGX),
               field, "enclave interruption needs SGX and no blocking by MOV SS");
}

static void check_pending_debug(struct check *check)
{
    enum vmcs_field field = VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS;
    uint64_t pending = entry_field(check, field);
    uint64_t bus_lock = check->machine->leaf7_ecx & LEAF7_ECX_BUS_LOCK ? 0 : BIT(11);
    entry_rule(check, !(pending & (MASK(63, 17) | BIT(15) | BIT(13) | MASK(10, 4) | bus_lock)),
               field, "reserved bits must be 0");
    bool stepping =
        check->rflags & RFLAGS_TF && !(entry_field(check, VMCS_GUEST_IA32_DEBUGCTL) & BIT(1));
    entry_rule(check,
               (!(check->interruptibility & 3) && check->activity != HLT) ||
                   !(pending & BIT(14)) == !stepping,
               field, "BS must be 1 with TF and without BTF, else 0, in a shadow or HLT");
    entry_rule(check,
               !(pending & BIT(16)) ||
                   (!(pending & (BIT(14) | MASK(11, 0))) && pending & BIT(12) &&
                    !(check->interruptibility & 2) && check->machine->leaf7_ebx & LEAF7_EBX_RTM),
               field,
               "RTM needs its support, bits 14 and 11:0 clear, bit 12 set, no blocking by MOV SS");
}

static void check_link_pointer(struct check *check)
{
    static const enum vmcs_field field = VMCS_VMCS_LINK_POINTER;
    uint64_t link = entry_field(check, field), header;
    if (link == ~0ull)
        return;
    if (link & PAGE || link >= check->address_limit) {
        entry_fail(check, field, ENTRY_QUALIFICATION_LINK_POINTER,
                   "must be all ones, or aligned and within the physical-address width");
        return;
    }
    uint32_t revision =
        (check->capabilities->basic & MASK(30, 0)) | (uint32_t)entry_on(check, SHADOWING) << 31;
    if (check->ports->load != NULL && check->ports->load(check->ports->context, link, &header) &&
        (uint32_t)header != revision)
        entry_fail(check, field, ENTRY_QUALIFICATION_LINK_POINTER,
                   "must be to a VMCS of this revision, a shadow one with \"VMCS shadowing\"");
    if (link == check->machine->current_vmcs)
        entry_fail(check, field, ENTRY_QUALIFICATION_LINK_POINTER,
                   "must not be to the current VMCS");
}

/* SDM: Checks on Guest Page-Directory-Pointer-Table Entries. Without EPT they are in memory. */
static void check_pdptes(struct check *check)
{
    if (!(check->cr0 & CR0_PG) || !(check->cr4 & CR4_PAE) || entry_on(check, IA32E_GUEST))
        return;
    uint64_t table = entry_field(check, VMCS_GUEST_CR3) & MASK(31, 5), pdpte;
    uint64_t reserved = MASK(2, 1) | MASK(8, 5) | ~(check->width_limit - 1);
    for (unsigned i = 0; i < 4; i++) {
        enum vmcs_field field = VMCS_GUEST_CR3;
        if (entry_on(check, EPT))
            pdpte = entry_field(check, field = (enum vmcs_field)(VMCS_GUEST_PDPTE0 + 2 * i));
        else if (check->ports->load == NULL ||
                 !check->ports->load(check->ports->context, table + 8 * i, &pdpte))
            continue;
        if (pdpte & 1 && pdpte & reserved)
            entry_fail(check, field, ENTRY_QUALIFICATION_PDPTE,
                       "reserved bits of a present PDPTE must be 0");
    }
}

void entry_check_guest_state(struct check *check)
{
    bool long_code = entry_on(check, IA32E_GUEST) && check->cs_access & SEGMENT_L;
    entry_set_fact(check, LONG_CODE, long_code);
    entry_set_fact(check, SHORT_CODE, !long_code);
    entry_set_fact(check, V86, check->rflags & RFLAGS_VM);
    check_guest_registers(check);
    check_guest_segments(check);
    check_activity(check);
    check_interruptibility(check);
    check_pending_debug(check);
    check_link_pointer(check);
    check_pdptes(check);
}

/* Valid VMCSs: every mode of a guest, with a choice of the controls that this processor has. */
#include "tests/guests/bare/entry_check/entry_check.h"

#define PAT_RESET 0x0007040600070406ull

extern char host_entry[], host_stack_top[];
extern uint64_t host_cr0, host_cr3, host_cr4;

static const uint16_t word_field[] = {
    [CONTROL_PIN] = VMCS_PIN_BASED_CONTROLS,
    [CONTROL_PRIMARY] = VMCS_PROCESSOR_BASED_CONTROLS,
    [CONTROL_SECONDARY] = VMCS_SECONDARY_PROCESSOR_BASED_CONTROLS,
    [CONTROL_EXIT] = VMCS_VM_EXIT_CONTROLS,
    [CONTROL_ENTRY] = VMCS_VM_ENTRY_CONTROLS,
    [WORD_TERTIARY] = VMCS_TERTIARY_PROCESSOR_BASED_CONTROLS,
};

enum vmcs_field control_field(unsigned condition)
{
    return word_field[condition / 32];
}

static void fill(enum page page, uint64_t value)
{
    uint64_t *word = (uint64_t *)world.page[page];
    for (unsigned i = 0; i < 512; i++)
        word[i] = value;
}

static void put_msr(enum page page, unsigned index, uint64_t msr, uint64_t value)
{
    uint64_t *word = (uint64_t *)world.page[page] + (size_t)index * 2;
    word[0] = msr;
    word[1] = value;
}

static void fill_msr_pages(void)
{
    static const uint32_t good[] = {0x174, 0xc0000102, 0xc0000082, 0xc0000081};
    static const uint64_t bad[] = {0xc0000100, 0xc0000101, 0x808, 0x8ff, 0x1000000174, 0x9b};
    fill(PAGE_MSRS, ~0ull);
    for (unsigned i = 0; i < ARRAY_SIZE(good); i++)
        put_msr(PAGE_MSRS, i, good[i], 8);
    /* Every second entry is right, so that the wrong one is the first or the second. */
    for (unsigned i = 0; i < 256; i++)
        put_msr(PAGE_BAD_MSRS, i, i % 2 ? bad[i / 2 % ARRAY_SIZE(bad)] : good[i % 4], 8);
}

void state_init(void)
{
    uint64_t revision = world.capabilities.basic & MASK(30, 0);
    fill(PAGE_EMPTY_EPT, BIT(63));
    fill(PAGE_SHADOW_VMCS, revision | BIT(31));
    fill(PAGE_ORDINARY_VMCS, revision);
    fill(PAGE_PDPTES, page_address(PAGE_ZERO) | 1);
    for (unsigned i = 0; i < 512; i++)
        ((uint64_t *)world.page[PAGE_BAD_PDPTES])[i] = 1 | BIT(1 + i % 2) | BIT(5 + i % 4);
    *(uint64_t *)(world.page[PAGE_VTPR_7] + 0x80) = 0x70;
    *(uint64_t *)(world.page[PAGE_VTPR_15] + 0x80) = 0xf0;
    fill_msr_pages();
    memcpy(world.page[PAGE_HOST_CR3_COPY], world.page[PAGE_HOST_CR3], 4096);
}

static void set(enum vmcs_field field, uint64_t value)
{
    world.base[field] = value;
}

static void turn_on(unsigned condition)
{
    world.base[control_field(condition)] |= 1u << condition % 32;
}

/* Whether the control is there and, by chance, now on. */
static bool try(unsigned condition, unsigned n)
{
    if (!is_allowed(condition) || !one_in(n))
        return false;
    turn_on(condition);
    return true;
}

static void make_host(void)
{
    set(VMCS_HOST_CR0, host_cr0);
    set(VMCS_HOST_CR3, host_cr3);
    set(VMCS_HOST_CR4, host_cr4);
    for (unsigned i = VMCS_HOST_ES_SELECTOR; i <= VMCS_HOST_GS_SELECTOR; i += 2)
        set((enum vmcs_field)i, 0x10);
    set(VMCS_HOST_CS_SELECTOR, 8);
    set(VMCS_HOST_TR_SELECTOR, 0x48);
    set(VMCS_HOST_IA32_PAT, PAT_RESET);
    set(VMCS_HOST_IA32_EFER, EFER_LME | EFER_LMA);
    set(VMCS_HOST_RIP, (uintptr_t)host_entry);
    set(VMCS_HOST_RSP, (uintptr_t)host_stack_top);
}

static void make_pages(void)
{
    static const uint16_t any_page[] = {
        VMCS_IO_BITMAP_A,
        VMCS_IO_BITMAP_B,
        VMCS_MSR_BITMAPS,
        VMCS_APIC_ACCESS_ADDRESS,
        VMCS_PML_ADDRESS,
        VMCS_EPTP_LIST_ADDRESS,
        VMCS_VMREAD_BITMAP_ADDRESS,
        VMCS_VMWRITE_BITMAP_ADDRESS,
        VMCS_VIRTUALIZATION_EXCEPTION_INFORMATION_ADDRESS,
        VMCS_SUB_PAGE_PERMISSION_TABLE_POINTER,
    };
    for (size_t i = 0; i < ARRAY_SIZE(any_page); i++)
        set(any_page[i], page_address(PAGE_ZERO));
    set(VMCS_VIRTUAL_APIC_ADDRESS, page_address(PAGE_VTPR_7));
    set(VMCS_EPT_POINTER, page_address(PAGE_EMPTY_EPT) | 3 << 3 | 6);
    set(VMCS_VM_EXIT_MSR_STORE_ADDRESS, page_address(PAGE_MSRS));
    set(VMCS_VM_EXIT_MSR_LOAD_ADDRESS, page_address(PAGE_MSRS));
    set(VMCS_VM_ENTRY_MSR_LOAD_ADDRESS, page_address(PAGE_MSRS));
    set(VMCS_VMCS_LINK_POINTER, ~0ull);
}

static void choose_apic_controls(void)
{
    try(ACKNOWLEDGE_INTERRUPT, 2);
    if (!try(TPR_SHADOW, 3)) {
        try(APIC_ACCESSES, 6);
        return;
    }
    set(VMCS_TPR_THRESHOLD, random_below(8));
    if (!try(X2APIC_MODE, 4))
        try(APIC_ACCESSES, 3);
    try(APIC_REGISTERS, 4);
    if (is_on(world.base, EXTERNAL_INTERRUPT_EXITING))
        try(INTERRUPT_DELIVERY, 3);
}

static void choose_ept_controls(void)
{
    try(PML, 4);
    try(EPT_VIOLATION_VE, 4);
    try(SUB_PAGE, 4);
    try(MODE_BASED_EXECUTE, 4);
    if (world.capabilities.ept_vpid & EPT_CAP_AD && one_in(2))
        world.base[VMCS_EPT_POINTER] |= BIT(6);
    if (try(VM_FUNCTIONS, 3))
        set(VMCS_VM_FUNCTION_CONTROLS, world.capabilities.vmfunc & random_below(2));
}

static void choose_msr_controls(void)
{
    static const uint8_t free[] = {EXIT_PAT,          EXIT(18),      EXIT_EFER,   EXIT(20),
                                   EXIT(2),           ENTRY_PAT,     ENTRY_DEBUG, EXIT_CET,
                                   EXIT_PKRS,         ENTRY_CET,     ENTRY_PKRS,  EXIT_PERF_GLOBAL,
                                   ENTRY_PERF_GLOBAL, ENTRY_BNDCFGS, ENTRY_EFER};
    for (size_t i = 0; i < ARRAY_SIZE(free); i++)
        try(free[i], 2);
    if (one_in(6))
        set(VMCS_VM_EXIT_MSR_STORE_COUNT, 1 + random_below(4));
    if (one_in(6))
        set(VMCS_VM_EXIT_MSR_LOAD_COUNT, 1 + random_below(4));
    if (one_in(6))
        set(VMCS_VM_ENTRY_MSR_LOAD_COUNT, 1 + random_below(4));
}

static void make_controls(bool ept, bool unrestricted)
{
    for (unsigned i = 0; i < CONTROL_WORDS; i++)
        set(word_field[i], (uint32_t)world.capabilities.control[i]);
    turn_on(HOST_64);
    if (is_allowed(SECONDARY_CONTROLS))
        turn_on(SECONDARY_CONTROLS);
    if (ept)
        turn_on(EPT);
    if (unrestricted)
        turn_on(UNRESTRICTED);
    try(EXTERNAL_INTERRUPT_EXITING, 2);
    if (try(NMI_EXITING, 2) && try(VIRTUAL_NMIS, 2))
        try(NMI_WINDOW, 3);
    if (!one_in(8) && is_allowed(PREEMPTION_TIMER)) {
        turn_on(PREEMPTION_TIMER);
        try(SAVE_PREEMPTION_TIMER, 2);
    }
    try(IO_BITMAPS, 2);
    try(MSR_BITMAPS, 2);
    choose_apic_controls();
    if (try(VPID, 2))
        set(VMCS_VPID, 1 + random_below(3));
    try(SHADOWING, 4);
    if (try(TSC_SCALING, 4))
        set(VMCS_TSC_MULTIPLIER, BIT(48));
    if (ept)
        choose_ept_controls();
    choose_msr_controls();
}

static void set_segment(unsigned number, uint64_t selector, uint64_t access, uint64_t limit)
{
    set(VMCS_GUEST_ES_SELECTOR + 2 * number, selector);
    set(VMCS_GUEST_ES_BASE + 2 * number, 0);
    set(VMCS_GUEST_ES_LIMIT + 2 * number, limit);
    set(VMCS_GUEST_ES_ACCESS_RIGHTS + 2 * number, access);
}

static void make_segments(uint64_t cs_selector, uint64_t cs_access, uint64_t selector,
                          uint64_t access, uint64_t limit)
{
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        set_segment(i, selector, access, limit);
    set_segment(SEG_CS, cs_selector, cs_access, limit);
    set_segment(SEG_TR, 0x40, 0x8b, 0x67);
    if (one_in(2))
        set_segment(SEG_LDTR, 0x50, 0x82, 0xf);
    else
        set_segment(SEG_LDTR, 0, SEGMENT_UNUSABLE, 0);
}

static void make_virtual_8086(void)
{
    for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
        uint64_t selector = random_below(0x10000);
        set_segment(i, selector, 0xf3, 0xffff);
        set(VMCS_GUEST_ES_BASE + 2 * i, selector << 4);
    }
    world.base[VMCS_GUEST_RFLAGS] |= RFLAGS_VM;
}

static void make_registers(enum mode mode)
{
    bool paged = mode != MODE_UNPAGED && mode != MODE_REAL_ADDRESS;
    bool long_mode = mode <= MODE_COMPATIBILITY;
    bool pae = long_mode || mode == MODE_PAE_WITH_EPT || mode == MODE_PAE_WITHOUT_EPT;
    set(VMCS_GUEST_CR0, CR0_NE | CR0_ET | (paged ? CR0_PG : 0) |
                            (mode != MODE_REAL_ADDRESS ? CR0_PE : 0) | (one_in(2) ? CR0_WP : 0));
    set(VMCS_GUEST_CR4,
        CR4_VMXE | (pae ? CR4_PAE : 0) |
            (one_in(4) && long_mode ? CR4_PCIDE & world.capabilities.cr4_fixed1 : 0));
    set(VMCS_GUEST_CR3, page_address(mode == MODE_PAE_WITHOUT_EPT ? PAGE_PDPTES : PAGE_ZERO));
    set(VMCS_GUEST_IA32_EFER, long_mode ? EFER_LME | EFER_LMA : 0);
    if (long_mode)
        turn_on(IA32E_GUEST);
    for (unsigned i = VMCS_GUEST_PDPTE0; i <= VMCS_GUEST_PDPTE3; i += 2)
        set((enum vmcs_field)i, page_address(PAGE_ZERO) | 1);
    set(VMCS_GUEST_IA32_PAT, PAT_RESET);
    set(VMCS_GUEST_DR7, 0x400);
    set(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | (one_in(2) ? RFLAGS_IF : 0));
    set(VMCS_GUEST_RIP, 0x1000);
    set(VMCS_GUEST_RSP, 0x2000);
    set(VMCS_GUEST_GDTR_LIMIT, 0xffff);
    set(VMCS_GUEST_IDTR_LIMIT, 0xffff);
}

static bool needs_ept(enum mode mode)
{
    return mode != MODE_64_WITHOUT_EPT && mode != MODE_PAE_WITHOUT_EPT &&
           mode != MODE_VIRTUAL_8086 && mode != MODE_32;
}

static bool needs_unrestricted(enum mode mode)
{
    return mode == MODE_64 || mode == MODE_UNPAGED || mode == MODE_REAL_ADDRESS ||
           mode == MODE_VIRTUAL_8086_UNRESTRICTED;
}

void state_make_base(void)
{
    enum mode mode;
    do
        mode = (enum mode)random_below(MODES);
    while ((needs_ept(mode) && !is_allowed(EPT)) ||
           (needs_unrestricted(mode) && !is_allowed(UNRESTRICTED)));
    bool ept = needs_ept(mode) || (mode == MODE_32 && is_allowed(EPT) && one_in(2));
    world.mode = mode;
    for (unsigned i = 0; i < world.fields; i++)
        world.base[world.field[i].encoding] = 0;
    make_host();
    make_pages();
    make_controls(ept, needs_unrestricted(mode));
    make_registers(mode);
    if (mode == MODE_64 || mode == MODE_64_WITHOUT_EPT)
        make_segments(8, 0xa09b, 0x10, 0xc093, 0xffffffff);
    else if (mode == MODE_COMPATIBILITY)
        make_segments(0x1b, 0xc0fb, 0x23, 0xc0f3, 0xffffffff);
    else if (mode == MODE_REAL_ADDRESS)
        make_segments(0x100, 0x9b, 0x200, 0x93, 0xffff);
    else
        make_segments(8, 0xc09b, 0x10, 0xc093, 0xffffffff);
    if (mode == MODE_VIRTUAL_8086 || mode == MODE_VIRTUAL_8086_UNRESTRICTED)
        make_virtual_8086();
    world.base[VMCS_EXCEPTION_BITMAP] = 0xffffffff;
}

/*
 * What is changed in a valid VMCS: any field to any value, and, since most rules are about a few
 * bits of a few fields, those fields to the values at which the rules begin and end. What no rule
 * reads but what keeps the guest from running on (the exception bitmap, the timer's value) is not
 * changed at all.
 */
#include "tests/guests/bare/entry_check/entry_check.h"

static uint64_t *at(enum vmcs_field field)
{
    return &world.want[field];
}

static unsigned field_bits(enum vmcs_field field)
{
    static const uint8_t bits[] = {[VMCS_WIDTH_16] = 16,
                                   [VMCS_WIDTH_64] = 64,
                                   [VMCS_WIDTH_32] = 32,
                                   [VMCS_WIDTH_NATURAL] = 64};
    return bits[field >> 13 & 3];
}

/* ---- Any field, any value ---- */

static uint64_t boundary(void)
{
    static const uint64_t values[] = {
        0,
        1,
        2,
        4,
        0xf,
        0x10,
        0xff,
        0x100,
        0xfff,
        0x1000,
        0xffff,
        0x10000,
        0xfffff,
        0x100000,
        BIT(31),
        0xffffffff,
        BIT(32),
        BIT(39),
        BIT(40),
        BIT(46),
        BIT(47),
        BIT(48),
        BIT(51),
        BIT(52),
        BIT(62),
        BIT(63),
        ~0ull,
        MASK(63, 47),
        MASK(63, 48),
        MASK(46, 0),
        MASK(47, 0),
        MASK(39, 0),
        MASK(39, 12),
    };
    uint64_t value = values[random_below(ARRAY_SIZE(values))];
    return one_in(4) ? value + 1 - random_below(3) : value;
}

static uint64_t any_value(uint64_t old, unsigned bits)
{
    switch (random_below(10)) {
    case 0:
        return boundary();
    case 1:
        return random_bits();
    case 2:
        return random_bits() & random_bits() & random_bits();
    case 3:
        return old + 1 - 2 * random_below(2);
    case 4:
        return world.want[world.field[random_below(world.fields)].encoding];
    case 5:
        return old ^ BIT(random_below(bits)) ^ BIT(random_below(bits));
    default:
        return old ^ BIT(random_below(bits));
    }
}

static bool is_left_alone(enum vmcs_field field)
{
    return field == VMCS_EXCEPTION_BITMAP || field == VMCS_PAGE_FAULT_ERROR_CODE_MASK ||
           field == VMCS_PAGE_FAULT_ERROR_CODE_MATCH || field == VMCS_VMX_PREEMPTION_TIMER_VALUE ||
           field == VMCS_HOST_RSP;
}

static void mutate_any_field(void)
{
    enum vmcs_field field = world.field[random_below(world.fields)].encoding;
    if (!is_left_alone(field))
        *at(field) = any_value(*at(field), field_bits(field)) & MASK(field_bits(field) - 1, 0);
}

/* ---- The fields that the rules are about ---- */

static void mutate_control(void)
{
    static const uint8_t bits[] = {[CONTROL_PIN] = 8,
                                   [CONTROL_PRIMARY] = 32,
                                   [CONTROL_SECONDARY] = 26,
                                   [CONTROL_EXIT] = 32,
                                   [CONTROL_ENTRY] = 23};
    unsigned word = (unsigned)random_below(CONTROL_WORDS), condition;
    unsigned tries = 0;
    do
        condition = CONDITION(word, (unsigned)random_below(bits[word]));
    while (!is_allowed(condition) && ++tries < 8);
    *at(control_field(condition)) ^= 1u << condition % 32;
}

static void mutate_access_rights(void)
{
    static const uint32_t flags[] = {BIT(12), BIT(13), BIT(14), BIT(15), BIT(16), BIT(17), BIT(8)};
    unsigned number = (unsigned)random_below(SEG_COUNT);
    uint64_t *access = at(VMCS_GUEST_ES_ACCESS_RIGHTS + 2 * number);
    switch (random_below(5)) {
    case 0:
        *access = (*access & ~0xfull) | random_below(16);
        break;
    case 1:
        *access = (*access & ~0x60ull) | random_below(4) << 5;
        break;
    case 2:
        *access ^= flags[random_below(ARRAY_SIZE(flags))];
        break;
    case 3:
        *access = random_below(0x100) | random_below(16) << 12;
        break;
    default:
        *access ^= BIT(random_below(32));
    }
}

static void mutate_selector(void)
{
    unsigned number = (unsigned)random_below(SEG_COUNT);
    uint64_t *selector = at(VMCS_GUEST_ES_SELECTOR + 2 * number);
    if (one_in(4))
        *selector = random_below(4);
    else
        *selector ^= one_in(2) ? random_below(8) : random_below(0x10000);
}

static void mutate_privilege(void)
{
    uint64_t dpl = random_below(4), other = one_in(3) ? random_below(4) : dpl;
    uint64_t *cs = at(VMCS_GUEST_CS_ACCESS_RIGHTS), *ss = at(VMCS_GUEST_SS_ACCESS_RIGHTS);
    *cs = (*cs & ~0x60ull) | dpl << 5;
    *ss = (*ss & ~0x60ull) | other << 5;
    if (one_in(2))
        *cs = (*cs & ~0xfull) | (uint64_t[]){9, 11, 13, 15, 3}[random_below(5)];
    if (one_in(2)) {
        *at(VMCS_GUEST_CS_SELECTOR) = (*at(VMCS_GUEST_CS_SELECTOR) & ~3ull) | dpl;
        *at(VMCS_GUEST_SS_SELECTOR) = (*at(VMCS_GUEST_SS_SELECTOR) & ~3ull) | other;
    }
    if (one_in(4))
        *ss ^= SEGMENT_UNUSABLE;
}

static void mutate_limit(void)
{
    static const uint32_t limits[] = {0, 0xfff, 0xfffff, 0x100fff, 0xfffff000, 0xffffffff, 0xffff};
    unsigned number = (unsigned)random_below(SEG_COUNT);
    *at(VMCS_GUEST_ES_LIMIT + 2 * number) = limits[random_below(ARRAY_SIZE(limits))];
    if (one_in(2))
        *at(VMCS_GUEST_ES_ACCESS_RIGHTS + 2 * number) ^= SEGMENT_G;
}

static void mutate_event(void)
{
    static const uint8_t vectors[] = {0, 1, 2, 3, 4, 6, 8, 9, 10, 13, 14, 17, 18, 20, 21, 31, 32};
    uint64_t type = random_below(8);
    uint64_t vector = type == 2 && !one_in(3)   ? 2
                      : type == 7 && !one_in(3) ? 0
                                                : vectors[random_below(ARRAY_SIZE(vectors))];
    uint64_t code = type == 3 ? BIT(vector & 31) & (BIT(8) | MASK(14, 10) | BIT(17)) : 0;
    uint64_t event = BIT(31) | type << 8 | vector;
    if ((code != 0 && *at(VMCS_GUEST_CR0) & CR0_PE) != one_in(5))
        event |= BIT(11);
    if (one_in(10))
        event ^= BIT(12 + random_below(19));
    *at(VMCS_VM_ENTRY_INTERRUPTION_INFORMATION) = event;
    *at(VMCS_VM_ENTRY_EXCEPTION_ERROR_CODE) = one_in(4) ? BIT(random_below(32)) : random_below(8);
    *at(VMCS_VM_ENTRY_INSTRUCTION_LENGTH) = one_in(3) ? random_below(20) : 2;
}

static void mutate_shadow(void)
{
    *at(VMCS_GUEST_INTERRUPTIBILITY_STATE) = random_below(one_in(2) ? 4 : 32);
    if (one_in(2))
        *at(VMCS_GUEST_RFLAGS) ^= RFLAGS_IF;
    if (one_in(3))
        *at(VMCS_GUEST_RFLAGS) ^= RFLAGS_TF;
    if (one_in(3))
        *at(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS) ^= BIT(14);
    if (one_in(6))
        *at(VMCS_GUEST_IA32_DEBUGCTL) ^= BIT(1);
}

static void mutate_activity(void)
{
    *at(VMCS_GUEST_ACTIVITY_STATE) = random_below(5);
    if (one_in(2))
        mutate_event();
    if (one_in(3))
        mutate_shadow();
}

static void mutate_pending_debug(void)
{
    static const uint32_t bits[] = {1, 8, BIT(12), BIT(14), BIT(16), BIT(11), BIT(13), BIT(15)};
    for (unsigned i = (unsigned)random_below(3); i < 3; i++)
        *at(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS) ^= bits[random_below(ARRAY_SIZE(bits))];
    if (one_in(3))
        mutate_shadow();
}

/* Controls that need EPT, in guests that may not have it. */
static void mutate_ept_control(void)
{
    static const uint8_t conditions[] = {PML, UNRESTRICTED, SUB_PAGE, MODE_BASED_EXECUTE,
                                         VM_FUNCTIONS};
    unsigned condition = conditions[random_below(ARRAY_SIZE(conditions))];
    if (!is_allowed(condition))
        return;
    *at(control_field(condition)) |= 1u << condition % 32;
    if (condition == VM_FUNCTIONS)
        *at(VMCS_VM_FUNCTION_CONTROLS) = one_in(4) ? 2 : 1;
}

static void mutate_interrupt(void)
{
    *at(VMCS_VM_ENTRY_INTERRUPTION_INFORMATION) = BIT(31) | 0x30;
    *at(VMCS_GUEST_INTERRUPTIBILITY_STATE) = random_below(4);
    *at(VMCS_GUEST_RFLAGS) |= one_in(4) ? 0 : RFLAGS_IF;
}

/* What only an unrestricted guest could have wrong. */
static void mutate_unrestricted(void)
{
    static const uint8_t types[] = {9, 11, 13, 15, 3};
    uint64_t *cs = at(VMCS_GUEST_CS_ACCESS_RIGHTS), *ss = at(VMCS_GUEST_SS_ACCESS_RIGHTS);
    uint64_t dpl = random_below(4);
    *cs = (*cs & ~0x6full) | types[random_below(ARRAY_SIZE(types))] | dpl << 5;
    *at(VMCS_GUEST_CS_SELECTOR) = (*at(VMCS_GUEST_CS_SELECTOR) & ~3ull) | dpl;
    if (one_in(2))
        *ss = (*ss & ~0x60ull) | random_below(4) << 5;
    if (!(*at(VMCS_GUEST_CR0) & CR0_PE) && one_in(4)) {
        for (unsigned i = 0; i < 6; i++) {
            *at(VMCS_GUEST_ES_LIMIT + 2 * i) = 0xffff;
            *at(VMCS_GUEST_ES_ACCESS_RIGHTS + 2 * i) = 0xf3;
            *at(VMCS_GUEST_ES_BASE + 2 * i) = *at(VMCS_GUEST_ES_SELECTOR + 2 * i) << 4;
        }
        *at(VMCS_GUEST_RFLAGS) |= RFLAGS_VM;
    }
}

static void mutate_mode(void)
{
    static const struct {
        uint16_t field;
        uint64_t bit;
    } bits[] = {
        {VMCS_GUEST_CR0, CR0_PE},
        {VMCS_GUEST_CR0, CR0_PG},
        {VMCS_GUEST_CR0, CR0_WP},
        {VMCS_GUEST_CR0, CR0_NE},
        {VMCS_GUEST_CR4, CR4_PAE},
        {VMCS_GUEST_CR4, CR4_PCIDE},
        {VMCS_GUEST_CR4, CR4_VMXE},
        {VMCS_GUEST_CR4, CR4_CET},
        {VMCS_GUEST_IA32_EFER, EFER_LME},
        {VMCS_GUEST_IA32_EFER, EFER_LMA},
        {VMCS_GUEST_IA32_EFER, EFER_NXE},
        {VMCS_VM_ENTRY_CONTROLS, BIT(9)},
        {VMCS_VM_ENTRY_CONTROLS, BIT(15)},
        {VMCS_GUEST_RFLAGS, RFLAGS_VM},
        {VMCS_GUEST_RFLAGS, RFLAGS_TF},
        {VMCS_GUEST_CS_ACCESS_RIGHTS, SEGMENT_L},
        {VMCS_GUEST_CS_ACCESS_RIGHTS, SEGMENT_DB},
    };
    for (unsigned i = (unsigned)random_below(3); i < 3; i++) {
        unsigned chosen = (unsigned)random_below(ARRAY_SIZE(bits));
        *at(bits[chosen].field) ^= bits[chosen].bit;
    }
}

static void mutate_host_control_register(void)
{
    enum vmcs_field field = one_in(2) ? VMCS_HOST_CR0 : VMCS_HOST_CR4;
    *at(field) ^= BIT(random_below(32));
}

static void mutate_linear_address(void)
{
    static const uint16_t fields[] = {
        VMCS_GUEST_RIP,
        VMCS_GUEST_FS_BASE,
        VMCS_GUEST_GS_BASE,
        VMCS_GUEST_TR_BASE,
        VMCS_GUEST_LDTR_BASE,
        VMCS_GUEST_GDTR_BASE,
        VMCS_GUEST_IDTR_BASE,
        VMCS_GUEST_IA32_SYSENTER_ESP,
        VMCS_HOST_RIP,
        VMCS_HOST_FS_BASE,
        VMCS_HOST_GS_BASE,
        VMCS_HOST_TR_BASE,
        VMCS_HOST_GDTR_BASE,
        VMCS_HOST_IDTR_BASE,
        VMCS_HOST_IA32_SYSENTER_EIP,
        VMCS_GUEST_IA32_SYSENTER_EIP,
        VMCS_GUEST_SSP,
        VMCS_HOST_SSP,
        VMCS_GUEST_IA32_S_CET,
        VMCS_HOST_IA32_S_CET,
    };
    static const uint64_t highs[] = {MASK(63, 47), MASK(63, 48), BIT(47),     BIT(48),
                                     BIT(63),      BIT(32),      MASK(62, 47)};
    uint64_t *field = at(fields[random_below(ARRAY_SIZE(fields))]);
    *field = (*field & MASK(31, 0)) | highs[random_below(ARRAY_SIZE(highs))];
}

static void mutate_msr_area(void)
{
    static const uint16_t areas[][2] = {
        {VMCS_VM_EXIT_MSR_STORE_ADDRESS, VMCS_VM_EXIT_MSR_STORE_COUNT},
        {VMCS_VM_EXIT_MSR_LOAD_ADDRESS, VMCS_VM_EXIT_MSR_LOAD_COUNT},
        {VMCS_VM_ENTRY_MSR_LOAD_ADDRESS, VMCS_VM_ENTRY_MSR_LOAD_COUNT},
    };
    static const uint32_t counts[] = {0,   1,   2,   4,       5,           16,
                                      255, 256, 257, BIT(28), BIT(28) + 1, 0xffffffff};
    const uint16_t *area = areas[random_below(ARRAY_SIZE(areas))];
    uint64_t limit = BIT(world.machine.physical_bits);
    *at(area[1]) = counts[random_below(ARRAY_SIZE(counts))];
    if (one_in(2))
        *at(area[0]) = limit - 16 * random_below(300) - (one_in(4) ? random_below(16) : 0);
    else if (one_in(2))
        *at(area[0]) = page_address(one_in(2) ? PAGE_MSRS : PAGE_BAD_MSRS);
}

static void mutate_pat(void)
{
    enum vmcs_field field = one_in(2) ? VMCS_HOST_IA32_PAT : VMCS_GUEST_IA32_PAT;
    unsigned shift = 8 * (unsigned)random_below(8);
    *at(field) = (*at(field) & ~(0xffull << shift)) | random_below(10) << shift;
}

static void mutate_pages(void)
{
    static const uint16_t fields[] = {VMCS_VMCS_LINK_POINTER, VMCS_GUEST_CR3,
                                      VMCS_VIRTUAL_APIC_ADDRESS};
    enum vmcs_field field = fields[random_below(ARRAY_SIZE(fields))];
    *at(field) = page_address((enum page)random_below(PAGES));
    if (one_in(4))
        *at(field) ^= BIT(random_below(64));
    if (one_in(3))
        *at(VMCS_TPR_THRESHOLD) = random_below(17);
}

static void mutate_eptp(void)
{
    *at(VMCS_EPT_POINTER) ^= one_in(2) ? random_below(8) : random_below(0x1000);
}

static void mutate_pdpte(void)
{
    *at(VMCS_GUEST_PDPTE0 + 2 * (unsigned)random_below(4)) ^= BIT(random_below(64));
}

/* ---- What chance alone seldom brings together ---- */

static void mutate_nmi(void)
{
    *at(VMCS_VM_ENTRY_INTERRUPTION_INFORMATION) = BIT(31) | 2 << 8 | VECTOR_NMI;
    *at(VMCS_GUEST_INTERRUPTIBILITY_STATE) = BIT(random_below(4));
    *at(VMCS_GUEST_RFLAGS) |= RFLAGS_IF;
    if (is_allowed(VIRTUAL_NMIS) && one_in(2))
        *at(VMCS_PIN_BASED_CONTROLS) |= 1u << NMI_EXITING % 32 | 1u << VIRTUAL_NMIS % 32;
}

static void mutate_null_stack(void)
{
    static const uint32_t flags[] = {2, SEGMENT_S, SEGMENT_P, BIT(8), SEGMENT_G, SEGMENT_UNUSABLE};
    *at(VMCS_GUEST_SS_SELECTOR) = random_below(4);
    switch (random_below(4)) {
    case 0:
        *at(VMCS_GUEST_SS_LIMIT) ^= BIT(random_below(32));
        break;
    case 1:
        *at(VMCS_GUEST_SS_BASE) ^= BIT(random_below(64));
        break;
    default:
        *at(VMCS_GUEST_SS_ACCESS_RIGHTS) ^= flags[random_below(ARRAY_SIZE(flags))];
    }
}

static void mutate_readable_code(void)
{
    static const uint8_t numbers[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    unsigned number = numbers[random_below(ARRAY_SIZE(numbers))];
    uint64_t *access = at(VMCS_GUEST_ES_ACCESS_RIGHTS + 2 * number);
    *access = (*access & ~0x6full) | (one_in(2) ? 11 : 15) | random_below(4) << 5;
    *at(VMCS_GUEST_ES_SELECTOR + 2 * number) = 0x20 | random_below(4);
}

static void mutate_event_into_sleep(void)
{
    static const uint8_t vectors[] = {1, 2, 13, 18};
    *at(VMCS_VM_ENTRY_INTERRUPTION_INFORMATION) =
        BIT(31) | random_below(8) << 8 | vectors[random_below(ARRAY_SIZE(vectors))];
    *at(VMCS_VM_ENTRY_INSTRUCTION_LENGTH) = 1;
    *at(VMCS_GUEST_ACTIVITY_STATE) = 1 + random_below(3);
    if (one_in(2))
        *at(VMCS_GUEST_RFLAGS) |= RFLAGS_IF;
}

static void (*const mutations[])(void) = {
    mutate_nmi,
    mutate_interrupt,
    mutate_ept_control,
    mutate_unrestricted,
    mutate_null_stack,
    mutate_readable_code,
    mutate_event_into_sleep,
    mutate_control,
    mutate_control,
    mutate_access_rights,
    mutate_access_rights,
    mutate_selector,
    mutate_privilege,
    mutate_limit,
    mutate_event,
    mutate_event,
    mutate_shadow,
    mutate_activity,
    mutate_pending_debug,
    mutate_mode,
    mutate_mode,
    mutate_host_control_register,
    mutate_linear_address,
    mutate_msr_area,
    mutate_pat,
    mutate_pages,
    mutate_eptp,
    mutate_pdpte,
};

void mutate(void)
{
    static const uint8_t how_many[] = {0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 5};
    for (unsigned i = 0; i < world.fields; i++)
        world.want[world.field[i].encoding] = world.base[world.field[i].encoding];
    for (unsigned n = how_many[random_below(ARRAY_SIZE(how_many))]; n > 0; n--) {
        if (one_in(2))
            mutate_any_field();
        else
            mutations[random_below(ARRAY_SIZE(mutations))]();
    }
    keep_machine();
}

/* The SDM's rules for a VM entry: a VMCS that breaks none, and one broken rule at a time. */
#include "kernel/vm/cpu_mode.h"
#include "tests/check.h"
#include "vmx/entry_check.h"

#define MAXPHYADDR 40

static uint64_t fields[0x8000];

struct report {
    unsigned count;
    enum vmcs_field field;
    uint64_t value;
    enum entry_error error;
    uint64_t qualification;
};

/* What lies in memory, at page numbers below this; else there is none. */
static uint64_t memory[16][512];

static bool load(void *context, uint64_t address, uint64_t *value)
{
    (void)context;
    if (address >> 12 >= 16)
        return false;
    *value = memory[address >> 12][address >> 3 & 511];
    return true;
}

static uint64_t read_field(void *context, enum vmcs_field field)
{
    (void)context;
    return fields[field];
}

static void note(void *context, const struct broken_rule *rule)
{
    struct report *report = context;
    CHECK(rule->text != NULL && rule->text[0] != '\0');
    if (report->count++ == 0) {
        report->field = rule->field;
        report->value = rule->value;
        report->error = rule->error;
        report->qualification = rule->qualification;
    }
}

/* A processor that allows everything, with the default-1 bits of the architecture. */
static struct vmx_capabilities capabilities = {
    .control = {0xffffffff00000016, 0xffffffff0401e172, 0xffffffff00000000, 0xffffffff00036dff,
                0xffffffff000011ff},
    .cr0_fixed0 = 0x80000021,
    .cr0_fixed1 = 0xffffffff,
    .cr4_fixed0 = 0x2000,
    .cr4_fixed1 = 0x3767ff,
    .ept_vpid = ~0ull & ~(BIT(21) | BIT(23)), /* no accessed and dirty flags */
    .misc = MASK(8, 6),
    .vmfunc = 1,
    .tertiary = MASK(4, 0),
};

static struct report check(void)
{
    struct report report = {0};
    struct entry_machine machine = {
        .capabilities = &capabilities,
        .efer_supported = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE,
        .perf_global_supported = MASK(34, 32) | MASK(3, 0),
        .current_vmcs = 0x3000,
        .leaf7_ebx = BIT(11), /* RTM */
        .leaf7_ecx = BIT(24), /* bus locks */
        .physical_bits = MAXPHYADDR,
        .linear_bits = 48,
    };
    struct entry_check_ports ports = {read_field, load, note, &report};
    unsigned broken = entry_check(&machine, &ports);
    CHECK_EQ(broken, report.count);
    return report;
}

#define FIELD_OF(first, number) (VMCS_GUEST_ES_##first + 2 * (number))

static void set_segment(unsigned number, uint64_t selector, uint64_t access, uint64_t limit)
{
    fields[FIELD_OF(SELECTOR, number)] = selector;
    fields[FIELD_OF(ACCESS_RIGHTS, number)] = access;
    fields[FIELD_OF(LIMIT, number)] = limit;
    fields[FIELD_OF(BASE, number)] = 0;
}

static void make_host_and_controls(void)
{
    memset(fields, 0, sizeof(fields));
    fields[VMCS_PIN_BASED_CONTROLS] = 0x16 | CONTROL_NMI_EXITING | CONTROL_VIRTUAL_NMIS;
    fields[VMCS_PROCESSOR_BASED_CONTROLS] = 0x0401e172 | (uint32_t)CONTROL_USE_IO_BITMAPS |
                                            (uint32_t)CONTROL_ACTIVATE_SECONDARY_CONTROLS;
    fields[VMCS_SECONDARY_PROCESSOR_BASED_CONTROLS] =
        CONTROL_ENABLE_EPT | CONTROL_UNRESTRICTED_GUEST | CONTROL_ENABLE_VPID;
    fields[VMCS_VM_EXIT_CONTROLS] = 0x36dff | CONTROL_HOST_ADDRESS_SPACE_SIZE |
                                    CONTROL_EXIT_LOAD_IA32_EFER | CONTROL_EXIT_LOAD_IA32_PAT;
    fields[VMCS_HOST_IA32_PAT] = 0x0007040600070406;
    fields[VMCS_VM_ENTRY_CONTROLS] = 0x11ff | CONTROL_IA32E_MODE_GUEST |
                                     CONTROL_ENTRY_LOAD_IA32_EFER | CONTROL_ENTRY_LOAD_IA32_PAT;
    fields[VMCS_VPID] = 1;
    fields[VMCS_EPT_POINTER] = 0x1000 | 6 | 3 << 3;
    fields[VMCS_HOST_CR0] = 0x80010033;
    fields[VMCS_HOST_CR4] = 0x2620 | CR4_PAE;
    fields[VMCS_HOST_CS_SELECTOR] = 8;
    fields[VMCS_HOST_SS_SELECTOR] = 16;
    fields[VMCS_HOST_TR_SELECTOR] = 24;
    fields[VMCS_HOST_RIP] = 0xffffffff80000000;
    fields[VMCS_HOST_IA32_EFER] = EFER_LME | EFER_LMA | EFER_NXE;
}

static void make_64bit_guest(void)
{
    make_host_and_controls();
    fields[VMCS_GUEST_CR0] = 0x80010033;
    fields[VMCS_GUEST_CR4] = CR4_PAE | CR4_VMXE;
    fields[VMCS_GUEST_IA32_EFER] = EFER_LME | EFER_LMA;
    fields[VMCS_GUEST_IA32_PAT] = 0x0007040600070406;
    fields[VMCS_GUEST_RFLAGS] = 2;
    fields[VMCS_GUEST_RIP] = 0xffffffff81000000;
    fields[VMCS_VMCS_LINK_POINTER] = ~0ull;
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        set_segment(i, 16, 0xc093, 0xffffffff);
    set_segment(SEG_CS, 8, 0xa09b, 0xffffffff);
    set_segment(SEG_LDTR, 0, 0x10000, 0);
    set_segment(SEG_TR, 24, 0x8b, 0x67);
}

static void make_real_mode_guest(void)
{
    make_64bit_guest();
    fields[VMCS_VM_ENTRY_CONTROLS] &= ~(uint64_t)CONTROL_IA32E_MODE_GUEST;
    fields[VMCS_GUEST_CR0] = 0x20 | CR0_ET;
    fields[VMCS_GUEST_CR4] = CR4_VMXE;
    fields[VMCS_GUEST_IA32_EFER] = 0;
    fields[VMCS_GUEST_RIP] = 0xfff0;
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        set_segment(i, 0, 0x93, 0xffff);
}

static void correct_states_break_nothing(void)
{
    make_64bit_guest();
    CHECK_EQ(check().count, 0);
    make_real_mode_guest();
    CHECK_EQ(check().count, 0);
    make_64bit_guest();
    fields[VMCS_VM_ENTRY_INTERRUPTION_INFORMATION] = 0x80000b0e;
    CHECK_EQ(check().count, 0);
    make_64bit_guest();
    fields[VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS] = BIT(16) | BIT(12); /* RTM */
    fields[VMCS_GUEST_IA32_DEBUGCTL] = BIT(15) | BIT(2);             /* RTM, bus locks */
    CHECK_EQ(check().count, 0);
    fields[VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS] = BIT(11); /* a bus lock */
    fields[VMCS_GUEST_RIP] = 1ull << 47; /* the first address that is not canonical is allowed */
    CHECK_EQ(check().count, 0);
}

/* One change to the 64-bit guest, and the field that is to blame. */
static const struct {
    enum vmcs_field change;
    uint64_t value;
    enum vmcs_field blamed;
} broken_rules[] = {
    {VMCS_PIN_BASED_CONTROLS, 0, VMCS_PIN_BASED_CONTROLS},
    {VMCS_VM_EXIT_CONTROLS, 0x200, VMCS_VM_EXIT_CONTROLS},
    {VMCS_CR3_TARGET_COUNT, 5, VMCS_CR3_TARGET_COUNT},
    {VMCS_IO_BITMAP_A, 0x1001, VMCS_IO_BITMAP_A},
    {VMCS_IO_BITMAP_B, 1ull << MAXPHYADDR, VMCS_IO_BITMAP_B},
    {VMCS_VPID, 0, VMCS_VPID},
    {VMCS_EPT_POINTER, 0x1000 | 5 | 3 << 3, VMCS_EPT_POINTER},
    {VMCS_EPT_POINTER, 0x1000 | 6, VMCS_EPT_POINTER},
    {VMCS_EPT_POINTER, 0x1000 | 6 | 3 << 3 | 1 << 8, VMCS_EPT_POINTER},
    {VMCS_VM_ENTRY_INTERRUPTION_INFORMATION, 0x80000100, VMCS_VM_ENTRY_INTERRUPTION_INFORMATION},
    {VMCS_VM_ENTRY_INTERRUPTION_INFORMATION, 0x80000203, VMCS_VM_ENTRY_INTERRUPTION_INFORMATION},
    {VMCS_VM_ENTRY_INTERRUPTION_INFORMATION, 0x80000320, VMCS_VM_ENTRY_INTERRUPTION_INFORMATION},
    {VMCS_VM_ENTRY_INTERRUPTION_INFORMATION, 0x8000030d, VMCS_VM_ENTRY_INTERRUPTION_INFORMATION},
    {VMCS_VM_ENTRY_INTERRUPTION_INFORMATION, 0x80000030, VMCS_GUEST_RFLAGS},
    {VMCS_HOST_CR0, 0x10033, VMCS_HOST_CR0},
    {VMCS_HOST_CR4, CR4_PAE, VMCS_HOST_CR4},
    {VMCS_HOST_CR3, 1ull << MAXPHYADDR, VMCS_HOST_CR3},
    {VMCS_HOST_RIP, 1ull << 47, VMCS_HOST_RIP},
    {VMCS_HOST_GS_BASE, 1ull << 63, VMCS_HOST_GS_BASE},
    {VMCS_HOST_CS_SELECTOR, 0, VMCS_HOST_CS_SELECTOR},
    {VMCS_HOST_SS_SELECTOR, 19, VMCS_HOST_SS_SELECTOR},
    {VMCS_HOST_TR_SELECTOR, 0, VMCS_HOST_TR_SELECTOR},
    {VMCS_HOST_IA32_EFER, EFER_LME, VMCS_HOST_IA32_EFER},
    {VMCS_GUEST_CR0, 0x80010032, VMCS_GUEST_CR0},
    {VMCS_GUEST_CR4, CR4_PAE, VMCS_GUEST_CR4},
    {VMCS_GUEST_CR3, 1ull << MAXPHYADDR, VMCS_GUEST_CR3},
    {VMCS_GUEST_DR7, 1ull << 32, VMCS_GUEST_DR7},
    {VMCS_GUEST_IA32_SYSENTER_EIP, 1ull << 47, VMCS_GUEST_IA32_SYSENTER_EIP},
    {VMCS_GUEST_IA32_PAT, 2, VMCS_GUEST_IA32_PAT},
    {VMCS_GUEST_IA32_PAT, 0x40, VMCS_GUEST_IA32_PAT},
    {VMCS_GUEST_IA32_EFER, EFER_LME, VMCS_GUEST_IA32_EFER},
    {VMCS_GUEST_IA32_EFER, EFER_LME | EFER_LMA | 2, VMCS_GUEST_IA32_EFER},
    {VMCS_GUEST_CS_ACCESS_RIGHTS, 0xe09b, VMCS_GUEST_CS_ACCESS_RIGHTS},
    {VMCS_GUEST_CS_ACCESS_RIGHTS, 0xa092, VMCS_GUEST_CS_ACCESS_RIGHTS},
    {VMCS_GUEST_SS_ACCESS_RIGHTS, 0xc091, VMCS_GUEST_SS_ACCESS_RIGHTS},
    {VMCS_GUEST_DS_ACCESS_RIGHTS, 0xc013, VMCS_GUEST_DS_ACCESS_RIGHTS},
    {VMCS_GUEST_ES_LIMIT, 0x1000, VMCS_GUEST_ES_LIMIT},
    {VMCS_GUEST_FS_BASE, 1ull << 47, VMCS_GUEST_FS_BASE},
    {VMCS_GUEST_DS_BASE, 1ull << 32, VMCS_GUEST_DS_BASE},
    {VMCS_GUEST_TR_ACCESS_RIGHTS, 0x10000, VMCS_GUEST_TR_ACCESS_RIGHTS},
    {VMCS_GUEST_TR_SELECTOR, 4, VMCS_GUEST_TR_SELECTOR},
    {VMCS_GUEST_LDTR_ACCESS_RIGHTS, 0x8b, VMCS_GUEST_LDTR_ACCESS_RIGHTS},
    {VMCS_GUEST_GDTR_LIMIT, 0x10000, VMCS_GUEST_GDTR_LIMIT},
    {VMCS_GUEST_IDTR_BASE, 1ull << 47, VMCS_GUEST_IDTR_BASE},
    {VMCS_GUEST_RIP, 1ull << 48, VMCS_GUEST_RIP},
    {VMCS_GUEST_RIP, 0xfffe800000000000, VMCS_GUEST_RIP},
    {VMCS_GUEST_RFLAGS, 0, VMCS_GUEST_RFLAGS},
    {VMCS_GUEST_RFLAGS, 2 | 1 << 15, VMCS_GUEST_RFLAGS},
    {VMCS_GUEST_ACTIVITY_STATE, 4, VMCS_GUEST_ACTIVITY_STATE},
    {VMCS_GUEST_INTERRUPTIBILITY_STATE, 1, VMCS_GUEST_INTERRUPTIBILITY_STATE},
    {VMCS_GUEST_INTERRUPTIBILITY_STATE, 1 << 5, VMCS_GUEST_INTERRUPTIBILITY_STATE},
    {VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS, 1 << 5, VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS},
    {VMCS_VMCS_LINK_POINTER, 1, VMCS_VMCS_LINK_POINTER},
};

static void each_broken_rule_is_named(void)
{
    for (size_t i = 0; i < sizeof(broken_rules) / sizeof(broken_rules[0]); i++) {
        make_64bit_guest();
        fields[broken_rules[i].change] = broken_rules[i].value;
        struct report report = check();
        if (report.count == 0 || report.field != broken_rules[i].blamed)
            printf("# rule %zu: %s = 0x%" PRIx64 "\n", i, vmcs_field_name(broken_rules[i].change),
                   broken_rules[i].value);
        CHECK(report.count > 0);
        CHECK_EQ(report.field, broken_rules[i].blamed);
        CHECK_EQ(report.value, fields[broken_rules[i].blamed]);
    }
}

#define CHANGES 4
#define SECONDARY(bit) VMCS_SECONDARY_PROCESSOR_BASED_CONTROLS, 1ull << (bit)
#define TERTIARY(bit)                                                                              \
    {VMCS_PROCESSOR_BASED_CONTROLS, BIT(17), true},                                                \
    {                                                                                              \
        VMCS_TERTIARY_PROCESSOR_BASED_CONTROLS, BIT(bit), false                                    \
    }
#define EVENT(value)                                                                               \
    {                                                                                              \
        VMCS_VM_ENTRY_INTERRUPTION_INFORMATION, value, false                                       \
    }
#define BLOCKING(value)                                                                            \
    {                                                                                              \
        VMCS_GUEST_INTERRUPTIBILITY_STATE, value, false                                            \
    }

/* Several changes that together break exactly one rule of the 64-bit guest. Here are, among others,
 * all that the comparison with an emulator cannot show. */
static const struct {
    struct {
        enum vmcs_field field;
        uint64_t value;
        bool flips; /* the value is xored to what is there */
    } change[CHANGES];
    enum vmcs_field blamed;
    enum entry_error error;
    unsigned qualification;
} lone_rules[] = {
    /* What needs another control. */
    {{{SECONDARY(1), true}, {SECONDARY(7), true}, {SECONDARY(22), true}},
     VMCS_SECONDARY_PROCESSOR_BASED_CONTROLS,
     ENTRY_ERROR_CONTROLS,
     0},
    {{{SECONDARY(4), true}}, VMCS_SECONDARY_PROCESSOR_BASED_CONTROLS, ENTRY_ERROR_CONTROLS, 0},
    {{{VMCS_PIN_BASED_CONTROLS, BIT(7), true}, {VMCS_VM_EXIT_CONTROLS, BIT(15), true}},
     VMCS_PIN_BASED_CONTROLS,
     ENTRY_ERROR_CONTROLS,
     0},
    {{{SECONDARY(24), true}, {VMCS_VM_ENTRY_CONTROLS, BIT(18), true}},
     VMCS_SECONDARY_PROCESSOR_BASED_CONTROLS,
     ENTRY_ERROR_CONTROLS,
     0},
    {{{SECONDARY(24), true}, {VMCS_VM_EXIT_CONTROLS, BIT(25), true}},
     VMCS_SECONDARY_PROCESSOR_BASED_CONTROLS,
     ENTRY_ERROR_CONTROLS,
     0},
    {{TERTIARY(4)}, VMCS_TERTIARY_PROCESSOR_BASED_CONTROLS, ENTRY_ERROR_CONTROLS, 0},
    {{TERTIARY(5)}, VMCS_TERTIARY_PROCESSOR_BASED_CONTROLS, ENTRY_ERROR_CONTROLS, 0},
    {{{SECONDARY(1), true}, {SECONDARY(7), true}, TERTIARY(1)},
     VMCS_TERTIARY_PROCESSOR_BASED_CONTROLS,
     ENTRY_ERROR_CONTROLS,
     0},
    {{{SECONDARY(1), true}, {SECONDARY(7), true}, TERTIARY(2)},
     VMCS_TERTIARY_PROCESSOR_BASED_CONTROLS,
     ENTRY_ERROR_CONTROLS,
     0},
    {{{SECONDARY(1), true}, {SECONDARY(7), true}, TERTIARY(3)},
     VMCS_TERTIARY_PROCESSOR_BASED_CONTROLS,
     ENTRY_ERROR_CONTROLS,
     0},
    {{{VMCS_VM_ENTRY_CONTROLS, BIT(10), true}}, VMCS_VM_ENTRY_CONTROLS, ENTRY_ERROR_CONTROLS, 0},
    {{{VMCS_VM_ENTRY_CONTROLS, BIT(11), true}}, VMCS_VM_ENTRY_CONTROLS, ENTRY_ERROR_CONTROLS, 0},
    {{{VMCS_VM_EXIT_CONTROLS, BIT(31), true}, {VMCS_SECONDARY_VM_EXIT_CONTROLS, 8, false}},
     VMCS_SECONDARY_VM_EXIT_CONTROLS,
     ENTRY_ERROR_CONTROLS,
     0},
    /* Addresses and numbers. */
    {{TERTIARY(1), {VMCS_HLAT_POINTER, 1, false}}, VMCS_HLAT_POINTER, ENTRY_ERROR_CONTROLS, 0},
    {{{SECONDARY(21), true}, {VMCS_LOW_PASID_DIRECTORY_ADDRESS, 8, false}},
     VMCS_LOW_PASID_DIRECTORY_ADDRESS,
     ENTRY_ERROR_CONTROLS,
     0},
    {{{SECONDARY(21), true}, {VMCS_HIGH_PASID_DIRECTORY_ADDRESS, BIT(40), false}},
     VMCS_HIGH_PASID_DIRECTORY_ADDRESS,
     ENTRY_ERROR_CONTROLS,
     0},
    {{{SECONDARY(25), true}}, VMCS_TSC_MULTIPLIER, ENTRY_ERROR_CONTROLS, 0},
    {{{VMCS_EPT_POINTER, BIT(6), true}}, VMCS_EPT_POINTER, ENTRY_ERROR_CONTROLS, 0},
    {{{VMCS_EPT_POINTER, BIT(7), true}}, VMCS_EPT_POINTER, ENTRY_ERROR_CONTROLS, 0},
    {{{VMCS_VM_EXIT_MSR_STORE_COUNT, 2, false},
      {VMCS_VM_EXIT_MSR_STORE_ADDRESS, BIT(40) - 16, false}},
     VMCS_VM_EXIT_MSR_STORE_COUNT,
     ENTRY_ERROR_CONTROLS,
     0},
    /* More bits than 32: 2^28 entries are 4 GiB. */
    {{{VMCS_VM_EXIT_MSR_LOAD_COUNT, BIT(28), false},
      {VMCS_VM_EXIT_MSR_LOAD_ADDRESS, BIT(40) - 16, false}},
     VMCS_VM_EXIT_MSR_LOAD_COUNT,
     ENTRY_ERROR_CONTROLS,
     0},
    {{{VMCS_VM_ENTRY_MSR_LOAD_COUNT, 3, false}, {VMCS_VM_ENTRY_MSR_LOAD_ADDRESS, 0x1000, false}},
     VMCS_VM_ENTRY_MSR_LOAD_ADDRESS,
     ENTRY_ERROR_MSR_LOADING,
     2},
    /* Events. */
    {{EVENT(0x80000701)}, VMCS_VM_ENTRY_INTERRUPTION_INFORMATION, ENTRY_ERROR_CONTROLS, 0},
    {{EVENT(0x80000b15)}, VMCS_VM_ENTRY_INTERRUPTION_INFORMATION, ENTRY_ERROR_CONTROLS, 0},
    {{EVENT(0x80000b0e), {VMCS_VM_ENTRY_EXCEPTION_ERROR_CODE, BIT(16), false}},
     VMCS_VM_ENTRY_EXCEPTION_ERROR_CODE,
     ENTRY_ERROR_CONTROLS,
     0},
    {{EVENT(0x80000403)}, VMCS_VM_ENTRY_INSTRUCTION_LENGTH, ENTRY_ERROR_CONTROLS, 0},
    {{EVENT(0x80000202), BLOCKING(1), {VMCS_GUEST_RFLAGS, RFLAGS_IF, true}},
     VMCS_GUEST_INTERRUPTIBILITY_STATE,
     ENTRY_ERROR_GUEST_STATE,
     ENTRY_QUALIFICATION_NMI},
    {{EVENT(0x80000202), BLOCKING(2)},
     VMCS_GUEST_INTERRUPTIBILITY_STATE,
     ENTRY_ERROR_GUEST_STATE,
     0},
    {{EVENT(0x80000202), BLOCKING(8)},
     VMCS_GUEST_INTERRUPTIBILITY_STATE,
     ENTRY_ERROR_GUEST_STATE,
     0},
    {{EVENT(0x8000030d | BIT(11)), {VMCS_GUEST_ACTIVITY_STATE, 1, false}},
     VMCS_GUEST_ACTIVITY_STATE,
     ENTRY_ERROR_GUEST_STATE,
     0},
    {{EVENT(0x80000412),
      {VMCS_GUEST_ACTIVITY_STATE, 2, false},
      {VMCS_VM_ENTRY_INSTRUCTION_LENGTH, 2, false}},
     VMCS_GUEST_ACTIVITY_STATE,
     ENTRY_ERROR_GUEST_STATE,
     0},
    /* Host and guest. */
    {{{VMCS_VM_EXIT_CONTROLS, BIT(12), true}, {VMCS_HOST_IA32_PERF_GLOBAL_CTRL, BIT(4), false}},
     VMCS_HOST_IA32_PERF_GLOBAL_CTRL,
     ENTRY_ERROR_HOST_STATE,
     0},
    {{{VMCS_VM_ENTRY_CONTROLS, BIT(13), true}, {VMCS_GUEST_IA32_PERF_GLOBAL_CTRL, BIT(35), false}},
     VMCS_GUEST_IA32_PERF_GLOBAL_CTRL,
     ENTRY_ERROR_GUEST_STATE,
     0},
    {{{VMCS_VM_ENTRY_CONTROLS, BIT(19), true}, {VMCS_GUEST_UINV, 0x100, false}},
     VMCS_GUEST_UINV,
     ENTRY_ERROR_GUEST_STATE,
     0},
    {{{VMCS_VM_ENTRY_CONTROLS, BIT(18), true}, {VMCS_GUEST_IA32_RTIT_CTL, BIT(18), false}},
     VMCS_GUEST_IA32_RTIT_CTL,
     ENTRY_ERROR_GUEST_STATE,
     0},
    {{{VMCS_VM_ENTRY_CONTROLS, BIT(21), true}, {VMCS_GUEST_IA32_LBR_CTL, BIT(4), false}},
     VMCS_GUEST_IA32_LBR_CTL,
     ENTRY_ERROR_GUEST_STATE,
     0},
    {{{VMCS_VM_ENTRY_CONTROLS, BIT(16), true}, {VMCS_GUEST_IA32_BNDCFGS, BIT(47), false}},
     VMCS_GUEST_IA32_BNDCFGS,
     ENTRY_ERROR_GUEST_STATE,
     0},
    {{{VMCS_GUEST_CR0, CR0_PG, true}, {VMCS_VM_ENTRY_CONTROLS, BIT(15), true}},
     VMCS_GUEST_CR0,
     ENTRY_ERROR_GUEST_STATE,
     0},
    {{{VMCS_GUEST_RIP, BIT(48), false}}, VMCS_GUEST_RIP, ENTRY_ERROR_GUEST_STATE, 0},
    {{BLOCKING(2), {VMCS_GUEST_RFLAGS, RFLAGS_TF, true}},
     VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS,
     ENTRY_ERROR_GUEST_STATE,
     0},
    {{{VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS, BIT(16), false}},
     VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS,
     ENTRY_ERROR_GUEST_STATE,
     0},
    {{{VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS, BIT(16) | BIT(14) | BIT(12), false}},
     VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS,
     ENTRY_ERROR_GUEST_STATE,
     0},
    {{{VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS, BIT(10), false}},
     VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS,
     ENTRY_ERROR_GUEST_STATE,
     0},
    {{{VMCS_GUEST_IA32_DEBUGCTL, BIT(3), false}},
     VMCS_GUEST_IA32_DEBUGCTL,
     ENTRY_ERROR_GUEST_STATE,
     0},
    {{{VMCS_VMCS_LINK_POINTER, 0x2000, false}},
     VMCS_VMCS_LINK_POINTER,
     ENTRY_ERROR_GUEST_STATE,
     ENTRY_QUALIFICATION_LINK_POINTER},
    {{{VMCS_VMCS_LINK_POINTER, 0x3000, false}},
     VMCS_VMCS_LINK_POINTER,
     ENTRY_ERROR_GUEST_STATE,
     ENTRY_QUALIFICATION_LINK_POINTER},
};

static void lone_rules_have_their_error(void)
{
    memory[1][0] = 0x174;
    memory[1][2] = 0xc0000100;
    memory[1][4] = 0x808;
    memory[2][0] = 1;
    for (size_t i = 0; i < sizeof(lone_rules) / sizeof(lone_rules[0]); i++) {
        make_64bit_guest();
        for (unsigned n = 0; n < CHANGES; n++) {
            uint64_t *field = &fields[lone_rules[i].change[n].field];
            if (lone_rules[i].change[n].flips)
                *field ^= lone_rules[i].change[n].value;
            else if (lone_rules[i].change[n].field != 0)
                *field = lone_rules[i].change[n].value;
        }
        struct report report = check();
        if (report.count != 1 || report.field != lone_rules[i].blamed)
            printf("# lone rule %zu\n", i);
        CHECK_EQ(report.count, 1);
        CHECK_EQ(report.field, lone_rules[i].blamed);
        CHECK_EQ(report.error, lone_rules[i].error);
        CHECK_EQ(report.qualification, lone_rules[i].qualification);
    }
}

/* With IA32_VMX_BASIC[48] structures lie below 4 GiB, but page tables anywhere. */
static void some_processors_want_low_addresses(void)
{
    make_64bit_guest();
    fields[VMCS_IO_BITMAP_A] = BIT(32);
    fields[VMCS_GUEST_CR3] = BIT(32);
    CHECK_EQ(check().count, 0);
    capabilities.basic = BIT(48);
    CHECK_EQ(check().count, 1);
    CHECK_EQ(check().field, VMCS_IO_BITMAP_A);
    capabilities.basic = BIT(56); /* and any vector may have an error code */
    make_64bit_guest();
    fields[VMCS_VM_ENTRY_INTERRUPTION_INFORMATION] = 0x80000b15;
    CHECK_EQ(check().count, 0);
    fields[VMCS_VM_ENTRY_INTERRUPTION_INFORMATION] = 0x80000a02;
    CHECK_EQ(check().count, 1);
    capabilities.basic = 0;
}

static void virtual_8086_segments_are_fixed(void)
{
    make_real_mode_guest();
    fields[VMCS_GUEST_CR0] |= CR0_PE;
    fields[VMCS_GUEST_RFLAGS] |= RFLAGS_VM;
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        set_segment(i, 0, 0xf3, 0xffff);
    CHECK_EQ(check().count, 0);
    fields[VMCS_GUEST_SS_BASE] = 0x10;
    CHECK_EQ(check().field, VMCS_GUEST_SS_BASE);
}

static void pae_pdptes_are_checked(void)
{
    make_real_mode_guest();
    fields[VMCS_GUEST_CR0] |= CR0_PE | CR0_PG;
    fields[VMCS_GUEST_CR4] |= CR4_PAE;
    set_segment(SEG_CS, 8, 0xc09b, 0xffffffff);
    fields[VMCS_GUEST_PDPTE2] = 0x2001;
    CHECK_EQ(check().count, 0);
    fields[VMCS_GUEST_PDPTE2] = 0x2003;
    CHECK_EQ(check().field, VMCS_GUEST_PDPTE2);
    fields[VMCS_GUEST_PDPTE2] = 2; /* not present: anything goes */
    CHECK_EQ(check().count, 0);
}

TEST_MAIN({"correct_states_break_nothing", correct_states_break_nothing},
          {"each_broken_rule_is_named", each_broken_rule_is_named},
          {"lone_rules_have_their_error", lone_rules_have_their_error},
          {"some_processors_want_low_addresses", some_processors_want_low_addresses},
          {"virtual_8086_segments_are_fixed", virtual_8086_segments_are_fixed},
          {"pae_pdptes_are_checked", pae_pdptes_are_checked})

/*
 * What a guest can put into an exit, and what no processor would: every qualification of the exits
 * that have one, random instructions at device memory, MSR numbers, events under delivery, and all
 * fields at random. The VM can be entered again by all rules, or it alone was stopped by name.
 */
#include "kernel/core/msr.h"
#include "kernel/core/x86.h"
#include "tests/check.h"
#include "tests/fake/log.h"
#include "tests/fake/vmx_guest.h"

#define VMCS fake_vmcs.field
#define VCPU fake_guest.vcpu

static uint64_t seed = 0x9e3779b97f4a7c15;

static uint64_t any(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* Mostly few bits, as fields have them. */
static uint64_t any_field(void)
{
    uint64_t value = any();
    switch (any() % 4) {
    case 0:
        return value & any() & any();
    case 1:
        return 1ull << (value & 63);
    case 2:
        return value & 0xffff;
    default:
        return value;
    }
}

static void start(enum fake_mode mode)
{
    fake_guest_start(mode);
    fake_log_clear();
}

/* The exit of the reason, and what must hold after any. may_break: a field that the caller has set
 * to what no processor reports, and that the entry would refuse with a report; 0: none. */
static void exit_with(uint32_t reason, enum vmcs_field may_break)
{
    enum vmcs_field field = VMCS_GUEST_RIP;
    const char *rule = "";
    VMCS[VMCS_EXIT_REASON] = reason;
    bool goes_on = vmx_exit(&VCPU);
    if (fake_guest.vm.outcome != VM_RUNNING) {
        CHECK_EQ(fake_guest.vm.outcome, VM_STOPPED);
        vmx_log_history(&VCPU); /* as the report on its end does */
        CHECK(strstr(fake_log_text(), exit_reason_name(reason)) != NULL);
        return;
    }
    CHECK(goes_on || fake_guest.vm.reset_pending);
    if (!goes_on || fake_guest_broken_rules(&field, &rule) == 0 || field == may_break)
        return;
    printf("# reason 0x%x in %s: %s = 0x%" PRIx64 ": %s\n", reason, fake_guest.vm.name,
           vmcs_field_name(field), VMCS[field], rule);
    CHECK(!"can be entered");
}

/* SDM: Exit Qualification for Control-Register Accesses. */
static void control_registers(void)
{
    for (unsigned mode = 0; mode < FAKE_MODES; mode++) {
        if (fake_mode_cpl((enum fake_mode)mode) != 0)
            continue;
        for (unsigned i = 0; i < 64 * 64; i += 1 + any() % 4) {
            start((enum fake_mode)mode);
            uint64_t value = i % 64;
            unsigned gpr = i / 64 % 16;
            VMCS[VMCS_EXIT_QUALIFICATION] = value | gpr << 8 | (any() & 0xffff) << 16;
            uint64_t real = (value & 0xf) == 0   ? VMCS[VMCS_GUEST_CR0]
                            : (value & 0xf) == 4 ? cr_read_cr4()
                                                 : any() & 0xf;
            uint64_t flips = any_field();
            state_write_gpr(&VCPU, gpr, real ^ (any() % 2 ? flips : 1ull << (flips & 31)));
            exit_with(EXIT_REASON_CONTROL_REGISTER_ACCESS, 0);
        }
    }
}

/* SDM: Exit Qualification for MOV DR. */
static void debug_registers(void)
{
    for (unsigned mode = 0; mode < FAKE_MODES; mode++)
        for (unsigned i = 0; i < 0x1000; i++) {
            start((enum fake_mode)mode);
            VMCS[VMCS_EXIT_QUALIFICATION] = i;
            for (unsigned n = 0; n < GPR_COUNT; n++)
                state_write_gpr(&VCPU, n, any_field());
            exit_with(EXIT_REASON_MOV_DR, 0);
            CHECK_EQ(fake_hw.dr[6] >> 32, 0);
            i += 12 * (any() % 2);
        }
}

/* SDM: Exit Qualification for I/O Instructions; sizes other than 1, 2 and 4 are none. */
static void ports(void)
{
    for (unsigned mode = 0; mode < FAKE_MODES; mode++)
        for (unsigned i = 0; i < 128 * 8; i++) {
            static const uint8_t strings[][2] = {{0x6c}, {0x6d},       {0x6e},
                                                 {0x6f}, {0xf3, 0x6c}, {0xf3, 0x6f}};
            start((enum fake_mode)mode);
            memcpy(fake_guest.memory + FAKE_GUEST_RIP, strings[any() % 6], 2);
            VMCS[VMCS_EXIT_QUALIFICATION] = i % 128 | (any() & 0xffff) << 16;
            VCPU.gpr[GPR_RCX] = any_field();
            VCPU.gpr[GPR_RSI] = any_field();
            VCPU.gpr[GPR_RDI] = any_field();
            exit_with(EXIT_REASON_IO_INSTRUCTION, 0);
        }
}

/* SDM: Exit Qualification for EPT Violations; the instruction is whatever stands there. */
static void device_memory(void)
{
    for (unsigned mode = 0; mode < FAKE_MODES; mode++)
        for (unsigned i = 0; i < 800; i++) {
            start((enum fake_mode)mode);
            for (unsigned n = 0; n < 16; n++)
                fake_guest.memory[FAKE_GUEST_RIP + n] = (uint8_t)any_field();
            for (unsigned n = 0; n < GPR_COUNT; n++)
                state_write_gpr(&VCPU, n, any_field());
            VMCS[VMCS_EXIT_QUALIFICATION] = any_field();
            VMCS[VMCS_GUEST_PHYSICAL_ADDRESS] = any_field();
            VMCS[VMCS_GUEST_LINEAR_ADDRESS] = any_field();
            VMCS[VMCS_GUEST_RFLAGS] |= any() & (RFLAGS_TF | 0x8d5);
            exit_with(EXIT_REASON_EPT_VIOLATION, 0);
        }
}

/* Every number of the two ranges, and others. */
static void model_specific_registers(void)
{
    static const uint32_t ranges[] = {0, 0xc0000000, 0x40000000, 0xc0010000};
    for (uint32_t i = 0; i < 4 * 0x2000; i += 1 + (any() & 3)) {
        uint32_t msr = ranges[i / 0x2000] + i % 0x2000;
        start(any() % 2 ? FAKE_LONG : FAKE_PAE);
        VCPU.gpr[GPR_RCX] = any() << 32 | msr;
        exit_with(EXIT_REASON_RDMSR, 0);
        start(any() % 2 ? FAKE_LONG : FAKE_PAGING_32);
        VCPU.gpr[GPR_RCX] = msr;
        VCPU.gpr[GPR_RAX] = any_field();
        VCPU.gpr[GPR_RDX] = any_field() & any();
        exit_with(EXIT_REASON_WRMSR, 0);
    }
}

static void extended_control(void)
{
    for (unsigned mode = 0; mode < FAKE_MODES; mode++)
        for (unsigned i = 0; i < 256; i++) {
            start((enum fake_mode)mode);
            VCPU.gpr[GPR_RCX] = any() % 4 ? any() << 32 : any_field();
            VCPU.gpr[GPR_RAX] = i;
            VCPU.gpr[GPR_RDX] = any() % 4 ? any() << 32 : any_field();
            exit_with(EXIT_REASON_XSETBV, 0);
        }
}

/* Each event that can be under delivery, and types and vectors that none has, which the processor
 * would refuse. SDM: Information for VM Exits That Occur During Event Delivery. */
static void events_under_delivery(void)
{
    static const uint32_t reasons[] = {
        EXIT_REASON_EXCEPTION_OR_NMI, EXIT_REASON_TASK_SWITCH,
        EXIT_REASON_EPT_VIOLATION,    EXIT_REASON_EPT_MISCONFIGURATION,
        EXIT_REASON_APIC_ACCESS,      EXIT_REASON_PAGE_MODIFICATION_LOG_FULL};
    for (unsigned mode = 0; mode < FAKE_MODES; mode++)
        for (unsigned i = 0; i < 0x1000; i++) {
            uint32_t reason = reasons[any() % ARRAY_SIZE(reasons)];
            start((enum fake_mode)mode);
            VMCS[VMCS_IDT_VECTORING_INFORMATION] = EVENT_INFORMATION_VALID | i;
            VMCS[VMCS_IDT_VECTORING_ERROR_CODE] = any() & 0xffff;
            VMCS[VMCS_VM_EXIT_INTERRUPTION_INFORMATION] = EVENT_INFORMATION_VALID |
                                                          EVENT_HARDWARE_EXCEPTION << 8 |
                                                          (any() % 2 ? VECTOR_DB : VECTOR_AC);
            VMCS[VMCS_EXIT_QUALIFICATION] = any() & 0x1000;
            VMCS[VMCS_GUEST_PHYSICAL_ADDRESS] = 0x30000;
            exit_with(reason, VMCS_VM_ENTRY_INTERRUPTION_INFORMATION);
            i += any() % 24;
        }
}

/* All that an exit reports. */
static void everything_at_random(void)
{
    static const enum vmcs_field reported[] = {
        VMCS_EXIT_QUALIFICATION,       VMCS_GUEST_LINEAR_ADDRESS,
        VMCS_GUEST_PHYSICAL_ADDRESS,   VMCS_VM_EXIT_INTERRUPTION_ERROR_CODE,
        VMCS_IDT_VECTORING_ERROR_CODE, VMCS_VM_EXIT_INSTRUCTION_INFORMATION,
    };
    for (unsigned i = 0; i < 12000; i++) {
        uint32_t reason = any() % VCPU_EXIT_REASONS_MAX;
        if (reason == EXIT_REASON_ENTRY_FAILURE_MACHINE_CHECK)
            continue; /* ends the machine where no bank says that it is contained */
        enum fake_mode mode = (enum fake_mode)(any() % FAKE_MODES);
        if (fake_mode_cpl(mode) != 0 &&
            (reason == EXIT_REASON_CONTROL_REGISTER_ACCESS || reason == EXIT_REASON_HLT))
            continue; /* #GP comes before the exit */
        start(mode);
        for (size_t n = 0; n < ARRAY_SIZE(reported); n++)
            VMCS[reported[n]] = any_field();
        /* No error code has more; one that had would be refused when it is injected. */
        VMCS[VMCS_VM_EXIT_INTERRUPTION_ERROR_CODE] &= 0xffff;
        VMCS[VMCS_IDT_VECTORING_ERROR_CODE] &= 0xffff;
        for (unsigned n = 0; n < GPR_COUNT; n++)
            state_write_gpr(&VCPU, n, any_field());
        VMCS[VMCS_VM_EXIT_INTERRUPTION_INFORMATION] = (uint32_t)any_field();
        if ((VMCS[VMCS_VM_EXIT_INTERRUPTION_INFORMATION] & 0xff) == VECTOR_MC)
            continue;
        VMCS[VMCS_VM_EXIT_INSTRUCTION_LENGTH] = any() % 16;
        exit_with(reason, VMCS_VM_ENTRY_INTERRUPTION_INFORMATION);
    }
}

TEST_MAIN({"control_registers", control_registers}, {"debug_registers", debug_registers},
          {"ports", ports}, {"device_memory", device_memory},
          {"model_specific_registers", model_specific_registers},
          {"extended_control", extended_control}, {"events_under_delivery", events_under_delivery},
          {"everything_at_random", everything_at_random})

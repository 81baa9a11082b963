/* Instructions that the emulator does not know, on addresses without RAM: what the processor is
 * given for the one step, and what becomes of each way in which that can end. */
#include <string.h>

#include "kernel/core/x86.h"
#include "tests/check.h"
#include "tests/fake/vmx_guest.h"

#define VMCS fake_vmcs.field
#define GUEST fake_guest
#define VCPU fake_guest.vcpu

#define HOLE (3ull << 40) /* behind the device */
#define DEVICE 0x40000ull
#define MEMORY (5ull << 40)
#define READ BIT(0)
#define WRITE BIT(1)
#define LINEAR (BIT(7) | BIT(8))
#define NEXT_RIP (FAKE_GUEST_RIP + 2)

/* What happens in the guest, entry by entry. */
static struct happening {
    uint32_t reason;
    uint64_t qualification, gpa;
    uint32_t information, error_code;
    uint64_t rip, rflags; /* 0: as before */
} script[8];
static unsigned entries;
/* What the last entry had. */
static uint64_t eptp, seen_rflags, seen_shadow, seen_traps, seen_primary;
static uint64_t looked_at, leaf; /* the leaf of an address, 0: none */
static uint8_t *page;

static int play(struct vcpu *vcpu)
{
    const struct happening *now = &script[entries++];
    struct ept ept = GUEST.vmx_vm.ept;
    uint64_t size;
    (void)vcpu;
    CHECK_EQ(VMCS[VMCS_EXCEPTION_BITMAP], UINT32_MAX);
    CHECK_EQ(VMCS[VMCS_HOST_RIP], (uintptr_t)vmx_once_stub);
    CHECK_EQ(VMCS[VMCS_GUEST_IA32_DEBUGCTL], 0);
    eptp = VMCS[VMCS_EPT_POINTER];
    seen_rflags = VMCS[VMCS_GUEST_RFLAGS];
    seen_shadow = VMCS[VMCS_GUEST_INTERRUPTIBILITY_STATE];
    seen_traps = VMCS[VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS];
    seen_primary = VMCS[VMCS_PROCESSOR_BASED_CONTROLS];
    ept.root = HPA(eptp & EPT_ADDRESS);
    if (ept_walk(&ept, GPA(looked_at), &leaf, &size) != STATUS_OK)
        leaf = 0;
    page = leaf != 0 && (leaf & EPT_ADDRESS) - FAKE_FRAMES_BASE < FAKE_FRAMES * 4096
               ? fake_guest_frame(NULL, HPA(leaf & EPT_ADDRESS))
               : NULL;
    VMCS[VMCS_HOST_RSP] = 0x1234;
    VMCS[VMCS_EXIT_REASON] = now->reason;
    VMCS[VMCS_EXIT_QUALIFICATION] = now->qualification;
    VMCS[VMCS_GUEST_PHYSICAL_ADDRESS] = now->gpa;
    VMCS[VMCS_VM_EXIT_INTERRUPTION_INFORMATION] = now->information;
    VMCS[VMCS_VM_EXIT_INTERRUPTION_ERROR_CODE] = now->error_code;
    if (now->rip != 0)
        VMCS[VMCS_GUEST_RIP] = now->rip;
    if (now->rflags != 0)
        VMCS[VMCS_GUEST_RFLAGS] = now->rflags;
    return 0;
}

#define STEPPED                                                                                    \
    {                                                                                              \
        .reason = EXIT_REASON_EXCEPTION_OR_NMI, .qualification = PENDING_DEBUG_BS,                 \
        .information = EVENT_INFORMATION_VALID | EVENT_HARDWARE_EXCEPTION << 8 | VECTOR_DB,        \
        .rip = NEXT_RIP                                                                            \
    }

/* A guest whose instruction has met gpa. */
static void begin(const uint8_t *bytes, unsigned count, uint64_t gpa, uint64_t access)
{
    fake_guest_start(FAKE_LONG);
    memcpy(GUEST.memory + FAKE_GUEST_RIP, bytes, count);
    fake_vmcs.once = play;
    VMCS[VMCS_HOST_RSP] = 0x8888;
    VMCS[VMCS_EXIT_REASON] = EXIT_REASON_EPT_VIOLATION;
    VMCS[VMCS_EXIT_QUALIFICATION] = LINEAR | access;
    VMCS[VMCS_GUEST_PHYSICAL_ADDRESS] = gpa;
    memset(script, 0, sizeof(script));
    script[0] = script[1] = (struct happening)STEPPED;
    entries = 0;
    looked_at = gpa;
}

static const uint8_t iretq[] = {0x48, 0xcf}, movups_load[] = {0x0f, 0x10, 0x00};

/* Runs it; everything that is the monitor's is as before. */
static bool run(void)
{
    uint64_t primary = VMCS[VMCS_PROCESSOR_BASED_CONTROLS];
    uint64_t exceptions = VMCS[VMCS_EXCEPTION_BITMAP], host_rip = VMCS[VMCS_HOST_RIP];
    VMCS[VMCS_EPT_POINTER] ^= BIT(20); /* a debugger's */
    uint64_t pointer = VMCS[VMCS_EPT_POINTER], debugctl = VMCS[VMCS_GUEST_IA32_DEBUGCTL];
    bool goes_on = vmx_exit(&VCPU);
    CHECK_EQ(VMCS[VMCS_PROCESSOR_BASED_CONTROLS], primary);
    CHECK_EQ(VMCS[VMCS_EXCEPTION_BITMAP], exceptions);
    CHECK_EQ(VMCS[VMCS_HOST_RIP], host_rip);
    CHECK_EQ(VMCS[VMCS_HOST_RSP], 0x8888);
    CHECK_EQ(VMCS[VMCS_EPT_POINTER], pointer);
    CHECK_EQ(VMCS[VMCS_GUEST_IA32_DEBUGCTL], debugctl);
    return goes_on;
}

static void one_step_over_a_page_of_ones(void)
{
    begin(iretq, sizeof(iretq), HOLE + 0x128, READ);
    VMCS[VMCS_GUEST_RFLAGS] |= RFLAGS_CF;
    script[0].rflags = RFLAGS_FIXED | RFLAGS_CF;
    CHECK(run());
    CHECK_EQ(entries, 1);
    CHECK(seen_rflags & RFLAGS_TF);
    CHECK_EQ(leaf & 7, EPT_READ | EPT_WRITE | EPT_EXECUTE);
    CHECK_EQ(leaf & EPT_HOST_DECIDES, EPT_HOST_DECIDES);
    for (unsigned i = 0; i < 4096; i++)
        CHECK_EQ(page[i], 0xff);
    CHECK_EQ(VMCS[VMCS_GUEST_RIP], NEXT_RIP);
    CHECK_EQ(VMCS[VMCS_GUEST_RFLAGS], RFLAGS_FIXED | RFLAGS_CF);
    CHECK_EQ(VMCS[VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS], 0);
    CHECK(!(VMCS[VMCS_VM_ENTRY_INTERRUPTION_INFORMATION] & EVENT_INFORMATION_VALID));
    CHECK_EQ(GUEST.vm.outcome, VM_RUNNING);
}

static void flags_that_it_does_not_load_lose_the_step(void)
{
    begin(movups_load, sizeof(movups_load), HOLE, READ);
    script[0].rflags = RFLAGS_FIXED | RFLAGS_TF;
    CHECK(run());
    CHECK_EQ(VMCS[VMCS_GUEST_RFLAGS], RFLAGS_FIXED);
    static const uint8_t popf[] = {0x66, 0x9d};
    begin(popf, sizeof(popf), HOLE, READ);
    script[0].rflags = RFLAGS_FIXED | RFLAGS_TF;
    CHECK(run());
    CHECK_EQ(VMCS[VMCS_GUEST_RFLAGS], RFLAGS_FIXED | RFLAGS_TF);
    CHECK_EQ(VMCS[VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS], 0); /* TF counts where it was before */
}

static void a_guest_that_steps_gets_its_trap(void)
{
    begin(iretq, sizeof(iretq), HOLE, READ);
    VMCS[VMCS_GUEST_RFLAGS] |= RFLAGS_TF;
    script[0].rflags = RFLAGS_FIXED;
    script[0].qualification |= 2; /* and a breakpoint on data */
    CHECK(run());
    CHECK_EQ(VMCS[VMCS_GUEST_RFLAGS], RFLAGS_FIXED);
    CHECK_EQ(VMCS[VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS],
             PENDING_DEBUG_BS | PENDING_DEBUG_ENABLED | 2);
}

static void its_exceptions_are_the_guests(void)
{
    begin(iretq, sizeof(iretq), HOLE, READ);
    uint64_t rflags = VMCS[VMCS_GUEST_RFLAGS];
    script[0] =
        (struct happening){.reason = EXIT_REASON_EXCEPTION_OR_NMI,
                           .information = EVENT_INFORMATION_VALID | EVENT_INFORMATION_ERROR_CODE |
                                          EVENT_HARDWARE_EXCEPTION << 8 | VECTOR_GP,
                           .error_code = 0xfffc};
    CHECK(run());
    uint64_t event = VMCS[VMCS_VM_ENTRY_INTERRUPTION_INFORMATION];
    CHECK_EQ(event & 0x80000fff, EVENT_INFORMATION_VALID | EVENT_INFORMATION_ERROR_CODE |
                                     EVENT_HARDWARE_EXCEPTION << 8 | VECTOR_GP);
    CHECK_EQ(VMCS[VMCS_VM_ENTRY_EXCEPTION_ERROR_CODE], 0xfffc);
    CHECK_EQ(VMCS[VMCS_GUEST_RIP], FAKE_GUEST_RIP);
    CHECK_EQ(VMCS[VMCS_GUEST_RFLAGS] & ~RFLAGS_RF, rflags);
    begin(iretq, sizeof(iretq), HOLE, READ);
    script[0] =
        (struct happening){.reason = EXIT_REASON_EXCEPTION_OR_NMI,
                           .qualification = 0x123456,
                           .information = EVENT_INFORMATION_VALID | EVENT_INFORMATION_ERROR_CODE |
                                          EVENT_HARDWARE_EXCEPTION << 8 | VECTOR_PF,
                           .error_code = 2};
    CHECK(run());
    CHECK_EQ(fake_hw.cr2, 0x123456);
    CHECK_EQ(VMCS[VMCS_VM_ENTRY_INTERRUPTION_INFORMATION] & 0xff, VECTOR_PF);
}

static void int3_from_there_keeps_its_length(void)
{
    static const uint8_t int3[] = {0xcc};
    begin(int3, sizeof(int3), HOLE, READ);
    script[0] = (struct happening){.reason = EXIT_REASON_EXCEPTION_OR_NMI,
                                   .information = EVENT_INFORMATION_VALID |
                                                  EVENT_SOFTWARE_EXCEPTION << 8 | VECTOR_BP};
    VMCS[VMCS_VM_EXIT_INSTRUCTION_LENGTH] = 1;
    CHECK(run());
    CHECK_EQ(VMCS[VMCS_VM_ENTRY_INTERRUPTION_INFORMATION] & 0x7ff,
             EVENT_SOFTWARE_EXCEPTION << 8 | VECTOR_BP);
    CHECK_EQ(VMCS[VMCS_VM_ENTRY_INSTRUCTION_LENGTH], 1);
}

static void every_page_that_it_asks_for(void)
{
    begin(iretq, sizeof(iretq), HOLE + 0xff8, READ);
    script[0] = (struct happening){EXIT_REASON_EPT_VIOLATION, LINEAR | READ, .gpa = HOLE + 0x1000};
    looked_at = HOLE + 0x1000;
    CHECK(run());
    CHECK_EQ(entries, 2);
    CHECK(page != NULL && page[0] == 0xff);
    CHECK_EQ(VMCS[VMCS_GUEST_RIP], NEXT_RIP);
}

/* Three that share no table, and no fourth. */
static void too_many_pages_end_the_guest(void)
{
    begin(iretq, sizeof(iretq), HOLE, READ);
    for (unsigned i = 0; i < 4; i++)
        script[i] = (struct happening){EXIT_REASON_EPT_VIOLATION, LINEAR | READ,
                                       .gpa = HOLE + ((i + 1ull) << 39)};
    CHECK(!run());
    CHECK_EQ(entries, 3);
    CHECK_EQ(GUEST.vm.outcome, VM_STOPPED);
    CHECK_EQ(VMCS[VMCS_GUEST_RIP], FAKE_GUEST_RIP);
}

static void a_device_is_read_where_it_is_meant(void)
{
    begin(movups_load, sizeof(movups_load), DEVICE + 0x382, READ);
    GUEST.read_value = 0x11223344;
    CHECK(run());
    CHECK_EQ(leaf & 7, EPT_READ | EPT_EXECUTE);
    CHECK_EQ(GUEST.bus_reads, 16);
    CHECK_EQ(page[0x37f], 0xff);
    CHECK_EQ(page[0x380], 0x44);
    CHECK_EQ(page[0x3bf], 0x11);
    CHECK_EQ(page[0x3c0], 0xff);
    begin(movups_load, sizeof(movups_load), DEVICE + 0xff8, READ);
    CHECK(run());
    CHECK_EQ(GUEST.bus_reads, 2);
}

static void a_store_to_a_device_ends_the_guest(void)
{
    static const uint8_t movups_store[] = {0x0f, 0x11, 0x00};
    begin(movups_store, sizeof(movups_store), DEVICE, WRITE);
    script[0] = (struct happening){EXIT_REASON_EPT_VIOLATION, LINEAR | WRITE, .gpa = DEVICE};
    CHECK(!run());
    CHECK_EQ(entries, 1);
    CHECK_EQ(GUEST.bus_writes, 0);
    CHECK_EQ(GUEST.vm.outcome, VM_STOPPED);
}

static void a_devices_memory_is_itself_there(void)
{
    static uint8_t bytes[0x2000] ALIGNED(4096), *memory = bytes;
    begin(movups_load, sizeof(movups_load), MEMORY + 0x1008, WRITE);
    CHECK_EQ(bus_add(&GUEST.vm.bus, BUS_MMIO, MEMORY, sizeof(bytes), &bus_memory_ops, &memory),
             STATUS_OK);
    CHECK(run());
    CHECK_EQ(leaf & EPT_ADDRESS, ((uintptr_t)bytes + 0x1000) & EPT_ADDRESS);
    CHECK(leaf & EPT_WRITE);
}

static void ram_is_not_lent(void)
{
    begin(iretq, sizeof(iretq), 0x5000, WRITE);
    CHECK(!run());
    CHECK_EQ(entries, 0);
}

/* An interrupt of the machine, say: later, all of it again. */
static void another_exit_undoes_it(void)
{
    begin(iretq, sizeof(iretq), HOLE, READ);
    uint64_t rflags = VMCS[VMCS_GUEST_RFLAGS];
    VMCS[VMCS_GUEST_INTERRUPTIBILITY_STATE] = BLOCKING_BY_MOV_SS | BLOCKING_BY_NMI;
    VMCS[VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS] = PENDING_DEBUG_ENABLED | 1;
    script[0] = (struct happening){.reason = EXIT_REASON_EXTERNAL_INTERRUPT,
                                   .information = EVENT_INFORMATION_VALID | 0x40};
    CHECK(run());
    CHECK_EQ(fake_hw.dispatched, 1);
    CHECK_EQ(seen_shadow, BLOCKING_BY_NMI);
    CHECK_EQ(seen_traps, 0);
    CHECK_EQ(VMCS[VMCS_GUEST_RFLAGS], rflags);
    CHECK_EQ(VMCS[VMCS_GUEST_INTERRUPTIBILITY_STATE], BLOCKING_BY_MOV_SS | BLOCKING_BY_NMI);
    CHECK_EQ(VMCS[VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS], PENDING_DEBUG_ENABLED | 1);
    CHECK_EQ(VMCS[VMCS_GUEST_RIP], FAKE_GUEST_RIP);
}

/* A processor that did not trap behind it: what was stepped stays done. */
static void a_trap_that_does_not_come(void)
{
    begin(iretq, sizeof(iretq), HOLE, READ);
    VMCS[VMCS_GUEST_INTERRUPTIBILITY_STATE] = BLOCKING_BY_STI;
    script[0] = (struct happening){.reason = EXIT_REASON_EXTERNAL_INTERRUPT,
                                   .information = EVENT_INFORMATION_VALID | 0x40,
                                   .rip = NEXT_RIP,
                                   .rflags = RFLAGS_FIXED | RFLAGS_ZF};
    CHECK(run());
    CHECK_EQ(fake_hw.dispatched, 1);
    CHECK_EQ(VMCS[VMCS_GUEST_RIP], NEXT_RIP);
    CHECK_EQ(VMCS[VMCS_GUEST_RFLAGS], RFLAGS_FIXED | RFLAGS_ZF);
    CHECK_EQ(VMCS[VMCS_GUEST_INTERRUPTIBILITY_STATE], 0);
    begin(iretq, sizeof(iretq), HOLE, READ);
    script[0] = (struct happening){EXIT_REASON_EPT_VIOLATION, LINEAR | READ, .gpa = HOLE + 0x1000,
                                   .rip = NEXT_RIP};
    CHECK(run());
    CHECK_EQ(entries, 1);
    CHECK_EQ(VMCS[VMCS_GUEST_RIP], NEXT_RIP);
}

static void the_shadow_ends_with_it(void)
{
    begin(iretq, sizeof(iretq), HOLE, READ);
    VMCS[VMCS_GUEST_INTERRUPTIBILITY_STATE] = BLOCKING_BY_STI;
    VMCS[VMCS_GUEST_RFLAGS] |= RFLAGS_IF;
    CHECK(run());
    CHECK_EQ(VMCS[VMCS_GUEST_INTERRUPTIBILITY_STATE], 0);
}

/* LMSW, which exits once its operand is read. */
static void an_exit_of_the_instruction_is_handled(void)
{
    static const uint8_t lmsw[] = {0x0f, 0x01, 0x30};
    begin(lmsw, sizeof(lmsw), HOLE, READ);
    script[0] =
        (struct happening){EXIT_REASON_CONTROL_REGISTER_ACCESS, 3 << 4 | 0xbull << 16, .gpa = HOLE};
    VMCS[VMCS_VM_EXIT_INSTRUCTION_LENGTH] = 3;
    CHECK(run());
    CHECK_EQ(VMCS[VMCS_GUEST_RIP], FAKE_GUEST_RIP + 3);
    CHECK(VMCS[VMCS_GUEST_CR0] & CR0_TS);
    CHECK_EQ(VCPU.exit_count[EXIT_REASON_CONTROL_REGISTER_ACCESS], 1);
}

/* Windows would open before the instruction, for ever. */
static void windows_stay_closed(void)
{
    begin(iretq, sizeof(iretq), HOLE, READ);
    state_set_primary(&GUEST.vmx, CONTROL_INTERRUPT_WINDOW_EXITING, true);
    CHECK(run());
    CHECK(!(seen_primary & CONTROL_INTERRUPT_WINDOW_EXITING));
}

static void what_would_show_the_step_is_refused(void)
{
    static const uint8_t int_n[] = {0xcd, 0x80}, syscall[] = {0x48, 0x0f, 0x05};
    begin(int_n, sizeof(int_n), HOLE, READ);
    CHECK(!run());
    CHECK_EQ(entries, 0);
    begin(syscall, sizeof(syscall), HOLE, READ);
    CHECK(!run());
    CHECK_EQ(entries, 0);
}

static void a_failed_entry_ends_the_guest(void)
{
    begin(iretq, sizeof(iretq), HOLE, READ);
    fake_vmcs.once = NULL;
    CHECK(!run());
    CHECK_EQ(GUEST.vm.outcome, VM_STOPPED);
}

TEST_MAIN({"one_step_over_a_page_of_ones", one_step_over_a_page_of_ones},
          {"flags_that_it_does_not_load_lose_the_step", flags_that_it_does_not_load_lose_the_step},
          {"a_guest_that_steps_gets_its_trap", a_guest_that_steps_gets_its_trap},
          {"its_exceptions_are_the_guests", its_exceptions_are_the_guests},
          {"int3_from_there_keeps_its_length", int3_from_there_keeps_its_length},
          {"every_page_that_it_asks_for", every_page_that_it_asks_for},
          {"too_many_pages_end_the_guest", too_many_pages_end_the_guest},
          {"a_device_is_read_where_it_is_meant", a_device_is_read_where_it_is_meant},
          {"a_store_to_a_device_ends_the_guest", a_store_to_a_device_ends_the_guest},
          {"a_devices_memory_is_itself_there", a_devices_memory_is_itself_there},
          {"ram_is_not_lent", ram_is_not_lent}, {"another_exit_undoes_it", another_exit_undoes_it},
          {"a_trap_that_does_not_come", a_trap_that_does_not_come},
          {"the_shadow_ends_with_it", the_shadow_ends_with_it},
          {"an_exit_of_the_instruction_is_handled", an_exit_of_the_instruction_is_handled},
          {"windows_stay_closed", windows_stay_closed},
          {"what_would_show_the_step_is_refused", what_would_show_the_step_is_refused},
          {"a_failed_entry_ends_the_guest", a_failed_entry_ends_the_guest})

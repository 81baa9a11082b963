/* A debugger's steps, breakpoints and watchpoints. */
#include "kernel/core/msr.h"
#include "tests/unit/points_world.h"

/* ---- The tree ------------------------------------------------------------------------------- */

static void pages_lose_rights(void)
{
    start(FAKE_LONG);
    const struct ept *own = &fake_guest.vmx_vm.ept;
    uint64_t before = ept_hash(own, 1);
    CHECK_EQ(add(DEBUG_EXECUTE, 0x4123, 1), STATUS_OK);
    CHECK_EQ(rights(0x4000), EPT_READ | EPT_WRITE);
    CHECK_EQ(add(DEBUG_WRITE, 0x5008, 8), STATUS_OK);
    CHECK_EQ(rights(0x5000), EPT_READ | EPT_EXECUTE);
    CHECK_EQ(add(DEBUG_ACCESS, 0x6000, 4), STATUS_OK);
    CHECK_EQ(rights(0x6000), EPT_EXECUTE);
    CHECK_EQ(add(DEBUG_READ, 0x4ff8, 8), STATUS_OK); /* in the page of a breakpoint */
    CHECK_EQ(rights(0x7000), EPT_READ | EPT_WRITE | EPT_EXECUTE);
    CHECK_EQ(rights(0x200000), EPT_READ | EPT_WRITE | EPT_EXECUTE);
    CHECK(VMCS[VMCS_EPT_POINTER] != ept_pointer(own));
    CHECK_EQ(ept_hash(own, 1), before);
    CHECK_EQ(rights(0x4000), 0);
    CHECK_EQ(take_away(DEBUG_READ, 0x4ff8, 8), STATUS_OK);
    CHECK_EQ(take_away(DEBUG_READ, 0x4ff8, 8), ERR_NOT_FOUND);
    debug_settle_points(&VCPU);
    CHECK_EQ(rights(0x4000), EPT_READ | EPT_WRITE);
    CHECK_EQ(take_away(DEBUG_EXECUTE, 0x4123, 1), STATUS_OK);
    CHECK_EQ(take_away(DEBUG_WRITE, 0x5008, 8), STATUS_OK);
    CHECK_EQ(take_away(DEBUG_ACCESS, 0x6000, 4), STATUS_OK);
    CHECK_EQ(VMCS[VMCS_EPT_POINTER], ept_pointer(own));
    debug_use_points(&VCPU, NULL);
    CHECK(!fake_guest.vmx.breakpoints);
}

/* ---- Paging --------------------------------------------------------------------------------- */

#define TABLES 0x10000 /* as fake_guest_start builds them: PML4, PDPT, page directory */
#define PDE(linear) (TABLES + 0x2000 + ((linear) >> 21) * 8)
#define TABLE 0x13000 /* of 4-KByte pages */
#define LATE 0x200000 /* the first address that they do not map */
#define HIGH 0xffff900000000000

static void put(uint64_t gpa, uint64_t entry)
{
    memcpy(fake_guest.memory + gpa, &entry, sizeof(entry));
}

static uint64_t own_entry(uint64_t gpa)
{
    uint64_t entry;
    memcpy(&entry, fake_guest.memory + gpa, sizeof(entry));
    return entry;
}

/* An exit of no consequence, as the stub's that is in the VMCS. */
static void leave(void)
{
    VMCS[VMCS_EXIT_REASON] = EXIT_REASON_CPUID;
    VMCS[VMCS_VM_EXIT_INSTRUCTION_LENGTH] = 0;
    CHECK_EQ(VMCS[VMCS_HOST_RIP], (uintptr_t)vmx_exit_debug_stub);
    CHECK(vmx_exit_debug(&VCPU));
}

static void addresses_may_be_mapped_later(void)
{
    start(FAKE_LONG);
    CHECK_EQ(add(DEBUG_EXECUTE, LATE + 0x123, 1), STATUS_OK);
    CHECK(!place_of(0));
    CHECK(fake_guest.vmx.primary & CONTROL_CR3_LOAD_EXITING);
    for (unsigned i = 0; i < 3; i++) /* what is read on the way cannot be written */
        CHECK_EQ(rights(TABLES + i * 0x1000), EPT_READ | EPT_EXECUTE);
    CHECK_EQ(rights(0x5000), EPT_READ | EPT_WRITE | EPT_EXECUTE);
    put(PDE(LATE), TABLE + 7);
    leave();
    CHECK(!place_of(0));
    CHECK_EQ(rights(TABLE), EPT_READ | EPT_EXECUTE);
    put(TABLE, 0x5007);
    leave();
    CHECK(place_of(0));
    CHECK_EQ(place_of(0), 0x5123);
    CHECK_EQ(rights(0x5000), EPT_READ | EPT_WRITE);
    unsigned flushes = fake_vmcs.invepts;
    put(TABLE, 0x5067); /* accessed and dirty, as any walk may leave it */
    leave();
    CHECK_EQ(fake_vmcs.invepts, flushes);
    put(TABLE, 0x6007);
    leave();
    CHECK_EQ(place_of(0), 0x6123);
    CHECK_EQ(rights(0x6000), EPT_READ | EPT_WRITE);
    put(TABLE, 0);
    leave();
    CHECK(!place_of(0));
    CHECK_EQ(take_away(DEBUG_EXECUTE, LATE + 0x123, 1), STATUS_OK);
    CHECK(!(fake_guest.vmx.primary & CONTROL_CR3_LOAD_EXITING));
    CHECK_EQ(VMCS[VMCS_HOST_RIP], (uintptr_t)vmx_exit_stub);
}

static void addresses_may_wait_for_paging(void)
{
    start(FAKE_PROTECTED_32);
    CHECK_EQ(add(DEBUG_EXECUTE, HIGH + 0x5040, 1), STATUS_OK);
    CHECK_EQ(add(DEBUG_EXECUTE, 0x6000, 1), STATUS_OK);
    CHECK(!place_of(0) && place_of(1));
    put(TABLES + 288 * 8, TABLES + 0x1003);
    put(TABLES, TABLES + 0x1003);
    put(TABLES + 0x1000, TABLES + 0x2003);
    put(TABLES + 0x2000, 0x83);
    VMCS[VMCS_GUEST_CR3] = TABLES;
    cr_set_initial(&VCPU, CR0_PE | CR0_PG | CR0_ET, CR4_PAE, EFER_LME);
    leave();
    CHECK_EQ(VCPU.account_mark, fake_hw.tsc - 1); /* what points take is not the guest's time */
    CHECK(place_of(0) && place_of(1));
    CHECK_EQ(place_of(0), 0x5040);
    /* The tables of a reset guest are not those of the next. */
    put(TABLES + 288 * 8, 0);
    debug_reset(&VCPU);
    CHECK(!place_of(0) && place_of(1));
    CHECK_EQ(points.active, 2);
}

/* gdb has gone where they could not be taken away. */
static void points_may_be_forgotten_at_a_reset(void)
{
    start(FAKE_LONG);
    CHECK_EQ(add(DEBUG_EXECUTE, 0x5040, 1), STATUS_OK);
    CHECK(fake_guest.vmx.debug.is_active);
    fake_guest.vmx.debug.forgets_at_start = true;
    debug_reset(&VCPU);
    CHECK(fake_guest.vmx.debug.points == NULL && !fake_guest.vmx.debug.is_active);
    debug_use_points(&VCPU, &points);
    CHECK_EQ(add(DEBUG_EXECUTE, 0x5040, 1), STATUS_OK);
    debug_reset(&VCPU); /* the next one's stay */
    CHECK(fake_guest.vmx.debug.points == &points && fake_guest.vmx.debug.is_active);
}

static bool load_cr3(uint64_t value)
{
    VCPU.gpr[GPR_RAX] = value;
    VMCS[VMCS_GUEST_RIP] = FAKE_GUEST_RIP;
    VMCS[VMCS_EXIT_REASON] = EXIT_REASON_CONTROL_REGISTER_ACCESS;
    VMCS[VMCS_EXIT_QUALIFICATION] = 3;
    VMCS[VMCS_VM_EXIT_INSTRUCTION_LENGTH] = 3;
    CHECK(vmx_exit_debug(&VCPU));
    return VMCS[VMCS_GUEST_RIP] == FAKE_GUEST_RIP + 3;
}

/* A second PML4, whose first entry leads to tables of its own; and the user's page, or not. */
#define OTHER 0x14000
#define USERS 0x8000000000 /* of the second entry */

static void make_spaces(uint64_t user)
{
    put(TABLES + 8, 0x15000 + 3 + user);
    put(0x15000, 0x16000 + 3 + user);
    put(0x16000, 0x83 + user);
    memcpy(fake_guest.memory + OTHER, fake_guest.memory + TABLES, 4096);
    put(OTHER + 8, 0x17000 + 3 + user);
    put(0x17000, 0x16000 + 3 + user);
}

static void address_spaces_are_apart(void)
{
    start(FAKE_LONG);
    make_spaces(4);
    CHECK_EQ(add(DEBUG_EXECUTE, USERS + 0x5000, 1), STATUS_OK);
    CHECK(place_of(0));
    CHECK(load_cr3(OTHER));
    CHECK(!place_of(0));
    /* gdb takes its points away while the guest stands, and sets them again: elsewhere, maybe. */
    CHECK_EQ(take_away(DEBUG_EXECUTE, USERS + 0x5000, 1), STATUS_OK);
    CHECK_EQ(add(DEBUG_EXECUTE, USERS + 0x5000, 1), STATUS_OK);
    CHECK(!place_of(0));
    CHECK(load_cr3(TABLES));
    CHECK(place_of(0));
    /* When the guest has gone on in between, it is a new point. */
    CHECK_EQ(take_away(DEBUG_EXECUTE, USERS + 0x5000, 1), STATUS_OK);
    CHECK_EQ(add(DEBUG_EXECUTE, 0x7000, 1), STATUS_OK);
    debug_arm_step(&VCPU, 0, 0);
    debug_settle_points(&VCPU); /* a step is not yet going on */
    CHECK_EQ(points.point.count, 2);
    DEBUG.steps = false;
    debug_settle_points(&VCPU);
    CHECK_EQ(points.point.count, 1);
    CHECK(load_cr3(OTHER));
    CHECK_EQ(add(DEBUG_EXECUTE, USERS + 0x5000, 1), STATUS_OK);
    CHECK(place_of(1));
    CHECK(load_cr3(TABLES));
    CHECK(!place_of(1));
    /* Without paging it is the same. */
    start(FAKE_PAGING_32);
    CHECK_EQ(add(DEBUG_EXECUTE, 0x5000, 1), STATUS_OK);
    CHECK(((struct debug_point *)debug_table_row(&points.point, 0))->space != 0);
    cr_set_initial(&VCPU, CR0_PE | CR0_ET, 0, 0);
    leave();
    CHECK(place_of(0));
    /* A supervisor's page is the same everywhere. */
    start(FAKE_LONG);
    make_spaces(0);
    CHECK_EQ(add(DEBUG_EXECUTE, USERS + 0x5000, 1), STATUS_OK);
    CHECK(load_cr3(OTHER));
    CHECK(place_of(0));
}

static void loads_of_cr3_are_the_processors(void)
{
    start(FAKE_LONG);
    CHECK_EQ(add(DEBUG_EXECUTE, LATE, 1), STATUS_OK);
    CHECK(!load_cr3(1ull << 40)); /* MAXPHYADDR */
    CHECK_EQ(VMCS[VMCS_GUEST_CR3], TABLES);
    CHECK(!load_cr3(BIT(63) | TABLES));
    unsigned flushes = fake_vmcs.invvpids;
    CHECK(load_cr3(TABLES | 5));
    CHECK_EQ(VMCS[VMCS_GUEST_CR3], TABLES | 5);
    CHECK_EQ(fake_vmcs.invvpids, flushes + 1);
    VCPU.gpr[GPR_RAX] = TABLES;
    CHECK(load_cr3(TABLES));
    CHECK(cr_write(&VCPU, 4, CR4_PAE | CR4_PCIDE));
    flushes = fake_vmcs.invvpids;
    CHECK(load_cr3(BIT(63) | TABLES | 9)); /* no flush is asked for */
    CHECK_EQ(VMCS[VMCS_GUEST_CR3], TABLES | 9);
    CHECK_EQ(fake_vmcs.invvpids, flushes);
    /* PDPTEs: a bad one leaves all as it was. */
    start(FAKE_PAE);
    CHECK_EQ(add(DEBUG_EXECUTE, LATE, 1), STATUS_OK);
    uint64_t cr3 = VMCS[VMCS_GUEST_CR3];
    put(0x15000, 7);
    CHECK(!load_cr3(0x15000));
    CHECK_EQ(VMCS[VMCS_GUEST_CR3], cr3);
    put(0x15000, own_entry(cr3));
    CHECK(load_cr3(0x15000));
}

static void physical_addresses_stay(void)
{
    start(FAKE_LONG);
    CHECK_EQ(add_physical(DEBUG_EXECUTE, 0x5123, 1), STATUS_OK);
    CHECK_EQ(rights(0x5000), EPT_READ | EPT_WRITE);
    CHECK(!(fake_guest.vmx.primary & CONTROL_CR3_LOAD_EXITING));
    CHECK_EQ(VMCS[VMCS_HOST_RIP], (uintptr_t)vmx_exit_stub);
}

/* ---- Steps ---------------------------------------------------------------------------------- */

static void plain_instruction(void)
{
    static const struct happening over[] = {STEPPED(1)};
    start(FAKE_LONG);
    VMCS[VMCS_GUEST_RFLAGS] = 2 | RFLAGS_IF;
    VMCS[VMCS_GUEST_INTERRUPTIBILITY_STATE] = BLOCKING_BY_STI;
    step("\x90", 1, over, 1);
    CHECK_EQ(seen_rflags, 2 | RFLAGS_IF | RFLAGS_TF);
    CHECK_EQ(seen_ept, ept_pointer(&fake_guest.vmx_vm.ept));
    CHECK_EQ(seen_exceptions, UINT32_MAX);
    CHECK_EQ(seen_timer, UINT32_MAX);
    CHECK_EQ(VMCS[VMCS_GUEST_RFLAGS], 2 | RFLAGS_IF);
    CHECK_EQ(VMCS[VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS], 0);
    CHECK_EQ(DEBUG.stop.reason, DEBUG_STEPPED);
}

/* The first time, the trap flag stands by. */
static void monitor_trap_flag_where_it_is(void)
{
    static const struct happening first[] = {
        {.reason = EXIT_REASON_MONITOR_TRAP_FLAG, .rip = FAKE_GUEST_RIP + 1}};
    static const struct happening second[] = {
        {.reason = EXIT_REASON_MONITOR_TRAP_FLAG, .rip = FAKE_GUEST_RIP + 2}};
    start(FAKE_LONG);
    VMCS[VMCS_GUEST_RFLAGS] = 2 | RFLAGS_IF;
    step("\x90", 1, first, 1);
    CHECK_EQ(seen_rflags, 2 | RFLAGS_IF | RFLAGS_TF);
    CHECK(seen_primary & CONTROL_MONITOR_TRAP_FLAG);
    CHECK(!(VMCS[VMCS_PROCESSOR_BASED_CONTROLS] & CONTROL_MONITOR_TRAP_FLAG));
    CHECK_EQ(VMCS[VMCS_GUEST_RFLAGS], 2 | RFLAGS_IF);
    CHECK_EQ(DEBUG.stop.reason, DEBUG_STEPPED);
    VMCS[VMCS_GUEST_INTERRUPTIBILITY_STATE] = BLOCKING_BY_MOV_SS;
    VMCS[VMCS_GUEST_IA32_DEBUGCTL] = DEBUGCTL_LBR;
    step("\x90\x90", 2, second, 1);
    CHECK_EQ(seen_rflags, 2 | RFLAGS_IF);
    CHECK_EQ(seen_shadow, BLOCKING_BY_MOV_SS);
    CHECK(seen_primary & CONTROL_MONITOR_TRAP_FLAG);
    CHECK_EQ(VMCS[VMCS_GUEST_IA32_DEBUGCTL], DEBUGCTL_LBR);
    /* What exits otherwise is not touched either. */
    static const struct happening cpuid[] = {{.reason = EXIT_REASON_CPUID}};
    VMCS[VMCS_GUEST_RIP] = FAKE_GUEST_RIP;
    VMCS[VMCS_GUEST_INTERRUPTIBILITY_STATE] = 0;
    step("\x0f\xa2", 2, cpuid, 1);
    CHECK_EQ(VMCS[VMCS_GUEST_RFLAGS], 2 | RFLAGS_IF);
    /* A processor that announces it and has it not; and one that does not. */
    static const struct happening over[] = {STEPPED(1)};
    start(FAKE_LONG);
    step("\x90", 1, over, 1);
    VMCS[VMCS_GUEST_RIP] = FAKE_GUEST_RIP;
    step("\x90", 1, over, 1);
    CHECK(!(seen_primary & CONTROL_MONITOR_TRAP_FLAG));
    CHECK(seen_rflags & RFLAGS_TF);
    start(FAKE_LONG);
    fake_guest.cpu.capabilities.control[CONTROL_PRIMARY] &=
        ~((uint64_t)CONTROL_MONITOR_TRAP_FLAG << 32);
    step("\x90", 1, over, 1);
    CHECK(!(seen_primary & CONTROL_MONITOR_TRAP_FLAG));
}

static void guest_that_steps_itself_gets_its_trap(void)
{
    static const struct happening over[] = {STEPPED(1)};
    start(FAKE_LONG);
    VMCS[VMCS_GUEST_RFLAGS] = 2 | RFLAGS_TF;
    step("\x90", 1, over, 1);
    CHECK_EQ(VMCS[VMCS_GUEST_RFLAGS], 2 | RFLAGS_TF);
    CHECK_EQ(VMCS[VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS], PENDING_DEBUG_BS);
}

/* The processor has left the flag where the instruction copies it to. */
static void push_flags(void)
{
    VMCS[VMCS_GUEST_RSP] = FAKE_GUEST_RSP - 8;
    fake_guest.memory[FAKE_GUEST_RSP - 8] = 0x02;
    fake_guest.memory[FAKE_GUEST_RSP - 7] = 0x03;
}

static void pop_flags(void)
{
    VMCS[VMCS_GUEST_RFLAGS] = 2 | RFLAGS_TF; /* what was on the stack */
}

static void flag_is_hidden(void)
{
    struct happening over[] = {STEPPED(1)};
    start(FAKE_LONG);
    over[0].does = push_flags;
    step("\x66\x9c", 2, over, 1);
    CHECK_EQ(fake_guest.memory[FAKE_GUEST_RSP - 7], 0x02);
    start(FAKE_LONG);
    over[0].does = pop_flags;
    step("\x9d", 1, over, 1);
    CHECK_EQ(VMCS[VMCS_GUEST_RFLAGS], 2 | RFLAGS_TF);
}

#define HANDLER 0xffffffff81000000

static uint64_t seen_target, seen_dr7;

static void note_breakpoint(void)
{
    seen_target = fake_hw.dr[0];
    seen_dr7 = VMCS[VMCS_GUEST_DR7];
    VMCS[VMCS_GUEST_RFLAGS] |= BIT(16); /* SDM: RF, which the breakpoint's #DB would push */
}

static void ends_at(const char *bytes, unsigned count, uint64_t target)
{
    struct happening there[] = {{.reason = EXIT_REASON_EXCEPTION_OR_NMI,
                                 .information = EVENT(EVENT_HARDWARE_EXCEPTION, VECTOR_DB),
                                 .qualification = BIT(0),
                                 .rip = target,
                                 .does = note_breakpoint}};
    fake_hw.dr[0] = 0x1234;
    VMCS[VMCS_GUEST_DR7] = 0x400;
    VMCS[VMCS_GUEST_RFLAGS] = 2 | RFLAGS_IF;
    VCPU.gpr[GPR_R11] = 2 | RFLAGS_IF;
    step(bytes, count, there, 1);
    CHECK_EQ(seen_target, target);
    CHECK_EQ(seen_dr7, 0x401);
    CHECK_EQ(seen_rflags & RFLAGS_TF, 0);
    CHECK_EQ(VMCS[VMCS_GUEST_RFLAGS], 2 | RFLAGS_IF);
    CHECK_EQ(VCPU.gpr[GPR_R11], 2 | RFLAGS_IF);
    CHECK_EQ(VMCS[VMCS_GUEST_RIP], target);
    CHECK_EQ(fake_hw.dr[0], 0x1234);
    CHECK_EQ(VMCS[VMCS_GUEST_DR7], 0x400);
    CHECK_EQ(VMCS[VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS], 0);
}

/* The flags that they load mask the trap. */
static void system_calls_end_at_their_targets(void)
{
    start(FAKE_LONG);
    fake_hw_set_msr(MSR_IA32_LSTAR, HANDLER);
    ends_at("\x0f\x05", 2, HANDLER);
    start(FAKE_LONG);
    VCPU.gpr[GPR_RCX] = 0x7fff12345678;
    ends_at("\x48\x0f\x07", 3, 0x7fff12345678);
    start(FAKE_LONG);
    VCPU.gpr[GPR_RCX] = 0x7fff12345678;
    ends_at("\x0f\x07", 2, 0x12345678);
}

static void exceptions_are_stepped_into(void)
{
    static const struct happening fault[] = {
        {.reason = EXIT_REASON_EXCEPTION_OR_NMI,
         .information = EVENT(EVENT_HARDWARE_EXCEPTION, VECTOR_UD)},
        DELIVERED};
    start(FAKE_LONG);
    step("\x0f\x0b", 2, fault, 2);
    CHECK_EQ(seen_event & 0x800007ff, EVENT(EVENT_HARDWARE_EXCEPTION, VECTOR_UD));
    CHECK_EQ(seen_timer, 0);
    CHECK_EQ(seen_rflags & RFLAGS_TF, 0);
    CHECK(!VCPU.events.next.valid);
    static const struct happening interrupt[] = {DELIVERED};
    start(FAKE_LONG);
    step("\xcd\x80", 2, interrupt, 1);
    CHECK_EQ(seen_event & 0x800007ff, EVENT(EVENT_SOFTWARE_INTERRUPT, 0x80));
    CHECK_EQ(VMCS[VMCS_VM_ENTRY_INSTRUCTION_LENGTH], 2);
}

/* What is no whole INT n is the processor's to refuse. */
static void no_interrupt_is_made_up(void)
{
    static const struct happening refused[] = {
        {.reason = EXIT_REASON_EXCEPTION_OR_NMI,
         .information = EVENT(EVENT_HARDWARE_EXCEPTION, VECTOR_UD)},
        DELIVERED};
    start(FAKE_LONG);
    step("\xf0\xcd\x80", 3, refused, 2);
    CHECK_EQ(seen_event & 0x7ff, EVENT_HARDWARE_EXCEPTION << 8 | VECTOR_UD);
    start(FAKE_LONG);
    step("\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\xcd\x80", 16, refused, 2);
    CHECK_EQ(seen_event & 0x7ff, EVENT_HARDWARE_EXCEPTION << 8 | VECTOR_UD);
}

static void exits_are_carried_out(void)
{
    static const struct happening cpuid[] = {{.reason = EXIT_REASON_PREEMPTION_TIMER},
                                             {.reason = EXIT_REASON_EXTERNAL_INTERRUPT},
                                             {.reason = EXIT_REASON_CPUID}};
    start(FAKE_LONG);
    VCPU.gpr[GPR_RAX] = 0;
    step("\x0f\xa2", 2, cpuid, 3);
    CHECK_EQ(fake_hw.dispatched, 1);
    CHECK_EQ(VMCS[VMCS_GUEST_RIP], FAKE_GUEST_RIP + 2);
    CHECK_EQ(VCPU.gpr[GPR_RAX], cpuid_find(&VCPU.cpuid, 0, 0)->eax);
    CHECK_EQ(VMCS[VMCS_GUEST_RFLAGS] & RFLAGS_TF, 0);
    static const struct happening halt[] = {{.reason = EXIT_REASON_HLT}};
    start(FAKE_LONG);
    step("\xf4", 1, halt, 1);
    CHECK_EQ(VCPU.activity, VCPU_HALTED);
    step("\x90", 1, halt, 0); /* it stays where it is */
}

static void ranges_are_stepped_through(void)
{
    start(FAKE_LONG);
    for (unsigned i = 0; i < 4; i++)
        script[i] = (struct happening)STEPPED(i + 1);
    entries = 0;
    fake_vmcs.once = play;
    debug_arm_step(&VCPU, FAKE_GUEST_RIP, FAKE_GUEST_RIP + 3);
    debug_run_steps(&VCPU);
    CHECK_EQ(entries, 3);
    CHECK_EQ(VMCS[VMCS_GUEST_RIP], FAKE_GUEST_RIP + 3);
    /* A breakpoint in the way. */
    start(FAKE_LONG);
    CHECK_EQ(add(DEBUG_EXECUTE, FAKE_GUEST_RIP, 1), STATUS_OK);
    CHECK_EQ(add(DEBUG_EXECUTE, FAKE_GUEST_RIP + 2, 1), STATUS_OK);
    entries = 0;
    fake_vmcs.once = play;
    debug_arm_step(&VCPU, FAKE_GUEST_RIP, FAKE_GUEST_RIP + 100);
    debug_run_steps(&VCPU);
    CHECK_EQ(entries, 2);
    CHECK_EQ(DEBUG.stop.reason, DEBUG_AT_POINT);
    CHECK_EQ(DEBUG.stop.address, FAKE_GUEST_RIP + 2);
    CHECK(DEBUG.stop.is_at_rip);
}

/* A pause of the shell's, or a call: they are served in between, and the steps go on afterwards. */
static void steps_wait_for_others(void)
{
    start(FAKE_LONG);
    entries = 0;
    script[0] = (struct happening)STEPPED(1);
    fake_vmcs.once = play;
    VM.is_paused = true;
    debug_arm_step(&VCPU, 0, 0);
    debug_run_steps(&VCPU);
    VM.is_paused = false;
    VCPU.requests = VCPU_REQUEST_DEBUG;
    debug_run_steps(&VCPU);
    CHECK(DEBUG.steps && !DEBUG.has_stopped);
    CHECK_EQ(entries, 0);
    VCPU.requests = 0;
    debug_run_steps(&VCPU);
    CHECK(!DEBUG.steps && DEBUG.has_stopped);
    CHECK_EQ(entries, 1);
    start(FAKE_LONG);
    debug_arm_step(&VCPU, 0, ~0ull);
    debug_disarm_step(&VCPU);
    debug_run_steps(&VCPU);
    CHECK(!DEBUG.has_stopped);
    debug_arm_step(&VCPU, 0, ~0ull);
    VCPU.requests = VCPU_REQUEST_STOP;
    debug_run_steps(&VCPU);
    CHECK(!DEBUG.steps && !DEBUG.has_stopped);
}

/* ---- Accesses ------------------------------------------------------------------------------- */

static void breakpoints_stop(void)
{
    start(FAKE_LONG);
    CHECK_EQ(add(DEBUG_EXECUTE, FAKE_GUEST_RIP, 1), STATUS_OK);
    CHECK(access_to(FAKE_GUEST_RIP, FETCH | FINAL, (struct happening)STEPPED(1)));
    CHECK(DEBUG.has_stopped && DEBUG.stop.is_at_rip);
    CHECK_EQ(DEBUG.stop.type, 7);
    CHECK_EQ(entries, 0);
    /* Another instruction of its page is executed by itself. */
    start(FAKE_LONG);
    CHECK_EQ(add(DEBUG_EXECUTE, FAKE_GUEST_RIP + 8, 1), STATUS_OK);
    CHECK(access_to(FAKE_GUEST_RIP, FETCH | FINAL, (struct happening)STEPPED(1)));
    CHECK(!DEBUG.has_stopped);
    CHECK_EQ(entries, 1);
    /* Beside it, all repetitions at once. */
    struct happening behind = STEPPED(3);
    behind.qualification = BIT(0);
    behind.does = note_breakpoint;
    memcpy(fake_guest.memory + FAKE_GUEST_RIP, "\xf3\x48\xab", 3);
    CHECK(access_to(FAKE_GUEST_RIP, FETCH | FINAL, behind));
    CHECK_EQ(seen_target, FAKE_GUEST_RIP + 3);
    CHECK_EQ(VMCS[VMCS_GUEST_RFLAGS] & (RFLAGS_TF | BIT(16)), 0);
    memset(fake_guest.memory + FAKE_GUEST_RIP, 0x90, 3);
    /* What the VM's own tree lacks is somebody else's. */
    CHECK(!access_to(1ull << 40, WRITE | FINAL, (struct happening)STEPPED(1)));
    CHECK_EQ(take_away(DEBUG_EXECUTE, FAKE_GUEST_RIP + 8, 1), STATUS_OK);
    CHECK(!access_to(0x7000, FETCH | FINAL, (struct happening)STEPPED(1)));
}

/* gdb takes RIP for the address, and cannot step over a breakpoint that it does not find there. */
static void breakpoints_outside_flat_segments_let_go_on(void)
{
    start(FAKE_REAL);
    VMCS[VMCS_GUEST_CS_BASE] = 0x1000;
    CHECK_EQ(add(DEBUG_EXECUTE, 0x1000 + FAKE_GUEST_RIP, 1), STATUS_OK);
    CHECK(access_to(0x1000 + FAKE_GUEST_RIP, FETCH | FINAL, (struct happening)STEPPED(1)));
    CHECK(DEBUG.has_stopped && !DEBUG.stop.is_at_rip);
    CHECK(access_to(0x1000 + FAKE_GUEST_RIP, FETCH | FINAL, (struct happening)STEPPED(1)));
    CHECK(!DEBUG.has_stopped);
    CHECK_EQ(entries, 1);
    CHECK(access_to(0x1000 + FAKE_GUEST_RIP, FETCH | FINAL, (struct happening)STEPPED(1)));
    CHECK(DEBUG.has_stopped);
}

static void store_a_byte(void)
{
    fake_guest.memory[0x5003] ^= 1;
}

static void watchpoints_are_exact(void)
{
    start(FAKE_LONG);
    struct happening silent = STEPPED(2), stores = STEPPED(2);
    stores.does = store_a_byte;
    CHECK_EQ(add(DEBUG_WRITE, 0x5003, 1), STATUS_OK);
    memcpy(fake_guest.memory + FAKE_GUEST_RIP, "\x88\x03", 2); /* mov [rbx], al */
    CHECK(access_to(0x5002, WRITE | FINAL, silent));
    CHECK(!DEBUG.has_stopped);
    CHECK(access_to(0x5004, WRITE | FINAL, silent));
    CHECK(!DEBUG.has_stopped);
    CHECK(access_to(0x5003, WRITE | FINAL, silent)); /* the same value */
    CHECK(DEBUG.has_stopped);
    CHECK_EQ(DEBUG.stop.address, 0x5003);
    CHECK(access_to(0x5000, WRITE | FINAL, stores)); /* whatever the exit tells */
    CHECK(DEBUG.has_stopped);
    memcpy(fake_guest.memory + FAKE_GUEST_RIP, "\x89\x03", 2); /* mov [rbx], eax */
    CHECK(access_to(0x5000, WRITE | FINAL, silent));
    CHECK(DEBUG.has_stopped);
    CHECK(access_to(0x5000, READ | FINAL, silent));
    CHECK(!DEBUG.has_stopped);
    CHECK_EQ(take_away(DEBUG_WRITE, 0x5003, 1), STATUS_OK);
    CHECK_EQ(add(DEBUG_READ, 0x5003, 1), STATUS_OK);
    CHECK(access_to(0x5000, WRITE | FINAL, stores));
    CHECK(!DEBUG.has_stopped);
    memcpy(fake_guest.memory + FAKE_GUEST_RIP, "\x8b\x03", 2); /* mov eax, [rbx] */
    CHECK(access_to(0x5000, READ | FINAL, silent));
    CHECK(DEBUG.has_stopped);
    CHECK(access_to(0x5000, READ, silent)); /* a walk of page tables */
    CHECK(!DEBUG.has_stopped);
}

/* By an instruction that is executed by itself for another reason. */
static void steps_meet_watchpoints(void)
{
    static const struct happening reads[] = {
        {.reason = EXIT_REASON_EPT_VIOLATION, .qualification = READ | FINAL, .gpa = 0x5000},
        STEPPED(2)};
    start(FAKE_LONG);
    CHECK_EQ(add(DEBUG_READ, 0x5003, 1), STATUS_OK);
    step("\x8b\x03", 2, reads, 2); /* mov eax, [rbx] */
    CHECK_EQ(DEBUG.stop.reason, DEBUG_AT_POINT);
    CHECK_EQ(DEBUG.stop.address, 0x5003);
    CHECK(first_ept != ept_pointer(&points.ept) && first_ept == ept_pointer(&points.data));
    CHECK_EQ(seen_ept, ept_pointer(&points.data));
    CHECK_EQ(*debug_tree_leaf(&points.data, 0x5000) & (EPT_READ | EPT_WRITE), 0);
    CHECK_EQ(VMCS[VMCS_GUEST_RFLAGS] & RFLAGS_TF, 0);
    VMCS[VMCS_GUEST_RIP] = FAKE_GUEST_RIP;
    step("\x8a\x03", 2, reads, 2); /* mov al, [rbx]: the byte beside */
    CHECK_EQ(DEBUG.stop.reason, DEBUG_STEPPED);
    /* Another instruction of a breakpoint's page. */
    CHECK_EQ(add(DEBUG_EXECUTE, FAKE_GUEST_RIP + 8, 1), STATUS_OK);
    memcpy(fake_guest.memory + FAKE_GUEST_RIP, "\x8b\x03", 2);
    script[1] = (struct happening)STEPPED(2);
    CHECK(access_to(FAKE_GUEST_RIP, FETCH | FINAL, reads[0]));
    CHECK(DEBUG.has_stopped);
    CHECK_EQ(DEBUG.stop.address, 0x5003);
}

static void debugger_goes_away(void)
{
    debug_use_points(&VCPU, NULL);
}

/* While the instruction is executed, by an interrupt of the machine. */
static void points_may_go_meanwhile(void)
{
    struct happening stores = STEPPED(2);
    stores.does = debugger_goes_away;
    start(FAKE_LONG);
    CHECK_EQ(add(DEBUG_WRITE, 0x5003, 1), STATUS_OK);
    memcpy(fake_guest.memory + FAKE_GUEST_RIP, "\x89\x03", 2);
    (void)access_to(0x5000, WRITE | FINAL, stores);
    CHECK(!DEBUG.has_stopped);
    CHECK_EQ(DEBUG.points, NULL);
}

static void go_on(void)
{
    vm_resume(&VM);
}

/* The guest that goes on after a step has its own deadlines again. */
static void timer_is_set_after_steps(void)
{
    start(FAKE_LONG);
    memset(script, 0, sizeof(script));
    script[0] = (struct happening)STEPPED(1);
    entries = 0;
    fake_vmcs.once = play;
    VM.is_paused = false;
    fake_guest.vmx.break_at = fake_hw.tsc + 100000;
    debug_arm_step(&VCPU, 0, 0);
    VCPU.requests = VCPU_REQUEST_DEBUG;
    fake_hw.on_halt = go_on;
    (void)run_serve_requests(&VCPU);
    CHECK_EQ(entries, 1);
    CHECK(VMCS[VMCS_VMX_PREEMPTION_TIMER_VALUE] < 100000);
}

TEST_MAIN({"pages_lose_rights", pages_lose_rights},
          {"addresses_may_be_mapped_later", addresses_may_be_mapped_later},
          {"points_may_be_forgotten_at_a_reset", points_may_be_forgotten_at_a_reset},
          {"addresses_may_wait_for_paging", addresses_may_wait_for_paging},
          {"address_spaces_are_apart", address_spaces_are_apart},
          {"loads_of_cr3_are_the_processors", loads_of_cr3_are_the_processors},
          {"physical_addresses_stay", physical_addresses_stay},
          {"plain_instruction", plain_instruction},
          {"guest_that_steps_itself_gets_its_trap", guest_that_steps_itself_gets_its_trap},
          {"flag_is_hidden", flag_is_hidden},
          {"system_calls_end_at_their_targets", system_calls_end_at_their_targets},
          {"exceptions_are_stepped_into", exceptions_are_stepped_into},
          {"no_interrupt_is_made_up", no_interrupt_is_made_up},
          {"exits_are_carried_out", exits_are_carried_out},
          {"ranges_are_stepped_through", ranges_are_stepped_through},
          {"steps_wait_for_others", steps_wait_for_others}, {"breakpoints_stop", breakpoints_stop},
          {"breakpoints_outside_flat_segments_let_go_on",
           breakpoints_outside_flat_segments_let_go_on},
          {"watchpoints_are_exact", watchpoints_are_exact},
          {"points_may_go_meanwhile", points_may_go_meanwhile},
          {"monitor_trap_flag_where_it_is", monitor_trap_flag_where_it_is},
          {"steps_meet_watchpoints", steps_meet_watchpoints},
          {"timer_is_set_after_steps", timer_is_set_after_steps})

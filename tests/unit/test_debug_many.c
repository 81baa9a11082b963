/* Points without limit: thousands of them, large ones, and all that one instruction may meet. */

#include "tests/unit/points_world.h"

#define TABLES 0x10000 /* as fake_guest_start builds them: PML4, PDPT, page directory */
#define TABLE 0x13000  /* of 4-KByte pages */
#define LATE 0x200000  /* the first address that they do not map */

static void put(uint64_t gpa, uint64_t entry)
{
    memcpy(fake_guest.memory + gpa, &entry, sizeof(entry));
}

/* An exit of no consequence. */
static void leave(void)
{
    VMCS[VMCS_EXIT_REASON] = EXIT_REASON_CPUID;
    VMCS[VMCS_VM_EXIT_INSTRUCTION_LENGTH] = 0;
    CHECK(vmx_exit_debug(&VCPU));
}

static uint64_t far_away(unsigned i)
{
    return 0x100000000 + i * 0x1000ull;
}

/* ---- How many ------------------------------------------------------------------------------- */

static void thousands_of_points(void)
{
    start(FAKE_LONG);
    for (unsigned i = 0; i < 3000; i++) {
        CHECK_EQ(add(DEBUG_EXECUTE, 0x4000 + i, 1), STATUS_OK);
        CHECK_EQ(add(DEBUG_EXECUTE, far_away(i), 1), STATUS_OK);
    }
    CHECK_EQ(add(DEBUG_EXECUTE, 0x4000, 1), STATUS_OK); /* once more is once */
    CHECK_EQ(points.active, 6000);
    CHECK_EQ(rights(0x4000), EPT_READ | EPT_WRITE);
    for (unsigned i = 0; i < 3000; i += 999) {
        memset(fake_guest.memory + 0x4000, 0x90, 0x1000);
        CHECK(access_to(0x4000, FETCH | FINAL, (struct happening)STEPPED(1)));
        VMCS[VMCS_GUEST_RIP] = 0x4000 + i;
        CHECK(debug_take_violation(&VCPU, 0x4000 + i, 0x4000 + i, FETCH | FINAL));
        CHECK_EQ(DEBUG.stop.address, 0x4000 + i);
    }
    /* gdb takes all away when the guest stops, and sets them again. */
    uint32_t rows = points.point.count, generation = points.generation;
    for (unsigned turn = 0; turn < 2; turn++)
        for (unsigned i = 0; i < 3000; i++) {
            CHECK_EQ(turn == 0 ? take_away(DEBUG_EXECUTE, far_away(i), 1)
                               : add(DEBUG_EXECUTE, far_away(i), 1),
                     STATUS_OK);
        }
    debug_settle_points(&VCPU);
    CHECK_EQ(points.point.count, rows);
    CHECK_EQ(points.generation, generation);
    for (unsigned i = 0; i < 2999; i++)
        CHECK_EQ(take_away(DEBUG_EXECUTE, 0x4000 + i, 1), STATUS_OK);
    debug_settle_points(&VCPU);
    CHECK_EQ(points.point.count, 3001);
    CHECK_EQ(rights(0x4000), EPT_READ | EPT_WRITE);
    CHECK_EQ(take_away(DEBUG_EXECUTE, 0x4000 + 2999, 1), STATUS_OK);
    debug_settle_points(&VCPU);
    CHECK_EQ(rights(0x4000), EPT_READ | EPT_WRITE | EPT_EXECUTE);
    debug_use_points(&VCPU, NULL);
    CHECK_EQ(pages_taken, 0);
    CHECK_EQ(add(DEBUG_EXECUTE, 0x5000, 1), ERR_NO_MEMORY);
}

static void what_cannot_be(void)
{
    start(FAKE_LONG);
    CHECK_EQ(add(DEBUG_WRITE, 0x5000, 0), ERR_RANGE);
    CHECK_EQ(add(DEBUG_WRITE, ~0ull, 2), ERR_RANGE);
    CHECK_EQ(add_physical(DEBUG_WRITE, 1ull << 40, 1), ERR_RANGE);
    CHECK_EQ(add(DEBUG_WRITE, 1, ~0ull), ERR_NO_MEMORY);
    CHECK_EQ(add(DEBUG_WRITE, 0, 1ull << 40), ERR_NO_MEMORY);
    CHECK_EQ(points.active, 0);
    CHECK_EQ(points.point.count, 0);
    CHECK_EQ(points.used, 0);
    CHECK_EQ(pages_taken, 0);
    /* All of them together have a limit, by which what a change of page tables costs has one. */
    CHECK_EQ(add(DEBUG_WRITE, 0, 200ull << 20), STATUS_OK);
    CHECK_EQ(add(DEBUG_READ, 0, 100ull << 20), ERR_NO_MEMORY);
    CHECK_EQ(points.point.count, 1);
    CHECK_EQ(add(DEBUG_READ, 0, 50ull << 20), STATUS_OK);
}

/* gdb tries once more with the same. */
static void refused_is_refused_again(void)
{
    start(FAKE_LONG);
    CHECK_EQ(add(DEBUG_EXECUTE, 0x4000, 1), STATUS_OK);
    uint64_t covered = points.covered;
    for (unsigned i = 0; i < 3; i++) {
        pages_left = 3; /* for some of what it takes */
        CHECK_EQ(add(DEBUG_WRITE, 0x5000, 60ull << 20), ERR_NO_MEMORY);
        CHECK_EQ(points.point.count, 1);
        CHECK_EQ(points.active, 1);
        CHECK_EQ(points.covered, covered);
    }
    CHECK_EQ(rights(0x4000), EPT_READ | EPT_WRITE);
    pages_left = 1 << 20;
    CHECK_EQ(add(DEBUG_WRITE, 0x5000, 4096), STATUS_OK);
    CHECK_EQ(rights(0x5000), EPT_READ | EPT_EXECUTE);
}

/* The VM's EPT is another then, and the frames of the last one may be anybody's. */
static void next_life_has_trees_of_its_own(void)
{
    start(FAKE_LONG);
    CHECK_EQ(add(DEBUG_EXECUTE, 0x4000, 1), STATUS_OK);
    CHECK_EQ(take_away(DEBUG_EXECUTE, 0x4000, 1), STATUS_OK);
    CHECK(points.used != 0);
    debug_settle_points(&VCPU);
    CHECK_EQ(pages_taken, 0); /* none is left: all memory goes back */
    CHECK_EQ(add(DEBUG_EXECUTE, 0x4000, 1), STATUS_OK);
    CHECK_EQ(take_away(DEBUG_EXECUTE, 0x4000, 1), STATUS_OK);
    points.point.count = 0;
    debug_reset(&VCPU);
    CHECK_EQ(points.used, 0);
}

/* A physical one is another than a virtual one at the same number. */
static void kinds_of_addresses_are_apart(void)
{
    struct debug_point physical = point_at(DEBUG_EXECUTE, 0x4000, 1);
    physical.is_physical = true;
    start(FAKE_LONG);
    CHECK_EQ(add(DEBUG_EXECUTE, 0x4000, 1), STATUS_OK);
    CHECK_EQ(debug_add_point(&VCPU, &physical), STATUS_OK);
    CHECK_EQ(points.active, 2);
    CHECK_EQ(debug_remove_point(&VCPU, &physical), STATUS_OK);
    CHECK_EQ(points.linear, 1);
    /* What addresses mean was changed since it was set. */
    CHECK_EQ(debug_remove_point(&VCPU, &physical), STATUS_OK);
    CHECK_EQ(points.active, 0);
    CHECK_EQ(debug_remove_point(&VCPU, &physical), ERR_NOT_FOUND);
}

/* Every allocation fails once: what is there stays in force, and more works when there is more. */
static void memory_may_run_out(void)
{
    unsigned failures = 0;
    for (unsigned room = 0;; room++) {
        start(FAKE_LONG);
        pages_left = room;
        enum status status = add(DEBUG_EXECUTE, 0x4000, 1);
        for (unsigned i = 0; status == STATUS_OK && i < 200; i++)
            status = add(DEBUG_WRITE, far_away(i) + 0xff8, 64);
        if (status == STATUS_OK)
            break;
        failures++;
        CHECK_EQ(status, ERR_NO_MEMORY);
        CHECK_EQ(points.point.count, points.active); /* the one that was refused is not there */
        if (points.active != 0)
            CHECK_EQ(rights(0x4000), EPT_READ | EPT_WRITE);
        else
            CHECK_EQ(VMCS[VMCS_EPT_POINTER], ept_pointer(&fake_guest.vmx_vm.ept));
        pages_left = 1000;
        CHECK_EQ(add(DEBUG_EXECUTE, 0x6000, 1), STATUS_OK);
        CHECK_EQ(rights(0x6000), EPT_READ | EPT_WRITE);
        debug_settle_points(&VCPU);
    }
    CHECK(failures > 10);
}

/* ---- How large ------------------------------------------------------------------------------ */

static void store_al(uint64_t gpa, bool is_met)
{
    memcpy(fake_guest.memory + FAKE_GUEST_RIP, "\x88\x03", 2); /* mov [rbx], al */
    CHECK(access_to(gpa, WRITE | FINAL, (struct happening)STEPPED(2)));
    CHECK_EQ(DEBUG.has_stopped, is_met);
    if (is_met)
        CHECK_EQ(DEBUG.stop.address, gpa);
}

static void watch_of_many_pages(void)
{
    start(FAKE_LONG);
    CHECK_EQ(add(DEBUG_WRITE, 0x5ffd, 0x2006), STATUS_OK);
    for (uint64_t page = 0x5000; page <= 0x8000; page += 0x1000)
        CHECK_EQ(rights(page), EPT_READ | EPT_EXECUTE);
    store_al(0x5ffc, false);
    store_al(0x5ffd, true);
    store_al(0x6000, true);
    store_al(0x7abc, true);
    store_al(0x8002, true);
    store_al(0x8003, false);
    CHECK_EQ(take_away(DEBUG_WRITE, 0x5ffd, 0x2006), STATUS_OK);
    debug_settle_points(&VCPU);
    CHECK_EQ(add(DEBUG_WRITE, 0x80010, MIB(1)), STATUS_OK);
    CHECK_EQ(rights(0x80000), EPT_READ | EPT_EXECUTE);
    CHECK_EQ(rights(0x180000), EPT_READ | EPT_EXECUTE);
    CHECK_EQ(rights(0x181000), EPT_READ | EPT_WRITE | EPT_EXECUTE);
    store_al(0x8000f, false);
    store_al(0x80010, true);
    store_al(0x18000f, true);
    store_al(0x180010, false);
}

/* An access that crosses a page's end tells of its first byte, and is cut there. */
static void accesses_are_cut_at_page_ends(void)
{
    start(FAKE_LONG);
    CHECK_EQ(add(DEBUG_WRITE, 0x6000, 1), STATUS_OK);
    CHECK_EQ(add(DEBUG_WRITE, 0x5000, 1), STATUS_OK);
    memcpy(fake_guest.memory + FAKE_GUEST_RIP, "\x48\x89\x03", 3); /* mov [rbx], rax */
    CHECK(access_to(0x5ffc, WRITE | FINAL, (struct happening)STEPPED(3)));
    CHECK(!DEBUG.has_stopped);
}

/* ---- What one instruction meets ------------------------------------------------------------- */

static void play_entries(const char *bytes, unsigned count, const struct happening *happenings,
                         unsigned n)
{
    memcpy(fake_guest.memory + FAKE_GUEST_RIP, bytes, count);
    memset(script, 0, sizeof(script));
    memcpy(script, happenings, n * sizeof(*happenings));
    entries = 0;
    fake_vmcs.once = play;
    VMCS[VMCS_GUEST_RIP] = FAKE_GUEST_RIP;
    VM.is_paused = DEBUG.has_stopped = false;
}

/* MOVS from one watched page to another, and within one. */
static void all_accesses_are_seen(void)
{
    static const struct happening there[] = {
        {.reason = EXIT_REASON_EPT_VIOLATION, .qualification = WRITE | FINAL, .gpa = 0x6010},
        STEPPED(1)};
    start(FAKE_LONG);
    CHECK_EQ(add(DEBUG_READ, 0x5100, 1), STATUS_OK);
    CHECK_EQ(add(DEBUG_WRITE, 0x6010, 1), STATUS_OK);
    play_entries("\xa4", 1, there, 2);
    CHECK(debug_take_violation(&VCPU, FAKE_GUEST_RIP, 0x5000, READ | FINAL));
    CHECK_EQ(entries, 2);
    CHECK(DEBUG.has_stopped);
    CHECK_EQ(DEBUG.stop.address, 0x6010);
    CHECK_EQ(*debug_tree_leaf(&points.data, 0x6000) & EPT_WRITE, 0);
    CHECK_EQ(*debug_tree_leaf(&points.data, 0x5000) & EPT_READ, 0);
    static const struct happening within[] = {
        {.reason = EXIT_REASON_EPT_VIOLATION, .qualification = WRITE | FINAL, .gpa = 0x5100},
        STEPPED(1)};
    CHECK_EQ(add(DEBUG_ACCESS, 0x5100, 1), STATUS_OK);
    play_entries("\xa4", 1, within, 2);
    CHECK(debug_take_violation(&VCPU, FAKE_GUEST_RIP, 0x5000, READ | FINAL));
    CHECK_EQ(DEBUG.stop.address, 0x5100);
    CHECK(DEBUG.has_stopped);
}

static void note_whole(void)
{
    VMCS[VMCS_GUEST_RFLAGS] |= RFLAGS_RF;
}

/* A repeated one goes by itself up to the first page with a watch. */
static void repetitions_are_one_up_to_a_watch(void)
{
    struct happening happens[] = {
        {.reason = EXIT_REASON_EPT_VIOLATION, .qualification = WRITE | FINAL, .gpa = 0x6010},
        STEPPED(0)};
    start(FAKE_LONG);
    CHECK_EQ(add(DEBUG_EXECUTE, FAKE_GUEST_RIP + 0x80, 1), STATUS_OK);
    CHECK_EQ(add(DEBUG_WRITE, 0x6000, 8), STATUS_OK);
    happens[0].does = note_whole;
    happens[1].rip = FAKE_GUEST_RIP;
    play_entries("\xf3\x48\xab", 3, happens, 2); /* rep stosq */
    CHECK(debug_take_violation(&VCPU, FAKE_GUEST_RIP, FAKE_GUEST_RIP, FETCH | FINAL));
    CHECK_EQ(entries, 2);
    CHECK_EQ(seen_rflags & RFLAGS_TF, RFLAGS_TF);
    CHECK(!DEBUG.has_stopped);
    struct happening all = STEPPED(3);
    all.qualification = BIT(0);
    play_entries("\xf3\x48\xab", 3, &all, 1);
    CHECK(debug_take_violation(&VCPU, FAKE_GUEST_RIP, FAKE_GUEST_RIP, FETCH | FINAL));
    CHECK_EQ(entries, 1);
    CHECK_EQ(seen_rflags & RFLAGS_TF, 0);
}

/* ---- Devices -------------------------------------------------------------------------------- */

#define DEVICE 0xfed00000

static void devices_are_watched(void)
{
    start(FAKE_PROTECTED_32);
    CHECK_EQ(add(DEBUG_WRITE, DEVICE + 4, 4), STATUS_OK);
    CHECK_EQ(add_physical(DEBUG_READ, DEVICE + 0x1000, 4), STATUS_OK);
    memcpy(fake_guest.memory + FAKE_GUEST_RIP, "\x89\x03", 2);
    CHECK(!access_to(DEVICE, WRITE | FINAL, (struct happening)STEPPED(2))); /* and is carried out */
    CHECK(!DEBUG.has_stopped);
    CHECK(!access_to(DEVICE + 4, WRITE | FINAL, (struct happening)STEPPED(2)));
    CHECK(DEBUG.has_stopped);
    CHECK_EQ(DEBUG.stop.address, DEVICE + 4);
    CHECK(!access_to(DEVICE + 0x1000, WRITE | FINAL, (struct happening)STEPPED(2)));
    CHECK(!DEBUG.has_stopped);
    CHECK(!access_to(DEVICE + 0x1000, READ | FINAL, (struct happening)STEPPED(2)));
    CHECK(DEBUG.has_stopped);
    CHECK_EQ(add(DEBUG_EXECUTE, DEVICE + 0x10, 1), STATUS_OK);
    VM.is_paused = DEBUG.has_stopped = false;
    VMCS[VMCS_GUEST_RIP] = DEVICE + 0x10;
    CHECK(debug_take_violation(&VCPU, DEVICE + 0x10, DEVICE + 0x10, FETCH | FINAL));
    CHECK_EQ(DEBUG.stop.address, DEVICE + 0x10);
}

/* What the monitor does in the guest's place: the whole of an exit. */
static void emulated_accesses_are_seen(void)
{
    start(FAKE_PROTECTED_32);
    CHECK_EQ(add(DEBUG_WRITE, 0x6002, 1), STATUS_OK);
    memcpy(fake_guest.memory + FAKE_GUEST_RIP, "\xa5", 1); /* movsd from the device */
    VM.is_paused = DEBUG.has_stopped = false;
    VCPU.gpr[GPR_RSI] = DEVICE;
    VCPU.gpr[GPR_RDI] = 0x6000;
    VMCS[VMCS_GUEST_RIP] = FAKE_GUEST_RIP;
    VMCS[VMCS_GUEST_RFLAGS] = 2;
    VMCS[VMCS_EXIT_REASON] = EXIT_REASON_EPT_VIOLATION;
    VMCS[VMCS_EXIT_QUALIFICATION] = READ | FINAL;
    VMCS[VMCS_GUEST_PHYSICAL_ADDRESS] = VMCS[VMCS_GUEST_LINEAR_ADDRESS] = DEVICE;
    fake_guest.read_value = 0x12345678;
    fake_hw.on_halt = NULL;
    exit_handle(&VCPU);
    uint32_t stored;
    memcpy(&stored, fake_guest.memory + 0x6000, 4);
    CHECK_EQ(stored, 0x12345678);
    CHECK(DEBUG.has_stopped);
    CHECK_EQ(DEBUG.stop.address, 0x6002);
    DEBUG.has_stopped = false;
    debug_see_access(&VCPU, 0x5ffe, 8, false);
    debug_see_access(&VCPU, 0x5ff0, 16, true);
    CHECK(!DEBUG.has_stopped);
    debug_see_access(&VCPU, 0x5ffe, 8, true);
    CHECK(DEBUG.has_stopped);
}

/* ---- Page tables ---------------------------------------------------------------------------- */

/* Many entries: who has written where they are is not asked at each exit, unless it may be. */
static void many_entries_are_compared_in_turn(void)
{
    start(FAKE_LONG);
    put(TABLES + 0x2000 + (LATE >> 21) * 8, TABLE + 7);
    for (unsigned i = 0; i < 512; i++)
        put(TABLE + i * 8, 0x5007);
    for (unsigned i = 0; i < 300; i++)
        CHECK_EQ(add(DEBUG_EXECUTE, LATE + i * 0x1000 + 0x123, 1), STATUS_OK);
    CHECK_EQ(place_of(299), 0x5123);
    put(TABLE + 299 * 8, 0x6007); /* by a device */
    for (unsigned i = 0; i < 6; i++)
        leave();
    CHECK_EQ(place_of(299), 0x6123);
    put(TABLE + 298 * 8, 0x7007); /* by the guest */
    memcpy(fake_guest.memory + FAKE_GUEST_RIP, "\x88\x03", 2);
    CHECK(access_to(TABLE + 298 * 8, WRITE | FINAL, (struct happening)STEPPED(2)));
    leave();
    CHECK_EQ(place_of(298), 0x7123);
    /* And by an instruction that is executed by itself for another reason. */
    const struct happening there[] = {{.reason = EXIT_REASON_EPT_VIOLATION,
                                       .qualification = WRITE | FINAL,
                                       .gpa = TABLE + 297 * 8},
                                      STEPPED(2)};
    put(TABLE + 297 * 8, 0x7007);
    play_entries("\x88\x03", 2, there, 2);
    CHECK(debug_take_violation(&VCPU, FAKE_GUEST_RIP, 0x5000, FETCH | FINAL));
    CHECK_EQ(entries, 2);
    leave();
    CHECK_EQ(place_of(297), 0x7123);
}

/* Pages of address spaces that are no more are not denied for ever. */
static void trees_are_made_anew(void)
{
    start(FAKE_LONG);
    put(TABLES + 0x2000 + (LATE >> 21) * 8, TABLE + 7);
    put(TABLE, 0x6007);
    CHECK_EQ(add(DEBUG_EXECUTE, LATE, 1), STATUS_OK);
    CHECK_EQ(rights(0x6000), EPT_READ | EPT_WRITE);
    for (unsigned i = 0; i < 100; i++) {
        put(TABLE, i % 2 ? 0x5007 : 0x7007);
        leave();
    }
    CHECK_EQ(rights(0x6000), EPT_READ | EPT_WRITE | EPT_EXECUTE);
    CHECK_EQ(rights(0x5000), EPT_READ | EPT_WRITE);
}

/* ---- Time ----------------------------------------------------------------------------------- */

static void take_long(void)
{
    fake_hw.tsc += 1000;
}

static uint64_t guest_time(void)
{
    return fake_hw.tsc + VMCS[VMCS_TSC_OFFSET];
}

static void slow_exit(struct happening happening)
{
    struct happening happens = happening;
    happens.does = take_long;
    play_entries("\x90", 1, &happens, 1);
    VMCS[VMCS_EXIT_REASON] = EXIT_REASON_EPT_VIOLATION;
    VMCS[VMCS_EXIT_QUALIFICATION] = FETCH | FINAL;
    VMCS[VMCS_GUEST_PHYSICAL_ADDRESS] = VMCS[VMCS_GUEST_LINEAR_ADDRESS] = FAKE_GUEST_RIP;
    CHECK(vmx_exit_debug(&VCPU));
    CHECK_EQ(entries, 1);
}

static void stand_long(void)
{
    fake_hw.tsc += 1000000;
    vm_resume(&VM);
}

/* What is executed by itself takes its own time, and neither that of the monitor around it nor,
 * twice, that for which the guest stood meanwhile. */
static void time_is_the_instructions_alone(void)
{
    start(FAKE_LONG);
    fake_guest.cpu.capabilities.misc &= ~0x1full; /* the preemption timer counts by ones */
    CHECK_EQ(add(DEBUG_EXECUTE, FAKE_GUEST_RIP + 8, 1), STATUS_OK);
    uint64_t before = guest_time(), machine = fake_hw.tsc;
    slow_exit((struct happening)STEPPED(1));
    CHECK(fake_hw.tsc - machine > 1005);
    CHECK(guest_time() - before >= 1000 && guest_time() - before < 1004);
    before = guest_time();
    fake_hw.on_halt = stand_long;
    VCPU.requests = VCPU_REQUEST_DEBUG;
    CHECK_EQ(add(DEBUG_EXECUTE, FAKE_GUEST_RIP, 1), STATUS_OK);
    CHECK_EQ(take_away(DEBUG_EXECUTE, FAKE_GUEST_RIP, 1), STATUS_OK);
    play_entries("\x90", 1, &(struct happening)STEPPED(1), 1);
    VM.is_paused = true;
    VMCS[VMCS_EXIT_REASON] = EXIT_REASON_EPT_VIOLATION;
    CHECK(vmx_exit_debug(&VCPU));
    CHECK(guest_time() >= before && guest_time() - before < 10000);
}

/* ---- Modes ---------------------------------------------------------------------------------- */

static void enter_v86(void)
{
    VMCS[VMCS_GUEST_RFLAGS] |= RFLAGS_VM;
}

static void give_up(void)
{
    debug_remove_catches(&VCPU, false);
    vm_resume(&VM);
}

/* Nothing exits for it: the guest goes on by single instructions at once. */
static void modes_are_caught_by_steps(void)
{
    struct catch wanted = {.kind = CATCH_MODE, .first = CATCH_MODE_V86, .last = CATCH_MODE_V86};
    struct happening happens[] = {STEPPED(1), STEPPED(2)};
    uint16_t id;
    start(FAKE_PROTECTED_32);
    VMCS[VMCS_VMX_PREEMPTION_TIMER_VALUE] = 1000;
    CHECK_EQ(debug_add_catch(&VCPU, &wanted, HPA(0), &id), STATUS_OK);
    CHECK_EQ(VMCS[VMCS_VMX_PREEMPTION_TIMER_VALUE], 0);
    happens[1].does = enter_v86;
    play_entries("\x90\x90", 2, happens, 2);
    fake_hw.on_halt = give_up;
    leave();
    CHECK_EQ(entries, 2);
    CHECK_EQ(DEBUG.stop.reason, DEBUG_CAUGHT);
    CHECK_EQ(DEBUG.stop.event.number, CATCH_MODE_V86);
    CHECK_EQ(DEBUG.stop.event.before, CATCH_MODE_PROTECTED);
}

TEST_MAIN({"thousands_of_points", thousands_of_points}, {"what_cannot_be", what_cannot_be},
          {"refused_is_refused_again", refused_is_refused_again},
          {"next_life_has_trees_of_its_own", next_life_has_trees_of_its_own},
          {"kinds_of_addresses_are_apart", kinds_of_addresses_are_apart},
          {"memory_may_run_out", memory_may_run_out}, {"watch_of_many_pages", watch_of_many_pages},
          {"accesses_are_cut_at_page_ends", accesses_are_cut_at_page_ends},
          {"all_accesses_are_seen", all_accesses_are_seen},
          {"repetitions_are_one_up_to_a_watch", repetitions_are_one_up_to_a_watch},
          {"devices_are_watched", devices_are_watched},
          {"emulated_accesses_are_seen", emulated_accesses_are_seen},
          {"many_entries_are_compared_in_turn", many_entries_are_compared_in_turn},
          {"trees_are_made_anew", trees_are_made_anew},
          {"time_is_the_instructions_alone", time_is_the_instructions_alone},
          {"modes_are_caught_by_steps", modes_are_caught_by_steps})

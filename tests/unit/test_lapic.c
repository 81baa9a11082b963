/* The local APIC: priorities, registers, modes, vector table and timer. */
#include "tests/unit/apic_world.h"

#include "tests/check.h"

static struct world world;

static struct lapic *cpu0(void)
{
    return &world.cpu[0].lapic;
}

static void start(void)
{
    CHECK(world_make(&world, 2));
    apic_enable(&world, 0);
    apic_enable(&world, 1);
}

static void start_x2apic(void)
{
    start();
    CHECK_EQ(lapic_write_base(cpu0(), cpu0()->base | APIC_BASE_EXTD), STATUS_OK);
}

static bool receive(uint8_t vector)
{
    return lapic_receive(cpu0(), DELIVERY_FIXED, vector, false);
}

static uint64_t msr_value(uint32_t msr)
{
    uint64_t value = 0;
    CHECK_EQ(lapic_msr_read(cpu0(), msr, &value), STATUS_OK);
    return value;
}

/* ---- Priorities ----------------------------------------------------------------------------- */

static void resets_as_the_manual_says(void)
{
    CHECK(world_make(&world, 2));
    CHECK_EQ(lapic_read_base(cpu0()), 0xfee00900);
    CHECK_EQ(lapic_read_base(&world.cpu[1].lapic), 0xfee00800);
    CHECK_EQ(apic_read(&world, 1, 0x20), 1u << 24);
    CHECK_EQ(apic_read(&world, 0, 0x30), 0x01060014);
    CHECK_EQ(apic_read(&world, 0, 0xe0), 0xffffffff);
    CHECK_EQ(apic_read(&world, 0, 0xf0), 0xff);
    for (unsigned lvt = 0x320; lvt <= 0x370; lvt += 0x10)
        CHECK_EQ(apic_read(&world, 0, lvt), 0x10000);
    CHECK_EQ(apic_read(&world, 0, 0x2f0), 0x10000);
    CHECK(!receive(0x40)); /* software disabled */
    CHECK(!lapic_has_interrupt(cpu0()));
}

static void priorities_nest(void)
{
    start();
    CHECK(receive(0x41));
    CHECK(receive(0x42));
    CHECK(receive(0x31));
    CHECK_EQ(world.cpu[0].wakes, 1);
    CHECK_EQ(apic_read(&world, 0, 0x220), 6); /* IRR 5FH:40H */
    CHECK_EQ(lapic_acknowledge(cpu0()), 0x42);
    CHECK_EQ(apic_read(&world, 0, 0x120), 4);
    CHECK_EQ(apic_read(&world, 0, 0xa0), 0x40);
    CHECK(!lapic_has_interrupt(cpu0())); /* 41H is of the same class */
    CHECK_EQ(lapic_acknowledge(cpu0()), LAPIC_NO_VECTOR);
    CHECK(receive(0x50));
    CHECK_EQ(world.cpu[0].wakes, 2);
    CHECK_EQ(lapic_acknowledge(cpu0()), 0x50);
    apic_write(&world, 0, 0xb0, 0);
    apic_write(&world, 0, 0xb0, 0);
    CHECK_EQ(lapic_acknowledge(cpu0()), 0x41);
    apic_write(&world, 0, 0xb0, 0);
    CHECK_EQ(lapic_acknowledge(cpu0()), 0x31);
    apic_write(&world, 0, 0xb0, 0);
    apic_write(&world, 0, 0xb0, 0); /* one too many */
    CHECK_EQ(apic_read(&world, 0, 0xa0), 0);
    CHECK_EQ(lapic_acknowledge(cpu0()), LAPIC_NO_VECTOR);
}

static void every_vector_goes_through(void)
{
    start();
    for (unsigned vector = 16; vector < 256; vector++)
        CHECK(receive((uint8_t)vector));
    for (int vector = 255; vector >= 16; vector--) {
        CHECK_EQ(lapic_acknowledge(cpu0()), vector);
        lapic_eoi(cpu0());
    }
    CHECK(!lapic_has_interrupt(cpu0()));
}

static void task_priority_holds_back(void)
{
    start();
    CHECK_EQ(lapic_write_cr8(cpu0(), 16), ERR_FAULT);
    CHECK_EQ(lapic_write_cr8(cpu0(), 5), STATUS_OK);
    CHECK_EQ(apic_read(&world, 0, 0x80), 0x50);
    receive(0x5f);
    CHECK(!lapic_has_interrupt(cpu0()));
    apic_write(&world, 0, 0x80, 0x4f);
    CHECK_EQ(lapic_read_cr8(cpu0()), 4);
    CHECK_EQ(apic_read(&world, 0, 0xa0), 0x4f);
    CHECK_EQ(world.cpu[0].wakes, 1);
    CHECK_EQ(lapic_acknowledge(cpu0()), 0x5f);
    CHECK_EQ(apic_read(&world, 0, 0xa0), 0x50);
}

/* ---- Registers ------------------------------------------------------------------------------ */

static void page_ignores_what_it_must(void)
{
    start();
    apic_write(&world, 0, 0x20, 0xffffffff);
    apic_write(&world, 0, 0x30, 0xffffffff);
    CHECK_EQ(apic_read(&world, 0, 0x20), 0);
    CHECK_EQ(apic_read(&world, 0, 0x30), 0x01060014);
    apic_write(&world, 0, 0xd0, 0xffffffff);
    CHECK_EQ(apic_read(&world, 0, 0xd0), 0xff000000);
    apic_write(&world, 0, 0xe0, 0);
    CHECK_EQ(apic_read(&world, 0, 0xe0), 0x0fffffff);
    apic_write(&world, 0, 0x350, 0xffffffff);
    CHECK_EQ(apic_read(&world, 0, 0x350), 0x1a7ff);
    apic_write(&world, 0, 0x370, 0xffffffff);
    CHECK_EQ(apic_read(&world, 0, 0x370), 0x100ff);
    apic_write(&world, 0, 0x310, 0xffffffff);
    CHECK_EQ(apic_read(&world, 0, 0x310), 0xff000000);
    /* Partial loads see part of the register, partial stores are lost. */
    CHECK_EQ(lapic_mmio_read(cpu0(), 0x32, 2), 0x0106);
    CHECK_EQ(lapic_mmio_read(cpu0(), 0x30, 8), 0x01060014);
    CHECK_EQ(lapic_mmio_read(cpu0(), 0x34, 4), 0);
    lapic_mmio_write(cpu0(), 0x80, 1, 0xff);
    lapic_mmio_write(cpu0(), 0x84, 4, 0xff);
    CHECK_EQ(apic_read(&world, 0, 0x80), 0);
    lapic_mmio_write(cpu0(), 0x80, 8, 0xffffffff00000020);
    CHECK_EQ(apic_read(&world, 0, 0x80), 0x20);
    CHECK_EQ(apic_read(&world, 0, 0xb0), 0);
    apic_write(&world, 0, 0x280, 0);
    CHECK_EQ(apic_read(&world, 0, 0x280), 0); /* none of it was an error */
}

static void errors_show_after_a_write(void)
{
    start();
    apic_write(&world, 0, 0x370, 0xfe);
    CHECK_EQ(apic_read(&world, 0, 0x3f0), 0); /* SELF IPI is x2APIC's */
    CHECK_EQ(apic_read(&world, 0, 0x280), 0);
    CHECK_EQ(lapic_acknowledge(cpu0()), 0xfe);
    lapic_eoi(cpu0());
    apic_write(&world, 0, 0xff0, 1);
    CHECK(!lapic_has_interrupt(cpu0())); /* not rearmed */
    apic_write(&world, 0, 0x280, 0);
    CHECK_EQ(apic_read(&world, 0, 0x280), 0x80);
    apic_write(&world, 0, 0x280, 0);
    CHECK_EQ(apic_read(&world, 0, 0x280), 0);
    CHECK(!receive(15));
    CHECK_EQ(lapic_acknowledge(cpu0()), 0xfe);
    lapic_eoi(cpu0());
    apic_write(&world, 0, 0x280, 0);
    CHECK_EQ(apic_read(&world, 0, 0x280), 0x40);
    apic_write(&world, 0, 0x300, 0x4000f); /* self, vector 15 */
    apic_write(&world, 0, 0x280, 0);
    CHECK_EQ(apic_read(&world, 0, 0x280), 0x20);
}

/* An error vector that is an error itself must not recurse. */
static void illegal_error_vector_is_bounded(void)
{
    start();
    for (unsigned vector = 0; vector < 16; vector++) {
        apic_write(&world, 0, 0x370, vector);
        CHECK(!receive(3));
        apic_read(&world, 0, 0x400);
        apic_write(&world, 0, 0x280, 0);
        CHECK_EQ(apic_read(&world, 0, 0x280), 0xc0);
        CHECK(!lapic_has_interrupt(cpu0()));
    }
}

static void x2apic_faults_on_reserved(void)
{
    start();
    uint64_t value;
    CHECK_EQ(lapic_msr_read(cpu0(), 0x802, &value), ERR_FAULT); /* not in x2APIC mode */
    start_x2apic();
    CHECK_EQ(msr_value(0x802), 0);
    CHECK_EQ(msr_value(0x803), 0x01060014);
    CHECK_EQ(msr_value(0x80d), 1);
    static const uint32_t absent[] = {0x7ff, 0x800, 0x801, 0x804, 0x809,     0x80b, 0x80c,
                                      0x80e, 0x829, 0x82e, 0x831, 0x83a,     0x83d, 0x83f,
                                      0x840, 0x8ff, 0x900, 0,     UINT32_MAX};
    for (unsigned i = 0; i < ARRAY_SIZE(absent); i++)
        CHECK_EQ(lapic_msr_read(cpu0(), absent[i], &value), ERR_FAULT);
    static const uint32_t read_only[] = {0x802, 0x803, 0x80a, 0x80d, 0x810, 0x817, 0x81f,
                                         0x827, 0x839, 0x80e, 0x831, 0x840, 0x8ff};
    for (unsigned i = 0; i < ARRAY_SIZE(read_only); i++)
        CHECK_EQ(lapic_msr_write(cpu0(), read_only[i], 0), ERR_FAULT);
    static const struct {
        uint32_t msr;
        uint64_t good, bad;
    } writes[] = {
        {0x808, 0xff, 0x100},
        {0x80b, 0, 1},
        {0x80f, 0x13ff, 0x2100},
        {0x828, 0, 1},
        {0x82f, 0x117ff, 0x2000},
        {0x830, 0x20, 0x2000},
        {0x830, 0x20, 0x100000},
        {0x830, 0x20, 0x30000},
        {0x832, 0x510ff, 0x80000},
        {0x833, 0x117ff, 0x4000},
        {0x835, 0x1f7ff, 0x20000},
        {0x837, 0x110ff, 0x100},
        {0x838, 0xffffffff, 0x100000000},
        {0x83e, 0xb, 4},
        {0x83f, 0x20, 0x100},
        {0x808, 0, 0x8000000000000000},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(writes); i++) {
        CHECK_EQ(lapic_msr_write(cpu0(), writes[i].msr, writes[i].good), STATUS_OK);
        CHECK_EQ(lapic_msr_write(cpu0(), writes[i].msr, writes[i].bad), ERR_FAULT);
    }
    CHECK_EQ(apic_read(&world, 0, 0x20), 0xffffffff); /* the page is not there */
}

static void features_not_offered_are_reserved(void)
{
    CHECK(world_make(&world, 1));
    struct lapic_config config = world_config(&world, 0);
    config.cmci = config.tsc_deadline = config.eoi_suppression = false;
    lapic_init(cpu0(), &config);
    CHECK_EQ(apic_read(&world, 0, 0x30), 0x00050014);
    apic_write(&world, 0, 0xf0, 0x11ff);
    CHECK_EQ(apic_read(&world, 0, 0xf0), 0x1ff);
    apic_write(&world, 0, 0x320, 0x40020);
    CHECK_EQ(apic_read(&world, 0, 0x320), 0x20);
    apic_write(&world, 0, 0x2f0, 0x20);
    CHECK_EQ(apic_read(&world, 0, 0x2f0), 0);
    apic_write(&world, 0, 0x280, 0);
    CHECK_EQ(apic_read(&world, 0, 0x280), 0x80);
    uint64_t value;
    CHECK_EQ(lapic_read_tsc_deadline(cpu0(), &value), ERR_FAULT);
    CHECK_EQ(lapic_write_tsc_deadline(cpu0(), 1), ERR_FAULT);
    CHECK_EQ(lapic_write_base(cpu0(), cpu0()->base | APIC_BASE_EXTD), STATUS_OK);
    CHECK_EQ(lapic_msr_read(cpu0(), 0x82f, &value), ERR_FAULT);
    CHECK_EQ(lapic_msr_write(cpu0(), 0x832, 0x40020), ERR_FAULT);
    CHECK_EQ(lapic_msr_write(cpu0(), 0x80f, 0x11ff), ERR_FAULT);
    config.x2apic = false;
    lapic_init(cpu0(), &config);
    CHECK_EQ(lapic_write_base(cpu0(), cpu0()->base | APIC_BASE_EXTD), ERR_FAULT);
}

/* ---- Modes ---------------------------------------------------------------------------------- */

/* From each mode to each: SDM's Local x2APIC State Transitions with IA32_APIC_BASE. */
static void modes_change_as_allowed(void)
{
    static const bool allowed[4][4] = {
        {true, false, true, false},
        {false, false, false, false},
        {true, false, true, true},
        {true, false, false, true},
    };
    for (uint64_t from = 0; from < 4; from++) {
        for (uint64_t to = 0; from != 1 && to < 4; to++) {
            start();
            if (from == 3)
                CHECK_EQ(lapic_write_base(cpu0(), 0xfee00d00), STATUS_OK);
            if (from == 0)
                CHECK_EQ(lapic_write_base(cpu0(), 0xfee00100), STATUS_OK);
            enum status status = lapic_write_base(cpu0(), 0xfee00100 | to << 10);
            CHECK_EQ(status, allowed[from][to] ? STATUS_OK : ERR_FAULT);
            CHECK_EQ(bits_get(cpu0()->base, 11, 10), allowed[from][to] ? to : from);
        }
    }
}

static void base_moves_and_checks(void)
{
    start();
    CHECK_EQ(lapic_write_base(cpu0(), 0xfee00900 | BIT(40)), ERR_FAULT);
    CHECK_EQ(lapic_write_base(cpu0(), 0xfee00901), ERR_FAULT);
    CHECK_EQ(lapic_write_base(cpu0(), 0xfee00b00), ERR_FAULT);
    CHECK_EQ(lapic_write_base(cpu0(), 0xfee00900), STATUS_OK);
    CHECK_EQ(world.cpu[0].base_changes, 0);
    CHECK_EQ(lapic_write_base(cpu0(), 0xff12345900), STATUS_OK);
    CHECK_EQ(world.cpu[0].base_changes, 1);
    CHECK_EQ(world.cpu[0].old_base, 0xfee00900);
    CHECK_EQ(world.cpu[0].new_base, 0xff12345900);
    CHECK_EQ(lapic_page(cpu0()).v, 0xff12345000);
    CHECK_EQ(apic_read(&world, 0, 0xf0), 0x1ff); /* moving loses nothing */
    lapic_reset(cpu0());
    CHECK_EQ(world.cpu[0].base_changes, 2);
    CHECK_EQ(world.cpu[0].new_base, 0xfee00900);
}

static void disabling_loses_state(void)
{
    start();
    receive(0x40);
    apic_write(&world, 0, 0xd0, 0x12000000);
    apic_write(&world, 0, 0x320, 0x20);
    apic_write(&world, 0, 0x380, 1000);
    CHECK_EQ(lapic_write_base(cpu0(), 0xfee00100), STATUS_OK);
    CHECK(!lapic_has_interrupt(cpu0()));
    CHECK_EQ(world.timers.next, TIMER_NEVER);
    CHECK_EQ(apic_read(&world, 0, 0xf0), 0xffffffff);
    apic_write(&world, 0, 0xf0, 0x1ff);
    /* LINT0 and LINT1 are INTR and NMI now. */
    lapic_set_lint(cpu0(), 1, true);
    CHECK_EQ(world.cpu[0].nmis, 1);
    pic_program(&world, 1);
    pic_set_line(&world.pic, 4, true);
    CHECK(lapic_has_interrupt(cpu0()));
    CHECK_EQ(lapic_acknowledge(cpu0()), 0x34);
    CHECK(!lapic_has_interrupt(cpu0()));
    CHECK_EQ(lapic_write_base(cpu0(), 0xfee00900), STATUS_OK);
    CHECK_EQ(apic_read(&world, 0, 0xf0), 0xff);
    CHECK_EQ(apic_read(&world, 0, 0xd0), 0);
}

static void init_keeps_mode(void)
{
    start_x2apic();
    CHECK_EQ(lapic_msr_write(cpu0(), 0x808, 0x20), STATUS_OK);
    receive(0x80);
    lapic_init_reset(cpu0());
    CHECK(lapic_is_x2apic(cpu0()));
    CHECK_EQ(msr_value(0x808), 0);
    CHECK_EQ(msr_value(0x80f), 0xff);
    CHECK_EQ(msr_value(0x80d), 1);
    CHECK_EQ(msr_value(0x824), 0);
    CHECK(!lapic_has_interrupt(cpu0()));
    lapic_reset(cpu0());
    CHECK(lapic_has_page(cpu0()));
}

/* ---- The local vector table ----------------------------------------------------------------- */

static void software_disable_masks(void)
{
    start();
    apic_write(&world, 0, 0x350, 0x700);
    apic_write(&world, 0, 0x320, 0x20);
    receive(0x40);
    apic_write(&world, 0, 0xf0, 0xff);
    CHECK_EQ(apic_read(&world, 0, 0x350), 0x10700);
    apic_write(&world, 0, 0x320, 0x20);
    CHECK_EQ(apic_read(&world, 0, 0x320), 0x10020);
    CHECK(!receive(0x50));
    CHECK_EQ(lapic_acknowledge(cpu0()), 0x40); /* what was pending stays */
    CHECK(lapic_receive(cpu0(), DELIVERY_NMI, 0, false));
    CHECK_EQ(world.cpu[0].nmis, 1);
    apic_enable(&world, 0);
    CHECK_EQ(apic_read(&world, 0, 0x350), 0x10700); /* enabling unmasks nothing */
}

static void virtual_wire_brings_the_pic(void)
{
    CHECK(world_make(&world, 2));
    lapic_set_virtual_wire(cpu0());
    pic_program(&world, 1);
    struct irq_line timer = irq_router_line(&world.router, 0);
    apic_write(&world, 0, 0x80, 0xff); /* TPR does not hold back ExtINT */
    irq_line_set(&timer, true);
    CHECK_EQ(world.cpu[0].wakes, 1);
    CHECK(lapic_has_interrupt(cpu0()));
    CHECK(!lapic_has_interrupt(&world.cpu[1].lapic));
    CHECK_EQ(lapic_acknowledge(cpu0()), 0x30);
    CHECK_EQ(apic_read(&world, 0, 0x110), 0); /* not in service here */
    CHECK(!lapic_has_interrupt(cpu0()));
    irq_line_set(&timer, false);
    irq_line_set(&timer, true);
    CHECK(!lapic_has_interrupt(cpu0()));
    pic_put(&world, 0x20, 0x20);
    CHECK(lapic_has_interrupt(cpu0()));
    apic_write(&world, 0, 0x350, 0x10700);
    CHECK(!lapic_has_interrupt(cpu0()));
    apic_write(&world, 0, 0x350, 0x700);
    CHECK(lapic_has_interrupt(cpu0()));
    lapic_set_lint(cpu0(), 1, true);
    lapic_set_lint(cpu0(), 1, true);
    CHECK_EQ(world.cpu[0].nmis, 1);
}

static void lint_fixed_edge_and_level(void)
{
    start();
    apic_write(&world, 0, 0x350, 0x44);
    lapic_set_lint(cpu0(), 0, true);
    CHECK_EQ(lapic_acknowledge(cpu0()), 0x44);
    lapic_eoi(cpu0());
    CHECK(!lapic_has_interrupt(cpu0()));
    lapic_set_lint(cpu0(), 0, false);
    lapic_set_lint(cpu0(), 2, true);
    CHECK(!lapic_has_interrupt(cpu0()));
    apic_write(&world, 0, 0x350, 0x8045);
    lapic_set_lint(cpu0(), 0, true);
    CHECK_EQ(apic_read(&world, 0, 0x350), 0xc045);
    CHECK_EQ(lapic_acknowledge(cpu0()), 0x45);
    lapic_eoi(cpu0());
    CHECK_EQ(lapic_acknowledge(cpu0()), 0x45); /* still asserted */
    lapic_set_lint(cpu0(), 0, false);
    lapic_eoi(cpu0());
    CHECK(!lapic_has_interrupt(cpu0()));
    CHECK_EQ(apic_read(&world, 0, 0x350), 0x8045);
    /* Unmasking finds the level. */
    apic_write(&world, 0, 0x350, 0x18045);
    lapic_set_lint(cpu0(), 0, true);
    CHECK(!lapic_has_interrupt(cpu0()));
    apic_write(&world, 0, 0x350, 0x8045);
    CHECK(lapic_has_interrupt(cpu0()));
    /* INIT by pin. */
    apic_write(&world, 0, 0x360, 0x500);
    lapic_set_lint(cpu0(), 1, true);
    CHECK_EQ(world.cpu[0].inits, 1);
}

static void internal_events(void)
{
    start();
    apic_write(&world, 0, 0x340, 0x400);
    lapic_raise(cpu0(), LVT_PERFORMANCE);
    CHECK_EQ(world.cpu[0].nmis, 1);
    CHECK_EQ(apic_read(&world, 0, 0x340), 0x10400);
    lapic_raise(cpu0(), LVT_PERFORMANCE);
    CHECK_EQ(world.cpu[0].nmis, 1);
    apic_write(&world, 0, 0x330, 0xfa);
    apic_write(&world, 0, 0x2f0, 0xf9);
    lapic_raise(cpu0(), LVT_THERMAL);
    lapic_raise(cpu0(), LVT_CMCI);
    CHECK_EQ(lapic_acknowledge(cpu0()), 0xfa);
    lapic_eoi(cpu0());
    CHECK_EQ(lapic_acknowledge(cpu0()), 0xf9);
}

/* Every delivery mode with every vector through every entry: nothing may assert or recurse. */
static void every_lvt_value(void)
{
    start();
    for (unsigned lvt = 0x320; lvt <= 0x370; lvt += 0x10) {
        for (unsigned value = 0; value < 0x800; value++) {
            apic_write(&world, 0, lvt, value | (value & 1 ? 0x8000 : 0));
            lapic_set_lint(cpu0(), 0, value & 1);
            lapic_set_lint(cpu0(), 1, value & 1);
            apic_read(&world, 0, 0xffc);
            if (lapic_has_interrupt(cpu0()))
                CHECK(lapic_acknowledge(cpu0()) >= 0);
            lapic_eoi(cpu0());
        }
        apic_write(&world, 0, lvt, 0x10000);
    }
}

/* ---- EOI ------------------------------------------------------------------------------------ */

static unsigned eois;
static uint8_t eoi_vector;

static void count_eoi(void *context, uint8_t vector)
{
    (void)context;
    eois++;
    eoi_vector = vector;
}

static void eoi_broadcasts_levels(void)
{
    start();
    eois = 0;
    struct eoi_listener listener = {count_eoi, NULL};
    CHECK_EQ(apic_fabric_add_listener(&world.fabric, listener), STATUS_OK);
    receive(0x61);
    CHECK_EQ(lapic_acknowledge(cpu0()), 0x61);
    lapic_eoi(cpu0());
    CHECK_EQ(eois, 0);
    lapic_receive(cpu0(), DELIVERY_FIXED, 0x61, true);
    CHECK_EQ(apic_read(&world, 0, 0x1b0), 2); /* TMR 7FH:60H */
    CHECK_EQ(lapic_acknowledge(cpu0()), 0x61);
    lapic_eoi(cpu0());
    CHECK_EQ(eois, 1);
    CHECK_EQ(eoi_vector, 0x61);
    apic_write(&world, 0, 0xf0, 0x11ff);
    lapic_receive(cpu0(), DELIVERY_FIXED, 0x61, true);
    CHECK_EQ(lapic_acknowledge(cpu0()), 0x61);
    lapic_eoi(cpu0());
    CHECK_EQ(eois, 1);
    receive(0x61); /* an edge now */
    CHECK_EQ(apic_read(&world, 0, 0x1b0), 0);
}

/* ---- The timer ------------------------------------------------------------------------------ */

#define COUNTS(n) ((n)*WORLD_CLOCKS_PER_COUNT)

static void timer_one_shot(void)
{
    start();
    apic_write(&world, 0, 0x320, 0xef);
    apic_write(&world, 0, 0x3e0, 0xb); /* by 1 */
    apic_write(&world, 0, 0x380, 1000);
    world_advance(&world, COUNTS(400));
    uint32_t count = apic_read(&world, 0, 0x390);
    CHECK(count == 600 || count == 601);
    world_advance(&world, COUNTS(600) - 1);
    CHECK(!lapic_has_interrupt(cpu0()));
    world_advance(&world, 2);
    CHECK_EQ(lapic_acknowledge(cpu0()), 0xef);
    CHECK_EQ(apic_read(&world, 0, 0x390), 0);
    CHECK_EQ(apic_read(&world, 0, 0x380), 1000);
    CHECK_EQ(world.timers.next, TIMER_NEVER);
    apic_write(&world, 0, 0x380, 1000);
    apic_write(&world, 0, 0x380, 0); /* stops it */
    CHECK_EQ(world.timers.next, TIMER_NEVER);
    CHECK_EQ(apic_read(&world, 0, 0x390), 0);
}

static void timer_divides(void)
{
    static const struct {
        uint32_t divide;
        unsigned by;
    } divisions[] = {{0, 2}, {1, 4}, {2, 8}, {3, 16}, {8, 32}, {9, 64}, {10, 128}, {11, 1}};
    for (unsigned i = 0; i < ARRAY_SIZE(divisions); i++) {
        start();
        apic_write(&world, 0, 0x3e0, divisions[i].divide);
        CHECK_EQ(apic_read(&world, 0, 0x3e0), divisions[i].divide);
        apic_write(&world, 0, 0x380, 0xffffffff);
        world_advance(&world, COUNTS(1280000) + 5);
        CHECK_EQ(0xffffffff - apic_read(&world, 0, 0x390), 1280000 / divisions[i].by);
        /* The pace changes, the count does not jump. */
        apic_write(&world, 0, 0x3e0, 0xb);
        CHECK_EQ(0xffffffff - apic_read(&world, 0, 0x390), 1280000 / divisions[i].by);
        world_advance(&world, COUNTS(1000) + 5);
        CHECK_EQ(0xffffffff - apic_read(&world, 0, 0x390), 1280000 / divisions[i].by + 1000);
    }
}

/* A day of a period whose clock count is no whole number. */
static void timer_periodic_does_not_drift(void)
{
    CHECK(world_make(&world, 1));
    struct lapic_config config = world_config(&world, 0);
    config.timer_hz = 24000000 / 7 + 1;
    lapic_init(cpu0(), &config);
    apic_enable(&world, 0);
    apic_write(&world, 0, 0x320, 0x200ef);
    apic_write(&world, 0, 0x3e0, 0xb);
    uint64_t origin = world.now;
    apic_write(&world, 0, 0x380, 12345);
    for (uint64_t tick = 1; tick <= 100000; tick++) {
        uint64_t exact =
            (uint64_t)((unsigned __int128)(tick * 12345) * WORLD_CLOCK_HZ / config.timer_hz);
        uint64_t due = world.timers.next - origin;
        CHECK(due == exact || due == exact + 1);
        world_advance(&world, world.timers.next - world.now);
        CHECK_EQ(lapic_acknowledge(cpu0()), 0xef);
        lapic_eoi(cpu0());
        uint32_t count = apic_read(&world, 0, 0x390);
        CHECK(count == 12345 || count == 1);
    }
}

static void timer_periodic_coalesces(void)
{
    start();
    apic_write(&world, 0, 0x320, 0x200ef);
    apic_write(&world, 0, 0x3e0, 0xb);
    uint64_t origin = world.now;
    apic_write(&world, 0, 0x380, 25000); /* 1 ms */
    world_advance(&world, COUNTS(25000) * 1000 + COUNTS(10000));
    CHECK_EQ(lapic_acknowledge(cpu0()), 0xef);
    lapic_eoi(cpu0());
    CHECK(!lapic_has_interrupt(cpu0()));
    /* In phase with the start. */
    CHECK(world.timers.next - origin - COUNTS(25000) * 1001 <= 1);
    uint32_t count = apic_read(&world, 0, 0x390);
    CHECK(count == 15000 || count == 15001);
    /* A period of one count may not come at each look. */
    apic_write(&world, 0, 0x380, 1);
    world_advance(&world, COUNTS(2));
    CHECK(world.timers.next > world.now + WORLD_CLOCK_HZ / 100000);
    CHECK(apic_read(&world, 0, 0x390) <= 1);
    /* Masked, it counts on in silence. */
    lapic_acknowledge(cpu0());
    lapic_eoi(cpu0());
    apic_write(&world, 0, 0x320, 0x300ef);
    world_advance(&world, COUNTS(25000));
    CHECK(!lapic_has_interrupt(cpu0()));
}

static void timer_changes_between_counting_modes(void)
{
    start();
    apic_write(&world, 0, 0x3e0, 0xb);
    apic_write(&world, 0, 0x380, 25000);
    apic_write(&world, 0, 0x320, 0x200ef); /* the mode after the count */
    world_advance(&world, COUNTS(25000) + 1);
    CHECK_EQ(lapic_acknowledge(cpu0()), 0xef);
    lapic_eoi(cpu0());
    world_advance(&world, COUNTS(5000));
    apic_write(&world, 0, 0x320, 0xef);
    uint32_t count = apic_read(&world, 0, 0x390);
    CHECK(count == 20000 || count == 20001);
    world_advance(&world, COUNTS(20000) + 1);
    CHECK_EQ(lapic_acknowledge(cpu0()), 0xef);
    CHECK_EQ(world.timers.next, TIMER_NEVER);
    /* The reserved mode does nothing at all. */
    apic_write(&world, 0, 0x320, 0x600ef);
    apic_write(&world, 0, 0x380, 25000);
    CHECK_EQ(lapic_write_tsc_deadline(cpu0(), 5), STATUS_OK);
    CHECK_EQ(world.timers.next, TIMER_NEVER);
}

/* A look at the count after the deadline, before anyone ran the queue, is consistent. */
static void timer_catches_up_on_reads(void)
{
    start();
    apic_write(&world, 0, 0x320, 0xef);
    apic_write(&world, 0, 0x3e0, 0xb);
    apic_write(&world, 0, 0x380, 1000);
    world.now += COUNTS(1001);
    CHECK_EQ(apic_read(&world, 0, 0x390), 0);
    CHECK_EQ(apic_read(&world, 0, 0x270), 1 << 15);
    CHECK_EQ(world.timers.next, TIMER_NEVER);
}

static uint64_t deadline(void)
{
    uint64_t value = 0;
    CHECK_EQ(lapic_read_tsc_deadline(cpu0(), &value), STATUS_OK);
    return value;
}

static void tsc_deadline(void)
{
    start();
    world.tsc_offset = (uint64_t)-500; /* the guest's TSC is behind */
    CHECK_EQ(lapic_write_tsc_deadline(cpu0(), 700), STATUS_OK);
    CHECK_EQ(deadline(), 0); /* not in this mode */
    apic_write(&world, 0, 0x320, 0x400ef);
    apic_write(&world, 0, 0x380, 1000);
    CHECK_EQ(apic_read(&world, 0, 0x380), 0);
    CHECK_EQ(lapic_write_tsc_deadline(cpu0(), 700), STATUS_OK);
    CHECK_EQ(world.timers.next, 1200);
    CHECK_EQ(apic_read(&world, 0, 0x390), 0);
    CHECK_EQ(deadline(), 700);
    world_advance(&world, 199);
    CHECK(!lapic_has_interrupt(cpu0()));
    world_advance(&world, 1);
    CHECK_EQ(lapic_acknowledge(cpu0()), 0xef);
    lapic_eoi(cpu0());
    CHECK_EQ(deadline(), 0);
    /* In the past: at once. */
    CHECK_EQ(lapic_write_tsc_deadline(cpu0(), 1), STATUS_OK);
    CHECK_EQ(lapic_acknowledge(cpu0()), 0xef);
    lapic_eoi(cpu0());
    CHECK_EQ(world.timers.next, TIMER_NEVER);
    /* At the end of time, and cancelled. */
    CHECK_EQ(lapic_write_tsc_deadline(cpu0(), UINT64_MAX), STATUS_OK);
    CHECK(world.timers.next > world.now);
    CHECK_EQ(lapic_write_tsc_deadline(cpu0(), 0), STATUS_OK);
    CHECK_EQ(world.timers.next, TIMER_NEVER);
    /* The guest's TSC jumps. */
    CHECK_EQ(lapic_write_tsc_deadline(cpu0(), 100000), STATUS_OK);
    world.tsc_offset += 50000;
    lapic_tsc_offset_changed(cpu0());
    CHECK_EQ(world.timers.next, 100000 + 500 - 50000);
    /* Leaving the mode disarms. */
    apic_write(&world, 0, 0x320, 0xef);
    CHECK_EQ(world.timers.next, TIMER_NEVER);
    apic_write(&world, 0, 0x320, 0x400ef);
    CHECK_EQ(deadline(), 0);
}

TEST_MAIN({"resets_as_the_manual_says", resets_as_the_manual_says},
          {"priorities_nest", priorities_nest},
          {"every_vector_goes_through", every_vector_goes_through},
          {"task_priority_holds_back", task_priority_holds_back},
          {"page_ignores_what_it_must", page_ignores_what_it_must},
          {"errors_show_after_a_write", errors_show_after_a_write},
          {"illegal_error_vector_is_bounded", illegal_error_vector_is_bounded},
          {"x2apic_faults_on_reserved", x2apic_faults_on_reserved},
          {"features_not_offered_are_reserved", features_not_offered_are_reserved},
          {"modes_change_as_allowed", modes_change_as_allowed},
          {"base_moves_and_checks", base_moves_and_checks},
          {"disabling_loses_state", disabling_loses_state}, {"init_keeps_mode", init_keeps_mode},
          {"software_disable_masks", software_disable_masks},
          {"virtual_wire_brings_the_pic", virtual_wire_brings_the_pic},
          {"lint_fixed_edge_and_level", lint_fixed_edge_and_level},
          {"internal_events", internal_events}, {"every_lvt_value", every_lvt_value},
          {"eoi_broadcasts_levels", eoi_broadcasts_levels}, {"timer_one_shot", timer_one_shot},
          {"timer_divides", timer_divides},
          {"timer_periodic_does_not_drift", timer_periodic_does_not_drift},
          {"timer_periodic_coalesces", timer_periodic_coalesces},
          {"timer_changes_between_counting_modes", timer_changes_between_counting_modes},
          {"timer_catches_up_on_reads", timer_catches_up_on_reads}, {"tsc_deadline", tsc_deadline})

/* Messages between APICs: destinations, arbitration, IPIs, MSI. */
#include "tests/unit/apic_world.h"

#include "tests/check.h"

static struct world world;

static struct lapic *cpu(unsigned index)
{
    return &world.cpu[index].lapic;
}

static void start(void)
{
    CHECK(world_make(&world, WORLD_CPUS));
    for (unsigned i = 0; i < WORLD_CPUS; i++) {
        apic_enable(&world, i);
        apic_write(&world, i, 0xd0, 1u << (24 + i)); /* flat: a bit each */
    }
}

static void to_x2apic(unsigned index)
{
    CHECK_EQ(lapic_write_base(cpu(index), cpu(index)->base | APIC_BASE_EXTD), STATUS_OK);
}

/* Takes what is pending everywhere; a bit for each processor that had exactly this vector. */
static unsigned taken(int vector)
{
    unsigned set = 0;
    for (unsigned i = 0; i < WORLD_CPUS; i++) {
        if (!lapic_has_interrupt(cpu(i)))
            continue;
        CHECK_EQ(lapic_acknowledge(cpu(i)), vector);
        lapic_eoi(cpu(i));
        set |= 1u << i;
    }
    return set;
}

static void ipi(unsigned from, uint32_t destination, uint32_t low)
{
    apic_write(&world, from, 0x310, destination << 24);
    apic_write(&world, from, 0x300, low);
}

static void ids_are_unique_and_room_ends(void)
{
    static struct lapic extra[APIC_FABRIC_LAPICS];
    CHECK(world_make(&world, 1));
    CHECK_EQ(apic_fabric_add(&world.fabric, cpu(0)), ERR_EXISTS);
    for (unsigned i = 1; i < APIC_FABRIC_LAPICS; i++) {
        extra[i].config.apic_id = i;
        CHECK_EQ(apic_fabric_add(&world.fabric, &extra[i]), STATUS_OK);
    }
    extra[0].config.apic_id = 100;
    CHECK_EQ(apic_fabric_add(&world.fabric, &extra[0]), ERR_NO_SPACE);
    struct eoi_listener listener = {ioapic_eoi, &world.ioapic};
    for (unsigned i = 1; i < APIC_FABRIC_IOAPICS; i++)
        CHECK_EQ(apic_fabric_add_listener(&world.fabric, listener), STATUS_OK);
    CHECK_EQ(apic_fabric_add_listener(&world.fabric, listener), ERR_NO_SPACE);
}

static void physical_and_broadcast(void)
{
    start();
    ipi(0, 2, 0x40);
    CHECK_EQ(taken(0x40), 4);
    CHECK_EQ(apic_read(&world, 0, 0x300), 0x40);
    ipi(0, 9, 0x40);
    CHECK_EQ(taken(0x40), 0);
    ipi(1, 0xff, 0x41);
    CHECK_EQ(taken(0x41), 15);
    CHECK_EQ(lapic_write_base(cpu(3), 0xfee00000), STATUS_OK);
    ipi(1, 0xff, 0x41); /* a disabled APIC is not on the bus */
    CHECK_EQ(taken(0x41), 7);
    /* Bits that only read do not stick. */
    ipi(0, 0, 0xffffffff & ~0xf00u);
    CHECK_EQ(apic_read(&world, 0, 0x300) & 0x33001000, 0);
}

static void logical_flat_and_cluster(void)
{
    start();
    ipi(0, 0x0a, 0x842);
    CHECK_EQ(taken(0x42), 10);
    ipi(0, 0xf0, 0x842);
    CHECK_EQ(taken(0x42), 0);
    for (unsigned i = 0; i < WORLD_CPUS; i++) {
        apic_write(&world, i, 0xe0, 0x0fffffff);
        apic_write(&world, i, 0xd0, (i / 2 << 4 | 1u << i % 2) << 24); /* two clusters */
    }
    ipi(0, 0x13, 0x842);
    CHECK_EQ(taken(0x42), 12);
    ipi(0, 0x02, 0x842);
    CHECK_EQ(taken(0x42), 2);
    ipi(0, 0xff, 0x842);
    CHECK_EQ(taken(0x42), 15);
    apic_write(&world, 0, 0xe0, 0x5fffffff); /* no model of that number */
    ipi(1, 0x01, 0x842);
    CHECK_EQ(taken(0x42), 0);
}

static void x2apic_destinations(void)
{
    start();
    for (unsigned i = 0; i < WORLD_CPUS; i++)
        to_x2apic(i);
    CHECK_EQ(lapic_msr_write(cpu(0), 0x830, 0x300000050), STATUS_OK);
    CHECK_EQ(taken(0x50), 8);
    CHECK_EQ(lapic_msr_write(cpu(0), 0x830, 0xffffffff00000050), STATUS_OK);
    CHECK_EQ(taken(0x50), 15);
    CHECK_EQ(lapic_msr_write(cpu(0), 0x830, 0xff00000050), STATUS_OK);
    CHECK_EQ(taken(0x50), 0); /* 32 bits: an ID, not the broadcast */
    CHECK_EQ(lapic_msr_write(cpu(0), 0x830, 0x600000850), STATUS_OK);
    CHECK_EQ(taken(0x50), 6); /* cluster 0, members 1 and 2 */
    CHECK_EQ(lapic_msr_write(cpu(0), 0x830, 0x1000600000850), STATUS_OK);
    CHECK_EQ(taken(0x50), 0);
    CHECK_EQ(lapic_msr_write(cpu(0), 0x830, 0xffffffff00000850), STATUS_OK);
    CHECK_EQ(taken(0x50), 15);
    uint64_t value;
    CHECK_EQ(lapic_msr_read(cpu(0), 0x830, &value), STATUS_OK);
    CHECK_EQ(value, 0xffffffff00000850);
    CHECK_EQ(lapic_msr_write(cpu(1), 0x83f, 0x51), STATUS_OK);
    CHECK_EQ(taken(0x51), 2);
    CHECK_EQ(lapic_msr_write(cpu(1), 0x83f, 0x0f), STATUS_OK);
    CHECK_EQ(taken(0x51), 0);
    CHECK_EQ(lapic_msr_write(cpu(1), 0x828, 0), STATUS_OK);
    CHECK_EQ(lapic_msr_read(cpu(1), 0x828, &value), STATUS_OK);
    CHECK_EQ(value, 0x20);
}

static void cluster_id_of_higher_apics(void)
{
    start();
    struct lapic_config config = world_config(&world, 1);
    config.apic_id = 0x1234;
    lapic_init(cpu(1), &config);
    to_x2apic(0);
    to_x2apic(1);
    CHECK_EQ(lapic_msr_write(cpu(1), 0x80f, 0x1ff), STATUS_OK);
    uint64_t value;
    CHECK_EQ(lapic_msr_read(cpu(1), 0x80d, &value), STATUS_OK);
    CHECK_EQ(value, 0x01230010);
    CHECK_EQ(lapic_msr_write(cpu(0), 0x830, 0x0123001000000850), STATUS_OK);
    CHECK_EQ(taken(0x50), 2);
    CHECK_EQ(lapic_msr_write(cpu(0), 0x830, 0x123400000050), STATUS_OK);
    CHECK_EQ(taken(0x50), 2);
}

static void shorthands(void)
{
    start();
    ipi(1, 0, 0x40000 | 0x60);
    CHECK_EQ(taken(0x60), 2);
    ipi(1, 0, 0x80000 | 0x61);
    CHECK_EQ(taken(0x61), 15);
    ipi(1, 0, 0xc0000 | 0x62);
    CHECK_EQ(taken(0x62), 13);
    ipi(1, 0, 0xc0000 | 0x400);
    CHECK_EQ(world.cpu[1].nmis, 0);
    CHECK_EQ(world.cpu[0].nmis + world.cpu[2].nmis + world.cpu[3].nmis, 3);
    ipi(1, 0, 0x40000 | 0x400);
    CHECK_EQ(world.cpu[1].nmis, 1);
    ipi(1, 0, 0x40000 | 0x500); /* no processor resets itself so */
    ipi(1, 0, 0x80000 | 0x4500);
    CHECK_EQ(world.cpu[0].inits + world.cpu[1].inits, 0);
}

/* As operating systems start processors. */
static void init_and_startup(void)
{
    start();
    ipi(0, 1, 0xc500);
    CHECK_EQ(world.cpu[1].inits, 1);
    ipi(0, 1, 0x8500); /* de-assert */
    CHECK_EQ(world.cpu[1].inits, 1);
    ipi(0, 1, 0x69a);
    CHECK_EQ(world.cpu[1].sipis, 1);
    CHECK_EQ(world.cpu[1].sipi_vector, 0x9a);
    ipi(0, 0, 0xc4500); /* all but self, edge: asserted */
    CHECK_EQ(world.cpu[1].inits, 2);
    CHECK_EQ(world.cpu[2].inits, 1);
    CHECK_EQ(world.cpu[0].inits, 0);
    /* Nothing comes of SMI, mode 3 and ExtINT. */
    ipi(0, 1, 0x200);
    ipi(0, 1, 0x340);
    ipi(0, 1, 0x740);
    CHECK_EQ(taken(0), 0);
}

static void lowest_priority_arbitrates(void)
{
    start();
    apic_write(&world, 0, 0x80, 0x30);
    apic_write(&world, 1, 0x80, 0x20);
    apic_write(&world, 2, 0x80, 0x30);
    apic_write(&world, 3, 0x80, 0x40);
    ipi(0, 0x0f, 0x970);
    CHECK_EQ(taken(0x70), 2);
    apic_write(&world, 1, 0xf0, 0xff); /* software disabled: out of it */
    ipi(0, 0x0e, 0x970);
    CHECK_EQ(taken(0x70), 4);
    /* Equals take turns. */
    unsigned seen = 0;
    for (unsigned i = 0; i < 2; i++) {
        ipi(0, 0x07, 0x970);
        seen |= taken(0x70);
    }
    CHECK_EQ(seen, 5);
    ipi(0, 0x02, 0x970);
    CHECK_EQ(taken(0x70), 0);
}

static void illegal_vectors_are_not_sent(void)
{
    start();
    apic_write(&world, 0, 0x370, 0xfe);
    for (unsigned vector = 0; vector < 16; vector++) {
        ipi(0, 0xff, vector);
        CHECK_EQ(taken(0xfe), 1);
        apic_write(&world, 0, 0x280, 0);
        CHECK_EQ(apic_read(&world, 0, 0x280), 0x20);
        apic_write(&world, 1, 0x280, 0);
        CHECK_EQ(apic_read(&world, 1, 0x280), 0);
    }
}

/* Every low half of the ICR, from and to everyone, with error vectors that are errors. */
static void every_icr_value(void)
{
    start();
    for (unsigned i = 0; i < WORLD_CPUS; i++)
        apic_write(&world, i, 0x370, i);
    for (uint32_t low = 0; low < 0x100000; low += 5) {
        ipi(low % WORLD_CPUS, low % 7, low);
        for (unsigned i = 0; i < WORLD_CPUS; i++) {
            apic_write(&world, i, 0x280, 0);
            if (lapic_has_interrupt(cpu(i)))
                CHECK(lapic_acknowledge(cpu(i)) >= 16);
            lapic_eoi(cpu(i));
        }
    }
    CHECK(world.cpu[1].nmis > 0 && world.cpu[1].inits > 0 && world.cpu[1].sipis > 0);
}

static void msi(void)
{
    start();
    struct msi_port port = {apic_fabric_send_msi, &world.fabric};
    msi_send(&port, 0xfee02000, 0x4055);
    CHECK_EQ(taken(0x55), 4);
    msi_send(&port, 0xfeeff000, 0x55);
    CHECK_EQ(taken(0x55), 15);
    msi_send(&port, 0xfee06004, 0x55);
    CHECK_EQ(taken(0x55), 6);
    msi_send(&port, 0xfee0600c, 0x55); /* redirection hint: one of them */
    unsigned one = taken(0x55);
    CHECK(one == 2 || one == 4);
    msi_send(&port, 0xfee0600c, 0x155);
    unsigned other = taken(0x55);
    CHECK_EQ(one | other, 6);
    msi_send(&port, 0xfee01000, 0x400);
    CHECK_EQ(world.cpu[1].nmis, 1);
    msi_send(&port, 0xfee01000, 0x600);
    CHECK_EQ(world.cpu[1].sipis, 0);
    msi_send(&port, 0xfee01000, 0x8055); /* the end of a level */
    CHECK_EQ(taken(0x55), 0);
    msi_send(&port, 0xfee01000, 0xc055);
    CHECK_EQ(apic_read(&world, 1, 0x1a0), 1 << 21); /* TMR */
    CHECK_EQ(taken(0x55), 2);
    /* What is no interrupt message. */
    msi_send(&port, 0x1fee01000, 0x55);
    msi_send(&port, 0xfed01000, 0x55);
    msi_send(&port, 0, 0x55);
    msi_send(&port, UINT64_MAX, 0x55);
    msi_send(&port, 0xfee01000, 0x0f);
    CHECK_EQ(taken(0x55), 0);
    /* Eight bits of destination reach x2APICs, too. */
    to_x2apic(1);
    to_x2apic(2);
    msi_send(&port, 0xfee01000, 0x55);
    CHECK_EQ(taken(0x55), 2);
    msi_send(&port, 0xfee06004, 0x55);
    CHECK_EQ(taken(0x55), 6);
    msi_send(&port, 0xfeeff000, 0x55);
    CHECK_EQ(taken(0x55), 15);
}

static void lint_reaches_all(void)
{
    start();
    for (unsigned i = 0; i < WORLD_CPUS; i++)
        apic_write(&world, i, 0x360, 0x400);
    apic_fabric_set_lint(&world.fabric, 1, true);
    for (unsigned i = 0; i < WORLD_CPUS; i++)
        CHECK_EQ(world.cpu[i].nmis, 1);
}

TEST_MAIN({"ids_are_unique_and_room_ends", ids_are_unique_and_room_ends},
          {"physical_and_broadcast", physical_and_broadcast},
          {"logical_flat_and_cluster", logical_flat_and_cluster},
          {"x2apic_destinations", x2apic_destinations},
          {"cluster_id_of_higher_apics", cluster_id_of_higher_apics}, {"shorthands", shorthands},
          {"init_and_startup", init_and_startup},
          {"lowest_priority_arbitrates", lowest_priority_arbitrates},
          {"illegal_vectors_are_not_sent", illegal_vectors_are_not_sent},
          {"every_icr_value", every_icr_value}, {"msi", msi},
          {"lint_reaches_all", lint_reaches_all})

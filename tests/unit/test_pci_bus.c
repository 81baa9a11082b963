/* The PCI host bridge: configuration accesses, BARs, capabilities, INTx and MSI-X. */
#include "kernel/vm/acpi_tables.h"
#include "tests/check.h"
#include "tests/virtio_guest.h"

#define WINDOW PLATFORM_PCI_MMIO

/* A function with a 32-bit BAR, a 64-bit BAR and MSI-X, whose registers remember. */
struct thing {
    struct pci_function function;
    uint64_t last_offset, last_value;
    unsigned resets;
};

static uint64_t thing_read(void *device, uint64_t offset, unsigned size)
{
    struct thing *thing = device;
    (void)size;
    return thing->last_value + offset;
}

static void thing_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct thing *thing = device;
    (void)size;
    thing->last_offset = offset;
    thing->last_value = value;
}

static void thing_reset(struct pci_function *function)
{
    CONTAINER_OF(function, struct thing, function)->resets++;
}

static const struct bus_ops thing_bar_ops = {thing_read, thing_write};
static const struct pci_function_ops thing_ops = {.reset = thing_reset};

static struct thing *thing_new(struct guest_machine *machine, unsigned slot)
{
    struct thing *thing = calloc(1, sizeof(*thing));
    struct pci_identity identity = {0x1234, 0x5678, 0x9abc, 0xdef0, 7, 0x020304};
    struct msi_port port = {guest_on_message, machine};
    pci_function_init(&thing->function, &identity, &thing_ops);
    pci_function_use_intx(&thing->function);
    pci_function_set_bar(&thing->function, 0, 0x1000, false, &thing_bar_ops, thing);
    pci_function_set_bar(&thing->function, 2, 0x10000, true, &thing_bar_ops, thing);
    pci_function_add_msix(&thing->function, 5, 4, &port);
    CHECK_EQ(pci_bus_add(&machine->pci, slot, &thing->function), STATUS_OK);
    return thing;
}

static void port_address(struct guest_machine *machine, uint32_t address)
{
    bus_write(&machine->bus, BUS_PORT, 0xcf8, 4, address);
}

static void both_mechanisms_reach_the_same_space(void)
{
    struct guest_machine *machine = guest_new();
    struct thing *thing = thing_new(machine, 3);
    port_address(machine, 0x80001803); /* 00:03.0; the two low bits do not stick */
    CHECK_EQ(bus_read(&machine->bus, BUS_PORT, 0xcf8, 4), 0x80001800);
    CHECK_EQ(bus_read(&machine->bus, BUS_PORT, 0xcfc, 4), 0x56781234);
    CHECK_EQ(bus_read(&machine->bus, BUS_PORT, 0xcfe, 2), 0x5678);
    CHECK_EQ(bus_read(&machine->bus, BUS_PORT, 0xcff, 1), 0x56);
    CHECK_EQ(guest_config_read(machine, 3, 0, 4), 0x56781234);
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, guest_ecam(3, 8), 8), 0x02030407u);
    port_address(machine, 0x8000183c);
    bus_write(&machine->bus, BUS_PORT, 0xcfc, 1, 0x5a);
    CHECK_EQ(guest_config_read(machine, 3, PCI_INTERRUPT_LINE, 1), 0x5a);
    guest_config_write(machine, 3, PCI_INTERRUPT_LINE, 4, 0xffffff0b);
    CHECK_EQ(bus_read(&machine->bus, BUS_PORT, 0xcfc, 4), 0x10b);
    /* Read-only registers stay. */
    guest_config_write(machine, 3, 0, 4, 0);
    CHECK_EQ(guest_config_read(machine, 3, 0, 2), 0x1234);
    /* Extended space is empty; the enable bit is needed. */
    CHECK_EQ(guest_config_read(machine, 3, 0x100, 4), 0);
    CHECK_EQ(guest_config_read(machine, 3, 0xffc, 4), 0);
    port_address(machine, 0x00001800);
    CHECK_EQ(bus_read(&machine->bus, BUS_PORT, 0xcfc, 4), 0xffffffff);
    free(thing);
    guest_free(machine);
}

static void absent_functions_read_as_ones(void)
{
    struct guest_machine *machine = guest_new();
    struct thing *thing = thing_new(machine, 3);
    CHECK_EQ(guest_config_read(machine, 4, 0, 4), 0xffffffff);
    CHECK_EQ(guest_config_read(machine, 4, 0xd, 1), 0xff);
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, guest_ecam(3, 0) + 0x1000, 4), 0xffffffff);
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, guest_ecam(3, 0) + 0x100000, 2), 0xffff);
    port_address(machine, 0x80011800); /* bus 1 */
    CHECK_EQ(bus_read(&machine->bus, BUS_PORT, 0xcfc, 4), 0xffffffff);
    guest_config_write(machine, 4, 4, 4, 0xffffffff);
    /* Across the border between a function that is there and one that is not. */
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, guest_ecam(3, 0xffe), 4), 0xffff0000);
    bus_write(&machine->bus, BUS_MMIO, guest_ecam(3, 0) - 2, 4, 0);
    /* The host bridge. */
    CHECK_EQ(guest_config_read(machine, 0, PCI_CLASS_CODE, 1), 0);
    CHECK_EQ(guest_config_read(machine, 0, PCI_CLASS_CODE + 1, 2), 0x0600);
    CHECK_EQ(guest_config_read(machine, 0, PCI_HEADER_TYPE, 1), 0);
    free(thing);
    guest_free(machine);
}

static void address_register_takes_doublewords_only(void)
{
    struct guest_machine *machine = guest_new();
    port_address(machine, 0x80000000);
    bus_write(&machine->bus, BUS_PORT, 0xcfb, 1, 1);
    bus_write(&machine->bus, BUS_PORT, 0xcf8, 2, 0xffff);
    CHECK_EQ(machine->reset_control, 0);
    bus_write(&machine->bus, BUS_PORT, 0xcf9, 1, 6);
    CHECK_EQ(bus_read(&machine->bus, BUS_PORT, 0xcf8, 4), 0x80000000);
    CHECK_EQ(machine->reset_control, 6);
    CHECK_EQ(bus_read(&machine->bus, BUS_PORT, 0xcf9, 1), 6);
    CHECK_EQ(bus_read(&machine->bus, BUS_PORT, 0xcfa, 1), 0xff);
    guest_free(machine);
}

static void bars_are_assigned_and_sized(void)
{
    struct guest_machine *machine = guest_new();
    struct thing *a = thing_new(machine, 1), *b = thing_new(machine, 2);
    CHECK_EQ(guest_bar(machine, 1, 0), WINDOW);
    CHECK_EQ(guest_bar(machine, 1, 2), WINDOW + 0x10000);
    CHECK_EQ(guest_bar(machine, 1, 5), WINDOW + 0x20000);
    CHECK_EQ(guest_bar(machine, 2, 0), WINDOW + 0x21000);
    CHECK_EQ(guest_config_read(machine, 1, PCI_BAR(2), 4) & 15, PCI_BAR_TYPE_64);
    CHECK_EQ(guest_config_read(machine, 1, PCI_COMMAND, 2), PCI_COMMAND_MEMORY);
    bus_write(&machine->bus, BUS_MMIO, WINDOW + 0x10008, 4, 77);
    CHECK_EQ(a->last_offset, 8);
    CHECK_EQ(a->last_value, 77);
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, WINDOW + 0x21004, 4), 4);
    /* Sizing, as every operating system does it. */
    guest_config_write(machine, 1, PCI_COMMAND, 2, 0);
    CHECK(!bus_claims(&machine->bus, BUS_MMIO, WINDOW));
    guest_config_write(machine, 1, PCI_BAR(0), 4, 0xffffffff);
    CHECK_EQ(guest_config_read(machine, 1, PCI_BAR(0), 4), 0xfffff000);
    guest_config_write(machine, 1, PCI_BAR(2), 4, 0xffffffff);
    guest_config_write(machine, 1, PCI_BAR(3), 4, 0xffffffff);
    CHECK_EQ(guest_config_read(machine, 1, PCI_BAR(2), 4), 0xffff0004);
    CHECK_EQ(guest_config_read(machine, 1, PCI_BAR(3), 4), 0xffffffff);
    guest_config_write(machine, 1, PCI_BAR(1), 4, 0xffffffff);
    CHECK_EQ(guest_config_read(machine, 1, PCI_BAR(1), 4), 0);
    guest_config_write(machine, 1, 0x30, 4, 0xffffffff);
    CHECK_EQ(guest_config_read(machine, 1, 0x30, 4), 0);
    free(a);
    free(b);
    guest_free(machine);
}

static void bars_move(void)
{
    struct guest_machine *machine = guest_new();
    struct thing *a = thing_new(machine, 1), *b = thing_new(machine, 2);
    guest_config_write(machine, 1, PCI_BAR(0), 4, 0xd0000000);
    CHECK(!bus_claims(&machine->bus, BUS_MMIO, WINDOW));
    CHECK(bus_claims(&machine->bus, BUS_MMIO, 0xd0000fff));
    /* Byte by byte: each step is an address of its own. */
    guest_config_write(machine, 1, PCI_BAR(0) + 3, 1, 0xd1);
    CHECK(bus_claims(&machine->bus, BUS_MMIO, 0xd1000000));
    CHECK(!bus_claims(&machine->bus, BUS_MMIO, 0xd0000000));
    /* Swapping with the neighbour goes through an overlap, and ends with both decoded. */
    uint32_t of_b = WINDOW + 0x21000;
    guest_config_write(machine, 1, PCI_BAR(0), 4, of_b);
    bus_write(&machine->bus, BUS_MMIO, of_b, 4, 5);
    CHECK_EQ(b->last_value, 5);
    CHECK_EQ(a->last_value, 0);
    guest_config_write(machine, 2, PCI_BAR(0), 4, 0xd1000000);
    bus_write(&machine->bus, BUS_MMIO, of_b, 4, 6);
    CHECK_EQ(a->last_value, 6);
    bus_write(&machine->bus, BUS_MMIO, 0xd1000000, 4, 8);
    CHECK_EQ(b->last_value, 8);
    pci_bus_reset(&machine->pci);
    CHECK_EQ(guest_bar(machine, 1, 0), WINDOW);
    CHECK(bus_claims(&machine->bus, BUS_MMIO, WINDOW));
    CHECK_EQ(a->resets, 1);
    free(a);
    free(b);
    guest_free(machine);
}

static void hostile_bars_are_not_decoded(void)
{
    static const uint64_t places[] = {
        0,
        0x100000,
        0x80000,
        PLATFORM_LAPIC,
        PLATFORM_IOAPIC,
        PLATFORM_ECAM,
        0xfffff000,
        PLATFORM_PCI_MMIO - 0x1000,
    };
    struct guest_machine *machine = guest_new();
    struct thing *thing = thing_new(machine, 1);
    unsigned before = machine->bus.count[BUS_MMIO];
    for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
        guest_config_write(machine, 1, PCI_BAR(0), 4, (uint32_t)places[i]);
        CHECK_EQ(machine->bus.count[BUS_MMIO], before - 1);
    }
    guest_config_write(machine, 1, PCI_BAR(2), 4, 0xffff0000);
    guest_config_write(machine, 1, PCI_BAR(3), 4, 0xffffffff);
    CHECK_EQ(machine->bus.count[BUS_MMIO], before - 2);
    guest_config_write(machine, 1, PCI_BAR(2), 4, 0xc0000000);
    CHECK_EQ(machine->bus.count[BUS_MMIO], before - 2);
    guest_config_write(machine, 1, PCI_BAR(3), 4, 0);
    CHECK_EQ(machine->bus.count[BUS_MMIO], before - 1);
    /* The last place of the window, and one too far. */
    guest_config_write(machine, 1, PCI_BAR(2), 4, 0xdfff0000);
    CHECK(bus_claims(&machine->bus, BUS_MMIO, 0xdfffffff));
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, PLATFORM_ECAM, 2), 0x1b36);
    /* RAM inside the window wins. */
    static uint8_t page[4096];
    CHECK_EQ(guest_mem_add(&machine->mem, GPA(0xd8000000), 4096, page), STATUS_OK);
    guest_config_write(machine, 1, PCI_BAR(2), 4, 0xd8000000);
    CHECK_EQ(machine->bus.count[BUS_MMIO], before - 2);
    free(thing);
    guest_free(machine);
}

static void slots_and_window_are_finite(void)
{
    struct guest_machine *machine = guest_new();
    struct thing *thing = thing_new(machine, 1);
    struct pci_identity identity = {.vendor = 1};
    static struct pci_function huge;
    static const struct pci_function_ops no_ops;
    pci_function_init(&huge, &identity, &no_ops);
    pci_function_set_bar(&huge, 0, PLATFORM_PCI_MMIO_SIZE, true, &thing_bar_ops, thing);
    CHECK_EQ(pci_bus_add(&machine->pci, 1, &huge), ERR_EXISTS);
    CHECK_EQ(pci_bus_add(&machine->pci, 32, &huge), ERR_RANGE);
    CHECK_EQ(pci_bus_add(&machine->pci, 2, &huge), ERR_NO_SPACE);
    CHECK_EQ(guest_config_read(machine, 2, 0, 4), 0xffffffff);
    free(thing);
    guest_free(machine);
}

static void intx_wires_are_shared_and_can_be_cut(void)
{
    struct guest_machine *machine = guest_new();
    struct thing *a = thing_new(machine, 1), *b = thing_new(machine, 9);
    unsigned wire = pci_bus_intx_wire(1, 0);
    CHECK_EQ(wire, pci_bus_intx_wire(9, 0));
    CHECK_EQ(guest_config_read(machine, 1, PCI_INTERRUPT_PIN, 1), 1);
    CHECK_EQ(guest_config_read(machine, 1, PCI_INTERRUPT_LINE, 1), PLATFORM_PCI_GSI_FIRST + wire);
    pci_function_set_intx(&a->function, true);
    pci_function_set_intx(&b->function, true);
    CHECK(machine->wire[wire]);
    pci_function_set_intx(&a->function, false);
    CHECK(machine->wire[wire]);
    CHECK_EQ(guest_config_read(machine, 9, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT,
             PCI_STATUS_INTERRUPT);
    guest_config_write(machine, 9, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
    CHECK(!machine->wire[wire]);
    CHECK_EQ(guest_config_read(machine, 9, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT,
             PCI_STATUS_INTERRUPT);
    guest_config_write(machine, 9, PCI_COMMAND, 2, 0);
    CHECK(machine->wire[wire]);
    pci_bus_reset(&machine->pci);
    CHECK(!machine->wire[wire]);
    free(a);
    free(b);
    guest_free(machine);
}

static void wires_are_those_of_the_acpi_tables(void)
{
    for (unsigned slot = 0; slot < PCI_SLOTS; slot++)
        for (unsigned pin = 0; pin < 4; pin++)
            CHECK_EQ(PLATFORM_PCI_GSI_FIRST + pci_bus_intx_wire(slot, pin),
                     acpi_pci_gsi(slot, pin));
}

static void msix_masks_and_remembers(void)
{
    struct guest_machine *machine = guest_new();
    struct thing *thing = thing_new(machine, 1);
    unsigned at = guest_capability(machine, 1, PCI_CAPABILITY_MSIX, 0);
    uint64_t table = guest_bar(machine, 1, 5), pba = table + PCI_MSIX_PBA_OFFSET;
    CHECK_EQ(guest_config_read(machine, 1, at + PCI_MSIX_CONTROL, 2), 3);
    guest_config_write(machine, 1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, table + 12, 4), 1);
    bus_write(&machine->bus, BUS_MMIO, table + 16, 8, 0xfee01003);
    bus_write(&machine->bus, BUS_MMIO, table + 24, 4, 0x41);
    bus_write(&machine->bus, BUS_MMIO, table + 28, 2, 0); /* not a doubleword: ignored */
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, table + 16, 8), 0xfee01000);
    pci_msix_raise(&thing->function.msix, 1);
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, pba, 8), 0); /* MSI-X is off */
    guest_config_write(machine, 1, at + PCI_MSIX_CONTROL, 2, 0xc000);
    pci_msix_raise(&thing->function.msix, 1);
    pci_msix_raise(&thing->function.msix, 4); /* no such vector */
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, pba, 4), 2);
    bus_write(&machine->bus, BUS_MMIO, pba, 4, 0);
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, pba, 1), 2);
    guest_config_write(machine, 1, at + PCI_MSIX_CONTROL + 1, 1, 0x80);
    CHECK_EQ(machine->messages, 0); /* the vector itself is masked still */
    bus_write(&machine->bus, BUS_MMIO, table + 28, 4, 0xfffffffe);
    CHECK_EQ(machine->messages, 1);
    CHECK_EQ(machine->message_address, 0xfee01000);
    CHECK_EQ(machine->message_data, 0x41);
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, pba, 4), 0);
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, table + 28, 4), 0);
    pci_msix_raise(&thing->function.msix, 1);
    CHECK_EQ(machine->messages, 2);
    /* A message is a memory write: without bus mastering it waits. */
    guest_config_write(machine, 1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    pci_msix_raise(&thing->function.msix, 1);
    CHECK_EQ(machine->messages, 2);
    guest_config_write(machine, 1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    CHECK_EQ(machine->messages, 3);
    /* Beyond the table there is nothing. */
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, table + 64, 8), 0);
    bus_write(&machine->bus, BUS_MMIO, table + 64, 8, ~0ull);
    CHECK_EQ(bus_read(&machine->bus, BUS_MMIO, table + 0xff8, 8), 0);
    free(thing);
    guest_free(machine);
}

static void msix_replaces_intx(void)
{
    struct guest_machine *machine = guest_new();
    struct thing *thing = thing_new(machine, 1);
    unsigned at = guest_capability(machine, 1, PCI_CAPABILITY_MSIX, 0);
    pci_function_set_intx(&thing->function, true);
    CHECK(machine->wire[1]);
    guest_config_write(machine, 1, at + PCI_MSIX_CONTROL, 2, PCI_MSIX_CONTROL_ENABLE);
    CHECK(!machine->wire[1]);
    guest_config_write(machine, 1, at + PCI_MSIX_CONTROL, 2, 0);
    CHECK(machine->wire[1]);
    free(thing);
    guest_free(machine);
}

TEST_MAIN({"both_mechanisms_reach_the_same_space", both_mechanisms_reach_the_same_space},
          {"absent_functions_read_as_ones", absent_functions_read_as_ones},
          {"address_register_takes_doublewords_only", address_register_takes_doublewords_only},
          {"bars_are_assigned_and_sized", bars_are_assigned_and_sized}, {"bars_move", bars_move},
          {"hostile_bars_are_not_decoded", hostile_bars_are_not_decoded},
          {"slots_and_window_are_finite", slots_and_window_are_finite},
          {"intx_wires_are_shared_and_can_be_cut", intx_wires_are_shared_and_can_be_cut},
          {"wires_are_those_of_the_acpi_tables", wires_are_those_of_the_acpi_tables},
          {"msix_masks_and_remembers", msix_masks_and_remembers},
          {"msix_replaces_intx", msix_replaces_intx})

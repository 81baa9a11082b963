/* The host bridge with three functions: whatever is written to configuration space, RAM, the
 * bridge and the other devices keep their addresses. */
#include "tests/fuzz/virtio_fuzz.h"

#define FUNCTIONS 3
#define WINDOW_RAM 0xc8005000ull /* RAM inside the window, where a BAR can reach it */

static uint64_t any_read(void *device, uint64_t offset, unsigned size)
{
    guest_require(offset + size <= *(uint64_t *)device, "a read beyond the BAR");
    return offset;
}

static void any_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    (void)value;
    guest_require(offset + size <= *(uint64_t *)device, "a write beyond the BAR");
}

static const struct bus_ops any_ops = {any_read, any_write};
static const struct pci_function_ops no_ops = {0};

static void check_ranges(struct guest_machine *machine)
{
    const struct bus_range *range = machine->bus.range[BUS_MMIO];
    for (unsigned i = 0; i < machine->bus.count[BUS_MMIO]; i++) {
        uint64_t end = range[i].base + range[i].length;
        guest_require(i + 1 == machine->bus.count[BUS_MMIO] || end <= range[i + 1].base,
                      "overlapping ranges");
        guest_require(range[i].base >= PLATFORM_PCI_MMIO &&
                          end <= PLATFORM_ECAM + PLATFORM_ECAM_SIZE,
                      "a range outside the window");
        guest_require(end <= WINDOW_RAM || range[i].base > WINDOW_RAM + 0xfff, "a BAR over RAM");
    }
    guest_require(bus_read(&machine->bus, BUS_MMIO, PLATFORM_ECAM, 4) == 0x00081b36, "the bridge");
}

/* One access: to configuration space by ECAM or ports, to a BAR or to anywhere. */
static void step(struct guest_machine *machine, struct fuzz_input *input)
{
    uint64_t choice = fuzz_take(input, 1);
    unsigned size = 1u << (choice >> 3 & 3);
    unsigned slot = (unsigned)(fuzz_take(input, 1) % (FUNCTIONS + 2));
    uint64_t address;
    enum bus_space space = BUS_MMIO;
    switch (choice & 7) {
    case 0:
        space = BUS_PORT;
        address = 0xcf0 + fuzz_below(input, 24);
        size = size > 4 ? 4 : size;
        break;
    case 1:
        address = PLATFORM_PCI_MMIO + fuzz_take(input, 4) % PLATFORM_PCI_MMIO_SIZE;
        break;
    case 2:
        address = PLATFORM_PCI_MMIO + fuzz_below(input, 0x60000);
        break;
    case 3:
        address = guest_ecam(slot, (unsigned)fuzz_below(input, 0x1000));
        break;
    case 4: /* BARs, mostly to where there is something */
        bus_write(&machine->bus, BUS_MMIO, guest_ecam(slot, PCI_BAR(fuzz_take(input, 1) % 6)), 4,
                  (uint32_t)(PLATFORM_PCI_MMIO + (fuzz_take(input, 2) << 12)));
        return;
    case 5:
        bus_write(&machine->bus, BUS_MMIO, guest_ecam(slot, PCI_COMMAND), 2, fuzz_take(input, 2));
        return;
    default:
        address = guest_ecam(slot, (unsigned)fuzz_below(input, 0x100));
    }
    if ((choice & 0x80) != 0)
        bus_read(&machine->bus, space, address, size);
    else
        bus_write(&machine->bus, space, address, size, fuzz_take(input, size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pci_function function[FUNCTIONS];
    static uint64_t bar_size[FUNCTIONS][2];
    static uint8_t page[4096];
    struct fuzz_input input = {data, data + size};
    struct guest_machine *machine = guest_new();
    struct pci_identity identity = {.vendor = 1, .device = 2};
    struct msi_port port = {guest_on_message, machine};
    guest_require(guest_mem_add(&machine->mem, GPA(WINDOW_RAM), 4096, page) == STATUS_OK, "RAM");
    for (unsigned i = 0; i < FUNCTIONS; i++) {
        bar_size[i][0] = 0x1000u << i;
        bar_size[i][1] = 0x8000u << (4 * i);
        pci_function_init(&function[i], &identity, &no_ops);
        pci_function_use_intx(&function[i]);
        pci_function_set_bar(&function[i], 0, bar_size[i][0], false, &any_ops, &bar_size[i][0]);
        pci_function_set_bar(&function[i], 4, bar_size[i][1], true, &any_ops, &bar_size[i][1]);
        pci_function_add_msix(&function[i], 2, 8, &port);
        guest_require(pci_bus_add(&machine->pci, i + 1, &function[i]) == STATUS_OK, "add");
    }
    for (unsigned i = 0; i < 400 && !fuzz_is_done(&input); i++) {
        step(machine, &input);
        pci_function_set_intx(&function[i % FUNCTIONS], (i & 8) != 0);
        pci_msix_raise(&function[i % FUNCTIONS].msix, i % 10);
        check_ranges(machine);
    }
    pci_bus_reset(&machine->pci);
    check_ranges(machine);
    guest_free(machine);
    return 0;
}

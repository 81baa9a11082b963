/* Guest `large`: RAM from 16 MiB, above the guest itself, to the end of the PVH memory map's. */
#include "tests/guests/lib/guest.h"

#define FIRST MIB(16)
#define STEP MIB(2)
#define MEMMAP_RAM 1u

/* PVH: struct hvm_start_info and struct hvm_memmap_table_entry. */
struct start {
    uint32_t magic, version, flags, modules;
    uint64_t module_list, cmdline, rsdp, memmap;
    uint32_t entries, reserved;
};
struct entry {
    uint64_t address, size;
    uint32_t type, reserved;
};

extern const struct start *start_info;

void large_main(void);

/* The end of the RAM that begins at 1 MiB. */
static uint64_t ram_end(void)
{
    const struct entry *entry = (const struct entry *)start_info->memmap;
    for (uint32_t i = 0; i < start_info->entries; i++)
        if (entry[i].type == MEMMAP_RAM && entry[i].address == MIB(1))
            return entry[i].address + entry[i].size;
    return 0;
}

static volatile uint64_t *at(uint64_t address)
{
    return (volatile uint64_t *)address;
}

static uint64_t mark(uint64_t address)
{
    return address * 0x9e3779b97f4a7c15ull;
}

void large_main(void)
{
    uint64_t end = ram_end(), wrong = 0, dirty = 0;
    guest_case("size");
    guest_expect(end > GIB(1), true, "more than 1 GiB");
    guest_case("zeroed");
    for (uint64_t address = FIRST; address < end; address += STEP)
        dirty += *at(address) != 0;
    guest_expect(dirty, 0, "places that were not zero");
    guest_case("every-2-mib");
    for (uint64_t address = FIRST; address < end; address += STEP)
        *at(address) = mark(address);
    *at(end - 8) = mark(end - 8);
    for (uint64_t address = FIRST; address < end; address += STEP)
        wrong += *at(address) != mark(address);
    guest_expect(wrong, 0, "places that did not keep what was written");
    guest_expect(*at(end - 8), mark(end - 8), "the last eight bytes");
    guest_case("across-a-gib");
    *at(GIB(1) - 4) = 0x1122334455667788;
    guest_expect(*at(GIB(1) - 4), 0x1122334455667788, "eight bytes over the border");
    guest_expect((uint32_t)*at(GIB(1)), 0x11223344, "the half behind it");
    guest_case("behind-the-end");
    guest_expect(*at(end), ~0ull, "no RAM there");
}

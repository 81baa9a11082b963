/*
 * The guest's ACPI tables for any facts, and AML by any sequence of its writers: nothing is written
 * outside the buffer, and the monitor's own reader of ACPI understands what came out.
 */
#include <string.h>

#include "drivers/host/acpi.h"
#include "kernel/vm/acpi_aml.h"
#include "kernel/vm/acpi_tables.h"
#include "tests/fuzz/fuzz.h"

#define GUARD 16u
#define AML_MAX 300u

/* The region in the middle of memory that must stay as it is. */
static uint8_t memory[ACPI_REGION_SIZE + 2 * GUARD];

static const void *map(void *context, hpa_t address, uint64_t size)
{
    (void)context;
    if (address.v < GUEST_MAP_ACPI_BASE || size > ACPI_REGION_SIZE ||
        address.v - GUEST_MAP_ACPI_BASE > ACPI_REGION_SIZE - size)
        return NULL;
    return memory + GUARD + (address.v - GUEST_MAP_ACPI_BASE);
}

static void require_guards(void)
{
    for (unsigned i = 0; i < GUARD; i++)
        REQUIRE(memory[i] == 0xa5 && memory[GUARD + ACPI_REGION_SIZE + i] == 0xa5);
}

static void build_tables(const struct acpi_facts *facts)
{
    static struct acpi acpi;
    const struct acpi_memory reader = {map, NULL};
    memset(memory, 0xa5, sizeof(memory));
    enum status status = acpi_tables_build(memory + GUARD, facts);
    require_guards();
    bool is_sane = facts->vcpu_count >= 1 && facts->vcpu_count <= ACPI_VCPUS_MAX;
    REQUIRE((status == STATUS_OK) == is_sane);
    if (status != STATUS_OK)
        return;
    REQUIRE(acpi_read(&acpi, GUEST_MAP_ACPI_BASE, &reader) == STATUS_OK);
    REQUIRE(acpi.has_madt && acpi.has_fadt && acpi.has_s5 && acpi.ioapic_count == 1);
    REQUIRE(acpi.lapic_address == PLATFORM_LAPIC && acpi.ioapic[0].address == PLATFORM_IOAPIC);
    REQUIRE(acpi.isa[PLATFORM_IRQ_TIMER].gsi == PLATFORM_GSI_TIMER);
    REQUIRE(acpi.isa[PLATFORM_IRQ_SCI].level && !acpi.isa[PLATFORM_IRQ_SCI].active_low);
}

/* What has a length, opened and closed around the rest. */
static size_t open_package(struct aml *aml, struct fuzz_input *input, const char *name)
{
    switch (fuzz_take(input, 1) % 6) {
    case 0:
        return aml_scope(aml, name);
    case 1:
        return aml_device(aml, name);
    case 2:
        return aml_method(aml, name, (unsigned)fuzz_take(input, 1) % 8);
    case 3:
        return aml_package(aml, (unsigned)fuzz_take(input, 1));
    case 4:
        return aml_if(aml);
    default:
        return aml_else(aml);
    }
}

static void write_leaf(struct aml *aml, struct fuzz_input *input, const char *name)
{
    switch (fuzz_take(input, 1) % 8) {
    case 0:
        aml_integer(aml, fuzz_take(input, 8));
        break;
    case 1:
        aml_string(aml, name);
        break;
    case 2:
        aml_eisa_id(aml, "PNP0A08");
        break;
    case 3:
        aml_uuid(aml, "33db4d5b-1ff7-401c-9657-7441c03dd766");
        break;
    case 4:
        aml_name_integer(aml, name, fuzz_take(input, 4));
        break;
    case 5: {
        struct aml_template template = aml_template_open(aml);
        aml_io(aml, (uint16_t)fuzz_take(input, 2), (uint8_t)fuzz_take(input, 1));
        aml_irq(aml, (unsigned)fuzz_take(input, 1) % 16);
        aml_memory32_fixed(aml, (uint32_t)fuzz_take(input, 4), (uint32_t)fuzz_take(input, 4));
        aml_template_close(aml, template);
        break;
    }
    case 6:
        aml_bus_window(aml, 0, (uint16_t)fuzz_take(input, 1));
        aml_io_window(aml, 0, (uint16_t)fuzz_take(input, 2));
        break;
    default:
        aml_memory_window(aml, 0, (uint32_t)fuzz_take(input, 4));
        aml_op(aml, AML_RETURN);
    }
}

/* A tree of at most four levels in a buffer that may be too small at any byte of it. */
static void write_aml(struct fuzz_input *input)
{
    static const char *const names[] = {"\\", "\\_SB", "_SB.PCI0", "A.B.C", "_CRS", ""};
    size_t opened[4], size = fuzz_take(input, 2) % AML_MAX;
    unsigned depth = 0;
    uint8_t *buffer = malloc(size == 0 ? 1 : size);
    struct aml aml = {.at = buffer, .size = size};
    REQUIRE(buffer != NULL);
    while (!fuzz_is_done(input)) {
        uint64_t choice = fuzz_take(input, 1);
        const char *name = names[(choice >> 2) % ARRAY_SIZE(names)];
        if ((choice & 3) == 0 && depth < ARRAY_SIZE(opened))
            opened[depth++] = open_package(&aml, input, name);
        else if ((choice & 3) == 1 && depth != 0)
            aml_close(&aml, opened[--depth]);
        else
            write_leaf(&aml, input, name);
        REQUIRE(aml.used <= aml.size);
    }
    while (depth != 0)
        aml_close(&aml, opened[--depth]);
    free(buffer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, data + size};
    uint64_t choice = fuzz_take(&input, 1);
    struct acpi_facts facts = {.vcpu_count = (uint32_t)fuzz_take(&input, (choice & 2) != 0 ? 4 : 2),
                               .has_keyboard = (choice & 1) != 0,
                               .has_pvpanic = (choice & 2) != 0};
    if ((choice & 4) != 0)
        build_tables(&facts);
    else
        write_aml(&input);
    return 0;
}

/* The boot program's look at damaged ACPI tables: processors are listed once each and within the
 * table's bounds. */
#include "boot/acpi_cpus.h"
#include "tests/fuzz/acpi_image.h"

static const void *map(void *context, uint64_t address, uint64_t size)
{
    return acpi_image_map(context, address, size);
}

static void require_sane(const struct acpi_cpus *cpus)
{
    REQUIRE(cpus->count <= BOOT_CPUS_MAX);
    for (uint32_t i = 0; i < cpus->count && i < 64; i++)
        for (uint32_t j = 0; j < i; j++)
            REQUIRE(cpus->apic_id[i] != cpus->apic_id[j]);
}

/* The boot processor comes first, the others stay, but for one that falls out of a full table. */
static void put_first(struct acpi_cpus *cpus, uint32_t id)
{
    static struct acpi_cpus before;
    before = *cpus;
    bool is_there = false;
    for (uint32_t i = 0; i < cpus->count; i++)
        is_there |= cpus->apic_id[i] == id;
    acpi_cpus_put_first(cpus, id);
    REQUIRE(cpus->count >= 1 && cpus->apic_id[0] == id);
    if (before.count < BOOT_CPUS_MAX)
        REQUIRE(cpus->count == before.count + !is_there && cpus->dropped == before.dropped);
    require_sane(cpus);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct acpi_image image;
    static struct acpi_cpus cpus;
    struct fuzz_input input = {data, data + size};
    struct acpi_reader reader = {map, &image};
    const uint8_t *madt;
    uint32_t length, id = (uint32_t)fuzz_take(&input, 1);
    acpi_image_make(&image);
    acpi_image_change(&image, &input);
    enum status status = acpi_find_table(&reader, ACPI_IMAGE_BASE, "APIC", &madt, &length);
    REQUIRE(status == STATUS_OK || status == ERR_NOT_FOUND || status == ERR_INVALID);
    if (status == STATUS_OK) {
        REQUIRE(memcmp(madt, "APIC", 4) == 0 && length >= 36 && length <= ACPI_IMAGE_SIZE);
        status = acpi_madt_cpus(madt, length, &cpus);
        REQUIRE(status != STATUS_OK || cpus.count >= 1);
        require_sane(&cpus);
        put_first(&cpus, id);
    }
    acpi_image_free(&image);
    return 0;
}

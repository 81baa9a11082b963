/* Damaged ACPI tables of the machine: the monitor reads nothing outside what it mapped, and what it
 * takes from them obeys its bounds. */
#include "drivers/host/acpi.h"
#include "tests/fuzz/acpi_image.h"

static const void *map(void *context, hpa_t address, uint64_t size)
{
    return acpi_image_map(context, address.v, size);
}

static void require_sane(const struct acpi *acpi, enum status status)
{
    REQUIRE(status == STATUS_OK || status == ERR_NOT_FOUND || status == ERR_INVALID);
    REQUIRE(acpi->present == (status == STATUS_OK));
    REQUIRE(acpi->present || (!acpi->has_madt && !acpi->has_fadt && !acpi->has_s5));
    REQUIRE(acpi->ioapic_count <= ACPI_IOAPICS_MAX);
    REQUIRE(acpi->has_madt || acpi->ioapic_count == 0);
    REQUIRE(acpi->has_fadt || (acpi->pm_timer.address == 0 && acpi->reset.address == 0));
    if (acpi->has_madt)
        return;
    for (unsigned i = 0; i < ACPI_ISA_IRQS; i++)
        REQUIRE(acpi->isa[i].gsi == i && !acpi->isa[i].level && !acpi->isa[i].active_low);
}

/* The AML search alone, on a copy that ends where it ends. */
static void find_s5(const uint8_t *data, size_t size)
{
    uint8_t typ_a = 0, typ_b = 0;
    uint8_t *copy = malloc(size == 0 ? 1 : size);
    REQUIRE(copy != NULL);
    if (size != 0)
        memcpy(copy, data, size);
    enum status status = acpi_find_s5(copy, size, &typ_a, &typ_b);
    REQUIRE(status == STATUS_OK || status == ERR_NOT_FOUND);
    REQUIRE(status != STATUS_OK || size >= 9);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct acpi_image image;
    static struct acpi acpi;
    struct fuzz_input input = {data, data + size};
    struct acpi_memory memory = {map, &image};
    find_s5(data, size);
    acpi_image_make(&image);
    acpi_image_change(&image, &input);
    require_sane(&acpi, acpi_read(&acpi, ACPI_IMAGE_BASE, &memory));
    REQUIRE(image.maps < 1000);
    acpi_image_free(&image);
    return 0;
}

/* The differentiated system description: the guest's devices, as AML. For acpi_tables.c only. */
#pragma once

#include "kernel/vm/acpi_aml.h"
#include "kernel/vm/acpi_tables.h"

/* Writes the definition block's content, without the table's header. */
void acpi_dsdt_write(struct aml *aml, const struct acpi_facts *facts);

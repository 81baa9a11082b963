/*
 * What stands in a guest's IDT for a vector, where it leads, and what would stop the processor that
 * delivers an event through it: for a person who looks for the reason of a double or triple fault.
 * Nothing is changed. Pure. SDM: Interrupt and Exception Handling; Task Management.
 */
#pragma once

#include "kernel/debug/describe.h"

struct gate_view {
    const struct vcpu_registers *registers;
    const struct paging *paging; /* as vmx_vcpu_get_paging has it */
    const struct guest_mem *mem;
};

/* What would stop a delivery. */
struct gate_failure {
    uint8_t vector; /* of the exception that it would raise */
    char why[160];
    bool has_address; /* a linear address that cannot be accessed: */
    uint64_t address;
};

/* The name of an exception's vector, as the SDM has it: "#GP"; of others "". */
const char *gate_vector_name(unsigned vector);

/* Writes a few lines about the gate, the segment that it names and the stack that its handler would
 * get; is_software: for INT n, INT3 and INTO. True: *failure would stop a delivery, which the last
 * line says; false: nothing that was looked at would. */
bool gate_describe(const struct text *text, const struct gate_view *view, unsigned vector,
                   bool is_software, struct gate_failure *failure);

/* Writes what the selector names in the GDT or LDT, or why that is nothing. */
void gate_describe_selector(const struct text *text, const struct gate_view *view,
                            uint16_t selector);

/* "#GP (13)", "interrupt 32", ... SDM: Format of the VM-Entry Interruption-Information Field. */
void gate_describe_event(const struct text *text, uint32_t information);

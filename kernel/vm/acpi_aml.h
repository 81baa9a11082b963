/*
 * Writing AML, the byte code of ACPI's definition blocks, into a buffer. What a package contains
 * stands between its opening and aml_close. ACPI: ACPI Machine Language (AML) Specification.
 */
#pragma once

#include "kernel/core/types.h"

struct aml {
    uint8_t *at;
    size_t size;
    size_t used;   /* of what was written; at most size */
    bool overflow; /* something did not fit: the result is worthless */
};

/* Opcodes of terms that take their operands behind them. */
#define AML_LOCAL0 0x60
#define AML_ARG0 0x68
#define AML_ARG1 0x69
#define AML_ARG3 0x6b
#define AML_STORE 0x70 /* source, target */
#define AML_AND 0x7b   /* two operands, target, as the next */
#define AML_OR 0x7d
#define AML_CREATE_DWORD_FIELD 0x8a /* buffer, index, name */
#define AML_LNOT 0x92               /* an operand */
#define AML_LEQUAL 0x93             /* two operands */
#define AML_RETURN 0xa4

void aml_op(struct aml *aml, uint8_t opcode);

/* A name as ASL spells it: "\\_SB", "_CRS", "_SB.PCI0"; segments are filled up with '_'. */
void aml_path(struct aml *aml, const char *path);

/* Constants; the integer in its shortest form. */
void aml_integer(struct aml *aml, uint64_t value);
void aml_string(struct aml *aml, const char *text);
void aml_eisa_id(struct aml *aml, const char *id); /* "PNP0A08" */
/* A buffer with the UUID "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", as ToUUID makes it. */
void aml_uuid(struct aml *aml, const char *uuid);

/* Name (path, ...): the object follows. */
void aml_name(struct aml *aml, const char *path);
void aml_name_integer(struct aml *aml, const char *path, uint64_t value);

/* What has a length: returns what aml_close wants. */
size_t aml_scope(struct aml *aml, const char *path);
size_t aml_device(struct aml *aml, const char *path);
size_t aml_method(struct aml *aml, const char *path, unsigned arguments);
size_t aml_package(struct aml *aml, unsigned elements);
size_t aml_if(struct aml *aml); /* the predicate follows, then the block */
size_t aml_else(struct aml *aml);
void aml_close(struct aml *aml, size_t opened);

/* ResourceTemplate (): descriptors stand between these two. */
struct aml_template {
    size_t opened, length;
};
struct aml_template aml_template_open(struct aml *aml);
void aml_template_close(struct aml *aml, struct aml_template template);

/* Descriptors. ACPI: Resource Data Types for ACPI. */
void aml_io(struct aml *aml, uint16_t base, uint8_t length); /* 16-bit decoding */
void aml_irq(struct aml *aml, unsigned irq);                 /* edge-triggered, active high */
void aml_memory32_fixed(struct aml *aml, uint32_t base, uint32_t length);
/* What a bridge passes on, both ends inclusive. */
void aml_bus_window(struct aml *aml, uint16_t first, uint16_t last);
void aml_io_window(struct aml *aml, uint16_t first, uint16_t last);
void aml_memory_window(struct aml *aml, uint32_t first, uint32_t last);

/* The VMCS: its fields, their names, and access to the current one of this processor. */
#pragma once

#include "kernel/core/status.h"
#include "kernel/core/types.h"

/* SDM: Field Encoding in VMCS: access type 0, index 9:1, type 11:10, width 14:13. */
#define VMCS_WIDTH_16 0u
#define VMCS_WIDTH_64 1u
#define VMCS_WIDTH_32 2u
#define VMCS_WIDTH_NATURAL 3u
#define VMCS_TYPE_CONTROL 0u
#define VMCS_TYPE_EXIT 1u
#define VMCS_TYPE_GUEST 2u
#define VMCS_TYPE_HOST 3u

enum vmcs_field {
#define VMCS_FIELD(name, encoding, width, type) VMCS_##name = (encoding),
#include "vmx/vmcs_fields.def"
#undef VMCS_FIELD
};

#define VMCS_FIELD(name, encoding, width, type)                                                    \
    STATIC_ASSERT(((encoding) >> 13 & 3) == VMCS_WIDTH_##width &&                                  \
                      ((encoding) >> 10 & 3) == VMCS_TYPE_##type && ((encoding)&1) == 0,           \
                  "encoding of " #name);
#include "vmx/vmcs_fields.def"
#undef VMCS_FIELD

/* The SDM's name of a field, or "?" for an encoding that the list does not have. */
const char *vmcs_field_name(uint32_t encoding);

/* The current VMCS of this processor, which must have one. The field must exist for vmcs_read and
 * vmcs_write (writing another is a bug of ours and panics); for vmcs_read_optional one that does
 * not reads as 0. */
uint64_t vmcs_read_optional(enum vmcs_field field);
uint64_t vmcs_read(enum vmcs_field field);
void vmcs_write(enum vmcs_field field, uint64_t value);

/* Calls visit for every field of the list, in its order (a dump). */
void vmcs_visit(void (*visit)(void *context, uint32_t encoding, const char *name), void *context);

#include "vmx/vmcs.h"

#include "kernel/core/mem.h"

/* All names in one piece, found by offsets of 16 bits: a pointer for each would be twice as much as
 * all else here. */
static const struct {
#define VMCS_FIELD(name, encoding, width, type) char name[sizeof(#name)];
#include "vmx/vmcs_fields.def"
#undef VMCS_FIELD
} names = {
#define VMCS_FIELD(name, encoding, width, type) #name,
#include "vmx/vmcs_fields.def"
#undef VMCS_FIELD
};

static const struct {
    uint16_t encoding;
    uint16_t name; /* its offset in names */
} fields[] = {
#define VMCS_FIELD(name, encoding, width, type) {encoding, offsetof(__typeof__(names), name)},
#include "vmx/vmcs_fields.def"
#undef VMCS_FIELD
};

static const char *name_at(size_t i)
{
    return (const char *)&names + fields[i].name;
}

const char *vmcs_field_name(uint32_t encoding)
{
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        if (fields[i].encoding == encoding)
            return name_at(i);
    return "?";
}

void vmcs_visit(void (*visit)(void *context, uint32_t encoding, const char *name), void *context)
{
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        visit(context, fields[i].encoding, name_at(i));
}

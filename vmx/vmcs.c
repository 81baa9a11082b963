#include "vmx/vmcs.h"

#include "kernel/core/mem.h"

static const struct {
    uint32_t encoding;
    const char *name;
} fields[] = {
#define VMCS_FIELD(name, encoding, width, type) {encoding, #name},
#include "vmx/vmcs_fields.def"
#undef VMCS_FIELD
};

const char *vmcs_field_name(uint32_t encoding)
{
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        if (fields[i].encoding == encoding)
            return fields[i].name;
    return "?";
}

void vmcs_visit(void (*visit)(void *context, uint32_t encoding, const char *name), void *context)
{
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        visit(context, fields[i].encoding, fields[i].name);
}

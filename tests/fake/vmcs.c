/* Link-time doubles of the VMX instructions: one VMCS, which is always current. */
#include "tests/fake/vmcs.h"
#include "tests/fake/hw.h"

#include <string.h>

#include "vmx/internal.h"
#include "vmx/vmx_hw.h"

struct fake_vmcs fake_vmcs;

void fake_vmcs_clear(void)
{
    memset(&fake_vmcs, 0, sizeof(fake_vmcs));
}

/* A field that the list does not have is a mistake of the code under test. */
static uint64_t *slot(uint64_t field)
{
    ASSERT(field < ARRAY_SIZE(fake_vmcs.field) && vmcs_field_name((uint32_t)field)[0] != '?');
    return &fake_vmcs.field[field];
}

uint64_t vmcs_read(enum vmcs_field field)
{
    fake_vmcs.reads++;
    return *slot(field);
}

uint64_t vmcs_read_optional(enum vmcs_field field)
{
    return vmcs_read(field);
}

/* SDM: VMWRITE: a field has its width, and those of the type "VM-exit information" are read-only.
 */
static uint64_t width_mask(uint64_t field)
{
    static const uint64_t mask[4] = {UINT16_MAX, UINT64_MAX, UINT32_MAX, UINT64_MAX};
    return mask[field >> 13 & 3];
}

bool vmx_hw_vmwrite(uint64_t field, uint64_t value)
{
    fake_vmcs.writes++;
    ASSERT((field >> 10 & 3) != VMCS_TYPE_EXIT);
    *slot(field) = value & width_mask(field);
    return true;
}

void vmcs_write(enum vmcs_field field, uint64_t value)
{
    ASSERT(vmx_hw_vmwrite(field, value));
}

bool vmx_hw_invept(uint64_t type, uint64_t eptp)
{
    (void)type;
    (void)eptp;
    fake_vmcs.invepts++;
    fake_hw.tsc++; /* it takes its time */
    return true;
}

bool vmx_hw_invvpid(uint64_t type, uint64_t vpid)
{
    (void)type;
    (void)vpid;
    fake_vmcs.invvpids++;
    return true;
}

bool vmx_hw_vmclear(hpa_t vmcs)
{
    (void)vmcs;
    return true;
}

bool vmx_hw_vmptrld(hpa_t vmcs)
{
    (void)vmcs;
    return true;
}

/* The way into a guest and out of it. */
int vmx_guest_loop(struct vcpu *vcpu, bool launched)
{
    (void)launched;
    if (fake_vmcs.guest != NULL)
        return fake_vmcs.guest(vcpu);
    if (fake_vmcs.fails_entries)
        return 1;
    panic("this host test has no guest");
}

void vmx_exit_stub(void)
{
}

void vmx_exit_accounted_stub(void)
{
}

void vmx_exit_debug_stub(void)
{
}

int vmx_guest_once(struct vcpu *vcpu, bool launched)
{
    (void)launched;
    return fake_vmcs.once == NULL ? 1 : fake_vmcs.once(vcpu);
}

void vmx_once_stub(void)
{
}

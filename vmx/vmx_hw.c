/* The VMX instructions; the only inline assembly of vmx/. */
#include "vmx/vmx_hw.h"

#include "vmx/internal.h"

/* Neither VMfailInvalid (CF) nor VMfailValid (ZF). */
#define VMX_WITH_ADDRESS(name, instruction)                                                        \
    bool name(hpa_t address)                                                                       \
    {                                                                                              \
        bool ok;                                                                                   \
        __asm__ volatile(instruction " %1" : "=@cca"(ok) : "m"(address.v) : "memory");             \
        return ok;                                                                                 \
    }

VMX_WITH_ADDRESS(vmx_hw_vmxon, "vmxon")
VMX_WITH_ADDRESS(vmx_hw_vmclear, "vmclear")
VMX_WITH_ADDRESS(vmx_hw_vmptrld, "vmptrld")

bool vmx_hw_vmwrite(uint64_t field, uint64_t value)
{
    bool ok;
    __asm__ volatile("vmwrite %2, %1" : "=@cca"(ok) : "r"(field), "rm"(value));
    return ok;
}

/* SDM: INVEPT Descriptor; INVVPID Descriptor, whose linear address the context types ignore. */
struct invalidate_descriptor {
    uint64_t context;
    uint64_t linear;
};

bool vmx_hw_invept(uint64_t type, uint64_t eptp)
{
    struct invalidate_descriptor descriptor = {eptp, 0};
    bool ok;
    __asm__ volatile("invept %1, %2" : "=@cca"(ok) : "m"(descriptor), "r"(type) : "memory");
    return ok;
}

bool vmx_hw_invvpid(uint64_t type, uint64_t vpid)
{
    struct invalidate_descriptor descriptor = {vpid, 0};
    bool ok;
    __asm__ volatile("invvpid %1, %2" : "=@cca"(ok) : "m"(descriptor), "r"(type) : "memory");
    return ok;
}

uint64_t vmcs_read(enum vmcs_field field)
{
    uint64_t value;
    __asm__ volatile("vmread %1, %0" : "=r"(value) : "r"((uint64_t)field) : "cc");
    return value;
}

uint64_t vmcs_read_optional(enum vmcs_field field)
{
    uint64_t value = 0;
    __asm__ volatile("vmread %1, %0" : "+r"(value) : "r"((uint64_t)field) : "cc");
    return value;
}

void vmcs_write(enum vmcs_field field, uint64_t value)
{
    __asm__ goto("vmwrite %1, %0; jna %l2" ::"r"((uint64_t)field), "r"(value) : "cc" : failed);
    return;
failed:
    vmcs_write_failed(field, value);
}

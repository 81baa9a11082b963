/*
 * The VMX instructions, as prototypes; bodies in vmx_hw.c. Each returns
 * whether it succeeded (neither VMfailInvalid nor VMfailValid). SDM: VMX Instruction Reference.
 */
#pragma once

#include "kernel/core/types.h"

bool vmx_hw_vmxon(hpa_t vmxon_region);
bool vmx_hw_vmclear(hpa_t vmcs);
bool vmx_hw_vmptrld(hpa_t vmcs);
bool vmx_hw_vmwrite(uint64_t field, uint64_t value);

/* SDM: INVEPT, INVVPID types. */
#define INVEPT_SINGLE_CONTEXT 1
#define INVEPT_ALL_CONTEXT 2
#define INVVPID_SINGLE_CONTEXT 1
#define INVVPID_ALL_CONTEXT 2
bool vmx_hw_invept(uint64_t type, uint64_t eptp);
bool vmx_hw_invvpid(uint64_t type, uint64_t vpid);

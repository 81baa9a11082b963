/*
 * Why a VM entry would fail: the SDM's rules for controls, host and guest state, over a VMCS that
 * comes as a port. Pure. SDM: VM Entries - Checks on VMX Controls and Host-State Area; Checking and
 * Loading Guest State.
 */
#pragma once

#include "vmx/controls.h"
#include "vmx/vmcs.h"

struct entry_check_ports {
    uint64_t (*read)(void *context, enum vmcs_field field);
    /* One broken rule: the field it is about, its value, and the rule in words. */
    void (*broken)(void *context, enum vmcs_field field, uint64_t value, const char *rule);
    void *context;
};

/* Reports every broken rule; returns how many there are. maxphyaddr is the machine's. */
unsigned entry_check(const struct vmx_capabilities *capabilities, unsigned maxphyaddr,
                     const struct entry_check_ports *ports);

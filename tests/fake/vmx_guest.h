/*
 * One VM with one vCPU on the doubles of VMCS and machine: 128 KiB of RAM at 0, the real set-up of
 * its VMCS (vmx_vcpu_reset), a device that answers everywhere else, an interrupt controller whose
 * one line a test sets. A test puts the guest into a mode, writes the exit's fields, calls vmx_exit
 * and looks.
 */
#pragma once

#include "tests/fake/hw.h"
#include "tests/fake/vmcs.h"
#include "vmx/entry_check.h"
#include "vmx/internal.h"

#define FAKE_GUEST_MEMORY (128u << 10)
#define FAKE_GUEST_RIP 0x4000ull
#define FAKE_GUEST_RSP 0x8000ull
#define FAKE_GUEST_TSC_HZ 1000000000ull

/* Each with the CPLs that it has. */
enum fake_mode {
    FAKE_REAL,
    FAKE_VIRTUAL_8086,
    FAKE_PROTECTED_16,
    FAKE_PROTECTED_16_USER,
    FAKE_PROTECTED_32,
    FAKE_PROTECTED_32_USER,
    FAKE_PAGING_32,
    FAKE_PAGING_32_USER,
    FAKE_PAE,
    FAKE_PAE_USER,
    FAKE_COMPATIBILITY,
    FAKE_COMPATIBILITY_USER,
    FAKE_LONG,
    FAKE_LONG_USER,
    FAKE_MODES
};

struct fake_guest {
    struct vm vm;
    struct vcpu vcpu;
    struct vmx_vm vmx_vm;
    struct vmx_vcpu vmx;
    struct vmx_cpu cpu;
    bool has_interrupt; /* what the interrupt controller says */
    uint8_t vector;     /* that it gives then */
    unsigned acknowledges;
    uint64_t cr8;
    uint64_t read_value; /* what the device answers to every read */
    unsigned bus_reads, bus_writes;
    uint64_t last_address, last_value;
    unsigned last_size;
    unsigned kicks;
    uint8_t xsave_area[4096] ALIGNED(64);
    uint8_t memory[FAKE_GUEST_MEMORY] ALIGNED(4096);
};

extern struct fake_guest fake_guest;

/* Everything as after a reset, but in this mode: RIP FAKE_GUEST_RIP, RSP FAKE_GUEST_RSP, segments
 * flat or, where the mode is of 16 bits, of 64 KiB at base 0; general registers and memory filled
 * with a pattern. Paging maps the RAM one to one where the mode has paging. */
void fake_guest_start(enum fake_mode mode);

/* The frames of EPT: the VM's root, and those of a step. */
#define FAKE_FRAMES (1 + VMX_STEP_FRAMES)
#define FAKE_FRAMES_BASE 0x100000u
void *fake_guest_frame(void *context, hpa_t frame);

const char *fake_mode_name(enum fake_mode mode);
unsigned fake_mode_cpl(enum fake_mode mode);
bool fake_mode_is_64bit(enum fake_mode mode);

/* The SDM's rules for a VM entry that the VMCS breaks now; the first is in *rule. */
unsigned fake_guest_broken_rules(enum vmcs_field *field, const char **rule);
/* Calls `broken` for each of them; returns how many there are. */
unsigned fake_guest_check_entry(void (*broken)(void *context, const struct broken_rule *rule),
                                void *context);

/* What the files of vmx/ share, and nobody else. */
#pragma once

#include "kernel/core/hw.h"
#include "kernel/core/panic.h"
#include "kernel/vm/deliver.h"
#include "kernel/vm/vm.h"
#include "vmx/vmcs.h"
#include "vmx/vmx.h"

/* How an exit goes on. Only vmx_exit moves RIP. */
enum verdict {
    ADVANCE,    /* the instruction was emulated: past it, with the shadow cleared and TF honoured */
    ADVANCE_TO, /* the same, but RIP becomes exit->next_rip, not what the exit's length says */
    RETRY,      /* enter again where the guest stands */
    INJECT,     /* raise exit->exception */
    STOP_VM,    /* the guest is over; a reason was logged */
};

/* One snapshot of an exit: only what the row of exit_reasons.def asks for is valid. */
struct vmx_exit {
    uint64_t rip;
    uint64_t next_rip; /* for ADVANCE_TO */
    uint64_t qualification;
    uint64_t guest_physical;
    uint32_t reason;            /* the whole field; basic reason in bits 15:0 */
    uint32_t interruption;      /* VM-exit interruption information */
    struct exception exception; /* for INJECT */
};

#define READ_QUALIFICATION 1
#define READ_GUEST_PHYSICAL 2
#define READ_INTERRUPTION 4
#define READ_VECTORING 8 /* the exit can have interrupted an event's delivery */

/* SDM: Interruptibility State, Activity State, event-information format. */
#define BLOCKING_BY_STI BIT(0)
#define BLOCKING_BY_MOV_SS BIT(1)
#define BLOCKING_BY_SHADOW (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS)
#define BLOCKING_BY_NMI BIT(3)
#define ACTIVITY_ACTIVE 0
#define ACTIVITY_HLT 1
#define EVENT_INFORMATION_VALID BIT(31)
#define EVENT_INFORMATION_ERROR_CODE BIT(11)
#define EVENT_INFORMATION_NMI_UNBLOCKING BIT(12)
#define PENDING_DEBUG_ENABLED BIT(12) /* bits 3:0 have a breakpoint that DR7 enables */
#define PENDING_DEBUG_BS BIT(14)
#define DR7_ENABLES MASK(7, 0)
#define DR7_GD BIT(13)
#define DR7_FIXED_0 (BIT(11) | BIT(12) | BIT(14) | BIT(15))
#define DR7_FIXED_1 BIT(10)

/* SDM: IA32_DEBUGCTL MSR. */
#define DEBUGCTL_LBR BIT(0)
#define DEBUGCTL_BTF BIT(1)

typedef enum verdict exit_handler(struct vcpu *vcpu, struct vmx_exit *exit);

#define EXIT_REASON(number, name, handler, reads) exit_handler handler;
#include "vmx/exit_reasons.def"
#undef EXIT_REASON

enum exit_reason {
#define EXIT_REASON(number, name, handler, reads) EXIT_REASON_##name = (number),
#include "vmx/exit_reasons.def"
#undef EXIT_REASON
};

static inline struct vmx_vcpu *vmx_of(const struct vcpu *vcpu)
{
    return vcpu->backend;
}

/* Makes exit->exception a fault without an error code, or with one; returns INJECT. */
enum verdict exit_raise(struct vmx_exit *exit, enum vector vector);
enum verdict exit_raise_code(struct vmx_exit *exit, enum vector vector, uint32_t error_code);

/* As XSETBV at CPL 0; false: #GP. */
bool COLD exit_write_xcr0(struct vcpu *vcpu, uint64_t value);

/* state.c: the guest's registers in the VMCS. */
uint64_t state_read_gpr(const struct vcpu *vcpu, unsigned number);
void state_write_gpr(struct vcpu *vcpu, unsigned number, uint64_t value);
void state_read_segment(enum segment_register number, struct segment *segment);
void state_write_segment(enum segment_register number, const struct segment *segment);
bool state_is_64bit(void); /* CS.L in IA-32e mode */
unsigned state_cpl(void);
/* RFLAGS.TF is set and an instruction is over: a single-step trap before the next one, unless the
 * guest steps by branches. SDM: Pending Debug Exceptions. */
COLD void state_add_single_step(void);
/* Breakpoints on data or ports that an instruction, or an event's delivery, has met: traps before
 * the next instruction. hits is as in DR6's B0 to B3. */
COLD void state_add_breakpoints(unsigned hits);
/* The instruction in the shadow of STI or MOV SS is over. */
COLD void state_end_shadow(void);
/* DR7 and the primary controls, whose every change passes here. */
void state_write_dr7(struct vcpu *vcpu, uint64_t value);

static inline void state_see_shadow(struct vmx_vcpu *vmx)
{
    const uint32_t windows = CONTROL_INTERRUPT_WINDOW_EXITING | CONTROL_NMI_WINDOW_EXITING;
    vmx->shadow_matters = vmx->breakpoints || vmx->primary & windows;
}

/* Here, since each event that waits comes by twice. */
static inline __attribute__((always_inline)) void state_set_primary(struct vmx_vcpu *vmx,
                                                                    uint32_t control, bool on)
{
    uint32_t value = on ? vmx->primary | control : vmx->primary & ~control;
    if (value == vmx->primary)
        return;
    vmx->primary = value;
    vmcs_write(VMCS_PROCESSOR_BASED_CONTROLS, value);
    state_see_shadow(vmx);
}

/* Switching what a VM exit leaves alone: FPU and extended state, XCR0, DR0-3, DR6, CR2, MSRs. */
void state_load(struct vcpu *vcpu);
void state_save(struct vcpu *vcpu);

/* inject.c: before and after an entry. inject_collect takes an event whose delivery the exit
 * interrupted back into vcpu->events; inject_prepare carries events into the entry fields. */
void inject_collect(struct vcpu *vcpu, const struct vmx_exit *exit);
void inject_prepare(struct vcpu *vcpu);
/* vcpu->events.next, which is valid, into the entry fields. */
void inject_next(struct vcpu *vcpu);

/* run.c: timers that are due at a time, and the preemption timer; what was requested (false: leave
 * the guest). */
void run_do_what_is_due(struct vcpu *vcpu, uint64_t time);
void run_arm_preemption_timer(struct vcpu *vcpu, uint64_t time);
bool run_serve_requests(struct vcpu *vcpu);

/* run.c: what has passed since the guest was left last is neither its own nor an exit's. */
COLD void run_skip_time(struct vcpu *vcpu);

/* Timers, or the preemption timer, are to be looked at. */
static inline __attribute__((always_inline)) bool run_is_time(const struct vcpu *vcpu, uint64_t now)
{
    return __builtin_expect(
        now >= vmx_of(vcpu)->look_at || vcpu->timers.next != vmx_of(vcpu)->armed, 0);
}

/* Nothing was requested, and nothing is left over. A halted vCPU is put back into HLT at every
 * entry: some processors save the activity state of an exit that an external interrupt causes as
 * active. */
static inline __attribute__((always_inline)) bool run_is_quiet(const struct vcpu *vcpu)
{
    return __builtin_expect(__atomic_load_n(&vcpu->requests, __ATOMIC_RELAXED) == 0 &&
                                !vcpu->events.next.valid && vcpu->activity == VCPU_RUNNING,
                            1);
}

/* Whether to enter again; everything due at now (TSC) is done. In the header since every exit ends
 * here. */
static inline __attribute__((always_inline)) bool run_prepare_entry(struct vcpu *vcpu, uint64_t now)
{
    if (run_is_time(vcpu, now)) {
        uint64_t time = vm_time(vcpu->vm, now);
        if (time >= vmx_of(vcpu)->break_at || time >= vcpu->timers.next)
            run_do_what_is_due(vcpu, time);
        else
            run_arm_preemption_timer(vcpu, time);
    }
    return run_is_quiet(vcpu) ? true : run_serve_requests(vcpu);
}

/* run.c: the same for the debugger, to which the way that every exit takes is not laid open. */
COLD bool run_prepare_later(struct vcpu *vcpu);

/* exit_ept.c: carries out the instruction at RIP on bus and memory: MMIO and string I/O. */
enum verdict exit_emulate(struct vcpu *vcpu, struct vmx_exit *exit);
/* For what else is carried out on the guest's memory: the way to it, under its paging as it is now;
 * and what of the vCPU a delivery reads. */
COLD struct guest_access *exit_access(struct vcpu *vcpu);
COLD void exit_read_delivery(const struct vmx_exit *exit, struct deliver_state *state);

/* step.c: lets the processor execute the instruction at RIP, which met an address without RAM (an
 * EPT violation) and which the emulator has just fetched and does not know. False: that cannot be,
 * and nothing changed; else *verdict is how the exit goes on. */
COLD bool step_instruction(struct vcpu *vcpu, struct vmx_exit *exit, enum verdict *verdict);

/* exit.c: handles another exit, which the VMCS tells of and which has interrupted no delivery, as
 * part of the one under way. */
COLD enum verdict exit_again(struct vcpu *vcpu, struct vmx_exit *exit);

/* exit_cr.c: EFER, CR0 and CR4 depend on each other. #GP: false. */
uint64_t cr_read_cr0(void); /* as the guest sees it */
uint64_t cr_read_cr4(void);
/* What a task switch loads: as MOV to CR3, without its checks; false: #GP, for PDPTEs. */
COLD bool cr_switch_cr3(struct vcpu *vcpu, uint64_t cr3);
bool cr_write_efer(struct vcpu *vcpu, uint64_t value);
/* CR0, CR3, CR4 and CR8, as MOV to them; #GP: false. */
bool cr_write(struct vcpu *vcpu, unsigned number, uint64_t value);
void cr_set_initial(struct vcpu *vcpu, uint64_t cr0, uint64_t cr4, uint64_t efer);

/* exit.c: all that an exit takes but the entry after it; for those that were not vmx_exit's. */
COLD void exit_handle(struct vcpu *vcpu);

/* debug_step.c, debug_access.c: enters the guest until its next exit, with these exceptions exiting
 * and the preemption timer at that (false: the entry failed); the bytes at CS:RIP, and how many
 * could be read; the instruction there by itself, or what waits to be delivered; the same as a part
 * of a step (false: a point was met before); and the stop that it comes to. */
bool debug_enter(struct vcpu *vcpu, uint32_t exceptions, uint32_t timer);
unsigned debug_fetch(struct vcpu *vcpu, uint64_t rip, uint8_t bytes[INSTRUCTION_BYTES_MAX]);
void debug_execute(struct vcpu *vcpu);
bool debug_step_over_point(struct vcpu *vcpu, uint64_t rip);
void debug_stop(struct vcpu *vcpu, const struct debug_stop *stop);

/* entry_check.c: logs each rule of the SDM that the current VMCS breaks; returns how many. */
unsigned entry_check_report(struct vcpu *vcpu);

/* entry.asm */
int vmx_guest_loop(struct vcpu *vcpu, bool launched);
void vmx_exit_stub(void);
void vmx_exit_accounted_stub(void);
void vmx_exit_debug_stub(void);
int vmx_guest_once(struct vcpu *vcpu, bool launched);
void vmx_once_stub(void);
bool vmx_exit(struct vcpu *vcpu);
bool vmx_exit_accounted(struct vcpu *vcpu);
NORETURN COLD void vmcs_write_failed(uint64_t field, uint64_t value);

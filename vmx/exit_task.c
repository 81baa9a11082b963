/* Hardware task switches, which no guest can make by itself. SDM: Exit Qualification for Task
 * Switches; Treatment of Task Switches. */
#include "kernel/core/hw.h"
#include "kernel/vm/task_switch.h"
#include "vmx/internal.h"

#define DR6_BT BIT(15)
#define DR7_LOCAL (BIT(0) | BIT(2) | BIT(4) | BIT(6) | BIT(8)) /* L0 to L3, LE */

static bool load_cr3(void *context, uint64_t cr3)
{
    struct vcpu *vcpu = context;
    bool loaded = cr_switch_cr3(vcpu, cr3);
    (void)exit_access(vcpu);
    return loaded;
}

/* Whether the event is an instruction's, which the return address is behind and whose faults are
 * not external to the program. */
static bool is_software(const struct event *event)
{
    return event->type == EVENT_SOFTWARE_INTERRUPT || event->type == EVENT_SOFTWARE_EXCEPTION;
}

static struct task_switch_request read_request(const struct vmx_exit *exit,
                                               const struct event *event)
{
    struct task_switch_request request = {
        .source = (enum task_switch_source)bits_get(exit->qualification, 31, 30),
        .selector = (uint16_t)exit->qualification,
    };
    if (request.source == TASK_SWITCH_GATE && event->valid) {
        request.external = !is_software(event);
        request.has_error_code = event->has_error_code;
        request.error_code = event->error_code;
    }
    return request;
}

static void read_task(struct vcpu *vcpu, const struct vmx_exit *exit,
                      const struct task_switch_request *request, struct task_state *task)
{
    const struct event *event = &vcpu->events.next;
    bool gate = request->source == TASK_SWITCH_GATE;
    exit_read_delivery(exit, &task->cpu);
    if (!gate || (event->valid && event->type >= EVENT_SOFTWARE_INTERRUPT))
        task->cpu.rip = (uint32_t)(task->cpu.rip + vmcs_read(VMCS_VM_EXIT_INSTRUCTION_LENGTH));
    if (gate && event->valid && event_sets_rf(event))
        task->cpu.rflags |= RFLAGS_RF;
    vcpu->gpr[GPR_RSP] = task->cpu.rsp;
    task->gpr = vcpu->gpr;
    task->cr3 = vmcs_read(VMCS_GUEST_CR3);
}

/* The vCPU is in the new task. The shadow is over, and with it what MOV SS held back. */
static void write_task(struct vcpu *vcpu, const struct task_switch_request *request,
                       const struct task_state *task)
{
    uint64_t blocking = vmcs_read(VMCS_GUEST_INTERRUPTIBILITY_STATE) & ~BLOCKING_BY_SHADOW;
    if (request->source == TASK_SWITCH_IRET)
        blocking &= ~BLOCKING_BY_NMI;
    if (request->source == TASK_SWITCH_GATE)
        vcpu->events.next.valid = false;
    vmcs_write(VMCS_GUEST_RIP, task->cpu.rip);
    vmcs_write(VMCS_GUEST_RSP, vcpu->gpr[GPR_RSP]);
    vmcs_write(VMCS_GUEST_RFLAGS, task->cpu.rflags);
    for (unsigned i = 0; i < SEG_COUNT; i++)
        state_write_segment((enum segment_register)i, &task->cpu.segment[i]);
    vmcs_write(VMCS_GUEST_CR0, vmcs_read(VMCS_GUEST_CR0) | CR0_TS);
    vmcs_write(VMCS_CR0_READ_SHADOW, vmcs_read(VMCS_CR0_READ_SHADOW) | CR0_TS);
    state_write_dr7(vcpu, vmcs_read(VMCS_GUEST_DR7) & ~DR7_LOCAL);
    vmcs_write(VMCS_GUEST_INTERRUPTIBILITY_STATE, blocking);
    vmcs_write(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS, 0);
}

static enum verdict fault(const struct vmx_exit *exit)
{
    if (exit->exception.vector == VECTOR_PF)
        hw_write_cr2(exit->exception.cr2);
    return INJECT;
}

COLD enum verdict exit_task_switch(struct vcpu *vcpu, struct vmx_exit *exit)
{
    struct task_switch_ports ports = {load_cr3, vcpu};
    struct task_switch_request request = read_request(exit, &vcpu->events.next);
    struct task_state task;
    struct guest_access *access = exit_access(vcpu);
    if (access->paging.efer & EFER_LMA || !(cr_read_cr0() & CR0_PE))
        return exit_refuse(vcpu, exit); /* where there are none */
    read_task(vcpu, exit, &request, &task);
    spinlock_acquire(&vcpu->vm->lock);
    enum task_switch_result result = task_switch(access, &ports, &task, &request, &exit->exception);
    spinlock_release(&vcpu->vm->lock);
    switch (result) {
    case TASK_SWITCH_DONE:
        write_task(vcpu, &request, &task);
        return RETRY;
    case TASK_SWITCH_TRAPPED:
        write_task(vcpu, &request, &task);
        hw_write_dr(6, hw_read_dr(6) | DR6_BT);
        return exit_raise(exit, VECTOR_DB);
    case TASK_SWITCH_NEW_FAULT:
        write_task(vcpu, &request, &task);
        return fault(exit);
    case TASK_SWITCH_FAULT:
        return fault(exit);
    case TASK_SWITCH_AGAIN:
        break;
    }
    return RETRY;
}

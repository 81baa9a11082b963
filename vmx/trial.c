#include "vmx/trial.h"
#include "kernel/core/hw.h"
#include "kernel/core/mem.h"
#include "kernel/core/paging.h"
#include "kernel/core/smp.h"
#include "vmx/internal.h"

#define OWNER 1
#define FLAT_LIMIT 0xffffffffu

/* The pending interrupt is there long before that. */
#define LENGTH(hz) ((hz) / 20000)

struct trial {
    struct vm vm;
    struct vcpu vcpu;
    struct vmx_vm vmx_vm;
    struct vmx_vcpu vmx_vcpu;
    struct timer end;
};

/* JMP to itself. */
static const uint8_t code[] = {0xeb, 0xfe};

/* Nobody else knows the vCPU. */
static void kick(struct vcpu *vcpu)
{
    (void)vcpu;
}

static void stop(void *owner, uint64_t now)
{
    (void)now;
    vm_stop(owner, VM_KILLED, 0);
}

static void init_vm(struct trial *trial, uint64_t tsc_hz)
{
    struct vm *vm = &trial->vm;
    vm->name = "trial";
    vm->id = OWNER;
    vm->clock = (struct clock){vm_clock_read, vm, tsc_hz};
    vm->log = (struct log_budget){.owner = vm->name, .left = 10};
    vm->kick = kick;
    vm->vcpu[0] = &trial->vcpu;
    vm->vcpu_count = 1;
    trial->vcpu.vm = vm;
    timer_queue_init(&trial->vcpu.timers);
    vcpu_set_history(&trial->vcpu, trial->vcpu.last_exits, VCPU_HISTORY);
    timer_init(&trial->end, &trial->vcpu.timers, stop, vm);
}

static enum status build(struct trial *trial, const struct vmx_cpu *cpu, struct pages *pages)
{
    hpa_t frame;
    enum status status = pages_alloc(pages, 1, PAGE_SIZE, PAGE_GUEST, OWNER, &frame);
    if (status != STATUS_OK)
        return status;
    memcpy(phys_to_virt(frame), code, sizeof(code));
    status = guest_mem_add(&trial->vm.mem, GPA(0), PAGE_SIZE, phys_to_virt(frame));
    if (status == STATUS_OK)
        status = vmx_vm_create(&trial->vmx_vm, &trial->vm, pages, cpu->capabilities.ept_vpid);
    if (status == STATUS_OK)
        status = vmx_vcpu_create(&trial->vmx_vcpu, &trial->vcpu, &trial->vmx_vm, cpu);
    return status;
}

/* 32-bit protected mode, flat, interrupts masked. */
static void enter(struct trial *trial, uint64_t length)
{
    struct guest_entry entry = {.rflags = RFLAGS_FIXED, .cr0 = CR0_PE | CR0_ET};
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        entry.segment[i] = (struct segment){
            0, FLAT_LIMIT, (i == SEG_CS ? 0x9bu : 0x93u) | (uint32_t)(SEGMENT_DB | SEGMENT_G), 8};
    entry.segment[SEG_LDTR].access = (uint32_t)SEGMENT_UNUSABLE;
    entry.segment[SEG_TR] = (struct segment){0, 0x67, 0x8b, 0};
    vmx_vcpu_reset(&trial->vcpu, &entry);
    trial->vcpu.requests = 0;
    trial->vmx_vcpu.needs_breaks = false; /* nothing but the guest shall let the interrupt in */
    trial->vmx_vcpu.break_at = TIMER_NEVER / 2;
    trial->vm.is_ending = false;
    timer_arm(&trial->end, hw_rdtsc() + length);
    smp_wake(cpu_this()->index);
    vmx_vcpu_run(&trial->vcpu);
}

/* On a slow host the time may be up before the guest was entered at all: that says nothing. */
static void run(struct trial *trial)
{
    uint64_t hz = trial->vm.clock.hz;
    for (uint64_t length = LENGTH(hz); vcpu_exits(&trial->vcpu) == 0 && length < hz; length *= 8)
        enter(trial, length);
    vmx_vcpu_release(&trial->vcpu);
}

bool trial_of_interrupts(const struct vmx_cpu *cpu, struct pages *pages, uint64_t tsc_hz)
{
    hpa_t frame;
    uint64_t count = align_up(sizeof(struct trial), PAGE_SIZE) / PAGE_SIZE;
    bool came = false;
    if (pages_alloc(pages, count, PAGE_SIZE, PAGE_VM, OWNER, &frame) != STATUS_OK)
        return false;
    struct trial *trial = memset(phys_to_virt(frame), 0, sizeof(*trial));
    init_vm(trial, tsc_hz);
    if (build(trial, cpu, pages) == STATUS_OK) {
        run(trial);
        came = trial->vcpu.exit_count[EXIT_REASON_EXTERNAL_INTERRUPT] != 0;
    }
    memset(trial, 0, sizeof(*trial)); /* with what it knew of the start's functions */
    pages_free_owner(pages, OWNER);
    return came;
}

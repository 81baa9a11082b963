/*
 * The other processors start one after the other: the trampoline's parameters are for one at a
 * time. The ports are the machine's, hence a global.
 */
#include "kernel/core/smp.h"

#include "kernel/core/hw.h"
#include "kernel/core/irq.h"
#include "kernel/core/log.h"
#include "kernel/core/mem.h"
#include "kernel/core/paging.h"
#include "kernel/core/panic.h"
#include "kernel/core/time.h"
#include "kernel/core/x86.h"

/* SDM: MP Initialization Protocol Algorithm for MP Systems. */
#define INIT_WAIT_US 10000
#define STARTUP_WAIT_US 200
#define ONLINE_WAIT_US 200000

/* At the end of the trampoline; see ap_start.asm. */
struct trampoline_parameters {
    uint64_t cr4;
    uint64_t cr3;
    uint64_t efer;
    uint64_t cr0;
    uint64_t rsp;
    uint64_t entry;
    struct PACKED {
        uint32_t offset;
        uint16_t selector;
        uint16_t go; /* 1: for whoever comes first, who makes it 0 */
    } far_pointer;
    struct PACKED {
        uint16_t limit;
        uint32_t base;
        uint16_t unused;
    } gdtr;
    uint64_t gdt[3];
    uint64_t argument;
};
STATIC_ASSERT(sizeof(struct trampoline_parameters) == 96, "as ap_start.asm has it");

extern const uint8_t ap_trampoline[], ap_trampoline_end[];
extern const uint8_t ap_trampoline_long_mode[], ap_trampoline_parameters[];

static struct smp_ports ports;

static void (*woken)(void *context);
static void *woken_context;

static void wake(void *argument)
{
    (void)argument;
    if (woken != NULL && cpu_takes_lines(cpu_this()))
        woken(woken_context);
}

INIT void smp_on_wake(void (*hook)(void *context), void *context)
{
    woken_context = context;
    woken = hook;
}

/* Where a new processor arrives, on its own stack, with the monitor's tables. */
static INIT void NORETURN secondary_main(void *argument)
{
    struct cpu *cpu = argument;
    cpu_enter(cpu);
    cpu->apic_id = ports.enable_local(ports.context);
    __atomic_store_n(&cpu->online, true, __ATOMIC_RELEASE);
    smp_idle();
}

static INIT struct trampoline_parameters *copy_trampoline(hpa_t page)
{
    uint8_t *copy = phys_to_virt(page);
    memcpy(copy, ap_trampoline, (size_t)(ap_trampoline_end - ap_trampoline));
    struct trampoline_parameters *parameters =
        (void *)(copy + (ap_trampoline_parameters - ap_trampoline));
    uint32_t base = (uint32_t)page.v;
    parameters->cr4 = CR4_PAE;
    parameters->cr3 = paging_root();
    parameters->efer = EFER_LME | EFER_NXE;
    parameters->cr0 = CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_PE;
    parameters->entry = (uint64_t)(uintptr_t)secondary_main;
    parameters->far_pointer.offset = base + (uint32_t)(ap_trampoline_long_mode - ap_trampoline);
    parameters->far_pointer.selector = 8;
    parameters->gdtr.limit = sizeof(parameters->gdt) - 1;
    parameters->gdtr.base = base + (uint32_t)(ap_trampoline_parameters - ap_trampoline) +
                            offsetof(struct trampoline_parameters, gdt);
    return parameters;
}

static INIT bool wait_online(const struct cpu *cpu, uint64_t us)
{
    uint64_t start = time_now(), wait = time_from_ns(us * 1000);
    while (!__atomic_load_n(&cpu->online, __ATOMIC_ACQUIRE)) {
        if (time_now() - start >= wait)
            return false;
        hw_pause();
    }
    return true;
}

static INIT enum status prepare(uint32_t apic_id, struct cpu **cpu)
{
    uint64_t stack[CPU_STACKS];
    void *tables;
    if (cpu_count() == CPU_MAX)
        return ERR_NO_SPACE;
    enum status status = paging_map_cpu(cpu_count(), stack, &tables);
    if (status == STATUS_OK)
        *cpu = cpu_add(apic_id, stack, PAGING_STACK_SIZE, tables);
    return status;
}

static INIT enum status start_one(struct trampoline_parameters *parameters, hpa_t page,
                                  uint32_t apic_id)
{
    struct cpu *cpu;
    enum status status = prepare(apic_id, &cpu);
    if (status != STATUS_OK)
        return status;
    parameters->rsp = cpu->stack[CPU_STACK_KERNEL];
    parameters->argument = (uint64_t)(uintptr_t)cpu;
    __atomic_store_n(&parameters->far_pointer.go, 1, __ATOMIC_RELEASE);
    uint8_t number = (uint8_t)(page.v >> PAGE_SHIFT);
    ports.send_startup(ports.context, apic_id, number);
    if (wait_online(cpu, STARTUP_WAIT_US))
        return STATUS_OK;
    if (__atomic_load_n(&parameters->far_pointer.go, __ATOMIC_ACQUIRE) != 0)
        ports.send_startup(ports.context, apic_id, number);
    if (wait_online(cpu, ONLINE_WAIT_US))
        return STATUS_OK;
    /* One that took the parameters is on its way, however slowly: wait for it once more. */
    if (__atomic_exchange_n(&parameters->far_pointer.go, 0, __ATOMIC_ACQ_REL) == 0 &&
        wait_online(cpu, 10 * ONLINE_WAIT_US))
        return STATUS_OK;
    return ERR_TIMEOUT;
}

static INIT void start_all(const struct boot_info *info, uint32_t self, hpa_t page)
{
    struct trampoline_parameters *parameters = copy_trampoline(page);
    for (uint32_t i = 0; i < info->cpu_count; i++)
        if (info->cpu_apic_id[i] != self)
            ports.send_init(ports.context, info->cpu_apic_id[i]);
    time_busy_wait_us(INIT_WAIT_US);
    for (uint32_t i = 0; i < info->cpu_count; i++) {
        uint32_t apic_id = info->cpu_apic_id[i];
        if (apic_id == self)
            continue;
        enum status status = start_one(parameters, page, apic_id);
        if (status != STATUS_OK)
            log_warn("processor with APIC id 0x%x did not start: %s; going on without it", apic_id,
                     status_text(status));
    }
}

INIT void smp_start(const struct boot_info *info, const struct smp_ports *new_ports)
{
    hpa_t page = HPA(info->trampoline_base);
    ports = *new_ports;
    enum status status = irq_register(IRQ_VECTOR_WAKE, wake, NULL);
    ASSERT(status == STATUS_OK);
    if (info->cpu_count > 1) {
        if (page.v == 0 || page.v >= MIB(1) || page.v % PAGE_SIZE != 0) {
            log_warn("no page below 1 MiB for the start of other processors; going on with one");
        } else if ((status = paging_map_trampoline(page)) != STATUS_OK) {
            log_warn("cannot map the trampoline: %s; going on with one processor",
                     status_text(status));
        } else {
            start_all(info, cpu_this()->apic_id, page);
            paging_unmap_trampoline(page);
        }
    }
    /* Code of the start: it goes away. */
    ports.send_init = NULL;
    ports.send_startup = NULL;
    ports.enable_local = NULL;
}

enum status smp_run(uint32_t index, void (*run)(void *argument), void *argument)
{
    if (index >= cpu_count() || !cpu_by_index(index)->online)
        return ERR_NOT_FOUND;
    struct cpu *cpu = cpu_by_index(index);
    bool expected = false;
    if (!__atomic_compare_exchange_n(&cpu->busy, &expected, true, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_RELAXED))
        return ERR_BUSY;
    cpu->work = (struct cpu_work){run, argument};
    __atomic_store_n(&cpu->work_ready, true, __ATOMIC_RELEASE);
    smp_wake(index);
    return STATUS_OK;
}

bool smp_is_busy(uint32_t index)
{
    return __atomic_load_n(&cpu_by_index(index)->busy, __ATOMIC_ACQUIRE);
}

void smp_wake(uint32_t index)
{
    ports.send_fixed(ports.context, cpu_by_index(index)->apic_id, IRQ_VECTOR_WAKE);
}

void smp_kick(uint32_t index)
{
    ports.send_nmi(ports.context, cpu_by_index(index)->apic_id);
}

void smp_kick_others(void)
{
    for (uint32_t i = 0; i < cpu_count() && ports.send_nmi != NULL; i++)
        if (i != cpu_this()->index && cpu_by_index(i)->online)
            smp_kick(i);
}

void smp_stop_others(void *context)
{
    (void)context;
    smp_kick_others();
}

void smp_idle(void)
{
    struct cpu *cpu = cpu_this();
    hw_cli();
    for (;;) {
        if (!__atomic_load_n(&cpu->work_ready, __ATOMIC_ACQUIRE)) {
            hw_sti_hlt();
            continue;
        }
        struct cpu_work work = cpu->work;
        __atomic_store_n(&cpu->work_ready, false, __ATOMIC_RELAXED);
        work.run(work.argument);
        hw_cli();
        __atomic_store_n(&cpu->busy, false, __ATOMIC_RELEASE);
    }
}

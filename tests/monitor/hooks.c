/*
 * What a build of the monitor for tests does more (kernel/core/test_hooks.h): a guest asks for it
 * by VMCALL with RBX = TEST_MAGIC, a command in RCX and its argument in RDX. Results are lines of
 * the log, `test: ok NAME` or `test: not ok NAME`; NMIs come from the PIT through the I/O APIC, at
 * times that have nothing to do with what they interrupt.
 */
#include "kernel/core/test_hooks.h"

#include "kernel/core/bits.h"
#include "kernel/core/fmt.h"
#include "kernel/core/hw.h"
#include "kernel/core/log.h"
#include "kernel/core/mem.h"
#include "kernel/core/paging.h"
#include "kernel/core/panic.h"
#include "kernel/core/time.h"
#include "kernel/core/x86.h"
#include "kernel/monitor.h"
#include "kernel/vm/vcpu.h"
#include "vmx/vmcs.h"

#define TEST_MAGIC 0x54534554
enum test_command {
    TEST_STORM_ON = 1,  /* NMIs every DX ticks of the PIT, for so many ms as in RDX from bit 16 */
    TEST_STORM_OFF,     /* RAX: how many came so far */
    TEST_HITS,          /* prints where they came, and forgets it */
    TEST_PROTECTIONS,   /* accesses that must fault */
    TEST_OVERFLOW,      /* of the kernel stack */
    TEST_MACHINE_CHECK, /* INT 18 */
    TEST_TAMPER,        /* with the IDT */
    TEST_BREAK_ENTRY,   /* the guest's state becomes one that no processor takes */
};

#define IOAPIC 0xfec00000ull
#define IOAPIC_SELECT 0
#define IOAPIC_WINDOW 4
#define PIT_INPUTS 2 /* of the I/O APIC: where PCs have the PIT */
#define RTE_NMI (4u << 8)
#define RTE_MASKED BIT(16)

#define TEXT_MAX 524288u

extern uint8_t text_start[], text_end[], rodata_start[], data_start[], image_end[];
extern uint8_t init_start[], init_text_end[], init_end[], early_stack[], early_stack_top[];
extern uint8_t probe_begin[], probe_end[], probe_faulted[];
int probe_read(const void *address);
int probe_write(void *address);
int probe_call(const void *address);

static volatile uint32_t *ioapic;
static uint16_t hits[TEXT_MAX]; /* by the interrupted RIP's offset in the text */
static volatile uint64_t nmis;
static uint64_t nmis_after_nmi; /* of them, before the entry that followed an exit by NMI */
static bool is_up;              /* the processor's own tables are loaded */
static uint64_t storm_end;      /* TSC */
static uint64_t random_state = 1;

static struct {
    const void *target; /* of probe_call */
    uint64_t error_code, cr2;
} fault;

/* ---- NMIs ---------------------------------------------------------------------------------------
 */

static void write_rte(uint32_t low)
{
    hw_mmio_write32(ioapic + IOAPIC_SELECT, 0x10 + 2 * PIT_INPUTS);
    hw_mmio_write32(ioapic + IOAPIC_WINDOW, RTE_MASKED);
    hw_mmio_write32(ioapic + IOAPIC_SELECT, 0x11 + 2 * PIT_INPUTS);
    hw_mmio_write32(ioapic + IOAPIC_WINDOW, cpu_this()->apic_id << 24);
    hw_mmio_write32(ioapic + IOAPIC_SELECT, 0x10 + 2 * PIT_INPUTS);
    hw_mmio_write32(ioapic + IOAPIC_WINDOW, low);
}

static void storm_on(uint16_t divisor)
{
    storm_end = UINT64_MAX;
    hw_outb(0x43, 0x34); /* channel 0, both bytes, rate generator */
    hw_outb(0x40, (uint8_t)divisor);
    hw_outb(0x40, (uint8_t)(divisor >> 8));
    write_rte(RTE_NMI);
}

static void storm_off(void)
{
    write_rte(RTE_MASKED);
}

static bool is_on_stack(enum cpu_stack stack, const void *address)
{
    const struct cpu *cpu = cpu_this();
    return cpu->stack[stack] - (uint64_t)(uintptr_t)address < cpu->stack_size;
}

/* The newest exit is noted first of all, so the older one may be meant, never a later one. */
static bool is_after_nmi_exit(const struct vcpu *vcpu)
{
    return vcpu != NULL && vcpu->history.newest->reason == 0;
}

void test_nmi(const struct cpu_frame *frame)
{
    uint64_t offset = frame->rip - (uint64_t)(uintptr_t)text_start;
    nmis++;
    ASSERT(!is_up || is_on_stack(CPU_STACK_NMI, frame));
    nmis_after_nmi += is_after_nmi_exit(cpu_this()->vcpu);
    if (hw_rdtsc() > storm_end)
        storm_off();
    if (offset < TEXT_MAX && hits[offset] != UINT16_MAX)
        hits[offset]++;
}

static void print_hits(const char *name)
{
    char line[200];
    int used = 0;
    log_info("test: hits of %s, %lu NMIs, %lu after an exit by NMI", name, nmis, nmis_after_nmi);
    nmis_after_nmi = 0;
    for (uint32_t i = 0; i < TEXT_MAX; i++) {
        if (hits[i] == 0)
            continue;
        used += fmt_format(line + used, sizeof(line) - (size_t)used, " %x:%u", i, hits[i]);
        hits[i] = 0;
        if (used > 170) {
            log_info("test: at%s", line);
            used = 0;
        }
    }
    if (used > 0)
        log_info("test: at%s", line);
    nmis = 0;
    log_info("test: end of hits");
}

static void wait_a_little(void)
{
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    for (unsigned i = (unsigned)(random_state >> 58); i > 0; i--)
        hw_pause();
}

/* The tables are loaded again and again; TR wants its descriptor available. */
static INIT void enter_under_nmis(void)
{
    struct cpu *cpu = cpu_this();
    uint64_t *gdt = (uint64_t *)(uintptr_t)cpu->host_gdtr_base;
    storm_on(30);
    for (unsigned i = 0; i < 40000; i++) {
        gdt[CPU_SELECTOR_TSS / 8] &= ~BIT(41);
        cpu_enter(cpu);
        wait_a_little();
    }
    storm_off();
    print_hits("cpu_enter");
}

/* From the first IDT on, through the change of page tables. */
INIT void test_early(void)
{
    ioapic = (volatile uint32_t *)(uintptr_t)IOAPIC; /* identity mapped as yet */
    storm_on(20);
    for (uint64_t start = nmis; nmis < start + 100;)
        wait_a_little();
}

/* A mapping that is writable, or executable where it must not be, is found by the walk. */
static INIT void check_planted_mapping(void)
{
    hpa_t page = virt_to_phys(data_start);
    enum status planted = paging_map_trampoline(page);
    enum status found = paging_check();
    paging_unmap_trampoline(page);
    enum status after = paging_check();
    log_info("test: %s planted-mapping-found",
             planted == STATUS_OK && found == ERR_INVALID && after == STATUS_OK ? "ok" : "not ok");
}

INIT void test_machine(void)
{
    ioapic = paging_map_device(HPA(IOAPIC), 32, MAP_UC | MAP_WRITE);
    ASSERT(ioapic != NULL && (uint64_t)(text_end - text_start) <= TEXT_MAX);
    log_info("test: %lu NMIs since the first IDT", nmis);
    nmis = 0;
    is_up = true;
    memset(hits, 0, sizeof(hits));
    check_planted_mapping();
    enter_under_nmis();
    storm_on(500); /* until the guest says otherwise */
}

/* ---- Accesses that must fault -------------------------------------------------------------------
 */

bool test_fault(struct cpu_frame *frame)
{
    bool in_probe = frame->rip >= (uint64_t)(uintptr_t)probe_begin &&
                    frame->rip < (uint64_t)(uintptr_t)probe_end;
    bool at_target = fault.target != NULL && frame->rip == (uint64_t)(uintptr_t)fault.target;
    if (frame->vector == VECTOR_DF || frame->vector == VECTOR_MC)
        log_info("test: %s own-stack",
                 is_on_stack(frame->vector == VECTOR_DF ? CPU_STACK_DF : CPU_STACK_MC, frame)
                     ? "ok"
                     : "not ok");
    if (frame->vector != VECTOR_PF || (!in_probe && !at_target))
        return false;
    fault.error_code = frame->error_code;
    fault.cr2 = hw_read_cr2();
    if (at_target)
        frame->rsp += 8;
    frame->rip = (uint64_t)(uintptr_t)probe_faulted;
    return true;
}

static void judge(const char *what, const void *address, int faulted, uint64_t error_code)
{
    bool passed =
        faulted && fault.error_code == error_code && fault.cr2 == (uint64_t)(uintptr_t)address;
    log_info("test: %s %s", passed ? "ok" : "not ok", what);
    if (!passed)
        log_info("test: %p: faulted %d, error code 0x%lx instead of 0x%lx, CR2 0x%lx", address,
                 faulted, fault.error_code, error_code, fault.cr2);
}

static void must_not_read(const char *what, const void *address)
{
    judge(what, address, probe_read(address), 0);
}

static void must_not_write(const char *what, void *address)
{
    judge(what, address, probe_write(address), PF_PRESENT | PF_WRITE);
}

static void call_must_fault(const char *what, const void *address, uint64_t error_code)
{
    fault.target = address;
    judge(what, address, probe_call(address), error_code);
    fault.target = NULL;
}

static void must_not_execute(const char *what, const void *address)
{
    call_must_fault(what, address, PF_PRESENT | PF_FETCH);
}

static void check_guards(void)
{
    for (uint32_t i = 0; i < cpu_count(); i++) {
        const struct cpu *cpu = cpu_by_index(i);
        for (unsigned stack = 0; stack < CPU_STACKS; stack++) {
            const uint8_t *top = (const uint8_t *)(uintptr_t)cpu->stack[stack];
            must_not_read("guard-above", top);
            must_not_read("guard-below", top - cpu->stack_size - 1);
        }
        must_not_read("behind-the-gdt", (const uint8_t *)(uintptr_t)cpu->host_gdtr_base + 5 * 8);
    }
    must_not_read("behind-the-idt", (const uint8_t *)(uintptr_t)cpu_this()->host_idtr_base + 4096);
}

/* ---- What only the start needed ----------------------------------------------------------------
 */

static bool is_of_start(const uint64_t *word)
{
    return *word - (uint64_t)(uintptr_t)init_start < (uint64_t)(init_end - init_start);
}

static bool is_early_stack(const uint64_t *word)
{
    const uint8_t *at = (const uint8_t *)word, *ist = &cpu_early_ist[0][0];
    return (at >= early_stack && at < early_stack_top) ||
           (at >= ist && at < ist + sizeof(cpu_early_ist));
}

/* Words that lead there, stacks that are no longer used aside. */
static unsigned count_pointers(const void *memory, uint64_t size)
{
    const uint64_t *word = memory;
    unsigned found = 0;
    for (uint64_t i = 0; i < size / sizeof(*word); i++) {
        if (!is_of_start(&word[i]) || is_early_stack(&word[i]))
            continue;
        log_info("test: 0x%lx at %p is gone", word[i], &word[i]);
        found++;
    }
    return found;
}

static bool holds_state(enum page_kind kind)
{
    return kind == PAGE_CPU || kind == PAGE_HEAP || kind == PAGE_VM || kind == PAGE_VMX;
}

/* Its pages are free, memory like any other, and nothing that is left leads there. */
static void check_start_is_gone(struct pages *pages)
{
    struct page_extent extent;
    uint8_t *copy = phys_to_virt(virt_to_phys(init_start));
    unsigned found = count_pointers(data_start, (uint64_t)(image_end - data_start));
    for (unsigned i = 0; pages_extent(pages, i, &extent); i++)
        if (holds_state((enum page_kind)extent.kind))
            found += count_pointers(phys_to_virt(HPA(extent.base)), extent.pages * PAGE_SIZE);
    log_info("test: %s no-pointer-to-the-start", found == 0 ? "ok" : "not ok");
    bool free = true;
    for (uint64_t at = 0; at < (uint64_t)(init_end - init_start); at += PAGE_SIZE)
        free = free && pages_lookup(pages, virt_to_phys(init_start + at), &extent) &&
               extent.kind == PAGE_FREE && !probe_write(copy + at);
    log_info("test: %s start-is-free", free ? "ok" : "not ok");
    must_not_read("read-start", init_start);
    must_not_read("read-start-constants", init_end - PAGE_SIZE);
    call_must_fault("execute-start", init_start, PF_FETCH);
    must_not_execute("execute-what-was-the-start", copy);
}

static void check_protections(struct pages *pages)
{
    static uint8_t code[16] ALIGNED(16) = {0xc3}; /* RET, in writable data */
    static const uint8_t constant_code[16] ALIGNED(16) = {0xc3};
    uint8_t stack_code[16];
    void *idt = (void *)(uintptr_t)cpu_this()->host_idtr_base;
    memset(stack_code, 0xc3, sizeof(stack_code));
    must_not_write("write-text", text_start);
    must_not_write("write-constants", rodata_start);
    must_not_write("write-idt", idt);
    must_not_execute("execute-data", code);
    must_not_execute("execute-constants", constant_code);
    must_not_execute("execute-stack", stack_code);
    must_not_execute("execute-physmap", phys_to_virt(HPA(paging_root())));
    must_not_read("read-null", NULL);
    must_not_read("read-lower-half", (const void *)(uintptr_t)0x100000);
    check_start_is_gone(pages);
    check_guards();
}

/* ---- Faults that end the machine ----------------------------------------------------------------
 */

static __attribute__((noinline)) uint64_t recurse(volatile uint64_t *above)
{
    volatile uint64_t mine[32];
    mine[0] = *above + 1;
    if (mine[0] == 0)
        return 0;
    return recurse(mine) + mine[0];
}

static void tamper(void)
{
    uint32_t *gate = cpu_idt();
    gate[4 * 255 + 3] ^= 1; /* a reserved word */
}

static struct pages *this_pages(void)
{
    const struct vcpu *vcpu = cpu_this()->vcpu;
    return &CONTAINER_OF(vcpu->vm, struct guest, vm)->monitor->machine->pages;
}

void test_vmcall(uint64_t *gpr)
{
    volatile uint64_t zero = 0;
    if (gpr[GPR_RBX] != TEST_MAGIC)
        return;
    gpr[GPR_RAX] = 0;
    switch (gpr[GPR_RCX]) {
    case TEST_STORM_ON:
        storm_on((uint16_t)gpr[GPR_RDX]);
        if (gpr[GPR_RDX] >> 16 != 0)
            storm_end = hw_rdtsc() + (gpr[GPR_RDX] >> 16) * time_tsc_hz() / 1000;
        return;
    case TEST_STORM_OFF:
        storm_off();
        gpr[GPR_RAX] = nmis;
        return;
    case TEST_HITS:
        print_hits("the guest");
        return;
    case TEST_PROTECTIONS:
        check_protections(this_pages());
        return;
    case TEST_OVERFLOW:
        gpr[GPR_RAX] = recurse(&zero);
        return;
    case TEST_MACHINE_CHECK:
        __asm__ volatile("int $18");
        return;
    case TEST_TAMPER:
        tamper();
        return;
    case TEST_BREAK_ENTRY: /* SDM: Checks on Guest Non-Register State: not both shadows */
        vmcs_write(VMCS_GUEST_INTERRUPTIBILITY_STATE, BIT(0) | BIT(1));
        return;
    default:
        return;
    }
}

#include "tests/fake/vmx_guest.h"

#include <string.h>

struct fake_guest fake_guest;

/* A processor that allows everything, with the default-1 bits of the architecture. */
static const struct vmx_capabilities capabilities = {
    .basic = 0x00da040000000004,
    .control = {0xffffffff00000016, 0xffffffff0401e172, 0xffffffff00000000, 0xffffffff00036dff,
                0xffffffff000011ff},
    .misc = 0x7004c1e7,
    .cr0_fixed0 = 0x80000021,
    .cr0_fixed1 = 0xffffffff,
    .cr4_fixed0 = 0x2000,
    .cr4_fixed1 = 0x3767ff,
    .ept_vpid = ~0ull,
};

#define CODE 0x9b
#define DATA 0x93
#define USER 0x60
#define BIG (SEGMENT_DB | SEGMENT_G)
#define TABLES 0x10000 /* of the guest's paging */

static const struct mode {
    const char *name;
    uint64_t cr0, cr4, efer;
    uint32_t code, data; /* access rights */
    uint32_t limit;
    uint64_t rflags;
    uint8_t cpl;
} modes[FAKE_MODES] = {
    [FAKE_REAL] = {"real", CR0_ET, 0, 0, CODE, DATA, 0xffff, 2, 0},
    [FAKE_VIRTUAL_8086] = {"v86", CR0_ET | CR0_PE, 0, 0, 0xf3, 0xf3, 0xffff, 0x23002, 3},
    [FAKE_PROTECTED_16] = {"pm16", CR0_ET | CR0_PE, 0, 0, CODE, DATA, 0xffff, 2, 0},
    [FAKE_PROTECTED_16_USER] = {"pm16-user", CR0_ET | CR0_PE, 0, 0, CODE | USER, DATA | USER,
                                0xffff, 2, 3},
    [FAKE_PROTECTED_32] = {"pm32", CR0_ET | CR0_PE, 0, 0, CODE | BIG, DATA | BIG, ~0u, 2, 0},
    [FAKE_PROTECTED_32_USER] = {"pm32-user", CR0_ET | CR0_PE, 0, 0, CODE | BIG | USER,
                                DATA | BIG | USER, ~0u, 2, 3},
    [FAKE_PAGING_32] = {"paged32", CR0_ET | CR0_PE | CR0_PG, CR4_PSE, 0, CODE | BIG, DATA | BIG,
                        ~0u, 2, 0},
    [FAKE_PAGING_32_USER] = {"paged32-user", CR0_ET | CR0_PE | CR0_PG, CR4_PSE, 0,
                             CODE | BIG | USER, DATA | BIG | USER, ~0u, 2, 3},
    [FAKE_PAE] = {"pae", CR0_ET | CR0_PE | CR0_PG, CR4_PAE, 0, CODE | BIG, DATA | BIG, ~0u, 2, 0},
    [FAKE_PAE_USER] = {"pae-user", CR0_ET | CR0_PE | CR0_PG, CR4_PAE, 0, CODE | BIG | USER,
                       DATA | BIG | USER, ~0u, 2, 3},
    [FAKE_COMPATIBILITY] = {"compat", CR0_ET | CR0_PE | CR0_PG, CR4_PAE, EFER_LME | EFER_LMA,
                            CODE | BIG, DATA | BIG, ~0u, 2, 0},
    [FAKE_COMPATIBILITY_USER] = {"compat-user", CR0_ET | CR0_PE | CR0_PG, CR4_PAE,
                                 EFER_LME | EFER_LMA, CODE | BIG | USER, DATA | BIG | USER, ~0u, 2,
                                 3},
    [FAKE_LONG] = {"long", CR0_ET | CR0_PE | CR0_PG, CR4_PAE, EFER_LME | EFER_LMA,
                   CODE | SEGMENT_L | SEGMENT_G, DATA | BIG, ~0u, 2, 0},
    [FAKE_LONG_USER] = {"long-user", CR0_ET | CR0_PE | CR0_PG, CR4_PAE, EFER_LME | EFER_LMA,
                        CODE | SEGMENT_L | SEGMENT_G | USER, DATA | BIG | USER, ~0u, 2, 3},
};

const char *fake_mode_name(enum fake_mode mode)
{
    return modes[mode].name;
}

unsigned fake_mode_cpl(enum fake_mode mode)
{
    return modes[mode].cpl;
}

bool fake_mode_is_64bit(enum fake_mode mode)
{
    return modes[mode].code & SEGMENT_L;
}

/* ---- What surrounds the vCPU ---- */

static uint64_t device_read(void *device, uint64_t offset, unsigned size)
{
    struct fake_guest *guest = device;
    guest->bus_reads++;
    guest->last_address = offset;
    guest->last_size = size;
    return size < 8 ? guest->read_value & ((1ull << 8 * size) - 1) : guest->read_value;
}

static void device_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct fake_guest *guest = device;
    guest->bus_writes++;
    guest->last_address = offset;
    guest->last_size = size;
    guest->last_value = value;
}

static bool has_interrupt(void *controller)
{
    return ((struct fake_guest *)controller)->has_interrupt;
}

static int acknowledge(void *controller)
{
    struct fake_guest *guest = controller;
    guest->acknowledges++;
    guest->has_interrupt = false;
    return guest->vector;
}

static uint64_t read_cr8(void *controller)
{
    return ((struct fake_guest *)controller)->cr8;
}

static void write_cr8(void *controller, uint64_t value)
{
    ((struct fake_guest *)controller)->cr8 = value;
}

static enum status read_msr(void *controller, uint32_t msr, uint64_t *value)
{
    (void)controller;
    *value = msr;
    return STATUS_OK;
}

static enum status write_msr(void *controller, uint32_t msr, uint64_t value)
{
    (void)controller;
    (void)msr;
    (void)value;
    return STATUS_OK;
}

static void tsc_offset_changed(void *controller)
{
    (void)controller;
}

static void kick(struct vcpu *vcpu)
{
    (void)vcpu;
    fake_guest.kicks++;
}

static void work(void *board)
{
    (void)board;
}

static uint64_t now(void *context)
{
    (void)context;
    return fake_hw.tsc;
}

static enum status alloc_frame(void *context, hpa_t *frame)
{
    (void)context;
    (void)frame;
    return ERR_NO_MEMORY;
}

/* The root of the VM's EPT, which stays empty, and those that a step uses. */
static uint8_t frames[FAKE_FRAMES][4096] ALIGNED(4096);

void *fake_guest_frame(void *context, hpa_t frame)
{
    (void)context;
    ASSERT(frame.v - FAKE_FRAMES_BASE < sizeof(frames));
    return frames[(frame.v - FAKE_FRAMES_BASE) / 4096];
}

/* Its CPUID: every feature, a few leaves. */
static void machine_cpuid(void *context, uint32_t leaf, uint32_t subleaf,
                          struct cpuid_result *result)
{
    (void)context;
    (void)subleaf;
    *result = (struct cpuid_result){~0u, ~0u, ~0u, ~0u};
    if (leaf == 0)
        result->eax = 0x16;
    if (leaf == 0x80000000)
        result->eax = 0x80000008;
    if (leaf == 0x80000008)
        result->eax = 48 << 8 | 40;
    if (leaf == 4 || leaf == 0xb || (leaf == 0xd && subleaf > 1))
        *result = (struct cpuid_result){0};
}

static void build_tables(const struct mode *mode)
{
    static const uint64_t flags = 7;
    uint8_t *memory = fake_guest.memory;
    uint64_t entry;
    if (!(mode->cr0 & CR0_PG))
        return;
    if (!(mode->cr4 & CR4_PAE)) {
        uint32_t large = 0x87;
        memcpy(memory + TABLES, &large, 4);
        return;
    }
    /* PML4 at TABLES, PDPT behind it, then a page directory; PAE begins at the second. */
    entry = TABLES + 0x1000 + flags;
    memcpy(memory + TABLES, &entry, 8);
    entry = TABLES + 0x2000 + (mode->efer != 0 ? flags : 1);
    memcpy(memory + TABLES + 0x1000, &entry, 8);
    entry = 0x87;
    memcpy(memory + TABLES + 0x2000, &entry, 8);
}

static void set_segments(const struct mode *mode, struct guest_entry *entry)
{
    bool is_flat = mode->cr0 & CR0_PE && !(mode->rflags & BIT(17));
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        entry->segment[i] = (struct segment){
            .limit = mode->limit,
            .access = i == SEG_CS ? mode->code : mode->data,
            .selector = is_flat ? (uint16_t)((i == SEG_CS ? 0x08 : 0x10) | mode->cpl) : 0,
        };
    entry->segment[SEG_LDTR] = (struct segment){.access = SEGMENT_UNUSABLE};
    entry->segment[SEG_TR] = (struct segment){.limit = 0x67, .access = 0x8b, .selector = 0x18};
    entry->gdtr = (struct descriptor_table){0x1000, 0xff};
    entry->idtr = (struct descriptor_table){0x2000, 0xfff};
}

static void start_vm(void)
{
    static const struct bus_ops device = {device_read, device_write};
    static const struct interrupt_controller_ops controller = {
        has_interrupt, acknowledge, read_cr8, write_cr8, read_msr, write_msr, tsc_offset_changed};
    struct fake_guest *guest = &fake_guest;
    struct vm *vm = &guest->vm;
    vm->name = "guest";
    vm->id = 2;
    vm->vcpu[0] = &guest->vcpu;
    vm->vcpu_count = 1;
    vm->clock = (struct clock){now, NULL, FAKE_GUEST_TSC_HZ};
    vm->log = (struct log_budget){.owner = vm->name, .left = 1000};
    vm->kick = kick;
    vm->work = work;
    vm->backend = &guest->vmx_vm;
    ASSERT(guest_mem_add(&vm->mem, GPA(0), FAKE_GUEST_MEMORY, guest->memory) == STATUS_OK);
    ASSERT(bus_add(&vm->bus, BUS_PORT, 0, 0x10000, &device, guest) == STATUS_OK);
    ASSERT(bus_add(&vm->bus, BUS_MMIO, FAKE_GUEST_MEMORY, 1ull << 40, &device, guest) == STATUS_OK);
    guest->vcpu.vm = vm;
    guest->vcpu.intc_ops = &controller;
    guest->vcpu.intc = guest;
    timer_queue_init(&guest->vcpu.timers);
    vcpu_set_history(&guest->vcpu, guest->vcpu.last_exits, VCPU_HISTORY);
}

static void start_policies(void)
{
    struct vcpu *vcpu = &fake_guest.vcpu;
    struct cpuid_facts facts = {
        .raw = machine_cpuid,
        .tsc_hz = FAKE_GUEST_TSC_HZ,
        .xcr0_offered = 0xe7,
        .vcpu_count = 1,
        .has_rdtscp = true,
        .has_invpcid = true,
        .has_xsaves = true,
        .has_xsavec = true,
    };
    cpuid_build(&vcpu->cpuid, &facts);
    struct msr_facts msr_facts = {&vcpu->cpuid, facts.tsc_hz, 0, 0};
    msr_state_init(&vcpu->msrs, &msr_facts);
}

static void start_vmx(void)
{
    struct fake_guest *guest = &fake_guest;
    struct ept_ports ports = {alloc_frame, fake_guest_frame, NULL};
    const char *missing;
    guest->cpu.capabilities = capabilities;
    ASSERT(controls_negotiate(&capabilities, &guest->cpu.controls, &missing) == STATUS_OK);
    guest->vmx_vm = (struct vmx_vm){
        .ept = {.root = HPA(FAKE_FRAMES_BASE), .ports = ports},
        .owner = 2,
        .io_bitmap = HPA(0x8000),
        .msr_bitmap = HPA(0xa000),
    };
    guest->vmx_vm.used = guest->vmx_vm.ept;
    guest->vmx = (struct vmx_vcpu){
        .vmcs = HPA(0xb000),
        .step_frames = HPA(FAKE_FRAMES_BASE + 4096),
        .cr0_fixed = CR0_NE,
        .cr4_allowed = capabilities.cr4_fixed1 & ~CR4_VMXE,
        .xcr0_allowed = cpuid_xcr0_offered(&guest->vcpu.cpuid),
        .efer_allowed = EFER_SCE | EFER_NXE | EFER_LME,
        .has_1g_pages = true,
        .cpu = &guest->cpu,
        .vm = &guest->vmx_vm,
        .xsave_area = guest->xsave_area,
    };
    guest->vcpu.backend = &guest->vmx;
    guest_access_init(&guest->vmx.access, &guest->vm.mem, &guest->vm.bus);
    fake_hw.cpu.host_gdtr_base = fake_hw.cpu.host_idtr_base = fake_hw.cpu.host_tr_base = 0x1000;
    fake_hw.cpu.vcpu = &guest->vcpu;
}

void fake_guest_start(enum fake_mode number)
{
    const struct mode *mode = &modes[number];
    struct guest_entry entry = {
        .rip = FAKE_GUEST_RIP,
        .rflags = mode->rflags,
        .cr0 = mode->cr0,
        .cr3 = mode->cr4 & CR4_PAE && mode->efer == 0 ? TABLES + 0x1000 : TABLES,
        .cr4 = mode->cr4,
        .efer = mode->efer,
    };
    fake_hw_start();
    fake_vmcs_clear();
    memset(&fake_guest, 0, sizeof(fake_guest));
    memset(fake_guest.memory, 0x90, sizeof(fake_guest.memory));
    memset(fake_guest.memory + TABLES, 0, 0x4000);
    fake_guest.read_value = 0x1122334455667788;
    start_vm();
    start_policies();
    start_vmx();
    build_tables(mode);
    set_segments(mode, &entry);
    for (unsigned i = 0; i < GPR_COUNT; i++)
        entry.gpr[i] = 0x0101010101010101 * (i + 1);
    entry.gpr[GPR_RSP] = FAKE_GUEST_RSP;
    vmx_vcpu_reset(&fake_guest.vcpu, &entry);
    if (entry.cr0 & CR0_PG && entry.cr4 & CR4_PAE && entry.efer == 0)
        vmcs_write(VMCS_GUEST_PDPTE0, TABLES + 0x2000 + 1);
    fake_vmcs.field[VMCS_VM_EXIT_INSTRUCTION_LENGTH] = 2;
    fake_guest.vcpu.requests = 0;
    fake_guest.vmx.look_at = fake_guest.vmx.armed = TIMER_NEVER;
    fake_guest.vmx.break_at = TIMER_NEVER;
    fake_guest.vcpu.timers.next = TIMER_NEVER;
}

/* ---- Whether it can be entered ---- */

struct broken {
    enum vmcs_field *field;
    const char **rule;
    unsigned count;
};

static uint64_t read_field(void *context, enum vmcs_field field)
{
    (void)context;
    return fake_vmcs.field[field];
}

static void note(void *context, const struct broken_rule *rule)
{
    struct broken *broken = context;
    if (broken->count++ == 0) {
        *broken->field = rule->field;
        *broken->rule = rule->text;
    }
}

unsigned fake_guest_check_entry(void (*broken)(void *context, const struct broken_rule *rule),
                                void *context)
{
    struct entry_machine machine = {
        .capabilities = &capabilities,
        .efer_supported = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE,
        .current_vmcs = fake_guest.vmx.vmcs.v,
        .physical_bits = FAKE_HW_PHYSICAL_BITS,
        .linear_bits = FAKE_HW_LINEAR_BITS,
    };
    struct entry_check_ports ports = {read_field, NULL, broken, context};
    return entry_check(&machine, &ports);
}

unsigned fake_guest_broken_rules(enum vmcs_field *field, const char **rule)
{
    struct broken broken = {field, rule, 0};
    return fake_guest_check_entry(note, &broken);
}

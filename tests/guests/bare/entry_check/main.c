/*
 * VM entries on the bare machine against vmx/entry_check.c. From a valid VMCS of one of many kinds
 * a few fields are changed; the processor is asked to enter, and the rules are asked what is wrong.
 *
 * The command line: seed=S first=N count=N [rules]. Case N of a seed is the same wherever a run
 * begins, so that first=N count=1 repeats it.
 */
#include "tests/guests/bare/entry_check/entry_check.h"

#define BASE_FOR 16 /* cases for one base */
#define EXIT_FAILED_ENTRY BIT(31)

struct world world;
extern uint64_t start_info;
extern uint64_t host_cr0, host_cr3, host_cr4;

void entry_check_main(void);
uint64_t enter_guest(uint64_t launch);

/* ---- Numbers ---- */

/* Sebastiano Vigna's splitmix64. */
uint64_t random_bits(void)
{
    uint64_t z = world.random += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

uint64_t random_below(uint64_t n)
{
    return (uint64_t)(uint32_t)random_bits() * n >> 32;
}

static void seed(uint64_t seed, uint64_t number)
{
    world.random = seed;
    world.random = random_bits() ^ number;
    (void)random_bits();
}

/* ---- The command line ---- */

static const char *command_line(void)
{
    return (const char *)(uintptr_t) * (const uint64_t *)(uintptr_t)(start_info + 24);
}

static const char *find(const char *name)
{
    size_t length = strlen(name);
    const char *text = command_line();
    for (; text != NULL && *text != '\0'; text++)
        if (strncmp(text, name, length) == 0)
            return text + length;
    return NULL;
}

static uint64_t option(const char *name, uint64_t otherwise)
{
    const char *text = find(name);
    if (text == NULL)
        return otherwise;
    uint64_t value = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        value = value * 10 + (uint64_t)(*text - '0');
    return value;
}

/* ---- VMX operation ---- */

static void fatal(const char *what)
{
    guest_print("fatal: ");
    guest_print(what);
    guest_print("\n");
    for (;;)
        __asm__ volatile("cli; hlt");
}

static bool vmx_address(const char *what, const uint8_t *page)
{
    uint64_t address = (uintptr_t)page;
    bool ok = false;
    if (what[2] == 'x')
        __asm__ volatile("vmxon %1" : "=@cca"(ok) : "m"(address) : "memory");
    else if (what[2] == 'c')
        __asm__ volatile("vmclear %1" : "=@cca"(ok) : "m"(address) : "memory");
    else
        __asm__ volatile("vmptrld %1" : "=@cca"(ok) : "m"(address) : "memory");
    if (!ok)
        fatal(what);
    return ok;
}

static bool vmread(enum vmcs_field field, uint64_t *value)
{
    bool ok;
    __asm__ volatile("vmread %2, %0" : "=r"(*value), "=@cca"(ok) : "r"((uint64_t)field));
    return ok;
}

static void vmwrite(enum vmcs_field field, uint64_t value)
{
    bool ok;
    __asm__ volatile("vmwrite %2, %1" : "=@cca"(ok) : "r"((uint64_t)field), "r"(value));
    if (!ok)
        fatal(vmcs_field_name(field));
}

static uint64_t msr_or_zero(uint32_t msr)
{
    uint64_t value;
    return guest_try_rdmsr(msr, &value) == NO_FAULT ? value : 0;
}

/* SDM: VMX Capability Reporting Facility; CPUID. */
static void read_machine(void)
{
    static const uint16_t plain[] = {0x481, 0x482, 0x48b, 0x483, 0x484};
    static const uint16_t exact[] = {0x48d, 0x48e, 0x48b, 0x48f, 0x490};
    struct vmx_capabilities *capabilities = &world.capabilities;
    capabilities->basic = guest_rdmsr(0x480);
    for (unsigned i = 0; i < CONTROL_WORDS; i++)
        capabilities->control[i] = msr_or_zero(capabilities->basic & BIT(55) ? exact[i] : plain[i]);
    capabilities->misc = guest_rdmsr(0x485);
    capabilities->cr0_fixed0 = guest_rdmsr(0x486);
    capabilities->cr0_fixed1 = guest_rdmsr(0x487);
    capabilities->cr4_fixed0 = guest_rdmsr(0x488);
    capabilities->cr4_fixed1 = guest_rdmsr(0x489);
    capabilities->ept_vpid = msr_or_zero(0x48c);
    capabilities->vmfunc = msr_or_zero(0x491);
    uint32_t widths = guest_cpuid(0x80000008, 0, EAX);
    world.machine = (struct entry_machine){
        .capabilities = capabilities,
        .efer_supported = entry_efer_supported(guest_cpuid(0x80000001, 0, EDX)),
        .perf_global_supported =
            entry_perf_global_supported(guest_cpuid(10, 0, EAX), guest_cpuid(10, 0, EDX)),
        .current_vmcs = page_address(PAGE_VMCS),
        .leaf7_ebx = guest_cpuid(7, 0, EBX),
        .leaf7_ecx = guest_cpuid(7, 0, ECX),
        .physical_bits = (uint8_t)widths,
        .linear_bits = (uint8_t)(widths >> 8),
    };
}

/* The whole address space is the lowest 4 GiB again and again, supervisor pages only: the host runs
 * wherever its RIP may point, with SMEP and SMAP on or off. */
static void make_address_space(void)
{
    static uint64_t pdpt[512] ALIGNED(4096), directory[2048] ALIGNED(4096);
    uint64_t *pml4 = (uint64_t *)world.page[PAGE_HOST_CR3];
    for (unsigned i = 0; i < 2048; i++)
        directory[i] = i * PAGE_SIZE_2M | 0x83;
    for (unsigned i = 0; i < 512; i++) {
        pdpt[i] = (uintptr_t)&directory[i % 4 * 512] | 3;
        pml4[i] = (uintptr_t)pdpt | 3;
    }
    (void)guest_try_write_cr3(page_address(PAGE_HOST_CR3));
}

static void enter_vmx_operation(void)
{
    if (!guest_has(1, 0, ECX, 5))
        fatal("no VMX");
    if (!(guest_rdmsr(0x3a) & 1))
        guest_wrmsr(0x3a, 5);
    read_machine();
    make_address_space();
    const struct vmx_capabilities *capabilities = &world.capabilities;
    (void)guest_try_write_cr0((guest_read_cr0() | capabilities->cr0_fixed0) &
                              capabilities->cr0_fixed1);
    (void)guest_try_write_cr4((guest_read_cr4() | capabilities->cr4_fixed0) &
                              capabilities->cr4_fixed1);
    host_cr0 = guest_read_cr0();
    host_cr3 = guest_read_cr3();
    host_cr4 = guest_read_cr4();
    *(uint32_t *)world.page[PAGE_VMXON] = (uint32_t)capabilities->basic & 0x7fffffff;
    *(uint32_t *)world.page[PAGE_VMCS] = (uint32_t)capabilities->basic & 0x7fffffff;
    vmx_address("vmxon", world.page[PAGE_VMXON]);
    vmx_address("vmclear", world.page[PAGE_VMCS]);
    vmx_address("vmptrld", world.page[PAGE_VMCS]);
}

static void find_fields(void)
{
    static const struct {
        uint16_t encoding;
        uint8_t width;
        uint8_t type;
    } all[] = {
#define VMCS_FIELD(name, encoding, width, type) {encoding, VMCS_WIDTH_##width, VMCS_TYPE_##type},
#include "vmx/vmcs_fields.def"
#undef VMCS_FIELD
    };
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        uint64_t value;
        if (all[i].type == VMCS_TYPE_EXIT || !vmread(all[i].encoding, &value))
            continue;
        world.field[world.fields].encoding = all[i].encoding;
        world.field[world.fields].width = all[i].width;
        world.field[world.fields++].type = all[i].type;
        vmwrite(all[i].encoding, 0);
    }
}

/* No interrupt shall come. */
static void silence_interrupts(void)
{
    __asm__ volatile("outb %b0, %w1; outb %b0, %w2" ::"a"(0xff), "d"(0x21), "Nd"(0xa1));
}

/* ---- Cases ---- */

static void write_vmcs(void)
{
    for (unsigned i = 0; i < world.fields; i++) {
        unsigned field = world.field[i].encoding;
        bool unknown = world.guest_area_unknown &&
                       (world.field[i].type == VMCS_TYPE_GUEST || field == VMCS_VM_ENTRY_CONTROLS ||
                        field == VMCS_VM_ENTRY_INTERRUPTION_INFORMATION);
        if (!unknown && world.want[field] == world.have[field])
            continue;
        vmwrite((enum vmcs_field)field, world.want[field]);
        world.have[field] = world.want[field];
    }
    world.guest_area_unknown = false;
}

static struct verdict try_to_enter(bool launch)
{
    struct verdict verdict = {0, 0};
    uint64_t reason = 0, failed = enter_guest(launch);
    if (failed != 0) {
        (void)vmread(VMCS_VM_INSTRUCTION_ERROR, &reason);
        verdict.error = failed == 2 ? (unsigned)reason : 1000;
        return verdict;
    }
    (void)vmread(VMCS_EXIT_REASON, &reason);
    if (reason & EXIT_FAILED_ENTRY) {
        verdict.error = reason & 0xffff;
        (void)vmread(VMCS_EXIT_QUALIFICATION, &verdict.qualification);
    } else {
        world.guest_area_unknown = true;
    }
    return verdict;
}

/* The first entry takes a VMLAUNCH; all others resume. */
static void launch(void)
{
    seed(0, 0);
    state_make_base();
    for (unsigned i = 0; i < world.fields; i++)
        world.want[world.field[i].encoding] = world.base[world.field[i].encoding];
    write_vmcs();
    struct verdict verdict = try_to_enter(true);
    if (verdict.error != 0) {
        judge(0, &verdict);
        fatal("VMLAUNCH");
    }
}

static void run(uint64_t seed_number, uint64_t first, uint64_t count)
{
    uint64_t base = ~0ull;
    for (uint64_t number = first; number < first + count; number++) {
        if (number / BASE_FOR != base) {
            base = number / BASE_FOR;
            seed(seed_number, ~base);
            state_make_base();
        }
        seed(seed_number, number);
        mutate();
        write_vmcs();
        struct verdict verdict = try_to_enter(false);
        judge(number, &verdict);
    }
}

void entry_check_main(void)
{
    guest_case("entry-check");
    silence_interrupts();
    enter_vmx_operation();
    find_fields();
    state_init();
    launch();
    run(option("seed=", 1), option("first=", 0), option("count=", 4000));
    guest_expect(judge_end(find("rules") != NULL), 0, "disagreements");
}

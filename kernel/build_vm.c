/* Making a guest out of its section of the configuration, and running it from load to end. */
#include "kernel/core/fmt.h"
#include "kernel/core/hw.h"
#include "kernel/core/log.h"
#include "kernel/core/mem.h"
#include "kernel/core/msr.h"
#include "kernel/core/paging.h"
#include "kernel/core/smp.h"
#include "kernel/core/time.h"
#include "kernel/debug/ended.h"
#include "kernel/monitor.h"
#include "kernel/vm/load_firmware.h"

#define GUEST_LOG_LINES 100

/* ---- Ports of the models ------------------------------------------------------------------- */

static INIT void raw_cpuid(void *context, uint32_t leaf, uint32_t subleaf,
                           struct cpuid_result *result)
{
    struct cpuid_regs regs;
    (void)context;
    hw_cpuid(leaf, subleaf, &regs);
    *result = (struct cpuid_result){regs.eax, regs.ebx, regs.ecx, regs.edx};
}

static void kick(struct vcpu *vcpu)
{
    if (vcpu->processor == cpu_this()->index)
        return;
    smp_kick(vcpu->processor);
    /* It may be about to halt, and then the NMI comes a moment too early. */
    if (__atomic_load_n(&vcpu->stands, __ATOMIC_SEQ_CST))
        smp_wake(vcpu->processor);
}

/* ---- Files and memory ---------------------------------------------------------------------- */

const struct boot_file *guest_file(const struct monitor *monitor, const char *name)
{
    const struct boot_info *boot = &monitor->machine->boot;
    for (uint32_t i = 1; i < boot->file_count; i++)
        if (strcmp(boot->file[i].name, name) == 0)
            return &boot->file[i];
    return NULL;
}

static const char *config_name(const struct guest *guest)
{
    return guest->monitor->machine->boot.file[0].name;
}

/* How much may be asked for at gpa so that what comes back can be mapped by large pages. */
static uint64_t chunk_limit(uint64_t gpa, uint64_t left)
{
    uint64_t page = is_aligned(gpa, PAGE_SIZE_1G)   ? left
                    : is_aligned(gpa, PAGE_SIZE_2M) ? align_up(gpa + 1, PAGE_SIZE_1G) - gpa
                                                    : align_up(gpa + 1, PAGE_SIZE_2M) - gpa;
    return page < left ? page : left;
}

static enum status add_range(struct guest *guest, uint64_t gpa, uint64_t left)
{
    struct pages *pages = &guest->monitor->machine->pages;
    while (left > 0) {
        hpa_t frame;
        uint64_t bytes;
        enum status status = pages_alloc_chunk(pages, chunk_limit(gpa, left), PAGE_GUEST,
                                               (uint16_t)guest->vm.id, &frame, &bytes);
        if (status == STATUS_OK)
            status = guest_mem_add(&guest->vm.mem, GPA(gpa), bytes, phys_to_virt(frame));
        if (status != STATUS_OK)
            return status;
        gpa += bytes;
        left -= bytes;
    }
    return STATUS_OK;
}

/* Code, and variables below it. */
static uint64_t firmware_size(const struct guest *guest)
{
    const struct boot_file *code = guest_file(guest->monitor, guest->config->firmware);
    const struct boot_file *vars = guest_file(guest->monitor, guest->config->firmware_vars);
    return (code != NULL ? code->size : 0) + (vars != NULL ? vars->size : 0);
}

static enum status add_memory(struct guest *guest)
{
    const struct guest_map *map = &guest->map;
    uint64_t firmware = firmware_size(guest);
    enum status status = guest_map_make(&guest->map, guest->config->memory);
    if (firmware != 0 && firmware <= LOAD_FIRMWARE_MAX) {
        guest->vm.mem.rom_size = align_up(firmware, PAGE_SIZE);
        guest->vm.mem.rom_base = PLATFORM_HIGH_RAM - guest->vm.mem.rom_size;
        guest->keeps_rom = false;
        guest_map_add_firmware(&guest->map, guest->vm.mem.rom_size);
    }
    for (unsigned i = 0; status == STATUS_OK && i < map->backed_count; i++)
        status = add_range(guest, map->backed[i].base, map->backed[i].size);
    if (status != STATUS_OK) {
        struct pages *pages = &guest->monitor->machine->pages;
        uint64_t free = pages_total(pages, PAGE_FREE) * PAGE_SIZE;
        log_error("%s:%u: %s: memory = %llu MiB: %s; this machine has %llu MiB left for guests: "
                  "lower `memory`, or run with more",
                  config_name(guest), guest->config->memory_line, guest->vm.name,
                  (unsigned long long)(guest->config->memory >> 20), status_text(status),
                  (unsigned long long)(free >> 20));
    }
    return status;
}

/* ---- Construction -------------------------------------------------------------------------- */

static void continue_guest(void *board)
{
    struct guest *guest = CONTAINER_OF(board, struct guest, board);
    board_continue(board);
    for (uint32_t i = 0; i < guest->config->hvc_count; i++)
        if (!guest->config->hvc[i].loop)
            hvc_line_continue(&guest->hvc_line[i]);
}

static INIT void init_vm(struct guest *guest, uint32_t id, uint32_t processor)
{
    struct vm *vm = &guest->vm;
    struct vcpu *vcpu = &guest->vcpu[0];
    vm->name = guest->config->name;
    vm->id = id;
    vm->clock = (struct clock){vm_clock_read, vm, time_tsc_hz()};
    vm->log = (struct log_budget){.owner = vm->name, .left = GUEST_LOG_LINES};
    vm->is_debugged = guest->monitor->machine->config->gdb != 0;
    vm->is_paused = guest->config->starts_paused;
    vm->stops_at_reset = guest->config->on_reset == CONFIG_RESET_STOP;
    vm->kick = kick;
    vm->hide = vmx_vcpu_hide;
    vm->visit = vmx_vcpu_visit;
    vm->work = continue_guest;
    vm->board = &guest->board;
    vm->vcpu[0] = vcpu;
    vm->vcpu_count = 1;
    guest->processor = processor;
    vcpu->vm = vm;
    vcpu->processor = processor;
    vcpu->tsc_offset = 0 - clock_now(&vm->clock);
    timer_queue_init(&vcpu->timers);
    vcpu_set_history(vcpu, vcpu->last_exits, VCPU_HISTORY);
}

static uint32_t read_microcode(void)
{
    uint64_t signature;
    return hw_rdmsr_safe(MSR_IA32_BIOS_SIGN_ID, &signature) == STATUS_OK ? signature >> 32 : 0;
}

static INIT void init_cpuid(struct guest *guest)
{
    const struct vmx_cpu *cpu = &guest->monitor->vmx_cpu[guest->processor];
    uint32_t secondary = cpu->controls.word[CONTROL_SECONDARY];
    struct cpuid_facts facts = {
        .raw = raw_cpuid,
        .tsc_hz = time_tsc_hz(),
        .xcr0_offered = cpu_by_index(guest->processor)->xcr0,
        .microcode = read_microcode(),
        .vcpu_count = guest->vm.vcpu_count,
        .has_rdtscp = secondary & CONTROL_ENABLE_RDTSCP,
        .has_invpcid = secondary & CONTROL_ENABLE_INVPCID,
        .has_xsaves = secondary & CONTROL_ENABLE_XSAVES,
        .has_xsavec = !guest->monitor->xsavec_broken,
    };
    const char *flaw = cpuid_keys_flaw(&facts);
    if (flaw != NULL)
        log_info("%s: no protection keys: %s", guest->vm.name, flaw);
    for (uint32_t i = 0; i < guest->vm.vcpu_count; i++) {
        facts.apic_id = i;
        cpuid_build(&guest->vcpu[i].cpuid, &facts);
    }
}

static void init_msrs(struct guest *guest)
{
    struct msr_facts facts = {.tsc_hz = time_tsc_hz(), .microcode = read_microcode()};
    if (hw_rdmsr_safe(MSR_IA32_ARCH_CAPABILITIES, &facts.arch_capabilities) != STATUS_OK)
        facts.arch_capabilities = 0;
    for (uint32_t i = 0; i < guest->vm.vcpu_count; i++) {
        facts.cpuid = &guest->vcpu[i].cpuid;
        msr_state_init(&guest->vcpu[i].msrs, &facts);
    }
}

/* RDRAND may run dry: then the guest waits for the rest. */
static size_t fill_entropy(void *context, void *buffer, size_t n)
{
    uint8_t *next = buffer;
    size_t left = n;
    uint64_t word;
    (void)context;
    while (left > 0 && hw_rdrand(&word)) {
        size_t piece = left < sizeof(word) ? left : sizeof(word);
        memcpy(next, &word, piece);
        next += piece;
        left -= piece;
    }
    return n - left;
}

/* A guest gets an entropy device only where there is real entropy. SDM: CPUID.01H:ECX.RDRAND. */
static INIT struct entropy_source find_entropy(struct guest *guest)
{
    struct cpuid_result basic;
    raw_cpuid(NULL, 1, 0, &basic);
    bool has_rdrand = basic.ecx & BIT(30);
    return (struct entropy_source){has_rdrand ? fill_entropy : NULL, guest};
}

/* Kernels and initrds are read again at each reset of their guest. */
static INIT unsigned count_users(const struct config *config, const char *file)
{
    unsigned users = 0;
    for (uint32_t i = 0; i < config->vm_count; i++) {
        const struct config_vm *vm = &config->vm[i];
        users += strcmp(vm->kernel, file) == 0;
        users += strcmp(vm->initrd, file) == 0;
        users += strcmp(vm->firmware, file) == 0;
        users += strcmp(vm->firmware_vars, file) == 0;
        for (uint32_t disk = 0; disk < vm->disk_count; disk++)
            users += strcmp(vm->disk[disk].file, file) == 0;
        for (uint32_t item = 0; item < vm->fw_file_count; item++)
            users += strcmp(vm->fw_file[item].file, file) == 0;
    }
    for (uint32_t i = 0; i < config->module_count; i++)
        users += strcmp(config->module[i].file, file) == 0;
    return users;
}

/* Who owns what outlives the memory that the guest runs in: the monitor, since the guest may start
 * anew; but a guest that others follow gives all of it back. */
static INIT uint16_t lasting_owner(const struct guest *guest)
{
    bool is_followed = guest->monitor->machine->config->run == CONFIG_RUN_SEQUENCE;
    return is_followed ? (uint16_t)guest->vm.id : PAGE_OWNER_MONITOR;
}

/* What one guest writes to a disk is its own, although the image may have other uses; and stays
 * there until power-off, as with a file that has no other use. */
static INIT enum status give_disk(struct guest *guest, const struct config_disk *disk,
                                  const struct boot_file *file, uint8_t **image)
{
    const struct config *config = guest->monitor->machine->config;
    hpa_t copy;
    *image = phys_to_virt(HPA(file->base));
    if (disk->read_only || count_users(config, disk->file) < 2)
        return STATUS_OK;
    uint64_t count = align_up(file->size, PAGE_SIZE) / PAGE_SIZE;
    enum status status = pages_alloc(&guest->monitor->machine->pages, count, PAGE_SIZE, PAGE_FILE,
                                     lasting_owner(guest), &copy);
    if (status != STATUS_OK) {
        log_error(
            "%s:%u: %s: disk %s: no memory for a copy of its own: %s; run with more, or share it "
            "with ',ro'",
            config_name(guest), disk->line, guest->vm.name, disk->file, status_text(status));
        return status;
    }
    *image = memcpy(phys_to_virt(copy), *image, file->size);
    return STATUS_OK;
}

static INIT enum status collect_disks(struct guest *guest, struct board_config *board)
{
    enum status status = STATUS_OK;
    for (uint32_t i = 0; status == STATUS_OK && i < guest->config->disk_count; i++) {
        const struct config_disk *disk = &guest->config->disk[i];
        const struct boot_file *file = guest_file(guest->monitor, disk->file);
        if (file == NULL) {
            log_error("%s: disk %s was not loaded", guest->vm.name, disk->file);
            return ERR_NOT_FOUND;
        }
        board->disk_size[i] = file->size;
        status = give_disk(guest, disk, file, &board->disk[i]);
    }
    return status;
}

static enum status init_hvc_loop(struct guest *guest, uint8_t **ring)
{
    hpa_t frame;
    enum status status = pages_alloc(&guest->monitor->machine->pages, BOARD_LOOP_SIZE / PAGE_SIZE,
                                     PAGE_SIZE, PAGE_VM, (uint16_t)guest->vm.id, &frame);
    if (status == STATUS_OK)
        *ring = phys_to_virt(frame);
    else
        log_error("%s: hvc: no memory for the loop: %s", guest->vm.name, status_text(status));
    return status;
}

/* What is behind the guest's hvc consoles: loops, and serial ports, whose interrupts begin once the
 * console is there. */
static INIT enum status init_hvc_lines(struct guest *guest, struct board_config *board)
{
    for (uint32_t i = 0; i < guest->config->hvc_count; i++) {
        const struct config_hvc *hvc = &guest->config->hvc[i];
        struct hvc_line *line = &guest->hvc_line[i];
        if (hvc->loop) {
            enum status status = init_hvc_loop(guest, &board->loop_ring[i]);
            if (status != STATUS_OK)
                return status;
            continue;
        }
        enum status status = hvc_line_init(line, hvc->port, &guest->vm);
        if (status != STATUS_OK) {
            log_error("%s:%u: %s: hvc: the machine has no UART at port 0x%x; name another, or loop",
                      config_name(guest), hvc->line, guest->vm.name, hvc->port);
            return status;
        }
        board->hvc[i] = hvc_line_stream(line, &guest->board.console, i);
    }
    return STATUS_OK;
}

static INIT void start_hvc_lines(struct guest *guest)
{
    for (uint32_t i = 0; i < guest->config->hvc_count; i++) {
        struct hvc_line *line = &guest->hvc_line[i];
        verdict_listen(guest, i);
        if (guest->config->hvc[i].loop)
            continue;
        monitor_start_line(guest->monitor, &line->line);
    }
}

static enum status init_testdev(struct guest *guest, uint8_t **memory)
{
    hpa_t frame;
    if (!guest->config->has_pc_testdev)
        return STATUS_OK;
    enum status status =
        pages_alloc(&guest->monitor->machine->pages, PC_TESTDEV_MEMORY_SIZE / PAGE_SIZE, PAGE_SIZE,
                    PAGE_VM, (uint16_t)guest->vm.id, &frame);
    if (status == STATUS_OK)
        *memory = memset(phys_to_virt(frame), 0, PC_TESTDEV_MEMORY_SIZE);
    else
        log_error("%s: pc-testdev: no memory: %s", guest->vm.name, status_text(status));
    return status;
}

static INIT enum status init_board(struct guest *guest)
{
    struct monitor *monitor = guest->monitor;
    struct cpuid_result basic;
    cpuid_lookup(&guest->vcpu[0].cpuid, 1, 0, &basic);
    struct board_config config = {
        .vm = guest->config,
        .config_name = config_name(guest),
        .wall_seconds = time_unix_seconds(),
        .timer_hz = cpuid_timer_hz(&guest->vcpu[0].cpuid),
        .x2apic = basic.ecx & BIT(21),
        .physical_bits = cpuid_maxphyaddr(&guest->vcpu[0].cpuid),
        .entropy = find_entropy(guest),
    };
    const struct boot_file *firmware = guest_file(monitor, guest->config->firmware);
    const struct boot_file *vars = guest_file(monitor, guest->config->firmware_vars);
    if (vars != NULL)
        config.flash_size = vars->size;
    else if (firmware != NULL &&
             load_firmware_is_flash(phys_to_virt(HPA(firmware->base)), firmware->size))
        config.flash_size = firmware->size;
    enum status status = collect_disks(guest, &config);
    if (status == STATUS_OK)
        status = init_hvc_lines(guest, &config);
    if (status == STATUS_OK)
        status = init_testdev(guest, &config.testdev_memory);
    if (status == STATUS_OK)
        status = guest_fill_fw_cfg(guest, lasting_owner(guest));
    const char *what = "terminal";
    if (status == STATUS_OK)
        status = mux_add(&monitor->mux, &guest->terminal, guest->vm.name, board_terminal_ready,
                         &guest->board);
    config.said = guest->verdict.said;
    if (status == STATUS_OK)
        status = board_init(&guest->board, &guest->vm, &guest->terminal, &config, &what);
    if (status != STATUS_OK)
        log_error("%s: %s: %s", guest->vm.name, what, status_text(status));
    else
        start_hvc_lines(guest);
    return status;
}

static enum status init_vmx(struct guest *guest)
{
    struct monitor *monitor = guest->monitor;
    const struct vmx_cpu *cpu = &monitor->vmx_cpu[guest->processor];
    enum status status = vmx_vm_create(&guest->vmx, &guest->vm, &monitor->machine->pages,
                                       cpu->capabilities.ept_vpid);
    for (uint32_t i = 0; status == STATUS_OK && i < guest->vm.vcpu_count; i++)
        status = vmx_vcpu_create(&guest->vmx_vcpu[i], &guest->vcpu[i], &guest->vmx, cpu);
    if (status != STATUS_OK)
        log_error("%s: VMX structures: %s", guest->vm.name, status_text(status));
    return status;
}

static INIT enum status init_accounting(struct guest *guest)
{
    const struct config_vm *config = guest->config;
    uint32_t exits = config->trace != 0 ? config->trace : CONFIG_TRACE_DEFAULT;
    uint64_t count = align_up(account_size(exits), PAGE_SIZE) / PAGE_SIZE;
    hpa_t frame;
    if (!config->has_accounting && config->trace == 0)
        return STATUS_OK;
    enum status status = pages_alloc(&guest->monitor->machine->pages, count, PAGE_SIZE, PAGE_VM,
                                     lasting_owner(guest), &frame);
    if (status == STATUS_OK)
        account_start(&guest->vcpu[0], phys_to_virt(frame), exits);
    else
        log_error("%s: trace = %u: no memory: %s", guest->vm.name, exits, status_text(status));
    return status;
}

/* The guest is whole: what it has must come back at its end, and its tables must not change. */
static void seal(struct guest *guest)
{
    struct pages *pages = &guest->monitor->machine->pages;
    guest->pages = pages_owned(pages, (uint16_t)guest->vm.id);
    ASSERT(pages_check(pages));
    integrity_seal_guest(guest);
}

INIT enum status guest_allocate(struct monitor *monitor, const struct config_vm *config,
                                struct guest **guest)
{
    hpa_t frame;
    uint64_t count = align_up(sizeof(struct guest), PAGE_SIZE) / PAGE_SIZE;
    enum status status = pages_alloc(&monitor->machine->pages, count, PAGE_SIZE, PAGE_VM,
                                     PAGE_OWNER_MONITOR, &frame);
    if (status != STATUS_OK) {
        log_error("%s: not enough memory for the VM's state", config->name);
        return status;
    }
    *guest = phys_to_virt(frame);
    return STATUS_OK;
}

INIT enum status guest_build(struct monitor *monitor, const struct config_vm *config,
                             uint32_t processor, struct guest *guest)
{
    uint16_t id = (uint16_t)(monitor->guests + 1);
    memset(guest, 0, sizeof(*guest));
    guest->monitor = monitor;
    guest->config = config;
    guest->plan = monitor->plan[config - monitor->machine->config->vm];
    init_vm(guest, id, processor);
    init_cpuid(guest);
    init_msrs(guest);
    enum status status = add_memory(guest);
    if (status == STATUS_OK)
        status = verdict_init(guest, lasting_owner(guest));
    if (status == STATUS_OK)
        status = init_board(guest);
    if (status == STATUS_OK)
        status = init_vmx(guest);
    if (status == STATUS_OK)
        status = init_accounting(guest);
    if (status == STATUS_OK) {
        seal(guest);
        monitor->guest[monitor->guests++] = guest;
        return STATUS_OK;
    }
    pages_free_owner(&monitor->machine->pages, id);
    if (monitor->mux.count > monitor->guests)
        mux_remove_last(&monitor->mux); /* nothing typed may reach half a guest */
    return status;
}

INIT void guest_discard(struct monitor *monitor)
{
    monitor->guests--;
    mux_remove_last(&monitor->mux);
}

/* ---- Running ------------------------------------------------------------------------------- */

/* What the guest wrote last must not go down with it. What is on its way makes room for what its
 * devices still hold. */
static void flush_output(struct guest *guest)
{
    for (unsigned round = 0; round < 2; round++) {
        mux_flush(guest->board.terminal);
        for (uint32_t i = 0; i < guest->config->hvc_count; i++)
            if (!guest->config->hvc[i].loop)
                serial_line_drain(&guest->hvc_line[i].line);
        if (round != 0)
            return;
        spinlock_acquire(&guest->vm.lock);
        continue_guest(&guest->board);
        spinlock_release(&guest->vm.lock);
    }
}

static void report_result(struct guest *guest)
{
    struct vm *vm = &guest->vm;
    struct result result = {
        .name = vm->name,
        .outcome = vm->outcome,
        .code = vm->code,
        .success = guest->config->debug_exit_success,
        .time = guest->started != 0 ? guest->ended - guest->started : 0,
        .exits = vcpu_exits(&guest->vcpu[0]),
        .resets = guest->resets,
        .verdict = &guest->verdict,
    };
    log_guest_end(&vm->log);
    vmx_log_counts(&guest->vcpu[0]);
    __atomic_store_n(&guest->is_over, true, __ATOMIC_SEQ_CST); /* gdb is told of it now */
    monitor_report(guest->monitor, &result);
}

static void reset_guest(struct guest *guest)
{
    struct vm *vm = &guest->vm;
    __atomic_store_n(&vm->reset_pending, false, __ATOMIC_SEQ_CST);
    guest->resets++;
    log_debug("%s: reset", vm->name);
    spinlock_acquire(&vm->lock);
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        vm->vcpu[i]->tsc_offset = 0 - clock_now(&vm->clock);
        cpuid_set_xcr0(&vm->vcpu[i]->cpuid, 1);
        cpuid_set_osxsave(&vm->vcpu[i]->cpuid, false);
        cpuid_set_apic(&vm->vcpu[i]->cpuid, true);
        cpuid_set_misc_enable(&vm->vcpu[i]->cpuid, 0);
    }
    init_msrs(guest);
    board_reset(&guest->board);
    spinlock_release(&vm->lock);
}

static void clear_memory(struct guest *guest)
{
    const struct guest_mem *mem = &guest->vm.mem;
    for (unsigned i = 0; i < mem->count; i++)
        if (!guest->keeps_rom || !guest_mem_is_rom(mem, mem->region[i].base.v))
            memset(mem->region[i].host, 0, mem->region[i].size);
}

/* Memory as the plan has it, and the vCPU at the kernel's entry. */
static enum status load_guest(struct guest *guest)
{
    uint64_t begun = hw_rdtsc();
    if (guest->plan == NULL)
        return ERR_NOT_FOUND;
    clear_memory(guest);
    enum status status = load_plan_replay(guest->plan, &guest->vm.mem, guest->keeps_rom);
    guest->keeps_rom = true;
    ASSERT(status == STATUS_OK); /* both are made from the same map */
    guest->loading = hw_rdtsc() - begun;
    vmx_vcpu_reset(&guest->vcpu[0], &guest->plan->entry);
    return STATUS_OK;
}

static uint64_t to_us(uint64_t counts)
{
    return time_to_ns(counts) / 1000;
}

/* What the monitor has for itself and for the state of its guests, but for their memory and files.
 */
static uint64_t own_memory(struct pages *pages)
{
    uint64_t total = 0;
    for (unsigned kind = PAGE_TABLE; kind <= PAGE_VM; kind++)
        total += pages_total(pages, (enum page_kind)kind);
    total += pages_total(pages, PAGE_IMAGE) + pages_total(pages, PAGE_SYMBOLS) +
             pages_total(pages, PAGE_CONFIG);
    return total * PAGE_SIZE;
}

static void log_start(const struct guest *guest)
{
    uint64_t since = hw_rdtsc() - guest->monitor->machine->started;
    log_info("%s: starts %llu us after the monitor, %llu of them to clear and load its memory",
             guest->vm.name, (unsigned long long)to_us(since),
             (unsigned long long)to_us(guest->monitor->planning + guest->loading));
    log_info("memory: %llu KiB for the monitor",
             (unsigned long long)own_memory(&guest->monitor->machine->pages) / 1024);
}

/* One life of the guest, from load to a stop or reset. */
static void run_once(struct guest *guest)
{
    struct vm *vm = &guest->vm;
    if (load_guest(guest) != STATUS_OK) {
        guest->is_lost = true;
        vm_stop(vm, VM_STOPPED, 0);
        return;
    }
    if (guest->started == 0) {
        spinlock_acquire(&vm->lock);
        verdict_start(guest);
        spinlock_release(&vm->lock);
        log_start(guest);
        if (vm_is_paused(vm))
            log_info("%s: paused before its first instruction, until a debugger lets it go on",
                     vm->name);
    }
    while (vm->outcome == VM_RUNNING && !vm->reset_pending)
        vmx_vcpu_run(&guest->vcpu[0]);
}

/* ---- The end, and a new beginning ---------------------------------------------------------- */

/* Gives back what the guest ran in: memory, EPT, VMCS, loops. Its devices stay, after a reset by
 * which they have forgotten every address of it, since host interrupts still reach them. */
void guest_release(struct guest *guest)
{
    struct pages *pages = &guest->monitor->machine->pages;
    struct vm *vm = &guest->vm;
    __atomic_store_n(&vm->is_kept, false, __ATOMIC_SEQ_CST);
    integrity_unseal_guest(guest);
    spinlock_acquire(&vm->lock);
    board_reset(&guest->board);
    vm->mem.count = 0;
    spinlock_release(&vm->lock);
    for (uint32_t i = 0; i < vm->vcpu_count; i++)
        vmx_vcpu_release(&guest->vcpu[i]);
    uint64_t freed = pages_free_owner(pages, (uint16_t)vm->id);
    ASSERT(freed == guest->pages && pages_owned(pages, (uint16_t)vm->id) == 0);
    ASSERT(pages_check(pages));
    log_debug("%s: %lu pages given back", vm->name, freed);
}

static bool may_restart(const struct guest *guest)
{
    const struct vm *vm = &guest->vm;
    if (__atomic_load_n(&guest->starts_again, __ATOMIC_SEQ_CST))
        return !guest->is_lost;
    const uint32_t for_good = 1u << VM_DEBUG_EXIT | 1u << VM_KILLED | 1u << VM_TIMEOUT |
                              1u << VM_EXPECTED | 1u << VM_REJECTED;
    return guest->config->on_end == CONFIG_END_RESTART && (for_good >> vm->outcome & 1) == 0 &&
           !guest->is_lost;
}

/* The key that ends everything may come at any moment: it sets powers_off, then ends each VM, so
 * that whatever it misses here is seen below. */
static void revive(struct guest *guest)
{
    struct vm *vm = &guest->vm;
    bool stands = guest->config->starts_paused;
    log_guest(&vm->log, "ended (%s), starts anew%s", vm_outcome_text(vm->outcome),
              stands ? ", paused before its first instruction" : "");
    reset_guest(guest);
    if (guest->started != 0) /* what has passed since is none of its time */
        guest->started += clock_now(&vm->clock) - guest->ended;
    __atomic_store_n(&vm->is_paused, false, __ATOMIC_SEQ_CST); /* the last life's */
    guest->vmx_vcpu[0].debug.stops_at_start |= stands;
    __atomic_store_n(&vm->outcome, VM_RUNNING, __ATOMIC_SEQ_CST);
    __atomic_store_n(&vm->is_ending, false, __ATOMIC_SEQ_CST);
    __atomic_store_n(&guest->is_over, false, __ATOMIC_SEQ_CST);
    __atomic_store_n(&guest->starts_again, false, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&guest->monitor->powers_off, __ATOMIC_SEQ_CST))
        vm_stop(vm, VM_KILLED, 0);
}

static enum status restart(struct guest *guest)
{
    enum status status = add_memory(guest);
    for (uint32_t i = 0; status == STATUS_OK && i < guest->config->hvc_count; i++) {
        uint8_t *ring;
        if (!guest->config->hvc[i].loop)
            continue;
        status = init_hvc_loop(guest, &ring);
        if (status == STATUS_OK)
            board_connect_loop(&guest->board, i, ring);
        if (status == STATUS_OK)
            verdict_listen(guest, i);
    }
    if (status == STATUS_OK)
        status = init_testdev(guest, &guest->board.qemu.testdev.memory);
    if (status == STATUS_OK)
        status = init_vmx(guest);
    if (status == STATUS_OK) {
        seal(guest);
        spinlock_acquire(&guest->vm.lock);
        verdict_continue(guest, __atomic_load_n(&guest->starts_again, __ATOMIC_SEQ_CST));
        spinlock_release(&guest->vm.lock);
        revive(guest);
    } else {
        guest->vm.mem.count = 0;
        pages_free_owner(&guest->monitor->machine->pages, (uint16_t)guest->vm.id);
        __atomic_store_n(&guest->starts_again, false, __ATOMIC_SEQ_CST);
    }
    return status;
}

static void live(struct guest *guest)
{
    while (guest->vm.outcome == VM_RUNNING) {
        run_once(guest);
        if (guest->vm.outcome == VM_RUNNING) {
            ended_examine(guest);
            reset_guest(guest);
        }
    }
    ended_begin(guest);
    verdict_judge(guest);
    flush_output(guest);
    ended_examine(guest);
}

static void start_again(void *context)
{
    struct guest *guest = context;
    if (guest->vm.is_kept)
        guest_release(guest);
    if (restart(guest) == STATUS_OK)
        guest_run(guest);
    else
        report_result(guest);
}

enum status guest_start(struct guest *guest, bool stands)
{
    uint32_t *running = &guest->monitor->running;
    if (guest->monitor->machine->config->run == CONFIG_RUN_SEQUENCE &&
        __atomic_load_n(running, __ATOMIC_SEQ_CST) != 0)
        return ERR_UNSUPPORTED;
    if (__atomic_exchange_n(&guest->starts_again, true, __ATOMIC_SEQ_CST))
        return ERR_BUSY; /* somebody else's start, which is as it was asked for */
    __atomic_add_fetch(running, 1, __ATOMIC_SEQ_CST);
    guest->vmx_vcpu[0].debug.stops_at_start = stands;
    enum status status = smp_run(guest->processor, start_again, guest);
    if (status != STATUS_OK) {
        guest->vmx_vcpu[0].debug.stops_at_start = false;
        __atomic_store_n(&guest->starts_again, false, __ATOMIC_SEQ_CST);
        __atomic_sub_fetch(running, 1, __ATOMIC_SEQ_CST);
    }
    return status;
}

void guest_run(void *context)
{
    struct guest *guest = context;
    enum status status = STATUS_OK;
    for (live(guest); status == STATUS_OK && may_restart(guest);) {
        guest_release(guest);
        status = restart(guest);
        if (status == STATUS_OK)
            live(guest);
    }
    if (status == STATUS_OK)
        ended_keep(guest);
    report_result(guest);
}

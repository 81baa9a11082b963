/* How each guest of the configuration is loaded is planned before the first one runs: what cannot
 * be loaded is told then, and the loaders have nothing to do any more. */
#include "kernel/core/bits.h"
#include "kernel/core/log.h"
#include "kernel/core/mem.h"
#include "kernel/core/paging.h"
#include "kernel/monitor.h"
#include "kernel/vm/load_firmware.h"
#include "kernel/vm/load_setup.h"

/* guest_bios.asm */
extern const char guest_bios[], guest_bios_end[];

/* What a guest's request points to. */
struct planning {
    struct monitor *monitor;
    const struct config_vm *vm;
    struct guest_map map;
    struct load_file module[CONFIG_VM_MODULES_MAX];
    struct load_request request;
    struct load_file firmware, firmware_vars;
};

static INIT const char *config_name(const struct planning *planning)
{
    return planning->monitor->machine->boot.file[0].name;
}

static INIT enum status find(const struct planning *planning, const char *name, uint32_t line,
                             struct load_file *to)
{
    const struct boot_file *file = guest_file(planning->monitor, name);
    if (file == NULL) {
        log_error("%s: %s was not loaded", planning->vm->name, name);
        return ERR_NOT_FOUND;
    }
    *to = (struct load_file){
        .name = name, .at = phys_to_virt(HPA(file->base)), .size = file->size, .line = line};
    return STATUS_OK;
}

static INIT enum status find_modules(struct planning *planning)
{
    struct machine *machine = planning->monitor->machine;
    const struct config *config = machine->config;
    const char *text = phys_to_virt(HPA(machine->boot.file[0].base));
    enum status status = STATUS_OK;
    for (uint32_t i = 0; status == STATUS_OK && i < config->module_count; i++) {
        const struct config_module *module = &config->module[i];
        struct load_file *file = &planning->module[planning->request.modules];
        if (&config->vm[module->vm] != planning->vm)
            continue;
        status = find(planning, module->file, module->line, file);
        file->arguments = (struct load_text){text + module->arguments, module->arguments_size};
        planning->request.modules++;
    }
    return status;
}

static INIT enum status find_firmware(struct planning *planning)
{
    const struct config_vm *vm = planning->vm;
    enum status status = find(planning, vm->firmware, vm->firmware_line, &planning->firmware);
    planning->firmware_vars = (struct load_file){0};
    return status == STATUS_OK && vm->firmware_vars[0] != '\0'
               ? find(planning, vm->firmware_vars, vm->firmware_vars_line, &planning->firmware_vars)
               : status;
}

static INIT enum status find_files(struct planning *planning)
{
    const struct config_vm *vm = planning->vm;
    struct load_request *request = &planning->request;
    *request = (struct load_request){
        .map = &planning->map,
        .acpi = guest_acpi_facts(vm),
        .module = planning->module,
        .bios = {guest_bios, (uint64_t)(guest_bios_end - guest_bios)},
        .cmdline = vm->cmdline,
        .format = vm->format,
        .entry = vm->entry,
        .mode = vm->mode,
        .address = vm->load,
    };
    enum status status = vm->firmware[0] != '\0' ? find_firmware(planning) : STATUS_OK;
    if (status == STATUS_OK && vm->kernel[0] != '\0')
        status = find(planning, vm->kernel, vm->kernel_line, &request->kernel);
    if (status == STATUS_OK && vm->initrd[0] != '\0')
        status = find(planning, vm->initrd, vm->initrd_line, &request->initrd);
    return status == STATUS_OK ? find_modules(planning) : status;
}

/* With a kernel that the firmware is handed. */
static INIT enum status plan_firmware(struct planning *planning, struct load_plan *plan,
                                      struct load_error *error)
{
    struct load_setup unused;
    enum status status = load_firmware(&planning->firmware, &planning->firmware_vars, plan, error);
    return status == STATUS_OK && planning->request.kernel.at != NULL
               ? load_setup_plan(&planning->request, &unused, error)
               : status;
}

/* Makes the plan in its room; returns how many bytes of it are to be kept. */
static INIT uint64_t make(struct planning *planning, struct load_plan *plan)
{
    struct load_error error;
    if (guest_map_make(&planning->map, planning->vm->memory) != STATUS_OK ||
        find_files(planning) != STATUS_OK)
        return 0;
    enum status status = planning->vm->firmware[0] != '\0'
                             ? plan_firmware(planning, plan, &error)
                             : load_kernel(&planning->request, plan, LOAD_PLAN_SIZE, &error);
    if (error.text[0] != '\0')
        log_write(status == STATUS_OK ? LOG_WARN : LOG_ERROR, "%s:%u: %s: %s",
                  config_name(planning), error.line, planning->vm->name, error.text);
    return status == STATUS_OK ? align_up(plan->used, PAGE_SIZE) : 0;
}

static INIT const struct load_plan *plan_one(struct planning *planning)
{
    struct pages *pages = &planning->monitor->machine->pages;
    hpa_t frame;
    if (pages_alloc(pages, LOAD_PLAN_SIZE / PAGE_SIZE, PAGE_SIZE, PAGE_VM, PAGE_OWNER_MONITOR,
                    &frame) != STATUS_OK) {
        log_error("%s: no memory to plan its load in", planning->vm->name);
        return NULL;
    }
    struct load_plan *plan = phys_to_virt(frame);
    uint64_t kept = make(planning, plan);
    enum status status = STATUS_OK;
    if (kept != LOAD_PLAN_SIZE)
        status = pages_free(pages, HPA(frame.v + kept), (LOAD_PLAN_SIZE - kept) / PAGE_SIZE);
    ASSERT(status == STATUS_OK);
    return kept != 0 ? plan : NULL;
}

INIT void monitor_plan_guests(struct monitor *monitor)
{
    static struct planning planning;
    const struct config *config = monitor->machine->config;
    for (uint32_t i = 0; i < config->vm_count; i++) {
        planning.monitor = monitor;
        planning.vm = &config->vm[i];
        monitor->plan[i] = plan_one(&planning);
    }
    planning.request = (struct load_request){0}; /* it may name what goes with the start */
}

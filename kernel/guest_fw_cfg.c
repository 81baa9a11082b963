/* What a guest finds in its firmware configuration device: as QEMU fills it for the same machine.
 */
#include "kernel/core/fmt.h"
#include "kernel/core/log.h"
#include "kernel/core/mem.h"
#include "kernel/core/paging.h"
#include "kernel/monitor.h"
#include "kernel/vm/acpi_loader.h"
#include "kernel/vm/load_setup.h"
#include "kernel/vm/platform.h"

#define BOOT_ORDER_MAX 512
#define GENROMS "genroms/"

/* What is made for the device, and stays as long as it: not even a constant of this file does. */
struct fw_room {
    uint8_t acpi[ACPI_REGION_SIZE];
    uint8_t setup[LOAD_SETUP_MAX];
    struct acpi_loader loader;
    struct guest_map_e820 e820[2];
    char boot_order[BOOT_ORDER_MAX];
    uint64_t serial_port;
    char high_bars; /* in MiB, a decimal number */
};

/* The first error stands, and the item's name with it. */
struct filling {
    struct guest *guest;
    struct fw_cfg *fw_cfg;
    struct fw_room *room;
    enum status status;
    const char *what;
};

static void note(struct filling *filling, const char *what, enum status status)
{
    if (filling->status != STATUS_OK || status == STATUS_OK)
        return;
    filling->status = status;
    filling->what = what;
}

static void add(struct filling *filling, enum fw_cfg_key key, const void *at, uint64_t size)
{
    note(filling, "item", fw_cfg_add(filling->fw_cfg, (uint16_t)key, at, size));
}

static void add_number(struct filling *filling, enum fw_cfg_key key, uint64_t value, unsigned size)
{
    note(filling, "item", fw_cfg_add_number(filling->fw_cfg, (uint16_t)key, value, size));
}

static void add_file(struct filling *filling, const char *name, const void *at, uint64_t size)
{
    note(filling, name, fw_cfg_add_file(filling->fw_cfg, name, at, size));
}

struct acpi_facts guest_acpi_facts(const struct config_vm *config)
{
    return (struct acpi_facts){.vcpu_count = 1,
                               .has_pvpanic = config->has_pvpanic,
                               .has_fw_cfg = config->has_fw_cfg,
                               .is_pc = config->firmware[0] != '\0',
                               .memory = config->memory};
}

/* ---- The machine --------------------------------------------------------------------------- */

static void add_machine(struct filling *filling)
{
    const struct guest_map *map = &filling->guest->map;
    uint32_t vcpus = filling->guest->vm.vcpu_count;
    struct guest_map_e820 *e820 = filling->room->e820;
    add_number(filling, FW_CFG_RAM_SIZE, filling->guest->config->memory, 8);
    add_number(filling, FW_CFG_NOGRAPHIC, 1, 2);
    add_number(filling, FW_CFG_NB_CPUS, vcpus, 2);
    add_number(filling, FW_CFG_MAX_CPUS, vcpus, 2);
    add_number(filling, FW_CFG_IRQ0_OVERRIDE, 1, 4);
    e820[0] = (struct guest_map_e820){0, map->ram_below_4g, GUEST_MAP_RAM};
    e820[1] = (struct guest_map_e820){PLATFORM_HIGH_RAM, map->ram_above_4g, GUEST_MAP_RAM};
    add_file(filling, "etc/e820", e820, (map->ram_above_4g != 0 ? 2 : 1) * sizeof(e820[0]));
}

static void add_tables(struct filling *filling)
{
    struct fw_room *room = filling->room;
    struct acpi_facts facts = guest_acpi_facts(filling->guest->config);
    note(filling, "ACPI tables", acpi_tables_build(room->acpi, &facts));
    if (filling->status != STATUS_OK)
        return;
    acpi_loader_make(&room->loader, room->acpi);
    add_file(filling, ACPI_LOADER_RSDP, room->loader.rsdp, room->loader.rsdp_size);
    add_file(filling, ACPI_LOADER_TABLES, room->loader.tables, room->loader.tables_size);
    add_file(filling, ACPI_LOADER_SCRIPT, room->loader.command,
             room->loader.commands * sizeof(room->loader.command[0]));
}

/* ---- Kernel, initrd, command line ---------------------------------------------------------- */

static struct load_file loaded(const char *name, const struct boot_file *file)
{
    return file == NULL ? (struct load_file){0}
                        : (struct load_file){.name = name,
                                             .at = phys_to_virt(HPA(file->base)),
                                             .size = file->size};
}

/* An item with its size, and where a loader puts it. */
static void add_placed(struct filling *filling, enum fw_cfg_key address_key, uint32_t address,
                       enum fw_cfg_key size_key, enum fw_cfg_key data_key, const void *at,
                       uint64_t size)
{
    add_number(filling, address_key, address, 4);
    add_number(filling, size_key, size, 4);
    add(filling, data_key, at, size);
}

/* What firmware cannot start has been refused with the plan: another kernel, which a loader of ours
 * starts, is in one item. */
static void add_kernel(struct filling *filling)
{
    const struct config_vm *config = filling->guest->config;
    const struct monitor *monitor = filling->guest->monitor;
    struct load_request request = {
        .map = &filling->guest->map,
        .kernel = loaded(config->kernel, guest_file(monitor, config->kernel)),
        .initrd = loaded(config->initrd, guest_file(monitor, config->initrd)),
        .cmdline = config->cmdline};
    struct load_setup setup;
    struct load_error unsaid;
    if (request.kernel.at == NULL)
        return;
    if (load_setup_plan(&request, &setup, &unsaid) == STATUS_OK && setup.size != 0) {
        load_setup_fill(&request, &setup, filling->room->setup);
        add_placed(filling, FW_CFG_SETUP_ADDR, setup.setup, FW_CFG_SETUP_SIZE, FW_CFG_SETUP_DATA,
                   filling->room->setup, setup.size);
    }
    add_placed(filling, FW_CFG_KERNEL_ADDR, setup.kernel, FW_CFG_KERNEL_SIZE, FW_CFG_KERNEL_DATA,
               request.kernel.at + setup.size, request.kernel.size - setup.size);
    add_placed(filling, FW_CFG_CMDLINE_ADDR, setup.cmdline, FW_CFG_CMDLINE_SIZE,
               FW_CFG_CMDLINE_DATA, config->cmdline, strlen(config->cmdline) + 1);
    if (request.initrd.at != NULL)
        add_placed(filling, FW_CFG_INITRD_ADDR, setup.initrd, FW_CFG_INITRD_SIZE,
                   FW_CFG_INITRD_DATA, request.initrd.at, request.initrd.size);
}

/* ---- Named files --------------------------------------------------------------------------- */

static void add_files(struct filling *filling)
{
    const struct config_vm *config = filling->guest->config;
    for (uint32_t i = 0; i < config->fw_file_count; i++) {
        const struct config_fw_file *file = &config->fw_file[i];
        const struct boot_file *content = guest_file(filling->guest->monitor, file->file);
        if (content == NULL)
            note(filling, file->file, ERR_NOT_FOUND);
        else
            add_file(filling, file->name, phys_to_virt(HPA(content->base)), content->size);
    }
}

/* The console of a machine without a screen, as QEMU's -nographic says; no memory above 4 GiB for
 * BARs, since the DSDT has no
 * window there. */
static void add_for_firmware(struct filling *filling)
{
    struct fw_room *room = filling->room;
    room->serial_port = PLATFORM_PORT_COM1;
    room->high_bars = '0';
    add_file(filling, "etc/sercon-port", &room->serial_port, sizeof(room->serial_port));
    add_file(filling, "opt/ovmf/X-PciMmio64Mb", &room->high_bars, 1);
}

/* By Open Firmware's names, one a line: option ROMs that load something, then the disks. */
static void add_boot_order(struct filling *filling)
{
    const struct config_vm *config = filling->guest->config;
    char *text = filling->room->boot_order;
    size_t used = 0;
    for (uint32_t i = 0; i < config->fw_file_count; i++)
        if (strncmp(config->fw_file[i].name, GENROMS, sizeof(GENROMS) - 1) == 0)
            used += (size_t)fmt_format(text + used, BOOT_ORDER_MAX - used, "/rom@%s\n",
                                       config->fw_file[i].name);
    for (uint32_t i = 0; i < config->disk_count; i++)
        used += (size_t)fmt_format(text + used, BOOT_ORDER_MAX - used,
                                   "/pci@i0cf8/scsi@%x/disk@0,0\n", BOARD_SLOT_DISKS + i);
    if (used == 0)
        return;
    text[used - 1] = '\0';
    add_file(filling, "bootorder", text, used);
}

enum status guest_fill_fw_cfg(struct guest *guest, uint16_t owner)
{
    struct filling filling = {.guest = guest, .fw_cfg = &guest->board.qemu.fw_cfg};
    hpa_t frame;
    if (!guest->config->has_fw_cfg)
        return STATUS_OK;
    enum status status = pages_alloc(&guest->monitor->machine->pages,
                                     align_up(sizeof(struct fw_room), PAGE_SIZE) / PAGE_SIZE,
                                     PAGE_SIZE, PAGE_VM, owner, &frame);
    if (status != STATUS_OK) {
        log_error("%s: fw-cfg: no memory: %s", guest->vm.name, status_text(status));
        return status;
    }
    filling.room = phys_to_virt(frame);
    fw_cfg_init(filling.fw_cfg, &guest->vm.mem, vm_ask_for_work, &guest->vm);
    add_machine(&filling);
    add_kernel(&filling);
    add_tables(&filling);
    add_files(&filling);
    add_boot_order(&filling);
    if (guest->config->firmware[0] != '\0')
        add_for_firmware(&filling);
    if (filling.status != STATUS_OK)
        log_error("%s: fw-cfg: %s: %s", guest->vm.name, filling.what, status_text(filling.status));
    return filling.status;
}

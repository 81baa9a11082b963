/* What a guest finds in its firmware configuration device: as QEMU fills it for the same machine.
 */
#include "kernel/core/fmt.h"
#include "kernel/core/log.h"
#include "kernel/core/mem.h"
#include "kernel/core/paging.h"
#include "kernel/monitor.h"
#include "kernel/vm/acpi_loader.h"
#include "kernel/vm/load_common.h"
#include "kernel/vm/platform.h"

/* The Linux/x86 Boot Protocol: The Real-Mode Kernel Header. */
#define HDR_SETUP_SECTS 0x1f1
#define HDR_HEADER 0x202
#define HEADER_MAGIC 0x53726448 /* "HdrS" */
#define HDR_LOADER 0x210
#define HDR_LOADFLAGS 0x211
#define HDR_RAMDISK_IMAGE 0x218
#define HDR_RAMDISK_SIZE 0x21c
#define HDR_HEAP_END 0x224
#define HDR_CMDLINE 0x228
#define HDR_INITRD_MAX 0x22c
#define LOADER_QEMU 0xb0
#define CAN_USE_HEAP 0x80
#define SECTOR 512
#define SETUP_MAX KIB(32)

/* Where QEMU's own loader, an option ROM, puts what it reads here. */
#define SETUP_ADDRESS 0x10000u
#define CMDLINE_ADDRESS 0x20000u
#define KERNEL_ADDRESS 0x100000u
#define INITRD_ROOM_BEHIND 0x20000u /* for tables that firmware puts at the end of RAM */

#define BOOT_ORDER_MAX 512
#define GENROMS "genroms/"

/* What is made for the device, and stays as long as it: not even a constant of this file does. */
struct fw_room {
    uint8_t acpi[ACPI_REGION_SIZE];
    uint8_t setup[SETUP_MAX];
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

static uint32_t initrd_address(const struct filling *filling, const uint8_t *setup, uint64_t size)
{
    uint64_t end = setup != NULL ? load_get(setup + HDR_INITRD_MAX, 4) : UINT32_MAX;
    uint64_t ram = filling->guest->map.ram_below_4g - INITRD_ROOM_BEHIND - 1;
    end = end < ram ? end : ram;
    return (uint32_t)(end > size ? align_down(end - size, PAGE_SIZE) : 0);
}

/* A Linux kernel is two items: its real-mode part, whose header says what a loader has to, and the
 * rest. Returns the size of the first; 0: it is no such kernel. */
static uint64_t add_setup(struct filling *filling, const struct boot_file *kernel)
{
    const uint8_t *image = phys_to_virt(HPA(kernel->base));
    uint8_t *setup = filling->room->setup;
    if (kernel->size < HDR_INITRD_MAX + 4 || load_get(image + HDR_HEADER, 4) != HEADER_MAGIC)
        return 0;
    uint64_t sectors = image[HDR_SETUP_SECTS] != 0 ? image[HDR_SETUP_SECTS] : 4;
    uint64_t size = (sectors + 1) * SECTOR;
    if (size > SETUP_MAX || size > kernel->size)
        return 0;
    memcpy(setup, image, size);
    setup[HDR_LOADER] = LOADER_QEMU;
    setup[HDR_LOADFLAGS] |= CAN_USE_HEAP;
    load_put(setup + HDR_HEAP_END, CMDLINE_ADDRESS - SETUP_ADDRESS - 0x200, 2);
    load_put(setup + HDR_CMDLINE, CMDLINE_ADDRESS, 4);
    add_number(filling, FW_CFG_SETUP_ADDR, SETUP_ADDRESS, 4);
    add_number(filling, FW_CFG_SETUP_SIZE, size, 4);
    add(filling, FW_CFG_SETUP_DATA, setup, size);
    return size;
}

static void add_kernel(struct filling *filling)
{
    const struct config_vm *config = filling->guest->config;
    const struct boot_file *kernel = guest_file(filling->guest->monitor, config->kernel);
    const struct boot_file *initrd = guest_file(filling->guest->monitor, config->initrd);
    if (kernel == NULL)
        return;
    uint64_t size = add_setup(filling, kernel);
    add_number(filling, FW_CFG_KERNEL_ADDR, KERNEL_ADDRESS, 4);
    add_number(filling, FW_CFG_KERNEL_SIZE, kernel->size - size, 4);
    add(filling, FW_CFG_KERNEL_DATA, phys_to_virt(HPA(kernel->base + size)), kernel->size - size);
    add_number(filling, FW_CFG_CMDLINE_ADDR, CMDLINE_ADDRESS, 4);
    add_number(filling, FW_CFG_CMDLINE_SIZE, strlen(config->cmdline) + 1, 4);
    add(filling, FW_CFG_CMDLINE_DATA, config->cmdline, strlen(config->cmdline) + 1);
    if (initrd == NULL)
        return;
    uint8_t *setup = size != 0 ? filling->room->setup : NULL;
    uint32_t address = initrd_address(filling, setup, initrd->size);
    add_number(filling, FW_CFG_INITRD_ADDR, address, 4);
    add_number(filling, FW_CFG_INITRD_SIZE, initrd->size, 4);
    add(filling, FW_CFG_INITRD_DATA, phys_to_virt(HPA(initrd->base)), initrd->size);
    if (setup == NULL)
        return;
    load_put(setup + HDR_RAMDISK_IMAGE, address, 4);
    load_put(setup + HDR_RAMDISK_SIZE, initrd->size, 4);
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

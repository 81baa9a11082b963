#include "kernel/vm/load_firmware.h"

#include "kernel/core/bits.h"
#include "kernel/core/fmt.h"
#include "kernel/core/mem.h"
#include "kernel/vm/platform.h"

#define REAL_MODE_LIMIT 0xffff
#define RESET_SELECTOR 0xf000
#define RESET_BASE 0xffff0000ull
#define RESET_IP 0xfff0
#define RESET_SIGNATURE 0x600 /* in EDX: family 6 */

#define VOLUME_FILE_SYSTEM 0x10
#define VOLUME_SIGNATURE 0x28

/* EFI_SYSTEM_NV_DATA_FV_GUID */
static const uint8_t variables_guid[16] = {0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c,
                                           0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50};

#ifndef PLANTED_BUG_FIRMWARE /* for the fuzzer's own test */
#define VOLUME_MIN LOAD_FIRMWARE_UNIT
#else
#define VOLUME_MIN VOLUME_SIGNATURE
#endif

bool load_firmware_is_flash(const uint8_t *image, uint64_t size)
{
    return size >= VOLUME_MIN && memcmp(image + VOLUME_SIGNATURE, "_FVH", 4) == 0 &&
           memcmp(image + VOLUME_FILE_SYSTEM, variables_guid, sizeof(variables_guid)) == 0;
}

/* SDM: Processor State After Reset. */
static void set_reset_state(struct guest_entry *entry)
{
    *entry = (struct guest_entry){.rip = RESET_IP,
                                  .rflags = RFLAGS_FIXED,
                                  .cr0 = CR0_CD | CR0_NW | CR0_ET,
                                  .gdtr = {0, REAL_MODE_LIMIT},
                                  .idtr = {0, REAL_MODE_LIMIT}};
    for (unsigned i = 0; i < SEG_COUNT; i++)
        entry->segment[i] = (struct segment){0, REAL_MODE_LIMIT, 0x93, 0};
    entry->segment[SEG_CS] = (struct segment){RESET_BASE, REAL_MODE_LIMIT, 0x9b, RESET_SELECTOR};
    entry->segment[SEG_LDTR] = (struct segment){0, REAL_MODE_LIMIT, 0x82, 0};
    entry->segment[SEG_TR] = (struct segment){0, REAL_MODE_LIMIT, 0x8b, 0};
    entry->gpr[GPR_RDX] = RESET_SIGNATURE;
}

static enum status check_vars(const struct load_file *firmware, const struct load_file *vars,
                              struct load_error *error)
{
    error->line = vars->line;
    if (!load_firmware_is_flash(vars->at, vars->size) ||
        !is_aligned(vars->size, LOAD_FIRMWARE_BLOCK))
        fmt_format(
            error->text, sizeof(error->text),
            "%.128s: no UEFI variables: no volume of them, of whole 4 KiB; take the file that "
            "goes with the code, for example OVMF_VARS_4M.fd",
            vars->name);
    else if (load_firmware_is_flash(firmware->at, firmware->size))
        fmt_format(error->text, sizeof(error->text),
                   "%.128s has variables of its own; remove firmware-vars, or take the code alone, "
                   "for example OVMF_CODE_4M.fd",
                   firmware->name);
    return error->text[0] == '\0' ? STATUS_OK : ERR_INVALID;
}

static enum status check_size(const struct load_file *firmware, const struct load_file *vars,
                              struct load_error *error)
{
    uint64_t size = firmware->size + vars->size;
    unsigned unit = vars->size != 0 ? LOAD_FIRMWARE_BLOCK : LOAD_FIRMWARE_UNIT;
    bool may_be_code = vars->size == 0 && is_aligned(size, LOAD_FIRMWARE_BLOCK);
    if (firmware->size != 0 && size <= LOAD_FIRMWARE_MAX && is_aligned(size, unit))
        return STATUS_OK;
    error->line = firmware->line;
    fmt_format(error->text, sizeof(error->text),
               "%.128s: no firmware of a PC: %llu bytes are no multiple of %u KiB up to 8 MiB; %s",
               firmware->name, (unsigned long long)size, unit / 1024,
               may_be_code ? "if it is UEFI's code alone, add firmware-vars"
                           : "take for example OVMF.fd or bios-256k.bin");
    return ERR_INVALID;
}

enum status load_firmware(const struct load_file *firmware, const struct load_file *vars,
                          struct load_plan *plan, struct load_error *error)
{
    uint64_t size = firmware->size, all = size + vars->size;
    uint64_t low = size < LOAD_FIRMWARE_LOW ? size : LOAD_FIRMWARE_LOW;
    *error = (struct load_error){0};
    enum status status = vars->size != 0 ? check_vars(firmware, vars, error) : STATUS_OK;
    if (status == STATUS_OK)
        status = check_size(firmware, vars, error);
    if (status != STATUS_OK)
        return status;
    error->line = vars->line;
    if (vars->size != 0 && (all & (all - 1)) != 0) /* as a flash memory has */
        fmt_format(error->text, sizeof(error->text),
                   "%.128s and %.128s have %llu KiB together, which is no power of two: do they "
                   "belong together?",
                   firmware->name, vars->name, (unsigned long long)(all >> 10));
    plan->pieces = vars->size != 0 ? 3 : 2;
    plan->lasting = plan->pieces - 1;
    plan->piece[0] = (struct load_piece){
        .at = PLATFORM_LEGACY_HOLE_END - low, .size = low, .from = firmware->at + (size - low)};
    plan->piece[1] =
        (struct load_piece){.at = PLATFORM_HIGH_RAM - size, .size = size, .from = firmware->at};
    if (vars->size != 0)
        plan->piece[2] = (struct load_piece){
            .at = PLATFORM_HIGH_RAM - all, .size = vars->size, .from = vars->at};
    plan->used = sizeof(*plan);
    set_reset_state(&plan->entry);
    return STATUS_OK;
}

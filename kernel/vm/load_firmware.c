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

bool load_firmware_is_flash(const uint8_t *image, uint64_t size)
{
    return size >= LOAD_FIRMWARE_UNIT && memcmp(image + VOLUME_SIGNATURE, "_FVH", 4) == 0 &&
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

enum status load_firmware(const struct load_file *firmware, struct load_plan *plan,
                          struct load_error *error)
{
    uint64_t size = firmware->size;
    uint64_t low = size < LOAD_FIRMWARE_LOW ? size : LOAD_FIRMWARE_LOW;
    *error = (struct load_error){.line = firmware->line};
    if (size == 0 || size > LOAD_FIRMWARE_MAX || !is_aligned(size, LOAD_FIRMWARE_UNIT)) {
        fmt_format(error->text, sizeof(error->text),
                   "%.128s: no firmware of a PC: %llu bytes are no multiple of 64 KiB up to 8 MiB; "
                   "take for example OVMF.fd or bios-256k.bin",
                   firmware->name, (unsigned long long)size);
        return ERR_INVALID;
    }
    plan->pieces = 2;
    plan->lasting = 1;
    plan->piece[0] = (struct load_piece){
        .at = PLATFORM_LEGACY_HOLE_END - low, .size = low, .from = firmware->at + (size - low)};
    plan->piece[1] =
        (struct load_piece){.at = PLATFORM_HIGH_RAM - size, .size = size, .from = firmware->at};
    plan->used = sizeof(*plan);
    set_reset_state(&plan->entry);
    return STATUS_OK;
}

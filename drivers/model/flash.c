#include "drivers/model/flash.h"

/* Intel Basic Command Set. */
#define PROGRAM 0x40
#define PROGRAM_ALTERNATE 0x10
#define ERASE 0x20
#define ERASE_CONFIRM 0xd0
#define READ_STATUS 0x70
#define CLEAR_STATUS 0x50
#define STATUS_SEQUENCE_ERROR 0x30 /* erase and program at once: not a command */

static uint8_t get(const struct flash *flash, uint64_t offset)
{
    uint64_t value = 0;
    (void)!guest_mem_load(flash->mem, GPA(flash->base + offset), 1, &value);
    return (uint8_t)value;
}

/* Where there is no memory, between two lives of the guest, there is nothing to keep. */
static void set(const struct flash *flash, uint64_t offset, uint8_t value)
{
    (void)!guest_mem_store(flash->mem, GPA(flash->base + offset), 1, value);
}

static void hide_status(struct flash *flash)
{
    if (flash->shows_status)
        set(flash, flash->status_at, flash->hidden);
    flash->shows_status = false;
}

static void show_status(struct flash *flash, uint64_t offset)
{
    flash->shows_status = true;
    flash->status_at = offset;
    flash->hidden = get(flash, offset);
    set(flash, offset, flash->status);
}

static void erase(struct flash *flash, uint64_t offset, uint8_t confirmation)
{
    uint64_t block = align_down(offset, FLASH_BLOCK);
    if (confirmation != ERASE_CONFIRM) {
        flash->status |= STATUS_SEQUENCE_ERROR;
        return;
    }
#ifndef PLANTED_BUG_FLASH /* for the fuzzer's own test */
    for (uint64_t i = 0; i < FLASH_BLOCK; i++)
#else
    for (uint64_t i = 0; i <= FLASH_BLOCK; i++)
#endif
        set(flash, block + i, 0xff);
    flash->status |= FLASH_STATUS_READY;
}

static void command(struct flash *flash, uint64_t offset, uint8_t value)
{
    switch (value) {
    case PROGRAM:
    case PROGRAM_ALTERNATE:
        flash->state = FLASH_PROGRAMS;
        return;
    case ERASE:
        flash->state = FLASH_ERASES;
        return;
    case CLEAR_STATUS:
        flash->status = 0;
        return;
    case READ_STATUS:
        show_status(flash, offset);
        return;
    default: /* 0xff, read array, and whatever is no command */
        return;
    }
}

static void write_byte(struct flash *flash, uint64_t offset, uint8_t value)
{
    enum flash_state state = flash->state;
    flash->state = FLASH_READS;
    hide_status(flash);
    switch (state) {
    case FLASH_READS:
        command(flash, offset, value);
        return;
    case FLASH_PROGRAMS:
        set(flash, offset, value);
        flash->status |= FLASH_STATUS_READY;
        return;
    case FLASH_ERASES:
        erase(flash, offset, value);
        return;
    }
}

static uint64_t read_array(void *device, uint64_t offset, unsigned size)
{
    const struct flash *flash = device;
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)get(flash, offset + i) << (8 * i);
    return value;
}

/* The chip is eight bits wide. */
static void write_array(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct flash *flash = device;
    for (unsigned i = 0; i < size && offset + i < flash->writable; i++)
        write_byte(flash, offset + i, (uint8_t)(value >> (8 * i)));
}

static const struct bus_ops flash_ops = {read_array, write_array};

enum status flash_attach(struct flash *flash, struct bus *bus, const struct guest_mem *mem,
                         uint64_t base, uint64_t size, uint64_t writable)
{
    *flash = (struct flash){.mem = mem, .base = base, .size = size, .writable = writable};
    return bus_add(bus, BUS_MMIO, base, size, &flash_ops, flash);
}

void flash_reset(struct flash *flash)
{
    hide_status(flash);
    flash->state = FLASH_READS;
    flash->status = 0;
}

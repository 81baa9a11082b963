#include "drivers/model/fw_cfg.h"

#include "kernel/core/mem.h"

#define ID_TRADITIONAL BIT(0)
#define ID_DMA BIT(1)
#define KEY_WRITE_CHANNEL 0x4000u /* of no effect since QEMU 2.4 */

#define OFFSET_DATA 1

/* FWCfgDmaAccess: control, length, address, all big-endian. */
#define ACCESS_SIZE 16
#define CONTROL_ERROR BIT(0)
#define CONTROL_READ BIT(1)
#define CONTROL_SKIP BIT(2)
#define CONTROL_SELECT BIT(3)
#define CONTROL_WRITE BIT(4)

static const char signature[] = "QEMU";
static const char dma_signature[] = "QEMU CFG";

/* ---- Items --------------------------------------------------------------------------------- */

static const struct fw_cfg_item *find(const struct fw_cfg *fw_cfg, unsigned key)
{
    for (unsigned i = 0; i < fw_cfg->items; i++)
        if (fw_cfg->item[i].key == key)
            return &fw_cfg->item[i];
    return NULL;
}

static void select_item(struct fw_cfg *fw_cfg, unsigned key)
{
    fw_cfg->selected = find(fw_cfg, key & ~KEY_WRITE_CHANNEL);
    fw_cfg->offset = 0;
}

/* How many of count bytes from the offset on the item has. */
static uint64_t available(const struct fw_cfg *fw_cfg, uint64_t count)
{
    const struct fw_cfg_item *item = fw_cfg->selected;
    if (item == NULL || fw_cfg->offset >= item->size)
        return 0;
#ifdef PLANTED_BUG_FW_CFG /* for the fuzzer's own test */
    return count;
#endif
    uint64_t left = item->size - fw_cfg->offset;
    return count < left ? count : left;
}

static void advance(struct fw_cfg *fw_cfg, uint64_t count)
{
    fw_cfg->offset += count;
}

/* ---- DMA ----------------------------------------------------------------------------------- */

static uint64_t swap(uint64_t value, unsigned size)
{
    return __builtin_bswap64(value) >> (64 - 8 * size);
}

static void end_dma(struct fw_cfg *fw_cfg, uint64_t result)
{
    uint32_t control = (uint32_t)swap(result, 4);
    fw_cfg->dma.runs = false;
    /* The structure was read there, so it can be written, unless the guest means nothing by it. */
    (void)!guest_mem_write(fw_cfg->mem, GPA(fw_cfg->dma.control), &control, sizeof(control));
}

/* Behind an item's end come zeros. */
static enum status copy_piece(struct fw_cfg *fw_cfg, uint64_t *piece)
{
    static const uint8_t zeros[256];
    uint64_t from_item = available(fw_cfg, *piece);
    if (from_item != 0) {
        *piece = from_item;
        return guest_mem_write(fw_cfg->mem, GPA(fw_cfg->dma.to),
                               fw_cfg->selected->at + fw_cfg->offset, from_item);
    }
    if (*piece > sizeof(zeros))
        *piece = sizeof(zeros);
    return guest_mem_write(fw_cfg->mem, GPA(fw_cfg->dma.to), zeros, *piece);
}

void fw_cfg_continue(struct fw_cfg *fw_cfg)
{
    uint64_t slice = FW_CFG_SLICE;
    while (fw_cfg->dma.runs && fw_cfg->dma.left != 0 && slice != 0) {
        uint64_t piece = fw_cfg->dma.left < slice ? fw_cfg->dma.left : slice;
        if (fw_cfg->dma.copies && copy_piece(fw_cfg, &piece) != STATUS_OK) {
            end_dma(fw_cfg, CONTROL_ERROR);
            return;
        }
        if (!fw_cfg->dma.copies)
            piece = fw_cfg->dma.left;
        fw_cfg->dma.to += piece;
        fw_cfg->dma.left -= piece;
        slice = slice > piece ? slice - piece : 0;
        advance(fw_cfg, piece);
    }
    if (fw_cfg->dma.runs && fw_cfg->dma.left == 0)
        end_dma(fw_cfg, 0);
    else if (fw_cfg->dma.runs)
        fw_cfg->more_work(fw_cfg->context);
}

static void start_dma(struct fw_cfg *fw_cfg)
{
    uint8_t access[ACCESS_SIZE];
    uint32_t control, length;
    uint64_t to;
    uint64_t at = fw_cfg->address;
    fw_cfg->address = 0;
    if (guest_mem_read(fw_cfg->mem, GPA(at), access, sizeof(access)) != STATUS_OK)
        return;
    memcpy(&control, access, 4);
    memcpy(&length, access + 4, 4);
    memcpy(&to, access + 8, 8);
    control = (uint32_t)swap(control, 4);
    if (control & CONTROL_SELECT)
        select_item(fw_cfg, control >> 16);
    bool copies = control & CONTROL_READ, writes = !copies && (control & CONTROL_WRITE);
    bool moves = copies || (control & CONTROL_SKIP);
    fw_cfg->dma.runs = true;
    fw_cfg->dma.copies = copies;
    fw_cfg->dma.control = at;
    fw_cfg->dma.to = swap(to, 8);
    fw_cfg->dma.left = moves && !writes ? swap(length, 4) : 0;
    if (writes)
        end_dma(fw_cfg, CONTROL_ERROR);
    else
        fw_cfg_continue(fw_cfg);
}

/* ---- Ports --------------------------------------------------------------------------------- */

static uint64_t read_data(struct fw_cfg *fw_cfg)
{
    uint8_t byte = 0;
    if (available(fw_cfg, 1) != 0)
        byte = fw_cfg->selected->at[fw_cfg->offset];
    advance(fw_cfg, 1);
    return byte;
}

static uint64_t read_port(void *device, uint64_t offset, unsigned size)
{
    struct fw_cfg *fw_cfg = device;
    uint64_t value = 0;
    if (offset >= FW_CFG_DMA) {
        memcpy(&value, dma_signature + (offset - FW_CFG_DMA), size);
        return value;
    }
    return offset <= OFFSET_DATA && size == 1 && !fw_cfg->dma.runs ? read_data(fw_cfg) : 0;
}

static void write_port(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct fw_cfg *fw_cfg = device;
    if (fw_cfg->dma.runs)
        return;
    if (offset == 0 && size == 2) {
        select_item(fw_cfg, (unsigned)value);
    } else if (offset == FW_CFG_DMA && size == 4) {
        fw_cfg->address = swap(value, 4) << 32;
    } else if (offset == FW_CFG_DMA + 4 && size == 4) {
        fw_cfg->address |= swap(value, 4);
        start_dma(fw_cfg);
    }
}

static const struct bus_ops fw_cfg_ops = {read_port, write_port};

/* ---- Construction -------------------------------------------------------------------------- */

static INIT enum status add(struct fw_cfg *fw_cfg, unsigned key, const void *at, uint64_t size,
                            struct fw_cfg_item **item)
{
    if (fw_cfg->items == FW_CFG_ITEMS_MAX)
        return ERR_NO_SPACE;
    if (size > UINT32_MAX)
        return ERR_RANGE;
    *item = &fw_cfg->item[fw_cfg->items++];
    **item = (struct fw_cfg_item){.key = (uint16_t)key, .size = (uint32_t)size, .at = at};
    return STATUS_OK;
}

INIT enum status fw_cfg_add(struct fw_cfg *fw_cfg, uint16_t key, const void *at, uint64_t size)
{
    struct fw_cfg_item *item;
    return add(fw_cfg, key, at, size, &item);
}

INIT enum status fw_cfg_add_number(struct fw_cfg *fw_cfg, uint16_t key, uint64_t value,
                                   unsigned size)
{
    struct fw_cfg_item *item;
    enum status status = add(fw_cfg, key, NULL, size, &item);
    if (status != STATUS_OK)
        return status;
    memcpy(item->number, &value, sizeof(item->number));
    item->at = item->number;
    return STATUS_OK;
}

static INIT uint8_t *entry_of(struct fw_cfg *fw_cfg, unsigned index)
{
    return fw_cfg->directory + 4 + 64 * (size_t)index;
}

/* FWCfgFiles: their number, then for each size, key, two reserved bytes and the name. */
static INIT void write_entry(struct fw_cfg *fw_cfg, unsigned index, const char *name, uint32_t size)
{
    uint8_t *entry = entry_of(fw_cfg, index);
    memset(entry, 0, 64);
    size = (uint32_t)swap(size, 4);
    memcpy(entry, &size, 4);
    memcpy(entry + 8, name, strlen(name));
}

/* Their keys follow the order of the directory. */
static INIT void number_entries(struct fw_cfg *fw_cfg)
{
    uint32_t count = (uint32_t)swap(fw_cfg->files, 4);
    memcpy(fw_cfg->directory, &count, 4);
    for (unsigned i = 0; i < fw_cfg->files; i++) {
        uint32_t key = (uint32_t)swap(FW_CFG_FILE_FIRST + i, 2);
        memcpy(entry_of(fw_cfg, i) + 4, &key, 2);
    }
}

/* Room for a file, which are in the order of their names, as QEMU has them; returns its place. */
static INIT unsigned open_entry(struct fw_cfg *fw_cfg, const char *name)
{
    unsigned at = 0;
    while (at < fw_cfg->files && strcmp((const char *)entry_of(fw_cfg, at) + 8, name) < 0)
        at++;
    for (unsigned i = fw_cfg->files++; i > at; i--)
        memcpy(entry_of(fw_cfg, i), entry_of(fw_cfg, i - 1), 64);
    for (unsigned i = 0; i < fw_cfg->items; i++)
        if (fw_cfg->item[i].key >= FW_CFG_FILE_FIRST + at &&
            fw_cfg->item[i].key < FW_CFG_FILE_FIRST + FW_CFG_FILES_MAX)
            fw_cfg->item[i].key++;
    return at;
}

static INIT bool has_file(const struct fw_cfg *fw_cfg, const char *name)
{
    for (unsigned i = 0; i < fw_cfg->files; i++)
        if (strcmp((const char *)fw_cfg->directory + 4 + 64 * (size_t)i + 8, name) == 0)
            return true;
    return false;
}

INIT enum status fw_cfg_add_file(struct fw_cfg *fw_cfg, const char *name, const void *at,
                                 uint64_t size)
{
    size_t length = strlen(name);
    if (length == 0 || length >= FW_CFG_NAME_MAX)
        return ERR_INVALID;
    if (has_file(fw_cfg, name))
        return ERR_EXISTS;
    if (fw_cfg->files == FW_CFG_FILES_MAX)
        return ERR_NO_SPACE;
    if (fw_cfg->items == FW_CFG_ITEMS_MAX)
        return ERR_NO_SPACE;
    if (size > UINT32_MAX)
        return ERR_RANGE;
    unsigned index = open_entry(fw_cfg, name);
    write_entry(fw_cfg, index, name, (uint32_t)size);
    number_entries(fw_cfg);
    return fw_cfg_add(fw_cfg, (uint16_t)(FW_CFG_FILE_FIRST + index), at, size);
}

INIT void fw_cfg_init(struct fw_cfg *fw_cfg, const struct guest_mem *mem,
                      void (*more_work)(void *context), void *context)
{
    memset(fw_cfg, 0, sizeof(*fw_cfg));
    fw_cfg->mem = mem;
    fw_cfg->more_work = more_work;
    fw_cfg->context = context;
    fw_cfg->item[0] = (struct fw_cfg_item){
        .key = FW_CFG_SIGNATURE, .size = sizeof(signature) - 1, .at = (const uint8_t *)signature};
    fw_cfg->item[1] = (struct fw_cfg_item){.key = FW_CFG_ID,
                                           .size = 4,
                                           .at = fw_cfg->item[1].number,
                                           .number = {ID_TRADITIONAL | ID_DMA}};
    fw_cfg->item[2] = (struct fw_cfg_item){
        .key = FW_CFG_FILE_DIR, .size = sizeof(fw_cfg->directory), .at = fw_cfg->directory};
    fw_cfg->items = 3;
}

INIT enum status fw_cfg_attach(struct fw_cfg *fw_cfg, struct bus *bus)
{
    return bus_add(bus, BUS_PORT, PLATFORM_PORT_FW_CFG, PLATFORM_PORT_FW_CFG_SIZE, &fw_cfg_ops,
                   fw_cfg);
}

void fw_cfg_reset(struct fw_cfg *fw_cfg)
{
    fw_cfg->selected = NULL;
    fw_cfg->offset = 0;
    fw_cfg->address = 0;
    fw_cfg->dma.runs = false;
}

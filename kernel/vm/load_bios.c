#include "kernel/vm/load_bios.h"

#include "kernel/vm/load_entry.h"

#define EXTENDED_END MIB(16)
#define VECTORS 0x78 /* that lead to the BIOS; the others are 0 */

/* The BIOS data area, as far as it is used, at 40:0. */
#define PAGE_0_SIZE 0x500
#define BDA 0x400
enum {
    BDA_COM1 = BDA + 0x00,
    BDA_EBDA = BDA + 0x0e,
    BDA_EQUIPMENT = BDA + 0x10,
    BDA_MEMORY = BDA + 0x13,
    BDA_VIDEO_MODE = BDA + 0x49,
    BDA_COLUMNS = BDA + 0x4a,
    BDA_ROWS = BDA + 0x84,
};
#define EQUIPMENT 0x0220 /* 80 columns in colour, one serial port */
#define VIDEO_MODE 3
#define COLUMNS 80
#define LAST_ROW 24

static void set_vector(uint8_t *page, unsigned number, uint64_t handler)
{
    load_put(page + 4 * (uint64_t)number, handler | (uint64_t)LOAD_BIOS_SEGMENT << 16, 4);
}

static void fill_page_0(const struct load_text *bios, const struct load_bios_header *header,
                        uint8_t *page)
{
    const uint8_t *code = (const uint8_t *)bios->at;
    for (unsigned i = 0; i < VECTORS; i++)
        set_vector(page, i, header->nothing);
    for (uint64_t at = header->vectors; at + 4 <= bios->size; at += 4) {
        unsigned number = (unsigned)load_get(code + at, 2);
        if (number >= VECTORS)
            break;
        set_vector(page, number, load_get(code + at + 2, 2));
    }
    load_put(page + BDA_COM1, PLATFORM_PORT_COM1, 2);
    load_put(page + BDA_EBDA, GUEST_MAP_EBDA >> 4, 2);
    load_put(page + BDA_EQUIPMENT, EQUIPMENT, 2);
    load_put(page + BDA_MEMORY, GUEST_MAP_EBDA >> 10, 2);
    load_put(page + BDA_VIDEO_MODE, VIDEO_MODE, 1);
    load_put(page + BDA_COLUMNS, COLUMNS, 2);
    load_put(page + BDA_ROWS, LAST_ROW, 1);
}

static void fill_header(const struct loader *loader, struct load_bios_header *header)
{
    const struct guest_entry *entry = &loader->plan->entry;
    const struct guest_map *map = loader->request->map;
    uint64_t end = map->ram_below_4g;
    header->ip = (uint16_t)entry->rip;
    header->cs = entry->segment[SEG_CS].selector;
    header->data = entry->segment[SEG_DS].selector;
    header->sp = (uint16_t)entry->gpr[GPR_RSP];
    header->ebx = (uint32_t)entry->gpr[GPR_RBX];
    header->map_count = (uint16_t)guest_map_e820(map, header->map);
    header->extended_kib = (uint16_t)(((end < EXTENDED_END ? end : EXTENDED_END) - MIB(1)) >> 10);
    header->extended_64k = end > EXTENDED_END ? (uint16_t)((end - EXTENDED_END) >> 16) : 0;
}

static enum status add(struct loader *loader, struct load_bios_header *header)
{
    const struct load_text *bios = &loader->request->bios;
    uint8_t *code = load_make(loader, bios->size), *page = load_make(loader, PAGE_0_SIZE);
    if (code == NULL || page == NULL)
        return ERR_NO_SPACE;
    memcpy(code, bios->at, bios->size);
    memcpy(header, code, sizeof(*header));
    fill_header(loader, header);
    memcpy(code, header, sizeof(*header));
    fill_page_0(bios, header, page);
    enum status status = load_add(loader, LOAD_BIOS_SEGMENT << 4, code, bios->size);
    if (status == STATUS_OK &&
        load_claim_image(loader, LOAD_BIOS_RESET, LOAD_BIOS_RESET_SIZE) == STATUS_OK)
        status = load_add(loader, LOAD_BIOS_RESET, code + bios->size - LOAD_BIOS_RESET_SIZE,
                          LOAD_BIOS_RESET_SIZE);
    return status == STATUS_OK ? load_add(loader, 0, page, PAGE_0_SIZE) : status;
}

/* A kernel may have its own use for page 0, or for the BIOS's place, and then gets no BIOS. */
static bool claim_bios(struct loader *loader)
{
    uint64_t size = loader->request->bios.size;
    return size >= sizeof(struct load_bios_header) + LOAD_BIOS_RESET_SIZE &&
           load_claim(loader, 0, PAGE_0_SIZE) == STATUS_OK &&
           load_claim_image(loader, LOAD_BIOS_SEGMENT << 4, size) == STATUS_OK;
}

enum status load_bios(struct loader *loader)
{
    struct load_bios_header header;
    if (!claim_bios(loader))
        return STATUS_OK;
    return add(loader, &header);
}

enum status load_bios_enter(struct loader *loader)
{
    struct load_bios_header header;
    if (!claim_bios(loader))
        return STATUS_OK;
    enum status status = add(loader, &header);
    load_entry_16(loader, LOAD_BIOS_SEGMENT, header.start, LOAD_BIOS_SEGMENT, 0);
    return status;
}

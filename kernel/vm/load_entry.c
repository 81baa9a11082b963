#include "kernel/vm/load_entry.h"

#define GDT_ENTRIES 4
#define PTE_PRESENT_WRITE 0x3ull
#define PTE_LARGE BIT(7)
#define TABLE_ENTRIES 512
#define IDENTITY_GIB 4
#define TABLE_PAGES (2 + IDENTITY_GIB) /* one PML4, one PDPT, a page directory for each GiB */
#define REAL_MODE_LIMIT 0xffff
#define REAL_MODE_IDT_LIMIT 0x3ff

/* Access rights of a present, accessed segment with a limit in pages, without D/B and L: data that
 * can be written, code that can be read. */
#define ACCESS_DATA (0x93u | (uint32_t)SEGMENT_G)
#define ACCESS_CODE (0x9bu | (uint32_t)SEGMENT_G)

static const struct segment no_ldt = {0, 0, (uint32_t)SEGMENT_UNUSABLE, 0};
/* SDM: Checks on Guest Segment Registers: TR is always usable, a busy TSS. */
static const struct segment no_task = {0, 0x67, 0x8b, 0};

static void set_flat_segments(struct guest_entry *entry, uint32_t code_mode)
{
    for (unsigned i = 0; i < SEG_COUNT; i++)
        entry->segment[i] =
            (struct segment){0, 0xffffffff, ACCESS_DATA | (uint32_t)SEGMENT_DB, LOAD_BOOT_DS};
    entry->segment[SEG_CS] = (struct segment){0, 0xffffffff, ACCESS_CODE | code_mode, LOAD_BOOT_CS};
    entry->segment[SEG_LDTR] = no_ldt;
    entry->segment[SEG_TR] = no_task;
}

void load_entry_32(struct loader *loader, uint64_t rip)
{
    struct guest_entry *entry = &loader->plan->entry;
    *entry = (struct guest_entry){.rip = rip, .rflags = RFLAGS_FIXED, .cr0 = CR0_PE | CR0_ET};
    set_flat_segments(entry, (uint32_t)SEGMENT_DB);
}

void load_entry_16(struct loader *loader, uint16_t cs, uint16_t ip, uint16_t data, uint16_t sp)
{
    struct guest_entry *entry = &loader->plan->entry;
    *entry = (struct guest_entry){
        .rip = ip, .rflags = RFLAGS_FIXED, .cr0 = CR0_ET, .idtr = {0, REAL_MODE_IDT_LIMIT}};
    for (unsigned i = 0; i < SEG_COUNT; i++)
        entry->segment[i] = (struct segment){data * 16u, REAL_MODE_LIMIT, 0x93, data};
    entry->segment[SEG_CS] = (struct segment){cs * 16u, REAL_MODE_LIMIT, 0x9b, cs};
    entry->segment[SEG_LDTR] = no_ldt;
    entry->segment[SEG_TR] = no_task;
    entry->gpr[GPR_RSP] = sp;
}

/* SDM: Segment Descriptors. */
enum status load_gdt(struct loader *loader, bool is_64)
{
    struct descriptor_table *gdtr = &loader->plan->entry.gdtr;
    uint64_t *gdt = load_make_low(loader, GDT_ENTRIES * 8, 16, &gdtr->base);
    if (gdt == NULL)
        return ERR_NO_SPACE;
    gdt[LOAD_BOOT_CS / 8] = is_64 ? 0x00af9b000000ffff : 0x00cf9b000000ffff;
    gdt[LOAD_BOOT_DS / 8] = 0x00cf93000000ffff;
    gdtr->limit = GDT_ENTRIES * 8 - 1;
    return STATUS_OK;
}

/* 2 MiB pages, which every processor has. SDM: 4-Level Paging. */
static enum status add_page_tables(struct loader *loader, uint64_t *pml4)
{
    enum status status = load_claim_highest(loader, TABLE_PAGES * PAGE_SIZE, PAGE_SIZE, PAGE_SIZE,
                                            LOAD_LOW_END, pml4);
    uint64_t pdpt = *pml4 + PAGE_SIZE, directories = pdpt + PAGE_SIZE;
    if (status == STATUS_OK)
        status = load_add_numbers(loader, *pml4, 1, pdpt | PTE_PRESENT_WRITE, 0);
    if (status == STATUS_OK)
        status = load_add_numbers(loader, pdpt, IDENTITY_GIB, directories | PTE_PRESENT_WRITE,
                                  PAGE_SIZE);
    if (status == STATUS_OK)
        status = load_add_numbers(loader, directories, IDENTITY_GIB * TABLE_ENTRIES,
                                  PTE_LARGE | PTE_PRESENT_WRITE, PAGE_SIZE_2M);
    return status;
}

enum status load_entry_64(struct loader *loader, uint64_t rip)
{
    struct guest_entry *entry = &loader->plan->entry;
    *entry = (struct guest_entry){.rip = rip,
                                  .rflags = RFLAGS_FIXED,
                                  .cr0 = CR0_PE | CR0_ET | CR0_PG,
                                  .cr4 = CR4_PAE,
                                  .efer = EFER_LME | EFER_LMA};
    set_flat_segments(entry, (uint32_t)SEGMENT_L);
    enum status status = add_page_tables(loader, &entry->cr3);
    return status == STATUS_OK ? load_gdt(loader, true) : status;
}

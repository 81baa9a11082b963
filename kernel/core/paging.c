/*
 * The monitor's address space. It is the machine's, hence a global.
 *
 * Locking: space.lock guards the tables and the allocation of device addresses; pages->lock is
 * taken inside it.
 */
#include "kernel/core/paging.h"

#include "kernel/core/hash.h"
#include "kernel/core/hw.h"
#include "kernel/core/log.h"
#include "kernel/core/mem.h"
#include "kernel/core/msr.h"
#include "kernel/core/panic.h"
#include "kernel/core/spinlock.h"
#include "kernel/core/x86.h"

#define DEVICES_SIZE GIB(64)
#define BELOW_4G GIB(4)

struct address_space {
    struct spinlock lock;
    struct page_table table;
    struct pages *pages;
    uint64_t image_hpa;
    uint64_t table_offset; /* from a table's frame to where it can be written */
    uint64_t device_next;
    bool ready;
};

static struct address_space space;

extern uint8_t image_start[], image_end[];
extern uint8_t text_start[], text_end[], rodata_start[], rodata_end[], data_start[], data_end[];
extern uint8_t init_start[], init_text_end[], init_end[];

/* The entries of what is released, and of the same pages in the physmap, where they may be in two
 * tables: prepared by code that goes away with these pages. */
static struct {
    uint64_t *image;
    uint64_t *physmap[2];
    uint64_t count[2];
} leaving;

static uint64_t linear_of(const void *address)
{
    return (uint64_t)(uintptr_t)address;
}

static enum status alloc_frame(void *context, hpa_t *frame)
{
    struct address_space *as = context;
    return pages_alloc_below(as->pages, 1, PAGE_SIZE, BELOW_4G, PAGE_TABLE, PAGE_OWNER_MONITOR,
                             frame);
}

static void *map_frame(void *context, hpa_t frame)
{
    const struct address_space *as = context;
    return (void *)(uintptr_t)(as->table_offset + frame.v);
}

hpa_t virt_to_phys(const void *address)
{
    uint64_t linear = linear_of(address);
    if (linear >= linear_of(image_start) && linear < linear_of(image_end))
        return HPA(linear - linear_of(image_start) + space.image_hpa);
    ASSERT(linear >= PAGING_PHYSMAP && linear < PAGING_PHYSMAP + PAGING_PHYSMAP_SIZE);
    return HPA(linear - PAGING_PHYSMAP);
}

static INIT enum status map_image(struct address_space *as)
{
    const struct {
        const uint8_t *start, *end;
        uint64_t flags;
    } sections[] = {
        {text_start, text_end, MAP_EXECUTE},      {rodata_start, rodata_end, 0},
        {init_start, init_text_end, MAP_EXECUTE}, {init_text_end, init_end, 0},
        {data_start, data_end, MAP_WRITE},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(sections); i++) {
        uint64_t size = (uint64_t)(sections[i].end - sections[i].start);
        hpa_t frame = HPA(as->image_hpa + (uint64_t)(sections[i].start - image_start));
        if (size == 0)
            continue;
        enum status status = page_table_map(&as->table, linear_of(sections[i].start), frame, size,
                                            sections[i].flags | MAP_GLOBAL);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

/* How memory of a type lies in the physmap; false: not at all. */
static INIT bool physmap_flags(uint32_t type, uint64_t *flags)
{
    *flags = MAP_GLOBAL | (type == BOOT_MEMORY_ACPI ? 0 : MAP_WRITE);
    return type == BOOT_MEMORY_USABLE || type == BOOT_MEMORY_LOADER || type == BOOT_MEMORY_FILE ||
           type == BOOT_MEMORY_ACPI;
}

/* Neighbours alike are mapped as one, for the largest pages. */
static INIT enum status map_memory(struct address_space *as, const struct boot_info *info)
{
    for (uint32_t i = 0; i < info->memory_count;) {
        uint64_t base = info->memory[i].base, end = base, flags, next_flags;
        bool mapped = physmap_flags(info->memory[i].type, &flags);
        do {
            end += info->memory[i].pages * PAGE_SIZE;
            i++;
        } while (i < info->memory_count && info->memory[i].base == end &&
                 physmap_flags(info->memory[i].type, &next_flags) == mapped && next_flags == flags);
        if (!mapped || end == base)
            continue;
        if (end > PAGING_PHYSMAP_SIZE)
            return ERR_RANGE;
        enum status status =
            page_table_map(&as->table, PAGING_PHYSMAP + base, HPA(base), end - base, flags);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static INIT enum status map_idt(struct address_space *as)
{
    return page_table_map(&as->table, paging_lane_base(0, 0), virt_to_phys(cpu_idt()), PAGE_SIZE,
                          MAP_GLOBAL);
}

static INIT bool has_1g_pages(void)
{
    struct cpuid_regs regs;
    hw_cpuid(0x80000000, 0, &regs);
    if (regs.eax < 0x80000001)
        return false;
    hw_cpuid(0x80000001, 0, &regs);
    return (regs.edx & BIT(26)) != 0;
}

static INIT enum status build(struct address_space *as, const struct boot_info *info)
{
    const struct page_table_ports ports = {alloc_frame, map_frame, as};
    enum status status = page_table_init(&as->table, &ports, has_1g_pages());
    if (status == STATUS_OK)
        status = map_image(as);
    if (status == STATUS_OK)
        status = map_memory(as, info);
    if (status == STATUS_OK)
        status = map_idt(as);
    return status;
}

INIT void paging_init(const struct boot_info *info, struct pages *pages)
{
    struct address_space *as = &space;
    if (hw_read_cr4() & CR4_LA57)
        panic("the firmware left 5-level paging on, which cannot be turned off in long mode");
    *as = (struct address_space){
        .pages = pages, .image_hpa = info->image_base, .device_next = PAGING_DEVICES};
    enum status status = build(as, info); /* through the boot program's identity mapping */
    if (status != STATUS_OK)
        panic("cannot build the monitor's page tables: %s", status_text(status));
    hw_wrmsr(MSR_IA32_EFER, hw_rdmsr(MSR_IA32_EFER) | EFER_NXE);
    hw_write_cr3(as->table.root.v);
    as->table_offset = PAGING_PHYSMAP;
    as->ready = true;
    cpu_set_idt_alias(paging_lane_base(0, 0));
}

INIT uint64_t paging_root(void)
{
    return space.table.root.v;
}

static INIT enum status map_lane(struct address_space *as, uint64_t base, uint64_t size,
                                 enum page_kind kind)
{
    hpa_t frame;
    enum status status =
        pages_alloc(as->pages, size / PAGE_SIZE, PAGE_SIZE, kind, PAGE_OWNER_MONITOR, &frame);
    if (status != STATUS_OK)
        return status;
    memset(phys_to_virt(frame), 0, size);
    return page_table_map(&as->table, base, frame, size, MAP_WRITE | MAP_GLOBAL);
}

INIT enum status paging_map_cpu(uint32_t index, uint64_t stack[CPU_STACKS], void **tables)
{
    struct address_space *as = &space;
    enum status status = STATUS_OK;
    ASSERT(index < CPU_MAX);
    spinlock_acquire(&as->lock);
    for (unsigned i = 0; i < CPU_STACKS && status == STATUS_OK; i++) {
        uint64_t base = paging_lane_base(1 + index, i);
        status = map_lane(as, base, PAGING_STACK_SIZE, PAGE_STACK);
        stack[i] = base + PAGING_STACK_SIZE;
    }
    uint64_t base = paging_lane_base(1 + index, PAGING_LANE_TABLES);
    if (status == STATUS_OK)
        status = map_lane(as, base, PAGE_SIZE, PAGE_CPU);
    *tables = (void *)(uintptr_t)base;
    spinlock_release(&as->lock);
    return status;
}

/* Whether a device mapping with these flags could reach what is the monitor's. */
static INIT bool is_own_memory(struct pages *pages, uint64_t base, uint64_t end)
{
    for (; base < end; base += PAGE_SIZE) {
        enum page_kind kind = pages_kind(pages, HPA(base));
        if (kind != PAGE_NONE && kind != PAGE_FIRMWARE)
            return true;
    }
    return false;
}

INIT void *paging_map_device(hpa_t address, uint64_t size, uint64_t flags)
{
    struct address_space *as = &space;
    uint64_t base = align_down(address.v, PAGE_SIZE);
    if (size == 0 || address.v + size < address.v || address.v + size > MASK(51, 0) ||
        size > DEVICES_SIZE)
        return NULL;
    uint64_t length = align_up(address.v + size, PAGE_SIZE) - base;
    if ((flags & MAP_EXECUTE) != 0 ||
        ((flags & MAP_WRITE) != 0 && is_own_memory(as->pages, base, base + length)))
        return NULL;
    spinlock_acquire(&as->lock);
    /* The same offset inside 2 MiB, so that large ones get large pages. */
    uint64_t linear = align_up(as->device_next, PAGE_SIZE_2M) + (base & (PAGE_SIZE_2M - 1));
    enum status status = ERR_NO_SPACE;
    if (linear + length <= PAGING_DEVICES + DEVICES_SIZE) {
        as->device_next = linear + length + PAGE_SIZE; /* a guard follows */
        status = page_table_map(&as->table, linear, HPA(base), length, flags | MAP_GLOBAL);
    }
    spinlock_release(&as->lock);
    return status == STATUS_OK ? (void *)(uintptr_t)(linear + (address.v - base)) : NULL;
}

INIT const void *paging_map_table(hpa_t address, uint64_t size)
{
    if (size == 0 || address.v + size < address.v || address.v + size > PAGING_PHYSMAP_SIZE)
        return NULL;
    if (paging_is_mapped(PAGING_PHYSMAP + address.v, size))
        return phys_to_virt(address);
    return paging_map_device(address, size, 0);
}

INIT enum status paging_map_trampoline(hpa_t page)
{
    spinlock_acquire(&space.lock);
    enum status status = page_table_map(&space.table, page.v, page, PAGE_SIZE, MAP_EXECUTE);
    spinlock_release(&space.lock);
    return status;
}

INIT void paging_unmap_trampoline(hpa_t page)
{
    spinlock_acquire(&space.lock);
    enum status status = page_table_unmap(&space.table, page.v, PAGE_SIZE);
    spinlock_release(&space.lock);
    ASSERT(status == STATUS_OK);
    hw_invlpg(page.v);
}

INIT uint64_t paging_prepare_release(hpa_t *base)
{
    struct address_space *as = &space;
    uint64_t size = (uint64_t)(init_end - init_start), linear = linear_of(init_start);
    *base = virt_to_phys(init_start);
    uint64_t border = align_up(base->v + 1, PAGE_SIZE_2M) - base->v;
    uint64_t first = size < border ? size : border, copy = PAGING_PHYSMAP + base->v;
    enum status status = page_table_map(&as->table, copy, *base, size, MAP_GLOBAL);
    if (status != STATUS_OK)
        panic("cannot map what the start leaves: %s", status_text(status));
    leaving.image = page_table_entry(&as->table, linear);
    leaving.physmap[0] = page_table_entry(&as->table, copy);
    leaving.physmap[1] = page_table_entry(&as->table, copy + first);
    leaving.count[0] = first / PAGE_SIZE;
    leaving.count[1] = (size - first) / PAGE_SIZE;
    return size;
}

void paging_release_start(void)
{
    for (unsigned table = 0; table < ARRAY_SIZE(leaving.physmap); table++) {
        for (uint64_t i = 0; i < leaving.count[table]; i++) {
            *leaving.image++ = 0;
            leaving.physmap[table][i] |= PTE_RW | PTE_D;
        }
    }
}

void paging_flush(void)
{
    uint64_t cr4 = hw_read_cr4();
    hw_write_cr4(cr4 & ~CR4_PGE);
    hw_write_cr4(cr4);
    hw_write_cr3(hw_read_cr3());
}

bool paging_is_mapped(uint64_t address, uint64_t size)
{
    struct page_mapping mapping;
    if (!space.ready || size == 0 || address + (size - 1) < address)
        return false;
    for (uint64_t next = address; next - address < size; next = mapping.linear + mapping.size) {
        if (page_table_walk(&space.table, next, &mapping) != STATUS_OK)
            return false;
        if (mapping.linear + mapping.size == 0)
            break;
    }
    return true;
}

/* What the owner table says of a frame; its neighbours come next. */
struct kinds {
    struct pages *pages;
    struct page_extent extent;
};

static INIT enum page_kind kind_of(void *context, hpa_t frame)
{
    struct kinds *kinds = context;
    struct page_extent *extent = &kinds->extent;
    if (frame.v - extent->base < extent->pages * PAGE_SIZE)
        return (enum page_kind)extent->kind;
    if (pages_lookup(kinds->pages, frame, extent))
        return (enum page_kind)extent->kind;
    extent->pages = 0;
    return PAGE_NONE;
}

struct survey {
    struct paging_rules rules;
    unsigned mappings;
};

static INIT enum status check_mapping(void *context, const struct page_mapping *mapping)
{
    struct survey *survey = context;
    const char *broken = paging_rule_broken(&survey->rules, mapping);
    survey->mappings++;
    if (broken == NULL)
        return STATUS_OK;
    log_error("page tables: %s at 0x%lx (frame 0x%lx, %lu KiB)", broken, mapping->linear,
              mapping->frame.v, mapping->size / 1024);
    return ERR_INVALID;
}

static INIT COLD enum status check_guards(unsigned *stacks)
{
    for (uint32_t i = 0; i < cpu_count(); i++) {
        const struct cpu *cpu = cpu_by_index(i);
        for (unsigned stack = 0; stack < CPU_STACKS; stack++, ++*stacks) {
            uint64_t top = cpu->stack[stack], bottom = top - cpu->stack_size;
            if (!paging_is_mapped(bottom, cpu->stack_size) || paging_is_mapped(top, 1) ||
                paging_is_mapped(bottom - 1, 1)) {
                log_error("page tables: stack %u of processor %u has no guard", stack, i);
                return ERR_INVALID;
            }
        }
    }
    return STATUS_OK;
}

INIT enum status paging_check(void)
{
    struct address_space *as = &space;
    struct kinds kinds = {.pages = as->pages};
    struct survey survey = {
        .rules = {.text_size = (uint64_t)(text_end - text_start),
                  .rodata_size = (uint64_t)(rodata_end - rodata_start),
                  .init_text_size = (uint64_t)(init_text_end - init_start),
                  .init_rodata_size = (uint64_t)(init_end - init_text_end),
                  .image_size = (uint64_t)(image_end - image_start),
                  .image_hpa = as->image_hpa,
                  .kind = kind_of,
                  .context = &kinds},
    };
    unsigned stacks = 0;
    spinlock_acquire(&as->lock);
    enum status status = page_table_visit(&as->table, check_mapping, &survey);
    spinlock_release(&as->lock);
    if (status == STATUS_OK)
        status = check_guards(&stacks);
    if (status == STATUS_OK)
        log_info("page tables: W^X in all %u mappings, guards around all %u stacks; WP NX%s%s",
                 survey.mappings, stacks, hw_read_cr4() & CR4_SMEP ? " SMEP" : "",
                 hw_read_cr4() & CR4_SMAP ? " SMAP" : "");
    return status;
}

uint64_t paging_hash_image(uint64_t hash)
{
    const uint8_t *end = leaving.image != NULL ? rodata_end : init_end;
    return hash_words(hash, text_start, (size_t)(end - text_start));
}

uint64_t paging_hash_tables(uint64_t hash)
{
    spinlock_acquire(&space.lock);
    hash = page_table_hash(&space.table, hash);
    spinlock_release(&space.lock);
    return hash;
}

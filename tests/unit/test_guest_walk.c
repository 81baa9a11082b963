/* The walk of guest paging structures: formats, rights, reserved bits, accessed and dirty flags. */
#include "kernel/vm/guest_walk.h"
#include "tests/check.h"

#define RAM_SIZE 0x20000u

#define P BIT(0)
#define W BIT(1)
#define U BIT(2)
#define A BIT(5)
#define D BIT(6)
#define PS BIT(7)
#define XD BIT(63)

static uint8_t ram[RAM_SIZE] ALIGNED(4096);
static struct guest_mem mem;
static struct paging paging;
static struct exception exception;

static void set64(uint64_t gpa, unsigned index, uint64_t entry)
{
    memcpy(ram + gpa + 8 * index, &entry, 8);
}

static uint64_t get64(uint64_t gpa, unsigned index)
{
    uint64_t entry;
    memcpy(&entry, ram + gpa + 8 * index, 8);
    return entry;
}

static void set32(uint64_t gpa, unsigned index, uint32_t entry)
{
    memcpy(ram + gpa + 4 * index, &entry, 4);
}

static uint32_t get32(uint64_t gpa, unsigned index)
{
    uint32_t entry;
    memcpy(&entry, ram + gpa + 4 * index, 4);
    return entry;
}

static void begin(void)
{
    memset(ram, 0, sizeof(ram));
    memset(&mem, 0, sizeof(mem));
    memset(&exception, 0, sizeof(exception));
    CHECK_EQ(guest_mem_add(&mem, GPA(0), RAM_SIZE, ram), STATUS_OK);
}

/* 4-level tables at 0x1000 to 0x4000 that map the page of linear 0x8000_0020_3000 (indices 256, 0,
 * 1, 3; not canonical, which the walk need not know) with all rights. */
#define LINEAR 0x0000008000203000ull

static void long_mode(void)
{
    begin();
    paging = (struct paging){.cr0 = CR0_PE | CR0_PG | CR0_WP,
                             .cr3 = 0x1000,
                             .cr4 = CR4_PAE,
                             .efer = EFER_LMA | EFER_LME | EFER_NXE,
                             .maxphyaddr = 40,
                             .one_gib_pages = true};
    set64(0x1000, 1, 0x2000 | P | W | U);
    set64(0x2000, 0, 0x3000 | P | W | U);
    set64(0x3000, 1, 0x4000 | P | W | U);
    set64(0x4000, 3, 0x7000 | P | W | U);
}

static enum status walk(uint64_t linear, uint64_t access, uint64_t *gpa)
{
    gpa_t result = GPA(0);
    enum status status = guest_walk(&paging, &mem, GVA(linear), access, &result, &exception);
    *gpa = result.v;
    return status;
}

static void check_maps(uint64_t linear, uint64_t access, uint64_t expected)
{
    uint64_t gpa;
    CHECK_EQ(walk(linear, access, &gpa), STATUS_OK);
    CHECK_EQ(gpa, expected);
}

static void check_faults(uint64_t linear, uint64_t access, uint64_t code)
{
    uint64_t gpa;
    CHECK_EQ(walk(linear, access, &gpa), ERR_FAULT);
    CHECK_EQ(exception.vector, VECTOR_PF);
    CHECK(exception.has_error_code);
    CHECK_EQ(exception.error_code, code);
    CHECK_EQ(exception.cr2, linear);
}

static void no_paging_is_identity(void)
{
    begin();
    paging = (struct paging){.cr0 = CR0_PE, .maxphyaddr = 36};
    check_maps(0xfee00020, GUEST_WALK_WRITE, 0xfee00020);
}

static void four_levels(void)
{
    long_mode();
    check_maps(LINEAR + 0x123, 0, 0x7123);
    check_maps(LINEAR + 0xfff, GUEST_WALK_WRITE, 0x7fff);
    check_maps(LINEAR, GUEST_WALK_FETCH, 0x7000);
    check_faults(LINEAR + 0x1000, 0, 0);
    check_faults(LINEAR + 0x1000, GUEST_WALK_WRITE, PF_WRITE);
    check_faults(LINEAR + 0x200000, GUEST_WALK_FETCH, PF_FETCH);
    check_faults(LINEAR + 0x40000000, 0, 0);
    check_faults(0, 0, 0);
    paging.cpl = 3;
    check_faults(0, GUEST_WALK_WRITE, PF_USER | PF_WRITE);
    check_faults(8, GUEST_WALK_IMPLICIT, 0);
}

static void large_pages(void)
{
    long_mode();
    set64(0x3000, 2, 0x40000000 | P | W | U | PS);
    set64(0x2000, 2, 0x80000000 | P | W | U | PS);
    check_maps(0x0000008000412345, 0, 0x40012345);
    check_maps(0x0000008092345678, 0, 0x92345678);
    /* The lowest address bit of a large page is the PAT bit, those above are reserved. */
    set64(0x3000, 2, 0x40000000 | P | W | U | PS | BIT(12));
    check_maps(0x0000008000412345, 0, 0x40012345);
    set64(0x3000, 2, 0x40000000 | P | W | U | PS | BIT(13));
    check_faults(0x0000008000412345, 0, PF_PRESENT | PF_RESERVED);
    set64(0x3000, 2, 0x40000000 | P | W | U | PS | BIT(20) | A);
    check_faults(0x0000008000412345, 0, PF_PRESENT | PF_RESERVED);
    set64(0x2000, 2, 0x80000000 | P | W | U | PS | BIT(29));
    check_faults(0x0000008080000000, 0, PF_PRESENT | PF_RESERVED);
    set64(0x2000, 2, 0x80000000 | P | W | U | PS);
    paging.one_gib_pages = false;
    check_faults(0x0000008080000000, 0, PF_PRESENT | PF_RESERVED);
    set64(0x1000, 1, get64(0x1000, 1) | PS);
    check_faults(LINEAR, 0, PF_PRESENT | PF_RESERVED);
}

static void reserved_address_bits(void)
{
    static const struct {
        uint64_t table;
        unsigned index;
    } levels[] = {{0x1000, 1}, {0x2000, 0}, {0x3000, 1}, {0x4000, 3}};
    for (unsigned level = 0; level < 4; level++)
        for (unsigned bit = 36; bit < 52; bit++) {
            long_mode();
            set64(levels[level].table, levels[level].index,
                  get64(levels[level].table, levels[level].index) | BIT(bit));
            if (bit >= 40)
                check_faults(LINEAR, GUEST_WALK_WRITE, PF_PRESENT | PF_RESERVED | PF_WRITE);
            paging.maxphyaddr = 36;
            check_faults(LINEAR, 0, PF_PRESENT | PF_RESERVED);
        }
    /* Bits 62:52 are ignored in 4-level paging. */
    long_mode();
    set64(0x4000, 3, get64(0x4000, 3) | MASK(62, 52));
    check_maps(LINEAR, 0, 0x7000);
    /* A page beyond RAM but inside maxphyaddr is a page. */
    set64(0x4000, 3, 0xfffffff000 | P);
    check_maps(LINEAR, 0, 0xfffffff000);
}

static void execute_disable(void)
{
    static const uint64_t tables[] = {0x1000, 0x2000, 0x3000, 0x4000};
    static const unsigned indices[] = {1, 0, 1, 3};
    for (unsigned level = 0; level < 4; level++) {
        long_mode();
        set64(tables[level], indices[level], get64(tables[level], indices[level]) | XD);
        check_maps(LINEAR, GUEST_WALK_WRITE, 0x7000);
        check_faults(LINEAR, GUEST_WALK_FETCH, PF_PRESENT | PF_FETCH);
        paging.efer &= ~EFER_NXE;
        check_faults(LINEAR, 0, PF_PRESENT | PF_RESERVED);
        /* Without NXE and SMEP a fetch does not say so. */
        check_faults(LINEAR, GUEST_WALK_FETCH, PF_PRESENT | PF_RESERVED);
        paging.cr4 |= CR4_SMEP;
        check_faults(LINEAR, GUEST_WALK_FETCH, PF_PRESENT | PF_RESERVED | PF_FETCH);
    }
}

static void user_and_supervisor(void)
{
    long_mode();
    set64(0x2000, 0, 0x3000 | P | W); /* supervisor by one level */
    check_maps(LINEAR, GUEST_WALK_WRITE, 0x7000);
    paging.cpl = 3;
    check_faults(LINEAR, 0, PF_PRESENT | PF_USER);
    check_faults(LINEAR, GUEST_WALK_FETCH, PF_PRESENT | PF_USER | PF_FETCH);
    check_maps(LINEAR, GUEST_WALK_IMPLICIT, 0x7000);
    long_mode();
    paging.cpl = 3;
    check_maps(LINEAR, GUEST_WALK_WRITE, 0x7000);
    set64(0x3000, 1, 0x4000 | P | U); /* read-only by one level */
    check_faults(LINEAR, GUEST_WALK_WRITE, PF_PRESENT | PF_USER | PF_WRITE);
    paging.cr0 &= ~CR0_WP; /* which is about supervisors only */
    check_faults(LINEAR, GUEST_WALK_WRITE, PF_PRESENT | PF_USER | PF_WRITE);
    paging.cpl = 0;
    check_maps(LINEAR, GUEST_WALK_WRITE, 0x7000);
    paging.cr0 |= CR0_WP;
    check_faults(LINEAR, GUEST_WALK_WRITE, PF_PRESENT | PF_WRITE);
    check_maps(LINEAR, 0, 0x7000);
}

static void smep_and_smap(void)
{
    long_mode();
    paging.cr4 |= CR4_SMEP;
    check_faults(LINEAR, GUEST_WALK_FETCH, PF_PRESENT | PF_FETCH);
    check_maps(LINEAR, 0, 0x7000);
    paging.cr4 |= CR4_SMAP;
    check_faults(LINEAR, 0, PF_PRESENT);
    check_faults(LINEAR, GUEST_WALK_WRITE, PF_PRESENT | PF_WRITE);
    paging.rflags = RFLAGS_AC;
    check_maps(LINEAR, GUEST_WALK_WRITE, 0x7000);
    check_faults(LINEAR, GUEST_WALK_IMPLICIT, PF_PRESENT);
    paging.cpl = 3;
    paging.rflags = 0;
    check_maps(LINEAR, GUEST_WALK_WRITE, 0x7000);
    check_maps(LINEAR, GUEST_WALK_FETCH, 0x7000);
    check_faults(LINEAR, GUEST_WALK_IMPLICIT, PF_PRESENT);
    /* A page that is supervisor's by any level is out of their reach. */
    long_mode();
    paging.cr4 |= CR4_SMEP | CR4_SMAP;
    set64(0x1000, 1, 0x2000 | P | W);
    check_maps(LINEAR, GUEST_WALK_FETCH, 0x7000);
    check_maps(LINEAR, GUEST_WALK_WRITE, 0x7000);
}

#define LOCKED (PF_PRESENT | PF_KEY)

static void protection_keys(void)
{
    long_mode();
    set64(0x4000, 3, 0x7000 | P | W | U | 5ull << 59);
    paging.pkru = 3u << 8 | 3u << 12; /* of the keys beside it */
    check_maps(LINEAR, GUEST_WALK_WRITE, 0x7000);
    paging.pkru = 1u << 10;
    check_faults(LINEAR, 0, LOCKED);
    check_faults(LINEAR, GUEST_WALK_WRITE, LOCKED | PF_WRITE);
    check_maps(LINEAR, GUEST_WALK_FETCH, 0x7000);
    paging.cr0 &= ~CR0_WP; /* which is about writes */
    check_faults(LINEAR, 0, LOCKED);
    paging.cpl = 3;
    check_faults(LINEAR, 0, LOCKED | PF_USER);
    check_faults(LINEAR, GUEST_WALK_IMPLICIT, LOCKED);
    paging.pkru = 2u << 10;
    check_maps(LINEAR, 0, 0x7000);
    check_faults(LINEAR, GUEST_WALK_WRITE, LOCKED | PF_WRITE | PF_USER);
    check_maps(LINEAR, GUEST_WALK_WRITE | GUEST_WALK_IMPLICIT, 0x7000);
    paging.cpl = 0;
    check_maps(LINEAR, GUEST_WALK_WRITE, 0x7000);
    paging.cr0 |= CR0_WP;
    check_faults(LINEAR, GUEST_WALK_WRITE, LOCKED | PF_WRITE);
    /* A supervisor's page has no key, and a large page has its own. */
    set64(0x4000, 3, 0x7000 | P | W | 5ull << 59);
    check_maps(LINEAR, GUEST_WALK_WRITE, 0x7000);
    set64(0x3000, 1, 0x600000 | P | W | U | BIT(7) | 5ull << 59);
    check_faults(LINEAR, GUEST_WALK_WRITE, LOCKED | PF_WRITE);
}

static void accessed_and_dirty_flags(void)
{
    long_mode();
    check_maps(LINEAR, 0, 0x7000);
    CHECK_EQ(get64(0x1000, 1), 0x2000 | P | W | U | A);
    CHECK_EQ(get64(0x2000, 0), 0x3000 | P | W | U | A);
    CHECK_EQ(get64(0x3000, 1), 0x4000 | P | W | U | A);
    CHECK_EQ(get64(0x4000, 3), 0x7000 | P | W | U | A);
    check_maps(LINEAR, GUEST_WALK_WRITE, 0x7000);
    CHECK_EQ(get64(0x3000, 1), 0x4000 | P | W | U | A);
    CHECK_EQ(get64(0x4000, 3), 0x7000 | P | W | U | A | D);
    check_maps(LINEAR, GUEST_WALK_WRITE, 0x7000); /* nothing left to set: the quick walk */
    CHECK_EQ(get64(0x4000, 3), 0x7000 | P | W | U | A | D);
    /* A walk that faults sets neither. */
    long_mode();
    paging.cr4 |= CR4_SMAP;
    check_faults(LINEAR, GUEST_WALK_WRITE, PF_PRESENT | PF_WRITE);
    CHECK_EQ(get64(0x4000, 3), 0x7000 | P | W | U);
    CHECK_EQ(get64(0x1000, 1), 0x2000 | P | W | U);
    /* A large page's entry is dirty itself. */
    long_mode();
    set64(0x3000, 1, 0x7000000 | P | W | PS);
    check_maps(LINEAR, GUEST_WALK_WRITE, 0x7003000);
    CHECK_EQ(get64(0x3000, 1), 0x7000000 | P | W | PS | A | D);
}

static void tables_outside_ram(void)
{
    uint64_t gpa;
    long_mode();
    paging.cr3 = 0x5000000;
    CHECK_EQ(walk(LINEAR, 0, &gpa), ERR_RANGE);
    CHECK_EQ(gpa, 0x5000008);
    long_mode();
    set64(0x3000, 1, 0xfee00000 | P | W | U);
    CHECK_EQ(walk(LINEAR, GUEST_WALK_WRITE, &gpa), ERR_RANGE);
    CHECK_EQ(gpa, 0xfee00018);
    CHECK_EQ(get64(0x1000, 1), 0x2000 | P | W | U);
    /* CR3's PCID and flag bits are no part of the address. */
    long_mode();
    paging.cr3 |= 0xabc | BIT(63);
    check_maps(LINEAR, 0, 0x7000);
}

static void tables_in_two_regions(void)
{
    static uint8_t high[4096] ALIGNED(4096);
    long_mode();
    CHECK_EQ(guest_mem_add(&mem, GPA(0x100000000), sizeof(high), high), STATUS_OK);
    memcpy(high, ram + 0x3000, 4096);
    set64(0x2000, 0, 0x100000000 | P | W | U);
    check_maps(LINEAR, GUEST_WALK_WRITE, 0x7000);
    check_maps(LINEAR, GUEST_WALK_WRITE, 0x7000);
    CHECK_EQ(high[8] & A, A);
}

static void pae(void)
{
    begin();
    paging = (struct paging){.cr0 = CR0_PE | CR0_PG,
                             .cr3 = 0x12345678,
                             .cr4 = CR4_PAE,
                             .efer = EFER_NXE,
                             .maxphyaddr = 36,
                             .pdpte = {0x1000 | P, 0, 0x2000 | P, 0}};
    set64(0x1000, 1, 0x3000 | P | W | U);
    set64(0x3000, 2, 0x7000 | P | W);
    set64(0x2000, 511, 0xfc0000000 | P | W | U | PS);
    check_maps(0x202345, GUEST_WALK_WRITE, 0x7345);
    CHECK_EQ(get64(0x1000, 1), 0x3000 | P | W | U | A);
    CHECK_EQ(get64(0x3000, 2), 0x7000 | P | W | A | D);
    check_maps(0xbffedcba, 0, 0xfc01edcba);
    CHECK_EQ(paging.pdpte[0], 0x1000 | P); /* has no accessed flag */
    check_faults(0x40000000, GUEST_WALK_FETCH, PF_FETCH);
    check_faults(0x400000, 0, 0);
    /* Bits 62:maxphyaddr are reserved. */
    for (unsigned bit = 36; bit <= 62; bit++) {
        set64(0x3000, 2, 0x7000 | P | W | BIT(bit));
        check_faults(0x202345, 0, PF_PRESENT | PF_RESERVED);
    }
    set64(0x3000, 2, 0x7000 | P | XD);
    check_maps(0x202345, GUEST_WALK_WRITE, 0x7345); /* WP is clear */
    check_faults(0x202345, GUEST_WALK_FETCH, PF_PRESENT | PF_FETCH);
    paging.efer = 0;
    check_faults(0x202345, GUEST_WALK_FETCH, PF_PRESENT | PF_RESERVED);
}

static void thirty_two_bit(void)
{
    begin();
    paging = (struct paging){.cr0 = CR0_PE | CR0_PG | CR0_WP,
                             .cr3 = 0xffffffff00001018,
                             .efer = EFER_NXE, /* which this mode does not know */
                             .maxphyaddr = 40,
                             .cpl = 3};
    set32(0x1000, 0x3ff, 0x2000 | P | W | U);
    set32(0x2000, 0x3ff, 0xabcde000 | P | U);
    check_maps(0xfffff123, 0, 0xabcde123);
    CHECK_EQ(get32(0x1000, 0x3ff), 0x2000 | P | W | U | A);
    CHECK_EQ(get32(0x2000, 0x3ff), 0xabcde000 | P | U | A);
    check_faults(0xfffff123, GUEST_WALK_WRITE, PF_PRESENT | PF_USER | PF_WRITE);
    check_faults(0, GUEST_WALK_FETCH, PF_USER);
    /* Without PSE bit 7 of a directory entry means nothing. */
    set32(0x1000, 0x3ff, 0x2000 | P | W | U | PS);
    check_maps(0xfffff123, 0, 0xabcde123);
    paging.cr4 = CR4_PSE;
    check_maps(0xfffff123, 0, 0x1003ff123); /* bit 13 is address bit 32 there */
    CHECK_EQ(get32(0x1000, 0x3ff), 0x2000 | P | W | U | A | PS);
}

static void four_mib_pages(void)
{
    thirty_two_bit();
    set32(0x1000, 1, 0xff800000 | 0xab << 13 | P | W | U | PS | BIT(12));
    check_maps(0x7fffff, GUEST_WALK_WRITE, 0xabffbfffff);
    CHECK_EQ(get32(0x1000, 1), 0xff800000 | 0xab << 13 | P | W | U | PS | BIT(12) | A | D);
    set32(0x1000, 1, 0xff800000 | BIT(21) | P | W | U | PS);
    check_faults(0x7fffff, 0, PF_PRESENT | PF_RESERVED | PF_USER);
    paging.maxphyaddr = 36;
    set32(0x1000, 1, 0xff800000 | 0xf << 13 | P | W | U | PS);
    check_maps(0x7fffff, 0, 0xfffbfffff);
    set32(0x1000, 1, 0xff800000 | 0x10 << 13 | P | W | U | PS);
    check_faults(0x7fffff, 0, PF_PRESENT | PF_RESERVED | PF_USER);
    paging.maxphyaddr = 52; /* the format has 40 bits all the same */
    set32(0x1000, 1, 0xff800000 | 0xff << 13 | P | W | U | PS);
    check_maps(0x400000, 0, 0xffff800000);
}

static void a_path_stands_until_an_entry_changes(void)
{
    static const struct {
        uint64_t table;
        unsigned index;
    } entries[] = {{0x1000, 1}, {0x2000, 0}, {0x3000, 1}, {0x4000, 3}};
    struct guest_walk_path path;
    gpa_t gpa;
    long_mode();
#define WALK() guest_walk_noting(&paging, &mem, GVA(LINEAR + 5), 0, &gpa, &path, &exception)
    CHECK_EQ(WALK(), STATUS_OK); /* sets the accessed flags, which the path does not have */
    CHECK(path.slot[0] != NULL);
    CHECK(!guest_walk_stands(&path));
    CHECK_EQ(WALK(), STATUS_OK);
    CHECK_EQ(gpa.v, 0x7005);
    CHECK(guest_walk_stands(&path));
    for (size_t i = 0; i < ARRAY_SIZE(entries); i++) {
        uint64_t entry = get64(entries[i].table, entries[i].index);
        for (unsigned bit = 0; bit < 64; bit++) {
            set64(entries[i].table, entries[i].index, entry ^ BIT(bit));
            CHECK(!guest_walk_stands(&path));
        }
        set64(entries[i].table, entries[i].index, entry);
        CHECK(guest_walk_stands(&path));
    }
    /* None where the walk fails, and none of other paging. */
    set64(0x3000, 1, 0);
    CHECK_EQ(WALK(), ERR_FAULT);
    CHECK(path.slot[0] == NULL);
    paging.cr0 = CR0_PE;
    CHECK_EQ(WALK(), STATUS_OK);
    CHECK_EQ(gpa.v, LINEAR + 5);
    CHECK(path.slot[0] == NULL);
#undef WALK
}

/* One level's entry with a bit flipped, in all the ways to access; with set, all entries have their
 * accessed and dirty flags, so that the quick walk is not kept from giving a verdict. */
static enum status walk_flipped(unsigned level, uint64_t flip, unsigned how, bool set,
                                uint64_t *gpa)
{
    static const uint64_t tables[] = {0x1000, 0x2000, 0x3000, 0x4000};
    static const unsigned indices[] = {1, 0, 1, 3};
    static const uint64_t accesses[] = {0, GUEST_WALK_WRITE, GUEST_WALK_FETCH, GUEST_WALK_IMPLICIT};
    long_mode();
    paging.cr4 |= CR4_SMAP;
    paging.rflags = (how & 4) != 0 ? RFLAGS_AC : 0;
    paging.cpl = (how & 8) != 0 ? 3 : 0;
    paging.cr0 ^= (how & 16) != 0 ? CR0_WP : 0;
    paging.one_gib_pages = (how & 32) != 0;
    for (unsigned i = 0; i < 4; i++) {
        uint64_t entry = get64(tables[i], indices[i]) | (set ? A | D : 0);
        set64(tables[i], indices[i], i == level ? entry ^ flip : entry);
    }
    return walk(LINEAR, accesses[how & 3], gpa);
}

/* The quick walk and the full one must agree wherever the quick one speaks. */
static void quick_walk_agrees(void)
{
    static const uint64_t flips[] = {0,       P,       W,       U,       BIT(3),
                                     PS,      BIT(8),  BIT(12), BIT(13), BIT(20),
                                     BIT(39), BIT(40), BIT(51), BIT(52), XD};
    for (unsigned level = 0; level < 4; level++)
        for (size_t flip = 0; flip < ARRAY_SIZE(flips); flip++)
            for (unsigned how = 0; how < 64; how++) {
                uint64_t full, quick;
                enum status status = walk_flipped(level, flips[flip], how, false, &full);
                uint32_t code = exception.error_code;
                CHECK_EQ(walk_flipped(level, flips[flip], how, true, &quick), status);
                CHECK_EQ(exception.error_code, code);
                CHECK_EQ(quick, full);
            }
}

TEST_MAIN({"no_paging_is_identity", no_paging_is_identity}, {"four_levels", four_levels},
          {"protection_keys", protection_keys}, {"large_pages", large_pages},
          {"reserved_address_bits", reserved_address_bits}, {"execute_disable", execute_disable},
          {"user_and_supervisor", user_and_supervisor}, {"smep_and_smap", smep_and_smap},
          {"accessed_and_dirty_flags", accessed_and_dirty_flags},
          {"tables_outside_ram", tables_outside_ram},
          {"tables_in_two_regions", tables_in_two_regions}, {"pae", pae},
          {"thirty_two_bit", thirty_two_bit}, {"four_mib_pages", four_mib_pages},
          {"a_path_stands_until_an_entry_changes", a_path_stands_until_an_entry_changes},
          {"quick_walk_agrees", quick_walk_agrees})

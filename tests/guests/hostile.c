/*
 * A guest that is told over its serial line where the monitor lies in the machine's memory, and
 * tries every page of it: for reading, writing and execution, as guest-physical address through
 * pages of each size of its own, as page tables, as target of string I/O, as buffer, header,
 * status, indirect table and ring of a virtio disk, and as address of an MSI-X message. Nothing may
 * be there: reads are all ones, code is #UD, requests fail. What it cannot see is for the monitor's
 * own hash and the witness beside it.
 */
#include "tests/guests/fuzz/virtio.h"

#define SLOT_DISK 3
#define ONES ~0ull
#define UD 6u
#define PF 14u
#define PF_RESERVED 8u
#define CALLED_BACK 3u /* function_run: it came back */
#define CANARY 0x686f7374696c6521ull

/* Linear addresses that are all ours, under the second entry of the PML4. */
#define MINE 0x8000000000ull
#define MINE_1G MINE                      /* the first 256 GiB, by pages of 1 GiB */
#define MINE_4K (MINE + 0x6000000000ull)  /* one page of 4 KiB */
#define MINE_2M (MINE_4K + 0x40000000)    /* one page of 2 MiB */
#define MINE_TABLE (MINE_2M + 0x40000000) /* behind a page table that is not ours */

static uint64_t pdpt[512] __attribute__((aligned(4096)));
static uint64_t directory[3][512] __attribute__((aligned(4096)));
static uint64_t table[512] __attribute__((aligned(4096)));

static struct virtio disk;
static struct {
    struct desc desc[4];
    uint8_t pad[64];
    uint16_t avail_flags, avail_index, avail[4], used_event;
    uint16_t used_flags __attribute__((aligned(4))), used_index;
    struct {
        uint32_t id, length;
    } used[4];
    uint16_t avail_event;
} rings __attribute__((aligned(4096)));
static uint64_t header[2];
static uint8_t buffer[4096] __attribute__((aligned(4096)));
static volatile uint8_t status;
static bool has_1g;

static uint64_t tries[3]; /* by reading, writing, executing */
static uint64_t leaks, executions, wrong_requests, wrong_faults, first_bad;

static void note(uint64_t *what, uint64_t address)
{
    if (leaks + executions + wrong_requests + wrong_faults == 0)
        first_bad = address;
    ++*what;
}

/* ---- By the processor
 * ---------------------------------------------------------------------------- */

static void flush(void)
{
    uint64_t cr3;
    __asm__ volatile("mov %%cr3, %0; mov %0, %%cr3" : "=r"(cr3) : : "memory");
}

static void map_mine(void)
{
    uint64_t cr3;
    uint32_t a = 0x80000001, b, c = 0, d;
    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    has_1g = d >> 26 & 1;
    ((uint64_t *)(cr3 & ~0xfffull))[MINE >> 39] = (uint64_t)(uintptr_t)pdpt | 7;
    for (uint64_t i = 0; i < 256 && has_1g; i++)
        pdpt[i] = i << 30 | 0x87;
    for (unsigned i = 0; i < 3; i++)
        pdpt[384 + i] = (uint64_t)(uintptr_t)directory[i] | 7;
    directory[0][0] = (uint64_t)(uintptr_t)table | 7;
    flush();
}

static uint64_t map_4k(uint64_t address)
{
    table[0] = address | 7;
    __asm__ volatile("invlpg (%0)" : : "r"(MINE_4K) : "memory");
    return MINE_4K;
}

static uint64_t map_2m(uint64_t address)
{
    directory[1][0] = (address & ~0x1fffffull) | 0x87;
    __asm__ volatile("invlpg (%0)" : : "r"(MINE_2M) : "memory");
    return MINE_2M + (address & 0x1fffff);
}

static void expect_nothing(uint64_t linear, uint64_t address)
{
    tries[0]++;
    if (*(volatile uint64_t *)linear != ONES || *(volatile uint8_t *)(linear + 0xfff) != 0xff)
        note(&leaks, address);
}

static void try_linear(uint64_t linear, uint64_t address)
{
    expect_nothing(linear, address);
    tries[1]++;
    *(volatile uint64_t *)linear = CANARY;
    *(volatile uint32_t *)(linear + 0xffc) = (uint32_t)CANARY;
    __asm__ volatile("lock incq (%0)" : : "r"(linear + 8) : "memory");
    tries[2]++;
    if (function_run((void (*)(void))linear, RFLAGS_FIXED) != UD)
        note(&executions, address);
    expect_nothing(linear, address);
}

/* As a page table: what it says is all ones, which has reserved bits. */
static void try_as_table(uint64_t address)
{
    static uint64_t target;
    target = MINE_TABLE;
    directory[2][0] = address | 7;
    flush();
    tries[0]++;
    if (function_run((void (*)(void))target, RFLAGS_FIXED) != PF)
        note(&wrong_faults, address);
    directory[2][0] = 0;
    flush();
}

static void try_strings(uint64_t linear, uint64_t address)
{
    uint64_t to = linear, from = linear, count = 64;
    __asm__ volatile("cld; rep insb" : "+D"(to), "+c"(count) : "d"(COM1 + 7) : "memory");
    count = 16;
    __asm__ volatile("cld; rep insl" : "+D"(to), "+c"(count) : "d"(0xcfc) : "memory");
    count = 64;
    __asm__ volatile("cld; rep outsb" : "+S"(from), "+c"(count) : "d"(COM1 + 7) : "memory");
    if (inb(COM1 + 7) != 0xff)
        note(&leaks, address); /* the scratch register keeps the last byte */
    uint64_t copy[8];
    to = (uint64_t)(uintptr_t)copy, from = linear, count = 8;
    __asm__ volatile("cld; rep movsq" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
    for (unsigned i = 0; i < 8; i++)
        if (copy[i] != ONES)
            note(&leaks, address);
    to = linear, count = 8;
    __asm__ volatile("cld; rep stosq" : "+D"(to), "+c"(count) : "a"(CANARY) : "memory");
    expect_nothing(linear, address);
}

/* ---- By the disk
 * --------------------------------------------------------------------------------- */

static void common_write(unsigned offset, unsigned size, uint64_t value)
{
    mmio_write_sized(disk.common + offset, size, value);
}

static uint8_t device_status(void)
{
    return (uint8_t)mmio_read_sized(disk.common + COMMON_STATUS, 1);
}

static void disk_start(uint64_t descriptors, uint64_t available, uint64_t used)
{
    common_write(COMMON_STATUS, 1, 0);
    common_write(COMMON_STATUS, 1, 3);
    common_write(COMMON_DRIVER_FEATURE_SELECT, 4, 0);
    common_write(COMMON_DRIVER_FEATURE, 4, 1 << 28); /* indirect descriptors */
    common_write(COMMON_DRIVER_FEATURE_SELECT, 4, 1);
    common_write(COMMON_DRIVER_FEATURE, 4, 1);
    common_write(COMMON_STATUS, 1, 0xb);
    common_write(COMMON_QUEUE_SELECT, 2, 0);
    common_write(COMMON_QUEUE_SIZE, 2, 4);
    common_write(COMMON_QUEUE_VECTOR, 2, 0);
    common_write(COMMON_QUEUE_DESCRIPTORS, 4, descriptors);
    common_write(COMMON_QUEUE_DESCRIPTORS + 4, 4, descriptors >> 32);
    common_write(COMMON_QUEUE_DRIVER, 4, available);
    common_write(COMMON_QUEUE_DRIVER + 4, 4, available >> 32);
    common_write(COMMON_QUEUE_DEVICE, 4, used);
    common_write(COMMON_QUEUE_DEVICE + 4, 4, used >> 32);
    rings.avail_index = rings.used_index = 0;
    common_write(COMMON_QUEUE_ENABLE, 2, 1);
    common_write(COMMON_STATUS, 1, 0xf);
}

static void disk_start_properly(void)
{
    disk_start((uint64_t)(uintptr_t)rings.desc, (uint64_t)(uintptr_t)&rings.avail_flags,
               (uint64_t)(uintptr_t)&rings.used_flags);
}

static void set_desc(unsigned i, uint64_t address, uint32_t length, uint16_t flags)
{
    rings.desc[i] = (struct desc){address, length, flags, (uint16_t)(i + 1)};
}

/* A request whose parts lie where they are said to; returns its status, 0xff: it had no answer. */
static uint8_t request(uint32_t type, uint64_t head, uint64_t data, uint64_t answer)
{
    header[0] = type;
    header[1] = 0;
    status = 0xff;
    set_desc(0, head, 16, DESC_NEXT);
    set_desc(1, data, 512, type == 0 ? DESC_NEXT | DESC_WRITE : DESC_NEXT);
    set_desc(2, answer, 1, DESC_WRITE);
    rings.avail[rings.avail_index % 4] = 0;
    __atomic_store_n(&rings.avail_index, rings.avail_index + 1, __ATOMIC_SEQ_CST);
    mmio_write_sized(disk.notify, 2, 0);
    return status;
}

/* The device asked for a reset, or answered that the request failed; never that it worked. */
static void expect_refusal(uint64_t address, uint8_t answer)
{
    if (answer == 0 || (answer == 0xff && (device_status() & 0x40) == 0))
        note(&wrong_requests, address);
}

static void try_disk(uint64_t address)
{
    uint64_t head = (uint64_t)(uintptr_t)header, data = (uint64_t)(uintptr_t)buffer;
    uint64_t answer = (uint64_t)(uintptr_t)&status;
    const struct {
        uint32_t type;
        uint64_t head, data, answer;
    } parts[] = {{0, head, address, answer},
                 {1, head, address, answer},
                 {0, address, data, answer},
                 {0, head, data, address}};
    for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
        tries[i & 1]++;
        disk_start_properly();
        expect_refusal(address,
                       request(parts[i].type, parts[i].head, parts[i].data, parts[i].answer));
    }
    disk_start_properly();
    set_desc(0, address, 64, DESC_INDIRECT);
    rings.avail_index++;
    status = 0xff;
    mmio_write_sized(disk.notify, 2, 0);
    expect_refusal(address, status);
    const uint64_t place[3] = {(uint64_t)(uintptr_t)rings.desc,
                               (uint64_t)(uintptr_t)&rings.avail_flags,
                               (uint64_t)(uintptr_t)&rings.used_flags};
    for (unsigned i = 0; i < 3; i++) {
        disk_start(i == 0 ? address : place[0], i == 1 ? address : place[1],
                   i == 2 ? address : place[2]);
        expect_refusal(address, request(0, head, data, answer));
    }
}

/* The message of a request that works goes to memory that is not there. */
static void try_message(uint64_t address)
{
    mmio_write(disk.msix, (uint32_t)address);
    mmio_write(disk.msix + 4, (uint32_t)(address >> 32));
    mmio_write(disk.msix + 8, 0x12345678);
    mmio_write(disk.msix + 12, 0);
    disk_start_properly();
    if (request(0, (uint64_t)(uintptr_t)header, (uint64_t)(uintptr_t)buffer,
                (uint64_t)(uintptr_t)&status) != 0)
        note(&wrong_requests, address);
    tries[1]++;
}

/* MSI-X on: PCI Local Bus Specification, MSI-X Capability. */
static void enable_messages(void)
{
    for (uint64_t at = mmio_read_sized(disk.config + 0x34, 1); at != 0;
         at = mmio_read_sized(disk.config + at + 1, 1))
        if (mmio_read_sized(disk.config + at, 1) == 0x11)
            mmio_write_sized(disk.config + at + 2, 2, 0x8000);
}

/* ---- The run
 * ------------------------------------------------------------------------------------- */

static void try_page(uint64_t address)
{
    if (address < 1ull << 32)
        try_linear(address, address); /* the lowest 4 GiB are mapped as they are */
    try_linear(map_2m(address), address);
    if (has_1g && address < 256ull << 30)
        try_linear(MINE_1G + address, address);
    uint64_t linear = map_4k(address);
    try_linear(linear, address);
    try_strings(linear, address);
    try_as_table(address);
    try_disk(address);
    try_message(address);
    expect_nothing(map_4k(address), address);
}

static uint64_t read_number(void)
{
    uint64_t number = 0;
    for (;;) {
        while ((inb(COM1 + 5) & 1) == 0)
            ;
        uint8_t c = inb(COM1);
        if (c == ' ' || c == '\n' || c == '\r')
            return number;
        number = number << 4 | (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
}

/* Every power of two up to the processor's physical width, and the pages around it. */
static void try_sparsely(void)
{
    uint32_t a = 0x80000008, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    for (unsigned bit = 23; bit < (a & 0xff); bit++) {
        uint64_t address = 1ull << bit;
        try_page(address - 0x1000);
        if (bit != 31) /* devices are above, and the disk's registers from 3 GiB on */
            try_page(address);
        if (bit > 32)
            try_page(address + (address >> 1));
    }
}

/* Lines that are dirty in the caches must be there after INVD. */
static void try_invd(void)
{
    volatile uint64_t *words = (volatile uint64_t *)HIGH_CODE;
    uint64_t wrong = 0;
    for (unsigned i = 0; i < 8192; i++)
        words[i] = CANARY ^ i;
    __asm__ volatile("invd" : : : "memory");
    for (unsigned i = 0; i < 8192; i++)
        wrong += words[i] != (CANARY ^ i);
    report("hostile-invd", wrong == 0, "words lost", wrong);
}

void guest_main(void)
{
    uint64_t pages = 0;
    contexts_init();
    map_mine();
    bool found = virtio_find(&disk, SLOT_DISK);
    report("hostile-disk", found && disk.msix != 0, "no disk", disk.common);
    enable_messages();
    try_invd();
    watchdog_stop();
    put("hostile: where is it?\n");
    for (uint64_t base = read_number(), count = read_number(); count != 0;
         base = read_number(), count = read_number()) {
        for (uint64_t i = 0; i < count; i++)
            try_page(base + i * 4096);
        watchdog_stop(); /* who answers may take his time */
        pages += count;
        put("hostile: tried ");
        put_hex(base);
        put(" ");
        put_number(count);
        put("\n");
    }
    try_sparsely();
    report("hostile-read", leaks == 0, "reads that found something, first at", first_bad);
    report("hostile-execute", executions == 0, "code that ran, first at", first_bad);
    report("hostile-tables", wrong_faults == 0, "page tables that worked, first at", first_bad);
    report("hostile-requests", wrong_requests == 0, "wrong answers, first at", first_bad);
    put("hostile: ");
    put_number(pages);
    put(" pages, ");
    put_number(tries[0]);
    put(" reads, ");
    put_number(tries[1]);
    put(" writes, ");
    put_number(tries[2]);
    put(" calls\n");
    serial_drain_line();
    debug_exit(leaks + executions + wrong_requests + wrong_faults != 0);
}

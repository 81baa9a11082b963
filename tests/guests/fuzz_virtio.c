/* Random virtqueues and random drivers: chains that loop, that are cut, huge or aimed at holes,
 * devices, rings and the end of RAM; and a driver that resets, reconfigures and rewrites while the
 * device works. Block devices, console with its loops behind it, entropy. */
#include "tests/guests/fuzz/virtio.h"

#define SLOT_FIRST 1
#define SLOTS 6
#define QUEUES_MAX 8
#define QUEUE_SIZE 16

/* A queue's memory, each queue at its own page of free RAM. */
struct rings {
    struct desc desc[QUEUE_SIZE];
    uint16_t avail_flags, avail_index, avail[QUEUE_SIZE], used_event;
    uint8_t pad[1024 - 16 * QUEUE_SIZE - 6 - 2 * QUEUE_SIZE];
    uint16_t used_flags, used_index;
    struct {
        uint32_t id, length;
    } used[QUEUE_SIZE];
    uint16_t avail_event;
    uint8_t pad2[1024 - 6 - 8 * QUEUE_SIZE];
    struct desc indirect[64];
    uint8_t request[1024];
};

_Static_assert(sizeof(struct rings) == 4096, "a page");

static struct virtio devices[SLOTS];
static unsigned count;
static struct virtio *device;
static unsigned queue;

static volatile struct rings *rings(void)
{
    return (volatile struct rings *)(uintptr_t)(HIGH_CODE + 0x40000 + device->slot * 0x10000 +
                                                queue * 0x1000);
}

static void common_write(unsigned offset, unsigned size, uint64_t value)
{
    mmio_write_sized(device->common + offset, size, value);
}

static void notify(void)
{
    mmio_write_sized(device->notify + (uint64_t)queue * device->notify_multiplier, 2, queue);
}

/* ---- Chains ---------------------------------------------------------------------------------- */

static uint32_t random_length(void)
{
    static const uint32_t lengths[] = {0,   1,    15,      16,       17,         511,       512,
                                       513, 4096, 0x10000, 0x100000, 0x7fffffff, 0xffffffff};
    return one_in(3) ? (uint32_t)random_value() : PICK(lengths);
}

static uint64_t random_buffer(void)
{
    uint64_t page = (uint64_t)(uintptr_t)rings();
    switch (random_below(8)) {
    case 0:
        return page + random_below(4096);
    case 1:
        return (uint64_t)(uintptr_t)rings()->request;
    case 2:
        return RAM_END - random_below(1024);
    case 3:
        return random_address();
    default:
        return HIGH_CODE + 0x100000 + random_below(0xf0000);
    }
}

static void write_desc(volatile struct desc *desc, uint64_t address, uint32_t length,
                       unsigned flags, unsigned next)
{
    desc->address = address;
    desc->length = length;
    desc->flags = (uint16_t)flags;
    desc->next = (uint16_t)next;
}

static void random_desc(volatile struct desc *desc, unsigned entries)
{
    write_desc(desc, random_buffer(), random_length(), random_below(one_in(8) ? 65536 : 4),
               one_in(16) ? random_below(65536) : random_below(entries));
}

/* What a block device understands: header, data, status. */
static void block_request(volatile struct desc *table, unsigned base)
{
    static const uint32_t types[] = {0, 0, 1, 1, 4, 8, 11, 13, 2, 99};
    volatile uint32_t *header = (volatile uint32_t *)rings()->request;
    uint32_t type = PICK(types);
    uint32_t size = one_in(4) ? random_length() : 512 * random_below(16);
    header[0] = type;
    header[1] = 0;
    uint64_t sector = one_in(8)   ? (uint64_t)0 - random_below(64)
                      : one_in(4) ? random_value()
                                  : random_below(600);
    header[2] = (uint32_t)sector;
    header[3] = (uint32_t)(sector >> 32);
    for (unsigned i = 4; i < 12; i++)
        header[i] = one_in(2) ? random_below(128) : (uint32_t)random_value();
    bool has_ranges = type == 11 || type == 13;
    uint64_t data = has_ranges ? (uint64_t)(uintptr_t)&header[4] : random_buffer();
    unsigned data_flags = type == 0 || type == 8 ? DESC_NEXT | DESC_WRITE : DESC_NEXT;
    write_desc(&table[0], (uint64_t)(uintptr_t)header, 16, DESC_NEXT, base + 1);
    write_desc(&table[1], data, has_ranges ? 16 * random_below(3) : size, data_flags, base + 2);
    write_desc(&table[2], (uint64_t)(uintptr_t)&rings()->request[200], 1, DESC_WRITE, 0);
}

/* What the console understands on its control queue; elsewhere any bytes. */
static void console_request(volatile struct desc *table, unsigned base)
{
    volatile uint32_t *control = (volatile uint32_t *)rings()->request;
    bool is_output = queue % 2 == 1;
    control[0] = one_in(4) ? (uint32_t)random_value() : random_below(3);
    control[1] = random_below(10) | random_below(3) << 16;
    uint32_t size = queue == 3 && !one_in(4) ? 8 : random_below(2000);
    uint64_t at = queue == 3 ? (uint64_t)(uintptr_t)control : random_buffer();
    write_desc(&table[0], at, size, (is_output ? 0 : DESC_WRITE) | (one_in(4) ? DESC_NEXT : 0),
               base + 1);
    write_desc(&table[1], random_buffer(), random_below(300), is_output ? 0 : DESC_WRITE, 0);
}

static void request(volatile struct desc *table, unsigned base)
{
    switch (device->slot) {
    case 1:
        write_desc(&table[0], random_buffer(), random_below(5000), DESC_WRITE, 0);
        break;
    case 2:
        console_request(table, base);
        break;
    default:
        block_request(table, base);
    }
}

/* Through an indirect table, which may be anywhere, of any length, and refer to itself. */
static void indirect(unsigned head)
{
    volatile struct rings *memory = rings();
    bool is_sane = one_in(2);
    for (unsigned i = 0; i < 64; i++)
        random_desc(&memory->indirect[i], 64);
    request(memory->indirect, 0);
    write_desc(&memory->desc[head],
               is_sane ? (uint64_t)(uintptr_t)memory->indirect : random_buffer(),
               is_sane     ? 64 * 16
               : one_in(2) ? 16 * random_below(400)
                           : random_length(),
               DESC_INDIRECT | (one_in(8) ? random_below(8) : 0), random_below(QUEUE_SIZE));
}

/* Puts one to a few chains into the ring and moves its index, mostly by as many. */
static void post(void)
{
    volatile struct rings *memory = rings();
    unsigned chains = 1 + random_below(4), head = 0;
    for (unsigned i = 0; i < chains; i++, head += 4) {
        unsigned kind = random_below(4);
        if (kind == 0)
            for (unsigned j = 0; j < 4; j++)
                random_desc(&memory->desc[head + j], QUEUE_SIZE);
        else if (kind == 1)
            indirect(head);
        else
            request(&memory->desc[head], head);
        memory->avail[(memory->avail_index + i) % QUEUE_SIZE] =
            (uint16_t)(one_in(32) ? random64() : head);
    }
    memory->used_event = one_in(2) ? memory->used_index : (uint16_t)random64();
    memory->avail_flags = one_in(4);
    __asm__ volatile("" : : : "memory");
    memory->avail_index = (uint16_t)(memory->avail_index + (one_in(16) ? random64() : chains));
    notify();
}

/* Bytes of the rings change, also those of requests under way. */
static void scribble(void)
{
    volatile uint8_t *bytes = (volatile uint8_t *)rings();
    for (unsigned i = 1 + random_below(16); i > 0; i--)
        bytes[random_below(4096)] = (uint8_t)random_value();
    if (one_in(2))
        notify();
}

/* ---- The driver ------------------------------------------------------------------------------ */

static void choose(void)
{
    device = &devices[random_below(count)];
    unsigned queues = device->slot == 2 ? 6 : 1;
    queue = one_in(16) ? random_below(QUEUES_MAX) : random_below(queues);
}

static uint64_t ring_address(uint64_t proper)
{
    return one_in(24) ? random_buffer() : one_in(48) ? random_address() : proper;
}

static void set_up_queue(void)
{
    volatile struct rings *memory = rings();
    common_write(COMMON_QUEUE_SELECT, 2, queue);
    common_write(COMMON_QUEUE_SIZE, 2, one_in(16) ? random_value() : QUEUE_SIZE);
    common_write(COMMON_QUEUE_DESCRIPTORS, 8, ring_address((uint64_t)(uintptr_t)memory->desc));
    common_write(COMMON_QUEUE_DRIVER, 8, ring_address((uint64_t)(uintptr_t)&memory->avail_flags));
    common_write(COMMON_QUEUE_DEVICE, 8, ring_address((uint64_t)(uintptr_t)&memory->used_flags));
    common_write(COMMON_QUEUE_VECTOR, 2, one_in(4) ? random_value() : queue);
    memory->avail_index = memory->used_index = 0;
    common_write(COMMON_QUEUE_ENABLE, 2, 1);
}

/* The whole handshake, with some of the features, and all queues. */
static void set_up(void)
{
    unsigned before = queue, queues = device->slot == 2 ? 6 : 1;
    common_write(COMMON_STATUS, 1, 0);
    common_write(COMMON_STATUS, 1, 1);
    common_write(COMMON_STATUS, 1, 3);
    for (unsigned word = 0; word < 2; word++) {
        common_write(COMMON_DEVICE_FEATURE_SELECT, 4, word);
        uint32_t offered = mmio_read(device->common + COMMON_DEVICE_FEATURE);
        common_write(COMMON_DRIVER_FEATURE_SELECT, 4, word);
        uint32_t wanted = one_in(4) ? offered & (uint32_t)random64() : offered;
        common_write(COMMON_DRIVER_FEATURE, 4, wanted | (word == 1 && !one_in(32)));
    }
    common_write(COMMON_STATUS, 1, 0xb);
    for (queue = 0; queue < queues; queue++)
        set_up_queue();
    queue = before;
    common_write(COMMON_STATUS, 1, 0xf);
}

/* One register of the common structure, any value, any size. */
static void reconfigure(void)
{
    static const uint8_t sizes[] = {1, 2, 4, 8};
    unsigned offset = random_below(COMMON_SIZE + 4);
    if (one_in(3))
        (void)mmio_read_sized(device->common + offset, PICK(sizes));
    else
        common_write(offset, PICK(sizes), one_in(2) ? random_below(16) : random_value());
}

/* A queue reset and set up again, or not, under what is still on its way. */
static void reset_queue(void)
{
    common_write(COMMON_QUEUE_SELECT, 2, queue);
    common_write(COMMON_QUEUE_RESET, 2, 1);
    if (!one_in(4))
        set_up_queue();
}

static void read_registers(void)
{
    if (device->isr != 0)
        (void)mmio_read_sized(device->isr, 1);
    if (device->settings != 0)
        (void)mmio_read_sized(device->settings + random_below(64), 1);
}

static void interrupts_set(void)
{
    unsigned vector = random_below(8);
    if (device->msix == 0)
        return;
    mmio_write(device->msix + 16 * vector, one_in(8) ? (uint32_t)random_value() : LAPIC);
    mmio_write(device->msix + 16 * vector + 8, 0x40 + random_below(0xa0));
    mmio_write(device->msix + 16 * vector + 12, one_in(4));
    mmio_write(device->config + 4, one_in(8) ? random_below(0x800) : 6);
    for (unsigned at = mmio_read(device->config + 0x34) & 0xfc, i = 0; at != 0 && i < 16; i++) {
        uint32_t head = mmio_read(device->config + at);
        if ((head & 0xff) == 0x11)
            mmio_write(device->config + at, one_in(3) ? (uint32_t)random64() : 0x80000000u);
        at = head >> 8 & 0xfc;
    }
    mmio_write(device->config + 4, one_in(16) ? random_below(0x800) : 6);
}

/* The BARs through configuration space. Virtio: PCI configuration access capability. */
static void access(void)
{
    for (unsigned at = mmio_read(device->config + 0x34) & 0xfc, i = 0; at != 0 && i < 16; i++) {
        uint32_t head = mmio_read(device->config + at);
        if ((head & 0xff) == 9 && head >> 24 == 5) {
            mmio_write(device->config + at + 4, one_in(8) ? random_below(8) : 0);
            mmio_write(device->config + at + 8,
                       one_in(4) ? (uint32_t)random_value() : random_below(0x3100));
            mmio_write(device->config + at + 12, one_in(8) ? (uint32_t)random_value() : 4);
            if (one_in(2))
                mmio_write(device->config + at + 16, (uint32_t)random_value());
            else
                (void)mmio_read(device->config + at + 16);
        }
        at = head >> 8 & 0xfc;
    }
}

static void burst(void)
{
    static void (*const actions[])(void) = {
        post,        post,        post,           post,           post,
        post,        post,        scribble,       scribble,       reconfigure,
        reconfigure, reset_queue, read_registers, interrupts_set, access};
    choose();
    if ((mmio_read_sized(device->common + COMMON_STATUS, 1) & 0xc4) != 4 && !one_in(4))
        set_up();
    for (unsigned i = 1 + random_below(6); i > 0; i--)
        PICK(actions)();
}

static void step(void)
{
    function_run(burst, one_in(2) ? RFLAGS_IF : 0);
}

static void prepare(void)
{
    count = 0;
    for (unsigned slot = SLOT_FIRST; slot < SLOT_FIRST + SLOTS; slot++)
        if (virtio_find(&devices[count], slot))
            count++;
    mmio_write(LAPIC + 0xf0, 0x1ff);
}

static const struct fuzzer fuzzer = {"fuzz_virtio", 1500, prepare, step};

void guest_main(void)
{
    fuzz(&fuzzer);
}

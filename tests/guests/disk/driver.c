#include "tests/guests/disk/driver.h"

#define PCI_ID 0x10421af4u
#define CAPABILITY_VENDOR 9u
#define QUEUE_SIZE 4u

enum structure { COMMON = 1, NOTIFY = 2, DEVICE = 4, STRUCTURES = 5 };

/* The common configuration structure. */
#define DEVICE_FEATURE_SELECT 0x00
#define DEVICE_FEATURE 0x04
#define DRIVER_FEATURE_SELECT 0x08
#define DRIVER_FEATURE 0x0c
#define DEVICE_STATUS 0x14
#define QUEUE_SELECT 0x16
#define QUEUE_LENGTH 0x18
#define QUEUE_ENABLE 0x1c
#define QUEUE_NOTIFY_OFF 0x1e
#define QUEUE_DESC 0x20

#define ACKNOWLEDGE 1
#define DRIVER 2
#define DRIVER_OK 4
#define FEATURES_OK 8
#define NEEDS_RESET 0x40
#define F_VERSION_1 BIT(32)

#define DESC_NEXT 1
#define DESC_WRITE 2

struct descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags, next;
};

static struct {
    struct descriptor descriptor[QUEUE_SIZE];
    struct {
        uint16_t flags, index, ring[QUEUE_SIZE], used_event;
    } available;
    struct {
        uint16_t flags, index;
        struct {
            uint32_t head, length;
        } ring[QUEUE_SIZE];
        uint16_t available_event;
    } __attribute__((aligned(4))) used;
} __attribute__((aligned(4096))) queue;

static struct {
    uint32_t type, reserved;
    uint64_t sector;
} header;
static volatile uint8_t status;

static uint32_t function; /* the device's configuration address */
static uint64_t structure[STRUCTURES];
static uint32_t notify_multiplier;
static uint64_t features;

static uint32_t port_read32(uint16_t port)
{
    uint32_t value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "d"(port));
    return value;
}

static void port_write32(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "d"(port));
}

static uint32_t config_read(uint32_t offset)
{
    port_write32(0xcf8, function + (offset & ~3u));
    return port_read32(0xcfc) >> 8 * (offset & 3);
}

static void config_write(uint32_t offset, uint32_t value)
{
    port_write32(0xcf8, function + (offset & ~3u));
    port_write32(0xcfc, value);
}

/* One instruction each, of the size that the register has. */
#define MMIO(type, suffix, bits)                                                                   \
    static type mmio_read##bits(uint64_t address)                                                  \
    {                                                                                              \
        type value;                                                                                \
        __asm__ volatile("mov" suffix " (%1), %0" : "=r"(value) : "r"(address) : "memory");        \
        return value;                                                                              \
    }                                                                                              \
    static void mmio_write##bits(uint64_t address, type value)                                     \
    {                                                                                              \
        __asm__ volatile("mov" suffix " %0, (%1)" : : "r"(value), "r"(address) : "memory");        \
    }

MMIO(uint8_t, "b", 8)
MMIO(uint16_t, "w", 16)
MMIO(uint32_t, "l", 32)

static bool find_function(void)
{
    for (function = 0x80000000; function < 0x80000000 + (32u << 11); function += 1u << 11)
        if (config_read(0) == PCI_ID)
            return true;
    return false;
}

static uint64_t bar_address(uint32_t number)
{
    uint32_t low = config_read(0x10 + 4 * number);
    uint64_t high = (low & 6) == 4 ? config_read(0x14 + 4 * number) : 0;
    return high << 32 | (low & ~15u);
}

static void find_structures(void)
{
    for (uint32_t at = config_read(0x34) & 0xfc; at != 0; at = config_read(at + 1) & 0xfc) {
        uint32_t type = config_read(at) >> 24;
        if ((config_read(at) & 0xff) != CAPABILITY_VENDOR || type >= STRUCTURES)
            continue;
        structure[type] = bar_address(config_read(at + 4) & 0xff) + config_read(at + 8);
        if (type == NOTIFY)
            notify_multiplier = config_read(at + 16);
    }
}

static bool negotiate(uint64_t wanted)
{
    uint64_t common = structure[COMMON];
    mmio_write8(common + DEVICE_STATUS, 0);
    mmio_write8(common + DEVICE_STATUS, ACKNOWLEDGE | DRIVER);
    features = 0;
    for (uint32_t i = 0; i < 2; i++) {
        mmio_write32(common + DEVICE_FEATURE_SELECT, i);
        features |= (uint64_t)mmio_read32(common + DEVICE_FEATURE) << 32 * i;
    }
    wanted = (wanted & features) | F_VERSION_1;
    for (uint32_t i = 0; i < 2; i++) {
        mmio_write32(common + DRIVER_FEATURE_SELECT, i);
        mmio_write32(common + DRIVER_FEATURE, (uint32_t)(wanted >> 32 * i));
    }
    mmio_write8(common + DEVICE_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    return (mmio_read8(common + DEVICE_STATUS) & FEATURES_OK) != 0;
}

bool blk_start(uint64_t wanted)
{
    if (!find_function())
        return false;
    config_write(4, config_read(4) | 6); /* memory space, bus master */
    find_structures();
    if (!negotiate(wanted))
        return false;
    uint64_t common = structure[COMMON];
    const uint64_t rings[] = {(uintptr_t)queue.descriptor, (uintptr_t)&queue.available,
                              (uintptr_t)&queue.used};
    queue.available.index = queue.used.index = 0;
    mmio_write16(common + QUEUE_SELECT, 0);
    mmio_write16(common + QUEUE_LENGTH, QUEUE_SIZE);
    for (uint32_t i = 0; i < 6; i++)
        mmio_write32(common + QUEUE_DESC + 4 * i, (uint32_t)(rings[i / 2] >> 32 * (i % 2)));
    mmio_write16(common + QUEUE_ENABLE, 1);
    mmio_write8(common + DEVICE_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    return true;
}

static void notify(void)
{
    uint32_t offset = mmio_read16(structure[COMMON] + QUEUE_NOTIFY_OFF) * notify_multiplier;
    mmio_write16(structure[NOTIFY] + offset, 0);
}

bool blk_break(void)
{
    queue.available.index += QUEUE_SIZE + 1; /* more than the queue has room for */
    notify();
    return (mmio_read8(structure[COMMON] + DEVICE_STATUS) & NEEDS_RESET) != 0;
}

uint64_t blk_features(void)
{
    return features;
}

uint64_t blk_capacity(void)
{
    return mmio_read32(structure[DEVICE]) | (uint64_t)mmio_read32(structure[DEVICE] + 4) << 32;
}

static void put(uint32_t number, volatile void *address, uint32_t length, uint16_t flags)
{
    queue.descriptor[number] =
        (struct descriptor){(uintptr_t)address, length, flags, (uint16_t)(number + 1)};
}

uint8_t blk_request(uint32_t type, uint64_t sector, void *data, uint32_t length)
{
    bool is_read = type == BLK_IN || type == BLK_GET_ID;
    uint32_t count = 0;
    header.type = type;
    header.sector = sector;
    status = BLK_NO_ANSWER;
    put(count++, &header, sizeof(header), DESC_NEXT);
    if (length != 0)
        put(count++, data, length, is_read ? DESC_NEXT | DESC_WRITE : DESC_NEXT);
    put(count, &status, 1, DESC_WRITE);
    queue.available.ring[queue.available.index % QUEUE_SIZE] = 0;
    uint16_t wanted = (uint16_t)(queue.available.index + 1);
    __atomic_store_n(&queue.available.index, wanted, __ATOMIC_RELEASE);
    notify();
    for (uint32_t i = 0; i < 1000000; i++)
        if (__atomic_load_n(&queue.used.index, __ATOMIC_ACQUIRE) == wanted)
            return status;
    return BLK_NO_ANSWER;
}

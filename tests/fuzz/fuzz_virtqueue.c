/* A virtqueue over rings of arbitrary bytes: each chain that is accepted consists of RAM. */
#include "tests/fuzz/virtio_fuzz.h"

#define DESC 0x1000u
#define AVAIL 0x1400u
#define USED 0x1800u

static bool is_in_ram(const struct guest_machine *machine, const struct virtqueue_span *span)
{
    for (unsigned i = 0; i < GUEST_RAM_COUNT; i++) {
        const uint8_t *ram = machine->ram[i] + GUEST_GUARD;
        if (span->host >= ram && span->host < ram + GUEST_RAM_SIZE &&
            span->length <= (size_t)(ram + GUEST_RAM_SIZE - span->host))
            return true;
    }
    return false;
}

static void check_chain(const struct guest_machine *machine, const struct virtqueue_chain *chain)
{
    uint64_t total = 0;
    guest_require(chain->spans <= VIRTQUEUE_SPANS_MAX, "too many spans");
    for (unsigned i = 0; i < chain->spans; i++) {
        guest_require(chain->span[i].length != 0, "an empty span");
        guest_require(is_in_ram(machine, &chain->span[i]), "a span outside RAM");
        total += chain->span[i].length;
    }
    guest_require(total == (uint64_t)chain->readable.left + chain->writable.left, "wrong total");
}

/* Reads and writes a little of each half, as devices do, and gives the chain back. */
static void use_chain(struct virtqueue *queue, struct virtqueue_chain *chain)
{
    static uint8_t bytes[4096];
    uint32_t before = chain->writable.left;
    uint8_t *last = virtqueue_last_writable(chain);
    uint32_t read = virtqueue_read(&chain->readable, bytes, sizeof(bytes));
    uint32_t written = virtqueue_write(&chain->writable, bytes, sizeof(bytes));
    guest_require(read <= sizeof(bytes) && chain->writable.left == before - written, "lengths");
    if (last != NULL)
        *last = 1;
    guest_require(virtqueue_push(queue, chain->head, written) == STATUS_OK, "push");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct virtqueue_chain chain;
    struct fuzz_input input = {data, data + size};
    struct fuzz_guest guest = {.machine = guest_new()};
    struct virtqueue queue;
    uint64_t flags = fuzz_take(&input, 1);
    guest.driver.machine = guest.machine;
    virtqueue_reset(&queue, &guest.machine->mem, (uint16_t)(1u << (flags & 7)));
    queue.descriptors = DESC;
    queue.driver = AVAIL;
    queue.device = (flags & 0x40) != 0 ? fuzz_address(&input) : USED;
    queue.indirect = (flags & 0x10) != 0;
    queue.event_index = (flags & 0x20) != 0;
    enum status status = virtqueue_enable(&queue);
    for (uint16_t i = 0; i < 200 && status == STATUS_OK && !fuzz_is_done(&input); i++) {
        fuzz_descriptor(&guest, &input, (i & 3) == 3 ? GUEST_RAM_SIZE : DESC, queue.size);
        uint16_t slot = queue.last_avail & (queue.size - 1);
        guest_put_16(guest.machine, AVAIL + 4 + 2 * slot, (uint16_t)fuzz_below(&input, 130));
        guest_put_16(guest.machine, AVAIL + 2,
                     (uint16_t)(queue.last_avail + fuzz_below(&input, queue.size + 2)));
        status = virtqueue_pop(&queue, &chain);
        if (status == ERR_NOT_FOUND) {
            status = STATUS_OK;
            continue;
        }
        if (status != STATUS_OK)
            break;
        check_chain(guest.machine, &chain);
        use_chain(&queue, &chain);
        virtqueue_needs_interrupt(&queue);
    }
    guest_free(guest.machine);
    return 0;
}

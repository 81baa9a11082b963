/* The entropy device over a source that gives all, a part, or nothing: it writes into RAM only, and
 * never keeps more than one request. */
#include "drivers/model/virtio_rng.h"
#include "tests/fuzz/virtio_fuzz.h"

struct source {
    unsigned turn;
    size_t given, asked;
};

static size_t source_fill(void *context, void *buffer, size_t n)
{
    struct source *source = context;
    size_t gives = source->turn % 4 == 0 ? 0 : source->turn % 4 == 1 ? n / 2 : n;
    guest_require(n != 0 && n <= VIRTIO_RNG_REQUEST_MAX, "more than one request's bound");
    source->turn++;
    source->asked += n;
    source->given += gives;
    memset(buffer, 0x5a, gives);
    return gives;
}

struct rng_world {
    struct virtio_rng rng;
    struct source source;
};

/* Buffers that a driver would give: where and how long is the input's. */
static void act(struct fuzz_guest *guest, struct fuzz_input *input)
{
    struct guest_desc buffers[3];
    unsigned count = 1 + (unsigned)fuzz_take(input, 1) % 3;
    for (unsigned i = 0; i < count; i++)
        buffers[i] =
            (struct guest_desc){fuzz_address(input), fuzz_length(input), TEST_DESC_WRITE, 0};
    if ((fuzz_take(input, 1) & 15) == 0)
        buffers[0].flags = 0;
    fuzz_submit(guest, input, 0, buffers, count);
}

static void check(void *context)
{
    const struct rng_world *world = context;
    const struct virtqueue *queue = &world->rng.pci.queue[0];
    uint16_t taken = (uint16_t)(queue->last_avail - queue->used);
    if (queue->enabled && (world->rng.pci.status & VIRTIO_STATUS_NEEDS_RESET) == 0)
        guest_require(taken == world->rng.has_chain, "a request was lost");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rng_world world;
    struct guest_machine *machine = guest_new();
    struct virtio_pci_config config = guest_slot(machine, 1);
    struct entropy_source source = {source_fill, &world.source};
    world.source = (struct source){.turn = size == 0 ? 0 : data[0]};
    guest_require(virtio_rng_init(&world.rng, &config, &source) == STATUS_OK, "init");
    fuzz_run(machine, &world.rng.pci, 1, data, size, act, check, &world);
    guest_free(machine);
    return 0;
}

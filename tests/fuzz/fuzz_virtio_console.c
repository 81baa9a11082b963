/* The console device with a loopback behind one port and a slow reader behind the other. */
#include "drivers/model/loopback.h"
#include "drivers/model/virtio_console.h"
#include "tests/fuzz/virtio_fuzz.h"

#define PORTS 2

struct reader {
    struct virtio_console *console;
    unsigned turn;
    uint64_t sum;
};

/* Takes a part, nothing, or all; now and then says that there is room while it is written to. */
static size_t reader_write(void *context, const uint8_t *bytes, size_t n)
{
    struct reader *reader = context;
    size_t taken = reader->turn % 3 == 0 ? 0 : reader->turn % 3 == 1 ? n / 2 : n;
    for (size_t i = 0; i < taken; i++)
        reader->sum += bytes[i];
    if (reader->turn++ % 5 == 0)
        virtio_console_drain(reader->console, 0);
    return taken;
}

static void reader_writable(void *context)
{
    struct reader *reader = context;
    virtio_console_receive(reader->console, 0, (const uint8_t *)"typed", 5);
}

/* A control message, output, or receive buffers, all well-formed. */
static void act(struct fuzz_guest *guest, struct fuzz_input *input)
{
    uint64_t choice = fuzz_take(input, 1);
    uint64_t address = GUEST_RAM_SIZE + 0x1000 + 64 * fuzz_take(input, 1);
    uint16_t words[4] = {(uint16_t)(fuzz_take(input, 1) % (PORTS + 1)), 0,
                         (uint16_t)(fuzz_take(input, 1) % 9), (uint16_t)(choice >> 7)};
    unsigned port = choice >> 2 & 1;
    struct guest_desc buffer = {address, (uint32_t)fuzz_take(input, 1), 0, 0};
    if ((choice & 0x40) != 0)
        words[1] = (uint16_t)fuzz_take(input, 2);
    switch (choice & 3) {
    case 0:
        guest_put(guest->machine, address, words, 8);
        buffer.length = 8;
        fuzz_submit(guest, input, 3, &buffer, 1);
        break;
    case 1:
        fuzz_submit(guest, input, port == 0 ? 1 : 5, &buffer, 1);
        break;
    case 2:
        buffer.flags = TEST_DESC_WRITE;
        fuzz_submit(guest, input, port == 0 ? 0 : 4, &buffer, 1);
        break;
    default:
        buffer.flags = TEST_DESC_WRITE;
        fuzz_submit(guest, input, 2, &buffer, 1);
    }
}

struct state {
    struct virtio_console *console;
    struct loopback *loopback;
};

static void check(void *context)
{
    const struct state *state = context;
    const struct virtio_pci *pci = &state->console->pci;
    guest_require(state->loopback->count <= state->loopback->size, "the loopback overflowed");
    if ((pci->status & VIRTIO_STATUS_NEEDS_RESET) != 0)
        return;
    for (unsigned i = 0; i < PORTS; i++) {
        const struct virtqueue *queue = &pci->queue[i == 0 ? 1 : 3 + 2 * i];
        uint16_t taken = (uint16_t)(queue->last_avail - queue->used);
        if (queue->enabled)
            guest_require(taken == state->console->port[i].has_chain, "output was lost");
    }
    virtio_console_resize(state->console, state->loopback->count % 3, 80, 25);
    virtio_console_drain(state->console, state->loopback->count % 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct virtio_console console;
    uint8_t ring[100];
    struct loopback loopback;
    struct reader reader = {.console = &console};
    struct guest_machine *machine = guest_new();
    struct virtio_console_port_config ports[PORTS] = {
        {.is_console = true,
         .cols = 80,
         .rows = 25,
         .peer = {reader_write, reader_writable, &reader}},
        {.name = "loop"},
    };
    struct virtio_console_config config = {guest_slot(machine, 1), PORTS, ports};
    guest_require(virtio_console_init(&console, &config) == STATUS_OK, "init");
    loopback_init(&loopback, ring, sizeof(ring));
    virtio_console_connect(&console, 1,
                           loopback_connect(&loopback, virtio_console_stream(&console, 1)));
    struct state state = {&console, &loopback};
    fuzz_run(machine, &console.pci, 1, data, size, act, check, &state);
    guest_free(machine);
    return 0;
}

#include "kernel/debug/link.h"

#include "kernel/core/mem.h"

#define ROOM_MAX 4096u /* of a grant */
#define GRANT_STEP 64u
#define NAME_MAX 64u

/* ---- Sending -------------------------------------------------------------------------------- */

static uint32_t waiting(const struct link_channel *channel)
{
    return channel->head - channel->tail;
}

static uint32_t free_room(const struct link_channel *channel)
{
    return channel->size - waiting(channel);
}

static size_t append(struct link_channel *channel, const uint8_t *bytes, size_t count)
{
    size_t taken = 0;
    while (taken < count && free_room(channel) > 0)
        channel->ring[channel->head++ % channel->size] = bytes[taken++];
    return taken;
}

/* How many bytes of it may go out in a frame now. */
static unsigned sendable(const struct link *link, const struct link_channel *channel)
{
    uint32_t count = waiting(channel);
    uint16_t granted = (uint16_t)(channel->limit - channel->sent);
    if (count < FRAME_PAYLOAD_MAX && channel->under_way != 0)
        return 0;
    if (channel != &link->channel[LINK_DIRECTORY]) {
        if (granted > INT16_MAX)
            return 0; /* the limit was lowered, which nobody should do */
        count = count < granted ? count : granted;
    }
    return count < FRAME_PAYLOAD_MAX ? count : FRAME_PAYLOAD_MAX;
}

/* The directory, so that names come before what they are for; then the others in turn. NULL: none
 * has anything to send. */
static struct link_channel *choose(struct link *link)
{
    struct link_channel *directory = &link->channel[LINK_DIRECTORY];
    if (waiting(directory) > 0)
        return sendable(link, directory) > 0 ? directory : NULL;
    for (unsigned i = 0; i < link->channels; i++) {
        struct link_channel *channel = &link->channel[(link->turn + i) % link->channels];
        if (channel->ring != NULL && sendable(link, channel) > 0)
            return channel;
    }
    return NULL;
}

static void send(struct link *link, uint8_t number, uint8_t sequence, const uint8_t *payload,
                 unsigned length)
{
    uint8_t wire[FRAME_WIRE_MAX];
    struct frame_header header = {number, sequence, link->expected};
    link->owes_state = false;
    link->port.write(link->port.context, wire, frame_write(wire, &header, payload, length));
}

static void send_slot(struct link *link)
{
    const struct link_slot *slot = &link->slot[link->resend % LINK_WINDOW];
    send(link, slot->channel, link->resend, slot->payload, slot->length);
    link->resend++;
}

/* Takes count bytes of the channel as the next frame. */
static void fill_slot(struct link *link, struct link_channel *channel, unsigned count)
{
    struct link_slot *slot = &link->slot[link->next++ % LINK_WINDOW];
    slot->channel = (uint8_t)(channel - link->channel);
    slot->length = (uint8_t)count;
    link->turn = (slot->channel + 1u) % link->channels;
    for (unsigned i = 0; i < count; i++)
        slot->payload[i] = channel->ring[channel->tail++ % channel->size];
    channel->sent = (uint16_t)(channel->sent + count);
    channel->under_way++;
}

static void pump(struct link *link)
{
    while (link->is_up) {
        bool again = link->resend != link->next;
        struct link_channel *channel = NULL;
        if (!again && (uint8_t)(link->next - link->oldest) < LINK_WINDOW)
            channel = choose(link);
        if ((!again && channel == NULL) || !link->port.has_room(link->port.context))
            return;
        if (channel != NULL)
            fill_slot(link, channel, sendable(link, channel));
        link->again += again;
        send_slot(link);
    }
}

size_t link_write(struct link *link, unsigned number, const void *bytes, size_t count)
{
    struct link_channel *channel = &link->channel[number];
    size_t taken = 0;
    spinlock_acquire(&link->lock);
    if (link->is_up && channel->ring != NULL)
        taken = append(channel, bytes, count);
    channel->was_full = channel->was_full || taken < count;
    if (sendable(link, channel) > 0)
        pump(link);
    spinlock_release(&link->lock);
    return taken;
}

bool link_has_room(struct link *link, unsigned number, size_t count)
{
    struct link_channel *channel = &link->channel[number];
    spinlock_acquire(&link->lock);
    bool has_room = link->is_up && channel->ring != NULL && free_room(channel) >= count;
    channel->was_full = channel->was_full || !has_room;
    spinlock_release(&link->lock);
    return has_room;
}

static void send_control(struct link *link, enum link_control type, const uint8_t *bytes,
                         unsigned count)
{
    uint8_t payload[FRAME_PAYLOAD_MAX] = {(uint8_t)type};
    for (unsigned i = 0; i < count && i + 1 < FRAME_PAYLOAD_MAX; i++)
        payload[i + 1] = bytes[i];
    send(link, LINK_CONTROL, link->next, payload, count + 1);
}

void link_control(struct link *link, enum link_control type, const uint8_t *bytes, unsigned count)
{
    spinlock_acquire(&link->lock);
    send_control(link, type, bytes, count);
    spinlock_release(&link->lock);
}

/* ---- The directory -------------------------------------------------------------------------- */

/* With the lock: a record, if there is room for all of it. */
static bool tell(struct link *link, const uint8_t *record, unsigned length)
{
    struct link_channel *directory = &link->channel[LINK_DIRECTORY];
    return free_room(directory) >= length && append(directory, record, length) == length;
}

static void tell_name(struct link *link, struct link_channel *channel)
{
    uint8_t record[3 + NAME_MAX] = {LINK_NAME, (uint8_t)(channel - link->channel)};
    unsigned length = 0;
    while (length < NAME_MAX && channel->name[length] != '\0') {
        record[3 + length] = (uint8_t)channel->name[length];
        length++;
    }
    record[2] = (uint8_t)length;
    channel->is_told = tell(link, record, 3 + length);
}

static void tell_grant(struct link *link, struct link_channel *channel)
{
    size_t room = channel->user.room(channel->user.context);
    uint16_t limit = (uint16_t)(channel->received + (room < ROOM_MAX ? room : ROOM_MAX));
    uint16_t more = (uint16_t)(limit - channel->granted);
    bool is_out = channel->granted == channel->received;
    if (more == 0 || more > INT16_MAX || (more < GRANT_STEP && !is_out))
        return;
    uint8_t record[5] = {LINK_GRANT, (uint8_t)(channel - link->channel), 2, (uint8_t)limit,
                         (uint8_t)(limit >> 8)};
    if (tell(link, record, sizeof(record)))
        channel->granted = limit;
}

static void tell_all(struct link *link)
{
    for (unsigned i = LINK_DIRECTORY + 1; i < link->channels; i++) {
        struct link_channel *channel = &link->channel[i];
        if (channel->ring == NULL || channel->name == NULL)
            continue;
        if (!channel->is_told)
            tell_name(link, channel);
        if (channel->is_told && channel->user.room != NULL)
            tell_grant(link, channel);
    }
}

bool link_rename(struct link *link, unsigned number, const char *name)
{
    struct link_channel *channel = &link->channel[number];
    if (channel->name == name)
        return true;
    spinlock_acquire(&link->lock);
    bool is_empty = waiting(channel) == 0;
    channel->was_full = channel->was_full || !is_empty;
    if (is_empty) {
        channel->name = name;
        channel->is_told = false;
        if (link->is_up)
            tell_name(link, channel);
    }
    spinlock_release(&link->lock);
    return is_empty;
}

/* With the lock: what the host's program says of a channel. */
static void take_record(struct link *link)
{
    const uint8_t *record = link->record;
    struct link_channel *channel = &link->channel[record[1]];
    if (record[1] >= link->channels)
        return;
    if (record[0] == LINK_GRANT && record[2] == 2)
        channel->limit = (uint16_t)(record[3] | record[4] << 8);
    else if (record[0] == LINK_DROP)
        channel->tail = channel->head;
}

static void take_directory(struct link *link, const uint8_t *bytes, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (link->record_length < sizeof(link->record))
            link->record[link->record_length] = bytes[i];
        link->record_length++;
        if (link->record_length < 3 || link->record_length < 3u + link->record[2])
            continue;
        take_record(link);
        link->record_length = 0;
    }
}

/* ---- Receiving ------------------------------------------------------------------------------ */

static void acknowledge(struct link *link, uint8_t number)
{
    if ((uint8_t)(number - link->oldest) > (uint8_t)(link->next - link->oldest))
        return;
    for (; link->oldest != number; link->oldest++) {
        link->channel[link->slot[link->oldest % LINK_WINDOW].channel].under_way--;
        link->resend = (uint8_t)(link->resend + (link->resend == link->oldest));
    }
}

/* The other side is at number, so that what comes before it has been on the line. */
static void look_for_gap(struct link *link, uint8_t number)
{
    uint8_t ahead = (uint8_t)(number - link->expected);
    if (ahead == 0 || ahead > INT8_MAX || link->has_rejected)
        return;
    link->has_rejected = true;
    send_control(link, LINK_REJECT, NULL, 0);
}

static void take_control(struct link *link, const struct frame_reader *frame)
{
    uint8_t type = frame->length > 0 ? *frame_payload(frame) : 0;
    if (type == LINK_REJECT)
        link->resend = link->oldest;
    if (type == LINK_POLL) {
        link->owes_state = true;
        link->has_rejected = false;
    }
    if (type == LINK_POLL || type == LINK_STATE)
        look_for_gap(link, frame->header.sequence);
}

static bool take_sequence(struct link *link, uint8_t sequence)
{
    bool is_next = sequence == link->expected;
#ifdef PLANTED_BUG_LINK /* for the fuzzer's own test */
    is_next = (uint8_t)(sequence - link->expected) < 2;
#endif
    if (is_next) {
        link->expected++;
        link->has_rejected = false;
    } else {
        look_for_gap(link, sequence);
    }
    link->owes_state = true;
    return is_next;
}

/* Whether there is something for a user in the frame. */
static bool take(struct link *link, const struct frame_reader *frame)
{
    uint8_t number = frame->header.channel;
    if (!link->is_up)
        return false;
    acknowledge(link, frame->header.acknowledged);
    if (number == LINK_CONTROL) {
        take_control(link, frame);
        return false;
    }
    if (!take_sequence(link, frame->header.sequence))
        return false;
    if (number == LINK_DIRECTORY)
        take_directory(link, frame_payload(frame), frame->length);
    if (number >= link->channels)
        return false;
    struct link_channel *channel = &link->channel[number];
    channel->received = (uint16_t)(channel->received + frame->length);
    return channel->user.receive != NULL;
}

void link_receive(struct link *link, const struct frame_reader *frame)
{
    spinlock_acquire(&link->lock);
    bool is_for_user = take(link, frame);
    spinlock_release(&link->lock);
    if (is_for_user) {
        const struct link_user *user = &link->channel[frame->header.channel].user;
        user->receive(user->context, frame_payload(frame), frame->length);
    }
}

static void call_ready(struct link *link)
{
    for (unsigned i = 0; i < link->channels; i++) {
        struct link_channel *channel = &link->channel[i];
        spinlock_acquire(&link->lock);
        bool is_ready =
            link->is_up && channel->was_full && free_room(channel) >= (channel->size + 1) / 2;
        channel->was_full = channel->was_full && !is_ready;
        spinlock_release(&link->lock);
        if (is_ready && channel->user.ready != NULL)
            channel->user.ready(channel->user.context);
    }
}

void link_line_ready(struct link *link)
{
    spinlock_acquire(&link->lock);
    pump(link);
    spinlock_release(&link->lock);
    call_ready(link);
}

void link_serve(struct link *link)
{
    spinlock_acquire(&link->lock);
    if (link->is_up) {
        tell_all(link);
        pump(link);
        if (link->owes_state)
            send_control(link, LINK_STATE, NULL, 0);
    }
    spinlock_release(&link->lock);
    call_ready(link);
}

/* ---- Beginning and end ---------------------------------------------------------------------- */

void link_init(struct link *link, const struct link_port *port, struct link_channel *channel,
               unsigned count)
{
    memset(link, 0, sizeof(*link));
    link->port = *port;
    link->channel = channel;
    link->channels = count;
}

void link_open(struct link *link, unsigned number, const char *name, uint8_t *ring, uint32_t size,
               const struct link_user *user)
{
    struct link_channel *channel = &link->channel[number];
    *channel = (struct link_channel){
        .ring = ring,
        .size = size,
        .name = name,
    };
    if (user != NULL)
        channel->user = *user;
}

static void begin_channel(struct link_channel *channel)
{
    channel->head = channel->tail = 0;
    channel->sent = channel->limit = channel->received = channel->granted = 0;
    channel->under_way = 0;
    channel->is_told = false;
}

void link_start(struct link *link, bool anew)
{
    spinlock_acquire(&link->lock);
    link->is_up = true;
    link->has_rejected = false;
    link->resend = link->oldest;
    if (anew) {
        link->next = link->resend = link->oldest = link->expected = 0;
        link->record_length = 0;
        for (unsigned i = 0; i < link->channels; i++)
            begin_channel(&link->channel[i]);
    }
    spinlock_release(&link->lock);
}

void link_stop(struct link *link)
{
    spinlock_acquire(&link->lock);
    link->is_up = false;
    spinlock_release(&link->lock);
}

void link_finish(struct link *link)
{
    spinlock_acquire(&link->lock);
    for (unsigned i = 0; link->is_up && i < link->channels; i++) {
        struct link_channel *channel = &link->channel[i];
        while (link->resend != link->next)
            send_slot(link);
        for (uint32_t left; (left = waiting(channel)) > 0; send_slot(link))
            fill_slot(link, channel, left < FRAME_PAYLOAD_MAX ? left : FRAME_PAYLOAD_MAX);
    }
    if (link->is_up)
        send_control(link, LINK_BYE, NULL, 0);
    link->is_up = false;
    spinlock_release(&link->lock);
}

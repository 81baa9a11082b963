#include "kernel/vm/watch.h"

#include "kernel/core/mem.h"

INIT void watch_init(struct watch *watch, unsigned streams, const struct config_vm *config,
                     void (*tell)(void *context, enum watch_event event), void *context)
{
    unsigned count = config->pattern_count;
    struct regex_error error;
    memset(watch, 0, watch_size(streams));
    watch->config = config;
    watch->tell = tell;
    watch->context = context;
    for (unsigned i = 0; i < count; i++)
        *(config->pattern[i].rejects ? &watch->rejected : &watch->expected) |= 1u << i;
    if (config_looks_for_panic(config))
        watch->panicked = 1u << count;
    if (watch_compile(&watch->program, config, &count, &error) != STATUS_OK)
        watch->program.patterns = 0; /* never: the boot program has refused it */
    watch->streams = streams;
    for (unsigned i = 0; i < streams; i++) {
        watch->stream[i].watch = watch;
        regex_init(&watch->stream[i].regex, &watch->program, watch->stream[i].room);
    }
}

/* The longest match that ends with the last byte, or before it where that is a newline; as far
 * back as bytes are kept. */
static COLD void keep_text(struct watch_stream *stream, unsigned pattern, bool ends)
{
    struct watch *watch = stream->watch;
    char text[WATCH_RECENT];
    uint64_t first = stream->count < WATCH_RECENT ? 0 : stream->count - WATCH_RECENT + 1;
    unsigned length = (unsigned)(stream->count - first), found = 0;
    bool begins = first == 0 || stream->recent[(first - 1) % WATCH_RECENT] == '\n';
    for (unsigned i = 0; i < length; i++)
        text[i] = stream->recent[(first + i) % WATCH_RECENT];
    found = (unsigned)regex_find(&stream->regex, pattern, text, length, begins, ends);
    if (found == 0 && length != 0 && text[length - 1] == '\n')
        found = (unsigned)regex_find(&stream->regex, pattern, text, --length, begins, true);
    memcpy(watch->text, text + length - found, found);
    watch->length = found;
    watch->line = pattern < watch->config->pattern_count ? watch->config->pattern[pattern].line
                                                         : watch->config->on_panic_line;
}

/* How much a pattern decides: what must not come more than a panic, that more than what must. */
static unsigned rank(const struct watch *watch, unsigned patterns)
{
    return patterns & watch->rejected ? 3 : patterns & watch->panicked ? 2 : patterns ? 1 : 0;
}

static COLD void note(struct watch_stream *stream, unsigned matched, bool ends)
{
    struct watch *watch = stream->watch;
    unsigned before = rank(watch, watch->seen);
    watch->seen |= matched;
    for (unsigned i = 0; i < WATCH_PATTERNS_MAX; i++) {
        unsigned this = matched & 1u << i;
        unsigned now = rank(watch, this);
        if (this == 0 || now < before || (now == before && now != 1))
            continue;
        keep_text(stream, i, ends);
        before = now;
    }
}

static COLD void decide(struct watch_stream *stream, unsigned matched)
{
    struct watch *watch = stream->watch;
    note(stream, matched, false);
    if (matched & watch->rejected)
        watch->tell(watch->context, WATCH_REJECTED);
    if (matched & watch->panicked)
        watch->tell(watch->context, WATCH_PANICKED);
    if (matched & watch->expected && watch_is_complete(watch))
        watch->tell(watch->context, WATCH_COMPLETE);
}

void watch_put(struct watch_stream *stream, uint8_t byte)
{
    struct watch *watch = stream->watch;
    if (byte == '\r')
        return;
    stream->recent[stream->count++ % WATCH_RECENT] = (char)byte;
    unsigned matched = regex_put(&stream->regex, byte) & ~watch->seen;
    if (__builtin_expect(matched != 0, 0))
        decide(stream, matched);
    if (byte == '\n' && watch_is_complete(watch))
        watch->tell(watch->context, WATCH_LINE_END);
}

void watch_end(struct watch *watch)
{
    for (unsigned i = 0; i < watch->streams; i++) {
        unsigned matched = regex_put_end(&watch->stream[i].regex) & ~watch->seen;
        if (matched != 0)
            note(&watch->stream[i], matched, true);
    }
}

void watch_forget_panic(struct watch *watch)
{
    watch->seen &= ~watch->panicked;
}

uint32_t watch_missing(const struct watch *watch)
{
    for (unsigned i = 0; i < watch->config->pattern_count; i++)
        if (watch->expected & ~watch->seen & 1u << i)
            return watch->config->pattern[i].line;
    return 0;
}

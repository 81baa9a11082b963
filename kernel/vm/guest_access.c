#include "kernel/vm/guest_access.h"

#include "kernel/core/mem.h"
#include "kernel/vm/emulate_memory.h"

/* The longest operand, CMPXCHG16B's. */
#define OPERAND_BYTES_MAX 16

/* SDM: 32-Bit Task-State Segment (TSS). */
#define TSS_IO_MAP_BASE 0x66u
#define TSS_TYPE_32_BIT BIT(3)

void guest_access_init(struct guest_access *access, const struct guest_mem *mem, struct bus *bus)
{
    *access = (struct guest_access){.mem = mem, .bus = bus, .linear_mask = ~0ull};
    access->paging.bus = bus;
}

static inline uint64_t page_tag(uint64_t linear)
{
    return (linear >> PAGE_SHIFT) + 1;
}

static inline void remember(struct guest_access *access, uint64_t linear, gpa_t gpa, bool write)
{
    struct guest_translation *translation = &access->translation[write];
    translation->tag = page_tag(linear);
    translation->page = align_down(gpa.v, PAGE_SIZE);
    bool stores = write && guest_mem_is_rom(access->mem, gpa.v);
    translation->host = stores ? NULL : guest_walk_host(access->mem, GPA(translation->page));
}

void guest_access_assume(struct guest_access *access, gva_t linear, gpa_t gpa, bool write)
{
    remember(access, linear.v, gpa, false);
    if (write)
        remember(access, linear.v, gpa, true);
}

/* The translation of linear's page: the one this instruction made before, or a walk. */
static inline enum status translate(struct guest_access *access, uint64_t linear, bool write,
                                    const struct guest_translation **translation,
                                    struct exception *exception)
{
    *translation = &access->translation[write];
    if ((*translation)->tag == page_tag(linear))
        return STATUS_OK;
    gpa_t gpa;
    enum status status = guest_walk(&access->paging, access->mem, GVA(linear),
                                    write ? GUEST_WALK_WRITE : 0, &gpa, exception);
    if (status == STATUS_OK)
        remember(access, linear, gpa, write);
    return status;
}

/* One access of 1, 2, 4 or 8 bytes to RAM; atomic where it is aligned, as the processor's is. */
static inline uint64_t host_load(const uint8_t *host, unsigned size)
{
    uint64_t value = 0;
    bool aligned = is_aligned((uintptr_t)host, size);
    if (size == 4 && aligned)
        return __atomic_load_n((const uint32_t *)(const void *)host, __ATOMIC_RELAXED);
    if (size == 8 && aligned)
        return __atomic_load_n((const uint64_t *)(const void *)host, __ATOMIC_RELAXED);
    if (size == 2 && aligned)
        return __atomic_load_n((const uint16_t *)(const void *)host, __ATOMIC_RELAXED);
    if (size == 1)
        return __atomic_load_n(host, __ATOMIC_RELAXED);
    memcpy(&value, host, size);
    return value;
}

static inline void host_store(uint8_t *host, unsigned size, uint64_t value)
{
    bool aligned = is_aligned((uintptr_t)host, size);
    if (size == 4 && aligned)
        __atomic_store_n((uint32_t *)(void *)host, (uint32_t)value, __ATOMIC_RELEASE);
    else if (size == 8 && aligned)
        __atomic_store_n((uint64_t *)(void *)host, value, __ATOMIC_RELEASE);
    else if (size == 2 && aligned)
        __atomic_store_n((uint16_t *)(void *)host, (uint16_t)value, __ATOMIC_RELEASE);
    else if (size == 1)
        __atomic_store_n(host, (uint8_t)value, __ATOMIC_RELEASE);
    else
        memcpy(host, &value, size);
}

static inline bool crosses_page(uint64_t linear, unsigned size)
{
    return (linear & (PAGE_SIZE - 1)) + size > PAGE_SIZE;
}

/* An access that lies in two pages: both translations, and the bytes in the first. */
struct split {
    struct guest_translation translation[2];
    unsigned first;
};

static COLD enum status translate_split(struct guest_access *access, uint64_t linear, bool write,
                                        struct split *split, struct exception *exception)
{
    const struct guest_translation *translation;
    uint64_t next = (align_down(linear, PAGE_SIZE) + PAGE_SIZE) & access->linear_mask;
    split->first = (unsigned)(PAGE_SIZE - (linear & (PAGE_SIZE - 1)));
    enum status status = translate(access, linear, write, &translation, exception);
    if (status != STATUS_OK)
        return status;
    split->translation[0] = *translation;
    status = translate(access, next, write, &translation, exception);
    if (status == STATUS_OK)
        split->translation[1] = *translation;
    return status;
}

/* The largest naturally aligned access that begins at offset and has at most left bytes. */
static unsigned natural_size(uint64_t offset, unsigned left)
{
    unsigned size = 8;
    while (size > left || !is_aligned(offset, size))
        size /= 2;
    return size;
}

/* Copies size bytes at offset of a page; a device is asked in naturally aligned pieces. */
static void read_part(const struct guest_access *access,
                      const struct guest_translation *translation, uint64_t offset, uint8_t *to,
                      unsigned size)
{
    if (translation->host != NULL) {
        memcpy(to, translation->host + offset, size);
        return;
    }
    while (size > 0) {
        unsigned piece = natural_size(offset, size);
        uint64_t value = bus_read(access->bus, BUS_MMIO, translation->page + offset, piece);
        memcpy(to, &value, piece);
        to += piece;
        offset += piece;
        size -= piece;
    }
}

static void write_part(const struct guest_access *access,
                       const struct guest_translation *translation, uint64_t offset,
                       const uint8_t *from, unsigned size)
{
    if (translation->host != NULL) {
        memcpy(translation->host + offset, from, size);
        return;
    }
    while (size > 0) {
        unsigned piece = natural_size(offset, size);
        uint64_t value = 0;
        memcpy(&value, from, piece);
        bus_write(access->bus, BUS_MMIO, translation->page + offset, piece, value);
        from += piece;
        offset += piece;
        size -= piece;
    }
}

static COLD enum status load_split(struct guest_access *access, uint64_t linear, unsigned size,
                                   bool modify, uint64_t *value, struct exception *exception)
{
    uint8_t bytes[OPERAND_BYTES_MAX] = {0};
    struct split split;
    enum status status = translate_split(access, linear, modify, &split, exception);
    if (status != STATUS_OK)
        return status;
    read_part(access, &split.translation[0], linear & (PAGE_SIZE - 1), bytes, split.first);
    read_part(access, &split.translation[1], 0, bytes + split.first, size - split.first);
    memcpy(value, bytes, size > 8 ? 16 : 8);
    return STATUS_OK;
}

static COLD enum status store_split(struct guest_access *access, uint64_t linear, unsigned size,
                                    const uint64_t *value, struct exception *exception)
{
    uint8_t bytes[OPERAND_BYTES_MAX];
    struct split split;
    enum status status = translate_split(access, linear, true, &split, exception);
    if (status != STATUS_OK)
        return status;
    memcpy(bytes, value, size > 8 ? 16 : 8);
    write_part(access, &split.translation[0], linear & (PAGE_SIZE - 1), bytes, split.first);
    write_part(access, &split.translation[1], 0, bytes + split.first, size - split.first);
    return STATUS_OK;
}

static enum status access_load(void *context, uint64_t linear, unsigned size, bool modify,
                               uint64_t *value, struct exception *exception);

/* CMPXCHG16B's operand, which is aligned: two accesses where one is not to be had. */
static enum status load_pair(struct guest_access *access, uint64_t linear, bool modify,
                             uint64_t *value, struct exception *exception)
{
    enum status status = access_load(access, linear, 8, modify, &value[0], exception);
    return status == STATUS_OK ? access_load(access, linear + 8, 8, modify, &value[1], exception)
                               : status;
}

static COLD enum status access_load(void *context, uint64_t linear, unsigned size, bool modify,
                                    uint64_t *value, struct exception *exception)
{
    struct guest_access *access = context;
    const struct guest_translation *translation;
    uint64_t offset = linear & (PAGE_SIZE - 1);
    if (offset + size > PAGE_SIZE)
        return load_split(access, linear, size, modify, value, exception);
    if (size > 8)
        return load_pair(access, linear, modify, value, exception);
    enum status status = translate(access, linear, modify, &translation, exception);
    if (status != STATUS_OK)
        return status;
    if (translation->host != NULL)
        *value = host_load(translation->host + offset, size);
    else
        *value = bus_read(access->bus, BUS_MMIO, translation->page + offset, size);
    return STATUS_OK;
}

static COLD enum status access_store(void *context, uint64_t linear, unsigned size,
                                     const uint64_t *value, struct exception *exception)
{
    struct guest_access *access = context;
    const struct guest_translation *translation;
    uint64_t offset = linear & (PAGE_SIZE - 1);
    if (offset + size > PAGE_SIZE)
        return store_split(access, linear, size, value, exception);
    enum status status = translate(access, linear, true, &translation, exception);
    if (status != STATUS_OK)
        return status;
    for (; size > 8; size -= 8, offset += 8, value++)
        write_part(access, translation, offset, (const uint8_t *)value, 8);
    if (translation->host != NULL)
        host_store(translation->host + offset, size, *value);
    else
        bus_write(access->bus, BUS_MMIO, translation->page + offset, size, *value);
    return STATUS_OK;
}

/* LOCK CMPXCHG works at any alignment, which the type system does not want to know. */
#define HOST_EXCHANGE(type)                                                                        \
    __sync_bool_compare_and_swap((type *)(void *)host, (type)*expected, (type)*desired)

__attribute__((target("cx16"), no_sanitize("alignment"))) static bool host_compare_exchange(
    uint8_t *host, unsigned size, const uint64_t *expected, const uint64_t *desired)
{
    switch (size) {
    case 1:
        return HOST_EXCHANGE(uint8_t);
    case 2:
        return HOST_EXCHANGE(uint16_t);
    case 4:
        return HOST_EXCHANGE(uint32_t);
    case 8:
        return HOST_EXCHANGE(uint64_t);
    default: {
        unsigned __int128 old = expected[0] | (unsigned __int128)expected[1] << 64;
        unsigned __int128 new = desired[0] | (unsigned __int128)desired[1] << 64;
        return __sync_bool_compare_and_swap((unsigned __int128 *)(void *)host, old, new);
    }
    }
}

/* A device has no rival, the VM's device lock is held; a lock over two pages is not atomic towards
 * the guest's other processors. Both just store. */
static COLD enum status access_compare_exchange(void *context, uint64_t linear, unsigned size,
                                                const uint64_t *expected, const uint64_t *desired,
                                                bool *swapped, struct exception *exception)
{
    struct guest_access *access = context;
    const struct guest_translation *translation;
    *swapped = true;
    if (crosses_page(linear, size))
        return store_split(access, linear, size, desired, exception);
    enum status status = translate(access, linear, true, &translation, exception);
    if (status != STATUS_OK)
        return status;
    if (translation->host == NULL)
        return access_store(access, linear, size, desired, exception);
    *swapped = host_compare_exchange(translation->host + (linear & (PAGE_SIZE - 1)), size, expected,
                                     desired);
    return STATUS_OK;
}

static COLD enum status access_prepare(void *context, uint64_t linear, unsigned size, bool write,
                                       struct exception *exception)
{
    struct guest_access *access = context;
    const struct guest_translation *translation;
    struct split split;
    if (crosses_page(linear, size))
        return translate_split(access, linear, write, &split, exception);
    return translate(access, linear, write, &translation, exception);
}

/* Two bytes at offset of the TSS, read with supervisor rights whatever the CPL. */
static COLD enum status read_tss(const struct guest_access *access, uint32_t offset,
                                 uint16_t *value, struct exception *exception)
{
    uint8_t bytes[2] = {0xff, 0xff};
    for (unsigned i = 0; i < 2; i++) {
        uint64_t linear = (access->tr.base + offset + i) & access->linear_mask;
        gpa_t gpa;
        enum status status = guest_walk(&access->paging, access->mem, GVA(linear),
                                        GUEST_WALK_IMPLICIT, &gpa, exception);
        if (status != STATUS_OK)
            return status;
        const uint8_t *host = guest_walk_host(access->mem, gpa);
        bytes[i] = host != NULL ? *host : (uint8_t)bus_read(access->bus, BUS_MMIO, gpa.v, 1);
    }
    *value = (uint16_t)(bytes[0] | bytes[1] << 8);
    return STATUS_OK;
}

/* SDM: I/O Permission Bit Map. */
static COLD enum status access_check_port(void *context, uint16_t port, unsigned size,
                                          struct exception *exception)
{
    const struct guest_access *access = context;
    const struct segment *tr = &access->tr;
    const struct exception refusal = {.vector = VECTOR_GP, .has_error_code = true};
    uint16_t map, bits;
    *exception = refusal;
    if ((tr->access & SEGMENT_UNUSABLE) != 0 || (tr->access & TSS_TYPE_32_BIT) == 0 ||
        tr->limit < TSS_IO_MAP_BASE + 1)
        return ERR_FAULT;
    enum status status = read_tss(access, TSS_IO_MAP_BASE, &map, exception);
    if (status != STATUS_OK)
        return status;
    uint32_t offset = (uint32_t)map + port / 8;
    if (offset + 1 > tr->limit)
        return ERR_FAULT;
    status = read_tss(access, offset, &bits, exception);
    if (status != STATUS_OK)
        return status;
    return ((bits >> port % 8) & ((1u << size) - 1)) == 0 ? STATUS_OK : ERR_FAULT;
}

static enum status access_port_in(void *context, uint16_t port, unsigned size, uint64_t *value)
{
    const struct guest_access *access = context;
    *value = bus_read(access->bus, BUS_PORT, port, size);
    return STATUS_OK;
}

static enum status access_port_out(void *context, uint16_t port, unsigned size, uint64_t value)
{
    const struct guest_access *access = context;
    bus_write(access->bus, BUS_PORT, port, size, value);
    return STATUS_OK;
}

const struct emulate_ops guest_access_ops = {
    .load = access_load,
    .store = access_store,
    .compare_exchange = access_compare_exchange,
    .prepare = access_prepare,
    .check_port = access_check_port,
    .port_in = access_port_in,
    .port_out = access_port_out,
};

static enum status watched_load(void *context, uint64_t linear, unsigned size, bool modify,
                                uint64_t *value, struct exception *exception)
{
    const struct guest_access *access = context;
    breakpoint_note_data(access->watch, linear, size, false);
    return access_load(context, linear, size, modify, value, exception);
}

static enum status watched_store(void *context, uint64_t linear, unsigned size,
                                 const uint64_t *value, struct exception *exception)
{
    const struct guest_access *access = context;
    breakpoint_note_data(access->watch, linear, size, true);
    return access_store(context, linear, size, value, exception);
}

static enum status watched_compare_exchange(void *context, uint64_t linear, unsigned size,
                                            const uint64_t *expected, const uint64_t *desired,
                                            bool *swapped, struct exception *exception)
{
    const struct guest_access *access = context;
    breakpoint_note_data(access->watch, linear, size, true);
    return access_compare_exchange(context, linear, size, expected, desired, swapped, exception);
}

const struct emulate_ops guest_access_watched_ops = {
    .load = watched_load,
    .store = watched_store,
    .compare_exchange = watched_compare_exchange,
    .prepare = access_prepare,
    .check_port = access_check_port,
    .port_in = access_port_in,
    .port_out = access_port_out,
};

void guest_access_end(struct guest_access *access)
{
    access->translation[0].tag = 0;
    access->translation[1].tag = 0;
}

void guest_access_begin(struct guest_access *access, uint64_t cr0, uint64_t rflags, uint8_t cpl,
                        bool long_mode)
{
    guest_access_end(access);
    access->paging.cr0 = cr0;
    access->paging.rflags = rflags;
    access->paging.cpl = cpl;
    access->linear_mask = long_mode ? ~0ull : 0xffffffff;
}

/* #GP(0), whose error code is not pushed in real-address mode. */
static enum status raise_gp(const struct emulate_state *state, struct exception *exception)
{
    *exception =
        (struct exception){.vector = VECTOR_GP, .has_error_code = (state->cr0 & CR0_PE) != 0};
    return ERR_FAULT;
}

/* The linear address of the next byte to fetch, and in *room how many CS allows from there. */
static inline enum status fetch_linear(const struct guest_access *access,
                                       const struct emulate_state *state, uint64_t *linear,
                                       uint64_t *room, struct exception *exception)
{
    uint64_t offset = state->rip + access->count;
    *room = INSTRUCTION_BYTES_MAX - access->count;
    *linear = offset;
    if (state->code_size == 8)
        return is_canonical(offset) ? STATUS_OK : raise_gp(state, exception);
    const struct segment *cs = &state->segment[SEG_CS];
    if (offset > cs->limit)
        return raise_gp(state, exception);
    if (cs->limit - offset + 1 < *room)
        *room = cs->limit - offset + 1;
    *linear = (cs->base + offset) & access->linear_mask;
    return STATUS_OK;
}

/* Nobody there: all ones, which is no instruction. */
static COLD void fetch_from_bus(struct guest_access *access, gpa_t gpa, unsigned size)
{
    const struct guest_translation page = {.page = align_down(gpa.v, PAGE_SIZE)};
    read_part(access, &page, gpa.v & (PAGE_SIZE - 1), access->bytes + access->count, size);
}

enum status guest_access_fetch(struct guest_access *access, const struct emulate_state *state,
                               struct exception *exception)
{
    uint64_t linear, room;
    gpa_t gpa;
    enum status status = fetch_linear(access, state, &linear, &room, exception);
    if (status != STATUS_OK)
        return status;
    status = guest_walk_noting(&access->paging, access->mem, GVA(linear), GUEST_WALK_FETCH, &gpa,
                               &access->path, exception);
    if (status != STATUS_OK)
        return status;
    const uint8_t *host = guest_walk_host(access->mem, gpa);
    uint64_t in_page = PAGE_SIZE - (linear & (PAGE_SIZE - 1));
    if (room > in_page)
        room = in_page;
    if (__builtin_expect(host == NULL, 0))
        fetch_from_bus(access, gpa, (unsigned)room);
    else
        memcpy(access->bytes + access->count, host, room);
    access->code = access->count == 0 && in_page >= sizeof(access->bytes) ? host : NULL;
    access->count += (unsigned)room;
    return STATUS_OK;
}

/* Decodes what was fetched, fetching more if the decoder asks for it: an instruction at a page's
 * end touches the next page only if it goes on there. */
static COLD enum status fetch_and_decode(struct guest_access *access,
                                         const struct emulate_state *state,
                                         struct exception *exception)
{
    enum status status;
    access->count = 0;
    access->instruction = NULL;
    do {
        status = guest_access_fetch(access, state, exception);
        if (status != STATUS_OK)
            return status;
        status = decode_instruction(access->bytes, access->count, state->code_size,
                                    &access->decoded, exception);
    } while (status == ERR_TRUNCATED);
    if (status == STATUS_OK)
        access->instruction = &access->decoded;
    if (status == ERR_FAULT && exception->vector == VECTOR_GP)
        return raise_gp(state, exception);
    return status;
}

/* ---- Sites ---- */

static inline struct guest_site *site_of(struct guest_access *access, uint64_t rip)
{
    return &access->site[(rip ^ rip >> 5) % GUEST_SITES];
}

static bool is_plain_register(const struct operand *operand)
{
    return operand->kind == OPERAND_REGISTER && operand->number != GPR_RSP;
}

/* A MOV or MOVZX in 64-bit mode with addresses that need nothing but gpr, without RSP. */
static bool is_site(const struct instruction *instruction)
{
    const struct operand *to = &instruction->destination, *from = &instruction->source;
    bool loads =
        from->kind == OPERAND_MEMORY && is_plain_register(to) &&
        (instruction->operation == OPERATION_MOV || instruction->operation == OPERATION_MOVZX);
    bool stores = to->kind == OPERAND_MEMORY && instruction->operation == OPERATION_MOV &&
                  (is_plain_register(from) || from->kind == OPERAND_IMMEDIATE);
    return (loads || stores) && instruction->address_size == 8 && instruction->segment < SEG_FS &&
           instruction->base != GPR_RSP;
}

static void note_site(struct guest_access *access, uint64_t rip)
{
    struct guest_site *site = site_of(access, rip);
    if (access->code == NULL || access->path.slot[0] == NULL || !is_site(access->instruction))
        return;
    site->rip = rip;
    site->cr3 = access->paging.cr3;
    site->code = access->code;
    memcpy(site->bytes, access->bytes, sizeof(site->bytes));
    site->path = access->path;
    site->instruction = *access->instruction;
}

/* Of the bytes at the site only those that were decoded matter; the rest is one's neighbour's. */
static inline bool has_same_code(const struct guest_site *site)
{
    uint64_t now[2], then[2];
    memcpy(now, site->code, sizeof(now));
    memcpy(then, site->bytes, sizeof(then));
    return ((now[0] ^ then[0]) | (now[1] ^ then[1]) << 8) == 0;
}

static inline uint64_t operand_offset(const struct instruction *instruction, const uint64_t *gpr,
                                      uint64_t rip)
{
    uint64_t offset = instruction->displacement;
    if (instruction->base < GPR_COUNT)
        offset += gpr[instruction->base];
    else if (instruction->base == ADDRESS_RIP)
        offset += rip + instruction->length;
    if (instruction->index != ADDRESS_NONE)
        offset += gpr[instruction->index] << instruction->scale;
    return offset;
}

bool guest_access_repeat(struct guest_access *access, const struct guest_repeat *repeat,
                         uint64_t *gpr, uint64_t *next_rip)
{
    const struct guest_site *site = site_of(access, repeat->rip);
    const struct instruction *instruction = &site->instruction;
    const struct operand *to = &instruction->destination, *from = &instruction->source;
    struct emulate_state state = {.gpr = gpr};
    if (site->rip != repeat->rip || site->cr3 != repeat->cr3 || site->code == NULL ||
        !guest_walk_stands(&site->path) || !has_same_code(site) ||
        operand_offset(instruction, gpr, repeat->rip) != repeat->linear)
        return false;
    unsigned size = repeat->write ? to->size : from->size;
    if (crosses_page(repeat->gpa, size) || repeat->write != (to->kind == OPERAND_MEMORY))
        return false;
    if (repeat->write) {
        uint64_t value = from->kind == OPERAND_IMMEDIATE
                             ? instruction->immediate
                             : emulate_read_register(&state, from->number, size);
        bus_write(access->bus, BUS_MMIO, repeat->gpa, size, value);
    } else {
        uint64_t value = bus_read(access->bus, BUS_MMIO, repeat->gpa, size);
        emulate_write_register(&state, to->number, to->size, value);
    }
    *next_rip = repeat->rip + instruction->length;
    return true;
}

COLD enum emulate_result guest_access_emulate(struct guest_access *access,
                                              struct emulate_state *state,
                                              struct exception *exception)
{
    enum emulate_result result;
    access->paging.cr0 = state->cr0;
    access->paging.rflags = state->rflags;
    access->paging.cpl = state->cpl;
    access->linear_mask = state->code_size == 8 ? ~0ull : 0xffffffff;
    access->status = fetch_and_decode(access, state, exception);
    if (access->status == STATUS_OK) {
        if (state->code_size == 8)
            note_site(access, state->rip);
        result = emulate_instruction(state, access->instruction,
                                     access->watch == NULL ? &guest_access_ops
                                                           : &guest_access_watched_ops,
                                     access, exception, &access->status);
    } else if (access->status == ERR_FAULT)
        result = EMULATE_FAULT;
    else {
        result = access->status == ERR_BUSY ? EMULATE_AGAIN : EMULATE_UNSUPPORTED;
    }
    access->translation[0].tag = 0;
    access->translation[1].tag = 0;
    return result;
}

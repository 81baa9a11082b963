#include "kernel/debug/core_dump.h"

#include "kernel/core/mem.h"

/* ELF-64 Object File Format; System V ABI, AMD64. */
#define ELF_HEADER 64u
#define ELF_SEGMENT 56u
#define ELF_CORE 4u
#define ELF_X86_64 62u
#define SEGMENT_LOAD 1u
#define SEGMENT_NOTE 4u
#define SEGMENT_ALL_RIGHTS 7u

/* Linux's notes of a thread. */
#define NOTE_PRSTATUS 1u
#define NOTE_FPREGSET 2u
#define PRSTATUS_SIZE 336u
#define PRSTATUS_PID 32u
#define PRSTATUS_REGISTERS 112u
#define PRSTATUS_HAS_FPU 328u

#define SIGNAL_TRAP 5u

/* What QEMU adds to its dumps, for what Linux's notes have no room for. */
#define QEMU_NOTE_VERSION 1u
#define QEMU_NOTE_SIZE 440u

#define NOTE_SIZE(size) (12u + 8u + (size)) /* with a name of up to 8 bytes */
#define NOTES_SIZE (NOTE_SIZE(PRSTATUS_SIZE) + NOTE_SIZE(CORE_FPU) + NOTE_SIZE(QEMU_NOTE_SIZE))

/* The part of the file that is wanted. */
struct window {
    uint64_t from, size;
    uint8_t *to;
};

static void emit(const struct window *window, uint64_t at, const void *bytes, uint64_t size)
{
    uint64_t from = at > window->from ? at : window->from, end = at + size;
    uint64_t window_end = window->from + window->size;
    end = end < window_end ? end : window_end;
    if (from < end)
        memcpy(window->to + (from - window->from), (const uint8_t *)bytes + (from - at),
               end - from);
}

/* ---- Segments ------------------------------------------------------------------------------- */

static void put(uint8_t *to, unsigned at, uint64_t value, unsigned size)
{
    memcpy(to + at, &value, size);
}

static void emit_segment(const struct window *window, uint32_t number, uint32_t type,
                         uint64_t offset, uint64_t linear, uint64_t gpa, uint64_t size)
{
    uint8_t segment[ELF_SEGMENT];
    put(segment, 0, type, 4);
    put(segment, 4, type == SEGMENT_LOAD ? SEGMENT_ALL_RIGHTS : 0, 4);
    put(segment, 8, offset, 8);
    put(segment, 16, linear, 8);
    put(segment, 24, gpa, 8);
    put(segment, 32, size, 8);
    put(segment, 40, type == SEGMENT_LOAD ? size : 0, 8);
    put(segment, 48, type == SEGMENT_LOAD ? 0 : 4, 8);
    emit(window, ELF_HEADER + number * (uint64_t)ELF_SEGMENT, segment, sizeof(segment));
}

/* Where in the file a guest-physical address is that is RAM. */
static uint64_t offset_of(const struct core_dump *dump, uint64_t gpa)
{
    uint64_t offset = dump->head;
    for (unsigned i = 0; i < dump->mem->count; i++) {
        const struct guest_region *region = &dump->mem->region[i];
        if (gpa - region->base.v < region->size)
            return offset + (gpa - region->base.v);
        offset += region->size;
    }
    return offset;
}

static void emit_segments(const struct core_dump *dump, const struct window *window)
{
    uint32_t number = 0;
    emit_segment(window, number++, SEGMENT_NOTE, ELF_HEADER + dump->segments * ELF_SEGMENT, 0, 0,
                 dump->notes);
    for (unsigned i = 0; i < dump->runs.count; i++) {
        const struct guest_run *run = &dump->runs.run[i];
        emit_segment(window, number++, SEGMENT_LOAD, offset_of(dump, run->gpa), run->linear,
                     run->gpa, run->size);
    }
    for (unsigned i = 0; dump->is_paged && i < dump->mem->count; i++) {
        const struct guest_region *region = &dump->mem->region[i];
        emit_segment(window, number++, SEGMENT_LOAD, offset_of(dump, region->base.v),
                     CORE_PHYSICAL + region->base.v, region->base.v, region->size);
    }
}

static void emit_header(const struct core_dump *dump, const struct window *window)
{
    uint8_t header[ELF_HEADER] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
    put(header, 16, ELF_CORE, 2);
    put(header, 18, ELF_X86_64, 2);
    put(header, 20, 1, 4);
    put(header, 32, ELF_HEADER, 8);
    put(header, 52, ELF_HEADER, 2);
    put(header, 54, ELF_SEGMENT, 2);
    put(header, 56, dump->segments, 2);
    emit(window, 0, header, sizeof(header));
}

/* ---- Notes ---------------------------------------------------------------------------------- */

static uint64_t emit_note(const struct window *window, uint64_t at, const char *name, uint32_t type,
                          const void *bytes, uint32_t size)
{
    uint8_t head[20] = {0};
    put(head, 0, strlen(name) + 1, 4);
    put(head, 4, size, 4);
    put(head, 8, type, 4);
    memcpy(head + 12, name, strlen(name));
    emit(window, at, head, sizeof(head));
    emit(window, at + sizeof(head), bytes, size);
    return at + sizeof(head) + size;
}

/* Linux: struct elf_prstatus, with the registers in the order of struct user_regs_struct. */
static void fill_status(const struct vcpu_registers *registers, uint8_t status[PRSTATUS_SIZE])
{
    const uint64_t *gpr = registers->gpr;
    const struct segment *segment = registers->segment;
    const uint64_t order[] = {gpr[GPR_R15],
                              gpr[GPR_R14],
                              gpr[GPR_R13],
                              gpr[GPR_R12],
                              gpr[GPR_RBP],
                              gpr[GPR_RBX],
                              gpr[GPR_R11],
                              gpr[GPR_R10],
                              gpr[GPR_R9],
                              gpr[GPR_R8],
                              gpr[GPR_RAX],
                              gpr[GPR_RCX],
                              gpr[GPR_RDX],
                              gpr[GPR_RSI],
                              gpr[GPR_RDI],
                              UINT64_MAX, /* no system call is under way */
                              registers->rip,
                              segment[SEG_CS].selector,
                              registers->rflags,
                              gpr[GPR_RSP],
                              segment[SEG_SS].selector,
                              segment[SEG_FS].base,
                              segment[SEG_GS].base,
                              segment[SEG_DS].selector,
                              segment[SEG_ES].selector,
                              segment[SEG_FS].selector,
                              segment[SEG_GS].selector};
    memset(status, 0, PRSTATUS_SIZE);
    put(status, 0, SIGNAL_TRAP, 4);
    put(status, 12, SIGNAL_TRAP, 2);
    put(status, PRSTATUS_PID, 1, 4);
    memcpy(status + PRSTATUS_REGISTERS, order, sizeof(order));
    put(status, PRSTATUS_HAS_FPU, 1, 4);
    STATIC_ASSERT(PRSTATUS_REGISTERS + sizeof(order) == PRSTATUS_HAS_FPU, "as Linux has it");
}

static void put_qemu_segment(uint8_t *to, const struct segment *segment)
{
    put(to, 0, segment->selector, 4);
    put(to, 4, segment->limit, 4);
    put(to, 8, (uint64_t)(segment->access & 0xffff) << 8, 4);
    put(to, 16, segment->base, 8);
}

static void fill_qemu(const struct vcpu_registers *registers, uint8_t note[QEMU_NOTE_SIZE])
{
    static const uint8_t order[] = {GPR_RAX, GPR_RBX, GPR_RCX, GPR_RDX, GPR_RSI, GPR_RDI,
                                    GPR_RSP, GPR_RBP, GPR_R8,  GPR_R9,  GPR_R10, GPR_R11,
                                    GPR_R12, GPR_R13, GPR_R14, GPR_R15};
    static const uint8_t segments[] = {SEG_CS, SEG_DS, SEG_ES,   SEG_FS,
                                       SEG_GS, SEG_SS, SEG_LDTR, SEG_TR};
    const struct segment tables[] = {
        {.base = registers->gdtr.base, .limit = registers->gdtr.limit},
        {.base = registers->idtr.base, .limit = registers->idtr.limit}};
    const uint64_t control[] = {registers->cr0, 0,
                                registers->cr2, registers->cr3,
                                registers->cr4, registers->kernel_gs_base};
    memset(note, 0, QEMU_NOTE_SIZE);
    put(note, 0, QEMU_NOTE_VERSION, 4);
    put(note, 4, QEMU_NOTE_SIZE, 4);
    for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
        put(note, 8 + 8 * i, registers->gpr[order[i]], 8);
    put(note, 136, registers->rip, 8);
    put(note, 144, registers->rflags, 8);
    for (unsigned i = 0; i < ARRAY_SIZE(segments); i++)
        put_qemu_segment(note + 152 + 24 * i, &registers->segment[segments[i]]);
    for (unsigned i = 0; i < ARRAY_SIZE(tables); i++)
        put_qemu_segment(note + 152 + 24 * (ARRAY_SIZE(segments) + i), &tables[i]);
    memcpy(note + 392, control, sizeof(control));
}

static void emit_notes(const struct core_dump *dump, const struct window *window)
{
    uint8_t status[PRSTATUS_SIZE], qemu[QEMU_NOTE_SIZE];
    uint64_t at = ELF_HEADER + dump->segments * (uint64_t)ELF_SEGMENT;
    fill_status(&dump->registers, status);
    fill_qemu(&dump->registers, qemu);
    at = emit_note(window, at, "CORE", NOTE_PRSTATUS, status, sizeof(status));
    at = emit_note(window, at, "CORE", NOTE_FPREGSET, dump->fpu, sizeof(dump->fpu));
    (void)emit_note(window, at, "QEMU", 0, qemu, sizeof(qemu));
}

/* ---- The file ------------------------------------------------------------------------------- */

static void read(const struct core_dump *dump, const struct window *window)
{
    uint64_t at = dump->head;
    memset(window->to, 0, window->size);
    if (window->from < dump->head) {
        emit_header(dump, window);
        emit_segments(dump, window);
        emit_notes(dump, window);
    }
    for (unsigned i = 0; i < dump->mem->count; i++) {
        const struct guest_region *region = &dump->mem->region[i];
        emit(window, at, region->host, region->size);
        at += region->size;
    }
}

void core_dump_begin(struct core_dump *dump, const struct paging *paging,
                     const struct guest_mem *mem)
{
    uint64_t memory = 0;
    dump->mem = mem;
    dump->is_paged = (paging->cr0 & CR0_PG) != 0;
    guest_runs_collect(&dump->runs, paging, mem);
    for (unsigned i = 0; i < mem->count; i++)
        memory += mem->region[i].size;
    dump->segments = 1 + dump->runs.count + (dump->is_paged ? mem->count : 0);
    dump->notes = NOTES_SIZE;
    dump->head =
        align_up(ELF_HEADER + dump->segments * (uint64_t)ELF_SEGMENT + NOTES_SIZE, PAGE_SIZE);
    dump->size = dump->head + memory;
    dump->blocks = (uint32_t)((dump->size + CORE_BLOCK - 1) / CORE_BLOCK);
    struct window first = {0, sizeof(dump->raw) < dump->size ? sizeof(dump->raw) : dump->size,
                           dump->raw};
    read(dump, &first);
    dump->id = core_crc32(dump->raw, first.size);
}

static bool is_zero(const uint8_t *bytes, uint64_t size)
{
    uint64_t word, sum = 0;
    for (uint64_t i = 0; i + sizeof(word) <= size; i += sizeof(word)) {
        memcpy(&word, bytes + i, sizeof(word));
        sum |= word;
    }
    for (uint64_t i = align_down(size, sizeof(word)); i < size; i++)
        sum |= bytes[i];
    return sum == 0;
}

bool core_dump_next(struct core_dump *dump, uint32_t *from, uint32_t looks,
                    struct core_piece *piece)
{
    for (; *from < dump->blocks && looks > 0; (*from)++, looks--) {
        uint64_t at = (uint64_t)*from * CORE_BLOCK, left = dump->size - at;
        struct window window = {at, left < CORE_BLOCK ? left : CORE_BLOCK, dump->raw};
        read(dump, &window);
        if (is_zero(dump->raw, window.size))
            continue;
        piece->block = (*from)++;
        piece->size = (uint32_t)window.size;
        piece->crc = core_crc32(dump->raw, window.size);
        piece->used = (uint32_t)deflate_all(&dump->deflate, dump->raw, window.size, piece->bytes);
        return true;
    }
    return false;
}

/* RFC 1952, by halves of bytes. */
uint32_t core_crc32(const void *bytes, size_t size)
{
    static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
                                       0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
                                       0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                       0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    const uint8_t *at = bytes;
    uint32_t crc = UINT32_MAX;
    while (size-- > 0) {
        crc ^= *at++;
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

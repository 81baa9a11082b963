/*
 * Any firmware image with any file of variables, or none. The input is how large both are, and what
 * they begin with. What is accepted lies, whole, where a PC has its firmware, and nothing else is
 * written; a refusal names one of the files.
 */
#include <stdlib.h>
#include <string.h>

#include "kernel/core/bits.h"
#include "kernel/vm/load_firmware.h"
#include "tests/fuzz/load_fuzz.h"

#define HEAD 64 /* of a file, from the input */
#define TOP (1ull << 32)
#define LOW_BASE 0xe0000u
#define LOW_SIZE KIB(128)
#define CANARY 0xa5
#define FILLED KIB(512) /* of a file, and what may be copied: more takes too long */
#define ROOM (FILLED + PAGE_SIZE)

/* EFI_SYSTEM_NV_DATA_FV_GUID, and the signature of a volume. */
static void make_volume(uint8_t *head)
{
    memcpy(head + 0x10, "\x8d\x2b\xf1\xff\x96\x76\x8b\x4c\xa9\x85\x27\x47\x07\x5b\x4f\x50", 16);
    memcpy(head + 0x28, "_FVH", 4);
}

/* A kind (its low bits choose a unit, and whether it begins as a volume does), how many units, and
 * then changes to the first bytes: where, and what. */
static struct load_file take_file(struct fuzz_input *input, uint8_t **bytes)
{
    static const uint32_t units[] = {1, KIB(4), KIB(64), KIB(512)};
    uint8_t head[HEAD] = {0};
    unsigned kind = (unsigned)fuzz_take(input, 1);
    uint64_t size = fuzz_take(input, 1) * units[kind & 3] + (kind & 8 ? 1 : 0);
    size = size < 2 * LOAD_FIRMWARE_MAX ? size : 2 * LOAD_FIRMWARE_MAX;
    if (kind & 4)
        make_volume(head);
    for (unsigned i = 0; i < kind >> 4; i++) {
        unsigned at = (unsigned)fuzz_take(input, 1) % HEAD;
        head[at] = (uint8_t)fuzz_take(input, 1);
    }
    *bytes = malloc(size != 0 ? size : 1);
    memset(*bytes, (int)kind, size < FILLED ? size : FILLED);
    memcpy(*bytes, head, size < HEAD ? size : HEAD);
    return (struct load_file){.at = *bytes, .size = size};
}

static bool is_volume(const struct load_file *file)
{
    uint8_t head[HEAD] = {0};
    if (file->size < LOAD_FIRMWARE_UNIT)
        return false;
    memcpy(head, file->at, HEAD);
    make_volume(head);
    return memcmp(head, file->at, HEAD) == 0;
}

static void require_room_behind(const uint8_t *memory, uint64_t size)
{
    for (uint64_t i = 0; i < size; i++)
        REQUIRE(memory[i] == CANARY);
}

/* The whole of both files ends at 4 GiB, the end of the code below 1 MiB as well. */
static void require_memory(const struct load_plan *plan, const struct load_file *code,
                           const struct load_file *vars)
{
    static uint8_t low[LOW_SIZE], high[ROOM];
    struct guest_mem mem = {0};
    uint64_t all = code->size + vars->size;
    uint64_t copied = code->size < LOW_SIZE ? code->size : LOW_SIZE;
    memset(low, CANARY, sizeof(low));
    memset(high + (ROOM - all - PAGE_SIZE), CANARY, all + PAGE_SIZE);
    REQUIRE(guest_mem_add(&mem, GPA(LOW_BASE), LOW_SIZE, low) == STATUS_OK);
    REQUIRE(guest_mem_add(&mem, GPA(TOP - ROOM), ROOM, high) == STATUS_OK);
    REQUIRE(load_plan_replay(plan, &mem, false) == STATUS_OK);
    REQUIRE(memcmp(high + (ROOM - code->size), code->at, code->size) == 0);
    REQUIRE(memcmp(high + (ROOM - all), vars->at, vars->size) == 0);
    REQUIRE(memcmp(low + (LOW_SIZE - copied), code->at + (code->size - copied), copied) == 0);
    require_room_behind(low, LOW_SIZE - copied);
    require_room_behind(high + (ROOM - all - PAGE_SIZE), PAGE_SIZE);
    high[ROOM - 1] ^= 1; /* flash memory keeps over a reset what a guest has written */
    REQUIRE(load_plan_replay(plan, &mem, true) == STATUS_OK);
    REQUIRE(high[ROOM - 1] == (code->at[code->size - 1] ^ 1));
}

static bool is_piece(const struct load_piece *piece, uint64_t at, const uint8_t *from,
                     uint64_t size)
{
    return piece->at == at && piece->from == from && piece->size == size;
}

static void require_pieces(const struct load_plan *plan, const struct load_file *code,
                           const struct load_file *vars)
{
    const struct load_piece *piece = plan->piece;
    uint64_t copied = code->size < LOW_SIZE ? code->size : LOW_SIZE;
    REQUIRE(code->size != 0 && code->size + vars->size <= LOAD_FIRMWARE_MAX);
    REQUIRE(plan->pieces == (vars->size != 0 ? 3 : 2) && plan->lasting == plan->pieces - 1);
    REQUIRE(is_piece(&piece[0], MIB(1) - copied, code->at + (code->size - copied), copied));
    REQUIRE(is_piece(&piece[1], TOP - code->size, code->at, code->size));
    REQUIRE(vars->size == 0 ||
            is_piece(&piece[2], TOP - code->size - vars->size, vars->at, vars->size));
}

static void require_plan(const struct load_plan *plan, const struct load_file *code,
                         const struct load_file *vars)
{
    REQUIRE(plan->used == sizeof(*plan));
    REQUIRE(plan->entry.segment[SEG_CS].base + plan->entry.rip == TOP - 16);
    REQUIRE(vars->size == 0 || (is_volume(vars) && !is_volume(code)));
    REQUIRE(is_aligned(code->size, PAGE_SIZE) && is_aligned(vars->size, PAGE_SIZE));
    require_pieces(plan, code, vars);
    if (code->size + vars->size <= FILLED)
        require_memory(plan, code, vars);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint64_t room[LOAD_PLAN_SIZE / 8];
    static char long_name[2 * LOAD_ERROR_MAX];
    struct load_plan *plan = (struct load_plan *)room;
    struct fuzz_input input = {data, data + size};
    struct load_error error;
    uint8_t *code_bytes, *vars_bytes;
    unsigned choice = (unsigned)fuzz_take(&input, 1);
    memset(long_name, 'x', sizeof(long_name) - 1);
    struct load_file code = take_file(&input, &code_bytes);
    struct load_file vars = take_file(&input, &vars_bytes);
    code.name = choice & 1 ? long_name : "code.fd";
    code.line = 3;
    vars.name = choice & 2 ? long_name : "vars.fd";
    vars.line = 4;
    memset(&error, 'e', sizeof(error));
    REQUIRE(load_firmware_is_flash(code.at, code.size) == is_volume(&code));
    REQUIRE(load_firmware_is_flash(vars.at, vars.size) == is_volume(&vars));
    if (choice & 4)
        vars = (struct load_file){0};
    enum status status = load_firmware(&code, &vars, plan, &error);
    const struct load_file *files[] = {&code, &vars};
    load_fuzz_require_text(status, &error, files, ARRAY_SIZE(files));
    REQUIRE(status == STATUS_OK || status == ERR_INVALID);
    if (status == STATUS_OK)
        require_plan(plan, &code, vars.size != 0 ? &vars : &(struct load_file){.at = vars_bytes});
    free(code_bytes);
    free(vars_bytes);
    return 0;
}

/*
 * A debugger's load of selectors from hostile descriptor tables: it changes nothing but the
 * segments whose selector is new, reads no memory but the guest's, and what it takes is present and
 * of the kind that the register holds.
 */
#include <string.h>

#include "kernel/debug/selector.h"
#include "tests/fuzz/fuzz.h"

#define RAM_SIZE 8192u

static uint8_t ram[RAM_SIZE] ALIGNED(4096);

static void look(const struct vcpu_registers *before, const struct vcpu_registers *after)
{
    bool is_real = !(after->cr0 & CR0_PE) || after->rflags & RFLAGS_VM;
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        const struct segment *segment = &after->segment[i];
        if (segment->selector == before->segment[i].selector) {
            REQUIRE(memcmp(segment, &before->segment[i], sizeof(*segment)) == 0);
        } else if (is_real && i < SEG_LDTR) {
            REQUIRE(segment->base == (uint64_t)segment->selector << 4);
        } else if (!(segment->access & SEGMENT_UNUSABLE)) {
            REQUIRE(segment->access & SEGMENT_P);
            REQUIRE(!(segment->access & SEGMENT_S) == (i >= SEG_LDTR));
            REQUIRE(segment->selector >= 4);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, data + size};
    struct vcpu_registers before, after;
    memset(&before, 0, sizeof(before));
    struct guest_mem mem = {0};
    REQUIRE(guest_mem_add(&mem, GPA(0), RAM_SIZE, ram) == STATUS_OK);
    before.cr0 = fuzz_take(&input, 1) & 3 ? CR0_PE : 0;
    before.rflags = fuzz_take(&input, 1) & 1 ? RFLAGS_VM : 0;
    before.efer = fuzz_take(&input, 1) & 1 ? EFER_LMA : 0;
    before.gdtr.base = fuzz_take(&input, 1) & 1 ? fuzz_take(&input, 8) : fuzz_take(&input, 2);
    before.gdtr.limit = (uint32_t)fuzz_take(&input, 2);
    before.segment[SEG_LDTR].base = fuzz_take(&input, 2);
    before.segment[SEG_LDTR].limit = (uint32_t)fuzz_take(&input, 4);
    after = before;
    for (unsigned i = 0; i < SEG_COUNT; i++)
        if (fuzz_take(&input, 1) & 1)
            after.segment[i].selector = (uint16_t)fuzz_take(&input, 2);
    size_t left = (size_t)(input.end - input.next);
    memset(ram, 0, sizeof(ram));
    memcpy(ram, input.next, left < RAM_SIZE ? left : RAM_SIZE);
    struct paging paging = {.cr0 = CR0_PE};
    if (selector_load(&before, &after, &paging, &mem) == STATUS_OK)
        look(&before, &after);
    return 0;
}

#include "kernel/debug/selector.h"

#include "kernel/core/mem.h"
#include "kernel/vm/page_walk.h"

#define SELECTOR_TABLE BIT(2) /* the LDT's */
#define SELECTOR_OFFSET(selector) ((selector)&0xfff8u)
#define ACCESS_BITS (MASK(15, 12) | MASK(7, 0))

/* SDM: System-Segment and Gate-Descriptor Types. */
#define TYPE_LDT 2u
#define TYPE_TSS 9u      /* or 1: of 16 bits */
#define TYPE_TSS_BUSY 2u /* in both */

static enum status read_descriptor(const struct vcpu_registers *registers, uint16_t selector,
                                   const struct paging *paging, const struct guest_mem *mem,
                                   uint64_t words[2])
{
    const struct segment *ldt = &registers->segment[SEG_LDTR];
    uint64_t base = registers->gdtr.base, limit = registers->gdtr.limit;
    if (selector & SELECTOR_TABLE) {
        if (ldt->access & SEGMENT_UNUSABLE)
            return ERR_NOT_FOUND;
        base = ldt->base;
        limit = ldt->limit;
    }
    unsigned offset = SELECTOR_OFFSET(selector);
    if (offset + 7 > limit)
        return ERR_NOT_FOUND;
    words[1] = 0;
    if (page_walk_read(paging, mem, base + offset, words, 8) != 8)
        return ERR_FAULT;
    if (offset + 15 <= limit) /* what only system descriptors of long mode have */
        (void)!page_walk_read(paging, mem, base + offset + 8, &words[1], 8);
    return STATUS_OK;
}

static bool fits(enum segment_register number, uint32_t access)
{
    uint32_t type = access & SEGMENT_TYPE_MASK;
#ifdef PLANTED_BUG_SELECTOR /* for the fuzzer's own test */
    if (number != SEG_TR)
        return true;
#endif
    if (!(access & SEGMENT_P))
        return false;
    if (number == SEG_LDTR)
        return !(access & SEGMENT_S) && type == TYPE_LDT;
    if (number == SEG_TR)
        return !(access & SEGMENT_S) && (type | 8 | TYPE_TSS_BUSY) == (TYPE_TSS | TYPE_TSS_BUSY);
    return (access & SEGMENT_S) != 0;
}

/* SDM: Segment Descriptors: the limit in units of 4 KiB, if G is set. A load sets a segment's
 * accessed flag, and a TSS's busy one. */
static enum status fill(struct segment *segment, enum segment_register number,
                        const uint64_t words[2], bool is_long)
{
    uint64_t low = words[0];
    uint32_t access = (uint32_t)(low >> 40 & ACCESS_BITS);
    uint32_t limit = (uint32_t)((low & 0xffff) | (low >> 32 & 0xf0000));
    if (!fits(number, access))
        return ERR_INVALID;
    segment->base = (low >> 16 & 0xffffff) | (low >> 32 & 0xff000000);
    segment->limit = access & SEGMENT_G ? limit << 12 | 0xfff : limit;
    if (number >= SEG_LDTR && is_long)
        segment->base |= words[1] << 32;
    segment->access = access | (number == SEG_TR ? TYPE_TSS_BUSY : number == SEG_LDTR ? 0 : 1);
    return STATUS_OK;
}

static bool is_new(const struct segment *before, const struct segment *segment)
{
    return segment->selector != before->selector && segment->base == before->base &&
           segment->limit == before->limit && segment->access == before->access;
}

enum status selector_load(const struct vcpu_registers *before, struct vcpu_registers *registers,
                          const struct paging *paging, const struct guest_mem *mem)
{
    bool is_real = !(registers->cr0 & CR0_PE) || registers->rflags & RFLAGS_VM;
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        struct segment *segment = &registers->segment[i];
        uint64_t words[2];
        if (!is_new(&before->segment[i], segment))
            continue;
        if (is_real && i < SEG_LDTR) {
            segment->base = (uint64_t)segment->selector << 4;
            continue;
        }
        if (SELECTOR_OFFSET(segment->selector) == 0 && !(segment->selector & SELECTOR_TABLE)) {
            segment->access = SEGMENT_UNUSABLE;
            continue;
        }
        enum status status = read_descriptor(registers, segment->selector, paging, mem, words);
        if (status == STATUS_OK)
            status = fill(segment, (enum segment_register)i, words, registers->efer & EFER_LMA);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

#include "kernel/debug/backtrace.h"

#include "kernel/core/mem.h"

/* Frame records: the caller's frame pointer, then the return address. A stack grows down, so that
 * callers' frames lie higher; another stack's may lie anywhere, but the number is bounded. */
void backtrace_collect(struct backtrace *trace, const struct vcpu_registers *registers,
                       const struct paging *paging, const struct guest_mem *mem)
{
    uint32_t code = registers->segment[SEG_CS].access;
    bool is_long = (registers->efer & EFER_LMA) != 0 && (code & SEGMENT_L) != 0;
    bool is_32bit = (code & SEGMENT_DB) != 0 && (registers->cr0 & CR0_PE) != 0;
    uint64_t pointer = registers->gpr[GPR_RBP];
    uint64_t base = is_long ? 0 : registers->segment[SEG_SS].base;
    *trace = (struct backtrace){.count = 1, .width = is_long ? 8 : is_32bit ? 4 : 0};
    trace->frame[0] = registers->rip;
    while (trace->width != 0 && pointer != 0 && trace->count < BACKTRACE_MAX) {
        uint64_t next = 0, address = 0;
        uint8_t record[16];
        trace->ended_at = pointer;
        if (page_walk_read(paging, mem, base + pointer, record, 2 * trace->width) !=
            2 * trace->width)
            return;
        memcpy(&next, record, trace->width);
        memcpy(&address, record + trace->width, trace->width);
        if (address == 0 || next == pointer)
            return;
        trace->frame[trace->count++] = address;
        pointer = next;
    }
    trace->ended_at = 0;
}

void backtrace_describe(const struct text *text, const struct system_map *symbols,
                        const struct backtrace *trace)
{
    for (unsigned i = 0; i < trace->count; i++) {
        text_print(text, "#%-2u 0x%016lx", i, trace->frame[i]);
        describe_symbol(text, symbols, trace->frame[i]);
        text_print(text, "\n");
    }
    if (trace->width == 0)
        text_print(text, "(16-bit code has no frames that are known)\n");
    else if (trace->ended_at != 0)
        text_print(text, "(no frame at 0x%lx)\n", trace->ended_at);
}

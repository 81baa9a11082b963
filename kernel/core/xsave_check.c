#include "kernel/core/xsave_check.h"

#include "kernel/core/bits.h"
#include "kernel/core/hw.h"
#include "kernel/core/mem.h"

#define LEAF_XSAVE 0xd
#define XSAVEC_OFFERED BIT(1)
#define FIRST_EXTENDED 2
#define LEGACY MASK(1, 0)
#define COMPONENTS 8 /* what XSAVEC is doubted about: not PKRU */
#define AREA_SIZE 4096
#define MXCSR_OFFSET 24
#define MXCSR_INITIAL 0x1f80
#define XSTATE_BV 512 /* offset of the header's first field */

struct xsave_check {
    uint8_t wanted[AREA_SIZE] ALIGNED(64);
    uint8_t other[AREA_SIZE] ALIGNED(64);
    uint8_t compacted[AREA_SIZE] ALIGNED(64);
    uint8_t back[AREA_SIZE] ALIGNED(64);
    uint32_t offset[COMPONENTS], size[COMPONENTS]; /* of the standard form; size 0: not there */
};

/* One processor checks once, before there are guests. */
static struct xsave_check the_check;

/* An area of the standard form whose components in `mask` hold a pattern; the rest is initial. */
static void fill(const struct xsave_check *check, uint8_t *area, uint64_t mask, unsigned seed)
{
    uint32_t mxcsr = MXCSR_INITIAL;
    memset(area, 0, AREA_SIZE);
    memcpy(area + MXCSR_OFFSET, &mxcsr, sizeof(mxcsr));
    memcpy(area + XSTATE_BV, &mask, sizeof(mask));
    for (unsigned i = FIRST_EXTENDED; i < COMPONENTS; i++)
        for (uint32_t byte = 0; mask & BIT(i) && byte < check->size[i]; byte++)
            area[check->offset[i] + byte] = (uint8_t)(seed + 31 * i + 7 * byte);
}

static bool survives(struct xsave_check *check, uint64_t all, uint64_t used)
{
    fill(check, check->wanted, used, 1);
    fill(check, check->other, all, 101);
    memset(check->compacted, 0, AREA_SIZE);
    memset(check->back, 0, AREA_SIZE);
    hw_xrstor(check->wanted, all);
    hw_xsavec(check->compacted, all);
    hw_xrstor(check->other, all);
    if (hw_xrstor_safe(check->compacted, all) != STATUS_OK)
        return false;
    hw_xsave(check->back, all);
    /* What was initial may come back as "not in use", with nothing written. */
    for (unsigned i = FIRST_EXTENDED; i < COMPONENTS; i++)
        if (all & BIT(i) && memcmp(check->back + check->offset[i], check->wanted + check->offset[i],
                                   check->size[i]) != 0)
            return false;
    return true;
}

static uint64_t find_components(struct xsave_check *check, uint64_t xcr0)
{
    uint64_t found = 0;
    for (unsigned i = FIRST_EXTENDED; i < COMPONENTS; i++) {
        struct cpuid_regs regs = {0};
        if (xcr0 & BIT(i))
            hw_cpuid(LEAF_XSAVE, i, &regs);
        bool fits = (uint64_t)regs.eax + regs.ebx <= AREA_SIZE;
        check->size[i] = fits ? regs.eax : 0;
        check->offset[i] = fits ? regs.ebx : 0;
        found |= check->size[i] != 0 ? BIT(i) : 0;
    }
    return found;
}

bool xsave_check_compacted(uint64_t xcr0)
{
    struct xsave_check *check = &the_check;
    struct cpuid_regs regs;
    if (xcr0 == 0)
        return true;
    hw_cpuid(LEAF_XSAVE, 1, &regs);
    if (!(regs.eax & XSAVEC_OFFERED))
        return true;
    /* As kernels do it, with the x87 and SSE components, whose contents do not matter here. */
    uint64_t all = find_components(check, xcr0) | LEGACY;
    bool works = true;
    /* Every subset, by counting down through its bits. */
    for (uint64_t used = all; works; used = (used - 1) & all) {
        works = survives(check, all, used);
        if (used == 0)
            break;
    }
    fill(check, check->wanted, 0, 0);
    hw_xrstor(check->wanted, xcr0);
    return works;
}

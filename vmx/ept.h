/*
 * Extended page tables: what a guest's physical addresses mean. Pure: frames come from a port.
 * Built once per VM, before it runs; every page of RAM is mapped, device addresses never are. What
 * takes pages away for a while has an overlay. SDM:
 * The Extended Page Table Mechanism (EPT).
 */
#pragma once

#include "kernel/core/bits.h"
#include "kernel/core/status.h"

#define EPT_READ BIT(0)
#define EPT_WRITE BIT(1)
#define EPT_EXECUTE BIT(2)
#define EPT_MEMORY_TYPE_SHIFT 3
#define EPT_MEMORY_TYPE_WB (6ull << EPT_MEMORY_TYPE_SHIFT)
#define EPT_IGNORE_PAT BIT(6)
/* Of all guests' memory: what a guest writes to its PAT or MTRRs cannot make two types of one page.
 * No device is given to a guest that would need another. SDM: EPT and Memory Typing. */
#define EPT_HOST_DECIDES (EPT_MEMORY_TYPE_WB | EPT_IGNORE_PAT)
#define EPT_LARGE BIT(7)
#define EPT_ACCESSED BIT(8)
#define EPT_DIRTY BIT(9)
#define EPT_ADDRESS MASK(51, 12)

/* Fields of the EPT pointer. */
#define EPTP_WALK_4 (3ull << 3)
#define EPTP_AD BIT(6)

struct ept_ports {
    /* A zeroed frame for a table, and where the monitor sees a frame. */
    enum status (*alloc)(void *context, hpa_t *frame);
    void *(*map)(void *context, hpa_t frame);
    void *context;
};

struct ept {
    hpa_t root;
    struct ept_ports ports;
    bool has_2m, has_1g, has_ad; /* from IA32_VMX_EPT_VPID_CAP */
    bool small_executable;       /* what can be executed is mapped in leaves of 4 KiB */
    uint64_t leaves[3];          /* how many of 4 KiB, 2 MiB, 1 GiB there are */
};

/* An empty tree; capabilities is IA32_VMX_EPT_VPID_CAP. The error is the port's. */
enum status MUST_CHECK ept_init(struct ept *ept, const struct ept_ports *ports,
                                uint64_t capabilities);

/* Maps [gpa, gpa + size) to [hpa, hpa + size), page aligned, as RAM (write-back) with access
 * (EPT_READ | ...), in the largest leaves that alignment and processor allow. ERR_INVALID:
 * unaligned, empty, wrapping or beyond 48 bits; ERR_EXISTS: some of it is mapped; else the port's.
 */
enum status MUST_CHECK ept_map(struct ept *ept, gpa_t gpa, hpa_t hpa, uint64_t size,
                               uint64_t access);

/*
 * A second tree that shares ept's tables but for those on the way to single pages, which it has
 * beside: overlay is a copy of *ept with ports of its own, whose frames are its to give back.
 * ept_overlay_map: ERR_EXISTS, there is a page; else the port's error.
 */
enum status MUST_CHECK ept_overlay_init(const struct ept *ept, struct ept *overlay);
enum status MUST_CHECK ept_overlay_map(const struct ept *ept, struct ept *overlay, gpa_t gpa,
                                       hpa_t hpa, uint64_t access);

/* As ept, but for the page at gpa, which is RAM there: nothing is mapped. A large page around it is
 * taken apart. The port's error; it takes EPT_HIDE_FRAMES with ept_overlay_init's. */
#define EPT_HIDE_FRAMES 4
enum status MUST_CHECK ept_overlay_hide(const struct ept *ept, struct ept *overlay, gpa_t gpa);

/* The leaf that holds gpa: its entry, and in *size the bytes that it maps. ERR_NOT_FOUND: none. */
enum status MUST_CHECK ept_walk(const struct ept *ept, gpa_t gpa, uint64_t *entry, uint64_t *size);

/* What every leaf is held against: the end of the memory around frame that is the VM's own, 0 where
 * it is not. */
struct ept_owner {
    uint64_t (*end)(void *context, hpa_t frame);
    void *context;
};

/* Walks the whole tree: every leaf maps the VM's own memory and nothing else, as write-back, and is
 * no larger than small_executable allows. Returns what is wrong, in words, and where; NULL:
 * nothing. */
const char *ept_check(const struct ept *ept, const struct ept_owner *owner, gpa_t *where);

/* Goes on with hash (kernel/core/hash.h) over all entries, without what the processor sets in
 * them. */
uint64_t ept_hash(const struct ept *ept, uint64_t hash);

/* Whether the processor may fail on two translations of different size for one executable page, so
 * that guests must have none: from CPUID.01H:EAX and IA32_ARCH_CAPABILITIES. Intel: Machine Check
 * Error Avoidance on Page Size Change. */
bool ept_multihit_affects(uint32_t signature, uint64_t arch_capabilities);

/* The value for the VMCS's EPT pointer. */
uint64_t ept_pointer(const struct ept *ept);

/* The integer, address and attribute vocabulary that every file shares. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Addresses have types, so that a guest's address is never used as the machine's by accident. */
typedef struct {
    uint64_t v;
} gpa_t; /* guest-physical */

typedef struct {
    uint64_t v;
} hpa_t; /* host-physical */

typedef struct {
    uint64_t v;
} gva_t; /* guest-linear */

#define GPA(x) ((gpa_t){(x)})
#define HPA(x) ((hpa_t){(x)})
#define GVA(x) ((gva_t){(x)})

#define MUST_CHECK __attribute__((warn_unused_result))
#define NORETURN __attribute__((noreturn))
/* Off the hot path: keeps its callers' frames small. */
#define COLD __attribute__((cold, noinline))
/* Only the start needs it: given back before guests run (linker.ld). A file of which that is true
 * as a whole is one of INIT_SOURCES (kernel/build.mk) instead, which takes its constants along. */
#define INIT __attribute__((section(".init.text"), cold))
#define INIT_CONST __attribute__((section(".init.rodata"))) /* a table of such functions */
/* A table of the debugger, though it is in a file of the core. */
#define DEBUGGER_CONST __attribute__((section(".debugger.rodata")))
#define PRINTF(f, a) __attribute__((format(printf, f, a)))
#define ALIGNED(n) __attribute__((aligned(n)))
#define PACKED __attribute__((packed))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define STATIC_ASSERT(condition, message) _Static_assert(condition, message)
#define CONTAINER_OF(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

#define PAGE_SHIFT 12
#define PAGE_SIZE 4096ul
#define PAGE_SIZE_2M (2ul << 20)
#define PAGE_SIZE_1G (1ul << 30)

/* kernel/core/symbols.c: backtraces from an ELF symbol table that may be damaged. */
#include <stdlib.h>

#include "kernel/core/symbols.h"
#include "kernel/core/types.h"
#include "tests/check.h"

struct sym {
    uint32_t name;
    uint8_t info, other;
    uint16_t section;
    uint64_t value, size;
};

static const char names[] = "\0alpha\0beta\0gamma\0data\0edge";
#define ALPHA 1
#define BETA 7
#define GAMMA 12
#define DATA 18
#define EDGE 23

static const struct sym table[] = {
    {0, 0, 0, 0, 0, 0},
    {BETA, 0x12, 0, 1, 0x2000, 0x100},
    {ALPHA, 0x12, 0, 1, 0x1000, 0x80},
    {GAMMA, 0x10, 0, 1, 0x3000, 0},      /* from assembly: no type, no size */
    {DATA, 0x11, 0, 2, 0x1010, 0x1000},  /* an object */
    {EDGE, 0x12, 0, 0, 0x1020, 0x10},    /* undefined */
    {EDGE, 0x12, 0, 0xfff1, 0x1030, 16}, /* absolute */
};

static struct symbols symbols = {table, sizeof(table), names, sizeof(names)};

static const char *name_at(uint64_t address)
{
    uint64_t offset = 0;
    const char *name = symbols_lookup(&symbols, address, &offset);
    return name != NULL ? name : "-";
}

static void finds_the_function_around(void)
{
    uint64_t offset;
    CHECK_STR(name_at(0xfff), "-");
    CHECK_STR(name_at(0x1000), "alpha");
    CHECK_STR(name_at(0x1035), "alpha");
    CHECK_STR(name_at(0x107f), "alpha");
    CHECK_STR(name_at(0x1080), "-");
    CHECK_STR(name_at(0x20ff), "beta");
    CHECK_STR(name_at(0x2100), "-");
    CHECK_STR(name_at(0x3000), "gamma");
    CHECK_STR(name_at(UINT64_MAX), "gamma");
    CHECK_STR(symbols_lookup(&symbols, 0x2034, &offset), "beta");
    CHECK_EQ(offset, 0x34);
}

static void an_empty_table_has_no_names(void)
{
    struct symbols none = {NULL, 0, NULL, 0};
    uint64_t offset;
    CHECK(symbols_lookup(&none, 0x1000, &offset) == NULL);
}

static void a_cut_table_is_read_to_its_end(void)
{
    uint64_t offset;
    for (uint64_t size = 0; size <= sizeof(table); size++) {
        uint8_t *copy = malloc(size + 1);
        memcpy(copy, table, size);
        struct symbols cut = {size == 0 ? NULL : copy, size, names, sizeof(names)};
        const char *name = symbols_lookup(&cut, 0x1010, &offset);
        CHECK((name != NULL) == (size >= 3 * sizeof(table[0])));
        free(copy);
    }
}

static void names_never_run_over(void)
{
    uint64_t offset;
    for (uint64_t size = 0; size <= sizeof(names); size++) {
        char *copy = malloc(size + 1);
        memcpy(copy, names, size);
        struct symbols cut = {table, sizeof(table), copy, size};
        const char *name = symbols_lookup(&cut, 0x1010, &offset);
        CHECK((name != NULL) == (size >= BETA));
        free(copy);
    }
    struct sym wild = {UINT32_MAX, 0x12, 0, 1, 0x1000, 0x80};
    struct symbols wild_name = {&wild, sizeof(wild), names, sizeof(names)};
    CHECK(symbols_lookup(&wild_name, 0x1010, &offset) == NULL);
}

static void extreme_values(void)
{
    uint64_t offset;
    struct sym top = {ALPHA, 0x12, 0, 1, UINT64_MAX, UINT64_MAX};
    struct symbols one = {&top, sizeof(top), names, sizeof(names)};
    CHECK_STR(symbols_lookup(&one, UINT64_MAX, &offset), "alpha");
    CHECK_EQ(offset, 0);
    CHECK(symbols_lookup(&one, UINT64_MAX - 1, &offset) == NULL);
}

TEST_MAIN({"finds_the_function_around", finds_the_function_around},
          {"an_empty_table_has_no_names", an_empty_table_has_no_names},
          {"a_cut_table_is_read_to_its_end", a_cut_table_is_read_to_its_end},
          {"names_never_run_over", names_never_run_over}, {"extreme_values", extreme_values})

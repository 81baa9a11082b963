/* A guest's symbols, where the file is what it should be and where it is not. */
#include <stdlib.h>

#include "kernel/debug/system_map.h"
#include "tests/check.h"

static const char good[] = "0000000000000000 D __per_cpu_start\n"
                           "ffffffff81000000 T startup_64\n"
                           "ffffffff81000000 T _text\n"
                           "ffffffff81000120 t verify_cpu\n"
                           "ffffffff81000200 T start_kernel [module]\n"
                           "ffffffff82000000 B _end\n";
static char name[SYSTEM_MAP_NAME_MAX];
static uint64_t offset, address;

/* From memory of just its size, so that the sanitiser sees what is read behind it. */
static bool at(const char *text, size_t size, uint64_t where)
{
    char *copy = malloc(size + (size == 0));
    memcpy(copy, text, size);
    const struct system_map map = {copy, size};
    bool found = system_map_at(&map, where, name, &offset);
    free(copy);
    return found;
}

static void finds_what_is_before(void)
{
    CHECK(at(good, sizeof(good) - 1, 0xffffffff81000210));
    CHECK_STR(name, "start_kernel");
    CHECK_EQ(offset, 0x10);
    CHECK(at(good, sizeof(good) - 1, 0xffffffff8100011f));
    CHECK_STR(name, "_text");
    CHECK(at(good, sizeof(good) - 1, 0xffffffff81000120));
    CHECK_STR(name, "verify_cpu");
    CHECK_EQ(offset, 0);
    CHECK(at(good, sizeof(good) - 1, 5));
    CHECK_STR(name, "__per_cpu_start");
    CHECK(!at(good, sizeof(good) - 1, 0xffffffff80ffffff)); /* too far behind */
    CHECK(!at(good, sizeof(good) - 1, UINT64_MAX));
    CHECK(at(good, sizeof(good) - 2, 0xffffffff82000000)); /* without a newline at the end */
    CHECK_STR(name, "_end");
}

static void finds_names(void)
{
    const struct system_map map = {good, sizeof(good) - 1};
    const struct system_map none = {NULL, 0};
    CHECK(system_map_find(&map, "start_kernel", &address));
    CHECK_EQ(address, 0xffffffff81000200);
    CHECK(system_map_find(&map, "__per_cpu_start", &address));
    CHECK_EQ(address, 0);
    CHECK(!system_map_find(&map, "start_kerne", &address));
    CHECK(!system_map_find(&map, "", &address));
    CHECK(!system_map_find(&none, "_end", &address));
    CHECK(!system_map_at(&none, 0, name, &offset));
}

static void completes(void)
{
    const struct system_map map = {good, sizeof(good) - 1};
    struct completion completion = {.line = "x start", .length = 7, .word = 2};
    system_map_offer(&map, &completion);
    CHECK_EQ(completion.count, 2);
    CHECK_EQ(completion.common, 5);
}

/* Every prefix, and every byte replaced: no read outside, and an end. */
static void anything_may_be_in_the_file(void)
{
    static const char bytes[] = {'\0', '\n', ' ', 'f', 'z', '\x80'};
    char copy[sizeof(good)];
    for (size_t size = 0; size < sizeof(good); size++)
        for (uint64_t where = 0xffffffff81000000; where < 0xffffffff81000400; where += 0x80)
            (void)at(good, size, where);
    for (size_t i = 0; i < sizeof(good) - 1; i++) {
        for (unsigned j = 0; j < ARRAY_SIZE(bytes); j++) {
            const struct system_map map = {copy, sizeof(good) - 1};
            memcpy(copy, good, sizeof(good));
            copy[i] = bytes[j];
            (void)at(copy, sizeof(good) - 1, 0xffffffff81000125);
            (void)system_map_find(&map, "_end", &address);
        }
    }
    static char line[5000];
    memset(line, 'f', sizeof(line));
    CHECK(!at(line, sizeof(line), 0xffffffffffffffff));
    memset(line, '\n', sizeof(line));
    CHECK(!at(line, sizeof(line), 0));
}

static void long_names_are_cut(void)
{
    char text[400] = "0000000000001000 T ";
    size_t start = strlen(text);
    memset(text + start, 'n', 300);
    text[start + 300] = '\n';
    CHECK(at(text, start + 301, 0x1004));
    CHECK_EQ(strlen(name), SYSTEM_MAP_NAME_MAX - 1);
    CHECK_EQ(offset, 4);
}

TEST_MAIN({"finds_what_is_before", finds_what_is_before}, {"finds_names", finds_names},
          {"completes", completes}, {"anything_may_be_in_the_file", anything_may_be_in_the_file},
          {"long_names_are_cut", long_names_are_cut})

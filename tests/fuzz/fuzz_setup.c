/*
 * Any bytes as the kernel that firmware is to start. The input is a file as it stands, or (first
 * byte 1 or 2) a list of changes to a Linux kernel, or to an EFI program. The second byte chooses
 * the rest. What is handed over are all bytes of the file, once; the addresses keep its parts
 * apart; a refusal names the file.
 */
#include <stdlib.h>
#include <string.h>

#include "kernel/vm/load_setup.h"
#include "tests/fuzz/load_fuzz.h"

#define LARGE_FILE KIB(40) /* more than a setup may have */
#define MEMORY MIB(16)
#define HEADER_BEGIN 0x1f1
#define HEADER_END 0x264
#define GUARD 16

static void make_efi(uint8_t *file)
{
    memcpy(file, "MZ", 2);
    load_fuzz_put(file, 0x3c, 0x80, 4);
    memcpy(file + 0x80, "PE\0", 4);
}

static bool is_apart(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
    return a + a_size <= b || b + b_size <= a;
}

/* A loader copies the parts one after the other: none may lie over another, or outside RAM. */
static void require_places(const struct load_request *request, const struct load_setup *setup)
{
    uint64_t cmdline = strlen(request->cmdline) + 1;
    uint64_t initrd = request->initrd.at != NULL ? request->initrd.size : 0;
    REQUIRE(setup->size <= LOAD_SETUP_MAX && setup->size < request->kernel.size);
    REQUIRE(is_apart(setup->setup, LOAD_SETUP_MAX, setup->cmdline, cmdline));
    REQUIRE(guest_map_is_ram(request->map, setup->setup, setup->cmdline + cmdline - setup->setup));
    REQUIRE((setup->initrd != 0) == (initrd != 0) && setup->initrd % PAGE_SIZE == 0);
    REQUIRE(initrd == 0 || guest_map_is_ram(request->map, setup->initrd, initrd));
    REQUIRE(is_apart(setup->setup, LOAD_SETUP_MAX, setup->kernel, 1));
    REQUIRE(initrd == 0 || setup->initrd > setup->cmdline);
}

/* But for what a loader fills in, it is the file's beginning; nothing is written behind it. */
static void require_part(const struct load_request *request, const struct load_setup *setup)
{
    uint8_t *part = malloc(setup->size + GUARD);
    memset(part, 0xa5, setup->size + GUARD);
    load_setup_fill(request, setup, part);
    REQUIRE(memcmp(part, request->kernel.at, 0x20) == 0);
    REQUIRE(memcmp(part + 0x24, request->kernel.at + 0x24, HEADER_BEGIN - 0x24) == 0);
    REQUIRE(memcmp(part + HEADER_END, request->kernel.at + HEADER_END, setup->size - HEADER_END) ==
            0);
    for (unsigned i = 0; i < GUARD; i++)
        REQUIRE(part[setup->size + i] == 0xa5);
    free(part);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const makers[])(uint8_t * file) = {load_fuzz_make_linux, make_efi};
    static const uint8_t bytes[3000];
    static const uint32_t file_sizes[] = {LOAD_FUZZ_FILE, 700, LARGE_FILE, 100};
    static const uint64_t sizes[] = {1, sizeof(bytes), MEMORY, 0};
    struct guest_map map;
    struct load_setup setup;
    struct load_error error = {0};
    bool is_template = size > 1 && data[0] >= 1 && data[0] <= ARRAY_SIZE(makers);
    unsigned choice = size > 1 ? data[1] : 0;
    size_t file_size = is_template ? file_sizes[choice >> 6 & 3] : size;
    uint8_t *made = calloc(1, LARGE_FILE), *file = malloc(file_size != 0 ? file_size : 1);
    REQUIRE(guest_map_make(&map, choice & 1 ? GIB(4) : MEMORY) == STATUS_OK);
    if (is_template) {
        makers[data[0] - 1](made);
        load_fuzz_change(made, data + 2, size - 2);
        memcpy(file, made, file_size);
    } else if (size != 0) {
        memcpy(file, data, size);
    }
    struct load_request request = {
        .map = &map,
        .kernel = {.name = "kernel", .at = file, .size = file_size, .line = 3},
        .initrd = {.name = "initrd",
                   .at = choice & 2 ? bytes : NULL,
                   .size = sizes[choice >> 2 & 3],
                   .line = 4},
        .cmdline = choice & 16 ? "a b" : "",
    };
    enum status status = load_setup_plan(&request, &setup, &error);
    const struct load_file *files[] = {&request.kernel, &request.initrd};
    load_fuzz_require_text(status, &error, files, ARRAY_SIZE(files));
    REQUIRE(status == STATUS_OK || setup.size == 0);
    if (status == STATUS_OK)
        require_places(&request, &setup);
    if (setup.size != 0)
        require_part(&request, &setup);
    free(made);
    free(file);
    return 0;
}

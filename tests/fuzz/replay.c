/* Runs a fuzz target on files, without libFuzzer: for coverage by another compiler. */
#include <stdio.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

#define INPUT_MAX (1u << 20)

static int replay(const char *name)
{
    static uint8_t buffer[INPUT_MAX];
    FILE *file = fopen(name, "rb");
    if (file == NULL) {
        perror(name);
        return 1;
    }
    size_t size = fread(buffer, 1, sizeof(buffer), file);
    fclose(file);
    uint8_t *exact = malloc(size == 0 ? 1 : size);
    REQUIRE(exact != NULL);
    memcpy(exact, buffer, size);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    return 0;
}

int main(int argc, char **argv)
{
    int failures = 0;
    for (int i = 1; i < argc; i++)
        failures += replay(argv[i]);
    return failures != 0;
}

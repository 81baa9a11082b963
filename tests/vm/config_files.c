/*
 * Prints the files that a configuration names, one a line, after the number of the line there; for
 * the tool that writes a disk image. Exit status 1 with messages on standard error: the
 * configuration is wrong; 2: it cannot be read.
 */
#include <stdio.h>
#include <stdlib.h>

#include "kernel/vm/config.h"

int main(int argc, char **argv)
{
    static struct config config;
    static char text[CONFIG_SIZE_MAX + 1], messages[16384];
    struct config_errors errors = {.text = messages, .size = sizeof(messages)};
    if (argc != 2) {
        fprintf(stderr, "usage: config_files CONF\n");
        return 2;
    }
    FILE *file = fopen(argv[1], "rb");
    size_t size = file == NULL ? 0 : fread(text, 1, sizeof(text), file);
    if (file == NULL || ferror(file)) {
        perror(argv[1]);
        return 2;
    }
    fclose(file);
    if (config_parse(&config, argv[1], text, size, &errors) != STATUS_OK) {
        fputs(messages, stderr);
        if (errors.count > CONFIG_ERRORS_MAX)
            fprintf(stderr, "%s: %u more errors\n", argv[1], errors.count - CONFIG_ERRORS_MAX);
        return 1;
    }
    const char *name;
    uint32_t line;
    for (unsigned i = 0; (name = config_file(&config, i, &line)) != NULL; i++)
        printf("%u %s\n", line, name);
    return 0;
}

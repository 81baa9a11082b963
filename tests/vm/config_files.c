/*
 * Prints the files that a configuration names, one a line, after the number of the line there; with
 * --guests its guests in the same way. For the tools that write a disk image and report a run. Exit
 * status 1 with messages on standard error: the configuration is wrong; 2: it cannot be read.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/vm/config.h"

int main(int argc, char **argv)
{
    static struct config config;
    static char text[CONFIG_SIZE_MAX + 1], messages[16384];
    struct config_errors errors = {.text = messages, .size = sizeof(messages)};
    bool guests = argc == 3 && strcmp(argv[1], "--guests") == 0;
    if (argc != 2 + guests) {
        fprintf(stderr, "usage: config_files [--guests] CONF\n");
        return 2;
    }
    argv += guests;
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
    for (uint32_t i = 0; guests && i < config.vm_count; i++)
        printf("%u %s\n", config.vm[i].line, config.vm[i].name);
    const char *name;
    uint32_t line;
    for (unsigned i = 0; !guests && (name = config_file(&config, i, &line)) != NULL; i++)
        printf("%u %s\n", line, name);
    return 0;
}

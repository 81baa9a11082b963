/* What the files of the configuration's reader share; for nobody else. */
#pragma once

#include "kernel/vm/config.h"
#include "kernel/vm/config_value.h"

#define CONFIG_ECHO_MAX 40 /* characters of a value that a message repeats */

enum config_section { SECTION_NONE, SECTION_TRAPROCK, SECTION_VM, SECTION_BAD };

struct config_parser {
    struct config *config;
    const char *file_name;
    const char *text;
    struct config_errors *errors;
    uint32_t line;
    const char *line_at; /* where it begins in the text */
    enum config_section section;
    struct config_vm *vm;           /* of SECTION_VM */
    uint64_t seen;                  /* keys of this section, a bit each */
    uint32_t modules;               /* of this section */
    bool has_traprock;              /* the section stood already */
    struct config_slice key, value; /* of this line */
};

/* Adds a message about a line; line 0 is the whole file. */
void config_report(const struct config_parser *parser, uint32_t line, const char *format, ...)
    PRINTF(3, 4);

/* Adds `key = value: what` about the current line, the value cut to what helps. */
void config_report_value(const struct config_parser *parser, const char *what);

/* Takes the current line's key and value into the configuration. */
void config_parse_key(struct config_parser *parser);

/* Reports what only the whole shows: missing keys, and what two sections both claim. Decides what
 * hangs on other keys, and lists the files. */
void config_check(const struct config_parser *parser);

/* The patterns of a VM as one program: for the monitor, and for those who check a configuration. */
#include "kernel/vm/watch.h"

#include "kernel/core/mem.h"

/* What Linux says, whatever it says before and behind. */
#define PANIC_MESSAGE "Kernel panic - not syncing"

enum status watch_compile(struct regex_program *program, const struct config_vm *config,
                          unsigned *which, struct regex_error *error)
{
    memset(program, 0, sizeof(*program));
    enum status status = STATUS_OK;
    for (*which = 0; *which < config->pattern_count; (*which)++) {
        const struct config_pattern *pattern = &config->pattern[*which];
        status = regex_add(program, config->pattern_text + pattern->at, pattern->length, error);
        if (status != STATUS_OK)
            return status;
    }
    if (config_looks_for_panic(config))
        status = regex_add(program, PANIC_MESSAGE, sizeof(PANIC_MESSAGE) - 1, error);
    *which -= status != STATUS_OK && *which != 0;
    if (status == STATUS_OK)
        regex_finish(program);
    return status;
}

/*
 * The configuration: which guests there are and what they are made of. Used by the boot program
 * (which files to load), by the monitor, and by the tool that writes a disk image.
 *
 * The file is plain text in lines: `[traprock]`, `[vm NAME]`, or `key = value`.
 *
 * - Sections and keys stand in any order; lines end in LF or CRLF; a UTF-8 byte order mark is
 *   skipped; blanks around names and values do not count.
 * - A comment begins with '#' at the start of a line or after a blank, and not between double
 *   quotation marks.
 * - Around a whole file name, quotation marks are taken off: `kernel = "my kernel"`. In `cmdline`
 *   they stay, since they are the kernel's own: `cmdline = dyndbg="file a.c +p" quiet # comment`.
 * - Numbers are decimal, or hexadecimal after 0x.
 * - File names are relative to the configuration, in printable ASCII, with '/' between folders, and
 *   stay below the configuration's folder, since the named files lie beside it in the image.
 *
 * | [traprock] | value                                   | default  |
 * |------------|-----------------------------------------|----------|
 * | console    | com1, com2, or an I/O port              | com1     |
 * | loglevel   | error, warn, info, debug                | info     |
 * | on-idle    | poweroff, reboot, wait                  | poweroff |
 * | escape     | ctrl-a to ctrl-z, ctrl-] ctrl-\ ctrl-^ ctrl-_ | ctrl-a |
 * | run        | parallel, sequence                      | parallel |
 * | terminal   | focus, lines                            | focus; with run = sequence: lines |
 * | gdb        | com1, com2, or an I/O port              | none     |
 *
 * | [vm NAME]  | value                                   | default  |
 * |------------|-----------------------------------------|----------|
 * | memory     | bytes, or with K, M, G; whole pages     | 256M     |
 * | kernel     | FILE                                    | required without firmware |
 * | firmware   | FILE: a PC's, up to 8 MiB               | none     |
 * | firmware-vars | FILE: UEFI's variables, below it    | those in firmware |
 * | format     | linux, pvh, multiboot, multiboot2, elf, flat | by content |
 * | entry      | 16, 32, 64: a Linux kernel's entry      | the widest |
 * | load       | where a flat binary goes                | 1M; with mode = 16: 0x7c00 |
 * | mode       | 16, 32, 64: a flat binary's             | 32       |
 * | initrd     | FILE                                    | none     |
 * | symbols    | FILE: the kernel's System.map           | none     |
 * | module     | FILE ARGUMENTS; for Multiboot and PVH; repeated, in order | none |
 * | cmdline    | the rest of the line                    | empty    |
 * | disk       | FILE, FILE,ro or FILE,discard; up to 8 times | none |
 * | on-reset   | reset, stop                             | reset    |
 * | on-end     | stop, restart                           | stop     |
 * | debug-exit | an I/O port                             | none     |
 * | debug-exit-success | the value that is success       | 0        |
 * | debug-console, shutdown-port | an I/O port           | none     |
 * | pc-testdev, pvpanic | yes, no                        | no       |
 * | fw-cfg     | yes, no                                | no       |
 * | fw-cfg-file | NAME FILE; up to 4 times               | none     |
 * | watchdog   | ib700, no                               | no       |
 * | watchdog-action | reset, stop, nmi, none             | reset    |
 * | pin        | the number of a processor               | any      |
 * | hvc        | com1, com2, an I/O port, or loop; up to 8 times | none |
 * | timeout    | a number with ms, s, m or h             | none     |
 * | expect     | a regular expression (regex.h); several times | none |
 * | reject     | the same                                | none     |
 * | on-panic   | stop, reset, ignore                     | stop, without a look at the console |
 * | start      | run, paused                             | run      |
 * | accounting | yes, no                                | no       |
 * | trace      | how many exits, up to 1048576           | 256      |
 *
 * There is no persistent storage behind a disk, so a plain `disk = FILE` means FILE,discard: the
 * guest may write, and what it wrote lives until power-off. Each `hvc` is the next port of the VM's
 * virtio console: a serial port of the machine, or `loop`, which gives back what it is given. A
 * serial port belongs to one user only: the console, the shell, gdb, or one hvc; but the console's
 * may be named for the shell and gdb, which are channels of it then.
 */
#pragma once

#include "kernel/core/log.h"
#include "kernel/core/status.h"
#include "kernel/core/types.h"
#include "kernel/vm/load_format.h"

#define CONFIG_VMS_MAX 128
#define CONFIG_DISKS_MAX 8
#define CONFIG_HVCS_MAX 8
#define CONFIG_MODULES_MAX 256   /* of all VMs */
#define CONFIG_VM_MODULES_MAX 64 /* of one */
#define CONFIG_FW_FILES_MAX 4
#define CONFIG_FW_NAME_MAX 56   /* with the NUL */
#define CONFIG_NAME_MAX 32      /* of a VM, with the NUL, as the next two */
#define CONFIG_PATH_MAX 128     /* of a file */
#define CONFIG_CMDLINE_MAX 4096 /* kernels have a lower limit of their own */
#define CONFIG_FILES_MAX 1023   /* distinct files; the configuration is one more */
#define CONFIG_PATTERNS_MAX 8
#define CONFIG_PATTERN_TEXT_MAX 1024 /* bytes in all patterns of a VM */
#define CONFIG_TRACE_MAX 1048576u
#define CONFIG_TRACE_DEFAULT 256u
#define CONFIG_TIMEOUT_MAX 3600000000ull /* ms: a thousand hours */
#define CONFIG_LINE_MAX 8192             /* bytes in a line, without its end */
#define CONFIG_SIZE_MAX MIB(1)           /* bytes in a configuration */
#define CONFIG_ERRORS_MAX 20             /* messages that are written; more are only counted */
#define CONFIG_MEMORY_DEFAULT MIB(256)
#define CONFIG_PIN_ANY UINT32_MAX

enum config_on_idle { CONFIG_IDLE_POWEROFF, CONFIG_IDLE_REBOOT, CONFIG_IDLE_WAIT };
enum config_run { CONFIG_RUN_PARALLEL, CONFIG_RUN_SEQUENCE };
enum config_terminal { CONFIG_TERMINAL_DEFAULT, CONFIG_TERMINAL_FOCUS, CONFIG_TERMINAL_LINES };
enum config_on_reset { CONFIG_RESET_RESTART, CONFIG_RESET_STOP };
enum config_on_panic { CONFIG_PANIC_STOP, CONFIG_PANIC_RESET, CONFIG_PANIC_IGNORE };
enum config_on_end { CONFIG_END_STOP, CONFIG_END_RESTART };
enum config_watchdog_action {
    CONFIG_WATCHDOG_RESET,
    CONFIG_WATCHDOG_STOP,
    CONFIG_WATCHDOG_NMI,
    CONFIG_WATCHDOG_NONE
};

struct config_disk {
    char file[CONFIG_PATH_MAX];
    uint32_t line;
    bool read_only; /* else the guest may write, and what it wrote is discarded at power-off */
};

struct config_fw_file {
    char name[CONFIG_FW_NAME_MAX];
    char file[CONFIG_PATH_MAX];
    uint32_t line;
};

struct config_hvc {
    uint32_t line;
    bool loop;     /* gives back what it is given */
    uint16_t port; /* else the first I/O port of a UART of the machine */
};

struct config_module {
    char file[CONFIG_PATH_MAX];
    uint32_t line;
    uint32_t vm;                        /* its index */
    uint32_t arguments, arguments_size; /* where they stand in the configuration's text */
};

struct config_pattern {
    uint32_t line;
    uint16_t column; /* of its first character, from 1 */
    uint16_t at;     /* in pattern_text */
    uint16_t length;
    bool rejects; /* else it is expected */
};

struct config_vm {
    char name[CONFIG_NAME_MAX];
    /* Lines, for messages: of the section's header, and of keys; of the header without the key. */
    uint32_t line, memory_line, kernel_line, initrd_line, pin_line;
    uint32_t start_line;   /* of format or entry; 0: neither is there, as the next ones */
    uint32_t cmdline_line; /* of cmdline */
    uint32_t no_fw_cfg_line, action_line; /* of fw-cfg = no, and of watchdog-action */
    uint64_t memory;
    bool has_kernel; /* the key stands there */
    char kernel[CONFIG_PATH_MAX];
    char firmware[CONFIG_PATH_MAX];      /* empty: none; there need be no kernel then */
    char firmware_vars[CONFIG_PATH_MAX]; /* empty: none of their own */
    uint32_t firmware_line, firmware_vars_line;
    char initrd[CONFIG_PATH_MAX];  /* empty: none */
    char symbols[CONFIG_PATH_MAX]; /* the same */
    uint32_t symbols_line;
    char cmdline[CONFIG_CMDLINE_MAX];
    enum load_format format;
    uint8_t entry, mode;  /* bits; 0: not set */
    uint64_t load;        /* 0: not set */
    uint32_t format_line; /* of load or mode, too */
    struct config_disk disk[CONFIG_DISKS_MAX];
    uint32_t disk_count;
    struct config_hvc hvc[CONFIG_HVCS_MAX];
    uint32_t hvc_count;
    enum config_on_reset on_reset;
    enum config_on_end on_end;
    bool has_debug_exit;
    uint32_t debug_exit_success; /* the value that passes */
    uint32_t success_line;       /* 0: the key is not there */
    uint16_t debug_exit;         /* port, as the next two */
    uint16_t debug_console;      /* 0: none, as the next */
    uint16_t shutdown_port;
    bool has_pc_testdev;
    bool has_accounting;
    uint32_t trace; /* exits that accounting keeps; 0: the key is not there, else it accounts */
    bool has_pvpanic;
    bool has_fw_cfg;
    uint32_t fw_file_count;
    struct config_fw_file fw_file[CONFIG_FW_FILES_MAX];
    bool has_watchdog; /* QEMU's ib700 */
    enum config_watchdog_action watchdog_action;
    uint64_t timeout; /* ms; 0: none */
    struct config_pattern pattern[CONFIG_PATTERNS_MAX];
    uint32_t pattern_count, pattern_used; /* patterns, and bytes of pattern_text */
    char pattern_text[CONFIG_PATTERN_TEXT_MAX];
    enum config_on_panic on_panic;
    uint32_t on_panic_line; /* 0: the key is not there */
    bool starts_paused;     /* until a debugger lets it go on */
    uint32_t pin;           /* processor, or CONFIG_PIN_ANY */
};

/* Most of a MiB: keep it off stacks. */
struct config {
    uint16_t console; /* the first I/O port of a 16550 UART */
    uint16_t shell;   /* the same of the shell's own; 0: it has none */
    uint32_t shell_line;
    uint16_t gdb; /* the same of gdb's; 0: none */
    uint32_t gdb_line;
    enum log_level loglevel;
    enum config_on_idle on_idle;
    uint8_t escape; /* the control character, 0x01 to 0x1f */
    enum config_run run;
    enum config_terminal terminal; /* never CONFIG_TERMINAL_DEFAULT once all is read */
    uint32_t file_count;
    uint16_t file[CONFIG_FILES_MAX]; /* where the names of the files stand: see config_file */
    uint32_t module_count;
    struct config_module module[CONFIG_MODULES_MAX]; /* in order */
    uint32_t vm_count;
    struct config_vm vm[CONFIG_VMS_MAX]; /* those behind the last are not set */
};

/* Whether on-panic is there, which makes it look at the console too, and does something. */
static inline bool config_looks_for_panic(const struct config_vm *vm)
{
    return vm->on_panic_line != 0 && vm->on_panic != CONFIG_PANIC_IGNORE;
}

/* How much of the structure is set, in bytes. */
static inline uint64_t config_size_used(const struct config *config)
{
    return offsetof(struct config, vm) + config->vm_count * sizeof(config->vm[0]);
}

/* Where messages go: whole lines `FILE:LINE: what is wrong, what is allowed\n`, NUL-terminated; a
 * message that does not fit is left out whole. */
struct config_errors {
    char *text;
    size_t size;    /* of text, at least 1 */
    size_t used;    /* without the NUL */
    unsigned count; /* of all errors, those without a message too */
};

/*
 * Reads the configuration in text[0..size). file_name is only for messages. Reads to the end and
 * reports every error. ERR_INVALID: errors->count is not 0, and config must not be used.
 */
enum status MUST_CHECK config_parse(struct config *config, const char *file_name, const char *text,
                                    size_t size, struct config_errors *errors);

/* The files that the configuration names, each once, in the order of the VMs: kernel, initrd,
 * disks; then the modules. *line is where the name stands first in that order. NULL when index is
 * past the last. */
const char *config_file(const struct config *config, unsigned index, uint32_t *line);

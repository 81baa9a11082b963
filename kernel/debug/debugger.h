/*
 * The debugger: the monitor's shell on the console and, if the configuration says so, on a serial
 * line of its own, and what its commands share. The core knows it by the multiplexer's port only.
 *
 * Everything here runs on processor 0, in its UARTs' interrupts; what touches a vCPU goes through
 * vcpu_call, and what touches devices takes the VM's lock.
 */
#pragma once

#include "kernel/debug/describe.h"
#include "kernel/debug/terminal.h"
#include "kernel/monitor.h"

/* The most that a command reads of memory. */
#define DEBUG_BYTES_MAX 4096u

/* Whose pages are what a command needs for a while. */
#define DEBUG_PAGES_OWNER 0xfff0

enum debug_space {
    DEBUG_VIRTUAL, /* the guest's linear addresses */
    DEBUG_PHYSICAL,
    DEBUG_MONITOR, /* the monitor's own */
};

struct debug_place {
    enum debug_space space;
    uint64_t address;
};

/* Of a guest's exits, in pieces: what the next one begins with. */
struct debug_report {
    void (*print)(struct vcpu *vcpu,
                  void *shell);     /* a piece; one without more to say is the last */
    const struct config_vm *config; /* of the guest, which may be gone by then */
    bool is_begun, has_before;
    uint64_t count, skip;    /* of the trace: what was asked for */
    uint64_t next, end;      /* numbers of exits; or what the key of the next slot is above */
    struct vcpu_exit before; /* the last one that was printed */
    uint64_t named[2];       /* a bit for each reason whose name was printed */
};

/* A shell with its terminal. */
struct debug_shell {
    struct shell shell; /* its context is this structure */
    struct shell_terminal terminal;
    struct monitor *monitor;
    struct host_uart *uart;     /* what its terminal is behind */
    struct frame_reader frames; /* after a panic */
    struct guest *guest;        /* that commands without a name mean; NULL: none is there */
    /* Of x, which goes on where it ended. */
    struct debug_place next;
    char format, size;
    uint8_t bytes[DEBUG_BYTES_MAX];
    struct debug_report report;
};

/* Shells for the console and for the line that the configuration names, if there is memory for
 * them; logs what fails. Before guests are built. */
void debugger_start(struct monitor *monitor);

/* A shell without a terminal, for shell_execute; NULL: no memory. */
struct debug_shell *debugger_shell_alone(struct monitor *monitor);

/* ---- For commands --------------------------------------------------------------------------- */

extern const struct shell_command commands_monitor[], commands_vm[], commands_device[];
extern const struct shell_command commands_cpu[], commands_memory[], commands_exits[];
extern const struct shell_command commands_catch[], commands_dump[];

struct debug_shell *debug_shell_of(struct shell *shell);

/* The guest of this name, which argument number index is, or where there are not so many the one
 * that was chosen last; NULL, with a message: there is none. */
struct guest *debug_guest(struct shell *shell, unsigned count, char *const argument[],
                          unsigned index);
/* The same, but a guest that has ended is a message too. */
struct guest *debug_live_guest(struct shell *shell, unsigned count, char *const argument[],
                               unsigned index);
/* Also one that has ended, whose state is still there; else a message. */
struct guest *debug_present_guest(struct shell *shell, unsigned count, char *const argument[],
                                  unsigned index);
void debug_complete_guests(struct shell *shell, struct completion *completion);

/* What follows the slash in a command's name; NULL: there is none. */
const char *debug_format(const char *word);

/* The guest's symbols, if its configuration names a file of them. */
struct system_map debug_symbols(const struct guest *guest);

/* ` <NAME+OFFSET>` for an address of the guest, or nothing. */
void debug_print_symbol(struct shell *shell, const struct guest *guest, uint64_t address);
void debug_complete_symbols(struct shell *shell, struct completion *completion);

/* The value of terms with + and - between them: numbers, $REGISTERs and symbols of the guest.
 * False, with a message: it has none. */
bool MUST_CHECK debug_address(struct shell *shell, struct guest *guest, const char *text,
                              uint64_t *value);

/* A register by gdb's name, or by one of the SDM's, with or without a $: its number of
 * gdb_registers.h. */
bool MUST_CHECK debug_find_register(const char *name, unsigned *number);

/* Their names, for a word that begins with a $. */
void debug_complete_dollars(struct completion *completion);

/* vmx_vcpu_set_registers, on the vCPU's processor, but new selectors bring their descriptors along
 * (see selector.h, also for errors). */
enum status MUST_CHECK debug_set_registers(struct vcpu *vcpu,
                                           const struct vcpu_registers *registers);

/* As the guest's RDMSR, or its WRMSR of *value. ERR_UNSUPPORTED: #GP; others as vcpu_call. */
enum status MUST_CHECK debug_access_msr(struct vcpu *vcpu, uint32_t msr, bool writes,
                                        uint64_t *value);

/* set/SIZE */
void debug_set_memory(struct shell *shell, struct guest *guest, const char *size, const char *where,
                      uint64_t value);

/* Says what kept vcpu_call, vm_pause and their like from doing `what`. */
void debug_refused(struct shell *shell, const struct guest *guest, const char *what,
                   enum status status);

/*
 * The monitor as a whole: the machine, the configuration, the guests and the terminal. One instance
 * exists, main.c's; everything below gets what it needs as an argument.
 */
#pragma once

#include "kernel/board.h"
#include "kernel/console/mux.h"
#include "kernel/console/serial_line.h"
#include "kernel/hvc_line.h"
#include "kernel/machine.h"
#include "kernel/vm/guest_map.h"
#include "kernel/vm/load_plan.h"
#include "kernel/vm/watch.h"
#include "vmx/vmx.h"

struct monitor;
struct debug_shell;
struct split;
struct gdb_server;
struct dump;

#define MONITOR_SHELLS_MAX 2
#define MONITOR_POLLED_MAX 8

#define VERDICT_TEXT_MAX WATCH_RECENT

/* What decides how a guest ends, other than itself. */
/* An hvc's other end, with somebody who listens. */
struct watched {
    struct byte_stream to;
    struct watch_stream *watch;
};

struct verdict {
    struct timer timer;
    uint64_t deadline;     /* TSC; TIMER_NEVER: it has no timeout */
    struct watch *watch;   /* NULL: nobody minds what it says */
    struct byte_sink said; /* where what it says goes */
    struct watched hvc[CONFIG_HVCS_MAX];
    /* Of its end: what the watch knew. */
    uint32_t missing, line;
    unsigned length;
    char text[VERDICT_TEXT_MAX];
};

/* A guest with everything that it is made of; its pages belong to the VM's owner number. */
struct guest {
    struct vm vm;
    struct monitor *monitor;
    const struct config_vm *config;
    struct guest_map map;
    const struct load_plan *plan; /* NULL: it cannot be loaded */
    struct board board;
    struct vmx_vm vmx;
    struct vcpu vcpu[1]; /* config has one vCPU for each guest */
    struct vmx_vcpu vmx_vcpu[1];
    struct hvc_line hvc_line[CONFIG_HVCS_MAX]; /* unused where the port is a loop */
    struct mux_guest terminal;
    struct verdict verdict;
    uint32_t processor;
    uint64_t resets;         /* and restarts */
    uint64_t pages;          /* that the VM owns while it runs */
    uint64_t started, ended; /* TSC, of its first life and its last */
    bool keeps_rom;          /* it lies in memory that resets leave alone */
    bool is_lost;            /* it cannot be loaded, now or ever */
    bool starts_again;       /* whatever ended it: somebody wants another life of it; atomic */
    bool is_over;            /* its last life, so that its result is known; atomic */
    bool is_sealed;          /* the VM has tables, of which this is the hash; both under vm->lock */
    uint64_t tables;         /* EPT, I/O and MSR bitmaps */
    uint64_t loading;        /* TSC counts that its memory took to clear and load the last time */
};

/* What the guest's ACPI tables say of its machine. */
struct acpi_facts guest_acpi_facts(const struct config_vm *config);

/* Fills the guest's firmware configuration device, if it has one, in pages of owner's. */
enum status MUST_CHECK guest_fill_fw_cfg(struct guest *guest, uint16_t owner);

/* What must not change from the moment that guests run. */
enum integrity_part {
    INTEGRITY_IMAGE,       /* text and constants */
    INTEGRITY_PAGE_TABLES, /* the monitor's own */
    INTEGRITY_DESCRIPTORS, /* IDT, and every processor's GDT and TSS */
    INTEGRITY_PARTS
};

struct monitor {
    struct machine *machine;
    uint64_t planning; /* TSC counts that it took to plan how the guests are loaded */
    struct mux mux;
    struct serial_line line; /* the console's */
    bool has_line;
    struct debug_shell *shell[MONITOR_SHELLS_MAX]; /* the debugger's; NULL: there are no more */
    struct split *split;     /* the debugger's: the console's line as several; NULL: it is one */
    struct dump *dump;       /* that is under way; NULL: none */
    uint8_t dump_request[8]; /* from the host, and how much of it has come */
    unsigned dump_requested;
    struct gdb_server *gdb;                                /* NULL: there is no line for it */
    NORETURN void (*after_panic)(struct monitor *monitor); /* the debugger's; NULL: halts */
    struct serial_line *polled[MONITOR_POLLED_MAX];        /* lines whose UART has no interrupt */
    uint32_t polled_count;
    bool xsavec_broken; /* see xsave_check.h */
    struct vmx_cpu vmx_cpu[CPU_MAX];
    const char *vmx_reason[CPU_MAX]; /* why a processor is not in VMX operation; NULL: it is */
    const struct load_plan *plan[CONFIG_VMS_MAX]; /* NULL: the guest cannot be loaded */
    struct guest *guest[CONFIG_VMS_MAX]; /* that are there: one at a time with run = sequence */
    uint32_t guests;
    uint32_t running; /* guests whose result is still out; atomic */
    int exit_code;    /* the first that is not 0; atomic */
    bool powers_off;  /* the user wants it, whatever on-idle says; atomic */
    uint64_t pages;   /* that are free when no guest runs */
    bool is_sealed;   /* integrity is there */
    uint64_t integrity[INTEGRITY_PARTS];
};

/* integrity.c: keeps a hash of each part before the guests run. */
void integrity_seal(struct monitor *monitor);

/* Compares, the tables of guests that have some too, and says so in the log; a part that has
 * changed is a panic. */
void integrity_verify(struct monitor *monitor);

/* The same for the tables of a guest: from the moment that they are there until they are given
 * back, when they are compared once more. Each comparison also walks the EPT (see vmx_vm_check). */
void integrity_seal_guest(struct guest *guest);
void integrity_unseal_guest(struct guest *guest);

/* plan_guests.c: plans the load of every guest, and logs which cannot be loaded, and why. */
void monitor_plan_guests(struct monitor *monitor);

/* The file that the boot program has loaded by this name; NULL: none. */
const struct boot_file *guest_file(const struct monitor *monitor, const char *name);

/* build_vm.c: room for a guest's state, for good. Logs it where there is none. ERR_NO_MEMORY. */
enum status MUST_CHECK guest_allocate(struct monitor *monitor, const struct config_vm *config,
                                      struct guest **guest);

/* Makes in *guest the guest that config describes, to run on processor. Logs what fails, with what
 * to do; then the guest has nothing, and *guest may be used again. */
enum status MUST_CHECK guest_build(struct monitor *monitor, const struct config_vm *config,
                                   uint32_t processor, struct guest *guest);

/* Forgets the guest that was built last, which has come to its end. On processor 0. */
void guest_discard(struct monitor *monitor);

/* Runs the guest on this processor from loading to its end, reports, and, when it was the last one,
 * ends the monitor's run. Matches smp_run. */
void guest_run(void *guest);

/* Gives back what the guest, which has ended, ran in. On its own processor. */
void guest_release(struct guest *guest);

/* Has a guest that has ended run again, on its processor; stands: to stand for gdb before its first
 * instruction. ERR_BUSY: that has not come to its end yet, or is about to have it run again;
 * ERR_NOT_FOUND: it is not online; ERR_UNSUPPORTED: others follow in its place. On processor 0. */
enum status MUST_CHECK guest_start(struct guest *guest, bool stands);

/* sequence.c: builds and runs all guests of the configuration on this processor, one after the
 * other, and reports each. Of the start, which stays as long. Returns where on-idle = wait. */
void sequence_run(struct monitor *monitor);

/* How a guest ended. */
struct result {
    const char *name;
    enum vm_outcome outcome;
    uint32_t code;
    uint32_t success; /* the code of a debug exit that passes */
    uint64_t time;    /* TSC counts from its start to its end; 0: it did not start */
    uint64_t exits;
    uint64_t resets;
    const struct verdict *verdict; /* NULL: it did not start */
};

/* verdict.c: what a guest's configuration says about its time and its console. owner is that of the
 * pages for it. ERR_NO_MEMORY, logged. */
enum status MUST_CHECK verdict_init(struct guest *guest, uint16_t owner);

/* The hvc's other end has just been connected: from now on what goes there counts, too. */
void verdict_listen(struct guest *guest, unsigned hvc);

/* The guest's time begins. With the VM's device lock. */
void verdict_start(struct guest *guest);

/* It lives again: with what was left of its time, or, is_anew, all of it. With the VM's device
 * lock.
 */
void verdict_continue(struct guest *guest, bool is_anew);

/* The guest has ended: its outcome becomes what it is after all. */
void verdict_judge(struct guest *guest);

/* result.c: tells the result and, when it was the last one, ends the monitor's run. */
void monitor_report(struct monitor *monitor, const struct result *result);

/* sequence.c: the result of a guest that was not built. */
void monitor_report_unborn(struct monitor *monitor, const struct config_vm *config,
                           enum vm_outcome outcome);

/* Connects a line's UART to its interrupt or, where that has none, to a clock by which processor 0
 * looks after it. Called on processor 0, before the guests run. */
void monitor_start_line(struct monitor *monitor, struct serial_line *line);

/* A line of the protocol with whoever started the machine, ending in CR and LF: to the terminal or,
 * where there is none, to the log and so to the screen. */
void monitor_say(struct monitor *monitor, const char *line, size_t length);

/* monitor.c: the terminal, on the machine's console. */
void monitor_init_terminal(struct monitor *monitor);

/* What a panic says of the guests, and to whoever waits for a verdict. */
void monitor_set_panic(struct monitor *monitor);

/* Has all guests run, each on its processor; on a stack that nothing of the start is on, since that
 * goes first. Does not return; matches cpu_switch_stack. */
NORETURN void monitor_run(void *monitor);

/* Something went wrong that makes the run a failure without a guest's result. */
void monitor_fail(struct monitor *monitor);

/* All results are there: prints the exit line and does what on-idle says. */
void monitor_finish(struct monitor *monitor);

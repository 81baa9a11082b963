/*
 * The server's side of gdb's remote serial protocol, for one guest at a time: its vCPUs are gdb's
 * threads, and `monitor guest NAME` chooses another guest. Pure: the guests are a port.
 *
 * A gdb that goes away without a word leaves the guest as it was; the next one's qSupported begins
 * anew. All functions are called on one processor. gdb: Remote Protocol.
 */
#pragma once

#include "kernel/debug/gdb_registers.h"

/* As Z0 to Z4 have them. */
enum gdb_point {
    GDB_POINT_SOFTWARE,
    GDB_POINT_HARDWARE,
    GDB_POINT_WRITE,
    GDB_POINT_READ,
    GDB_POINT_ACCESS,
    GDB_POINTS
};

/* Why a guest stands. */
struct gdb_stop {
    uint8_t signal; /* gdb's number of it: 2 SIGINT, 5 SIGTRAP */
    bool has_point; /* a point was met: */
    enum gdb_point point;
    uint64_t address; /* of the data that a watchpoint's access met */
    uint32_t vcpu;
    const char *text; /* a line for the user; NULL: nothing is said. Not kept. */
};

#define GDB_SIGNAL_INT 2
#define GDB_SIGNAL_ILL 4
#define GDB_SIGNAL_TRAP 5
#define GDB_SIGNAL_ABRT 6
#define GDB_SIGNAL_FPE 8
#define GDB_SIGNAL_SEGV 11
#define GDB_SIGNAL_ALRM 14

/* Of a guest that has ended. */
struct gdb_end {
    bool is_there;  /* its registers and memory can still be looked at */
    bool stands;    /* it has died, and goes on to its end when it is resumed */
    bool is_dying;  /* whether it will stand, be over or live again is not known yet */
    uint8_t signal; /* that it died of, in gdb's words */
    uint8_t code;   /* what the run's exit code would be */
};

/* Guests by number, from 0. What they return but ERR_NOT_FOUND for a guest or vCPU that is not
 * there, or not any more, is their own. */
struct gdb_target {
    const char *(*name)(void *context, unsigned guest); /* NULL: there are no more */
    bool (*is_alive)(void *context, unsigned guest);
    struct gdb_end (*end)(void *context, unsigned guest); /* where it is not alive */
    unsigned (*vcpus)(void *context, unsigned guest);
    enum status (*pause)(void *context, unsigned guest);
    void (*resume)(void *context, unsigned guest);
    enum status (*read_registers)(void *context, unsigned guest, unsigned vcpu,
                                  struct gdb_registers *registers);
    enum status (*write_registers)(void *context, unsigned guest, unsigned vcpu,
                                   const struct gdb_registers *registers);
    /* As the guest's RDMSR and WRMSR; ERR_UNSUPPORTED: #GP. */
    enum status (*access_msr)(void *context, unsigned guest, unsigned vcpu, uint32_t msr,
                              bool writes, uint64_t *value);
    /* Virtual addresses, or physical ones; *done is what was read or written of size bytes. */
    enum status (*read_memory)(void *context, unsigned guest, unsigned vcpu, bool is_physical,
                               uint64_t address, void *to, size_t size, size_t *done);
    enum status (*write_memory)(void *context, unsigned guest, unsigned vcpu, bool is_physical,
                                uint64_t address, const void *from, size_t size, size_t *done);
    /* One instruction from the next resume on; with a range, on as long as RIP is within it. */
    enum status (*step)(void *context, unsigned guest, unsigned vcpu, uint64_t start, uint64_t end);
    enum status (*set_point)(void *context, unsigned guest, unsigned vcpu, enum gdb_point point,
                             bool is_physical, uint64_t address, uint64_t size);
    enum status (*clear_point)(void *context, unsigned guest, unsigned vcpu, enum gdb_point point,
                               bool is_physical, uint64_t address, uint64_t size);
    void (*clear_points)(void *context, unsigned guest);
    void (*kill)(void *context, unsigned guest);
    void (*reset)(void *context, unsigned guest);
    /* The same, also of one that has ended: it stops before its first instruction. */
    enum status (*restart)(void *context, unsigned guest);
    /* What a command of the monitor's shell prints, run on the guest, or the first piece of it;
     * NULL: there is no shell. */
    const char *(*command)(void *context, unsigned guest, const char *line, size_t *length);
    /* The next piece of that; NULL: it was all. */
    const char *(*command_more)(void *context, size_t *length);
    /* Whether more of a command's output ought to be sent now; gdb_stub_continue follows a no. */
    bool (*has_room)(void *context);
    void (*send)(void *context, const void *bytes, size_t size);
    void *context;
};

/* As many MSRs as gdb is told of are remembered. */
#define GDB_TOLD_MAX 128u

struct gdb_stub {
    const struct gdb_target *target;
    struct gdb_reader reader;
    struct gdb_writer writer;
    struct gdb_registers registers; /* a copy to work on */
    unsigned guest;                 /* that gdb sees */
    unsigned vcpu;                  /* for what follows Hg */
    bool is_attached;               /* gdb is there, and has not detached */
    bool is_running;                /* it waits for a stop */
    bool is_quiet;                  /* no '+' and '-' any more, */
    bool is_last_ack;               /* but for one '+' of gdb's that is still to come */
    bool is_extended;               /* gdb's target is extended-remote */
    bool is_interrupted;            /* by a Ctrl-C that came while the guest stood */
    bool is_physical;               /* addresses of memory and of new points are guest-physical */
    struct gdb_stop stop;           /* the last one, for '?' */
    const char *output;             /* of a command, so much is left; NULL: none is under way */
    size_t output_left;
    struct {
        uint64_t value;
        bool is_known;
    } told[GDB_TOLD_MAX]; /* of the MSRs, in the order of their numbers */
};

void gdb_stub_init(struct gdb_stub *stub, const struct gdb_target *target);

/* A byte from the line. */
void gdb_stub_input(struct gdb_stub *stub, uint8_t byte);

/* The line has room again. */
void gdb_stub_continue(struct gdb_stub *stub);

/* The guest has stopped by itself; it is paused. */
void gdb_stub_stopped(struct gdb_stub *stub, unsigned guest, const struct gdb_stop *stop);

/* The guest has ended. gdb is told why it died, if it stands for that, and sees it; else its exit
 * code; nothing yet while it is dying. */
void gdb_stub_ended(struct gdb_stub *stub, unsigned guest);

/* Lets the guest go on, without its points. */
void gdb_stub_detach(struct gdb_stub *stub);

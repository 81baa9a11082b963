/* Commands for guests as a whole. */
#include "kernel/core/fmt.h"
#include "kernel/core/mem.h"
#include "kernel/core/smp.h"
#include "kernel/core/time.h"
#include "kernel/debug/debugger.h"
#include "kernel/debug/gdb_server.h"
#include "kernel/debug/split.h"

/* ---- vm ---- */

static uint64_t life_time(const struct guest *guest)
{
    if (guest->started == 0)
        return 0;
    return (guest->vm.outcome == VM_RUNNING ? clock_now(&guest->vm.clock) : guest->ended) -
           guest->started;
}

static const char *state_of(const struct guest *guest)
{
    const struct vm *vm = &guest->vm;
    if (vm->outcome != VM_RUNNING)
        return vm_outcome_text(vm->outcome);
    if (__atomic_load_n(&vm->is_paused, __ATOMIC_SEQ_CST))
        return "paused";
    return guest->vcpu[0].activity == VCPU_HALTED ? "halted" : "running";
}

static void list(struct shell *shell)
{
    const struct debug_shell *self = debug_shell_of(shell);
    const struct monitor *monitor = self->monitor;
    shell_print(shell, "  %-16s %-12s %4s %8s %12s %12s %7s\n", "NAME", "STATE", "CPU", "MEMORY",
                "CPU TIME", "EXITS", "RESETS");
    for (uint32_t i = 0; i < monitor->guests; i++) {
        const struct guest *guest = monitor->guest[i];
        uint64_t ms = time_to_ns(life_time(guest)) / 1000000;
        char time[24];
        fmt_format(time, sizeof(time), "%lu.%03lu s", ms / 1000, ms % 1000);
        shell_print(shell, "%c %-16s %-12s %4u %4lu MiB %12s %12lu %7lu\n",
                    guest == self->guest ? '*' : ' ', guest->vm.name, state_of(guest),
                    guest->processor, guest->config->memory >> 20, time,
                    vcpu_exits(&guest->vcpu[0]), guest->resets);
    }
}

static void run_vm(struct shell *shell, unsigned count, char *const argument[])
{
    struct guest *guest = debug_guest(shell, count, argument, 1);
    if (guest == NULL)
        return;
    debug_shell_of(shell)->guest = guest;
    list(shell);
}

/* ---- Its life ---- */

static void run_stop(struct shell *shell, unsigned count, char *const argument[])
{
    struct guest *guest = debug_guest(shell, count, argument, 1);
    if (guest == NULL || !__atomic_load_n(&guest->vcpu[0].stands, __ATOMIC_SEQ_CST))
        guest = guest != NULL ? debug_live_guest(shell, count, argument, 1) : NULL;
    if (guest != NULL) /* also one that has died and stands for gdb */
        vm_stop(&guest->vm, VM_KILLED, 0);
}

static void run_reset(struct shell *shell, unsigned count, char *const argument[])
{
    struct guest *guest = debug_live_guest(shell, count, argument, 1);
    if (guest != NULL)
        vm_reset(&guest->vm);
}

static void run_start(struct shell *shell, unsigned count, char *const argument[])
{
    struct guest *guest = debug_guest(shell, count, argument, 1);
    if (guest == NULL)
        return;
    const char *name = guest->vm.name;
    if (guest->vm.outcome == VM_RUNNING) {
        shell_print(shell, "%s has not ended\n", name);
        return;
    }
    bool stands = gdb_server_holds(guest);
    enum status status = guest_start(guest, stands);
    if (status == STATUS_OK && stands)
        shell_print(shell, "%s stands before its first instruction, for gdb\n", name);
    if (status == ERR_UNSUPPORTED)
        shell_print(shell, "with run = sequence, a guest that has ended gives way to the next\n");
    else if (status == ERR_BUSY)
        shell_print(shell, "%s is about to end; try again\n", name);
    else if (status != STATUS_OK)
        debug_refused(shell, guest, "cannot be started", status);
}

static void run_pause(struct shell *shell, unsigned count, char *const argument[])
{
    struct guest *guest = debug_live_guest(shell, count, argument, 1);
    if (guest == NULL)
        return;
    bool was_paused = __atomic_load_n(&guest->vm.is_paused, __ATOMIC_SEQ_CST);
    enum status status = vm_pause(&guest->vm);
    if (status != STATUS_OK)
        debug_refused(shell, guest, "is not paused yet", status);
    else if (was_paused)
        shell_print(shell, "%s was paused already\n", guest->vm.name);
    if (status == STATUS_OK)
        gdb_server_tell_pause(guest);
}

static bool is_forced(unsigned count, char *const argument[])
{
    return count > 2 && strcmp(argument[2], "force") == 0;
}

static void run_resume(struct shell *shell, unsigned count, char *const argument[])
{
    struct guest *guest = debug_live_guest(shell, count, argument, 1);
    if (guest == NULL)
        return;
    const char *name = guest->vm.name;
    if (count > 2 && !is_forced(count, argument))
        shell_print(shell, "'%s' behind a guest: only `force` may stand there\n", argument[2]);
    else if (!__atomic_load_n(&guest->vm.is_paused, __ATOMIC_SEQ_CST))
        shell_print(shell, "%s is not paused\n", name);
    else if (!gdb_server_holds(guest))
        vm_resume(&guest->vm);
    else if (is_forced(count, argument))
        gdb_server_release(guest);
    else
        shell_print(
            shell,
            "%s stands for gdb: `continue` or `detach` there lets it go on, or, where gdb is "
            "gone, `resume %s force`\n",
            name, name);
}

static void note(struct vcpu *vcpu, void *context)
{
    struct vcpu_exit *last = context;
    *last = *vcpu->history.newest;
}

static void run_kick(struct shell *shell, unsigned count, char *const argument[])
{
    struct guest *guest = debug_live_guest(shell, count, argument, 1);
    struct vcpu_exit last;
    if (guest == NULL)
        return;
    enum status status = vcpu_call(&guest->vcpu[0], note, &last);
    if (status != STATUS_OK)
        debug_refused(shell, guest, "was not kicked", status);
    else
        shell_print(shell, "%s vcpu0: left the guest by exit reason %u at rip 0x%lx",
                    guest->vm.name, last.reason, last.rip);
    if (status == STATUS_OK) {
        debug_print_symbol(shell, guest, last.rip);
        shell_print(shell, "\n");
    }
}

static void run_console(struct shell *shell, unsigned count, char *const argument[])
{
    struct guest *guest = debug_guest(shell, count, argument, 1);
    if (guest != NULL && split_is_on(guest->monitor->split))
        shell_print(shell, "the host's program has a terminal for each guest\n");
    else if (guest != NULL)
        mux_set_focus(&guest->monitor->mux, guest->terminal.number);
}

const struct shell_command commands_vm[] = {
    {"vm", "[NAME]", "list the guests; choose the one that other commands mean",
     "A * stands before the guest that commands without a NAME mean: at first the first one.\n"
     "CPU is the processor that the guest has to itself, CPU TIME what it has had of that from "
     "its\n"
     "start to its end, also halted, but not while it was paused.\n",
     run_vm, debug_complete_guests, 0, 1, 0},
    {"console", "[NAME]", "give the console to a guest, and leave the shell",
     "The escape key and c come back.\n", run_console, debug_complete_guests, 0, 1, 0},
    {"pause", "[NAME]", "hold a guest",
     "Its clocks and timers stand still meanwhile; it may be reset, stopped and looked at.\n",
     run_pause, debug_complete_guests, 0, 1, 0},
    {"resume", "[NAME [force]]", "let a guest go on",
     "One that gdb has stopped goes on when gdb says so; `force` takes it away from a gdb that is\n"
     "gone, with gdb's breakpoints.\n",
     run_resume, debug_complete_guests, 0, 2, 0},
    {"stop", "[NAME]", "end a guest, with the result `killed`",
     "When the last guest has ended, what on-idle says is done: with on-idle = wait, guests can\n"
     "be started again.\n",
     run_stop, debug_complete_guests, 0, 1, SHELL_WHOLE},
    {"start", "[NAME]", "start a guest again that has ended",
     "In memory that is loaded afresh; disks and CMOS memory keep what was written.\n", run_start,
     debug_complete_guests, 0, 1, 0},
    {"reset", "[NAME]", "reset a guest, whatever its on-reset says", "", run_reset,
     debug_complete_guests, 0, 1, SHELL_WHOLE},
    {"kick", "[NAME]", "have a guest leave its processor once, and say where it was", "", run_kick,
     debug_complete_guests, 0, 1, 0},
    {NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 0},
};

/* Commands that stop a guest at what it does, and its MSRs. */
#include "kernel/core/mem.h"
#include "kernel/core/paging.h"
#include "kernel/debug/debugger.h"
#include "kernel/vm/msr_policy.h"

/* ---- catch ---------------------------------------------------------------------------------- */

struct catch_call {
    struct shell *shell;
    const char *said;
    const struct catch *wanted;
    hpa_t msr_bitmap;
    uint16_t id;
    enum status status;
};

static void list(struct vcpu *vcpu, void *context)
{
    const struct catch_call *call = context;
    const struct vmx_vcpu *vmx = vcpu->backend;
    const struct debug_catches *catches = &vmx->debug.catches;
    char text[CATCH_TEXT_MAX];
    if (catches->count == 0)
        shell_print(call->shell, "nothing is caught\n");
    for (unsigned i = 0; i < catches->count; i++) {
        catch_print(&catches->catch[i], text);
        shell_print(call->shell, "%4u  %s\n", catches->catch[i].id, text);
    }
}

static void add(struct vcpu *vcpu, void *context)
{
    struct catch_call *call = context;
    call->status = debug_add_catch(vcpu, call->wanted, call->msr_bitmap, &call->id);
}

static void note_bitmap(struct vcpu *vcpu, void *context)
{
    const struct vmx_vcpu *vmx = vcpu->backend;
    ((struct catch_call *)context)->msr_bitmap = vmx->debug.catches.msr_bitmap;
}

/* The frame for MSRs, from the first time that one is caught on. */
static enum status need_bitmap(struct guest *guest, struct catch_call *call)
{
    enum status status = vcpu_call(&guest->vcpu[0], note_bitmap, call);
    if (status != STATUS_OK || call->msr_bitmap.v != 0 || call->wanted->kind != CATCH_MSR)
        return status;
    return pages_alloc(&guest->monitor->machine->pages, 1, PAGE_SIZE, PAGE_HEAP, PAGE_OWNER_MONITOR,
                       &call->msr_bitmap);
}

static void run_catch(struct shell *shell, unsigned count, char *const argument[])
{
    struct guest *guest = debug_live_guest(shell, 0, NULL, 0);
    struct catch wanted = {0};
    struct catch_call call = {.shell = shell, .wanted = &wanted};
    const char *wrong = count > 1 ? catch_parse(count - 1, argument + 1, &wanted) : NULL;
    if (wrong != NULL) {
        shell_print(shell, "%s\n", wrong);
        return;
    }
    if (guest == NULL)
        return;
    wanted.is_gdbs = debug_shell_of(shell)->uart == NULL;
    enum status status = count > 1 ? need_bitmap(guest, &call) : STATUS_OK;
    if (status == STATUS_OK)
        status = vcpu_call(&guest->vcpu[0], count > 1 ? add : list, &call);
    if (status == STATUS_OK)
        status = call.status;
    if (status == ERR_NO_SPACE)
        shell_print(shell, "there are %u catches already; `uncatch` makes room\n",
                    DEBUG_CATCHES_MAX);
    else if (status != STATUS_OK)
        debug_refused(shell, guest, "nothing is caught", status);
    else if (count > 1)
        shell_print(shell, "catch %u\n", call.id);
}

static void take_away(struct vcpu *vcpu, void *context)
{
    struct catch_call *call = context;
    if (call->id == 0)
        debug_remove_catches(vcpu, false);
    else
        call->status = debug_remove_catch(vcpu, call->id);
}

static void run_uncatch(struct shell *shell, unsigned count, char *const argument[])
{
    struct guest *guest = debug_live_guest(shell, 0, NULL, 0);
    struct catch_call call = {.shell = shell};
    uint64_t id = 0;
    (void)count;
    if (guest == NULL ||
        (strcmp(argument[1], "all") != 0 && !shell_number(shell, argument[1], &id)))
        return;
    call.id = id <= UINT16_MAX ? (uint16_t)id : UINT16_MAX;
    enum status status = vcpu_call(&guest->vcpu[0], take_away, &call);
    if (status != STATUS_OK)
        debug_refused(shell, guest, "nothing has changed", status);
    else if (call.status != STATUS_OK)
        shell_print(shell, "there is no catch %lu; `catch` lists those that there are\n", id);
}

static void complete_catch(struct shell *shell, struct completion *completion)
{
    static const char *const kinds[] = {"reset", "triple-fault", "exception", "msr",
                                        "port",  "cpuid",        "cr",        "mode"};
    (void)shell;
    for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
        completion_offer(completion, kinds[i]);
}

/* ---- msr ------------------------------------------------------------------------------------ */

struct msr_call {
    uint32_t msr;
    bool writes, is_done;
    uint64_t value;
};

static void call_msr(struct vcpu *vcpu, void *context)
{
    struct msr_call *call = context;
    call->is_done = call->writes ? debug_write_msr(vcpu, call->msr, call->value)
                                 : debug_read_msr(vcpu, call->msr, &call->value);
}

enum status debug_access_msr(struct vcpu *vcpu, uint32_t msr, bool writes, uint64_t *value)
{
    struct msr_call call = {msr, writes, false, writes ? *value : 0};
    enum status status = vcpu_call(vcpu, call_msr, &call);
    *value = call.value;
    return status == STATUS_OK && !call.is_done ? ERR_UNSUPPORTED : status;
}

/* All that have a name and a value. */
static void list_msrs(struct shell *shell, struct guest *guest)
{
    const struct msr_policy *row;
    for (unsigned i = 0; (row = msr_policy_at(i)) != NULL; i++) {
        uint64_t value;
        enum status status = debug_access_msr(&guest->vcpu[0], row->msr, false, &value);
        if (status == STATUS_OK) {
            shell_print(shell, "%-26s %8x %016lx\n", row->name, row->msr, value);
        } else if (status != ERR_UNSUPPORTED) {
            debug_refused(shell, guest, "no MSRs", status);
            return;
        }
    }
}

static void run_msr(struct shell *shell, unsigned count, char *const argument[])
{
    struct guest *guest = debug_live_guest(shell, 0, NULL, 0);
    uint32_t msr;
    uint64_t value = 0;
    const char *new = count > 3 ? argument[3] : count > 2 ? argument[2] : NULL;
    if (guest == NULL || (new != NULL && !debug_address(shell, guest, new, &value)))
        return;
    if (count == 1) {
        list_msrs(shell, guest);
        return;
    }
    if (!catch_find_msr(argument[1], &msr)) {
        shell_print(shell,
                    "'%s' is no number, and no name of an MSR that guests have; Tab shows those\n",
                    argument[1]);
        return;
    }
    struct vcpu *vcpu = &guest->vcpu[0];
    enum status status = new != NULL ? debug_access_msr(vcpu, msr, true, &value) : STATUS_OK;
    if (status == STATUS_OK)
        status = debug_access_msr(vcpu, msr, false, &value);
    if (status == ERR_UNSUPPORTED)
        shell_print(shell, "the guest would have #GP for that\n");
    else if (status != STATUS_OK)
        debug_refused(shell, guest, "no MSR", status);
    else
        shell_print(shell, "msr 0x%x: 0x%016lx\n", msr, value);
}

static void complete_msr(struct shell *shell, struct completion *completion)
{
    const struct msr_policy *row;
    (void)shell;
    for (unsigned i = 0; (row = msr_policy_at(i)) != NULL; i++)
        completion_offer(completion, row->name);
}

const struct shell_command commands_catch[] = {
    {"catch", "[WHAT [WHICH [read|write]]]", "stop the guest at what it does; list what is caught",
     "catch reset                      before it happens; triple-fault: where it came from\n"
     "catch exception VECTOR|pf|gp|... before it is delivered\n"
     "catch msr NUMBER|NAME [read|write], catch port NUMBER[-LAST] [in|out]\n"
     "catch cpuid [LEAF], catch cr 0|3|4|8, catch mode [real|protected|paged|long]\n"
     "catch mode v86|compatibility     slow: the guest is executed instruction by instruction\n"
     "The guest is paused then, and a line says why; gdb sees it stop. Without any it costs "
     "nothing.\n",
     run_catch, complete_catch, 0, 3, 0},
    {"uncatch", "NUMBER|all", "let the guest go on there", "", run_uncatch, NULL, 1, 1, 0},
    {"msr", "[NUMBER|NAME [= VALUE]]", "show or change model-specific registers of the guest",
     "NAME is the SDM's, such as LSTAR or IA32_PAT; without one, all that have a name are shown.\n"
     "A value is checked as the guest's WRMSR.\n",
     run_msr, complete_msr, 0, 3, 0},
    {NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 0},
};

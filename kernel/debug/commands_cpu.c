/* Commands for a guest's virtual processor: regs, vmcs, set, inject. */
#include "kernel/core/fmt.h"
#include "kernel/core/mem.h"
#include "kernel/debug/debugger.h"
#include "kernel/debug/gdb_registers.h"
#include "kernel/debug/selector.h"
#include "vmx/vmcs.h"

/* ---- regs ---- */

static void get_registers(struct vcpu *vcpu, void *context)
{
    vmx_vcpu_get_registers(vcpu, context);
}

static void run_regs(struct shell *shell, unsigned count, char *const argument[])
{
    struct vcpu_registers registers;
    struct guest *guest = debug_present_guest(shell, count, argument, 1);
    if (guest == NULL)
        return;
    enum status status = vcpu_call(&guest->vcpu[0], get_registers, &registers);
    if (status != STATUS_OK) {
        debug_refused(shell, guest, "no registers", status);
        return;
    }
    struct text text = shell_text(shell);
    struct system_map symbols = debug_symbols(guest);
    describe_registers(&text, &symbols, &registers);
}

/* ---- set ---- */

bool debug_find_register(const char *name, unsigned *number)
{
    static const struct {
        char name[16], gdbs[12];
    } others[] = {
        {"pc", "rip"}, {"sp", "rsp"}, {"rflags", "eflags"}, {"kernel_gs_base", "k_gs_base"}};
    const char *known;
    name += name[0] == '$';
    for (unsigned i = 0; i < ARRAY_SIZE(others); i++)
        if (strcmp(others[i].name, name) == 0)
            name = others[i].gdbs;
    for (*number = 0; (known = gdb_register_name(*number)) != NULL; ++*number)
        if (known[0] != '\0' && strcmp(known, name) == 0)
            return true;
    return false;
}

enum status debug_set_registers(struct vcpu *vcpu, const struct vcpu_registers *registers)
{
    struct vcpu_registers before, after = *registers;
    struct paging paging;
    vmx_vcpu_get_registers(vcpu, &before);
    vmx_vcpu_get_paging(vcpu, &paging);
    enum status status = selector_load(&before, &after, &paging, &vcpu->vm->mem);
    return status == STATUS_OK ? vmx_vcpu_set_registers(vcpu, &after) : status;
}

struct change {
    unsigned number;
    uint8_t bytes[GDB_REGISTER_MAX];
    enum status status;
};

static void change_register(struct vcpu *vcpu, void *context)
{
    struct gdb_registers registers;
    struct change *change = context;
    vmx_vcpu_get_registers(vcpu, &registers.cpu);
    change->status = gdb_register_set(&registers, change->number, change->bytes);
    if (change->status == STATUS_OK)
        change->status = debug_set_registers(vcpu, &registers.cpu);
}

static const char *why(enum status status)
{
    return status == ERR_NOT_FOUND ? "its descriptor table has no such descriptor"
           : status == ERR_FAULT   ? "its descriptor is not mapped"
                                   : "the processor would not take it";
}

static void set_register(struct shell *shell, struct guest *guest, const char *name, uint64_t value)
{
    struct change change = {.bytes = {0}};
    if (!debug_find_register(name, &change.number)) {
        shell_print(shell, "'%s' is no register that can be set; Tab shows those that can\n", name);
        return;
    }
    size_t size = gdb_register_size(change.number);
    if (size < sizeof(value) && value >> (8 * size) != 0) {
        shell_print(shell, "0x%lx does not fit into %s\n", value, name);
        return;
    }
    memcpy(change.bytes, &value, sizeof(value));
    enum status status = vcpu_call(&guest->vcpu[0], change_register, &change);
    if (status != STATUS_OK)
        debug_refused(shell, guest, "was not changed", status);
    else if (change.status != STATUS_OK)
        shell_print(shell, "0x%lx in %s: %s; nothing is changed\n", value, name,
                    why(change.status));
}

/* set REGISTER [=] VALUE, or set/SIZE ADDRESS [=] VALUE. */
static void run_set(struct shell *shell, unsigned count, char *const argument[])
{
    const char *word = argument[count - 1], *name = argument[1];
    uint64_t value;
    struct guest *guest = debug_present_guest(shell, 0, NULL, 0);
    if (guest == NULL)
        return;
    if (count == 4 && strcmp(argument[2], "=") != 0) {
        shell_print(shell, "write set REGISTER = VALUE, or set/SIZE ADDRESS = VALUE\n");
        return;
    }
    if (!debug_address(shell, guest, word, &value))
        return;
    const char *format = debug_format(argument[0]);
    if (format != NULL)
        debug_set_memory(shell, guest, format, name, value);
    else
        set_register(shell, guest, name, value);
}

static bool has_dollar(const struct completion *completion)
{
    return completion->word < completion->length && completion->line[completion->word] == '$';
}

static void offer_registers(struct completion *completion)
{
    const char *name;
    char text[16];
    for (unsigned i = 0; (name = gdb_register_name(i)) != NULL; i++) {
        fmt_format(text, sizeof(text), "%s%s", has_dollar(completion) ? "$" : "", name);
        if (name[0] != '\0')
            completion_offer(completion, text);
    }
}

static void complete_register(struct shell *shell, struct completion *completion)
{
    (void)shell;
    offer_registers(completion);
}

void debug_complete_dollars(struct completion *completion)
{
    if (has_dollar(completion))
        offer_registers(completion);
}

/* ---- vmcs ---- */

struct field_search {
    struct shell *shell;
    const char *part; /* of the names */
};

static bool contains(const char *text, const char *part)
{
    size_t length = strlen(part);
    for (; *text != '\0'; text++)
        if (strncmp(text, part, length) == 0)
            return true;
    return length == 0;
}

static void show_field(void *context, uint32_t encoding, const char *name)
{
    const struct field_search *search = context;
    if (contains(name, search->part))
        shell_print(search->shell, "%04x %-42s %016lx\n", encoding, name,
                    vmcs_read_optional((enum vmcs_field)encoding));
}

static void show_fields(struct vcpu *vcpu, void *context)
{
    (void)vcpu;
    vmcs_visit(show_field, context);
}

static void run_vmcs(struct shell *shell, unsigned count, char *const argument[])
{
    struct guest *guest = debug_present_guest(shell, 0, NULL, 0);
    struct field_search search = {shell, count > 1 ? argument[1] : ""};
    if (guest == NULL)
        return;
    unsigned before = shell->used;
    enum status status = vcpu_call(&guest->vcpu[0], show_fields, &search);
    if (status != STATUS_OK)
        debug_refused(shell, guest, "no VMCS", status);
    else if (shell->used == before)
        shell_print(shell, "no field has '%s' in its name, which is the SDM's in capital letters\n",
                    search.part);
}

/* ---- inject ---- */

struct injection {
    struct exception exception;
    bool is_triple;
};

static void inject_exception(struct vcpu *vcpu, void *context)
{
    struct injection *injection = context;
    injection->is_triple = event_raise(&vcpu->events, &injection->exception) == EVENT_TRIPLE_FAULT;
    vcpu_request(vcpu, VCPU_REQUEST_EVENT);
}

static void inject_nmi(struct vcpu *vcpu, void *context)
{
    (void)context;
    vcpu_raise_nmi(vcpu);
}

/* As a device's message-signalled interrupt, to the first local APIC. */
static void inject_interrupt(struct vcpu *vcpu, void *context)
{
    struct guest *guest = CONTAINER_OF(vcpu->vm, struct guest, vm);
    const uint64_t *vector = context;
    struct apic_message message = {.destination = guest->board.cpu[0].lapic.config.apic_id,
                                   .vector = (uint8_t)*vector};
    spinlock_acquire(&vcpu->vm->lock);
    (void)apic_fabric_deliver(&guest->board.fabric, NULL, &message);
    spinlock_release(&vcpu->vm->lock);
}

static void say_status(struct shell *shell, const struct guest *guest, enum status status)
{
    if (status != STATUS_OK)
        debug_refused(shell, guest, "nothing was injected", status);
}

/* SDM: Exceptions that have an error code. */
#define HAS_ERROR_CODE                                                                             \
    (BIT(8) | BIT(10) | BIT(11) | BIT(12) | BIT(13) | BIT(14) | BIT(17) | BIT(21))

static void run_exception(struct shell *shell, struct guest *guest, uint64_t vector, uint64_t code)
{
    struct injection injection = {
        .exception = {.vector = (uint8_t)vector,
                      .has_error_code = (HAS_ERROR_CODE >> vector & 1) != 0,
                      .error_code = (uint32_t)code}};
    if (vector > 31 || vector == 2) {
        shell_print(shell, "exceptions are 0 to 31, but 2, which is `inject nmi`\n");
        return;
    }
    say_status(shell, guest, vcpu_call(&guest->vcpu[0], inject_exception, &injection));
    if (injection.is_triple)
        vm_request_reset(&guest->vm, VM_TRIPLE_FAULT);
}

static void run_inject(struct shell *shell, unsigned count, char *const argument[])
{
    struct guest *guest = debug_live_guest(shell, 0, NULL, 0);
    uint64_t vector = 0, code = 0;
    if (guest == NULL || (count > 2 && !shell_number(shell, argument[2], &vector)) ||
        (count > 3 && !shell_number(shell, argument[3], &code)))
        return;
    if (strcmp(argument[1], "nmi") == 0 && count == 2)
        say_status(shell, guest, vcpu_call(&guest->vcpu[0], inject_nmi, NULL));
    else if (strcmp(argument[1], "exception") == 0 && count > 2)
        run_exception(shell, guest, vector, code);
    else if (strcmp(argument[1], "irq") == 0 && count == 3 && vector >= 16 && vector <= 255)
        say_status(shell, guest, vcpu_call(&guest->vcpu[0], inject_interrupt, &vector));
    else
        shell_print(shell, "write inject irq VECTOR (16 to 255), inject nmi, or inject exception "
                           "VECTOR [ERROR-CODE]\n");
}

static void complete_inject(struct shell *shell, struct completion *completion)
{
    (void)shell;
    completion_offer(completion, "irq");
    completion_offer(completion, "nmi");
    completion_offer(completion, "exception");
}

const struct shell_command commands_cpu[] = {
    {"regs", "[NAME]", "show a guest's registers", "", run_regs, debug_complete_guests, 0, 1, 0},
    {"set", "REGISTER|ADDRESS = VALUE", "change a register, or memory with set/SIZE",
     "SIZE is b, h, w or g, for 1, 2, 4 or 8 bytes: set $rax = 5, set/w 0x1000 = $rip.\n"
     "A value that the processor would not take is refused. A segment's parts are cs, cs_base,\n"
     "cs_limit, cs_access and so on; a selector brings its descriptor along.\n",
     run_set, complete_register, 2, 3, SHELL_FORMAT},
    {"vmcs", "[PART]", "show every field of the VMCS, or those with PART in their name",
     "A field that the processor does not have reads as 0.\n", run_vmcs, NULL, 0, 1, 0},
    {"inject", "irq|nmi|exception [VECTOR [ERROR-CODE]]", "give a guest an event",
     "An interrupt goes through its local APIC, as a device's message does, and waits until the\n"
     "guest takes it; so does an NMI. An exception goes in at once.\n",
     run_inject, complete_inject, 1, 3, 0},
    {NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 0},
};

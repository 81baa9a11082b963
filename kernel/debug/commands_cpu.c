/* Commands for a guest's virtual processor: regs, vmcs, set, inject. */
#include "kernel/core/mem.h"
#include "kernel/debug/debugger.h"
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

/* By gdb's names; all are 64 bits wide. */
static const struct {
    char name[16];
    uint16_t offset;
} settable[] = {
#define REGISTER(name, member)                                                                     \
    {                                                                                              \
        name, offsetof(struct vcpu_registers, member)                                              \
    }
    REGISTER("rax", gpr[GPR_RAX]),
    REGISTER("rbx", gpr[GPR_RBX]),
    REGISTER("rcx", gpr[GPR_RCX]),
    REGISTER("rdx", gpr[GPR_RDX]),
    REGISTER("rsi", gpr[GPR_RSI]),
    REGISTER("rdi", gpr[GPR_RDI]),
    REGISTER("rbp", gpr[GPR_RBP]),
    REGISTER("rsp", gpr[GPR_RSP]),
    REGISTER("r8", gpr[GPR_R8]),
    REGISTER("r9", gpr[GPR_R9]),
    REGISTER("r10", gpr[GPR_R10]),
    REGISTER("r11", gpr[GPR_R11]),
    REGISTER("r12", gpr[GPR_R12]),
    REGISTER("r13", gpr[GPR_R13]),
    REGISTER("r14", gpr[GPR_R14]),
    REGISTER("r15", gpr[GPR_R15]),
    REGISTER("rip", rip),
    REGISTER("rflags", rflags),
    REGISTER("cr0", cr0),
    REGISTER("cr2", cr2),
    REGISTER("cr3", cr3),
    REGISTER("cr4", cr4),
    REGISTER("cr8", cr8),
    REGISTER("efer", efer),
    REGISTER("dr0", dr[0]),
    REGISTER("dr1", dr[1]),
    REGISTER("dr2", dr[2]),
    REGISTER("dr3", dr[3]),
    REGISTER("dr6", dr6),
    REGISTER("dr7", dr7),
    REGISTER("fs_base", segment[SEG_FS].base),
    REGISTER("gs_base", segment[SEG_GS].base),
    REGISTER("kernel_gs_base", kernel_gs_base),
#undef REGISTER
};

bool debug_register_offset(const char *name, uint16_t *offset)
{
    for (unsigned i = 0; i < ARRAY_SIZE(settable); i++) {
        *offset = settable[i].offset;
        if (strcmp(settable[i].name, name) == 0)
            return true;
    }
    return false;
}

struct change {
    uint16_t offset;
    uint64_t value;
    enum status status;
};

static void change_register(struct vcpu *vcpu, void *context)
{
    struct vcpu_registers registers;
    struct change *change = context;
    vmx_vcpu_get_registers(vcpu, &registers);
    memcpy((uint8_t *)&registers + change->offset, &change->value, sizeof(change->value));
    change->status = vmx_vcpu_set_registers(vcpu, &registers);
}

static void set_register(struct shell *shell, struct guest *guest, const char *name, uint64_t value)
{
    struct change change = {.value = value};
    if (!debug_register_offset(name, &change.offset)) {
        shell_print(shell, "'%s' is no register that can be set; Tab shows those that can\n", name);
        return;
    }
    enum status status = vcpu_call(&guest->vcpu[0], change_register, &change);
    if (status != STATUS_OK)
        debug_refused(shell, guest, "was not changed", status);
    else if (change.status != STATUS_OK)
        shell_print(shell, "the processor would not take 0x%lx there; nothing is changed\n", value);
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
        set_register(shell, guest, name[0] == '$' ? name + 1 : name, value);
}

static void complete_register(struct shell *shell, struct completion *completion)
{
    (void)shell;
    for (unsigned i = 0; i < ARRAY_SIZE(settable); i++)
        completion_offer(completion, settable[i].name);
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
     "A value that the processor would not take is refused.\n",
     run_set, complete_register, 2, 3, SHELL_FORMAT},
    {"vmcs", "[PART]", "show every field of the VMCS, or those with PART in their name",
     "A field that the processor does not have reads as 0.\n", run_vmcs, NULL, 0, 1, 0},
    {"inject", "irq|nmi|exception [VECTOR [ERROR-CODE]]", "give a guest an event",
     "An interrupt goes through its local APIC, as a device's message does, and waits until the\n"
     "guest takes it; so does an NMI. An exception goes in at once.\n",
     run_inject, complete_inject, 1, 3, 0},
    {NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 0},
};

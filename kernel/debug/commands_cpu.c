/* Commands for a guest's virtual processor: regs, vmcs, set, inject. */
#include "kernel/core/mem.h"
#include "kernel/debug/debugger.h"
#include "vmx/vmcs.h"

/* ---- Names of bits ---- */

struct bit_name {
    uint8_t bit;
    char name[12];
};

static const struct bit_name rflags_bits[] = {{0, "CF"},  {2, "PF"},   {4, "AF"},   {6, "ZF"},
                                              {7, "SF"},  {8, "TF"},   {9, "IF"},   {10, "DF"},
                                              {11, "OF"}, {14, "NT"},  {16, "RF"},  {17, "VM"},
                                              {18, "AC"}, {19, "VIF"}, {20, "VIP"}, {21, "ID"}};
static const struct bit_name cr0_bits[] = {{0, "PE"},  {1, "MP"},  {2, "EM"},  {3, "TS"},
                                           {4, "ET"},  {5, "NE"},  {16, "WP"}, {18, "AM"},
                                           {29, "NW"}, {30, "CD"}, {31, "PG"}};
static const struct bit_name cr4_bits[] = {
    {0, "VME"},   {1, "PVI"},   {2, "TSD"},   {3, "DE"},        {4, "PSE"},         {5, "PAE"},
    {6, "MCE"},   {7, "PGE"},   {8, "PCE"},   {9, "OSFXSR"},    {10, "OSXMMEXCPT"}, {11, "UMIP"},
    {12, "LA57"}, {13, "VMXE"}, {14, "SMXE"}, {16, "FSGSBASE"}, {17, "PCIDE"},      {18, "OSXSAVE"},
    {20, "SMEP"}, {21, "SMAP"}, {22, "PKE"}};
static const struct bit_name efer_bits[] = {{0, "SCE"}, {8, "LME"}, {10, "LMA"}, {11, "NXE"}};
static const struct bit_name shadow_bits[] = {{0, "STI"}, {1, "MOV-SS"}, {2, "SMI"}, {3, "NMI"}};

/* The bits that are set, the highest first, and a newline. */
static void show_bits(struct shell *shell, uint64_t value, const struct bit_name *bits,
                      unsigned count)
{
    shell_print(shell, " [");
    for (unsigned i = count; i-- > 0;)
        if ((value >> bits[i].bit & 1) != 0)
            shell_print(shell, " %s", bits[i].name);
    shell_print(shell, " ]\n");
}

#define SHOW_BITS(shell, value, bits) show_bits(shell, value, bits, ARRAY_SIZE(bits))

/* ---- regs ---- */

static void get_registers(struct vcpu *vcpu, void *context)
{
    vmx_vcpu_get_registers(vcpu, context);
}

static void show_general(struct shell *shell, const struct guest *guest,
                         const struct vcpu_registers *registers)
{
    /* As the SDM counts them, and as people look for them. */
    static const struct {
        char name[4];
        uint8_t gpr;
    } order[] = {{"rax", GPR_RAX}, {"rbx", GPR_RBX}, {"rcx", GPR_RCX}, {"rdx", GPR_RDX},
                 {"rsi", GPR_RSI}, {"rdi", GPR_RDI}, {"rbp", GPR_RBP}, {"rsp", GPR_RSP},
                 {"r8 ", GPR_R8},  {"r9 ", GPR_R9},  {"r10", GPR_R10}, {"r11", GPR_R11},
                 {"r12", GPR_R12}, {"r13", GPR_R13}, {"r14", GPR_R14}, {"r15", GPR_R15}};
    for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
        shell_print(shell, "%s %016lx%s", order[i].name, registers->gpr[order[i].gpr],
                    i % 3 == 2 || i == ARRAY_SIZE(order) - 1 ? "\n" : "  ");
    shell_print(shell, "rip %016lx", registers->rip);
    debug_print_symbol(shell, guest, registers->rip);
    shell_print(shell, "\nrflags %08lx iopl %lu", registers->rflags,
                RFLAGS_IOPL(registers->rflags));
    SHOW_BITS(shell, registers->rflags, rflags_bits);
}

/* What the descriptor in a segment register is. SDM: Code- and Data-Segment Descriptor Types;
 * System-Segment and Gate-Descriptor Types. */
static void show_segment(struct shell *shell, const char *name, const struct segment *segment,
                         bool is_long)
{
    uint32_t access = segment->access, type = access & SEGMENT_TYPE_MASK;
    shell_print(shell, "%-4s %04x base %016lx limit %08x access %05x", name, segment->selector,
                segment->base, segment->limit, access);
    if ((access & SEGMENT_UNUSABLE) != 0)
        shell_print(shell, " [ unusable ]\n");
    else if ((access & SEGMENT_S) == 0)
        shell_print(shell, " [ %s%s DPL%u ]\n",
                    type == 2           ? "LDT"
                    : (type & ~2u) == 9 ? "TSS"
                    : (type & ~2u) == 1 ? "16-bit TSS"
                                        : "system",
                    (type & ~8u) == 3 ? " busy" : "", (unsigned)SEGMENT_DPL(access));
    else
        shell_print(shell, " [ %s%s%s DPL%u %s%s ]\n", (type & 8) != 0 ? "code" : "data",
                    (type & 2) == 0   ? ""
                    : (type & 8) != 0 ? " readable"
                                      : " writable",
                    (type & 4) == 0   ? ""
                    : (type & 8) != 0 ? " conforming"
                                      : " expand-down",
                    (unsigned)SEGMENT_DPL(access),
                    is_long && (access & SEGMENT_L) != 0 ? "64-bit"
                    : (access & SEGMENT_DB) != 0         ? "32-bit"
                                                         : "16-bit",
                    (access & SEGMENT_G) != 0 ? " G" : "");
}

static void show_segments(struct shell *shell, const struct vcpu_registers *registers)
{
    static const char *const names[SEG_COUNT] = {"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"};
    bool is_long = (registers->efer & EFER_LMA) != 0;
    for (unsigned i = 0; i < SEG_COUNT; i++)
        show_segment(shell, names[i], &registers->segment[i], is_long);
    shell_print(shell, "gdtr base %016lx limit %04x\nidtr base %016lx limit %04x\n",
                registers->gdtr.base, registers->gdtr.limit, registers->idtr.base,
                registers->idtr.limit);
}

static const char *mode_of(const struct vcpu_registers *registers)
{
    uint32_t code = registers->segment[SEG_CS].access;
    if ((registers->cr0 & CR0_PE) == 0)
        return "real-address mode";
    if ((registers->rflags & RFLAGS_VM) != 0)
        return "virtual-8086 mode";
    if ((registers->efer & EFER_LMA) != 0)
        return (code & SEGMENT_L) != 0 ? "64-bit mode" : "compatibility mode";
    return (code & SEGMENT_DB) != 0 ? "protected mode, 32 bits" : "protected mode, 16 bits";
}

static void show_control(struct shell *shell, const struct vcpu_registers *registers)
{
    static const char *const activities[] = {"active", "halted", "waits for SIPI"};
    shell_print(shell, "cr0 %08lx", registers->cr0);
    SHOW_BITS(shell, registers->cr0, cr0_bits);
    shell_print(shell, "cr2 %016lx  cr3 %016lx  cr8 %lx\ncr4 %08lx", registers->cr2, registers->cr3,
                registers->cr8, registers->cr4);
    SHOW_BITS(shell, registers->cr4, cr4_bits);
    shell_print(shell, "efer %03lx", registers->efer);
    SHOW_BITS(shell, registers->efer, efer_bits);
    shell_print(shell, "xcr0 %lx  kernel_gs_base %016lx\n", registers->xcr0,
                registers->kernel_gs_base);
    shell_print(shell, "dr0 %016lx  dr1 %016lx\ndr2 %016lx  dr3 %016lx\ndr6 %08lx  dr7 %08lx\n",
                registers->dr[0], registers->dr[1], registers->dr[2], registers->dr[3],
                registers->dr6, registers->dr7);
    shell_print(shell, "%s, CPL%u, %s; blocking by", mode_of(registers),
                (unsigned)SEGMENT_DPL(registers->segment[SEG_SS].access),
                registers->activity < ARRAY_SIZE(activities) ? activities[registers->activity]
                                                             : "?");
    SHOW_BITS(shell, registers->interruptibility, shadow_bits);
}

static void run_regs(struct shell *shell, unsigned count, char *const argument[])
{
    struct vcpu_registers registers;
    struct guest *guest = debug_live_guest(shell, count, argument, 1);
    if (guest == NULL)
        return;
    enum status status = vcpu_call(&guest->vcpu[0], get_registers, &registers);
    if (status != STATUS_OK) {
        debug_refused(shell, guest, "no registers", status);
        return;
    }
    show_general(shell, guest, &registers);
    show_segments(shell, &registers);
    show_control(shell, &registers);
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
    struct guest *guest = debug_live_guest(shell, 0, NULL, 0);
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
    struct guest *guest = debug_live_guest(shell, 0, NULL, 0);
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

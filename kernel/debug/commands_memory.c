/* Commands for memory: x, walk, and what set/SIZE does. */
#include "kernel/core/mem.h"
#include "kernel/core/paging.h"
#include "kernel/debug/backtrace.h"
#include "kernel/debug/debugger.h"
#include "kernel/debug/float_text.h"
#include "kernel/debug/gdb_registers.h"
#include "kernel/vm/page_walk.h"

/* ---- Addresses ---- */

static void get_registers(struct vcpu *vcpu, void *context)
{
    vmx_vcpu_get_registers(vcpu, context);
}

static bool read_register(struct shell *shell, struct guest *guest, const char *name,
                          uint64_t *value)
{
    struct gdb_registers registers;
    uint8_t bytes[GDB_REGISTER_MAX];
    unsigned number;
    if (!debug_find_register(name, &number)) {
        shell_print(shell, "there is no register '%s'\n", name);
        return false;
    }
    enum status status = vcpu_call(&guest->vcpu[0], get_registers, &registers.cpu);
    if (status != STATUS_OK) {
        debug_refused(shell, guest, "no registers", status);
    } else {
        (void)gdb_register_get(&registers, number, bytes);
        memcpy(value, bytes, sizeof(*value));
    }
    return status == STATUS_OK;
}

static bool read_term(struct shell *shell, struct guest *guest, const char *term, uint64_t *value)
{
    struct system_map map = debug_symbols(guest);
    if (term[0] == '$')
        return read_register(shell, guest, term + 1, value);
    if (term[0] >= '0' && term[0] <= '9')
        return shell_number(shell, term, value);
    if (system_map_find(&map, term, value))
        return true;
    if (map.text != NULL || guest->config->symbols[0] != '\0')
        shell_print(shell, "%s has no symbol '%s'\n", guest->vm.name, term);
    else
        shell_print(shell,
                    "'%s' is no number, and %s has no symbols: see `symbols` in its "
                    "configuration\n",
                    term, guest->vm.name);
    return false;
}

bool debug_address(struct shell *shell, struct guest *guest, const char *text, uint64_t *value)
{
    char term[LINE_EDIT_MAX];
    bool is_minus = *text == '-';
    *value = 0;
    text += is_minus;
    for (;;) {
        unsigned length = 0;
        uint64_t part;
        while (text[length] != '\0' && text[length] != '+' && text[length] != '-')
            length++;
        memcpy(term, text, length);
        term[length] = '\0';
        if (!read_term(shell, guest, term, &part))
            return false;
        *value = is_minus ? *value - part : *value + part;
        if (text[length] == '\0')
            return true;
        is_minus = text[length] == '-';
        text += length + 1;
    }
}

static bool find_place(struct shell *shell, struct guest *guest, const char *text,
                       struct debug_place *place)
{
    bool has_prefix = text[0] != '\0' && text[1] == ':';
    place->space = has_prefix && text[0] == 'p'   ? DEBUG_PHYSICAL
                   : has_prefix && text[0] == 'm' ? DEBUG_MONITOR
                                                  : DEBUG_VIRTUAL;
    if (has_prefix && place->space == DEBUG_VIRTUAL) {
        shell_print(shell, "'%s': write p: for a physical address, m: for one of the monitor's\n",
                    text);
        return false;
    }
    return debug_address(shell, guest, has_prefix ? text + 2 : text, &place->address);
}

/* ---- Access ---- */

/* A piece of memory that is to be read or written, and what came of it. */
struct access {
    struct debug_place place;
    uint8_t *bytes;
    unsigned size, unit; /* in bytes; devices are accessed unit by unit */
    bool writes, forced;
    unsigned done;
    const char *why; /* not all of it was done */
    gpa_t gpa;       /* what could not be accessed is there, if is_device */
    bool is_device;
};

static void access_device(struct access *access, struct vm *vm)
{
    uint8_t *bytes = access->bytes + access->done;
    uint64_t value = 0;
    spinlock_acquire(&vm->lock);
    if (access->writes) {
        memcpy(&value, bytes, access->unit);
        bus_write(&vm->bus, BUS_MMIO, access->gpa.v, access->unit, value);
    } else {
        value = bus_read(&vm->bus, BUS_MMIO, access->gpa.v, access->unit);
        memcpy(bytes, &value, access->unit);
    }
    spinlock_release(&vm->lock);
    access->done += access->unit;
}

/* What lies where RAM ended; false: nothing that may be accessed. */
static bool go_on_at_device(struct access *access, struct vm *vm, const struct page_walk *walk)
{
    bool is_in_page = walk->gpa.v % PAGE_SIZE + access->unit <= PAGE_SIZE;
    access->why = walk->why;
    if (walk->why != NULL)
        return false;
    access->gpa = walk->gpa;
    access->is_device = bus_claims(&vm->bus, BUS_MMIO, walk->gpa.v);
    access->why = access->is_device ? "a device is there, for which an access may mean something; "
                                      "`force` does it"
                                    : "neither memory nor a device is there";
    if (!access->is_device || !access->forced || !is_in_page ||
        access->size - access->done < access->unit)
        return false;
    access->why = NULL;
    access_device(access, vm);
    return true;
}

/* With paging off, what is physical is linear. */
static void access_guest(struct vcpu *vcpu, void *context)
{
    struct access *access = context;
    struct vm *vm = vcpu->vm;
    struct paging paging;
    struct page_walk walk;
    vmx_vcpu_get_paging(vcpu, &paging);
    if (access->place.space == DEBUG_PHYSICAL)
        paging = (struct paging){.efer = EFER_LMA};
    do {
        uint64_t next = access->place.address + access->done;
        unsigned left = access->size - access->done;
        uint8_t *bytes = access->bytes + access->done;
        access->done +=
            (unsigned)(access->writes ? page_walk_write(&paging, &vm->mem, next, bytes, left)
                                      : page_walk_read(&paging, &vm->mem, next, bytes, left));
        page_walk(&paging, &vm->mem, access->place.address + access->done, &walk);
    } while (access->done < access->size && go_on_at_device(access, vm, &walk));
}

/* The monitor's own memory is only read. */
static void access_monitor(struct access *access)
{
    uint64_t address = access->place.address;
    bool is_device = address + access->size > PAGING_DEVICES && address < PAGING_IMAGE;
    if (access->writes)
        access->why = "the monitor's memory is not for writing";
    else if (!paging_is_mapped(address, access->size))
        access->why = "the monitor has nothing there";
    else if (is_device && !access->forced)
        access->why = "a device is there, for which a read may mean something; `force` does it";
    else
        access->done = access->size;
    if (access->why == NULL)
        memcpy(access->bytes, (const void *)(uintptr_t)address, access->size);
}

static bool do_access(struct shell *shell, struct guest *guest, struct access *access)
{
    enum status status = STATUS_OK;
    if (access->place.space == DEBUG_MONITOR)
        access_monitor(access);
    else
        status = vcpu_call(&guest->vcpu[0], access_guest, access);
    if (status != STATUS_OK)
        debug_refused(shell, guest, "no access to its memory", status);
    return status == STATUS_OK;
}

static void say_why(struct shell *shell, const struct access *access)
{
    shell_print(shell, "Cannot access memory at address 0x%lx",
                access->place.address + access->done);
    if (access->is_device)
        shell_print(shell, " (guest-physical 0x%lx)", access->gpa.v);
    shell_print(shell, ": %s\n", access->why);
}

/* ---- x ---- */

struct layout {
    uint64_t count;
    bool is_backward; /* so many before the address */
    char format;      /* o d u x z t f a c s */
    char size;        /* b h w g */
    unsigned unit;
};

static unsigned unit_of(char size)
{
    return size == 'b' ? 1 : size == 'h' ? 2 : size == 'w' ? 4 : size == 'g' ? 8 : 0;
}

static bool is_one_of(char letter, const char *letters)
{
    while (*letters != '\0' && *letters != letter)
        letters++;
    return *letters != '\0';
}

/* The size that goes with a format, given what it was: gdb's. */
static char size_of(char format, char size)
{
    switch (format) {
    case 'a':
        return 'g';
    case 'c':
    case 's':
        return 'b';
    case 'f':
        return size == 'w' ? 'w' : 'g';
    default:
        return size;
    }
}

/* gdb's /NFU, in any order of the letters; what is not there stays as it was the last time. */
static bool parse_layout(struct shell *shell, const char *text, struct layout *layout)
{
    struct debug_shell *self = debug_shell_of(shell);
    *layout = (struct layout){.count = 1, .format = self->format, .size = self->size};
    layout->is_backward = *text == '-';
    text += layout->is_backward;
    if (*text >= '0' && *text <= '9')
        for (layout->count = 0; *text >= '0' && *text <= '9'; text++)
            if (layout->count <= DEBUG_BYTES_MAX) /* more is too much, however much it is */
                layout->count = layout->count * 10 + (uint64_t)(*text - '0');
    for (; *text != '\0'; text++) {
        if (unit_of(*text) != 0) {
            layout->size = *text;
        } else if (is_one_of(*text, "oduxzftacs")) {
            layout->format = *text;
            layout->size = size_of(*text, layout->size);
        } else {
            shell_print(shell,
                        *text == 'i' ? "'%s': the monitor has no disassembler; gdb's x/i shows "
                                       "instructions\n"
                                     : "'%s': after a count, write one of o d u x z t f a c s, and "
                                       "one of b h w g\n",
                        text);
            return false;
        }
    }
    layout->unit = unit_of(layout->size);
    if (layout->count == 0 || layout->count * layout->unit > DEBUG_BYTES_MAX ||
        (layout->format == 's' && layout->count > 100)) {
        shell_print(shell, "that is more than %u bytes at once, or nothing\n", DEBUG_BYTES_MAX);
        return false;
    }
    self->format = layout->format;
    self->size = layout->size;
    return true;
}

static void show_binary(struct shell *shell, uint64_t value, unsigned bits)
{
    char text[65];
    for (unsigned i = 0; i < bits; i++)
        text[i] = (char)('0' + (value >> (bits - 1 - i) & 1));
    text[bits] = '\0';
    shell_print(shell, "  %s", text);
}

static void show_octal(struct shell *shell, uint64_t value)
{
    char text[24];
    unsigned at = sizeof(text) - 1;
    text[at] = '\0';
    do {
        text[--at] = (char)('0' + (value & 7));
        value >>= 3;
    } while (value != 0);
    shell_print(shell, "  0%s", text + at);
}

static void show_unit(struct shell *shell, const struct guest *guest, const struct layout *layout,
                      const uint8_t *bytes)
{
    uint64_t value = 0;
    unsigned bits = layout->unit * 8;
    memcpy(&value, bytes, layout->unit);
    int64_t number = (int64_t)(value << (64 - bits)) >> (64 - bits);
    char text[FLOAT_TEXT_MAX];
    switch (layout->unit < 4 && layout->format == 'f' ? 'd' : layout->format) {
    case 'f':
        float_describe(value, layout->unit, text);
        shell_print(shell, "  %s", text);
        return;
    case 'd':
        shell_print(shell, "  %ld", number);
        return;
    case 'u':
        shell_print(shell, "  %lu", value);
        return;
    case 'o':
        show_octal(shell, value);
        return;
    case 't':
        show_binary(shell, value, bits);
        return;
    case 'c':
        shell_print(shell, value >= ' ' && value <= '~' ? "  %ld '%c'" : "  %ld", number,
                    (int)value);
        return;
    case 'a':
        shell_print(shell, "  0x%lx", value);
        debug_print_symbol(shell, guest, value);
        return;
    default:
        shell_print(shell, "  0x%0*lx", (int)(layout->unit * 2), value);
    }
}

/* What stands at the start of a line. */
static void show_address(struct shell *shell, const struct guest *guest,
                         const struct access *access, unsigned offset)
{
    uint64_t address = access->place.address + offset;
    shell_print(shell, "0x%lx", address);
    if (access->place.space == DEBUG_VIRTUAL)
        debug_print_symbol(shell, guest, address);
    shell_print(shell, ":");
}

static unsigned units_per_line(const struct layout *layout)
{
    static const uint8_t of_hex[] = {['b'] = 8, ['h'] = 8, ['w'] = 4, ['g'] = 2};
    return layout->format == 't' ? 8 / layout->unit : of_hex[(unsigned char)layout->size];
}

static void show_units(struct shell *shell, const struct guest *guest, const struct layout *layout,
                       const struct access *access)
{
    unsigned units = access->done / layout->unit;
    for (unsigned i = 0; i < units; i++) {
        unsigned column = i % units_per_line(layout);
        if (column == 0)
            show_address(shell, guest, access, i * layout->unit);
        show_unit(shell, guest, layout, access->bytes + i * layout->unit);
        if (column + 1 == units_per_line(layout) || i + 1 == units)
            shell_print(shell, "\n");
    }
}

#define STRING_MAX 200u

/* A string as C would write it; returns its length with the NUL. */
static unsigned show_string(struct shell *shell, const struct access *access)
{
    unsigned i = 0;
    shell_print(shell, "0x%lx:  \"", access->place.address);
    for (; i < access->done && access->bytes[i] != '\0'; i++) {
        char byte = (char)access->bytes[i];
        bool is_plain = byte >= ' ' && byte <= '~' && byte != '"' && byte != '\\';
        if (is_plain)
            shell_print(shell, "%c", byte);
        else if (byte == '"' || byte == '\\')
            shell_print(shell, "\\%c", byte);
        else
            shell_print(shell, "\\%u%u%u", (byte >> 6) & 3u, (byte >> 3) & 7u, byte & 7u);
    }
    shell_print(shell, i < STRING_MAX ? "\"\n" : "\"...\n");
    return i < STRING_MAX ? i + 1 : i;
}

/* To the start of the string that ends before the address: behind the NUL before it, or as far back
 * as one shows at once, or memory goes. False, with a message: nothing is there. */
static bool rewind_string(struct shell *shell, struct guest *guest, bool forced)
{
    struct debug_shell *self = debug_shell_of(shell);
    uint64_t end = self->next.address;
    unsigned in_page = (unsigned)((end - 1) % PAGE_SIZE) + 1, size = STRING_MAX + 1;
    struct access access;
    do {
        access = (struct access){.place = {self->next.space, end - size},
                                 .bytes = self->bytes,
                                 .size = size,
                                 .unit = 1,
                                 .forced = forced};
        if (!do_access(shell, guest, &access))
            return false;
        if (access.done == size)
            break;
        size = size > in_page ? in_page : 0; /* without the page before */
    } while (size != 0);
    if (size == 0) {
        say_why(shell, &access);
        return false;
    }
    unsigned start = size - 1;
    while (start > 0 && self->bytes[start - 1] != '\0')
        start--;
    self->next.address = end - size + start;
    return true;
}

/* False, with a message: there is no memory. */
static bool rewind_places(struct shell *shell, struct guest *guest, const struct layout *layout,
                          bool forced)
{
    struct debug_shell *self = debug_shell_of(shell);
    if (layout->format != 's') {
        self->next.address -= layout->count * layout->unit;
        return true;
    }
    for (uint64_t i = 0; i < layout->count; i++)
        if (!rewind_string(shell, guest, forced))
            return false;
    return true;
}

/* False: memory ended. */
static bool examine(struct shell *shell, struct guest *guest, const struct layout *layout,
                    bool forced)
{
    struct debug_shell *self = debug_shell_of(shell);
    bool is_string = layout->format == 's';
    struct access access = {
        .place = self->next,
        .bytes = self->bytes,
        .size = is_string ? STRING_MAX : (unsigned)layout->count * layout->unit,
        .unit = layout->unit,
        .forced = forced,
    };
    if (!do_access(shell, guest, &access))
        return false;
    if (is_string && access.done != 0) {
        self->next.address += show_string(shell, &access);
        return true;
    }
    show_units(shell, guest, layout, &access);
    self->next.address += access.done;
    if (access.done < access.size)
        say_why(shell, &access);
    return access.done == access.size;
}

static void run_x(struct shell *shell, unsigned count, char *const argument[])
{
    struct debug_shell *self = debug_shell_of(shell);
    struct guest *guest = debug_present_guest(shell, 0, NULL, 0);
    const char *format = debug_format(argument[0]);
    struct layout layout;
    bool forced = count == 3;
    if (guest == NULL)
        return;
    if (forced && strcmp(argument[2], "force") != 0) {
        shell_print(shell, "'%s': only `force` may follow the address\n", argument[2]);
        return;
    }
    if (self->format == '\0') {
        self->format = 'x';
        self->size = 'w';
    }
    if (!parse_layout(shell, format != NULL ? format : "", &layout) ||
        (count > 1 && !find_place(shell, guest, argument[1], &self->next)))
        return;
    if (layout.is_backward && !rewind_places(shell, guest, &layout, forced))
        return;
    struct debug_place start = self->next;
    uint64_t times = layout.format == 's' ? layout.count : 1;
    while (times-- > 0 && examine(shell, guest, &layout, forced))
        ;
    if (layout.is_backward) /* the next one goes on backward, or begins here, as gdb's do */
        self->next = start;
}

void debug_set_memory(struct shell *shell, struct guest *guest, const char *size, const char *where,
                      uint64_t value)
{
    struct access access = {.unit = size[0] != '\0' && size[1] == '\0' ? unit_of(size[0]) : 0,
                            .bytes = (uint8_t *)&value,
                            .writes = true};
    access.size = access.unit;
    if (access.unit == 0)
        shell_print(shell, "set/%s: the size is b, h, w or g\n", size);
    else if (access.unit < 8 && value >> (8 * access.unit) != 0)
        shell_print(shell, "0x%lx does not fit into %u bytes\n", value, access.unit);
    else if (find_place(shell, guest, where, &access.place) && do_access(shell, guest, &access) &&
             access.done < access.size)
        say_why(shell, &access);
}

/* ---- walk ---- */

static const struct bit_text ept_bits[] = {{EPT_READ, "read", "-"},
                                           {EPT_WRITE, " write", " -"},
                                           {EPT_EXECUTE, " execute", " -"},
                                           {EPT_ACCESSED, " accessed", ""}};

/* Each level's entry, read from the monitor's own tables. */
static void show_ept(struct shell *shell, const struct ept *ept, gpa_t gpa)
{
    static const char *const names[] = {"PTE", "PDE", "PDPTE", "PML4E"};
    struct text text = shell_text(shell);
    hpa_t table = ept->root;
    for (unsigned level = 4; level-- > 0;) {
        unsigned index = (unsigned)(gpa.v >> (PAGE_SHIFT + 9 * level) & 511);
        uint64_t entry = ((const uint64_t *)phys_to_virt(table))[index];
        shell_print(shell, "  EPT %-5s %3u at 0x%-9lx %016lx  ", names[level], index,
                    table.v + index * sizeof(entry), entry);
        if ((entry & (EPT_READ | EPT_WRITE | EPT_EXECUTE)) == 0) {
            shell_print(shell, "not present: an access is an exit\n");
            return;
        }
        describe_flags(&text, entry, ept_bits, ARRAY_SIZE(ept_bits));
        if (level == 0 || (entry & EPT_LARGE) != 0) {
            uint64_t size = BIT(PAGE_SHIFT + 9 * level);
            shell_print(shell, "%s, memory type %lu%s", (entry & EPT_DIRTY) != 0 ? " dirty" : "",
                        entry >> EPT_MEMORY_TYPE_SHIFT & 7,
                        (entry & EPT_IGNORE_PAT) != 0 ? " whatever the PAT" : "");
            describe_page_size(&text, size);
            shell_print(shell, "\nmachine-physical 0x%llx\n",
                        (entry & EPT_ADDRESS & ~(size - 1)) + (gpa.v & (size - 1)));
            return;
        }
        shell_print(shell, "\n");
        table = HPA(entry & EPT_ADDRESS);
    }
}

struct walking {
    struct shell *shell;
    struct debug_place place;
};

static void show_walk(struct vcpu *vcpu, void *context)
{
    const struct walking *walking = context;
    struct shell *shell = walking->shell;
    struct guest *guest = CONTAINER_OF(vcpu->vm, struct guest, vm);
    struct text text = shell_text(shell);
    struct paging paging;
    struct page_walk walk = {.gpa = GPA(walking->place.address)};
    if (walking->place.space == DEBUG_VIRTUAL) {
        vmx_vcpu_get_paging(vcpu, &paging);
        page_walk(&paging, &guest->vm.mem, walking->place.address, &walk);
        shell_print(shell, "linear 0x%lx, %s, CR3 0x%lx\n", walking->place.address, walk.mode,
                    paging.cr3);
        describe_walk(&text, &walk);
    }
    if (walk.why != NULL) {
        shell_print(shell, "no translation: %s\n", walk.why);
        return;
    }
    uint64_t available;
    shell_print(shell, "guest-physical 0x%lx: %s\n", walk.gpa.v,
                guest_mem_span(&guest->vm.mem, walk.gpa, &available) != NULL ? "memory"
                : bus_claims(&guest->vm.bus, BUS_MMIO, walk.gpa.v)           ? "a device"
                                                                             : "nothing");
    show_ept(shell, &guest->vmx.ept, walk.gpa);
}

static void run_walk(struct shell *shell, unsigned count, char *const argument[])
{
    struct guest *guest = debug_present_guest(shell, 0, NULL, 0);
    struct walking walking = {.shell = shell};
    (void)count;
    if (guest == NULL || !find_place(shell, guest, argument[1], &walking.place))
        return;
    if (walking.place.space == DEBUG_MONITOR) {
        shell_print(shell, "walk is for addresses of the guest\n");
        return;
    }
    enum status status = vcpu_call(&guest->vcpu[0], show_walk, &walking);
    if (status != STATUS_OK)
        debug_refused(shell, guest, "no walk", status);
}

/* ---- bt ---- */

static void collect_frames(struct vcpu *vcpu, void *context)
{
    struct vcpu_registers registers;
    struct paging paging;
    vmx_vcpu_get_registers(vcpu, &registers);
    vmx_vcpu_get_paging(vcpu, &paging);
    backtrace_collect(context, &registers, &paging, &vcpu->vm->mem);
}

static void run_bt(struct shell *shell, unsigned count, char *const argument[])
{
    struct guest *guest = debug_present_guest(shell, count, argument, 1);
    struct backtrace trace = {.count = 0};
    if (guest == NULL)
        return;
    enum status status = vcpu_call(&guest->vcpu[0], collect_frames, &trace);
    if (status != STATUS_OK) {
        debug_refused(shell, guest, "no backtrace", status);
        return;
    }
    struct text text = shell_text(shell);
    struct system_map symbols = debug_symbols(guest);
    backtrace_describe(&text, &symbols, &trace);
}

const struct shell_command commands_memory[] = {
    {"x", "[ADDRESS [force]]", "examine memory, as gdb's x does",
     "FORMAT: a count, one of o d u x z t f a c s, and a size of b h w g (1, 2, 4, 8 bytes), as "
     "in\n"
     "x/8xb $rip, x/4gx p:0x1000, x/s 0x2000; without them as the last time, and without an\n"
     "address where that ended. A negative count shows what is before the address.\n"
     "Addresses are linear ones of the guest that `vm` has chosen; p: stands before a\n"
     "guest-physical, m: before an address of the monitor's. Numbers, symbols and $registers may\n"
     "be added and subtracted. The memory of devices is read with `force` only.\n",
     run_x, debug_complete_symbols, 0, 2, SHELL_FORMAT},
    {"walk", "ADDRESS", "show how an address is translated",
     "Each level of the guest's paging structures, then of the EPT; with p: only of that.\n"
     "Nothing is changed, not even accessed flags.\n",
     run_walk, debug_complete_symbols, 1, 1, 0},
    {"bt", "[NAME]", "show a guest's calls by its frame pointers",
     "With symbols, if `symbols` in its configuration names its System.map. Code without frame\n"
     "pointers, such as a Linux kernel with the ORC unwinder, shows its innermost call only.\n",
     run_bt, debug_complete_guests, 0, 1, 0},
    {NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 0},
};

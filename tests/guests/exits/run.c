/* Environments, and how one instruction runs in them. */
#include "tests/guests/exits/exits.h"

#define LAPIC 0xfee00000ull
#define LAPIC_ID 0x20
#define LAPIC_EOI 0xb0
#define LAPIC_ICR 0x300
#define LAPIC_ICR_HIGH 0x310
#define LAPIC_LVT_TIMER 0x320
#define LAPIC_INITIAL 0x380
#define LAPIC_MASKED BIT(16)
#define ICR_SELF 0x40000u
#define ICR_ASSERT 0x4000u
#define ICR_NMI 0x400u

/* The selectors of lib/start.inc. */
#define SEL_CODE64 0x08
#define SEL_DATA 0x10
#define SEL_CODE32 0x18
#define SEL_CODE16 0x20
#define SEL_DATA16 0x28
#define SEL_USER_CODE32 (0x30 | 3)
#define SEL_USER_DATA (0x38 | 3)
#define SEL_USER_CODE64 (0x40 | 3)
#define LIBRARY_DESCRIPTORS 14
#define TSS32_INDEX 11
#define SEGMENT16 (EXITS_SEGMENT >> 4)
#define DEVICE16 (EXITS_DEVICE >> 4)

const struct exits_environment exits_environments[] = {
    {"real", MODE_REAL, BITS_16, 0, false, SEGMENT16, SEGMENT16, SEGMENT16, DEVICE16},
    {"v86", MODE_FLAT32, BITS_16, 3, true, SEGMENT16, SEGMENT16, SEGMENT16, DEVICE16},
    {"v86-paging", MODE_PAGED32, BITS_16, 3, true, SEGMENT16, SEGMENT16, SEGMENT16, DEVICE16},
    {"pm16", MODE_FLAT32, BITS_16, 0, false, SEL_CODE16, SEL_DATA, SEL_DATA16, SEL_DEVICE16},
    {"pm16-user", MODE_FLAT32, BITS_16, 3, false, SEL_USER_CODE16, SEL_USER_DATA16, SEL_USER_DATA16,
     SEL_USER_DEVICE16},
    {"pm32", MODE_FLAT32, BITS_32, 0, false, SEL_CODE32, SEL_DATA, SEL_DATA, 0},
    {"pm32-user", MODE_FLAT32, BITS_32, 3, false, SEL_USER_CODE32, SEL_USER_DATA, SEL_USER_DATA, 0},
    {"paging32", MODE_PAGED32, BITS_32, 0, false, SEL_CODE32, SEL_DATA, SEL_DATA, 0},
    {"paging32-user", MODE_PAGED32, BITS_32, 3, false, SEL_USER_CODE32, SEL_USER_DATA,
     SEL_USER_DATA, 0},
    {"pae", MODE_PAE, BITS_32, 0, false, SEL_CODE32, SEL_DATA, SEL_DATA, 0},
    {"pae-user", MODE_PAE, BITS_32, 3, false, SEL_USER_CODE32, SEL_USER_DATA, SEL_USER_DATA, 0},
    {"compat", MODE_IA32E, BITS_32, 0, false, SEL_CODE32, SEL_DATA, SEL_DATA, 0},
    {"compat-user", MODE_IA32E, BITS_32, 3, false, SEL_USER_CODE32, SEL_USER_DATA, SEL_USER_DATA,
     0},
    {"long", MODE_IA32E, BITS_64, 0, false, SEL_CODE64, SEL_DATA, SEL_DATA, 0},
    {"long-user", MODE_IA32E, BITS_64, 3, false, SEL_USER_CODE64, SEL_USER_DATA, SEL_USER_DATA, 0},
};
const unsigned exits_environment_count = ARRAY_SIZE(exits_environments);

extern uint64_t gdt[LIBRARY_DESCRIPTORS], exits_gdt[], handlers64[256];
extern uint64_t exits_rsp64;
extern uint8_t exits_tss32[];
void exits_load_tables(void);
void exits_run_ia32e(void);
void exits_run_protected(void);
void exits_run_real(void);
void exits_back64(void);
void lapic_init(void);
void pic_init(void);
void exits_capture64(uint64_t *frame);

#define PAGE EXITS_PAGE
uint8_t exits_code[2 * PAGE] ALIGNED(PAGE);
static uint8_t data[PAGE] ALIGNED(PAGE);
static uint8_t stack[PAGE] ALIGNED(16);

static void lapic_write(uint32_t reg, uint32_t value)
{
    *(volatile uint32_t *)(LAPIC + reg) = value;
}

/* Present, of this type and DPL. */
static uint64_t descriptor(uint64_t base, uint64_t limit, uint64_t type, uint64_t flags)
{
    return (limit & 0xffff) | (base & 0xffffff) << 16 | (type | 0x80) << 40 |
           (limit >> 16 & 0xf) << 48 | flags << 52 | (base >> 24 & 0xff) << 56;
}

#define CODE 0x1b
#define DATA 0x13
#define DPL3 0x60
#define FLAT 0xc /* 32 bits, limit in pages */
#define IO_MAP_BYTES (0x400 / 8 + 1)

void exits_init(void)
{
    uint64_t edge = (uintptr_t)exits_code + PAGE;
    for (unsigned i = 0; i < LIBRARY_DESCRIPTORS; i++)
        exits_gdt[i] = gdt[i];
    exits_gdt[14] = descriptor(EXITS_SEGMENT, 0xffff, CODE | DPL3, 0);
    exits_gdt[15] = descriptor(EXITS_SEGMENT, 0xffff, DATA | DPL3, 0);
    exits_gdt[16] = descriptor(edge, 0xfffff, CODE, FLAT);
    exits_gdt[17] = descriptor(edge, 0xfffff, CODE | DPL3, FLAT);
    exits_gdt[18] = descriptor(EXITS_DEVICE, 0xffff, DATA, 0);
    exits_gdt[19] = descriptor(EXITS_DEVICE, 0xffff, DATA | DPL3, 0);
    exits_gdt[TSS32_INDEX] = descriptor((uintptr_t)exits_tss32, 104 + IO_MAP_BYTES - 1, 0x09, 0);
    *(uint32_t *)(exits_tss32 + 4) = (uint32_t)(uintptr_t)(stack + sizeof(stack));
    *(uint16_t *)(exits_tss32 + 8) = SEL_DATA;
    *(uint16_t *)(exits_tss32 + 102) = 104;
    exits_allow_ports(true);
    exits_load_tables();
    pic_init();
    lapic_init();
}

void exits_allow_ports(bool allow)
{
    for (unsigned i = 0; i < IO_MAP_BYTES - 1; i++)
        exits_tss32[104 + i] = allow ? 0 : 0xff;
    exits_tss32[104 + IO_MAP_BYTES - 1] = 0xff;
}

void exits_find_place(const struct exits_environment *environment, struct exits_place *place)
{
    if (environment->bits == BITS_16) {
        *place = (struct exits_place){
            .rip = 0x8000,
            .code = (uint8_t *)(uintptr_t)(EXITS_SEGMENT + 0x8000),
            .pointer = 0x9000,
            .data = (uint8_t *)(uintptr_t)(EXITS_SEGMENT + 0x9000),
            .rsp = 0xb000,
        };
        /* Its stack segment is the flat one. */
        if (environment->ss == SEL_DATA)
            place->rsp += EXITS_SEGMENT;
        return;
    }
    *place = (struct exits_place){
        .rip = (uintptr_t)exits_code,
        .code = exits_code,
        .pointer = (uintptr_t)data,
        .data = data,
        .rsp = (uintptr_t)data + sizeof(data) - 64,
    };
}

void exits_prepare(const struct exits_environment *environment, const struct exits_place *place)
{
    struct exits_run *run = &exits_run;
    for (unsigned i = 0; i < GPRS; i++)
        run->gpr[i] = 0x0101010101010101ull * (i + 0x81);
    run->gpr[RBX] = place->pointer;
    run->gpr[RBP] = environment->ss;
    run->gpr[RSP] = place->rsp;
    run->rflags = 2 | (environment->is_v86 ? FLAG_VM : 0);
    run->rflags |= environment->cpl == 3 ? FLAGS_IOPL3 : 0;
    run->cs = environment->cs;
    run->rip = place->rip;
    run->ss = environment->ss;
    run->ds = environment->ds;
    run->no_idt = 0;
    (void)guest_try_write_dr6(DR6_CLEAR);
}

/* The order in which fault.inc pushes the registers. */
void exits_capture64(uint64_t *frame)
{
    static const uint8_t order[] = {RAX, RBX, RCX, RDX, RSI, RDI, RBP, 8,
                                    9,   10,  11,  12,  13,  14,  15};
    struct exits_run *run = &exits_run;
    for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
        run->out.gpr[order[i]] = frame[i];
    run->out.vector = frame[15] & 0xff;
    run->out.error = frame[16];
    run->out.rip = frame[17];
    run->out.cs = frame[18];
    run->out.rflags = frame[19];
    run->out.gpr[RSP] = frame[20];
    run->out.ss = frame[21];
    run->out.dr6 = guest_read_dr6();
    frame[17] = (uintptr_t)exits_back64;
    frame[18] = SEL_CODE64;
    frame[19] = 2;
    frame[20] = exits_rsp64;
    frame[21] = SEL_DATA;
}

static void set_handlers(void (*handler)(uint64_t *frame))
{
    for (unsigned i = 0; i < 0x60; i++)
        handlers64[i] = (uintptr_t)handler;
}

static void run_protected_or_real(const struct exits_environment *environment)
{
    void (*routine)(void) = IS_REAL(environment) ? exits_run_real : exits_run_protected;
    guest_call_mode(environment->mode, (uintptr_t)routine);
    exits_load_tables();
}

void exits_go(const struct exits_environment *environment)
{
    if (environment->mode != MODE_IA32E) {
        run_protected_or_real(environment);
    } else {
        set_handlers(exits_capture64);
        exits_run_ia32e();
        set_handlers(NULL);
    }
    (void)guest_try_write_dr7(0x400);
    if (exits_run.out.vector == EXITS_VECTOR)
        lapic_write(LAPIC_EOI, 0);
}

void exits_send_interrupt(void)
{
    lapic_write(LAPIC_ICR, ICR_SELF | EXITS_VECTOR);
}

void exits_start_timer(uint32_t ticks)
{
    lapic_write(LAPIC_LVT_TIMER, EXITS_VECTOR);
    lapic_write(LAPIC_INITIAL, ticks);
}

/* Not by the shorthand for itself, which NMIs do not have. */
void exits_send_nmi(void)
{
    lapic_write(LAPIC_ICR_HIGH, *(volatile uint32_t *)(LAPIC + LAPIC_ID) & 0xff000000);
    lapic_write(LAPIC_ICR, ICR_ASSERT | ICR_NMI);
}

static void drop(uint64_t *frame)
{
    (void)frame;
    lapic_write(LAPIC_EOI, 0);
}

void exits_drop_events(void)
{
    lapic_write(LAPIC_LVT_TIMER, LAPIC_MASKED | EXITS_VECTOR);
    lapic_write(LAPIC_INITIAL, 0);
    handlers64[EXITS_VECTOR] = (uintptr_t)drop;
    __asm__ volatile("sti; nop; cli" ::: "memory");
    handlers64[EXITS_VECTOR] = 0;
}

bool exits_has_monitor(void)
{
    return guest_has(1, 0, ECX, 31) && guest_cpuid(0x40000000, 0, EBX) == 0x70617254; /* "Trap" */
}

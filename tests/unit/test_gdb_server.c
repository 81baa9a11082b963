/* What gdb hears of the end of the guest that it lets run, and when. */
#include <string.h>

#include "tests/check.h"

#include "kernel/core/paging.h"
#include "kernel/core/smp.h"
#include "kernel/debug/debugger.h"
#include "kernel/debug/gdb_server.h"
#include "kernel/debug/post_mortem.h"
#include "kernel/debug/split.h"
#include "tests/fake/hw.h"

static struct config config;
static struct machine machine;
static struct monitor monitor;
static struct guest guest;
static struct serial_line *line;
static uint8_t room[16 * PAGE_SIZE] ALIGNED(PAGE_SIZE);
static const char *received;
static char sent[1024];
static size_t sent_length;
static void (*look)(void *context);
static void *looks_for;

enum status pages_alloc(struct pages *pages, uint64_t count, uint64_t alignment,
                        enum page_kind kind, uint16_t owner, hpa_t *base)
{
    (void)pages;
    (void)alignment;
    (void)kind;
    (void)owner;
    *base = HPA((uint64_t)(uintptr_t)room - PAGING_PHYSMAP);
    return count * PAGE_SIZE <= sizeof(room) ? STATUS_OK : ERR_NO_MEMORY;
}

enum status pages_free(struct pages *pages, hpa_t base, uint64_t count)
{
    (void)pages;
    (void)base;
    (void)count;
    return STATUS_OK;
}

struct debug_shell *debugger_shell_alone(struct monitor *of)
{
    (void)of;
    return NULL;
}

enum status debug_set_registers(struct vcpu *vcpu, const struct vcpu_registers *registers)
{
    (void)vcpu;
    (void)registers;
    return STATUS_OK;
}

enum status debug_access_msr(struct vcpu *vcpu, uint32_t msr, bool writes, uint64_t *value)
{
    (void)vcpu;
    (void)msr;
    (void)writes;
    (void)value;
    return ERR_UNSUPPORTED;
}

void guest_release(struct guest *of)
{
    (void)of;
}

void post_mortem_report(struct guest *of, enum vm_outcome outcome)
{
    (void)of;
    (void)outcome;
}

/* gdb has a line of its own. */
enum status split_open(struct split *split, enum link_number number, const char *name,
                       uint32_t size, const struct link_user *user)
{
    (void)split;
    (void)number;
    (void)name;
    (void)size;
    (void)user;
    return ERR_UNSUPPORTED;
}

size_t split_write(struct split *split, enum link_number number, const void *bytes, size_t count)
{
    (void)split;
    (void)number;
    (void)bytes;
    (void)count;
    return 0;
}

bool split_has_room(struct split *split, enum link_number number, size_t size)
{
    (void)split;
    (void)number;
    (void)size;
    return false;
}

enum status guest_start(struct guest *of, bool stands)
{
    (void)of;
    CHECK(stands);
    return ERR_BUSY;
}

enum status host_uart_init(struct host_uart *uart, uint16_t port)
{
    (void)uart;
    (void)port;
    return STATUS_OK;
}

void monitor_start_line(struct monitor *of, struct serial_line *its)
{
    (void)of;
    line = its;
}

void serial_line_init(struct serial_line *its, struct host_uart *uart)
{
    (void)its;
    (void)uart;
}

void serial_line_drain(struct serial_line *its)
{
    (void)its;
}

bool serial_line_has_room(struct serial_line *its)
{
    (void)its;
    return true;
}

size_t serial_line_read(struct serial_line *its, void *bytes, size_t count)
{
    (void)its;
    if (*received == 0 || count == 0)
        return 0;
    *(char *)bytes = *received++;
    return 1;
}

void serial_line_write(struct serial_line *its, const void *bytes, size_t count)
{
    (void)its;
    CHECK(sent_length + count < sizeof(sent));
    memcpy(sent + sent_length, bytes, count);
    sent_length += count;
    sent[sent_length] = 0;
}

void smp_on_wake(void (*hook)(void *context), void *context)
{
    look = hook;
    looks_for = context;
}

static void kick(struct vcpu *vcpu)
{
    (void)vcpu;
}

static void put(const char *bytes)
{
    received = bytes;
    line->input(line->context);
}

/* gdb is attached, and has the guest run. */
static void start(void)
{
    fake_hw_start();
    config = (struct config){.gdb = 0x2f8, .console = 0x3f8};
    machine.config = &config;
    monitor = (struct monitor){.machine = &machine, .guest = {&guest}, .guests = 1};
    memset(&guest, 0, sizeof(guest));
    guest.monitor = &monitor;
    guest.config = &config.vm[0];
    guest.vm.name = "guest";
    guest.vm.kick = kick;
    guest.vm.vcpu[0] = &guest.vcpu[0];
    guest.vm.vcpu_count = 1;
    guest.vcpu[0].vm = &guest.vm;
    guest.vcpu[0].backend = &guest.vmx_vcpu[0];
    CHECK_EQ(gdb_server_start(&monitor), STATUS_OK);
    put("$?#3f$c#63");
    CHECK(!vm_is_paused(&guest.vm));
}

static const char *heard(void)
{
    sent_length = 0;
    sent[0] = 0;
    look(looks_for);
    return sent;
}

/* Processor 0 is woken for many things, and a report takes its time. */
static void dies(void)
{
    start();
    guest.vm.outcome = VM_TRIPLE_FAULT;
    CHECK_STR(heard(), "");
    CHECK(gdb_server_attends(&guest));
    guest.vm.is_paused = guest.vcpu[0].stands = true;
    CHECK(strncmp(heard(), "$T0bthread:1;#", 14) == 0);
    put("$c#63");
    CHECK(!vm_is_paused(&guest.vm));
    CHECK_STR(heard(), ""); /* on its way to its end */
    guest.vcpu[0].stands = false;
    CHECK_STR(heard(), "");
    guest.is_over = true;
    CHECK(strncmp(heard(), "$W01#", 5) == 0);
    CHECK(!gdb_server_attends(&guest));
}

/* on-end = restart, and somebody's `start`. */
static void lives_again(void)
{
    start();
    guest.vm.outcome = VM_POWEROFF;
    CHECK_STR(heard(), "");
    guest.is_over = guest.starts_again = true;
    CHECK_STR(heard(), "");
    guest.vm.outcome = VM_RUNNING;
    guest.is_over = guest.starts_again = false;
    CHECK_STR(heard(), "");
    CHECK(gdb_server_attends(&guest));
    guest.vm.outcome = VM_POWEROFF;
    guest.is_over = true;
    CHECK(strncmp(heard(), "$W00#", 5) == 0);
}

/* What was never loaded neither stands nor is kept. */
static void is_lost(void)
{
    start();
    guest.vm.outcome = VM_STOPPED;
    guest.is_lost = true;
    CHECK_STR(heard(), "");
    guest.is_over = true;
    CHECK(strncmp(heard(), "$W01#", 5) == 0);
}

TEST_MAIN({"dies", dies}, {"lives_again", lives_again}, {"is_lost", is_lost})

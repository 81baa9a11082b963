#include "kernel/board_qemu.h"

#include "kernel/board.h"
#include "kernel/core/hw.h"
#include "kernel/core/log.h"
#include "kernel/vm/platform.h"

/* ---- What the devices do ------------------------------------------------------------------- */

static void end_by_debug_exit(void *context, uint32_t value)
{
    vm_stop(context, VM_DEBUG_EXIT, value);
}

static void power_off(void *context)
{
    vm_stop(context, VM_POWEROFF, 0);
}

/* The port has no status by which a guest could wait, so that its processor waits for the line, as
 * QEMU's does. The lock is free meanwhile, since the line's interrupt may need it. */
static bool put_and_wait(void *context, uint8_t byte)
{
    struct board *board = context;
    struct vm *vm = board->vm;
    while (!byte_sink_put(&board->said, byte)) {
        if (__atomic_load_n(&vm->vcpu[0]->requests, __ATOMIC_RELAXED) & VCPU_REQUEST_STOP)
            return false;
        spinlock_release(&vm->lock);
        hw_take_interrupts();
        hw_pause();
        spinlock_acquire(&vm->lock);
    }
    return true;
}

static void report_panic(void *context, uint8_t events)
{
    vm_panicked(context, events & PVPANIC_PANICKED);
}

static void watchdog_expired(void *context)
{
    struct board *board = context;
    struct vm *vm = board->vm;
    log_guest(&vm->log, "the watchdog has expired");
    switch (board->qemu.config->watchdog_action) {
    case CONFIG_WATCHDOG_RESET:
        vm_request_reset(vm, VM_WATCHDOG);
        return;
    case CONFIG_WATCHDOG_STOP:
        vm_stop(vm, VM_WATCHDOG, 0);
        return;
    case CONFIG_WATCHDOG_NMI:
        vcpu_raise_nmi(vm->vcpu[0]);
        return;
    case CONFIG_WATCHDOG_NONE:
        return;
    }
}

/* ---- Construction -------------------------------------------------------------------------- */

static INIT enum status init_debug_exit(struct board *board, const struct board_config *config)
{
    struct debug_exit *device = &board->qemu.debug_exit;
    if (!config->vm->has_debug_exit)
        return STATUS_OK;
    enum status status =
        debug_exit_init(device, DEBUG_EXIT_SIZE_DEFAULT, end_by_debug_exit, board->vm);
    return status == STATUS_OK ? debug_exit_attach(device, &board->vm->bus, config->vm->debug_exit)
                               : status;
}

static INIT enum status init_debug_console(struct board *board, const struct board_config *config)
{
    struct byte_sink sink = {put_and_wait, board};
    uint16_t port = config->vm->debug_console;
    return port != 0
               ? debug_console_attach(&board->qemu.debug_console, &sink, &board->vm->bus, port)
               : STATUS_OK;
}

static INIT enum status init_shutdown_port(struct board *board, const struct board_config *config)
{
    uint16_t port = config->vm->shutdown_port;
    return port != 0 ? shutdown_port_attach(&board->qemu.shutdown_port, &board->vm->bus, port,
                                            power_off, board->vm)
                     : STATUS_OK;
}

static INIT enum status init_testdev(struct board *board, const struct board_config *config)
{
    struct pc_testdev *testdev = &board->qemu.testdev;
    if (!config->vm->has_pc_testdev)
        return STATUS_OK;
    testdev->memory = config->testdev_memory;
    for (unsigned i = 0; i < PC_TESTDEV_LINE_COUNT; i++)
        if (i != PLATFORM_IRQ_CASCADE)
            testdev->line[i] = irq_router_line(&board->router, i);
    return pc_testdev_attach(testdev, &board->vm->bus);
}

static INIT enum status init_pvpanic(struct board *board, const struct board_config *config)
{
    return config->vm->has_pvpanic ? pvpanic_attach(&board->qemu.pvpanic, &board->vm->bus,
                                                    PLATFORM_PORT_PVPANIC, report_panic, board->vm)
                                   : STATUS_OK;
}

static INIT enum status init_watchdog(struct board *board, const struct board_config *config)
{
    struct vm *vm = board->vm;
    return config->vm->has_watchdog ? ib700_attach(&board->qemu.watchdog, &vm->bus, &vm->clock,
                                                   &vm->vcpu[0]->timers, watchdog_expired, board)
                                    : STATUS_OK;
}

static enum status init_fw_cfg(struct board *board, const struct board_config *config)
{
    return config->vm->has_fw_cfg ? fw_cfg_attach(&board->qemu.fw_cfg, &board->vm->bus) : STATUS_OK;
}

static const struct {
    const char *what;
    enum status (*init)(struct board *board, const struct board_config *config);
} devices[] INIT_CONST = {
    {"debug-exit port (is it another device's?)", init_debug_exit},
    {"debug-console port (is it another device's?)", init_debug_console},
    {"shutdown-port (is it another device's?)", init_shutdown_port},
    {"pc-testdev (are its ports another device's?)", init_testdev},
    {"pvpanic", init_pvpanic},
    {"watchdog", init_watchdog},
    {"fw-cfg (are its ports another device's?)", init_fw_cfg},
};

INIT enum status board_qemu_init(struct board *board, const struct board_config *config,
                                 const char **what)
{
    board->qemu.config = config->vm;
    for (size_t i = 0; i < ARRAY_SIZE(devices); i++) {
        *what = devices[i].what;
        enum status status = devices[i].init(board, config);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

void board_qemu_reset(struct board_qemu *qemu)
{
    shutdown_port_reset(&qemu->shutdown_port);
    if (qemu->config->has_pc_testdev)
        pc_testdev_reset(&qemu->testdev);
    if (qemu->config->has_watchdog)
        ib700_reset(&qemu->watchdog);
    fw_cfg_reset(&qemu->fw_cfg);
}

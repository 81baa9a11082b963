/*
 * The small devices that QEMU and Bochs have for test programs, each there only if the guest's
 * configuration asks for it. Everything runs with the VM's device lock held.
 */
#pragma once

#include "drivers/model/debug_console.h"
#include "drivers/model/debug_exit.h"
#include "drivers/model/fw_cfg.h"
#include "drivers/model/ib700.h"
#include "drivers/model/pc_testdev.h"
#include "drivers/model/pvpanic.h"
#include "drivers/model/shutdown_port.h"

struct board;
struct board_config;

struct board_qemu {
    const struct config_vm *config;
    struct debug_exit debug_exit;
    struct debug_console debug_console;
    struct shutdown_port shutdown_port;
    struct pc_testdev testdev;
    struct pvpanic pvpanic;
    struct ib700 watchdog;
    struct fw_cfg fw_cfg; /* filled before board_qemu_init */
};

/* Builds those devices of *board that its configuration names, when interrupt controllers and
 * terminal are there. On an error *what names the device. */
enum status MUST_CHECK board_qemu_init(struct board *board, const struct board_config *config,
                                       const char **what);

void board_qemu_reset(struct board_qemu *qemu);

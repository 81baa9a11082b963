#include "drivers/host/power.h"

#include "kernel/core/bits.h"
#include "kernel/core/hw.h"
#include "kernel/core/log.h"
#include "kernel/core/paging.h"
#include "kernel/core/panic.h"
#include "kernel/core/time.h"

/* ACPI Specification: PM1 Control Registers, Sleep Control Register. */
#define PM1_SCI_EN BIT(0)
#define PM1_SLP_TYP(type) ((uint32_t)(type) << 10)
#define PM1_SLP_TYP_MASK MASK(12, 10)
#define PM1_SLP_EN BIT(13)
#define SLEEP_CONTROL_TYP(type) ((uint32_t)(type) << 2)
#define SLEEP_CONTROL_EN BIT(5)

#define BOCHS_SHUTDOWN_PORT 0x8900
#define RESET_CONTROL_PORT 0xcf9
#define RESET_CONTROL_HARD 0x02 /* a system reset, at the change of bit 2 */
#define RESET_CONTROL_NOW 0x06
#define KEYBOARD_STATUS 0x64
#define KEYBOARD_INPUT_FULL 0x02
#define KEYBOARD_PULSE_RESET 0xfe
#define PCI_ADDRESS 0xcf8
#define PCI_DATA 0xcfc

#define TRY_US 500000
#define ACPI_MODE_US 3000000

static INIT volatile uint8_t *map_register(const struct acpi_register *reg)
{
    if (reg->address == 0 || reg->space != ACPI_SPACE_MEMORY)
        return NULL;
    return paging_map_device(HPA(reg->address), 4, MAP_UC | MAP_WRITE);
}

INIT void power_init(struct power *power, const struct acpi *acpi)
{
    *power = (struct power){.acpi = acpi,
                            .pm1a = map_register(&acpi->pm1a_control),
                            .pm1b = map_register(&acpi->pm1b_control),
                            .sleep = map_register(&acpi->sleep_control),
                            .reset = map_register(&acpi->reset)};
}

static bool is_port(const struct acpi_register *reg)
{
    return reg->address != 0 && reg->space == ACPI_SPACE_PORT && reg->address <= UINT16_MAX;
}

static uint32_t read_pm1(const struct acpi_register *reg, const volatile uint8_t *mapped)
{
    if (mapped != NULL)
        return *(const volatile uint16_t *)mapped;
    return is_port(reg) ? hw_inw((uint16_t)reg->address) : 0;
}

static void write_pm1(const struct acpi_register *reg, volatile uint8_t *mapped, uint32_t value)
{
    if (mapped != NULL)
        *(volatile uint16_t *)mapped = (uint16_t)value;
    else if (is_port(reg))
        hw_outw((uint16_t)reg->address, (uint16_t)value);
}

static void write_byte(const struct acpi_register *reg, volatile uint8_t *mapped, uint8_t value)
{
    if (mapped != NULL)
        *mapped = value;
    else if (is_port(reg))
        hw_outb((uint16_t)reg->address, value);
}

/* The firmware obeys PM1 only in ACPI mode, which is turned on here where it was not. */
static void enter_acpi_mode(const struct power *power)
{
    const struct acpi *acpi = power->acpi;
    if (acpi->smi_command == 0 || acpi->smi_command > UINT16_MAX || acpi->acpi_enable == 0 ||
        (read_pm1(&acpi->pm1a_control, power->pm1a) & PM1_SCI_EN))
        return;
    hw_outb((uint16_t)acpi->smi_command, acpi->acpi_enable);
    for (uint64_t us = 0; us < ACPI_MODE_US; us += 100) {
        if (read_pm1(&acpi->pm1a_control, power->pm1a) & PM1_SCI_EN)
            return;
        time_busy_wait_us(100);
    }
}

static void sleep_by(const struct acpi_register *reg, volatile uint8_t *mapped, uint8_t type)
{
    uint32_t value = read_pm1(reg, mapped) & (uint32_t) ~(PM1_SLP_TYP_MASK | PM1_SLP_EN);
    value |= PM1_SLP_TYP(type & 7);
    write_pm1(reg, mapped, value);
    write_pm1(reg, mapped, value | (uint32_t)PM1_SLP_EN);
}

static void enter_s5(const struct power *power)
{
    const struct acpi *acpi = power->acpi;
    if (!acpi->has_s5)
        return;
    if (acpi->sleep_control.address != 0) {
        write_byte(&acpi->sleep_control, power->sleep,
                   (uint8_t)(SLEEP_CONTROL_TYP(acpi->s5_typ_a & 7) | SLEEP_CONTROL_EN));
    } else {
        enter_acpi_mode(power);
        /* B first: the machine may be gone after A. */
        if (acpi->pm1b_control.address != 0)
            sleep_by(&acpi->pm1b_control, power->pm1b, acpi->s5_typ_b);
        sleep_by(&acpi->pm1a_control, power->pm1a, acpi->s5_typ_a);
    }
    time_busy_wait_us(TRY_US);
}

void power_off(const struct power *power)
{
    hw_cli();
    log_flush();
    if (power->acpi->present)
        enter_s5(power);
    else
        for (const char *word = "Shutdown"; *word != '\0'; word++)
            hw_outb(BOCHS_SHUTDOWN_PORT, (uint8_t)*word);
    log_info("this machine cannot be turned off by software; it is safe to do it by hand");
    log_flush();
    panic_halt();
}

/* ACPI Specification: Reset Register. In PCI configuration space: device in bits 47:32, function
 * in 31:16, register in 15:0, on bus 0. */
static void write_reset_register(const struct power *power)
{
    const struct acpi_register *reg = &power->acpi->reset;
    if (reg->address == 0)
        return;
    if (reg->space == ACPI_SPACE_PCI) {
        uint32_t device = bits_get(reg->address, 36, 32), function = bits_get(reg->address, 18, 16);
        uint32_t offset = bits_get(reg->address, 7, 0);
        hw_outl(PCI_ADDRESS, 0x80000000u | device << 11 | function << 8 | (offset & ~3u));
        hw_outb((uint16_t)(PCI_DATA + (offset & 3)), power->acpi->reset_value);
    } else {
        write_byte(reg, power->reset, power->acpi->reset_value);
    }
    time_busy_wait_us(TRY_US);
}

static void pulse_reset_port(void)
{
    hw_outb(RESET_CONTROL_PORT, RESET_CONTROL_HARD);
    time_busy_wait_us(50);
    hw_outb(RESET_CONTROL_PORT, RESET_CONTROL_NOW);
    time_busy_wait_us(TRY_US);
}

static void pulse_keyboard_controller(void)
{
    for (unsigned i = 0; i < 1000 && (hw_inb(KEYBOARD_STATUS) & KEYBOARD_INPUT_FULL); i++)
        time_busy_wait_us(10);
    hw_outb(KEYBOARD_STATUS, KEYBOARD_PULSE_RESET);
    time_busy_wait_us(TRY_US);
}

void power_reboot(const struct power *power)
{
    static const struct descriptor_pointer no_idt = {0, 0};
    hw_cli();
    log_flush();
    write_reset_register(power);
    pulse_reset_port();
    pulse_keyboard_controller();
    hw_lidt(&no_idt);
    __builtin_trap(); /* no handler: a triple fault */
}

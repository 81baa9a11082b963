#include "drivers/model/pic.h"

#include "drivers/model/byte_port.h"
#include "kernel/core/bits.h"

#define ICW1_SELECT BIT(4) /* a write to the even port that begins an initialisation */
#define ICW1_SINGLE BIT(1)
#define ICW1_IC4 BIT(0)

#define ICW4_SPECIAL_FULLY_NESTED BIT(4)
#define ICW4_AUTO_EOI BIT(1)

#define OCW3_SELECT BIT(3) /* ICW1_SELECT clear */
#define OCW3_ESMM BIT(6)
#define OCW3_SMM BIT(5)
#define OCW3_POLL BIT(2)
#define OCW3_READ BIT(1)
#define OCW3_READ_ISR BIT(0)

#define POLL_INTERRUPT BIT(7)
#define NO_INPUT (-1)
#define SPURIOUS_INPUT 7

/* The inputs that can be level triggered: not the timer, the keyboard, the cascade, the RTC and the
 * coprocessor. */
static const uint8_t elcr_writable[2] = {0xf8, 0xde};

static bool is_master(const struct pic_chip *chip)
{
    return chip == &chip->pic->chip[0];
}

static bool is_cascaded(const struct pic *pic)
{
    return !(pic->chip[0].icw1 & ICW1_SINGLE);
}

/* ---- Priorities ----------------------------------------------------------------------------- */

/* 0 for the input with the highest priority in set, to 7; 8 where set is empty. */
static unsigned priority_of(const struct pic_chip *chip, uint8_t set)
{
    unsigned rotated = (set >> chip->top) | (set << (8 - chip->top));
    return (unsigned)__builtin_ctz(rotated | 0x100);
}

static int input_at(const struct pic_chip *chip, unsigned priority)
{
    return priority < 8 ? (int)((priority + chip->top) & 7) : NO_INPUT;
}

/* In special mask mode, what is masked does not count as in service. */
static uint8_t serving(const struct pic_chip *chip)
{
    return chip->special_mask ? chip->isr & (uint8_t)~chip->imr : chip->isr;
}

/* The input whose request goes out now. 8259A: Fully Nested Mode; Special Fully Nested Mode, in
 * which the slave may interrupt its own service. */
static int request(const struct pic_chip *chip)
{
    uint8_t unmasked = chip->irr & (uint8_t)~chip->imr;
    if (unmasked == 0 || chip->expects != PIC_READY)
        return NO_INPUT;
    unsigned wanted = priority_of(chip, unmasked);
    unsigned served = priority_of(chip, serving(chip));
    int input = input_at(chip, wanted);
    bool again = wanted == served && input == PIC_CASCADE && is_master(chip) &&
                 (chip->icw4 & ICW4_SPECIAL_FULLY_NESTED);
    return wanted < served || again ? input : NO_INPUT;
}

/* The slave's request is an input of the master, and the master's the output. */
static void update(struct pic *pic)
{
    struct pic_chip *master = &pic->chip[0];
    if (is_cascaded(pic) && request(&pic->chip[1]) != NO_INPUT)
        master->irr |= BIT(PIC_CASCADE);
    else
        master->irr &= (uint8_t)~BIT(PIC_CASCADE);
    bool level = request(master) != NO_INPUT;
    if (level == pic->output_level)
        return;
    pic->output_level = level;
    irq_line_set(&pic->output, level);
}

/* ---- Inputs and acknowledgement ------------------------------------------------------------- */

/* An edge is latched until it is acknowledged; a level is the request itself. */
void pic_set_line(void *controller, unsigned input, bool level)
{
    struct pic *pic = controller;
    if (input >= PIC_INPUTS || input == PIC_CASCADE)
        return;
    struct pic_chip *chip = &pic->chip[input / 8];
    uint8_t bit = (uint8_t)BIT(input % 8);
    bool rising = level && !(chip->lines & bit);
    chip->lines = level ? chip->lines | bit : chip->lines & (uint8_t)~bit;
    if (rising)
        chip->irr |= bit;
    else if (!level && (chip->elcr & bit))
        chip->irr &= (uint8_t)~bit;
    update(pic);
}

static void rotate_below(struct pic_chip *chip, unsigned input)
{
    chip->top = (input + 1) & 7;
}

static void take(struct pic_chip *chip, unsigned input)
{
    uint8_t bit = (uint8_t)BIT(input);
    chip->irr &= (uint8_t)~bit | chip->elcr;
    if (!(chip->icw4 & ICW4_AUTO_EOI))
        chip->isr |= bit;
    else if (chip->rotate_on_auto_eoi)
        rotate_below(chip, input);
}

static uint8_t acknowledge_chip(struct pic_chip *chip, int input)
{
    if (input == NO_INPUT)
        return chip->base | SPURIOUS_INPUT;
    take(chip, (unsigned)input);
    return (uint8_t)(chip->base | input);
}

uint8_t pic_acknowledge(struct pic *pic)
{
    struct pic_chip *master = &pic->chip[0], *slave = &pic->chip[1];
    int input = request(master);
    uint8_t vector = acknowledge_chip(master, input);
    if (input == PIC_CASCADE && is_cascaded(pic))
        vector = acknowledge_chip(slave, request(slave));
    if (pic->output_level) {
        pic->output_level = false;
        irq_line_set(&pic->output, false);
    }
    update(pic);
    return vector;
}

/* ---- Command words -------------------------------------------------------------------------- */

static void write_icw1(struct pic_chip *chip, uint8_t value)
{
    chip->icw1 = value;
    chip->irr = chip->lines & chip->elcr; /* edges must rise anew */
    chip->imr = 0;
    chip->isr = 0;
    chip->top = 0;
    chip->special_mask = false;
    chip->read_isr = false;
    chip->poll = false;
    chip->rotate_on_auto_eoi = false;
    chip->icw4 = 0;
    chip->expects = PIC_ICW2;
}

static void write_next_icw(struct pic_chip *chip, uint8_t value)
{
    uint8_t after_icw3 = chip->icw1 & ICW1_IC4 ? PIC_ICW4 : PIC_READY;
    switch (chip->expects) {
    case PIC_ICW2:
        chip->base = value & 0xf8;
        chip->expects = chip->icw1 & ICW1_SINGLE ? after_icw3 : PIC_ICW3;
        break;
    case PIC_ICW3:
        chip->icw3 = value;
        chip->expects = after_icw3;
        break;
    default:
        chip->icw4 = value;
        chip->expects = PIC_READY;
        break;
    }
}

/* 8259A: Operation Command Word 2: bits 7 to 5 are rotate, specific, EOI. */
static void write_ocw2(struct pic_chip *chip, uint8_t value)
{
    bool rotate = value & BIT(7), specific = value & BIT(6), eoi = value & BIT(5);
    int input = specific ? value & 7 : input_at(chip, priority_of(chip, serving(chip)));
    if (!eoi && !specific) {
        chip->rotate_on_auto_eoi = rotate;
        return;
    }
    if (input == NO_INPUT)
        return;
    if (eoi)
        chip->isr &= (uint8_t)~BIT(input);
    if (rotate) /* without EOI: the Set Priority command */
        rotate_below(chip, (unsigned)input);
}

static void write_ocw3(struct pic_chip *chip, uint8_t value)
{
    if (value & OCW3_ESMM)
        chip->special_mask = value & OCW3_SMM;
    if (value & OCW3_POLL)
        chip->poll = true;
    else if (value & OCW3_READ)
        chip->read_isr = value & OCW3_READ_ISR;
}

static void write_port(void *device, unsigned port, uint8_t value)
{
    struct pic_chip *chip = device;
    if (port == 0) {
        if (value & ICW1_SELECT)
            write_icw1(chip, value);
        else if (value & OCW3_SELECT)
            write_ocw3(chip, value);
        else
            write_ocw2(chip, value);
    } else if (chip->expects != PIC_READY) {
        write_next_icw(chip, value);
    } else {
        chip->imr = value;
    }
    update(chip->pic);
}

/* 8259A: Poll Command: the read is the acknowledgement. */
static uint8_t read_poll(struct pic_chip *chip)
{
    int input = request(chip);
    chip->poll = false;
    if (input == NO_INPUT)
        return 0;
    take(chip, (unsigned)input);
    update(chip->pic);
    return (uint8_t)(POLL_INTERRUPT | (unsigned)input);
}

static uint8_t read_port(void *device, unsigned port)
{
    struct pic_chip *chip = device;
    if (chip->poll)
        return read_poll(chip);
    if (port == 1)
        return chip->imr;
    return chip->read_isr ? chip->isr : chip->irr;
}

/* ---- Ports ---------------------------------------------------------------------------------- */

static uint64_t chip_read(void *device, uint64_t offset, unsigned size)
{
    return byte_port_read(device, offset, size, read_port);
}

static void chip_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    byte_port_write(device, offset, size, value, write_port);
}

static void write_elcr(struct pic_chip *chip, uint8_t value)
{
    chip->elcr = value & elcr_writable[is_master(chip) ? 0 : 1];
#ifndef PLANTED_BUG_PIC
    chip->irr = (chip->irr & (uint8_t)~chip->elcr) | (chip->lines & chip->elcr);
#endif
}

void pic_set_elcr(struct pic *pic, uint16_t elcr)
{
    write_elcr(&pic->chip[0], (uint8_t)elcr);
    write_elcr(&pic->chip[1], (uint8_t)(elcr >> 8));
    update(pic);
}

static uint64_t elcr_read(void *device, uint64_t offset, unsigned size)
{
    const struct pic *pic = device;
    uint64_t both = pic->chip[0].elcr | (uint64_t)pic->chip[1].elcr << 8;
    return (both >> (8 * (offset & 1))) & bits_size_mask(size);
}

static void elcr_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct pic *pic = device;
    for (unsigned i = 0; i < size; i++)
        write_elcr(&pic->chip[(offset + i) & 1], (uint8_t)(value >> (8 * i)));
    update(pic);
}

const struct bus_ops pic_bus_ops = {chip_read, chip_write};
const struct bus_ops pic_elcr_ops = {elcr_read, elcr_write};

/* ---- Life ----------------------------------------------------------------------------------- */

void pic_reset(struct pic *pic)
{
    for (unsigned i = 0; i < 2; i++)
        pic->chip[i] = (struct pic_chip){.pic = pic, .lines = pic->chip[i].lines, .imr = 0xff};
    update(pic);
}

INIT void pic_init(struct pic *pic, struct irq_line output)
{
    *pic = (struct pic){.output = output};
    pic_reset(pic);
}

INIT enum status pic_attach(struct pic *pic, struct bus *bus)
{
    static const uint16_t port[2] = {PIC_MASTER_PORT, PIC_SLAVE_PORT};
    for (unsigned i = 0; i < 2; i++) {
        enum status status = bus_add(bus, BUS_PORT, port[i], 2, &pic_bus_ops, &pic->chip[i]);
        if (status != STATUS_OK)
            return status;
    }
    return bus_add(bus, BUS_PORT, PIC_ELCR_PORT, 2, &pic_elcr_ops, pic);
}

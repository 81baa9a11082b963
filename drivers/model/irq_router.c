#include "drivers/model/irq_router.h"

#include "kernel/core/panic.h"

#define PIC_PIN 0   /* the I/O APIC's pin for the PIC's output */
#define TIMER_PIN 2 /* and the one for ISA IRQ 0 */

static unsigned pin_of(unsigned line)
{
    return line == 0 ? TIMER_PIN : line;
}

/* Counts a line in or out at its PIC input; the input follows the first and the last. */
static void drive_pic(struct irq_router *router, unsigned line, bool level)
{
    unsigned input = router->pic_input[line];
    if (input == IRQ_ROUTER_NO_INPUT)
        return;
    if (level && router->pic_asserted[input]++ == 0)
        pic_set_line(router->pic, input, true);
    else if (!level && --router->pic_asserted[input] == 0)
        pic_set_line(router->pic, input, false);
}

static void set_source(void *context, unsigned index, bool level)
{
    struct irq_router *router = context;
    struct irq_source *source = &router->source[index];
    if (source->level == level)
        return;
    source->level = level;
    uint16_t *asserted = &router->asserted[source->line];
    *asserted += level ? 1 : -1;
    if (*asserted != (level ? 1 : 0))
        return;
    drive_pic(router, source->line, level);
    ioapic_set_line(router->ioapic, pin_of(source->line), level);
}

static void set_intr(void *context, unsigned input, bool level)
{
    struct irq_router *router = context;
    apic_fabric_set_lint(router->fabric, input, level);
    ioapic_set_line(router->ioapic, PIC_PIN, level);
}

INIT void irq_router_init(struct irq_router *router, struct apic_fabric *fabric, struct pic *pic,
                          struct ioapic *ioapic)
{
    *router = (struct irq_router){.fabric = fabric, .pic = pic, .ioapic = ioapic};
    for (unsigned line = 0; line < IRQ_ROUTER_LINES; line++)
        router->pic_input[line] = line < PIC_INPUTS ? (uint8_t)line : IRQ_ROUTER_NO_INPUT;
}

INIT struct irq_line irq_router_line(struct irq_router *router, unsigned line)
{
    ASSERT(line < IRQ_ROUTER_LINES && line != PIC_CASCADE);
    ASSERT(router->sources < IRQ_ROUTER_SOURCES);
    unsigned index = router->sources++;
    router->source[index] = (struct irq_source){.line = (uint8_t)line};
    return (struct irq_line){set_source, router, index};
}

INIT struct irq_line irq_router_intr(struct irq_router *router)
{
    return (struct irq_line){set_intr, router, 0};
}

void irq_router_route_pirq(struct irq_router *router, unsigned pirq, uint8_t input)
{
    unsigned line = IRQ_ROUTER_FIRST_PIRQ + pirq;
    if (pirq >= IRQ_ROUTER_LINES - IRQ_ROUTER_FIRST_PIRQ)
        return;
    if (input <= PIC_CASCADE || input >= PIC_INPUTS)
        input = IRQ_ROUTER_NO_INPUT;
#ifndef PLANTED_BUG_IRQ_ROUTER /* for the fuzzer's own test */
    if (router->asserted[line] > 0)
        drive_pic(router, line, false);
#endif
    router->pic_input[line] = input;
    if (router->asserted[line] > 0)
        drive_pic(router, line, true);
}

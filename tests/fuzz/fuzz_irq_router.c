/* Any sequence of lines raised and lowered and of PIRQ routes, against a count made afresh. */
#include "tests/fuzz/fuzz.h"
#include "tests/unit/apic_world.h"

#define SOURCES 40u

static struct world world;

struct source {
    struct irq_line wire;
    unsigned line;
    bool level;
};

static struct source source[SOURCES];
static uint8_t pirq_input[8];

static unsigned pic_input_of(unsigned line)
{
    return line < PIC_INPUTS ? line : pirq_input[line - IRQ_ROUTER_FIRST_PIRQ];
}

/* What the two controllers must see, from the levels of all sources. */
static void check(void)
{
    uint32_t pins = 0, inputs = 0;
    for (unsigned i = 0; i < SOURCES; i++) {
        if (!source[i].level)
            continue;
        pins |= 1u << (source[i].line == 0 ? 2 : source[i].line);
        unsigned input = pic_input_of(source[i].line);
        if (input != IRQ_ROUTER_NO_INPUT)
            inputs |= 1u << input;
    }
    uint32_t of_pic = world.pic.chip[0].lines | (uint32_t)world.pic.chip[1].lines << 8;
    REQUIRE((world.ioapic.lines & ~1u) == pins);
    REQUIRE((of_pic & ~(1u << PIC_CASCADE)) == inputs);
    REQUIRE((world.ioapic.lines & 1) == world.pic.output_level);
    REQUIRE(world.cpu[0].lapic.lint[0] == world.pic.output_level);
}

static void start(void)
{
    REQUIRE(world_make(&world, 1));
    apic_enable(&world, 0);
    pic_program(&world, 1);
    for (unsigned i = 0; i < SOURCES; i++) {
        unsigned line = i % IRQ_ROUTER_LINES == PIC_CASCADE ? 5 : i % IRQ_ROUTER_LINES;
        source[i] = (struct source){irq_router_line(&world.router, line), line, false};
    }
    memset(pirq_input, IRQ_ROUTER_NO_INPUT, sizeof(pirq_input));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t ports[] = {0x20, 0x21, 0xa0, 0xa1};
    start();
    for (; size >= 2; data += 2, size -= 2) {
        uint8_t command = data[0], operand = data[1];
        switch (command & 3) {
        case 0:
        case 1: {
            struct source *wire = &source[operand % SOURCES];
            wire->level = (command & 4) != 0;
            irq_line_set(&wire->wire, wire->level);
            break;
        }
        case 2: {
            unsigned pirq = command >> 2 & 15;
            irq_router_route_pirq(&world.router, pirq, operand);
            if (pirq < 8)
                pirq_input[pirq] =
                    operand <= PIC_CASCADE || operand >= PIC_INPUTS ? IRQ_ROUTER_NO_INPUT : operand;
            break;
        }
        default:
            if ((command & 0x80) != 0)
                pic_acknowledge(&world.pic);
            else
                pic_put(&world, ports[command >> 2 & 3], operand);
        }
        check();
    }
    return 0;
}

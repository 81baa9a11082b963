#include "drivers/host/pic.h"

#include "kernel/core/hw.h"

/* Intel 8259A: Initialization Command Words. */
#define MASTER_COMMAND 0x20
#define MASTER_DATA 0x21
#define SLAVE_COMMAND 0xa0
#define SLAVE_DATA 0xa1
#define ICW1_INITIALISE 0x11 /* edge, cascaded, ICW4 follows */
#define ICW4_8086 0x01
#define MASTER_VECTOR 0x20 /* 0x20 to 0x2f: never handed out by irq_allocate */
#define SLAVE_VECTOR 0x28
#define CASCADE_INPUT 2

void host_pic_disable(void)
{
    static const struct {
        uint16_t port;
        uint8_t value;
    } writes[] = {
        {MASTER_COMMAND, ICW1_INITIALISE},
        {SLAVE_COMMAND, ICW1_INITIALISE},
        {MASTER_DATA, MASTER_VECTOR},
        {SLAVE_DATA, SLAVE_VECTOR},
        {MASTER_DATA, 1 << CASCADE_INPUT},
        {SLAVE_DATA, CASCADE_INPUT},
        {MASTER_DATA, ICW4_8086},
        {SLAVE_DATA, ICW4_8086},
        {MASTER_DATA, 0xff},
        {SLAVE_DATA, 0xff},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(writes); i++)
        hw_outb(writes[i].port, writes[i].value);
}

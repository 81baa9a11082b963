/* The serial line and the command line. */
#include "tests/guests/fuzz/guest.h"

extern uint64_t start_info; /* hvm_start_info */

/* Between looks at the line, each of which is an exit. */
#define POLL_TICKS 2000

static void put_char(char c)
{
    while ((inb(COM1 + 5) & 0x20) == 0)
        for (uint64_t start = rdtsc(); rdtsc() - start < POLL_TICKS;)
            ;
    outb(COM1, (uint8_t)c);
}

void put(const char *text)
{
    while (*text != 0)
        put_char(*text++);
}

void put_number(uint64_t number)
{
    char digits[21];
    unsigned at = sizeof(digits) - 1;
    digits[at] = 0;
    do
        digits[--at] = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    put(&digits[at]);
}

void put_hex(uint64_t number)
{
    put("0x");
    for (int shift = 60; shift >= 0; shift -= 4)
        if (number >> shift != 0 || shift == 0)
            put_char("0123456789abcdef"[number >> shift & 15]);
}

void report(const char *name, bool ok, const char *what, uint64_t got)
{
    put(ok ? "ok " : "not ok ");
    put(name);
    if (!ok) {
        put(": ");
        put(what);
        put(": got ");
        put_hex(got);
    }
    put("\n");
}

void serial_drain_line(void)
{
    while ((inb(COM1 + 5) & 0x40) == 0)
        ;
}

/* hvm_start_info: the command line's address stands at 24. */
static const char *command_line(void)
{
    const uint64_t *info = (const uint64_t *)start_info;
    return info[3] != 0 ? (const char *)info[3] : "";
}

static const char *behind(const char *text, const char *name)
{
    while (*name != 0)
        if (*text++ != *name++)
            return NULL;
    return *text == '=' ? text + 1 : NULL;
}

uint64_t option(const char *name, uint64_t otherwise)
{
    const char *text = command_line();
    while (*text != 0) {
        const char *value = behind(text, name);
        if (value != NULL) {
            uint64_t number = 0;
            while (*value >= '0' && *value <= '9')
                number = number * 10 + (uint64_t)(*value++ - '0');
            return number;
        }
        while (*text != 0 && *text != ' ')
            text++;
        while (*text == ' ')
            text++;
    }
    return otherwise;
}

/* The keyboard controller, its keyboard, and port 0x92. */
#include "drivers/model/i8042.h"
#include "tests/check.h"
#include "tests/fake/hands.h"

struct rig {
    struct bus bus;
    struct pin kbd, aux;
    struct i8042 kbc;
    unsigned resets, a20_calls;
    bool a20;
};

static void reset(void *context)
{
    ((struct rig *)context)->resets++;
}

static void set_a20(void *context, bool enabled)
{
    struct rig *rig = context;
    rig->a20_calls++;
    rig->a20 = enabled;
}

static void rig_init(struct rig *rig)
{
    memset(rig, 0, sizeof(*rig));
    struct i8042_config config = {
        .keyboard_irq = pin_line(&rig->kbd, 1),
        .aux_irq = pin_line(&rig->aux, 12),
        .reset = reset,
        .set_a20 = set_a20,
        .context = rig,
    };
    i8042_init(&rig->kbc, &config);
    CHECK_EQ(i8042_attach(&rig->kbc, &rig->bus), STATUS_OK);
}

static uint8_t in(struct rig *rig, unsigned port)
{
    return (uint8_t)bus_read(&rig->bus, BUS_PORT, port, 1);
}

static void out(struct rig *rig, unsigned port, unsigned value)
{
    bus_write(&rig->bus, BUS_PORT, port, 1, value);
}

static void command(struct rig *rig, unsigned value)
{
    out(rig, 0x64, value);
}

static void parameter(struct rig *rig, unsigned cmd, unsigned value)
{
    out(rig, 0x64, cmd);
    out(rig, 0x60, value);
}

/* A byte must be there: it. */
#define CHECK_OUTPUT(rig, byte)                                                                    \
    do {                                                                                           \
        CHECK_EQ(in(rig, 0x64) & 1, 1);                                                            \
        CHECK_EQ(in(rig, 0x60), byte);                                                             \
    } while (0)

#define CHECK_SILENT(rig) CHECK_EQ(in(rig, 0x64) & 1, 0)

static void after_power_on(void)
{
    struct rig rig;
    rig_init(&rig);
    CHECK_EQ(in(&rig, 0x64), 0x14); /* self-test done, not locked, nothing there */
    command(&rig, 0x20);
    CHECK_EQ(in(&rig, 0x64), 0x1d);
    CHECK_OUTPUT(&rig, 0x65);
    CHECK_SILENT(&rig);
    CHECK_EQ(rig.a20_calls, 0);
    CHECK_EQ(in(&rig, 0x92), 0x02);
}

static void self_tests(void)
{
    struct rig rig;
    rig_init(&rig);
    parameter(&rig, 0x60, 0x00);
    CHECK_EQ(in(&rig, 0x64), 0x10);
    command(&rig, 0xaa);
    CHECK_OUTPUT(&rig, 0x55);
    CHECK_EQ(in(&rig, 0x64), 0x1c);
    command(&rig, 0xab);
    CHECK_OUTPUT(&rig, 0x00);
    command(&rig, 0xa9);
    CHECK_OUTPUT(&rig, 0x00);
    command(&rig, 0xc0);
    CHECK_OUTPUT(&rig, 0xa0);
    command(&rig, 0xe0);
    CHECK_OUTPUT(&rig, 0x00);
    CHECK_SILENT(&rig);
}

static void controller_memory(void)
{
    struct rig rig;
    rig_init(&rig);
    for (unsigned i = 1; i < 32; i++)
        parameter(&rig, 0x60 + i, i * 3);
    for (unsigned i = 1; i < 32; i++) {
        command(&rig, 0x20 + i);
        CHECK_OUTPUT(&rig, i * 3);
    }
    /* A second command takes the place of one that waits for its parameter. */
    command(&rig, 0x61);
    command(&rig, 0x62);
    out(&rig, 0x60, 0xab);
    CHECK_SILENT(&rig);
    command(&rig, 0x21);
    CHECK_OUTPUT(&rig, 3);
    command(&rig, 0x22);
    CHECK_OUTPUT(&rig, 0xab);
}

static void unknown_commands_are_ignored(void)
{
    struct rig rig;
    rig_init(&rig);
    for (unsigned c = 0; c < 256; c++) {
        bool known = (c >= 0x20 && c < 0x40) || (c >= 0x60 && c < 0x80) || c >= 0xa7;
        if (!known)
            command(&rig, c);
    }
    CHECK_SILENT(&rig);
    CHECK_EQ(rig.resets, 0);
}

/* What Linux's i8042 driver asks, in its order. */
static void linux_probes(void)
{
    struct rig rig;
    rig_init(&rig);
    CHECK_SILENT(&rig);
    command(&rig, 0x20);
    CHECK_OUTPUT(&rig, 0x65);
    CHECK(in(&rig, 0x64) & 0x10); /* else it warns of an active keylock */
    parameter(&rig, 0x60, 0x74);  /* both interfaces off, no interrupts */
    command(&rig, 0xaa);
    CHECK_OUTPUT(&rig, 0x55);
    parameter(&rig, 0x60, 0x74);
    /* The auxiliary interface loops. */
    parameter(&rig, 0xd3, 0x5a);
    CHECK_EQ(in(&rig, 0x64) & 0x21, 0x21);
    CHECK_OUTPUT(&rig, 0x5a);
    CHECK_EQ(in(&rig, 0x64) & 0x21, 0);
    command(&rig, 0xa8);
    command(&rig, 0x20);
    CHECK_OUTPUT(&rig, 0x54);
    command(&rig, 0xa7);
    command(&rig, 0x20);
    CHECK_OUTPUT(&rig, 0x74);
    /* Its interrupt comes. */
    parameter(&rig, 0x60, 0x56);
    parameter(&rig, 0xd3, 0xa5);
    CHECK(rig.aux.level);
    CHECK_EQ(rig.aux.input, 12);
    CHECK(!rig.kbd.level);
    CHECK_OUTPUT(&rig, 0xa5);
    CHECK(!rig.aux.level);
    /* No active multiplexing: the third byte would come back as its version. */
    parameter(&rig, 0xd3, 0xf0);
    CHECK_OUTPUT(&rig, 0xf0);
    parameter(&rig, 0xd3, 0x56);
    CHECK_OUTPUT(&rig, 0x56);
    parameter(&rig, 0xd3, 0xa4);
    CHECK_OUTPUT(&rig, 0xa4);
    /* Nobody at the auxiliary interface. */
    parameter(&rig, 0xd4, 0xf2);
    CHECK_EQ(in(&rig, 0x64) & 0x61, 0x61);
    CHECK_OUTPUT(&rig, 0xfe);
    CHECK_SILENT(&rig);
    /* Its atkbd driver. */
    parameter(&rig, 0x60, 0x47);
    rig.kbd.rises = 0;
    out(&rig, 0x60, 0xf2);
    CHECK(rig.kbd.level);
    CHECK_EQ(rig.kbd.input, 1);
    CHECK_OUTPUT(&rig, 0xfa);
    CHECK_OUTPUT(&rig, 0xab);
    CHECK_OUTPUT(&rig, 0x41); /* 0x83, translated */
    CHECK_EQ(rig.kbd.rises, 3);
    out(&rig, 0x60, 0xed);
    CHECK_OUTPUT(&rig, 0xfa);
    out(&rig, 0x60, 0x02);
    CHECK_OUTPUT(&rig, 0xfa);
    CHECK_EQ(rig.kbc.keyboard.leds, 2);
    out(&rig, 0x60, 0xf3);
    CHECK_OUTPUT(&rig, 0xfa);
    out(&rig, 0x60, 0x00);
    CHECK_OUTPUT(&rig, 0xfa);
    out(&rig, 0x60, 0xf4);
    CHECK_OUTPUT(&rig, 0xfa);
    CHECK_SILENT(&rig);
}

static void keyboard_commands(void)
{
    struct rig rig;
    rig_init(&rig);
    parameter(&rig, 0x60, 0x05); /* no translation */
    out(&rig, 0x60, 0xff);
    CHECK_OUTPUT(&rig, 0xfa);
    CHECK_OUTPUT(&rig, 0xaa);
    out(&rig, 0x60, 0xee);
    CHECK_OUTPUT(&rig, 0xee);
    out(&rig, 0x60, 0xf2);
    CHECK_OUTPUT(&rig, 0xfa);
    CHECK_OUTPUT(&rig, 0xab);
    CHECK_OUTPUT(&rig, 0x83);
    out(&rig, 0x60, 0xfe);
    CHECK_OUTPUT(&rig, 0x83);
    static const uint8_t sets[] = {1, 2};
    for (unsigned i = 0; i < 2; i++) {
        out(&rig, 0x60, 0xf0);
        CHECK_OUTPUT(&rig, 0xfa);
        out(&rig, 0x60, sets[i]);
        CHECK_OUTPUT(&rig, 0xfa);
        out(&rig, 0x60, 0xf0);
        CHECK_OUTPUT(&rig, 0xfa);
        out(&rig, 0x60, 0);
        CHECK_OUTPUT(&rig, 0xfa);
        CHECK_OUTPUT(&rig, sets[i]);
    }
    /* Set 3 is not offered; the parameter is asked for again. */
    out(&rig, 0x60, 0xf0);
    CHECK_OUTPUT(&rig, 0xfa);
    out(&rig, 0x60, 3);
    CHECK_OUTPUT(&rig, 0xfe);
    out(&rig, 0x60, 1);
    CHECK_OUTPUT(&rig, 0xfa);
    CHECK_EQ(rig.kbc.keyboard.set, 1);
    out(&rig, 0x60, 0xf6);
    CHECK_OUTPUT(&rig, 0xfa);
    CHECK_EQ(rig.kbc.keyboard.set, 2);
    /* A command instead of a parameter is a command. */
    out(&rig, 0x60, 0xed);
    CHECK_OUTPUT(&rig, 0xfa);
    out(&rig, 0x60, 0xee);
    CHECK_OUTPUT(&rig, 0xee);
    for (unsigned c = 0; c < 0xed; c++) {
        out(&rig, 0x60, c);
        CHECK_OUTPUT(&rig, 0xfe);
    }
    CHECK_SILENT(&rig);
}

static void keys_are_translated(void)
{
    static const struct {
        uint8_t set_2, set_1;
    } keys[] = {{0x76, 0x01}, {0x16, 0x02}, {0x45, 0x0b}, {0x66, 0x0e}, {0x0d, 0x0f}, {0x15, 0x10},
                {0x5a, 0x1c}, {0x14, 0x1d}, {0x1c, 0x1e}, {0x0e, 0x29}, {0x12, 0x2a}, {0x1a, 0x2c},
                {0x59, 0x36}, {0x11, 0x38}, {0x29, 0x39}, {0x58, 0x3a}, {0x05, 0x3b}, {0x83, 0x41},
                {0x09, 0x44}, {0x77, 0x45}, {0x7e, 0x46}, {0x75, 0x48}, {0x70, 0x52}, {0x71, 0x53},
                {0x78, 0x57}, {0x07, 0x58}, {0x61, 0x56}, {0x84, 0x54}};
    struct rig rig;
    rig_init(&rig);
    for (unsigned i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        CHECK(i8042_key(&rig.kbc, keys[i].set_2, false, true));
        CHECK(i8042_key(&rig.kbc, keys[i].set_2, true, false));
        CHECK_OUTPUT(&rig, keys[i].set_1);
        CHECK_OUTPUT(&rig, 0xe0);
        CHECK_OUTPUT(&rig, keys[i].set_1 | 0x80);
        CHECK_SILENT(&rig);
    }
    parameter(&rig, 0x60, 0x05);
    CHECK(i8042_key(&rig.kbc, 0x75, true, false));
    CHECK_OUTPUT(&rig, 0xe0);
    CHECK_OUTPUT(&rig, 0xf0);
    CHECK_OUTPUT(&rig, 0x75);
    out(&rig, 0x60, 0xf0);
    CHECK_OUTPUT(&rig, 0xfa);
    out(&rig, 0x60, 0x01);
    CHECK_OUTPUT(&rig, 0xfa);
    CHECK(i8042_key(&rig.kbc, 0x75, true, false));
    CHECK_OUTPUT(&rig, 0xe0);
    CHECK_OUTPUT(&rig, 0xc8);
    CHECK_SILENT(&rig);
}

/* No two keys of set 2 become the same key of set 1. */
static void translation_is_one_to_one(void)
{
    struct rig rig;
    rig_init(&rig);
    bool seen[256] = {false};
    for (unsigned code = 1; code < 0x80; code++) {
        CHECK(i8042_key(&rig.kbc, (uint8_t)code, false, true));
        uint8_t out_code = in(&rig, 0x60);
        CHECK(out_code < 0x80);
        if (code != 0x02 && code != 0x7f) /* share their codes with F7 and SysRq */
            CHECK(!seen[out_code]);
        seen[out_code] = true;
    }
}

static void a_full_keyboard_drops_whole_keys(void)
{
    struct rig rig;
    rig_init(&rig);
    parameter(&rig, 0x60, 0x05);
    unsigned taken = 0;
    while (i8042_key(&rig.kbc, 0x1c, true, false) && taken < 100)
        taken++;
    CHECK_EQ(taken, 11); /* 32 bytes, and one in the output buffer */
    for (unsigned i = 0; i < taken; i++) {
        CHECK_OUTPUT(&rig, 0xe0);
        CHECK_OUTPUT(&rig, 0xf0);
        CHECK_OUTPUT(&rig, 0x1c);
    }
    CHECK_SILENT(&rig);
    out(&rig, 0x60, 0xf5);
    CHECK_OUTPUT(&rig, 0xfa);
    CHECK(!i8042_key(&rig.kbc, 0x1c, false, true));
    CHECK_SILENT(&rig);
}

static void interface_off_holds_keys_back(void)
{
    struct rig rig;
    rig_init(&rig);
    command(&rig, 0xad);
    CHECK(i8042_key(&rig.kbc, 0x1c, false, true));
    CHECK_SILENT(&rig);
    CHECK(!rig.kbd.level);
    command(&rig, 0xae);
    CHECK(rig.kbd.level);
    CHECK_OUTPUT(&rig, 0x1e);
    command(&rig, 0xad);
    out(&rig, 0x60, 0xee); /* a byte for the keyboard switches it on */
    CHECK_OUTPUT(&rig, 0xee);
    command(&rig, 0x20);
    CHECK_OUTPUT(&rig, 0x65);
    /* A controller's answer goes before keys that wait. */
    command(&rig, 0xad);
    CHECK(i8042_key(&rig.kbc, 0x1c, false, true));
    command(&rig, 0x20);
    command(&rig, 0xae);
    CHECK_OUTPUT(&rig, 0x75);
    CHECK_OUTPUT(&rig, 0x1e);
}

static void interrupts_follow_the_command_byte(void)
{
    struct rig rig;
    rig_init(&rig);
    parameter(&rig, 0x60, 0x44);
    CHECK(i8042_key(&rig.kbc, 0x1c, false, true));
    CHECK(!rig.kbd.level);
    parameter(&rig, 0x60, 0x45);
    CHECK(rig.kbd.level);
    CHECK(i8042_key(&rig.kbc, 0x32, false, true));
    CHECK_EQ(rig.kbd.rises, 1);
    CHECK_OUTPUT(&rig, 0x1e);
    CHECK_EQ(rig.kbd.rises, 2);
    CHECK_OUTPUT(&rig, 0x30);
    CHECK(!rig.kbd.level);
    CHECK_EQ(in(&rig, 0x60), 0x30); /* the last byte stays to be read */
    CHECK_EQ(rig.aux.sets, 0);
}

static void output_buffer_commands(void)
{
    struct rig rig;
    rig_init(&rig);
    parameter(&rig, 0xd2, 0x76);
    CHECK_EQ(in(&rig, 0x64) & 0x21, 0x01);
    CHECK(rig.kbd.level);
    CHECK_OUTPUT(&rig, 0x76); /* not translated */
    command(&rig, 0xd0);
    CHECK_OUTPUT(&rig, 0xc3);
    parameter(&rig, 0xd3, 0x12);
    command(&rig, 0xd0);
    CHECK_OUTPUT(&rig, 0x12);
    CHECK_OUTPUT(&rig, 0xe3); /* taken while the auxiliary byte was there */
}

static void resets(void)
{
    struct rig rig;
    rig_init(&rig);
    command(&rig, 0xff);
    CHECK_EQ(rig.resets, 0);
    command(&rig, 0xfe);
    CHECK_EQ(rig.resets, 1);
    command(&rig, 0xf0);
    CHECK_EQ(rig.resets, 2);
    parameter(&rig, 0xd1, 0xdf);
    CHECK_EQ(rig.resets, 2);
    parameter(&rig, 0xd1, 0xde);
    CHECK_EQ(rig.resets, 3);
    out(&rig, 0x92, 0x02);
    CHECK_EQ(rig.resets, 3);
    out(&rig, 0x92, 0x03);
    CHECK_EQ(rig.resets, 4);
    CHECK_EQ(rig.a20_calls, 0);
}

static void a20(void)
{
    struct rig rig;
    rig_init(&rig);
    parameter(&rig, 0xd1, 0xdd);
    CHECK_EQ(rig.a20_calls, 1);
    CHECK(!rig.a20);
    CHECK_EQ(in(&rig, 0x92), 0x00);
    command(&rig, 0xd0);
    CHECK_OUTPUT(&rig, 0xc1);
    out(&rig, 0x92, 0x02);
    CHECK(rig.a20);
    command(&rig, 0xdd);
    CHECK(!rig.a20);
    command(&rig, 0xdf);
    CHECK(rig.a20);
    command(&rig, 0xdf);
    CHECK_EQ(rig.a20_calls, 4);
    out(&rig, 0x92, 0x00);
    i8042_reset(&rig.kbc);
    CHECK(rig.a20);
}

static void floods_are_bounded(void)
{
    struct rig rig;
    rig_init(&rig);
    for (unsigned i = 0; i < 1000; i++) {
        command(&rig, 0x20);
        out(&rig, 0x60, 0xff);
        out(&rig, 0x60, 0xf2);
        parameter(&rig, 0xd4, i & 0xff);
    }
    unsigned bytes = 0;
    while ((in(&rig, 0x64) & 1) && bytes < 1000) {
        in(&rig, 0x60);
        bytes++;
    }
    CHECK(bytes <= 2 * PS2_QUEUE_SIZE + 1);
    out(&rig, 0x60, 0xee);
    CHECK_OUTPUT(&rig, 0xee);
}

static void two_are_apart(void)
{
    struct rig a, b;
    rig_init(&a);
    rig_init(&b);
    CHECK(i8042_key(&a.kbc, 0x1c, false, true));
    CHECK_SILENT(&b);
    command(&b, 0xfe);
    CHECK_EQ(a.resets, 0);
    CHECK_EQ(b.resets, 1);
    i8042_reset(&a.kbc);
    CHECK(!a.kbd.level);
    CHECK_EQ(in(&a, 0x64), 0x14);
}

TEST_MAIN({"i8042: after power-on", after_power_on}, {"i8042: self-tests", self_tests},
          {"i8042: controller memory", controller_memory},
          {"i8042: unknown commands are ignored", unknown_commands_are_ignored},
          {"i8042: Linux probes", linux_probes}, {"i8042: keyboard commands", keyboard_commands},
          {"i8042: keys are translated", keys_are_translated},
          {"i8042: the translation is one to one", translation_is_one_to_one},
          {"i8042: a full keyboard drops whole keys", a_full_keyboard_drops_whole_keys},
          {"i8042: an interface that is off holds keys back", interface_off_holds_keys_back},
          {"i8042: interrupts follow the command byte", interrupts_follow_the_command_byte},
          {"i8042: output buffer commands", output_buffer_commands}, {"i8042: resets", resets},
          {"i8042: A20", a20}, {"i8042: floods are bounded", floods_are_bounded},
          {"i8042: two are apart", two_are_apart})

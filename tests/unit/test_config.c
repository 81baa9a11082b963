/* The configuration: what is read, and what each mistake is answered with. */
#include <stdlib.h>

#include "kernel/vm/config.h"
#include "tests/check.h"

static struct config config;
static char messages[8192];
static struct config_errors errors = {.text = messages, .size = sizeof(messages)};

/* The text in a heap block of its exact size, so that the sanitiser sees a byte too far. */
static enum status parse_bytes(const char *text, size_t size)
{
    char *copy = malloc(size == 0 ? 1 : size);
    memcpy(copy, text, size);
    enum status status = config_parse(&config, "c.conf", copy, size, &errors);
    free(copy);
    return status;
}

static enum status parse(const char *text)
{
    return parse_bytes(text, strlen(text));
}

static const char example[] = "[traprock]\n"
                              "console  = com1            # com1, com2, or an I/O port; 115200n8\n"
                              "loglevel = info\n"
                              "on-idle  = poweroff        # when the last guest has stopped\n"
                              "\n"
                              "[vm linux]\n"
                              "memory  = 256M             # K, M, G\n"
                              "kernel  = vmlinuz\n"
                              "initrd  = initramfs.cpio\n"
                              "cmdline = console=ttyS0\n"
                              "disk    = root.ext4,discard   # virtio-blk; ,ro or ,discard\n"
                              "on-reset = reset           # reset, stop\n"
                              "debug-exit = 0xf4          # the port of QEMU's isa-debug-exit\n";

static void qemu_devices_are_read(void)
{
    CHECK_EQ(parse("[vm a]\nkernel = k\n"), STATUS_OK);
    const struct config_vm *vm = &config.vm[0];
    CHECK_EQ(vm->debug_console | vm->shutdown_port, 0);
    CHECK(!vm->has_pc_testdev && !vm->has_pvpanic && !vm->has_watchdog);
    CHECK_EQ(vm->watchdog_action, CONFIG_WATCHDOG_RESET);
    CHECK_EQ(parse("[vm a]\nkernel = k\ndebug-console = 0xe9\nshutdown-port = 0x8900\n"
                   "pc-testdev = yes\npvpanic = yes\nwatchdog = ib700\nwatchdog-action = nmi\n"),
             STATUS_OK);
    CHECK_EQ(vm->debug_console, 0xe9);
    CHECK_EQ(vm->shutdown_port, 0x8900);
    CHECK(vm->has_pc_testdev && vm->has_pvpanic && vm->has_watchdog);
    CHECK_EQ(vm->watchdog_action, CONFIG_WATCHDOG_NMI);
    CHECK_EQ(parse("[vm a]\nkernel = k\nfw-cfg-file = opt/a b\nfw-cfg-file = opt/c \"d e\"\n"
                   "[vm b]\nkernel = b\nfw-cfg = yes\n"),
             STATUS_OK);
    CHECK(vm->has_fw_cfg && config.vm[1].has_fw_cfg);
    CHECK_EQ(vm->fw_file_count, 2);
    CHECK_STR(vm->fw_file[0].name, "opt/a");
    CHECK_STR(vm->fw_file[1].name, "opt/c");
    uint32_t line;
    CHECK_STR(config_file(&config, 1, &line), "b");
    CHECK_EQ(line, 3);
    CHECK_STR(config_file(&config, 2, &line), "d e");
    CHECK(config_file(&config, 3, &line) == NULL);
    CHECK_EQ(parse("[vm a]\nkernel = k\ndebug-exit-success = 0x10\ndebug-exit = 0xf4\n"),
             STATUS_OK);
    CHECK_EQ(vm->debug_exit_success, 16);
    CHECK_EQ(parse("[vm a]\nkernel = k\npvpanic = no\nwatchdog = no\n"), STATUS_OK);
    CHECK_EQ(vm->debug_exit_success, 0);
    CHECK(!vm->has_pvpanic && !vm->has_watchdog);
}

static void firmware_stands_for_a_kernel(void)
{
    uint32_t line;
    CHECK_EQ(parse("[vm a]\nfirmware = bios.bin\n"), STATUS_OK);
    CHECK_STR(config.vm[0].firmware, "bios.bin");
    CHECK(config.vm[0].has_fw_cfg);
    CHECK_STR(config_file(&config, 0, &line), "bios.bin");
    CHECK_EQ(line, 2);
    CHECK(config_file(&config, 1, &line) == NULL);
    CHECK_EQ(parse("[vm a]\nfirmware = /bios.bin\n"), ERR_INVALID);
    CHECK_EQ(parse("[vm a]\nfirmware = b\nkernel = k\ninitrd = i\ncmdline = c\n"), STATUS_OK);
}

/* What would be ignored in silence, in whichever order the keys stand. */
static void keys_that_mean_nothing_have_messages(void)
{
    static const struct {
        const char *keys, *message;
    } cases[] = {
        {"firmware = b\nformat = elf\n", "c.conf:3: [vm a]: format and entry say how a kernel"},
        {"entry = 32\nfirmware = b\n", "c.conf:2: [vm a]: format and entry say how a kernel"},
        {"firmware = b\ninitrd = i\n", "c.conf:3: [vm a]: an initrd goes with a kernel"},
        {"cmdline = c\nfirmware = b\n", "c.conf:2: [vm a]: a cmdline goes with a kernel"},
        {"firmware = b\nmodule = m x\n", "c.conf:3: [vm a]: firmware takes no modules"},
        {"kernel = k\nfirmware-vars = v\n", "c.conf:3: [vm a]: firmware-vars go with the code"},
        {"firmware = b\nfirmware-vars = /v\n", "c.conf:3: firmware-vars = /v: "},
        {"firmware = b\nfw-cfg = no\n", "c.conf:3: [vm a] has fw-cfg = no, and its firmware"},
        {"kernel = k\nfw-cfg = no\nfw-cfg-file = opt/a f\n",
         "c.conf:3: [vm a] has fw-cfg = no, and fw-cfg-file needs it"},
        {"kernel = k\nfw-cfg-file = opt/a f\nfw-cfg-file = opt/a g\n",
         "c.conf:4: [vm a] has a file opt/a of fw-cfg in line 3 already"},
        {"kernel = k\nwatchdog-action = stop\n", "c.conf:3: [vm a]: watchdog-action is what a"},
        {"kernel = k\nwatchdog = no\nwatchdog-action = nmi\n", "c.conf:4: [vm a]: watchdog-action"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char text[128];
        snprintf(text, sizeof(text), "[vm a]\n%s", cases[i].keys);
        CHECK_EQ(parse(text), ERR_INVALID);
        CHECK_EQ(errors.count, 1);
        CHECK(strncmp(messages, cases[i].message, strlen(cases[i].message)) == 0);
    }
}

static void qemu_devices_have_messages(void)
{
    static const char *const bad[][2] = {
        {"debug-console = 0", "an I/O port from 1 to 0xffff, for example 0xe9"},
        {"debug-console = 0x10000", "an I/O port from 1 to 0xffff, for example 0xe9"},
        {"shutdown-port = yes", "an I/O port from 1 to 0xffff, for example 0x8900"},
        {"pc-testdev = 1", "allowed are yes, no"},
        {"pvpanic = on", "allowed are yes, no"},
        {"fw-cfg = 0", "allowed are yes, no"},
        {"fw-cfg-file = opt/a", "allowed is NAME FILE"},
        {"fw-cfg-file = opt/a ../b", "'.' and '..' are not allowed"},
        {"fw-cfg-file = opt/org.example/a-name-that-is-longer-than-fifty-five-characters b",
         "a name has up to 55 characters"},
        {"debug-exit-success = 0x100000000\ndebug-exit = 1", "a value from 0 to 0xffffffff"},
        {"debug-exit-success = pass\ndebug-exit = 1", "a value from 0 to 0xffffffff"},
        {"debug-exit-success = 1",
         "[vm a]: debug-exit-success says which value of debug-exit passes"},
        {"watchdog = yes", "allowed are ib700, no"},
        {"watchdog-action = pause\nwatchdog = ib700", "allowed are reset, stop, nmi, none"},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        char text[128];
        snprintf(text, sizeof(text), "[vm a]\nkernel = k\n%s\n", bad[i][0]);
        CHECK_EQ(parse(text), ERR_INVALID);
        CHECK(strncmp(messages, "c.conf:3: ", 10) == 0);
        CHECK(strstr(messages, bad[i][1]) != NULL);
        CHECK_EQ(errors.count, 1);
    }
}

static void the_example_is_read(void)
{
    CHECK_EQ(parse(example), STATUS_OK);
    CHECK_STR(messages, "");
    CHECK_EQ(config.console, 0x3f8);
    CHECK_EQ(config.loglevel, LOG_INFO);
    CHECK_EQ(config.on_idle, CONFIG_IDLE_POWEROFF);
    CHECK_EQ(config.escape, 1);
    CHECK_EQ(config.vm_count, 1);
    const struct config_vm *vm = &config.vm[0];
    CHECK_STR(vm->name, "linux");
    CHECK_EQ(vm->line, 6);
    CHECK_EQ(vm->memory, MIB(256));
    CHECK_STR(vm->kernel, "vmlinuz");
    CHECK_STR(vm->initrd, "initramfs.cpio");
    CHECK_STR(vm->cmdline, "console=ttyS0");
    CHECK_EQ(vm->disk_count, 1);
    CHECK_STR(vm->disk[0].file, "root.ext4");
    CHECK(!vm->disk[0].read_only);
    CHECK_EQ(vm->on_reset, CONFIG_RESET_RESTART);
    CHECK(vm->has_debug_exit);
    CHECK_EQ(vm->debug_exit, 0xf4);
    CHECK_EQ(vm->pin, CONFIG_PIN_ANY);
    CHECK_EQ(vm->hvc_count, 0);
}

static void defaults_and_all_other_values(void)
{
    CHECK_EQ(parse("[vm a]\nkernel=k"), STATUS_OK);
    CHECK_EQ(config.console, 0x3f8);
    CHECK_EQ(config.vm[0].memory, CONFIG_MEMORY_DEFAULT);
    CHECK(!config.vm[0].has_debug_exit);
    CHECK_EQ(parse("[vm a.b-c_9]\n"
                   "pin = 3\n"
                   "hvc = loop\n"
                   "hvc = com1\n"
                   "hvc = 0x3e8\n"
                   "disk = sub/a.img\n"
                   "disk = b.img , ro\n"
                   "kernel = k\n"
                   "on-reset = stop\n"
                   "on-end = restart\n"
                   "memory = 0x40000K\n"
                   "[traprock]\n"
                   "escape = ctrl-]\n"
                   "loglevel = debug\n"
                   "on-idle = wait\n"
                   "console = com2\n"
                   "[vm b]\n"
                   "kernel = k\n"
                   "memory = 3145728\n"
                   "pin = 0\n"),
             STATUS_OK);
    CHECK_EQ(config.console, 0x2f8);
    CHECK_EQ(config.escape, 0x1d);
    CHECK_EQ(config.loglevel, LOG_DEBUG);
    CHECK_EQ(config.on_idle, CONFIG_IDLE_WAIT);
    const struct config_vm *vm = &config.vm[0];
    CHECK_EQ(vm->pin, 3);
    CHECK_EQ(vm->memory, MIB(256));
    CHECK_EQ(vm->on_reset, CONFIG_RESET_STOP);
    CHECK_EQ(vm->on_end, CONFIG_END_RESTART);
    CHECK_EQ(vm->hvc_count, 3);
    CHECK(vm->hvc[0].loop);
    CHECK(!vm->hvc[1].loop);
    CHECK_EQ(vm->hvc[1].port, 0x3f8);
    CHECK_EQ(vm->hvc[2].port, 0x3e8);
    CHECK_STR(vm->disk[0].file, "sub/a.img");
    CHECK(!vm->disk[0].read_only);
    CHECK_STR(vm->disk[1].file, "b.img");
    CHECK(vm->disk[1].read_only);
    CHECK_EQ(config.vm[1].memory, MIB(3));
    CHECK_EQ(config.vm[1].pin, 0);
}

static void what_decides_a_guests_end(void)
{
    static const struct {
        const char *value;
        uint64_t ms;
    } times[] = {{"250ms", 250}, {"3s", 3000}, {"2m", 120000}, {"1h", 3600000}, {"7", 7000}};
    char text[128];
    for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
        snprintf(text, sizeof(text), "[vm x]\nkernel = k\ntimeout = %s\n", times[i].value);
        CHECK_EQ(parse(text), STATUS_OK);
        CHECK_EQ(config.vm[0].timeout, times[i].ms);
    }
    CHECK_EQ(parse("[traprock]\nrun = sequence\n[vm x]\nkernel = k\nexpect = \"a # b\"\n"
                   "reject = c=d\non-panic = reset\n"),
             STATUS_OK);
    const struct config_vm *vm = &config.vm[0];
    CHECK_EQ(config.run, CONFIG_RUN_SEQUENCE);
    CHECK_EQ(config.terminal, CONFIG_TERMINAL_LINES);
    CHECK_EQ(vm->pattern_count, 2);
    CHECK(!vm->pattern[0].rejects && vm->pattern[1].rejects);
    CHECK_EQ(vm->pattern[0].line, 5);
    CHECK_EQ(vm->pattern[0].column, 11);
    CHECK(memcmp(vm->pattern_text, "a # bc=d", 8) == 0 && vm->pattern_used == 8);
    CHECK_EQ(vm->on_panic, CONFIG_PANIC_RESET);
    CHECK_EQ(vm->on_panic_line, 7);
}

static void line_ends_byte_order_mark_and_blanks(void)
{
    CHECK_EQ(parse("\xef\xbb\xbf[vm\tx]\r\n\r\n  kernel\t=\tk  \r\n # comment\r\n"), STATUS_OK);
    CHECK_STR(config.vm[0].name, "x");
    CHECK_STR(config.vm[0].kernel, "k");
    CHECK_EQ(parse("[ vm   x ] # comment\nkernel = k\r"), STATUS_OK);
    CHECK_STR(config.vm[0].kernel, "k");
    CHECK_EQ(parse("\n[vm x]\nkernel = k\nbad\r\n"), ERR_INVALID);
    CHECK_STR(messages, "c.conf:4: not a section and not 'key = value'\n");
}

static void comments_and_quotes(void)
{
    CHECK_EQ(parse("[vm x]\nkernel = a#b\ncmdline = x=\"1 # 2\" y#z w # comment\n"), STATUS_OK);
    CHECK_STR(config.vm[0].kernel, "a#b");
    CHECK_STR(config.vm[0].cmdline, "x=\"1 # 2\" y#z w");
    CHECK_EQ(parse("[vm x]\nkernel = \"my # kernel\"\ndisk = \"a,b.img\",ro\ninitrd=\"a=b\"\n"),
             STATUS_OK);
    CHECK_STR(config.vm[0].kernel, "my # kernel");
    CHECK_STR(config.vm[0].disk[0].file, "a,b.img");
    CHECK_STR(config.vm[0].initrd, "a=b");
    CHECK_EQ(parse("[vm x]\nkernel = k\ncmdline = \"a # b\n"), ERR_INVALID);
    CHECK_STR(messages, "c.conf:3: a quotation mark is not closed\n");
}

/* One mistake, alone in its configuration. */
struct mistake {
    const char *text, *message;
};

static const struct mistake mistakes[] = {
    {"", "c.conf: there is no guest; add a section [vm NAME] with 'kernel = FILE'\n"},
    {"[traprock]\n", "c.conf: there is no guest; add a section [vm NAME] with 'kernel = FILE'\n"},
    {"[vm x]\nmemory = 1G", "c.conf:1: [vm x] has no kernel; add 'kernel = FILE'\n"},
    {"[vm x]\nkernel = k\nmemory = 12Q\n",
     "c.conf:3: memory = 12Q: not a number of bytes; write for example 256M (K, M or G)\n"},
    {"[vm x]\nkernel = k\nmemory = M\n",
     "c.conf:3: memory = M: not a number of bytes; write for example 256M (K, M or G)\n"},
    {"[vm x]\nkernel = k\nmemory = 256\n", "c.conf:3: memory = 256: allowed are 2M to 1024G\n"},
    {"[vm x]\nkernel = k\nmemory = 18446744073709551617\n",
     "c.conf:3: memory = 18446744073709551617: allowed are 2M to 1024G\n"},
    {"[vm x]\nkernel = k\nmemory = 0x4000000000000G\n",
     "c.conf:3: memory = 0x4000000000000G: allowed are 2M to 1024G\n"},
    {"[vm x]\nkernel = k\nmemory = 4194305\n",
     "c.conf:3: memory = 4194305: must be a multiple of 4K\n"},
    {"[vm x]\nkernel = k\nmemory = -1M\n",
     "c.conf:3: memory = -1M: not a number of bytes; write for example 256M (K, M or G)\n"},
    {"[vm x]\nkernel = k\nmemory = 1M\nmemory = 1G\n", NULL},
    {"[vm x]\nkernel = k\nkernel = l\n", "c.conf:3: kernel is set a second time in this section\n"},
    {"[vm x]\nkernel = k\ncpus = 2\n",
     "c.conf:3: unknown key 'cpus'; allowed are memory, kernel, firmware, firmware-vars, format, "
     "entry, load, mode, initrd, symbols, "
     "module, cmdline, disk, on-reset, "
     "on-end, debug-exit, debug-exit-success, debug-console, shutdown-port, pc-testdev, pvpanic, "
     "fw-cfg, "
     "fw-cfg-file, watchdog, watchdog-action, pin, hvc, timeout, "
     "expect, reject, on-panic, start, accounting, trace\n"},
    {"[traprock]\nmemory = 2M\n[vm x]\nkernel = k\n",
     "c.conf:2: unknown key 'memory'; allowed are console, loglevel, on-idle, escape, shell, run, "
     "terminal, gdb\n"},
    {"[traprock]\ngdb = com9\n[vm x]\nkernel = k\n",
     "c.conf:2: gdb = com9: allowed are com1, com2, or an I/O port from 1 to 0xfff8\n"},
    {"[vm x]\nkernel = k\nstart = later\n", "c.conf:3: start = later: allowed are run, paused\n"},
    {"[traprock]\ngdb = 0x3f9\n[vm x]\nkernel = k\n",
     "c.conf:2: the serial port at 0x3f9 belongs to the console already; name another, or the "
     "console's, 0x3f8, for a channel of that\n"},
    {"[traprock]\nshell = com2\ngdb = com2\n[vm x]\nkernel = k\n",
     "c.conf:3: the serial port at 0x2f8 belongs to the shell already; name another, or the "
     "console's, 0x3f8, for a channel of that\n"},
    {"[traprock]\ngdb = com2\n[vm x]\nkernel = k\nhvc = com2\n",
     "c.conf:5: [vm x]: the serial port at 0x2f8 of its hvc belongs to gdb already\n"},
    {"[vm x]\nkernel = k\ninitrd =\n", "c.conf:3: initrd = : there is no value\n"},
    {"[vm x]\nkernel = k\ninitrd = # none\n", "c.conf:3: initrd = : there is no value\n"},
    {"[vm x]\n= k\nkernel = k", "c.conf:2: not a section and not 'key = value'\n"},
    {"kernel = k\n[vm x]\nkernel = k\n",
     "c.conf:1: a key before the first section; begin with [traprock] or [vm NAME]\n"},
    {"[vm x]\nkernel = k\n[vm y]\nkernel = k\n[vm x]\nkernel = k\n",
     "c.conf:5: [vm x] stands a second time; the first is in line 1\n"},
    {"[traprock]\n[vm x]\nkernel = k\n[traprock]\n", "c.conf:4: [traprock] stands a second time\n"},
    {"[vm x]\nkernel = k\n[vms y]\nfoo = bar\n",
     "c.conf:3: unknown section; allowed are [traprock] and [vm NAME]\n"},
    {"[vm x]\nkernel = k\n[]\n",
     "c.conf:3: unknown section; allowed are [traprock] and [vm NAME]\n"},
    {"[vm x]\nkernel = k\n[traprock x]\n",
     "c.conf:3: unknown section; allowed are [traprock] and [vm NAME]\n"},
    {"[vm x]\nkernel = k\n[traprock\n", "c.conf:3: a section's name must end with ']'\n"},
    {"[vm x]\nkernel = k\n[vm]\n",
     "c.conf:3: a VM's section is [vm NAME], with 1 to 31 letters, digits, '-', '_' or '.'\n"},
    {"[vm x]\nkernel = k\n[vm a b]\n",
     "c.conf:3: a VM's section is [vm NAME], with 1 to 31 letters, digits, '-', '_' or '.'\n"},
    {"[vm x]\nkernel = /boot/k\n", "c.conf:2: kernel = /boot/k: the name of a file or folder is "
                                   "empty; names are relative to the configuration\n"},
    {"[vm x]\nkernel = ../k\n", "c.conf:2: kernel = ../k: '.' and '..' are not allowed; files lie "
                                "beside or below the configuration\n"},
    {"[vm x]\nkernel = a\\b\n",
     "c.conf:2: kernel = a\\b: the characters \\ : * ? \" < > | do not fit on the image's file "
     "system; folders are separated by /\n"},
    {"[vm x]\nkernel = \xc3\xa4\n", "c.conf:2: kernel = \xc3\xa4: only printable ASCII characters "
                                    "are allowed in a file name\n"},
    {"[vm x]\nkernel = k.\n", "c.conf:2: kernel = k.: a name that ends in a dot or a space does "
                              "not fit on the image's file system\n"},
    {"[vm x]\nkernel = k\ndisk = d,rw\n",
     "c.conf:3: disk = d,rw: after the comma, allowed are ro and discard (a file name with a comma "
     "goes between quotation marks)\n"},
    {"[vm x]\nkernel = k\npin = 256\n",
     "c.conf:3: pin = 256: allowed is the number of a processor, from 0 to 255\n"},
    {"[vm x]\nkernel = k\npin = 1\n[vm y]\nkernel = k\npin = 0x1\n",
     "c.conf:6: [vm y] is pinned to processor 1, as [vm x]; each guest needs a processor of its "
     "own\n"},
    {"[vm x]\nkernel = k\ndebug-exit = 0xfffd\n",
     "c.conf:3: debug-exit = 0xfffd: allowed is an I/O port from 1 to 0xfffc, for example 0xf4\n"},
    {"[vm x]\nkernel = k\nhvc = com3\n",
     "c.conf:3: hvc = com3: allowed are com1, com2, loop, or an I/O port from 1 to 0xfff8\n"},
    {"[vm x]\nkernel = k\nhvc = com1\n",
     "c.conf:3: [vm x]: the serial port at 0x3f8 of its hvc belongs to the console already\n"},
    {"[traprock]\nshell = com9\n[vm x]\nkernel = k\n",
     "c.conf:2: shell = com9: allowed are com1, com2, or an I/O port from 1 to 0xfff8\n"},
    {"[traprock]\nshell = 0x3f1\n[vm x]\nkernel = k\n",
     "c.conf:2: the serial port at 0x3f1 belongs to the console already; name another, or the "
     "console's, 0x3f8, for a channel of that\n"},
    {"[traprock]\nshell = com2\n[vm x]\nkernel = k\nhvc = com2\n",
     "c.conf:5: [vm x]: the serial port at 0x2f8 of its hvc belongs to the shell already\n"},
    {"[vm x]\nkernel = k\nhvc = com2\n[vm y]\nkernel = k\nhvc = 0x2f1\n",
     "c.conf:6: [vm y]: the serial port at 0x2f1 of its hvc belongs to another hvc already\n"},
    {"[vm x]\nkernel = k\ndisk = K\n", "c.conf:3: the files k and K differ in case only, which the "
                                       "image's file system cannot keep apart\n"},
    {"[vm x]\nkernel = k\n[traprock]\nescape = ctrl-1\n",
     "c.conf:4: escape = ctrl-1: allowed are ctrl-a to ctrl-z, ctrl-], ctrl-\\, ctrl-^, ctrl-_\n"},
    {"[vm x]\nkernel = k\n[traprock]\nconsole = 0xfff9\n",
     "c.conf:4: console = 0xfff9: allowed are com1, com2, or an I/O port from 1 to 0xfff8\n"},
    {"[vm x]\nkernel = k\n[traprock]\nloglevel = verbose\n",
     "c.conf:4: loglevel = verbose: allowed are error, warn, info, debug\n"},
    {"[vm x]\nkernel = k\n[traprock]\non-idle = sleep\n",
     "c.conf:4: on-idle = sleep: allowed are poweroff, reboot, wait\n"},
    {"[vm x]\nkernel = k\nformat = exe\n", "c.conf:3: format = exe: allowed are linux, pvh, "
                                           "multiboot, multiboot2, elf, flat\n"},
    {"[vm x]\nkernel = k\nentry = 8\n", "c.conf:3: entry = 8: allowed are 16, 32, 64\n"},
    {"[vm x]\nkernel = k\nformat = flat\nload = 0\n",
     "c.conf:4: load = 0: allowed is an address from 0x1000 to 4G, for example 1M\n"},
    {"[vm x]\nkernel = k\nmode = 16\n",
     "c.conf:3: [vm x]: load and mode say where a flat binary goes; add 'format = flat', or "
     "remove them\n"},
    {"[vm x]\nkernel = k\nmodule = ../m x\n", NULL},
    {"[vm x]\nkernel = k\non-end = reset\n",
     "c.conf:3: on-end = reset: allowed are stop, restart\n"},
    {"[vm x]\nkernel = k\non-reset = poweroff\n",
     "c.conf:3: on-reset = poweroff: allowed are reset, stop\n"},
    {"[vm x]\nkernel = k\nx\x01y = 1\n", "c.conf:3: a control character; only printable "
                                         "characters, spaces and tabs are allowed\n"},
    {"[vm x]\nkernel = k\n[vm traprock]\nkernel = k\n",
     "c.conf:3: the name traprock is the monitor's own\n"},
    {"[vm x]\nkernel = k\n[traprock]\nrun = twice\n",
     "c.conf:4: run = twice: allowed are parallel, sequence\n"},
    {"[vm x]\nkernel = k\npin = 0\n[traprock]\nrun = sequence\n",
     "c.conf:3: [vm x] is pinned, and with run = sequence all guests run on processor 0; remove "
     "`pin`\n"},
    {"[traprock]\nrun = sequence\n[vm x]\nkernel = k\non-end = restart\n",
     "c.conf:3: [vm x] has on-end = restart, so that with run = sequence the next guest's turn "
     "would never come; remove one of both\n"},
    {"[vm x]\nkernel = k\ntimeout = 5x\n",
     "c.conf:3: timeout = 5x: not a time; write for example 60s (ms, s, m or h)\n"},
    {"[vm x]\nkernel = k\ntimeout = s\n",
     "c.conf:3: timeout = s: not a time; write for example 60s (ms, s, m or h)\n"},
    {"[vm x]\nkernel = k\ntimeout = 0\n", "c.conf:3: timeout = 0: allowed are 1ms to 1000h\n"},
    {"[vm x]\nkernel = k\ntimeout = 1001h\n",
     "c.conf:3: timeout = 1001h: allowed are 1ms to 1000h\n"},
    {"[vm x]\nkernel = k\ntimeout = 18446744073709551615h\n",
     "c.conf:3: timeout = 18446744073709551615h: allowed are 1ms to 1000h\n"},
    {"[vm x]\nkernel = k\n  expect =  \"a (b\"\n",
     "c.conf:3: expect = a (b: column 16: the group is not closed; add ), or write \\( for the "
     "character\n"},
    {"[vm x]\nkernel = k\nreject = a{2\n",
     "c.conf:3: reject = a{2: column 11: allowed are {n}, {n,} and {n,m} with numbers up to 255; "
     "write \\{ for the character\n"},
    {"[vm x]\nkernel = k\nreject = (abc){99}\nexpect = (abc){99}\n",
     "c.conf:4: expect = (abc){99}: column 19: the VM's patterns are too large together; shorten "
     "them or their repetitions\n"},
    {"[vm x]\nkernel = k\non-panic = explode\n",
     "c.conf:3: on-panic = explode: allowed are stop, reset, ignore\n"},
    {"\xff\xfe[\n", "c.conf:1: the text is in UTF-16; save it as UTF-8\n"},
};

static void formats_and_modules(void)
{
    const char *text = "[vm a]\nkernel = k\nmodule = m1 one  two # no\nformat = multiboot2\n"
                       "module = \"m 2\"\n[vm b]\nkernel = k\nformat = flat\nload = 0x200000\n"
                       "mode = 16\nmodule = m1\t\"x # y\" z\n[vm c]\nkernel = k\nentry = 32\n";
    uint32_t line;
    CHECK_EQ(parse(text), STATUS_OK);
    CHECK_EQ(config.vm[0].format, LOAD_MULTIBOOT2);
    CHECK_EQ(config.vm[1].format, LOAD_FLAT);
    CHECK_EQ(config.vm[1].load, MIB(2));
    CHECK_EQ(config.vm[1].mode, 16);
    CHECK_EQ(config.vm[2].format, LOAD_AUTO);
    CHECK_EQ(config.vm[2].entry, 32);
    CHECK_EQ(config.module_count, 3);
    CHECK_EQ(config.module[1].vm | config.module[0].vm, 0);
    CHECK_EQ(config.module[2].vm, 1);
    CHECK_STR(config.module[1].file, "m 2");
    CHECK_EQ(config.module[1].arguments_size, 0);
    CHECK_EQ(config.module[0].arguments_size, strlen("one  two"));
    CHECK(memcmp(text + config.module[0].arguments, "one  two", 8) == 0);
    CHECK_STR(config_file(&config, 1, &line), "m1");
    CHECK_EQ(line, 3);
    CHECK_STR(config_file(&config, 2, &line), "m 2");
    CHECK(config_file(&config, 3, &line) == NULL);
}

static void every_mistake_has_its_message(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(mistakes); i++) {
        CHECK_EQ(parse(mistakes[i].text), ERR_INVALID);
        CHECK(errors.used == strlen(messages));
        if (mistakes[i].message == NULL)
            continue;
        CHECK_STR(messages, mistakes[i].message);
        CHECK_EQ(errors.count, 1);
    }
}

static void all_mistakes_of_a_file_are_told(void)
{
    CHECK_EQ(parse("[vm x]\nmemory = 1\nfoo = 2\n[vm y]\npin = x\nkernel = k\n"), ERR_INVALID);
    CHECK_EQ(errors.count, 4);
    CHECK(strstr(messages, "c.conf:2: memory = 1") != NULL);
    CHECK(strstr(messages, "c.conf:3: unknown key 'foo'") != NULL);
    CHECK(strstr(messages, "c.conf:5: pin = x") != NULL);
    CHECK(strstr(messages, "c.conf:1: [vm x] has no kernel") != NULL);
}

static void nul_bytes_and_long_lines(void)
{
    static char text[16384];
    CHECK_EQ(parse_bytes("[vm x]\nkernel = k\0\n", 19), ERR_INVALID);
    CHECK_STR(messages, "c.conf:2: a NUL byte; the configuration must be plain text in UTF-8\n"
                        "c.conf:1: [vm x] has no kernel; add 'kernel = FILE'\n");
    strcpy(text, "[vm x]\nkernel = k\ncmdline = ");
    size_t used = strlen(text);
    memset(text + used, 'a', CONFIG_CMDLINE_MAX - 1);
    CHECK_EQ(parse(text), STATUS_OK);
    CHECK_EQ(strlen(config.vm[0].cmdline), CONFIG_CMDLINE_MAX - 1);
    text[used + CONFIG_CMDLINE_MAX - 1] = 'a';
    CHECK_EQ(parse(text), ERR_INVALID);
    CHECK_STR(messages, "c.conf:3: cmdline is 4096 bytes long; 4095 are allowed\n");
    memset(text + used, 'a', CONFIG_LINE_MAX);
    CHECK_EQ(parse(text), ERR_INVALID);
    CHECK_STR(messages, "c.conf:3: the line is longer than 8192 bytes\n");
}

static void long_names(void)
{
    char text[512], path[CONFIG_PATH_MAX + 1];
    memset(path, 'p', sizeof(path));
    path[CONFIG_PATH_MAX - 1] = '\0';
    snprintf(text, sizeof(text), "[vm x]\nkernel = %s\n", path);
    CHECK_EQ(parse(text), STATUS_OK);
    CHECK_STR(config.vm[0].kernel, path);
    snprintf(text, sizeof(text), "[vm x]\nkernel = %sp\n", path);
    CHECK_EQ(parse(text), ERR_INVALID);
    CHECK(strstr(messages, "...: the file name is too long; 127 characters are allowed") != NULL);
    CHECK_EQ(parse("[vm abcdefghijklmnopqrstuvwxyz01234]\nkernel = k\n"), STATUS_OK);
    CHECK_EQ(parse("[vm abcdefghijklmnopqrstuvwxyz012345]\nkernel = k\n"), ERR_INVALID);
}

static void tables_fill_up(void)
{
    char text[8192];
    size_t used = 0;
    for (unsigned i = 0; i < CONFIG_VMS_MAX; i++)
        used += (size_t)sprintf(text + used, "[vm v%u]\nkernel = k\n", i);
    CHECK_EQ(parse(text), STATUS_OK);
    CHECK_EQ(config.vm_count, CONFIG_VMS_MAX);
    sprintf(text + used, "[vm more]\nkernel = k\n");
    CHECK_EQ(parse(text), ERR_INVALID);
    CHECK_STR(messages, "c.conf:257: too many VMs; 128 are allowed\n");
    used = (size_t)sprintf(text, "[vm x]\nkernel = k\n");
    for (unsigned i = 0; i < CONFIG_DISKS_MAX; i++)
        used += (size_t)sprintf(text + used, "disk = d%u\nhvc = loop\n", i);
    CHECK_EQ(parse(text), STATUS_OK);
    sprintf(text + used, "disk = d\nhvc = loop\n");
    CHECK_EQ(parse(text), ERR_INVALID);
    CHECK_STR(messages, "c.conf:19: disk = d: a VM may have 8 disks\n"
                        "c.conf:20: hvc = loop: a VM may have 8 ports of its virtio console\n");
}

static void too_many_files(void)
{
    static char text[32768];
    char wanted[64];
    uint32_t line;
    unsigned lines = 1;
    size_t used = 0;
    for (unsigned i = 0; i < CONFIG_FILES_MAX; i++) {
        if (i % 8 == 0)
            used += (size_t)sprintf(text + used, "[vm v%u]\nkernel = d0\n", i);
        used += (size_t)sprintf(text + used, "disk = d%u\n", i);
        lines += i % 8 == 0 ? 3 : 1;
    }
    CHECK_EQ(parse(text), STATUS_OK);
    CHECK(config_file(&config, CONFIG_FILES_MAX - 1, &line) != NULL);
    CHECK(config_file(&config, CONFIG_FILES_MAX, &line) == NULL);
    sprintf(text + used, "disk = more\n");
    CHECK_EQ(parse(text), ERR_INVALID);
    sprintf(wanted, "c.conf:%u: too many files; 1023 are allowed\n", lines);
    CHECK_STR(messages, wanted);
}

static void too_many_modules(void)
{
    static const char why[] =
        ": module = m: too many modules; 64 are allowed for a VM, 256 in a configuration\n";
    static char text[8192];
    char wanted[256];
    unsigned lines = 0;
    size_t used = 0;
    for (unsigned vm = 0; vm < CONFIG_MODULES_MAX / CONFIG_VM_MODULES_MAX; vm++) {
        used += (size_t)sprintf(text + used, "[vm v%u]\nkernel = k\n", vm);
        for (unsigned i = 0; i < CONFIG_VM_MODULES_MAX; i++)
            used += (size_t)sprintf(text + used, "module = m\n");
        lines += 2 + CONFIG_VM_MODULES_MAX;
        if (vm == 0) {
            sprintf(text + used, "module = m\n");
            CHECK_EQ(parse(text), ERR_INVALID);
            sprintf(wanted, "c.conf:%u%s", lines + 1, why);
            CHECK_STR(messages, wanted);
        }
    }
    CHECK_EQ(parse(text), STATUS_OK);
    CHECK_EQ(config.module_count, CONFIG_MODULES_MAX);
    sprintf(text + used, "[vm more]\nkernel = k\nmodule = m\n");
    CHECK_EQ(parse(text), ERR_INVALID);
    sprintf(wanted, "c.conf:%u%s", lines + 3, why);
    CHECK_STR(messages, wanted);
}

static void messages_are_bounded(void)
{
    char text[4096], small[64];
    size_t used = 0;
    for (unsigned i = 0; i < 200; i++)
        used += (size_t)sprintf(text + used, "bad\n");
    CHECK_EQ(parse(text), ERR_INVALID);
    CHECK_EQ(errors.count, 200);
    CHECK(strstr(messages, "c.conf:20:") != NULL);
    CHECK(strstr(messages, "c.conf:21:") == NULL);
    struct config_errors few = {.text = small, .size = sizeof(small)};
    CHECK_EQ(config_parse(&config, "c.conf", text, used, &few), ERR_INVALID);
    CHECK_EQ(few.count, 200);
    CHECK_STR(small, "c.conf:1: not a section and not 'key = value'\n");
}

static void files_are_listed_once(void)
{
    static const struct {
        const char *name;
        uint32_t line;
    } files[] = {{"k", 2}, {"i i", 3}, {"d", 4}, {"e", 6}, {"j", 10}};
    uint32_t line;

    /* A line is the key's, wherever else the name stands. */
    CHECK_EQ(parse("[vm a]\nkernel = k\ninitrd = \"i i\" # k\ndisk = d,ro\ncmdline = e j\n"
                   "disk = e\n[vm b]\nkernel = k\ndisk = d,ro\ninitrd = j\n"),
             STATUS_OK);
    for (unsigned i = 0; i < ARRAY_SIZE(files); i++) {
        CHECK_STR(config_file(&config, i, &line), files[i].name);
        CHECK_EQ(line, files[i].line);
    }
    CHECK(config_file(&config, ARRAY_SIZE(files), &line) == NULL);
}

static void keys_have_lines(void)
{
    CHECK_EQ(parse("\n[vm a]\nkernel = k\n[vm b]\nhvc = loop\npin = 1\nmemory = 8M\nkernel = k\n"
                   "disk = d\ninitrd = i\n"),
             STATUS_OK);
    CHECK_EQ(config.vm[0].line, 2);
    CHECK_EQ(config.vm[0].kernel_line, 3);
    CHECK_EQ(config.vm[0].memory_line, 2); /* not set: the section's */
    CHECK_EQ(config.vm[0].pin_line, 2);
    CHECK_EQ(config.vm[0].initrd_line, 2);
    CHECK_EQ(config.vm[1].line, 4);
    CHECK_EQ(config.vm[1].hvc[0].line, 5);
    CHECK_EQ(config.vm[1].pin_line, 6);
    CHECK_EQ(config.vm[1].memory_line, 7);
    CHECK_EQ(config.vm[1].kernel_line, 8);
    CHECK_EQ(config.vm[1].disk[0].line, 9);
    CHECK_EQ(config.vm[1].initrd_line, 10);
}

static void a_configuration_of_megabytes_is_none(void)
{
    static char text[CONFIG_SIZE_MAX + 1];
    CHECK_EQ(config_parse(&config, "c.conf", text, sizeof(text), &errors), ERR_INVALID);
    CHECK_STR(messages, "c.conf: larger than 1 MiB; is this the configuration?\n");
    CHECK_EQ(config_parse(&config, "c.conf", text, sizeof(text) - 1, &errors), ERR_INVALID);
    CHECK(strstr(messages, "c.conf:1: the line is longer") != NULL);
}

TEST_MAIN({"keys_that_mean_nothing_have_messages", keys_that_mean_nothing_have_messages},
          {"firmware stands for a kernel", firmware_stands_for_a_kernel},
          {"QEMU's devices are read", qemu_devices_are_read},
          {"QEMU's devices have messages", qemu_devices_have_messages},
          {"the_example_is_read", the_example_is_read},
          {"defaults_and_all_other_values", defaults_and_all_other_values},
          {"what_decides_a_guests_end", what_decides_a_guests_end},
          {"line_ends_byte_order_mark_and_blanks", line_ends_byte_order_mark_and_blanks},
          {"comments_and_quotes", comments_and_quotes},
          {"formats_and_modules", formats_and_modules},
          {"every_mistake_has_its_message", every_mistake_has_its_message},
          {"all_mistakes_of_a_file_are_told", all_mistakes_of_a_file_are_told},
          {"nul_bytes_and_long_lines", nul_bytes_and_long_lines}, {"long_names", long_names},
          {"tables_fill_up", tables_fill_up}, {"too_many_files", too_many_files},
          {"too_many_modules", too_many_modules}, {"messages_are_bounded", messages_are_bounded},
          {"files_are_listed_once", files_are_listed_once}, {"keys_have_lines", keys_have_lines},
          {"a_configuration_of_megabytes_is_none", a_configuration_of_megabytes_is_none})

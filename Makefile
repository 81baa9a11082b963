# Traprock: `make help` lists what there is.

BUILD := $(if $(filter 1,$(DEBUG_CHECKS)),build/checks,build)
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wshift-overflow=2 -Wvla -Wundef -Wpointer-arith -Wwrite-strings

# ---- What a user may set on the command line -----------------------------------------------------

HOST ?= auto
CONF ?= tests/default.conf
MEM ?= 1024
CPU ?=
CPUS ?= 1
IMG ?= $(BUILD)/traprock.img
TIMEOUT ?=
JUNIT ?=
TAP ?=
LOGS ?= $(BUILD)/ci
UNTIL ?=
COUNT ?=

.PHONY: all help
all: $(BUILD)/BOOTX64.EFI $(BUILD)/traprock-mux $(BUILD)/traprock-dump ## build the UEFI program

help: ## show this list
	@echo 'make TARGET [VARIABLE=VALUE]...'
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | sort | \
		while IFS='|' read -r name text; do printf '  %-8s  %s\n' $$name "$$text"; done
	@echo 'Variables:'
	@echo '  CONF=FILE     the configuration to boot (tests/default.conf: Debian'"'"'s kernel)'
	@echo '  HOST=auto     bochs, qemu (needs nested VMX), or auto: qemu where that works, else bochs'
	@echo '  MEM=1024      MiB of memory of the machine, or with M or G behind it'
	@echo '  CPU=MODEL     its processor model, in the words of the emulator'
	@echo '  CPUS=1        how many processors it has'
	@echo '  IMG=FILE      the disk image that `make image` writes (build/traprock.img)'
	@echo '  TIMEOUT=S     end `make run` after so many seconds, `make ci` after 1800 or so many'
	@echo '  JUNIT=FILE, TAP=FILE, LOGS=DIR  what `make ci` writes (build/ci, and there junit.xml, results.tap)'
	@echo '  UNTIL=REGEX, COUNT=N  `make trace` until the guest says so, else until it ends; its last N exits'
	@echo '  GDBFLAGS=...  more arguments for the gdb of `make gdb`'
	@echo '  DEBUG_CHECKS=1  check the processor after each VM exit; builds into build/checks'
	@echo '  NO_INSTALL=1  only name missing Debian packages, install nothing'

include kernel/build.mk
include boot/build.mk
include tests/guests/build.mk

# ---- Packages ------------------------------------------------------------------------------------

# What builds, and what tests and runs besides.
BUILD_PACKAGES := gcc libc6-dev nasm binutils gnu-efi console-setup-linux python3
RUN_PACKAGES := $(BUILD_PACKAGES) ovmf seabios bochs bochsbios vgabios qemu-system-x86 mtools dosfstools \
	busybox-static e2fsprogs dpkg-dev cpio xz-utils lz4 zstd grub-common grub-pc-bin grub-efi-amd64-bin xorriso
TRACE_PACKAGES := $(RUN_PACKAGES) python3-matplotlib
TEST_PACKAGES := $(TRACE_PACKAGES) gdb clang libclang-rt-14-dev clang-format shellcheck git
COVERAGE_PACKAGES := $(BUILD_PACKAGES) lcov

.PHONY: packages-build packages-run packages-gdb packages-trace packages-test packages-coverage
packages-build:
	@tests/packages.sh $(BUILD_PACKAGES)
packages-run:
	@tests/packages.sh $(RUN_PACKAGES)
packages-gdb:
	@tests/packages.sh gdb
packages-trace:
	@tests/packages.sh $(TRACE_PACKAGES)
packages-test:
	@tests/packages.sh $(TEST_PACKAGES)
packages-coverage:
	@tests/packages.sh $(COVERAGE_PACKAGES)

# ---- Host tests: everything pure, under ASan and UBSan -------------------------------------------

HOST_CC := gcc
HOST_FLAGS := -std=gnu11 -I. -g -O1 $(WARNINGS) -fno-omit-frame-pointer -MMD -MP \
	-fsanitize=address,undefined -fno-sanitize-recover=all

# What has no hardware behind it, or only behind the doubles of tests/fake.
PURE := $(wildcard kernel/vm/*.c drivers/model/*.c) kernel/core/ratio.c kernel/core/fmt.c \
	kernel/core/pages.c kernel/core/page_table.c kernel/core/paging_rules.c kernel/core/symbols.c kernel/core/time_calibrate.c kernel/core/xsave_check.c \
	drivers/host/acpi.c kernel/console/mux.c kernel/console/serial_line.c $(addprefix kernel/debug/,gdb_packet.c gdb_registers.c gdb_command.c gdb_memory.c gdb_server.c gdb_stub.c gdb_vcpu.c) kernel/debug/row.c kernel/debug/line_edit.c kernel/debug/shell.c kernel/debug/system_map.c $(addprefix kernel/debug/,backtrace.c commands_exits.c core_dump.c deflate.c describe.c ended.c float_text.c frame.c gate.c guest_runs.c link.c selector.c text.c) \
	$(filter-out vmx/vmx_cpu.c vmx/vmx_hw.c,$(wildcard vmx/*.c)) \
	boot/acpi_cpus.c boot/boot_path.c boot/boot_tables.c boot/check_cpu.c \
	boot/elf_image.c boot/memory_map.c kernel/debug/split.c kernel/debug/terminal.c
HOST_OBJECTS := $(patsubst %.c,$(BUILD)/host/%.o,$(PURE) $(wildcard tests/fake/*.c))
UNIT := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))

include tests/vm/guests.mk
include tests/vm/planted.mk

$(BUILD)/host/%.o: %.c
	@mkdir -p $(@D)
	@$(HOST_CC) $(HOST_FLAGS) -c -o $@ $<

# cpu_this reads address 0 of GS, which is no null pointer.
$(BUILD)/host/vmx/%.o $(BUILD)/host/kernel/vm/debug.o $(BUILD)/host/kernel/debug/ended.o: HOST_FLAGS += -fno-sanitize=null
$(BUILD)/fuzz-host/vmx/%.o $(BUILD)/fuzz-host/kernel/vm/debug.o: FUZZ_FLAGS += -fno-sanitize=null

$(BUILD)/host/libpure.a: $(HOST_OBJECTS)
	@rm -f $@
	@ar rcs $@ $^

$(BUILD)/unit/%: $(BUILD)/host/tests/unit/%.o $(BUILD)/host/tests/check.o $(BUILD)/host/libpure.a
	@mkdir -p $(@D)
	@$(HOST_CC) $(HOST_FLAGS) -o $@ $^

.PRECIOUS: $(BUILD)/unit/% $(BUILD)/host/%.o $(BUILD)/efi/%.o $(BUILD)/monitor/%.o $(BUILD)/fuzz-host/%.o

.PHONY: unit units unit-%
units: $(addprefix $(BUILD)/unit/,$(UNIT)) $(BUILD)/native/emulator
unit: $(addprefix unit-,$(UNIT)) unit-regex-python unit-mux-python unit-deflate-python unit-log-python native
unit-%: $(BUILD)/unit/%
	@$<

# Against Python's re, which calls it as a library.
.PHONY: unit-regex-python
unit-regex-python: $(BUILD)/regex.so
	@python3 tests/unit/regex.py $<

# The program at the other end of the console's line.
.PHONY: unit-mux-python
unit-mux-python:
	@python3 tests/unit/mux.py

# The emulator's log has bounds.
.PHONY: unit-log-python
unit-log-python:
	@python3 tests/unit/emulator_log.py

# Against zlib.
.PHONY: unit-deflate-python
unit-deflate-python: $(BUILD)/deflate.so
	@python3 tests/unit/deflate.py $<

$(BUILD)/deflate.so: $(addprefix kernel/debug/,core_dump.c deflate.c guest_runs.c deflate.h) kernel/vm/guest_mem.c
	@mkdir -p $(@D)
	@$(HOST_CC) -std=gnu11 -I. -O1 -g $(WARNINGS) -shared -fPIC -Wl,-Bsymbolic -o $@ $(filter %.c,$^)

$(BUILD)/regex.so: tests/unit/regex_library.c kernel/vm/regex.c kernel/vm/regex_parse.c kernel/vm/regex.h
	@mkdir -p $(@D)
	@$(HOST_CC) -std=gnu11 -I. -O1 -g $(WARNINGS) -shared -fPIC -o $@ $(filter %.c,$^)

include tests/native/build.mk
include tests/msan/build.mk

include tests/fuzz/build.mk

# ---- Images and machines -------------------------------------------------------------------------

# What a user sets, as one word for the shell.
quote = '$(subst ','\'',$(1))'

HOST_PY = python3 tests/vm/host.py run --host $(call quote,$(HOST)) --mem $(call quote,$(MEM)) \
	--cpus $(call quote,$(CPUS)) $(if $(CPU),--cpu $(call quote,$(CPU))) \
	$(if $(TIMEOUT),--timeout $(call quote,$(TIMEOUT))) \
	--serial-log $(BUILD)/serial.log --emulator-log $(BUILD)/emulator.log
DEFAULT_FILES := $(BUILD)/guest/vmlinux $(BUILD)/guest/initramfs.cpio $(BUILD)/guest/root.ext4
GUEST_READY := $(if $(filter $(abspath tests/default.conf),$(abspath $(CONF))),default-guest)

# Its files lie beside a configuration, so the default one goes to where they are made.
.PHONY: default-guest
default-guest: $(DEFAULT_FILES)
	@cp tests/default.conf $(BUILD)/guest/default.conf

IMAGE_CONF = $(if $(GUEST_READY),$(BUILD)/guest/default.conf,$(CONF))

.PHONY: image run split check test bench bench-linux fuzz coverage gdb gdb-monitor trace format lint clean
image: packages-run $(GUEST_READY) ## write IMG, a disk image of CONF for a USB stick or an emulator
	@$(MAKE) --no-print-directory $(BUILD)/BOOTX64.EFI $(BUILD)/config_files
	@python3 tests/vm/image.py --conf $(call quote,$(IMAGE_CONF)) --efi $(BUILD)/BOOTX64.EFI \
		--config-tool $(BUILD)/config_files --out $(call quote,$(IMG))

run: image ## boot CONF here; the terminal is the guest's console, Ctrl-A h shows the monitor's keys
	@$(HOST_PY) --image $(call quote,$(IMG)) --interactive

split: image ## the same with COM1 split by traprock-mux: the log here, shell and guests in build/lines, gdb at 1234
	@$(HOST_PY) --image $(call quote,$(IMG)) --split $(BUILD)/lines

# Every guest a test: the exit status is 0 only if all of them passed.
.PHONY: ci
ci: packages-run ## boot CONF=FILE without a terminal and report each guest: JUNIT=out.xml TAP=out.tap (docs/ci.md)
ifeq ($(if $(filter file,$(origin CONF)),,$(strip $(CONF))),)
	@echo 'make ci wants a configuration whose guests come to an end: make ci CONF=FILE' >&2; exit 2
else
	@$(MAKE) --no-print-directory -s $(BUILD)/BOOTX64.EFI $(BUILD)/config_files
	@python3 tests/vm/ci.py --conf $(call quote,$(CONF)) --efi $(BUILD)/BOOTX64.EFI \
		--config-tool $(BUILD)/config_files --host $(call quote,$(HOST)) --mem $(call quote,$(MEM)) \
		--cpus $(call quote,$(CPUS)) $(if $(CPU),--cpu $(call quote,$(CPU))) \
		$(if $(TIMEOUT),--timeout $(call quote,$(TIMEOUT))) $(if $(JUNIT),--junit $(call quote,$(JUNIT))) \
		$(if $(TAP),--tap $(call quote,$(TAP))) --logs $(call quote,$(LOGS))
endif

# ---- Tests ---------------------------------------------------------------------------------------

lint: ## check format, layers and style
	@python3 tests/lint/lint.py

check: packages-test ## the fast half of the tests: host tests and lint
	@python3 tests/run.py --quick --build $(BUILD)

test: packages-test ## all tests
	@$(MAKE) --no-print-directory -s -j2 all guests fuzzers $(DEFAULT_FILES) $(DEBIAN_KERNELS) $(BUILD)/guest/vmlinuz \
		$(BUILD)/config_files $(BUILD)/lock_vmx.efi $(BUILD)/efi_guest.efi $(PLANTED_TEST)
	@$(MAKE) --no-print-directory -s test-monitor
	@$(MAKE) --no-print-directory -s DEBUG_CHECKS=1 BUILD=$(BUILD)/checks all
	@python3 tests/run.py --build $(BUILD)

# The UEFI program with a monitor that does more (tests/monitor), for cases_harden.py.
.PHONY: test-monitor
test-monitor:
	@$(MAKE) --no-print-directory -s -j2 BUILD=$(BUILD)/test-monitor MONITOR_TEST=1 all

bench: packages-run ## count the instructions of each kind of exit
	@$(MAKE) --no-print-directory -s all guests $(BUILD)/config_files
	@python3 tests/bench/bench.py --build $(BUILD)

bench-linux: packages-run ## compare Linux's way to its init with that on the bare machine
	@$(MAKE) --no-print-directory -s all $(DEFAULT_FILES) $(BUILD)/config_files
	@python3 tests/bench/linux/linux.py --build $(BUILD)

FUZZ_SECONDS ?= 60
FUZZ_ENTRIES ?= 2000000
FUZZ_EXITS ?= 10000000
ifeq ($(VM),1)
fuzz: packages-test ## fuzz what guests and users feed, FUZZ_SECONDS (60) each, planted bugs first; VM=1: fuzz guests, long cases
	@$(MAKE) --no-print-directory -s all guests $(BUILD)/config_files $(if $(FUZZ_GUEST),,$(PLANTED_ALL) $(DEFAULT_FILES) $(BUILD)/guest/vmlinuz)
	@python3 -u tests/vm/fuzz.py --build $(BUILD) --exits $(FUZZ_EXITS) $(if $(FUZZ_GUEST),--guest $(FUZZ_GUEST)) \
		$(if $(SEED),--seed $(SEED)) $(if $(CASES),--cases $(CASES)) $(if $(LIFE),--life $(LIFE))
	$(if $(FUZZ_GUEST),,@python3 -u tests/vm/run.py --build $(BUILD) --long)
else
fuzz: packages-test
	@$(MAKE) --no-print-directory -s guests $(addprefix fuzz-long-,$(FUZZ)) native-planted native-long
	@python3 tests/vm/entry_check.py --build $(BUILD) --count $(FUZZ_ENTRIES)
endif

coverage: packages-coverage ## print which lines the host tests and the corpora reach; at least 90 % of each file
	@$(MAKE) --no-print-directory -s -j2 coverage-report

gdb: packages-gdb packages-run $(GUEST_READY) ## boot CONF with its first guest stopped, and attach gdb to it
	@$(MAKE) --no-print-directory -s $(BUILD)/BOOTX64.EFI $(BUILD)/config_files
	@python3 tests/vm/debug_guest.py --conf $(call quote,$(IMAGE_CONF)) --efi $(BUILD)/BOOTX64.EFI \
		--config-tool $(BUILD)/config_files --console $(BUILD)/gdb-console.log --host $(call quote,$(HOST)) \
		--mem $(call quote,$(MEM)) --cpus $(call quote,$(CPUS)) $(if $(GDBFLAGS),--gdb-flags=$(call quote,$(GDBFLAGS)))

# By default until Debian's kernel has come to its shell.
trace: packages-trace $(GUEST_READY) ## boot CONF, and draw the exits of its first guest: build/trace.json, .html, .png
	@$(MAKE) --no-print-directory -s $(BUILD)/BOOTX64.EFI $(BUILD)/config_files
	@python3 tests/vm/trace_guest.py --conf $(call quote,$(IMAGE_CONF)) --efi $(BUILD)/BOOTX64.EFI \
		--config-tool $(BUILD)/config_files --out $(BUILD)/trace --host $(call quote,$(HOST)) \
		--mem $(call quote,$(MEM)) --cpus $(call quote,$(CPUS)) $(if $(TIMEOUT),--timeout $(call quote,$(TIMEOUT))) \
		$(if $(or $(UNTIL),$(GUEST_READY)),--until $(call quote,$(or $(UNTIL),^[/~] \# ))) \
		$(if $(COUNT),--count $(call quote,$(COUNT)))

gdb-monitor: packages-gdb image ## boot CONF under QEMU and attach gdb to the monitor
	@python3 tests/vm/debug.py --mem $(call quote,$(MEM)) --image $(call quote,$(IMG)) --elf $(BUILD)/traprock.elf

format: ## format the C sources
	@git ls-files -co --exclude-standard '*.c' '*.h' | xargs clang-format -i

clean: ## remove what was built
	@rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

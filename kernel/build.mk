# The monitor, $(BUILD)/traprock.elf. Needs BUILD and WARNINGS.

MONITOR_CC := gcc
# Link-time optimization, since each privileged instruction is a function of its own, so that tests
# can put doubles in its place; calls to them cost too much on the way of an exit.
# No vector registers: they are the guests', also while the monitor runs.
# Null pointers: a processor's own structure is found at GS:0, and what is written through a pointer
# from address 0 would be dropped as if nobody could see it.
MONITOR_FLAGS := -std=gnu11 -I. -g $(WARNINGS) -Wno-maybe-uninitialized -ffreestanding -fno-pic -fno-pie -mcmodel=kernel \
	-mno-red-zone -mgeneral-regs-only -fno-omit-frame-pointer -momit-leaf-frame-pointer -fno-stack-protector \
	-fno-asynchronous-unwind-tables -fcf-protection=none -fno-strict-aliasing -fno-delete-null-pointer-checks -MMD -MP \
	-mpreferred-stack-boundary=3 -flto -fno-fat-lto-objects
FAST := -O2 -falign-functions=1 -falign-jumps=1 -falign-loops=1 -falign-labels=1
SMALL := -Oz -fno-inline-functions-called-once

# What an exit passes is compiled for speed, all else for size.
FAST_SOURCES := $(addprefix vmx/,exit.c exit_msr.c exit_io.c exit_misc.c exit_ept.c inject.c run.c state.c vmx_hw.c ept.c) \
	$(addprefix kernel/vm/,vm_clock.c events.c guest_access.c timers.c cpuid_policy.c msr_policy.c) \
	$(addprefix drivers/model/,lapic_access.c lapic_events.c lapic_timer.c ioapic.c pic.c pit.c uart.c) \
	$(addprefix kernel/,core/hw_x86.c core/page_table.c core/paging.c core/paging_rules.c core/pages.c board.c console/mux.c)

# What only the start needs: its code and constants are given back before guests run. Linked by
# themselves first, so that the linker sees them as one object, which nothing else may refer to.
INIT_SOURCES := $(addprefix drivers/host/,acpi.c clock_sources.c ioapic.c pic.c) \
	$(addprefix kernel/,main.c machine.c sequence.c plan_guests.c guest_fw_cfg.c) \
	$(addprefix kernel/,core/time_calibrate.c core/xsave_check.c) \
	$(addprefix kernel/vm/,cpuid_build.c regex_parse.c watch_compile.c) \
	$(wildcard kernel/vm/acpi_*.c) $(filter-out kernel/vm/load_plan.c,$(wildcard kernel/vm/load*.c)) \
	$(addprefix vmx/,controls.c vmx_cpu.c trial.c)
INIT_ASM := kernel/core/entry.asm kernel/guest_bios.asm
# The debugger, and the reports on guests that ended, which are counted apart from the core that they look at;
# linked by themselves first, too.
DEBUGGER_SOURCES := $(wildcard kernel/debug/*.c) $(addprefix kernel/vm/,account.c catch.c debug.c page_walk.c) \
	$(wildcard vmx/debug*.c vmx/entry_check*.c) vmx/dump.c
DEBUGGER_ASM := vmx/debug_entry.asm
MONITOR_LDFLAGS := -nostdlib -static -Wl,-z,noexecstack -Wl,-z,max-page-size=4096 \
	-Wl,--build-id=none -Wl,--orphan-handling=error -Wl,--fatal-warnings

# With DEBUG_CHECKS=1, the processor's state is checked after each VM exit (kernel/checks).
DEBUG_CHECKS ?=
without-checks = $(if $(filter 1,$(DEBUG_CHECKS)),$(1),$(filter-out kernel/checks/%,$(1)))
# The boot program parses the configuration, and hands it over as a structure.
MONITOR_SOURCES := $(sort $(call without-checks,$(filter-out kernel/vm/config%,$(wildcard kernel/*.c kernel/*/*.c vmx/*.c drivers/host/*.c drivers/model/*.c))))
MONITOR_ASM := $(sort $(call without-checks,$(wildcard kernel/*.asm kernel/*/*.asm vmx/*.asm drivers/host/*.asm)))
# A build for tests (MONITOR_TEST=1, with a BUILD of its own) has more.
ifdef MONITOR_TEST
MONITOR_FLAGS += -DTEST_BUILD
MONITOR_SOURCES += $(wildcard tests/monitor/*.c)
MONITOR_ASM += $(wildcard tests/monitor/*.asm)
endif
MONITOR_OBJECTS := $(MONITOR_SOURCES:%.c=$(BUILD)/monitor/%.o) $(MONITOR_ASM:%.asm=$(BUILD)/monitor/%.asm.o)

# From Debian's console-setup-linux.
CONSOLE_FONT := /usr/share/consolefonts/Lat15-Terminus16.psf.gz

$(BUILD)/monitor/%.o: %.c kernel/build.mk
	@mkdir -p $(@D)
	@$(MONITOR_CC) $(MONITOR_FLAGS) $(if $(filter $<,$(FAST_SOURCES)),$(FAST),$(SMALL)) -c -o $@ $<

$(BUILD)/monitor/%.asm.o: %.asm kernel/build.mk
	@mkdir -p $(@D)
	@nasm -f elf64 -w+all -Werror -g -F dwarf -I. $(if $(filter 1,$(DEBUG_CHECKS)),-DDEBUG_CHECKS) -DFONT="'$(BUILD)/font.bin'" -MD $(@:.o=.d) -o $@ $<

$(BUILD)/font.bin: $(CONSOLE_FONT) tests/vm/font.py
	@mkdir -p $(@D)
	@python3 tests/vm/font.py $< $@

$(BUILD)/monitor/drivers/host/font.asm.o: $(BUILD)/font.bin

# A new or deleted source file changes the list, and with it the monitor.
$(BUILD)/monitor/sources: FORCE
	@mkdir -p $(@D)
	@echo '$(MONITOR_OBJECTS)' | cmp -s - $@ || echo '$(MONITOR_OBJECTS)' >$@

.PHONY: FORCE
FORCE:

INIT_OBJECTS := $(INIT_SOURCES:%.c=$(BUILD)/monitor/%.o) $(INIT_ASM:%.asm=$(BUILD)/monitor/%.asm.o)
LINK := $(MONITOR_CC) $(filter-out -MMD -MP,$(MONITOR_FLAGS)) -flto-partition=one

DEBUGGER_OBJECTS := $(DEBUGGER_SOURCES:%.c=$(BUILD)/monitor/%.o) $(DEBUGGER_ASM:%.asm=$(BUILD)/monitor/%.asm.o)
LINKED := $(BUILD)/monitor/init.o $(BUILD)/monitor/debugger.o \
	$(filter-out $(INIT_OBJECTS) $(DEBUGGER_OBJECTS),$(MONITOR_OBJECTS))

$(BUILD)/monitor/init.o: $(INIT_OBJECTS) $(BUILD)/monitor/sources
	@$(LINK) -nostdlib -r -flinker-output=nolto-rel -o $@ $(INIT_OBJECTS)

$(BUILD)/monitor/debugger.o: $(DEBUGGER_OBJECTS) $(BUILD)/monitor/sources
	@$(LINK) -nostdlib -r -flinker-output=nolto-rel -o $@ $(DEBUGGER_OBJECTS)

$(BUILD)/traprock.elf: $(LINKED) linker.ld
	@$(LINK) $(MONITOR_LDFLAGS) -T linker.ld -o $@ $(LINKED)

# The programs for the other end of the console's line, one file each.
HOST_PROGRAMS := $(BUILD)/traprock-mux $(BUILD)/traprock-dump
HOST_PROGRAM_SOURCES := $(filter-out %/traprock_gdb.py,$(wildcard kernel/debug/host/*.py))
$(HOST_PROGRAMS): $(BUILD)/traprock-%: $(HOST_PROGRAM_SOURCES) kernel/build.mk
	@mkdir -p $(@D)/host-program/$*
	@cp $(HOST_PROGRAM_SOURCES) $(@D)/host-program/$*
	@echo 'import sys, traprock_$* as program; sys.exit(program.main())' >$(@D)/host-program/$*/__main__.py
	@python3 -m zipapp -c -p '/usr/bin/env python3' -o $@ $(@D)/host-program/$*

# Traprock: `make help` lists what there is.

BUILD := build
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wshift-overflow=2 -Wvla -Wundef -Wpointer-arith -Wwrite-strings

.PHONY: all
all: $(BUILD)/BOOTX64.EFI

include kernel/build.mk
include boot/build.mk
include tests/guests/build.mk

# ---- Host tests: everything pure, under ASan and UBSan -------------------------------------------

HOST_CC := gcc
HOST_FLAGS := -std=gnu11 -I. -g -O1 $(WARNINGS) -fno-omit-frame-pointer -MMD -MP \
	-fsanitize=address,undefined -fno-sanitize-recover=all

# What has no hardware behind it, or only behind the doubles of tests/fake.
PURE := $(wildcard kernel/vm/*.c drivers/model/*.c) kernel/core/ratio.c kernel/core/fmt.c \
	kernel/core/pages.c kernel/core/page_table.c kernel/core/symbols.c kernel/core/time_calibrate.c \
	drivers/host/acpi.c \
	kernel/console/mux.c vmx/ept.c vmx/controls.c vmx/vmcs.c vmx/entry_check.c
HOST_OBJECTS := $(patsubst %.c,$(BUILD)/host/%.o,$(PURE) $(wildcard tests/fake/*.c) tests/check.c)
UNIT := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/*.c))

$(BUILD)/host/%.o: %.c
	@mkdir -p $(@D)
	@$(HOST_CC) $(HOST_FLAGS) -c -o $@ $<

$(BUILD)/host/libpure.a: $(HOST_OBJECTS)
	@rm -f $@
	@ar rcs $@ $^

$(BUILD)/unit/%: $(BUILD)/host/tests/unit/%.o $(BUILD)/host/libpure.a
	@mkdir -p $(@D)
	@$(HOST_CC) $(HOST_FLAGS) -o $@ $^

.PRECIOUS: $(BUILD)/unit/% $(BUILD)/host/tests/unit/%.o $(BUILD)/efi/%.o $(BUILD)/monitor/%.o

.PHONY: unit unit-%
unit: $(addprefix unit-,$(UNIT))
unit-%: $(BUILD)/unit/%
	@$<

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

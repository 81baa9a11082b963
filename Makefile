# Traprock: `make help` lists what there is.

BUILD := build
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# ---- Host tests: everything pure, under ASan and UBSan -------------------------------------------

WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wshift-overflow=2 -Wvla -Wundef -Wpointer-arith -Wwrite-strings
HOST_CC := gcc
HOST_FLAGS := -std=gnu11 -I. -g -O1 $(WARNINGS) -fno-omit-frame-pointer -MMD -MP \
	-fsanitize=address,undefined -fno-sanitize-recover=all

# What has no hardware behind it, or only behind the doubles of tests/fake.
PURE := $(wildcard kernel/vm/*.c drivers/model/*.c) $(wildcard kernel/core/ratio.c kernel/core/fmt.c)
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

.PRECIOUS: $(BUILD)/host/tests/unit/%.o

.PHONY: unit unit-%
unit: $(addprefix unit-,$(UNIT))
unit-%: $(BUILD)/unit/%
	@$<

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

# The emulator against the processor of this machine. No ASan: it claims the addresses that the test
# needs, and what it would find, the emulator's fuzzer finds. Needs HOST_CC, WARNINGS, BUILD.

NATIVE_FLAGS := -std=gnu11 -I. -g -O2 $(WARNINGS) -MMD -MP -fsanitize=undefined -fno-sanitize-recover=all
NATIVE_OBJECTS := $(patsubst %.c,$(BUILD)/native/%.o,$(wildcard tests/native/*.c) tests/check.c \
	$(addprefix kernel/vm/,decode.c decode_table.c emulate.c emulate_string.c alu.c guest_access.c \
	guest_walk.c guest_mem.c bus.c breakpoint.c))

$(BUILD)/native/%.o: %.c
	@mkdir -p $(@D)
	@$(HOST_CC) $(NATIVE_FLAGS) -c -o $@ $<

$(BUILD)/native/emulator: $(NATIVE_OBJECTS)
	@$(HOST_CC) $(NATIVE_FLAGS) -o $@ $^

.PHONY: native native-planted native-long
native: $(BUILD)/native/emulator
	@$<

# It finds each of the bugs in planted.py.
native-planted: $(BUILD)/native/emulator
	@python3 tests/native/planted.py --build $(BUILD) --cc '$(HOST_CC) $(filter-out -MMD -MP,$(NATIVE_FLAGS))'

# NATIVE_SEED is printed, and replays the run on the same machine.
NATIVE_CASES ?= 10000000
NATIVE_SEED ?= $(shell date +%s)
native-long: $(BUILD)/native/emulator
	@echo "$(NATIVE_CASES) instructions on the emulator and on the processor, NATIVE_SEED=$(NATIVE_SEED)"
	@NATIVE_CASES=$(NATIVE_CASES) NATIVE_SEED=$(NATIVE_SEED) NATIVE_TABLE=1 $< \
		>$(BUILD)/native/long.log || { grep -v '^# *[0-9a-f ]* .*/.*:' $(BUILD)/native/long.log; false; }
	@tail -n 3 $(BUILD)/native/long.log

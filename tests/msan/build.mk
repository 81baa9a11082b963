# The host tests under MemorySanitizer: what a guest gets to see comes from memory that was written.
# Needs FUZZ_CC (clang), BUILD, PURE, UNIT.

MSAN_FLAGS := -std=gnu11 -I. -g -O1 -Wall -Wextra -Werror -Wno-unknown-warning-option -MMD -MP -mcx16 \
	-fsanitize=memory -fno-sanitize-recover=all -fno-omit-frame-pointer
MSAN_OBJECTS := $(patsubst %.c,$(BUILD)/msan-host/%.o,$(PURE) $(wildcard tests/fake/*.c) tests/check.c \
	tests/native/forms.c)

$(BUILD)/msan-host/%.o: %.c
	@mkdir -p $(@D)
	@$(FUZZ_CC) $(MSAN_FLAGS) -c -o $@ $<

$(BUILD)/msan-host/libpure.a: $(MSAN_OBJECTS)
	@rm -f $@
	@ar rcs $@ $^

$(BUILD)/msan/%: $(BUILD)/msan-host/tests/unit/%.o $(BUILD)/msan-host/libpure.a
	@mkdir -p $(@D)
	@$(FUZZ_CC) $(MSAN_FLAGS) -o $@ $^

$(BUILD)/msan/test_uninitialised: $(BUILD)/msan-host/tests/msan/test_uninitialised.o $(BUILD)/msan-host/libpure.a
	@mkdir -p $(@D)
	@$(FUZZ_CC) $(MSAN_FLAGS) -o $@ $^

.PHONY: msan msan-%
msan: msan-test_uninitialised $(addprefix msan-,$(UNIT))
msan-%: $(BUILD)/msan/%
	@$<

.PRECIOUS: $(BUILD)/msan-host/%.o $(BUILD)/msan/%

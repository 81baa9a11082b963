# The test guests: one nasm source each, an ELF with a PVH entry each.

GUEST_SOURCES := $(wildcard tests/guests/*.asm) $(wildcard tests/bench/*.asm)
GUESTS := $(patsubst %.asm,$(BUILD)/guests/%.elf,$(notdir $(GUEST_SOURCES)))

vpath %.asm tests/guests tests/bench

$(BUILD)/guests/%.o: %.asm $(wildcard tests/guests/lib.inc tests/guests/lib/*.inc tests/guests/*/*.inc tests/bench/*.inc)
	@mkdir -p $(@D)
	@nasm -f elf64 -g -F dwarf -Werror -I./ -o $@ $<

# The cases of guest NAME may be in C, in the folder tests/guests/NAME.
GUEST_CC := gcc
GUEST_C_FLAGS := -std=gnu11 -I. -O1 -g $(WARNINGS) -ffreestanding -fno-pic -fno-pie -mno-red-zone \
	-mgeneral-regs-only -fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none \
	-MMD -MP

$(BUILD)/guests/%.c.o: tests/guests/%.c tests/guests/build.mk
	@mkdir -p $(@D)
	@$(GUEST_CC) $(GUEST_C_FLAGS) -c -o $@ $<

guest-objects = $(patsubst tests/guests/%.c,$(BUILD)/guests/%.c.o,$(wildcard tests/guests/$(1)/*.c))
$(foreach name,$(patsubst %.asm,%,$(notdir $(GUEST_SOURCES))),\
	$(eval $(BUILD)/guests/$(name).elf: $(call guest-objects,$(name))))

$(BUILD)/guests/%.elf: $(BUILD)/guests/%.o tests/guests/guest.ld
	@ld -m elf_x86_64 -nostdlib -static -z max-page-size=4096 -z noexecstack --no-warn-rwx-segments \
		-T tests/guests/guest.ld -o $@ $(filter %.o,$^)

.PRECIOUS: $(BUILD)/guests/%.o
.PHONY: guests
guests: $(GUESTS)

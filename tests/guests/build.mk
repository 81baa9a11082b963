# The test guests: one source each, in nasm or C, an ELF with a PVH entry each.

GUEST_SOURCES := $(wildcard tests/guests/*.asm) $(wildcard tests/bench/*.asm)
GUESTS := $(patsubst %.asm,$(BUILD)/guests/%.elf,$(notdir $(GUEST_SOURCES)))

C_GUESTS := $(patsubst tests/guests/%.c,%,$(wildcard tests/guests/*.c))
GUESTS += $(C_GUESTS:%=$(BUILD)/guests/%.elf)

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

# Guests that are C altogether share what is in tests/guests/fuzz.
FUZZ_OBJECTS_OF_GUESTS := $(patsubst tests/guests/%,$(BUILD)/guests/%.o,$(wildcard tests/guests/fuzz/*.c tests/guests/fuzz/*.asm))

$(BUILD)/guests/fuzz/%.asm.o: tests/guests/fuzz/%.asm $(wildcard tests/guests/lib.inc tests/guests/lib/*.inc)
	@mkdir -p $(@D)
	@nasm -f elf64 -g -F dwarf -Werror -I./ -o $@ $<

$(C_GUESTS:%=$(BUILD)/guests/%.elf): $(BUILD)/guests/%.elf: $(BUILD)/guests/%.c.o $(FUZZ_OBJECTS_OF_GUESTS) tests/guests/guest.ld
	@ld -m elf_x86_64 -nostdlib -static -z max-page-size=4096 -z noexecstack --no-warn-rwx-segments \
		-T tests/guests/guest.ld -o $@ $(filter %.o,$^)

# What firmware starts, a disk's first sectors, and a kernel that asks what firmware asks.
$(BUILD)/guests/%.bin: tests/guests/firmware/%.asm
	@mkdir -p $(@D)
	@nasm -f bin -Werror -I./ -o $@ $<
GUESTS += $(BUILD)/guests/boot_sector.bin $(BUILD)/guests/fw_cfg.bin

include tests/guests/formats/build.mk
GUESTS += $(FORMAT_GUESTS)

.PRECIOUS: $(BUILD)/guests/%.o
.PHONY: guests
guests: $(GUESTS) $(BUILD)/guests/entry_check.elf $(BUILD)/guests/entry_check_planted.elf

# VM entries on the bare machine against vmx/entry_check.c; the second has a bug planted in that.
ENTRY_CHECK := $(wildcard tests/guests/bare/entry_check/*.c) $(wildcard vmx/entry_check*.c) vmx/vmcs.c \
	kernel/core/mem.c
$(BUILD)/guests/entry_check_planted.elf: PLANTED := -DPLANTED_BUG_ENTRY_CHECK
$(BUILD)/guests/entry_check.elf $(BUILD)/guests/entry_check_planted.elf: $(BUILD)/guests/%.elf: tests/guests/bare/entry_check/main.asm $(ENTRY_CHECK) \
		$(wildcard tests/guests/bare/entry_check/*) $(wildcard vmx/*.h vmx/*.def) \
		$(wildcard tests/guests/lib/*) tests/guests/guest.ld
	@mkdir -p $(@D)
	@nasm -f elf64 -g -F dwarf -Werror -I./ -o $(BUILD)/guests/$*.main.o $<
	@nasm -f elf64 -o $(BUILD)/guests/$*.block.o kernel/core/mem_block.asm
	@$(GUEST_CC) $(filter-out -MMD -MP -O1,$(GUEST_C_FLAGS)) -O2 $(PLANTED) -nostdlib -static \
		-Wl,-z,max-page-size=4096,-z,noexecstack,--no-warn-rwx-segments,--build-id=none \
		-T tests/guests/guest.ld -o $@ $(BUILD)/guests/$*.main.o $(BUILD)/guests/$*.block.o \
		$(ENTRY_CHECK)

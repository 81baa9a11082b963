# The test guests: one nasm source each, an ELF with a PVH entry each.

GUEST_SOURCES := $(wildcard tests/guests/*.asm) $(wildcard tests/bench/*.asm)
GUESTS := $(patsubst %.asm,$(BUILD)/guests/%.elf,$(notdir $(GUEST_SOURCES)))

vpath %.asm tests/guests tests/bench

$(BUILD)/guests/%.o: %.asm $(wildcard tests/guests/lib.inc tests/guests/lib/*.inc tests/bench/*.inc)
	@mkdir -p $(@D)
	@nasm -f elf64 -g -F dwarf -Werror -I./ -o $@ $<

$(BUILD)/guests/%.elf: $(BUILD)/guests/%.o tests/guests/guest.ld
	@ld -m elf_x86_64 -nostdlib -static -z max-page-size=4096 --no-warn-rwx-segments \
		-T tests/guests/guest.ld -o $@ $<

.PRECIOUS: $(BUILD)/guests/%.o
.PHONY: guests
guests: $(GUESTS)

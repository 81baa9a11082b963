# Kernels for every format that the loaders know, in $(BUILD)/guests/formats.

FORMATS := $(BUILD)/guests/formats
FORMAT_GUESTS := $(addprefix $(FORMATS)/,protocols.elf addresses.elf pvh.elf plain32.elf plain64.elf low32.elf flat16.bin \
	flat32.bin flat64.bin)
FORMAT_C_FLAGS := $(filter-out -mno-red-zone -mgeneral-regs-only,$(GUEST_C_FLAGS)) -m32 -march=i686 -mno-sse

$(FORMATS)/%.c.o: tests/guests/formats/%.c
	@mkdir -p $(@D)
	@$(GUEST_CC) $(FORMAT_C_FLAGS) -c -o $@ $<

# QEMU's way to a PVH kernel has one module, the initrd.
$(FORMATS)/pvh.c.o: tests/guests/formats/protocols.c
	@mkdir -p $(@D)
	@$(GUEST_CC) $(FORMAT_C_FLAGS) -DMODULES=1 -c -o $@ $<

$(FORMATS)/protocols.elf $(FORMATS)/addresses.elf $(FORMATS)/pvh.elf: $(FORMATS)/%.elf: tests/guests/formats/entry.asm \
		$(FORMATS)/protocols.c.o $(FORMATS)/pvh.c.o tests/guests/formats/formats.ld
	@nasm -f elf32 $(if $(filter addresses,$*),-DADDRESSES) $(if $(filter pvh,$*),-DPVH_ALONE) -o $(FORMATS)/$*.o $<
	@ld -m elf_i386 -nostdlib -static -z max-page-size=4096 -z noexecstack --no-warn-rwx-segments \
		-T tests/guests/formats/formats.ld -o $@ $(FORMATS)/$*.o $(FORMATS)/$(if $(filter pvh,$*),pvh,protocols).c.o

$(FORMATS)/plain%.elf: tests/guests/formats/plain.asm
	@mkdir -p $(@D)
	@nasm -f elf$* -DELF -DBITS=$* -o $(@:.elf=.o) $<
	@ld -m elf_$(if $(filter 64,$*),x86_64,i386) -nostdlib -static -z noexecstack -Ttext 0x200000 -e start \
		--no-warn-rwx-segments -o $@ $(@:.elf=.o)

# Where a linker puts a kernel whose headers it keeps in the page before 1 MiB.
$(FORMATS)/low32.elf: $(FORMATS)/plain32.elf
	@ld -m elf_i386 -nostdlib -static -z noexecstack -Ttext 0xff000 -e start --no-warn-rwx-segments -o $@ $(<:.elf=.o)

$(FORMATS)/flat%.bin: tests/guests/formats/plain.asm
	@mkdir -p $(@D)
	@nasm -f bin -DBITS=$* -DORIGIN=$(if $(filter 16,$*),0x7c00,0x100000) -o $@ $<

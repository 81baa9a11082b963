# The UEFI program, from boot/ and the monitor's $(BUILD)/traprock.elf. Needs BUILD and WARNINGS.

# What the boot program shares with the monitor, compiled a second time, position-independent.
BOOT_SHARED := kernel/core/fmt.c kernel/core/hw_x86.c kernel/core/mem.c $(wildcard kernel/vm/config*.c) kernel/vm/regex_parse.c kernel/vm/watch_compile.c
BOOT_OBJECTS := $(patsubst %.c,$(BUILD)/efi/%.o,$(wildcard boot/*.c) $(BOOT_SHARED)) \
	$(BUILD)/efi/kernel/core/mem_block.o $(BUILD)/efi/boot/monitor.o

EFI_CC := gcc
# General registers only: UEFI's and System V's calling conventions disagree about who saves XMM
# registers, and nothing here needs them.
EFI_FLAGS := -std=gnu11 -I. -isystem /usr/include/efi -isystem /usr/include/efi/x86_64 -O2 -g \
	$(WARNINGS) -ffreestanding -fpic -fvisibility=hidden -fshort-wchar -mno-red-zone -mgeneral-regs-only \
	-fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none -maccumulate-outgoing-args \
	-DGNU_EFI_USE_MS_ABI -MMD -MP

$(BUILD)/efi/%.o: %.c boot/build.mk
	@mkdir -p $(@D)
	@$(EFI_CC) $(EFI_FLAGS) -c -o $@ $<

$(BUILD)/efi/%.o: %.asm
	@mkdir -p $(@D)
	@nasm -f elf64 -w+all -Werror -I. -o $@ $<

# The backtrace needs the symbols; the debug information stays in traprock.elf.
$(BUILD)/efi/traprock.elf: $(BUILD)/traprock.elf
	@mkdir -p $(@D)
	@objcopy --strip-debug $< $@

$(BUILD)/efi/boot/monitor.o: boot/monitor.asm $(BUILD)/efi/traprock.elf
	@mkdir -p $(@D)
	@nasm -f elf64 -w+all -Werror -DMONITOR="'$(BUILD)/efi/traprock.elf'" -o $@ $<

EFI_LD := ld -shared -Bsymbolic --no-undefined -znocombreloc -znoexecstack --build-id=none \
	-T /usr/lib/elf_x86_64_efi.lds /usr/lib/crt0-efi-x86_64.o
EFI_SECTIONS := -j .text -j .sdata -j .data -j .dynamic -j .dynsym -j .rel -j .rela -j .rel.* -j .rela.* \
	-j .reloc

$(BUILD)/efi/traprock.so: $(BOOT_OBJECTS) boot/build.mk
	@$(EFI_LD) -o $@ $(filter %.o,$^) -L /usr/lib -lgnuefi

# objcopy drops what is not named here, silently: the file must still hold the monitor, and no code may
# lie elsewhere.
$(BUILD)/BOOTX64.EFI: $(BUILD)/efi/traprock.so
	@! objdump -h $< | grep '\.init'
	@objcopy --target=efi-app-x86_64 --subsystem=10 $(EFI_SECTIONS) $< $@
	@test $$(stat -c %s $@) -gt $$(stat -c %s $(BUILD)/efi/traprock.elf)

# Programs for tests of the boot program, tests/vm/cases_boot.py, and of firmware in a guest,
# tests/vm/cases_firmware.py.
$(BUILD)/efi/lock_vmx.so $(BUILD)/efi/efi_guest.so: $(BUILD)/efi/%.so: $(BUILD)/efi/tests/vm/%.o \
		$(addprefix $(BUILD)/efi/kernel/core/,hw_x86.o mem.o mem_block.o)
	@$(EFI_LD) -o $@ $^ -L /usr/lib -lgnuefi

$(BUILD)/lock_vmx.efi $(BUILD)/efi_guest.efi: $(BUILD)/%.efi: $(BUILD)/efi/%.so
	@objcopy --target=efi-app-x86_64 --subsystem=10 $(EFI_SECTIONS) $< $@

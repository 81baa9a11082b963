# Monitors with a bug planted for the fuzz guests to find: $(BUILD)/planted/NAME/BOOTX64.EFI has what
# stands under PLANTED_BUG_NAME, and is the monitor otherwise. Only its sources are compiled again; none
# is one that goes with the start.

PLANTED_EFI = $(BUILD)/planted/$(1)/BOOTX64.EFI

$(BUILD)/planted/%/traprock.elf: $(BUILD)/traprock.elf
	@mkdir -p $(@D)
	@sources=$$(grep -lw PLANTED_BUG_$* $(MONITOR_SOURCES)) && others='$(LINKED)' && own= && \
	for source in $$sources; do \
		object=$(@D)/$$(echo $$source | tr / _).o && own="$$own $$object" && \
		others=$$(echo " $$others " | sed "s# $(BUILD)/monitor/$${source%.c}.o # #") && \
		$(MONITOR_CC) $(filter-out -MMD -MP,$(MONITOR_FLAGS)) $(FAST) -DPLANTED_BUG_$* -c -o $$object $$source || exit 1; \
	done && \
	$(LINK) $(MONITOR_LDFLAGS) -T linker.ld -o $@ $$others $$own

$(BUILD)/planted/%/BOOTX64.EFI: $(BUILD)/planted/%/traprock.elf $(BUILD)/efi/traprock.so
	@objcopy --strip-debug $< $(@D)/stripped.elf
	@nasm -f elf64 -w+all -Werror -DMONITOR="'$(@D)/stripped.elf'" -o $(@D)/monitor.o boot/monitor.asm
	@$(EFI_LD) -o $(@D)/traprock.so $(filter-out %/boot/monitor.o,$(BOOT_OBJECTS)) $(@D)/monitor.o -L /usr/lib -lgnuefi
	@objcopy --target=efi-app-x86_64 --subsystem=10 $(EFI_SECTIONS) $(@D)/traprock.so $@

.PRECIOUS: $(BUILD)/planted/%/traprock.elf $(BUILD)/planted/%/BOOTX64.EFI

# The one of `make test`, and those of `make fuzz VM=1`, each with the guest that has to find it in its
# fixed sample: see PLANTED in cases_fuzz.py.
PLANTED_TEST := $(call PLANTED_EFI,VIRTIO_CONSOLE)
PLANTED_ALL := $(foreach bug,XSETBV MSR_HOLE IOAPIC_BOUND VIRTIO_CONSOLE,$(call PLANTED_EFI,$(bug)))

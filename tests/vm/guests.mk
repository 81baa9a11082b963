# The files of the default guest, in $(BUILD)/guest, and the tool that reads configurations on the
# host. Needs BUILD, HOST_CC and WARNINGS. KERNEL_PACKAGE may name another kernel of Debian's.

KERNEL_PACKAGE ?= linux-image-cloud-amd64
GUEST := $(BUILD)/guest
GUEST_FILES := python3 tests/vm/guest_files.py

# One target stands for the package as it was unpacked.
$(GUEST)/fetched-$(KERNEL_PACKAGE): tests/vm/guest_files.py
	@mkdir -p $(@D)
	@$(GUEST_FILES) fetch --package $(KERNEL_PACKAGE) --out $(GUEST)
	@touch $@

$(GUEST)/vmlinuz $(GUEST)/modules: $(GUEST)/fetched-$(KERNEL_PACKAGE) ;

$(GUEST)/vmlinux: $(GUEST)/fetched-$(KERNEL_PACKAGE)
	@$(GUEST_FILES) vmlinux --kernel $(GUEST)/vmlinuz --out $@

$(GUEST)/initramfs.cpio: $(GUEST)/fetched-$(KERNEL_PACKAGE)
	@$(GUEST_FILES) initramfs --modules $(GUEST)/modules --out $@

$(GUEST)/root.ext4: tests/vm/guest_files.py
	@mkdir -p $(@D)
	@$(GUEST_FILES) disk --out $@

$(BUILD)/config_files: tests/vm/config_files.c $(wildcard kernel/vm/config*.[ch]) kernel/core/fmt.c \
		kernel/vm/regex.h kernel/vm/regex_parse.c kernel/vm/watch.h kernel/vm/watch_compile.c
	@mkdir -p $(@D)
	@$(HOST_CC) -std=gnu11 -I. -O1 -g $(WARNINGS) -o $@ $(filter %.c,$^)

# The kernel that Debian installs on machines has drivers that its cloud kernel is built without.
STANDARD := $(GUEST)/standard
$(STANDARD)/fetched: tests/vm/guest_files.py
	@mkdir -p $(@D)
	@$(GUEST_FILES) fetch --package linux-image-amd64 --out $(STANDARD)
	@touch $@

$(STANDARD)/vmlinux: $(STANDARD)/fetched
	@$(GUEST_FILES) vmlinux --kernel $(STANDARD)/vmlinuz --out $@

# Kernels of other formats from Debian's packages: package, and the file in it.
DEBIAN_KERNELS := $(addprefix $(GUEST)/,memtest86+x64.bin memtest86+ia32.bin ipxe.lkrn xen) $(STANDARD)/vmlinux
$(GUEST)/memtest86+%.bin: tests/vm/guest_files.py
	@mkdir -p $(@D)
	@$(GUEST_FILES) file --package memtest86+ --path 'boot/memtest86+$*.bin' --out $@
$(GUEST)/ipxe.lkrn: tests/vm/guest_files.py
	@mkdir -p $(@D)
	@$(GUEST_FILES) file --package ipxe --path boot/ipxe.lkrn --out $@
$(GUEST)/xen: tests/vm/guest_files.py
	@mkdir -p $(@D)
	@$(GUEST_FILES) file --package xen-hypervisor-4.17-amd64 --path 'boot/xen-4.17-amd64.gz' --out $@

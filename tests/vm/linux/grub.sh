# Started by GRUB from a disk of its own, which the firmware found.
. /report.sh

check command-line grep -q '^BOOT_IMAGE=/vmlinuz console=ttyS0 ' /proc/cmdline
check boot-loader test "$(cat /proc/sys/kernel/bootloader_type)" = 114 # GRUB, with its version
same disk "$(dd if=/dev/vda bs=1 skip=32769 count=5 2>/dev/null)" CD001
check memory-map sh -c 'dmesg | grep -q "BIOS-e820: \[mem 0x0000000000100000-.*\] usable"'
check acpi-from-firmware sh -c 'dmesg | grep -q "ACPI: RSDP 0x00000000000F"'
finish

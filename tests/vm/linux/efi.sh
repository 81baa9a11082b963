# Started by UEFI firmware, by way of the kernel's EFI stub.
. /report.sh

check efi test -d /sys/firmware/efi
check efi-runtime-variables test -e /sys/firmware/efi/runtime
check acpi-from-firmware sh -c 'dmesg | grep -q "ACPI: RSDP 0x.*(v02 TRAPRK"'
check acpi-fadt test -e /sys/firmware/acpi/tables/FACP
same clocksource "$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)" tsc
check interrupts-serial grep -qE 'IO-APIC +4-edge +ttyS0' /proc/interrupts
check interrupts-msix grep -qE 'PCI-MSI.*virtio' /proc/interrupts
check disk sh -c 'dd if=/dev/vda of=/dev/null bs=64K count=16 2>/dev/null'
check no-segfault sh -c '! dmesg | grep -E "segfault|general protection|traps:"'
finish

# What Linux finds: processors, clocks, interrupts, PCI, ACPI; and what it complains about.
. /report.sh

same clocksource "$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)" tsc
check clocksource-acpi-pm grep -q acpi_pm \
    /sys/devices/system/clocksource/clocksource0/available_clocksource

# The TSC's frequency, for the test outside to compare.
echo "value tsc-mhz $(dmesg | sed -n 's/.*tsc: Detected \([0-9.]*\) MHz processor.*/\1/p' | tail -n 1)"

# A second by the RTC's clock is a second by the kernel's.
start=$(cut -d. -f1 /proc/uptime)
sleep 2
end=$(cut -d. -f1 /proc/uptime)
check sleep [ $((end - start)) -ge 1 -a $((end - start)) -le 3 ]

# Interrupts arrive, by the names that Linux gives their ways.
check interrupts-timer grep -qE '^ *LOC: +[1-9]' /proc/interrupts
check interrupts-serial grep -qE 'IO-APIC +4-edge +ttyS0' /proc/interrupts
check interrupts-acpi grep -qE 'IO-APIC +9-fasteoi +acpi' /proc/interrupts
check interrupts-msix grep -qE 'PCI-MSI.*virtio' /proc/interrupts
check no-spurious grep -qE '^ *ERR: +0' /proc/interrupts
check no-missed grep -qE '^ *MIS: +0' /proc/interrupts

# PCI: the host bridge and virtio's devices, by what they say they are.
ids=$(cat /sys/bus/pci/devices/*/vendor /sys/bus/pci/devices/*/device | sort -u | tr '\n' ' ')
check pci-virtio-blk sh -c "echo '$ids' | grep -q 0x1042"
check pci-virtio-rng sh -c "echo '$ids' | grep -q 0x1044"
check pci-host-bridge test -e /sys/bus/pci/devices/0000:00:00.0
check pci-ecam sh -c 'dmesg | grep -q "PCI: .*ECAM\|PCI: MMCONFIG.*\[mem"'
for device in /sys/bus/pci/devices/*; do
    [ "$(cat "$device/vendor")" = 0x1af4 ] || continue
    check "pci-driver-$(basename "$device" | tr : -)" test -e "$device/driver"
done

check acpi test -e /sys/firmware/acpi/tables/DSDT
check acpi-facp test -e /sys/firmware/acpi/tables/FACP
check acpi-apic test -e /sys/firmware/acpi/tables/APIC
check acpi-mcfg test -e /sys/firmware/acpi/tables/MCFG
check acpi-s5 sh -c 'dmesg | grep -q "ACPI: PM: (supports S0 .*S5)"'
check hypervisor-flag grep -q '^flags.* hypervisor' /proc/cpuinfo
check rtc test -e /sys/class/rtc/rtc0
check rtc-date [ "$(cut -d- -f1 /sys/class/rtc/rtc0/date)" -ge 2020 ]

# Warnings and worse, for the test outside to compare with what QEMU shows.
dmesg -r | sed -n 's/^<[0-4]>\[ *[0-9.]*\] /complaint /p'
finish

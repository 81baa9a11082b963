# A short life: the kernel came up, time runs, interrupts arrive.
. /report.sh

same clocksource "$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)" tsc
before=$(cut -d. -f1 /proc/uptime)
sleep 1
check sleep [ "$(cut -d. -f1 /proc/uptime)" -gt "$before" ]
check disk sh -c 'dd if=/dev/vda of=/dev/null bs=64K count=16 2>/dev/null'
check interrupts grep -qE '^ *LOC: +[1-9]' /proc/interrupts
echo "value x2apic $(grep -c '^flags.* x2apic' /proc/cpuinfo)"
echo "value gbpages $(grep -c '^flags.* pdpe1gb' /proc/cpuinfo)"
finish

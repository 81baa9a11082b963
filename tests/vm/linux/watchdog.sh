# QEMU's ib700 under its stock driver. Ends by the watchdog.
. /report.sh

check watchdog-ports grep -q "0443-0443 : IB700 WDT" /proc/ioports
check watchdog-device test -c /dev/watchdog
watchdog -F -t 1 -T 4 /dev/watchdog &
sleep 7
check watchdog-fed kill -0 $!
kill -9 $!
wait
check watchdog-not-closed sh -c 'dmesg | grep -q "WDT device closed unexpectedly"'
sleep 2
echo "ok watchdog-waits"
sleep 10
echo "not ok watchdog-starved: the machine runs on"

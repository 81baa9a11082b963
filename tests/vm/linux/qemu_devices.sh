# QEMU's devices that stock Linux has drivers for: fw_cfg, pvpanic. Ends in a panic that is meant.
. /report.sh

fw=/sys/firmware/qemu_fw_cfg
same fw-cfg-rev "$(cat $fw/rev)" 3
check fw-cfg-driver test -e /sys/bus/acpi/devices/QEMU0002:00
same fw-cfg-ports "$(grep -c fw_cfg_io /proc/ioports)" 1
same fw-cfg-file "$(cat $fw/by_name/opt/org.example/key/raw)" "the key"
same fw-cfg-size "$(cat $fw/by_name/opt/org.example/blob/size)" 300000
same fw-cfg-blob "$(sha256sum < $fw/by_name/opt/org.example/blob/raw)" "$(sha256sum < /blob)"
check fw-cfg-e820 test -e $fw/by_name/etc/e820/raw
check fw-cfg-table-loader test -e $fw/by_name/etc/table-loader/raw
same fw-cfg-boot-order "$(tr '\0' '\n' < $fw/by_name/bootorder/raw)" "/pci@i0cf8/scsi@3/disk@0,0"
check pvpanic-driver test -e /sys/bus/platform/drivers/pvpanic-mmio/QEMU0001:00
same pvpanic-capability "$(cat /sys/bus/platform/drivers/pvpanic-mmio/QEMU0001:00/capability)" 3
check no-segfault sh -c '! dmesg | grep -E "segfault|general protection|traps:"'
echo done
echo c > /proc/sysrq-trigger

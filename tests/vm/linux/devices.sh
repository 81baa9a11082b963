# The virtio devices at work.
. /report.sh

mkdir -p /mnt
check mount mount -t ext4 /dev/vda /mnt
# 32 MiB, from a block of 4 MiB that the test outside has made, with the sum that it expects.
for _ in 1 2 3 4 5 6 7 8; do
    cat /block
done >/mnt/data
sync
echo 3 >/proc/sys/vm/drop_caches
same disk-sha256 "$(sha256sum </mnt/data | cut -d' ' -f1)" "$(cat /block.sha256)"
same disk-size "$(stat -c %s /mnt/data)" 33554432
rm /mnt/data
sync
check discard sh -c 'fstrim /mnt || [ ! -x /bin/fstrim ]'
check unmount umount /mnt
check remount mount -t ext4 -o ro /dev/vda /mnt
check gone test ! -e /mnt/data
umount /mnt

# 1 MiB each way through a console that gives back what it is given: in pieces that its ring holds,
# since Linux's hvc driver waits for the device with interrupts off, so that nobody could read.
exec 3<>/dev/hvc0 # kept open: the line's settings end with the last that has it open
stty -F /dev/hvc0 raw -echo -echoctl
dd if=/dev/urandom of=/tmp.out bs=64K count=16 2>/dev/null
piece=0
while [ $piece -lt 32 ]; do
    dd if=/tmp.out bs=32768 skip=$piece count=1 2>/dev/null >&3
    timeout 20 head -c 32768 <&3 >>/tmp.in || break
    piece=$((piece + 1))
done
exec 3>&-
same hvc0-bytes "$(stat -c %s /tmp.in)" 1048576
check hvc0-1-mib cmp /tmp.out /tmp.in

same rng-driver "$(cat /sys/class/misc/hw_random/rng_current)" virtio_rng.0
same rng-bytes "$(head -c 4096 /dev/hwrng | wc -c)" 4096
check rng-differs sh -c '[ "$(head -c 32 /dev/hwrng | sha256sum)" != "$(head -c 32 /dev/hwrng | sha256sum)" ]'
finish

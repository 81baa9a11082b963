# The virtio devices at work.
. /report.sh

mkdir -p /mnt
check mount mount -t ext4 /dev/vda /mnt
check urandom sh -c 'dd if=/dev/urandom of=/mnt/data bs=1M count=32 2>/dev/null'
before=$(sha256sum </mnt/data)
sync
echo 3 >/proc/sys/vm/drop_caches
after=$(sha256sum </mnt/data)
same disk-sha256 "$after" "$before"
same disk-size "$(stat -c %s /mnt/data)" 33554432
rm /mnt/data
sync
check discard sh -c 'fstrim /mnt || [ ! -x /bin/fstrim ]'
check unmount umount /mnt
check remount mount -t ext4 -o ro /dev/vda /mnt
check gone test ! -e /mnt/data
umount /mnt

# 1 MiB each way through a console that gives back what it is given.
stty -F /dev/hvc0 raw -echo -echoctl
dd if=/dev/urandom of=/tmp.out bs=64K count=16 2>/dev/null
head -c 1048576 </dev/hvc0 >/tmp.in &
reader=$!
cat /tmp.out >/dev/hvc0
(sleep 60; kill $reader 2>/dev/null) &
wait $reader
check hvc0-1-mib cmp /tmp.out /tmp.in

same rng-driver "$(cat /sys/class/misc/hw_random/rng_current)" virtio_rng.0
same rng-bytes "$(head -c 4096 /dev/hwrng | wc -c)" 4096
check rng-differs sh -c '[ "$(head -c 32 /dev/hwrng | sha256sum)" != "$(head -c 32 /dev/hwrng | sha256sum)" ]'
finish

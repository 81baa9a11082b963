# Many short processes: page tables, TLS and the FPU's state under timer interrupts.
. /report.sh

count=0
bad=0
while [ $count -lt 400 ]; do
    /bin/true || bad=$((bad + 1))
    count=$((count + 1))
done
same processes-in-turn $bad 0

# Several at once: context switches in the middle of each.
sum() {
    seq 1 2000 | sha256sum
}
wanted=$(sum)
for number in 1 2 3 4 5 6; do
    sum >/sum.$number &
done
wait
for number in 1 2 3 4 5 6; do
    same "process-$number" "$(cat /sum.$number)" "$wanted"
done
finish

# Says on two ports of the virtio console, in pieces, what is expected there; then nothing.
exec 3<>/dev/hvc0 4<>/dev/hvc1 # kept open: a line's settings end with the last that has it open
stty -F /dev/hvc0 raw -echo -echoctl
stty -F /dev/hvc1 raw -echo -echoctl
printf 'said over ' >&3
printf 'said over ' >&4
echo 'the loop' >&3
echo 'com2' >&4
exec sleep 1000

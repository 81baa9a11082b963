# Reports as the guests in tests/guests do; sourced by the scripts beside it.

failed=0

# check NAME COMMAND...: "ok NAME" if the command succeeds.
check() {
    check_name=$1
    shift
    if "$@"; then
        echo "ok $check_name"
    else
        echo "not ok $check_name: $* failed"
        failed=$((failed + 1))
    fi
}

# same NAME GOT WANTED
same() {
    if [ "$2" = "$3" ]; then
        echo "ok $1"
    else
        echo "not ok $1: got $2, expected $3"
        failed=$((failed + 1))
    fi
}

# No process died of a fault that the test has not made.
finish() {
    check no-segfault sh -c '! dmesg | grep -E "segfault|general protection|traps:"'
    echo done
    exit $((failed != 0))
}

#!/usr/bin/env python3
"""The guard of tests/vm/host.py bounds what Bochs logs on disk, and lets it go on."""

import os
import subprocess
import sys
import tempfile

HOST = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "vm", "host.py")
LIMIT = 128 << 10
ROUNDS = 4

# Logs twice the limit, and goes on when the disk has it no more.
EMULATOR = f"""
import os, time
with open("bochs.log", "w", buffering=1) as log:
    for number in range({ROUNDS}):
        while os.stat("bochs.log").st_blocks * 512 < {2 * LIMIT}:
            log.write(f"line of round {{number}}\\n" * 100)
        while os.stat("bochs.log").st_blocks * 512 > {LIMIT}:
            time.sleep(0.01)
    log.write("the last line\\n")
"""


def main():
    sys.path.insert(0, os.path.dirname(HOST))
    import host
    with tempfile.TemporaryDirectory(prefix="traprock-unit-") as folder:
        command = [HOST, "guard", folder, "60", str(LIMIT), sys.executable, "-c", EMULATOR]
        guard = subprocess.Popen([sys.executable] + command, stdin=subprocess.PIPE, cwd=folder)
        status = guard.wait()
        guard.stdin.close()
        log = os.path.join(folder, "bochs.log")
        kept = [host.read_tail(path, host.BOCHS_LOG_TAIL) for path in (log + ".before", log)]
        size = os.path.getsize(log)
    good = status == 0 and kept[1] == b"the last line\n" and size > ROUNDS * LIMIT and \
        kept[0].endswith(b"line of round %d\n" % (ROUNDS - 1)) and b"\0" not in kept[0]
    print("ok emulator-log" if good else f"not ok emulator-log: status {status}, {size} bytes, {kept[1][-80:]}")
    return not good


if __name__ == "__main__":
    sys.exit(main())

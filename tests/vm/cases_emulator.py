"""The instruction emulator under guests: every form of it in the modes of ring 0, and what it refuses
or leaves to the processor."""

from cases_guests import reporting
from harness import Case, outcome, vm


def vector_on_device(run):
    """The guest's own faults come first; at last a store ends the guest with a report."""
    run.guest("vector_device")
    status, text = run.run_to_end(vm("vector_device", debug_exit="0xf4"))
    text = text.replace("\r", "")
    for name in ("task-switched", "no-coprocessor", "no-osfxsr", "on-ram", "load"):
        run.check(f"vector_device/{name}", f"\nok {name}\n" in text, "not reported as ok")
    run.check("vector_device/report", "cannot emulate the instruction at RIP" in text and
              "f3 0f 7f 07" in text, "no report of the instruction")
    run.check("vector_device/no-further", "went on" not in text)
    ended = outcome(text, "vector_device")
    run.check("vector_device/outcome", ended and ended[0] == "stopped", f"{ended}")
    run.check("vector_device/monitor-goes-on", status == 1, f"exit status {status}")


CASES = [reporting("emulator"), reporting("transfers", keys={"pc_testdev": "yes"}),
         reporting("wrap"), Case("guest-vector_device", vector_on_device, seconds=15)]

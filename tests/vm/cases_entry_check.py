"""VM entries: vmx/entry_check.c against Bochs, which needs no monitor."""

import os

import entry_check
from harness import Case

SEED, COUNT = 3, 30_000
PLANTED_COUNT = 3_000
LIMIT = 300


def sample(run):
    """A fixed sample: no disagreement, each rule shown that can be, each known defect still there."""
    elf = os.path.join(run.files.build, "guests", "entry_check.elf")
    result = entry_check.Result()
    for model in entry_check.MODELS:
        before = result.disagreements
        entry_check.run(result, elf, model, SEED, 0, COUNT, LIMIT * run.scale)
        run.check(f"entry-check/{model}", not result.broken and result.disagreements == before,
                  result.broken or "".join(result.text)[:2000])
    shown = {text for _, text in result.rules}
    missing = entry_check.rule_texts() - shown - set(entry_check.NOT_SHOWN)
    run.check("entry-check/rules", not missing, f"never the only reason: {sorted(missing)}")
    stale = shown & set(entry_check.NOT_SHOWN)
    run.check("entry-check/rules-not-shown", not stale, f"shown after all: {sorted(stale)}")
    gone = sorted(name for name, times in result.defects.items() if times == 0)
    run.check("entry-check/defects", result.defects and not gone, f"not seen: {gone}")


def planted(run):
    """A rule left out is found."""
    elf = os.path.join(run.files.build, "guests", "entry_check_planted.elf")
    result = entry_check.Result()
    entry_check.run(result, elf, entry_check.MODELS[0], SEED, 0, PLANTED_COUNT, LIMIT * run.scale)
    run.check("entry-check/planted", result.disagreements > 0 and not result.broken,
              "the rule that was taken out is not missed")


CASES = [
    Case("entry-check", sample, seconds=25, limit=LIMIT),
    Case("entry-check-planted", planted, seconds=5, limit=LIMIT),
]

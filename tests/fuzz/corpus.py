"""The inputs as they are, none of them changed: what is whole must be read, and what is hostile refused."""

from __future__ import annotations

from collections.abc import Iterator

from tests.fuzz import examples, samples
from tests.fuzz.case import Case
from tests.fuzz.runner import Runner
from tests.fuzz.targets import TARGETS


def findings(runner: Runner) -> Iterator[tuple[str, str, Case, str]]:
    """What is wrong: the name, the target, the input and why."""
    for name, target, case in _all():
        runner.warm(TARGETS[target])
        outcome = runner.run(TARGETS[target], case)
        failure = outcome.failure
        if name.startswith("ok_") and outcome.label != "value":
            failure = failure or f"should be read: {outcome.message}"
        if name.startswith(("x_", "rce_")) and outcome.label == "value":
            failure = failure or "should be refused"
        if failure:
            yield name, target, case, failure


def _all() -> Iterator[tuple[str, str, Case]]:
    yield from samples.verdicts()
    for name, target in TARGETS.items():
        for number, case in enumerate(target.corpus()):
            made = number < (len(examples.checkpoints()) if name in ("read", "inspect") else 1)
            yield f"ok_{name}" if made else case.given, name, case

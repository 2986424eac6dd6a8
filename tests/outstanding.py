"""A plugin that leaves out what passed before as things are, so that hours of tests can be run by parts.

`pytest -p tests.outstanding -m slow` runs the tests of architectures that have changed since these tests passed, the
tests that have changed themselves, those that failed, and those of no single architecture; what passes is put down in
`tests/data/passed.tsv` as it ends. What all architectures share is no part of an architecture's digest: the tests run
it in every run, on those of `tests.architectures.live`. What a test calls is no part of its state either: who changes
a table of faults, or how a model is recorded, removes the lines of the tests that use it.
"""

from __future__ import annotations

import hashlib
import inspect
import os
from functools import cache
from pathlib import Path

import pytest

from ppls.mappings.map_file import architectures
from scripts.evidence import digest

PASSED = Path(__file__).parent / "data" / "passed.tsv"
STATE = "state of what is tested"


def state_of(item: pytest.Item) -> str | None:
    """A digest of a test and of its architecture; None for a test of no single one."""
    if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
        return None
    names = {value for value in item.callspec.params.values() if isinstance(value, str)} & set(architectures())
    if len(names) != 1:
        return None
    test = inspect.getsource(item.function)
    return hashlib.sha256(f"{_digest(*names)}{test}".encode()).hexdigest()[:8]


@cache
def _digest(name: str) -> str:
    return digest(architectures()[name])


def passed() -> dict[str, str]:
    """The state in which each test passed."""
    lines = PASSED.read_text().splitlines() if PASSED.exists() else []
    return {test: state for state, test in (line.split("\t") for line in lines)}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    before = passed()
    left: list[pytest.Item] = []
    done: list[pytest.Item] = []
    for item in items:
        state = state_of(item)
        item.user_properties.append((STATE, state))
        (done if state is not None and before.get(item.nodeid) == state else left).append(item)
    config.hook.pytest_deselected(items=done)
    items[:] = left


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    state = dict(report.user_properties).get(STATE)
    if "PYTEST_XDIST_WORKER" in os.environ or report.when != "call" or not report.passed or state is None:
        return
    rows = passed() | {report.nodeid: state}
    PASSED.write_text("".join(f"{state}\t{test}\n" for test, state in sorted(rows.items())))

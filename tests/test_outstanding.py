"""Long tests go on where they were broken off: `tests.outstanding`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import outstanding

pytest_plugins = ["pytester"]

TESTS = """
import pytest

@pytest.mark.parametrize("architecture", ["UNet", "FCN"])
def test_of_one(architecture):
    assert architecture == "UNet"

@pytest.mark.parametrize("pair", ["UNet and FCN"])
def test_of_none(pair):
    pass
"""


def test_what_passed_is_left_out_until_it_changes(
    pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outstanding, "PASSED", tmp_path / "passed.tsv")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # a worker leaves the writing to its controller
    path = pytester.makepyfile(TESTS)

    def run() -> tuple[int, int, int]:
        found = pytester.inline_run("-p", "tests.outstanding", "-p", "no:cacheprovider")
        passed, skipped, failed = found.countoutcomes()
        assert not skipped
        return passed, failed, len(outstanding.passed())

    assert run() == (2, 1, 1)
    assert run() == (1, 1, 1)  # what failed, and what is of no single architecture
    monkeypatch.setattr(outstanding, "_digest", lambda name: f"another {name}")
    assert run() == (2, 1, 1)
    path.write_text(TESTS.replace('== "UNet"', 'in ("UNet", "FCN")'))
    assert run() == (3, 0, 2)
    assert run() == (1, 0, 2)

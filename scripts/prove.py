"""Runs the tests that have PaddleSeg beside ppls, of architectures that have changed since, and says so in docs/zoo.md.

python scripts/prove.py [NAME ...]     of those whose rows are of other maps or models than there are; of NAME anyway
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ppls.errors import UsageError  # noqa: E402
from ppls.mappings.map_file import architectures  # noqa: E402
from ppls.parity.embedded import embedded_map  # noqa: E402
from scripts.evidence import digest  # noqa: E402
from scripts.zoo import known_rows, proof, proven, write  # noqa: E402

TESTS = (
    *("tests/test_architectures.py", "tests/parity/test_architectures.py", "tests/models"),
    *("tests/converter/test_backbones.py", "tests/converter/test_expected.py", "tests/mappings/test_defaults.py"),
)


class Outcomes:
    """How the tests of each architecture ended: how many passed with PaddleSeg beside it, how many failed of all.

    Those with PaddleSeg skip where upstream does not have it.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.passed, self.failed = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
        self._of: dict[str, str] = {}  # by test
        self._beside: set[str] = set()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            given = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
            name = next((value for value in given.values() if isinstance(value, str) and value in self.passed), None)
            if name is not None:
                self._of[item.nodeid] = name
                if {"upstream", "judged"} & set(given):  # the fixtures that run PaddleSeg
                    self._beside.add(item.nodeid)
        items[:] = [item for item in items if item.nodeid in self._of]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = self._of[report.nodeid]
        self.passed[name] += report.nodeid in self._beside and report.when == "call" and report.passed
        self.failed[name] += report.failed


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    try:
        named = {embedded_map(name).title for name in parser.parse_args(arguments).names}
    except UsageError as error:
        parser.error(str(error))
    rows = known_rows()
    digests = {name: digest(map) for name, map in architectures().items()}
    names = {
        name
        for name, map in architectures().items()
        if name in named or (not named and any(proof(rows.get(recipe, "")) != digests[name] for recipe in map.recipes))
    }
    if not names:
        return 0
    print(f"the tests of {', '.join(sorted(names))}", file=sys.stderr, flush=True)
    outcomes = Outcomes(names)
    others = "not proof_rests_on"  # that test asks for what is written below
    pytest.main(["-q", "-m", "not slow", "-k", others, *(str(ROOT / path) for path in TESTS)], plugins=[outcomes])
    right = {name for name in names if outcomes.passed[name] and not outcomes.failed[name]}
    for name in right:
        rows |= {
            recipe: proven(rows[recipe], digests[name]) for recipe in architectures()[name].recipes if recipe in rows
        }
    write(rows)
    for name in sorted(names - right):
        why = "its tests fail" if outcomes.failed[name] else "upstream lacks it: PPLS_PADDLESEG names a checkout"
        print(f"{name}: {why}", file=sys.stderr)
    return 1 if names - right else 0


if __name__ == "__main__":
    sys.exit(main())

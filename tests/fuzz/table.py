"""What came of a run of the fuzzer, target by target."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from tests.fuzz.fleet import Result


def kind_of(failure: str) -> str:
    """What findings of one cause have in common: what was raised where; else what was said, without its figures."""
    lines = [line.strip() for line in failure.splitlines() if line.strip()]
    places = [line for line in lines if line.startswith('File "') and "/tests/fuzz/" not in line]
    said = f"{places[-1]}: {lines[-1].partition(':')[0]}" if places else lines[0]
    return re.sub(r"\d+|tmp\w+", "#", said)[:200]


@dataclass
class _Row:
    outcomes: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    largest: int = 0

    def add(self, result: Result) -> None:
        self.outcomes[result.label] += 1
        self.failed += bool(result.failure)
        self.seconds += result.seconds
        self.slowest = max(self.slowest, result.seconds)
        self.largest = max(self.largest, result.bytes)

    def cells(self, name: str) -> list[str]:
        refusals = ", ".join(f"{count:,} {label}" for label, count in self.outcomes.most_common() if label != "value")
        total = self.outcomes.total()
        return [
            name, f"{total:,}", f"{self.outcomes['value']:,}", f"{1e3 * self.seconds / max(1, total):.1f} ms",
            f"{self.slowest:.2f} s", f"{self.largest / 2**20:.0f} MiB", str(self.failed), refusals,
        ]  # fmt: skip


class Table:
    """Counts results; as text it is the table."""

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}
        self._total = _Row()
        self.kinds: Counter[tuple[str, str]] = Counter()

    def add(self, result: Result) -> None:
        self._rows.setdefault(result.target, _Row()).add(result)
        self._total.add(result)
        if result.failure:
            self.kinds[result.target, kind_of(result.failure)] += 1

    @property
    def failed(self) -> int:
        return self._total.failed

    def __str__(self) -> str:
        head = ["target", "inputs", "values", "CPU each", "slowest", "largest", "findings", "refusals"]
        lines = [head, *(row.cells(name) for name, row in self._rows.items()), self._total.cells("all")]
        widths = [max(len(line[column]) for line in lines) for column in range(len(head) - 1)]
        return "\n".join(
            "  ".join(
                [
                    line[0].ljust(widths[0]),
                    *(cell.rjust(width) for cell, width in zip(line[1:-1], widths[1:], strict=True)),
                    line[-1],
                ]
            ).rstrip()
            for line in lines
        )

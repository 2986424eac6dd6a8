"""What one stage of a verification found, and how much it compared of how much there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ppls.parity.figures import Figures
from ppls.parity.tolerance import Verdict, worst


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a verification.

    Attributes:
        name: `weights`, `outputs`, `layers`, ...
        unit: what it counts, in the plural: `tensors`, `outputs`, `calls of layers`.
        on: the inputs that it ran on; none where it needs none.
        compared, expected: how many of its unit were compared, and how many there are. A stage that did not run
            compared none.
        why: why it did not run or did not compare all; None where it did.
        figures: what it measured.
        failures: what is wrong beyond figures, one sentence each.
        warnings: what limits the proof, one sentence each.
        scope: what the candidate does not offer to be compared, in words: nothing is lacking for that.
        asked: whether it runs without being asked for, or was asked for: what was not lacks nothing.
    """

    name: str
    unit: str
    on: tuple[str, ...] = ()
    compared: int = 0
    expected: int = 0
    why: str | None = None
    figures: tuple[Figures, ...] = ()
    failures: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    scope: str | None = None
    asked: bool = True

    @property
    def ran(self) -> bool:
        return self.compared > 0 or bool(self.figures)

    @property
    def verdict(self) -> Verdict:
        """Of what was compared."""
        return "fail" if self.failures else worst(figures.verdict for figures in self.figures)

    @property
    def gap(self) -> str | None:
        """What was not compared, and why, in a sentence; None where nothing is lacking that was asked for."""
        if not self.asked or (self.compared >= self.expected and self.why is None):
            return None
        what = f"{self.compared:,} of {self.expected:,} {self.unit}" if self.expected else "nothing"
        return f"{self.name}: {what if self.ran else 'nothing'} compared{f': {self.why}' if self.why else ''}"

    def coverage(self) -> dict[str, Any]:
        """Its entry of the report's `coverage`."""
        return {
            "stage": self.name,
            "ran": self.ran,
            "why": "; ".join(filter(None, (self.scope, self.why))) or None,
            "on": list(self.on),
            "compared": self.compared,
            "expected": self.expected,
            "unit": self.unit,
        }

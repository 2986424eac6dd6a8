"""What a draft comes to: for each tensor what it becomes, how surely, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

Confidence = Literal["certain", "likely", "open"]


@dataclass(frozen=True)
class TensorRow:
    """Tensors of the source, those of the port that they become, and the operation, as the map's language has it.

    `module` is the row of the table that says it; None for one of `tensors:`.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    operation: str
    confidence: Confidence
    why: str
    candidates: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "source": list(self.source),
            "target": list(self.target),
            "operation": self.operation,
            "confidence": self.confidence,
            "why": self.why,
            "candidates": list(self.candidates),
        }


@dataclass(frozen=True)
class LayerRow:
    """A layer of the source and its counterpart, for `modules:`.

    Attributes:
        kind: of a layer, or the name of a block.
        tensors: what becomes of each of its tensors: the source's name in the layer, the port's, and whether it is
            transposed.
        options: the fourth column, as YAML.
        doubt: why it is only likely.
    """

    source: str
    target: str
    kind: str
    tensors: tuple[tuple[str, str, tuple[int, ...]], ...] = ()
    options: str = ""
    doubt: str = ""


@dataclass(frozen=True)
class TensorsRule:
    """A row of `tensors:`; `how` is it in YAML, with `{0}`, `{1}` for the sources and `{to}` for the targets.

    `doubt` is why it is only likely.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    how: str
    doubt: str = ""

    @property
    def text(self) -> str:
        """As YAML says it."""
        to = self.targets[0] if len(self.targets) == 1 else f"[{', '.join(self.targets)}]"
        return self.how.format(*self.sources, to=to)


@dataclass
class Rows:
    """All rows of a draft.

    Attributes:
        layers, tensors: the table.
        rows: the same, tensor by tensor.
        left_out: modules that the port does not have, by the option that says so.
        keep: tensors of the port that nothing fills, each with the reason.
        constants: tensors of the source that the port has built in: value, shape, and a tensor that stands beside it.
        unmatched_source, unmatched_target: tensors that no row has.
        notes: what a user should know of how the port computes.
    """

    layers: list[LayerRow] = field(default_factory=list)
    tensors: list[TensorsRule] = field(default_factory=list)
    rows: list[TensorRow] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    keep: dict[str, str] = field(default_factory=dict)
    constants: dict[str, tuple[float, tuple[int, ...], str]] = field(default_factory=dict)
    open: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unmatched_source: list[str] = field(default_factory=list)
    unmatched_target: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def settled(self) -> bool:
        """Whether every tensor has its row, each of them certain."""
        all_certain = all(row.confidence == "certain" for row in self.rows)
        return all_certain and not (self.open or self.unmatched_source or self.unmatched_target)

    def counted(self) -> dict[str, int]:
        """How many rows there are of each confidence."""
        return {name: sum(row.confidence == name for row in self.rows) for name in ("certain", "likely", "open")}


def common_prefix(names: Iterable[str]) -> str:
    """The module that all of these stand in."""
    parts = [name.split(".") for name in names]
    shared = []
    for column in zip(*parts, strict=False):
        if len(set(column)) > 1:
            break
        shared.append(column[0])
    return ".".join(shared)

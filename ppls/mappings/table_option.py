"""An option of a map that is told by a table: `by` names measures, `is` what they come to for each value."""

from __future__ import annotations

import re
from dataclasses import field
from typing import Annotated, Any

from ppls.mappings import cases
from ppls.mappings.cases import Case
from ppls.mappings.forms import Number, key_value
from ppls.mappings.names import Indexed, Name, OneSide, Tensor
from ppls.mappings.options import At, Option
from ppls.mappings.patterns import Pattern, prefixed
from ppls.mappings.readings import Reading
from ppls.records import dataclass
from ppls.schema import Node, Word, at_most, build, made_of, not_empty

_SIZE = re.compile(r"_|[0-9]{1,9}|([1-9][0-9]{0,3})?[a-z]")


@dataclass(eq=False, repr=False, kw_only=True)
class TableOption(Option):
    """The value in `is` beside which stands what the measures in `by` come to."""

    by: Annotated[dict[Word, Node], at_most(20), not_empty]
    is_: Annotated[dict[Word, Node] | list[dict[Word, Node]], at_most(200), not_empty] = field(metadata={"key": "is"})
    refuse: Annotated[dict[Name, Annotated[Word, at_most(500)]], at_most(20)] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.columns: list[tuple[str, Any]] = []
        for key, node in self.by.items():
            kind: Any = _MEASURES.get(key, OneSide if re.fullmatch("[a-z]", key) else None)
            if kind is None:
                node.fail_key(f"{key!r} is no measure; known are {', '.join(_MEASURES)}, and a letter for a size")
            named = build(node, kind | list[kind])  # type: ignore[operator]
            self.columns += [(key, name) for name in (named if isinstance(named, list) else [named])]
        self.letters: dict[str, list[Any]] = {}
        for letter, side in self.columns:
            if letter not in _MEASURES:
                self.letters.setdefault(letter, []).append(side)
        self.columns = [(key, name) for key, name in self.columns if key in _MEASURES]
        rows = self.is_ if isinstance(self.is_, list) else [self.is_]
        self.rows = [(key_value(text), self._expected(node)) for row in rows for text, node in row.items()]

    def _expected(self, node: Node) -> list[Any]:
        nodes = [node] if len(self.columns) == 1 else build(node, list[Node])
        if len(nodes) != len(self.columns):
            node.fail(f"expected {len(self.columns)} entries, one for each measure of `by:`, found {len(nodes)}")
        return [_expectation(key, node) for (key, _), node in zip(self.columns, nodes, strict=True)]

    def reading(self, at: At) -> Reading:
        letters = {
            letter: tuple((prefixed(side.pattern.text, at.source), side.dim) for side in sides)
            for letter, sides in self.letters.items()
        }
        measures = tuple((key, name.within(at.source)) for key, name in self.columns)
        rows = tuple(Case(value, tuple(expected)) for value, expected in self.rows)
        refused = tuple((pattern.within(at.source), why) for pattern, why in self.refuse.items())
        return cases.Table(measures, letters, rows, refused)


_MEASURES: dict[str, Any] = {
    "count": Indexed,
    "has": Name,
    "shape": Annotated[Pattern, made_of(Tensor, Pattern)],
}


def _expectation(key: str, node: Node) -> Any:
    if node.written == "_":
        return None
    if key == "count":
        return build(node, Number)
    if key == "has":
        return build(node, bool)
    return build(node, Annotated[Any, made_of(Word | Annotated[list[Word], at_most(32)], _shape)])


def _shape(value: str | list[str]) -> str | tuple[str, ...]:
    if isinstance(value, str):
        if value not in ("any", "none"):
            raise ValueError("a shape is a list of sizes, `any` (the tensor is there) or `none` (it is not)")
        return value
    for size in value:
        if not _SIZE.fullmatch(size):
            raise ValueError(f"{size!r} is no size: expected a number, `_` for any, a letter, or 4y for four times y")
    return tuple(value)

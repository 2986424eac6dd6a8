"""An option that is one of several values, told by what some measures of the tensors come to."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import repeat
from typing import Any

from ppls.mappings.forms import form_like
from ppls.mappings.patterns import Pattern
from ppls.mappings.readings import Reading
from ppls.mappings.shapes import NotRevealed, Refused, Shapes
from ppls.records import dataclass

_NOWHERE = -1  # the size of a tensor that is not there: equal to none


@dataclass(eq=False, repr=False)
class Case:
    """One value of a table, and what each measure must come to: None for anything."""

    value: Any
    expected: tuple[Any, ...]


@dataclass(eq=False, repr=False)
class Table(Reading):
    """The value of the first case whose measures come to what it expects.

    Attributes:
        measures: `count` (one more than the highest index), `has` (it is there) or `shape`, each with what it is of.
        letters: what letters in shapes stand for, each the size of one dimension of a tensor, the first that is there.
        refused: modules of variants that are not supported, and why.
    """

    measures: tuple[tuple[str, Pattern], ...]
    letters: Mapping[str, tuple[tuple[str, int], ...]]
    cases: tuple[Case, ...]
    refused: tuple[tuple[Pattern, str], ...] = ()

    @property
    def form(self) -> Any:
        return form_like(*(case.value for case in self.cases))

    def read(self, shapes: Shapes, config: Mapping[str, Any]) -> Any:
        for pattern, why in self.refused:
            if shapes.has(pattern):
                raise Refused(why)
        found = [_measured(kind, pattern, shapes) for kind, pattern in self.measures]
        sizes = {letter: _size_of_first(sides, shapes) for letter, sides in self.letters.items()}
        known = _NOWHERE not in sizes.values()
        for case in self.cases:
            if all(_is(*pair, dict(sizes), known) for pair in zip(found, case.expected, strict=True)):
                return case.value
        what = ", ".join(
            f"{pattern} {'missing' if value is None else list(value) if isinstance(value, tuple) else value}"
            for (_, pattern), value in zip(self.measures, found, strict=True)
        )
        raise NotRevealed(f"no known value fits these tensors: {what}")


def _size_of_first(sides: tuple[tuple[str, int], ...], shapes: Shapes) -> int:
    there = ((shapes.get(name), dim) for name, dim in sides)
    return next((shape[dim] for shape, dim in there if shape is not None and dim < len(shape)), _NOWHERE)


def _measured(kind: str, pattern: Pattern, shapes: Shapes) -> Any:
    if kind == "count":
        return max((index for index, _ in shapes.matches(pattern)), default=-1) + 1
    return shapes.has(pattern) if kind == "has" else shapes.get(pattern.text)


def _is(found: Any, expected: Any, sizes: dict[str, int], known: bool) -> bool:
    """Whether a measure comes to what is expected. `known`: the tensors are there that the letters are sizes of."""
    if expected is None:
        return True
    if isinstance(expected, str):  # of a shape: `any` or `none`
        return known and (found is None) == (expected == "none")
    if not isinstance(expected, tuple):
        return bool(found == expected)
    return found is not None and len(found) == len(expected) and all(map(_fits, found, expected, repeat(sizes)))


def _fits(size: int, expected: str, sizes: dict[str, int]) -> bool:
    """Whether a side of a shape is as expected; `sizes` holds what the letters stand for so far."""
    factor, letter = expected.rstrip("abcdefghijklmnopqrstuvwxyz"), expected.lstrip("0123456789")
    if expected == "_":
        return True
    if not letter:
        return size == int(expected)
    times = int(factor or 1)
    return sizes.setdefault(letter, size // times) * times == size

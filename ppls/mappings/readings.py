"""How tensors reveal an option: the size of a side, a count, a choice by shapes; one small class for each way."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from functools import partial
from typing import Any

from ppls.mappings import forms
from ppls.mappings.patterns import Pattern, lookup
from ppls.mappings.shapes import Absent, NotRevealed, Shapes
from ppls.records import dataclass


@dataclass(eq=False, repr=False)
class Reading:
    """How tensors reveal a value. `read` returns it, or raises `NotRevealed`."""

    @property
    def form(self) -> Any:
        """The type of values that a user may give; `Any` where the default alone tells."""
        return Any

    def read(self, shapes: Shapes, config: Mapping[str, Any]) -> Any:
        raise NotRevealed("no tensor shows it")

    def conflict(self, revealed: Any, given: Any) -> bool:
        """Whether a value that a user gives contradicts what the tensors reveal."""
        return bool(revealed != given)


@dataclass(eq=False, repr=False)
class Fixed(Reading):
    """Always the same: the class of a backbone whose map it is."""

    value: Any

    def read(self, shapes: Shapes, config: Mapping[str, Any]) -> Any:
        return self.value


@dataclass(eq=False, repr=False)
class ByPreset(Reading):
    """As the preset says whose model has the shapes of the tensors, told for all such options of a map at once.

    `option` is where an including map puts the options.
    """

    option: str


@dataclass(frozen=True)
class Factor:
    """What a size is multiplied with, and divided by: whole numbers leave a whole number, others need not."""

    times: float = 1
    over: float = 1

    @property
    def is_whole(self) -> bool:
        return isinstance(self.times, int) and isinstance(self.over, int)

    def of(self, size: int, what: str) -> Any:
        if not self.is_whole:
            return size * self.times / self.over
        if size * int(self.times) % int(self.over):
            raise NotRevealed(f"{what} has {size} channels, which {self.over} does not divide")
        return size * int(self.times) // int(self.over)


@dataclass(eq=False, repr=False)
class Size(Reading):
    """The size of one dimension of a tensor, or `otherwise` that of another where it is not there."""

    tensor: str
    dim: int
    factor: Factor = Factor()
    otherwise: tuple[str, int] | None = None

    @property
    def form(self) -> Any:
        return forms.Size if self.factor.is_whole else float

    def read(self, shapes: Shapes, config: Mapping[str, Any]) -> Any:
        tensor, dim = self.tensor, self.dim
        if self.otherwise is not None and shapes.get(tensor) is None and shapes.get(self.otherwise[0]) is not None:
            tensor, dim = self.otherwise
        return self.factor.of(shapes.side(tensor, shapes.get(tensor), dim), tensor)


@dataclass(eq=False, repr=False)
class Multiples(Reading):
    """The size of one dimension of a tensor, times each of the factors."""

    tensor: str
    dim: int
    factors: tuple[Factor, ...]

    @property
    def form(self) -> Any:
        return list[forms.Number]

    def read(self, shapes: Shapes, config: Mapping[str, Any]) -> list[int]:
        size = shapes.side(self.tensor, shapes.get(self.tensor), self.dim)
        return [int(factor.of(size, self.tensor)) for factor in self.factors]


@dataclass(eq=False, repr=False)
class Sizes(Reading):
    """The size of one dimension of each of the tensors 0, 1, 2...; or where that stands among known sizes.

    `index_in` gives the known sizes, of which several may be alike: the places are the default's, if they may be. With
    `over`, the sizes are divided by the values of that option. With `among`, a tensor may be missing where one that
    matches `among` is there: its size is `absent` then. With `other`, a tensor that matches that may stand in the place
    of one.
    """

    pattern: Pattern
    dim: int
    factor: Factor = Factor()
    index_in: Reading | None = None
    over: str = ""
    among: Pattern | None = None
    absent: int = 0
    other: Pattern | None = None
    default: tuple[int, ...] = ()

    @property
    def form(self) -> Any:
        return list[forms.Number] if self.factor.is_whole else list[float]

    def read(self, shapes: Shapes, config: Mapping[str, Any]) -> list[Any]:
        sizes = self._sizes(shapes)
        if self.over:
            units = _known(config, self.over, list[forms.Size])
            if len(units) != len(sizes) or any(size % unit for size, unit in zip(sizes, units, strict=False)):
                raise NotRevealed(f"{self.pattern} has {sizes}, which are no multiples of {self.over}, {units}")
            return [size // unit for size, unit in zip(sizes, units, strict=True)]
        if self.index_in is None:
            return [self.factor.of(size, self.pattern.text) for size in sizes]
        known = self.index_in.read(shapes, config)
        if len(self.default) == len(sizes) and all(map(partial(_is_at, known), self.default, sizes)):
            return list(self.default)
        places: list[int] = []
        for size in sizes:  # each behind the one before, where it may be
            behind = places[-1] + 1 if places else 0
            later = size in known[behind:]
            places.append(known.index(size, behind) if later else _place(size, known, self.pattern.text))
        return places

    def _sizes(self, shapes: Shapes) -> list[int]:
        if self.among is None:
            patterns = [self.pattern] if self.other is None else [self.pattern, self.other]
            return [shapes.side(str(self.pattern), shape, self.dim) for shape in shapes.consecutive(*patterns)]
        there = dict(shapes.matches(self.pattern))
        return [
            shapes.side(str(self.pattern), there[index], self.dim) if index in there else self.absent
            for index in range(len(shapes.consecutive(self.among)))
        ]

    def conflict(self, revealed: Any, given: Any) -> bool:
        # PaddleSeg takes one value for all levels. An export has no heads for training, whose sizes the run has:
        # where other tensors are missing, that is found by the model that the config describes
        if not isinstance(given, list):
            return bool(revealed != given)
        return given[: len(revealed)] != revealed and not (len(given) == 1 and {*given} == {*revealed})


@dataclass(eq=False, repr=False)
class SizesAt(Reading):
    """The size of one dimension of some of the tensors 0, 1, 2...: which of them, another option says."""

    pattern: Pattern
    dim: int
    option: str
    indices: tuple[tuple[Any, tuple[int, ...]], ...]

    @property
    def form(self) -> Any:
        return list[forms.Number]

    def read(self, shapes: Shapes, config: Mapping[str, Any]) -> list[int]:
        value = _known(config, self.option, Any)
        there, (name,) = dict(shapes.matches(self.pattern)), self.pattern.captures
        for known, indices in self.indices:
            if known == value:
                return [shapes.side(self.pattern.fill({name: index}), there.get(index), self.dim) for index in indices]
        raise NotRevealed(f"{self.option} is {value!r}, and `at:` says of other values which tensors they are")


@dataclass(eq=False, repr=False)
class ListedAt(Reading):
    """The sizes of these tensors: which, and in which order, another option says."""

    option: str
    sides: tuple[tuple[Any, tuple[tuple[str, int], ...]], ...]

    @property
    def form(self) -> Any:
        return list[forms.Number]

    def read(self, shapes: Shapes, config: Mapping[str, Any]) -> list[int]:
        value = _known(config, self.option, Any)
        for known, sides in self.sides:
            if known == value:
                return [shapes.side(name, shapes.get(name), dim) for name, dim in sides]
        raise NotRevealed(f"{self.option} is {value!r}, and `at:` says of other values which tensors they are")


class Unseen(int):
    """A number of the default, in a list of which other numbers were read off tensors."""


@dataclass(eq=False, repr=False)
class Listed(Reading):
    """The sizes of these tensors, each times its factor, or where they stand among known sizes: at that of the default.

    PaddleSeg takes one value for all: so a default of one, or a user's.
    """

    sides: tuple[tuple[str, int], ...]
    index_in: Reading | None
    default: tuple[int, ...]
    factors: tuple[Factor, ...]

    @property
    def form(self) -> Any:
        return list[forms.Whole]

    def read(self, shapes: Shapes, config: Mapping[str, Any]) -> list[int]:
        if self.index_in is None:
            sizes = [shapes.side(name, shapes.get(name), dim) for name, dim in self.sides]
            return [int(factor.of(size, "")) for factor, size in zip(self.factors, sizes, strict=True)]
        known = self.index_in.read(shapes, config)
        if len(self.default) == 1 < len(self.sides):
            places = [self._index(*side, shapes, known, self.default[0]) for side in self.sides]
            return places[:1] if {*places} == {*self.default} else places
        defaults = (*self.default, *[None] * len(self.sides))
        return [self._index(*side, shapes, known, default) for side, default in zip(self.sides, defaults, strict=False)]

    def _index(self, name: str, dim: int, shapes: Shapes, known: list[int], default: int | None) -> int:
        shape = shapes.get(name)
        if shape is None and default is not None:
            return Unseen(default)
        size = shapes.side(name, shape, dim)
        if default is not None and _is_at(known, default, size):
            return default
        return _place(size, known, name)

    def conflict(self, revealed: Any, given: Any) -> bool:
        if not isinstance(given, list) or len(given) != len(revealed):
            return not isinstance(given, list) or len(given) != 1 or {*given} != {*revealed}
        return any(a != b and not isinstance(a, Unseen) for a, b in zip(revealed, given, strict=True))


@dataclass(eq=False, repr=False)
class Sum(Reading):
    """The sizes of these tensors added up, as a list of that one: the channels of maps that are put together."""

    sides: tuple[tuple[str, int], ...]
    factor: Factor = Factor()

    @property
    def form(self) -> Any:
        return list[forms.Number]

    def read(self, shapes: Shapes, config: Mapping[str, Any]) -> list[int]:
        total = sum(shapes.side(name, shapes.get(name), dim) for name, dim in self.sides)
        return [self.factor.of(total, " and ".join(name for name, _ in self.sides))]


@dataclass(eq=False, repr=False)
class Root(Size):
    """The square root of the size of one dimension: the side of a square of which tensors show the area alone."""

    def read(self, shapes: Shapes, config: Mapping[str, Any]) -> int:
        area = super().read(shapes, config)
        side = math.isqrt(area)
        if side * side != area:
            raise NotRevealed(f"{self.tensor} has {area} channels, which is no square")
        return side

    def conflict(self, revealed: Any, given: Any) -> bool:
        # a side of another length may belong to an oblong of that area: the shapes tell
        return not isinstance(given, int) or given < 1 or bool(revealed * revealed % given)


@dataclass(eq=False, repr=False)
class Roots(Sizes):
    """The square roots of the sizes of one dimension of the tensors 0, 1, 2...: the sides of square windows.

    Of windows of which the tensors have as many rows as there are offsets, `offsets`, the side is half as long.
    """

    offsets: bool = False

    def read(self, shapes: Shapes, config: Mapping[str, Any]) -> list[Any]:
        areas = super().read(shapes, config)
        sides = [math.isqrt(area) for area in areas]
        if any(side * side != area for side, area in zip(sides, areas, strict=True)):
            raise NotRevealed(f"{self.pattern} has {areas}, which are not all squares")
        if not self.offsets:
            return sides
        if any(side % 2 == 0 for side in sides):
            raise NotRevealed(f"{self.pattern} has {areas}, which are not all squares of odd numbers, as offsets are")
        return [(side + 1) // 2 for side in sides]


@dataclass(eq=False, repr=False)
class Count(Reading):
    """How many tensors match."""

    pattern: Pattern

    @property
    def form(self) -> Any:
        return forms.Number

    def read(self, shapes: Shapes, config: Mapping[str, Any]) -> int:
        return len(shapes.consecutive(self.pattern))


@dataclass(eq=False, repr=False)
class Counts(Reading):
    """How many tensors match for each value of one of the two indices: the blocks of every stage."""

    pattern: Pattern
    per: str

    @property
    def form(self) -> Any:
        return list[forms.Number]

    def read(self, shapes: Shapes, config: Mapping[str, Any]) -> list[int]:
        return shapes.counts(self.pattern, self.per)


@dataclass(eq=False, repr=False)
class Length(Reading):
    """How many values a list has, but not which: only a default of that length, or the user, can say those."""

    patterns: tuple[Pattern, ...]
    defaults: tuple[tuple[Any, ...], ...]

    @property
    def form(self) -> Any:
        return forms.form_like(*self.defaults)

    def read(self, shapes: Shapes, config: Mapping[str, Any]) -> Any:
        count = self.length(shapes)
        for default in self.defaults:
            if len(default) == count:
                return list(default)
        known = " or ".join(f"{list(default)} has {len(default)}" for default in self.defaults)
        raise NotRevealed(f"the tensors show {count} values where the default {known}, and not which")

    def conflict(self, revealed: Any, given: Any) -> bool:
        return not isinstance(given, list) or len(given) != len(revealed)

    def length(self, shapes: Shapes) -> int:
        return len(shapes.consecutive(*self.patterns))


@dataclass(eq=False, repr=False)
class Stages(Reading):
    """How many blocks each stage has: the gaps between the blocks of `among` that also match `starts`."""

    starts: Pattern
    among: Pattern

    @property
    def form(self) -> Any:
        return list[forms.Number]

    def read(self, shapes: Shapes, config: Mapping[str, Any]) -> list[int]:
        starts = [index for index, _ in shapes.matches(self.starts)]
        blocks = [index for index, _ in shapes.matches(self.among)]
        if not starts or not blocks or starts[0] != blocks[0]:
            raise Absent(f"no tensor {self.starts} begins the first stage")
        firsts = [bisect_left(blocks, start) for start in starts]
        return [end - first for first, end in zip(firsts, [*firsts[1:], len(blocks)], strict=True)]


@dataclass(eq=False, repr=False)
class Present(Reading):
    """Whether a module or tensor is there."""

    pattern: Pattern

    @property
    def form(self) -> Any:
        return bool

    def read(self, shapes: Shapes, config: Mapping[str, Any]) -> bool:
        return shapes.has(self.pattern)


def _is_at(known: list[int], place: int, size: int) -> bool:
    return -len(known) <= place < len(known) and known[place] == size


def _place(size: int, known: list[int], what: str) -> int:
    """Where a size stands among known ones."""
    if size not in known:
        raise NotRevealed(f"{what} has {size} channels, which is none of {known}")
    return known.index(size)


def _known(config: Mapping[str, Any], option: str, form: Any) -> Any:
    try:
        return forms.accepted(lookup(config, option), form)
    except KeyError:
        raise NotRevealed(f"{option} is not known") from None
    except ValueError as reason:
        raise NotRevealed(f"{option}: {reason}") from None

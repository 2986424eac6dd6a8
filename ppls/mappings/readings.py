"""How tensors reveal an option: the size of a side, a count, a choice by shapes; one small class for each way."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ppls.mappings import forms
from ppls.mappings.patterns import Pattern, lookup, natural_key, shape_of_name

Shape = tuple[int, ...]


class NotRevealed(Exception):  # noqa: N818 - not an error yet: a default or the user may know
    """The tensors do not say what the option is; the message says why."""


class Absent(NotRevealed):
    """The tensors that would say what the option is are not there."""


class Refused(Exception):  # noqa: N818 - reported by the caller
    """The tensors say what the option is, and ppls does not support it; the message says so."""


class Shapes:
    """The shapes of a checkpoint's tensors, searchable by pattern."""

    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self._shapes = shapes
        self._names: dict[str, list[str]] = defaultdict(list)
        for name in shapes:
            self._names[shape_of_name(name)].append(name)

    def get(self, name: str) -> Shape | None:
        return self._shapes.get(name)

    def matches(self, pattern: Pattern) -> list[tuple[int, Shape]]:
        """Index and shape of every tensor that matches a pattern of one index, in the order of the index."""
        (index,) = pattern.captures
        found = [(pattern.match(name), name) for name in self._names.get(pattern.template, ())]
        return sorted((indices[index], self._shapes[name]) for indices, name in found if indices is not None)

    def consecutive(self, *patterns: Pattern) -> list[Shape]:
        """The shapes of the tensors that match any of the patterns, which must be numbered from 0 without a gap."""
        found = sorted(match for pattern in patterns for match in self.matches(pattern))
        named = " or ".join(map(str, patterns))
        if not found:
            raise Absent(f"no tensor {named}")
        if [index for index, _ in found] != list(range(len(found))):
            raise NotRevealed(f"the tensors {named} are not numbered 0 to {len(found) - 1}")
        return [shape for _, shape in found]

    def counts(self, pattern: Pattern, per: str) -> list[int]:
        """How many tensors match for each value of the index `per`, which must be numbered from 0 without a gap."""
        names = self._names.get(pattern.template, ())
        found = Counter(indices[per] for name in names if (indices := pattern.match(name)) is not None)
        if not found:
            raise Absent(f"no tensor {pattern}")
        if sorted(found) != list(range(len(found))):
            raise NotRevealed(f"the tensors {pattern} are not numbered 0 to {len(found) - 1} by {per}")
        return [found[index] for index in range(len(found))]

    def side(self, name: str, shape: Shape | None, dim: int) -> int:
        if shape is None:
            raise Absent(f"no tensor {name}")
        if dim >= len(shape):
            raise NotRevealed(f"{name} has the shape {list(shape)}, no dimension {dim}")
        return shape[dim]


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
class Size(Reading):
    """The size of one dimension of a tensor."""

    tensor: str
    dim: int

    @property
    def form(self) -> Any:
        return forms.Size

    def read(self, shapes: Shapes, config: Mapping[str, Any]) -> int:
        return shapes.side(self.tensor, shapes.get(self.tensor), self.dim)


@dataclass(eq=False, repr=False)
class Sizes(Reading):
    """The size of one dimension of each of the tensors 0, 1, 2...; or where that stands among known sizes.

    `index_in` gives the known sizes. With `over`, the sizes are divided by the values of that option. With `among`, a
    tensor may be missing where one that matches `among` is there: its size is `absent` then.
    """

    pattern: Pattern
    dim: int
    index_in: Reading | None = None
    over: str = ""
    among: Pattern | None = None
    absent: int = 0

    @property
    def form(self) -> Any:
        return list[forms.Number]

    def read(self, shapes: Shapes, config: Mapping[str, Any]) -> list[int]:
        sizes = self._sizes(shapes)
        if self.over:
            units = _known(config, self.over, list[forms.Size])
            if len(units) != len(sizes) or any(size % unit for size, unit in zip(sizes, units, strict=False)):
                raise NotRevealed(f"{self.pattern} has {sizes}, which are no multiples of {self.over}, {units}")
            return [size // unit for size, unit in zip(sizes, units, strict=True)]
        if self.index_in is None:
            return sizes
        known = self.index_in.read(shapes, config)
        strange = [size for size in sizes if size not in known]
        if strange:
            raise NotRevealed(f"{self.pattern} has {strange[0]} channels, which is none of {known}")
        return [known.index(size) for size in sizes]

    def _sizes(self, shapes: Shapes) -> list[int]:
        if self.among is None:
            return [shapes.side(str(self.pattern), shape, self.dim) for shape in shapes.consecutive(self.pattern)]
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
class Multiples(Reading):
    """An option's value times each of the factors."""

    option: str
    by: tuple[float, ...]

    def read(self, shapes: Shapes, config: Mapping[str, Any]) -> list[int]:
        unit = _known(config, self.option, forms.Size)
        return [int(unit * factor) for factor in self.by]


@dataclass(eq=False, repr=False)
class Indices(Reading):
    """Where the size of one dimension of each tensor stands among known sizes: that of the default, if it may be."""

    tensors: tuple[str, ...]
    dim: int
    index_in: Reading
    default: tuple[int, ...]

    @property
    def form(self) -> Any:
        return list[forms.Number]

    def read(self, shapes: Shapes, config: Mapping[str, Any]) -> list[int]:
        known = self.index_in.read(shapes, config)
        defaults = (*self.default, *[-1] * len(self.tensors))
        named = zip(self.tensors, defaults, strict=False)
        return [self._index(name, shapes, known, default) for name, default in named]

    def conflict(self, revealed: Any, given: Any) -> bool:
        # several feature maps may have as many channels, and the tensor may not be there: the model's shapes tell
        return not isinstance(given, list) or len(given) != len(revealed)

    def _index(self, name: str, shapes: Shapes, known: list[int], default: int) -> int:
        shape = shapes.get(name)
        if shape is None and default >= 0:
            return default
        size = shapes.side(name, shape, self.dim)
        if size not in known:
            raise NotRevealed(f"{name} has {size} channels, which is none of {known}")
        return default if 0 <= default < len(known) and known[default] == size else known.index(size)


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
    """How many values a list has, but not which: only the default, or the user, can say those."""

    patterns: tuple[Pattern, ...]
    default: tuple[Any, ...]

    @property
    def form(self) -> Any:
        return forms.form_like(self.default)

    def read(self, shapes: Shapes, config: Mapping[str, Any]) -> Any:
        count = self.length(shapes)
        if count != len(self.default):
            raise NotRevealed(
                f"the tensors show {count} values where the default {list(self.default)} has {len(self.default)}, "
                "and not which"
            )
        return list(self.default)

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
class Case:
    """One value of a choice, or why it is refused, and the shapes that mean it (None: the tensor is not there)."""

    value: Any
    refuse: str
    where: Mapping[str, tuple[str, ...] | str]

    def fits(self, shapes: Shapes) -> bool:
        sizes: dict[str, int] = {}
        return all(_fits(shapes.get(name), pattern, sizes) for name, pattern in self.where.items())


@dataclass(eq=False, repr=False)
class Choose(Reading):
    """The value of the first case whose tensors are there in the shapes it says."""

    cases: tuple[Case, ...]

    @property
    def form(self) -> Any:
        return forms.form_like(*(case.value for case in self.cases if not case.refuse))

    def read(self, shapes: Shapes, config: Mapping[str, Any]) -> Any:
        for case in self.cases:
            if case.fits(shapes):
                if case.refuse:
                    raise Refused(case.refuse)
                return case.value
        names = sorted({name for case in self.cases for name in case.where}, key=natural_key)
        found = ", ".join(f"{name} {list(shape) if (shape := shapes.get(name)) else 'missing'}" for name in names)
        raise NotRevealed(f"no known value fits these tensors: {found}")


def _known(config: Mapping[str, Any], option: str, form: Any) -> Any:
    try:
        return forms.accepted(lookup(config, option), form)
    except KeyError:
        raise NotRevealed(f"{option} is not known") from None
    except ValueError as reason:
        raise NotRevealed(f"{option}: {reason}") from None


def _fits(shape: Shape | None, pattern: tuple[str, ...] | str, sizes: dict[str, int]) -> bool:
    """Whether a shape is as a case wants it; `sizes` holds what the letters stand for so far."""
    if isinstance(pattern, str):
        return (shape is None) == (pattern == "none")
    if shape is None or len(shape) != len(pattern):
        return False
    for size, want in zip(shape, pattern, strict=True):
        factor, letter = want.rstrip("abcdefghijklmnopqrstuvwxyz"), want.lstrip("0123456789")
        if want == "_":
            continue
        if not letter:
            if size != int(want):
                return False
        elif sizes.setdefault(letter, size // int(factor or 1)) * int(factor or 1) != size:
            return False
    return True

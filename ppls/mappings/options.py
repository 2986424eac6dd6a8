"""The `config:` section of a map: every constructor option, and how the tensors reveal it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from typing import Annotated, Any, Literal

from ppls.mappings import readings
from ppls.mappings.config_rules import OptionRule
from ppls.mappings.forms import Number, Value, key_value
from ppls.mappings.names import AnySide, Indexed, Name, OneSide, OptionName, Side, option_name
from ppls.mappings.patterns import Pattern, prefixed
from ppls.mappings.program_facts import ProgramEntry
from ppls.mappings.readings import Factor, Reading
from ppls.records import dataclass
from ppls.schema import Word, at_most, made_of, not_empty

FEATURES = "features"

# by an option, and by each of its values
Indices = Annotated[
    dict[OptionName, Annotated[dict[Word, Annotated[list[Number], at_most(100)]], at_most(50)]], at_most(1)
]


def _divisor(value: str | float) -> str | float:
    if isinstance(value, str):
        return option_name(value)
    if not value > 0:
        raise ValueError(f"expected a number above 0, or an option, found {value}")
    return value


def _factors(value: int | float | list[int | float]) -> tuple[int | float, ...]:
    values = value if isinstance(value, list) else [value]
    if not values or not all(factor > 0 for factor in values):
        raise ValueError("expected numbers above 0")
    return tuple(values)


@dataclass(eq=False, repr=False)
class At:
    """Where an including map puts an option, and the tensors of the source; and the channels of its backbone's maps."""

    option: str
    source: str
    features: Reading | None = None


@dataclass(eq=False, repr=False, kw_only=True)
class Option:
    """What any option may say beside how it is read; see `OptionRule`."""

    default: Value = None
    one_of: Annotated[tuple[Value, ...], at_most(100)] = ()
    target_only: bool = False
    unless: Value = None
    program: ProgramEntry | None = None

    @property
    def is_list(self) -> bool:
        return isinstance(self.default, list)

    def reading(self, at: At) -> Reading:
        """How it is read. Raises `ValueError` where the backbone's map says too little."""
        raise NotImplementedError

    def uses(self) -> Iterator[str]:
        """The options that it is read by."""
        return self.program.uses() if self.program is not None else iter(())

    def rule(self, name: str, at: At) -> OptionRule:
        """The rule for the option of this name. Raises as `reading` does."""
        path = prefixed(name, at.option)
        if self.one_of and self.default is not None and self.default not in self.one_of:
            raise ValueError(f"the default {self.default!r} is none of {list(self.one_of)}")
        program = None if self.program is None else self.program.rule(at.option, at.source, self.is_list)
        return OptionRule(path, self.reading(at), self.default, self.one_of, self.target_only, self.unless, program)


@dataclass(eq=False, repr=False, kw_only=True)
class SizeOption(Option):
    """A size, or with an index a list of sizes; `times` and `over` as `Factor` has them, `at` as `SizesAt`.

    `otherwise` is a tensor with that size where the first is not there; with an index, where one of the first is not.
    """

    size: AnySide | Annotated[list[OneSide], at_most(20), not_empty]
    times: Annotated[tuple[int | float, ...] | None, made_of(int | float | list[int | float], _factors)] = None
    over: Annotated[str | int | float | None, made_of(int | float | Word, _divisor)] = None
    index_in: Literal["features"] | None = None
    among: Indexed | None = None
    absent: Number | None = None
    at: Annotated[Indices, not_empty] | None = None
    otherwise: AnySide | None = None

    def __post_init__(self) -> None:
        if (self.among is None) != (self.absent is None):
            raise ValueError("'among', where a tensor may be missing, and 'absent', its size then, need one another")
        is_list = isinstance(self.size, Side) and bool(self.size.pattern.captures)
        if self.among is not None and not is_list:
            raise ValueError("'among' needs a tensor with an index")
        several = is_list or isinstance(self.size, list)
        if self.at is not None and (not several or (self.times, self.over, self.index_in, self.among) != (None,) * 4):
            raise ValueError(
                "'at', by another option which tensors, needs one with an index or a list, and nothing else"
            )
        places = [place for values in (self.at or {}).values() for chosen in values.values() for place in chosen]
        if isinstance(self.size, list) and any(place >= len(self.size) for place in places):
            raise ValueError(f"'at' names place {max(places)} of a list of {len(self.size)} tensors, counted from 0")
        if isinstance(self.over, str) and (not is_list or self.times is not None):
            raise ValueError("sizes over the values of an option are those of tensors with an index, and nothing else")
        if self.index_in is not None and (self.times, self.over) != (None, None):
            raise ValueError("'index_in' cannot stand beside 'times' and 'over'")
        if isinstance(self.size, list) and (self.over or len(self.times or self.size) != len(self.size)):
            raise ValueError(
                "the sizes of several tensors are taken as they are, or looked up with 'index_in', or multiplied by "
                "`times:` of as many factors"
            )
        if isinstance(self.size, Side) and not is_list and self.index_in is not None:
            raise ValueError("'index_in' needs a tensor with an index, or a list of them")
        if self.times is not None and len(self.times) > 1 and is_list:
            raise ValueError("several factors are those of one tensor")
        if self.otherwise is not None:
            if (
                isinstance(self.size, list)
                or len(self.times or (1,)) > 1
                or is_list != bool(self.otherwise.pattern.captures)
            ):
                raise ValueError("'otherwise' is a tensor in place of one, not of several; both have an index or none")
            if is_list and (self.otherwise.dim != self.size.dim or (self.among, self.at) != (None, None)):
                raise ValueError("'otherwise', of tensors with an index, needs the same dimension, and no other rule")

    def uses(self) -> Iterator[str]:
        yield from super().uses()
        if isinstance(self.over, str):
            yield self.over
        yield from self.at or ()

    def reading(self, at: At) -> Reading:
        features = at.features if self.index_in else None
        if self.index_in and features is None:
            raise ValueError(f"the backbone's map says nothing of its `{FEATURES}:`")
        if isinstance(self.size, list):
            sides = tuple((prefixed(side.pattern.text, at.source), side.dim) for side in self.size)
            for decides, values in (self.at or {}).items():
                chosen = tuple((key_value(value), tuple(sides[i] for i in each)) for value, each in values.items())
                return readings.ListedAt(prefixed(decides, at.option), chosen)
            factors = tuple(Factor(times) for times in self.times or [1] * len(sides))
            return readings.Listed(sides, features, tuple(self.default or ()), factors)
        pattern, dim = self.size.pattern.within(at.source), self.size.dim
        over, option = (None, self.over) if isinstance(self.over, str) else (self.over, None)
        factors = tuple(Factor(times, over or 1) for times in self.times or (1,))
        if not pattern.captures:
            if len(factors) > 1:
                return readings.Multiples(pattern.text, dim, factors)
            other = self.otherwise
            instead = None if other is None else (prefixed(other.pattern.text, at.source), other.dim)
            return readings.Size(pattern.text, dim, factors[0], instead)
        for decides, values in (self.at or {}).items():
            indices = tuple((key_value(value), tuple(chosen)) for value, chosen in values.items())
            return readings.SizesAt(pattern, dim, prefixed(decides, at.option), indices)
        among = self.among.within(at.source) if self.among else None
        option = prefixed(option, at.option) if option else ""
        alike = self.otherwise.pattern.within(at.source) if self.otherwise else None
        default = tuple(self.default or ()) if features else ()
        return readings.Sizes(pattern, dim, factors[0], features, option, among, self.absent or 0, alike, default)


@dataclass(eq=False, repr=False, kw_only=True)
class SumOption(Option):
    sum: Annotated[list[OneSide], at_most(20), not_empty]
    over: Annotated[int, made_of(int, _divisor)] = 1

    def reading(self, at: At) -> Reading:
        sides = tuple((prefixed(side.pattern.text, at.source), side.dim) for side in self.sum)
        return readings.Sum(sides, Factor(1, self.over))


@dataclass(eq=False, repr=False, kw_only=True)
class RootOption(Option):
    root: AnySide
    offsets: bool = False

    def __post_init__(self) -> None:
        if self.offsets and not self.root.pattern.captures:
            raise ValueError(f"`offsets:` is of windows of several tensors, and {self.root.pattern} has no index")

    def reading(self, at: At) -> Reading:
        pattern = self.root.pattern.within(at.source)
        if pattern.captures:
            return readings.Roots(pattern, self.root.dim, offsets=self.offsets)
        return readings.Root(pattern.text, self.root.dim)


@dataclass(eq=False, repr=False, kw_only=True)
class CountOption(Option):
    count: Name | Annotated[list[Indexed], at_most(20), not_empty]
    per: Word | None = None
    defaults: Annotated[tuple[Value, ...], at_most(100)] = ()

    def __post_init__(self) -> None:
        patterns = self.patterns
        if self.default is not None and self.defaults:
            raise ValueError("default and defaults cannot stand together")
        lists = self.lists
        if self.per is not None:
            if len(patterns) > 1 or len(patterns[0].captures) != 2 or self.per not in patterns[0].captures:
                raise ValueError(f"{patterns[0]} must have two indices, {self.per!r} among them")
            if lists:
                raise ValueError("'per' has no meaning beside a default that is counted")
        elif len(patterns) > 1 and not lists:
            raise ValueError("only the values of a `default:` are counted by several patterns")
        elif any(len(pattern.captures) != 1 for pattern in patterns):
            raise ValueError(f"{patterns[0]} must have one index, <i>, to count by")
        elif not all(isinstance(values, list) for values in lists):
            raise ValueError("the `default:` of what is counted is a list")
        if len({len(values) for values in lists}) < len(lists):
            raise ValueError("two of the `defaults:` are of one length, which is what tells them")

    @property
    def patterns(self) -> list[Pattern]:
        return self.count if isinstance(self.count, list) else [self.count]

    @property
    def is_list(self) -> bool:
        return bool(self.lists)

    @property
    def lists(self) -> tuple[Any, ...]:
        return self.defaults or (() if self.default is None else (self.default,))

    def reading(self, at: At) -> Reading:
        patterns = tuple(pattern.within(at.source) for pattern in self.patterns)
        if self.per is not None:
            return readings.Counts(patterns[0], self.per)
        if not self.lists:
            return readings.Count(patterns[0])
        return readings.Length(patterns, tuple(tuple(values) for values in self.lists))


@dataclass(eq=False, repr=False, kw_only=True)
class StagesOption(Option):
    starts: Indexed
    among: Indexed = field(metadata={"missing": "'among', all the blocks, is missing"})

    def reading(self, at: At) -> Reading:
        return readings.Stages(self.starts.within(at.source), self.among.within(at.source))


@dataclass(eq=False, repr=False, kw_only=True)
class PresentOption(Option):
    present: Name

    def reading(self, at: At) -> Reading:
        return readings.Present(self.present.within(at.source))


@dataclass(eq=False, repr=False, kw_only=True)
class ResizeOption(Option):
    resize: Literal["bilinear", "nearest"]

    def __post_init__(self) -> None:
        if self.default is not None or self.one_of:
            raise ValueError("'resize' says the default; the other is bilinear or nearest")
        self.default = self.resize
        self.one_of = (self.resize, "nearest" if self.resize == "bilinear" else "bilinear")

    def reading(self, at: At) -> Reading:
        return Reading()


@dataclass(eq=False, repr=False, kw_only=True)
class PresetOption(Option):
    told_by: Literal["presets"]

    def __post_init__(self) -> None:
        if self.default is not None or self.one_of:
            raise ValueError("the presets say which values there are")

    def reading(self, at: At) -> Reading:
        return readings.ByPreset(at.option)


@dataclass(eq=False, repr=False, kw_only=True)
class DefaultOption(Option):
    default: Value = field(metadata={"missing": "says neither how to read the option nor its `default:`"})

    def reading(self, at: At) -> Reading:
        return Reading()

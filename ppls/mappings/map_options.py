"""The `config:` section of a map: every constructor option, and how the tensors reveal it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated

from ppls.mappings import readings
from ppls.mappings.config_rules import OptionRule
from ppls.mappings.forms import Number, Value
from ppls.mappings.patterns import Pattern, plain_name, prefixed
from ppls.mappings.readings import Reading
from ppls.schema import Word, at_most, between, made_of, not_empty

_OPTION = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_SIZE = re.compile(r"_|[0-9]{1,9}|([1-9][0-9]{0,3})?[a-z]")


def option_name(text: str) -> str:
    """A check: the dotted path of an option, `backbone.layers`. Raises `ValueError`."""
    if len(text) > 100 or not _OPTION.fullmatch(text):
        raise ValueError(f"{text!r} is no name of an option")
    if "pretrained" in text.split("."):
        raise ValueError(f"{text!r} names a file that upstream would load; a map is data")
    return text


def _one_index(text: str) -> Pattern:
    pattern = Pattern.parse(text)
    if len(pattern.captures) != 1:
        raise ValueError(f"{pattern} must have one index, <i>, to count by")
    return pattern


def _shape(value: str | list[str]) -> str | tuple[str, ...]:
    if value in ("any", "none"):
        return str(value)
    if isinstance(value, str):
        raise ValueError("a shape is a list of sizes, `any` (the tensor is there) or `none` (it is not)")
    for size in value:
        if not _SIZE.fullmatch(size):
            raise ValueError(f"{size!r} is no size: expected a number, `_` for any, a letter, or 4y for four times y")
    return tuple(value)


OptionName = Annotated[str, made_of(Word, option_name)]
Tensor = Annotated[str, made_of(Word, plain_name)]
Name = Annotated[Pattern, made_of(Word, Pattern.parse)]
Indexed = Annotated[Pattern, made_of(Word, _one_index)]
Shape = Annotated[str | tuple[str, ...], made_of(Word | Annotated[list[Word], at_most(32)], _shape)]
Dim = Annotated[int, between(0, 31)]


@dataclass(eq=False, repr=False)
class At:
    """Where an including map puts an option, and the tensors of the source."""

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

    def reading(self, at: At) -> Reading:
        raise NotImplementedError

    def rule(self, name: str, at: At) -> OptionRule:
        """The rule for the option of this name."""
        path = prefixed(name, at.option)
        return OptionRule(path, self.reading(at), self.default, self.one_of, self.target_only, self.unless)


@dataclass(eq=False, repr=False, kw_only=True)
class SizeOption(Option):
    size: Tensor
    dim: Dim

    def reading(self, at: At) -> Reading:
        return readings.Size(prefixed(self.size, at.source), self.dim)


@dataclass(eq=False, repr=False, kw_only=True)
class RootOption(Option):
    root: Tensor
    dim: Dim

    def reading(self, at: At) -> Reading:
        return readings.Root(prefixed(self.root, at.source), self.dim)


@dataclass(eq=False, repr=False, kw_only=True)
class Multiples:
    """Sizes that are known: an option's value times each of the factors."""

    multiples_of: OptionName
    by: Annotated[tuple[float, ...], at_most(100)]

    def reading(self, at: At) -> Reading:
        return readings.Multiples(prefixed(self.multiples_of, at.option), self.by)


@dataclass(eq=False, repr=False, kw_only=True)
class SizesOption(Option):
    sizes: Indexed | Annotated[list[Tensor], at_most(20), not_empty]
    dim: Dim
    index_in: Multiples | Word | None = None
    over: OptionName | None = None
    among: Indexed | None = None
    absent: Number | None = None

    def __post_init__(self) -> None:
        if (self.among is None) != (self.absent is None):
            raise ValueError("'among', where a tensor may be missing, and 'absent', its size then, need one another")
        if isinstance(self.index_in, str) and self.index_in != "features":
            raise ValueError("'index_in' is `features`, those of the backbone, or says the sizes that are known")
        if isinstance(self.sizes, list) and (self.index_in is None or self.among is not None):
            raise ValueError("the sizes of tensors by their names are looked up with 'index_in'")

    def reading(self, at: At) -> Reading:
        if isinstance(self.sizes, list):
            assert at.features is not None
            tensors = tuple(prefixed(name, at.source) for name in self.sizes)
            return readings.Indices(tensors, self.dim, at.features, tuple(self.default or ()))
        features = at.features if self.index_in else None
        return readings.Sizes(
            self.sizes.within(at.source),
            self.dim,
            self.index_in.reading(at) if isinstance(self.index_in, Multiples) else features,
            prefixed(self.over, at.option) if self.over else "",
            self.among.within(at.source) if self.among else None,
            self.absent or 0,
        )


@dataclass(eq=False, repr=False, kw_only=True)
class CountOption(Option):
    count: Name | Annotated[list[Indexed], at_most(20), not_empty]
    per: Word | None = None

    def __post_init__(self) -> None:
        patterns = self.count if isinstance(self.count, list) else [self.count]
        if self.per is not None:
            if len(patterns) > 1 or len(patterns[0].captures) != 2 or self.per not in patterns[0].captures:
                raise ValueError(f"{patterns[0]} must have two indices, {self.per!r} among them")
        elif len(patterns) > 1 and self.default is None:
            raise ValueError("only the values of a `default:` are counted by several patterns")
        elif any(len(pattern.captures) != 1 for pattern in patterns):
            raise ValueError(f"{patterns[0]} must have one index, <i>, to count by")
        elif self.default is not None and not isinstance(self.default, list):
            raise ValueError("the `default:` of what is counted is a list")

    def reading(self, at: At) -> Reading:
        patterns = [
            pattern.within(at.source) for pattern in (self.count if isinstance(self.count, list) else [self.count])
        ]
        if self.per is not None:
            return readings.Counts(patterns[0], self.per)
        return (
            readings.Count(patterns[0])
            if self.default is None
            else readings.Length(tuple(patterns), tuple(self.default))
        )


@dataclass(eq=False, repr=False, kw_only=True)
class StagesOption(Option):
    starts: Indexed
    among: Indexed = field(metadata={"missing": "'among', all the blocks, is missing"})

    def reading(self, at: At) -> Reading:
        return readings.Stages(self.starts.within(at.source), self.among.within(at.source))


Where = Annotated[dict[Tensor, Shape], at_most(100)]


@dataclass(eq=False, repr=False, kw_only=True)
class ValueCase:
    value: Value
    where: Where


@dataclass(eq=False, repr=False, kw_only=True)
class RefuseCase:
    refuse: Annotated[Word, at_most(500)]
    where: Where


@dataclass(eq=False, repr=False, kw_only=True)
class ChooseOption(Option):
    choose: Annotated[list[ValueCase | RefuseCase], at_most(100), not_empty]

    def reading(self, at: At) -> Reading:
        return readings.Choose(
            tuple(
                readings.Case(
                    getattr(case, "value", None),
                    getattr(case, "refuse", ""),
                    {prefixed(name, at.source): shape for name, shape in case.where.items()},
                )
                for case in self.choose
            )
        )


@dataclass(eq=False, repr=False, kw_only=True)
class DefaultOption(Option):
    default: Value = field(metadata={"missing": "says neither how to read the option nor its `default:`"})

    def reading(self, at: At) -> Reading:
        return Reading()


AnyOption = SizeOption | RootOption | SizesOption | CountOption | StagesOption | ChooseOption | DefaultOption

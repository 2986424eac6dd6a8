"""What may stand in a map: its sections as types, from which a file is built. Format 2 of the language."""

from __future__ import annotations

import math
from dataclasses import field
from typing import Annotated, Any, Literal

from ppls.mappings.constants import TABLES
from ppls.mappings.forms import MOST, Number, Value
from ppls.mappings.names import AnySide, Multiple, Name, OptionName, Side, option_name
from ppls.mappings.options import (
    CountOption,
    DefaultOption,
    Option,
    PresentOption,
    PresetOption,
    ResizeOption,
    RootOption,
    SizeOption,
    StagesOption,
    SumOption,
)
from ppls.mappings.patterns import Pattern, plain_name
from ppls.mappings.table import MOST_RULES, Block, Kind, PlainName, Row, TensorEntry
from ppls.mappings.table_option import TableOption
from ppls.records import dataclass
from ppls.schema import Node, Placed, Word, at_most, between, build, made_of, not_empty

FORMAT = 2
_MOST = 200  # entries of a section: each is held against every tensor of a checkpoint
_MOST_VALUES = 4096  # of a constant, which is written again on the way back


def _listed(names: Pattern | list[Pattern]) -> list[Pattern]:
    return names if isinstance(names, list) else [names]


def _visible(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"{text!r} has characters that cannot be seen")
    return text


Title = Annotated[Word, not_empty, at_most(100), _visible]
Text = Annotated[Word, at_most(500), _visible]
Values = Annotated[dict[OptionName, Value], at_most(_MOST)]
Computed = Annotated[Pattern, made_of(Word, Pattern.parse_computed)]


_Written = (
    SizeOption
    | RootOption
    | CountOption
    | StagesOption
    | SumOption
    | PresentOption
    | TableOption
    | ResizeOption
    | PresetOption
    | DefaultOption
)


def option_of(node: Node) -> Option:
    """An option as it stands in the file: a dimension of a tensor, how it is read, or the default alone."""
    if isinstance(node.value, str):
        return SizeOption(size=build(node, AnySide))
    if isinstance(node.value, bool):
        return DefaultOption(default=node.value, one_of=(True, False))
    if isinstance(node.value, dict) or node.value is None:
        found: Option = build(node, _Written)
        return found
    return DefaultOption(default=build(node, Value))


AnyOption = Annotated[Option, made_of(Node, option_of)]


@dataclass(eq=False, repr=False)
class ConstantEntry:
    value: float
    shape: Annotated[tuple[Number, ...], at_most(32)]
    beside: Name
    only: Placed[Values] | None = None

    def __post_init__(self) -> None:
        if math.prod(self.shape) > _MOST_VALUES:
            raise ValueError(f"a constant of {math.prod(self.shape):,} values; {_MOST_VALUES:,} at most")


@dataclass(eq=False, repr=False)
class TabulatedEntry:
    """A constant whose values the size of the tensor beside it tells."""

    table: Word
    beside: Name
    only: Placed[Values] | None = None

    def __post_init__(self) -> None:
        if self.table not in TABLES:
            raise ValueError(f"no table is called {self.table!r}; there is {', '.join(TABLES)}")


AnyConstant = ConstantEntry | TabulatedEntry


@dataclass(eq=False, repr=False)
class DuplicateEntry:
    """What is a copy of which modules, and whether PaddleSeg still writes both."""

    of: Computed
    written: bool = False

    @classmethod
    def made(cls, entry: Pattern | DuplicateEntry) -> DuplicateEntry:
        return cls(entry) if isinstance(entry, Pattern) else entry


def _shape_term(text: str) -> int | str | Multiple | Side:
    """A number, an option, so many times an option, or the size of another tensor."""
    if text.isdecimal() and text.isascii():
        return int(between(0, MOST)(int(text[:10])))
    factor, times, option = text.partition("*")
    if times and factor.isdecimal() and factor.isascii():
        return Multiple(int(between(0, MOST)(int(factor[:10]))), option_name(option))
    if "[" not in text:
        return option_name(text)
    side = Side.parse(text)
    plain_name(side.pattern.text)
    return side


ShapeTerms = Annotated[tuple[Annotated[int | str | Multiple | Side, made_of(Word, _shape_term)], ...], at_most(32)]


_TensorShapes = Annotated[dict[PlainName, ShapeTerms], at_most(_MOST)]


def _written(shapes: ShapeTerms | dict[str, ShapeTerms]) -> dict[str, ShapeTerms]:
    """Shapes by the names within a module; that of a tensor itself by none."""
    return shapes if isinstance(shapes, dict) else {"": shapes}


@dataclass(eq=False, repr=False)
class DeadEntry:
    """Why nothing uses a module or a tensor, and the shapes where PaddleSeg still writes them."""

    why: Text
    written: Annotated[dict[str, ShapeTerms], made_of(ShapeTerms | _TensorShapes, _written)] = field(
        default_factory=dict
    )
    only: Placed[Values] | None = None

    @classmethod
    def made(cls, entry: Word | DeadEntry) -> DeadEntry:
        return entry if isinstance(entry, DeadEntry) else cls(entry)


@dataclass(eq=False, repr=False)
class OptionalEntry:
    modules: Annotated[list[Pattern], made_of(Name | Annotated[list[Name], at_most(_MOST)], _listed)]
    kept: bool = True
    passed: bool = False

    @classmethod
    def made(cls, entry: Pattern | list[Pattern] | OptionalEntry) -> OptionalEntry:
        if not isinstance(entry, OptionalEntry):
            return cls(_listed(entry))
        if entry.kept and not entry.passed:
            raise ValueError("`modules:` alone says what their names alone would: `kept: false` or `passed: true`?")
        return entry


@dataclass(eq=False, repr=False)
class NumericsEntry:
    epsilon: float | None = None
    momentum: float | None = None

    @property
    def given(self) -> dict[str, float]:
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(eq=False, repr=False)
class EraEntry:
    era: Title
    has: Annotated[tuple[PlainName, ...], at_most(_MOST)] = ()
    lacks: Annotated[tuple[PlainName, ...], at_most(_MOST)] = ()
    only: Placed[Values] | None = None
    renamed: Annotated[dict[Name, Name], at_most(_MOST)] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.renamed and (self.only or not self.has + self.lacks):
            raise ValueError("an era whose modules had other names is told by `has:` and `lacks:` alone")
        for old, new in self.renamed.items():
            if old.captures != new.captures:
                raise ValueError(f"{old} and {new} have different indices")


OpenEntry = Annotated[tuple[PlainName, ...], at_most(_MOST)]  # the candidates
Duplicates = Annotated[DuplicateEntry, made_of(Computed | DuplicateEntry, DuplicateEntry.made)]
Dead = Annotated[DeadEntry, made_of(Text | DeadEntry, DeadEntry.made)]
Optional = Annotated[OptionalEntry, made_of(Name | list[Name] | OptionalEntry, OptionalEntry.made)]


@dataclass(eq=False, repr=False)
class MapFile:
    """A map as it stands in its file. docs/mapping-language.md says what each section means."""

    format: Any
    modules: Annotated[list[Placed[Row]], not_empty] = field(
        metadata={"missing": "`modules:`, the table of layers, is missing or empty"}
    )
    architecture: Placed[Title] | None = None
    backbone: Placed[Title] | None = None
    source: Placed[Title] | None = None
    target: Placed[Title] | None = None
    source_preset: Placed[Text] | None = None
    like: Word | None = None
    rest: Placed[Literal["same", "none"]] | None = None
    backbones: Annotated[list[Placed[Word]], at_most(_MOST)] = field(default_factory=list)
    layers: Annotated[dict[PlainName, Kind], at_most(_MOST)] = field(default_factory=dict)
    blocks: Annotated[dict[PlainName, Block], at_most(_MOST)] = field(default_factory=dict)
    tensors: list[Placed[TensorEntry]] = field(default_factory=list)
    constants: Annotated[dict[Name, Placed[AnyConstant]], at_most(_MOST)] = field(default_factory=dict)
    duplicates: Annotated[dict[Name, Placed[Duplicates]], at_most(_MOST)] = field(default_factory=dict)
    dead: Annotated[dict[Name, Placed[Dead]], at_most(_MOST)] = field(default_factory=dict)
    optional: Annotated[dict[OptionName, Placed[Optional]], at_most(_MOST)] = field(default_factory=dict)
    keep: Annotated[list[Name], at_most(_MOST)] = field(default_factory=list)
    config: Annotated[dict[OptionName, Placed[AnyOption]], at_most(_MOST)] = field(default_factory=dict)
    features: Placed[AnyOption] | None = None
    presets: Annotated[dict[Title, Placed[Values]], at_most(_MOST)] = field(default_factory=dict)
    recipes: Annotated[dict[Title, Placed[Values]], at_most(_MOST)] = field(default_factory=dict)
    numerics: Annotated[dict[PlainName, Placed[NumericsEntry]], at_most(_MOST)] = field(default_factory=dict)
    eras: Annotated[list[EraEntry], at_most(_MOST)] = field(default_factory=list)
    open: Annotated[dict[PlainName, Placed[OpenEntry]], at_most(MOST_RULES)] = field(default_factory=dict)
    classifiers: Annotated[list[Placed[Name]], at_most(_MOST)] = field(default_factory=list)
    exponents: Annotated[list[Placed[Name]], at_most(_MOST)] = field(default_factory=list)

    def __post_init__(self) -> None:
        if (self.architecture is None) == (self.backbone is None):
            raise ValueError("a map is of either an `architecture:` or a `backbone:`")
        if self.rest is not None and self.like is None:
            self.rest.node.fail_key("`rest:` are the rows of the map that this one is `like:`")
        if self.backbone is not None:
            if self.backbones:
                self.backbones[0].node.fail("a backbone stands on no other")
            if self.source is None:
                raise ValueError("`source:`, the upstream class of the backbone, is missing")
        elif self.features is not None:
            self.features.node.fail_key("`features:` are those of a backbone")

    @property
    def title(self) -> str:
        """What upstream calls the class."""
        named = self.architecture or self.backbone
        assert named is not None
        return named.value

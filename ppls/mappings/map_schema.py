"""What may stand in a map: its sections as types, from which a file is built. Format 1 of the language."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Annotated, Any

from ppls.mappings.forms import Number, Value
from ppls.mappings.map_layers import Block, Kind, PlainName, Row, TensorEntry
from ppls.mappings.map_options import AnyOption, Multiples, Name, OptionName, SizesOption
from ppls.mappings.patterns import Pattern
from ppls.schema import Placed, Word, at_most, made_of, not_empty

FORMAT = 1
_MOST = 200  # entries of a section: each is held against every tensor of a checkpoint
_MOST_VALUES = 4096  # of a constant, which is written again on the way back
_MAP_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")


def _map_name(text: str) -> str:
    if not _MAP_NAME.fullmatch(text):
        raise ValueError(f"{text!r} is no name of a map: letters, digits, _ and -")
    return text


def _computed(text: str) -> str:
    return Pattern.parse_computed(text).text


def _listed(names: Pattern | list[Pattern]) -> list[Pattern]:
    return names if isinstance(names, list) else [names]


def _visible(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"{text!r} has characters that cannot be seen")
    return text


Title = Annotated[Word, not_empty, at_most(100), _visible]
Text = Annotated[Word, at_most(500), _visible]
Values = Annotated[dict[OptionName, Value], at_most(_MOST)]
Computed = Annotated[str, made_of(Word, _computed)]


@dataclass(eq=False, repr=False)
class Include:
    """A backbone's map, and where it sits in either model."""

    map: Placed[Annotated[str, made_of(Word, _map_name)]]
    source: PlainName
    target: PlainName


@dataclass(eq=False, repr=False)
class ConstantEntry:
    value: float
    shape: Annotated[tuple[Number, ...], at_most(32)]
    beside: Name
    only: Values = field(default_factory=dict)

    def __post_init__(self) -> None:
        if math.prod(self.shape) > _MOST_VALUES:
            raise ValueError(f"a constant of {math.prod(self.shape):,} values; {_MOST_VALUES:,} at most")


@dataclass(eq=False, repr=False)
class OptionalEntry:
    modules: Annotated[list[Pattern], made_of(Name | Annotated[list[Name], at_most(_MOST)], _listed)]
    kept: bool


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
    only: Values = field(default_factory=dict)
    renamed: Annotated[dict[Name, Name], at_most(_MOST)] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.renamed and (self.only or not self.has + self.lacks):
            raise ValueError("an era whose modules had other names is told by `has:` and `lacks:` alone")
        for old, new in self.renamed.items():
            if old.captures != new.captures:
                raise ValueError(f"{old} and {new} have different indices")


@dataclass(eq=False, repr=False)
class MapFile:
    """A map as it stands in its file. docs/mapping-language.md says what each section means."""

    format: Any
    source: Placed[Title] = field(metadata={"missing": "`source:`, the upstream class, is missing"})
    modules: Annotated[list[Placed[Row]], not_empty] = field(
        metadata={"missing": "`modules:`, the table of layers, is missing or empty"}
    )
    architecture: Title | None = None
    backbone: Title | None = None
    target: Placed[Title] | None = None
    include: Annotated[dict[OptionName, Placed[Include]], at_most(8)] = field(default_factory=dict)
    backbones: Annotated[list[Placed[Annotated[str, made_of(Word, _map_name)]]], at_most(_MOST)] = field(
        default_factory=list
    )
    layers: Annotated[dict[PlainName, Kind], at_most(_MOST)] = field(default_factory=dict)
    blocks: Annotated[dict[PlainName, Block], at_most(_MOST)] = field(default_factory=dict)
    tensors: list[Placed[TensorEntry]] = field(default_factory=list)
    constants: Annotated[dict[Name, Placed[ConstantEntry]], at_most(_MOST)] = field(default_factory=dict)
    duplicates: Annotated[dict[Name, Computed], at_most(_MOST)] = field(default_factory=dict)
    aliases: Annotated[dict[Name, Computed], at_most(_MOST)] = field(default_factory=dict)
    dead: Annotated[dict[Name, Placed[Text]], at_most(_MOST)] = field(default_factory=dict)
    optional: Annotated[dict[OptionName, Name | list[Name] | OptionalEntry], at_most(_MOST)] = field(
        default_factory=dict
    )
    keep: Annotated[list[Name], at_most(_MOST)] = field(default_factory=list)
    config: Annotated[dict[OptionName, Placed[AnyOption]], at_most(_MOST)] = field(default_factory=dict)
    upsample: Annotated[list[Placed[OptionName]], at_most(_MOST)] = field(default_factory=list)
    presets: Annotated[dict[Title, Placed[Values]], at_most(_MOST)] = field(default_factory=dict)
    recipes: Annotated[dict[Title, Placed[Values]], at_most(_MOST)] = field(default_factory=dict)
    numerics: Annotated[dict[PlainName, NumericsEntry], at_most(_MOST)] = field(default_factory=dict)
    eras: Annotated[list[EraEntry], at_most(_MOST)] = field(default_factory=list)
    classifiers: Annotated[list[Name], at_most(_MOST)] = field(default_factory=list)
    published: Annotated[dict[Title, Placed[Number]], at_most(_MOST)] = field(default_factory=dict)
    source_preset: Placed[Text] | None = None
    features: SizesOption | Multiples | None = None

    def __post_init__(self) -> None:
        if (self.architecture is None) == (self.backbone is None):
            raise ValueError("a map is of either an `architecture:` or a `backbone:`")

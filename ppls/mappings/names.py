"""What a map may call options, tensors and the sides of tensors."""

from __future__ import annotations

import re
from typing import Annotated

from ppls.mappings.patterns import Pattern, plain_name
from ppls.records import dataclass
from ppls.schema import Word, made_of

_SIDE = re.compile(r"(.+)\[([0-9]|[12][0-9]|3[01])\]")


def option_name(text: str) -> str:
    """A check: the dotted path of an option, `backbone.layers`. Raises `ValueError`."""
    if len(text) > 100 or not text.isascii() or not all(part.isidentifier() for part in text.split(".")):
        raise ValueError(f"{text!r} is no name of an option")
    if "pretrained" in text.split("."):
        raise ValueError(f"{text!r} names a file that upstream would load; a map is data")
    return text


@dataclass(frozen=True)
class Side:
    """One dimension of a tensor, or of each that a pattern names: `head.conv.weight[0]`."""

    pattern: Pattern
    dim: int

    @classmethod
    def parse(cls, text: str) -> Side:
        """Raises `ValueError`."""
        found = _SIDE.fullmatch(text)
        if found is None or "[" in found[1]:
            raise ValueError(f"{text!r} is no dimension of a tensor; expected one such as head.conv.weight[0]")
        return cls(_up_to_one_index(found[1]), int(found[2]))


@dataclass(frozen=True)
class Multiple:
    """So many times an option: `4*channels`."""

    factor: int
    option: str


def _up_to_one_index(text: str) -> Pattern:
    pattern = Pattern.parse(text)
    if len(pattern.captures) > 1:
        raise ValueError(f"{pattern} must have one index, <i>, to count by, or none")
    return pattern


def _one_index(text: str) -> Pattern:
    pattern = _up_to_one_index(text)
    if not pattern.captures:
        raise ValueError(f"{pattern} must have one index, <i>, to count by")
    return pattern


def _one_tensor(side: Side) -> Side:
    plain_name(side.pattern.text)
    return side


OptionName = Annotated[str, made_of(Word, option_name)]
Tensor = Annotated[str, made_of(Word, plain_name)]
Name = Annotated[Pattern, made_of(Word, Pattern.parse)]
Indexed = Annotated[Pattern, made_of(Word, _one_index)]
AnySide = Annotated[Side, made_of(Word, Side.parse)]
OneSide = Annotated[Side, made_of(AnySide, _one_tensor)]

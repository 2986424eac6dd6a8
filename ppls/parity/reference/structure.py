"""The tensors in what a model returns, each with its place in it, in either framework."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

_IN_A_LIST = re.compile(r"(\[\d+\])?")


def places(result: Any, is_tensor: Callable[[Any], bool], place: str = "") -> Iterator[tuple[str, Any]]:
    """Every tensor in nested lists, tuples and dictionaries, in order, with its place: `[0]['masks']`, '' of one alone.

    A tuple is a list. Raises `TypeError` with the name of a type that is none of these, nor a plain value.
    """
    if is_tensor(result):
        yield place, result
    elif isinstance(result, Mapping):
        for key, part in result.items():
            yield from places(part, is_tensor, f"{place}[{key!r}]")
    elif isinstance(result, (list, tuple)):
        for index, part in enumerate(result):
            yield from places(part, is_tensor, f"{place}[{index}]")
    elif not (result is None or isinstance(result, (bool, int, float, str))):
        raise TypeError(type(result).__name__)


def is_plain(found: Iterable[str]) -> bool:
    """Whether these are the places of a list of tensors, or of one alone: what a model of segmentation returns."""
    return all(_IN_A_LIST.fullmatch(place) for place in found)

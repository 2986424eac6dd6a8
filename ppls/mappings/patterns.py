"""Patterns of tensor and module names: `backbone.blocks.<i>.conv`, anchored at both ends.

`<i>` stands for any index and, where it occurs twice, for the same; `<i:1..>` for one from 1 on, `<i:0..3>` for one of
0 to 3; `<i+1>` for an index plus one, where one side counts from 1 and the other from 0. A pattern that is filled in
rather than matched may compute: `<i+2>`, and `<i+layers.0>` with a value of the config.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ppls.shown import shown

_PLACEHOLDER = re.compile(r"<([^<>]*)>")
_CAPTURE = re.compile(r"(?P<name>[a-z])(?:\+(?P<offset>[0-9]+))?(?::(?P<low>[0-9]+)\.\.(?P<high>[0-9]*))?")
_COMPUTED = re.compile(r"[A-Za-z0-9_.]+( *\+ *[A-Za-z0-9_.]+)*")
_BETWEEN = re.compile(r"[0-9]*")  # what may not be all that stands between two indices
_NUMBER = re.compile(r"[0-9]+")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")

_LONGEST, _MOST_CAPTURES, _MOST_DIGITS = 500, 8, 9


class PatternError(ValueError):
    """A pattern that cannot be understood."""


@dataclass(frozen=True)
class Pattern:
    """One pattern. `text` is what the map says; `bounds` limits a capture to a range, both ends included."""

    text: str
    bounds: tuple[tuple[str, int, int | None], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Raises `PatternError` if `text` holds a placeholder that cannot be matched, or a stray `<` or `>`."""
        bounds = []
        offsets: dict[str, str | None] = {}
        for inside in _placeholders(text):
            capture = _CAPTURE.fullmatch(inside)
            if capture is None:
                raise PatternError(f"<{shown(inside, 80)}> is not an index: write <i>, or <i:1..> for one from 1 on")
            if offsets.setdefault(capture["name"], capture["offset"]) != capture["offset"]:
                raise PatternError(f"{text!r} counts {capture['name']} from two numbers")
            if capture["low"]:
                bounds.append((capture["name"], int(capture["low"]), int(capture["high"]) if capture["high"] else None))
        literals = _PLACEHOLDER.split(text)[::2]
        if any(_BETWEEN.fullmatch(literal) for literal in literals[1:-1]):
            raise PatternError(
                f"{text!r} has two indices with nothing but digits between them: where does the second begin?"
            )
        _check_name("".join(literals), text)
        return cls(text, tuple(bounds))

    @classmethod
    def parse_computed(cls, text: str) -> Pattern:
        """A pattern that is only filled in, and may compute its indices. Raises `PatternError`."""
        for inside in _placeholders(text):
            if not _COMPUTED.fullmatch(inside):
                raise PatternError(f"<{shown(inside, 80)}> is not a sum of indices, numbers and values of the config")
        _check_name(_PLACEHOLDER.sub("", text), text)
        return cls(text)

    @cached_property
    def captures(self) -> frozenset[str]:
        return frozenset(inside[0] for inside in _PLACEHOLDER.findall(self.text))

    @cached_property
    def template(self) -> str:
        """The name with every number as `#`: names that can match share it."""
        return shape_of_name(_PLACEHOLDER.sub("0", self.text))

    @cached_property
    def expression(self) -> str:
        """The pattern as a regular expression of the whole name, without its bounds: for the reference."""
        seen: set[str] = set()
        parts = []
        for i, part in enumerate(_PLACEHOLDER.split(self.text)):
            if i % 2 == 0:
                parts.append(re.escape(part))
            elif (name := part[0]) in seen:
                parts.append(f"(?P={name})")
            else:
                seen.add(name)
                parts.append(f"(?P<{name}>{_INDEX.pattern})")
        return "".join(parts)

    @cached_property
    def _offsets(self) -> dict[str, int]:
        found = map(_CAPTURE.fullmatch, _PLACEHOLDER.findall(self.text))
        return {capture["name"]: int(capture["offset"]) for capture in found if capture and capture["offset"]}

    @cached_property
    def _beginning(self) -> str:
        """What stands before the first index."""
        return self.text.partition("<")[0]

    @cached_property
    def _numbers(self) -> list[tuple[str, str, str]]:
        """Each number of a name that matches: the digits before its index, the index, the digits behind it.

        Between two indices stands more than digits, so that no number has two of them.
        """
        marked = _PLACEHOLDER.sub(lambda found: f"<{found[1][:1]}>", self.text)
        numbers = re.findall(r"(?:<[a-z]>|[0-9])+", marked)
        return [re.fullmatch(r"([0-9]*)(?:<([a-z])>)?([0-9]*)", number).groups("") for number in numbers]  # type: ignore

    def match(self, name: str) -> dict[str, int] | None:
        """The indices that make the pattern `name`, or None."""
        if not name.startswith(self._beginning) or shape_of_name(name) != self.template:
            return None
        return self.match_numbers(numbers_of_name(name))

    def match_numbers(self, numbers: Sequence[str]) -> dict[str, int] | None:
        """As `match`, for a name of this pattern's `template` with these numbers in it."""
        indices: dict[str, int] = {}
        for number, (before, index, behind) in zip(numbers, self._numbers, strict=True):
            if not index:
                if number != before:
                    return None
                continue
            digits = number[len(before) : len(number) - len(behind)]
            if before + digits + behind != number or not _INDEX.fullmatch(digits):
                return None
            value = int(digits) - self._offsets.get(index, 0)
            if value < 0 or indices.setdefault(index, value) != value:
                return None
        for key, low, high in self.bounds:
            if indices[key] < low or (high is not None and indices[key] > high):
                return None
        return indices

    def match_within(self, name: str) -> tuple[dict[str, int], str] | None:
        """The indices and the rest of `name` where the pattern names it or a module that it is in, or None."""
        if not name.startswith(self._beginning):
            return None
        depth = self.template.count(".") + 1
        parts = name.split(".", depth)
        indices = self.match(".".join(parts[:depth]))
        return None if indices is None else (indices, "".join(parts[depth:]))

    def fill(self, indices: Mapping[str, int], config: Mapping[str, Any] | None = None) -> str:
        """The name for these indices. Raises `KeyError` where the config lacks a value that is counted with."""
        return _PLACEHOLDER.sub(lambda found: str(_evaluate(found[1], indices, config or {})), self.text)

    def within(self, prefix: str) -> Pattern:
        """The pattern of what this one names, in what is called `prefix`."""
        return Pattern(prefixed(self.text, prefix), self.bounds)

    def joined(self, suffix: str) -> Pattern:
        """The pattern of something within what this one names."""
        return Pattern(f"{self.text}.{suffix}" if suffix else self.text, self.bounds)

    def __str__(self) -> str:
        return self.text


def plain_name(text: str) -> str:
    """A name without indices, as it is. Raises `PatternError`."""
    if _placeholders(text):
        raise PatternError(f"{text!r} has an index, where one name is expected")
    _check_name(text, text)
    return text


def prefixed(text: str, prefix: str) -> str:
    """`text` as a name within `prefix`; either may be empty."""
    return ".".join(part for part in (prefix, text) if part)


def shape_of_name(name: str) -> str:
    """`name` with every number as `#`."""
    return _NUMBER.sub("#", name)


def numbers_of_name(name: str) -> list[str]:
    """What `shape_of_name` leaves out of `name`."""
    return _NUMBER.findall(name)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """A sort key that puts `blocks.2` before `blocks.10`."""
    parts = re.split(r"([0-9]{1,18})", name)
    return [(1, 0, part) if i % 2 == 0 else (0, int(part), "") for i, part in enumerate(parts) if part]


def lookup(config: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path: `backbone.layers.0`. Raises `KeyError` where there is none."""
    value: Any = config
    for part in path.split("."):
        try:
            value = value[int(part)] if isinstance(value, (list, tuple)) else value[part]
        except (KeyError, IndexError, ValueError, TypeError):
            raise KeyError(path) from None
    return value


def _placeholders(text: str) -> list[str]:
    """What stands within `<>`, all of it of a size that is no trouble."""
    if len(text) > _LONGEST:
        raise PatternError(f"a name of {len(text):,} characters; {_LONGEST} at most")
    found = _PLACEHOLDER.findall(text)
    if len(found) > _MOST_CAPTURES:
        raise PatternError(f"{text!r} has {len(found)} indices; {_MOST_CAPTURES} at most")
    if any(len(digits) > _MOST_DIGITS for digits in _NUMBER.findall(text)):
        raise PatternError(f"'{shown(text, 80)}' has a number of more than {_MOST_DIGITS} digits")
    return found


def _check_name(name: str, text: str) -> None:
    """That `name`, what is left of `text` without its indices, holds nothing that is special or cannot be seen."""
    if re.search(r"[<>\s*?]", name) or not text or not name.isprintable():
        raise PatternError(f"{text!r} is not a name: an index is written <i>, and nothing else is special")


def _evaluate(expression: str, indices: Mapping[str, int], config: Mapping[str, Any]) -> int:
    return sum(_value(term.strip(), indices, config) for term in expression.split(":")[0].split("+"))


def _value(term: str, indices: Mapping[str, int], config: Mapping[str, Any]) -> int:
    if term.isdigit():
        return int(term)
    value = indices[term] if term in indices else lookup(config, term)
    if type(value) is not int:
        raise KeyError(term)
    return value

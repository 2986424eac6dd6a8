"""Patterns of tensor and module names: `backbone.blocks.<i>.conv`, anchored at both ends.

`<i>` stands for any index, a whole number of the name, and for the same one wherever it occurs; `<i+1>` and `<3*i+1>`
for the number that is counted from it; `<i:1..>` for an index from 1 on. A pattern that is filled in rather than
matched may compute: `<i+2+layers.0>`, with a value of the config.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from ppls.records import dataclass
from ppls.shown import shown

PLACEHOLDER = re.compile(r"<([^<>]*)>")
_FORM = re.compile(r"(?:(?P<scale>[0-9]+)\*)?(?P<letter>[a-z])(?:\+(?P<offset>[0-9]+))?(?::(?P<low>[0-9]+)\.\.)?")
_TERM = r"(?:[0-9]+ *\* *)?(?:[0-9]+|[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*)"
_SUM = rf"{_TERM}(?: *\+ *{_TERM})*"
LETTER = re.compile(r"(?<![A-Za-z0-9_.])[a-z](?![A-Za-z0-9_.])")
_NUMBER = re.compile(r"[0-9]+")
_NUMBER_OR_PLACEHOLDER = re.compile(r"[0-9]+|<[^<>]*>")
_BESIDE = re.compile(r"[0-9]<|>[0-9<]")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")

LARGEST = 999_999_999  # of an index, and of a number that is counted from one
_LONGEST, _MOST_CAPTURES, _MOST_NUMBERS, _MOST_DIGITS = 500, 8, 32, 9
_MOST_EXCLUDED = 100  # values below a bound that a regular expression spells out


class PatternError(ValueError):
    """A pattern that cannot be understood."""


class Form(NamedTuple):
    """A number that is counted from an index: `scale * index + offset`."""

    letter: str
    scale: int
    offset: int


@dataclass(frozen=True)
class Pattern:
    """One pattern. `text` is what the map says."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Raises `PatternError` if `text` holds a placeholder that cannot be matched, or a stray `<` or `>`."""
        forms: dict[str, tuple[str | None, ...]] = {}
        lows: dict[str, str] = {}
        for inside in placeholders(text):
            form = _FORM.fullmatch(inside)
            if form is None:
                raise PatternError(_no_index(inside))
            letter, low = form["letter"], form["low"]
            if form["scale"] is not None and not int(form["scale"]):
                raise PatternError(f"<{inside}> is the same number for every {letter}")
            if forms.setdefault(letter, form.group("scale", "offset")) != form.group("scale", "offset"):
                raise PatternError(f"{text!r} counts {letter} from two numbers")
            if low is not None and lows.setdefault(letter, low) != low:
                raise PatternError(f"{text!r} bounds {letter} twice")
        if _BESIDE.search(text):
            raise PatternError(f"{text!r}: an index is a whole number; conv11, conv12, ... are conv<i+11>")
        _check_name(PLACEHOLDER.sub("0", text), text)
        pattern = cls(text)
        if lows or "*" in text or "+" in text:
            pattern._check_choice()
        return pattern

    @classmethod
    def parse_computed(cls, text: str) -> Pattern:
        """A pattern that is only filled in, and may compute its numbers. Raises `PatternError`."""
        for inside in placeholders(text):
            if not re.fullmatch(_SUM, inside):
                raise PatternError(f"<{shown(inside, 80)}> is not a sum of indices, numbers and values of the config")
        _check_name(PLACEHOLDER.sub("0", text), text)
        return cls(text)

    @cached_property
    def captures(self) -> frozenset[str]:
        """The indices."""
        return frozenset(letter for inside in PLACEHOLDER.findall(self.text) for letter in LETTER.findall(inside))

    @cached_property
    def values(self) -> frozenset[str]:
        """The values of the config that a computed pattern counts with."""
        return frozenset(name for terms, _ in self._sums for _, name in terms if name and not LETTER.fullmatch(name))

    @cached_property
    def bounds(self) -> tuple[tuple[str, int], ...]:
        """The indices that do not begin at 0, each with its lowest value."""
        if ":" not in self.text:
            return ()
        forms = map(_FORM.fullmatch, PLACEHOLDER.findall(self.text))
        return tuple({form["letter"]: int(form["low"]) for form in forms if form and form["low"]}.items())

    @cached_property
    def template(self) -> str:
        """The name with every number as `#`: names that can match share it."""
        return shape_of_name(PLACEHOLDER.sub("0", self.text))

    @cached_property
    def numbers(self) -> tuple[str | Form, ...]:
        """Each number of a name that matches, in order: its digits, or how it is counted from an index."""
        return tuple(
            _form(part[1:-1]) if part[0] == "<" else part for part in _NUMBER_OR_PLACEHOLDER.findall(self.text)
        )

    @cached_property
    def expression(self) -> str:
        """The pattern as a regular expression of the whole name, for the reference.

        Two things it leaves open: of what a number is a multiple, and a bound above 100.
        """
        lows = dict(self.bounds)
        seen: set[str] = set()
        parts = []
        for i, part in enumerate(PLACEHOLDER.split(self.text)):
            if i % 2 == 0:
                parts.append(re.escape(part))
                continue
            letter, scale, offset = _form(part)
            if letter in seen:
                parts.append(f"(?P={letter})")
                continue
            seen.add(letter)
            least = scale * lows.get(letter, 0) + offset
            if 0 < least <= _MOST_EXCLUDED:
                parts.append(f"(?!(?:{'|'.join(map(str, range(least)))})(?![0-9]))")
            parts.append(f"(?P<{letter}>{_INDEX.pattern})")
        return "".join(parts)

    @cached_property
    def _beginning(self) -> str:
        """What stands before the first index."""
        return self.text.partition("<")[0]

    @cached_property
    def _depth(self) -> int:
        return self.template.count(".") + 1

    @cached_property
    def _sums(self) -> list[tuple[list[tuple[int, str]], str]]:
        """For each placeholder the terms that it adds up, a factor and a name ('' for 1), and the text behind it."""
        parts = PLACEHOLDER.split(self.text)
        return [
            ([_term(term) for term in inside.partition(":")[0].split("+")], behind)
            for inside, behind in zip(parts[1::2], parts[2::2], strict=True)
        ]

    def match(self, name: str) -> dict[str, int] | None:
        """The indices that make the pattern `name`, or None."""
        if not name.startswith(self._beginning) or shape_of_name(name) != self.template:
            return None
        return self.match_numbers(numbers_of_name(name))

    def match_numbers(self, numbers: Sequence[str]) -> dict[str, int] | None:
        """As `match`, for a name of this pattern's `template` with these numbers in it."""
        wanted = self.numbers
        if len(numbers) != len(wanted):  # the name itself has a #
            return None
        indices: dict[str, int] = {}
        for number, form in zip(numbers, wanted, strict=True):
            if isinstance(form, str):
                if number != form:
                    return None
                continue
            if len(number) > _MOST_DIGITS or (number[0] == "0" and number != "0"):
                return None
            letter, scale, offset = form
            value = int(number) - offset
            if scale != 1:
                value, rest = divmod(value, scale)
                if rest:
                    return None
            if value < 0 or indices.setdefault(letter, value) != value:
                return None
        for index, low in self.bounds:
            if indices[index] < low:
                return None
        return indices

    def match_within(self, name: str) -> tuple[dict[str, int], str] | None:
        """The indices and the rest of `name` where the pattern names it or a module that it is in, or None."""
        if not name.startswith(self._beginning):
            return None
        parts = name.split(".", self._depth)
        indices = self.match(".".join(parts[: self._depth]))
        return None if indices is None else (indices, "".join(parts[self._depth :]))

    def fill(self, indices: Mapping[str, int], config: Mapping[str, Any] | None = None) -> str:
        """The name for these indices. Raises `KeyError` where the config lacks a value that is counted with."""
        parts = [self._beginning]
        for terms, behind in self._sums:
            number = sum([factor * _value(name, indices, config) for factor, name in terms])
            parts += (str(number), behind)
        return "".join(parts)

    def within(self, prefix: str) -> Pattern:
        """The pattern of what this one names, in what is called `prefix`."""
        return Pattern(prefixed(self.text, prefix)) if prefix else self

    def joined(self, suffix: str) -> Pattern:
        """The pattern of something within what this one names."""
        return Pattern(f"{self.text}.{suffix}") if suffix else self

    def qualified(self, option: str) -> Pattern:
        """The pattern with the values that it computes with named from the top: `layers.0` as `backbone.layers.0`."""

        def value(found: re.Match[str]) -> str:
            name = found[0]
            return name if name.isdigit() or LETTER.fullmatch(name) else prefixed(name, option)

        return Pattern(PLACEHOLDER.sub(lambda found: re.sub(r"[A-Za-z0-9_.]+", value, found[0]), self.text))

    def __str__(self) -> str:
        return self.text

    def _check_choice(self) -> None:
        lows = dict(self.bounds)
        for form in self.numbers:
            if isinstance(form, Form) and form.scale * (lows.get(form.letter, 0) + 1) + form.offset > LARGEST:
                raise PatternError(f"{self.text!r} leaves no choice of {form.letter}: numbers go up to {LARGEST:,}")


def bounded(patterns: Sequence[Pattern]) -> tuple[Pattern, ...]:
    """The patterns of one rule, each with the bounds of all: `<i>` beside `<i:1..>` is from 1 on too.

    Raises:
        PatternError: one index has two bounds, or one that leaves nothing.
    """
    lows: dict[str, int] = {}
    for pattern in patterns:
        for index, low in pattern.bounds:
            if lows.setdefault(index, low) != low:
                raise PatternError(f"{index} is from {lows[index]} on in one place, and from {low} on in another")
    return tuple(_with_bounds(pattern, lows) for pattern in patterns) if lows else tuple(patterns)


def _with_bounds(pattern: Pattern, lows: Mapping[str, int]) -> Pattern:
    text = pattern.text
    for index, low in lows.items():
        if index in pattern.captures and index not in dict(pattern.bounds):
            text = re.sub(rf"<((?:[0-9]+\*)?{index}(?:\+[0-9]+)?)>", rf"<\1:{low}..>", text, count=1)
    return pattern if text == pattern.text else Pattern.parse(text)


def plain_name(text: str) -> str:
    """A name without indices, as it is. Raises `PatternError`."""
    if placeholders(text):
        raise PatternError(f"{text!r} has an index, where one name is expected")
    _check_name(text, text)
    return text


def prefixed(text: str, prefix: str) -> str:
    """`text` as a name within `prefix`; either may be empty."""
    return ".".join(part for part in (prefix, text) if part)


@lru_cache(maxsize=4096)
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
            value = value[int(part) if isinstance(value, (list, tuple)) and _INDEX.fullmatch(part) else part]
        except (KeyError, IndexError, ValueError, TypeError):
            raise KeyError(path) from None
    return value


def placeholders(text: str) -> list[str]:
    """What stands within `<>`, all of it of a size that is no trouble."""
    if len(text) > _LONGEST:
        raise PatternError(f"a name of {len(text):,} characters; {_LONGEST} at most")
    found = PLACEHOLDER.findall(text)
    if len(found) > _MOST_CAPTURES:
        raise PatternError(f"{text!r} has {len(found)} indices; {_MOST_CAPTURES} at most")
    numbers = _NUMBER.findall(text)
    if len(numbers) > _MOST_NUMBERS:
        raise PatternError(f"'{shown(text, 80)}' has {len(numbers)} numbers; {_MOST_NUMBERS} at most")
    if any(len(digits) > _MOST_DIGITS for digits in numbers):
        raise PatternError(f"'{shown(text, 80)}' has a number of more than {_MOST_DIGITS} digits")
    return found


def _check_name(name: str, text: str) -> None:
    """That `name`, which is `text` with numbers for its indices, holds nothing that is special or cannot be seen."""
    if re.search(r"[<>\s*?#]", name) or not text or not name.isprintable():
        raise PatternError(f"{text!r} is not a name: an index is written <i>, and nothing else is special")
    if ".." in f".{name}.":
        raise PatternError(f"{text!r} is not a name: it has nothing before, between or behind its dots")


def _no_index(inside: str) -> str:
    """Why what stands within `<>` cannot be matched."""
    if "|" in inside:
        why = "is no list of words; one is written <x:left|right>, and stands in a row"
    elif re.fullmatch(r".*\.\. *[0-9]+", inside):
        why = "has an upper end, and an index has none; write one name, or list what there is: <x:3|4>"
    else:
        why = "is not an index: write <i>, <i+1> or <3*i+1>, or <i:1..> for one from 1 on"
    return f"<{shown(inside, 80)}> {why}"


def _form(inside: str) -> Form:
    found = _FORM.fullmatch(inside)
    if found is None:
        raise PatternError(_no_index(inside))  # of a computed pattern
    return Form(found["letter"], int(found["scale"] or 1), int(found["offset"] or 0))


def _term(text: str) -> tuple[int, str]:
    factor, _, name = (part.strip() for part in text.rpartition("*"))
    return (int(factor or 1) * int(name), "") if name.isdigit() else (int(factor or 1), name)


def _value(term: str, indices: Mapping[str, int], config: Mapping[str, Any] | None) -> int:
    if not term:
        return 1
    value = indices[term] if term in indices else lookup(config or {}, term)
    if type(value) is not int:
        raise KeyError(term)
    return value

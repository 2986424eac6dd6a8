"""Rules of a map that cannot both stand: they take or fill one tensor twice, or cannot be read both ways.

All is told by the patterns, before there is a checkpoint, and shown by a name that a checkpoint might have.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, combinations, combinations_with_replacement, islice
from math import gcd, lcm
from typing import NamedTuple

from ppls.mappings.patterns import LARGEST, Form, Pattern, PatternError, bounded, prefixed
from ppls.mappings.rules import TensorRule
from ppls.records import dataclass

_MOST_TRIALS = 20_000  # pairs of patterns; a real map has some hundred that are alike
_MOST_KINDS = 16  # ways of one form to have digits here and indices there, to be searched by digits

_TOO_MANY = "too many patterns to tell them apart are of one form, # for any number"
_DOT = re.compile(r"\.(?![^<]*>)")  # not one of a bound

_Place = tuple[Pattern, TensorRule]


@dataclass(eq=False, repr=False)
class Clash:
    """Two rules, or one and itself, that cannot both stand; a name that shows it, and why in a sentence."""

    first: TensorRule
    second: TensorRule
    name: str
    why: str

    def __str__(self) -> str:
        return self.why


class _Count(NamedTuple):
    """A number of one of two patterns that is counted from an index, and the least that it can be."""

    pattern: int
    letter: str
    scale: int
    offset: int
    least: int


def clashes(rules: Iterable[TensorRule], most: int = 10) -> list[Clash]:
    """The first `most` cases of rules that take or fill one tensor twice, or that cannot be read both ways.

    Each pattern is taken with its own bounds; `bounded` gives the patterns of one rule the same. Where more are alike
    than can be held against one another, that is the last.
    """
    rules = list(rules)
    taken = [(pattern, rule) for rule in rules for pattern in rule.sources]
    filled = [(pattern, rule) for rule in rules for pattern in rule.targets]
    found = chain(_one_sided(rules), _twice(taken, "take"), _twice(filled, "fill"))
    return list(islice(found, most))


def taken_within(modules: Iterable[Pattern], rules: Iterable[TensorRule]) -> Iterator[tuple[Pattern, TensorRule, str]]:
    """The rules that take a tensor of one of these names, or in a module of one, with the name that both have.

    Raises:
        PatternError: more are alike than can be held against one another.
    """
    trials = 0
    by_template: dict[str, list[Pattern]] = defaultdict(list)
    for module in modules:
        by_template[module.template].append(module)
    for rule in rules:
        for pattern in rule.sources:
            parts = _DOT.split(pattern.text)
            template = ""
            for depth, part in enumerate(pattern.template.split("."), 1):
                template = prefixed(part, template)
                if template in by_template:
                    around, _ = bounded([Pattern(".".join(parts[:depth])), pattern])
                    for module in by_template[template]:
                        trials += 1
                        if trials > _MOST_TRIALS:
                            raise PatternError(f"{_TOO_MANY}, {template}")
                        name = common_name(module, around)
                        if name is not None:
                            yield module, rule, name


def common_name(first: Pattern, second: Pattern) -> str | None:
    """A name that both patterns match, with the smallest numbers, or None where there is none."""
    if first.template != second.template:
        return None
    same: dict[str | _Count, set[str | _Count]] = {}  # which must be one number
    for pair in zip(_counts(first, 0), _counts(second, 1), strict=True):
        if pair[0] == pair[1]:  # the same digits
            continue
        if isinstance(pair[0], str) and isinstance(pair[1], str):
            return None
        joined = {each for number in pair for each in same.get(number, {number})}
        same.update(dict.fromkeys(joined, joined))
    indices = {}
    for group in {id(group): group for group in same.values()}.values():
        number = _common_number(group)
        if number is None:
            return None
        for each in group:
            if isinstance(each, _Count) and each.pattern == 0:
                indices[each.letter] = (number - each.offset) // each.scale
    return first.fill(indices)


def _counts(pattern: Pattern, at: int) -> list[str | _Count]:
    lows = dict(pattern.bounds)
    return [
        number
        if isinstance(number, str)
        else _Count(at, *number, number.scale * lows.get(number.letter, 0) + number.offset)
        for number in pattern.numbers
    ]


def _common_number(group: Iterable[str | _Count]) -> int | None:
    """The smallest number that is counted in all these ways at once (and has these digits), or None."""
    value, step, least = 0, 1, 0  # what fits so far: value + n * step, from `least` on
    for each in group:
        if isinstance(each, _Count):
            common = gcd(step, each.scale)
            times, rest = divmod(each.offset - value, common)
            if rest:
                return None
            value += step * (times * pow(step // common, -1, each.scale // common))
            step = lcm(step, each.scale)
            least = max(least, each.least)
    digits = {each for each in group if isinstance(each, str)}
    number = int(min(digits)) if digits else least + (value - least) % step
    fits = least <= number <= LARGEST and (number - value) % step == 0 and digits <= {str(number)}
    return number if fits else None


def _one_sided(rules: Sequence[TensorRule]) -> Iterator[Clash]:
    """Rules of which some names do not tell the index."""
    for rule in rules:
        patterns = (*rule.sources, *rule.targets)
        letters = frozenset[str]().union(*(pattern.captures for pattern in patterns))
        for pattern in patterns:
            for letter in sorted(letters - pattern.captures):
                lows = dict(pattern.bounds)
                name = pattern.fill({each: lows.get(each, 0) for each in pattern.captures})
                yield Clash(rule, rule, name, f"{rule}: {name!r} does not tell {letter}, which stands in other names")


def _twice(side: Sequence[_Place], verb: str) -> Iterator[Clash]:
    """Rules that take, or fill, one name."""
    alike: dict[str, list[_Place]] = defaultdict(list)
    for pattern, rule in side:
        alike[pattern.template].append((pattern, rule))
    trials = 0
    for template, group in alike.items():
        for (one, first), (other, second) in _pairs(group):
            trials += 1
            if trials > _MOST_TRIALS:
                yield Clash(first, second, template, f"{_TOO_MANY}, {template}")
                return
            name = common_name(one, other)
            if name is not None:
                twice, both = f"{first} {verb}s {name!r} twice", f"{first} and {second} both {verb} {name!r}"
                yield Clash(first, second, name, twice if first is second else both)


def _pairs(group: Sequence[_Place]) -> Iterator[tuple[_Place, _Place]]:
    """Pairs of patterns of one template, but for most of those that differ in digits."""
    if len(group) < 2:
        return
    by_digits: dict[tuple[int, ...], list[_Place]] = defaultdict(list)  # by where a pattern has digits
    for place in group:
        by_digits[tuple(at for at, number in enumerate(place[0].numbers) if isinstance(number, str))].append(place)
    if len(by_digits) > _MOST_KINDS:
        yield from combinations(group, 2)
        return
    for (where, ones), (elsewhere, others) in combinations_with_replacement(by_digits.items(), 2):
        shared = [at for at in where if at in set(elsewhere)]
        buckets: dict[tuple[str | Form, ...], list[_Place]] = defaultdict(list)
        for place in others:
            digits = tuple(place[0].numbers[at] for at in shared)
            if ones is others:
                yield from ((one, place) for one in buckets[digits])
            buckets[digits].append(place)
        if ones is not others:
            for place in ones:
                yield from ((place, other) for other in buckets.get(tuple(place[0].numbers[at] for at in shared), ()))

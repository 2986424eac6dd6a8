"""Rows that differ in a number alone, as one row with an index; where the numbers do not go together, as a list."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from ppls.drafting.rows import LayerRow
from ppls.mappings.overlaps import common_name
from ppls.mappings.patterns import Pattern, PatternError, numbers_of_name, shape_of_name

_LETTERS = "ijklmnop"
_MOST_WORDS = 100  # of a list


def generalised(rows: Sequence[LayerRow], left: Sequence[LayerRow] = ()) -> list[LayerRow]:
    """As few rows as say the same, and nothing of what is `left`, in the order of the first of each."""
    groups: dict[tuple[str, str, str, str], list[LayerRow]] = defaultdict(list)
    for row in rows:
        groups[shape_of_name(row.source), row.kind, row.options, row.doubt].append(row)
    result: list[tuple[int, LayerRow]] = []
    place = {id(row): at for at, row in enumerate(rows)}
    for group in groups.values():
        others = [*(row for row in rows if not any(row is each for each in group)), *left]
        for row, held in _covered(group, others):
            result.append((min(place[id(each)] for each in held), row))
    return [row for _, row in sorted(result, key=lambda item: item[0])]


Covered = list[tuple[LayerRow, list[LayerRow]]]


def _covered(group: list[LayerRow], others: Sequence[LayerRow]) -> Covered:
    """The group as few rows, none of which has anything of the others."""
    if len(group) == 1:
        return [(group[0], group)]
    by_target: dict[str, list[LayerRow]] = defaultdict(list)
    for row in group:
        by_target[shape_of_name(row.target)].append(row)
    whole: Covered = []
    for at, part in enumerate(by_target.values()):
        rest = [row for other, rows in enumerate(by_target.values()) if other != at for row in rows]
        found = _fitted(part, [*others, *rest])
        if found is None:
            break
        whole.append((found, part))
    else:
        return whole
    ways = [_by_number(group, others, at) for at in range(len(numbers_of_name(group[0].source)))]
    ways = [way for way in ways if way]
    return min(ways, key=len) if ways else [(row, [row]) for row in group]


def _by_number(group: list[LayerRow], others: Sequence[LayerRow], at: int) -> Covered:
    """The group by the values of one number, which then stand in a list where the rest is the same."""
    parts: dict[str, list[LayerRow]] = defaultdict(list)
    for row in group:
        parts[numbers_of_name(row.source)[at]].append(row)
    if len(parts) < 2:
        return []
    found: Covered = []
    for value, rows in parts.items():
        outside = [*others, *(row for other, rows in parts.items() if other != value for row in rows)]
        found += _covered(rows, outside)
    return _listed(found)


def _listed(rows: Covered) -> Covered:
    """Rows that differ in one word on either side as one with lists of them."""
    result: Covered = []
    left = list(rows)
    while left:
        row, held = left.pop(0)
        alike: dict[tuple[str, str, str, str], list[tuple[LayerRow, list[LayerRow], str, str]]] = defaultdict(list)
        for other, others in left:
            source, target = _difference(row.source, other.source), _difference(row.target, other.target)
            if source and target and (row.kind, row.options) == (other.kind, other.options):
                frame = source[0], source[1], target[0], target[1]
                alike[frame].append((other, others, source[3], target[3]))
        if not alike:
            result.append((row, held))
            continue
        frame, members = max(alike.items(), key=lambda item: len(item[1]))
        members = members[: _MOST_WORDS - 1]
        own = [
            difference[2]
            for side in ("source", "target")
            if (difference := _difference(getattr(row, side), getattr(members[0][0], side)))
        ]
        words = [own[0], *(member[2] for member in members)], [own[1], *(member[3] for member in members)]
        if len(set(words[0])) < len(words[0]) or len(set(words[1])) < len(words[1]):
            result.append((row, held))
            continue
        letter = next(each for each in "xyzuvw" if f"<{each}" not in row.source)
        listed = f"{frame[0]}<{letter}:{'|'.join(words[0])}>{frame[1]}"
        beside = f"{frame[2]}<{letter}:{'|'.join(words[1])}>{frame[3]}"
        taken = [each for member in members for each in member[1]]
        result.append((replace(row, source=listed, target=beside), [*held, *taken]))
        gone = {id(member[0]) for member in members}
        left = [each for each in left if id(each[0]) not in gone]
    return result


def _difference(one: str, other: str) -> tuple[str, str, str, str] | None:
    """What stands before and behind the one word in which two names differ, and the words; None for more than one."""
    ours, theirs = (re.split(r"(<[^<>]*>|[A-Za-z0-9]+)", name) for name in (one, other))
    if len(ours) != len(theirs):
        return None
    places = [at for at, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1]]
    if len(places) != 1 or "<" in ours[places[0]] + theirs[places[0]]:
        return None
    at = places[0]
    return "".join(ours[:at]), "".join(ours[at + 1 :]), ours[at], theirs[at]


def _fitted(rows: Sequence[LayerRow], others: Sequence[LayerRow]) -> LayerRow | None:
    """One row for all of these, if the numbers on both sides are counted from the same indices."""
    if len(rows) == 1:
        return rows[0]
    sources, targets = ([numbers_of_name(getattr(row, side)) for row in rows] for side in ("source", "target"))
    columns, others_columns = ([list(column) for column in zip(*side, strict=True)] for side in (sources, targets))
    if any(number != str(int(number)) for column in (*columns, *others_columns) for number in column):
        return None
    letters: dict[int, str] = {}
    same: dict[tuple[str, ...], str] = {}
    for at, column in enumerate(columns):
        if len(set(column)) > 1:
            letters[at] = same.setdefault(tuple(column), _LETTERS[len(same)] if len(same) < len(_LETTERS) else "")
    if "" in letters.values():
        return None
    values = {letter: [int(n) for n in columns[at]] for at, letter in letters.items()}
    counted: dict[int, tuple[str, int]] = {}
    for at, column in enumerate(others_columns):
        if len(set(column)) == 1:
            continue
        numbers = [int(number) for number in column]
        for letter, ours in values.items():
            offsets = {theirs - our for theirs, our in zip(numbers, ours, strict=True)}
            if len(offsets) == 1:
                counted[at] = letter, offsets.pop()
                break
        else:
            return None
    if {letter for letter, _ in counted.values()} != set(values):
        return None
    least = {letter: min([0, *(offset for each, offset in counted.values() if each == letter)]) for letter in values}
    bases = {letter: -least[letter] for letter in values}  # the source's number for index 0
    if any(min(values[letter]) < bases[letter] for letter in values):
        return None
    places = {at: (letter, bases[letter]) for at, letter in letters.items()}
    theirs = {at: (letter, offset + bases[letter]) for at, (letter, offset) in counted.items()}
    lows = {letter: min(ours) - bases[letter] for letter, ours in values.items()}
    for bounded in ([], [letter for letter in lows if lows[letter]]):
        bounds = {letter: lows[letter] for letter in bounded}
        row = replace(
            rows[0],
            source=_text(rows[0].source, places, bounds),
            target=_text(rows[0].target, theirs, bounds),
        )
        if _alone(row, others):
            return row
    return None


def _text(name: str, places: dict[int, tuple[str, int]], bounds: dict[str, int]) -> str:
    at = -1

    def number(found: re.Match[str]) -> str:
        nonlocal at
        at += 1
        if at not in places:
            return found[0]
        letter, offset = places[at]
        low = f":{bounds[letter]}.." if letter in bounds else ""
        return f"<{letter}{f'+{offset}' if offset else ''}{low}>"

    return re.sub("[0-9]+", number, name)


def _alone(row: LayerRow, others: Sequence[LayerRow]) -> bool:
    """Whether the row has nothing that one of the others has."""
    try:
        source, target = Pattern.parse(row.source), Pattern.parse(row.target)
    except PatternError:
        return False
    return not any(
        common_name(source, Pattern(other.source))
        or (_fill_alike(row, other) and common_name(target, Pattern(other.target)))
        for other in others
    )


def _fill_alike(row: LayerRow, other: LayerRow) -> bool:
    """Whether two rows to one module would fill the same tensors: two layers do, two blocks may have other names."""
    return row.kind == other.kind or bool(row.tensors and other.tensors)

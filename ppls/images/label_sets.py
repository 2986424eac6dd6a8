"""The classes of published data sets: their names and colours, as `label_sets.txt` beside this file has them."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from ppls.errors import InputError, first_line
from ppls.files import open_regular
from ppls.records import dataclass
from ppls.shown import shown

MOST_CLASSES = 1 << 16  # that a label map of 16 bits tells apart
LONGEST_NAME = 200
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class LabelSet:
    """Classes, in the order of their numbers.

    Attributes:
        name: of the set; of a user's own the file.
        classes: their names.
        palette: their colours, `#rrggbb`; None for a set of a user's own.
    """

    name: str
    classes: tuple[str, ...]
    palette: tuple[str, ...] | None = None


@cache
def label_sets() -> dict[str, LabelSet]:
    """The published sets by name, in lower case."""
    sets: dict[str, LabelSet] = {}
    for block in Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").split("\n[")[1:]:
        name, *lines = block.splitlines()
        rows = [line.split(" ", 1) for line in lines if line and not line.startswith("#")]
        name = name.removesuffix("]")
        sets[name.lower()] = LabelSet(name, tuple(row[1] for row in rows), tuple(f"#{row[0]}" for row in rows))
    return sets


def find_label_set(name: str | Path) -> LabelSet:
    """The published set of that name, or that of a file with a class's name on each line; a file wins.

    Raises:
        InputError: neither; or the file cannot be read or is no such list.
    """
    known = label_sets()
    if str(name).lower() in known and not os.path.isfile(name):  # but maybe the folder of the data set
        return known[str(name).lower()]
    try:
        with open(open_regular(name), "rb") as file:
            content = file.read(_MOST_BYTES + 1)
        return LabelSet(str(name), _names(content))
    except (FileNotFoundError, NotADirectoryError):
        sets = ", ".join(known)
        raise InputError(
            f"{name}: no such list of classes; a file has a name on each line, published sets are {sets}"
        ) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or first_line(error)
        raise InputError(f"{name}: is no list of classes, a name on each line: {why}") from None


def _names(content: bytes) -> tuple[str, ...]:
    if len(content) > _MOST_BYTES:
        raise ValueError(f"it is larger than {_MOST_BYTES >> 20} MiB")
    names = [line.strip() for line in content.decode("utf-8-sig").rstrip().splitlines()]
    if not names:
        raise ValueError("it is empty")
    if len(names) > MOST_CLASSES:
        raise ValueError(f"it has {len(names):,} lines, {MOST_CLASSES:,} at most")
    for number, name in enumerate(names, 1):
        if not name or len(name) > LONGEST_NAME:
            raise ValueError(f"line {number}: {shown(name, 40)!r} is no name, of 1 to {LONGEST_NAME} characters")
    return tuple(names)

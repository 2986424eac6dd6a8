"""Two columns in a frame, printed without rich, whose import takes a third of the time of a small conversion."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress

import click

from ppls.shown import encodable, shown_line

_FRAME, _ASCII = "╭─┬╮│╰┴╯", "+-++|+++"
_WORD = re.compile(r"\s*\S+\s*")


class Pairs:
    """What something is called, and what it is: in lines that are broken where the terminal ends."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, list[str]]] = []

    def add(self, label: str, *lines: str) -> None:
        """Adds a row; what a terminal would obey is escaped, so that columns stay as wide as they look."""
        self._rows.append((_text(label), [_text(line) for line in lines]))

    def print(self, title: str) -> None:
        """Prints all rows, in colours where stdout is a terminal that has some."""
        top_left, dash, top, top_right, bar, bottom_left, bottom, bottom_right = _frame()
        left = max((_width(label) for label, _ in self._rows), default=0)
        room = max(_columns() - left - 7, 10)
        rows = [(label, [part for line in lines for part in _broken(line, room)]) for label, lines in self._rows]
        right = max((_width(part) for _, parts in rows for part in parts), default=0)
        click.echo(_styled(_text(title), bold=True))
        click.echo(f"{top_left}{dash * (left + 2)}{top}{dash * (right + 2)}{top_right}")
        for label, parts in rows:
            for name, part in zip([label, *[""] * len(parts)], parts, strict=False):
                first, second = (
                    _styled(name, fg="cyan") + " " * (left - _width(name)),
                    part + " " * (right - _width(part)),
                )
                click.echo(f"{bar} {first} {bar} {second} {bar}")
        click.echo(f"{bottom_left}{dash * (left + 2)}{bottom}{dash * (right + 2)}{bottom_right}")


def _columns() -> int:
    """How wide the terminal is: as `shutil.get_terminal_size` has it, which takes a while to import."""
    with suppress(KeyError, ValueError):
        if (columns := int(os.environ["COLUMNS"])) > 0:
            return columns
    with suppress(ValueError, OSError):
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    return 80


def _text(text: str) -> str:
    return encodable(shown_line(text), getattr(sys.stdout, "encoding", None))


def _frame() -> Sequence[str]:
    return _FRAME if encodable(_FRAME, getattr(sys.stdout, "encoding", None)) == _FRAME else _ASCII


def _styled(text: str, **style: bool | str) -> str:
    plain = not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") in ("dumb", "unknown")
    return text if plain or not text else click.style(text, **style)  # type: ignore[arg-type]


def _width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def _broken(line: str, room: int) -> Iterator[str]:
    """A line in parts that fit, broken between words; a longer word anywhere."""
    part, taken = "", 0
    for word in _WORD.findall(line):
        width = _width(word.rstrip())
        if part and taken + width > room:
            yield part.rstrip()
            part, taken = "", 0
        if width > room:
            *whole, word = _pieces(word, room)
            yield from whole
        part += word
        taken += _width(word)
    yield part.rstrip()


def _pieces(word: str, room: int) -> list[str]:
    pieces, start, taken = [], 0, 0
    for index, character in enumerate(word):
        width = _width(character)
        if taken + width > room:
            pieces.append(word[start:index])
            start, taken = index, 0
        taken += width
    return [*pieces, word[start:]]

"""How text that comes from a file is shown: what a terminal, an editor or a browser would obey is escaped."""

from __future__ import annotations


def shown(text: object, most: int = 200) -> str:
    """A name or value from a file as part of one line: control characters, line breaks, marks that change the
    direction of writing and lone surrogates as Python escapes them, and no more than `most` characters of it."""
    found = str(text)
    return _escaped(found[:most], keep="") + ("..." if len(found) > most else "")


def shown_lines(text: str) -> str:
    """A message of several lines, its line breaks kept and all else escaped as by `shown`."""
    return _escaped(text, keep="\n")


def _escaped(text: str, keep: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in keep else ascii(character)[1:-1] for character in text
    )

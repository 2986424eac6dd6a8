"""How text that comes from a file is shown: what a terminal, an editor or a browser would obey is escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from os import fsencode
from typing import Any

# Letters and marks by name, and yet nothing to be seen: joiners, fillers, selectors of variants. Compiled when needed.
_INVISIBLE = "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"

# What means nothing to Markdown wherever it stands in a line: no name of a site, no address, no link.
_PLAIN = r"(?:[A-Za-z0-9](?:[A-Za-z0-9 ,()]|(?<=\d)\.(?=\d))*)?"


def shown(text: object, most: int = 200) -> str:
    """A name or value from a file as part of one line: control characters, line breaks, marks that change the
    direction of writing and lone surrogates as Python escapes them, and no more than `most` characters of it."""
    found = str(text)
    return shown_line(found[:most]) + ("..." if len(found) > most else "")


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names in one line, and how many more there are than `most`."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def shown_line(text: str) -> str:
    """One line, escaped as by `shown`, and the whole of it."""
    return _escaped(text, keep="")


def shown_lines(text: str) -> str:
    """A text of several lines, its line breaks kept and all else escaped as by `shown`."""
    return _escaped(text, keep="\n")


def encodable(text: str, encoding: str | None) -> str:
    """A text without the characters that an encoding lacks, which are escaped."""
    if text.isascii():
        return text
    encoding = encoding or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def shell_word(path: str) -> str:
    """A path as one word of a command that is there to be copied: quoted, and taken for no option."""
    word = f"./{path}" if path.startswith("-") else path
    if shown_line(word) == word:
        import shlex  # needed by few commands

        return shlex.quote(word)
    plain = re.compile(rb"[ -&(-\[\]-~]")  # ASCII but for the quote and the backslash
    return "$'" + "".join(chr(b) if plain.match(bytes([b])) else f"\\x{b:02x}" for b in fsencode(word)) + "'"


def json_value(value: Any) -> Any:
    """A document that every parser of JSON takes: lone surrogates are escaped, what is no finite number is null."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, dict):
        return {json_value(key): json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    return value


def markdown(text: object) -> str:
    """A name or value from a file in Markdown, where it stands for itself: no link, image, table, tag or mention.

    Plain words stand as they are, anything else as a span of code.
    """
    found = str(text)
    return found if len(found) <= 200 and re.fullmatch(_PLAIN, found) else markdown_code(text)


def markdown_code(text: object) -> str:
    """A name or value from a file as a span of code, in which Markdown sees nothing but the span's end.

    A backtick, and the bar that ends a cell of a table, are escaped as by `shown`.
    """
    return "`" + (shown(text).replace("`", r"\x60").replace("|", r"\x7c") or " ") + "`"


def fenced(language: str, text: str) -> str:
    """A block of code in Markdown, whatever stands in the text: its fence is longer than any in there."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return f"{fence}{language}\n{shown_lines(text.removesuffix(chr(10)))}\n{fence}\n"


def _escaped(text: str, keep: str) -> str:
    if text.isprintable() and (text.isascii() or not re.search(_INVISIBLE, text)):
        return text
    return "".join(
        character if (character.isprintable() and not re.match(_INVISIBLE, character)) or character in keep
        else ascii(character)[1:-1]
        for character in text
    )  # fmt: skip

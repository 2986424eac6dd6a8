"""YAML from files and from the command line as nodes that know their line, within a budget."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ppls.budget import Budget
from ppls.files import open_regular
from ppls.schema import Fail, Node
from ppls.shown import shown

MOST_BYTES = 1 << 20  # of all texts that belong together: maps and configs have some thousand


class YamlReader:
    """Reads texts that belong together, all within one budget.

    A document means what PyYAML's safe loader makes of it. Refused is what neither maps nor configs need: tags but
    those of plain values, tag handles, merge keys, collections as keys, several documents in one text, an alias within
    what it stands for.

    Args:
        error: makes the error from a place (`map.yaml:12`) and what is wrong there.
        unique: a key may stand but once; else the last one counts.
    """

    def __init__(self, error: Fail, *, unique: bool = True) -> None:
        self.error, self.unique = error, unique
        self.budget = Budget(0, lambda why: error(self.place, why))
        self.place = ""  # where it reads
        self._bytes_left = MOST_BYTES

    def document(self, path: Path | str, content: bytes) -> Node:
        """The document that a file has; an empty one is a node without a value."""
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            line = 1 + content.count(b"\n", 0, error.start)
            raise self.error(f"{path}:{line}", f"not YAML: no UTF-8: {error.reason}") from None
        return self.text(text, lambda line: f"{path}:{line}")

    def text(self, text: str, place: Callable[[int], str]) -> Node:
        """The document of a text; `place` makes the place of a line."""
        self.budget.take_bytes(len(text))
        from ppls.yaml_nodes import compose  # needs PyYAML, which takes a while to import; maps of the package do not

        return compose(self, text, place)

    def read(self, path: Path, named: str = "") -> bytes:
        """The bytes of a regular file; `named` is where another file names it."""
        self.place = named or str(path)
        what = f"{shown(path)} cannot be read" if named else "cannot be read"
        try:
            with open(open_regular(path), "rb") as file:
                content = file.read(self._bytes_left + 1)
        except OSError as error:
            raise self.error(self.place, f"{what}: {error.strerror or error}") from None
        except ValueError as error:  # a NUL in the path, or a lone surrogate
            raise self.error(self.place, f"{what}: {error}") from None
        self._bytes_left -= len(content)
        if self._bytes_left < 0:
            raise self.error(self.place, f"{what}: no map or config is longer than {MOST_BYTES >> 20} MiB")
        return content

"""Importing what a user or a map names, whatever the module does when it is imported."""

from __future__ import annotations

import importlib
from typing import Any

from ppls.errors import all_lines, first_line


class CannotImportError(Exception):
    """Nothing of that name can be imported; the message is one line, `lines` is all that the module's error says."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(f"{type(cause).__name__}: {first_line(cause)}")
        self.lines = all_lines(cause)


def import_named(module: str, name: str) -> Any:
    """What a module has under a name, which may be dotted. Raises `CannotImportError`, whatever was raised."""
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:
        raise CannotImportError(error) from error
    return found

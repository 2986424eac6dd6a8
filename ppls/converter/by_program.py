"""Whether a conversion goes by a map or by the program of an export; needs no torch."""

from __future__ import annotations

import os
from pathlib import Path

from ppls.checkpoint.reader import read
from ppls.converter.convert import open_model
from ppls.converter.recognise import choose_map
from ppls.errors import Error, NamelessError, UnrecognisedError


def is_for_its_program(source: str | Path, destination: str | Path = "folder") -> bool:
    """Whether an export is to be converted by its program unasked: no map knows it, and a folder is to be written."""
    if Path(destination).suffix == ".safetensors" or not os.path.lexists(source):
        return False
    try:
        if not read(source).is_export:
            return False
        choose_map(open_model(source), None)
    except (NamelessError, UnrecognisedError):
        return True
    except Error:
        return False
    return False

"""Which files a command reads, so that what it writes takes the place of none of them (see `ppls.destination`).

Iterators: nothing is opened unless somebody asks, and what cannot be read ends them; whoever uses it will say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ppls.checkpoint.reader import read
from ppls.converter.run_config import run_files
from ppls.errors import Error


def weight_files(given: str | Path | None) -> Iterator[Path]:
    """A checkpoint or model: the file and what belongs to it, as a program to exported weights; of a folder all."""
    if given is None:
        return
    path = Path(given)
    yield path
    with suppress(Error, OSError, ValueError):
        yield from path.iterdir() if path.is_dir() else read(path).files


def config_files(given: str | Path | None) -> Iterator[Path]:
    """A config of PaddleSeg and those that it is based on (`_base_`)."""
    if given is not None:
        yield from run_files(Path(given))

"""Which files a command reads, so that what it writes takes the place of none of them (see `ppls.destination`).

Iterators: nothing is opened unless somebody asks, and what cannot be read ends them; whoever uses it will say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ppls.converter import yaml_text
from ppls.converter.reader import read
from ppls.errors import Error

_LONGEST_CHAIN = 100  # of configs that are based on one another


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
    path = None if given is None else Path(given)
    for _ in range(_LONGEST_CHAIN):
        if path is None:
            return
        yield path
        base = None
        with suppress(yaml_text.YamlError, OSError, ValueError):
            content = yaml_text.load(path.read_bytes())
            base = content.get("_base_") if isinstance(content, dict) else None
        path = path.parent / base if isinstance(base, str) else None

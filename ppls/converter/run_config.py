"""PaddleSeg's own config of a run, with the files that it is based on, merged as PaddleSeg merges them."""

from __future__ import annotations

import dataclasses
import os
from contextlib import suppress
from pathlib import Path

from ppls.checkpoint.source import Source
from ppls.errors import ConversionError
from ppls.schema import Node
from ppls.shown import shown
from ppls.yaml_documents import MOST_BYTES, YamlReader

_MOST_FILES = 32  # PaddleSeg's own configs are based on four at most


def load_run(path: Path) -> Node:
    """A config with the files of its `_base_` merged in: a table, each value of which knows its file and line.

    Raises:
        ConversionError: a file cannot be read, is no config, or is based on itself or on too many others.
    """
    return _Chain().load(path, "", [])


def load_inside(source: Source) -> Node:
    """A config that lies in an archive, where it is based on no others. Raises as `load_run` does."""
    if source.size > MOST_BYTES:
        raise _error(source.label, f"no config is longer than {MOST_BYTES >> 20} MiB")
    top = _Chain().table(source.label, source.read(0, source.size))
    if "_base_" in top.value:
        raise _error(source.label, "is based on other files, which are not looked for in an archive")
    return top


def run_files(path: Path) -> list[Path]:
    """A config and the files that it is based on, as far as they can be read."""
    chain = _Chain()
    with suppress(ConversionError):
        chain.load(path, "", [])
    return chain.files


def _error(place: str, why: str) -> ConversionError:
    return ConversionError(f"{place}: {why}")


class _Chain:
    def __init__(self) -> None:
        # some of PaddleSeg's own configs have a key twice, of which the last one counts
        self._reader = YamlReader(_error, unique=False)
        self.files: list[Path] = []

    def load(self, path: Path, named: str, around: list[str]) -> Node:
        """`named` is where another file names this one, `around` the files that are based on it, innermost last."""
        self.files.append(path)
        if len(self.files) > _MOST_FILES:
            raise _error(named, f"is based on more than {_MOST_FILES} files")
        content = self._reader.read(path, named)
        file = os.path.realpath(path)
        if file in around:
            raise _error(named, f"is based on itself, through {shown(path)}")
        top = self.table(path, content)
        base = top.value.pop("_base_", None)
        if base is None:
            return top
        merged = top
        for name in base.value if isinstance(base.value, list) else [base]:
            if not isinstance(name.value, str):
                name.fail("`_base_` is the name of a file, or a list of such")
            merged = _merged(self.load(path.parent / name.value, name.place, [*around, file]), merged)
        return merged

    def table(self, place: str | Path, content: bytes) -> Node:
        """What one file says, whatever it is based on."""
        top = self._reader.document(place, content)
        if not isinstance(top.value, dict):
            raise _error(str(place), "not a config: no `key: value` pairs in it")
        return top


def _merged(base: Node, own: Node) -> Node:
    """A table with what it lacks taken from another, unless it says `_inherited_: False`."""
    values = dict(own.value)
    inherited = values.pop("_inherited_", None)
    if inherited is not None and not inherited.value:
        return dataclasses.replace(own, value=values)
    merged = dict(base.value)
    for key, value in values.items():
        both = key in merged and isinstance(value.value, dict) and isinstance(merged[key].value, dict)
        merged[key] = _merged(merged[key], value) if both else value
    return dataclasses.replace(own, value=merged)

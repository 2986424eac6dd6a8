"""Folders, on disk or in an archive: which of their files is the checkpoint."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from ppls.checkpoint.source import Source
from ppls.errors import CheckpointError
from ppls.shown import listed

WEIGHTS_SUFFIXES = (".pdparams", ".safetensors", ".pdiparams")
DEPLOY = "deploy.yaml"  # what PaddleSeg's export says about images
_PROGRAMS = (".pdmodel", ".json")
# Never weights, whatever their name says
_OTHER_JSON = ("config.json", "model.safetensors.index.json", "preprocessor_config.json", "package.json")


class Folder(Protocol):
    """A set of files by name, without its subfolders."""

    path: Path

    def names(self) -> Sequence[str]:
        """The regular files, sorted."""

    def __contains__(self, name: object) -> bool: ...

    def open(self, name: str, *, transient: bool = False) -> Source:
        """Opens one; `transient` where there are many, so that their descriptors are not all held."""


class DiskFolder:
    """A folder of the file system."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> Sequence[str]:
        # not `entry.is_file()`, which raises where links lead in a circle
        return sorted(entry.name for entry in self._entries() if os.path.isfile(entry) and entry.name[0] != ".")

    def subfolders(self) -> Sequence[str]:
        return sorted(entry.name for entry in self._entries() if os.path.isdir(entry))

    def _entries(self) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.path) as entries:
                return list(entries)
        except OSError as error:
            raise CheckpointError(f"{self.path}: the folder cannot be read: {error.strerror}") from None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and os.path.isfile(self.path / name)

    def open(self, name: str, *, transient: bool = False) -> Source:
        return Source.open(self.path / name, transient=transient)


def choose(folder: Folder) -> str | None:
    """The file to read: state dicts before exports; None if the folder holds one file per variable.

    `deploy.yaml` is not asked: PaddleSeg writes `model.pdmodel` into it even where the export made a `model.json`.

    Raises:
        CheckpointError: there is none, or more than one.
    """
    names = folder.names()
    for suffix in WEIGHTS_SUFFIXES:
        found = [name for name in names if name.endswith(suffix)]
        if suffix == ".safetensors" and "model.safetensors" in found:
            return "model.safetensors"
        if len(found) == 1:
            return found[0]
        if found:
            raise CheckpointError(f"{folder.path}: holds {len(found)} checkpoints; give one of them: {listed(found)}")
    if "__params__" in names:
        return "__params__"
    if any(name in ("__model__", "__model__.json") for name in names) or _all_streams(folder, names):
        return None
    raise CheckpointError(f"{folder.path}: {_why_nothing(folder, names)}")


def program_of(folder: Folder, weights: str) -> str | None:
    """The program that was saved with a weights file, going by its name."""
    stem = weights.removesuffix(".pdiparams")
    stems = ["__model__"] if weights == "__params__" else [stem, "__model__"]
    candidates = [f"{stem}{suffix}" for stem in stems for suffix in _PROGRAMS] + ["__model__"]
    return next((name for name in candidates if name in folder), None)


def weights_of(folder: Folder, program: str) -> str | None:
    """The weights that were saved with a program, going by its name."""
    stem = next((program.removesuffix(suffix) for suffix in _PROGRAMS if program.endswith(suffix)), program)
    candidates = [f"{stem}.pdiparams", f"{stem}.pdparams", *(["__params__"] if stem == "__model__" else [])]
    return next((name for name in candidates if name in folder), None)


def info_of(folder: Folder, weights: str) -> str | None:
    """The table of structured names; a model with several methods has one for all, beside the first."""
    stem = weights.removesuffix(".pdiparams")
    while stem:
        if (name := f"{stem}.pdiparams.info") in folder:
            return name
        stem = stem.rpartition(".")[0]
    return None


def programs(folder: Folder) -> list[str]:
    """Everything that may be a program, going by the name."""
    names = [name for name in folder.names() if name.endswith(_PROGRAMS) or name == "__model__"]
    return [name for name in names if name not in _OTHER_JSON]


def _all_streams(folder: Folder, names: Sequence[str]) -> bool:
    """True where every file is a binary tensor, as `save_vars` leaves them."""
    from ppls.checkpoint import tensor_stream  # few folders need it

    for name in names:
        source = folder.open(name, transient=True)
        if not tensor_stream.looks_like(source.read(0, min(source.size, 64))):
            return False
    return bool(names)


def _why_nothing(folder: Folder, names: Sequence[str]) -> str:
    if found := [name for name in names if name.endswith((".pdmodel", ".json")) and name not in _OTHER_JSON]:
        return f"holds a program ({found[0]}), but not its weights ({Path(found[0]).stem}.pdiparams)"
    if "model.safetensors.index.json" in names:
        return "holds a table of contents, but none of the .safetensors files that it speaks of"
    if any(name.endswith(".pdopt") for name in names):
        return "holds an optimizer state (.pdopt), but no weights (.pdparams)"
    if isinstance(folder, DiskFolder) and (subfolders := folder.subfolders()):
        return f"no weights in it; give one of the folders inside: {listed(subfolders)}"
    return (
        "no weights in it: neither .pdparams, nor .safetensors, nor .pdiparams"
        if names
        else "an empty folder; give the one that holds the weights"
    )

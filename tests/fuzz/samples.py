"""The sample files beside the repository, where they are: real ones, and hostile ones that releases fell for."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from tests.fuzz.case import Case
from tests.material import SAMPLES, SHARED

_HOSTILE = ("hostile", "hostile2")
_LARGEST = 48 << 10  # of what is changed a thousand times
_BY_SUFFIX = {".png": "image", ".yml": "config", ".yaml": "map", ".pt": "convert back"}


@lru_cache
def weights() -> list[Case]:
    """Every small sample, the hostile ones included, each with the files that must lie beside it."""
    found = []
    for path in sorted(SAMPLES.rglob("*")):
        if path.is_file() and path.suffix not in (".npz", ".md", ".yml", ".yaml") and path.stat().st_size <= _LARGEST:
            found.append(Case({path.name: path.read_bytes(), **_siblings(path)}, path.name))
    return found


def _siblings(path: Path) -> dict[str, bytes]:
    stem = path.name.split(".")[0]
    related = {other.name: other for other in path.parent.iterdir() if other.is_file() and other != path}
    if not any(name.startswith("__model__") for name in [*related, path.name]):
        related = {name: other for name, other in related.items() if name.split(".")[0] == stem}
    return {name: other.read_bytes() for name, other in related.items() if other.stat().st_size <= _LARGEST}


def small_models() -> list[Case]:
    """Checkpoints of whole models, small enough to be changed a thousand times."""
    paths = sorted((SHARED / "eras").glob("*_t_*.pdparams"))
    return [Case({path.name: path.read_bytes()}, path.name) for path in paths]


def texts(folder: str) -> list[tuple[str, bytes]]:
    """The hostile files of a folder in `samples/hostile2`, with their names: `maps`, `configs`."""
    return [(path.name, path.read_bytes()) for path in sorted((SAMPLES / "hostile2" / folder).glob("*"))]


def verdicts() -> Iterator[tuple[str, str, Case]]:
    """The hostile samples as they are, large ones too: the name, the target that they are for, and the input.

    A name that begins with `ok_` says that it is a value, with `x_` that it is refused.
    """
    for path in (path for name in _HOSTILE for path in sorted((SAMPLES / name).glob("*"))):
        if path.is_file() and path.suffix != ".json":
            target = _BY_SUFFIX.get(path.suffix, "read")
            yield path.name, target, Case({path.name: path.read_bytes()}, path.name)
        elif path.is_dir() and path.name not in ("maps", "configs"):
            files = {file.name: file.read_bytes() for file in sorted(path.iterdir())}
            given = "m.pdiparams" if "m.pdiparams" in files else ""
            yield path.name, "read", Case(files, given)
            for name in files:
                yield f"{path.name}/{name}"[2:], "read", Case(files, name)

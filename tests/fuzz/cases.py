"""What the fuzzers feed the reader: the sample files, changed at random, each in a folder with its siblings."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ppls.converter.reader import read
from ppls.errors import Error

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"
_LARGEST = 48 << 10
_NUMBERS = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    1 << 20,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 40,
    1 << 62,
    (1 << 64) - 1,
)
_OPCODES = b"(.NKJMGhjqrRbcu}]est)tXUTCB\x80\x81\x85\x86\x87\x88\x89\x8a\x8c\x8d\x8e\x8f\x90\x93\x94\x95"
_TOKENS = (
    b"cposix\nsystem\n",
    b"cbuiltins\neval\n",
    b"cnumpy\ndtype\n",
    b"cnumpy.core.multiarray\nscalar\n",
    b"c_codecs\nencode\n",
    b"ccollections\nOrderedDict\n",
    b"X\x15\0\0\0UnpackBigParamInfor@@",
    b"X\x18\0\0\0StructuredToParameterName@@",
    b"\x8e" + b"\xff" * 8,
    b"r\xff\xff\xff\xff",
    b"\x0a\xff\xff\xff\xff\x0f",
    b"\x1f\x8b\x08",
)


class Case(NamedTuple):
    """One file to change, and the files that must lie beside it, by name."""

    name: str
    content: bytes
    siblings: dict[str, Path]


def cases() -> list[Case]:
    """Every small sample, the hostile ones included."""
    found = []
    for path in sorted(SAMPLES.rglob("*")):
        if path.is_file() and path.suffix not in (".npz", ".md") and path.stat().st_size <= _LARGEST:
            found.append(Case(path.name, path.read_bytes(), _siblings(path)))
    return found


def _siblings(path: Path) -> dict[str, Path]:
    stem = path.name.split(".")[0]
    related = {other.name: other for other in path.parent.iterdir() if other.is_file() and other != path}
    if any(name.startswith("__model__") for name in [*related, path.name]):
        return related
    return {name: other for name, other in related.items() if name.split(".")[0] == stem}


def mutate(random_: random.Random, content: bytes, others: list[Case]) -> bytes:
    """A few changes of the kinds that find faults in readers of binary formats."""
    data = bytearray(content)
    for _ in range(random_.choice((1, 1, 1, 2, 3, 6))):
        random_.choice(_MUTATIONS)(random_, data, others)
    return bytes(data)


def _at(random_: random.Random, data: bytearray) -> int:
    return random_.randrange(len(data) + 1)


def _flip(random_: random.Random, data: bytearray, others: list[Case]) -> None:
    if data:
        data[random_.randrange(len(data))] ^= 1 << random_.randrange(8)


def _set(random_: random.Random, data: bytearray, others: list[Case]) -> None:
    if data:
        data[random_.randrange(len(data))] = random_.randrange(256)


def _opcode(random_: random.Random, data: bytearray, others: list[Case]) -> None:
    if data:
        data[random_.randrange(len(data))] = random_.choice(_OPCODES)


def _truncate(random_: random.Random, data: bytearray, others: list[Case]) -> None:
    del data[_at(random_, data) :]


def _number(random_: random.Random, data: bytearray, others: list[Case]) -> None:
    at, width = _at(random_, data), random_.choice((1, 2, 4, 8))
    number = (random_.choice(_NUMBERS) + random_.randrange(-1, 2)) % (1 << 8 * width)
    data[at : at + width] = number.to_bytes(width, random_.choice(("little", "big")))


def _delete(random_: random.Random, data: bytearray, others: list[Case]) -> None:
    at = _at(random_, data)
    del data[at : at + random_.choice((1, 2, 8, 64, 500))]


def _repeat(random_: random.Random, data: bytearray, others: list[Case]) -> None:
    at = _at(random_, data)
    piece = data[at : at + random_.choice((1, 4, 32, 200))]
    data[at:at] = piece * random_.choice((1, 2, 50))


def _insert(random_: random.Random, data: bytearray, others: list[Case]) -> None:
    at = _at(random_, data)
    data[at:at] = random_.choice(_TOKENS)


def _splice(random_: random.Random, data: bytearray, others: list[Case]) -> None:
    other = random_.choice(others).content
    start, at = random_.randrange(len(other) + 1), _at(random_, data)
    data[at : at + random_.choice((0, 16, 200))] = other[start : start + random_.choice((8, 64, 500))]


_MUTATIONS: tuple[Callable[[random.Random, bytearray, list[Case]], None], ...] = (
    _flip, _set, _opcode, _truncate, _number, _number, _delete, _repeat, _insert, _splice,
)  # fmt: skip


def read_all(path: Path) -> str:
    """Reads a file and every tensor in it: `read` or the class of the refusal; any other exception is a fault."""
    try:
        checkpoint = read(path)
    except Error as error:
        if not str(error).strip() or "\n" in str(error):
            raise AssertionError(f"not one readable message: {error!r}") from error
        return type(error).__name__
    for name in checkpoint:
        try:
            array = checkpoint[name]
        except Error:
            continue
        assert array.shape == checkpoint.stored(name).shape
    return "read"


class Bench:
    """A folder, best in memory, where changed files are laid out and read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._present: tuple[Path, ...] | None = None

    def run(self, case: Case, content: bytes, *, as_folder: bool = False) -> str:
        siblings = tuple(case.siblings.values())
        if siblings != self._present:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            for name, path in case.siblings.items():
                shutil.copyfile(path, self.folder / name)
            self._present = siblings
        path = self.folder / case.name
        path.write_bytes(content)
        try:
            return read_all(self.folder if as_folder else path)
        finally:
            path.unlink()

"""Writes a state dict as `paddle.save` does: a pickle of protocol 4 with the name table, tensor by tensor.

Python's own pickler would name numpy's modules as the running numpy has them, and Paddle beside an older numpy could
not read that; the few opcodes that a dictionary of arrays needs are written here instead.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from ppls.checkpoint.checkpoint import Checkpoint
from ppls.checkpoint.dtypes import BY_PICKLE, DTYPES
from ppls.checkpoint.state_dict import MASTER_WEIGHTS, NAME_TABLE
from ppls.checkpoint.tensors import StoredTensor, new_scratch
from ppls.checkpoint.written import write_and_read_back

_IN_TABLE = f"{MASTER_WEIGHTS}."

Numbers: TypeAlias = "Mapping[str, int | float | Numbers]"  # whole ones are not negative


def write_paddle_file(
    path: Path,
    tensors: Mapping[str, StoredTensor],
    name_table: Mapping[str, str],
    *,
    force: bool = False,
    before_naming: Callable[[], None] | None = None,
) -> None:
    """Writes `tensors` to `path` as Paddle does; as `write_and_read_back`.

    Args:
        name_table: Paddle's variable name by structured name, as the checkpoint had it; may be empty.
    """

    def is_intact(back: Checkpoint) -> bool:
        return list(back) == list(tensors) and back.name_table == dict(name_table)

    content = _Pickle().state_dict(tensors, name_table)
    write_and_read_back(path, tensors, content, is_intact, types=BY_PICKLE, force=force, before_naming=before_naming)


def write_optimizer_file(
    path: Path,
    tensors: Mapping[str, StoredTensor],
    variables: Mapping[str, str],
    *,
    beside: Mapping[str, Numbers] | None = None,
    force: bool = False,
) -> None:
    """Writes what an optimizer keeps as Paddle does, each tensor with its variable's name; as `write_and_read_back`.

    Args:
        tensors: those called `master_weights.NAME` are put into a table of that name.
        variables: Paddle's name of each.
        beside: tables of numbers: `LR_Scheduler`.
    """

    def is_intact(back: Checkpoint) -> bool:
        return back.name_table == dict(variables)

    content = _Pickle().optimizer_state(tensors, variables, beside or {})
    write_and_read_back(path, tensors, content, is_intact, types=BY_PICKLE, force=force, before_naming=None)


class _Pickle:
    """The opcodes (see Python's `pickletools`), piece by piece."""

    def __init__(self) -> None:
        self._memo: dict[str, int] = {}

    def state_dict(
        self, tensors: Mapping[str, StoredTensor], name_table: Mapping[str, str]
    ) -> Iterator[bytes | memoryview]:
        scratch = new_scratch()
        yield b"\x80\x04}("
        for name, tensor in tensors.items():
            yield _text(name) + self._array(tensor)
            yield from (block.data for block in tensor.blocks(scratch))
            yield b"tb"
        pairs = (_text(name) + _text(variable) for name, variable in name_table.items())
        yield _text(NAME_TABLE) + b"}(" + b"".join(pairs) + b"uu."

    def optimizer_state(
        self, tensors: Mapping[str, StoredTensor], variables: Mapping[str, str], beside: Mapping[str, Numbers]
    ) -> Iterator[bytes | memoryview]:
        yield b"\x80\x04}("
        own = {name: tensor for name, tensor in tensors.items() if not name.startswith(_IN_TABLE)}
        masters = {name: tensor for name, tensor in tensors.items() if name.startswith(_IN_TABLE)}
        yield from self._named(own, variables)
        if masters:
            yield _text(MASTER_WEIGHTS) + b"}("
            yield from self._named(masters, variables)
            yield b"u"
        yield from (_text(name) + _table(numbers) for name, numbers in beside.items())
        yield b"u."

    def _named(self, tensors: Mapping[str, StoredTensor], variables: Mapping[str, str]) -> Iterator[bytes | memoryview]:
        """Keys and pairs of a variable's name and its array."""
        scratch = new_scratch()
        for name, tensor in tensors.items():
            yield _text(name.removeprefix(_IN_TABLE)) + _text(variables[name]) + self._array(tensor)
            yield from (block.data for block in tensor.blocks(scratch))
            yield b"tb\x86"

    def _array(self, tensor: StoredTensor) -> bytes:
        """An array up to its data."""
        nbytes = tensor.nbytes
        size = b"B" + struct.pack("<I", nbytes) if nbytes < 1 << 32 else b"\x8e" + struct.pack("<Q", nbytes)
        made = self._global("numpy.core.multiarray", "_reconstruct") + self._global("numpy", "ndarray")
        shape = b"(" + b"".join(map(_integer, tensor.shape)) + b"t"
        return made + b"K\x00\x85C\x01b\x87R(K\x01" + shape + self._dtype(DTYPES[tensor.dtype].pickle) + b"\x89" + size

    def _dtype(self, code: str) -> bytes:
        order = b"|" if code in ("b1", "i1", "u1") else b"<"
        state = b"(K\x03\x8c\x01" + order + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        return self._once(
            f"dtype {code}", lambda: self._global("numpy", "dtype") + _text(code) + b"\x89\x88\x87R", state
        )

    def _global(self, module: str, name: str) -> bytes:
        return self._once(f"{module} {name}", lambda: _text(module) + _text(name) + b"\x93")

    def _once(self, key: str, make: Callable[[], bytes], state: bytes = b"") -> bytes:
        """What makes a value, where it comes for the first time; then what recalls it."""
        if key in self._memo:
            return b"h" + bytes([self._memo[key]])  # fewer than 256: a few globals and types
        made = make()
        self._memo[key] = len(self._memo)
        return made + b"\x94" + state


def _table(numbers: Numbers) -> bytes:
    content = b""
    for name, number in numbers.items():
        if isinstance(number, Mapping):
            value = _table(number)
        else:
            value = _integer(number) if isinstance(number, int) else b"G" + struct.pack(">d", number)
        content += _text(name) + value
    return b"}(" + content + b"u"


def _text(text: str) -> bytes:
    data = text.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _integer(value: int) -> bytes:
    if value < 1 << 8:
        return b"K" + struct.pack("<B", value)
    if value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(value.bit_length() // 8 + 1, "little")
    return b"\x8a" + bytes([len(data)]) + data

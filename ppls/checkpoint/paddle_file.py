"""Writes a state dict as `paddle.save` does: a pickle of protocol 4 with the name table, tensor by tensor.

Python's own pickler would name numpy's modules as the running numpy has them, and Paddle beside an older numpy could
not read that; the few opcodes that a dictionary of arrays needs are written here instead.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from ppls.checkpoint.checkpoint import StoredTensor
from ppls.checkpoint.dtypes import BY_PICKLE, DTYPES, itemsize, little_endian_bytes
from ppls.checkpoint.reader import read
from ppls.destination import file_that_becomes
from ppls.errors import ConversionError

NAME_TABLE = "StructuredToParameterName@@"


def write_paddle_file(
    path: Path,
    tensors: Mapping[str, StoredTensor],
    name_table: Mapping[str, str],
    *,
    force: bool = False,
    before_naming: Callable[[], None] | None = None,
) -> None:
    """Writes `tensors` to `path`, whole or not at all, and reads it back.

    Args:
        name_table: Paddle's variable name by structured name, as the checkpoint had it; may be empty.
        before_naming: called when the file is complete; what it raises keeps the file from getting its name.

    Raises:
        ConversionError: the file exists (without `force`), cannot be written, or reads back differently.
    """
    unknown = sorted({tensor.dtype for tensor in tensors.values()} - set(BY_PICKLE.values()))
    if unknown:
        raise ConversionError(f"{path}: Paddle's files have no tensors of type {', '.join(unknown)}")
    with file_that_becomes(path, force=force) as file:
        _Pickle(file).state_dict(tensors, name_table)
        file.flush()
        back = read(file.name)
        equal = list(back) == list(tensors) and back.name_table == dict(name_table)
        for name, tensor in tensors.items():
            equal = equal and back.stored(name).dtype == tensor.dtype and back.stored(name).shape == tensor.shape
            equal = equal and np.array_equal(little_endian_bytes(back[name]), little_endian_bytes(tensor.load()))
        if not equal:
            raise ConversionError(
                f"{path}: the file reads back differently from what was written; is the disk at fault?"
            )
        if before_naming is not None:
            before_naming()


class _Pickle:
    """The opcodes (see Python's `pickletools`), written as they come."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._memo: dict[str, int] = {}

    def state_dict(self, tensors: Mapping[str, StoredTensor], name_table: Mapping[str, str]) -> None:
        self._file.write(b"\x80\x04}(")
        for name, tensor in tensors.items():
            self._text(name)
            self._array(tensor)
        self._text(NAME_TABLE)
        self._file.write(b"}(")
        for name, variable in name_table.items():
            self._text(name)
            self._text(variable)
        self._file.write(b"uu.")

    def _array(self, tensor: StoredTensor) -> None:
        self._global("numpy.core.multiarray", "_reconstruct")
        self._global("numpy", "ndarray")
        self._file.write(b"K\x00\x85C\x01b\x87R(K\x01(")
        for side in tensor.shape:
            self._integer(side)
        self._file.write(b"t")
        self._dtype(DTYPES[tensor.dtype].pickle)
        nbytes = math.prod(tensor.shape) * itemsize(tensor.dtype)
        size = b"B" + struct.pack("<I", nbytes) if nbytes < 1 << 32 else b"\x8e" + struct.pack("<Q", nbytes)
        self._file.write(b"\x89" + size)
        for block in tensor.blocks():
            self._file.write(block.data)
        self._file.write(b"tb")

    def _dtype(self, code: str) -> None:
        if self._remembered(f"dtype {code}"):
            return
        self._global("numpy", "dtype")
        self._text(code)
        self._file.write(b"\x89\x88\x87R")
        self._remember(f"dtype {code}")
        order = b"|" if code in ("b1", "i1", "u1") else b"<"
        self._file.write(b"(K\x03\x8c\x01" + order + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")

    def _global(self, module: str, name: str) -> None:
        if self._remembered(f"{module} {name}"):
            return
        self._text(module)
        self._text(name)
        self._file.write(b"\x93")
        self._remember(f"{module} {name}")

    def _remember(self, key: str) -> None:
        self._memo[key] = len(self._memo)
        self._file.write(b"\x94")

    def _remembered(self, key: str) -> bool:
        if key not in self._memo:
            return False
        self._file.write(b"h" + bytes([self._memo[key]]))  # fewer than 256: a few globals and types
        return True

    def _text(self, text: str) -> None:
        data = text.encode()
        self._file.write(b"X" + struct.pack("<I", len(data)) + data)

    def _integer(self, value: int) -> None:
        if value < 1 << 8:
            self._file.write(b"K" + struct.pack("<B", value))
        elif value < 1 << 31:
            self._file.write(b"J" + struct.pack("<i", value))
        else:
            data: Any = value.to_bytes(value.bit_length() // 8 + 1, "little")
            self._file.write(b"\x8a" + bytes([len(data)]) + data)

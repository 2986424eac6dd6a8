"""Files of arrays as `np.save` writes them, read strictly: what their header says is checked before numpy reads it."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ppls.checkpoint.tensors import MOST_DIMENSIONS

Array = np.ndarray[Any, Any]

_HEADER = re.compile(
    rb"\{'descr': '([<|][a-z]\d)', 'fortran_order': (?:False|True), "
    rb"'shape': \(((?:[1-9]\d{0,14}, )*(?:[1-9]\d{0,14},?)?)\), \} *\n"
)
_START = b"\x93NUMPY\x01\x00"
_LONGEST_HEADER = 1024  # numpy pads to 128; 32 dimensions take 600
_DTYPES = {
    b"|b1": "bool", b"|u1": "uint8", b"|i1": "int8", b"<i2": "int16", b"<i4": "int32", b"<i8": "int64",
    b"<f2": "float16", b"<f4": "float32", b"<f8": "float64",
}  # fmt: skip


class ArrayError(ValueError):
    """A file does not hold an array as it should; the message says why."""


class ArrayHeader(NamedTuple):
    """What is in a file; `dtype` is numpy's name of it."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"

    @property
    def nbytes(self) -> int:
        """Of the values."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def read_header(path: Path) -> ArrayHeader:
    """The shape and dtype of the array in a file, which has just the bytes that it takes.

    Raises:
        ArrayError: it is missing, or not so.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(len(_START) + 2)
            size = int.from_bytes(start[len(_START) :], "little")
            header = file.read(min(size, _LONGEST_HEADER))
            total = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise ArrayError(f"{path.name}: {error.strerror}") from None
    match = _HEADER.fullmatch(header)
    if not start.startswith(_START) or size != len(header) or match is None or match[1] not in _DTYPES:
        raise ArrayError(f"{path.name}: is no .npy file of plain numbers")
    shape = tuple(int(side) for side in re.findall(rb"\d+", match[2]))
    found = ArrayHeader(_DTYPES[match[1]], shape)
    if len(shape) > MOST_DIMENSIONS or len(start) + size + found.nbytes != total:
        raise ArrayError(f"{path.name}: has {total:,} bytes, which is not what its shape {list(shape)} takes")
    return found


def load_array(path: Path) -> Array:
    """The array in a file, mapped into memory; read-only. Raises `ArrayError` as `read_header` does."""
    read_header(path)
    array: Array = np.load(path, mmap_mode="r")
    return array

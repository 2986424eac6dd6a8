"""The label maps of SBD: a matrix in a struct in a file of MATLAB 5; no more of the format, and that bounded.

MathWorks, "MAT-File Format", level 5: an element is its type, its size, and its content at a multiple of eight bytes; a
matrix is an element of elements: flags with its class, dimensions, name, and then what the class has.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Element = tuple[int, memoryview]

_HEADER, _VERSION = 128, b"\0\1IM"  # bytes, and the last of them where the order of bytes is that of Intel's
_MATRIX, _COMPRESSED = 14, 15
_WHOLE = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 12: "i8", 13: "u8"}  # types of values
_STRUCT = 2  # a class

MOST_BYTES = 32 << 20  # of a file, and of all that it inflates to
_MOST_ELEMENTS = 100  # of a file or a matrix; SBD's have a variable with three fields


@dataclass(frozen=True)
class _Matrix:
    kind: int
    shape: tuple[int, ...]
    name: bytes
    rest: list[Element]


def read_field(data: bytes, variable: str, field: str) -> Array:
    """A matrix of whole numbers (H, W): a field of a struct.

    Raises:
        ValueError: this is no such file, has no such matrix, or is damaged.
    """
    if data[_HEADER - len(_VERSION) : _HEADER] != _VERSION:
        raise ValueError("it is no file of MATLAB 5")
    try:
        return _values(_field(_struct(data, variable), field))
    except (struct.error, zlib.error):
        raise ValueError("it is damaged") from None


def _struct(data: bytes, variable: str) -> _Matrix:
    for kind, content in islice(_variables(data), _MOST_ELEMENTS):
        if kind == _MATRIX:
            matrix = _matrix(content)
            if matrix.name == variable.encode() and matrix.kind == _STRUCT:
                return matrix
    raise ValueError(f"it has no struct {variable}")


def _variables(data: bytes) -> Iterator[Element]:
    left = MOST_BYTES
    for kind, content in _elements(memoryview(data)[_HEADER:]):
        if kind == _COMPRESSED:
            inflated = zlib.decompressobj().decompress(content, left)
            left -= len(inflated)
            if left <= 0:
                raise ValueError(f"it inflates to more than {MOST_BYTES >> 20} MiB")
            yield from _elements(memoryview(inflated))
        else:
            yield kind, content


def _elements(data: memoryview) -> Iterator[Element]:
    """The type and the content of each."""
    place = 0
    while place < len(data):
        kind, size = struct.unpack_from("<II", data, place)
        place += 8
        if kind >> 16:  # up to four bytes stand where the size would
            kind, size, place = kind & 0xFFFF, min(kind >> 16, 4), place - 4
        if place + size > len(data):
            raise ValueError("it is damaged: an element ends early")
        yield kind, data[place : place + size]
        place += size
        if kind != _COMPRESSED:
            place += -place % 8


def _matrix(content: memoryview) -> _Matrix:
    elements = list(islice(_elements(content), _MOST_ELEMENTS))
    if len(elements) < 3:
        raise ValueError("it is damaged: a matrix ends early")
    (_, flags), (_, shape), (_, name), *rest = elements
    (word,) = struct.unpack_from("<I", flags)
    return _Matrix(word & 0xFF, tuple(np.frombuffer(shape, "<i4").tolist()), bytes(name), rest)


def _field(matrix: _Matrix, field: str) -> _Matrix:
    """Of a struct: how long a name is, all names, and a matrix for each."""
    if matrix.shape != (1, 1) or len(matrix.rest) < 2:
        raise ValueError("it is damaged: its struct has no names")
    (_, length), (_, names), *matrices = matrix.rest
    (step,) = struct.unpack_from("<i", length)
    for i, (_, content) in enumerate(matrices):
        name = bytes(names[i * step : (i + 1) * step])
        if name.rstrip(b"\0") == field.encode():
            return _matrix(content)
    raise ValueError(f"its struct has no field {field}")


def _values(matrix: _Matrix) -> Array:
    """The numbers of a matrix, which MATLAB stores a column at a time, in the smallest type that holds them."""
    kind, content = matrix.rest[0] if matrix.rest else (0, memoryview(b""))
    if kind not in _WHOLE or len(matrix.shape) != 2 or min(matrix.shape) < 1:
        raise ValueError("its classes are no matrix of whole numbers")
    values = np.frombuffer(content, "<" + _WHOLE[kind])
    if len(values) != matrix.shape[0] * matrix.shape[1]:
        raise ValueError("it is damaged: its matrix is not of its own size")
    return values.reshape(matrix.shape, order="F")

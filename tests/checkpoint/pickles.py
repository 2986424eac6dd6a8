"""Pickles put together by hand, opcode by opcode, for what no pickler would write."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import numpy as np


def text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def binary(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def function(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def dtype(
    code: bytes = text("f4"), order: bytes = text("<"), tail: bytes = b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0"
) -> bytes:
    return function("numpy", "dtype") + code + b"\x89\x88\x87R(K\x03" + order + tail + b"tb"


def array(
    shape: bytes = b"K\x02\x85",
    element: bytes = dtype(),
    payload: bytes = binary(b"\0" * 8),
    fortran_order: bytes = b"\x89",
) -> bytes:
    """A float32 array of two zeros, unless told otherwise, as numpy pickles it."""
    empty = function("numpy.core.multiarray", "_reconstruct") + function("numpy", "ndarray") + b"K\0\x85C\x01b\x87R"
    return empty + b"(K\x01" + shape + element + fortran_order + payload + b"tb"


def dictionary(**items: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def array_of(value: np.ndarray) -> bytes:
    """An array of float32."""
    shape = b"(" + b"".join(b"J" + struct.pack("<i", side) for side in value.shape) + b"t"
    return array(shape, payload=binary(value.astype("<f4").tobytes()))


def of_two_meanings(expression: str, last: str = "extra", value: bytes = array(), **items: bytes) -> bytes:
    """A state dict in which `eval('data', {'data': array})` stands, for readers that count a hole in the memo.

    To CPython, for which the next value that is stored takes the place of the first, it is `eval(expression, ...)`.

    Args:
        last, value: the name and the array that it is about; `items` stand before.
    """
    stored = text("data") + b"q\1" + b"K\1" + text("note") + text(expression) + b"\x94"
    call = function("builtins", "eval") + b"h\1" + b"}" + text("data") + value + b"s\x86R"
    more = b"".join(text(name) + value for name, value in items.items())
    return whole(b"}(" + stored + more + text(last) + call + b"u", protocol=4)


def whole(value: bytes, protocol: int = 3) -> bytes:
    return b"\x80" + bytes([protocol]) + value + b"."


def save(path: Path, value: object, protocol: int = 4) -> Path:
    """What `paddle.save` leaves for plain numpy arrays."""
    path.write_bytes(pickle.dumps(value, protocol))
    return path


WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4)

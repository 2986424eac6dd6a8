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


def whole(value: bytes, protocol: int = 3) -> bytes:
    return b"\x80" + bytes([protocol]) + value + b"."


def save(path: Path, value: object, protocol: int = 4) -> Path:
    """What `paddle.save` leaves for plain numpy arrays."""
    path.write_bytes(pickle.dumps(value, protocol))
    return path


WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4)

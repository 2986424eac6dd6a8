"""Tensor streams and programs put together by hand, as Paddle's C++ writes them."""

from __future__ import annotations

import json
import struct

import numpy as np

CODES = {
    "bool": 0,
    "int16": 1,
    "int32": 2,
    "int64": 3,
    "float16": 4,
    "float32": 5,
    "float64": 6,
    "uint8": 20,
    "int8": 21,
}


def varint(value: int) -> bytes:
    value %= 1 << 64
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def description(code: int, shape: tuple[int, ...]) -> bytes:
    return field(1, code) + b"".join(field(2, side) for side in shape)


def tensor(array: np.ndarray, *, levels: tuple[bytes, ...] = ()) -> bytes:
    described = description(CODES[array.dtype.name], array.shape)
    lod = b"".join(struct.pack("<Q", len(level)) + level for level in levels)
    head = struct.pack("<IQ", 0, len(levels)) + lod + struct.pack("<Ii", 0, len(described))
    return head + described + array.tobytes()


def variable(name: str, described: bytes) -> bytes:
    """A persistable variable of a block, an ordinary tensor."""
    return field(3, field(1, name.encode()) + field(2, field(1, 7) + field(3, field(1, described))) + field(3, 1))


def pdmodel(**arrays: np.ndarray) -> bytes:
    """A ProgramDesc of one block, with a feed variable that is persistable but no weight."""
    variables = b"".join(
        variable(name, description(CODES[array.dtype.name], array.shape)) for name, array in arrays.items()
    )
    feed = field(3, field(1, b"feed") + field(2, field(1, 9)) + field(3, 1))
    return field(1, field(1, 0) + field(2, (1 << 64) - 1) + feed + variables)


def pir(**arrays: np.ndarray) -> str:
    kinds = {"float32": "f32", "int64": "i64"}
    ops = [
        {
            "#": "p",
            "A": [0, 1, 1, name],
            "O": {
                "%": 1,
                "TT": {"#": "0.t_dtensor", "D": [{"#": f"0.t_{kinds[array.dtype.name]}"}, list(array.shape)]},
            },
        }
        for name, array in arrays.items()
    ]
    program = {"regions": [{"#": "region_0", "blocks": [{"#": "block_0", "args": [], "ops": ops}]}]}
    return json.dumps({"base_code": {"magic": "pir", "trainable": True, "version": 4}, "program": program})

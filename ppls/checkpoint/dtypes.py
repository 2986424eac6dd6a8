"""Element types: the one table of what they are called, and bfloat16, which numpy does not have."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Dtype(NamedTuple):
    """An element type, and what each format calls it; empty or negative where a format does not have it.

    Attributes:
        name: numpy's, or that of a type which numpy lacks.
        numpy: numpy's code; of a type that numpy lacks, that of its bits.
        pickle: how numpy pickles it. `paddle.load` takes every uint16 for bfloat16.
        stream: its number in Paddle's tensor streams and programs (framework.proto, VarType.Type).
        pir: its name in PIR's JSON (paddle/pir/include/core/builtin_type.h).
        safetensors: its name there.
    """

    name: str
    numpy: str
    pickle: str
    stream: int
    pir: str
    safetensors: str


DTYPES = {
    row[0]: Dtype(*row)
    for row in (
        ("bool", "?", "b1", 0, "t_bool", "BOOL"),
        ("int8", "i1", "i1", 21, "t_i8", "I8"),
        ("uint8", "u1", "u1", 20, "t_ui8", "U8"),
        ("int16", "i2", "i2", 1, "t_i16", "I16"),
        ("uint16", "u2", "", 36, "", "U16"),
        ("int32", "i4", "i4", 2, "t_i32", "I32"),
        ("uint32", "u4", "u4", 37, "", "U32"),
        ("int64", "i8", "i8", 3, "t_i64", "I64"),
        ("uint64", "u8", "u8", 38, "", "U64"),
        ("float16", "f2", "f2", 4, "t_f16", "F16"),
        ("bfloat16", "u2", "u2", 22, "t_bf16", "BF16"),
        ("float32", "f4", "f4", 5, "t_f32", "F32"),
        ("float64", "f8", "f8", 6, "t_f64", "F64"),
        ("complex64", "c8", "c8", 23, "t_c64", "C64"),
        ("complex128", "c16", "c16", 24, "t_c128", ""),
        ("float8_e4m3fn", "u1", "", 32, "t_f8e4m3fn", "F8_E4M3"),
        ("float8_e5m2", "u1", "", 33, "t_f8e5m2", "F8_E5M2"),
    )
}
BY_PICKLE = {dtype.pickle: dtype.name for dtype in DTYPES.values() if dtype.pickle}
BY_STREAM = {dtype.stream: dtype.name for dtype in DTYPES.values()}
BY_PIR = {dtype.pir: dtype.name for dtype in DTYPES.values() if dtype.pir}
BY_SAFETENSORS = {dtype.safetensors: dtype.name for dtype in DTYPES.values() if dtype.safetensors}
FLOATS = ("float16", "bfloat16", "float32", "float64")


@cache
def numpy_dtype(dtype: str) -> np.dtype[Any]:
    """How numpy holds the elements of a type; of one that numpy lacks, their bits."""
    return np.dtype(DTYPES[dtype].numpy)


def itemsize(dtype: str) -> int:
    """Bytes per element of a type by its name."""
    return numpy_dtype(dtype).itemsize


def bfloat16_to_float32(bits: NDArray[Any]) -> NDArray[Any]:
    """bfloat16 bits (uint16) to float32, exactly."""
    return (bits.astype(np.uint32) << 16).view(np.float32).reshape(bits.shape)


def float32_to_bfloat16(array: NDArray[Any]) -> NDArray[Any]:
    """float32 to bfloat16 bits (uint16), to the nearest, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    rounded = (bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))) >> 16
    nan = (bits >> 16) | np.uint32(0x40)
    return np.where(np.isnan(array).reshape(rounded.shape), nan, rounded).astype(np.uint16).reshape(array.shape)


def as_dtype(array: NDArray[Any], dtype: str, wanted: str) -> NDArray[Any]:
    """An array of the type `dtype` in another floating-point type; integers stay as they are."""
    if dtype == wanted or dtype not in FLOATS:
        return array
    values = bfloat16_to_float32(array) if dtype == "bfloat16" else array
    if wanted == "bfloat16":
        return float32_to_bfloat16(values.astype(np.float32))
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and the caller warns of it
        return values.astype(wanted)


def not_finite(dtype: str, blocks: Iterable[NDArray[np.uint8]]) -> str:
    """`NaN`, `infinity` or both, if the bytes of a floating-point tensor hold them; else an empty string."""
    found = {"NaN": False, "infinity": False}
    with np.errstate(all="ignore"):
        for block in blocks if dtype in FLOATS else ():
            array = bfloat16_to_float32(block.view(np.uint16)) if dtype == "bfloat16" else block.view(dtype)
            # a finite sum proves that there is none, at a fraction of the cost
            if math.isfinite(array.sum(dtype=np.float64 if array.dtype == np.float64 else np.float32)):
                continue
            found["NaN"] |= bool(np.isnan(array).any())
            found["infinity"] |= bool(np.isinf(array).any())
    return " and ".join(what for what, there in found.items() if there)


def little_endian_bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    """The bytes of an array as files have them: little-endian, in C order."""
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return np.ascontiguousarray(little).reshape(-1).view(np.uint8)

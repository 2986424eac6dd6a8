"""What a pickle that Paddle wrote may contain, as inert values: nothing here imports or calls what a file names."""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import Any, NamedTuple


class Global(Enum):
    """The exhaustive allow-list: every global that Paddle 1.8 to 3.3 writes, under Python 2 and 3, numpy 1 and 2."""

    RECONSTRUCT = "numpy's _reconstruct"
    SCALAR = "numpy's scalar"
    NDARRAY = "numpy.ndarray"
    DTYPE = "numpy.dtype"
    ENCODE = "_codecs.encode"
    BYTES = "bytes"
    TUPLE = "tuple"
    EVAL = "eval"
    ORDERED_DICT = "collections.OrderedDict"


ALLOWED: dict[tuple[str, str], Global] = {
    ("numpy.core.multiarray", "_reconstruct"): Global.RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): Global.RECONSTRUCT,
    ("numpy.core.multiarray", "scalar"): Global.SCALAR,
    ("numpy._core.multiarray", "scalar"): Global.SCALAR,
    ("numpy", "ndarray"): Global.NDARRAY,
    ("numpy", "dtype"): Global.DTYPE,
    ("_codecs", "encode"): Global.ENCODE,  # protocol 2 from Python 3
    ("builtins", "bytes"): Global.BYTES,  # protocol 2, an empty array
    ("builtins", "tuple"): Global.TUPLE,  # tensors inside other objects
    ("builtins", "eval"): Global.EVAL,  # DenseTensor: eval('data', {'data': array})
    ("collections", "OrderedDict"): Global.ORDERED_DICT,
}


class Forbidden(NamedTuple):
    """A global outside the allow-list. It is never resolved; it waits for the call, so that the error can show it."""

    name: str


class Coding(Enum):
    """How the bytes of a `Blob` are to be understood."""

    RAW = "bytes as they are"
    STRING = "what Python 2 wrote as a string: latin-1 text, or the bytes of an array"
    TEXT = "text, as UTF-8"
    LATIN1_TEXT = "bytes written as text: each a latin-1 character, as UTF-8 (protocol 2)"


class Blob(NamedTuple):
    """Bytes that stay in the file."""

    offset: int
    nbytes: int
    coding: Coding


Key = Hashable  # text, bytes, a number, None, or a short tuple of text and numbers: equal where CPython's keys are


class Pairs(dict[Key, Any]):
    """A dictionary in the file's order."""

    __slots__ = ()


class Members(set[Key]):
    """A set: never holds tensors."""

    __slots__ = ()


class Dtype:
    """A numpy dtype: `code` as numpy spells it without byte order (`f4`), `order` once its state has been read."""

    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code = code
        self.order = ""


class Array:
    """A numpy array; its shape, dtype and payload come with its state."""

    __slots__ = ("dtype", "fortran_order", "payload", "shape")

    def __init__(self) -> None:
        self.dtype: Dtype | None = None
        self.shape: tuple[int, ...] = ()
        self.fortran_order = False
        self.payload: Blob | bytes = b""


class Scalar(NamedTuple):
    """A numpy scalar: metadata."""

    value: object


def is_text_array(array: Array) -> bool:
    """True for numpy arrays of strings, which some put beside their weights."""
    return array.dtype is not None and array.dtype.code[0] in "US"


def shown(value: object, depth: int = 0) -> str:
    """A value of the file, short and safe to print."""
    match value:
        case Forbidden(name) | Global(value=name):
            return name
        case str() | bytes():
            return ascii(value) if len(value) <= 80 else f"{value[:80]!a}..."
        case bool() | None | int() | float():
            return repr(value)
        case Blob():
            return f"<{value.nbytes:,} bytes>"
        case Array():
            return "an array"
        case Dtype():
            return f"dtype {value.code}"
        case Members():
            return "a set"
        case list():
            return f"a list of {len(value)}"
        case Pairs():
            return f"a dictionary of {len(value)}"
        case tuple():
            inner = "..." if depth else ", ".join(shown(item, depth + 1) for item in value[:4])
            return f"({inner}{', ...' if len(value) > 4 else ''})"
    return f"a {type(value).__name__}"

"""The calls that Paddle's pickles make, matched to the letter and carried out on inert values.

An allowed name is not enough: `eval`, `_codecs.encode` and numpy's constructors occur in honest files, and each does
harm with other arguments. So the arguments must have exactly the form that Paddle gives them.
"""

from __future__ import annotations

import math
import re
from typing import Any

from ppls.converter.formats.pickle_values import Array, Blob, Coding, Dtype, Forbidden, Global, Members, Pairs, Scalar
from ppls.converter.formats.source import Source
from ppls.errors import CheckpointError

TENSOR_DTYPES = {
    "f2": "float16",
    "f4": "float32",
    "f8": "float64",
    "i1": "int8",
    "i2": "int16",
    "i4": "int32",
    "i8": "int64",
    "u1": "uint8",
    "u2": "bfloat16",  # paddle.load takes every uint16 for bfloat16
    "u4": "uint32",
    "u8": "uint64",
    "b1": "bool",
    "c8": "complex64",
    "c16": "complex128",
}
_TEXT_DTYPE = re.compile(r"([US])([0-9]{1,6})")
_MAX_DIMENSIONS = 32  # numpy 1; Paddle itself stops at 9
_MAX_NAME = 4096  # bytes


def call(source: Source, function: object, arguments: Any) -> object:
    """REDUCE: the value of one of the calls that Paddle writes; any other is refused."""
    if type(arguments) is not tuple:
        raise _refused(source, f"would call {shown(function)} on {shown(arguments)}")
    match function, arguments:
        case Global.RECONSTRUCT, (Global.NDARRAY, (0,), placeholder) if _is_letter_b(source, placeholder):
            return Array()
        case Global.DTYPE, (spec, False | 0, True | 1):
            return Dtype(_dtype_code(source, text(source, spec)))
        case Global.SCALAR, (Dtype() as dtype, (Blob() | bytes()) as payload):
            if dtype.order and nbytes_of(payload) <= _MAX_NAME:
                return Scalar(dtype, payload)
        case Global.ENCODE, (str() as characters, "latin1"):
            try:
                return characters.encode("latin-1")
            except UnicodeEncodeError:
                raise _refused(source, "data that was written as text holds characters beyond latin-1") from None
        case Global.ENCODE, (Blob(coding=Coding.TEXT) as characters, "latin1"):
            return characters._replace(coding=Coding.LATIN1_TEXT)
        case Global.BYTES, ():
            return b""
        case Global.TUPLE, ((str() | Blob(), Array()) as pair,) if type(pair) is tuple:
            return pair
        case Global.EVAL, (expression, Pairs(items=[(key, Array() as array)])):
            if text(source, expression) == "data" == text(source, key):
                return array
        case Global.ORDERED_DICT, ():
            return Pairs()
        case Global.ORDERED_DICT, ([*items],) if all(type(item) is list and len(item) == 2 for item in items):
            pairs = Pairs()  # Python 2 hands the items over at once
            pairs.items = [(item[0], item[1]) for item in items]
            return pairs
    if isinstance(function, Global):
        raise hostile(source, f"{function.value}{shown(arguments)}")
    raise _refused(source, f"would call {shown(function)}, which is no function")


def set_state(source: Source, target: object, state: object) -> None:
    """BUILD: fills in an array or a dtype that `call` has made; nothing else has a state in Paddle's files."""
    match target, state if type(state) is tuple else None:
        case Dtype(order=""), (3, order, None, None, None, -1, -1, 0):
            target.order = _byte_order(source, target, text(source, order))
        case Dtype(order="", code=code), (3, order, None, None, None, int(), int(), int()) if _TEXT_DTYPE.match(code):
            target.order = _byte_order(source, target, text(source, order))
        case Array(dtype=None), (1, tuple() as shape, Dtype() as dtype, bool() | 0 | 1 as fortran_order, payload):
            if not dtype.order or not isinstance(payload, Blob | bytes):
                raise _refused(source, f"an array of {shown(payload)}")
            _check_array(source, shape, dtype, payload)
            target.dtype, target.shape, target.payload = dtype, shape, payload
            target.fortran_order = bool(fortran_order)
        case _:
            raise _refused(source, f"would change {shown(target)} into {shown(state)}, which Paddle never does")


def hostile(source: Source, asked: str) -> CheckpointError:
    """The error for a file that wants something run; `asked` shows the call."""
    return source.error(
        f"asks to call {asked}, which no Paddle weight file does. Nothing was called. Do not open it with paddle.load "
        "or pickle, which would; get the weights from a source that you trust"
    )


def text(source: Source, value: object) -> str:
    """A name, whichever way the file spells it; one that is too long or no text at all is refused."""
    if isinstance(value, str):
        return value
    if isinstance(value, Blob) and value.coding in (Coding.STRING, Coding.TEXT) and value.nbytes <= _MAX_NAME:
        try:
            raw = source.read(value.offset, value.nbytes)
            return raw.decode("latin-1" if value.coding is Coding.STRING else "utf-8")
        except UnicodeDecodeError:
            raise _refused(source, f"broken text at byte {value.offset:,}") from None
    raise _refused(source, f"{shown(value)} where a name belongs")


def nbytes_of(payload: Blob | bytes) -> int:
    return payload.nbytes if isinstance(payload, Blob) else len(payload)


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
            return f"a dictionary of {len(value.items)}"
        case tuple():
            inner = "..." if depth else ", ".join(shown(item, depth + 1) for item in value[:4])
            return f"({inner}{', ...' if len(value) > 4 else ''})"
    return f"a {type(value).__name__}"


def _refused(source: Source, what: str) -> CheckpointError:
    return source.error(f"damaged, or not a Paddle weight file: {what}")


def _is_letter_b(source: Source, value: object) -> bool:
    """numpy writes the one-letter type code `b` beside the empty array that it starts from."""
    if isinstance(value, Blob):
        return value.nbytes == 1 and source.read(value.offset, 1) == b"b"
    return value == b"b"


def _dtype_code(source: Source, code: str) -> str:
    if code in TENSOR_DTYPES or _TEXT_DTYPE.fullmatch(code):
        return code
    if code[:1] == "O":
        raise _refused(source, "an array of Python objects, which is never a weight")
    raise _refused(source, f"dtype {shown(code)}, which is not a tensor's")


def _byte_order(source: Source, dtype: Dtype, order: str) -> str:
    one_byte = dtype.code[1:] == "1" or dtype.code[0] == "S"
    if order not in (("|",) if one_byte else ("<", ">")):
        raise _refused(source, f"byte order {shown(order)} of dtype {dtype.code}")
    return order


def _check_array(source: Source, shape: tuple[Any, ...], dtype: Dtype, payload: Blob | bytes) -> None:
    if len(shape) > _MAX_DIMENSIONS or not all(type(side) is int and side >= 0 for side in shape):
        raise _refused(source, f"an array of shape {shown(shape)}")
    # numpy counts like this: a side of 0 does not excuse the others
    if math.prod(side for side in shape if side) > 2**60:
        raise _refused(source, f"an array of shape {shown(shape)}, more than any memory holds")
    kind = _TEXT_DTYPE.fullmatch(dtype.code)
    itemsize = int(dtype.code[1:]) if kind is None else int(kind[2]) * (4 if kind[1] == "U" else 1)
    expected, found = math.prod(shape) * itemsize, nbytes_of(payload)
    if isinstance(payload, Blob) and payload.coding is Coding.LATIN1_TEXT:  # one or two bytes per byte
        fits = expected <= found <= 2 * expected
    else:
        fits = expected == found and not (isinstance(payload, Blob) and payload.coding is Coding.TEXT)
    if not fits:
        raise _refused(source, f"{found:,} bytes of data for an array of shape {shown(shape)} and dtype {dtype.code}")

"""The calls that Paddle's pickles make, matched to the letter and carried out on inert values.

An allowed name is not enough: `eval`, `_codecs.encode` and numpy's constructors occur in honest files, and each does
harm with other arguments. So the arguments must have exactly the form that Paddle gives them.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from ppls.checkpoint.dtypes import BY_PICKLE
from ppls.checkpoint.pickle_values import (
    Array,
    Blob,
    Coding,
    Dtype,
    Global,
    Key,
    Pairs,
    Scalar,
    shown,
)
from ppls.checkpoint.source import Source
from ppls.checkpoint.tensors import is_shape
from ppls.errors import CheckpointError

_TEXT_DTYPE = r"([US])([0-9]{1,6})"
_MAX_NAME = 4096  # bytes
# Tuples of a dictionary's keys are few and short, as (128, 64, 128) is: longer ones can be made to share one hash.
_MAX_KEYS, _MAX_KEY = 4, 2**32


def call(source: Source, function: object, arguments: Any) -> object:
    """REDUCE: the value of one of the calls that Paddle writes; any other is refused."""
    if type(arguments) is not tuple:
        raise _refused(source, f"would call {shown(function)} on {shown(arguments)}")
    match function, arguments:
        case Global.RECONSTRUCT, (Global.NDARRAY, shape, placeholder):
            if _is_exactly(shape, (0,)) and _is_letter_b(source, placeholder):
                return Array()
        case Global.DTYPE, (str() as code, align, copy):
            if _is_exactly((align, copy), (False, True)) or _is_exactly((align, copy), (0, 1)):
                return Dtype(_dtype_code(source, code))
        case Global.SCALAR, (Dtype() as dtype, payload):
            value = _scalar(source, dtype, payload)
            if value is not None:
                return Scalar(value)
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
        case Global.EVAL, ("data", Pairs() as names):
            if list(names) == ["data"] and isinstance(names["data"], Array):
                return names["data"]
        case Global.ORDERED_DICT, ():
            return Pairs()
        case Global.ORDERED_DICT, (items,) if type(items) is list:  # Python 2 hands the items over at once
            source.budget.take_nodes(len(items))
            if all(type(item) is list and len(item) == 2 for item in items):
                pairs = Pairs()
                for key, value in items:
                    put(source, pairs, key, value)
                return pairs
    if isinstance(function, Global):
        raise hostile(source, f"{function.value}{shown(arguments)}")
    raise _refused(source, f"would call {shown(function)}, which is no function")


def set_state(source: Source, target: object, state: object) -> None:
    """BUILD: fills in an array or a dtype that `call` has made; nothing else has a state in Paddle's files."""
    match target, state if type(state) is tuple else None:
        case Dtype(order=""), (version, str() as order, *rest):
            if any(_is_exactly((version, *rest), known) for known in _dtype_states(target.code)):
                target.order = _byte_order(source, target, order)
                return
        case Array(dtype=None), (version, shape, Dtype() as dtype, fortran_order, payload):
            if _is_exactly(version, 1) and type(shape) is tuple and type(fortran_order) in (bool, int) and dtype.order:
                target.payload = _check_array(source, shape, dtype, payload)
                target.dtype, target.shape, target.fortran_order = dtype, shape, bool(fortran_order)
                return
    raise _refused(source, f"would change {shown(target)} into {shown(state)}, which Paddle never does")


def put(source: Source, pairs: Pairs, key: object, value: object) -> None:
    """Adds a pair to a dictionary, as no other may be there under an equal key: it would be forgotten."""
    known = key_of(source, key)
    if known in pairs:
        raise source.error(f"the name {shown(known)} stands twice in a dictionary")
    pairs[known] = value


def key_of(source: Source, value: object) -> Key:
    """What a dictionary or a set files a value under; one that is no plain value is refused."""
    match value:
        case str() | bytes() | bool() | int() | float() | None:
            return value
        case Blob(coding=Coding.RAW) if value.nbytes <= _MAX_NAME:
            source.budget.take_bytes(value.nbytes)
            return source.read(value.offset, value.nbytes)
        case Blob(coding=Coding.STRING | Coding.TEXT):
            return text(source, value)
        case tuple() if type(value) is tuple and len(value) <= _MAX_KEYS:
            if all(type(item) is str or (type(item) is int and abs(item) < _MAX_KEY) for item in value):
                return value
    raise _refused(source, f"{shown(value)} as a key")


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
        source.budget.take_bytes(value.nbytes)
        try:
            raw = source.read(value.offset, value.nbytes)
            return raw.decode("latin-1" if value.coding is Coding.STRING else "utf-8")
        except UnicodeDecodeError:
            raise _refused(source, f"broken text at byte {value.offset:,}") from None
    raise _refused(source, f"{shown(value)} where a name belongs")


def check_text(source: Source, blob: Blob) -> int:
    """Decodes text of any length, a block at a time, and forgets it; its characters. Raises where it is no text."""
    count = 0
    try:
        for characters in source.texts(blob.offset, blob.nbytes):
            count += len(characters)
            if blob.coding is Coding.LATIN1_TEXT:
                characters.encode("latin-1")
    except UnicodeError:
        raise _refused(source, f"broken text at byte {blob.offset:,}") from None
    return count


def _refused(source: Source, what: str) -> CheckpointError:
    return source.error(f"damaged, or not a Paddle weight file: {what}")


def _is_exactly(value: object, expected: object) -> bool:
    """Equal and of the same type, within tuples too: True is not 1 here, nor 1.0."""
    if isinstance(expected, tuple):
        return type(value) is tuple and len(value) == len(expected) and all(map(_is_exactly, value, expected))
    return type(value) is type(expected) and value == expected


def _is_letter_b(source: Source, value: object) -> bool:
    """numpy writes the one-letter type code `b` beside the empty array that it starts from."""
    if isinstance(value, Blob):
        return value.nbytes == 1 and source.read(value.offset, 1) == b"b"
    return value in (b"b", "b")  # text from Python 2


def _dtype_code(source: Source, code: str) -> str:
    if code in BY_PICKLE or re.fullmatch(_TEXT_DTYPE, code):
        return code
    if code[:1] == "O":
        raise _refused(source, "an array of Python objects, which is never a weight")
    raise _refused(source, f"dtype {shown(code)}, which is not a tensor's")


def _dtype_states(code: str) -> list[tuple[object, ...]]:
    """What numpy writes as the state of a dtype, all but its byte order."""
    if code in BY_PICKLE:
        return [(3, None, None, None, -1, -1, 0)]
    return [(3, None, None, None, _itemsize(code), 4 if code[0] == "U" else 1, flags) for flags in (0, 8)]


def _byte_order(source: Source, dtype: Dtype, order: str) -> str:
    one_byte = dtype.code[0] == "S" or dtype.code in ("b1", "i1", "u1")  # and not U1, text of single letters
    if order not in (("|",) if one_byte else ("<", ">")):
        raise _refused(source, f"byte order {shown(order)} of dtype {dtype.code}")
    return order


def _itemsize(code: str) -> int:
    kind = re.fullmatch(_TEXT_DTYPE, code)
    return int(code[1:]) if kind is None else int(kind[2]) * (4 if kind[1] == "U" else 1)


def _check_array(source: Source, shape: tuple[Any, ...], dtype: Dtype, payload: object) -> Blob | bytes:
    """The bytes of an array, as many as it needs."""
    if not is_shape(shape):
        raise _refused(source, f"an array of shape {shown(shape)}, which no tensor has, or more than any memory holds")
    itemsize = _itemsize(dtype.code)
    if isinstance(payload, str):  # from Python 2
        payload = _latin1(payload)
    if not isinstance(payload, Blob | bytes) or (isinstance(payload, Blob) and payload.coding is Coding.TEXT):
        raise _refused(source, f"an array of {shown(payload)}")
    expected, found = math.prod(shape) * itemsize, payload.nbytes if isinstance(payload, Blob) else len(payload)
    fits = found == expected
    if isinstance(payload, Blob) and payload.coding is Coding.LATIN1_TEXT:  # one or two bytes per byte
        tensor = dtype.code in BY_PICKLE  # which is decoded when it is loaded
        fits = expected <= found <= 2 * expected and (tensor or check_text(source, payload) == expected)
    if not fits:
        raise _refused(source, f"{found:,} bytes of data for an array of shape {shown(shape)} and dtype {dtype.code}")
    return payload


def _scalar(source: Source, dtype: Dtype, payload: object) -> object:
    """The number or text that numpy makes of a few bytes; None if it makes none."""
    if isinstance(payload, Blob) and payload.coding is not Coding.TEXT and payload.nbytes <= _MAX_NAME:
        encoded = payload.coding is Coding.LATIN1_TEXT
        payload = source.read(payload.offset, payload.nbytes)
        payload = _latin1(payload.decode("utf-8", "replace")) if encoded else payload
    elif isinstance(payload, str):
        payload = _latin1(payload)
    if not dtype.order or not isinstance(payload, bytes) or len(payload) != _itemsize(dtype.code):
        return None
    try:
        return np.frombuffer(payload, dtype.order + dtype.code)[0].item()
    except (ValueError, IndexError, TypeError):
        return None


def _latin1(characters: str) -> bytes | None:
    try:
        return characters.encode("latin-1")
    except UnicodeEncodeError:
        return None

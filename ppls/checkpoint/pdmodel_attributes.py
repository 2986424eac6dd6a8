"""The attributes of a `.pdmodel`'s operators (framework.proto, OpDesc.Attr), read whole and written anew."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ppls.budget import Budget
from ppls.checkpoint.protobuf import as_bytes, as_text, field, fixed, one, packed, several, signed
from ppls.checkpoint.pure_form import integer, number, text, truth, word
from ppls.checkpoint.pure_operators import WITHOUT_EFFECT


class _Kind(NamedTuple):
    """A kind of attribute, whose code is that of AttrType.

    Attributes:
        place: the number of its field.
        several: whether it is a list.
        read, write: one value of it.
        size: the bytes that a number takes, where they are fixed.
    """

    place: int
    several: bool
    read: Callable[[Any], Any]
    write: Callable[[int, Any], bytes]
    size: int = 0


def _float(value: Any) -> float:
    return number(struct.unpack("<f" if len(as_bytes(value)) == 4 else "<d", value)[0])


def _text(value: Any) -> str:
    return text(as_text(value))


def _write_float(place: int, value: float) -> bytes:
    return fixed(place, struct.pack("<f", value))


def _write_double(place: int, value: float) -> bytes:
    return fixed(place, struct.pack("<d", value))


def _write_text(place: int, value: str) -> bytes:
    return field(place, value.encode())


def _integer(value: Any) -> int:
    return integer(signed(value) if isinstance(value, int) else value)


def _truth(value: Any) -> bool:
    return truth({0: False, 1: True}.get(value) if isinstance(value, int) else None)


_KINDS = {  # AttrType; blocks and names of variables are not among them
    0: _Kind(3, False, _integer, field),
    1: _Kind(4, False, _float, _write_float, 4),
    2: _Kind(5, False, _text, _write_text),
    3: _Kind(6, True, _integer, field),
    4: _Kind(7, True, _float, _write_float, 4),
    5: _Kind(8, True, _text, _write_text),
    6: _Kind(10, False, _truth, field),
    7: _Kind(11, True, _truth, field),
    9: _Kind(13, False, _integer, field),
    11: _Kind(15, True, _integer, field),
    12: _Kind(16, True, _float, _write_double, 8),
    15: _Kind(19, False, _float, _write_double, 8),
}
_SCALAR, _SCALARS = 16, 17
_PLACES = {**{code: kind.place for code, kind in _KINDS.items()}, _SCALAR: 20, _SCALARS: 21}


def read(message: memoryview, budget: Budget) -> tuple[str, tuple[int, Any]]:
    """Name, code and value of an attribute; of one without effect, no value.

    Raises:
        ValueError: it is of a kind that is not on the list.
    """
    entry = several(message, budget)
    name, code = word(as_text(one(entry, 1))), one(entry, 2)
    if name in WITHOUT_EFFECT:
        return name, (code, None)
    if code not in _PLACES:
        what = {8: "a block", 10: "blocks", 13: "a variable", 14: "variables"}.get(code, "of an unknown kind")
        raise ValueError(f"an attribute '{name}' is {what}, which is not on ppls's list")
    if set(entry) - {1, 2, _PLACES[code]}:
        raise ValueError(f"an attribute '{name}' is of two kinds")
    values: Sequence[Any] = entry.get(_PLACES[code], [])
    if code in (_SCALAR, _SCALARS):
        found = [_scalar(as_bytes(value), budget) for value in values]
    else:
        kind = _KINDS[code]
        if kind.several and kind.read is _integer:
            values = list(packed(values, budget))
        elif kind.several and kind.size:
            values = [part for value in values for part in _parts(as_bytes(value), kind.size)]
        found = [kind.read(value) for value in values]
    if code in (_SCALARS, *(code for code, kind in _KINDS.items() if kind.several)):
        return name, (code, found)
    if len(found) != 1:
        raise ValueError(f"an attribute '{name}' has {len(found)} values")
    return name, (code, found[0])


def _parts(numbers: memoryview, size: int) -> list[memoryview]:
    return [numbers[at : at + size] for at in range(0, len(numbers), size)]


def _scalar(message: memoryview, budget: Budget) -> bytes:
    """A number with its type, as it is written again."""
    entry = several(message, budget)
    code = one(entry, 1)  # Scalar.Type: truth, integer, number
    if code not in (1, 2, 3) or set(entry) != {1, code + 1}:
        raise ValueError("a number is of a type that ppls does not know")
    value = one(entry, code + 1)
    written = fixed(4, struct.pack("<d", _float(value))) if code == 3 else field(code + 1, _integer(value))
    return field(1, code) + written


def written(name: str, code: int, value: Any) -> bytes:
    """An attribute as `read` gave it."""
    values = value if isinstance(value, list) else [value]
    write = field if code in (_SCALAR, _SCALARS) else _KINDS[code].write
    return field(1, name.encode()) + field(2, code) + b"".join(write(_PLACES[code], each) for each in values)

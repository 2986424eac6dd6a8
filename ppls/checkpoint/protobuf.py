"""Just enough of protobuf's wire format to read and write the few messages that Paddle's exports need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ppls.budget import Budget

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def fields(message: memoryview | bytes, budget: Budget) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message in order: number and value, an unsigned integer or bytes.

    Raises:
        ValueError: this is no protobuf message. The budget's own error where it has too many.
    """
    view = memoryview(message)
    at = 0
    while at < len(view):
        budget.take_nodes()
        key, at = _varint(view, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise ValueError("field number 0")
        if wire == _VARINT:
            value, at = _varint(view, at)
            yield number, value
            continue
        if wire == _LENGTH:
            nbytes, at = _varint(view, at)
        elif wire in (_FIXED64, _FIXED32):
            nbytes = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if nbytes > len(view) - at:
            raise ValueError("a field goes beyond the end")
        yield number, view[at : at + nbytes]
        at += nbytes


def signed(value: int) -> int:
    """An int64 or int32 field, which protobuf writes as if it were unsigned."""
    return value - (1 << 64) if value >> 63 else value


def varints(packed: memoryview, budget: Budget) -> Iterator[int]:
    """The values of a packed repeated field."""
    at = 0
    while at < len(packed):
        budget.take_nodes()
        value, at = _varint(packed, at)
        yield value


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            raise ValueError("a number goes beyond the end")
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1, at
    raise ValueError("a number of more than 64 bits")


def several(message: bytes | memoryview, budget: Budget) -> dict[int, list[int | memoryview]]:
    """The values of a message by their numbers."""
    found: dict[int, list[int | memoryview]] = {}
    for place, value in fields(message, budget):
        found.setdefault(place, []).append(value)
    return found


def one(message: Mapping[int, list[int | memoryview]], place: int, default: Any = None) -> Any:
    """The value of a field that stands once."""
    values = message.get(place, [default])
    if len(values) != 1 or values[0] is None:
        raise ValueError("a message has a field too often, or lacks one")
    return values[0]


def as_bytes(value: Any) -> memoryview:
    """What has a length."""
    if isinstance(value, int):
        raise ValueError("a number where a message belongs")
    return memoryview(value)


def as_text(value: Any) -> str:
    """A text in UTF-8."""
    return bytes(as_bytes(value)).decode("utf-8")


def packed(values: Sequence[int | memoryview], budget: Budget) -> Iterator[int]:
    """The numbers of a repeated field, each in a field of its own or all in one."""
    for value in values:
        yield from [value] if isinstance(value, int) else varints(value, budget)


def field(number: int, value: int | bytes) -> bytes:
    """A field as it is written: an integer, negative ones too, or what has a length."""
    if isinstance(value, int):
        return _written(number << 3 | _VARINT) + _written(value)
    return _written(number << 3 | _LENGTH) + _written(len(value)) + value


def fixed(number: int, value: bytes) -> bytes:
    """A field of a number that takes 4 or 8 bytes."""
    return _written(number << 3 | (_FIXED64 if len(value) == 8 else _FIXED32)) + value


def _written(value: int) -> bytes:
    value &= (1 << 64) - 1
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)

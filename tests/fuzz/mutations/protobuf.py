"""Protobuf messages, field by field, inner ones too: dropped, doubled, nested, with other numbers and values."""

from __future__ import annotations

import contextlib
from random import Random
from typing import Any

from tests.fuzz.mutations import hostile, raw

Field = tuple[int, int, Any]  # number, wire type, value: an integer, bytes, or the fields of an inner message


def mutate_protobuf(random: Random, content: bytes) -> bytes:
    """A message with a few changes. Raises `ValueError` where it is none."""
    fields = parse(content)
    if not fields:
        raise ValueError("no protobuf message")
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        _mutate(random, random.choice(list(_messages(fields))))
    return encode(fields)


def parse(content: bytes, depth: int = 0) -> list[Field]:
    """The fields; what reads as a message within is one. Raises `ValueError`."""
    fields: list[Field] = []
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        number, wire = key >> 3, key & 7
        value: Any
        if wire == 0:
            value, at = _varint(content, at)
        elif wire in (1, 5):
            end = at + (8 if wire == 1 else 4)
            value, at = content[at:end], end
        elif wire == 2:
            length, at = _varint(content, at)
            value, at = content[at : at + length], at + length
            if depth < 8 and len(value) > 1 and not (value.isascii() and value.decode().isprintable()):
                with contextlib.suppress(ValueError):
                    value = parse(value, depth + 1)
        else:
            raise ValueError(f"wire type {wire}")
        if number == 0 or at > len(content):
            raise ValueError("not a message")
        fields.append((number, wire, value))
    return fields


def encode(fields: list[Field]) -> bytes:
    """The message of these fields."""
    parts = []
    for number, wire, value in fields:
        parts.append(varint(number << 3 | wire))
        if wire == 0:
            parts.append(varint(value if isinstance(value, int) else 0))
            continue
        content = encode(value) if isinstance(value, list) else value if isinstance(value, bytes) else b""
        parts.append(varint(len(content)) + content if wire == 2 else content)
    return b"".join(parts)


def varint(value: int) -> bytes:
    value %= 1 << 64
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _mutate(random: Random, message: list[Field]) -> None:
    if not message:
        message.append((1, 0, 0))
    at = random.randrange(len(message))
    number, wire, value = message[at]
    change = random.randrange(9)
    if change == 0:
        del message[at]
    elif change == 1:
        message.insert(random.randrange(len(message) + 1), message[at])
    elif change == 2:
        message[at] = (random.choice((1, 2, 3, 4, 5, 15, 16, 1 << 28)), wire, value)
    elif change == 3:
        message[at] = (number, random.choice((0, 1, 2, 3, 5)), value)
    elif change == 4:
        message += [message[at]] * random.choice((3, 100, 20_000 if isinstance(value, int) else 300))
    elif change == 5:
        for _ in range(random.choice((1, 70, 600))):
            message[at] = (number, 2, [message[at]])
    elif wire == 0:
        message[at] = (number, 0, random.choice(raw.NUMBERS))
    elif isinstance(value, bytes):
        text = hostile.text(random, value.decode("utf-8", "replace"))
        message[at] = (
            number,
            wire,
            text.encode("utf-8", "surrogatepass") if change < 8 else raw.mutate_bytes(random, value),
        )


def _messages(fields: list[Field]) -> Any:
    yield fields
    for _, _, value in fields:
        if isinstance(value, list):
            yield from _messages(value)


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(content):
            raise ValueError("a number goes beyond the end")
        value |= (content[at] & 0x7F) << shift
        at += 1
        if content[at - 1] < 0x80:
            return value & (1 << 64) - 1, at
    raise ValueError("a number of more than 64 bits")

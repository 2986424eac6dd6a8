"""Changes of the kinds that find faults in readers of binary formats, whatever the format is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

NUMBERS = (
    0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 1 << 20, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, 1 << 62,
    (1 << 64) - 1,
)  # fmt: skip
_OPCODES = b"(.NKJMGhjqrRbcu}]est)tXUTCB\x80\x81\x85\x86\x87\x88\x89\x8a\x8c\x8d\x8e\x8f\x90\x93\x94\x95"
_TOKENS = (
    b"cposix\nsystem\n",
    b"cbuiltins\neval\n",
    b"cnumpy\ndtype\n",
    b"cnumpy.core.multiarray\nscalar\n",
    b"c_codecs\nencode\n",
    b"ccollections\nOrderedDict\n",
    b"X\x15\0\0\0UnpackBigParamInfor@@",
    b"X\x18\0\0\0StructuredToParameterName@@",
    b"\x8e" + b"\xff" * 8,
    b"r\xff\xff\xff\xff",
    b"\x0a\xff\xff\xff\xff\x0f",
    b"\x1f\x8b\x08",
    b"\x1b]0;PWN\x07",
    b"\xe2\x80\xae",
    b"\xed\xa0\x80",
)


def mutate_bytes(random: Random, content: bytes, others: Sequence[bytes] = ()) -> bytes:
    """A few changes at random places; `others` are what pieces are taken from."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        random.choice(_CHANGES)(random, data, others)
    return bytes(data)


def _at(random: Random, data: bytearray) -> int:
    return random.randrange(len(data) + 1)


def _flip(random: Random, data: bytearray, others: Sequence[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _set(random: Random, data: bytearray, others: Sequence[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] = random.randrange(256)


def _opcode(random: Random, data: bytearray, others: Sequence[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] = random.choice(_OPCODES)


def _truncate(random: Random, data: bytearray, others: Sequence[bytes]) -> None:
    del data[_at(random, data) :]


def _number(random: Random, data: bytearray, others: Sequence[bytes]) -> None:
    at, width = _at(random, data), random.choice((1, 2, 4, 8))
    number = (random.choice(NUMBERS) + random.randrange(-1, 2)) % (1 << 8 * width)
    data[at : at + width] = number.to_bytes(width, random.choice(("little", "big")))


def _delete(random: Random, data: bytearray, others: Sequence[bytes]) -> None:
    at = _at(random, data)
    del data[at : at + random.choice((1, 2, 8, 64, 500))]


def _repeat(random: Random, data: bytearray, others: Sequence[bytes]) -> None:
    at = _at(random, data)
    piece = data[at : at + random.choice((1, 4, 32, 200))]
    data[at:at] = piece * random.choice((1, 2, 50))


def _insert(random: Random, data: bytearray, others: Sequence[bytes]) -> None:
    at = _at(random, data)
    data[at:at] = random.choice(_TOKENS)


def _splice(random: Random, data: bytearray, others: Sequence[bytes]) -> None:
    if not others:
        _repeat(random, data, others)
        return
    other = random.choice(others)
    start, at = random.randrange(len(other) + 1), _at(random, data)
    data[at : at + random.choice((0, 16, 200))] = other[start : start + random.choice((8, 64, 500))]


_CHANGES: tuple[Callable[[Random, bytearray, Sequence[bytes]], None], ...] = (
    _flip, _set, _opcode, _truncate, _number, _number, _delete, _repeat, _insert, _splice,
)  # fmt: skip

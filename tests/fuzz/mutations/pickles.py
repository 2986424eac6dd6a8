"""Pickles, opcode by opcode: dropped, doubled, exchanged, with other arguments, the memo's numbers among them."""

from __future__ import annotations

import pickletools
import struct
from random import Random

from tests.fuzz.mutations import hostile

_PLAIN = b"(N)}]\x85\x86\x87\x88\x89\x8ftubaes\x90\x94Rb02.\x81\x93"
_GLOBALS = (
    "posix system", "builtins eval", "builtins getattr", "builtins tuple", "numpy dtype", "numpy ndarray",
    "_codecs encode",
    "numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct", "numpy.core.multiarray scalar",
    "collections OrderedDict", "copy_reg _reconstructor", "torch._utils _rebuild_tensor_v2", "torch FloatStorage",
    "paddle.base.core x",
)  # fmt: skip


def mutate_pickle(random: Random, content: bytes) -> bytes:
    """A pickle with a few of its opcodes changed. Raises `ValueError` where it is none."""
    pieces = _pieces(content)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        at, other = random.randrange(len(pieces)), random.randrange(len(pieces))
        change = random.randrange(10)
        if change == 0 and len(pieces) > 1:
            del pieces[at]
        elif change == 1:
            pieces.insert(other, pieces[at])
        elif change == 2:
            pieces[at], pieces[other] = pieces[other], pieces[at]
        elif change == 3:
            pieces[at] = bytes([random.choice(_PLAIN)])
        elif change == 4:
            pieces.insert(at, _memo(random))
        elif change == 5:
            pieces[at:at] = [_made(random) for _ in range(random.choice((1, 1, 2, 5)))]
        elif change == 6:
            pieces[at:at] = pieces[other : other + random.choice((2, 10, 60))] * random.choice((1, 1, 2, 500))
        elif change == 7:
            pieces[1:1] = [_memo(random)]
        else:
            pieces[at] = _changed(random, pieces[at])
    return b"".join(pieces)


def _pieces(content: bytes) -> list[bytes]:
    starts = [position for _, _, position in pickletools.genops(content) if position is not None]
    ends = [*starts[1:], len(content)]
    return [content[start:end] for start, end in zip(starts, ends, strict=True)]


def _memo(random: Random) -> bytes:
    index = random.choice((0, 1, 2, 3, random.randrange(40), 255, 1 << 16))
    return random.choice(
        (
            b"\x94",
            b"q" + bytes([index & 255]),
            b"h" + bytes([index & 255]),
            b"r" + struct.pack("<I", index),
            b"j" + struct.pack("<I", index),
        )
    )


def _made(random: Random) -> bytes:
    kind = random.randrange(6)
    if kind == 0:
        return _text(str(random.choice(hostile.TEXTS)))
    if kind == 1:
        return b"c" + random.choice(_GLOBALS).replace(" ", "\n").encode() + b"\n"
    if kind == 2:
        return b"J" + struct.pack("<i", random.choice((0, 1, -1, 2**31 - 1, -(2**31), 10**6)))
    if kind == 3:
        payload = bytes(random.randrange(256) for _ in range(random.choice((0, 1, 8, 300))))
        return random.choice((b"B", b"T", b"X")) + struct.pack("<I", len(payload)) + payload
    if kind == 4:
        return b"\x8a" + bytes([random.choice((0, 1, 8, 9, 200))]) + bytes(random.randrange(256) for _ in range(9))
    return bytes([random.choice(_PLAIN)])


def _text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def _changed(random: Random, piece: bytes) -> bytes:
    """The same opcode with another argument; of a text or of bytes the length still holds, mostly."""
    code, width = (
        piece[:1],
        {b"X": 4, b"B": 4, b"T": 4, b"U": 1, b"C": 1, b"\x8c": 1, b"\x8d": 8, b"\x8e": 8}.get(piece[:1]),
    )
    if width is None:
        body = bytearray(piece[1:])
        if body:
            body[random.randrange(len(body))] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
        return code + bytes(body)
    body = bytearray(piece[1 + width :])
    if code in (b"X", b"\x8c", b"\x8d") and random.random() < 0.7:
        body = bytearray(hostile.text(random, body.decode("utf-8", "replace")).encode("utf-8", "surrogatepass"))
    elif body and random.random() < 0.6:
        body[random.randrange(len(body))] ^= 1 << random.randrange(8)
    else:
        body = body[: random.randrange(len(body) + 1)] * random.choice((1, 1, 3))
    length = len(body) + random.choice((0, 0, 0, 0, 1, -1))
    return code + (length % (1 << 8 * width)).to_bytes(width, "little") + bytes(body)

"""PNG, chunk by chunk, with right checksums mostly; other formats are changed byte by byte."""

from __future__ import annotations

import struct
import zlib
from random import Random

from tests.fuzz.mutations import raw

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KINDS = (
    b"IHDR",
    b"IDAT",
    b"PLTE",
    b"tRNS",
    b"eXIf",
    b"iCCP",
    b"tEXt",
    b"zTXt",
    b"iTXt",
    b"acTL",
    b"fcTL",
    b"fdAT",
    b"gAMA",
    b"sRGB",
    b"pHYs",
    b"IEND",
    b"abcd",
)


def mutate_png(random: Random, content: bytes) -> bytes:
    """A PNG with a few chunks changed. Raises `ValueError` where it is none."""
    chunks = _chunks(content)
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(chunks))
        kind, data = chunks[at]
        change = random.randrange(9)
        if change == 0 and len(chunks) > 1:
            del chunks[at]
        elif change == 1:
            chunks.insert(random.randrange(len(chunks) + 1), chunks[at])
        elif change == 2:
            chunks[at] = (random.choice(_KINDS), data)
        elif change == 3:
            chunks.insert(at, (random.choice(_KINDS), _made(random)))
        elif change == 4:
            chunks[0] = (b"IHDR", _header(random, chunks[0][1]))
        elif change == 5:
            chunks.insert(1, (b"eXIf", _exif(random)))
        elif kind == b"IDAT":
            chunks[at] = (kind, _pixels(random, data))
        else:
            chunks[at] = (kind, raw.mutate_bytes(random, data))
    wrong = random.random() < 0.1
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ wrong)
        for kind, data in chunks
    )


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    if content[:8] != _SIGNATURE:
        raise ValueError("no PNG")
    chunks = []
    at = 8
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    if not chunks:
        raise ValueError("no chunks")
    return chunks


def _header(random: Random, data: bytes) -> bytes:
    sides = (0, 1, 3, 64, 4097, 12_000, 40_000, 65_500, 1 << 20, (1 << 31) - 1, 1 << 31)
    width, height = random.choice(sides), random.choice((*sides, 1, 1, 1))
    kind = bytes([random.choice((1, 2, 4, 8, 16, 3)), random.choice((0, 2, 3, 4, 6, 5)), 0, 0, random.choice((0, 1))])
    return struct.pack(">II", width, height) + (kind if random.random() < 0.5 else data[8:13].ljust(5, b"\0"))


def _pixels(random: Random, data: bytes) -> bytes:
    if random.random() < 0.3:
        return zlib.compress(b"\0" * random.choice((0, 100, 1 << 20, 40 << 20)), 9)
    try:
        return zlib.compress(raw.mutate_bytes(random, zlib.decompress(data)))
    except zlib.error:
        return raw.mutate_bytes(random, data)


def _made(random: Random) -> bytes:
    return random.choice(
        (b"", b"\0" * 13, b"a" * 80, b"Comment\0\0" + zlib.compress(b"x" * (4 << 20)), b"k\0\0\0\0\0\xff\xfe",
        b"\xff" * 26, struct.pack(">II", 5, 0))
    )  # fmt: skip


def _exif(random: Random) -> bytes:
    """An orientation, right or wrong in some way."""
    order = random.choice((b"II*\0", b"MM\0*", b"II+\0", b"xx"))
    form = "<" if order[:1] == b"I" else ">"
    value = random.choice((0, 1, 2, 3, 5, 6, 8, 9, 65_535))
    kind, count = random.choice((3, 4, 2, 5, 7, 12, 99)), random.choice((1, 0, 2, 1 << 31))
    entry = struct.pack(f"{form}HHIHH", 0x0112, kind, count, value, random.choice((0, value)))
    return (
        order
        + struct.pack(f"{form}IH", random.choice((8, 8, 8, 0, 1 << 20)), random.choice((1, 1, 500)))
        + entry
        + b"\0" * 4
    )

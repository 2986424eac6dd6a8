"""Image files made by hand, where no encoder would write them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    """What Pillow writes."""
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def gradient(mode: str = "RGB", width: int = 23, height: int = 17) -> Image.Image:
    """An image in which every way to turn it shows."""
    y, x = np.mgrid[:height, :width]
    pixels = np.dstack([x * 255 // width, y * 255 // height, (x + y) % 256]).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def chunk(name: bytes, content: bytes) -> bytes:
    """Of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, *more: bytes, depth: int = 8, colour: int = 0, rows: int | None = None) -> bytes:
    """A black PNG with `more` chunks before its pixels, of which only `rows` are there."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    deflate = zlib.compressobj()
    row = bytes((width * samples * depth + 7) // 8 + 1)
    content = b"".join(deflate.compress(row) for _ in range(height if rows is None else rows)) + deflate.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"".join([PNG, header, *more, chunk(b"IDAT", content), chunk(b"IEND", b"")])


def segment(code: int, content: bytes) -> bytes:
    """Of a JPEG."""
    return b"\xff" + bytes([code]) + struct.pack(">H", len(content) + 2) + content


def tiff(tags: Iterable[tuple[int, str, Iterable[int]]], content: bytes = b"", following: int = 0) -> bytes:
    """A TIFF whose pixels begin at byte 8; a tag is its number, the type of its values (`u1`, `u2`, `u4`) and them."""
    kinds = {"u1": 1, "u2": 3, "u4": 4}
    entries, values = [], b""
    tags = sorted(tags)
    start = 8 + len(content) + len(content) % 2
    behind = start + 2 + 12 * len(tags) + 4
    for tag, kind, numbers in tags:
        array = np.array(list(numbers), f"<{kind}")
        field = array.tobytes().ljust(4, b"\0")
        if len(field) > 4:
            field, values = struct.pack("<I", behind + len(values)), values + array.tobytes()
        entries.append(struct.pack("<HHI", tag, kinds[kind], len(array)) + field)
    directory = struct.pack("<H", len(tags)) + b"".join(entries) + struct.pack("<I", following)
    return b"II*\0" + struct.pack("<I", start) + content.ljust(start - 8, b"\0") + directory + values


Tags = list[tuple[int, str, Iterable[int]]]


def grey_tiff(width: int, height: int, compression: int = 1, **tags: Iterable[int]) -> Tags:
    """The tags of a grey image; those of strips and tiles are named by what they hold."""
    numbers = {
        "orientation": 274,
        "strips": 273,
        "rows": 278,
        "strip_sizes": 279,
        "tile_width": 322,
        "tile_height": 323,
        "tiles": 324,
        "tile_sizes": 325,
        "tables": 347,
    }
    known: dict[int, Iterable[int]] = {256: [width], 257: [height], 258: [8], 259: [compression], 262: [1], 277: [1]}
    return [(tag, "u4", values) for tag, values in (known | {numbers[name]: v for name, v in tags.items()}).items()]


def directory_of(count: int, size: int) -> bytes:
    """EXIF of `count` tags, each of the same `size` bytes, which are all there is."""
    entries = b"".join(struct.pack("<HHII", tag, 1, size, 8) for tag in range(1, count + 1))
    return b"II*\0" + struct.pack("<IH", 8, count) + entries + bytes(4)

"""What of an image file makes the picture, told from its bytes before any decoder sees them.

Text, profiles, thumbnails, other pages and whatever else a file may carry are left out: Pillow would read them, and
they are where a small file hides much.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from ppls.images import jpeg, tiff

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_PPM = re.compile(rb"P[1-6](?:\s|#[^\r\n]*[\r\n])+(\d{1,9})(?:\s|#[^\r\n]*[\r\n])+(\d{1,9})\s")


@dataclass(frozen=True)
class Content:
    """The picture of an image file.

    Attributes:
        format: Pillow's name of it, `WebP` apart.
        width, height: in pixels, as they are stored.
        data: a file with the picture alone.
        orientation: 1 to 8, as EXIF and TIFF number them.
        work: pixels that the decoder goes through, each as often as it does.
    """

    format: str
    width: int
    height: int
    data: bytes
    orientation: int = 1
    work: int = 0


def content_of(data: bytes) -> Content:
    """The picture in the bytes of a file. Raises `ValueError` with what is wrong, and others where data end early."""
    for beginning, read in _FORMATS.items():
        if re.match(beginning, data, re.DOTALL):
            return read(data)
    raise ValueError(
        "it is none, or of a kind that ppls does not open; known are JPEG, PNG, BMP, TIFF, WebP, PPM and PGM"
    )


def _jpeg(data: bytes) -> Content:
    found = jpeg.read(data)
    orientation = tiff.orientation(found.exif)
    return Content("JPEG", found.width, found.height, found.data, orientation, found.width * found.height * found.scans)


def _tiff(data: bytes) -> Content:
    found = tiff.read(data)
    return Content("TIFF", found.width, found.height, found.data, found.orientation, found.work)


def _png(data: bytes) -> Content:
    """The default image of an animation."""
    kept, exif, position, name = [_PNG], b"", len(_PNG), b""
    while position + 8 <= len(data) and name != b"IEND":
        length, name = struct.unpack_from(">I4s", data, position)
        chunk = data[position : position + length + 12]
        if name in _PNG_CHUNKS:
            if len(chunk) == length + 12 and zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
                raise ValueError(f"it is damaged: the checksum of its {name.decode()} is wrong")
            kept.append(chunk)
        elif name == b"eXIf":
            exif = chunk[8:-4]
        position += length + 12
    if len(kept) < 2 or kept[1][4:8] != b"IHDR":
        raise ValueError("it is damaged: its header is missing")
    width, height = struct.unpack_from(">II", kept[1], 8)
    return Content("PNG", width, height, b"".join(kept), tiff.orientation(exif))


def _webp(data: bytes) -> Content:
    name, body = data[12:16], data[20:30].ljust(10, b"\0")
    if name == b"VP8X":
        width, height = (1 + int.from_bytes(body[i : i + 3], "little") for i in (4, 7))
    elif name == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", body, 6))
    exif, frames, position = b"", 0, 12
    while position + 8 <= len(data):
        chunk, length = struct.unpack_from("<4sI", data, position)
        frames += chunk == b"ANMF"
        if chunk == b"EXIF":
            exif = data[position + 8 : position + 8 + length].removeprefix(b"Exif\0\0")
        position += 8 + length + length % 2
    if frames:
        raise ValueError(f"it is an animation of {frames:,} frames; save the one that is meant as an image")
    return Content("WebP", width, height, data, tiff.orientation(exif))


def _bmp(data: bytes) -> Content:
    if int.from_bytes(data[14:18], "little") == 12:  # OS/2's header
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return Content("BMP", abs(width), abs(height), data)


def _ppm(data: bytes) -> Content:
    if data[1:2] in b"123":  # Pillow takes a comment out of a text at a time, which grows with their number squared
        data = re.sub(rb"#[^\r\n]*", b"", data)
    match = _PPM.match(data)
    if not match:
        raise ValueError("it is damaged: its header has no size")
    return Content("PPM", int(match[1]), int(match[2]), data)


_FORMATS: dict[bytes, Callable[[bytes], Content]] = {
    rb"\xff\xd8\xff": _jpeg,
    re.escape(_PNG): _png,
    rb"BM": _bmp,
    rb"II[*+]\0|MM\0[*+]": _tiff,
    rb"RIFF....WEBPVP8[ LX]": _webp,
    rb"P[1-6][\s#]": _ppm,
}

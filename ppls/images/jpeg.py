"""What of a JPEG makes the picture: its tables, frame and scans (ITU T.81, annex B), and where it is upright (EXIF)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MARKER = re.compile(rb"\xff([^\x00\xff])")
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")

_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive: what OpenCV reads
_KEPT = (0xC4, 0xDB, 0xDC, 0xDD, 0xE0, 0xEE)  # tables, lines, restarts; what JFIF and Adobe say about colours
_START, _END, _SCAN, _EXIF = 0xD8, 0xD9, 0xDA, 0xE1


@dataclass(frozen=True)
class Jpeg:
    """The picture of a JPEG: its size in pixels (0, where no frame is), its number of scans, a file with it alone, and
    the EXIF that came with it."""

    width: int
    height: int
    scans: int
    data: bytes
    exif: bytes


def read(data: bytes) -> Jpeg:
    """The first picture in a file. Raises `ValueError` where it is coded in a way that is not read."""
    kept = [b"\xff\xd8"]
    width = height = scans = 0
    exif = b""
    position = 2
    while match := _MARKER.search(data, position):
        code, position = match[1][0], match.end()
        if code == _END:
            kept.append(match[0])
            break
        if code == 0x01 or 0xD0 <= code <= _START:  # these have no content
            continue
        end = position + int.from_bytes(data[position : position + 2], "big")
        body = data[position + 2 : end]
        if code in _FRAMES:
            height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
        elif code == _SCAN:
            scans += 1
            following = _END_OF_SCAN.search(data, end)
            end = following.start() if following else len(data)
        elif code == _EXIF and not exif and body.startswith(b"Exif\0\0"):
            exif = body[6:]
        if code in _FRAMES or code in _KEPT or code == _SCAN:
            kept.append(data[match.start() : end])
        elif not (0xE1 <= code <= 0xEF or code == 0xFE):
            raise ValueError(
                f"its part 0x{code:02X} is none of a baseline or progressive JPEG: "
                "it is damaged, or lossless, hierarchical or with arithmetic coding"
            )
        position = end
    return Jpeg(width, height, scans, b"".join(kept), exif)

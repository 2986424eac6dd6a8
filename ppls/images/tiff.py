"""What of a TIFF makes the picture: the first directory's tags for it, and its strips or tiles. EXIF is a TIFF too."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppls.images import jpeg

Array = np.ndarray[Any, Any]

_WIDTH, _HEIGHT, _COMPRESSION, _ORIENTATION = 256, 257, 259, 274
_STRIPS, _STRIP_SIZES, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_SIZES = 273, 279, 322, 323, 324, 325
# Those above but the orientation; bits, photometric, fill order, samples, rows, planes, fax options, predictor,
# palette, inks, extra samples, sample format, JPEG's tables, YCbCr.
_TAGS = (256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 332, 338, 339,
         347, 529, 530, 531, 532)  # fmt: skip

_NONE, _JPEG = 1, 7
# none, fax, LZW, JPEG, Deflate, PackBits, Zstandard
_COMPRESSIONS = (_NONE, 2, 3, 4, 5, _JPEG, 8, 32946, 32773, 50000)

_WHOLE = {1: "u1", 3: "u2", 4: "u4", 16: "u8"}  # types of whole numbers
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}

_BIG = {False: ("L", "H", "HHL4s"), True: ("Q", "Q", "HHQ8s")}

_MOST_PIECES = 100_000  # strips or tiles
_FREE_TILE = 1 << 22  # pixels that a tile may have however small the image


@dataclass(frozen=True)
class Tiff:
    """The first picture of a TIFF: its size in pixels, a file with it alone, its orientation, and the pixels that the
    decoder goes through, each as often as it does."""

    width: int
    height: int
    data: bytes
    orientation: int
    work: int


class _Directory:
    """The first directory of a TIFF: for each tag, its type, how many values it has, and its entry's bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.order = {b"II": "<", b"MM": ">"}[data[:2]]
        # how a place in the file, the number of entries and an entry are written
        self.place, self.count, self._entry = (self.order + kind for kind in _BIG[data[2:4] in (b"+\0", b"\0+")])
        (start,) = struct.unpack_from(self.place, data, struct.calcsize(self.place))
        (count,) = struct.unpack_from(self.count, data, start)
        start += struct.calcsize(self.count)
        size = struct.calcsize(self._entry)
        if start + count * size > len(data):
            raise ValueError("it is damaged: its directory ends early")
        self.entries: dict[int, bytes] = {}
        for place in range(start, start + count * size, size):
            (tag,) = struct.unpack_from(self.order + "H", data, place)
            self.entries.setdefault(tag, data[place : place + size])

    def size(self, tag: int) -> int:
        """Bytes that a tag's values take."""
        _, kind, count, _ = struct.unpack(self._entry, self.entries[tag])
        return int(_BYTES.get(kind, 1) * count)

    def values(self, tag: int) -> Array:
        """Whole numbers; none, where the tag is missing or of another type."""
        if tag not in self.entries:
            return np.empty(0, np.uint64)
        _, kind, count, field = struct.unpack(self._entry, self.entries[tag])
        if kind not in _WHOLE:
            return np.empty(0, np.uint64)
        dtype = np.dtype(self.order + _WHOLE[kind])
        if count * dtype.itemsize <= len(field):
            return np.frombuffer(field, dtype, count)
        (place,) = struct.unpack(self.place, field)
        if place + count * dtype.itemsize > len(self.data):
            raise ValueError("it is damaged: its tags end early")
        return np.frombuffer(self.data, dtype, count, place)

    def value(self, tag: int, default: int = 0) -> int:
        values = self.values(tag)
        return int(values[0]) if len(values) else default


def orientation(data: bytes) -> int:
    """What EXIF says about it, 1 where it says nothing that can be understood."""
    try:
        return _Directory(data).value(_ORIENTATION, 1)
    except (KeyError, ValueError, struct.error, OverflowError):
        return 1


def read(data: bytes) -> Tiff:
    """The first picture in a file. Raises `ValueError` where it is damaged, or coded in a way that is not read."""
    turned = orientation(data)
    tags = _Directory(_first_picture(data))  # what is checked is what the decoder will see
    if sum(map(tags.size, tags.entries)) > len(data):
        raise ValueError("it is damaged: its tags end early")
    width, height = tags.value(_WIDTH), tags.value(_HEIGHT)
    compression = tags.value(_COMPRESSION, _NONE)
    if compression not in _COMPRESSIONS:
        raise ValueError(f"its compression, {compression}, is none that ppls reads in a TIFF")
    tiled = _TILES in tags.entries
    if tiled and _STRIPS in tags.entries:
        raise ValueError("it is damaged: it has strips and tiles")
    places = tags.values(_TILES if tiled else _STRIPS).tolist()
    sizes = tags.values(_TILE_SIZES if tiled else _STRIP_SIZES).tolist()
    if not 0 < len(places) <= _MOST_PIECES:
        raise ValueError(f"it has {len(places):,} strips or tiles; 1 to {_MOST_PIECES:,} are read")
    if not sizes and (len(places) == 1 or compression == _NONE):
        sizes = [len(data)] * len(places)
    elif len(sizes) != len(places):  # libtiff would take the whole file for each
        raise ValueError("it is damaged: its strips or tiles do not tell their sizes")
    if compression != _NONE and sum(sizes) > 2 * len(data):
        raise ValueError("it is damaged: its strips or tiles are larger than the file")
    work = width * height
    if tiled:
        tile = tags.value(_TILE_WIDTH) * tags.value(_TILE_HEIGHT)
        if tile > max(width * height, _FREE_TILE):
            raise ValueError("its tiles are larger than the image")
        work = max(work, tile * len(places))
    if compression == _JPEG:
        pieces = (tags.data[place : place + size] for place, size in zip(places, sizes, strict=True))
        work *= max(jpeg.read(piece).scans for piece in pieces)
    return Tiff(width, height, tags.data, turned, work)


def _first_picture(data: bytes) -> bytes:
    """The file with another directory behind all else: the first one's tags of the picture, and no next."""
    tags = _Directory(data)
    entries = [tags.entries[tag] for tag in _TAGS if tag in tags.entries]
    data += b"\0" * (len(data) % 2)
    words = struct.calcsize(tags.place)  # the header is two of them, the second the place of the directory
    place, count = struct.pack(tags.place, len(data)), struct.pack(tags.count, len(entries))
    return b"".join((data[:words], place, data[2 * words :], count, *entries, struct.pack(tags.place, 0)))

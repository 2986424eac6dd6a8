"""A zip archive as `--dump` writes it, and no other: members stored one after another, none compressed, none encrypted.

Nothing in it can be larger than the file itself: each member starts where the one before it ends.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from ppls.budget import Budget
from ppls.shown import shown

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s4B4HL2L5H2L")
_LOCAL = struct.Struct("<4s2B4HL2L2H")
_IN_64_BITS = 0xFFFFFFFF  # stands for a number that is in the extra field
_MOST_PER_MEMBER = 256  # bytes of the directory; ppls's names have up to 60
_BLOCK = 1 << 20


class ZipError(ValueError):
    """The file is no such archive; the message says why."""


class StoredZip:
    """The members of an archive.

    Args:
        file: the archive.
        size: its bytes.
        may_be: whether a member may be called so.
        budget: of the file.

    Raises:
        ZipError: it is not as `--dump` writes it.
    """

    def __init__(self, file: BinaryIO, size: int, may_be: Callable[[str], bool], budget: Budget) -> None:
        self._file = file
        self._members: dict[str, tuple[int, int, int]] = {}  # start, size, CRC-32
        count, directory_size, directory = _find_directory(file, size)
        budget.take_names(count)
        if directory_size > count * _MOST_PER_MEMBER:
            raise ZipError("its directory is larger than its members ask for")
        budget.take_bytes(directory_size)
        content = _read_at(file, directory, directory_size)
        end = 0
        for name, offset, length, crc in _entries(content, count):
            if not may_be(name):
                raise ZipError(f"holds '{shown(name, 80)}', which no dump does")
            if name in self._members:
                raise ZipError(f"holds {name} twice")
            if offset != end:
                raise ZipError(f"{name} does not start where the member before it ends")
            start = self._start(name, offset)
            end = start + length
            self._members[name] = start, length, crc
            if end > directory:
                raise ZipError(f"{name} runs into the directory")
        if end != directory:
            raise ZipError("something stands between its members and its directory")

    @property
    def sizes(self) -> dict[str, int]:
        """The bytes of each member, by name."""
        return {name: length for name, (_, length, _) in self._members.items()}

    def read(self, name: str, budget: Budget) -> bytes:
        """A member as a whole. Raises `ZipError` where there is none, or where it is damaged."""
        if name not in self._members:
            raise ZipError(f"holds no {name}")
        budget.take_bytes(self._members[name][1])
        return b"".join(self._blocks(name))

    def extract(self, name: str, destination: Path) -> None:
        """Writes a member to a file that is not there yet. Raises `ZipError` where it is damaged."""
        with open(destination, "xb") as target:
            for block in self._blocks(name):
                target.write(block)

    def _blocks(self, name: str) -> Iterator[bytes]:
        start, left, expected = self._members[name]
        self._file.seek(start)
        found = 0
        while left:
            block = self._file.read(min(left, _BLOCK))
            if not block:
                raise ZipError(f"{name} is cut off")
            left -= len(block)
            found = zlib.crc32(block, found)
            yield block
        if found != expected:
            raise ZipError(f"{name} is damaged: its CRC-32 is another")

    def _start(self, name: str, offset: int) -> int:
        """Where the content of a member begins, behind the header that stands there too."""
        header = _LOCAL.unpack(_read_at(self._file, offset, _LOCAL.size))
        signature, _, _, flags, method, *_, name_size, extra_size = header
        if signature != b"PK\3\4" or flags or method or self._file.read(name_size) != name.encode():
            raise ZipError(f"{name} does not stand where the directory says")
        return offset + _LOCAL.size + int(name_size) + int(extra_size)


def _find_directory(file: BinaryIO, size: int) -> tuple[int, int, int]:
    """The members, bytes and offset of the directory, which must stand right before the end's own record."""
    end = size - _END.size
    if end < 0:
        raise ZipError("is too short for a zip archive")
    signature, *disks, count, directory_size, directory, comment = _END.unpack(_read_at(file, end, _END.size))
    if signature != b"PK\5\6" or comment:
        raise ZipError("does not end as a zip archive does")
    if directory + directory_size != end:  # a large one has two more records in between
        locator, end = end - _LOCATOR.size, end - _LOCATOR.size - _END64.size
        if end < 0:
            raise ZipError("is cut off")
        signature, *disks, count, directory_size, directory = _END64.unpack(_read_at(file, end, _END64.size))
        if signature != b"PK\6\6" or _LOCATOR.unpack(_read_at(file, locator, _LOCATOR.size)) != (b"PK\6\7", 0, end, 1):
            raise ZipError("its end is damaged")
        disks = disks[3:]
    if disks != [0, 0, count] or directory + directory_size != end:
        raise ZipError("its directory is not where its end says")
    return count, directory_size, directory


def _entries(content: bytes, count: int) -> Iterator[tuple[str, int, int, int]]:
    """Name, offset, size and CRC-32 of each member, as the directory has them."""
    at = 0
    for _ in range(count):
        if at + _CENTRAL.size > len(content):
            raise ZipError("its directory is cut off")
        (
            signature, _, _, _, _, flags, method, _, _, crc, stored, length, name_size, extra_size, comment_size,
            disk, _, attributes, offset,
        ) = _CENTRAL.unpack_from(content, at)  # fmt: skip
        at += _CENTRAL.size
        raw, extra = content[at : at + name_size], content[at + name_size : at + name_size + extra_size]
        at += name_size + extra_size
        name = shown(raw.decode("ascii", "backslashreplace"), 80)
        if signature != b"PK\1\2" or disk or comment_size:
            raise ZipError("its directory is damaged")
        if flags or method:
            raise ZipError(f"{name} is compressed, encrypted or of unknown form (method {method}, flags {flags:#x})")
        if attributes >> 28 not in (0, 0o10):
            raise ZipError(f"{name} is no regular file")
        length, stored, offset = _wide([length, stored, offset], extra)
        if length != stored:
            raise ZipError(f"{name} has two sizes")
        yield raw.decode("ascii", "backslashreplace"), offset, length, crc
    if at != len(content):
        raise ZipError("its directory has more than its members")


def _wide(numbers: list[int], extra: bytes) -> list[int]:
    """The numbers, those that 32 bits do not hold from the extra field."""
    places = [place for place, number in enumerate(numbers) if number == _IN_64_BITS]
    if extra != b"" and (len(extra) != 4 + 8 * len(places) or extra[:4] != struct.pack("<2H", 1, 8 * len(places))):
        raise ZipError("an extra field is not one that ppls writes")
    if not places:
        return numbers
    if not extra:
        raise ZipError("a size is missing")
    found = struct.unpack(f"<{len(places)}Q", extra[4:])
    wide = list(numbers)
    for place, number in zip(places, found, strict=True):
        wide[place] = number
    return wide


def _read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    content = file.read(size)
    if len(content) != size:
        raise ZipError("is cut off")
    return content

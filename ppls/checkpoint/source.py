"""A file that is open for reading: bounded reads, lazy mapping, and one readable error for whatever is in the way."""

from __future__ import annotations

import codecs
import mmap
import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ppls.budget import Budget
from ppls.errors import CheckpointError
from ppls.files import open_regular

# Below this, a read is cheaper than the page faults of a mapping, and the array comes out aligned.
_MAPPED_FROM = 64 << 10
_BLOCK = 1 << 20
_WINDOW = 32 << 10  # bytes that a `Cursor` reads at once

Stamp = tuple[int, int, int, int]


class Source:
    """A regular file, or a window of one (a member of a tar archive), that stays open as long as somebody holds it.

    Attributes:
        path: the file, as the user knows it.
        label: what messages call it: the path, and the member of the archive if it is one.
        size: bytes in the window.
        budget: what reading it may cost. Windows, and what is decompressed, draw from that of the file on the disk.
        stamp: inode, device, size and time of the last change when it was opened.
    """

    __slots__ = ("_file", "_start", "budget", "label", "path", "size")

    def __init__(self, file: _OpenFile, *, start: int, size: int, label: str, budget: Budget) -> None:
        self._file = file
        self._start = start
        self.budget = budget
        self.path = file.path
        self.size = size
        self.label = label

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, transient: bool = False) -> Source:
        """Opens a regular file; anything else, and anything that the system refuses, is a `CheckpointError`.

        Args:
            transient: hold no descriptor, but open the file again for every read: for folders of a thousand files.
        """
        file = _OpenFile(Path(path), transient=transient)
        label = str(file.path)
        # the label alone: a budget that held the source would keep its descriptor open
        budget = Budget(file.size, partial(_error, label))
        return cls(file, start=0, size=file.size, label=label, budget=budget)

    @classmethod
    def of_descriptor(cls, descriptor: int, original: Source) -> Source:
        """Takes over the descriptor of a temporary file, which holds what is compressed in `original`."""
        file = _OpenFile(original.path, descriptor=descriptor)
        file.stamp = original.stamp
        return cls(file, start=0, size=file.size, label=original.label, budget=original.budget)

    def window(self, start: int, size: int, *, label: str) -> Source:
        """A part of this file as a source of its own."""
        if start < 0 or size < 0 or start + size > self.size:
            raise self.error(
                f"{label} should end at byte {start + size:,}, but the file has {self.size:,} (truncated?)"
            )
        return Source(self._file, start=self._start + start, size=size, label=label, budget=self.budget)

    @property
    def stamp(self) -> Stamp:
        return self._file.stamp

    @property
    def transient(self) -> bool:
        return self._file.transient

    def error(self, what: str) -> CheckpointError:
        """The error to raise about this file."""
        return _error(self.label, what)

    def read(self, offset: int, nbytes: int) -> bytes:
        """Exactly these bytes, in memory."""
        self._check_range(offset, nbytes)
        return self._file.read(self._start + offset, nbytes)

    def read_into(self, offset: int, room: memoryview) -> None:
        """As many bytes as there is room for."""
        self._check_range(offset, len(room))
        self._file.read_into(self._start + offset, room)

    def texts(self, offset: int, nbytes: int) -> Iterator[str]:
        """The text that these bytes are, in UTF-8, a part at a time. Raises `UnicodeError` where they are none."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        for start in range(offset, offset + nbytes, _BLOCK):
            block = self.read(start, min(_BLOCK, offset + nbytes - start))
            yield decoder.decode(block, final=start + len(block) == offset + nbytes)

    def view(self, offset: int, nbytes: int) -> bytes | memoryview:
        """These bytes, read-only: mapped from the file if they are many."""
        self._check_range(offset, nbytes)
        if nbytes < _MAPPED_FROM:
            return self._file.read(self._start + offset, nbytes)
        return self._file.map(self._start + offset, nbytes)

    def _check_range(self, offset: int, nbytes: int) -> None:
        if offset < 0 or nbytes < 0 or offset + nbytes > self.size:
            raise self.error(f"ends at byte {self.size:,}, but should reach {offset + nbytes:,} (truncated?)")


class Cursor:
    """A place in a file that only moves forward: a small window is read, and what need not be read is passed over.

    Attributes:
        source: the file.
        window: the part of it that is in memory.
        base: where in the file the window begins.
        at: the cursor's place in the window; the pickle machine reads its opcodes from here without a call.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.window = b""
        self.at = 0
        self.base = 0

    @property
    def position(self) -> int:
        """The cursor's place in the file."""
        return self.base + self.at

    def refill(self, nbytes: int) -> None:
        """Makes at least `nbytes` available at the cursor."""
        start = self.position
        left = self.source.size - start
        if nbytes > left:
            raise self.error(f"truncated: {nbytes:,} more bytes expected at byte {start:,}, {left:,} left")
        self.window = self.source.read(start, min(left, max(nbytes, _WINDOW)))
        self.base = start
        self.at = 0

    def take(self, nbytes: int) -> bytes:
        """The next bytes, which are few."""
        end = self.at + nbytes
        if end > len(self.window):
            self.refill(nbytes)
            end = nbytes
        taken = self.window[self.at : end]
        self.at = end
        return taken

    def number(self, nbytes: int, *, signed: bool = False) -> int:
        """The next bytes as a number, little-endian."""
        return int.from_bytes(self.take(nbytes), "little", signed=signed)

    def line(self, most: int) -> bytes:
        """The next bytes up to a line break, at most so many; passes over the break."""
        end = self.window.find(b"\n", self.at, self.at + most + 1)
        if end < 0:
            left = self.source.size - self.position
            self.refill(min(left, most + 1))
            end = self.window.find(b"\n", 0, most + 1)
            if end < 0:
                long = f"a name is longer than {most} characters"
                raise self.error(long if left > most else "truncated within a name")
        line = self.window[self.at : end]
        self.at = end + 1
        return line

    def skip(self, nbytes: int) -> int:
        """Passes over bytes without reading them, however many; where they begin."""
        start = self.position
        if not 0 <= nbytes <= self.source.size - start:
            left = self.source.size - start
            raise self.error(f"truncated: {nbytes:,} bytes of data expected at byte {start:,}, {left:,} left")
        self.at += nbytes
        if self.at > len(self.window):
            self.base, self.window, self.at = start + nbytes, b"", 0
        return start

    def error(self, what: str) -> CheckpointError:
        """The error to raise about this file."""
        return self.source.error(f"damaged, or not a Paddle weight file: {what}")


class _OpenFile:
    """Owner of a descriptor and its mapping. Pages of a large tensor are given back when the next one is asked for."""

    def __init__(self, path: Path, *, descriptor: int = -1, transient: bool = False) -> None:
        self.descriptor = -1  # to be closed or not, should opening it fail
        self.descriptor = _open(path) if descriptor < 0 else descriptor
        self.path = path
        self.transient = transient
        status = os.fstat(self.descriptor)
        self.size = status.st_size
        self.stamp = stamp_of(status)
        self._mapping: mmap.mmap | None = None
        self._last_mapped = (0, 0)
        self._lock = threading.Lock()
        if transient:
            self._close()

    def __del__(self) -> None:
        self._close()

    def _close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def read(self, offset: int, nbytes: int) -> bytes:
        if self.transient:
            again = _OpenFile(self.path)
            if again.stamp != self.stamp:
                raise self._changed()
            return again.read(offset, nbytes)
        try:
            block = _read_at(self.descriptor, offset, nbytes, self._lock)
            while len(block) < nbytes:  # a read of more than 2 GiB comes in parts
                more = _read_at(self.descriptor, offset + len(block), nbytes - len(block), self._lock)
                if not more:
                    raise self._changed()
                block += more
        except OSError as error:
            raise CheckpointError(f"{self.path}: cannot be read: {error.strerror}") from None
        return block

    def read_into(self, offset: int, room: memoryview) -> None:
        if self.transient or not hasattr(os, "preadv"):
            room[:] = self.read(offset, len(room))
            return
        try:
            while room:
                count = os.preadv(self.descriptor, [room], offset)
                if not count:
                    raise self._changed()
                room, offset = room[count:], offset + count
        except OSError as error:
            raise CheckpointError(f"{self.path}: cannot be read: {error.strerror}") from None

    def map(self, offset: int, nbytes: int) -> bytes | memoryview:
        if self.transient:
            return self.read(offset, nbytes)
        # A mapped page of a file that was cut short kills the process (SIGBUS) where an array touches it. This check
        # cannot close that window, but a file that was already cut is refused here.
        if os.fstat(self.descriptor).st_size != self.size:
            raise self._changed()
        with self._lock:
            if self._mapping is None:
                try:
                    self._mapping = mmap.mmap(self.descriptor, self.size, access=mmap.ACCESS_READ)
                except (OSError, ValueError) as error:
                    raise CheckpointError(f"{self.path}: cannot be mapped into memory: {error}") from None
            _give_back(self._mapping, *self._last_mapped)
            self._last_mapped = (offset, nbytes)
            return memoryview(self._mapping)[offset : offset + nbytes]

    def _changed(self) -> CheckpointError:
        return CheckpointError(f"{self.path}: changed while it was being read; try again when it is complete")


def _error(label: str, what: str) -> CheckpointError:
    return CheckpointError(f"{label}: {what}")


def stamp_of(status: os.stat_result) -> Stamp:
    """What changes when a file is written to or replaced."""
    return status.st_ino, status.st_dev, status.st_size, status.st_mtime_ns


def _open(path: Path) -> int:
    try:
        return open_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"{path}: no such file") from None
    except PermissionError:
        raise CheckpointError(f"{path}: no permission to read it") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be opened: {error.strerror}") from None
    except ValueError as error:  # a NUL in the name
        raise CheckpointError(f"{path!r}: not a file name: {error}") from None


def _give_back(mapping: mmap.mmap, offset: int, nbytes: int) -> None:
    """Drops the resident pages of a range. An array that still looks at them gets them back from the file."""
    if nbytes and hasattr(mapping, "madvise") and hasattr(mmap, "MADV_DONTNEED"):
        start = offset - offset % mmap.PAGESIZE
        mapping.madvise(mmap.MADV_DONTNEED, start, offset + nbytes - start)


def _read_at(descriptor: int, offset: int, nbytes: int, lock: threading.Lock) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(descriptor, nbytes, offset)
    with lock:  # Windows
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, nbytes)

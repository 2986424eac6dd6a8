"""A file that is open for reading: bounded reads, lazy mapping, and one readable error for whatever is in the way."""

from __future__ import annotations

import mmap
import os
import stat
import threading
from functools import partial
from pathlib import Path

from ppls.budget import Budget
from ppls.errors import CheckpointError

# Below this, a read is cheaper than the page faults of a mapping, and the array comes out aligned.
_MAPPED_FROM = 64 << 10

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

    def view(self, offset: int, nbytes: int) -> bytes | memoryview:
        """These bytes, read-only: mapped from the file if they are many."""
        self._check_range(offset, nbytes)
        if nbytes < _MAPPED_FROM:
            return self._file.read(self._start + offset, nbytes)
        return self._file.map(self._start + offset, nbytes)

    def locate(self, offset: int) -> tuple[int, int]:
        """File descriptor and absolute offset in it, for system calls that copy from file to file."""
        return self._file.descriptor, self._start + offset

    def _check_range(self, offset: int, nbytes: int) -> None:
        if offset < 0 or nbytes < 0 or offset + nbytes > self.size:
            raise self.error(f"ends at byte {self.size:,}, but should reach {offset + nbytes:,} (truncated?)")


class _OpenFile:
    """Owner of a descriptor and its mapping. Pages of a large tensor are given back when the next one is asked for."""

    def __init__(self, path: Path, *, descriptor: int = -1, transient: bool = False) -> None:
        self.descriptor = descriptor
        self.path = path
        self.transient = transient
        if descriptor < 0:
            self.descriptor = _open(path)
        status = os.fstat(self.descriptor)
        _require_regular(path, status)
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
        _require_regular(path, os.stat(path))  # before opening: to open a device can already have an effect
        # O_NONBLOCK: should a pipe have taken the file's place since, opening it must not wait for a writer.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        return os.open(path, flags)
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"{path}: no such file") from None
    except PermissionError:
        raise CheckpointError(f"{path}: no permission to read it") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be opened: {error.strerror}") from None
    except ValueError as error:  # a NUL in the name
        raise CheckpointError(f"{path!r}: not a file name: {error}") from None


def _require_regular(path: Path, status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    kind = kinds.get(stat.S_IFMT(status.st_mode), "a device")
    advice = "" if kind == "a folder" else "; save its content to a file first"
    raise CheckpointError(f"{path}: {kind}, not a file{advice}")


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

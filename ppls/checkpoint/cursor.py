"""Reads a file from its beginning to its end through a small window, and passes over what need not be read."""

from __future__ import annotations

from ppls.checkpoint.source import Source
from ppls.errors import CheckpointError

_WINDOW = 32 << 10


class Cursor:
    """A place in a file that only moves forward.

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

    def line(self, most: int) -> bytes:
        """The next bytes up to a line break, at most so many; passes over the break."""
        left = self.source.size - self.position
        end = self.window.find(b"\n", self.at, self.at + most + 1)
        if end < 0:
            self.refill(min(left, most + 1))
            end = self.window.find(b"\n", 0, most + 1)
        if end < 0:
            raise self.error(f"a name is longer than {most} characters" if left > most else "truncated within a name")
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

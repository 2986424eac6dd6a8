"""The opcodes of a pickle one after the other, with its memo and its frames, for the check of the plain form.

Nothing is built. What a value is comes from the grammar that asks for it; only what may be recalled is kept.
"""

from __future__ import annotations

import codecs
import hashlib
from typing import Any, BinaryIO, Literal, NoReturn

FEW = 8  # bytes of data that are kept: a pickler stores single bytes once, and recalls them
_LONGEST_NAME = 4096  # bytes: 1024 characters
_BLOCK = 1 << 20
_PROTO, _FRAME, _MEMOIZE = b"\x80", b"\x95", b"\x94"

# opcodes, and of how many bytes the number is that follows
Numbered = dict[bytes, int]
_PUTS: Numbered = {b"q": 1, b"r": 4}
GETS: Numbered = {b"h": 1, b"j": 4}

Kind = Literal["name", "global", "dtype", "data"]


class NotPlainError(Exception):
    """A file is not of the plain form; the message says where it leaves it."""


class Opcodes:
    """A pickle, read from its beginning to its end.

    Attributes:
        protocol: 2, 3 or 4.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._position = 0
        self._frame_end: int | None = None
        self._memo: list[tuple[Kind, Any] | None] = []  # None: what is never recalled
        self._opcode = b""  # the next one, once it was looked at
        self._recalled: tuple[Kind, Any] | None = None  # and what it recalls
        self.protocol = 0
        if self.read(1) != _PROTO or (protocol := self.read(1)[0]) not in (2, 3, 4):
            self.refuse("another protocol")
        self.protocol = protocol

    def stop(self) -> str:
        """The SHA-256, in hex, of all that was read, where the pickle and the file end here."""
        self.expect(b".")
        if self._frame_end not in (None, self._position) or self._file.read(1):
            self.refuse("more after its end")
        return self._digest.hexdigest()

    def next(self) -> bytes:
        """The opcode that comes next, which stays there."""
        if not self._opcode:
            if self._frame_end == self._position:
                self._frame_end = None
            opcode = self.read(1)
            if opcode == _FRAME and self.protocol == 4 and self._frame_end is None:
                nbytes = int.from_bytes(self.read(8), "little")
                self._frame_end = self._position + nbytes
                opcode = self.read(1)
            self._opcode = opcode
            if opcode in GETS:
                slot = int.from_bytes(self.read(GETS[opcode]), "little")
                self._recalled = self._memo[slot] if slot < len(self._memo) else None
        return self._opcode

    def take(self) -> bytes:
        """The opcode that comes next."""
        opcode, self._opcode = self.next(), b""
        return opcode

    def expect(self, *opcodes: bytes) -> None:
        """Takes these opcodes, which must come next."""
        for opcode in opcodes:
            if (found := self.take()) != opcode:
                self.refuse(f"opcode 0x{found.hex()}")

    def number(self, opcodes: Numbered, least: int, most: int) -> int:
        """The number, within bounds, that follows one of these opcodes."""
        nbytes = opcodes.get(opcode := self.take())
        if nbytes is None:
            self.refuse(f"opcode 0x{opcode.hex()}")
        number = int.from_bytes(self.read(nbytes), "little")
        if not least <= number <= most:
            self.refuse("a value out of sequence" if opcodes is _PUTS else "another size")
        return number

    def store(self, kind: Kind | None = None, value: Any = None) -> None:
        """Keeps what has just been read where the file stores it, which it may do once, in the slot after the last."""
        if self.next() == _MEMOIZE and self.protocol == 4:
            self.take()
        elif self.next() in _PUTS and self.protocol < 4:
            self.number(_PUTS, len(self._memo), len(self._memo))
        else:
            return
        self._memo.append(kind and (kind, value))

    def recall(self, kind: Kind) -> Any:
        """The value of that kind that comes from the memo next, if one does."""
        if self.next() not in GETS or self._recalled is None or self._recalled[0] != kind:
            return None
        self.take()
        return self._recalled[1]

    def line(self) -> str:
        """Text up to a line break."""
        line = b""
        while (byte := self.read(1)) != b"\n" and len(line) <= _LONGEST_NAME:
            line += byte
        return self._text(line)

    def name(self, opcodes: Numbered) -> str:
        """Short text, its length behind one of these opcodes."""
        return self._text(self.read(self.number(opcodes, 0, _LONGEST_NAME)))

    def data(self, opcodes: Numbered, nbytes: int) -> bytes:
        """So many bytes, their number behind one of these opcodes; which, if they are few."""
        self.number(opcodes, nbytes, nbytes)
        if nbytes <= FEW:
            return self.read(nbytes)
        while nbytes:
            nbytes -= len(self.read(min(nbytes, _BLOCK)))
        return b""

    def latin1(self, opcodes: Numbered, count: int) -> bytes:
        """So many characters of latin-1 as bytes, their number in UTF-8 behind one of these opcodes; which, if few."""
        left = self.number(opcodes, count, 2 * count)
        decoder = codecs.getincrementaldecoder("utf-8")()
        data, found = b"", 0
        try:
            while left:
                block = self.read(min(left, _BLOCK))
                left -= len(block)
                data = decoder.decode(block, final=not left).encode("latin-1")
                found += len(data)
        except UnicodeError:
            self.refuse("broken text")
        if found != count:
            self.refuse("other data")
        return data if count <= FEW else b""

    def read(self, nbytes: int) -> bytes:
        """So many bytes, which are few."""
        data = self._file.read(nbytes)
        self._digest.update(data)
        self._position += nbytes
        if len(data) < nbytes:
            self.refuse("its end")
        if self._frame_end is not None and self._position > self._frame_end:
            self.refuse("the end of a frame")
        return data

    def refuse(self, what: str) -> NoReturn:
        """Raises the error that says what is found here."""
        raise NotPlainError(f"at byte {self._position:,}: {what}")

    def _text(self, raw: bytes) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            self.refuse("broken text")

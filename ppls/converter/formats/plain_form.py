"""The plain form of a state dict, as `paddle.save` writes it: what Paddle may load of a file that somebody else made.

A check of its own, which shares nothing with the pickle machine, so that a fault of the one is not one of the other. It
has no stack and makes no values: it reads the opcodes from the first to the last as a grammar reads a sentence.

    file        PROTO dictionary STOP
    dictionary  EMPTY_DICT, then pairs of a name and an array; under `StructuredToParameterName@@` pairs of names
    array       _reconstruct(ndarray, (0,), b'b'), BUILD (1, shape, dtype, whether in Fortran's order, data)
    dtype       dtype(code, False, True), BUILD (3, order, None, None, None, -1, -1, 0)
    data        bytes; in protocol 2 _codecs.encode(text, 'latin1'), or bytes() where there are none

What is not in the grammar is refused: any other global, call, opcode or order of opcodes, a value that is stored out of
sequence or recalled as something else, a frame that does not end with an opcode, a byte after the last. The rest means
one thing to every reader.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple, NoReturn

NAME_TABLE = "StructuredToParameterName@@"

_CODES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1", "c8", "c16")
_RECONSTRUCT = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")
_MOST_SIDES = 32
_LONGEST_NAME = 1024  # bytes
_FEW = 8  # bytes of data that are kept: a pickler stores single bytes once, and recalls them
_BLOCK = 1 << 20

_PROTO, _FRAME, _MARK, _MEMOIZE, _LONG1 = b"\x80", b"\x95", b"(", b"\x94", b"\x8a"
_NONE, _TRUE, _FALSE, _REDUCE, _BUILD, _TUPLE = b"N", b"\x88", b"\x89", b"R", b"b", b"t"
_TUPLES = {1: b"\x85", 2: b"\x86", 3: b"\x87"}
# opcodes, and of how many bytes the number is that follows
_INTEGERS = {b"K": 1, b"M": 2, b"J": 4}
_TEXTS = {b"X": 4, b"\x8c": 1}
_STRINGS = {b"U": 1, b"T": 4}  # Python 2
_BYTES = {b"C": 1, b"B": 4, b"\x8e": 8}
_PUTS = {b"q": 1, b"r": 4}
_GETS = {b"h": 1, b"j": 4}


class NotPlainError(Exception):
    """A file is not of the plain form; the message says where it leaves it."""


class _Stored(NamedTuple):
    """A value that may be recalled: its kind (`name`, `global`, `dtype`, `data`), and which it is."""

    kind: str
    value: Any


def check_plain_form(path: str | os.PathLike[str]) -> str:
    """The SHA-256, in hex, of the very bytes that were found to be of the plain form.

    Raises:
        NotPlainError: they are not, or cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return _Check(file).run()
    except OSError as error:
        raise NotPlainError(f"it cannot be read: {error.strerror}") from None


class _Check:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._position = 0
        self._protocol = 0
        self._frame_end: int | None = None
        self._memo: list[_Stored | None] = []  # None: what is never recalled
        self._opcode = b""  # the next one, once it was looked at
        self._recalled: _Stored | None = None  # and what it recalls

    def run(self) -> str:
        if self._read(1) != _PROTO or (protocol := self._read(1)[0]) not in (2, 3, 4):
            self._refuse("another protocol")
        self._protocol = protocol
        self._state_dict()
        self._expect(b".")
        if self._frame_end not in (None, self._position) or self._file.read(1):
            self._refuse("more after its end")
        return self._digest.hexdigest()

    # The grammar

    def _state_dict(self) -> None:
        names: set[str] = set()
        table: set[str] = set()
        for name in self._dictionary(names):
            if name == NAME_TABLE:
                for _ in self._dictionary(table):
                    self._name()
            elif name.endswith("@@"):
                self._refuse("a name that has a meaning of its own")
            else:
                self._array()
        if not table <= names - {NAME_TABLE}:
            self._refuse("a table of other names")

    def _dictionary(self, names: set[str]) -> Iterator[str]:
        """The names in it, one by one, which are added to `names`; whoever asks for the next has read the value."""
        self._expect(b"}")
        self._store(None)
        if self._next() in (*_TEXTS, *_STRINGS, *_GETS):  # the only one
            yield self._new_name(names)
            self._expect(b"s")
        while self._next() == _MARK:
            self._take()
            while self._next() != b"u":
                yield self._new_name(names)
            self._take()

    def _new_name(self, names: set[str]) -> str:
        name = self._name()
        if name in names:
            self._refuse("a name that stands twice")
        names.add(name)
        return name

    def _array(self) -> None:
        self._global(*_RECONSTRUCT)
        self._global("numpy ndarray")
        self._integer(0)
        self._tuple(_TUPLES[1])
        if self._data(1) != b"b":
            self._refuse("another letter")
        self._tuple(_TUPLES[3])
        self._expect(_REDUCE)
        self._store(None)
        self._expect(_MARK)
        self._integer(1)
        elements = math.prod(self._shape())
        itemsize = int(self._dtype()[1:])
        self._expect(_TRUE if self._next() == _TRUE else _FALSE)
        self._data(elements * itemsize)
        self._tuple(_TUPLE)
        self._expect(_BUILD)

    def _shape(self) -> list[int]:
        if self._next() == b")":
            self._take()
            return []
        sides: list[int] = []
        if marked := self._next() == _MARK:
            self._take()
        while self._next() in (*_INTEGERS, _LONG1) and len(sides) < _MOST_SIDES:
            sides.append(self._integer())
        if min(sides, default=0) < 0:
            self._refuse("a shape that no tensor has")
        self._tuple(_TUPLE if marked else _TUPLES.get(len(sides), _TUPLE))
        return sides

    def _dtype(self) -> str:
        if known := self._recall("dtype"):
            return str(known)
        self._global("numpy dtype")
        code = self._name()
        if code not in _CODES:
            self._refuse("another type than a tensor's")
        if self._next() in _INTEGERS:  # Python 2
            self._integer(0)
            self._integer(1)
        else:
            self._expect(_FALSE)
            self._expect(_TRUE)
        self._tuple(_TUPLES[3])
        self._expect(_REDUCE)
        self._store(_Stored("dtype", code))
        self._expect(_MARK)
        self._integer(3)
        if self._name() != ("|" if code[1:] == "1" else "<"):
            self._refuse("another order of bytes")
        for _ in range(3):
            self._expect(_NONE)
        for value in (-1, -1, 0):
            self._integer(value)
        self._tuple(_TUPLE)
        self._expect(_BUILD)
        return code

    def _data(self, nbytes: int) -> bytes:
        """So many bytes of data; which, if they are few."""
        value: bytes | None = self._recall("data")
        if value is not None:
            if len(value) != nbytes:
                self._refuse("other data")
            return value
        if self._protocol == 2 and self._next() not in _STRINGS and not nbytes:
            self._global("__builtin__ bytes")
            self._expect(b")")
            self._expect(_REDUCE)
            value = b""
        elif self._protocol == 2 and self._next() not in _STRINGS:
            self._global("_codecs encode")
            value = self._characters(nbytes).encode("latin-1", "replace")
            if self._name() != "latin1":
                self._refuse("another encoding")
            self._tuple(_TUPLES[2])
            self._expect(_REDUCE)
        else:
            value = self._content(self._number(_STRINGS if self._protocol == 2 else _BYTES, nbytes, nbytes))
        self._store(_Stored("data", value) if nbytes <= _FEW else None)
        return value

    def _characters(self, count: int) -> str:
        """Text of so many characters, each of one byte or two; which, if they are few."""
        known: str | None = self._recall("name")
        if known is None:
            known = self._decoded(self._content(self._number({b"X": 4}, count, 2 * count)))
            self._store(_Stored("name", known) if count <= _FEW // 2 else None)
        elif len(known) != count:
            self._refuse("other data")
        return known

    def _name(self) -> str:
        known: str | None = self._recall("name")
        if known is None:
            kinds = _STRINGS if self._protocol == 2 and self._next() in _STRINGS else _TEXTS
            known = self._decoded(self._read(self._number(kinds, 0, _LONGEST_NAME)))
            self._store(_Stored("name", known))
        return known

    def _global(self, *allowed: str) -> None:
        known: str | None = self._recall("global")
        if known is None:
            if self._protocol < 4:
                self._expect(b"c")
                known = f"{self._line()} {self._line()}"
            else:
                known = f"{self._name()} {self._name()}"
                self._expect(b"\x93")
            self._store(_Stored("global", known))
        if known not in allowed:
            self._refuse(f"another global than {allowed[0]}")

    def _integer(self, wanted: int | None = None) -> int:
        nbytes = _INTEGERS.get(opcode := self._take())
        if opcode == _LONG1:
            nbytes = self._read(1)[0]
        if nbytes is None or nbytes > 8:
            self._refuse("no integer")
        value = int.from_bytes(self._read(nbytes), "little", signed=opcode in (b"J", _LONG1))
        if wanted not in (None, value):
            self._refuse(f"another number than {wanted}")
        return value

    def _tuple(self, opcode: bytes) -> None:
        self._expect(opcode)
        self._store(None)

    # The memo

    def _store(self, value: _Stored | None) -> None:
        """Keeps a value where the file stores it, which it may do once, in the slot after the last."""
        if self._next() == _MEMOIZE and self._protocol == 4:
            self._take()
        elif self._next() in _PUTS and self._protocol < 4:
            self._number(_PUTS, len(self._memo), len(self._memo))
        else:
            return
        self._memo.append(value)

    def _recall(self, kind: str) -> Any:
        """The value of that kind that comes from the memo next, if one does."""
        if self._next() not in _GETS or self._recalled is None or self._recalled.kind != kind:
            return None
        self._take()
        return self._recalled.value

    # Opcodes and bytes

    def _next(self) -> bytes:
        """The opcode that comes next, and in `_recalled` what it recalls."""
        if not self._opcode:
            if self._frame_end == self._position:
                self._frame_end = None
            opcode = self._read(1)
            if opcode == _FRAME and self._protocol == 4 and self._frame_end is None:
                nbytes = int.from_bytes(self._read(8), "little")
                self._frame_end = self._position + nbytes
                opcode = self._read(1)
            self._opcode = opcode
            if opcode in _GETS:
                slot = int.from_bytes(self._read(_GETS[opcode]), "little")
                self._recalled = self._memo[slot] if slot < len(self._memo) else None
        return self._opcode

    def _take(self) -> bytes:
        opcode, self._opcode = self._next(), b""
        return opcode

    def _expect(self, opcode: bytes) -> None:
        if (found := self._take()) != opcode:
            self._refuse(f"opcode 0x{found.hex()}")

    def _number(self, opcodes: dict[bytes, int], least: int, most: int) -> int:
        """The number, within bounds, that follows one of these opcodes."""
        nbytes = opcodes.get(opcode := self._take())
        if nbytes is None:
            self._refuse(f"opcode 0x{opcode.hex()}")
        number = int.from_bytes(self._read(nbytes), "little")
        if not least <= number <= most:
            self._refuse("a value out of sequence" if opcodes is _PUTS else "another size")
        return number

    def _line(self) -> str:
        line = b""
        while (byte := self._read(1)) != b"\n" and len(line) <= _LONGEST_NAME:
            line += byte
        return self._decoded(line)

    def _decoded(self, raw: bytes) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            self._refuse("broken text")

    def _content(self, nbytes: int) -> bytes:
        """Bytes that are passed over, unless they are few."""
        if nbytes <= _FEW:
            return self._read(nbytes)
        while nbytes:
            nbytes -= len(self._read(min(nbytes, _BLOCK)))
        return b""

    def _read(self, nbytes: int) -> bytes:
        data = self._file.read(nbytes)
        self._digest.update(data)
        self._position += nbytes
        if len(data) < nbytes:
            self._refuse("its end")
        if self._frame_end is not None and self._position > self._frame_end:
            self._refuse("the end of a frame")
        return data

    def _refuse(self, what: str) -> NoReturn:
        raise NotPlainError(f"at byte {self._position:,}: {what}")

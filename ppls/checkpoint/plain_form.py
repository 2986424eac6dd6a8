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

import math
import os
from collections.abc import Iterator

from ppls.checkpoint.plain_opcodes import FEW, GETS, NotPlainError, Numbered, Opcodes

NAME_TABLE = "StructuredToParameterName@@"

_CODES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1", "c8", "c16")
_RECONSTRUCT = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")
_MOST_SIDES, _MOST_ELEMENTS = 32, 1 << 48

_MARK, _NONE, _TRUE, _FALSE, _REDUCE, _BUILD = b"(", b"N", b"\x88", b"\x89", b"R", b"b"
_TUPLE, _TUPLES = b"t", {1: b"\x85", 2: b"\x86", 3: b"\x87"}
_LONG1 = b"\x8a"
_INTEGERS: Numbered = {b"K": 1, b"M": 2, b"J": 4}
_TEXTS: Numbered = {b"X": 4, b"\x8c": 1}
_STRINGS: Numbered = {b"U": 1, b"T": 4}  # Python 2
_BYTES: Numbered = {b"C": 1, b"B": 4, b"\x8e": 8}


def check_plain_form(path: str | os.PathLike[str]) -> str:
    """The SHA-256, in hex, of the very bytes that were found to be of the plain form.

    Raises:
        NotPlainError: they are not, or cannot be read.
    """
    try:
        with open(path, "rb") as file:
            opcodes = Opcodes(file)
            _Grammar(opcodes).state_dict()
            return opcodes.stop()
    except OSError as error:
        raise NotPlainError(f"it cannot be read: {error.strerror}") from None


class _Grammar:
    def __init__(self, opcodes: Opcodes) -> None:
        self._opcodes = opcodes

    def state_dict(self) -> None:
        names: set[str] = set()
        table: set[str] = set()
        for name in self._dictionary(names):
            if name == NAME_TABLE:
                for _ in self._dictionary(table):
                    self._name()
            elif name.endswith("@@"):
                self._opcodes.refuse("a name that has a meaning of its own")
            else:
                self._array()
        if not table <= names - {NAME_TABLE}:
            self._opcodes.refuse("a table of other names")

    def _dictionary(self, names: set[str]) -> Iterator[str]:
        """The names in it, one by one, which are added to `names`; whoever asks for the next has read the value."""
        opcodes = self._opcodes
        opcodes.expect(b"}")
        opcodes.store()
        if opcodes.next() in (*_TEXTS, *_STRINGS, *GETS):  # the only one
            yield self._new_name(names)
            opcodes.expect(b"s")
        while opcodes.next() == _MARK:
            opcodes.take()
            while opcodes.next() != b"u":
                yield self._new_name(names)
            opcodes.take()

    def _new_name(self, names: set[str]) -> str:
        name = self._name()
        if name in names:
            self._opcodes.refuse("a name that stands twice")
        names.add(name)
        return name

    def _array(self) -> None:
        opcodes = self._opcodes
        self._global(*_RECONSTRUCT)
        self._global("numpy ndarray")
        self._integer(0)
        self._tuple(_TUPLES[1])
        if self._data(1) != b"b":
            opcodes.refuse("another letter")
        self._tuple(_TUPLES[3])
        opcodes.expect(_REDUCE)
        opcodes.store()
        opcodes.expect(_MARK)
        self._integer(1)
        elements = math.prod(self._shape())
        itemsize = int(self._dtype()[1:])
        opcodes.expect(_TRUE if opcodes.next() == _TRUE else _FALSE)
        self._data(elements * itemsize)
        self._tuple(_TUPLE)
        opcodes.expect(_BUILD)

    def _shape(self) -> list[int]:
        opcodes = self._opcodes
        if opcodes.next() == b")":
            opcodes.take()
            return []
        sides: list[int] = []
        if marked := opcodes.next() == _MARK:
            opcodes.take()
        while opcodes.next() in (*_INTEGERS, _LONG1) and len(sides) < _MOST_SIDES:
            sides.append(self._integer())
        possible = min(sides, default=0) >= 0 and math.prod(side or 1 for side in sides) <= _MOST_ELEMENTS
        if not possible or not (marked or len(sides) in _TUPLES):
            opcodes.refuse("a shape that no tensor has")
        self._tuple(_TUPLE if marked else _TUPLES[len(sides)])
        return sides

    def _dtype(self) -> str:
        opcodes = self._opcodes
        if known := opcodes.recall("dtype"):
            return str(known)
        self._global("numpy dtype")
        code = self._name()
        if code not in _CODES:
            opcodes.refuse("another type than a tensor's")
        if opcodes.next() in _INTEGERS:  # Python 2
            self._integer(0)
            self._integer(1)
        else:
            opcodes.expect(_FALSE, _TRUE)
        self._tuple(_TUPLES[3])
        opcodes.expect(_REDUCE)
        opcodes.store("dtype", code)
        opcodes.expect(_MARK)
        self._integer(3)
        if self._name() != ("|" if code[1:] == "1" else "<"):
            opcodes.refuse("another order of bytes")
        opcodes.expect(_NONE, _NONE, _NONE)
        for value in (-1, -1, 0):
            self._integer(value)
        self._tuple(_TUPLE)
        opcodes.expect(_BUILD)
        return code

    def _data(self, nbytes: int) -> bytes:
        """So many bytes of data; which, if they are few."""
        opcodes = self._opcodes
        value: bytes | None = opcodes.recall("data")
        if value is not None:
            if len(value) != nbytes:
                opcodes.refuse("other data")
            return value
        if opcodes.protocol > 2:
            value = opcodes.data(_BYTES, nbytes)
        elif opcodes.next() in _STRINGS:
            value = opcodes.data(_STRINGS, nbytes)
        else:
            value = self._encoded(nbytes)
        opcodes.store("data" if nbytes <= FEW else None, value)
        return value

    def _encoded(self, nbytes: int) -> bytes:
        """Data in protocol 2 from Python 3."""
        opcodes = self._opcodes
        if not nbytes:
            self._global("__builtin__ bytes")
            opcodes.expect(b")", _REDUCE)
            return b""
        self._global("_codecs encode")
        character: str | None = opcodes.recall("name")  # a single one may stand for a name too
        if character is None:
            value = opcodes.latin1({b"X": 4}, nbytes)
            opcodes.store("name" if nbytes <= FEW else None, value.decode("latin-1"))
        elif len(character) == nbytes == 1 and ord(character) < 256:
            value = character.encode("latin-1")
        else:
            opcodes.refuse("other data")
        if self._name() != "latin1":
            opcodes.refuse("another encoding")
        self._tuple(_TUPLES[2])
        opcodes.expect(_REDUCE)
        return value

    def _name(self) -> str:
        opcodes = self._opcodes
        known: str | None = opcodes.recall("name")
        if known is None:
            python2 = opcodes.protocol == 2 and opcodes.next() in _STRINGS
            known = opcodes.name(_STRINGS if python2 else _TEXTS)
            if python2 and not known.isascii():
                opcodes.refuse("broken text")
            opcodes.store("name", known)
        return known

    def _global(self, *allowed: str) -> None:
        opcodes = self._opcodes
        known: str | None = opcodes.recall("global")
        if known is None:
            if opcodes.protocol < 4:
                opcodes.expect(b"c")
                known = f"{opcodes.line()} {opcodes.line()}"
            else:
                known = f"{self._name()} {self._name()}"
                opcodes.expect(b"\x93")
            opcodes.store("global", known)
        if known not in allowed:
            opcodes.refuse(f"another global than {allowed[0]}")

    def _integer(self, wanted: int | None = None) -> int:
        opcodes = self._opcodes
        opcode = opcodes.take()
        nbytes = opcodes.read(1)[0] if opcode == _LONG1 else _INTEGERS.get(opcode)
        if nbytes is None or nbytes > 8:
            opcodes.refuse("no integer")
        value = int.from_bytes(opcodes.read(nbytes), "little", signed=opcode in (b"J", _LONG1))
        if wanted not in (None, value):
            opcodes.refuse(f"another number than {wanted}")
        return value

    def _tuple(self, opcode: bytes) -> None:
        self._opcodes.expect(opcode)
        self._opcodes.store()

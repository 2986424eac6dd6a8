"""A bounded reader of the pickle opcodes that Paddle writes. Python's own unpickler is no base for one.

A nine-byte file can make it allocate 2 GB (`LONG_BINPUT`) before an allow-list of globals is ever asked. This machine
knows only the opcodes that occur in files of Paddle 1.8 to 3.3 (protocols 2 to 4), resolves no global, calls nothing,
leaves every large payload in the file, and counts what it creates.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from ppls.converter.formats import pickle_calls
from ppls.converter.formats.cursor import Cursor
from ppls.converter.formats.pickle_values import ALLOWED, Blob, Coding, Forbidden, Members, Pairs
from ppls.converter.formats.source import Source
from ppls.errors import CheckpointError

# A tensor takes 27 to 48 opcodes and 8 to 15 objects: room for more than 130,000 of them.
_MAX_OPCODES = 8_000_000
_MAX_OBJECTS = 2_000_000
_MAX_MARKS = 64  # Paddle's files nest dictionaries, tuples and arrays: a mark each, a handful of levels
_SHORT_TEXT = 255  # longer text stays in the file: it is a payload of protocol 2, or of no interest
_MAX_GLOBAL = 512  # characters of a global's name that messages repeat


class Pickled(NamedTuple):
    """The first pickle of a file: its value, made of `pickle_values`; where it ends; how many opcodes made it."""

    value: Any
    end: int
    opcodes: int


def read_pickle(source: Source) -> Pickled:
    """Runs the first pickle of a file.

    Raises:
        CheckpointError: the pickle is damaged, does what Paddle's never do, or exceeds a limit.
    """
    machine = _Machine(source)
    try:
        value = machine.run()
    except CheckpointError:
        # Whatever else is wrong with it: what the user must know is that the file wanted to run something.
        machine.refuse_forbidden()
        raise
    machine.refuse_forbidden()
    return Pickled(value, machine.position, machine.opcodes)


class _Machine(Cursor):
    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: list[Any] = []
        self.opcodes = 0
        self._objects = 0
        self._forbidden = ""

    def run(self) -> Any:
        handlers = [_HANDLERS.get(code) for code in range(256)]
        for opcodes in range(1, _MAX_OPCODES + 1):
            at = self.at
            if at >= len(self.window):
                self.refill(1)
                at = 0
            code = self.window[at]
            self.at = at + 1
            handler = handlers[code]
            if handler is not None:
                try:
                    handler(self)
                except IndexError:  # a pop from the empty stack
                    raise self.error("the pickle takes a value that is not there") from None
            elif code == _STOP:
                if len(self._stack) != 1 or self._marks:
                    raise self.error("the pickle stops in the middle of a value")
                self.opcodes = opcodes
                return self._stack.pop()
            else:
                self._refuse_opcode(code)
        raise self.error(f"more than {_MAX_OPCODES:,} pickle opcodes: no weight file needs that many")

    def refuse_forbidden(self) -> None:
        if self._forbidden:
            raise pickle_calls.hostile(self.source, self._forbidden)

    # Reading

    def _push_blob(self, nbytes: int, coding: Coding) -> None:
        """Bytes that stay in the file."""
        self._push_new(Blob(self.skip(nbytes), nbytes, coding))

    def _text(self, raw: bytes) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self.error(f"broken text before byte {self.position:,}") from None

    def _line(self) -> str:
        """A line of a GLOBAL opcode."""
        line = bytearray()
        while (byte := self.take(1)) != b"\n":
            line += byte
            if len(line) > _MAX_GLOBAL:
                raise self.error(f"a global's name is longer than {_MAX_GLOBAL} characters")
        return self._text(bytes(line))

    # Building

    def _push_new(self, value: Any) -> None:
        self._objects += 1
        if self._objects > _MAX_OBJECTS:
            raise self.error(f"more than {_MAX_OBJECTS:,} objects: no weight file needs that many")
        self._stack.append(value)

    def _pop_mark(self) -> list[Any]:
        if not self._marks:
            raise self.error("the pickle closes a group that it never opened")
        items = self._stack
        self._stack = self._marks.pop()
        return items

    def _top(self, kind: type) -> Any:
        top = self._stack[-1]
        if type(top) is not kind:
            raise self.error(f"the pickle at byte {self.position:,} fills {pickle_calls.shown(top)} as a container")
        return top

    def _refuse_opcode(self, code: int) -> NoReturn:
        import pickletools  # slow to import, and only the message needs it

        names = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}
        name = names.get(code, "no opcode at all")
        raise self.error(f"opcode {name} (0x{code:02x}) at byte {self.position - 1:,}, which Paddle never writes")

    # The opcodes, in the order of the pickle format's documentation

    def _proto(self) -> None:
        if self.position != 1 or self.take(1)[0] not in (2, 3, 4):
            raise self.error(f"a pickle protocol at byte {self.position:,} that Paddle never writes")

    def _frame(self) -> None:
        (nbytes,) = struct.unpack("<Q", self.take(8))
        if nbytes > self.source.size - self.position:
            raise self.error(f"truncated: a frame of {nbytes:,} bytes goes beyond the end of the file")

    def _mark(self) -> None:
        if len(self._marks) >= _MAX_MARKS:
            raise self.error(f"more than {_MAX_MARKS} groups are open at byte {self.position:,}")
        self._marks.append(self._stack)
        self._stack = []

    def _none(self) -> None:
        self._stack.append(None)

    def _newtrue(self) -> None:
        self._stack.append(True)

    def _newfalse(self) -> None:
        self._stack.append(False)

    def _binint(self) -> None:
        self._stack.append(int.from_bytes(self.take(4), "little", signed=True))

    def _binint1(self) -> None:
        self._stack.append(self.take(1)[0])

    def _binint2(self) -> None:
        self._stack.append(int.from_bytes(self.take(2), "little"))

    def _long1(self) -> None:  # integers beyond 32 bits
        nbytes = self.take(1)[0]
        if nbytes > 9:
            raise self.error(f"an integer of {nbytes} bytes at byte {self.position:,}")
        self._push_new(int.from_bytes(self.take(nbytes), "little", signed=True))

    def _binfloat(self) -> None:
        self._push_new(struct.unpack(">d", self.take(8))[0])

    def _short_binunicode(self) -> None:
        self._push_new(self._text(self.take(self.take(1)[0])))

    def _binunicode(self) -> None:
        self._unicode(int.from_bytes(self.take(4), "little"))

    def _binunicode8(self) -> None:
        self._unicode(int.from_bytes(self.take(8), "little"))

    def _unicode(self, nbytes: int) -> None:
        if nbytes > _SHORT_TEXT:
            self._push_blob(nbytes, Coding.TEXT)
        else:
            self._push_new(self._text(self.take(nbytes)))

    def _short_binstring(self) -> None:
        self._push_blob(self.take(1)[0], Coding.STRING)

    def _binstring(self) -> None:
        self._push_blob(int.from_bytes(self.take(4), "little", signed=True), Coding.STRING)

    def _short_binbytes(self) -> None:
        self._push_blob(self.take(1)[0], Coding.RAW)

    def _binbytes(self) -> None:
        self._push_blob(int.from_bytes(self.take(4), "little"), Coding.RAW)

    def _binbytes8(self) -> None:
        self._push_blob(int.from_bytes(self.take(8), "little"), Coding.RAW)

    def _empty_tuple(self) -> None:
        self._stack.append(())

    def _tuple1(self) -> None:
        self._push_new((self._stack.pop(),))

    def _tuple2(self) -> None:
        last = self._stack.pop()
        self._push_new((self._stack.pop(), last))

    def _tuple3(self) -> None:
        last, middle = self._stack.pop(), self._stack.pop()
        self._push_new((self._stack.pop(), middle, last))

    def _tuple(self) -> None:
        items = self._pop_mark()
        self._push_new(tuple(items))

    def _empty_list(self) -> None:
        self._push_new([])

    def _append(self) -> None:
        item = self._stack.pop()
        self._top(list).append(item)

    def _appends(self) -> None:
        items = self._pop_mark()
        self._top(list).extend(items)

    def _empty_dict(self) -> None:
        self._push_new(Pairs())

    def _setitem(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._top(Pairs).items.append((key, value))

    def _setitems(self) -> None:
        items = self._pop_mark()
        if len(items) % 2:
            raise self.error(f"a key without a value at byte {self.position:,}")
        self._top(Pairs).items.extend(zip(items[::2], items[1::2], strict=True))

    def _empty_set(self) -> None:
        self._push_new(Members())

    def _additems(self) -> None:
        items = self._pop_mark()
        self._top(Members).extend(items)

    def _memoize(self) -> None:
        self._memo.append(self._stack[-1])

    def _binput(self) -> None:
        self._store(self.take(1)[0])

    def _long_binput(self) -> None:
        self._store(int.from_bytes(self.take(4), "little"))

    def _store(self, index: int) -> None:
        """Picklers number the values that they may need again in sequence."""
        if index > len(self._memo) + 1:  # Python 2's C pickler begins with 1
            raise self.error(f"the pickle at byte {self.position:,} stores value {index:,} after {len(self._memo):,}")
        while index >= len(self._memo):
            self._memo.append(None)
        self._memo[index] = self._stack[-1]

    def _binget(self) -> None:
        self._recall(self.take(1)[0])

    def _long_binget(self) -> None:
        self._recall(int.from_bytes(self.take(4), "little"))

    def _recall(self, index: int) -> None:
        if index >= len(self._memo):
            raise self.error(f"the pickle at byte {self.position:,} recalls a value that it never stored")
        self._stack.append(self._memo[index])

    def _global(self) -> None:
        self._find(self._line(), self._line())

    def _stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise self.error(f"a global at byte {self.position:,} whose name is not text")
        self._find(module, name)

    def _find(self, module: str, name: str) -> None:
        known = ALLOWED.get((module, name))
        if known is None:
            full_name = ascii(f"{module}.{name}"[:_MAX_GLOBAL])[1:-1]
            self._forbidden = self._forbidden or full_name
            self._push_new(Forbidden(full_name))
        else:
            self._stack.append(known)

    def _reduce(self) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if isinstance(function, Forbidden):
            self._forbidden = f"{function.name}{pickle_calls.shown(arguments)}"
            self.refuse_forbidden()
        self._push_new(pickle_calls.call(self.source, function, arguments))

    def _build(self) -> None:
        state = self._stack.pop()
        pickle_calls.set_state(self.source, self._stack[-1], state)


_STOP = ord(".")
_HANDLERS: dict[int, Callable[[_Machine], None]] = {
    0x80: _Machine._proto,
    0x95: _Machine._frame,
    ord("("): _Machine._mark,
    ord("N"): _Machine._none,
    0x88: _Machine._newtrue,
    0x89: _Machine._newfalse,
    ord("J"): _Machine._binint,
    ord("K"): _Machine._binint1,
    ord("M"): _Machine._binint2,
    0x8A: _Machine._long1,
    ord("G"): _Machine._binfloat,
    0x8C: _Machine._short_binunicode,
    ord("X"): _Machine._binunicode,
    0x8D: _Machine._binunicode8,
    ord("U"): _Machine._short_binstring,
    ord("T"): _Machine._binstring,
    ord("C"): _Machine._short_binbytes,
    ord("B"): _Machine._binbytes,
    0x8E: _Machine._binbytes8,
    ord(")"): _Machine._empty_tuple,
    0x85: _Machine._tuple1,
    0x86: _Machine._tuple2,
    0x87: _Machine._tuple3,
    ord("t"): _Machine._tuple,
    ord("]"): _Machine._empty_list,
    ord("a"): _Machine._append,
    ord("e"): _Machine._appends,
    ord("}"): _Machine._empty_dict,
    ord("s"): _Machine._setitem,
    ord("u"): _Machine._setitems,
    0x8F: _Machine._empty_set,
    0x90: _Machine._additems,
    0x94: _Machine._memoize,
    ord("q"): _Machine._binput,
    ord("r"): _Machine._long_binput,
    ord("h"): _Machine._binget,
    ord("j"): _Machine._long_binget,
    ord("c"): _Machine._global,
    0x93: _Machine._stack_global,
    ord("R"): _Machine._reduce,
    ord("b"): _Machine._build,
}

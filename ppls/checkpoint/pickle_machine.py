"""A bounded reader of the pickle opcodes that Paddle writes. Python's own unpickler is no base for one.

A nine-byte file can make it allocate 2 GB (`LONG_BINPUT`) before an allow-list of globals is ever asked. This machine
knows only the opcodes that occur in files of Paddle 1.8 to 3.3 (protocols 2 to 4), resolves no global, calls nothing,
leaves every large payload in the file, and counts what it does.

A pickle that it accepts means to CPython's unpicklers, the one in C and the one in Python, what it means here: where a
stream leaves room for two meanings (holes in the memo, values stored anew, frames that end within an opcode), it is
refused. `tests/fuzz/differential` compares the three.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from ppls.checkpoint import pickle_calls
from ppls.checkpoint.pickle_values import ALLOWED, Array, Blob, Coding, Forbidden, Members, Pairs
from ppls.checkpoint.source import Cursor, Source
from ppls.errors import CheckpointError

_MAX_MARKS = 64  # Paddle's files nest dictionaries, tuples and arrays: a mark each, a handful of levels
_SHORT_TEXT = 255  # longer text stays in the file: it is a payload of protocol 2, or of no interest
_MAX_GLOBAL = 512  # characters of a global's name that messages repeat


class Pickled(NamedTuple):
    """The first pickle of a file.

    Attributes:
        value: made of `pickle_values`.
        end: where it ends.
        opcodes: how many made it.
        python2: whether Python 2 wrote it.
    """

    value: Any
    end: int
    opcodes: int
    python2: bool


def read_pickle(source: Source) -> Pickled:
    """Runs the first pickle of a file.

    Raises:
        CheckpointError: the pickle is damaged, does what Paddle's never do, or exceeds the file's budget.
    """
    machine = _Machine(source)
    try:
        value = machine.run()
    except CheckpointError:
        # Whatever else is wrong with it: what the user must know is that the file wanted to run something.
        machine.refuse_forbidden()
        raise
    machine.refuse_forbidden()
    machine.check_texts()
    return Pickled(value, machine.position, machine.opcodes, machine.python2)


class _Machine(Cursor):
    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: list[Any] = []
        self._first_slot: int | None = None  # None: values are stored by MEMOIZE, which numbers them from 0
        self._frame_end = 0  # 0: no frame is open
        self._protocol = 0
        self._texts: dict[int, Blob] = {}  # long texts that nobody has decoded yet, by offset
        self._forbidden = ""
        self.opcodes = 0
        self.python2 = False

    def run(self) -> Any:
        handlers = [_HANDLERS.get(code) for code in range(256)]
        budget = self.source.budget
        most = budget.nodes_left
        if self.take(1)[0] != _PROTO:
            raise self.error("the pickle does not begin with its protocol")
        self._proto()
        for opcodes in range(1, most + 1):
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
                budget.take_nodes(opcodes)
                self.opcodes = opcodes
                return self._stop()
            else:
                self._refuse_opcode(code)
            if self._frame_end and self.base + self.at >= self._frame_end:
                self._close_frame()
        budget.take_nodes(most + 1)
        raise AssertionError("a budget that is spent raises")

    def _stop(self) -> Any:
        if self._frame_end:
            self._close_frame()
        if len(self._stack) != 1 or self._marks:
            raise self.error("the pickle stops in the middle of a value")
        return self._stack.pop()

    def refuse_forbidden(self) -> None:
        if self._forbidden:
            raise pickle_calls.hostile(self.source, self._forbidden)

    def check_texts(self) -> None:
        """Decodes what stayed in the file as text, as CPython does, but for the tensors' data, which is still to come.

        Raises:
            CheckpointError: it is no text.
        """
        for blob in self._texts.values():
            pickle_calls.check_text(self.source, blob)

    # Reading

    def _push_blob(self, nbytes: int, coding: Coding) -> None:
        """Bytes that stay in the file."""
        self._stack.append(Blob(self.skip(nbytes), nbytes, coding))

    def _push_text(self, nbytes: int, encoding: str = "utf-8") -> None:
        self.source.budget.take_bytes(nbytes)
        try:
            self._stack.append(self.take(nbytes).decode(encoding))
        except UnicodeDecodeError:
            raise self.error(f"broken text before byte {self.position:,}") from None

    def _line(self) -> str:
        """A line of a GLOBAL opcode."""
        try:
            return self.line(_MAX_GLOBAL).decode("utf-8")
        except UnicodeDecodeError:
            raise self.error(f"broken text before byte {self.position:,}") from None

    # Building

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
        if self.position != 1 or (protocol := self.take(1)[0]) not in (2, 3, 4):
            raise self.error(f"a pickle protocol at byte {self.position:,} that Paddle never writes")
        self._protocol = protocol

    def _frame(self) -> None:
        (nbytes,) = struct.unpack("<Q", self.take(8))
        if nbytes > self.source.size - self.position:
            raise self.error(f"truncated: a frame of {nbytes:,} bytes goes beyond the end of the file")
        if self._frame_end:
            raise self.error(f"a frame within a frame at byte {self.position:,}, which Paddle never writes")
        self._frame_end = self.position + nbytes

    def _close_frame(self) -> None:
        # Of an opcode that goes beyond its frame CPython's unpickler in C reads other bytes; the one in Python refuses.
        if self.position != self._frame_end:
            raise self.error(f"a frame should end at byte {self._frame_end:,}, but not so the opcodes in it")
        self._frame_end = 0

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
        self._stack.append(int.from_bytes(self.take(nbytes), "little", signed=True))

    def _binfloat(self) -> None:
        self._stack.append(struct.unpack(">d", self.take(8))[0])

    def _short_binunicode(self) -> None:
        self._push_text(self.take(1)[0])

    def _binunicode(self) -> None:
        self._unicode(int.from_bytes(self.take(4), "little"))

    def _binunicode8(self) -> None:
        self._unicode(int.from_bytes(self.take(8), "little"))

    def _unicode(self, nbytes: int) -> None:
        if nbytes > _SHORT_TEXT:
            self._push_blob(nbytes, Coding.TEXT)
            self._texts[self._stack[-1].offset] = self._stack[-1]
        else:
            self._push_text(nbytes)

    def _short_binstring(self) -> None:
        self._string(self.take(1)[0])

    def _binstring(self) -> None:
        self._string(int.from_bytes(self.take(4), "little", signed=True))

    def _string(self, nbytes: int) -> None:
        """What Python 2 calls a string: text as paddle.load understands it, with the encoding latin-1."""
        self.python2 = True
        if 0 <= nbytes <= _SHORT_TEXT:
            self._push_text(nbytes, "latin-1")
        else:
            self._push_blob(nbytes, Coding.STRING)

    def _short_binbytes(self) -> None:
        self._push_blob(self.take(1)[0], Coding.RAW)

    def _binbytes(self) -> None:
        self._push_blob(int.from_bytes(self.take(4), "little"), Coding.RAW)

    def _binbytes8(self) -> None:
        self._push_blob(int.from_bytes(self.take(8), "little"), Coding.RAW)

    def _empty_tuple(self) -> None:
        self._stack.append(())

    def _tuple1(self) -> None:
        self._stack.append((self._stack.pop(),))

    def _tuple2(self) -> None:
        last = self._stack.pop()
        self._stack.append((self._stack.pop(), last))

    def _tuple3(self) -> None:
        last, middle = self._stack.pop(), self._stack.pop()
        self._stack.append((self._stack.pop(), middle, last))

    def _tuple(self) -> None:
        items = self._pop_mark()
        self._stack.append(tuple(items))

    def _empty_list(self) -> None:
        self._stack.append([])

    def _append(self) -> None:
        item = self._stack.pop()
        self._top(list).append(item)

    def _appends(self) -> None:
        items = self._pop_mark()
        self._top(list).extend(items)

    def _empty_dict(self) -> None:
        self._stack.append(Pairs())

    def _setitem(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._put(self._top(Pairs), key, value)

    def _setitems(self) -> None:
        items = self._pop_mark()
        if len(items) % 2:
            raise self.error(f"a key without a value at byte {self.position:,}")
        pairs = self._top(Pairs)
        for key, value in zip(items[::2], items[1::2], strict=True):
            self._put(pairs, key, value)

    def _put(self, pairs: Pairs, key: object, value: object) -> None:
        pickle_calls.put(self.source, pairs, key, value)

    def _empty_set(self) -> None:
        self._stack.append(Members())

    def _additems(self) -> None:
        items = self._pop_mark()
        self._top(Members).update(pickle_calls.key_of(self.source, item) for item in items)

    def _memoize(self) -> None:
        self._store(None)

    def _binput(self) -> None:
        self._store(self.take(1)[0])

    def _long_binput(self) -> None:
        self._store(int.from_bytes(self.take(4), "little"))

    def _store(self, slot: int | None) -> None:
        """Stores the top of the stack, to be recalled; None: by MEMOIZE, in the slot after the last.

        Picklers do that in sequence and always in the same way. MEMOIZE after a hole or a value stored anew would mean
        the slot that is the number of values stored to one reader, and the slot after the last to another.
        """
        if not self._memo and slot in (None, 0, 1):  # Python 2's pickler in C begins with 1
            self._first_slot = slot
        if slot != (None if self._first_slot is None else self._first_slot + len(self._memo)):
            what = "by MEMOIZE" if slot is None else f"{slot:,}"
            raise self.error(f"the pickle at byte {self.position:,} stores value {what} after {len(self._memo):,}")
        self._memo.append(self._stack[-1])

    def _binget(self) -> None:
        self._recall(self.take(1)[0])

    def _long_binget(self) -> None:
        self._recall(int.from_bytes(self.take(4), "little"))

    def _recall(self, slot: int) -> None:
        index = slot - (self._first_slot or 0)
        if not 0 <= index < len(self._memo):
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
        # CPython takes the names of Python 2 for today's in the protocols that Python 2 has, and nowhere else.
        today = "builtins" if module == "__builtin__" and self._protocol < 3 else module
        known = ALLOWED.get((today, name))
        if known is None:
            full_name = ascii(f"{module}.{name}"[:_MAX_GLOBAL])[1:-1]
            self._forbidden = self._forbidden or full_name
            self._stack.append(Forbidden(full_name))
        else:
            self._stack.append(known)

    def _reduce(self) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if isinstance(function, Forbidden):
            self._forbidden = f"{function.name}{pickle_calls.shown(arguments)}"
            self.refuse_forbidden()
        result = pickle_calls.call(self.source, function, arguments)
        if isinstance(result, Blob):  # text that was encoded
            self._texts[result.offset] = result
        self._stack.append(result)

    def _build(self) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        pickle_calls.set_state(self.source, target, state)
        if isinstance(target, Array) and isinstance(target.payload, Blob) and not pickle_calls.is_text_array(target):
            self._texts.pop(target.payload.offset, None)


_PROTO, _STOP = 0x80, ord(".")
_HANDLERS: dict[int, Callable[[_Machine], None]] = {
    _PROTO: _Machine._proto,
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

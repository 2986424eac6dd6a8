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
from ppls.checkpoint.pickle_values import ALLOWED, Array, Blob, Coding, Forbidden, Members, Pairs, is_text_array, shown
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
        self._stack.append(self._decoded(self.take(nbytes), encoding))

    def _line(self) -> str:
        """A line of a GLOBAL opcode."""
        return self._decoded(self.line(_MAX_GLOBAL), "utf-8")

    def _decoded(self, raw: bytes, encoding: str) -> str:
        try:
            return raw.decode(encoding)
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
            raise self.error(f"the pickle at byte {self.position:,} fills {shown(top)} as a container")
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
        nbytes = self.number(8)
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

    def _long1(self) -> None:  # integers beyond 32 bits
        nbytes = self.take(1)[0]
        if nbytes > 9:
            raise self.error(f"an integer of {nbytes} bytes at byte {self.position:,}")
        self._stack.append(self.number(nbytes, signed=True))

    def _unicode(self, nbytes: int) -> None:
        if nbytes > _SHORT_TEXT:
            self._push_blob(nbytes, Coding.TEXT)
            self._texts[self._stack[-1].offset] = self._stack[-1]
        else:
            self._push_text(nbytes)

    def _string(self, nbytes: int) -> None:
        """What Python 2 calls a string: text as paddle.load understands it, with the encoding latin-1."""
        self.python2 = True
        if 0 <= nbytes <= _SHORT_TEXT:
            self._push_text(nbytes, "latin-1")
        else:
            self._push_blob(nbytes, Coding.STRING)

    def _tuple2(self) -> None:
        last = self._stack.pop()
        self._stack.append((self._stack.pop(), last))

    def _tuple3(self) -> None:
        last, middle = self._stack.pop(), self._stack.pop()
        self._stack.append((self._stack.pop(), middle, last))

    def _tuple(self) -> None:
        items = self._pop_mark()
        self._stack.append(tuple(items))

    def _append(self) -> None:
        item = self._stack.pop()
        self._top(list).append(item)

    def _appends(self) -> None:
        items = self._pop_mark()
        self._top(list).extend(items)

    def _setitem(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        pickle_calls.put(self.source, self._top(Pairs), key, value)

    def _setitems(self) -> None:
        items = self._pop_mark()
        if len(items) % 2:
            raise self.error(f"a key without a value at byte {self.position:,}")
        pairs = self._top(Pairs)
        for key, value in zip(items[::2], items[1::2], strict=True):
            pickle_calls.put(self.source, pairs, key, value)

    def _additems(self) -> None:
        items = self._pop_mark()
        self._top(Members).update(pickle_calls.key_of(self.source, item) for item in items)

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

    def _recall(self, slot: int) -> None:
        index = slot - (self._first_slot or 0)
        if not 0 <= index < len(self._memo):
            raise self.error(f"the pickle at byte {self.position:,} recalls a value that it never stored")
        self._stack.append(self._memo[index])

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
            self._forbidden = f"{function.name}{shown(arguments)}"
            self.refuse_forbidden()
        result = pickle_calls.call(self.source, function, arguments)
        if isinstance(result, Blob):  # text that was encoded
            self._texts[result.offset] = result
        self._stack.append(result)

    def _build(self) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        pickle_calls.set_state(self.source, target, state)
        if isinstance(target, Array) and isinstance(target.payload, Blob) and not is_text_array(target):
            self._texts.pop(target.payload.offset, None)


_PROTO, _STOP = 0x80, ord(".")
_HANDLERS: dict[int, Callable[[_Machine], None]] = {
    _PROTO: _Machine._proto,
    0x95: _Machine._frame,
    ord("("): _Machine._mark,
    ord("N"): lambda machine: machine._stack.append(None),  # NONE
    0x88: lambda machine: machine._stack.append(True),  # NEWTRUE
    0x89: lambda machine: machine._stack.append(False),  # NEWFALSE
    ord("J"): lambda machine: machine._stack.append(machine.number(4, signed=True)),  # BININT
    ord("K"): lambda machine: machine._stack.append(machine.number(1)),  # BININT1
    ord("M"): lambda machine: machine._stack.append(machine.number(2)),  # BININT2
    0x8A: _Machine._long1,
    ord("G"): lambda machine: machine._stack.append(struct.unpack(">d", machine.take(8))[0]),  # BINFLOAT
    0x8C: lambda machine: machine._push_text(machine.number(1)),  # SHORT_BINUNICODE
    ord("X"): lambda machine: machine._unicode(machine.number(4)),  # BINUNICODE
    0x8D: lambda machine: machine._unicode(machine.number(8)),  # BINUNICODE8
    ord("U"): lambda machine: machine._string(machine.number(1)),  # SHORT_BINSTRING
    ord("T"): lambda machine: machine._string(machine.number(4, signed=True)),  # BINSTRING
    ord("C"): lambda machine: machine._push_blob(machine.number(1), Coding.RAW),  # SHORT_BINBYTES
    ord("B"): lambda machine: machine._push_blob(machine.number(4), Coding.RAW),  # BINBYTES
    0x8E: lambda machine: machine._push_blob(machine.number(8), Coding.RAW),  # BINBYTES8
    ord(")"): lambda machine: machine._stack.append(()),  # EMPTY_TUPLE
    0x85: lambda machine: machine._stack.append((machine._stack.pop(),)),  # TUPLE1
    0x86: _Machine._tuple2,
    0x87: _Machine._tuple3,
    ord("t"): _Machine._tuple,
    ord("]"): lambda machine: machine._stack.append([]),  # EMPTY_LIST
    ord("a"): _Machine._append,
    ord("e"): _Machine._appends,
    ord("}"): lambda machine: machine._stack.append(Pairs()),  # EMPTY_DICT
    ord("s"): _Machine._setitem,
    ord("u"): _Machine._setitems,
    0x8F: lambda machine: machine._stack.append(Members()),  # EMPTY_SET
    0x90: _Machine._additems,
    0x94: lambda machine: machine._store(None),  # MEMOIZE
    ord("q"): lambda machine: machine._store(machine.number(1)),  # BINPUT
    ord("r"): lambda machine: machine._store(machine.number(4)),  # LONG_BINPUT
    ord("h"): lambda machine: machine._recall(machine.number(1)),  # BINGET
    ord("j"): lambda machine: machine._recall(machine.number(4)),  # LONG_BINGET
    ord("c"): lambda machine: machine._find(machine._line(), machine._line()),  # GLOBAL
    0x93: _Machine._stack_global,
    ord("R"): _Machine._reduce,
    ord("b"): _Machine._build,
}

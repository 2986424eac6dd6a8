"""The pickle of a state dict that `torch.save` wrote, as inert values.

A machine of the few opcodes that PyTorch needs, with no function but the inert ones here, and no key but texts and
numbers. With all that Python's own unpickler knows, a file could call what it likes, make work without end, or end the
process: Python hashes a tuple that is nested deeply beyond the end of its stack.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from typing import Any

from ppls.budget import Budget
from ppls.checkpoint.dtypes import itemsize
from ppls.checkpoint.source import Source
from ppls.checkpoint.torch_values import FUNCTIONS, STORAGES, Named, Storage, Table, called
from ppls.errors import CheckpointError, first_line

_STOP = b"."
_NAME = re.compile(r"[A-Za-z_]\w*")


def read_pickle(source: Source, file: io.BytesIO) -> tuple[Any, dict[str, int]]:
    """The next value of a file, and the bytes of an element of each storage that its tensors are in.

    Raises:
        CheckpointError: the pickle is damaged, or asks for what a state dict does not need.
    """
    machine = _Machine(file, source.budget)
    try:
        return machine.run(), machine.itemsizes
    except _NotAllowedError as error:
        raise source.error(
            f"it asks for {str(error)!a}, which is no part of a state dict. Nothing was called. "
            "Save the state dict alone: torch.save(model.state_dict(), ...)"
        ) from None
    except CheckpointError:
        raise
    except Exception as error:  # what is missing in a damaged pickle makes the machine raise what it likes
        raise damaged(source, first_line(error)) from None


def damaged(source: Source, why: str) -> CheckpointError:
    """The error to raise about a file of PyTorch's that is not as it should be."""
    return source.error(f"damaged, or not a state dict of PyTorch: {why}; get it again, or save it again")


class _NotAllowedError(Exception):
    """The pickle asks for a class or a function that a state dict does not need."""


class _Machine:
    """Python's unpickler as far as PyTorch needs it."""

    def __init__(self, file: io.BytesIO, budget: Budget) -> None:
        self.itemsizes: dict[str, int] = {}
        self._file = file
        self._budget = budget
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # stacks that a mark has put aside
        self._memo: list[Any] = []

    def run(self) -> Any:
        while (code := self.take(1)) != _STOP:
            self._budget.take_nodes()
            handler = _OPCODES.get(code)
            if handler is None:
                raise ValueError(f"opcode 0x{code.hex()} at byte {self._file.tell() - 1:,}, which PyTorch never writes")
            handler(self)
        if self._below or len(self._stack) != 1:
            raise ValueError("it stops within a value")
        return self._stack.pop()

    def take(self, nbytes: int) -> bytes:
        taken = self._file.read(nbytes)
        if len(taken) != nbytes:
            raise ValueError("truncated")
        return taken

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def number(self, nbytes: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(nbytes), "little", signed=signed)

    def text(self, length: int) -> str:
        return self.take(self.number(length)).decode("utf-8")

    def line(self) -> str:
        return self._file.readline()[:-1].decode("utf-8")

    def mark(self) -> None:
        self._below.append(self._stack)
        self._stack = []

    def since_mark(self) -> list[Any]:
        values, self._stack = self._stack, self._below.pop()
        return values

    def tuple_of(self, count: int) -> None:
        start = len(self._stack) - count
        if start < 0:
            raise ValueError("a tuple of values that are not there")
        self._stack[start:] = [tuple(self._stack[start:])]

    def store(self, index: int | None = None) -> None:
        if index is not None and index != len(self._memo):
            raise ValueError("a value is stored out of turn")
        self._memo.append(self._stack[-1])

    def recall(self, index: int) -> None:
        self.push(self._memo[index])

    def append(self, values: list[Any]) -> None:
        if type(self._stack[-1]) is not list:
            raise ValueError("items of what is no list")
        self._stack[-1].extend(values)

    def set_items(self, items: list[Any]) -> None:
        table = self._stack[-1]
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(table, dict) or not isinstance(key, str | int | float):
                raise ValueError("a key that is no name")
            table[key] = value

    def set_item(self) -> None:
        value = self._stack.pop()
        self.set_items([self._stack.pop(), value])

    def find(self, module: str, name: str) -> None:
        if (module, name) in FUNCTIONS:
            self.push(FUNCTIONS[module, name])
        elif module in ("torch", "torch.storage", "torch.nn.parameter") and _NAME.fullmatch(name):
            self.push(Named(name))
        else:
            raise _NotAllowedError(f"{module}.{name}")

    def find_by_texts(self) -> None:
        name = self._stack.pop()
        self.find(self._stack.pop(), name)

    def find_storage(self) -> None:
        match self._stack.pop():
            case ("storage", Named(name), str(key), str(), int(), *rest) if name in STORAGES and rest in ([], [None]):
                self.itemsizes[key] = itemsize(STORAGES[name])
                self.push(Storage(STORAGES[name], key))
            case _:
                raise ValueError("a storage of a kind that ppls cannot read")

    def call(self) -> None:
        arguments = self._stack.pop()
        self.push(called(self._stack.pop(), arguments))

    def leave_state(self) -> None:
        """What PyTorch attaches to an OrderedDict (`_metadata`) is not needed."""
        self._stack.pop()
        if not isinstance(self._stack[-1], Table):
            raise ValueError("a state for what has none")


_OPCODES: dict[bytes, Callable[[_Machine], object]] = {
    b"\x80": lambda machine: machine.take(1),  # PROTO
    b"\x95": lambda machine: machine.take(8),  # FRAME
    b"(": _Machine.mark,  # MARK
    b"N": lambda machine: machine.push(None),  # NONE
    b"\x88": lambda machine: machine.push(True),  # NEWTRUE
    b"\x89": lambda machine: machine.push(False),  # NEWFALSE
    b"J": lambda machine: machine.push(machine.number(4, signed=True)),  # BININT
    b"K": lambda machine: machine.push(machine.number(1)),  # BININT1
    b"M": lambda machine: machine.push(machine.number(2)),  # BININT2
    b"\x8a": lambda machine: machine.push(machine.number(machine.number(1), signed=True)),  # LONG1
    b"G": lambda machine: machine.push(struct.unpack(">d", machine.take(8))[0]),  # BINFLOAT
    b"X": lambda machine: machine.push(machine.text(4)),  # BINUNICODE
    b"\x8c": lambda machine: machine.push(machine.text(1)),  # SHORT_BINUNICODE
    b"}": lambda machine: machine.push({}),  # EMPTY_DICT
    b"]": lambda machine: machine.push([]),  # EMPTY_LIST
    b")": lambda machine: machine.push(()),  # EMPTY_TUPLE
    b"t": lambda machine: machine.push(tuple(machine.since_mark())),  # TUPLE
    b"\x85": lambda machine: machine.tuple_of(1),  # TUPLE1
    b"\x86": lambda machine: machine.tuple_of(2),  # TUPLE2
    b"\x87": lambda machine: machine.tuple_of(3),  # TUPLE3
    b"q": lambda machine: machine.store(machine.number(1)),  # BINPUT
    b"r": lambda machine: machine.store(machine.number(4)),  # LONG_BINPUT
    b"\x94": lambda machine: machine.store(),  # MEMOIZE
    b"h": lambda machine: machine.recall(machine.number(1)),  # BINGET
    b"j": lambda machine: machine.recall(machine.number(4)),  # LONG_BINGET
    b"a": lambda machine: machine.append([machine._stack.pop()]),  # APPEND
    b"e": lambda machine: machine.append(machine.since_mark()),  # APPENDS
    b"s": _Machine.set_item,  # SETITEM
    b"u": lambda machine: machine.set_items(machine.since_mark()),  # SETITEMS
    b"c": lambda machine: machine.find(machine.line(), machine.line()),  # GLOBAL
    b"\x93": _Machine.find_by_texts,  # STACK_GLOBAL
    b"Q": _Machine.find_storage,  # BINPERSID
    b"R": _Machine.call,  # REDUCE
    b"b": _Machine.leave_state,  # BUILD
}

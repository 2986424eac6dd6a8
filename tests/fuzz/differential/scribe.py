"""Writes by hand what Paddle saves, with every choice that the format leaves, and odd ones."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

from tests.fuzz.differential.opcodes import (
    CODES,
    GLOBALS,
    INTEGERS,
    NAMES,
    TABLES,
    Opcodes,
    binary,
    get,
    integer,
    put,
    string,
)


class Memo:
    """What was stored in which slot."""

    def __init__(self, first: int) -> None:
        self.slots: dict[Any, int] = {}
        self.count = 0
        self.first = first

    def next(self) -> int:
        slot = self.first + self.count
        self.count += 1
        return slot


class Scribe:
    """Writes one stream, making every choice that the format leaves at random; the share `oddity` of them is odd."""

    def __init__(self, random: Random, protocol: int) -> None:
        self.random = random
        self.protocol = protocol
        self.oddity = random.choice((0.0, 0.0, 0.0, 0.005, 0.02, 0.1))
        self.python2 = protocol == 2 and random.random() < 0.4
        self.style = "memoize" if protocol >= 4 else "put"
        if random.random() < 0.1 + self.oddity:
            self.style = random.choice(("memoize", "put", "none", "both"))
        first = 1 if self.style == "put" and random.random() < 0.2 else 0
        self.confused = self.style in ("memoize", "both") and random.random() < 0.05
        self.recalls = random.choice((0.3, 0.8, 1.0))
        self.stores = random.choice((0.4, 1.0, 1.0))
        self.neat = False  # nothing but what the plain form knows
        self.memo = Memo(first)
        self.opcodes: Opcodes = []

    def odd(self) -> bool:
        return self.random.random() < self.oddity

    def write(self, *opcodes: bytes) -> None:
        self.opcodes.extend(opcodes)

    # The memo

    def store(self, key: Any = None) -> None:
        """Has the top of the stack stored, to be recalled by `key`."""
        random = self.random
        if self.style == "none" or random.random() > self.stores:
            return
        memo = self.memo
        if self.confused and not memo.count:  # a hole: the readers' counts differ from now on
            self.write(put(random, 1))
            memo.first, memo.count = random.choice(((0, 2), (1, 1), (0, 1)))
        elif self.odd():
            slot = random.choice((memo.first + memo.count + 1, max(0, memo.first + memo.count - 1), 0, 1, 300))
            self.write(put(random, slot))
            if random.random() < 0.5:
                memo.count += 1
        elif self.style == "put" or (self.style == "both" and random.random() < 0.5):
            self.write(put(random, memo.next()))
        else:
            self.write(b"\x94")
            memo.next()
        if key is not None:
            memo.slots[key] = max(0, memo.first + memo.count - 1)

    def recall(self, key: Any) -> bool:
        """Writes what was stored under `key`, if it was."""
        slot = self.memo.slots.get(key)
        if slot is None or self.random.random() > self.recalls:
            return False
        if self.odd():
            slot = max(0, slot + self.random.choice((-1, 1, 2)))
        self.write(get(self.random, slot))
        return True

    # Values

    def text(self, value: str) -> None:
        if self.recall(("text", value)):
            return
        self.write(self._text(value))
        self.store(("text", value))

    def _text(self, value: str) -> bytes:
        raw = value.encode("utf-8", "surrogatepass")
        if self.python2 and self.random.random() < 0.6 and all(ord(c) < 256 for c in value):
            return string(self.random, value.encode("latin-1"))
        short = len(raw) < 256 and (self.protocol >= 4) != self.odd()
        if short:
            return b"\x8c" + bytes([len(raw)]) + raw
        if self.odd():
            return b"\x8d" + struct.pack("<Q", len(raw)) + raw
        return b"X" + struct.pack("<I", len(raw)) + raw

    def data(self, value: bytes) -> None:
        """Bytes, as the protocol has them."""
        if self.recall(("data", value)):
            return
        if self.protocol >= 3 or self.odd():
            self.write(binary(self.random, value))
        elif self.python2:
            self.write(string(self.random, value))
        elif not value and not self.odd():
            self.function("__builtin__", "bytes")
            self.write(b")", b"R")
        else:
            self.function("_codecs", "encode")
            self.text(value.decode("latin-1"))
            self.text("latin1" if not self.odd() else "utf-8")
            self.write(b"\x86")
            self.store()
            self.write(b"R")
        self.store(("data", value))

    def function(self, module: str, name: str) -> None:
        random = self.random
        if self.odd():
            module, name = random.choice(GLOBALS)
        if module == "__builtin__" and (self.protocol >= 3) != self.odd():
            module = "builtins"
        if self.recall((module, name)):
            return
        if (self.protocol >= 4) != (random.random() < 0.05):
            self.text(module)
            self.text(name)
            self.write(b"\x93")
        else:
            self.write(f"c{module}\n{name}\n".encode())
        self.store((module, name))

    def integer(self, value: int) -> None:
        self.write(integer(self.random, value, self.odd()))

    def boolean(self, value: bool) -> None:
        if self.odd():
            self.write(self.random.choice((b"K\x00", b"K\x01", b"N", b"G" + struct.pack(">d", 1.0))))
        else:
            self.write(b"\x88" if value else b"\x89")

    def sequence(self, items: list[Callable[[], None]]) -> None:
        """A tuple."""
        if not items:
            self.write(*((b")",) if self.random.random() < 0.8 else (b"(", b"t")))
            return
        short = len(items) <= 3 and self.random.random() < 0.8
        if not short:
            self.write(b"(")
        for item in items:
            item()
        self.write(bytes([0x84 + len(items)]) if short else b"t")
        self.store()

    def numpy_global(self, name: str) -> None:
        self.function(f"numpy.{self.random.choice(('core', 'core', '_core'))}.multiarray", name)

    def dtype(self, code: str, order: str) -> None:
        if self.recall(("dtype", code, order)):
            return
        self.function("numpy", "dtype")
        flags = (
            ((0, 1) if self.python2 else (False, True)) if not self.odd() else self.random.choice(((1, 1), (0, True)))
        )
        self.text(code)
        for flag in flags:
            self.boolean(flag) if isinstance(flag, bool) else self.integer(flag)
        self.write(b"\x87")
        self.store()
        self.write(b"R")
        self.store(("dtype", code, order))
        self._state(lambda: self.dtype_state(code, order))

    def dtype_state(self, code: str, order: str) -> None:
        sizes = (-1, -1, 0)
        if code[0] in "US":
            wide = code[0] == "U"
            sizes = (int(code[1:]) * (4 if wide else 1), 4 if wide else 1, 8 if wide else 0)
        self.write(b"(")
        self.integer(3)
        self.text(order)
        self.write(b"N", b"N", b"N")
        for size in sizes:
            self.integer(size if not self.odd() else self.random.choice(INTEGERS))
        self.write(b"t")
        self.store()

    def _state(self, write: Callable[[], None]) -> None:
        for _ in range(2 if self.odd() else 1):
            write()
            self.write(b"b")

    def array(self) -> None:
        random = self.random
        code = random.choice(CODES[: 2 if random.random() < 0.6 else -2 if self.neat else None])
        order = "|" if code in ("i1", "u1", "b1", "S3") else "<" if self.neat else random.choice("<<<>")
        shape = random.choice(((2,), (1,), (), (2, 2), (0,), (0, 3), (1, 2, 1, 2), (1, 2, 1, 2), (100,)))
        itemsize = int(code[1:]) * (4 if code[0] == "U" else 1)
        value = random.randbytes(int(np.prod(shape, dtype=np.int64)) * itemsize)
        if code in ("b1", "U2"):
            value = bytes(len(value))
        if self.odd():
            value = value[:-1]
        self.numpy_global("_reconstruct")
        self.function("numpy", "ndarray")
        self.sequence([lambda: self.integer(0)])
        self.data(b"b")
        self.write(b"\x87")
        self.store()
        self.write(b"R")
        self.store("array")

        def state() -> None:
            self.write(b"(")
            self.integer(1)
            self.sequence([lambda side=side: self.integer(side) for side in shape])  # type: ignore[misc]
            self.dtype(code, order)
            self.boolean(random.random() < 0.1)
            self.data(value)
            self.write(b"t")
            self.store()

        self._state(state)

    def scalar(self) -> None:
        code = self.random.choice(CODES)
        order = "|" if code in ("i1", "u1", "b1", "S3") else self.random.choice("<>")
        self.numpy_global("scalar")
        self.dtype(code, order)
        itemsize = int(code[1:]) * (4 if code[0] == "U" else 1)
        self.data(bytes(itemsize) if code[0] in "Ub" else self.random.randbytes(itemsize))
        self.write(b"\x86")
        self.store()
        self.write(b"R")
        self.store("scalar")

    def evaluated(self) -> None:
        """A DenseTensor: `eval('data', {'data': array})`."""
        self.function("__builtin__", "eval")
        self.text("data" if self.random.random() < 0.95 else "__import__('os')")
        self.write(b"}")
        self.store()
        self.text("data")
        self.array()
        self.write(b"s", b"\x86")
        self.store()
        self.write(b"R")
        self.store()

    def named(self) -> None:
        """A tensor within other objects: `tuple((name, array))`."""
        self.function("__builtin__", "tuple")
        self.sequence([lambda: self.sequence([lambda: self.text("linear_0.w_0"), self.array])])
        self.write(b"R")
        self.store()

    def plain(self) -> None:
        """Metadata."""
        random = self.random
        choice = random.randrange(9)
        if choice == 0:
            self.text(random.choice(NAMES))
        elif choice == 1:
            self.integer(random.choice(INTEGERS))
        elif choice == 2:
            self.write(b"G" + struct.pack(">d", random.choice((0.0, -0.0, 1.5, float("nan"), float("inf")))))
        elif choice == 3:
            self.write(random.choice((b"N", b"\x88", b"\x89")))
        elif choice == 4:
            self.data(random.choice((b"", b"x", b"\xff\xfe", b"y" * 300)))
        elif choice == 5:
            self.scalar()
        elif choice == 6 and self.protocol >= 4:
            self.write(b"\x8f")
            self.store()
            self.write(
                b"(", *[random.choice((b"K\x01", b"\x88", b"K\x02", b"N", b"C\x01x")) for _ in range(3)], b"\x90"
            )
        elif choice == 7:
            self.sequence([self.plain for _ in range(random.randrange(4))])
        else:
            self.listed([self.plain for _ in range(random.randrange(3))])

    def listed(self, items: list[Callable[[], None]]) -> None:
        self.write(b"]")
        self.store(key := ("list", self.memo.count))
        if items and self.random.random() < 0.7:
            self.write(b"(")
            for item in items:
                item()
            if self.odd():
                self.recall(key)  # a list that holds itself
            self.write(b"e")
        else:
            for item in items:
                item()
                self.write(b"a")

    def odd_key(self) -> None:
        random = self.random
        random.choice((
            lambda: self.text(random.choice(NAMES)),
            lambda: self.write(random.choice((b"K\x00", b"K\x01", b"\x88", b"N", b"G" + struct.pack(">d", 1.0)))),
            lambda: self.sequence([lambda: self.text("w"), lambda: self.integer(1)]),
            lambda: self.listed([]),
            self.plain,
            self.array,
        ))()  # fmt: skip

    def dictionary(self, depth: int = 0) -> None:
        random = self.random
        if random.random() < 0.15:
            self.function("collections", "OrderedDict")
            if random.random() < 0.3:
                pair = [lambda: self.text("w"), self.array]
                self.sequence([lambda: self.listed([lambda: self.listed(pair)])])
            else:
                self.write(b")")
            self.write(b"R")
        else:
            self.write(b"}")
        self.store(own := ("dict", self.memo.count))
        names = random.sample(NAMES, random.randrange(1, 4))
        open_group = False
        for name in names:
            if not open_group and random.random() < 0.6:
                self.write(b"(")
                open_group = True
            if self.odd() or random.random() < 0.08:
                self.odd_key()
            else:
                self.text(name)
            self.value(depth)
            if not open_group:
                self.write(b"s")
            elif random.random() < 0.3:
                self.write(b"u")
                open_group = False
        if random.random() < 0.3:
            if not open_group and random.random() < 0.7:
                self.write(b"(")
                open_group = True
            self.text(TABLES[0] if random.random() < 0.8 else TABLES[1])
            self.write(b"}")
            self.store()
            self.text(names[0])
            self.text("linear_0.w_0")
            self.write(b"s")
            if not open_group:
                self.write(b"s")
        if self.odd() and own in self.memo.slots and open_group:  # the dictionary again, with more in it
            self.text("again")
            self.write(get(random, self.memo.slots[own]))
        if open_group:
            self.write(b"u")

    def state_dict(self) -> None:
        """Arrays by their names, and the table of names."""
        self.neat = self.random.random() < 0.9
        self.write(b"}")
        self.store()
        names = self.random.sample(NAMES, self.random.choice((1, 1, 1, 2, 4)))
        self.write(b"(")
        for name in names:
            self.text(name)
            self.array()
        if self.random.random() < 0.8:
            self.text(TABLES[0])
            self.write(b"}")
            self.store()
            self.write(b"(")
            for name in names:
                self.text(name)
                self.text(self.random.choice((name, "linear_0.w_0")))
            self.write(b"u")
        self.write(b"u")

    def value(self, depth: int) -> None:
        random = self.random
        choice = random.randrange(12)
        if choice < 6:
            if choice == 0 and self.recall("array"):  # tied weights
                return
            self.array()
        elif choice == 6 and depth < 3:
            self.dictionary(depth + 1)
        elif choice == 7:
            self.evaluated()
        elif choice == 8:
            self.named()
        elif choice == 9 and depth < 3:
            self.listed([lambda: self.value(depth + 1) for _ in range(random.randrange(3))])
        else:
            self.plain()

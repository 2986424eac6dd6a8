"""CPython's unpicklers with inert stubs, and values of every reader in a form in which they can be compared."""

from __future__ import annotations

import _compat_pickle
import codecs
import io
import pickle
import struct
from collections import OrderedDict
from typing import IO, Any

import numpy as np

from ppls.checkpoint.pickle_values import Array, Blob, Coding, Dtype, Forbidden, Global, Members, Pairs, Scalar
from ppls.checkpoint.source import Source

_GLOBALS = {
    ("numpy.core.multiarray", "_reconstruct"): "RECONSTRUCT",
    ("numpy._core.multiarray", "_reconstruct"): "RECONSTRUCT",
    ("numpy.core.multiarray", "scalar"): "SCALAR",
    ("numpy._core.multiarray", "scalar"): "SCALAR",
    ("numpy", "ndarray"): "NDARRAY",
    ("numpy", "dtype"): "DTYPE",
    ("_codecs", "encode"): "ENCODE",
    ("builtins", "bytes"): "BYTES",
    ("builtins", "tuple"): "TUPLE",
    ("builtins", "eval"): "EVAL",
    ("collections", "OrderedDict"): "ORDERED_DICT",
}


class DisagreementError(Exception):
    """Two readers make different things of one stream that ppls accepts."""


class UndecodableError(Exception):
    """Data that ppls has not read yet, and that it refuses when it does."""


class Plain:
    """Values of any reader as tuples that can be compared; objects have numbers in the order in which they were seen.

    So two values are equal only if what is one object in the one is one object in the other.
    """

    def __init__(self, source: Source | None = None) -> None:
        self._source = source
        self._numbers: dict[int, int] = {}
        self._kept: list[object] = []  # so that no other object gets its id
        self._shown: set[int] = set()

    def __call__(self, value: object) -> object:
        self._shown = set()
        return self._plain(value)

    def _plain(self, value: Any) -> object:
        kind = type(value)
        if value is None or kind in (bool, int, str, bytes):
            return (kind.__name__, value)
        if kind is float:
            return ("float", struct.pack(">d", value))
        if kind is Blob:
            return self._blob(value)
        if kind is Global:
            return ("global", value.name)
        if kind is Stub:
            return ("global", value.name)
        if kind is Forbidden:
            return ("global", value.name)
        number = self._numbers.setdefault(id(value), len(self._numbers))
        self._kept.append(value)
        if number in self._shown:
            return ("again", number)
        self._shown.add(number)
        if kind in (Array, Dtype, Scalar, Made):
            return ("made", number)
        if kind in (list, tuple):
            return (kind.__name__, number, tuple(map(self._plain, value)))
        if kind in (Pairs, dict, OrderedDict):
            return ("dict", number, tuple((self._key(key), self._plain(item)) for key, item in value.items()))
        if kind in (Members, set):
            return ("set", number, frozenset(map(self._key, value)))
        raise DisagreementError(f"a value of type {kind.__name__}")

    def _key(self, key: object) -> object:
        return ("tuple", *map(self._plain, key)) if type(key) is tuple else self._plain(key)

    def _blob(self, blob: Blob) -> tuple[str, str | bytes]:
        assert self._source is not None
        raw = self._source.read(blob.offset, blob.nbytes)
        if blob.coding is Coding.RAW:
            return ("bytes", raw)
        if blob.coding is Coding.STRING:
            return ("str", raw.decode("latin-1"))
        try:
            characters = raw.decode("utf-8")
            if blob.coding is Coding.TEXT:
                return ("str", characters)
            return ("bytes", characters.encode("latin-1"))
        except UnicodeError:
            raise UndecodableError from None


class Log:
    """Calls and states in their order, as they were when they were made."""

    def __init__(self, source: Source | None = None) -> None:
        self.plain = Plain(source)
        self.entries: list[object] = []

    def call(self, function: object, arguments: tuple[object, ...], result: object) -> None:
        # one by one: CPython hands them over in a tuple of its own
        self.entries.append(("call", self.plain(function), tuple(map(self.plain, arguments)), self.plain(result)))

    def build(self, target: object, state: object) -> None:
        self.entries.append(("build", self.plain(target), self.plain(state)))


class Made:
    """What a call makes for CPython: it keeps nothing but its identity."""

    __hash__ = None  # as an array

    def __init__(self, log: Log) -> None:
        self._log = log

    def __eq__(self, other: object) -> bool:
        return self is other

    def __setstate__(self, state: object) -> None:
        self._log.build(self, state)


class Stub:
    """A global for CPython. Its calls are logged; they do nothing but put together what they are given."""

    def __init__(self, name: str, log: Log) -> None:
        self.name = name
        self._log = log

    def __call__(self, *arguments: Any) -> object:
        result = self._result(arguments)
        self._log.call(self, arguments, result)
        return result

    def _result(self, arguments: tuple[Any, ...]) -> object:
        try:
            if self.name == "EVAL" and arguments[0] == "data":
                return arguments[1]["data"]
            if self.name == "TUPLE" and type(arguments[0]) is tuple:
                return arguments[0]
            if self.name == "ENCODE":
                return codecs.latin_1_encode(arguments[0])[0]
            if self.name == "BYTES":
                return b""
            if self.name == "ORDERED_DICT":
                return OrderedDict(*arguments)
        except (TypeError, KeyError, IndexError, ValueError):
            pass
        return Made(self._log)

    def __setstate__(self, state: object) -> None:
        self._log.build(self, state)


class _Stubs:
    """The hooks of both unpicklers."""

    def __init__(self, file: IO[bytes], log: Log, protocol: int) -> None:
        super().__init__(file, encoding="latin1")  # type: ignore[call-arg]  # as paddle.load
        self._log = log
        self._protocol = protocol
        self._stubs: dict[str, Stub] = {}

    def find_class(self, module: str, name: str) -> Stub:
        if self._protocol < 3:
            module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
            module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        known = _GLOBALS.get((module, name), f"{module}.{name}")
        return self._stubs.setdefault(known, Stub(known, self._log))

    def persistent_load(self, identity: object) -> object:
        return Stub(f"persistent {identity}", self._log)


class InC(_Stubs, pickle.Unpickler):  # type: ignore[misc]
    """CPython's unpickler in C, the one that paddle.load uses."""


class FromFile(InC):
    """The same on a file that can be looked ahead in, where it reads other pieces at a time."""


class InPython(_Stubs, pickle._Unpickler):  # type: ignore[name-defined]
    """CPython's unpickler in Python."""


class WithNumpy(pickle.Unpickler):
    """CPython's unpickler in C with numpy's own functions: for streams whose calls are known."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self._protocol = data[1]

    def find_class(self, module: str, name: str) -> Any:
        if module == "__builtin__" and self._protocol < 3:
            module = "builtins"
        return _REAL[_GLOBALS[module, name]]


def _data_of(expression: str, names: dict[str, Any]) -> Any:
    assert expression == "data"
    return names["data"]


_SCALAR = np.float32(0).__reduce__()[0]
_REAL: dict[str, Any] = {
    "RECONSTRUCT": np.zeros(0).__reduce__()[0],
    "SCALAR": _SCALAR,
    "NDARRAY": np.ndarray,
    "DTYPE": np.dtype,
    "ENCODE": codecs.encode,
    "BYTES": bytes,
    "TUPLE": tuple,
    "EVAL": _data_of,
    "ORDERED_DICT": OrderedDict,
}

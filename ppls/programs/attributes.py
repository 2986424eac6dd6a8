"""The attributes of an operation, each read as what it must be."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ppls.checkpoint.dtypes import BY_STREAM
from ppls.programs.numbers import is_known
from ppls.shown import shown

T = TypeVar("T")


class UnsupportedError(Exception):
    """An operation that cannot be run in torch; the message says why, in a few words."""


class Attributes:
    """The attributes of one operation.

    Args:
        values: by Paddle's names.
        kind: the operator, as the file has it.
    """

    def __init__(self, values: Mapping[str, Any], kind: str = "") -> None:
        self._values = values
        self.kind = kind

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def integer(self, name: str, default: int | None = None) -> int:
        return self._read(name, default, _integer)

    def number(self, name: str, default: float | None = None) -> float:
        return self._read(name, default, _number)

    def truth(self, name: str, default: bool | None = None) -> bool:
        return self._read(name, default, _truth)

    def integers(self, name: str, default: Sequence[int] | None = None) -> list[int]:
        return self._list(name, default, _integer)

    def numbers(self, name: str, default: Sequence[float] | None = None) -> list[float]:
        return self._list(name, default, _number)

    def text(self, name: str) -> str:
        """A text; empty where it is left out."""
        value = self._values.get(name)
        if value is not None and not isinstance(value, str):
            raise UnsupportedError(f"{name} {shown(repr(value), 60)}")
        return value or ""

    def has_items(self, name: str) -> bool:
        """Whether it is a list with something in it."""
        return isinstance(self._values.get(name), list) and bool(self._values[name])

    def choice(self, name: str, default: T, *others: T) -> T:
        """One of a closed list of values; `default` where it is not said."""
        value = self._values.get(name)
        if value is None:
            return default
        for known in (default, *others):
            if type(value) is type(known) and value == known:
                return known
        raise UnsupportedError(f"{name} {shown(repr(value), 60)}")

    def must_be(self, name: str, *values: Any) -> None:
        """Refuses any value but these; the attribute may be left out."""
        self.choice(name, *values)

    def layout(self, name: str = "data_format") -> None:
        """Refuses all but channels first."""
        self.must_be(name, "NCHW", "AnyLayout", "NC", "NCL", "NCW", "NCDHW", "Undefined", "UNDEFINED", "ANY")

    def dtype(self, name: str, default: str) -> str:
        """A type by Paddle's name; `default` where it is left out, or not said."""
        return self.dtype_if_said(name) or default

    def dtype_if_said(self, name: str) -> str | None:
        """A type by Paddle's name, which a `.pdmodel` numbers; None where it is left out, or not said."""
        value = self._values.get(name)
        if value in (None, -1, "", "undefined", "UNDEFINED", "Undefined(ALL_DTYPE)"):
            return None
        found = BY_STREAM.get(value) if type(value) is int else value
        if not isinstance(found, str) or not is_known(found):
            raise UnsupportedError(f"{name} {shown(repr(value), 60)}")
        return found

    def _read(self, name: str, default: T | None, read: Callable[[Any], T]) -> T:
        value = self._values.get(name)
        if value is None and default is not None:
            return default
        try:
            return read(value)
        except ValueError:
            raise UnsupportedError(f"{name} {shown(repr(value), 60)}") from None

    def _list(self, name: str, default: Sequence[T] | None, read: Callable[[Any], T]) -> list[T]:
        if name not in self._values and default is not None:
            return list(default)

        def read_all(values: Any) -> list[T]:
            single = [values] if type(values) in (int, float) else values
            return [] if values is None else [read(value) for value in _as_list(single)]

        value = self._values.get(name)
        try:
            return read_all(value)
        except ValueError:
            raise UnsupportedError(f"{name} {shown(repr(value), 60)}") from None


def _as_list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("no list")
    return value


def _integer(value: Any) -> int:
    if type(value) is float and value.is_integer():  # some of PIR's are numbers where a `.pdmodel` has integers
        return int(value)
    if type(value) is not int:
        raise ValueError("no integer")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float, bool) or math.isnan(value):
        raise ValueError("no number")
    return float(value)


def _truth(value: Any) -> bool:
    if type(value) not in (bool, int) or value not in (0, 1):
        raise ValueError("neither true nor false")
    return bool(value)

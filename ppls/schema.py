"""Data from a file, checked against types: dataclasses say what may stand where, and `build` makes them of it.

Whatever the types do not have is refused with its place: an unknown key, a missing one, a value of another kind.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union

from ppls.errors import Error
from ppls.shown import shown

T = TypeVar("T")
Fail = Callable[[str, str], Error]


@dataclasses.dataclass(frozen=True)
class Node:
    """A value of a document, which knows where it stands.

    Attributes:
        value: a dictionary of nodes, a list of nodes, or a plain value.
        place: for messages: `map.yaml:12`, or `job.inputs[2].file`.
        key_place: where the key that it belongs to stands.
        error: makes the error from a place and what is wrong there.
    """

    value: Any
    place: str
    error: Fail
    key_place: str = ""

    @classmethod
    def of(cls, data: Any, error: Fail, place: str = "") -> Node:
        """Plain data, as JSON gives it; places are paths: `job.inputs[2].file`."""
        value = data
        if isinstance(data, Mapping):
            value = {
                key: cls.of(item, error, f"{place}.{shown(key)}" if place else shown(key))
                for key, item in data.items()
            }
        elif isinstance(data, (list, tuple)):
            value = [cls.of(item, error, f"{place}[{index}]") for index, item in enumerate(data)]
        return cls(value, place, error, place)

    def fail(self, why: str) -> NoReturn:
        raise self.error(self.place, why)

    def plain(self) -> Any:
        """The value as plain data again."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


def build(node: Node, annotation: Any) -> Any:
    """What a node says, as a value of the type `annotation`; the node's error where it says something else.

    Types: `Any`, `str`, `int`, `float` (a whole number will do, infinity and NaN will not), `bool`, `None`,
    `Literal`, `list[T]`, `tuple[T, ...]`, `tuple[A, B]`, `dict[str, T]`, `A | B`, dataclasses (a field's key is its
    name, or `metadata={"key": ...}`), and `Annotated[T, check, ...]`: each `check` takes the value and returns it, or
    another in its place, or raises `ValueError`, as a dataclass's `__post_init__` may.
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any:
        return node.plain()
    if origin is Annotated:
        value = build(node, arguments[0])
        for check in arguments[1:]:
            value = _checked(node, check, value)
        return value
    if origin in (Union, types.UnionType):
        return _one_of(node, arguments)
    if not _fits(node.value, annotation):
        node.fail(f"expected {_name(annotation)}, found {_kind(node.value)}")
    if origin is Literal:
        return node.value
    if dataclasses.is_dataclass(annotation):
        return _build_dataclass(node, annotation)
    if origin in (dict, Mapping):
        return {key: build(item, arguments[1]) for key, item in node.value.items()}
    if origin in (list, Sequence):
        return [build(item, arguments[0]) for item in node.value]
    if origin is tuple and arguments[-1] is Ellipsis:
        return tuple(build(item, arguments[0]) for item in node.value)
    if origin is tuple:
        if len(node.value) != len(arguments):
            node.fail(f"expected {len(arguments)} entries, found {len(node.value)}")
        return tuple(build(item, kind) for item, kind in zip(node.value, arguments, strict=True))
    return float(node.value) if annotation is float else node.value


def at_least(least: float) -> Callable[[T], T]:
    """A check: numbers from `least` on."""

    def check(value: Any) -> Any:
        if value < least:
            raise ValueError(f"expected {least} or more, found {value}")
        return value

    return check


def not_empty(value: T) -> T:
    """A check: texts, lists and tables with something in them."""
    if not value:
        raise ValueError("is empty")
    return value


def _build_dataclass(node: Node, kind: Any) -> Any:
    known = _fields(kind)
    for key, item in node.value.items():
        if key not in known:
            raise item.error(item.key_place, f"{shown(key)!r} is not known here; known are {', '.join(known)}")
    values = {}
    for key, (field, annotation) in known.items():
        if key in node.value:
            values[field.name] = build(node.value[key], annotation)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            node.fail(f"{key!r} is missing")
    return _checked(node, lambda found: kind(**found), values)


@lru_cache
def _fields(kind: Any) -> dict[str, tuple[dataclasses.Field[Any], Any]]:
    annotations = typing.get_type_hints(kind, include_extras=True)
    return {
        field.metadata.get("key", field.name): (field, annotations[field.name])
        for field in dataclasses.fields(kind)
        if field.init
    }


def _one_of(node: Node, kinds: Sequence[Any]) -> Any:
    """By the first of the types whose kind of value this is."""
    fitting = [kind for kind in kinds if _fits(node.value, kind)]
    if not fitting:
        node.fail(f"expected {' or '.join(map(_name, kinds))}, found {_kind(node.value)}")
    for kind in fitting[:-1]:
        try:
            return build(node, kind)
        except Error:
            continue
    return build(node, fitting[-1])


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of the kind that a type asks for, whatever is in it."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return True
    if origin is Annotated:
        return _fits(value, arguments[0])
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in arguments)
    if origin is Literal:
        return any(value == known and type(value) is type(known) for known in arguments)
    if dataclasses.is_dataclass(kind) or origin in (dict, Mapping):
        return isinstance(value, dict)
    if origin in (list, tuple, Sequence):
        return isinstance(value, list)
    if kind in (None, type(None)):
        return value is None
    if kind is float:
        return type(value) is int or (type(value) is float and math.isfinite(value))
    return type(value) is kind


def _checked(node: Node, check: Callable[[Any], Any], value: Any) -> Any:
    try:
        return check(value)
    except (ValueError, OverflowError) as error:
        node.fail(str(error))


def _name(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return _name(arguments[0])
    if origin in (Union, types.UnionType):
        return " or ".join(map(_name, arguments))
    if origin is Literal:
        return " or ".join(repr(known) for known in arguments)
    if dataclasses.is_dataclass(kind) or origin in (dict, Mapping):
        return "`key: value` pairs"
    if origin in (list, tuple, Sequence):
        return "a list"
    words = {str: "a word", int: "a whole number", float: "a number", bool: "true or false", None: "nothing"}
    return words.get(None if kind is type(None) else kind, str(kind))


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "`key: value` pairs"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else shown(repr(value), 80)

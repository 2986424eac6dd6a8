"""Data from a file, checked against types: dataclasses say what may stand where, and `build` makes them of it.

Whatever the types do not have is refused with its place: an unknown key, a missing one, a value of another kind.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Generic, Literal, NewType, NoReturn, TypeVar, Union

from ppls.errors import Error
from ppls.records import dataclass
from ppls.shown import shown

T = TypeVar("T")
Fail = Callable[[str, str], Error]

_LONGEST_PLACE = 200  # characters: each of a million values has its own

Word = NewType("Word", str)  # a scalar as it is written: in YAML `0`, `off` and `1.0` are names too


@dataclasses.dataclass(eq=False, slots=True)  # not frozen: of these there are many
class Node:
    """A value of a document, which knows where it stands.

    Attributes:
        value: a dictionary of nodes, a list of nodes, or a plain value.
        place: for messages: `map.yaml:12`, or `job.inputs[2].file`.
        error: makes the error from a place and what is wrong there.
        key_place: where the key that it belongs to stands.
        written: a scalar of YAML as the file has it, `1.0` or `off`.
        line: of the file, where it has lines.
        key: what messages say beside the place: the key that the value, or the list that it is in, belongs to.
    """

    value: Any
    place: str
    error: Fail
    key_place: str = ""
    written: str | None = None
    line: int = 0
    key: str = ""

    @classmethod
    def of(cls, data: Any, error: Fail, place: str = "") -> Node:
        """Plain data, as JSON gives it; places are paths: `job.inputs[2].file`, or the end of a long one."""
        value = data
        place = place if len(place) <= _LONGEST_PLACE else f"...{place[-_LONGEST_PLACE:]}"
        if isinstance(data, Mapping):
            value = {
                key: cls.of(item, error, f"{place}.{shown(key)}" if place else shown(key)) for key, item in data.items()
            }
        elif isinstance(data, (list, tuple)):
            value = [cls.of(item, error, f"{place}[{index}]") for index, item in enumerate(data)]
        return cls(value, place, error, place)

    def fail(self, why: str) -> NoReturn:
        raise self.error(self.place, f"{shown(self.key, 80)}: {why}" if self.key else why)

    def fail_key(self, why: str) -> NoReturn:
        """As `fail`, of the key that the value belongs to."""
        raise self.error(self.key_place or self.place, why)

    def plain(self) -> Any:
        """The value as plain data again."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


@dataclass(eq=False)
class Placed(Generic[T]):
    """A value with the node that it was built of, for a rule that is checked later: `Placed[int]`."""

    value: T
    node: Node


class Listed:
    """The base of dataclasses that stand in a file as the list of their fields' values, in order."""


class Part:
    """The base of dataclasses that are a part of what stands there: further keys are not looked at."""


@dataclass(eq=False, repr=False)
class made_of:  # noqa: N801 - stands in annotations, beside functions
    """A check that makes a value of a type of its own: `Annotated[Path, made_of(str, Path)]`.

    `make` takes a value of the type `kind`, and may raise `ValueError`.
    """

    kind: Any
    make: Callable[[Any], Any]


def build(node: Node, annotation: Any) -> Any:
    """What a node says, as a value of the type `annotation`; the node's error where it says something else.

    Types: `Any` (what JSON can hold), `str`, `Word`, `int`, `float` (a whole number will do, infinity and NaN will
    not), `bool`, `None`, `Literal`, `list[T]`, `tuple[T, ...]`, `tuple[A, B]`, `dict[K, T]` (a key is built as a `str`
    is), `A | B`, `Placed[T]`, `Node`, dataclasses (a field's key is its name, or `metadata={"key": ...}`; what a
    message says where it is missing may stand in `metadata={"missing": ...}`), and `Annotated[T, check, ...]`: each
    `check` takes the value and returns it, or another in its place, or raises `ValueError`, as a dataclass's
    `__post_init__` may. Of several dataclasses the one is built whose first field without a default is there, else the
    last.
    """
    if annotation is Node:
        return node
    origin, arguments = _parts(annotation)
    if origin is Placed:
        return Placed(build(node, arguments[0]), node)
    if origin is Annotated:
        return _build_checked(node, *arguments)
    if origin in (Union, types.UnionType):
        return _one_of(node, arguments)
    if not _fits(node.value, annotation):
        node.fail(f"expected {describe(annotation)}, found {_kind(node.value)}{_hint(node.value, annotation)}")
    if annotation is Any:
        return _plain(node)
    if annotation is Word:
        return str(node.value) if node.written is None else node.written
    if origin is Literal:
        return node.value
    if dataclasses.is_dataclass(annotation):
        return _build_dataclass(node, annotation)
    if origin in (dict, Mapping):
        keys, values = arguments
        if keys in (str, Word):
            return {key: build(item, values) for key, item in node.value.items()}
        return {build(_key(key, item), keys): build(item, values) for key, item in node.value.items()}
    if origin in (list, Sequence):
        return [build(item, arguments[0]) for item in node.value]
    if origin is tuple and arguments[-1] is Ellipsis:
        return tuple([build(item, arguments[0]) for item in node.value])
    if origin is tuple:
        _check_length(node, len(arguments), len(arguments))
        return tuple(build(item, kind) for item, kind in zip(node.value, arguments, strict=True))
    return float(node.value) if annotation is float else node.value


def placed(node: Node, make: Callable[[Any], T], value: Any) -> T:
    """What `make` makes; the place where it stands is said of what it refuses."""
    try:
        return make(value)
    except (ValueError, Error) as error:
        node.fail(str(error))


def at_least(least: float) -> Callable[[T], T]:
    """A check: numbers from `least` on."""

    def check(value: Any) -> Any:
        if value < least:
            raise ValueError(f"expected {least} or more, found {value}")
        return value

    return check


@dataclass(eq=False, repr=False)
class between:  # noqa: N801 - as `made_of`
    """A check: numbers from `least` to `most`."""

    least: float
    most: float

    def __call__(self, value: Any) -> Any:
        if not self.least <= value <= self.most:
            raise ValueError(f"expected a number{self.words}, found {value:,}")
        return value

    @property
    def words(self) -> str:
        return f" from {self.least:,} to {self.most:,}"


def at_most(count: int) -> Callable[[T], T]:
    """A check: texts, lists and tables of no more than `count`."""

    def check(value: Any) -> Any:
        if len(value) > count:
            raise ValueError(f"{len(value):,} {'characters' if isinstance(value, str) else 'entries'}, {count} at most")
        return value

    return check


def not_empty(value: T) -> T:
    """A check: texts, lists and tables with something in them."""
    if not value:
        raise ValueError("is empty")
    return value


def describe(kind: Any) -> str:
    """What a message calls the values of a type."""
    origin, arguments = _parts(kind)
    if origin is Placed:
        return describe(arguments[0])
    if origin is Annotated:
        return describe(_base(arguments)) + "".join(getattr(check, "words", "") for check in arguments[1:])
    if origin in (Union, types.UnionType):
        return _alternatives(arguments)
    if origin is Literal:
        return " or ".join(repr(known) for known in arguments)
    if origin in (list, tuple, Sequence):
        each = _parts(arguments[0])[1][0] if _parts(arguments[0])[0] is Annotated else arguments[0]
        return "a list" + (f", each {describe(arguments[0])}" if each in (bool, int, float, str, Word) else "")
    if _is_listed(kind):
        return "a list"
    if dataclasses.is_dataclass(kind) or origin in (dict, Mapping):
        return "`key: value` pairs"
    words = {
        str: "a word", Word: "a word", int: "a whole number", float: "a number", bool: "true or false",
        None: "nothing", Any: "plain data",
    }  # fmt: skip
    return words.get(None if kind is type(None) else kind, str(kind))


def _alternatives(kinds: Sequence[Any]) -> str:
    return " or ".join(dict.fromkeys(map(describe, kinds)))


def _build_checked(node: Node, kind: Any, *checks: Any) -> Any:
    if isinstance(checks[0], made_of):
        made, *checks = checks  # type: ignore[assignment]
        value = _checked(node, made.make, build(node, made.kind))
    else:
        value = build(node, kind)
    for check in checks:
        value = _checked(node, check, value)
    return value


def _build_dataclass(node: Node, kind: Any) -> Any:
    known = _fields(kind)
    found = node.value
    if _is_listed(kind):
        needed = sum(map(_is_required, known.values()))
        _check_length(node, needed, len(known))
        found = dict(zip(known, found, strict=False))
    elif not issubclass(kind, Part):
        for key, item in found.items():
            if key not in known:
                item.fail_key(f"'{shown(key, 80)}' is not known here; known are {', '.join(known)}")
    values = {}
    for key, field in known.items():
        if key in found:
            values[field.name] = build(found[key], _annotation(kind, field.name))
        elif _is_required(field):
            node.fail(field.metadata.get("missing", f"{key!r} is missing"))
    return _checked(node, lambda values: kind(**values), values)


def _check_length(node: Node, least: int, most: int) -> None:
    if not least <= len(node.value) <= most:
        wanted = f"{least} or {most}" if least < most else str(least)
        node.fail(f"expected {wanted} entries, found {len(node.value)}")


@cache
def _parts(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    origin = typing.get_origin(kind)
    return origin, (kind.__origin__, *kind.__metadata__) if origin is Annotated else typing.get_args(kind)


@cache
def _fields(kind: Any) -> dict[str, dataclasses.Field[Any]]:
    return {field.metadata.get("key", field.name): field for field in dataclasses.fields(kind) if field.init}


@cache
def _annotation(kind: Any, name: str) -> Any:
    """The type of a field: of one that a file has, since to resolve those of all takes longer than to read a file."""
    owner = next(base for base in kind.__mro__ if name in vars(base).get("__annotations__", ()))
    alone = types.SimpleNamespace(__annotations__={name: owner.__annotations__[name]})
    return typing.get_type_hints(alone, vars(sys.modules[owner.__module__]), include_extras=True)[name]


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _one_of(node: Node, kinds: Sequence[Any]) -> Any:
    """By the first of the types whose kind of value this is; of dataclasses, by the keys."""
    fitting = [kind for kind in kinds if _fits(node.value, kind)]
    if not fitting:
        named = [kind for kind in kinds if kind is not type(None)]
        if len(named) == 1:
            return build(node, named[0])
        node.fail(f"expected {_alternatives(kinds)}, found {_kind(node.value)}")
    if len(fitting) > 1 and all(dataclasses.is_dataclass(kind) and not _is_listed(kind) for kind in fitting):
        return build(node, _variant(node, fitting))
    for kind in fitting[:-1]:
        try:
            return build(node, kind)
        except Error:
            continue
    return build(node, fitting[-1])


def _variant(node: Node, kinds: Sequence[Any]) -> Any:
    """Of several dataclasses the one whose leading key is there, else the last."""
    leading = {next(key for key, field in _fields(kind).items() if _is_required(field)): kind for kind in kinds}
    there = [key for key in leading if key in node.value]
    found = [key for key in there if not any(key in _fields(leading[other]) for other in there if other != key)]
    if len(found) > 1:
        node.fail(f"{' and '.join(found)} cannot stand together")
    if not found:
        return kinds[-1]
    chosen = leading[found[0]]
    known = {key for kind in kinds for key in _fields(kind)}
    for key, item in node.value.items():
        if key in known and key not in _fields(chosen):
            item.fail_key(f"{key!r} has no meaning beside {found[0]!r}")
    return chosen


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of the kind that a type asks for, whatever is in it."""
    origin, arguments = _parts(kind)
    if kind is Node:
        return True
    if kind is Any:
        return value is None or type(value) in (dict, list, str, bool, int) or _is_finite(value)
    if kind is Word:
        return value is not None and not isinstance(value, (dict, list))
    if origin is Placed:
        return _fits(value, arguments[0])
    if origin is Annotated:
        return _fits(value, _base(arguments))
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in arguments)
    if origin is Literal:
        return any(value == known and type(value) is type(known) for known in arguments)
    if origin in (list, tuple, Sequence) or _is_listed(kind):
        return isinstance(value, list)
    if dataclasses.is_dataclass(kind) or origin in (dict, Mapping):
        return isinstance(value, dict)
    if kind in (None, type(None)):
        return value is None
    if kind is float:
        return type(value) is int or _is_finite(value)
    return type(value) is kind


def _is_finite(value: Any) -> bool:
    return type(value) is float and math.isfinite(value)


def _is_listed(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Listed)


def _base(arguments: Sequence[Any]) -> Any:
    """The type of values that an `Annotated` reads."""
    return arguments[1].kind if isinstance(arguments[1], made_of) else arguments[0]


def _plain(node: Node) -> Any:
    if isinstance(node.value, dict):
        return {key: build(item, Any) for key, item in node.value.items()}
    if isinstance(node.value, list):
        return [build(item, Any) for item in node.value]
    return node.value


def _key(key: str, item: Node) -> Node:
    return dataclasses.replace(item, value=key, place=item.key_place, written=key, key="")


def _checked(node: Node, check: Callable[[Any], Any], value: Any) -> Any:
    try:
        return check(value)
    except (ValueError, OverflowError) as error:
        node.fail(str(error))


def _hint(value: Any, kind: Any) -> str:
    written = isinstance(value, str) and value.strip()[:1] in [*"+-.0123456789"]
    return " (YAML wants 1.0e-5 for 1e-5)" if kind is float and written else ""


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "`key: value` pairs"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else shown(repr(value), 80)

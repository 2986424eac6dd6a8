"""The nodes of a YAML document, made of PyYAML's events one by one."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

import yaml

from ppls.budget import Budget
from ppls.schema import Fail, Node
from ppls.shown import shown

_COST = 4  # a node of YAML, which knows its line, takes as much as this many values of JSON
_MOST_DIGITS = 40  # of a number: more are of no use, and Python takes long over them
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_HANDLE = re.compile(r"^%TAG", re.MULTILINE)  # libyaml takes quadratic time over many

_CONSTRUCTOR = yaml.constructor.SafeConstructor()
_CORE = "tag:yaml.org,2002:"
_NULL, _BOOL, _INT, _FLOAT, _TIME, _STR, _SEQ, _MAP = (
    _CORE + name for name in ("null", "bool", "int", "float", "timestamp", "str", "seq", "map")
)
_VALUES: dict[str, Callable[[yaml.ScalarNode], Any]] = {
    _NULL: _CONSTRUCTOR.construct_yaml_null,
    _BOOL: _CONSTRUCTOR.construct_yaml_bool,
    _INT: _CONSTRUCTOR.construct_yaml_int,
    _FLOAT: _CONSTRUCTOR.construct_yaml_float,
    _TIME: _CONSTRUCTOR.construct_yaml_timestamp,
}


class Reader(Protocol):
    """What of a `ppls.yaml_documents.YamlReader` is used here."""

    error: Fail
    unique: bool
    budget: Budget
    place: str


def compose(reader: Reader, text: str, place: Callable[[int], str]) -> Node:
    """As `YamlReader.text`."""
    composer = _Composer(reader, place)
    try:
        if handle := _HANDLE.search(text):
            composer.fail("tag handles are not supported", 1 + text.count("\n", 0, handle.start()))
        for event in yaml.parse(text.removeprefix("\ufeff"), Loader=_LOADER):
            composer.take(event)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a lone surrogate
        mark: Any = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        composer.fail(f"not YAML: {reason}", None if mark is None else mark.line + 1)
    return composer.document


@dataclasses.dataclass(slots=True)
class _Open:
    """A list or table that has not ended yet.

    Attributes:
        before: how many nodes there were before it.
        key: that of the value to come, in a table.
    """

    value: Any
    line: int
    belongs: tuple[str, str]
    anchor: str | None
    before: int
    key: Node | None = None


class _Composer:
    """Makes nodes of events, one by one: nothing recurses, and nothing is made that the budget does not have."""

    def __init__(self, reader: Reader, place: Callable[[int], str]) -> None:
        self._reader, self._place_of = reader, place
        self._line = 0
        self._go_to(1)
        self.document = self._node(None, 1)
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._nodes = 0
        self._documents = 0

    def fail(self, why: str, line: int | None = None) -> NoReturn:
        if line is not None:
            self._go_to(line)
        raise self._reader.error(self._reader.place, why)

    def take(self, event: Any) -> None:
        self._go_to(event.start_mark.line + 1)
        if isinstance(event, yaml.ScalarEvent):
            self._count(1)
            self._ended(self._scalar(event), event.anchor, 1)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event.anchor or "")
        elif isinstance(event, yaml.CollectionStartEvent):
            self._begin(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            ended = self._stack.pop()
            node = self._node(ended.value, ended.line, ended.belongs)
            self._ended(node, ended.anchor, self._nodes - ended.before)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self.fail("not YAML: a second document begins here")

    def _go_to(self, line: int) -> None:
        if line != self._line:
            self._line, self._reader.place = line, self._place_of(line)

    def _count(self, nodes: int) -> None:
        self._nodes += nodes
        self._reader.budget.take_nodes(_COST * nodes)

    def _node(self, value: Any, line: int, belongs: tuple[str, str] = ("", ""), written: str | None = None) -> Node:
        place = self._reader.place if line == self._line else self._place_of(line)
        return Node(value, place, self._reader.error, belongs[0], written, line, belongs[1])

    def _belongs(self) -> tuple[str, str]:
        """Where the key stands that the next value belongs to, and which it is; within a list, that of the list."""
        if not self._stack:
            return "", ""
        around = self._stack[-1]
        if isinstance(around.value, list):
            return around.belongs
        return ("", "") if around.key is None else (around.key.place, str(around.key.written))

    def _scalar(self, event: Any) -> Node:
        text: str = event.value
        plain = event.tag is None and event.implicit[0]
        tag = _resolved(text) if plain else event.tag or _STR
        if plain and text == "<<" and self._expects_key():
            self.fail("merge keys, `<<`, are not supported; write the keys themselves")
        if event.tag is not None and tag not in (_STR, _resolved(text)):
            self.fail(f"cannot be understood: {_short(event.tag)} {shown(text, 80)}".rstrip())
        if len(text) > _MOST_DIGITS and tag not in (_STR, _NULL, _BOOL):
            self.fail(f"cannot be understood: a number of {len(text):,} characters")
        if tag == _STR:
            return self._node(text, self._line, self._belongs(), text)
        try:
            value = _VALUES[tag](yaml.ScalarNode(tag, text))
        except (ValueError, OverflowError) as error:  # 2020-13-13 is a date, and is none
            self.fail(f"cannot be understood: {error}")
        return self._node(value, self._line, self._belongs(), text)

    def _alias(self, anchor: str) -> None:
        if any(ended.anchor == anchor for ended in self._stack):
            self.fail(f"*{shown(anchor, 80)} stands within itself")
        if anchor not in self._anchors:
            self.fail(f"not YAML: nothing is called &{shown(anchor, 80)}")
        node, size = self._anchors[anchor]
        self._count(size)  # whoever walks through the document meets it all again
        place, key = self._belongs()
        self._ended(dataclasses.replace(node, key_place=place, key=key), None, size)

    def _begin(self, event: Any) -> None:
        is_table = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, _MAP if is_table else _SEQ):
            self.fail(f"cannot be understood: {_short(event.tag)}")
        if self._expects_key():
            self.fail("a key is a word, not a list and no `key: value` pairs")
        self._count(1)
        self._reader.budget.check_depth(len(self._stack) + 1)
        self._stack.append(_Open({} if is_table else [], self._line, self._belongs(), event.anchor, self._nodes - 1))

    def _expects_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1].value, dict) and self._stack[-1].key is None

    def _ended(self, node: Node, anchor: str | None, size: int) -> None:
        """Puts a node where it belongs."""
        if anchor is not None:
            self._anchors[anchor] = node, size
        if not self._stack:
            self.document = node
            return
        around = self._stack[-1]
        if isinstance(around.value, list):
            around.value.append(node)
        elif around.key is None:
            if not isinstance(node.written, str):  # an alias of a list
                self.fail("a key is a word, not a list and no `key: value` pairs")
            if self._reader.unique and node.written in around.value:
                self.fail(f"'{shown(node.written, 80)}' stands here twice")
            around.key = node
        else:
            around.value[around.key.written], around.key = node, None


def _short(tag: str) -> str:
    return shown(tag.replace(_CORE, "!!", 1), 80)


_RESOLVERS: dict[str, list[tuple[str, re.Pattern[str]]]] = yaml.SafeLoader.yaml_implicit_resolvers


def _resolved(text: str) -> str:
    """The tag of a plain scalar, as YAML 1.1 tells it by its looks."""
    for tag, looks in _RESOLVERS.get(text[:1], ()):
        if tag in _VALUES and looks.match(text):
            return tag
    return _STR

"""YAML nodes that know their line, so that whatever is wrong with a map can be named by file, line and rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import yaml

from ppls.converter import yaml_text
from ppls.converter.patterns import Pattern, PatternError, prefixed
from ppls.errors import MapError


def compose(path: Path, content: bytes) -> Node:
    """The top node of a YAML file. Raises `MapError` if it is not YAML or empty."""
    try:
        node = yaml_text.compose(content)
    except yaml_text.YamlError as error:
        raise MapError(f"{path}{f':{error.line}' if error.line else ''}: not YAML: {error}") from None
    if node is None:
        raise MapError(f"{path}:1: the file is empty")
    return Node(node, path)


class Node:
    """A YAML node that knows its line. Every method that asks for a form raises `MapError` where it has another."""

    def __init__(self, node: yaml.Node, path: Path) -> None:
        self._node, self._path = node, path

    @property
    def line(self) -> int:
        return int(self._node.start_mark.line) + 1

    def fail(self, rule: str) -> NoReturn:
        raise MapError(f"{self._path}:{self.line}: {rule}")

    def mapping(self, *allowed: str, required: tuple[str, ...] = ()) -> dict[str, Node]:
        """The node as a mapping of strings; only `allowed` keys, if any are given."""
        if not isinstance(self._node, yaml.MappingNode):
            self.fail(f"expected `key: value` pairs, found {self._kind()}")
        items: dict[str, Node] = {}
        for key_node, value_node in self._node.value:
            key = Node(key_node, self._path)
            name = key.text()
            if name in items:
                key.fail(f"{name!r} stands here twice")
            if allowed and name not in allowed:
                key.fail(f"{name!r} is not known here; known are {', '.join(allowed)}")
            items[name] = Node(value_node, self._path)
        for name in required:
            if name not in items:
                self.fail(f"{name!r} is missing")
        return items

    def keyed(self) -> Iterator[tuple[Node, Node]]:
        """The pairs of a mapping as nodes, after the checks of `mapping`."""
        self.mapping()
        for key, value in self._node.value:
            yield Node(key, self._path), Node(value, self._path)

    def items(self, *, length: tuple[int, ...] = ()) -> list[Node]:
        if not isinstance(self._node, yaml.SequenceNode):
            self.fail(f"expected a list, found {self._kind()}")
        if length and len(self._node.value) not in length:
            self.fail(f"expected {' or '.join(map(str, length))} entries, found {len(self._node.value)}")
        return [Node(node, self._path) for node in self._node.value]

    def text(self) -> str:
        if not isinstance(self._node, yaml.ScalarNode):
            self.fail(f"expected a word, found {self._kind()}")
        return str(self._node.value)

    def integer(self) -> int:
        value = self.value()
        if not isinstance(value, int) or isinstance(value, bool):
            self.fail(f"expected a whole number, found {value!r}")
        return value

    def number(self) -> float:
        value = self.value()
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            self.fail(f"expected a number, found {value!r} (YAML wants 1.0e-5 for 1e-5)")
        return float(value)

    def integers(self) -> tuple[int, ...]:
        return tuple(item.integer() for item in self.items())

    def value(self) -> Any:
        """The node as Python data."""
        try:
            return yaml_text.construct(self._node)
        except yaml_text.YamlError as error:
            self.fail(f"cannot be understood: {error}")

    def dictionary(self) -> dict[str, Any]:
        self.mapping()
        return dict(self.value())

    def is_text(self) -> bool:
        return isinstance(self._node, yaml.ScalarNode)

    def is_mapping(self) -> bool:
        return isinstance(self._node, yaml.MappingNode)

    def pattern(self, prefix: str, parse: Callable[[str], Pattern] = Pattern.parse) -> Pattern:
        try:
            return parse(prefixed(self.text(), prefix))
        except PatternError as error:
            self.fail(str(error))

    def _kind(self) -> str:
        return {yaml.ScalarNode: "a single value", yaml.SequenceNode: "a list"}.get(type(self._node), "pairs")

"""YAML as data, within bounds: no depth that overflows the stack, no aliases that unfold endlessly."""

from __future__ import annotations

from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MAX_DEPTH = 100
_MAX_NODES = 100_000  # with every alias written out


class YamlError(Exception):
    """What is wrong with a text, and in which line where that is known."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem)
        self.line = line


def compose(text: bytes | str) -> yaml.Node | None:
    """The top node of a text; None for an empty one. Raises `YamlError`."""
    try:
        _check_bounds(text)
        return yaml.compose(text, Loader=_LOADER)
    except (yaml.YAMLError, ValueError) as error:
        raise _readable(error) from None


def construct(node: yaml.Node) -> Any:
    """A node that `compose` gave, as Python data. Raises `YamlError`."""
    loader = _LOADER("")
    try:
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError) as error:  # 2020-13-13 is a date, and is none
        raise _readable(error) from None
    finally:
        loader.dispose()


def load(text: bytes | str) -> Any:
    """A text as Python data. Raises `YamlError`."""
    node = compose(text)
    return None if node is None else construct(node)


def _check_bounds(text: bytes | str) -> None:
    """One pass over the text's events, before anything recurses into what they describe."""
    nodes = 0
    open_nodes: list[tuple[str | None, int]] = []  # the anchor, and how many nodes there were before
    sizes: dict[str | None, int] = {}  # of what has an anchor
    event: Any
    for event in yaml.parse(text, Loader=_LOADER):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_nodes):
                raise YamlError(f"*{event.anchor} stands within itself", line)
            nodes += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.NodeEvent):
            if not isinstance(event, yaml.ScalarEvent):
                open_nodes.append((event.anchor, nodes))
            elif event.anchor:
                sizes[event.anchor] = 1
            nodes += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = nodes - before
        if len(open_nodes) > _MAX_DEPTH:
            raise YamlError(f"nested more than {_MAX_DEPTH} deep", line)
        if nodes > _MAX_NODES:
            raise YamlError(f"more than {_MAX_NODES:,} values", line)


def _readable(error: Exception) -> YamlError:
    mark = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or error
    return YamlError(str(reason), None if mark is None else mark.line + 1)

"""A run's config with some of its values replaced, and what differs between two of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ppls.errors import UsageError
from ppls.schema import Node
from ppls.shown import shown


def changed(document: Node, settings: Mapping[str, Any]) -> Node:
    """A config in which some values are others.

    Args:
        document: see `load_run`.
        settings: values by dotted path, `lr_scheduler.learning_rate`; the tables on the way are there already, as
            PaddleSeg's `--opts` has it.

    Raises:
        ppls.UsageError: there is no such table in the config.
    """
    for path, value in settings.items():
        document = _with(document, path, path.split("."), Node.of(value, document.error, f"--set {shown(path)}"))
    return document


def _with(table: Node, path: str, keys: Sequence[str], value: Node) -> Node:
    if not isinstance(table.value, dict):
        raise UsageError(f"--set {shown(path)}: {table.place} is no table, which could have a {shown(keys[0])}")
    first, *others = keys
    if not others:
        return dataclasses.replace(table, value={**table.value, first: value})
    if first not in table.value:
        raise UsageError(
            f"--set {shown(path)}: the config has no {shown(first)}; it has {shown(', '.join(table.value))}"
        )
    return dataclasses.replace(table, value={**table.value, first: _with(table.value[first], path, others, value)})


def differences(before: Any, now: Any, path: str = "") -> Iterator[str]:
    """What two configs say otherwise, a line for each value."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*before, *now]):
            inner = f"{path}.{key}" if path else str(key)
            if key not in now:
                yield f"{inner}: was {shown(repr(before[key]), 200)}, is not there now"
            elif key not in before:
                yield f"{inner}: {shown(repr(now[key]), 200)}, was not there"
            else:
                yield from differences(before[key], now[key], inner)
    elif before != now:
        yield f"{path}: {shown(repr(now), 200)}, was {shown(repr(before), 200)}"

"""All the classes that a config names and ppls does not have, at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ppls.errors import UsageError
from ppls.mappings.map_file import architectures
from ppls.mappings.map_index import map_called
from ppls.schema import Node
from ppls.shown import shown
from ppls.training.data.config import SETS
from ppls.training.data.transforms import TRANSFORMS
from ppls.training.losses import LOSSES
from ppls.training.run import KNOWN_OPTIMIZERS, why_not
from ppls.training.schedules import SCHEDULES


def check_classes(document: Node) -> None:
    """Raises `UsageError` where several of them are unknown; of a single one its own section says more."""
    found = list(_unknown(document))
    if len(found) > 1:
        raise UsageError("the config has classes that ppls does not have:", found)


def _unknown(document: Node) -> Iterator[str]:
    model, data, loss = (_table(document.value.get(name)) for name in ("model", "train_dataset", "loss"))
    yield from _of(document.value.get("model"), "architecture", architectures())
    backbone = model.get("backbone")
    name = _name(backbone)
    if name is not None and map_called(name) is None:
        yield _line(backbone, name, "backbone")
    for node in _items(loss.get("types")):
        yield from _of(node, "loss", LOSSES)
        for inner in _items(_table(node).get("losses")):
            yield from _of(inner, "loss", LOSSES)
    yield from _of(document.value.get("optimizer"), "optimizer", KNOWN_OPTIMIZERS)
    yield from _of(document.value.get("lr_scheduler"), "schedule", SCHEDULES)
    yield from _of(document.value.get("train_dataset"), "data set", SETS)
    for key in ("common_transforms", "transforms", "transforms1", "transforms2"):
        for node in _items(data.get(key)):
            yield from _of(node, "transform", TRANSFORMS)


def _of(node: Node | None, what: str, known: Collection[str]) -> Iterator[str]:
    name = _name(node)
    if name is not None and name not in known:
        yield _line(node, name, what)


def _line(node: Node | None, name: str, what: str) -> str:
    return f"{'' if node is None else node.place}: {shown(name, 80)}: no {what} of ppls{why_not(name)}"


def _name(node: Node | None) -> str | None:
    named = _table(node).get("type")
    return named.value if named is not None and isinstance(named.value, str) else None


def _table(node: Node | None) -> Mapping[str, Any]:
    return node.value if node is not None and isinstance(node.value, dict) else {}


def _items(node: Node | None) -> list[Node]:
    return node.value if node is not None and isinstance(node.value, list) else []

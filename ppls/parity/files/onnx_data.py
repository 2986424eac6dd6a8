"""Which other files an ONNX file has weights in: told before ONNX Runtime reads them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ppls.budget import Budget
from ppls.checkpoint.protobuf import fields
from ppls.errors import Error, ParityError
from ppls.shown import shown

# The messages in which a tensor may lie, by the numbers of their fields in onnx.proto.
_WITHIN = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL_DATA, _KEY, _VALUE = 13, 1, 2  # of a tensor, and of an entry


def check_external_data(path: Path) -> None:
    """Raises `ParityError` where the file is no ONNX model, or has weights in a file outside its own folder."""
    content = path.read_bytes()
    budget = Budget(len(content), lambda why: ParityError(f"{path}: {why}"))
    folder = os.path.realpath(path.parent)
    try:
        for location in _locations(memoryview(content), "model", budget, 0):
            name = location.decode("utf-8", "backslashreplace")
            target = os.path.realpath(os.path.join(folder, name))
            if "\0" in name or os.path.commonpath([folder, target]) != folder:
                raise ParityError(f"{path}: has weights in {shown(name, 200)}, outside its own folder; not opened")
            if not os.path.isfile(target):
                raise ParityError(f"{path}: has weights in {shown(name, 200)}, which is missing beside it")
    except Error:
        raise
    except ValueError as error:
        raise ParityError(f"{path}: is no ONNX model, or is damaged: {error}") from None


def _locations(message: memoryview, kind: str, budget: Budget, depth: int) -> Iterator[bytes]:
    budget.check_depth(depth)
    for number, value in fields(message, budget):
        if isinstance(value, int):
            continue
        if kind == "tensor":
            if number == _EXTERNAL_DATA:
                entry = dict(fields(value, budget))
                key, location = entry.get(_KEY, b""), entry.get(_VALUE, b"")
                if not isinstance(key, int) and not isinstance(location, int) and bytes(key) == b"location":
                    yield bytes(location)
        elif number in _WITHIN[kind]:
            yield from _locations(value, _WITHIN[kind][number], budget, depth + 1)

"""Why a map drops a tensor of a checkpoint, and what is checked before."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ppls.checkpoint.checkpoint import StoredTensor
from ppls.checkpoint.dtypes import bfloat16_to_float32
from ppls.errors import ConversionError
from ppls.mappings.constants import Constant
from ppls.mappings.maps import Duplicate, Map, applies
from ppls.records import dataclass

Tensors = Mapping[str, StoredTensor]


_TRACED_NAME = re.compile(r"eager_tmp_\d+")
TRACED = "made by the network as it ran, a constant of the export's program"


@dataclass(frozen=True)
class Fate:
    """Why the map drops a tensor, and the check that it must pass: it returns what is wrong."""

    why: str
    check: Callable[[Tensors], str | None] | None = None
    constant: float | str | None = None


def is_traced(name: str) -> bool:
    """Whether Paddle calls so a tensor that a forward made, as CCNet's does of infinities, when it is exported."""
    return _TRACED_NAME.fullmatch(name) is not None


def fates_of(name: str, map: Map, config: Mapping[str, Any]) -> list[Fate]:
    """Why a tensor of this name is dropped: one reason at most, if the map agrees with itself."""
    fates = [Fate(TRACED)] if is_traced(name) else []
    for constant in map.constants:
        indices = constant.pattern.match(name)
        if indices is not None:
            why = f"{constant}, which the PyTorch model has built in"
            fates.append(Fate(why, _constant_check(name, constant, constant.beside.fill(indices)), constant.value))
    for duplicate in map.duplicates:
        found = duplicate.pattern.match_within(name)
        if found is not None:
            original = _original(duplicate, found, config)
            fates.append(Fate(f"equal to {original}", _duplicate_check(name, original)))
    for dead in map.dead:
        if dead.pattern.match_within(name) is not None:
            fates.append(Fate(dead.why))
    return fates


def left_out(name: str, map: Map, config: Mapping[str, Any]) -> bool:
    """Whether the config has the model built without the module of this tensor."""
    return any(
        applies({optional.option: False}, config) and optional.pattern.match_within(name) is not None
        for optional in map.optional
    )


def _original(duplicate: Duplicate, found: tuple[dict[str, int], str], config: Mapping[str, Any]) -> str:
    indices, rest = found
    try:
        module = duplicate.original.fill(indices, config)
    except KeyError:  # the config could not be read, which is reported on its own
        return duplicate.original.text
    return f"{module}.{rest}" if rest else module


def _constant_check(name: str, constant: Constant, beside: str) -> Callable[[Tensors], str | None]:
    def check(tensors: Tensors) -> str | None:
        try:
            known = constant.array(tensors[beside].shape if beside in tensors else ())
        except ConversionError as error:
            return f"must be {constant}: beside it, of {beside}, {error}"
        array = tensors[name].load()
        if tensors[name].dtype == "bfloat16":
            array = bfloat16_to_float32(array)
        if np.array_equal(array, known):
            return None
        found = array.reshape(-1)[:3].tolist() if array.size else []
        return (
            f"must be {constant} of shape {list(known.shape)}, which the PyTorch model has "
            f"built in, but is {found} of shape {list(array.shape)}"
        )

    return check


def _duplicate_check(name: str, original: str) -> Callable[[Tensors], str | None]:
    def check(tensors: Tensors) -> str | None:
        if original not in tensors:
            return f"is a duplicate of {original}, which is missing"
        if _same_bits(tensors[name], tensors[original]):
            return None
        return f"must equal {original}, of which it is a duplicate, and does not: which of them to take is unknown"

    return check


def _same_bits(a: StoredTensor, b: StoredTensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    x, y = (np.ascontiguousarray(tensor.load()).reshape(-1).view(np.uint8) for tensor in (a, b))
    return bool(np.array_equal(x, y))

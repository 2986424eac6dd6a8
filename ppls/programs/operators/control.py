"""Control flow: what a branch ends in, loops, and the lists of tensors that loops fill.

The operations of both branches stand before an `if`, and ask for themselves whether they run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ppls.programs.attributes import Attributes, UnsupportedError
from ppls.programs.numbers import Numbers, Value, number_of
from ppls.programs.registry import Run, operator

_List = tuple[Tensor, ...]  # that nothing else holds changes: writing makes another


@operator(pir="if", takes="Cond X Y", numbers=True)
def choice(attributes: Attributes) -> Run:
    """Of two results the one that was computed."""

    def run(asked: Value, then: Any = None, other: Any = None) -> Any:
        return then if number_of(asked) else other

    return run


@operator(pir="while", takes="Cond X* Y*", gives="Out*", numbers=True, like=True)
def loop(attributes: Attributes) -> Run:
    """It runs as long as it asks for another round, 10,000 times at most; see `ppls.programs.calls.Loop`."""
    raise UnsupportedError("no block")


@operator(pir="create_array", takes="", numbers=True)
def create_list(attributes: Attributes) -> Run:
    """An empty list; of which type its tensors will be is theirs to say."""
    return lambda: ()


@operator(pir="array_length", numbers=True)
def length(attributes: Attributes) -> Run:
    return lambda tensors: Numbers((len(tensors),), False, "int64")


@operator(pir="array_write", takes="X Value #I")
def write(attributes: Attributes) -> Run:
    """The list with a tensor at a place of it, or behind the last."""

    def run(tensors: _List, tensor: Tensor, place: Value) -> _List:
        at = number_of(place)
        if not 0 <= at <= len(tensors):
            raise ValueError(f"place {at} of a list of {len(tensors)}")
        return (*tensors[:at], tensor, *tensors[at + 1 :])

    return run


@operator(pir="array_read slice_array_dense", takes="X #I")
def read(attributes: Attributes) -> Run:
    """A tensor by its place, which may be counted from the end."""

    def run(tensors: _List, place: Value) -> Tensor:
        at = number_of(place)
        if not -len(tensors) <= at < len(tensors):
            raise ValueError(f"place {at} of a list of {len(tensors)}")
        return tensors[at]

    return run


@operator(pir="array_to_tensor", gives="Out OutIndex")
def join(attributes: Attributes) -> Run:
    """One tensor of all, side by side along an axis or stacked along a new one; and how long each is along its own."""
    axis, stacked = attributes.integer("axis", 0), attributes.truth("use_stack", False)

    def run(tensors: _List) -> Sequence[Tensor]:
        if not tensors:
            raise ValueError("the list is empty")
        sides = [each.shape[axis] for each in tensors]
        joined = torch.stack(tensors, axis) if stacked else torch.cat(tensors, axis)
        return joined, torch.tensor(sides, dtype=torch.int32, device=joined.device)

    return run

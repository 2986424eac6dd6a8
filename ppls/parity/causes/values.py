"""Causes that an array itself shows: what must be done to the candidate's to have the reference's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

Array = np.ndarray[Any, Any]

VALUES_PER_FIT = 16  # elements to a number that is fitted: fewer are met by chance


@dataclass(frozen=True)
class ValueCause:
    """One thing that may be wrong with an array.

    Attributes:
        name: of the cause.
        applies: to the candidate's array, of the reference's shape.
        change: what the candidate's would then be beside the reference's, each with a sentence.
        of_image: whether it is a fault of what a model does with its image first, and of nothing else.
    """

    name: str
    applies: Callable[[Array], bool]
    change: Callable[[Array, Array], Iterator[tuple[str, Array]]]
    of_image: bool = False


def _is_map(found: Array) -> bool:
    return found.ndim == 4


def _mirrored(found: Array, expected: Array) -> Iterator[tuple[str, Array]]:
    yield "it is mirrored, left and right", found[..., ::-1]
    yield "it is upside down", found[..., ::-1, :]
    if found.shape[2] == found.shape[3]:
        yield "its rows and columns are exchanged", found.swapaxes(2, 3)


def _batch_order(found: Array, expected: Array) -> Iterator[tuple[str, Array]]:
    yield "its images stand in reverse order", found[::-1]


def _colours(found: Array, expected: Array) -> Iterator[tuple[str, Array]]:
    yield "its channels are in reverse order: BGR for RGB", found[:, ::-1]


def _channel_order(found: Array, expected: Array) -> Iterator[tuple[str, Array]]:
    """The order in which the channels' means and deviations are the reference's."""
    marks = [np.stack([array.mean((0, 2, 3)), array.std((0, 2, 3))]) for array in (found, expected)]
    apart = np.abs(marks[0][:, np.newaxis, :] - marks[1][:, :, np.newaxis]).sum(0)
    order = apart.argmin(1)  # by the reference's channel, the candidate's
    if len(set(order.tolist())) == len(order) and (order != np.arange(len(order))).any():
        first = int((order != np.arange(len(order))).argmax())
        sentence = f"its channels stand in another order: the reference's channel {first} is its channel {order[first]}"
        yield sentence, found[:, order]


def _rectified(found: Array, expected: Array) -> Iterator[tuple[str, Array]]:
    x = torch.from_numpy(found.copy())
    for name, function in (("ReLU", F.relu), ("ReLU6", F.relu6), ("GELU", F.gelu), ("SiLU", F.silu),
                           ("sigmoid", torch.sigmoid)):  # fmt: skip
        yield f"an activation is missing: the reference applies {name}", function(x).numpy()


def _scaled(found: Array, expected: Array) -> Iterator[tuple[str, Array]]:
    a, b = found.astype(np.float64).reshape(-1), expected.astype(np.float64).reshape(-1)
    if (squares := float(a @ a)) > 0:
        factor = float(a @ b) / squares
        yield f"a constant factor: the reference's is {factor:.6g} times as large", found * factor


def _normalised(found: Array, expected: Array) -> Iterator[tuple[str, Array]]:
    a, b = found.astype(np.float64).reshape(-1), expected.astype(np.float64).reshape(-1)
    if (variance := float(a.var())) > 0:
        factor = float((a - a.mean()) @ (b - b.mean())) / a.size / variance
        offset = float(b.mean() - factor * a.mean())
        yield f"it is normalised otherwise: the reference's is {factor:.4g} x + {offset:.4g}", found * factor + offset


def _shifted(found: Array, expected: Array) -> Iterator[tuple[str, Array]]:
    for what, axis in (("down", 2), ("to the right", 3)):
        for by in (1, -1):
            yield (
                f"it is shifted by a pixel {what if by > 0 else {2: 'up', 3: 'to the left'}[axis]}",
                np.roll(found, -by, axis),
            )


def _missing_bias(found: Array, expected: Array) -> Iterator[tuple[str, Array]]:
    offset = (expected.astype(np.float64) - found).mean((0, 2, 3), keepdims=True)
    yield "its bias is missing: each channel is off by a constant", found + offset


VALUE_CAUSES: tuple[ValueCause, ...] = (
    ValueCause("order of colours", lambda found: found.ndim == 4 and found.shape[1] == 3, _colours, of_image=True),
    ValueCause("mirrored", _is_map, _mirrored),
    ValueCause("order of images", lambda found: len(found) > 1, _batch_order),
    ValueCause("shifted", _is_map, _shifted),
    ValueCause("activation missing", lambda found: True, _rectified),
    ValueCause(
        "order of channels", lambda found: _is_map(found) and found[:, 0].size >= VALUES_PER_FIT, _channel_order
    ),
    ValueCause("factor", lambda found: found.size >= VALUES_PER_FIT, _scaled),
    ValueCause("normalised", lambda found: found.size >= 2 * VALUES_PER_FIT, _normalised, of_image=True),
)

# of the output of a layer that has none
MISSING_BIAS = ValueCause("bias", lambda found: _is_map(found) and found[:, 0].size >= VALUES_PER_FIT, _missing_bias)

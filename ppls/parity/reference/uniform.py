"""The numbers that both sides get in place of random ones in training, so that they drop the same values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def uniform(shape: Sequence[int], step: int) -> Any:
    """Numbers in [0, 1), float64, of `shape`: all of them evenly spaced, in an order that shape and step decide.

    Where they are drawn does not matter: branches may run in another order. Neither do sides of one at the end, since
    a mask of samples is (N, 1, 1, 1) here and (N,) there. The least is below any rate, so that some value is dropped
    whatever the rate; of a single number nothing is told.
    """
    count = math.prod(shape)
    if count == 1:
        return np.full(shape, 0.5)
    places = np.random.default_rng([step, *without_ones(shape)]).permutation(count)
    return ((places + min(0.5, 1e-4 * count)) / count).reshape(shape)


def without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape without the sides of one at its end."""
    sides = list(shape)
    while sides and sides[-1] == 1:
        sides.pop()
    return tuple(sides)

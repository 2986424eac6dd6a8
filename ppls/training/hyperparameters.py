"""Options of optimizers: what they may be, and what Paddle's kernels make of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from ppls.errors import UsageError

Options = TypeVar("Options", bound=Mapping[str, Any])

_BELOW_ONE = ("momentum", "beta1", "beta2")
_NUMBERS = ("lr", "lr_mult", "weight_decay", "epsilon", *_BELOW_ONE)


def checked(options: Options) -> Options:
    """The options of an optimizer or of one of its groups, where each is what it may be.

    Raises:
        UsageError: a number that is none, negative or infinite, or a momentum or beta of one or more.
    """
    for name in _NUMBERS:
        if name not in options:
            continue
        value = options[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            raise UsageError(f"{name} is {value!r}, but it must be a number, zero or above")
        if name in _BELOW_ONE and value >= 1:
            raise UsageError(f"{name} is {value!r}, but it must be below 1")
    return options


def float32(value: float) -> float:
    """A constant as Paddle's kernels keep it, whatever the type of the weights."""
    return float(np.float32(value))

"""Kinds of layers that train mode treats in a way of its own, in either framework."""

from __future__ import annotations

from typing import Any

RANDOM = ("Drop", "StochasticDepth", "RReLU")  # dropouts of every kind, DropPath and DropBlock too
_RATES = ("p", "drop_prob", "rate")
_STATISTICS = (("_mean", "_variance"), ("running_mean", "running_var"))  # Paddle's, torch's


def is_random(layer: Any) -> bool:
    """Whether a layer draws numbers in training: the two sides would draw different ones."""
    return any(part in type(layer).__name__ for part in RANDOM)


def has_statistics(layer: Any) -> bool:
    """Whether a layer normalises with the batch in training, and with the statistics that it holds else."""
    return any(all(getattr(layer, name, None) is not None for name in pair) for pair in _STATISTICS)


def dropout_rate(layer: Any) -> float:
    """The probability with which a dropout drops a value, or a DropPath a sample; libraries name it differently."""
    rate = float(next((rate for name in _RATES if (rate := getattr(layer, name, None))), 0.0))
    return 2 - rate if 1 < rate <= 2 else rate  # a DropPath of HRFormer, which rounds `1 - rate` and a draw down

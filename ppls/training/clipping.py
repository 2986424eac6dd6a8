"""Paddle's gradient clipping: a callable that shortens the gradients of one group of parameters, in place.

The norms of whole tensors are sums, whose order no two frameworks share: they agree with Paddle's to rounding (1e-7 of
a norm in float32), not bit for bit. `ClipGradByValue` is bit for bit Paddle's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ppls.errors import UsageError
from ppls.training.sharded import whole


def _positive(name: str, value: float) -> None:
    if not value > 0:
        raise UsageError(f"{name} is {value!r}, but it must be above zero")


@dataclass(frozen=True)
class ClipGradByGlobalNorm:
    """`paddle.nn.ClipGradByGlobalNorm`: all times `clip_norm / max(norm, clip_norm)`, by the norm of all at once.

    Args:
        clip_norm: the longest that a group's gradients may be together.

    Raises:
        ppls.UsageError: `clip_norm` is not above zero.
    """

    clip_norm: float

    def __post_init__(self) -> None:
        _positive("clip_norm", self.clip_norm)

    def __call__(self, gradients: Sequence[Tensor]) -> None:
        """Shortens gradients in place."""
        precise = any(gradient.dtype == torch.float64 for gradient in gradients)
        squares = [_square(gradient, torch.float64 if precise else torch.float32) for gradient in gradients]
        norm = torch.stack([square.to(squares[0].device) for square in squares]).sum().sqrt()
        factor = self.clip_norm / norm.clamp(min=self.clip_norm)
        for gradient in gradients:
            gradient.mul_(factor.to(gradient))


@dataclass(frozen=True)
class ClipGradByNorm:
    """`paddle.nn.ClipGradByNorm`: each gradient by itself, where it is longer than `clip_norm`.

    Args:
        clip_norm: the longest that one tensor's gradient may be.

    Raises:
        ppls.UsageError: `clip_norm` is not above zero.
    """

    clip_norm: float

    def __post_init__(self) -> None:
        _positive("clip_norm", self.clip_norm)

    def __call__(self, gradients: Sequence[Tensor]) -> None:
        """Shortens gradients in place."""
        for gradient in gradients:
            norm = _square(gradient, gradient.dtype).sqrt()
            if norm > self.clip_norm:
                gradient.mul_(self.clip_norm / norm)


@dataclass(frozen=True)
class ClipGradByValue:
    """`paddle.nn.ClipGradByValue`: every element within bounds.

    Args:
        max: the largest.
        min: the smallest; `-max` by default.

    Raises:
        ppls.UsageError: the bounds leave nothing between them.
    """

    max: float
    min: float | None = None

    def __post_init__(self) -> None:
        if self.min is None:
            _positive("max", self.max)
        elif not self.min <= self.max:
            raise UsageError(f"min is {self.min!r}, above max, {self.max!r}")

    def __call__(self, gradients: Sequence[Tensor]) -> None:
        """Clamps gradients in place."""
        low = -self.max if self.min is None else self.min
        for gradient in gradients:
            gradient.clamp_(low, self.max)


def _square(gradient: Tensor, dtype: torch.dtype) -> Tensor:
    """The sum of squares, over the parts in all processes, with no more rounding than that of the result."""
    return whole(gradient.double().square().sum()).to(dtype)

"""Numbers in place of random ones, in the candidate: whatever it draws is what the reference is given too.

Where a module draws, by which function and from which class of layer, does not matter: the operators below them all
are seen, in forward passes and in those that a checkpointed block makes again on the way back.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ppls.parity.reference.uniform import uniform, without_ones

_ATEN = torch.ops.aten
Shape = tuple[int, ...]


@dataclass
class Draws:
    """What a module drew.

    Attributes:
        rates: of each draw of zeros and ones the shape and the probability of zero, a module's dropouts mostly.
        numbers: the shape of each draw of uniform numbers.
        others: operators that draw what nothing stands in for.
    """

    rates: list[tuple[Shape, float | None]] = field(default_factory=list)
    numbers: list[Shape] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


class Replayed(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch types none of it
    """While active, gives every draw the numbers of `uniform`.

    Args:
        step: of the training.
        shapes: of the reference's draws: a mask of one of these shapes with its axes in another order is the same mask.
        mirrored: give uniform numbers as one minus those, to a module that keeps what is below its rate of keeping.
    """

    def __init__(self, step: int, shapes: Sequence[Shape], *, mirrored: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.draws = Draws()
        self._step, self._mirrored = step, mirrored
        self._shapes = {without_ones(shape) for shape in shapes}

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        options = options or {}
        drawn = _OPERATORS.get(function.overloadpacket)
        if drawn is not None:
            return drawn(self, function, *arguments, **options)
        if torch.Tag.nondeterministic_seeded not in function.tags:
            return function(*arguments, **options)
        before = torch.get_rng_state()
        result = function(*arguments, **options)
        if not torch.equal(before, torch.get_rng_state()):  # an attention without dropout draws nothing
            self.draws.others.append(str(function))
        return result

    def dropped(self, shape: Shape, rate: float | None) -> None:
        self.draws.rates.append((shape, rate))

    def fill(self, tensor: Tensor) -> Tensor:
        """The numbers of a tensor's shape, in its type: evenly spaced in [0, 1)."""
        shape = without_ones(tensor.shape)
        order = _axes(shape, self._shapes)
        sides = [shape[axis] for axis in order]
        numbers = uniform(sides, self._step).transpose([order.index(axis) for axis in range(len(order))])
        return tensor.copy_(torch.from_numpy(numbers.reshape(tensor.shape)))

    def numbers(self, tensor: Tensor) -> Tensor:
        self.draws.numbers.append(tuple(tensor.shape))
        self.fill(tensor)
        return tensor.neg_().add_(1) if self._mirrored else tensor

    def ones(self, tensor: Tensor, keep: float | Tensor) -> Tensor:
        """Ones where the numbers are at least the rate of dropping, zeros elsewhere."""
        rate = None if isinstance(keep, Tensor) and keep.numel() > 1 else 1.0 - float(keep)
        self.dropped(tuple(tensor.shape), rate)
        numbers = self.fill(torch.empty(tensor.shape, dtype=torch.float64))
        return tensor.copy_(numbers >= 1.0 - (keep.double() if isinstance(keep, Tensor) else keep))


def _axes(shape: Shape, shapes: set[Shape]) -> tuple[int, ...]:
    """The order of axes in which a shape is one of `shapes`; its own where it is none."""
    own = tuple(range(len(shape)))
    if shape in shapes or len(shape) > 4:
        return own
    return next((order for order in itertools.permutations(own) if tuple(shape[axis] for axis in order) in shapes), own)


def _bernoulli_(mode: Replayed, function: Any, tensor: Tensor, keep: Any = 0.5, **options: Any) -> Tensor:
    return mode.ones(tensor, keep)


def _bernoulli(mode: Replayed, function: Any, given: Tensor, keep: Any = None, **options: Any) -> Tensor:
    return mode.ones(torch.empty_like(given), given if keep is None else keep)


def _rand(mode: Replayed, function: Any, *arguments: Any, **options: Any) -> Tensor:
    return mode.numbers(function(*arguments, **options))


def _uniform_(
    mode: Replayed, function: Any, tensor: Tensor, low: float = 0.0, high: float = 1.0, **options: Any
) -> Any:
    return mode.numbers(tensor).mul_(high - low).add_(low)


def _native_dropout(mode: Replayed, function: Any, x: Tensor, rate: float, train: bool | None) -> Any:
    if train is False:
        return function(x, rate, train)
    kept = mode.ones(torch.empty_like(x), 1.0 - rate)
    return x * kept / (1.0 - rate), kept.bool()


_OPERATORS: dict[Any, Callable[..., Any]] = {
    _ATEN.bernoulli_: _bernoulli_,
    _ATEN.bernoulli: _bernoulli,
    _ATEN.rand: _rand,
    _ATEN.rand_like: _rand,
    _ATEN.uniform_: _uniform_,
    _ATEN.native_dropout: _native_dropout,
}

"""The source's network, run once: what each of its layers took and gave."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import torch
from torch import Tensor

from ppls.drafting.networks import Network
from ppls.drafting.units import Unit, can_be_joined, joined, parts_of, recast

_MOST_JOINED = 3  # query, key and value


@dataclass(frozen=True)
class Call:
    """One call of a layer; `position` among all calls, `training` whether in train mode."""

    position: int
    training: bool
    input: Tensor
    output: Tensor


@dataclass(eq=False)
class Recording:
    """What a network computed of one image.

    Attributes:
        units: its layers, and those of them as parts, as another kind or together, as another may run them.
        calls: what each took and gave, in order.
        outputs: in eval mode.
    """

    image: Tensor
    units: list[Unit]
    calls: dict[Unit, list[Call]]
    outputs: list[Tensor]

    @property
    def bytes(self) -> int:
        """What the calls take in memory."""
        kept = {
            each.untyped_storage().data_ptr(): each.untyped_storage().nbytes()
            for calls in self.calls.values()
            for call in calls
            for each in (call.input, call.output)
        }
        return sum(kept.values())


def record(network: Network, size: tuple[int, int], channels: int = 3) -> Recording:
    """Draws weights for a network, so that no two of its layers compute the same, and runs it."""
    units = network.units
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, channels, *size, generator=generator, dtype=torch.float64)
    _draw(units, generator)
    _set_statistics(network, image, generator)
    calls: dict[Unit, list[Call]] = {unit: [] for unit in units}
    waiting: dict[Unit, Tensor] = {}
    count = 0
    training = False

    def before(unit: Unit, x: Tensor) -> None:
        waiting[unit] = x.clone()

    def after(unit: Unit, result: Tensor) -> None:
        nonlocal count
        if unit in waiting:
            calls[unit].append(Call(count, training, waiting.pop(unit), result.clone()))
            count += 1

    outputs: list[Tensor] = []
    for training in (False, True):
        try:
            found = network.run(image.clone(), training, before, after)
        except Exception:
            if not training:
                raise
            continue
        outputs = outputs or found
    parts = [part for unit in units for part in parts_of(unit)]
    for part in parts:
        assert part.whole is not None
        at, count_of = part.part
        calls[part] = [
            Call(c.position, c.training, c.input, c.output.chunk(count_of, -1)[at]) for c in calls[part.whole]
        ]
    others = [other for unit in units for other in recast(unit)]
    calls |= {other: calls[other.whole] for other in others if other.whole is not None}
    together = [joined(pieces) for pieces in _of_one_input(units, calls)]
    for unit in together:
        dim = -1 if unit.kind == "linear" else 1
        calls[unit] = [
            Call(each[0].position, each[0].training, each[0].input, torch.cat([call.output for call in each], dim))
            for each in zip(*(calls[piece] for piece in unit.pieces), strict=True)
        ]
    return Recording(image, [*units, *parts, *others, *together], calls, outputs)


def _of_one_input(units: Sequence[Unit], calls: Mapping[Unit, Sequence[Call]]) -> Iterator[tuple[Unit, ...]]:
    """Every order of two or three layers that a port may have as one: of one shape, that always see the same."""
    alike: dict[Any, list[Unit]] = defaultdict(list)
    for unit in units:
        if can_be_joined(unit) and calls[unit]:
            alike[tuple(unit.shapes.items()), tuple((call.training, call.input.shape) for call in calls[unit])].append(
                unit
            )
    for group in alike.values():
        left = list(group)
        while left:
            seen = [call.input for call in calls[left[0]]]
            same = [
                unit
                for unit in left
                if all(torch.equal(x, call.input) for x, call in zip(seen, calls[unit], strict=True))
            ]
            left = [unit for unit in left if unit not in same]
            if len(same) <= _MOST_JOINED:
                for count in range(2, len(same) + 1):
                    yield from permutations(same, count)


def _draw(units: Sequence[Unit], generator: torch.Generator) -> None:
    """Weights such that outputs are about 1, and every value matters."""

    def normal(tensor: Tensor, scale: float) -> None:
        tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=torch.float64) * scale)

    with torch.no_grad():
        for unit in units:
            for name, tensor in unit.tensors.items():
                if not tensor.is_floating_point() or name in unit.kept:
                    continue
                if unit.kind.endswith("norm") and name in ("weight", "running_var"):
                    tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator, dtype=torch.float64))
                elif name == "weight" and tensor.dim() > 1 and unit.kind != "tensors":
                    normal(tensor, math.sqrt(1.5 / max(tensor[0].numel(), 1)))
                else:
                    normal(tensor, 0.3)


def _set_statistics(network: Network, image: Tensor, generator: torch.Generator) -> None:
    """Gives each BatchNorm the statistics of what it sees, near enough: no signal fades or grows on its way."""
    found: dict[Unit, tuple[Tensor, Tensor]] = {}

    def see(unit: Unit, x: Tensor) -> None:
        if unit in found or unit.kind != "batch_norm" or "running_mean" not in unit.tensors:
            return
        dims = [d for d in range(x.dim()) if d != 1]
        mean, variance = x.mean(dims), x.var(dims, unbiased=False)
        moved = 0.8 + 0.4 * torch.rand(mean.shape, generator=generator, dtype=torch.float64)
        least = variance.mean() * 0.1 + 1e-3
        found[unit] = (mean + 0.1 * (moved - 1) * variance.sqrt(), torch.maximum(variance, least) * moved)
        for name, value in zip(("running_mean", "running_var"), found[unit], strict=True):
            unit.tensors[name].copy_(value)

    for training in (False, True):
        try:
            network.run(image.clone(), training, see, lambda unit, result: None)
        except Exception:
            if not training:
                raise
        with torch.no_grad():
            for unit, (mean, variance) in found.items():  # `steady` took them back
                unit.tensors["running_mean"].copy_(mean)
                unit.tensors["running_var"].copy_(variance)

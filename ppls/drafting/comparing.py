"""Whether two activations are the same, or the same channels in another order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NEAR = 1e-3  # of the largest value: another epsilon passes, which moves what it normalises by 1e-5 or so
EXACT = 1e-9  # beyond the rounding of float64
UNLIKE = 1.0  # a distance: what is farther away is not even like it
APART = 1e3  # times the best error: what is so much farther away is not what was meant


def error(found: Tensor, expected: Tensor) -> float:
    """The largest difference by the largest value; infinite between other shapes."""
    if found.shape != expected.shape:
        return float("inf")
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    difference = float((found - expected).abs().max()) if expected.numel() else 0.0
    value = difference / scale if scale else difference
    return value if value == value else float("inf")


def distance(found: Tensor, expected: Tensor) -> float:
    """How far two maps lie apart on the whole, 0 for the same, about 1.4 for any two; infinite between other shapes."""
    if found.shape != expected.shape or not expected.numel():
        return float("inf")
    first, second = ((x - x.mean()) / (x.std() + 1e-12) for x in (found, expected))
    value = float((first - second).pow(2).mean().sqrt())
    return value if value == value else float("inf")


def order_of_channels(found: Tensor, expected: Tensor, dim: int) -> tuple[int, ...] | None:
    """Where each channel of `found` stands in `expected`; None where they are not the same channels."""
    if found.shape != expected.shape or found.shape[dim] < 2:
        return None
    ours, theirs = (x.movedim(dim, 0).flatten(1) for x in (found, expected))
    probe = torch.linspace(0.5, 1.5, ours.shape[1], dtype=ours.dtype)
    mine, its = ((x * probe).sum(1) for x in (ours, theirs))
    first, second = mine.argsort(), its.argsort()
    order = torch.empty_like(first)
    order[first] = second
    if error(ours, theirs[order]) > NEAR:
        return None
    found_order = tuple(int(at) for at in order)
    return None if found_order == tuple(range(len(found_order))) else found_order


def same_outputs(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool | None:
    """Whether an output is one of the source's; None where none is of its shape."""
    pairs = [error(one, other) for one in found for other in expected if one.shape == other.shape]
    return min(pairs) <= NEAR if pairs else None

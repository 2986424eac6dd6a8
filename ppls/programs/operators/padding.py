"""Padding, and the rule by which windows of convolutions and poolings are padded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ppls.programs.attributes import Attributes, UnsupportedError
from ppls.programs.numbers import Given, number_of, numbers_of
from ppls.programs.registry import Run, operator


class WindowPadding:
    """What is added around an image before windows are laid on it, by Paddle's three rules.

    `EXPLICIT`: the attribute `paddings`, one for each axis, or two (before, after). `VALID`: none. `SAME`: so much that
    there are `ceil(size / stride)` windows; the odd row stands at the end, and the dilation becomes 1.
    """

    def __init__(self, attributes: Attributes, axes: int) -> None:
        self.rule = attributes.choice("padding_algorithm", "EXPLICIT", "SAME", "VALID")
        given = [0] * axes if self.rule == "VALID" else attributes.integers("paddings", [0] * axes)
        if len(given) == axes:
            given = [side for each in given for side in (each, each)]
        if len(given) != 2 * axes or min(given, default=0) < 0:
            raise UnsupportedError(f"paddings {given}")
        self._pairs = list(zip(given[::2], given[1::2], strict=True))

    def pairs(self, sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int]) -> list[tuple[int, int]]:
        """Before and after, on each axis."""
        if self.rule != "SAME":
            return self._pairs
        totals = [_same_total(*each) for each in zip(sizes, kernel, stride, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]


def _same_total(size: int, kernel: int, stride: int) -> int:
    total = kernel - stride + (size + stride - 1) // stride * stride - size
    return total if kernel >= stride else max(total, 0)


def symmetric(pairs: Sequence[tuple[int, int]]) -> list[int] | None:
    """One number for each axis, where before and after are the same."""
    return [before for before, _ in pairs] if all(before == after for before, after in pairs) else None


def pad_pairs(x: Tensor, pairs: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """Pads the last axes, in their order; torch's own list begins with the last."""
    return F.pad(x, [side for pair in reversed(pairs) for side in pair], value=value)


_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "replicate", "edge": "replicate"}


@operator(pir="pad3d", pdmodel="pad3d", takes="X #Paddings")
def pad3d(attributes: Attributes) -> Run:
    """`paddings` begin with the last axis, as torch's; `circular` is torch's too."""
    attributes.must_be("data_format", "NCDHW")
    mode = attributes.choice("mode", "constant", "reflect", "replicate", "circular")
    value = attributes.number("value", 0.0) if "value" in attributes else attributes.number("pad_value", 0.0)
    listed = attributes.integers("paddings", [])

    def run(x: Tensor, paddings: Given | None = None) -> Tensor:
        sides = listed if paddings is None else numbers_of(paddings)
        return F.pad(x, sides, mode, value) if mode == "constant" else _pad_border(x, sides, mode)

    return run


def _pad_border(x: Tensor, sides: list[Any], mode: str) -> Tensor:
    """Axes that are not padded are left out: torch reflects no axis of a single element, though it adds nothing."""
    if x.dim() == 5 and all(side == 0 for side in sides[4:]):
        return F.pad(x.flatten(1, 2), sides[:4], mode).unflatten(1, x.shape[1:3])
    return F.pad(x, sides, mode)


@operator(pdmodel="pad2d", takes="X #Paddings")
def pad2d(attributes: Attributes) -> Run:
    """`paddings` are top, bottom, left, right, where torch has left, right, top, bottom."""
    attributes.layout()
    mode = _MODES[attributes.choice("mode", "constant", "reflect", "edge")]
    value = attributes.number("pad_value", 0.0)
    listed = attributes.integers("paddings", [0, 0, 0, 0])

    def run(x: Tensor, paddings: Given | None = None) -> Tensor:
        top, bottom, left, right = listed if paddings is None else numbers_of(paddings)
        return F.pad(x, [left, right, top, bottom], mode, value if mode == "constant" else None)

    return run


@operator(pir="pad", pdmodel="pad", takes="X #PadValue")
def pad(attributes: Attributes) -> Run:
    """`paddings` are before and after of every axis, from the first."""
    sides = attributes.integers("paddings")
    pairs = list(zip(sides[::2], sides[1::2], strict=False))
    value = attributes.number("pad_value", 0.0)

    def run(x: Tensor, given: Given | None = None) -> Tensor:
        return pad_pairs(x, pairs, value if given is None else number_of(given))

    return run

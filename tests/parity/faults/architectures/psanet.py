"""What a porter of PSANet gets wrong: which pixel weighs which, out of which window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ppls.models.psanet import Branch, spread
from ppls.models.resize import resize

from .change import Change, Wrong, forward_of, forward_of_each, set_everywhere, set_to


def _branch(
    weigh: Callable[[Any, Tensor], Tensor],
    window: Callable[[Tensor, Any], Tensor] = spread,
) -> Change:
    def forward(self: Any, x: Tensor, size: Any) -> Tensor:
        x = resize(self.reduce(x), size, align_corners=True)
        weights = weigh(self, window(self.mask(self.hidden(x)), self.window))
        return ((x.flatten(2) @ weights) / self.factor).reshape(x.shape)

    return forward_of_each(Branch, forward)


def _right(self: Any, weights: Tensor) -> Tensor:
    return (weights.transpose(1, 2) if self.collects else weights).softmax(1)


def _attention(
    stack: Callable[[list[Tensor]], list[Tensor]] = lambda attended: attended[::-1],
    beside: Callable[[Tensor, Tensor], list[Tensor]] = lambda x, result: [x, result],
    smaller: Callable[[int], int] = lambda side: (side - 1) // 2 + 1,
) -> Change:
    def forward(self: Any, x: Tensor) -> Tensor:
        attended = [branch(x, tuple(map(smaller, x.shape[-2:]))) for branch in self.branches]
        result = resize(self.project(torch.cat(stack(attended), 1)), x.shape[-2:], align_corners=True)
        return torch.cat(beside(x, result), 1)

    return forward_of("attention", forward)


def _columns_first(mask: Tensor, window: Any) -> Tensor:
    by_columns = mask.unflatten(1, window).transpose(1, 2).flatten(1, 2)
    return spread(by_columns, window[::-1])


def _mirrored(mask: Tensor, window: Any) -> Tensor:
    return spread(mask.flip(1), window)


FAULTS = [
    Wrong("what is collected stacked first", _attention(stack=lambda attended: attended)),
    Wrong("the map stacked last", _attention(beside=lambda x, result: [result, x])),
    Wrong("one map more on a side", _attention(smaller=lambda side: side // 2 + 1)),
    Wrong("on the whole map", _attention(smaller=lambda side: side)),
    Wrong("both branches distribute", set_everywhere("collects", False)),
    Wrong("weights without softmax", set_everywhere("softmax", False)),
    Wrong("weights softened over the other pixels", _branch(lambda self, w: _right(self, w.transpose(1, 2)))),
    Wrong("weights softened twice", _branch(lambda self, w: _right(self, w).softmax(1))),
    Wrong("weights of a sigmoid", _branch(
        lambda self, w: torch.sigmoid(w.transpose(1, 2) if self.collects else w) / w.shape[1])),
    Wrong("windows one place off", _branch(_right, lambda mask, window: spread(mask.roll(1, 1), window))),
    Wrong("windows by columns", _branch(_right, _columns_first)),
    Wrong("windows turned by half a turn", _branch(_right, _mirrored)),
    Wrong("divided by the size of the window", set_to("attention.branches.0", "factor", 59.0 * 59.0)),
    Wrong("attended maps resized to the nearest", set_everywhere("resize_mode", "nearest")),
    Wrong("logits resized with aligned corners", set_to("", "align_corners", True)),
]  # fmt: skip

"""What a porter of UNet gets wrong: which map is taken, how it is brought up again, and what stands first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.layers import ConvBNAct
from ppls.models.resize import resize
from ppls.models.unet import Expansion

from .change import (
    Change,
    Dropping,
    Wrong,
    exchanged,
    forward_of,
    forward_of_each,
    part,
    set_everywhere,
    set_to,
    together,
)


def _expansion(
    spread: Callable[[Tensor, Any], Tensor] = resize,
    stack: Callable[[Tensor, Tensor], list[Tensor]] = lambda coarse, fine: [coarse, fine],
) -> Change:
    def forward(self: Any, coarse: Tensor, fine: Tensor) -> Tensor:
        return self.convs(torch.cat(stack(spread(coarse, fine.shape[-2:]), fine), 1))

    return forward_of_each(Expansion, forward)


def _pools(make: Callable[[], nn.Module]) -> Change:
    def change(model: Any) -> None:
        for level in model.contracting:
            level[0] = make()

    return change


def _model(
    kept: Callable[[Any, Any, Tensor], tuple[Tensor, Tensor]],
) -> Change:
    """Another map kept on the way down: of a level and what it takes, what is kept and what goes on."""

    def forward(self: Any, image: Tensor) -> list[Tensor]:
        x = self.stem(image)
        maps = [x]
        for level in self.contracting:
            keep, x = kept(self, level, x)
            maps.append(keep)
        maps.pop()
        for level in self.expanding:
            x = level(x, maps.pop())
        return [self.classifier(x)]

    return forward_of("", forward)


def _before_the_second_convolution(model: Any, level: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    x = level[1][0](level[0](x))
    return x, level[1][1](x)


def _activated_first(self: Any, x: Tensor) -> Tensor:
    return self.bn(F.relu(self.conv(x)))


def _centre_alone(conv: Any) -> None:
    kernel = torch.zeros_like(conv.weight)
    kernel[..., 1, 1] = conv.weight.data[..., 1, 1]
    conv.weight.data = kernel


def _padded(mode: str) -> Callable[[Any], None]:
    def change(conv: Any) -> None:
        conv.padding_mode, conv._reversed_padding_repeated_twice = mode, [1, 1, 1, 1]

    return change


def _unpadded(conv: Any) -> None:
    """Cut off where it is not defined, and filled up with zeros: as the paper's convolutions, with the size kept."""
    conv.padding = (0, 0)
    conv.forward = lambda x: F.pad(type(conv).forward(conv, x), (1, 1, 1, 1))


def _without_bias(conv: Any) -> None:
    conv.bias = None


def _bottom_twice(self: Any, image: Tensor) -> list[Tensor]:
    maps = [self.stem(image)]
    for level in self.contracting:
        maps.append(level(maps[-1]))
    x = maps.pop()
    x = self.contracting[3][1](x)
    for level in self.expanding:
        x = level(x, maps.pop())
    return [self.classifier(x)]


FAULTS = [
    Wrong("the fine map stacked first", _expansion(stack=lambda coarse, fine: [fine, coarse])),
    Wrong("the fine map taken for both", _expansion(stack=lambda coarse, fine: [fine, fine])),
    Wrong("maps brought up by the nearest", _expansion(lambda x, size: resize(x, size, "nearest"))),
    Wrong("maps brought up with aligned corners", set_everywhere("align_corners", True)),
    Wrong("maps brought up cubically", _expansion(lambda x, size: resize(x, size, "bicubic"))),
    Wrong("maps brought up to even places", _expansion(
        lambda x, size: torch.zeros(*x.shape[:2], *size).index_put(
            (torch.arange(len(x))[:, None, None, None], torch.arange(x.shape[1])[None, :, None, None],
             torch.arange(0, size[0], 2)[:, None], torch.arange(0, size[1], 2)[None, :]), x))),
    Wrong("means for maxima", _pools(lambda: nn.AvgPool2d(2))),
    Wrong("pools that overlap", _pools(lambda: nn.MaxPool2d(3, 2, 1))),
    Wrong("strides for pools", _pools(lambda: nn.MaxPool2d(1, 2))),
    Wrong("maps kept before their second convolution", _model(_before_the_second_convolution)),
    Wrong("the bottom run twice", forward_of("", _bottom_twice)),
    Wrong("convolutions of a level exchanged", exchanged("contracting.3.1.0", "contracting.3.1.1")),
    Wrong("an activation left out on the way up", set_to("expanding.1.convs.1", "activation", None)),
    Wrong("an activation that leaks on the way down", set_to("contracting.1.1.0", "activation", F.leaky_relu)),
    Wrong("activated before normalised", forward_of_each(ConvBNAct, _activated_first)),
    Wrong("normalised by the image itself", together(*(
        forward_of(f"stem.{i}.bn", lambda self, x: F.instance_norm(x, weight=self.weight, bias=self.bias))
        for i in (0, 1)))),
    Wrong("a classifier that sees one pixel", part("classifier", _centre_alone)),
    Wrong("a classifier that sees borders mirrored", part("classifier", _padded("reflect"))),
    Wrong("borders repeated on the way up", part("expanding.3.convs.0.conv", _padded("replicate"))),
    Wrong("a convolution as the paper has it, not padded", part("stem.1.conv", _unpadded)),
    Wrong("a classifier without bias", part("classifier", _without_bias)),
    Wrong("kernels turned by half a turn", part("expanding.0.convs.0.conv", lambda conv: setattr(
        conv, "weight", nn.Parameter(conv.weight.detach().flip(2, 3))))),
    Wrong("dropout at work at the bottom", lambda model: model.contracting[3].append(Dropping())),
    Wrong("one epsilon of 2e-5 on the way up", set_to("expanding.2.convs.0.bn", "eps", 2e-5), "numerics"),
    Wrong("a softmax at the end", lambda model: model.register_forward_hook(
        lambda m, x, outputs: [logits.softmax(1) for logits in outputs])),
    Wrong("a batch in which images see each other", lambda model: model.stem.register_forward_hook(
        lambda m, x, y: y + 0.01 * (y.mean(0, keepdim=True) - y))),
]  # fmt: skip

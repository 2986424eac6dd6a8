"""What a porter of STDCSeg gets wrong: corners, the order of context, attention by means, heads of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ppls.models.attention import SqueezeExcite
from ppls.models.resize import resize
from ppls.models.stdc import STDCBlock
from ppls.models.stdcseg import AttentionRefinement, FeatureFusion

from .change import Change, Wrong, exchanged, forward_of, forward_of_each, set_to, together


def _model(
    corners: bool = True,
    stack: Callable[[Tensor, Tensor], list[Tensor]] = lambda detail, context: [detail, context],
    contexts: Callable[[Any], Any] = lambda both: both,
    boundary: Callable[[Any, list[Tensor]], Tensor] = lambda self, features: self.boundary_heads[2](features[2]),
) -> Change:
    def forward(self: Any, image: Tensor) -> list[Tensor]:
        features = self.backbone(image)
        context8, context16 = self.context(features[3], features[4], features[2].shape[-2:])
        logits = [self.head(self.fusion(torch.cat(stack(features[2], context8), 1)))]
        boundaries = []
        if self.training:
            logits += [head(x) for head, x in zip(self.context_heads, contexts((context8, context16)), strict=True)]
            boundaries = [boundary(self, features)]
        return [resize(x, image.shape[-2:], align_corners=corners) for x in logits] + boundaries

    return forward_of("", forward)


def _context(
    mean: Callable[[Any, Tensor], Tensor] = lambda self, x: self.image_mean(x.mean((2, 3), keepdim=True)),
    to_16: Callable[[Tensor, Any], Tensor] = lambda x, size: resize(x, size, "nearest"),
    late: bool = False,
) -> Change:
    def forward(self: Any, x16: Tensor, x32: Tensor, size8: Any) -> tuple[Tensor, Tensor]:
        coarse = self.attention32(x32)
        if not late:
            coarse = coarse + mean(self, x32)
        context16 = self.conv32(to_16(coarse, x16.shape[-2:]))
        fine = self.attention16(x16) + context16
        if late:
            fine = fine + mean(self, x32)
        return self.conv16(resize(fine, size8, "nearest")), context16

    return forward_of("context", forward)


def _refinement(forward: Callable[[Any, Tensor], Tensor]) -> Change:
    return forward_of_each(AttentionRefinement, forward)


def _fusion(forward: Callable[[Any, Tensor], Tensor]) -> Change:
    return forward_of_each(FeatureFusion, forward)


def _squeezed(activation: Callable[[Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    def forward(self: Any, x: Tensor) -> Tensor:
        x = self.conv(x)
        means = x.mean((2, 3), keepdim=True)
        return x + x * torch.sigmoid(self.excite(activation(self.squeeze(means))))

    return forward


def _weights(self: Any, x: Tensor) -> Tensor:
    return self.excite(x.mean((2, 3), keepdim=True))


def _halves_exchanged(self: Any, x: Tensor) -> Tensor:
    return torch.cat(STDCBlock.forward(self, x).chunk(2, 1)[::-1], 1)


def _pooled_on_the_way(self: Any, x: Tensor) -> Tensor:
    """What is stacked is convolved, what goes on is pooled: the other way round."""
    x = self.convs[0](x)
    outputs = [self.downsample(x)]
    x = self.pool(x)
    for conv in self.convs[1:]:
        x = conv(x)
        outputs.append(x)
    return torch.cat(outputs, 1)


def _narrow_average(model: Any) -> None:
    for block in model.backbone.blocks:
        if getattr(block, "pool", None) is not None and hasattr(block.pool, "kernel_size"):
            block.pool.kernel_size, block.pool.padding = 2, 0


FAULTS = [
    Wrong("logits resized without aligned corners", _model(corners=False)),
    Wrong("context stacked first", _model(stack=lambda detail, context: [context, detail])),
    Wrong("context resized bilinearly", set_to("context", "resize_mode", "bilinear")),
    Wrong("the coarser context alone resized bilinearly", _context(to_16=resize)),
    Wrong("the mean of the image left out", _context(lambda self, x: torch.zeros(()))),
    Wrong("the mean of the image joins one level late", _context(late=True)),
    Wrong("maxima of the image for its mean", _context(lambda self, x: self.image_mean(x.amax((2, 3), keepdim=True)))),
    Wrong("the mean of the image behind its convolution",
          _context(lambda self, x: self.image_mean(x).mean((2, 3), keepdim=True))),
    Wrong("convolutions of both contexts exchanged", exchanged("context.conv16", "context.conv32")),
    Wrong("refined by a hard sigmoid", together(
        *(set_to(f"context.attention{size}.excite", "activation", F.hardsigmoid) for size in (16, 32)))),
    Wrong("refined by ReLU", set_to("context.attention16.excite", "activation", F.relu)),
    Wrong("not refined", _refinement(lambda self, x: self.conv(x))),
    Wrong("refined in a residual",
          _refinement(lambda self, x: (y := self.conv(x)) + y * _weights(self, y))),
    Wrong("refined by maxima",
          _refinement(lambda self, x: (y := self.conv(x)) * self.excite(y.amax((2, 3), keepdim=True)))),
    Wrong("refined pixel by pixel", _refinement(lambda self, x: (y := self.conv(x)) * self.excite(y))),
    Wrong("fused without the residual", _fusion(lambda self, x: SqueezeExcite.forward(self, self.conv(x)))),
    Wrong("fused with the residual twice", _fusion(
        lambda self, x: SqueezeExcite.forward(self, y := self.conv(x)) + 2 * y)),
    Wrong("fused by squares", _fusion(
        lambda self, x: (y := self.conv(x)) + y * SqueezeExcite.forward(self, y))),
    Wrong("squeezed without activation", _fusion(_squeezed(lambda x: x))),
    Wrong("squeezed by GELU", _fusion(_squeezed(F.gelu))),
    Wrong("halves of a block exchanged", forward_of_each(STDCBlock, _halves_exchanged)),
    Wrong("pooled on the way on", forward_of("backbone.blocks.4", _pooled_on_the_way)),
    Wrong("means of four pixels for nine", _narrow_average),
    Wrong("a head's hidden map not activated", set_to("head.conv", "activation", None)),
    Wrong("heads of context exchanged", exchanged("context_heads.0", "context_heads.1"), "layers"),
    Wrong("contexts for their heads in reverse", _model(contexts=lambda both: both[::-1]), "layers"),
    Wrong("boundaries through a sigmoid",
          _model(boundary=lambda self, features: torch.sigmoid(self.boundary_heads[2](features[2]))), "heads"),
    Wrong("boundaries of the finer map",
          _model(boundary=lambda self, features: self.boundary_heads[1](features[1])), "layers"),
    Wrong("boundaries resized", _model(
        boundary=lambda self, features: resize(self.boundary_heads[2](features[2]), (64, 128))), "heads"),
    Wrong("an auxiliary head's epsilon 1e-3", set_to("context_heads.1.conv.bn", "eps", 1e-3), "layers"),
    Wrong("a boundary head's epsilon 2e-5", set_to("boundary_heads.2.conv.bn", "eps", 2e-5), "numerics"),
]  # fmt: skip

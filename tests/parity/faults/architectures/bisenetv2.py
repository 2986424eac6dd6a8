"""What a porter of BiSeNetV2 gets wrong: padding, expansions, gates, and the order of its heads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.bisenet import GatherExpansion, StridedGatherExpansion
from ppls.models.layers import SameConv2d
from ppls.models.resize import resize

from .change import Change, Dropping, Wrong, exchanged, forward_of, forward_of_each, part, put, set_everywhere, set_to


def _aggregation(
    gate: Callable[[Any, Tensor, Any], Tensor] = lambda self, x, size: torch.sigmoid(resize(self.semantic_up(x), size)),
    keep: Callable[[Any, Tensor], Tensor] = lambda self, x: torch.sigmoid(self.semantic_keep(x)),
    down: Callable[[Any, Tensor], Tensor] = lambda self, x: self.detail_pool(self.detail_down(x)),
    join: Callable[[Tensor, Tensor], Tensor] = torch.add,
    spread: Callable[[Tensor, Any], Tensor] = resize,
) -> Change:
    def forward(self: Any, detail: Tensor, semantic: Tensor) -> Tensor:
        size = detail.shape[-2:]
        fine = self.detail_keep(detail) * gate(self, semantic, size)
        coarse = down(self, detail) * keep(self, semantic)
        return self.conv(join(fine, spread(coarse, size)))

    return forward_of("aggregation", forward)


def _model(features_of: Callable[[list[Tensor]], list[Tensor]]) -> Change:
    """Other maps for the heads of training."""

    def forward(self: Any, image: Tensor) -> list[Tensor]:
        features = [self.stem(image)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        logits = [self.head(self.aggregation(self.detail(image), self.embedding(features[-1])))]
        if self.training:
            logits += [head(x) for head, x in zip(self.auxiliary_heads, features_of(features), strict=False)]
        return [resize(x, image.shape[-2:]) for x in logits]

    return forward_of("", forward)


def _same_on_all_sides(model: nn.Module) -> None:
    """A row on every side, as torch's `padding=1`."""
    for conv in model.modules():
        if isinstance(conv, SameConv2d) and conv.kernel_size == (3, 3):
            conv.forward = lambda x, conv=conv: F.conv2d(x, conv.weight, conv.bias, conv.stride, 1, 1, conv.groups)


def _same_at_top(model: nn.Module) -> None:
    """The odd row at the top and the odd column on the left."""
    for conv in model.modules():
        if isinstance(conv, SameConv2d) and conv.kernel_size == (3, 3):
            conv.forward = lambda x, conv=conv: F.conv2d(
                F.pad(x, (1, 0, 1, 0)), conv.weight, conv.bias, conv.stride, 0, 1, conv.groups
            )


def _interleaved(conv: Any) -> None:
    """What each channel expands to stands apart, not side by side."""
    weight = conv.weight.detach()
    conv.weight = nn.Parameter(weight.unflatten(0, (conv.groups, -1)).transpose(0, 1).reshape(weight.shape))


def _embedding(forward: Callable[[Any, Tensor], Tensor]) -> Change:
    return forward_of("embedding", forward)


def _stem(forward: Callable[[Any, Tensor], Tensor]) -> Change:
    return forward_of("stem", forward)


def _stem_of_two_pools(self: Any, x: Tensor) -> Tensor:
    x = self.conv(x)
    return self.fuse(torch.cat([self.pool(x), self.pool(x)], 1))


FAULTS = [
    Wrong("padded on all sides where Paddle pads one", _same_on_all_sides),
    Wrong("the odd row at the top", _same_at_top),
    Wrong("the stem's pool stacked first",
          _stem(lambda self, x: self.fuse(torch.cat([self.pool(x := self.conv(x)), self.down(self.squeeze(x))], 1)))),
    Wrong("the stem's pool twice", _stem(_stem_of_two_pools)),
    Wrong("the stem pools means", put("stem.pool", nn.AvgPool2d(3, 2, 1))),
    Wrong("the stem pools four pixels", put("stem.pool", nn.MaxPool2d(2, 2))),
    Wrong("an expansion's sum not activated",
          forward_of("stages.0.1", lambda self, x: self.project(self.expand(self.gather(x))) + x)),
    Wrong("an expansion activated before its sum", forward_of_each(
        GatherExpansion, lambda self, x: F.relu(self.project(self.expand(self.gather(x)))) + x)),
    Wrong("an expansion without its sum", forward_of_each(
        GatherExpansion, lambda self, x: F.relu(self.project(self.expand(self.gather(x)))))),
    Wrong("an expansion activated within", forward_of_each(
        GatherExpansion, lambda self, x: F.relu(self.project(F.relu(self.expand(self.gather(x)))) + x))),
    Wrong("expanded channels interleaved", part("stages.1.1.expand.conv", _interleaved)),
    Wrong("the second depthwise convolution left out", forward_of_each(
        StridedGatherExpansion, lambda self, x: F.relu(self.project(self.expand(self.gather(x))) + self.shortcut(x)))),
    Wrong("a strided expansion without shortcut", forward_of_each(
        StridedGatherExpansion, lambda self, x: F.relu(self.project(self.depthwise(self.expand(self.gather(x))))))),
    Wrong("a shortcut that is activated within", forward_of(
        "stages.1.0.shortcut", lambda self, x: self[1](F.relu(self[0](x))))),
    Wrong("embedded without its sum", _embedding(
        lambda self, x: self.conv(self.project(self.norm(self.pool(x))).expand_as(x)))),
    Wrong("embedded by maxima", _embedding(
        lambda self, x: self.conv(self.project(self.norm(x.amax((2, 3), keepdim=True))) + x))),
    Wrong("embedded without normalisation", _embedding(lambda self, x: self.conv(self.project(self.pool(x)) + x))),
    Wrong("embedded by a product", _embedding(lambda self, x: self.conv(self.project(self.norm(self.pool(x))) * x))),
    Wrong("a gate resized after its sigmoid",
          _aggregation(gate=lambda self, x, size: resize(torch.sigmoid(self.semantic_up(x)), size))),
    Wrong("a gate left open", _aggregation(gate=lambda self, x, size: resize(self.semantic_up(x), size))),
    Wrong("a gate by a hard sigmoid",
          _aggregation(gate=lambda self, x, size: F.hardsigmoid(resize(self.semantic_up(x), size)))),
    Wrong("a gate of the nearest", set_to("aggregation", "resize_mode", "nearest")),
    Wrong("the coarse gate left out", _aggregation(keep=lambda self, x: self.semantic_keep(x))),
    Wrong("gates exchanged", _aggregation(
        gate=lambda self, x, size: torch.sigmoid(resize(self.semantic_keep(x), size)),
        keep=lambda self, x: torch.sigmoid(self.semantic_up(x)))),
    Wrong("detail pooled with its padding", set_to("aggregation.detail_pool", "count_include_pad", True)),
    Wrong("maxima of detail", put("aggregation.detail_pool", nn.MaxPool2d(3, 2, 1))),
    Wrong("detail pooled before it is convolved",
          _aggregation(down=lambda self, x: self.detail_down(self.detail_pool(x)))),
    Wrong("branches multiplied", _aggregation(join=torch.mul)),
    Wrong("the coarse branch spread by the nearest", _aggregation(spread=lambda x, size: resize(x, size, "nearest"))),
    Wrong("corners aligned everywhere", set_everywhere("align_corners", True)),
    Wrong("the last of detail not activated", set_to("detail.7", "activation", None)),
    Wrong("the head's dropout at work", put("head.dropout", Dropping())),
    Wrong("the head activated by ReLU6", set_to("head.conv", "activation", F.relu6)),
    Wrong("heads of training on later maps", _model(lambda features: features[1:]), "layers"),
    Wrong("an auxiliary classifier without bias",
          part("auxiliary_heads.1.classifier", lambda conv: setattr(conv, "bias", None)), "layers"),
    Wrong("an auxiliary head activated by LeakyReLU",
          set_to("auxiliary_heads.2.conv", "activation", F.leaky_relu), "layers"),
    Wrong("logits of training through a softmax", lambda model: model.register_forward_hook(
        lambda m, x, outputs: outputs[:1] + [logits.softmax(1) for logits in outputs[1:]]), "heads"),
    Wrong("expansions of a stage exchanged", exchanged("stages.2.1.expand", "stages.2.2.expand")),
    Wrong("one epsilon of 2e-5 in detail", set_to("detail.3.bn", "eps", 2e-5), "numerics"),
    Wrong("one momentum of 0.01 in an auxiliary head",
          set_to("auxiliary_heads.0.conv.bn", "momentum", 0.01), "numerics"),
]  # fmt: skip

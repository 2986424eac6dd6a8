"""What a porter gets wrong of the dilated ResNet-D, and of the two that have it: DeepLabV3P and PSPNet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.aspp import ASPP
from ppls.models.layers import ConvBNAct, SeparableConv
from ppls.models.pyramid import PooledBranch, PyramidPooling
from ppls.models.resize import resize
from ppls.models.resnet_vd import BasicBlock, Shortcut

from .change import Change, Dropping, Wrong, forward_of, forward_of_each, part, put, set_everywhere, set_to, together


def _last_pool(make: Callable[[], nn.Module]) -> Change:
    """Another pooling beside the only stage that strides without dilation."""
    return put("backbone.stages.1.0.shortcut.pool", make())


def _dilation(name: str, dilation: int) -> Change:
    def change(model: nn.Module) -> None:
        for conv in model.get_submodule(name).modules():
            if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3):
                conv.dilation = conv.padding = (dilation, dilation)

    return change


def _strides_late(block: Any) -> None:
    """The second convolution of the block strides, not the first."""
    block.conv1.conv.stride, block.conv2.conv.stride = (1, 1), (2, 2)


def _subsampled(self: Any, x: Tensor) -> Tensor:
    return ConvBNAct.forward(self, x[..., ::2, ::2] if isinstance(self.pool, nn.AvgPool2d) else x)


def _activated_before_the_sum(self: Any, x: Tensor) -> Tensor:
    return F.relu(self.shortcut(x)) + F.relu(self.conv2(self.conv1(x)))


def _features_before_the_pool(self: Any, x: Tensor) -> list[Tensor]:
    features = []
    x = self.pool(self.stem(x))
    for stage in self.stages:
        for block in stage:
            before, x = x, block(x)
        features.append(before if before.shape == x.shape else x)
    return features


def _without_bias(layer: Any) -> None:
    layer.bias = None


def _statistics(norm: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return norm.running_mean, norm.running_var, norm.weight, norm.bias


def _activated_first(self: Any, x: Tensor) -> Tensor:
    """ReLU between convolution and normalisation."""
    return self.bn(F.relu(self.conv(x)))


def _functional_norm(epsilon: float) -> Callable[[Any], None]:
    """The block calls the function, with an epsilon of its own; its normalisation has the right one."""

    def change(block: Any) -> None:
        block.forward = lambda x: F.relu(F.batch_norm(block.conv(x), *_statistics(block.bn), eps=epsilon))

    return change


class ByHand(nn.Module):
    """Statistics, arithmetic and epsilon under names of its own."""

    def __init__(self, norm: Any, epsilon: float, share: float = 0.1, *, beside: bool = False) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self.register_buffer("running_mean", norm.running_mean)
        self.register_buffer("running_var", norm.running_var)
        self.tiny, self.share, self.beside = epsilon, share, beside

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.running_mean, self.running_var
        if self.training:
            mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
            self.running_mean.lerp_(mean.detach(), self.share)
            self.running_var.lerp_(variance.detach(), self.share)
        scale = self.weight / (variance.sqrt() + self.tiny if self.beside else torch.sqrt(variance + self.tiny))
        return (x - mean[:, None, None]) * scale[:, None, None] + self.bias[:, None, None]


def _by_hand(name: str, *options: Any, **named: Any) -> Change:
    return lambda model: put(name, ByHand(model.get_submodule(name), *options, **named))(model)


BACKBONE = [
    Wrong("a shortcut that takes every second pixel", forward_of_each(Shortcut, _subsampled)),
    Wrong("a shortcut that takes maxima", _last_pool(lambda: nn.MaxPool2d(2, 2, ceil_mode=True))),
    Wrong("a shortcut that averages nine pixels",
          _last_pool(lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False))),
    Wrong("the second convolution strides", part("backbone.stages.1.0", _strides_late)),
    Wrong("activated before the sum", forward_of_each(BasicBlock, _activated_before_the_sum)),
    Wrong("the sum not activated",
          forward_of("backbone.stages.2.1", lambda self, x: self.shortcut(x) + self.conv2(self.conv1(x)))),
    Wrong("a stem that pools four pixels", put("backbone.pool", nn.MaxPool2d(2, 2))),
    Wrong("a stem that pools means", put("backbone.pool", nn.AvgPool2d(3, 2, 1, count_include_pad=False))),
    Wrong("a stem that strides late", together(
        set_to("backbone.stem.0.conv", "stride", (1, 1)), set_to("backbone.stem.2.conv", "stride", (2, 2)))),
    Wrong("a stage that is not dilated", _dilation("backbone.stages.2", 1)),
    Wrong("a stage dilated twice as far", _dilation("backbone.stages.2", 4)),
    Wrong("maps taken one block early", forward_of("backbone", _features_before_the_pool)),
]  # fmt: skip


# DeepLabV3P
def _aspp(
    mean: Callable[[Any, Tensor], Tensor] = lambda self, x: self.image_mean(x.mean((2, 3), keepdim=True)),
    stack: Callable[[list[Tensor], Tensor], list[Tensor]] = lambda branches, mean: [*branches, mean],
) -> Change:
    def forward(self: Any, x: Tensor) -> Tensor:
        spread = resize(mean(self, x), x.shape[-2:])
        return self.project(torch.cat(stack([branch(x) for branch in self.branches], spread), 1))

    return forward_of_each(ASPP, forward)


def _decoder(
    spread: Callable[[Tensor, Any], Tensor] = resize,
    stack: Callable[[Tensor, Tensor], list[Tensor]] = lambda coarse, fine: [coarse, fine],
    fine_map: Callable[[Any, Tensor], Tensor] = lambda self, fine: self.conv_fine(fine),
) -> Change:
    def forward(self: Any, coarse: Tensor, fine: Tensor) -> Tensor:
        coarse = spread(coarse, fine.shape[-2:])
        return self.classifier(self.refine(torch.cat(stack(coarse, fine_map(self, fine)), 1)))

    return forward_of("decoder", forward)


def _separable(forward: Callable[[Any, Tensor], Tensor]) -> Change:
    return forward_of_each(SeparableConv, forward)


DEEPLABV3P = [
    *BACKBONE,
    Wrong("blocks of the last stage dilated alike", _dilation("backbone.stages.3", 4)),
    Wrong("a branch dilated half as far", _dilation("aspp.branches.1", 6)),
    Wrong("the mean of the image stacked first", _aspp(stack=lambda branches, mean: [mean, *branches])),
    Wrong("branches stacked in reverse", _aspp(stack=lambda branches, mean: [*branches[::-1], mean])),
    Wrong("maxima of the image for its mean", _aspp(lambda self, x: self.image_mean(x.amax((2, 3), keepdim=True)))),
    Wrong("the mean of the image not activated",
          _aspp(lambda self, x: self.image_mean.bn(self.image_mean.conv(x.mean((2, 3), keepdim=True))))),
    Wrong("the mean of the image not normalised",
          _aspp(lambda self, x: F.relu(self.image_mean.conv(x.mean((2, 3), keepdim=True))))),
    Wrong("the mean of the image after its convolution",
          _aspp(lambda self, x: self.image_mean(x).mean((2, 3), keepdim=True))),
    Wrong("an activation between depthwise and pointwise",
          _separable(lambda self, x: self.pointwise(F.relu(self.depthwise(x))))),
    Wrong("depthwise not normalised", _separable(lambda self, x: self.pointwise(self.depthwise.conv(x)))),
    Wrong("pointwise before depthwise, where both fit",
          part("decoder.refine.1", lambda conv: setattr(conv, "forward", lambda x: conv.depthwise(conv.pointwise(x))))),
    Wrong("the fine map stacked first", _decoder(stack=lambda coarse, fine: [fine, coarse])),
    Wrong("the coarse map resized to the nearest", _decoder(lambda x, size: resize(x, size, "nearest"))),
    Wrong("the coarse map resized with aligned corners", _decoder(lambda x, size: resize(x, size, align_corners=True))),
    Wrong("the coarse map repeated", _decoder(lambda x, size: x.repeat_interleave(2, 2).repeat_interleave(2, 3))),
    Wrong("the fine map not activated",
          _decoder(fine_map=lambda self, fine: self.conv_fine.bn(self.conv_fine.conv(fine)))),
    Wrong("logits resized with aligned corners", set_to("", "align_corners", True)),
    Wrong("a classifier without bias", part("decoder.classifier", _without_bias)),
    Wrong("a convolution that lost its bias to its normalisation", part("aspp.project.conv", _without_bias)),
    Wrong("activated before it is normalised", forward_of("aspp.project", _activated_first)),
    Wrong("dropout at work behind the pooling", put("aspp.dropout", Dropping())),
    Wrong("an epsilon of TensorFlow's in the pooling alone", set_to("aspp.project.bn", "eps", 1e-3)),
    Wrong("a functional BatchNorm with another epsilon", part("aspp.project", _functional_norm(1.2e-5)), "layers"),
    Wrong("a BatchNorm by hand with another epsilon", _by_hand("decoder.conv_fine.bn", 1.3e-5), "numerics"),
    Wrong("a BatchNorm's epsilon beside the deviation", _by_hand("aspp.image_mean.bn", 1e-6, beside=True)),
    Wrong("a BatchNorm by hand with Paddle's momentum", _by_hand("decoder.conv_fine.bn", 1e-5, 0.9), "numerics"),
]  # fmt: skip


# PSPNet
def _pyramid(
    stack: Callable[[Tensor, list[Tensor]], list[Tensor]] = lambda x, pooled: [x, *pooled[::-1]],
    spread: Callable[[Tensor, Any], Tensor] = resize,
) -> Change:
    def forward(self: Any, x: Tensor) -> Tensor:
        pooled = [spread(branch(x), x.shape[-2:]) for branch in self.branches]
        return self.project(torch.cat(stack(x, pooled), 1))

    return forward_of_each(PyramidPooling, forward)


class FixedBins(nn.Module):
    """Bins of one size each, as an average pooling with a stride has them: what is left over is left out."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        kernel = [side // self.size for side in x.shape[-2:]]
        return F.avg_pool2d(x, kernel, kernel)[..., : self.size, : self.size]


def _one_head(self: Any, image: Tensor) -> list[Tensor]:
    main = self.backbone(image)[3]
    return [resize(self.classifier(self.pyramid(main)), image.shape[-2:])]


def _unpooled_branch(self: Any, x: Tensor) -> Tensor:
    return self.pool(ConvBNAct.forward(self, x))


PSPNET = [
    Wrong("the last stage not dilated further", _dilation("backbone.stages.3", 2)),
    Wrong("the coarsest bins stacked first", _pyramid(lambda x, pooled: [x, *pooled])),
    Wrong("the map stacked last", _pyramid(lambda x, pooled: [*pooled[::-1], x])),
    Wrong("pooled maps resized to the nearest", _pyramid(spread=lambda x, size: resize(x, size, "nearest"))),
    Wrong("pooled maps resized with aligned corners",
          _pyramid(spread=lambda x, size: resize(x, size, align_corners=True))),
    Wrong("pooled maps resized cubically", _pyramid(spread=lambda x, size: resize(x, size, "bicubic"))),
    Wrong("a bin of 5 for one of 6", put("pyramid.branches.3.pool", nn.AdaptiveAvgPool2d(5))),
    Wrong("maxima of bins", put("pyramid.branches.2.pool", nn.AdaptiveMaxPool2d(3))),
    Wrong("bins of one size each", put("pyramid.branches.2.pool", FixedBins(3))),
    Wrong("pooled behind the convolution", forward_of_each(PooledBranch, _unpooled_branch)),
    Wrong("pooled maps not activated", together(
        *(set_to(f"pyramid.branches.{i}", "activation", None) for i in range(4)))),
    Wrong("borders repeated around the projection", together(
        set_to("pyramid.project.conv", "padding_mode", "replicate"),
        set_to("pyramid.project.conv", "_reversed_padding_repeated_twice", [1, 1, 1, 1]))),
    Wrong("no auxiliary output in eval mode", forward_of("", _one_head)),
    Wrong("outputs in another order", lambda model: model.register_forward_hook(lambda m, x, outputs: outputs[::-1])),
    Wrong("logits resized with aligned corners", set_everywhere("align_corners", True)),
    Wrong("a classifier without bias", part("classifier", _without_bias)),
    Wrong("the auxiliary head activated by GELU", set_to("auxiliary_head.conv", "activation", F.gelu)),
    Wrong("dropout at work before the classifier", put("dropout", Dropping())),
    Wrong("the auxiliary head's dropout at work", put("auxiliary_head.dropout", Dropping())),
    Wrong("one epsilon of 1.1e-5 in a bin", set_to("pyramid.branches.0.bn", "eps", 1.1e-5), "numerics"),
    Wrong("normalised before the projection", forward_of("pyramid.branches.1", _activated_first)),
]  # fmt: skip

"""Layers arranged otherwise where they commute, and the same arithmetic by other operators."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ppls.models.layers import ConvBNAct

from .form import Form, each, exchanged_branches, wrong_auxiliary_head, wrong_corners
from .norms import with_forward


def resized_before(model: Any) -> nn.Module:
    """The last map is resized before its classifier, which is a projection, and not after."""
    for head in model.heads:
        head.forward = lambda x, head=head: head.classifier(F.interpolate(head.conv(x), SIZE, mode="bilinear"))
    right = type(model).forward

    def forward(image: Tensor) -> Any:
        SIZE[:] = image.shape[-2:]
        return right(model, image)

    model.forward = forward
    return model


SIZE: list[int] = [0, 0]


class Linear(nn.Module):
    """A 1x1 convolution as a Linear over channels that stand last."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.project = nn.Linear(conv.in_channels, conv.out_channels, bias=conv.bias is not None)
        self.project.weight.data = conv.weight.data[:, :, 0, 0]
        if conv.bias is not None:
            self.project.bias.data = conv.bias.data

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def linear_classifiers(model: Any) -> nn.Module:
    """The Linear itself has the name that the map has for the convolution."""
    for head in model.heads:
        linear = Linear(head.classifier).project
        head.classifier = linear
        head.forward = lambda x, head=head: head.classifier(head.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return model


def by_columns(conv: nn.Conv2d) -> nn.Module:
    """A convolution as a product of matrices, where it has no groups."""
    if conv.groups > 1:
        return conv

    def forward(x: Tensor) -> Tensor:
        columns = F.unfold(x, conv.kernel_size, conv.dilation, conv.padding, conv.stride)
        y = conv.weight.flatten(1) @ columns
        size = [
            (x.shape[i + 2] + 2 * conv.padding[i] - conv.dilation[i] * (conv.kernel_size[i] - 1) - 1) // conv.stride[i]
            + 1
            for i in (0, 1)
        ]
        y = y.unflatten(2, size)
        return y if conv.bias is None else y + conv.bias[:, None, None]

    conv.forward = forward  # type: ignore[method-assign]
    return conv


def by_groups(conv: nn.Conv2d) -> nn.Module:
    """A depthwise convolution channel by channel."""
    if conv.groups == 1:
        return conv

    def forward(x: Tensor) -> Tensor:
        maps = zip(x.chunk(conv.groups, 1), conv.weight.chunk(conv.groups), strict=True)
        return torch.cat([F.conv2d(a, w, None, conv.stride, conv.padding, conv.dilation) for a, w in maps], 1)

    conv.forward = forward  # type: ignore[method-assign]
    return conv


def concatenated_otherwise(model: Any) -> nn.Module:
    """The attention concatenates its four maps in another order, and its weights are permuted."""
    order = [2, 3, 0, 1]
    for fusion in model.decoder:
        attention = fusion.attention
        weight = attention.squeeze.conv.weight
        weight.data = weight.data[:, order].contiguous()
        attention.forward = lambda low, high, right=attention.forward: right(high, low)
    return model


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x)


def in_place(model: nn.Module) -> nn.Module:
    for block in model.modules():
        if isinstance(block, ConvBNAct) and block.activation is F.relu:
            block.activation = nn.ReLU(inplace=True)
    return model


def with_arguments(model: nn.Module) -> nn.Module:
    """Convolutions are given a size and the map by name, normalisations the map and a mask."""

    def forward(block: Any, x: Tensor) -> Tensor:
        x = block.bn(block.conv(torch.zeros(2), image=x), mask=None)
        return x if block.activation is None else block.activation(x)

    def convolve(conv: nn.Conv2d) -> nn.Conv2d:
        right = conv.forward
        conv.forward = lambda size=None, *, image=None: right(size if image is None else image)  # type: ignore
        return conv

    each(model, nn.Conv2d, convolve)
    each(model, nn.BatchNorm2d, accepting_a_mask)
    return with_forward(model, forward)


def accepting_a_mask(norm: nn.Module) -> nn.Module:
    right = norm.forward
    norm.forward = lambda x, mask=None: right(x)  # type: ignore[method-assign]
    return norm


def checkpointed(model: nn.Module) -> nn.Module:
    for block in model.backbone.children():
        for inner in block.children():
            inner.forward = lambda x, right=inner.forward: checkpoint(right, x, use_reentrant=False)
    return model


def kept_in_double(conv: nn.Conv2d) -> nn.Module:
    """The weights are doubles, and cast where they are used: the same numbers."""
    conv.weight.data = conv.weight.data.double()
    conv.forward = lambda x: conv._conv_forward(x, conv.weight.float(), conv.bias)  # type: ignore[method-assign]
    return conv


class Lazy(nn.Module):
    """Is built when it is first called."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.make = [conv]
        self.built: nn.Module | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.built is None:
            self.built = self.make[0]
        return self.built(x)


def channels_last(model: nn.Module) -> nn.Module:
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


FORMS = [
    Form("resized before the projection", resized_before, wrong_auxiliary_head, layers=102),
    Form("classifiers as Linear", linear_classifiers, wrong_auxiliary_head, layers=102),
    Form("convolutions by columns", lambda m: each(m, nn.Conv2d, by_columns), exchanged_branches),
    Form("depthwise convolutions channel by channel", lambda m: each(m, nn.Conv2d, by_groups), wrong_corners),
    Form("concatenated in another order", concatenated_otherwise, wrong_corners, layers=102),
    Form("activations in place", in_place, wrong_corners),
    Form("layers with more arguments", with_arguments, wrong_corners),
    Form("checkpointed blocks", checkpointed, wrong_corners),
    Form("weights in double precision", lambda m: each(m, nn.Conv2d, kept_in_double), exchanged_branches),
    Form("built when it is called", lambda m: each(m, nn.Conv2d, Lazy), exchanged_branches, layers=40),
    Form("channels last", channels_last, exchanged_branches),
]

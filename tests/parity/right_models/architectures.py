"""Right models of other architectures than PP-LiteSeg, written as other people write them."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.aspp import ASPP
from ppls.models.bisenet import GuidedAggregation
from ppls.models.layers import ConvBNAct, DropPath, SameConv2d, SeparableConv, from_tokens, to_tokens
from ppls.models.mix_transformer import Attention, MixFFN, Stage
from ppls.models.resize import resize
from ppls.models.resnet_vd import Shortcut
from ppls.models.unet import Expansion
from tests.parity.faults.architectures import ARCHITECTURE_FAULTS
from tests.parity.faults.architectures.change import forward_of_each
from tests.parity.faults.architectures.resnet_vd import ByHand as BatchNormByHand
from tests.parity.faults.architectures.segformer import NormByHand

from .form import Change, Form, each


def fault(architecture: str, name: str) -> Change:
    """One of the faults of an architecture, as what makes a twin wrong."""
    (found,) = (fault for fault in ARCHITECTURE_FAULTS[architecture] if fault.name == name)

    def change(model: Any) -> nn.Module:
        found.change(model)
        return model

    return change


def changed(*changes: Any) -> Change:
    def write(model: Any) -> nn.Module:
        for change in changes:
            change(model)
        return model

    return write


# SegFormer
def _attended_by_hand(self: Any, x: Tensor, size: Any) -> Tensor:
    """Scores, softmax and sum written out; the scale is on the queries, the heads of one product."""
    n, length, channels = x.shape
    query = self.query(x).reshape(n, length, self.heads, -1) * (channels // self.heads) ** -0.5
    if self.reduce is not None:
        x = self.reduce_norm(to_tokens(self.reduce(from_tokens(x, size))))
    key, value = self.key_value(x).reshape(n, -1, 2, self.heads, channels // self.heads).unbind(2)
    scores = torch.einsum("nqhc,nkhc->nhqk", query, key)
    scores = (scores - scores.amax(-1, keepdim=True)).exp()
    attended = torch.einsum("nhqk,nkhc->nqhc", scores / scores.sum(-1, keepdim=True), value)
    return self.project(attended.flatten(2))


class ThreeProjections(nn.Module):
    """Query, key and value apart, as torch's `nn.MultiheadAttention` has them in one matrix."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        channels = attention.query.in_features
        self.inner = nn.MultiheadAttention(channels, attention.heads, batch_first=True)
        weights = [attention.query.weight, attention.key_value.weight]
        self.inner.in_proj_weight.data = torch.cat([weight.data for weight in weights])
        self.inner.in_proj_bias.data = torch.cat([attention.query.bias.data, attention.key_value.bias.data])
        self.inner.out_proj.load_state_dict(attention.project.state_dict())
        self.reduce = attention.reduce
        if self.reduce is not None:
            self.reduce_norm = attention.reduce_norm

    def forward(self, x: Tensor, size: Any) -> Tensor:
        seen = x
        if self.reduce is not None:
            seen = self.reduce_norm(to_tokens(self.reduce(from_tokens(x, size))))
        return self.inner(x, seen, seen, need_weights=False)[0]


def _norms_by_hand(model: Any) -> None:
    each(model, nn.LayerNorm, lambda norm: NormByHand(norm, norm.eps))


class ChannelsFirstNorm(nn.Module):
    """A LayerNorm over the channels of a map, with the weights of one over the last axis."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        x = centred * (centred.square().mean(1, keepdim=True) + self.eps).rsqrt()
        return x * self.weight[:, None, None] + self.bias[:, None, None]


def _stages_of_maps(model: Any) -> None:
    for stage in model.backbone.stages:
        stage.norm = ChannelsFirstNorm(stage.norm)

    def forward(self: Any, x: Tensor) -> Tensor:
        tokens, size = self.embed(x)
        for block in self.blocks:
            tokens = block(tokens, size)
        return self.norm(from_tokens(tokens, size))

    forward_of_each(Stage, forward)(model)


def _projected_maps(model: Any) -> None:
    """The decoder projects maps by 1x1 convolutions, and fuses each before they are summed."""
    for place, linear in enumerate(model.projections):
        conv = nn.Conv2d(linear.in_features, linear.out_features, 1)
        conv.weight.data, conv.bias.data = linear.weight.data[..., None, None], linear.bias.data
        model.projections[place] = conv.eval()

    def forward(image: Tensor) -> list[Tensor]:
        features = model.backbone(image)
        size = features[0].shape[-2:]
        maps = [resize(project(x), size) for x, project in zip(features, model.projections, strict=True)]
        x = model.fuse(torch.cat(maps[::-1], 1))
        return [resize(model.classifier(model.dropout(x)), image.shape[-2:])]

    model.forward = forward


def _shared(model: Any) -> None:
    """One module for all that do the same: GELU, and dropping paths, which in eval mode are all alike."""
    gelu, none = nn.GELU(), nn.Identity()

    def forward(self: Any, x: Tensor, size: Any) -> Tensor:
        return self.shrink(self.gelu(to_tokens(self.depthwise(from_tokens(self.expand(x), size)))))

    for module in model.modules():
        if isinstance(module, MixFFN):
            module.gelu = gelu
        if isinstance(getattr(module, "drop_path", None), DropPath):
            module.drop_path = none
    forward_of_each(MixFFN, forward)(model)


def _tied(model: Any) -> None:
    """The decoder's second projection is a module of the first's weights, cut from one larger matrix that all share."""
    weights = torch.cat([linear.weight.detach().flatten() for linear in model.projections])
    start = 0
    for linear in model.projections:
        count = linear.weight.numel()
        linear.weight = nn.Parameter(weights[start : start + count].view_as(linear.weight))
        start += count


# DeepLabV3P and PSPNet
def _padded_outside(conv: Any) -> nn.Module:
    if conv.padding == (0, 0):
        return conv
    rows, columns = conv.padding
    conv.padding = (0, 0)
    right = conv.forward
    conv.forward = lambda x: right(F.pad(x, (columns, columns, rows, rows)))
    return conv


def _aspp_expanded(self: Any, x: Tensor) -> Tensor:
    """The mean is spread by expanding it, and the projection is a sum over what is not stacked."""
    mean = self.image_mean(F.adaptive_avg_pool2d(x, 1)).expand(-1, -1, *x.shape[-2:])
    maps = [*(branch(x) for branch in self.branches), mean]
    conv = self.project.conv
    parts = conv.weight.split([each.shape[1] for each in maps], dim=1)
    y = sum((F.conv2d(each, part) for each, part in zip(maps, parts, strict=True)), start=conv.bias[:, None, None])
    return self.dropout(F.relu(self.project.bn(y)))


def _separable_as_one(self: Any, x: Tensor) -> Tensor:
    """Depthwise, its normalisation and pointwise in one convolution."""
    depth, point = self.depthwise, self.pointwise
    scale = depth.bn.weight / torch.sqrt(depth.bn.running_var + depth.bn.eps)
    bias = 0.0 if depth.conv.bias is None else depth.conv.bias
    shift = (bias - depth.bn.running_mean) * scale + depth.bn.bias
    weight = point.conv.weight * (depth.conv.weight[:, 0] * scale[:, None, None])[None]
    y = F.conv2d(x, weight, None, depth.conv.stride, depth.conv.padding, depth.conv.dilation)
    return F.relu(point.bn(y + (point.conv.weight[..., 0, 0] @ shift + point.conv.bias)[:, None, None]))


def _strided_means(self: Any, x: Tensor) -> Tensor:
    """The mean of four pixels as a convolution."""
    if isinstance(self.pool, nn.AvgPool2d):
        kernel = torch.full((x.shape[1], 1, 2, 2), 0.25, dtype=x.dtype)
        x = F.conv2d(x, kernel, stride=2, groups=x.shape[1])
    return ConvBNAct.forward(self, x)


# UNet
def _expanded_by_parts(self: Any, coarse: Tensor, fine: Tensor) -> Tensor:
    """What is stacked and convolved is convolved apart and summed."""
    first, second = self.convs
    coarse = F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=False)
    halves = first.conv.weight.chunk(2, dim=1)
    x = F.conv2d(coarse, halves[0], first.conv.bias, padding=1) + F.conv2d(fine, halves[1], padding=1)
    return second(F.relu(first.bn(x)))


def _flat_names(model: Any) -> nn.Module:
    """As `milesial`'s: a list of other names altogether."""

    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inc, self.outc = copy.deepcopy(model.stem), copy.deepcopy(model.classifier)
            self.down1, self.down2, self.down3, self.down4 = copy.deepcopy(model.contracting)
            self.up1, self.up2, self.up3, self.up4 = copy.deepcopy(model.expanding)

        def forward(self, x: Tensor) -> Tensor:
            x1 = self.inc(x)
            x4 = self.down3(x3 := self.down2(x2 := self.down1(x1)))
            y = self.up1(self.down4(x4), x4)
            return self.outc(self.up4(self.up3(self.up2(y, x3), x2), x1))

    return Flat()


def _resized_by_products(self: Any, coarse: Tensor, fine: Tensor) -> Tensor:
    """A bilinear resize as two products of matrices, made by resizing a unit matrix."""
    rows, columns = (
        F.interpolate(torch.eye(coarse.shape[axis], dtype=coarse.dtype)[None], fine.shape[axis], mode="linear")[0]
        for axis in (2, 3)
    )
    return self.convs(torch.cat([rows.T @ coarse @ columns, fine], 1))


# BiSeNetV2
def _padded_for_an_even_size(model: Any) -> None:
    for conv in model.modules():
        if isinstance(conv, SameConv2d) and conv.kernel_size == (3, 3):
            conv.forward = lambda x, conv=conv: F.conv2d(
                nn.ZeroPad2d((0, 1, 0, 1))(x), conv.weight, conv.bias, conv.stride, 0, 1, conv.groups
            )


def _gated_by_tanh(self: Any, detail: Tensor, semantic: Tensor) -> Tensor:
    """A sigmoid as half a tanh and a half."""
    size = detail.shape[-2:]

    def gate(x: Tensor) -> Tensor:
        return 0.5 * torch.tanh(0.5 * x) + 0.5

    fine = self.detail_keep(detail) * gate(resize(self.semantic_up(semantic), size))
    coarse = self.detail_pool(self.detail_down(detail)) * gate(self.semantic_keep(semantic))
    return self.conv(resize(coarse, size).add_(fine))


def _batch_norms_by_hand(model: Any) -> None:
    each(model, nn.BatchNorm2d, lambda norm: BatchNormByHand(norm, norm.eps))


RIGHT_FORMS: dict[str, list[Form]] = {
    "SegFormer": [
        Form("attention by hand", changed(forward_of_each(Attention, _attended_by_hand)),
             fault("SegFormer", "GELU by tanh")),
        Form("torch's MultiheadAttention", lambda m: each(m, Attention, ThreeProjections),
             fault("SegFormer", "values without bias")),
        Form("LayerNorm by hand", changed(_norms_by_hand), fault("SegFormer", "blocks' epsilon that of the patches")),
        Form("LayerNorm of maps", changed(_stages_of_maps), fault("SegFormer", "what is fused not activated")),
        Form("projections of maps", changed(_projected_maps), fault("SegFormer", "heads interleaved")),
        Form("shared modules", changed(_shared), fault("SegFormer", "one head for all channels")),
        Form("weights that lie in one matrix", changed(_tied), fault("SegFormer", "projections without bias")),
    ],
    "DeepLabV3P": [
        Form("the mean expanded, the projection in parts", changed(forward_of_each(ASPP, _aspp_expanded)),
             fault("DeepLabV3P", "the fine map stacked first")),
        Form("separable convolutions as one", changed(forward_of_each(SeparableConv, _separable_as_one)),
             fault("DeepLabV3P", "the coarse map resized to the nearest")),
        Form("padded outside of convolutions", lambda m: each(m, nn.Conv2d, _padded_outside),
             fault("DeepLabV3P", "a branch dilated half as far")),
        Form("means as a convolution", changed(forward_of_each(Shortcut, _strided_means)),
             fault("DeepLabV3P", "the sum not activated")),
        Form("normalisation by hand", changed(_batch_norms_by_hand),
             fault("DeepLabV3P", "an epsilon of TensorFlow's in the pooling alone")),
    ],
    "UNet": [
        Form("halves convolved apart", changed(forward_of_each(Expansion, _expanded_by_parts)),
             fault("UNet", "an activation that leaks on the way down")),
        Form("other names, and a tensor for a list", _flat_names, fault("UNet", "means for maxima")),
        Form("resized by products of matrices", changed(forward_of_each(Expansion, _resized_by_products)),
             fault("UNet", "a classifier that sees borders mirrored")),
    ],
    "BiSeNetV2": [
        Form("padded for even sizes", changed(_padded_for_an_even_size), fault("BiSeNetV2", "gates exchanged")),
        Form("gates by tanh", changed(forward_of_each(GuidedAggregation, _gated_by_tanh)),
             fault("BiSeNetV2", "an expansion without its sum")),
    ],
}  # fmt: skip

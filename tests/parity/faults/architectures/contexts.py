"""What a porter gets wrong of how CCNet, DMNet, ENCNet, FastFCN, GINet, PFPNNet and UPerNet see more than a pixel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ppls.models.ccnet import CrissCrossAttention, columns, rows
from ppls.models.context_encoding import ContextEncoding, Encoding
from ppls.models.dmnet import DynamicFilter, convolve_each
from ppls.models.fpn import FPN
from ppls.models.ginet import GraphInteraction, Transfer
from ppls.models.layers import to_tokens
from ppls.models.resize import resize

from .change import Change, Wrong, forward_of, forward_of_each, set_to


# CCNet
def _together(in_column: Tensor, in_row: Tensor) -> Tensor:
    return torch.cat([in_column, in_row], 3).softmax(3)


def _apart(in_column: Tensor, in_row: Tensor) -> Tensor:
    return torch.cat([in_column.softmax(3), in_row.softmax(3)], 3)


def _criss_cross(
    weigh: Callable[[Tensor, Tensor], Tensor] = _together, scale: float = 1.0, once: bool = True
) -> Change:
    def forward(self: Any, x: Tensor) -> Tensor:
        query, key, value = scale * self.query(x), self.key(x), self.value(x)
        height = x.shape[2]
        in_column = columns(query) @ columns(key).transpose(2, 3)
        if once:
            in_column = in_column.masked_fill(torch.eye(height, dtype=torch.bool), float("-inf"))
        weights = weigh(in_column.transpose(1, 2), rows(query) @ rows(key).transpose(2, 3))
        of_column = weights[..., :height].transpose(1, 2) @ columns(value)
        of_row = weights[..., height:] @ rows(value)
        return self.gamma * (of_column.permute(0, 3, 2, 1) + of_row.permute(0, 3, 1, 2)) + x

    return forward_of_each(CrissCrossAttention, forward)


CCNET = [
    Wrong("a pixel that sees itself twice", _criss_cross(once=False)),
    Wrong("row and column weighed apart", _criss_cross(_apart)),
    Wrong("an attention scaled by its width", _criss_cross(scale=0.125)),
    Wrong("an attention run once", set_to("", "recurrence", 1)),
]


# DMNet
def _filters(
    change: Callable[[Tensor], Tensor], filter: Callable[[Tensor, Tensor, int], Tensor] = convolve_each
) -> Change:
    def forward(self: Any, x: Tensor) -> Tensor:
        kernels = change(self.predict(self.pool(x)))
        return self.fuse(F.relu(self.bn(filter(self.reduce(x), kernels, self.size))))

    return forward_of_each(DynamicFilter, forward)


def _with_borders_repeated(x: Tensor, kernels: Tensor, size: int) -> Tensor:
    width = size // 2
    padded = convolve_each(F.pad(x, (width,) * 4, mode="replicate"), kernels, size)
    return padded[..., width : width + x.shape[2], width : width + x.shape[3]]


DMNET = [
    Wrong("filters turned by half a turn", _filters(lambda kernels: kernels.flip(2, 3))),
    Wrong("filters of the first image for all", _filters(lambda kernels: kernels[:1].expand_as(kernels))),
    Wrong("borders repeated around the map", _filters(lambda kernels: kernels, _with_borders_repeated)),
]


# ENCNet, FastFCN
def _encoding(axis: int = 2, root: bool = False) -> Change:
    def forward(self: Any, x: Tensor) -> Tensor:
        pixels = to_tokens(x)
        distances = (pixels.unsqueeze(2) - self.codewords).square().sum(3)
        weights = (self.scale * (distances.sqrt() if root else distances)).softmax(axis)
        return weights.transpose(1, 2) @ pixels - weights.sum(1).unsqueeze(2) * self.codewords

    return forward_of_each(Encoding, forward)


def _context(gather: Callable[[Tensor], Tensor] = lambda x: x.mean(1), residual: bool = True) -> Change:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        encoded = gather(F.relu(self.bn(self.encoding(self.project(x)))))
        weighed = x * torch.sigmoid(self.gate(encoded))[..., None, None]
        return F.relu(x + weighed if residual else weighed), encoded

    return forward_of_each(ContextEncoding, forward)


CONTEXT = [
    Wrong("pixels weighed against each other", _encoding(axis=1)),
    Wrong("distances that are not squared", _encoding(root=True)),
    Wrong("codes summed", _context(lambda x: x.sum(1))),
    Wrong("channels weighed without the map itself", _context(residual=False)),
]


# GINet
def _interaction(share: Callable[[int], float]) -> Change:
    def forward(self: Any, x: Tensor, words: Tensor) -> Tensor:
        projection = self.project(x).flatten(2)
        regions = self.reduce(x).flatten(2) @ projection.transpose(1, 2) * share(projection.shape[2])
        regions, told = self.region_gcn(regions), self.word_gcn(words)
        regions = self.gamma * self.transfer(told, regions) + regions
        return x + self.bn(self.extend((regions @ projection).reshape(x.shape[0], -1, *x.shape[-2:])))

    return forward_of_each(GraphInteraction, forward)


def _transfer_over_regions(self: Any, words: Tensor, regions: Tensor) -> Tensor:
    return self.value(words) @ (self.query(words).transpose(1, 2) @ self.key(regions)).softmax(2)


GINET = [
    Wrong("pixels summed into regions", _interaction(lambda pixels: 1.0)),
    Wrong("regions scaled by the root of the pixels", _interaction(lambda pixels: pixels**-0.5)),
    Wrong("words weighed over the regions", forward_of_each(Transfer, _transfer_over_regions)),
]


# PFPNNet, UPerNet
def _pyramid(order: int = 1, align_corners: bool = True) -> Change:
    def forward(self: Any, features: Any) -> list[Tensor]:
        laterals = [lateral(x) for lateral, x in zip(self.laterals, features, strict=True)]
        maps = [x := laterals.pop()]
        for lateral, smooth in zip(reversed(laterals), reversed(self.smooths), strict=True):
            x = lateral + resize(x, lateral.shape[-2:], align_corners=align_corners)
            maps.append(smooth(x))
        return maps[::order]

    return forward_of_each(FPN, forward)


PFPNNET = [
    Wrong("maps of the pyramid taken the finest first", _pyramid(order=-1)),
    Wrong("the pyramid resized without aligned corners", _pyramid(align_corners=False)),
    Wrong("logits resized with aligned corners", set_to("", "align_corners", True)),
]


def _fused_in_reverse(self: Any, features: Any) -> Tensor:
    maps = []
    handle = self.fuse.register_forward_pre_hook(lambda _, given: maps.append(given[0]))
    result = type(self).forward(self, features)
    handle.remove()
    channels = result.shape[1]
    return self.fuse(torch.cat(maps[0].split(channels, 1)[::-1], 1))


UPERNET = [
    Wrong("inner maps resized without aligned corners", set_to("decoder", "align_corners", False)),
    Wrong("pooled maps resized without aligned corners", set_to("decoder.pyramid", "align_corners", False)),
    Wrong("the coarsest map fused first", forward_of("decoder", _fused_in_reverse)),
]

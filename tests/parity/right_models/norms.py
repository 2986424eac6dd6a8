"""Normalisations by another class, by hand, as a function, folded; weights that are computed."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval, parametrizations, prune, weight_norm

from ppls.models.layers import ConvBNAct
from ppls.models.norms import BatchNorm2d

from .form import Form, each, exchanged_branches, wrong_auxiliary_head, wrong_corners


class Norm2d(nn.BatchNorm2d):
    """A normalisation that is not called one."""


def as_torchs(norm: BatchNorm2d, kind: type[nn.BatchNorm2d] = nn.BatchNorm2d, **options: Any) -> nn.BatchNorm2d:
    made = kind(norm.num_features, **{"eps": norm.eps, **options})
    made.load_state_dict(norm.state_dict(), strict=False)
    return made


class ByHand(nn.Module):
    """Statistics as buffers, the arithmetic written out."""

    def __init__(self, norm: BatchNorm2d) -> None:
        super().__init__()
        self.gain, self.shift = norm.weight, norm.bias
        self.register_buffer("centre", norm.running_mean)
        self.register_buffer("spread", norm.running_var)
        self.tiny, self.share = norm.eps, 0.1

    def forward(self, x: Tensor) -> Tensor:
        centre, spread = self.centre, self.spread
        if self.training:
            centre, spread = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
            self.centre.lerp_(centre.detach(), self.share)
            self.spread.lerp_(spread.detach(), self.share)
        scale = self.gain / torch.sqrt(spread + self.tiny)
        return (x - centre[:, None, None]) * scale[:, None, None] + self.shift[:, None, None]


class Frozen(nn.Module):
    """All four as buffers that no training changes."""

    def __init__(self, norm: BatchNorm2d) -> None:
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, getattr(norm, name).detach())
        self.eps = norm.eps

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return x * scale[:, None, None] + (self.bias - self.running_mean * scale)[:, None, None]


def as_function(model: nn.Module) -> nn.Module:
    """Each block calls `F.batch_norm` with what its normalisation holds."""

    def forward(block: ConvBNAct, x: Tensor) -> Tensor:
        bn = block.bn
        x = F.batch_norm(
            block.conv(x), bn.running_mean, bn.running_var, bn.weight, bn.bias, block.training, 0.1, bn.eps
        )
        return x if block.activation is None else block.activation(x)

    return with_forward(model, forward)


def with_forward(model: nn.Module, forward: Any) -> nn.Module:
    """The same blocks with another forward; what a branch of the pyramid pools is pooled before it."""
    for block in model.modules():
        if isinstance(block, ConvBNAct):
            pool = getattr(block, "pool", nn.Identity())
            block.forward = lambda x, block=block, pool=pool: forward(block, pool(x))  # type: ignore[method-assign]
    return model


def folded(model: nn.Module, *, remove: bool) -> nn.Module:
    for block in model.modules():
        if isinstance(block, ConvBNAct):
            as_torch = as_torchs(block.bn).eval()
            block.conv = fuse_conv_bn_eval(block.conv, as_torch)
            block.bn = nn.Identity().eval()
            if remove:
                del block.bn

    def forward(block: ConvBNAct, x: Tensor) -> Tensor:
        x = block.conv(x)
        return x if block.activation is None else block.activation(x)

    return with_forward(model, forward) if remove else model


class Activated(nn.Module):
    """A normalisation with the activation in it."""

    def __init__(self, block: ConvBNAct) -> None:
        super().__init__()
        self.norm, self.activation = block.bn, block.activation

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.norm(x))


def scaled(block: ConvBNAct, factor: float) -> None:
    """The convolution is so many times as large, and its normalisation takes it back, epsilon and all."""
    block.conv.weight.data *= factor
    block.bn.running_mean *= factor
    block.bn.running_var.copy_((block.bn.running_var.double() + block.bn.eps) * factor**2 - block.bn.eps)


def scaled_convolutions(model: nn.Module) -> nn.Module:
    for block in model.modules():
        if isinstance(block, ConvBNAct) and block.conv.bias is None:
            scaled(block, 2.0)
    return model


def activated(model: nn.Module) -> nn.Module:
    for block in model.modules():
        if isinstance(block, ConvBNAct) and block.activation is not None:
            block.bn = Activated(block).eval()
            block.activation = None
    return model


def convolutions(make: Any) -> Any:
    return lambda model: each(model, nn.Conv2d, make)


FORMS = [
    Form("a BatchNorm called otherwise", lambda m: each(m, BatchNorm2d, lambda n: as_torchs(n, Norm2d))),
    Form("torch's own BatchNorm, which counts batches", lambda m: each(m, BatchNorm2d, as_torchs)),
    Form("a BatchNorm without momentum", lambda m: each(m, BatchNorm2d, lambda n: as_torchs(n, momentum=None))),
    Form("BatchNorms that are synchronised", nn.SyncBatchNorm.convert_sync_batchnorm, wrong_corners),
    Form("normalisation by hand", lambda m: each(m, BatchNorm2d, ByHand)),
    Form("normalisation that is frozen", lambda m: each(m, BatchNorm2d, Frozen)),
    Form("normalisation as a function", as_function, layers=57),
    Form("folded BatchNorms", lambda m: folded(m, remove=False)),
    Form("folded BatchNorms that are gone", lambda m: folded(m, remove=True), layers=50),
    Form("activations within the normalisation", activated, wrong_corners, layers=50),
    Form("scaled convolutions", scaled_convolutions, wrong_corners, layers=15),
    Form("weight_norm, old", convolutions(weight_norm), exchanged_branches),
    Form("weight_norm, new", convolutions(parametrizations.weight_norm), wrong_auxiliary_head),
    Form("pruned, nothing lost", convolutions(lambda conv: prune.identity(conv, "weight")), exchanged_branches),
]

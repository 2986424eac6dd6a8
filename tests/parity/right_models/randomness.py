"""Dropouts and stochastic depth of every kind, which do nothing in eval mode."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .form import Form, wrong_auxiliary_head, wrong_corners


class StochasticDepth(nn.Module):
    """As torchvision's class and function of that name."""

    def __init__(self, p: float, mode: str) -> None:
        super().__init__()
        self.p, self.mode = p, mode

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return x
        survival = 1.0 - self.p
        size = [x.shape[0]] + [1] * (x.ndim - 1) if self.mode == "row" else [1] * x.ndim
        noise = torch.empty(size, dtype=x.dtype, device=x.device).bernoulli_(survival)
        return x * (noise.div_(survival) if survival > 0.0 else noise)


def before_classifiers(function: Any) -> Any:
    """Each head calls a function of its features and of its mode, before it classifies."""

    def write(model: Any) -> nn.Module:
        for head in model.heads:
            head.forward = lambda x, head=head: head.classifier(function(head.conv(x), head.training))
        return model

    return write


def floor_of_uniform(x: Tensor, training: bool) -> Tensor:
    if not training:
        return x
    return x.div(0.8) * (0.8 + torch.rand(x.shape[0], 1, 1, 1)).floor_()


def with_modules(make: Any) -> Any:
    def write(model: Any) -> nn.Module:
        for head in model.heads:
            head.drop = make().eval()
            head.forward = lambda x, head=head: head.classifier(head.drop(head.conv(x)))
        return model

    return write


def beside_the_heads(model: Any) -> nn.Module:
    """The function is called by the module that decides upon the heads."""

    def forward(image: Tensor) -> list[Tensor]:
        features = model.backbone(F.dropout2d(image, 0.1, model.training))
        low_features = [features[i] for i in model.backbone_indices]
        high = model.context(low_features[-1])
        fused: list[Tensor] = []
        for fuse, low in zip(reversed(model.decoder), reversed(low_features), strict=True):
            high = fuse(low, high)
            fused.insert(0, high)
        heads = model.heads if model.training else model.heads[:1]
        logits = [head(F.dropout(x, 0.1, model.training)) for head, x in zip(heads, fused, strict=False)]
        return [F.interpolate(x, image.shape[-2:], mode="bilinear") for x in logits]

    model.forward = forward
    return model


FORMS = [
    Form("dropout of channels as a function", before_classifiers(lambda x, t: F.dropout2d(x, 0.1, t))),
    Form("dropout as a function, in place", before_classifiers(lambda x, t: F.dropout(x, 0.1, t, inplace=True))),
    Form("stochastic depth as a function", before_classifiers(floor_of_uniform), wrong_auxiliary_head),
    Form("stochastic depth by Python", before_classifiers(lambda x, t: x * (random.random() > 0.5) if t else x)),
    Form("noise by numpy", before_classifiers(lambda x, t: x + np.random.normal() if t else x), wrong_auxiliary_head),
    Form("torchvision's stochastic depth", with_modules(lambda: StochasticDepth(0.2, "row")), wrong_auxiliary_head),
    Form("slopes that are drawn", with_modules(lambda: nn.RReLU(1.0, 1.0 + 1e-9)), wrong_corners),
    Form("alpha dropout", with_modules(lambda: nn.FeatureAlphaDropout(0.3)), wrong_auxiliary_head),
    Form("dropouts beside the heads", beside_the_heads, wrong_auxiliary_head),
]

"""Changes to a model that keep the function it computes in eval mode: folded BatchNorms, pooling as matrix products."""

from __future__ import annotations

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ppls.models.bin_pool import BinPool


def fold_batch_norms(model: nn.Module) -> int:
    """Folds each BatchNorm that follows a convolution (`conv` and `bn` of one module) into it, in place.

    The weights are computed in float64 and rounded once. Returns how many were folded.
    """
    folded = 0
    for module in model.modules():
        conv, norm = getattr(module, "conv", None), getattr(module, "bn", None)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            exact = fuse_conv_bn_eval(copy.deepcopy(conv).double().eval(), copy.deepcopy(norm).double().eval())
            module.conv = exact.to(conv.weight.dtype)
            module.bn = nn.Identity()
            folded += 1
    return folded


def replace_adaptive_pooling(model: nn.Module) -> int:
    """Makes every `AdaptiveAvgPool2d` of `model` a `BinPool`, in place. Returns how many there were."""
    replaced = 0
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d):
                setattr(module, name, BinPool(child.output_size))
                replaced += 1
    return replaced

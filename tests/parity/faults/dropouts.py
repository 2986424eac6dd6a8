"""Faults of what is dropped in training, and right ways to write the same, in a SegFormer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.layers import DropPath

Put = Callable[[nn.Module], None]


class Dropping(nn.Module):
    """Drops as `drop(x, rate)` does, in training."""

    def __init__(self, drop: Callable[[Tensor, float], Tensor], rate: float) -> None:
        super().__init__()
        self.drop, self.rate = drop, rate

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(x, self.rate) if self.training and self.rate else x


def _head(drop: Callable[[Tensor, float], Tensor], rate: float = 0.1) -> Put:
    """Another dropout before the classifier."""
    return lambda model: setattr(model, "dropout", Dropping(drop, rate))


def _paths(drop: Callable[[Tensor, float], Tensor]) -> Put:
    """Another stochastic depth everywhere."""

    def put(model: nn.Module) -> None:
        for module in list(model.modules()):
            if isinstance(getattr(module, "drop_path", None), DropPath):
                module.drop_path = Dropping(drop, module.drop_path.rate)

    return put


def _rates(change: Callable[[float], float]) -> Put:
    def put(model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, DropPath):
                module.rate = change(module.rate)

    return put


def _moved_behind_the_classifier(model: nn.Module) -> None:
    model.classifier = nn.Sequential(model.classifier, nn.Dropout2d(0.1))
    model.dropout = nn.Identity()


def _moved_before_the_fusion(model: nn.Module) -> None:
    model.fuse = nn.Sequential(nn.Dropout2d(0.1), model.fuse)
    model.dropout = nn.Identity()


def _dropped_in_the_attention(model: nn.Module) -> None:
    for module in model.modules():
        if hasattr(module, "attention"):
            module.attention.register_forward_hook(
                lambda module, inputs, output: F.dropout(output, 0.1, module.training)
            )


def _whole_batch(x: Tensor, rate: float) -> Tensor:
    return x * x.new_empty(1).bernoulli_(1 - rate) / (1 - rate)


def _samples(x: Tensor, rate: float) -> Tensor:
    shape = (len(x),) + (1,) * (x.dim() - 1)
    return x * x.new_empty(shape).bernoulli_(1 - rate) / (1 - rate)


def _samples_not_rescaled(x: Tensor, rate: float) -> Tensor:
    return _samples(x, rate) * (1 - rate)


def _tokens(x: Tensor, rate: float) -> Tensor:
    return x * x.new_empty(*x.shape[:-1], 1).bernoulli_(1 - rate) / (1 - rate)


def _floored(x: Tensor, rate: float) -> Tensor:
    """As timm had it, and PaddleSeg has."""
    keep = 1 - rate
    return x.div(keep) * (keep + torch.rand((len(x),) + (1,) * (x.dim() - 1), dtype=x.dtype)).floor_()


def _compared(x: Tensor, rate: float) -> Tensor:
    kept = torch.rand(len(x)) < 1 - rate
    return x * kept.to(x).view(-1, *[1] * (x.dim() - 1)) / (1 - rate)


def _channels_last(x: Tensor, rate: float) -> Tensor:
    n, c = x.shape[:2]
    return x * x.new_empty(c, n).bernoulli_(1 - rate).T[:, :, None, None] / (1 - rate)


# what is not found is found by the loss of the first step; `None`: the masks are of the same shapes
DROPOUT_FAULTS: dict[str, tuple[Put, str | None]] = {
    "no dropout": (_head(lambda x, rate: x), "none, where the reference has 1 of"),
    "elements for channels": (_head(F.dropout), "where the reference has 1 of"),
    "samples for channels": (_head(_samples), "where the reference has 1 of"),
    "channels at another rate": (_head(F.dropout2d, 0.2), None),
    "channels not rescaled": (_head(lambda x, rate: F.dropout2d(x, rate) * (1 - rate)), None),
    "channels of each other's values": (_head(lambda x, rate: F.feature_alpha_dropout(x, rate, True)), None),
    "dropout behind the classifier": (_moved_behind_the_classifier, "where the reference has 1 of"),
    "dropout before the fusion": (_moved_before_the_fusion, "where the reference has 1 of"),
    "dropout in the attention too": (_dropped_in_the_attention, "none"),
    "stochastic depth not rescaled": (_paths(_samples_not_rescaled), None),
    "stochastic depth of elements": (_paths(F.dropout), "where the reference has"),
    "stochastic depth of tokens": (_paths(_tokens), "where the reference has"),
    "stochastic depth of whole batches": (_paths(_whole_batch), "where the reference has"),
    "stochastic depth at twice the rate": (_rates(lambda rate: 2 * rate), None),
    "stochastic depth at the mean rate": (_rates(lambda rate: 0.05), "2 of [4], where the reference has none"),
}

RIGHT_DROPOUTS: dict[str, Put] = {
    "a function": _head(F.dropout2d),
    "a mask of channels and samples": _head(_channels_last),
    "floored numbers": _paths(_floored),
    "numbers compared with the rate of keeping": _paths(_compared),
    "a mask of zeros and ones": _paths(_samples),
}


def put(change: Put, model: nn.Module) -> Any:
    change(model)
    return model

"""What Paddle and PaddleSeg draw a layer's parameters from: torch draws Linear, Conv2d and their biases otherwise.

Paddle's own rules stand here; a model or a backbone of PaddleSeg that has others says so in a `draw_weight` of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn


def draw(model: nn.Module) -> None:
    """Draws every parameter of a model anew, in place, and resets its statistics; torch's generator is the source."""
    for name, tensor in model.state_dict().items():
        tensor.copy_(drawn(model, name, tensor.dtype))


def drawn(model: nn.Module, name: str, dtype: torch.dtype) -> Tensor:
    """A tensor of a model as PaddleSeg would draw it, in `dtype`; the model's own may be on the meta device."""
    path, _, own = name.rpartition(".")
    layer = model.get_submodule(path)
    tensor = torch.zeros(getattr(layer, own).shape)
    if own == "running_var":
        tensor.fill_(1)
    elif own == "weight" or tensor.dim() > 1 or hasattr(layer, "draw_weight"):
        next(_rules(model, path), draw_weight)(layer, tensor)
    return tensor.to(dtype)


def draw_weight(layer: nn.Module, weight: Tensor) -> None:
    """Fills the weight of a layer from the distribution that is Paddle's default for its kind."""
    if isinstance(layer, nn.Conv1d | nn.Conv2d):  # paddle/nn/layer/conv.py: of all input channels, however many groups
        nn.init.normal_(weight, std=math.sqrt(2 / (layer.in_channels * math.prod(layer.kernel_size))))
    elif weight.dim() > 1:
        nn.init.xavier_uniform_(weight)
    else:
        weight.fill_(0.25 if isinstance(layer, nn.PReLU) else 1)  # or of a normalisation


def draw_narrow(layer: nn.Module, weight: Tensor) -> None:
    """As `draw_weight`, but convolutions from a narrow normal distribution, as many of PaddleSeg's models have them."""
    if isinstance(layer, nn.Conv2d):
        nn.init.normal_(weight, std=0.001)
    else:
        draw_weight(layer, weight)


def draw_by_group(layer: nn.Module, weight: Tensor) -> None:
    """As `draw_weight`, but convolutions by the input channels of one group, as `KaimingNormal` has it."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(weight, nonlinearity="relu")
    else:
        draw_weight(layer, weight)


def _rules(model: nn.Module, path: str) -> Iterator[Callable[[nn.Module, Tensor], None]]:
    """The `draw_weight` of the modules around a layer, the innermost first."""
    names = path.split(".") if path else []
    for end in range(len(names), -1, -1):
        if rule := getattr(model.get_submodule(".".join(names[:end])), "draw_weight", None):
            yield rule

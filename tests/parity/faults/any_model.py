"""Faults that a model of any architecture can have; each says whether the model has what it takes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._pytree import tree_map

from ppls.models.aspp import ASPP
from ppls.models.layers import ConvBNAct, DropPath
from ppls.models.norms import BatchNorm2d


def _all(model: nn.Module, kind: type[nn.Module], where: Callable[[Any], bool] = lambda _: True) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, kind) and where(module)]


def _at(share: float, found: list[Any]) -> list[Any]:
    """The one that stands at this share of them all; none of none."""
    return found[int(share * (len(found) - 1)) :][:1]


def _norms(model: nn.Module) -> list[Any]:
    """Of the kind that the model is made of."""
    norms = _all(model, BatchNorm2d)
    return norms if len(norms) > 5 else _all(model, nn.LayerNorm)


def _bias_shifted(model: nn.Module) -> bool:
    for norm in (found := _at(0.3, _norms(model))):
        norm.bias.data += 0.05
    return bool(found)


def _affine_reset(model: nn.Module) -> bool:
    for norm in (found := _at(0.5, _all(model, BatchNorm2d))):
        norm.weight.data.fill_(1.0)
        norm.bias.data.zero_()
    return bool(found)


def _statistics_reset(model: nn.Module) -> bool:
    for norm in (found := _at(0.8, _all(model, BatchNorm2d))):
        norm.running_mean.zero_()
        norm.running_var.fill_(1.0)
    return bool(found)


def _kernel_flipped(model: nn.Module) -> bool:
    for conv in (found := _at(0.0, _all(model, nn.Conv2d, lambda conv: conv.kernel_size[0] >= 3))):
        conv.weight.data = conv.weight.data.flip(-1)
    return bool(found)


def _epsilon_of_batch_norm(model: nn.Module) -> bool:
    for norm in (found := _all(model, BatchNorm2d)):
        norm.eps = 1e-3
    return bool(found)


def _epsilon_of_layer_norm(model: nn.Module) -> bool:
    for norm in (found := _all(model, nn.LayerNorm)):
        norm.eps = 1e-3
    return bool(found)


def _epsilon_of_one(model: nn.Module) -> bool:
    for norm in (found := _at(0.6, _norms(model))):
        norm.eps *= 2
    return bool(found)


def _drop_path_at_work(model: nn.Module) -> bool:
    for path in (found := _all(model, DropPath, lambda path: path.rate)):
        path.register_forward_hook(lambda path, inputs, output: output * (torch.rand(()) >= path.rate))
    return bool(found)


def _one_relu6(model: nn.Module) -> bool:
    # not deep in the model, nor behind a ReLU6: it shows where something is beyond 6, which strong noise is not there
    blocks = takewhile(lambda block: block.activation is not F.relu6, _all(model, ConvBNAct))
    for block in (found := _at(0.1, [block for block in blocks if block.activation is F.relu])):
        block.activation = F.relu6
    return bool(found)


def _batch_reversed(model: nn.Module) -> bool:
    model.register_forward_hook(lambda module, inputs, outputs: tree_map(lambda logits: logits.flip(0), outputs))
    return True


def _square_linear_not_transposed(model: nn.Module) -> bool:
    for linear in (found := _at(0.0, _all(model, nn.Linear, lambda m: m.in_features == m.out_features))):
        linear.weight.data = linear.weight.data.T.contiguous()
    return bool(found)


def _no_dilation(model: nn.Module) -> bool:
    for conv in (found := _at(0.0, _all(model, nn.Conv2d, lambda m: m.dilation[0] > 1 and m.kernel_size == (3, 3)))):
        conv.dilation, conv.padding = (1, 1), (1, 1)
    return bool(found)


def _no_activation(model: nn.Module) -> bool:
    for block in (found := _at(0.0, _all(model, ConvBNAct, lambda block: block.activation is not None))):
        block.activation = None
    return bool(found)


def _changed(name: str, change: Callable[[Any], Any]) -> Callable[[nn.Module], bool]:
    """The attribute of this name, in every module that has it as true or false."""

    def put(model: nn.Module) -> bool:
        for holder in (found := _all(model, nn.Module, lambda m: isinstance(getattr(m, name, None), bool))):
            setattr(holder, name, change(getattr(holder, name)))
        return bool(found)

    return put


def _resized_otherwise(model: nn.Module) -> bool:
    # the pooling's mean is one cell, of which every way to resize makes the same
    for holder in (found := _all(model, nn.Module, lambda m: hasattr(m, "resize_mode") and not isinstance(m, ASPP))):
        holder.resize_mode = "nearest" if holder.resize_mode == "bilinear" else "bilinear"
    return bool(found)


def _branches_swapped(model: nn.Module) -> bool:
    lists = [m.branches for m in model.modules() if isinstance(getattr(m, "branches", None), nn.ModuleList)]
    alike = [branches for branches in lists if len(branches) > 1 and _sizes(branches[0]) == _sizes(branches[-1])]
    for branches in alike:
        branches[0], branches[-1] = branches[-1], branches[0]
    return bool(alike)


def _sizes(module: nn.Module) -> list[torch.Size]:
    return [parameter.shape for parameter in module.parameters()]


def _left_in_training(model: nn.Module) -> bool:
    model.train()
    return True


def _in_bfloat16(model: nn.Module) -> bool:
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16).float()
    return True


FAULTS: dict[str, Callable[[nn.Module], bool]] = {
    "a bias of a normalisation shifted": _bias_shifted,
    "a BatchNorm's affine reset": _affine_reset,
    "a BatchNorm's statistics reset": _statistics_reset,
    "a kernel flipped": _kernel_flipped,
    "BatchNorm epsilon 1e-3": _epsilon_of_batch_norm,
    "LayerNorm epsilon 1e-3": _epsilon_of_layer_norm,
    "one normalisation's epsilon doubled": _epsilon_of_one,
    "DropPath at work": _drop_path_at_work,
    "ReLU6 for ReLU in one layer": _one_relu6,
    "a batch in another order": _batch_reversed,
    "a square Linear not transposed": _square_linear_not_transposed,
    "a dilated convolution without dilation": _no_dilation,
    "an activation left out": _no_activation,
    "corners aligned where they are not": _changed("align_corners", lambda aligned: not aligned),
    "resized otherwise": _resized_otherwise,
    "branches in another order": _branches_swapped,
    "an attention that sums the other way": _changed("collects", lambda collects: not collects),
    "an attention without softmax": _changed("softmax", lambda softmax: not softmax),
    "left in training mode": _left_in_training,
    "weights rounded to bfloat16": _in_bfloat16,
}

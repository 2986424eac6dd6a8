"""Normalisations, and what is added to them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.programs.attributes import Attributes, UnsupportedError
from ppls.programs.layers import BatchNorm
from ppls.programs.registry import Run, layer, operator


@layer(
    pir="batch_norm sync_batch_norm",
    pdmodel="batch_norm sync_batch_norm",
    takes="X Mean Variance Scale Bias",
    gives="Y",
    same={"MeanOut": "Mean", "VarianceOut": "Variance"},
    weights={"Mean": "running_mean", "Variance": "running_var", "Scale": "weight", "Bias": "bias"},
)
def batch_norm(attributes: Attributes) -> nn.Module:
    """Paddle's momentum is the weight of the old value, torch's that of the new one.

    What is exported in eval mode says `use_global_stats`, whatever training did: in training they are updated again.
    """
    attributes.layout("data_layout" if "data_layout" in attributes else "data_format")
    attributes.must_be("trainable_statistics", False)  # else a batch is normalised by its own in eval mode too
    frozen = attributes.truth("use_global_stats", False) and not attributes.truth("is_test", False)
    if not frozen:
        in_inference(attributes)
    return BatchNorm(attributes.number("epsilon", 1e-5), 1.0 - attributes.number("momentum", 0.9), frozen=frozen)


def in_inference(attributes: Attributes) -> None:
    """Refuses what was exported to do as in training."""
    if not attributes.truth("is_test", False):
        raise UnsupportedError("is_test False: exported as in training")


@operator(pir="layer_norm", pdmodel="layer_norm", takes="X Scale Bias", gives="Y")
def layer_norm(attributes: Attributes) -> Run:
    """Over all axes from `begin_norm_axis` on; the weights are flat."""
    epsilon, first = attributes.number("epsilon", 1e-5), attributes.integer("begin_norm_axis", 1)

    def run(x: Tensor, scale: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        shape = x.shape[first:]
        scale, bias = (None if each is None else each.reshape(shape) for each in (scale, bias))
        return F.layer_norm(x, shape, scale, bias, epsilon)

    return run


@operator(pir="instance_norm", pdmodel="instance_norm", takes="X Scale Bias", gives="Y")
def instance_norm(attributes: Attributes) -> Run:
    epsilon = attributes.number("epsilon", 1e-5)
    return lambda x, scale=None, bias=None: F.instance_norm(x, weight=scale, bias=bias, eps=epsilon)


@operator(pir="group_norm", pdmodel="group_norm", takes="X Scale Bias", gives="Y")
def group_norm(attributes: Attributes) -> Run:
    attributes.layout("data_layout" if "data_layout" in attributes else "data_format")
    groups, epsilon = attributes.integer("groups"), attributes.number("epsilon", 1e-5)
    return lambda x, scale=None, bias=None: F.group_norm(x, groups, scale, bias, epsilon)


@operator(pir="norm", pdmodel="norm")
def norm(attributes: Attributes) -> Run:
    """A vector of length 1: epsilon stands within the root."""
    axis, epsilon = attributes.integer("axis"), attributes.number("epsilon", 1e-10)
    return lambda x: x / (x.square().sum(axis, keepdim=True) + epsilon).sqrt()


@operator(pir="p_norm", pdmodel="p_norm")
def p_norm(attributes: Attributes) -> Run:
    """The norm itself; epsilon serves the gradient alone."""
    order, axis = attributes.number("porder", 2.0), attributes.integer("axis", -1)
    keep, whole = attributes.truth("keepdim", False), attributes.truth("asvector", False)

    def run(x: Tensor) -> Tensor:
        return torch.linalg.vector_norm(x, order, None if whole else axis, keepdim=keep)

    return run


@operator(pir="affine_channel", pdmodel="affine_channel", takes="X Scale Bias")
def affine_channel(attributes: Attributes) -> Run:
    attributes.layout("data_layout")

    def run(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        shape = (1, -1, *[1] * (x.dim() - 2))
        return x * scale.view(shape) + bias.view(shape)

    return run

"""Wrong tensors: what happens to weight files, and to the weights that a port fills in itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from ppls.models.norms import BatchNorm2d

from .fault import Fault

# role: [(place, PaddleSeg's layer, ppls's tensor, one of the same role and shape, which layer of both runs first)]
EARLY, MIDDLE, LATE = "backbone.features.2.conv_list.3", "backbone.features.4.conv_list.3", "seg_heads.0.conv"


def _places(conv_or_bn: str, name: str) -> list[tuple[str, str, str, str, str]]:
    paddle = {"conv": "_conv", "bn": "_batch_norm"}[conv_or_bn]
    late_swap = (
        ("backbone.blocks.2.convs.3.conv", f"{EARLY}.conv")
        if conv_or_bn == "conv"
        else ("decoder.0.conv_out.bn", "ppseg_head.arm_list.0.conv_out._batch_norm")
    )
    return [
        ("early", f"{EARLY}.{conv_or_bn}", f"backbone.blocks.2.convs.3.{conv_or_bn}.{name}",
         f"backbone.blocks.3.convs.3.{conv_or_bn}.{name}", f"{EARLY}.{conv_or_bn}"),
        ("middle", f"{MIDDLE}.{conv_or_bn}", f"backbone.blocks.4.convs.3.{conv_or_bn}.{name}",
         f"backbone.blocks.5.convs.3.{conv_or_bn}.{name}", f"{MIDDLE}.{conv_or_bn}"),
        ("late", f"{LATE}.{paddle}", f"heads.0.conv.{conv_or_bn}.{name}", f"{late_swap[0]}.{name}", late_swap[1]),
    ]  # fmt: skip


_CONTEXT = "ppseg_head.cm"
ROLES = {
    "convolution weight": _places("conv", "weight"),
    "convolution bias": [
        ("early", f"{_CONTEXT}.stages.0.1._conv", "context.branches.0.conv.bias", "context.branches.1.conv.bias",
         f"{_CONTEXT}.stages.0.1._conv"),
        ("middle", f"{_CONTEXT}.stages.1.1._conv", "context.branches.1.conv.bias", "context.branches.2.conv.bias",
         f"{_CONTEXT}.stages.1.1._conv"),
        ("late", f"{_CONTEXT}.conv_out._conv", "context.conv_out.conv.bias", "context.branches.0.conv.bias",
         f"{_CONTEXT}.stages.0.1._conv"),
    ],
    "BatchNorm weight": _places("bn", "weight"),
    "BatchNorm bias": _places("bn", "bias"),
    "running mean": _places("bn", "running_mean"),
    "running variance": _places("bn", "running_var"),
}  # fmt: skip


def _scaled(tensor: Tensor, _like: Tensor) -> None:
    tensor.mul_(1.1)


def _zeroed(tensor: Tensor, _like: Tensor) -> None:
    tensor.zero_()


def _flipped(tensor: Tensor, _like: Tensor) -> None:
    tensor.copy_(tensor.flip(-1))


def _transposed(tensor: Tensor, _like: Tensor) -> None:
    tensor.copy_(tensor.transpose(0, 1).clone())


def _swapped(tensor: Tensor, like: Tensor) -> None:
    kept = tensor.clone()
    tensor.copy_(like)
    like.copy_(kept)


CHANGES = {
    "scaled by 1.1": _scaled,
    "zeroed": _zeroed,
    "flipped": _flipped,
    "transposed": _transposed,
    "swapped with a like one": _swapped,
}


def tensor_faults() -> Iterator[Fault]:
    """Every role of a tensor, early, in the middle and late, changed in every way that its shape allows."""
    for role, places in ROLES.items():
        for place, layer, name, like, first in places:
            for change, apply in CHANGES.items():
                if change == "transposed" and role != "convolution weight":
                    continue

                def put(model: nn.Module, name: str = name, like: str = like, apply: Callable = apply) -> nn.Module:
                    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
                    with torch.no_grad():
                        apply(tensors[name], tensors[like])
                    return model

                yield Fault(
                    f"{role}, {place}: {change}",
                    put,
                    first if change == "swapped with a like one" else layer,
                    by_weights=True,
                )


def _weights_as(dtype: torch.dtype) -> Callable[[nn.Module], nn.Module]:
    def put(model: nn.Module) -> nn.Module:
        with torch.no_grad():
            for tensor in [*model.parameters(), *model.buffers()]:
                tensor.copy_(tensor.to(dtype).to(tensor.dtype))
        return model

    return put


def each_batch_norm(change: Callable[[BatchNorm2d], None]) -> Callable[[nn.Module], nn.Module]:
    def put(model: nn.Module) -> nn.Module:
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, BatchNorm2d):
                    change(module)
        return model

    return put


def _swap_statistics(bn: BatchNorm2d) -> None:
    bn.running_mean, bn.running_var = bn.running_var.clone(), bn.running_mean.clone()


def _reset_affine(name: str) -> Callable[[nn.Module], nn.Module]:
    def put(model: nn.Module) -> nn.Module:
        bn = model.get_submodule(name)
        nn.init.ones_(bn.weight)
        nn.init.zeros_(bn.bias)
        return model

    return put


def _reset_one_channel(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        model.decoder[1].conv_low.conv.weight[17, 5] = 0
    return model


def _fold_bias_with_the_wrong_sign(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for branch in model.context.branches:
            branch.bn.running_mean += branch.conv.bias
            branch.conv.bias.zero_()
    return model


WEIGHT_FAULTS = [
    Fault("weights rounded to float16", _weights_as(torch.float16), "backbone.features.*", by_weights=True),
    Fault("weights rounded to bfloat16", _weights_as(torch.bfloat16), "backbone.features.0.conv", by_weights=True),
    Fault("mean and variance exchanged", each_batch_norm(_swap_statistics), "backbone.features.0.bn", by_weights=True),
    Fault(
        "standard deviation in place of variance",
        each_batch_norm(lambda bn: bn.running_var.sqrt_()),
        "backbone.features.0.bn",
        by_weights=True,
    ),
    Fault("an early BatchNorm's affine reset", _reset_affine("backbone.blocks.1.bn"), "backbone.features.1.bn",
          by_weights=True),
    Fault("a late BatchNorm's affine reset", _reset_affine("decoder.0.attention.excite.bn"),
          "ppseg_head.arm_list.0.conv_xy_atten.1._batch_norm", by_weights=True),
    Fault("one slice of one kernel zeroed", _reset_one_channel, "ppseg_head.arm_list.1.conv_x._conv", by_weights=True),
    Fault("biases folded with the wrong sign", _fold_bias_with_the_wrong_sign,
          "ppseg_head.cm.stages.0.1._conv", by_weights=True),
]  # fmt: skip

"""Faults that eval mode does not show."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.norms import BatchNorm2d
from ppls.models.pp_liteseg import PPLiteSeg

from .fault import TrainingFault
from .tensors import each_batch_norm


class UnbiasedBatchNorm2d(BatchNorm2d):
    """torch's own running variance: that of the batch times n / (n - 1)."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or x.numel() == x.size(1):
            return super().forward(x)
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, True, self.momentum, self.eps
        )


class RaisingBatchNorm2d(BatchNorm2d):
    """torch's own answer to one value per channel."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.size(1):
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {x.shape}")
        return super().forward(x)


class CentringBatchNorm2d(BatchNorm2d):
    """One value per channel normalised: it is its own mean, so the output is the bias."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.size(1):
            return x * 0 + self.bias.view(1, -1, 1, 1)
        return super().forward(x)


class FrozenBatchNorm2d(BatchNorm2d):
    """Eval mode whatever the mode: what fine-tuning recipes do."""

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def _batch_norms_become(kind: type[BatchNorm2d]) -> Callable[[nn.Module], nn.Module]:
    return each_batch_norm(lambda bn: setattr(bn, "__class__", kind))


def _momentum(value: float) -> Callable[[nn.Module], nn.Module]:
    return each_batch_norm(lambda bn: setattr(bn, "momentum", value))


def _stopped_input(name: str) -> Callable[[nn.Module], nn.Module]:
    """No gradient leaves this module through its input."""

    def put(model: nn.Module) -> nn.Module:
        model.get_submodule(name).register_forward_pre_hook(lambda module, inputs: inputs[0].detach())
        return model

    return put


def _stopped_output(name: str) -> Callable[[nn.Module], nn.Module]:
    def put(model: nn.Module) -> nn.Module:
        model.get_submodule(name).register_forward_hook(lambda module, inputs, output: output.detach())
        return model

    return put


def _frozen(name: str) -> Callable[[nn.Module], nn.Module]:
    def put(model: nn.Module) -> nn.Module:
        model.get_parameter(name).requires_grad_(False)
        return model

    return put


class AutocastPPLiteSeg(PPLiteSeg):
    """Narrow in training alone, as fine-tuning scripts have it; autocast leaves float64 as it is."""

    def forward(self, x: Tensor) -> list[Tensor]:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.backbone.blocks[0].bn.training):
            return [logits.to(x.dtype) for logits in super().forward(x)]


def _autocast_in_training(model: nn.Module) -> nn.Module:
    model.__class__ = AutocastPPLiteSeg
    return model


class HalvedGradient(torch.autograd.Function):
    @staticmethod
    def forward(context: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        return gradient / 2


def _halved_gradient(model: nn.Module) -> nn.Module:
    model.backbone.blocks[5].register_forward_hook(lambda module, inputs, output: HalvedGradient.apply(output))
    return model


TRAINING_FAULTS = [
    TrainingFault("Paddle's momentum, 0.9, in torch", _momentum(0.9), "statistic"),
    TrainingFault("BatchNorm momentum 0.01", _momentum(0.01), "statistic"),
    TrainingFault("running statistics never updated", _momentum(0.0), "statistic"),
    TrainingFault("unbiased running variance", _batch_norms_become(UnbiasedBatchNorm2d), "statistic"),
    TrainingFault("BatchNorm in eval mode in training", _batch_norms_become(FrozenBatchNorm2d), "loss"),
    TrainingFault("one value per channel refused", _batch_norms_become(RaisingBatchNorm2d),
                  failure="raised ValueError in training step 2"),
    TrainingFault("one value per channel normalised", _batch_norms_become(CentringBatchNorm2d), "loss", step=2),
    TrainingFault("gradient stopped before the attention", _stopped_output("decoder.1.attention"), "gradient"),
    TrainingFault("gradient stopped before the context", _stopped_input("context"), "gradient"),
    TrainingFault("gradient of an auxiliary head stopped", _stopped_input("heads.2"), "gradient"),
    TrainingFault("gradient halved on its way", _halved_gradient, "gradient", "backbone.features"),
    TrainingFault("autocast to bfloat16 in training", _autocast_in_training, "loss", dtype="float32"),
    TrainingFault("one convolution frozen", _frozen("backbone.blocks.3.convs.1.conv.weight"), "gradient",
                  "backbone.features.3.conv_list.1.conv.weight"),
]  # fmt: skip

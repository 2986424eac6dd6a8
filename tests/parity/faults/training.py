"""Faults that eval mode does not show."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.attention import SpatialAttention
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


def _set(attribute: str, value: float, module: nn.Module) -> None:
    setattr(module, attribute, value)


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


def _changed(name: str, change: Callable[[nn.Module], None]) -> Callable[[nn.Module], nn.Module]:
    """Something done to one module."""

    def put(model: nn.Module) -> nn.Module:
        change(model.get_submodule(name))
        return model

    return put


def _becomes(kind: type[nn.Module]) -> Callable[[nn.Module], None]:
    return lambda module: setattr(module, "__class__", kind)


class CumulativeBatchNorm2d(BatchNorm2d):
    """What torch's does with `momentum=None`: the mean of all batches so far."""

    batches = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() > x.size(1):
            self.batches += 1
            self.momentum = 1.0 / self.batches
        return super().forward(x)


class FewUnbiasedBatchNorm2d(UnbiasedBatchNorm2d):
    """Unbiased where there are no more than four values, which is where it shows most."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.numel() // x.size(1) <= 4 else BatchNorm2d.forward(self, x)


class VarianceKeptBatchNorm2d(BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        variance = self.running_var.clone()
        try:
            return super().forward(x)
        finally:
            self.running_var.copy_(variance)


class TwiceUpdatedBatchNorm2d(BatchNorm2d):
    """As under a checkpointed block, which is run again on the way back."""

    def forward(self, x: Tensor) -> Tensor:
        super().forward(x)
        return super().forward(x)


class GhostBatchNorm2d(BatchNorm2d):
    """Each half of a batch is normalised by itself, as on two devices."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or len(x) == 1:
            return super().forward(x)
        return torch.cat([super(GhostBatchNorm2d, self).forward(half) for half in x.chunk(2)])


class DetachedMaximum(SpatialAttention):
    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        described = [part for x in (low, high) for part in (x.mean(1, keepdim=True), x.detach().amax(1, keepdim=True))]
        return torch.sigmoid(self.excite(self.squeeze(torch.cat(described, dim=1))))


class ArgmaxAttention(SpatialAttention):
    """The maximum by its index, whose gradient goes to the first of equal ones; and is then lost."""

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        described = []
        for x in (low, high):
            largest = x.detach().gather(1, x.argmax(1, keepdim=True))
            described += [x.mean(1, keepdim=True), largest]
        return torch.sigmoid(self.excite(self.squeeze(torch.cat(described, dim=1))))


class HalfConv2d(nn.Conv2d):
    """Computes in float16 where gradients are wanted; train mode alone is what shows the heads."""

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return super().forward(x)
        with torch.autocast("cpu", dtype=torch.float16):
            return super().forward(x).to(x.dtype)


class CentredConv2d(nn.Conv2d):
    """Weights standardised for good, whenever it trains."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            with torch.no_grad():
                self.weight.sub_(self.weight.mean())
        return super().forward(x)


class CachedConv2d(nn.Conv2d):
    """Keeps for eval mode the weight of its first run, which training changes."""

    cached: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.cached is None or self.cached.dtype != x.dtype:
            self.cached = self.weight.detach().clone()
        return super().forward(x) if self.training else F.conv2d(x, self.cached, self.bias, padding=self.padding)


def _clipped_gradient(conv: nn.Module) -> None:
    """A hook on the output, since hooks on parameters are not copied with a module."""
    conv.register_forward_hook(lambda module, inputs, output: ClippedGradient.apply(output))


class ClippedGradient(torch.autograd.Function):
    @staticmethod
    def forward(context: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        return gradient.clamp(-1e-4, 1e-4)


def _dropout(p: float) -> Callable[[nn.Module], None]:
    def put(module: nn.Module) -> None:
        module.dropout = nn.Dropout(p).eval()
        module.register_forward_hook(lambda module, inputs, output: module.dropout(output))

    return put


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
    TrainingFault("BatchNorm momentum 0.01", _momentum(0.01), "statistic",
                  twin="Paddle's momentum, 0.9, in torch"),
    TrainingFault("running statistics never updated", _momentum(0.0), "statistic",
                  twin="Paddle's momentum, 0.9, in torch"),
    TrainingFault("unbiased running variance", _batch_norms_become(UnbiasedBatchNorm2d), "statistic",
                  twin="unbiased variance of few values"),
    TrainingFault("BatchNorm in eval mode in training", _batch_norms_become(FrozenBatchNorm2d), "loss",
                  twin="one BatchNorm frozen"),
    TrainingFault("one value per channel refused", _batch_norms_become(RaisingBatchNorm2d),
                  failure="raised ValueError in training step 2"),
    TrainingFault("one value per channel normalised", _batch_norms_become(CentringBatchNorm2d), "loss", step=2),
    TrainingFault("gradient stopped before the attention", _stopped_output("decoder.1.attention"), "gradient"),
    TrainingFault("gradient stopped before the context", _stopped_input("context"), "gradient",
                  twin="gradient stopped before the attention"),
    TrainingFault("gradient of an auxiliary head stopped", _stopped_input("heads.2"), "gradient",
                  twin="gradient stopped before the attention"),
    TrainingFault("gradient halved on its way", _halved_gradient, "gradient", "backbone.features"),
    TrainingFault("autocast to bfloat16 in training", _autocast_in_training, "loss", dtype="float32",
                  twin="one convolution in float16"),
    TrainingFault("one convolution frozen", _frozen("backbone.blocks.3.convs.1.conv.weight"), "gradient",
                  "backbone.features.3.conv_list.1.conv.weight"),
    TrainingFault("momentum=None, the mean of all batches", _batch_norms_become(CumulativeBatchNorm2d), "statistic",
                  twin="Paddle's momentum, 0.9, in torch"),
    TrainingFault("one layer's momentum 0.01", _changed("decoder.1.conv_out.bn", partial(_set, "momentum", 0.01)),
                  "statistic", "ppseg_head.arm_list.1.conv_out._batch_norm",
                  twin="one momentum off by a thousandth"),
    TrainingFault("an auxiliary head's momentum 0.2", _changed("heads.2.conv.bn", partial(_set, "momentum", 0.2)),
                  "statistic", "seg_heads.2.conv._batch_norm",
                  twin="one momentum off by a thousandth"),
    TrainingFault("one momentum off by a thousandth",
                  _changed("decoder.1.conv_out.bn", partial(_set, "momentum", 0.101)), "statistic",
                  "ppseg_head.arm_list.1.conv_out._batch_norm"),
    TrainingFault("unbiased variance of few values", _batch_norms_become(FewUnbiasedBatchNorm2d), "statistic",
                  "ppseg_head.cm.stages.0"),
    TrainingFault("one running variance never updated",
                  _changed("context.conv_out.bn", _becomes(VarianceKeptBatchNorm2d)), "statistic",
                  "ppseg_head.cm.conv_out._batch_norm._variance",
                  twin="statistics updated twice"),
    TrainingFault("statistics updated twice", _changed("context.conv_out.bn", _becomes(TwiceUpdatedBatchNorm2d)),
                  "statistic", "ppseg_head.cm.conv_out._batch_norm"),
    TrainingFault("halves of a batch normalised apart",
                  _changed("decoder.0.conv_out.bn", _becomes(GhostBatchNorm2d)), "loss"),
    TrainingFault("one BatchNorm frozen",
                  _changed("backbone.blocks.3.convs.1.bn", _becomes(FrozenBatchNorm2d)), "loss"),
    TrainingFault("maximum detached", _changed("decoder.1.attention", _becomes(DetachedMaximum)), "gradient"),
    TrainingFault("maximum by argmax", _changed("decoder.2.attention", _becomes(ArgmaxAttention)), "gradient",
                  twin="maximum detached"),
    TrainingFault("an auxiliary head's output detached", _stopped_output("heads.1.conv"), "gradient",
                  twin="gradient stopped before the attention"),
    TrainingFault("gradient clipped", _changed("decoder.2.conv_out", _clipped_gradient), "gradient"),
    TrainingFault("one convolution in float16", _changed("decoder.2.conv_out.conv", _becomes(HalfConv2d)), "loss",
                  dtype="float32"),
    TrainingFault("a weight standardised in training", _changed("decoder.2.conv_out.conv", _becomes(CentredConv2d)),
                  "loss"),
    TrainingFault("a weight that eval mode keeps", _changed("decoder.2.conv_out.conv", _becomes(CachedConv2d)),
                  "output after training", "output 0", step=2),
    TrainingFault("dropout where there is none", _changed("decoder.2.conv_out", _dropout(0.1)),
                  failure="what the candidate drops in training is not what the reference drops"),
    TrainingFault("dropout in an auxiliary head", _changed("heads.1.conv", _dropout(0.5)),
                  failure="what the candidate drops in training is not what the reference drops",
                  twin="dropout where there is none"),
]  # fmt: skip

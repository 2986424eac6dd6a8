"""Wrong inputs, outputs, modes and heads."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ppls.models.pp_liteseg as pp_liteseg

from .fault import Fault
from .operators import WithResize


class Around(WithResize):
    """Runs a model with something done to what goes in or comes out."""

    def __init__(self, model: nn.Module, before: Callable = lambda x: x, after: Callable = lambda x: x) -> None:
        super().__init__(model, pp_liteseg.resize, final=True)
        self.before, self.after = before, after

    def forward(self, x: Tensor) -> object:
        return self.after(self.model(self.before(x)))


def _around(**changes: Callable) -> Callable[[nn.Module], nn.Module]:
    return lambda model: Around(model, **changes)


def _nan_in_one_pixel(outputs: list[Tensor]) -> list[Tensor]:
    outputs[0][0, 3, 10, 20] = float("nan")
    return outputs


class InBfloat16(Around):
    def forward(self, x: Tensor) -> list[Tensor]:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return [logits.float() for logits in self.model(x)]


def _change_input(x: Tensor) -> Tensor:
    return x.clamp_(-0.5, 0.5)


def _raise(x: Tensor) -> Tensor:
    raise RuntimeError("expected scalar type Half but found Float")


def _dropout(model: nn.Module) -> nn.Module:
    classifier = model.heads[0].classifier
    right = classifier.forward
    classifier.forward = lambda x: right(F.dropout(x, 0.1, training=True))
    return model


def _functional_dropout(model: nn.Module) -> nn.Module:
    conv = model.heads[0].classifier
    conv.register_forward_pre_hook(lambda module, inputs: F.dropout(inputs[0], 0.1, module.training))
    return model


def _aux_head_wrong(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        model.heads[2].classifier.weight.mul_(1.01)
    return model


def _relu6_in_an_aux_head(model: nn.Module) -> nn.Module:
    model.heads[1].conv.activation = F.relu6
    return model


def _heads_in_another_order(model: nn.Module) -> nn.Module:
    return Around(model, after=lambda outputs: [outputs[0], *outputs[:0:-1]])


def _aux_heads_on_the_finest_map(model: nn.Module) -> nn.Module:
    class Rerouted(Around):
        def forward(self, x: Tensor) -> list[Tensor]:
            outputs = self.model(x)
            return outputs if len(outputs) == 1 else [outputs[0], outputs[0], outputs[2]]

    return Rerouted(model)


def _statistics_that_drift(model: nn.Module) -> nn.Module:
    def drift(bn: nn.Module, inputs: object, output: Tensor) -> None:
        bn.running_mean.mul_(1 + 1e-6)

    model.decoder[0].conv_out.bn.register_forward_hook(drift)
    return model


def _nan_beyond(model: nn.Module) -> nn.Module:
    context = model.context.conv_out
    context.register_forward_hook(lambda module, inputs, output: output.masked_fill(output > 40, float("nan")))
    return model


FIRST = "backbone.features.0.conv"
BEHAVIOUR_FAULTS = [
    Fault("BGR for RGB", _around(before=lambda x: x.flip(1)), FIRST, "input"),
    Fault("normalised twice", _around(before=lambda x: (x - 0.5) / 0.5), FIRST, "input"),
    Fault("input rounded to 8 bits", _around(before=lambda x: (x * 127.5).round() / 127.5), FIRST, "input"),
    Fault("softmax for logits", _around(after=lambda outputs: [x.softmax(1) for x in outputs])),
    Fault("classes shifted by one", _around(after=lambda outputs: [x.roll(1, 1) for x in outputs])),
    Fault("logits mirrored", _around(after=lambda outputs: [x.flip(-1) for x in outputs])),
    Fault("NaN in one pixel", _around(after=_nan_in_one_pixel)),
    Fault("computes in bfloat16", lambda model: InBfloat16(model), FIRST, "output"),
    Fault("returns float64", _around(after=lambda outputs: [x.double() for x in outputs])),
    Fault("returns logits of another size", _around(after=lambda outputs: [x[..., ::2, ::2] for x in outputs])),
    Fault("returns a class map", _around(after=lambda outputs: [outputs[0].argmax(1)])),
    Fault("returns two outputs", _around(after=lambda outputs: outputs * 2), failure="returned 2 outputs"),
    Fault("returns nothing", _around(after=lambda outputs: None), failure="returned 0 outputs"),
    Fault("raises", _around(before=_raise), failure="raised RuntimeError"),
    Fault("a batch in another order", _around(after=lambda outputs: [x.flip(0) for x in outputs])),
    Fault("the first image of a batch alone", _around(before=lambda x: x[:1].expand_as(x))),
    Fault("NaN beyond what photographs reach", _nan_beyond),
    Fault("statistics that drift in eval mode", _statistics_that_drift, failure="changes 1 of its own tensors"),
    Fault("changes its input", _around(before=_change_input), failure="changed its input"),
    Fault("left in training mode", lambda model: model.train(), failure="left in training mode"),
    Fault("its decoder left in training mode", lambda model: (model.decoder.train(), model)[1],
          failure="left in training mode"),
    Fault("dropout at work", _dropout, "seg_heads.0.conv_out"),
    Fault("dropout in training alone", _functional_dropout, "seg_heads.0.conv_out", "input"),
    Fault("one auxiliary head wrong by a hundredth", _aux_head_wrong, "seg_heads.2.conv_out", by_weights=True),
    Fault("ReLU6 in an auxiliary head", _relu6_in_an_aux_head),  # on strong noise alone
    Fault("heads in another order", _heads_in_another_order),
    Fault("an auxiliary head returned twice", _aux_heads_on_the_finest_map),
]  # fmt: skip

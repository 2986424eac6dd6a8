"""Layers that are wrong altogether, which the outputs hardly show: not arranged otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ppls.models.layers import ConvBNAct

LAYER = "decoder.1.conv_low"


def _behind_a_gate(gate: float) -> Callable[[Any], nn.Module]:
    """One convolution has other weights, and what it gives comes through a gate that is nearly closed."""

    def put(model: Any) -> nn.Module:
        block: ConvBNAct = model.get_submodule(LAYER)
        right = block.conv.weight.detach().clone()
        noise = torch.randn(right.shape, generator=torch.Generator().manual_seed(0))
        block.conv.weight.data = noise * right.std()

        def forward(x: Tensor) -> Tensor:
            y = block.conv._conv_forward(x, right.to(x.dtype), None) + gate * block.conv(x)
            return torch.relu(block.bn(y))

        block.forward = forward  # type: ignore[method-assign]
        return model

    return put


def _without_gradients(model: Any) -> nn.Module:
    """No gradient tells what the outputs depend on."""
    wrong = _behind_a_gate(0.0)(model).requires_grad_(False)
    wrong.forward = torch.no_grad()(wrong.forward)  # type: ignore[method-assign]
    return wrong


ARRANGEMENT_FAULTS: dict[str, Callable[[Any], nn.Module]] = {
    "a wrong layer behind a gate of 1e-6": _behind_a_gate(1e-6),
    "a wrong layer that nothing uses, without gradients": _without_gradients,
}

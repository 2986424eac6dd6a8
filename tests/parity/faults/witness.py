"""Faults behind gates, in DANet's attentions: while these stood at 0, as upstream starts them, nothing showed them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def _position(compute: Callable[[Any, Tensor], Tensor]) -> Callable[[Any], None]:
    def put(model: Any) -> None:
        attention = model.position_attention
        attention.forward = lambda x: compute(attention, x)

    return put


def _channel(compute: Callable[[Any, Tensor], Tensor]) -> Callable[[Any], None]:
    def put(model: Any) -> None:
        attention = model.channel_attention
        attention.forward = lambda x: compute(attention, x)

    return put


def _not_transposed(attention: Any, x: Tensor) -> Tensor:
    query, key, value = (conv(x).flatten(2) for conv in (attention.query, attention.key, attention.value))
    weights = torch.softmax(query.transpose(1, 2) @ key, dim=-1)
    return attention.gamma * (value @ weights).reshape(x.shape) + x


def _scaled_down(attention: Any, x: Tensor) -> Tensor:
    query, key, value = (conv(x).flatten(2) for conv in (attention.query, attention.key, attention.value))
    weights = torch.softmax(query.transpose(1, 2) @ key / query.shape[1] ** 0.5, dim=-1)
    return attention.gamma * (value @ weights.transpose(1, 2)).reshape(x.shape) + x


def _by_likeness(attention: Any, x: Tensor) -> Tensor:
    maps = x.flatten(2)
    weights = torch.softmax(maps @ maps.transpose(1, 2), dim=-1)
    return attention.gamma * (weights @ maps).reshape(x.shape) + x


def _gate_twice(attention: Any, x: Tensor) -> Tensor:
    right = type(attention).forward(attention, x)
    return right + attention.gamma * (right - x)


def _both_left_out(model: Any) -> None:
    for attention in (model.position_attention, model.channel_attention):
        attention.forward = nn.Identity()


GATED_FAULTS: dict[str, Callable[[Any], None]] = {
    "attention over pixels not transposed": _position(_not_transposed),
    "attention over pixels scaled by its width": _position(_scaled_down),
    "attention over channels by likeness": _channel(_by_likeness),
    "a gate that counts twice": _channel(_gate_twice),
    "both attentions left out": _both_left_out,
}

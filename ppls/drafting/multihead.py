"""torch's own attention with its projections as layers that can be seen: it runs none, and has three of them in one
tensor."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FUSED = {"weight": "in_proj_weight", "bias": "in_proj_bias"}  # query, key and value, one behind the other


class Projection(nn.Module):
    """One of the three: a Linear whose weight is a part of the attention's."""

    attention: nn.MultiheadAttention

    def __init__(self, attention: nn.MultiheadAttention, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        object.__setattr__(self, "attention", attention)  # it is no part of this one
        self.weight, self.bias = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


def projections_of(module: nn.Module) -> list[Projection]:
    """Those for query, key and value; none where it is no such attention, or computes in its own way."""
    if not isinstance(module, nn.MultiheadAttention) or type(module).forward is not nn.MultiheadAttention.forward:
        return []
    if module.in_proj_weight is None:  # query, key and value of several widths
        return []
    weights = module.in_proj_weight.detach().chunk(3)
    biases = [None] * 3 if module.in_proj_bias is None else module.in_proj_bias.detach().chunk(3)
    return [Projection(module, weight, bias) for weight, bias in zip(weights, biases, strict=True)]


@contextmanager
def run_as_layers(layers: Iterable[nn.Module]) -> Iterator[None]:
    """Within, each attention that has projections among these runs them, and its last layer, as modules."""
    held: dict[nn.MultiheadAttention, list[Projection]] = defaultdict(list)
    for layer in layers:
        if isinstance(layer, Projection):
            held[layer.attention].append(layer)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # a TransformerEncoderLayer runs nothing but one kernel else
    for attention, projections in held.items():
        attention.forward = partial(_forward, attention, projections)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for attention in held:
            del attention.forward
        torch.backends.mha.set_fastpath_enabled(fast)


def _forward(
    attention: nn.MultiheadAttention,
    projections: Sequence[Projection],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """`nn.MultiheadAttention.forward`, whose own projections are given identities."""
    turned = query.dim() == 3 and not attention.batch_first

    def other(x: Tensor, when: bool) -> Tensor:
        return x.transpose(0, 1) if when else x

    seen = [other(x, turned) for x in (query, key, value)]
    projected = [layer(x) for layer, x in zip(projections, seen, strict=True)]  # (N, tokens, channels), or no N
    identity = torch.eye(attention.embed_dim, dtype=query.dtype, device=query.device)
    options: dict[str, Any] = {
        "training": attention.training,
        "key_padding_mask": key_padding_mask,
        "need_weights": need_weights,
        "attn_mask": attn_mask,
        "average_attn_weights": average_attn_weights,
        "is_causal": is_causal,
    }
    q, k, v = (other(x, query.dim() == 3) for x in projected)
    attended, weights = F.multi_head_attention_forward(
        q,
        k,
        v,
        attention.embed_dim,
        attention.num_heads,
        identity.repeat(3, 1),
        None,
        attention.bias_k,
        attention.bias_v,
        attention.add_zero_attn,
        attention.dropout,
        identity,
        None,
        **options,
    )
    return other(attention.out_proj(other(attended, query.dim() == 3)), turned), weights

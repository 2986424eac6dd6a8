"""What a porter of SegFormer gets wrong: tokens, heads, normalisations, the order of what is stacked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.layers import from_tokens, to_tokens
from ppls.models.mix_transformer import Attention, Block, MixFFN, PatchEmbedding, Stage
from ppls.models.resize import resize

from .change import Change, Wrong, forward_of, forward_of_each, part, put, set_to

FIRST = "backbone.stages.0.blocks.0"


def _attention(
    attend: Callable[[Any, Tensor, Tensor, Tensor], Tensor] = lambda self, q, k, v: F.scaled_dot_product_attention(
        q, k, v
    ),
    halves: Callable[[Tensor], tuple[Tensor, Tensor]] = lambda both: both.chunk(2, dim=-1),  # type: ignore[assignment]
    tokens: Callable[[Any, Tensor, Any], Tensor] | None = None,
    merge: Callable[[Tensor], Tensor] = lambda attended: attended.transpose(1, 2).flatten(2),
    split: Callable[[Any, Tensor], Tensor] | None = None,
) -> Change:
    """Another attention: what is attended to, how heads are split, weighed and merged."""

    def forward(self: Any, x: Tensor, size: Any) -> Tensor:
        heads = split or type(self)._split_heads
        query = heads(self, self.query(x))
        if self.reduce is not None:
            x = (tokens or _reduced)(self, x, size)
        key, value = (heads(self, half) for half in halves(self.key_value(x)))
        return self.project(merge(attend(self, query, key, value)))

    return forward_of_each(Attention, forward)


def _reduced(self: Any, x: Tensor, size: Any) -> Tensor:
    return self.reduce_norm(to_tokens(self.reduce(from_tokens(x, size))))


def _weighed(scale: Callable[[Any, Tensor], float], dim: int = -1) -> Any:
    def attend(self: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return torch.softmax(query @ key.transpose(-2, -1) * scale(self, query), dim) @ value

    return attend


def _interleaved_heads(self: Any, x: Tensor) -> Tensor:
    n, length, channels = x.shape
    return x.reshape(n, length, channels // self.heads, self.heads).permute(0, 3, 1, 2)


def _columns_of(x: Tensor, size: Any) -> Tensor:
    """Tokens as a map, column by column."""
    return from_tokens(x, (size[1], size[0])).transpose(2, 3)


def _ffn(between: Callable[[Any, Tensor, Any], Tensor]) -> Change:
    def forward(self: Any, x: Tensor, size: Any) -> Tensor:
        return self.shrink(between(self, self.expand(x), size))

    return forward_of_each(MixFFN, forward)


def _deep(self: Any, x: Tensor, size: Any) -> Tensor:
    return to_tokens(self.depthwise(from_tokens(x, size)))


def _block(forward: Callable[[Any, Tensor, Any], Tensor]) -> Change:
    return forward_of_each(Block, forward)


def _normalised_residual(self: Any, x: Tensor, size: Any) -> Tensor:
    x = self.norm1(x)
    x = x + self.attention(x, size)
    x = self.norm2(x)
    return x + self.mlp(x, size)


def _normalised_after(self: Any, x: Tensor, size: Any) -> Tensor:
    x = self.norm1(x + self.attention(x, size))
    return self.norm2(x + self.mlp(x, size))


def _side_by_side(self: Any, x: Tensor, size: Any) -> Tensor:
    return x + self.attention(self.norm1(x), size) + self.mlp(self.norm2(x), size)


def _decoder(
    stack: Callable[[list[Tensor]], list[Tensor]] = lambda maps: maps[::-1],
    spread: Callable[[Tensor, Any], Tensor] = resize,
    final: Callable[[Tensor, Any], Tensor] = resize,
) -> Change:
    def forward(self: Any, image: Tensor) -> list[Tensor]:
        features = self.backbone(image)
        projected = [
            spread(from_tokens(project(to_tokens(x)), x.shape[-2:]), features[0].shape[-2:])
            for x, project in zip(features, self.projections, strict=True)
        ]
        return [final(self.classifier(self.fuse(torch.cat(stack(projected), 1))), image.shape[-2:])]

    return forward_of("", forward)


def _without_bias(linear: Any) -> None:
    linear.bias = None


def _half_bias(linear: Any) -> None:
    """The bias of the keys alone, as where query and value have theirs elsewhere."""
    linear.bias.data = torch.cat([linear.bias.data.chunk(2)[0], torch.zeros_like(linear.bias.data.chunk(2)[0])])


def _stage_without_norm(self: Any, x: Tensor) -> Tensor:
    tokens, size = self.embed(x)
    for block in self.blocks:
        tokens = block(tokens, size)
    return from_tokens(tokens, size)


def _embedded_bare(self: Any, x: Tensor) -> Any:
    x = self.conv(x)
    return to_tokens(x), (x.shape[2], x.shape[3])


def _embedded_by_columns(self: Any, x: Tensor) -> Any:
    x = self.conv(x)
    return self.norm(to_tokens(x.transpose(2, 3))), (x.shape[2], x.shape[3])


def _embedded_on_the_map(self: Any, x: Tensor) -> Any:
    x = self.conv(x)
    x = F.layer_norm(x, x.shape[1:])
    return to_tokens(x) * self.norm.weight + self.norm.bias, (x.shape[2], x.shape[3])


class StdNorm(nn.Module):
    """Epsilon is added to the deviation, not to the variance."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        deviation = x.var(-1, keepdim=True, unbiased=False).sqrt()
        return (x - x.mean(-1, keepdim=True)) / (deviation + self.eps) * self.weight + self.bias


class NormByHand(nn.Module):
    """Written out, with an epsilon that has no name."""

    def __init__(self, norm: nn.LayerNorm, epsilon: float, *, unbiased: bool = False) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self.tiny, self.unbiased = epsilon, unbiased

    def forward(self, x: Tensor) -> Tensor:
        variance = x.var(-1, keepdim=True, unbiased=self.unbiased)
        return (x - x.mean(-1, keepdim=True)) / torch.sqrt(variance + self.tiny) * self.weight + self.bias


def _norm(name: str, make: Callable[[Any], nn.Module]) -> Change:
    return lambda model: put(name, make(model.get_submodule(name)))(model)


def _functional_norm(block: Any) -> None:
    """The block calls the function, with the epsilon that torch has where none is given."""

    def forward(x: Tensor, size: Any) -> Tensor:
        norm = block.norm1
        x = x + block.attention(F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias), size)
        return x + block.mlp(block.norm2(x), size)

    block.forward = forward


FAULTS = [
    Wrong("attention not scaled", _attention(_weighed(lambda self, q: 1.0))),
    Wrong("attention scaled by all channels", _attention(_weighed(lambda self, q: (self.heads * q.shape[-1]) ** -0.5))),
    Wrong("attention scaled twice", _attention(_weighed(lambda self, q: 1 / q.shape[-1]))),
    Wrong("attention's softmax over the queries", _attention(_weighed(lambda self, q: q.shape[-1] ** -0.5, -2))),
    Wrong("keys and values exchanged", _attention(halves=lambda both: both.chunk(2, dim=-1)[::-1])),
    Wrong("keys and values interleaved", _attention(halves=lambda both: both.unflatten(-1, (-1, 2)).unbind(-1))),
    Wrong("heads interleaved", _attention(split=_interleaved_heads)),
    Wrong("heads merged before they are moved back", _attention(merge=lambda x: x.reshape(len(x), x.shape[2], -1))),
    Wrong("one head for all channels", set_to("backbone.stages.3.blocks.0.attention", "heads", 1)),
    Wrong("the reduced map not normalised",
          _attention(tokens=lambda self, x, size: to_tokens(self.reduce(from_tokens(x, size))))),
    Wrong("the reduced map by columns",
          _attention(tokens=lambda self, x, size: self.reduce_norm(to_tokens(self.reduce(_columns_of(x, size)))))),
    Wrong("all tokens attended to, none reduced", _attention(tokens=lambda self, x, size: self.reduce_norm(x))),
    Wrong("reduced by means", _attention(tokens=lambda self, x, size: self.reduce_norm(
        to_tokens(F.avg_pool2d(from_tokens(x, size), self.reduce.stride))))),
    Wrong("attention's projection left out", put(f"{FIRST}.attention.project", nn.Identity())),
    Wrong("attention's weights dropped at random", _attention(
        lambda self, q, k, v: F.scaled_dot_product_attention(q, k, v, dropout_p=0.1))),
    Wrong("GELU by tanh", _ffn(lambda self, x, size: F.gelu(_deep(self, x, size), approximate="tanh"))),
    Wrong("GELU before the depthwise convolution", _ffn(lambda self, x, size: _deep(self, F.gelu(x), size))),
    Wrong("ReLU for GELU", _ffn(lambda self, x, size: F.relu(_deep(self, x, size)))),
    Wrong("the depthwise convolution left out", _ffn(lambda self, x, size: F.gelu(x))),
    Wrong("the depthwise convolution by columns", _ffn(
        lambda self, x, size: F.gelu(to_tokens(self.depthwise(_columns_of(x, size)))))),
    Wrong("the depthwise convolution in a residual", _ffn(lambda self, x, size: F.gelu(x + _deep(self, x, size)))),
    Wrong("residuals of what is normalised", _block(_normalised_residual)),
    Wrong("normalised after the residual", _block(_normalised_after)),
    Wrong("attention and feed-forward side by side", _block(_side_by_side)),
    Wrong("one normalisation for both halves of a block",
          part(FIRST, lambda block: setattr(block, "norm2", block.norm1))),
    Wrong("a stage's last normalisation left out", forward_of_each(Stage, _stage_without_norm)),
    Wrong("patches not normalised", forward_of_each(PatchEmbedding, _embedded_bare)),
    Wrong("patches by columns", forward_of_each(PatchEmbedding, _embedded_by_columns)),
    Wrong("patches normalised over the whole map", forward_of_each(PatchEmbedding, _embedded_on_the_map)),
    Wrong("keys without bias", part(f"{FIRST}.attention.key_value", _without_bias)),
    Wrong("values without bias", part(f"{FIRST}.attention.key_value", _half_bias)),
    Wrong("projections without bias", part("projections.2", _without_bias)),
    Wrong("the finest map stacked first", _decoder(stack=lambda maps: maps)),
    Wrong("maps resized to the nearest", _decoder(spread=lambda x, size: resize(x, size, "nearest"))),
    Wrong("maps resized with aligned corners", _decoder(spread=lambda x, size: resize(x, size, align_corners=True))),
    Wrong("logits repeated, not resized", _decoder(final=lambda x, size: resize(x, size, "nearest"))),
    Wrong("logits resized twice",
          _decoder(final=lambda x, size: resize(resize(x, (size[0] // 2, size[1] // 2)), size))),
    Wrong("what is fused not activated", set_to("fuse", "activation", None)),
    Wrong("blocks' epsilon that of the patches", set_to(f"{FIRST}.norm1", "eps", 1e-5), "numerics"),
    Wrong("the patches' epsilon that of the blocks", set_to("backbone.stages.1.embed.norm", "eps", 1e-6), "numerics"),
    Wrong("a LayerNorm's epsilon beside the deviation", _norm("backbone.stages.3.norm", StdNorm), "numerics"),
    Wrong("a LayerNorm by hand with another epsilon",
          _norm(f"{FIRST}.norm2", lambda norm: NormByHand(norm, 1e-5)), "numerics"),
    Wrong("a LayerNorm of the unbiased variance",
          _norm("backbone.stages.0.norm", lambda norm: NormByHand(norm, norm.eps, unbiased=True))),
    Wrong("a LayerNorm as a function with torch's epsilon", part(FIRST, _functional_norm), "layers"),
]  # fmt: skip

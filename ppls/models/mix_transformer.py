"""Mix Transformer (Xie et al. 2021, https://arxiv.org/abs/2105.15203), the encoder of SegFormer.

As in PaddleSeg's `models/backbones/mix_transformer.py`. Tokens are `(N, H * W, C)`; a stage takes and returns maps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.backbone import Backbone, register_backbone
from ppls.models.initialization import draw_weight
from ppls.models.layer import Layer
from ppls.models.layers import DropPath, drop_path_rates, from_tokens, to_tokens


class PatchEmbedding(nn.Module):
    """Overlapping patches as tokens: a strided convolution and a normalisation."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2)
        self.norm = nn.LayerNorm(out_channels)  # epsilon 1e-5, unlike the blocks' 1e-6

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Returns the tokens, and the height and width of the map that they are of."""
        x = self.conv(x)
        return self.norm(to_tokens(x)), (x.shape[2], x.shape[3])


class Attention(nn.Module):
    """Attention of all tokens to those of a map that is `reduction` times smaller each way."""

    def __init__(self, channels: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.project = nn.Linear(channels, channels)
        self.reduce: nn.Module | None = None
        if reduction > 1:
            self.reduce = nn.Conv2d(channels, channels, reduction, reduction)
            self.reduce_norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        query = self._split_heads(self.query(x))
        if self.reduce is not None:
            x = self.reduce_norm(to_tokens(self.reduce(from_tokens(x, size))))
        key, value = (self._split_heads(part) for part in self.key_value(x).chunk(2, dim=-1))
        attended = F.scaled_dot_product_attention(query, key, value)  # (N, heads, H * W, C / heads)
        return self.project(attended.transpose(1, 2).flatten(2))

    def _split_heads(self, x: Tensor) -> Tensor:
        n, length, channels = x.shape
        return x.reshape(n, length, self.heads, channels // self.heads).transpose(1, 2)


class MixFFN(nn.Module):
    """Two linear layers with a depthwise convolution between them, which tells the tokens where they are."""

    def __init__(self, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.expand = nn.Linear(channels, hidden_channels)
        self.depthwise = nn.Conv2d(hidden_channels, hidden_channels, 3, padding=1, groups=hidden_channels)
        self.shrink = nn.Linear(hidden_channels, channels)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        x = to_tokens(self.depthwise(from_tokens(self.expand(x), size)))
        return self.shrink(F.gelu(x))


class Block(nn.Module):
    """Attention and the feed-forward network, each in a residual that may be dropped in training."""

    def __init__(self, channels: int, heads: int, mlp_ratio: int, reduction: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attention = Attention(channels, heads, reduction)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = MixFFN(channels, mlp_ratio * channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        x = x + self.drop_path(self.attention(self.norm1(x), size))
        return x + self.drop_path(self.mlp(self.norm2(x), size))


class Stage(Layer):
    """Patches, blocks and a last normalisation: one feature map to the next."""

    def __init__(self, embed: PatchEmbedding, blocks: Sequence[Block], channels: int) -> None:
        super().__init__()
        self.embed = embed
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        tokens, size = self.embed(x)
        for block in self.blocks:
            tokens = block(tokens, size)
        return from_tokens(self.norm(tokens), size)


@register_backbone("MixVisionTransformer")
class MixVisionTransformer(Backbone):
    """The encoder: four stages of transformer blocks.

    Args:
        embed_dims: channels of each stage.
        depths: blocks of each stage.
        num_heads: attention heads of each stage.
        mlp_ratios: how much wider the feed-forward network is, for each stage.
        sr_ratios: how much smaller the map is that is attended to, for each stage.
        drop_path_rate: probability with which the last block is dropped in training; those before it, linearly less.
        in_channels: channels of the image.
    """

    def __init__(
        self,
        embed_dims: Sequence[int] = (32, 64, 160, 256),
        depths: Sequence[int] = (2, 2, 2, 2),
        num_heads: Sequence[int] = (1, 2, 5, 8),
        mlp_ratios: Sequence[int] = (4, 4, 4, 4),
        sr_ratios: Sequence[int] = (8, 4, 2, 1),
        drop_path_rate: float = 0.1,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.feat_channels = list(embed_dims)
        self.feat_strides = [4 * 2**i for i in range(len(embed_dims))]
        self.stages = nn.ModuleList()
        rates = iter(drop_path_rates(drop_path_rate, sum(depths)))
        for i, (width, depth) in enumerate(zip(embed_dims, depths, strict=True)):
            embed = PatchEmbedding(in_channels, width, *((7, 4) if i == 0 else (3, 2)))
            blocks = [Block(width, num_heads[i], mlp_ratios[i], sr_ratios[i], next(rates)) for _ in range(depth)]
            self.stages.append(Stage(embed, blocks, width))
            in_channels = width

    def forward(self, x: Tensor) -> list[Tensor]:
        """The image `(N, in_channels, H, W)` to four feature maps, at 1/4, 1/8, 1/16 and 1/32 of its size."""
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features

    @staticmethod
    def draw_weight(layer: nn.Module, weight: Tensor) -> None:
        """As PaddleSeg's `_init_weights`."""
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(weight, std=math.sqrt(2 / (weight.shape[0] // layer.groups * weight[0, 0].numel())))
        elif isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(weight, std=0.02)
        else:
            draw_weight(layer, weight)


_WIDE = (64, 128, 320, 512)
for _name, _embed_dims, _depths in [
    ("B0", (32, 64, 160, 256), (2, 2, 2, 2)),
    ("B1", _WIDE, (2, 2, 2, 2)),
    ("B2", _WIDE, (3, 4, 6, 3)),
    ("B3", _WIDE, (3, 4, 18, 3)),
    ("B4", _WIDE, (3, 8, 27, 3)),
    ("B5", _WIDE, (3, 6, 40, 3)),
]:
    _build = partial(MixVisionTransformer, embed_dims=_embed_dims, depths=_depths)
    register_backbone(f"MixVisionTransformer_{_name}")(_build)

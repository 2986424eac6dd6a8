"""HRFormer (Yuan et al. 2021, https://arxiv.org/abs/2110.09408), as in PaddleSeg's `models/backbones/hrformer.py`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.backbone import Backbone, register_backbone
from ppls.models.hrnet import Transition, bottlenecks
from ppls.models.initialization import draw_narrow
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct, DropPath, drop_path_rates, from_tokens, to_tokens
from ppls.models.resize import resize


class OffsetAttention(Layer):
    """Attention of the pixels of a window to each other, with a bias for each offset between two.

    Args:
        window: pixels of the window's side.
    """

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.project = nn.Linear(channels, channels)
        self.weight = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))  # of each offset, the biases
        self.heads, self.window = heads, window

    def forward(self, x: Tensor) -> Tensor:
        """Pixels `(window * window, windows, C)` to such pixels."""
        query, key, value = (self._split_heads(layer(x)) for layer in (self.query, self.key, self.value))
        bias = self.weight[offset_numbers(self.window, x.device)].permute(2, 0, 1)
        # windows are small; torch's own attention with a bias cannot be exported to ONNX in this order of dimensions
        scores = query @ key.transpose(2, 3) * key.shape[3] ** -0.5 + bias
        return self.project((scores.softmax(3) @ value).permute(2, 0, 1, 3).flatten(2))

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self.heads, -1).permute(1, 2, 0, 3)  # (windows, heads, pixels, C / heads)


class WindowAttention(nn.Module):
    """A map parted into windows, each of which attends to itself.

    Where the windows' side does not divide the map's, it is padded evenly with zeros, which are attended to as well.
    """

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.attention = OffsetAttention(channels, heads, window)
        self.window = window

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Tokens `(N, H * W, C)` of a map of `size` (H, W) to such tokens."""
        (height, width), window = size, self.window
        high, wide = -height % window, -width % window  # that are missing
        top, left = high // 2, wide // 2
        x = x.reshape(x.shape[0], height, width, -1)
        x = F.pad(x, (0, 0, left, wide - left, top, high - top))
        n, rows, columns = x.shape[0], x.shape[1] // window, x.shape[2] // window
        x = x.reshape(n, rows, window, columns, window, -1).permute(2, 4, 0, 1, 3, 5)
        x = self.attention(x.reshape(window * window, n * rows * columns, -1))
        x = x.reshape(window, window, n, rows, columns, -1).permute(2, 3, 0, 4, 1, 5)
        x = x.reshape(n, rows * window, columns * window, -1)
        return x[:, top : top + height, left : left + width].flatten(1, 2)


def offset_numbers(window: int, device: torch.device | None = None) -> Tensor:
    """For each two pixels of a window the number of their offset: `(window * window, window * window)`."""
    place = torch.arange(window, device=device)
    apart = place[:, None] - place + window - 1
    by_pixel = (2 * window - 1) * apart[:, None, :, None] + apart[None, :, None, :]
    return by_pixel.reshape(window * window, window * window)


class ConvolvedMLP(nn.Module):
    """A 3x3 convolution of each channel between two 1x1, each with its normalisation and GELU."""

    def __init__(self, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.expand = ConvBNAct(channels, hidden_channels, 1, bias=True, activation=F.gelu)
        self.depthwise = ConvBNAct(
            hidden_channels, hidden_channels, 3, groups=hidden_channels, bias=True, activation=F.gelu
        )
        self.shrink = ConvBNAct(hidden_channels, channels, 1, bias=True, activation=F.gelu)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return to_tokens(self.shrink(self.depthwise(self.expand(from_tokens(x, size)))))


class DropPathBeyond(DropPath):
    """A `DropPath` of a rate between 1 and 2, as PaddleSeg has them here: 1.6 drops as many samples as 0.4 would.

    PaddleSeg rounds down the sum of `1 - rate`, which is below 0, and a draw from 0 to 1, and divides by `1 - rate`.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        keep = 1.0 - self.rate
        draws = x.new_empty(x.shape[0], *[1] * (x.dim() - 1)).uniform_()
        return x / keep * (keep + draws).floor()


class TransformerBlock(Layer):
    """Attention within windows and the convolved MLP, each in a residual that may be dropped in training."""

    def __init__(self, channels: int, heads: int, window: int, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.windows = WindowAttention(channels, heads, window)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = ConvolvedMLP(channels, mlp_ratio * channels)
        self.drop_path = DropPathBeyond(drop_path) if drop_path > 1 else DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        size = (x.shape[2], x.shape[3])
        tokens = to_tokens(x)
        tokens = tokens + self.drop_path(self.windows(self.norm1(tokens), size))
        tokens = tokens + self.drop_path(self.mlp(self.norm2(tokens), size))
        return from_tokens(tokens, size)


class TransformerModule(nn.Module):
    """A branch of transformer blocks for each resolution, then every branch added to every other.

    Args:
        widths, depths, heads, windows, mlp_ratios: of each branch, the finest first.
        drop_paths: rates of the blocks of the finest branch; those of each coarser one are twice as high.
        resize_mode: how what `nearest` has enlarged is brought to its size.
    """

    def __init__(
        self,
        widths: Sequence[int],
        depths: Sequence[int],
        heads: Sequence[int],
        windows: Sequence[int],
        mlp_ratios: Sequence[int],
        drop_paths: Sequence[float],
        resize_mode: str,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(
                *(
                    TransformerBlock(widths[i], heads[i], windows[i], mlp_ratios[i], 2**i * drop_paths[j])
                    for j in range(depths[i])
                )
            )
            for i in range(len(widths))
        )
        self.fuse = nn.ModuleList(  # fuse[i][j]: from branch j to branch i
            nn.ModuleList(_exchange(widths, j, i) for j in range(len(widths))) for i in range(len(widths))
        )
        self.resize_mode = resize_mode

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        maps = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        fused = []
        for i, own in enumerate(maps):
            terms = [self.fuse[i][j](x) for j, x in enumerate(maps)]  # type: ignore[index]
            for j in range(i + 1, len(maps)):
                larger = F.interpolate(terms[j], scale_factor=2 ** (j - i), mode="nearest")
                terms[j] = resize(larger, own.shape[-2:], self.resize_mode, align_corners=True)
            fused.append(F.relu(reduce(torch.add, terms)))
        return fused


def _exchange(widths: Sequence[int], source: int, target: int) -> nn.Module:
    """From one branch to another: a 1x1 convolution to a finer one, a stride for each level to a coarser one."""
    width = widths[source]
    if source >= target:
        return ConvBNAct(width, widths[target], 1, activation=None) if source > target else nn.Identity()
    steps = [Descent(width, width, F.relu) for _ in range(target - source - 1)]
    return nn.Sequential(*steps, Descent(width, widths[target], None))


class Descent(nn.Sequential):
    """A strided 3x3 convolution of each channel, and a 1x1."""

    def __init__(self, in_channels: int, out_channels: int, activation: Any) -> None:
        super().__init__(
            ConvBNAct(in_channels, in_channels, 3, stride=2, groups=in_channels, activation=None),
            ConvBNAct(in_channels, out_channels, 1, activation=activation),
        )


@register_backbone("HighResolutionTransformer")
class HighResolutionTransformer(Backbone):
    """The encoder: HRNet with transformer blocks for its branches, put together at 1/4 of the image's size.

    Args:
        drop_path_rate: probability with which the last block of the finest branch is dropped in training; those before
            it, linearly less. At most 0.25.
        stage1_num_blocks, stage1_num_channels: bottlenecks of the first stage, and their width: lists of one.
        stage2_num_modules, ...: of each other stage, how many modules it has, and for each of its branches the blocks
            in a module, the channels, the heads of the attention, how much wider the MLP is, and the windows' sides.
        in_channels: channels of the image.
        resize_mode: how coarse maps are upsampled; PaddleSeg always does it bilinearly.
    """

    def __init__(
        self,
        drop_path_rate: float = 0.2,
        stage1_num_blocks: Sequence[int] = (2,),
        stage1_num_channels: Sequence[int] = (64,),
        stage2_num_modules: int = 1,
        stage2_num_blocks: Sequence[int] = (2, 2),
        stage2_num_channels: Sequence[int] = (32, 64),
        stage2_num_heads: Sequence[int] = (1, 2),
        stage2_num_mlp_ratios: Sequence[int] = (4, 4),
        stage2_num_window_sizes: Sequence[int] = (7, 7),
        stage3_num_modules: int = 4,
        stage3_num_blocks: Sequence[int] = (2, 2, 2),
        stage3_num_channels: Sequence[int] = (32, 64, 128),
        stage3_num_heads: Sequence[int] = (1, 2, 4),
        stage3_num_mlp_ratios: Sequence[int] = (4, 4, 4),
        stage3_num_window_sizes: Sequence[int] = (7, 7, 7),
        stage4_num_modules: int = 2,
        stage4_num_blocks: Sequence[int] = (2, 2, 2, 2),
        stage4_num_channels: Sequence[int] = (32, 64, 128, 256),
        stage4_num_heads: Sequence[int] = (1, 2, 4, 8),
        stage4_num_mlp_ratios: Sequence[int] = (4, 4, 4, 4),
        stage4_num_window_sizes: Sequence[int] = (7, 7, 7, 7),
        in_channels: int = 3,
        resize_mode: str = "bilinear",
    ) -> None:
        super().__init__()
        if not 0 <= drop_path_rate <= 0.25:
            raise Error(
                f"drop_path_rate={drop_path_rate}: from 0 to 0.25, since the coarsest branch has 8 times as much"
            )
        self.feat_channels = [sum(stage4_num_channels)]
        self.feat_strides = [4]
        self.resize_mode = resize_mode
        self.stem = nn.Sequential(ConvBNAct(in_channels, 64, 3, stride=2), ConvBNAct(64, 64, 3, stride=2))
        self.first = bottlenecks(64, stage1_num_channels[0], stage1_num_blocks[0])
        second = (stage2_num_blocks, stage2_num_heads, stage2_num_window_sizes, stage2_num_mlp_ratios)
        third = (stage3_num_blocks, stage3_num_heads, stage3_num_window_sizes, stage3_num_mlp_ratios)
        fourth = (stage4_num_blocks, stage4_num_heads, stage4_num_window_sizes, stage4_num_mlp_ratios)
        described = (
            (stage2_num_modules, stage2_num_channels, second),
            (stage3_num_modules, stage3_num_channels, third),
            (stage4_num_modules, stage4_num_channels, fourth),
        )
        depth = sum(modules * branches[0][0] for modules, _, branches in described)
        rates = drop_path_rates(drop_path_rate, depth)
        self.transitions, self.stages = nn.ModuleList(), nn.ModuleList()
        channels: Sequence[int] = [4 * stage1_num_channels[0]]
        for modules, widths, branches in described:
            self.transitions.append(Transition(channels, widths, same=False))
            stage = nn.Sequential()
            for _ in range(modules):
                own, rates = rates[: branches[0][0]], rates[branches[0][0] :]
                stage.append(TransformerModule(widths, *branches, drop_paths=own, resize_mode=resize_mode))
            self.stages.append(stage)
            channels = widths

    def forward(self, x: Tensor) -> list[Tensor]:
        """The image `(N, in_channels, H, W)` to one map, at 1/4 of its size."""
        maps = [self.first(self.stem(x))]
        for transition, stage in zip(self.transitions, self.stages, strict=True):
            maps = stage(transition(maps))
        size = maps[0].shape[-2:]
        return [torch.cat([maps[0], *(resize(x, size, self.resize_mode, align_corners=True) for x in maps[1:])], dim=1)]

    @staticmethod
    def draw_weight(layer: nn.Module, weight: Tensor) -> None:
        """As PaddleSeg's `init_weight`."""
        if isinstance(layer, (nn.Linear, OffsetAttention)):
            nn.init.trunc_normal_(weight, std=0.02)
        else:
            draw_narrow(layer, weight)


_BASE: dict[str, Any] = {
    "stage2_num_channels": (78, 156),
    "stage2_num_heads": (2, 4),
    "stage3_num_channels": (78, 156, 312),
    "stage3_num_heads": (2, 4, 8),
    "stage4_num_channels": (78, 156, 312, 624),
    "stage4_num_heads": (2, 4, 8, 16),
}
_WINDOWS: dict[str, Any] = {f"stage{stage}_num_window_sizes": (15,) * stage for stage in (2, 3, 4)}

register_backbone("HRFormer_small")(partial(HighResolutionTransformer))
register_backbone("HRFormer_base")(partial(HighResolutionTransformer, **_BASE))
register_backbone("HRFormer_base_win_13")(partial(HighResolutionTransformer, **_BASE, stage2_num_window_sizes=(13, 13)))
register_backbone("HRFormer_base_win_15")(partial(HighResolutionTransformer, **_BASE, **_WINDOWS))

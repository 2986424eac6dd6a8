"""HRNet (Wang et al. 2019, https://arxiv.org/abs/1908.07919), as in PaddleSeg's `models/backbones/hrnet.py`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.attention import PolarizedAttention, SqueezeExcite
from ppls.models.backbone import Backbone, register_backbone
from ppls.models.initialization import draw_narrow
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct
from ppls.models.resize import resize


class BasicBlock(Layer):
    """Two 3x3 convolutions beside the identity, with an attention between or behind them or none."""

    def __init__(self, channels: int, *, has_se: bool = False, use_psa: bool = False) -> None:
        super().__init__()
        self.conv1 = ConvBNAct(channels, channels, 3)
        self.polarize = PolarizedAttention(channels) if use_psa else nn.Identity()
        self.conv2 = ConvBNAct(channels, channels, 3, activation=None)
        self.attention = _squeeze_excite(channels) if has_se else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.attention(self.conv2(self.polarize(self.conv1(x)))) + x)


class Bottleneck(Layer):
    """A 3x3 convolution between two 1x1, the last four times as wide, and the shortcut."""

    def __init__(self, in_channels: int, width: int, *, first: bool, has_se: bool = False) -> None:
        super().__init__()
        self.conv1 = ConvBNAct(in_channels, width, 1)
        self.conv2 = ConvBNAct(width, width, 3)
        self.conv3 = ConvBNAct(width, 4 * width, 1, activation=None)
        self.attention = _squeeze_excite(4 * width) if has_se else nn.Identity()
        self.shortcut = ConvBNAct(in_channels, 4 * width, 1, activation=None) if first else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.attention(self.conv3(self.conv2(self.conv1(x)))) + self.shortcut(x))


def _squeeze_excite(channels: int) -> SqueezeExcite:
    return SqueezeExcite(channels, channels // 16, linear=True)


def bottlenecks(in_channels: int, width: int, depth: int, *, has_se: bool = False) -> nn.Sequential:
    """The first stage: bottlenecks in a row, of `4 * width` channels."""
    first = Bottleneck(in_channels, width, first=True, has_se=has_se)
    return nn.Sequential(first, *(Bottleneck(4 * width, width, first=False, has_se=has_se) for _ in range(depth - 1)))


class Transition(nn.Module):
    """The maps of a stage as the next stage takes them: of its widths, and a coarser one more."""

    def __init__(self, in_channels: Sequence[int], out_channels: Sequence[int], same: bool) -> None:
        super().__init__()
        self.convs = nn.ModuleList()
        for i, width in enumerate(out_channels):
            if i >= len(in_channels):
                self.convs.append(ConvBNAct(in_channels[-1], width, 3, stride=2, same=same))
            elif in_channels[i] != width:
                self.convs.append(ConvBNAct(in_channels[i], width, 3))
            else:
                self.convs.append(nn.Identity())

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        return [conv(maps[min(i, len(maps) - 1)]) for i, conv in enumerate(self.convs)]


class HighResolutionModule(nn.Module):
    """A branch of blocks for each resolution, then every branch added to every other.

    Args:
        widths: channels of each branch, the finest first.
        depths: its blocks.
        same: pad strided convolutions as Paddle's `padding='same'`.
    """

    def __init__(
        self,
        widths: Sequence[int],
        depths: Sequence[int],
        *,
        has_se: bool = False,
        use_psa: bool = False,
        same: bool = True,
        align_corners: bool = False,
        resize_mode: str = "bilinear",
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width, has_se=has_se, use_psa=use_psa) for _ in range(depth)))
            for width, depth in zip(widths, depths, strict=True)
        )
        self.fuse = nn.ModuleList(  # fuse[i][j]: from branch j to branch i
            nn.ModuleList(_exchange(widths, j, i, same) for j in range(len(widths))) for i in range(len(widths))
        )
        self.align_corners, self.resize_mode = align_corners, resize_mode

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        maps = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        fused = []
        for i, x in enumerate(maps):
            size = x.shape[-2:]
            for j, other in enumerate(maps):
                if j < i:
                    x = x + self.fuse[i][j](other)  # type: ignore[index]
                elif j > i:
                    x = x + resize(self.fuse[i][j](other), size, self.resize_mode, self.align_corners)  # type: ignore[index]
            fused.append(F.relu(x))
        return fused


def _exchange(widths: Sequence[int], source: int, target: int, same: bool) -> nn.Module:
    """From one branch to another: a 1x1 convolution to a finer one, a stride for each level to a coarser one."""
    width = widths[source]
    if source >= target:
        return ConvBNAct(width, widths[target], 1, activation=None) if source > target else nn.Identity()
    steps = [ConvBNAct(width, width, 3, stride=2, same=same) for _ in range(target - source - 1)]
    return nn.Sequential(*steps, ConvBNAct(width, widths[target], 3, stride=2, same=same, activation=None))


@register_backbone("HRNet")
class HRNet(Backbone):
    """The encoder: branches of falling resolution, all kept to the end, there put together at 1/4 of the image's size.

    Args:
        in_channels: channels of the image.
        stage1_num_modules: has no effect, in PaddleSeg either.
        stage1_num_blocks, stage1_num_channels: bottlenecks of the first stage, and their width: lists of one.
        stage2_num_modules, stage2_num_blocks, stage2_num_channels, ...: of each other stage, how many modules it has,
            and for each of its branches the blocks in a module and the channels.
        has_se: weigh channels by squeeze and excitation at the end of every block.
        align_corners: how resizes place pixels.
        padding_same: pad strided convolutions as Paddle's `padding='same'` (behind a side of even length), not evenly.
        use_psa: weigh channels and pixels by polarized self-attention within every block of the branches.
        resize_mode: how coarse maps are upsampled; PaddleSeg always does it bilinearly.
    """

    draw_weight = staticmethod(draw_narrow)

    def __init__(
        self,
        in_channels: int = 3,
        stage1_num_modules: int = 1,
        stage1_num_blocks: Sequence[int] = (4,),
        stage1_num_channels: Sequence[int] = (64,),
        stage2_num_modules: int = 1,
        stage2_num_blocks: Sequence[int] = (4, 4),
        stage2_num_channels: Sequence[int] = (18, 36),
        stage3_num_modules: int = 4,
        stage3_num_blocks: Sequence[int] = (4, 4, 4),
        stage3_num_channels: Sequence[int] = (18, 36, 72),
        stage4_num_modules: int = 3,
        stage4_num_blocks: Sequence[int] = (4, 4, 4, 4),
        stage4_num_channels: Sequence[int] = (18, 36, 72, 144),
        has_se: bool = False,
        align_corners: bool = False,
        padding_same: bool = True,
        use_psa: bool = False,
        resize_mode: str = "bilinear",
    ) -> None:
        super().__init__()
        self.feat_channels = [sum(stage4_num_channels)]
        self.feat_strides = [4]
        self.align_corners, self.resize_mode = align_corners, resize_mode
        self.stem = nn.Sequential(
            ConvBNAct(in_channels, 64, 3, stride=2, same=padding_same),
            ConvBNAct(64, 64, 3, stride=2, same=padding_same),
        )
        self.first = bottlenecks(64, stage1_num_channels[0], stage1_num_blocks[0], has_se=has_se)
        self.transitions, self.stages = nn.ModuleList(), nn.ModuleList()
        channels: Sequence[int] = [4 * stage1_num_channels[0]]
        for modules, depths, widths in (
            (stage2_num_modules, stage2_num_blocks, stage2_num_channels),
            (stage3_num_modules, stage3_num_blocks, stage3_num_channels),
            (stage4_num_modules, stage4_num_blocks, stage4_num_channels),
        ):
            stage = [
                HighResolutionModule(
                    widths,
                    depths,
                    has_se=has_se,
                    use_psa=use_psa,
                    same=padding_same,
                    align_corners=align_corners,
                    resize_mode=resize_mode,
                )
                for _ in range(modules)
            ]
            self.transitions.append(Transition(channels, widths, padding_same))
            self.stages.append(nn.Sequential(*stage))
            channels = widths

    def forward(self, x: Tensor) -> list[Tensor]:
        """The image `(N, in_channels, H, W)` to one map, at 1/4 of its size."""
        maps = [self.first(self.stem(x))]
        for transition, stage in zip(self.transitions, self.stages, strict=True):
            maps = stage(transition(maps))
        size = maps[0].shape[-2:]
        return [torch.cat([maps[0], *(resize(x, size, self.resize_mode, self.align_corners) for x in maps[1:])], dim=1)]


def _register(name: str, base: int, modules: Sequence[int], depth: int, first: int, width: int) -> None:
    options: dict[str, Any] = {"stage1_num_blocks": (first,), "stage1_num_channels": (width,)}
    for stage, count in zip((2, 3, 4), modules, strict=True):
        options[f"stage{stage}_num_modules"] = count
        options[f"stage{stage}_num_blocks"] = (depth,) * stage
        options[f"stage{stage}_num_channels"] = tuple(base * 2**i for i in range(stage))
    register_backbone(name)(partial(HRNet, **options))


_register("HRNet_W18_Small_V1", base=16, modules=(1, 1, 1), depth=2, first=1, width=32)
_register("HRNet_W18_Small_V2", base=18, modules=(1, 3, 2), depth=2, first=2, width=64)
for _base in (18, 30, 32, 40, 44, 48, 60, 64):
    _register(f"HRNet_W{_base}", _base, modules=(1, 4, 3), depth=4, first=4, width=64)

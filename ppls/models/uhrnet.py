"""U-HRNet (Wang et al. 2022, https://arxiv.org/abs/2210.07140), as in PaddleSeg's `models/backbones/uhrnet.py`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ppls.models.backbone import Backbone, register_backbone
from ppls.models.hrnet import HighResolutionModule, bottlenecks
from ppls.models.initialization import draw_narrow
from ppls.models.layers import ConvBNAct
from ppls.models.resize import resize


@register_backbone("UHRNet")
class UHRNet(Backbone):
    """The encoder: HRNet's modules on two resolutions at a time, down to 1/64 of the image's size and up again.

    Args:
        in_channels: channels of the image; PaddleSeg has three whatever it is told.
        stage1_num_modules: has no effect, in PaddleSeg either.
        stage1_num_blocks, stage1_num_channels: bottlenecks of the first stage, and their width: lists of one.
        stage2_num_modules, stage2_num_blocks, stage2_num_channels, ...: of each other stage, how many modules it has,
            and for each of its two branches, the last stage's one, the blocks in a module and the channels.
        align_corners: how resizes place pixels.
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
        stage3_num_modules: int = 5,
        stage3_num_blocks: Sequence[int] = (4, 4),
        stage3_num_channels: Sequence[int] = (36, 72),
        stage4_num_modules: int = 2,
        stage4_num_blocks: Sequence[int] = (4, 4),
        stage4_num_channels: Sequence[int] = (72, 144),
        stage5_num_modules: int = 2,
        stage5_num_blocks: Sequence[int] = (4, 4),
        stage5_num_channels: Sequence[int] = (144, 288),
        stage6_num_modules: int = 1,
        stage6_num_blocks: Sequence[int] = (4, 4),
        stage6_num_channels: Sequence[int] = (72, 144),
        stage7_num_modules: int = 1,
        stage7_num_blocks: Sequence[int] = (4, 4),
        stage7_num_channels: Sequence[int] = (36, 72),
        stage8_num_modules: int = 1,
        stage8_num_blocks: Sequence[int] = (4, 4),
        stage8_num_channels: Sequence[int] = (18, 36),
        stage9_num_modules: int = 1,
        stage9_num_blocks: Sequence[int] = (4,),
        stage9_num_channels: Sequence[int] = (18,),
        align_corners: bool = False,
        resize_mode: str = "bilinear",
    ) -> None:
        super().__init__()
        widths = (
            stage2_num_channels,
            stage3_num_channels,
            stage4_num_channels,
            stage5_num_channels,
            stage6_num_channels,
            stage7_num_channels,
            stage8_num_channels,
            stage9_num_channels,
        )
        depths = (
            stage2_num_blocks,
            stage3_num_blocks,
            stage4_num_blocks,
            stage5_num_blocks,
            stage6_num_blocks,
            stage7_num_blocks,
            stage8_num_blocks,
            stage9_num_blocks,
        )
        modules = (
            stage2_num_modules,
            stage3_num_modules,
            stage4_num_modules,
            stage5_num_modules,
            stage6_num_modules,
            stage7_num_modules,
            stage8_num_modules,
            stage9_num_modules,
        )
        self.feat_channels = [sum(width[-1] for width in widths[3:]) // 2]
        self.feat_strides = [4]
        self.align_corners, self.resize_mode = align_corners, resize_mode
        self.stem = nn.Sequential(
            ConvBNAct(in_channels, 64, 3, stride=2, same=True), ConvBNAct(64, 64, 3, stride=2, same=True)
        )
        self.first = bottlenecks(64, stage1_num_channels[0], stage1_num_blocks[0])
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(
                    HighResolutionModule(width, depth, align_corners=align_corners, resize_mode=resize_mode)
                    for _ in range(count)
                )
            )
            for width, depth, count in zip(widths, depths, modules, strict=True)
        )
        self.transitions = nn.ModuleList()
        channels = 4 * stage1_num_channels[0]
        for fine, coarse in widths[:4]:
            down = ConvBNAct(channels, coarse, 3, stride=2, same=True)
            self.transitions.append(Fork([_convolved(channels, fine), down]))
            channels = coarse
        channels = widths[3][0]
        for fine, coarse in widths[4:7]:
            self.transitions.append(Fork([ConvBNAct(channels, fine, 1), _convolved(channels, coarse)]))
            channels = fine
        self.transitions.append(Fork([_convolved(channels, widths[7][0])]))

    def forward(self, x: Tensor) -> list[Tensor]:
        """The image `(N, in_channels, H, W)` to one map, at 1/4 of its size."""
        x = self.first(self.stem(x))
        skipped = []
        for transition, stage in zip(self.transitions[:4], self.stages[:4], strict=True):
            fine, x = stage(transition(x))
            skipped.append(fine)
        maps, x = [x], skipped.pop()
        for transition, stage in zip(self.transitions[4:7], self.stages[4:7], strict=True):
            skip = skipped.pop()
            finer, x = transition(x)
            fine = torch.cat([halved(self._resized(finer, skip)), halved(skip)], dim=1)
            x, coarse = stage([fine, x])
            maps.append(coarse)
        maps += self.stages[7](self.transitions[7](x))
        finest, *others = (halved(x) for x in reversed(maps))
        return [torch.cat([finest, *(self._resized(x, finest) for x in others)], dim=1)]

    def _resized(self, x: Tensor, finer: Tensor) -> Tensor:
        return resize(x, finer.shape[-2:], self.resize_mode, self.align_corners)


class Fork(nn.ModuleList):
    """One map as each branch of the next stage takes it."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [layer(x) for layer in self]


def _convolved(in_channels: int, out_channels: int) -> nn.Module:
    """A convolution where the channels change, and nothing where they do not."""
    return nn.Identity() if in_channels == out_channels else ConvBNAct(in_channels, out_channels, 3)


def halved(x: Tensor) -> Tensor:
    """The means of each two neighbouring channels: `(N, C, H, W)` to `(N, C / 2, H, W)`."""
    return (x[:, ::2] + x[:, 1::2]) / 2


def _register(name: str, base: int, modules: Sequence[int], depth: int) -> None:
    options: dict[str, Any] = {"stage1_num_blocks": (depth,)}
    widths = [(base, 2 * base), (2 * base, 4 * base), (4 * base, 8 * base), (8 * base, 16 * base)]
    for stage, (count, width) in enumerate(zip(modules, [*widths, *widths[2::-1], (base,)], strict=True), start=2):
        options[f"stage{stage}_num_modules"] = count
        options[f"stage{stage}_num_blocks"] = (depth,) * len(width)
        options[f"stage{stage}_num_channels"] = width
    register_backbone(name)(partial(UHRNet, **options))


_register("UHRNet_W18_Small", 18, modules=(1, 2, 2, 2, 1, 1, 1, 1), depth=2)
_register("UHRNet_W18", 18, modules=(1, 5, 2, 2, 1, 1, 1, 1), depth=4)
_register("UHRNet_W48", 48, modules=(1, 5, 2, 2, 1, 1, 1, 1), depth=4)

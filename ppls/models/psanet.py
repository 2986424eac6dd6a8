"""PSANet (Zhao et al. 2018, https://hszhao.github.io/papers/eccv18_psanet.pdf), as in PSANet_paddle.

Upstream's attention is an operator in C++ and CUDA; here it is one gather.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.backbone import build_backbone, channels_of
from ppls.models.base import SegmentationModel
from ppls.models.heads import ConvHead
from ppls.models.layers import ConvBNAct
from ppls.models.resize import resize

COLLECT, DISTRIBUTE, BOTH = range(3)  # upstream's psa_type


class PSANet(SegmentationModel):
    """PSANet: a dilated encoder, and an attention in which every pixel has a weight for every offset around it.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        backbone_indices: which of the encoder's feature maps the auxiliary head and the attention take.
        enable_auxiliary_loss: build the auxiliary head, which only train mode runs.
        psa_type: 0, a pixel collects from those around it; 1, it distributes to them; 2, both, side by side.
        shrink_factor: how much smaller the map is on which the attention works.
        mask_h, mask_w: height and width of the window of offsets, both odd.
        normalization_factor: what the attended map is divided by; None for the size of the window.
        psa_softmax: have the weights of all pixels on one sum to 1, those out of its window as if their weight were 0.
        dropout: in the heads.
        use_psa: False for the encoder and the heads alone.
        align_corners: how the logits are resized; within the attention corners are always aligned.
        resize_mode: how the attention resizes its maps; upstream always does it bilinearly.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "resnet50_vd",
        backbone_indices: Sequence[int] = (2, 3),
        enable_auxiliary_loss: bool = True,
        psa_type: int = BOTH,
        shrink_factor: int = 2,
        mask_h: int = 59,
        mask_w: int = 59,
        normalization_factor: float | None = 1.0,
        psa_softmax: bool = True,
        dropout: float = 0.1,
        use_psa: bool = True,
        align_corners: bool = False,
        resize_mode: str = "bilinear",
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.backbone_indices = list(backbone_indices)
        auxiliary, main = channels_of(self.backbone, backbone_indices, 2)
        self.attention = (
            PointwiseSpatialAttention(
                main, 512, psa_type, shrink_factor, (mask_h, mask_w), normalization_factor, psa_softmax, resize_mode
            )
            if use_psa
            else nn.Identity()
        )
        self.head = ConvHead(2 * main if use_psa else main, 512, num_classes, dropout)
        self.auxiliary_head = ConvHead(auxiliary, 256, num_classes, dropout) if enable_auxiliary_loss else None
        self.align_corners = align_corners

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W); in train mode the auxiliary head's follow."""
        features = self.backbone(image)
        auxiliary, main = (features[i] for i in self.backbone_indices)
        logits = [self.head(self.attention(main))]
        if self.training and self.auxiliary_head is not None:
            logits.append(self.auxiliary_head(auxiliary))
        return [resize(x, image.shape[-2:], align_corners=self.align_corners) for x in logits]


class PointwiseSpatialAttention(nn.Module):
    """The attention on a smaller map, and its result beside the input: `(N, C, H, W)` to `(N, 2 * C, H, W)`."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        psa_type: int,
        shrink_factor: int,
        window: tuple[int, int],
        normalization_factor: float | None,
        softmax: bool,
        resize_mode: str,
    ) -> None:
        super().__init__()
        if psa_type not in (COLLECT, DISTRIBUTE, BOTH):
            raise Error(f"psa_type is {psa_type!r}; it is 0 (collect), 1 (distribute) or 2 (both)")
        if window[0] % 2 == 0 or window[1] % 2 == 0:
            raise Error(f"mask_h and mask_w are {window[0]} and {window[1]}; both must be odd")
        directions = (COLLECT, DISTRIBUTE) if psa_type == BOTH else (psa_type,)
        factor = window[0] * window[1] if normalization_factor is None else normalization_factor
        self.branches = nn.ModuleList(
            Branch(in_channels, channels, direction == COLLECT, window, factor, softmax, resize_mode)
            for direction in directions
        )
        self.project = ConvBNAct(channels * len(directions), in_channels, 1)
        self.shrink_factor, self.resize_mode = shrink_factor, resize_mode

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        smaller = ((size[0] - 1) // self.shrink_factor + 1, (size[1] - 1) // self.shrink_factor + 1)
        attended = [branch(x, smaller) for branch in self.branches]
        result = self.project(torch.cat(attended[::-1], dim=1))  # what was distributed stands first
        return torch.cat([x, resize(result, size, self.resize_mode, align_corners=True)], dim=1)


class Branch(nn.Module):
    """One direction of the attention: weights for every pixel and offset, and the sum that they weigh."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        collects: bool,
        window: tuple[int, int],
        factor: float,
        softmax: bool,
        resize_mode: str,
    ) -> None:
        super().__init__()
        self.reduce = ConvBNAct(in_channels, channels, 1)
        self.hidden = ConvBNAct(channels, channels, 1)
        self.mask = nn.Conv2d(channels, window[0] * window[1], 1, bias=False)
        self.collects, self.window, self.factor, self.softmax = collects, window, factor, softmax
        self.resize_mode = resize_mode

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        x = resize(self.reduce(x), size, self.resize_mode, align_corners=True)
        weights = spread(self.mask(self.hidden(x)), self.window)  # (N, pixel, other pixel)
        if self.collects:
            weights = weights.transpose(1, 2)
        if self.softmax:
            weights = weights.softmax(dim=1)
        return ((x.flatten(2) @ weights) / self.factor).reshape(x.shape)


def spread(mask: Tensor, window: tuple[int, int]) -> Tensor:
    """Weights by offset as weights by pixel, as upstream's `psamask` operator orders them.

    Args:
        mask: `(N, h * w, H, W)`: at each pixel one weight for every offset within the window, row by row.
        window: its height h and width w, both odd.

    Returns:
        `(N, H * W, H * W)`: from each pixel to each other, 0 for those out of its window.
    """
    pixels = mask.shape[-2] * mask.shape[-1]
    rows = _offsets(mask.shape[-2], window[0], mask.device)[:, None, :, None]
    columns = _offsets(mask.shape[-1], window[1], mask.device)[None, :, None, :]
    inside = (rows >= 0) & (rows < window[0]) & (columns >= 0) & (columns < window[1])
    channel = rows.clamp(0, window[0] - 1) * window[1] + columns.clamp(0, window[1] - 1)
    by_pixel = mask.flatten(2).transpose(1, 2)
    weights = by_pixel.gather(2, channel.reshape(pixels, pixels).expand(mask.shape[0], -1, -1))
    return weights.masked_fill_(~inside.reshape(pixels, pixels), 0.0)


def _offsets(length: int, window: int, device: torch.device) -> Tensor:
    """From each of `length` places to each other, counted from the window's first: `(length, length)`."""
    places = torch.arange(length, device=device)
    return places - places[:, None] + window // 2

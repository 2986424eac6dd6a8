"""PortraitNet (Zhang et al. 2019, https://doi.org/10.1016/j.cag.2019.03.007), as in PaddleSeg's `portraitnet.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.backbone import all_channels, build_backbone
from ppls.models.base import SegmentationModel
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct
from ppls.models.norms import BatchNorm2d
from ppls.models.sizes import check_size

WIDTHS = (320, 96, 32, 24, 16, 8)  # of the encoder's last map, and of what each step of the decoder makes of it


class PortraitNet(SegmentationModel):
    """PortraitNet: an encoder for mobile devices, and its maps added to one that is enlarged to the image's size.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        min_channel: the fewest channels of a step of the decoder, where its full width is not below them.
        channel_ratio: factor of the widths of the decoder, which must be those of the encoder's maps.
        add_edge: build a second classifier, of edges, which runs in either mode.
    """

    size_multiple = 32  # each transposed convolution doubles the sides of what the encoder has halved

    def __init__(
        self,
        num_classes: int = 2,
        backbone: str | Mapping[str, Any] | nn.Module = "mobilenetv2_x1_0",
        min_channel: int = 16,
        channel_ratio: float = 1.0,
        add_edge: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        channels = all_channels(self.backbone, 4)
        last, *widths = (max(min(width, min_channel), int(width * channel_ratio)) for width in WIDTHS)
        wanted = [*reversed(widths[:3]), last]
        if channels != wanted:
            raise Error(
                f"backbone: with channel_ratio={channel_ratio} and min_channel={min_channel} this model takes one "
                f"whose maps have {wanted} channels, as PaddleSeg does, and those of this one have {list(channels)}: "
                "a MobileNetV2 of that ratio"
            )
        self.decoder = nn.ModuleList(
            Step(inputs, width) for inputs, width in zip([last, *widths], widths, strict=False)
        )
        self.classifier = nn.Conv2d(widths[-1], num_classes, 3, padding=1, bias=False)
        self.edge_classifier = nn.Conv2d(widths[-1], num_classes, 3, padding=1, bias=False) if add_edge else None

    def forward(self, image: Tensor) -> list[Tensor] | list[tuple[Tensor, Tensor]]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W); with `add_edge` to a pair, the second of edges."""
        check_size(self, image)
        first, *maps = reversed(self.backbone(image))
        x = first
        for step, fine in zip(self.decoder, maps, strict=False):
            x = step(x) + fine
        for step in self.decoder[len(maps) :]:
            x = step(x)
        logits = self.classifier(x)
        return [logits] if self.edge_classifier is None else [(logits, self.edge_classifier(x))]


class Step(Layer):
    """The D-block: separable convolutions in a residual, and a transposed convolution that doubles the sides."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            ConvBNAct(in_channels, in_channels, 3, groups=in_channels),
            ConvBNAct(in_channels, out_channels, 1),
            ConvBNAct(out_channels, out_channels, 3, groups=out_channels),
            ConvBNAct(out_channels, out_channels, 1, activation=None),
        )
        self.shortcut = (
            nn.Identity() if in_channels == out_channels else ConvBNAct(in_channels, out_channels, 1, activation=None)
        )
        self.enlarge = nn.ConvTranspose2d(out_channels, out_channels, 4, stride=2, padding=1, bias=False)
        for layer in self.modules():
            if isinstance(layer, BatchNorm2d):
                layer.momentum = 0.9  # PaddleSeg models/portraitnet.py: 0.1, of the old value

    def forward(self, x: Tensor) -> Tensor:
        """`(N, in_channels, H, W)` to `(N, out_channels, 2 * H, 2 * W)`."""
        return self.enlarge(F.relu(self.convs(x) + self.shortcut(x)))

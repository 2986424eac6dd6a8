"""Fast-SCNN (Poudel et al. 2019, https://arxiv.org/abs/1902.04502), as in PaddleSeg's `models/fast_scnn.py`."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.base import SegmentationModel
from ppls.models.heads import ConvHead
from ppls.models.inverted_residual import InvertedResidual
from ppls.models.layers import ConvBNAct, SeparableConv
from ppls.models.pyramid import PyramidPooling
from ppls.models.resize import resize


class FastSCNN(SegmentationModel):
    """Fast-SCNN: learning to downsample, a global feature extractor behind it, and the fusion of both.

    Args:
        num_classes: classes, the channels of the logits.
        in_channels: channels of the image.
        enable_auxiliary_loss: build a second head, on the finer map, which eval mode runs too.
        align_corners: how a resize places pixels; that of the pooled maps always aligns corners.
        resize_mode: how maps are enlarged; PaddleSeg always does it bilinearly.
    """

    encoder = ("downsample", "stages")
    feat_channels = (64, 128)
    feat_strides = (8, 32)

    def __init__(
        self,
        num_classes: int = 19,
        in_channels: int = 3,
        enable_auxiliary_loss: bool = True,
        align_corners: bool = False,
        resize_mode: str = "bilinear",
    ) -> None:
        super().__init__()
        self.downsample = nn.Sequential(
            ConvBNAct(in_channels, 32, 3, stride=2, bias=True, same=True),
            SeparableConv(32, 48, 3, stride=2),
            SeparableConv(48, 64, 3, stride=2),
        )
        self.stages = nn.Sequential(_stage(64, 64, stride=2), _stage(64, 96, stride=2), _stage(96, 128))
        self.pyramid = PyramidPooling(128, 128, (1, 2, 3, 6), True, resize_mode)
        self.fusion = FeatureFusion(64, 128, 128, resize_mode, align_corners=align_corners)
        self.refine = nn.Sequential(SeparableConv(128, 128, 3), SeparableConv(128, 128, 3))
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Conv2d(128, num_classes, 1)
        self.auxiliary_head = ConvHead(64, 32, num_classes, bias=True) if enable_auxiliary_loss else None
        self.align_corners = align_corners

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W): of the head, and of the auxiliary one, in any mode."""
        fine, coarse = self.forward_features(image)
        x = self.refine(self.fusion(fine, self.pyramid(coarse)))
        logits = [self.classifier(self.dropout(x))]
        if self.auxiliary_head is not None:
            logits.append(self.auxiliary_head(fine))
        return [resize(x, image.shape[-2:], align_corners=self.align_corners) for x in logits]

    def forward_features(self, image: Tensor) -> list[Tensor]:
        """A fine map, at 1/8 of the image's size, and a coarse one, at 1/32."""
        fine = self.downsample(image)
        return [fine, self.stages(fine)]


def _stage(in_channels: int, out_channels: int, stride: int = 1) -> nn.Module:
    """Three inverted residuals, six times as wide within."""
    first = InvertedResidual(in_channels, 6 * in_channels, out_channels, stride=stride, activation=F.relu)
    rest = [InvertedResidual(out_channels, 6 * out_channels, out_channels, activation=F.relu) for _ in range(2)]
    return nn.Sequential(first, *rest)


class FeatureFusion(nn.Module):
    """The feature fusion module: a coarse map, enlarged and convolved, added to a fine one."""

    def __init__(
        self, fine_channels: int, coarse_channels: int, out_channels: int, resize_mode: str, *, align_corners: bool
    ) -> None:
        super().__init__()
        self.depthwise = ConvBNAct(coarse_channels, out_channels, 3, groups=coarse_channels)
        self.conv_coarse = ConvBNAct(out_channels, out_channels, 1, bias=True, activation=None)
        self.conv_fine = ConvBNAct(fine_channels, out_channels, 1, bias=True, activation=None)
        self.resize_mode, self.align_corners = resize_mode, align_corners

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        coarse = resize(coarse, fine.shape[-2:], self.resize_mode, self.align_corners)
        return F.relu(self.conv_fine(fine) + self.conv_coarse(self.depthwise(coarse)))

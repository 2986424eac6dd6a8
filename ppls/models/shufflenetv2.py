"""What PP-HumanSeg-Lite grew out of: `ShuffleNetV2` of PaddleSeg 2.1, in its `models/shufflenet_slim.py`."""

from __future__ import annotations

from torch import Tensor, nn

from ppls.models.pphumanseg_lite import HumanSegmentation


class ShuffleNetV2(HumanSegmentation):
    """PP-HumanSeg-Lite with a transposed convolution for a classifier; PaddleSeg had it up to 2.1.

    Args:
        num_classes: classes, the channels of the logits.
        align_corners: how the decoder's resize places pixels.
        in_channels: channels of the image; PaddleSeg had 3 alone.
        resize_mode: how the decoder upsamples; PaddleSeg always did it bilinearly.
    """

    def __init__(
        self,
        num_classes: int = 2,
        align_corners: bool = False,
        in_channels: int = 3,
        resize_mode: str = "bilinear",
    ) -> None:
        super().__init__(in_channels, align_corners, resize_mode)
        self.classifier = nn.ConvTranspose2d(64, num_classes, 2, stride=2)

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, in_channels, H, W) to logits (N, num_classes, h, w): h, w are H, W rounded up to even."""
        return [self.classifier(self.decode(image))]

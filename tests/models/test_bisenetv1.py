"""BiseNetV1: what it takes, and logits that are larger than the image."""

from __future__ import annotations

import pytest
import torch

import ppls
from ppls.models import BiseNetV1
from ppls.models.sizes import run_padded


def test_logits_are_eight_times_as_large_as_the_map_and_cropped_where_they_are_used() -> None:
    model = BiseNetV1(2).eval()
    image = torch.rand(1, 3, 65, 97)
    with torch.no_grad():
        assert model(image)[0].shape == (1, 2, 72, 104)
        assert run_padded(model, image).shape == (1, 2, 65, 97)


def test_a_backbone_with_other_channels_is_refused() -> None:
    with pytest.raises(ppls.Error, match=r"256 and 512 channels.*have 1024 and 2048: ResNet18_vd or ResNet34_vd"):
        BiseNetV1(backbone="resnet50_vd")


def test_a_context_of_other_channels_than_the_spatial_path_has_is_refused() -> None:
    with pytest.raises(ppls.Error, match="conv_channel=64: PaddleSeg's model runs with 128 alone"):
        BiseNetV1(conv_channel=64)

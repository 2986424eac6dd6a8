"""HRNetW48Contrast: what it returns beside logits, and on which encoders it can stand."""

from __future__ import annotations

import pytest
import torch

from ppls.errors import Error
from ppls.models import HRNetW48Contrast


def test_in_training_each_pixel_is_embedded_at_length_1_beside_the_logits_that_it_is_embedded_with() -> None:
    model = HRNetW48Contrast(5, backbone="hrnet_w18_small_v1", bb_channels=240, proj_dim=8).train()
    logits, contrast = model(torch.rand(2, 3, 32, 64))
    assert logits.shape == (2, 5, 32, 64)
    assert contrast["seg"].shape == (2, 5, 8, 16)
    assert contrast["embed"].shape == (2, 8, 8, 16)
    assert torch.allclose(contrast["embed"].norm(dim=1), torch.ones(2, 8, 16))


def test_without_the_embedding_it_returns_logits_alone() -> None:
    model = HRNetW48Contrast(5, backbone="hrnet_w18_small_v1", bb_channels=240, auxiliary_heads=False).train()
    assert [output.shape for output in model(torch.rand(2, 3, 32, 64))] == [(2, 5, 32, 64)]


def test_an_encoder_of_other_channels_is_refused_with_both_numbers() -> None:
    with pytest.raises(
        Error, match="with bb_channels=720 in its first feature map, and a HRNet gives 1, the first of 270 channels"
    ):
        HRNetW48Contrast(5, backbone="hrnet_w18")

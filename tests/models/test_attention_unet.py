"""AttentionUNet: its gates, and the sizes that it takes."""

from __future__ import annotations

import pytest
import torch

import ppls
from ppls.models import AttentionUNet
from ppls.models.attention_unet import AttentionGate


def test_a_gate_lets_through_what_went_down_by_what_both_maps_say_of_each_pixel() -> None:
    torch.manual_seed(0)
    gate = AttentionGate(4, 2).eval()
    x, signal = torch.rand(1, 4, 3, 3) + 1, torch.randn(1, 4, 3, 3)
    with torch.no_grad():
        share = gate(x, signal) / x
        changed = gate(x, signal + torch.eye(3)) / x
    assert ((share > 0) & (share < 1)).all()
    torch.testing.assert_close(share, share[:, :1].expand_as(share))  # one number for each pixel
    assert torch.equal((share != changed)[0, 0], torch.eye(3).bool())


def test_a_size_that_cannot_be_halved_four_times_is_refused_with_one_that_can() -> None:
    with pytest.raises(ppls.Error, match=r"65x129 .*AttentionUNet.* multiples of 16; pad it to 80x144"):
        AttentionUNet(2)(torch.zeros(1, 3, 65, 129))

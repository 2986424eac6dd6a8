"""DMNet: its predicted filters, and the options that no published config uses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import ppls
from ppls.models import DMNet
from ppls.models.dmnet import convolve_each
from tests.architectures import run_live
from tests.options import Case, build, check

CASES = {
    "fused": Case({"mid_channels": 16, "fusion": True}),
    "even": Case({"mid_channels": 16, "filter_sizes": [2, 4]}, {"filter_sizes": [2, 4]}, (2, 3, 65, 97)),
}


@pytest.fixture(scope="module", params=run_live(["DMNet"]))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(request.param, CASES, tmp_path_factory.mktemp("dmnet"))


@pytest.mark.parametrize("name", CASES)
def test_each_option_computes_what_paddleseg_computes(folder: Path, name: str) -> None:
    check(folder, name, CASES[name])


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_each_channel_of_each_image_is_convolved_with_its_own_kernel(size: int) -> None:
    x, kernels = torch.randn(2, 3, 6, 7), torch.randn(2, 3, size, size)
    before, after = size // 2, (size - 1) // 2
    padded = F.pad(x.reshape(1, 6, 6, 7), (before, after, before, after))
    expected = F.conv2d(padded, kernels.reshape(6, 1, size, size), groups=6).reshape(x.shape)
    torch.testing.assert_close(convolve_each(x, kernels, size), expected)


def test_logits_are_eight_times_as_large_as_the_last_map() -> None:
    model = DMNet(num_classes=2, backbone="resnet18_vd", mid_channels=4).eval()
    assert model(torch.rand(1, 3, 65, 97))[0].shape == (1, 2, 72, 104)


def test_a_filter_without_pixels_is_refused() -> None:
    with pytest.raises(ppls.Error, match="a filter of size 0"):
        DMNet(backbone="resnet18_vd", filter_sizes=[0])

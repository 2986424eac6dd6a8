"""ENCNet: its codewords, and the options that no published config uses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ppls.models import ENCNet
from ppls.models.context_encoding import Encoding
from tests.architectures import run_live
from tests.options import Case, build, check

CASES = {
    "narrow": Case({"mid_channels": 24, "num_codes": 7, "add_lateral": False}),
    "absence": Case({"mid_channels": 16, "use_se_loss": False, "add_lateral": True}),
}


@pytest.fixture(scope="module", params=run_live(["ENCNet"]))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(request.param, CASES, tmp_path_factory.mktemp("encnet"))


@pytest.mark.parametrize("name", CASES)
def test_each_option_computes_what_paddleseg_computes(folder: Path, name: str) -> None:
    check(folder, name, CASES[name])


def test_the_encoding_sums_how_pixels_differ_from_each_codeword() -> None:
    encoding = Encoding(5, 3).double()
    x = torch.randn(2, 5, 4, 6, dtype=torch.float64)
    pixels = x.flatten(2).transpose(1, 2).unsqueeze(2)  # (N, pixels, 1, channels)
    differences = pixels - encoding.codewords
    weights = (encoding.scale * differences.square().sum(3)).softmax(2)
    torch.testing.assert_close(encoding(x), (weights.unsqueeze(3) * differences).sum(1))


def test_which_classes_are_there_is_said_in_train_mode_alone() -> None:
    model = ENCNet(num_classes=4, backbone="resnet18_vd", mid_channels=8)
    image = torch.rand(2, 3, 32, 64)
    assert [tuple(x.shape) for x in model(image)] == [(2, 4, 32, 64), (2, 4, 32, 64), (2, 4)]
    assert [tuple(x.shape) for x in model.eval()(image)] == [(2, 4, 32, 64)]

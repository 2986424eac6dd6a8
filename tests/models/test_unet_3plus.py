"""UNet3Plus: its options, which no recipe uses, and the sizes that it takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ppls
from ppls.models import UNet3Plus
from tests.architectures import run_live
from tests.options import NO_BACKBONE, Case, build, check

CASES = {
    "plain": Case({"is_batchnorm": False, "in_channels": 4}, {}, (1, 4, 32, 48), NO_BACKBONE),
    "deep": Case({"is_deepsup": True}, {}, (1, 3, 32, 48), NO_BACKBONE),
    "guided": Case({"is_CGM": True}, {}, (2, 3, 16, 32), NO_BACKBONE),
}


@pytest.fixture(scope="module", params=run_live(["UNet3Plus"]))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(request.param, CASES, tmp_path_factory.mktemp("unet_3plus"))


@pytest.mark.parametrize("name", CASES)
def test_each_option_computes_what_paddleseg_computes(folder: Path, name: str) -> None:
    check(folder, name, CASES[name])


def test_an_image_of_the_class_that_is_nothing_has_no_logits_and_guidance_implies_supervision() -> None:
    torch.manual_seed(0)
    model = UNet3Plus(num_classes=3, is_CGM=True).eval()
    assert model.presence is not None
    with torch.no_grad():
        for bias, present in (([0.0, 1e4], True), ([1e4, 0.0], False), ([1e4, 1e5], False)):  # the last a tie at 1
            model.presence[1].bias.copy_(torch.tensor(bias))
            outputs = model(torch.rand(1, 3, 16, 16))
            assert len(outputs) == 5
            assert [bool(x.any()) for x in outputs] == [present] * 5


def test_a_size_that_cannot_be_halved_four_times_is_refused_with_one_that_can() -> None:
    with pytest.raises(ppls.Error, match=r"16x40 .*UNet3Plus.* multiples of 16; pad it to 16x48"):
        UNet3Plus()(torch.zeros(1, 3, 16, 40))

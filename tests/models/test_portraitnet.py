"""PortraitNet: the edges that no published config asks for, other widths, and what it takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ppls
from ppls.models import PortraitNet
from ppls.models.norms import BatchNorm2d
from ppls.models.sizes import run_padded
from tests.architectures import run_live
from tests.options import Case, build, check

CASES = {
    "edges": Case(
        {"add_edge": True},
        shape=(2, 3, 128, 128),
        backbone={"class": "paddleseg.models.backbones.mobilenetv2.MobileNetV2_x1_0", "kwargs": {}},
    ),
}


@pytest.mark.parametrize("folder", run_live(["PortraitNet"]))
def test_each_option_computes_what_paddleseg_computes(folder: str, tmp_path: Path) -> None:
    build(folder, CASES, tmp_path)
    for name, case in CASES.items():
        check(tmp_path, name, case)


def test_edges_stand_beside_the_logits_in_one_pair() -> None:
    model = PortraitNet(add_edge=True).eval()
    with torch.no_grad():
        ((logits, edges),) = model(torch.rand(1, 3, 32, 64))
    assert logits.shape == edges.shape == (1, 2, 32, 64)


def test_images_are_padded_to_multiples_of_32() -> None:
    model, image = PortraitNet().eval(), torch.rand(1, 3, 40, 65)
    with pytest.raises(ppls.Error, match=r"40x65 .*PortraitNet .*multiples of 32; pad it to 64x96"):
        model(image)
    with torch.no_grad():
        assert run_padded(model, image).shape == (1, 2, 40, 65)


def test_a_backbone_of_other_widths_is_refused() -> None:
    with pytest.raises(
        ppls.Error, match=r"takes one whose maps have \[24, 32, 96, 320\] .*those of this one have \[12, "
    ):
        PortraitNet(backbone="mobilenetv2_x0_5")
    PortraitNet(backbone="mobilenetv2_x2_0", channel_ratio=2.0)


def test_a_file_of_2_3_to_2_5_has_the_encoder_of_these_releases(tmp_path: Path) -> None:
    """Its ReLUs know no upper end, and its tensors have other names: those of PaddleSeg's published files."""
    model = PortraitNet(backbone="mobilenetv2_relu", add_edge=True).eval()
    model.save_pretrained(tmp_path / "hub")
    ppls.convert_back(tmp_path / "hub", tmp_path / "old.pdparams")
    assert {"backbone.stage0.0.weight", "backbone.stage2.1.conv.7._mean"} <= set(ppls.read(tmp_path / "old.pdparams"))
    back = ppls.load(tmp_path / "old.pdparams")
    assert back.config["backbone"]["type"] == "MobileNetV2_ReLU"
    norms = [layer for layer in back.modules() if isinstance(layer, BatchNorm2d)]
    assert {layer.momentum for layer in norms} == {0.9}
    image = 100 * torch.rand(1, 3, 32, 64)
    today = PortraitNet(add_edge=True).eval()
    renamed = {n.replace("first", "stem").replace("bottlenecks", "stages"): x for n, x in model.state_dict().items()}
    today.load_state_dict(renamed)
    with torch.no_grad():
        ((old, _),), ((new, _),), ((found, _),) = model(image), today(image), back(image)
    assert torch.equal(found, old)
    assert not torch.allclose(found, new)  # it has ReLU6

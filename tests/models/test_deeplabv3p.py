"""DeepLabV3+: what is nearly one is told apart from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ppls
from ppls.models.deeplabv3p import DeepLabV3P
from ppls.models.stdc import STDCNet
from tests.checkpoints import save, state_of


@pytest.mark.parametrize("name", ["DeepLabV3", "DeepLabV3P"])
def test_it_and_its_predecessor_are_told_apart(tmp_path: Path, name: str) -> None:
    conversion = ppls.convert(save(tmp_path / "model.pdparams", state_of(name, f"{name}-R50")))
    assert conversion.architecture == name


def test_a_stage_that_an_export_leaves_out_is_left_out_of_the_model(tmp_path: Path) -> None:
    """STDC's last, which this head does not take."""
    backbone = STDCNet(base=8, layers=(2, 2, 2), block_num=4)
    whole = DeepLabV3P(num_classes=3, backbone=backbone, backbone_indices=(0, 3)).eval()
    whole.save_pretrained(tmp_path / "whole")
    tensors = {name: tensor.load() for name, tensor in ppls.convert_back(tmp_path / "whole").tensors.items()}
    used = {
        name: array
        for name, array in tensors.items()
        if not name.startswith(("backbone.features.6.", "backbone.features.7."))
    }
    assert len(used) < len(tensors)
    ppls.convert(save(tmp_path / "model.pdparams", used), tmp_path / "cut.safetensors")
    cut = ppls.load(tmp_path / "cut.safetensors")
    assert cut.config["backbone"]["layers"] == [2, 2]
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(cut(image)[0], whole(image)[0])

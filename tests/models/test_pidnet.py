"""PIDNet: its three outputs in train mode, its two kinds of pooling and fusion, and what it takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ppls
from ppls.models import PIDNet
from ppls.models.pidnet_branches import (
    BoundaryFusion,
    DeepPooling,
    LightBoundaryFusion,
    ParallelPooling,
    PIDNetBranches,
)
from ppls.models.sizes import run_padded
from tests.architectures import CHECKOUT
from tests.options import Case, build, check

BACKBONE = "paddleseg.models.backbones.pidnet.PIDNet"
DEEP = {"type": "PIDNet", "channels": 8, "ppm_channels": 6, "num_stem_blocks": 3, "num_branch_blocks": 4}
CASES = {
    "light": Case(
        {"head_channels": 12},
        shape=(4, 3, 128, 128),
        backbone={"class": BACKBONE, "kwargs": {"channels": 8, "ppm_channels": 6}},
    ),
    "deep": Case(
        {"head_channels": 12},
        {"backbone.align_corners": True},
        (4, 4, 128, 128),
        {
            "class": BACKBONE,
            "kwargs": {
                "in_channels": 4,
                "channels": 8,
                "ppm_channels": 6,
                "num_stem_blocks": 3,
                "num_branch_blocks": 4,
                "align_corners": True,
            },
        },
    ),
}


@pytest.mark.skipif(
    CHECKOUT is None or not Path(CHECKOUT, "paddleseg", "models", "pidnet.py").exists(),
    reason="PaddleSeg has no PIDNet up to 2.8, and PPLS_PADDLESEG names no checkout that has it",
)
@pytest.mark.parametrize("name", CASES)
def test_each_kind_of_branches_computes_what_paddleseg_computes(name: str, tmp_path: Path) -> None:
    check(build("PIDNet", {name: CASES[name]}, tmp_path, CHECKOUT), name, CASES[name])


def test_in_train_mode_the_logits_stand_between_those_for_detail_and_those_for_boundaries() -> None:
    model, image = PIDNet(5, {**DEEP}), torch.rand(2, 3, 32, 64)
    assert [logits.shape[1] for logits in model(image)] == [5, 5, 1]
    assert [logits.shape for logits in model.eval()(image)] == [(2, 5, 32, 64)]
    assert len(PIDNet(5, {**DEEP}, auxiliary_heads=False)(image)) == 1


def test_with_two_blocks_in_the_stem_pooling_and_fusion_are_the_lighter_ones() -> None:
    light, deep = PIDNetBranches(channels=8), PIDNetBranches(channels=8, num_stem_blocks=3)
    assert (type(light.context), type(light.fusion)) == (ParallelPooling, LightBoundaryFusion)
    assert (type(deep.context), type(deep.fusion)) == (DeepPooling, BoundaryFusion)


def test_images_are_padded_to_multiples_of_8() -> None:
    model, image = PIDNet(5, {**DEEP}).eval(), torch.rand(1, 3, 33, 64)
    with pytest.raises(ppls.Error, match=r"33x64 .*PIDNetBranches .*multiples of 8; pad it to 40x64"):
        model(image)
    with torch.no_grad():
        assert run_padded(model, image).shape == (1, 5, 33, 64)


def test_a_backbone_of_another_architecture_is_refused() -> None:
    with pytest.raises(ppls.Error, match=r"takes the branches of PIDNet.*a STDCNet has none"):
        PIDNet(backbone="stdc1")

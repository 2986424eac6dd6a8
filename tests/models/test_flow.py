"""SFNet and DecoupledSegNet: maps warped by a flow, and options that no published config uses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ppls
from ppls.models.flow import warp
from tests.architectures import run_live
from tests.options import Case, build, check


def test_without_flow_a_map_is_resized_with_corners_aligned() -> None:
    x = torch.randn(2, 3, 5, 7)
    assert torch.allclose(warp(x, torch.zeros(2, 2, 5, 7)), x, atol=1e-6)
    finer = torch.nn.functional.interpolate(x, size=(9, 13), mode="bilinear", align_corners=True)
    assert torch.allclose(warp(x, torch.zeros(2, 2, 9, 13)), finer, atol=1e-6)


def test_the_first_channel_points_right_and_the_second_down_and_beyond_the_edge_is_0() -> None:
    x = torch.arange(20.0).reshape(1, 1, 4, 5)
    right, down = torch.zeros(1, 2, 4, 5), torch.zeros(1, 2, 4, 5)
    right[:, 0] = 5 * 2 / 4  # a pixel is 2 / (W - 1) of the whole, and a flow is divided by W
    down[:, 1] = 4 * 2 / 3
    assert torch.allclose(warp(x, right)[..., :4], x[..., 1:], atol=1e-4)
    assert not warp(x, right)[..., 4].abs().gt(1e-3).any()
    assert torch.allclose(warp(x, down)[..., :3, :], x[..., 1:, :], atol=1e-4)


@pytest.mark.parametrize("architecture", run_live(["SFNet"]))
def test_sfnets_heads_for_training_run_before_the_logits_in_eval_mode_too(architecture: str, tmp_path: Path) -> None:
    options = {"num_classes": 3, "backbone_indices": [0, 1, 2, 3], "enable_auxiliary_loss": True, "align_corners": True}
    told = {"align_corners": True, "backbone.output_stride": 32}
    backbone = {"class": "paddleseg.models.ResNet18_vd", "kwargs": {"output_stride": 32}}
    case = Case(options, told, shape=(2, 3, 97, 129), backbone=backbone)
    check(build(architecture, {"heads": case}, tmp_path), "heads", case)
    assert ppls.convert(tmp_path / "heads.pdparams", overrides=told).era == "PaddleSeg 2.1"
    assert len(ppls.load(tmp_path / "heads.pdparams", align_corners=True)(torch.zeros(1, 3, 64, 64))) == 4


@pytest.mark.parametrize("architecture", run_live(["DecoupledSegNet"]))
def test_decoupledsegnets_options_compute_what_paddleseg_computes(architecture: str, tmp_path: Path) -> None:
    options = {"num_classes": 3, "backbone_indices": [1, 2], "aspp_ratios": [1, 2, 4], "align_corners": True}
    told = {"aspp_ratios": [1, 2, 4], "align_corners": True}
    case = Case(options, told, shape=(2, 3, 49, 65))
    check(build(architecture, {"other": case}, tmp_path), "other", case)

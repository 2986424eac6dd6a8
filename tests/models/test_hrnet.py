"""HRNet, and the heads that stand on it: the options that no published config uses, and other encoders in its place."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ppls
from ppls.errors import Error
from tests.conftest import run_upstream

SMALL = "paddleseg.models.backbones.hrnet.HRNet_W18_Small_V1"
HRNET = "paddleseg.models.backbones.hrnet.HRNet"
TINY: dict[str, Any] = {
    "stage1_num_blocks": [1],
    "stage1_num_channels": [8],
    "stage2_num_blocks": [1, 2],
    "stage2_num_channels": [8, 12],
    "stage3_num_modules": 2,
    "stage3_num_blocks": [1, 1, 1],
    "stage3_num_channels": [8, 12, 20],
    "stage4_num_modules": 1,
    "stage4_num_blocks": [1, 1, 1, 1],
    "stage4_num_channels": [8, 16, 20, 26],
}
RESNET = "paddleseg.models.backbones.resnet_vd.ResNet18_vd"


@dataclass(frozen=True)
class Case:
    """What PaddleSeg is given, and `told`, what of it no tensor shows."""

    model: str
    options: dict[str, Any]
    backbone: str
    backbone_options: dict[str, Any]
    told: dict[str, Any] = field(default_factory=dict)
    size: tuple[int, int] = (48, 64)


CASES = {
    "excited": Case("FCN", {"bias": False}, SMALL, {"has_se": True, "in_channels": 4}),
    "polarized": Case(
        "FCN",
        {"channels": 8},
        HRNET,
        {**TINY, "use_psa": True, "padding_same": False, "in_channels": 3},
        {"backbone.padding_same": False},
    ),
    "corners": Case(
        "FCN",
        {"align_corners": True},
        SMALL,
        {"align_corners": True, "in_channels": 3},
        {"align_corners": True, "backbone.align_corners": True},
        (49, 65),
    ),
    "FCN on another": Case("FCN", {"backbone_indices": [1]}, RESNET, {"output_stride": 8, "in_channels": 3}),
    "OCRNet on another": Case(
        "OCRNet",
        {"backbone_indices": [2, 3], "ocr_mid_channels": 16, "ocr_key_channels": 8},
        RESNET,
        {"output_stride": 8, "in_channels": 3},
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    jobs = []
    for name, case in CASES.items():
        backbone = {"class": case.backbone, "kwargs": case.backbone_options}
        options = {"num_classes": 5, "backbone": backbone, **case.options}
        model = {"class": f"paddleseg.models.{case.model}", "kwargs": options}
        shape = (1, case.backbone_options["in_channels"], *case.size)
        jobs.append({"name": name, "model": model, "seed": 0, "shape": shape})
    return run_upstream(jobs, tmp_path_factory.mktemp("hrnet"))


@pytest.mark.parametrize("name", CASES)
def test_each_option_computes_what_paddleseg_computes(folder: Path, name: str) -> None:
    case, checkpoint = CASES[name], folder / f"{name}.pdparams"
    record = np.load(checkpoint.with_suffix(".npz"))
    model = ppls.load(checkpoint, **case.told)
    with torch.no_grad():
        (logits,) = model(torch.from_numpy(record["input"]))
    assert np.abs(logits.numpy() - record["eval"]).max() <= 2e-5 * np.abs(record["eval"]).max()
    config = ppls.convert(checkpoint, overrides=case.told).config
    assert config.items() >= case.options.items()
    assert config["backbone"].items() >= case.backbone_options.items()


def test_maps_that_the_tensors_contradict_are_refused(folder: Path) -> None:
    with pytest.raises(Error, match="backbone_indices: the tensors say"):
        ppls.convert(folder / "OCRNet on another.pdparams", overrides={"backbone_indices": [3]})


def test_maps_put_together_are_one_map_of_all_their_channels(folder: Path) -> None:
    conversion = ppls.convert(folder / "polarized.pdparams", overrides=CASES["polarized"].told)
    assert conversion.config["backbone_indices"] == [-1]
    assert ppls.models.FCN(3, backbone="hrnet_w18_small_v1").backbone.feat_channels == [16 + 32 + 64 + 128]

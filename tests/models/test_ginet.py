"""GINet: the options that no published config uses, and a backbone that it does not take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ppls
from ppls.models import GINet
from tests.architectures import run_live
from tests.options import Case, build, compare

CASES = {
    "last": Case(
        {"jpu": False, "enable_auxiliary_loss": False, "align_corners": False},
        {"align_corners": False},
        backbone={"class": "paddleseg.models.ResNet50_vd", "kwargs": {"output_stride": 8}},
    ),
}


@pytest.fixture(scope="module", params=run_live(["GINet"]))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(request.param, CASES, tmp_path_factory.mktemp("ginet"))


@pytest.mark.parametrize("name", CASES)
def test_each_option_computes_what_paddleseg_computes(folder: Path, name: str) -> None:
    record = np.load(folder / f"{name}.npz")
    model = ppls.load(folder / f"{name}.pdparams", **CASES[name].told)
    with torch.no_grad():  # in train mode both sides' float32 is 8e-5 from float64
        compare(model(torch.from_numpy(record["input"]))[:1], [record["eval"]])


def test_a_backbone_of_other_widths_is_refused() -> None:
    with pytest.raises(ppls.Error, match=r"\[512, 1024, 2048\] channels; this one's have \[128, 256, 512\]"):
        GINet(backbone="resnet18_vd")


def test_the_classes_names_are_no_parameter() -> None:
    model = GINet(num_classes=3)
    assert "words" in model.state_dict()
    assert "words" not in dict(model.named_parameters())

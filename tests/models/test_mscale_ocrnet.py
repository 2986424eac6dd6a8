"""MscaleOCRNet at scales that no published config uses, and sizes that they leave fractions of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ppls
from ppls.errors import Error
from ppls.models import MscaleOCRNet
from tests.conftest import run_upstream

BACKBONE = {
    "class": "paddleseg.models.backbones.hrnet.HRNet_W18_Small_V1",
    "kwargs": {"use_psa": True, "padding_same": False},
}
SCALES = {"none": [], "half": [0.5], "up and down": [0.5, 1.5, 1.0], "uneven": [0.75, 1.0]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    jobs = [
        {
            "name": name,
            "model": {
                "class": "paddleseg.models.MscaleOCRNet",
                "kwargs": {"num_classes": 5, "backbone": BACKBONE, "mscale": scales},
            },
            "seed": 0,
            "shape": (1, 3, 50, 67),
        }
        for name, scales in SCALES.items()
    ]
    return run_upstream(jobs, tmp_path_factory.mktemp("mscale"))


@pytest.mark.parametrize("name", SCALES)
def test_it_fuses_its_scales_as_paddleseg_does(folder: Path, name: str) -> None:
    checkpoint = folder / f"{name}.pdparams"
    record = np.load(checkpoint.with_suffix(".npz"))
    model = ppls.load(checkpoint, mscale=SCALES[name])
    with torch.no_grad():
        (logits,) = model(torch.from_numpy(record["input"]))
    assert logits.shape == record["eval"].shape  # of one scale alone, that of the scale
    assert np.abs(logits.numpy() - record["eval"]).max() <= 2e-5 * np.abs(record["eval"]).max()


def test_it_is_given_the_first_map_whatever_it_is_told() -> None:
    with pytest.raises(Error, match=r"backbone_indices=\[3\]: this model takes the first feature map, 0"):
        MscaleOCRNet(5, backbone="resnet18_vd", backbone_indices=[3])

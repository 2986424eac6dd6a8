"""UNet: the options that no published config uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ppls
from tests.conftest import run_upstream

# what PaddleSeg is given, and what of it no tensor shows
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "deconv": ({"num_classes": 5, "use_deconv": True, "in_channels": 4}, {}),
    "corners": ({"num_classes": 2, "align_corners": True}, {"align_corners": True}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shapes = {"deconv": (2, 4, 48, 64), "corners": (2, 3, 49, 65)}
    jobs = [
        {
            "name": name,
            "model": {"class": "paddleseg.models.UNet", "kwargs": options},
            "seed": 0,
            "shape": shapes[name],
        }
        for name, (options, _) in CASES.items()
    ]
    return run_upstream(jobs, tmp_path_factory.mktemp("unet"))


@pytest.mark.parametrize("name", CASES)
def test_each_option_computes_what_paddleseg_computes(folder: Path, name: str) -> None:
    options, told = CASES[name]
    checkpoint = folder / f"{name}.pdparams"
    record = np.load(checkpoint.with_suffix(".npz"))
    model = ppls.load(checkpoint, **told)
    with torch.no_grad():
        (logits,) = model(torch.from_numpy(record["input"]))
    assert np.abs(logits.numpy() - record["eval"]).max() <= 1e-5 * np.abs(record["eval"]).max()
    assert ppls.convert(checkpoint, overrides=told).config.items() >= options.items()

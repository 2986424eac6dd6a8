"""BiSeNetV2: widths, channels and corners that no published config has."""

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
    "narrow": ({"num_classes": 3, "lambd": 0.15, "in_channels": 4, "align_corners": True}, {"align_corners": True}),
    "odd": ({"num_classes": 2, "lambd": 0.33}, {}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    jobs = [
        {
            "name": name,
            "model": {"class": "paddleseg.models.BiSeNetV2", "kwargs": options},
            "seed": 0,
            "shape": (2, options.get("in_channels", 3), 65, 97),
        }
        for name, (options, _) in CASES.items()
    ]
    return run_upstream(jobs, tmp_path_factory.mktemp("bisenet"))


@pytest.mark.parametrize("name", CASES)
def test_each_option_computes_what_paddleseg_computes(folder: Path, name: str) -> None:
    told = CASES[name][1]
    checkpoint = folder / f"{name}.pdparams"
    record = np.load(checkpoint.with_suffix(".npz"))
    with torch.no_grad():
        (logits,) = ppls.load(checkpoint, **told)(torch.from_numpy(record["input"]))
    assert np.abs(logits.numpy() - record["eval"]).max() <= 1e-5 * np.abs(record["eval"]).max()


@pytest.mark.parametrize("name", CASES)
def test_the_width_is_read_so_that_every_layer_has_its_channels(folder: Path, name: str) -> None:
    options, told = CASES[name]
    config = ppls.convert(folder / f"{name}.pdparams", overrides=told).config
    assert config.items() >= {key: value for key, value in options.items() if key != "lambd"}.items()
    assert config["lambd"] == pytest.approx(options["lambd"], abs=1 / 128)

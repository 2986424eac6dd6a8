"""UNet: the options that no published config uses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ppls
from ppls.models import UNet
from ppls.models.sizes import run_padded
from tests.checkpoints import arrays_of, save
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


@pytest.mark.parametrize("name", ["cls", "conv"])
def test_either_name_of_the_classifier_is_enough(folder: Path, tmp_path: Path, name: str) -> None:
    """An export has one of the two."""
    arrays = arrays_of(folder / "corners.pdparams")
    other = {"cls": "conv", "conv": "cls"}[name]
    alone = save(tmp_path / "alone.pdparams", {key: a for key, a in arrays.items() if not key.startswith(f"{other}.")})
    conversion = ppls.convert(alone)
    np.testing.assert_array_equal(conversion.arrays["classifier.weight"], arrays["cls.weight"])
    assert conversion.config["num_classes"] == 2
    assert any(re.fullmatch(pattern, "conv.weight") for pattern in conversion.reference["may_be_missing"])
    both = ppls.convert(folder / "corners.pdparams").reference["may_be_missing"]
    assert not any(re.fullmatch(pattern, "conv.weight") for pattern in both)


def test_transposed_convolutions_take_sides_that_can_be_halved_four_times_and_resizing_takes_any() -> None:
    image = torch.zeros(1, 3, 40, 57)
    with pytest.raises(ppls.Error, match=r"40x57 .*UNet .*multiples of 16; pad it to 48x64"):
        UNet(2, use_deconv=True)(image)
    with torch.no_grad():
        assert UNet(2).eval()(image)[0].shape == (1, 2, 40, 57)
        assert run_padded(UNet(2, use_deconv=True).eval(), image).shape == (1, 2, 40, 57)

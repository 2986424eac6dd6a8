"""ESPNetV2 and SINet: sizes, and the options that no published config uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ppls
from ppls.models import ESPNetV2, SINet
from ppls.models.sizes import run_padded
from tests.conftest import run_upstream

# the class, what PaddleSeg is given, what of it no tensor shows, and the size of images
Case = tuple[str, dict[str, Any], dict[str, Any], tuple[int, ...]]
CASES: dict[str, Case] = {
    "narrow": ("ESPNetV2", {"num_classes": 4, "scale": 0.4}, {}, (2, 3, 48, 64)),
    "wide": ("ESPNetV2", {"num_classes": 4, "scale": 1.5}, {}, (2, 3, 48, 64)),
    "shallow": ("SINet", {"num_classes": 3, "in_channels": 4, "stage3_blocks": 2}, {}, (2, 4, 48, 80)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    jobs = [
        {"name": name, "model": {"class": f"paddleseg.models.{model}", "kwargs": options}, "seed": 0, "shape": shape}
        for name, (model, options, _, shape) in CASES.items()
    ]
    return run_upstream(jobs, tmp_path_factory.mktemp("light"))


@pytest.mark.parametrize("name", CASES)
def test_each_option_computes_what_paddleseg_computes(folder: Path, name: str) -> None:
    architecture, options, told, _ = CASES[name]
    checkpoint = folder / f"{name}.pdparams"
    record = np.load(checkpoint.with_suffix(".npz"))
    model = ppls.load(checkpoint, **told)
    assert type(model).__name__ == architecture
    with torch.no_grad():
        (logits,) = model(torch.from_numpy(record["input"]))
    assert np.abs(logits.numpy() - record["eval"]).max() <= 1e-5 * np.abs(record["eval"]).max()
    built = dict(ppls.convert(checkpoint, overrides=told).config)
    scale = options.get("scale")
    if scale is not None:  # 0.375, of which the channels are the same
        assert int(32 * built.pop("scale")) == int(32 * scale)
    assert built.items() >= {name: value for name, value in options.items() if name != "scale"}.items()


@pytest.mark.parametrize(
    ("model", "multiple", "logits"),
    [(ESPNetV2, 16, (32, 48)), (SINet, 32, (32, 64))],
    ids=["ESPNetV2", "SINet"],
)
def test_sizes_that_it_cannot_take_are_said(model: Any, multiple: int, logits: tuple[int, int]) -> None:
    image = torch.zeros(1, 3, 21, 37)
    with pytest.raises(ppls.Error, match=rf"21x37 .*multiples of {multiple}; pad it to {logits[0]}x{logits[1]}"):
        model(2)(image)
    with torch.no_grad():
        assert run_padded(model(2).eval(), image).shape == (1, 2, 21, 37)


def test_branches_of_sinet_that_say_too_little_are_refused() -> None:
    with pytest.raises(ppls.Error, match="branches says two of each module, and there are 2 and 8 modules"):
        SINet(branches=[[[5, 1], [3, 1]]])


def test_sinets_branches_go_to_a_hub_folder_and_back(tmp_path: Path) -> None:
    branches = [[[5, 1], [3, 1]], [[3, 1], [3, 2]], [[3, 2], [5, 1]], [[5, 1], [3, 1]]]
    model = SINet(3, branches=branches, stage3_blocks=2).eval()
    model.save_pretrained(tmp_path)
    image = torch.randn(1, 3, 48, 80)
    with torch.no_grad():
        assert torch.equal(ppls.load(tmp_path)(image)[0], model(image)[0])
        assert torch.equal(SINet.from_pretrained(tmp_path)(image)[0], model(image)[0])

"""ENet, SegNet, ESPNetV2 and SINet: sizes, and the options that no published config uses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import ppls
from ppls.models import ENet, ESPNetV2, SegNet, SINet
from ppls.models.sizes import run_padded
from ppls.models.unpooling import pool_with_places, unpool
from tests.checkpoints import arrays_of, save
from tests.conftest import run_upstream

# the class, what PaddleSeg is given, what of it no tensor shows, and the size of images
Case = tuple[str, dict[str, Any], dict[str, Any], tuple[int, ...]]
CASES: dict[str, Case] = {
    "relu": ("ENet", {"num_classes": 5, "encoder_relu": True, "decoder_relu": False}, {}, (2, 3, 49, 66)),
    "odd within": ("SegNet", {"num_classes": 3, "in_channels": 4}, {}, (2, 4, 38, 54)),
    "narrow": ("ESPNetV2", {"num_classes": 4, "scale": 0.5}, {}, (2, 3, 48, 64)),
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
    assert ppls.convert(checkpoint, overrides=told).config.items() >= options.items()


def test_what_never_runs_paddleseg_need_not_be_given(folder: Path, tmp_path: Path) -> None:
    """An export has it not."""
    arrays = arrays_of(folder / "narrow.pdparams")
    unused = {name for name in arrays if name.endswith(".eesp._act._weight")}
    assert len(unused) == 3
    alone = save(tmp_path / "alone.pdparams", {name: array for name, array in arrays.items() if name not in unused})
    patterns = ppls.convert(alone).reference["may_be_missing"]
    assert {name for name in arrays if any(re.fullmatch(pattern, name) for pattern in patterns)} == unused


def test_a_scale_of_espnetv2_whose_channels_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ppls.Error, match="a pyramid of 20 channels: these are multiples of 16; try another scale"):
        ESPNetV2(scale=0.6)


@pytest.mark.parametrize(("size", "places_in"), [((6, 8), 2), ((7, 9), 2)])
def test_what_was_pooled_goes_back_as_torch_puts_it_back(size: tuple[int, int], places_in: int) -> None:
    x = torch.randn(2, 3, *size)
    pooled, places = pool_with_places(x)
    assert torch.equal(unpool(pooled, places, size), F.max_unpool2d(pooled, places, places_in, output_size=list(size)))


def test_of_equal_pixels_the_first_is_taken() -> None:
    assert pool_with_places(torch.zeros(1, 1, 2, 4))[1].flatten().tolist() == [0, 2]


@pytest.mark.parametrize(
    ("model", "multiple", "logits"),
    [(SegNet, 2, (38, 54)), (ESPNetV2, 16, (48, 64)), (SINet, 32, (64, 64))],
    ids=["SegNet", "ESPNetV2", "SINet"],
)
def test_sizes_that_it_cannot_take_are_said(model: Any, multiple: int, logits: tuple[int, int]) -> None:
    image = torch.zeros(1, 3, 37, 53)
    with pytest.raises(ppls.Error, match=rf"37x53 .*multiples of {multiple}; pad it to {logits[0]}x{logits[1]}"):
        model(2)(image)
    with torch.no_grad():
        assert run_padded(model(2).eval(), image).shape == (1, 2, 37, 53)


def test_segnet_takes_no_image_that_pooling_leaves_nothing_of() -> None:
    with pytest.raises(ppls.Error, match=r"30x64 .*takes sides of 32 and more; pad it to 32x64"):
        SegNet(2)(torch.zeros(1, 3, 30, 64))
    with torch.no_grad():
        assert SegNet(2).eval()(torch.zeros(1, 3, 32, 34))[0].shape == (1, 2, 32, 34)
        assert run_padded(SegNet(2).eval(), torch.zeros(1, 3, 9, 40)).shape == (1, 2, 9, 40)


def test_enet_takes_every_size() -> None:
    with torch.no_grad():
        assert ENet(2).eval()(torch.zeros(1, 3, 21, 37))[0].shape == (1, 2, 21, 37)


def test_an_image_of_more_channels_than_enets_stem_is_refused() -> None:
    with pytest.raises(ppls.Error, match="in_channels is 16: ENet's first map has 16 channels, the image among them"):
        ENet(2, in_channels=16)


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

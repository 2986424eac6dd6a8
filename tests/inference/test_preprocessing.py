"""Preprocessing, held against PaddleSeg's own transforms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ppls
from ppls.errors import InputError
from ppls.images import read_rgb
from ppls.images.transforms import restore
from ppls.inference.preprocessing import Preprocessing

PHOTOGRAPHS = sorted((Path(ppls.__file__).parent / "parity" / "photographs").glob("*.jpg"))
IMAGENET = {"type": "Normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}

PIPELINES: dict[str, list[dict[str, Any]]] = {
    "default": [{"type": "Normalize"}],
    "one number for all channels": [{"type": "Normalize", "mean": [0.3], "std": [0.2]}],
    "ImageNet's values": [IMAGENET],
    "resized up": [{"type": "Resize", "target_size": [701, 803]}, {"type": "Normalize"}],
    "resized down": [{"type": "Resize", "target_size": [192, 130]}, {"type": "Normalize"}],
    "resized after": [IMAGENET, {"type": "Resize", "target_size": [256, 96]}],
    "in proportion": [{"type": "Resize", "target_size": [300, 200], "keep_ratio": True}, {"type": "Normalize"}],
    "in proportion, a multiple": [
        {"type": "Resize", "target_size": [300, 200], "keep_ratio": True, "size_divisor": 32},
        {"type": "Normalize"},
    ],
    "cubic": [{"type": "Resize", "target_size": [300, 200], "interp": "CUBIC"}, {"type": "Normalize"}],
    "nearest": [{"type": "Resize", "target_size": [300, 200], "interp": "NEAREST"}, {"type": "Normalize"}],
    "by its long side": [{"type": "ResizeByLong", "long_size": 333}, {"type": "Normalize"}],
    "by its short side": [{"type": "ResizeByShort", "short_size": 150}, {"type": "Normalize"}],
    "by its short side, limited": [
        {"type": "ResizeByShort", "short_size": 90, "max_size": 99},
        {"type": "Normalize"},
    ],
    "long side limited": [{"type": "LimitLong", "max_long": 256}, {"type": "Normalize"}],
    "long side at least": [{"type": "LimitLong", "min_long": 900}, {"type": "Normalize"}],
    "padded": [{"type": "Padding", "target_size": [1100, 900]}, {"type": "Normalize"}],
    "padded after": [{"type": "Normalize"}, {"type": "Padding", "target_size": [1100, 900], "im_padding_value": 0.5}],
    "padded to a ratio": [{"type": "PaddingByAspectRatio", "aspect_ratio": 3}, {"type": "Normalize"}],
    "several": [
        {"type": "LimitLong", "max_long": 400},
        {"type": "Padding", "target_size": [512, 512]},
        {"type": "Resize", "target_size": [256, 256]},
        IMAGENET,
    ],
}


@pytest.mark.parametrize("name", PIPELINES)
def test_it_makes_what_paddlesegs_transforms_make(name: str) -> None:
    upstream = pytest.importorskip("paddleseg.transforms")
    for path in PHOTOGRAPHS[:2]:
        steps = [getattr(upstream, step["type"])(**_without_type(step)) for step in PIPELINES[name]]
        theirs = upstream.Compose(steps)({"img": str(path), "gt_fields": []})
        ours = Preprocessing(PIPELINES[name])(read_rgb(path))
        assert ours.tensor.shape[1:] == theirs["img"].shape
        assert [(kind, size) for kind, size in ours.undo] == theirs["trans_info"]
        if any("Resize" in step["type"] or "Limit" in step["type"] for step in PIPELINES[name]):
            # OpenCV's weights have fewer bits than float32
            assert np.abs(ours.tensor[0].numpy() - theirs["img"]).max() < 2e-4
        else:
            assert np.array_equal(ours.tensor[0].numpy(), theirs["img"])


@pytest.mark.parametrize("name", PIPELINES)
def test_what_it_did_to_the_size_is_undone(name: str) -> None:
    pixels = read_rgb(PHOTOGRAPHS[0])
    prepared = Preprocessing(PIPELINES[name])(pixels)
    assert restore(torch.zeros(1, 2, *prepared.size), prepared.undo).shape[-2:] == pixels.shape[:2]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"type": "RandomDistort"}, "'RandomDistort' is no transform for evaluation; ppls knows Normalize, Resize"),
        ({"type": "Normalize", "std": [0.5, 0, 0.5]}, "std must not be 0"),
        ({"type": "Normalize", "mean": [1, 2]}, "mean is a list of 1 or 3 numbers"),
        ({"type": "Resize", "target_size": 512}, r"target_size: expected a list, each a whole number.*found 512"),
        ({"type": "Resize", "interp": "AREA"}, "expected 'NEAREST' or 'LINEAR' or 'CUBIC', found 'AREA'"),
        ({"type": "Resize", "size": [1, 2]}, "'size' is not known here; known are target_size, keep_ratio"),
        (
            {"type": "ResizeByShort", "short_size": [1, 2]},
            "short_size: expected a whole number, found a list",
        ),
        ("Normalize", "expected `key: value` pairs, found 'Normalize'"),
    ],
)
def test_a_step_that_cannot_be_done_is_refused_by_name(step: Any, said: str) -> None:
    with pytest.raises(ppls.UsageError, match=said):
        Preprocessing([step], "run.yml")


def test_an_image_larger_than_its_padding_is_refused() -> None:
    with pytest.raises(InputError, match="20x10, is larger than the 16x16 that Padding makes"):
        Preprocessing([{"type": "Padding", "target_size": [16, 16]}])(np.zeros((10, 20, 3), np.uint8))


def test_the_config_of_an_export_has_preprocessing_too(tmp_path: Path) -> None:
    (tmp_path / "deploy.yaml").write_text("Deploy:\n  transforms:\n  - {type: Normalize, mean: [0.1], std: [0.2]}\n")
    prepared = Preprocessing.from_run(tmp_path / "deploy.yaml")(np.full((1, 1, 3), 255, np.uint8))
    assert prepared.pixels[0, 0, 0] == np.float32((1 - 0.1) / 0.2)


def test_a_config_without_transforms_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.yml").write_text("model: {type: PPLiteSeg}\n")
    with pytest.raises(ppls.UsageError, match="has no val_dataset with transforms; give --mean"):
        Preprocessing.from_run(tmp_path / "run.yml")


def _without_type(step: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in step.items() if key != "type"}


@pytest.mark.parametrize(
    ("step", "size"),
    [
        ({"type": "Resize", "target_size": [32768, 32768]}, (8, 8)),
        ({"type": "ResizeByShort", "short_size": 512}, (1, 100_000)),
        ({"type": "ResizeByLong", "long_size": 32768}, (300, 300)),
        ({"type": "Padding", "target_size": [32768, 32768]}, (8, 8)),
        ({"type": "PaddingByAspectRatio", "aspect_ratio": 1000}, (300, 300)),
        ({"type": "LimitLong", "min_long": 32768}, (300, 300)),
    ],
)
def test_an_image_is_not_enlarged_beyond_what_memory_may_be_taken_for(step: Any, size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=r"would become .*: more than 8,388,608 pixels"):
        Preprocessing([step])(np.zeros((*size, 3), np.uint8))


def test_an_image_that_is_larger_already_may_stay_so() -> None:
    step = {"type": "Resize", "target_size": [3000, 3000]}
    assert Preprocessing([step])(np.zeros((3200, 3000, 3), np.uint8)).size == (3000, 3000)

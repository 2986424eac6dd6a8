"""Each of PaddleSeg's transforms against its own: from the same seeds the same pixels, and the same next draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ppls.errors import Error, InputError
from ppls.training.data.draws import Draws
from ppls.training.data.pair import Pair
from ppls.training.data.transforms import TRANSFORMS, build_transforms, transform
from tests.training.data import cases
from tests.training.data.nodes import node_of


def same(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("name", "channels"), [*((name, 3) for name in cases.TRANSFORMS), *((name, 1) for name in cases.GREY)]
)
def test_a_transform_is_paddlesegs_pixel_for_pixel(name: str, channels: int, paddles: dict[str, np.ndarray]) -> None:
    for seed in cases.SEEDS:
        draws = Draws.seeded(seed)
        steps = build_transforms(node_of(cases.TRANSFORMS[name]))
        for step in steps:
            step.begin(draws)
        for number, size in enumerate(cases.SIZES):
            pixels = cases.image(number, *size, channels).astype(np.float32)
            pair = Pair(pixels[..., 0] if channels == 1 else pixels, cases.label(number, *size))
            for step in steps:
                step(pair, draws)
            key = f"transforms/{name}/{channels}/{seed}/{number}"
            same(pair.label, paddles[f"{key}/label"])
            if name == "crop_mixed":  # PaddleSeg puts the label, or the whole image, there
                assert pair.size == pair.label.shape
            else:
                same(pair.image, paddles[f"{key}/image"])
            for part, array in (pair.instances or {}).items():
                same(array, paddles[f"{key}/{part}"])
        next_draws = [draws.python.random(), draws.numpy.rand()]
        np.testing.assert_array_equal(next_draws, paddles[f"transforms/{name}/{channels}/{seed}/after"])


def test_every_transform_is_tried_and_is_one_of_paddlesegs(paddles: dict[str, np.ndarray]) -> None:
    tried = {step["type"] for steps in cases.TRANSFORMS.values() for step in steps}
    assert tried == set(TRANSFORMS) == set(paddles["transforms"])


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"type": "Resize", "target_sise": [4, 4]}, "'target_sise' is not known here"),
        ({"type": "Resize", "target_size": 512}, "expected a list, each a whole number from 1 to 32,768, found 512"),
        ({"type": "Resize", "interp": "BILINEAR"}, "expected 'NEAREST' or"),
        ({"type": "Padding"}, "'target_size' is missing"),
        ({"type": "LimitLong", "max_long": 3, "min_long": 4}, "min_long, 4, is more than max_long, 3"),
        ({"type": "ResizeStepScaling", "min_scale_factor": 2.0}, "is more than max_scale_factor"),
        ({"type": "ResizeByShort", "short_size": []}, "is empty"),
        ({"type": "Normalize", "std": [0.5, 0.0, 0.5]}, "std must not be 0"),
        ({"type": "RandomPaddingCrop", "loop_times": 0}, "expected a number from 1"),
        ({"type": "RandomCenterCrop", "retain_ratio": [1.5, 1]}, "expected a number from 0 to 1"),
    ],
)
def test_an_option_that_cannot_be_is_said(step: cases.Step, said: str) -> None:
    with pytest.raises(Error, match=r"run\.yml") as error:
        build_transforms(node_of([step]))
    assert said in str(error.value)


@pytest.mark.parametrize(
    "step",
    [
        {"type": "Padding", "target_size": [8, 8]},
        {"type": "Resize", "target_size": [30000, 30000]},
        {"type": "Padding", "target_size": [30000, 30000]},
        {"type": "GenerateInstanceTargets", "num_classes": 2},
        {"type": "ResizeStepScaling", "min_scale_factor": 0.01, "max_scale_factor": 0.01},
    ],
)
def test_an_image_that_a_transform_cannot_take_is_named(step: cases.Step) -> None:
    pair = Pair(cases.image(0, 20, 30).astype(np.float32), cases.label(0, 20, 30))
    with pytest.raises(InputError, match=rf"a\.png: {step['type']} cannot take it as it is by then, 30x20:"):
        transform(pair, build_transforms(node_of([step])), Draws.seeded(0), Path("a.png"))

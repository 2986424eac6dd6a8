"""GSCNN: the edges that OpenCV finds, bit for bit, what the stream of edges needs, and options."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ppls
from ppls.deploy.tracing import traced
from ppls.errors import Error
from ppls.models.canny import canny
from ppls.models.gscnn import steps_of
from ppls.parity.inputs import photograph
from tests.architectures import run_live
from tests.options import Case, build, check

TOLD = {"aspp_ratios": [1, 2, 4], "align_corners": True}
CASE = Case(TOLD, {**TOLD, "backbone.multi_grid": [1, 1, 1]}, shape=(2, 3, 49, 65))


@pytest.mark.parametrize("architecture", run_live(["GSCNN"]))
def test_each_option_computes_what_paddleseg_computes(architecture: str, tmp_path: Path) -> None:
    check(build(architecture, {"small": CASE}, tmp_path), "small", CASE)


def images() -> list[np.ndarray]:
    """Of every kind: noise, faint noise, slopes; of odd sizes, and as small as can be."""
    random = np.random.RandomState(0)
    sizes = [(1, 1), (1, 7), (9, 1), (2, 2), (33, 48), (48, 33)]
    noise = [random.randint(0, most, (*size, 3)) for size in sizes for most in (256, 30)]
    steps = [np.kron(random.randint(0, most, (8, 9, 3)), np.ones((6, 7, 1))) for most in (256, 60, 20)]
    slopes = [
        np.add.outer(np.arange(40) * i, np.arange(50) * (7 - i))[..., None] // 3 % 97 * [1, 1, 2] for i in range(8)
    ]
    return [np.ascontiguousarray(image.astype(np.uint8)) for image in (*noise, *steps, *slopes)]


def test_edges_are_those_of_opencv() -> None:
    cv2 = pytest.importorskip("cv2")
    found = 0
    for image in images():
        expected = cv2.Canny(image, 10, 100) > 0
        edges = canny(torch.from_numpy(image).permute(2, 0, 1)[None], 10, 100)[0, 0].numpy()
        assert np.array_equal(edges, expected), image.shape
        found += int(expected.sum())
    assert found > 1000


def test_pixels_beyond_the_range_come_round_as_numbers_of_8_bits_do() -> None:
    image = torch.linspace(-4, 4, 3 * 40 * 50).reshape(1, 3, 40, 50)
    pixels = ((image.numpy() * 0.5 + 0.5) * 255).astype(np.int32).astype(np.uint8)
    expected = canny(torch.from_numpy(pixels), 10, 100)
    assert expected.any()
    assert torch.equal(steps_of(image), expected.float())


class Steps(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return steps_of(image)


@pytest.mark.parametrize("form", ["torchscript", "torch-export"])
def test_what_is_made_of_one_image_finds_the_edges_of_another_however_long_they_are(form: str) -> None:
    blank, free = torch.zeros(2, 3, 64, 80), dict.fromkeys((0, 2, 3), torch.export.Dim.AUTO)
    model = Steps()
    if form == "torchscript":
        made = traced(model, blank)
    else:
        made = torch.export.export(model, (blank,), dynamic_shapes={"image": free}).module()
    faint = torch.zeros(1, 3, 96, 112)
    faint[..., 10:-10, 10:-10] = 0.06  # an edge all around that is one by a single steep spot
    faint[..., 10:14, 10:14] = 1.0
    image = torch.nn.functional.interpolate(torch.randn(3, 3, 12, 14), size=(96, 112), mode="bicubic") * 0.4
    assert model(faint)[..., -40:, -40:].any()
    for each in (image, faint):
        assert torch.equal(made(each), model(each))


def test_openvino_finds_the_same_edges_in_images_of_8_bits(tmp_path: Path) -> None:
    """Their pixels come to just about whole numbers: a product and a sum in the place of two each tell others."""
    openvino = pytest.importorskip("openvino")
    image = photograph("coffee", 64, 96).array
    program = torch.export.export(Steps(), (torch.from_numpy(image),))
    run = openvino.compile_model(openvino.convert_model(program), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected = steps_of(torch.from_numpy(image)).numpy()
    assert expected.any()
    assert np.array_equal(np.asarray(run([image])[0]), expected)


def test_a_backbone_without_the_stem_of_a_resnet_vd_is_refused() -> None:
    with pytest.raises(Error, match="a ResNet_vd, not STDCNet"):
        ppls.models.GSCNN(backbone="stdc1")

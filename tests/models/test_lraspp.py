"""LR-ASPP: pooling by windows, and the sizes of images that they need."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ppls
from ppls.models import LRASPP
from ppls.models.sizes import least_size, run_padded
from ppls.parity.input_shape import InputShape, inputs_of_shape
from tests.architectures import run_live
from tests.options import Case, build, check

TOLD = {"use_gap": False, "resize_mode": "nearest"}
CASE = Case(
    {**TOLD, "lraspp_head_inter_chs": [8, 12], "lraspp_head_out_ch": 16},
    {**TOLD, "backbone": "MobileNetV3_small_x1_0_os8"},
    (1, 3, 385, 400),
    {"class": "paddleseg.models.backbones.mobilenetv3.MobileNetV3_small_x1_0_os8", "kwargs": {}},
)


@pytest.mark.parametrize("architecture", run_live(["LRASPP"]))
def test_each_option_computes_what_paddleseg_computes(architecture: str, tmp_path: Path) -> None:
    check(build(architecture, {"windows": CASE}, tmp_path), "windows", CASE)


def test_an_image_that_no_window_fits_into_is_refused_and_padded_where_ppls_predicts() -> None:
    model = LRASPP(5, backbone="mobilenetv3_small_x1_0_os8", use_gap=False).eval()
    image = torch.zeros(1, 3, 64, 400)
    assert least_size(model) == 385
    with pytest.raises(ppls.Error, match=r"64x400 .*LRASPP of these options takes sides of 385 and more; .*to 385x400"):
        model(image)
    with torch.no_grad():
        assert run_padded(model, image).shape == (1, 5, 64, 400)
        assert LRASPP(5, backbone="mobilenetv3_small_x0_35").eval()(image)[0].shape == (1, 5, 64, 400)


def test_it_is_judged_on_images_that_are_large_enough() -> None:
    chosen = inputs_of_shape(InputShape().in_multiples(1, 385), seed=0, channels=3)
    assert len(chosen) > 7
    assert all(side >= 385 for given in chosen for side in given.array.shape[2:])
    assert any(len(given.array) == 2 for given in chosen)


def test_finer_maps_need_as_many_widths() -> None:
    with pytest.raises(ppls.Error, match=r"lraspp_head_inter_chs=\[32\]: one for each of backbone_indices=\[0, 1, 3\]"):
        LRASPP(lraspp_head_inter_chs=[32])

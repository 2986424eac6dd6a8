"""LPS-Net: paths over other scales than any published config has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ppls
from tests.architectures import run_live
from tests.options import NO_BACKBONE, Case, build, check

SCALES = {"scale_ratios": [0.7, 0.3, 0.45]}
CASE = Case(
    {**SCALES, "depths": [1, 2, 1, 2, 1, 3], "channels": [4, 8, 8, 12, 16, 8], "in_channels": 4},
    SCALES,
    shape=(2, 4, 97, 141),
    backbone=NO_BACKBONE,
)


@pytest.mark.parametrize("architecture", run_live(["LPSNet"]))
def test_each_option_computes_what_paddleseg_computes(architecture: str, tmp_path: Path) -> None:
    check(build(architecture, {"paths": CASE}, tmp_path), "paths", CASE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depths": [1, 2]}, r"depths=\[1, 2\], channels=\[8, 24, 48, 96, 96\]: a block has one of each"),
        ({"scale_ratios": [1.0, 0.0]}, r"scale_ratios=\[1.0, 0.0\]: PaddleSeg runs two paths or more"),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ppls.Error, match=message):
        ppls.models.LPSNet(**options)

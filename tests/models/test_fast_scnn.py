"""Fast-SCNN: the options that no published config uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architectures import run_live
from tests.options import NO_BACKBONE, Case, build, check

TOLD = {"align_corners": True}
CASE = Case(
    {**TOLD, "enable_auxiliary_loss": False, "in_channels": 4}, TOLD, shape=(2, 4, 97, 65), backbone=NO_BACKBONE
)


@pytest.mark.parametrize("architecture", run_live(["FastSCNN"]))
def test_each_option_computes_what_paddleseg_computes(architecture: str, tmp_path: Path) -> None:
    check(build(architecture, {"corners": CASE}, tmp_path), "corners", CASE)

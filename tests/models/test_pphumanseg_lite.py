"""PP-HumanSeg-Lite: the option that its published config does not use, and logits that are not negative."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ppls.models import PPHumanSegLite
from tests.architectures import run_live
from tests.options import NO_BACKBONE, Case, build, check

CASE = Case({"in_channels": 4, "align_corners": True}, {"align_corners": True}, (2, 4, 49, 65), NO_BACKBONE)


@pytest.mark.parametrize("folder", run_live(["PPHumanSegLite"]))
def test_corners_aligned_and_other_channels_compute_what_paddleseg_computes(folder: str, tmp_path: Path) -> None:
    check(build(folder, {"other": CASE}, tmp_path), "other", CASE)


def test_no_logit_is_negative() -> None:
    with torch.no_grad():
        (logits,) = PPHumanSegLite()(torch.randn(2, 3, 48, 64))
    assert logits.min() == 0 < logits.max()

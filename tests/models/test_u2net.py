"""U2Net and U2Netp, of any size: what halves maps rounds up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ppls
from ppls.models import U2Netp
from tests.architectures import run_live
from tests.options import NO_BACKBONE, Case, build, compare

CASE = Case({"in_channels": 4}, {}, (1, 4, 33, 45), NO_BACKBONE)  # each step down rounds up


@pytest.mark.parametrize("folder", run_live(["U2Netp"]))
def test_maps_of_odd_sides_are_pooled_and_brought_up_as_paddleseg_does(folder: str, tmp_path: Path) -> None:
    checkpoint = build(folder, {"odd": CASE}, tmp_path) / "odd.pdparams"
    record = np.load(checkpoint.with_suffix(".npz"))
    with torch.no_grad():
        compare(ppls.load(checkpoint)(torch.from_numpy(record["input"]))[:1], [record["eval"]])


def test_the_smallest_image_is_one_pixel() -> None:
    with torch.no_grad():
        outputs = U2Netp(num_classes=2).eval()(torch.rand(1, 3, 1, 1))
    assert [x.shape for x in outputs] == [(1, 2, 1, 1)] * 7
    assert all(np.isfinite(x.numpy()).all() for x in outputs)

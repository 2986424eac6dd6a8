"""DDRNet-23: the options that no published config uses, and the sizes that it takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ppls
from tests.architectures import run_live
from tests.options import NO_BACKBONE, Case, build, check

CASE = Case({"enable_auxiliary_loss": True, "in_channels": 4}, shape=(4, 4, 64, 96), backbone=NO_BACKBONE)


@pytest.mark.parametrize("architecture", run_live(["DDRNet_23"]))
def test_each_option_computes_what_paddleseg_computes(architecture: str, tmp_path: Path) -> None:
    check(build(architecture, {"auxiliary": CASE}, tmp_path), "auxiliary", CASE)


def test_sides_that_are_no_multiples_of_8_are_refused_with_those_that_are() -> None:
    with pytest.raises(ppls.Error, match=r"65x129 .*DDRNet_23 .*multiples of 8; pad it to 72x136"):
        ppls.models.DDRNet_23()(torch.zeros(1, 3, 65, 129))

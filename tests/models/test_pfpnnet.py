"""PFPNNet: the options that no published config uses, and a backbone that it is not told of."""

from __future__ import annotations

from pathlib import Path

import pytest

import ppls
from ppls.models import PFPNNet
from tests.architectures import run_live
from tests.options import Case, build, check

SMALL = {"channels": 16, "backbone_indices": [0, 1, 2, 3], "fpn_inplanes": [64, 128, 256, 512]}

CASES = {
    "auxiliary": Case({**SMALL, "enable_auxiliary_loss": True}),
    "corners": Case({**SMALL, "align_corners": True}, {"align_corners": True}, (2, 3, 65, 97)),
}


@pytest.fixture(scope="module", params=run_live(["PFPNNet"]))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(request.param, CASES, tmp_path_factory.mktemp("pfpnnet"))


@pytest.mark.parametrize("name", CASES)
def test_each_option_computes_what_paddleseg_computes(folder: Path, name: str) -> None:
    check(folder, name, CASES[name])


def test_the_channels_of_another_backbone_are_to_be_given() -> None:
    with pytest.raises(ppls.Error, match=r"fpn_inplanes is \[256, .*\[64, 128, 256, 512\] channels"):
        PFPNNet(backbone="resnet18_vd")

"""UPerNet: the options that no published config uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architectures import run_live
from tests.options import Case, build, check

CASES = {
    "narrow": Case({"channels": 24, "backbone_indices": [0, 1, 2, 3], "enable_auxiliary_loss": False}),
    "corners": Case(
        {"channels": 16, "backbone_indices": [0, 1, 2, 3], "enable_auxiliary_loss": True, "align_corners": True},
        {"align_corners": True},
        (2, 3, 65, 97),
    ),
}


@pytest.fixture(scope="module", params=run_live(["UPerNet"]))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(request.param, CASES, tmp_path_factory.mktemp("upernet"))


@pytest.mark.parametrize("name", CASES)
def test_each_option_computes_what_paddleseg_computes(folder: Path, name: str) -> None:
    check(folder, name, CASES[name])

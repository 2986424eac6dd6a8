"""FastFCN: the options that no published config uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architectures import run_live
from tests.options import Case, build, check

CASES = {
    "last": Case({"mid_channels": 24, "num_codes": 5, "use_jpu": False, "add_lateral": True}),
    "plain": Case({"mid_channels": 16, "use_se_loss": False, "add_lateral": False}, shape=(2, 3, 65, 97)),
}


@pytest.fixture(scope="module", params=run_live(["FastFCN"]))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(request.param, CASES, tmp_path_factory.mktemp("fastfcn"))


@pytest.mark.parametrize("name", CASES)
def test_each_option_computes_what_paddleseg_computes(folder: Path, name: str) -> None:
    check(folder, name, CASES[name])

"""DNLNet: the options that no published config uses."""

from __future__ import annotations

from pathlib import Path

import pytest

import ppls
from ppls.errors import Error
from tests.architectures import run_live
from tests.checkpoints import save, state_of
from tests.options import Case, build, check

HEADLESS = {"enable_auxiliary_loss": False}
SOFT = {**HEADLESS, "use_scale": False, "temperature": 2.0}
DOT = {**HEADLESS, "mode": "dot_product", "align_corners": True}
CASES = {
    "soft": Case({**SOFT, "reduction": 4, "concat_input": False}, SOFT, never_run="head.aux"),
    "dot": Case(DOT, DOT, shape=(2, 3, 49, 65), never_run="head.aux"),
}


@pytest.fixture(scope="module", params=run_live(["DNLNet"]))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(request.param, CASES, tmp_path_factory.mktemp("dnlnet"))


@pytest.mark.parametrize("name", CASES)
def test_each_option_computes_what_paddleseg_computes(folder: Path, name: str) -> None:
    check(folder, name, CASES[name])


def test_a_mode_that_fails_in_paddleseg_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Error, match="mode is 'gaussian'; it is one of embedded_gaussian, dot_product"):
        ppls.models.DNLNet(mode="gaussian")
    source = save(tmp_path / "dnlnet.pdparams", state_of("DNLNet", "DNLNet-R50"))
    with pytest.raises(ppls.ConversionError, match="mode: 'gaussian' is not one of"):
        ppls.convert(source, overrides={"mode": "gaussian"})

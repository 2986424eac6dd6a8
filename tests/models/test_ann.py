"""ANN: the projection that has two names and runs twice, and options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ppls
from tests.architectures import run_live
from tests.checkpoints import save, state_of
from tests.options import Case, build, check

TOLD = {"enable_auxiliary_loss": False, "align_corners": True}
CASE = Case(
    {**TOLD, "backbone_indices": [1, 3], "key_value_channels": 32, "inter_channels": 24},
    TOLD,
    never_run="head.auxlayer",
)
KEY, QUERY = (f"head.context.1.stages.0.{name}._conv.weight" for name in ("f_key", "f_query"))


@pytest.fixture(scope="module")
def state() -> dict[str, Any]:
    found = state_of("ANN", "ANN-R50")
    found[KEY][:] = found[QUERY][:] = np.arange(found[KEY].size, dtype="f").reshape(found[KEY].shape)
    return found


@pytest.mark.parametrize("architecture", run_live(["ANN"]))
def test_each_option_computes_what_paddleseg_computes(architecture: str, tmp_path: Path) -> None:
    check(build(architecture, {"small": CASE}, tmp_path), "small", CASE)


def test_one_name_of_the_shared_projection_is_enough(state: dict[str, Any], tmp_path: Path) -> None:
    alone = {name: array for name, array in state.items() if not name.startswith(QUERY.removesuffix("_conv.weight"))}
    conversion = ppls.convert(save(tmp_path / "ann.pdparams", alone))
    assert np.array_equal(conversion.arrays["context.key.conv.weight"], state[KEY])


def test_two_contents_of_the_shared_projection_are_refused(state: dict[str, Any], tmp_path: Path) -> None:
    source = save(tmp_path / "ann.pdparams", state | {QUERY: state[KEY] + 1})
    with pytest.raises(ppls.ConversionError, match=rf"{QUERY}: must equal {KEY}"):
        ppls.convert(source)


def test_bins_of_other_sizes_are_refused_since_paddleseg_has_none(state: dict[str, Any], tmp_path: Path) -> None:
    source = save(tmp_path / "ann.pdparams", state)
    with pytest.raises(ppls.ConversionError, match=r"psp_size: \[1, 2, 3, 6\] is not one of \[1, 3, 6, 8\]"):
        ppls.convert(source, overrides={"psp_size": [1, 2, 3, 6]})

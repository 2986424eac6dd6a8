"""GCNet: the options that no published config uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ppls
from tests.architectures import run_live
from tests.checkpoints import save, state_of
from tests.options import Case, build, check

OPTIONS: dict[str, Any] = {
    "num_classes": 5, "backbone_indices": [1, 3], "gc_channels": 48, "ratio": 0.125, "enable_auxiliary_loss": False,
    "align_corners": True,
}  # fmt: skip
TOLD = {"align_corners": True, "backbone_indices": [1, 3]}  # the second is shown in part, without a head


@pytest.mark.parametrize("architecture", run_live(["GCNet"]))
def test_each_option_computes_what_paddleseg_computes(architecture: str, tmp_path: Path) -> None:
    case = Case(OPTIONS, TOLD, shape=(2, 3, 49, 65))
    check(build(architecture, {"small": case}, tmp_path), "small", case)


def test_a_ratio_that_is_none_of_the_usual_must_be_named(tmp_path: Path) -> None:
    state = state_of("GCNet", "GCNet-R50")
    block = "head.gc_block.channel_add_conv"
    for name, shape in {"0.weight": (153, 512, 1, 1), "3.weight": (512, 153, 1, 1)}.items():
        state[f"{block}.{name}"] = np.zeros(shape, "f")
    for name in ("0.bias", "1.weight", "1.bias"):
        state[f"{block}.{name}"] = np.zeros(153, "f")
    source = save(tmp_path / "gcnet.pdparams", state)
    with pytest.raises(ppls.ConversionError, match=r"ratio: .*give it with --set ratio=VALUE"):
        ppls.convert(source)
    assert ppls.convert(source, overrides={"ratio": 0.3}).config["ratio"] == 0.3

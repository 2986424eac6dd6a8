"""EMANet: bases that training moves without a gradient, files of 2.0, and options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ppls
from ppls.errors import Error
from ppls.models.emanet import ExpectationMaximisation
from tests.architectures import run_live
from tests.checkpoints import save, state_of
from tests.options import Case, build, check

TOLD = {"stage_num": 2, "momentum": 0.3, "enable_auxiliary_loss": False}
OPTIONS = {**TOLD, "ema_channels": 32, "gc_channels": 16, "num_bases": 8, "concat_input": False}
CASE = Case(OPTIONS, TOLD, never_run="head.aux")


@pytest.fixture(scope="module", params=run_live(["EMANet"]))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(request.param, {"small": CASE}, tmp_path_factory.mktemp("emanet"))


def test_each_option_computes_what_paddleseg_computes(folder: Path) -> None:
    check(folder, "small", CASE)


def test_training_moves_the_bases_as_paddleseg_does_and_gives_what_they_come_from_no_gradient(folder: Path) -> None:
    record = np.load(folder / "small.npz")
    image = torch.from_numpy(record["input"])
    ppls.convert(folder / "small.pdparams", folder / "trained.safetensors", overrides=TOLD)
    model: Any = ppls.load(folder / "trained.safetensors").train()
    model.head[0].eval()  # dropout
    (logits,) = model(image)
    logits.sum().backward()
    expected = record["after.head.emau.mu"]
    assert np.abs(model.attention.bases.numpy() - expected).max() <= 1e-5 * np.abs(expected).max()
    assert model.mid.weight.grad is None
    assert model.reduce.conv.weight.grad is not None
    before = model.eval().attention.bases.clone()
    model(image)
    assert torch.equal(model.attention.bases, before)


def test_the_bases_of_a_file_of_2_0_had_another_name(tmp_path: Path) -> None:
    state = state_of("EMANet", "EMANet-R50")
    assert ppls.convert(save(tmp_path / "later.pdparams", state)).era == "PaddleSeg 2.1 or later"
    state["head.emau.bases"] = state.pop("head.emau.mu") + 1
    conversion = ppls.convert(save(tmp_path / "emanet.pdparams", state))
    assert conversion.era == "PaddleSeg 2.0"
    assert np.array_equal(conversion.arrays["attention.bases"], state["head.emau.bases"])


def test_no_round_at_all_is_refused() -> None:
    with pytest.raises(Error, match="stage_num is 0"):
        ExpectationMaximisation(8, 4, 0, 0.1)

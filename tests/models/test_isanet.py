"""ISANet: cells that the map does not fill, and the auxiliary head that takes 1024 channels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ppls
from ppls.errors import Error
from ppls.models.isanet import InterlacedAttention
from tests.architectures import run_live
from tests.checkpoints import arrays_of, save, state_of
from tests.options import Case, build, check


@pytest.mark.parametrize("architecture", run_live(["ISANet"]))
def test_cells_that_are_padded_compute_what_paddleseg_computes(architecture: str, tmp_path: Path) -> None:
    options = {"num_classes": 3, "isa_channels": 32, "down_factor": [3, 5], "enable_auxiliary_loss": False}
    told = {"down_factor": [3, 5], "enable_auxiliary_loss": False}
    case = Case(options, told, shape=(2, 3, 49, 65), never_run="head.aux")
    check(build(architecture, {"cells": case}, tmp_path), "cells", case)
    conversion = ppls.convert(tmp_path / "cells.pdparams", overrides=told)
    assert conversion.reference["kwargs"]["enable_auxiliary_loss"] is False  # upstream runs the head by default
    assert {each.name.rpartition(".")[0] for each in conversion.dropped} == {
        "head.aux.0._conv", "head.aux.0._batch_norm", "head.aux.2",
    }  # fmt: skip


def test_what_a_pixel_takes_is_of_its_cell_and_of_its_place_in_the_others() -> None:
    torch.manual_seed(0)
    attention = InterlacedAttention(4, 4, (2, 2)).eval()
    x = torch.randn(1, 4, 4, 4)
    changed = x.clone()
    changed[..., 3, 3] += 1.0
    with torch.no_grad():
        nearby = attention.short_range(x[..., :2, :2]) - attention.short_range(changed[..., :2, :2])
        moved = (attention(x) - attention(changed)).abs().amax(dim=(0, 1))
    assert not nearby.any()  # in another cell, only those at its place are told of it directly
    assert (moved > 0).all()  # and by them the rest


def test_another_map_than_a_bottlenecks_third_has_no_auxiliary_head() -> None:
    with pytest.raises(Error, match=r"a map of 1024 channels.*this one has 256: .*enable_auxiliary_loss=False"):
        ppls.models.ISANet(backbone="resnet18_vd")


def test_a_file_whose_auxiliary_head_cannot_stand_on_its_backbone_is_loaded_without(tmp_path: Path) -> None:
    torch.save(
        ppls.models.ISANet(5, "resnet18_vd", enable_auxiliary_loss=False).state_dict(), path := tmp_path / "isanet.pt"
    )
    ppls.convert_back(path, file := tmp_path / "isanet.pdparams", architecture="ISANet")
    whole = {name: array for name, array in state_of("ISANet", "ISANet-R50").items() if name.startswith("head.aux.")}
    save(file, arrays_of(file) | whole)
    with pytest.raises(Error, match="enable_auxiliary_loss=False"):
        ppls.load(file)
    assert ppls.load(file, enable_auxiliary_loss=False).auxiliary_head is None

"""HarDNet: its links and channels, and options that its published config does not use."""

from __future__ import annotations

from pathlib import Path

import pytest

import ppls
from ppls.models import HarDNet
from ppls.models.hardnet import links, width
from tests.architectures import run_live
from tests.options import NO_BACKBONE, Case, build, check

CASE = Case(
    {
        "in_channels": 4,
        "stem_channels": [8, 8, 12, 16],
        "ch_list": [24, 32, 40],
        "gr": [6, 8, 10],
        "n_layers": [3, 4, 9],
        "grmul": 1.5,
        "align_corners": True,
    },
    {"grmul": 1.5, "align_corners": True},
    (2, 4, 49, 65),
    NO_BACKBONE,
)


@pytest.mark.parametrize("folder", run_live(["HarDNet"]))
def test_blocks_of_other_sizes_compute_what_paddleseg_computes(folder: str, tmp_path: Path) -> None:
    check(build(folder, {"other": CASE}, tmp_path), "other", CASE)


def test_a_layer_sees_those_before_it_by_the_powers_of_two_that_divide_its_number() -> None:
    assert [links(layer) for layer in range(1, 9)] == [[0], [0, 1], [2], [0, 2, 3], [4], [4, 5], [6], [0, 4, 6, 7]]
    assert [width(layer, 10, 1.7) for layer in range(1, 9)] == [10, 18, 10, 28, 10, 18, 10, 50]


def test_lists_of_other_lengths_are_refused() -> None:
    with pytest.raises(ppls.Error, match=r"ch_list, gr and n_layers have a value for each block"):
        HarDNet(gr=[10, 16])

"""UNetPlusPlus: the options that no recipe uses, and the sizes that it takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ppls
from ppls.models import UNetPlusPlus
from tests.architectures import run_live
from tests.checkpoints import arrays_of, save
from tests.options import NO_BACKBONE, Case, build, check

CASES = {
    "deconv": Case({"use_deconv": True, "in_channels": 4}, {}, (1, 4, 32, 48), NO_BACKBONE),
    "corners": Case({"align_corners": True}, {"align_corners": True}, (1, 3, 32, 48), NO_BACKBONE),
    "last": Case({"is_ds": False}, {"is_ds": False}, (1, 3, 32, 48), NO_BACKBONE),
}


@pytest.fixture(scope="module", params=run_live(["UNetPlusPlus"]))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(request.param, CASES, tmp_path_factory.mktemp("unet_plusplus"))


@pytest.mark.parametrize("name", CASES)
def test_each_option_computes_what_paddleseg_computes(folder: Path, name: str) -> None:
    check(folder, name, CASES[name])


def test_without_the_heads_of_the_other_columns_the_last_one_decides(folder: Path, tmp_path: Path) -> None:
    """As an export without deep supervision has it."""
    checkpoint = folder / "last.pdparams"
    arrays = {name: a for name, a in arrays_of(checkpoint).items() if not name.startswith(("out_1", "out_2", "out_3"))}
    image = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        found = ppls.load(save(tmp_path / "exported.pdparams", arrays))(image)
        expected = ppls.load(checkpoint, is_ds=False)(image)
    torch.testing.assert_close(found, expected)


def test_a_size_that_cannot_be_halved_four_times_is_refused_with_one_that_can() -> None:
    with pytest.raises(ppls.Error, match=r"40x64 .*UNetPlusPlus.* multiples of 16; pad it to 48x64"):
        UNetPlusPlus(2)(torch.zeros(1, 3, 40, 64))

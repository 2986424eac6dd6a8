"""DeepLabV3+: what is nearly one is told apart from it."""

from __future__ import annotations

from pathlib import Path

import pytest

import ppls
from tests.checkpoints import save, state_of


@pytest.mark.parametrize("name", ["DeepLabV3", "DeepLabV3P"])
def test_it_and_its_predecessor_are_told_apart(tmp_path: Path, name: str) -> None:
    conversion = ppls.convert(save(tmp_path / "model.pdparams", state_of(name, f"{name}-R50")))
    assert conversion.architecture == name

"""DeepLabV3+: what is nearly one is told apart from it."""

from __future__ import annotations

from pathlib import Path

import pytest

import ppls
from ppls.errors import ConversionError
from tests.checkpoints import save, state_of


def test_deeplabv3_is_not_taken_for_it(tmp_path: Path) -> None:
    names = state_of("DeepLabV3P", "DeepLabV3P-R18")
    other = {name: array for name, array in names.items() if not name.startswith("head.decoder")}
    other = {name: array for name, array in other.items() if "depthwise" not in name and "piontwise" not in name}
    with pytest.raises(ConversionError, match="not a checkpoint of an architecture that ppls knows"):
        ppls.convert(save(tmp_path / "deeplabv3.pdparams", other))

"""ShuffleNetV2 of PaddleSeg 2.1: what that release computed, and that its files are not taken for its successor's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import ppls
from ppls.models import ShuffleNetV2
from ppls.models.sizes import run_padded
from tests.checkpoints import save, state_of
from tests.golden import golden_checkpoint, worst_scaled_error


@pytest.fixture(scope="module")
def golden(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A checkpoint of 2.1, and what 2.1 computed with it."""
    checkpoint = tmp_path_factory.mktemp("golden") / "shufflenetv2.pdparams"
    return checkpoint, golden_checkpoint(shared / "golden", "shufflenetv2_written_by_2.1.0", checkpoint)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_file_of_2_1_computes_what_2_1_computed(golden: tuple[Path, Any], dtype: str) -> None:
    checkpoint, record = golden
    assert worst_scaled_error(checkpoint, record, dtype) <= 1e-5


def test_a_file_is_of_the_network_whose_classifier_it_has(golden: tuple[Path, Any], tmp_path: Path) -> None:
    conversion = ppls.convert(golden[0])
    assert (conversion.architecture, conversion.config["num_classes"]) == ("ShuffleNetV2", 2)
    later = save(tmp_path / "later.pdparams", state_of("PPHumanSegLite", "PPHumanSegLite"))
    assert ppls.convert(later).architecture == "PPHumanSegLite"


def test_logits_of_odd_sizes_are_larger_than_the_image_and_cropped_where_they_are_used() -> None:
    model, image = ShuffleNetV2().eval(), torch.rand(1, 3, 49, 97)
    with torch.no_grad():
        assert model(image)[0].shape == (1, 2, 50, 98)
        assert run_padded(model, image).shape == (1, 2, 49, 97)

"""STDCSeg: files of earlier releases, and what PaddleSeg 2.5 computed."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ppls
from ppls.checkpoint.checkpoint import StoredTensor
from ppls.converter.expected import expected_shapes, recipe_config
from ppls.converter.translate import translate_back
from ppls.mappings.map_file import architectures
from tests.golden import golden_checkpoint, worst_scaled_error

MAP = architectures()["STDCSeg"]
HEAD16, HEAD32 = "conv_out16.conv_out.weight", "conv_out32.conv_out.weight"


@pytest.fixture(scope="module")
def todays() -> dict[str, np.ndarray[Any, Any]]:
    """A checkpoint with today's names."""
    config = recipe_config(MAP, "STDCSeg-STDC1")
    shapes = expected_shapes(MAP, {**config, "auxiliary_heads": True})
    assert shapes is not None
    stored = {name: StoredTensor("float32", shape, lambda: np.empty(0)) for name, shape in shapes.items()}
    random = np.random.RandomState(0)
    names = translate_back(stored, MAP, config).tensors
    return {name: random.randn(*tensor.shape).astype("float32") for name, tensor in names.items()}


def as_of_2_3(tensors: dict[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    def then(name: str) -> str:
        return name.replace("conv_out16.", "conv_out32.").replace("conv_out8.", "conv_out16.")

    return {then(name): tensor for name, tensor in tensors.items()}


def save(tensors: dict[str, np.ndarray[Any, Any]], path: Path) -> Path:
    path.write_bytes(pickle.dumps(tensors, protocol=2))
    return path


@pytest.fixture(scope="module")
def golden(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A checkpoint of 2.5, and what 2.5 computed with it."""
    checkpoint = tmp_path_factory.mktemp("golden") / "stdcseg.pdparams"
    record = golden_checkpoint(shared / "golden", "stdcseg_stdc1_written_by_2.5", checkpoint)
    tensors = dict(ppls.read(checkpoint))
    aliases = {"x2.0.": 0, "x4.0.": 1, "x8.0.": 2, "x16.0.": 4, "x32.0.": 6}
    for alias, first in aliases.items():  # the two names of a tensor are filled differently; Paddle loads the later one
        for name in [name for name in tensors if name.startswith(f"cp.backbone.{alias}")]:
            index, rest = name.removeprefix(f"cp.backbone.{alias}").split(".", 1)
            tensors[f"cp.backbone.features.{first + int(index)}.{rest}"] = tensors[name]
    return save(tensors, checkpoint), record


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_file_of_2_5_computes_what_2_5_computed(golden: tuple[Path, Any], dtype: str) -> None:
    checkpoint, record = golden
    assert worst_scaled_error(checkpoint, record, dtype) <= 1e-5


def test_every_duplicate_and_dead_tensor_of_2_5_is_dropped_for_its_reason(shared: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "stdcseg.pdparams"
    golden_checkpoint(shared / "golden", "stdcseg_stdc1_written_by_2.5", checkpoint)
    with pytest.raises(ppls.ConversionError, match=r"cp\.backbone\.x2\.0\.0\.conv\.weight: must equal") as caught:
        ppls.convert(checkpoint)  # as they come, duplicates are unequal
    assert len(caught.value.problems) == 145


def test_todays_names_are_taken_as_they_are(todays: dict[str, Any], tmp_path: Path) -> None:
    conversion = ppls.convert(save(todays, tmp_path / "today.pdparams"))
    assert conversion.era == "PaddleSeg 2.6 or later"
    assert len(conversion.tensors) == len(todays) == 253
    assert np.array_equal(conversion.arrays["context_heads.1.classifier.weight"], todays[HEAD16])


def test_the_heads_of_2_3_are_those_of_today_under_other_names(todays: dict[str, Any], tmp_path: Path) -> None:
    conversion = ppls.convert(save(as_of_2_3(todays), tmp_path / "old.pdparams"))
    assert conversion.era == "PaddleSeg 2.3"
    now = ppls.convert(save(todays, tmp_path / "today.pdparams"))
    assert conversion.arrays.keys() == now.arrays.keys()
    for name, array in conversion.arrays.items():
        assert np.array_equal(array, now.arrays[name]), name
    assert conversion.origins["context_heads.0.classifier.weight"] == (HEAD16,)  # as the file calls it
    assert conversion.origins["context_heads.1.classifier.weight"] == (HEAD32,)
    assert conversion.reference["renamed"][HEAD16] == "conv_out8.conv_out.weight"


def test_heads_of_two_releases_in_one_file_are_refused(todays: dict[str, Any], tmp_path: Path) -> None:
    mixed = {**todays, **{name: tensor for name, tensor in as_of_2_3(todays).items() if "conv_out32" in name}}
    with pytest.raises(ppls.ConversionError, match=r"unknown: conv_out32\.conv_out\.weight"):
        ppls.convert(save(mixed, tmp_path / "mixed.pdparams"))


def test_an_exported_model_has_none_of_the_heads_of_training(todays: dict[str, Any], tmp_path: Path) -> None:
    exported = {
        name: tensor
        for name, tensor in todays.items()
        if not name.startswith(("conv_out8", "conv_out16", "conv_out_sp"))
    }
    gone = todays.keys() - exported.keys()
    assert len(gone) == 48
    assert len([name for name in gone if not name.endswith(("_mean", "_variance"))]) == 36
    conversion = ppls.convert(save(exported, tmp_path / "exported.pdparams"))
    assert conversion.config["auxiliary_heads"] is False
    assert len(conversion.tensors) == len(exported)


def test_part_of_the_training_heads_is_not_taken_for_none(todays: dict[str, Any], tmp_path: Path) -> None:
    damaged = {name: tensor for name, tensor in todays.items() if not name.startswith("conv_out_sp2")}
    with pytest.raises(ppls.ConversionError, match=r"missing: conv_out_sp2\.conv_out\.weight"):
        ppls.convert(save(damaged, tmp_path / "damaged.pdparams"))

"""Converting: what users ran into, each with the answer that they get."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ppls
from ppls.checkpoint.checkpoint import Checkpoint
from ppls.checkpoint.reader import read
from ppls.errors import ConversionError
from tests.architectures import specimen
from tests.checkpoints import arrays_of, save


def dump(path: Path, content: object) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path


@pytest.mark.parametrize(
    "gone", ["features.0.", "features.1.", "features.2.", "features.2.conv_list.0.", "features.2.avd_layer."]
)
def test_first_tensors_of_the_backbone_that_are_missing_are_named(
    small_checkpoint: Path, tmp_path: Path, gone: str
) -> None:
    arrays = {name: array for name, array in arrays_of(small_checkpoint).items() if f"backbone.{gone}" not in name}
    with pytest.raises(ConversionError, match=rf"no tensor backbone\.features|missing: backbone\.{gone}"):
        ppls.convert(save(tmp_path / "damaged.pdparams", arrays))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("arm_out_chs", [[1]]),
        ("arm_out_chs", [{}]),
        ("num_classes", 3.0),
        ("num_classes", True),
        ("cm_bin_sizes", [1.0, 2.0, 4.0]),
        ("backbone_indices", [2.0, 3, 4]),
        ("backbone", {"layers": [[2]]}),
    ],
)
def test_a_value_of_another_form_is_refused_with_what_is_expected(
    small_checkpoint: Path, option: str, value: Any
) -> None:
    with pytest.raises(ConversionError, match=r"--set .* says .*; expected a"):
        ppls.convert(small_checkpoint, overrides={option: value})


def test_an_array_of_letters_beside_weights_is_left_out(small_checkpoint: Path, tmp_path: Path) -> None:
    arrays = {**arrays_of(small_checkpoint), "classes": np.array(["a", "b"])}
    assert "'classes' was left out" in ppls.convert(save(tmp_path / "m.pdparams", arrays)).warnings[0]


def test_a_name_with_a_digit_that_is_no_decimal_is_a_name(small_checkpoint: Path, tmp_path: Path) -> None:
    odd = {name: np.ones(3, "f") for name in ("1²", "backbone.features.².conv.weight", "seg_heads.1².conv")}
    with pytest.raises(ConversionError) as caught:
        ppls.convert(save(tmp_path / "m.pdparams", {**arrays_of(small_checkpoint), **odd}))
    assert [problem.split(" ")[1] for problem in caught.value.problems] == list(odd)
    with pytest.raises(ConversionError, match="not a checkpoint of an architecture"):
        ppls.convert(save(tmp_path / "m.pdparams", {"conv2d_1².w_0": np.ones(3, "f")}))


def test_of_several_state_dicts_the_one_of_the_named_architecture_is_taken(
    small_checkpoint: Path, tmp_path: Path
) -> None:
    model = arrays_of(small_checkpoint)
    backbone = {name[9:]: array for name, array in model.items() if name.startswith("backbone.")}
    both = dump(tmp_path / "both.pdparams", {"model": model, "encoder": backbone})
    assert ppls.convert(both).architecture == "PPLiteSeg"
    assert ppls.convert(both, architecture="PPLiteSeg", map="ports/midasklr").map.target is None
    assert ppls.convert(both, architecture="STDCNet").architecture == "STDCNet"
    twice = dump(tmp_path / "twice.pdparams", {"model": model, "ema": model})
    with pytest.raises(ConversionError, match=r"of which several are a PPLiteSeg; save the one to convert"):
        ppls.convert(twice, architecture="PPLiteSeg")
    other = specimen(lambda map: True, but="PPLiteSeg").title
    with pytest.raises(ConversionError, match=f"none of which is a {other}"):
        ppls.convert(both, architecture=other)


def test_load_takes_the_options_that_convert_takes(small_checkpoint: Path) -> None:
    names = [name for name, _ in ppls.load(small_checkpoint, auxiliary_heads=False).named_parameters()]
    assert any(name.startswith("heads.0.") for name in names)
    assert not any(name.startswith("heads.1.") for name in names)


def test_a_file_of_a_ports_map_names_one_that_is_found_again(small_checkpoint: Path, tmp_path: Path) -> None:
    port = tmp_path / "port.safetensors"
    ppls.convert(small_checkpoint, port, map="ports/midasklr")
    assert read(port).metadata["map"] == "ports/midasklr"
    back = ppls.convert_back(port)
    before = ppls.read(small_checkpoint)
    assert set(back.tensors) == set(before)
    assert all(np.array_equal(back.tensors[name].load(), before[name]) for name in before)
    with pytest.raises(ConversionError, match="with the map ports/midasklr, for a model that ppls does not have"):
        ppls.load(port)


def test_a_resize_of_a_model_that_ppls_does_not_build_is_not_set_silently(small_checkpoint: Path) -> None:
    conversion = ppls.convert(small_checkpoint, map="ports/midasklr", upsample="nearest")
    assert conversion.config["resize_mode"] == "nearest"
    (warning,) = conversion.warnings
    assert warning.startswith("--upsample nearest: ppls does not build the model of the map midasklr")


def test_a_file_that_vanishes_while_it_is_hashed_is_one_error(
    small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "model.pdparams"
    source.write_bytes(small_checkpoint.read_bytes())
    raised: list[object] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    digest: Any = vars(Checkpoint)["sha256"].fget

    def gone(checkpoint: Checkpoint) -> str:
        source.unlink(missing_ok=True)
        return str(digest(checkpoint))

    monkeypatch.setattr(Checkpoint, "sha256", property(gone))
    with pytest.raises(ppls.CheckpointError, match=r"model\.pdparams"):
        ppls.convert(source, tmp_path / "out.safetensors")
    assert raised == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x.onnx", "x.PT", "x.pth", "x.xml", "x.npz", "x.pdparams", "x.pdopt", "x.json"])
def test_a_name_that_means_another_format_is_refused(small_checkpoint: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ppls.UsageError, match=r"ppls writes safetensors; name it .*x\.safetensors") as caught:
        ppls.convert(small_checkpoint, tmp_path / name)
    assert ("ppls-export" in str(caught.value)) == (name in ("x.onnx", "x.xml"))
    assert ("--to paddle" in str(caught.value)) == (name == "x.pdparams")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x.onnx", "x.pt", "x.safetensors", "x.pdiparams"])
def test_a_name_that_means_another_format_is_refused_on_the_way_back(
    converted: Path, tmp_path: Path, name: str
) -> None:
    with pytest.raises(ppls.UsageError, match=r"the way back writes Paddle's format; name it .*x\.pdparams"):
        ppls.convert_back(converted, tmp_path / name)

"""Exports: names come from the program, and only where type, shape, number and end of file agree."""

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from ppls.checkpoint.reader import read
from ppls.errors import CheckpointError
from tests.checkpoint.streams import description, field, pdmodel, pir, tensor, variable

# Sorted by name as Paddle writes them: `linear_10` comes before `linear_2`
WEIGHTS = {
    "conv2d_0.w_0": np.arange(6, dtype=np.float32).reshape(2, 3),
    "linear_10.w_0": np.arange(4, dtype=np.float32),
    "linear_2.w_0": -np.arange(4, dtype=np.float32),
    "steps_0": np.array([7], np.int64),
}
SHUFFLED = {name: WEIGHTS[name] for name in ("linear_2.w_0", "steps_0", "conv2d_0.w_0", "linear_10.w_0")}


def export(folder: Path, kind: str = "pdmodel", **changes: bytes) -> Path:
    """An export with the program's variables in another order than the file's; `changes` by suffix of the file."""
    files = {"pdiparams": b"".join(tensor(WEIGHTS[name]) for name in sorted(WEIGHTS))}
    files[kind] = pdmodel(**SHUFFLED) if kind == "pdmodel" else pir(**SHUFFLED).encode()
    for suffix, content in {**files, **changes}.items():
        (folder / f"model.{suffix.replace('_', '.')}").write_bytes(content)
    return folder / "model.pdiparams"


@pytest.mark.parametrize("kind", ["pdmodel", "json"])
def test_tensors_are_named_by_the_program_in_sorted_order(tmp_path: Path, kind: str) -> None:
    checkpoint = read(export(tmp_path, kind))
    assert checkpoint.naming == "variables"
    assert set(checkpoint) == set(WEIGHTS)
    for name, array in WEIGHTS.items():
        np.testing.assert_array_equal(checkpoint[name], array)


def test_the_program_the_weights_and_the_folder_are_the_same_source(tmp_path: Path) -> None:
    weights = export(tmp_path)
    (tmp_path / "deploy.yaml").write_text("Deploy: {model: other.pdmodel, params: other.pdiparams}")
    for source in (weights, tmp_path / "model.pdmodel", tmp_path):
        checkpoint = read(source)
        assert set(checkpoint) == set(WEIGHTS)
        assert checkpoint.files[0] == weights
        assert tmp_path / "model.pdmodel" in checkpoint.files


def test_the_info_file_gives_structured_names(tmp_path: Path) -> None:
    info = {name: {"structured_name": f"net.{name}", "trainable": True} for name in WEIGHTS}
    checkpoint = read(export(tmp_path, pdiparams_info=pickle.dumps(info, 2)))
    assert checkpoint.naming == "structured"
    assert checkpoint.name_table == {f"net.{name}": name for name in WEIGHTS}
    np.testing.assert_array_equal(checkpoint["net.linear_2.w_0"], WEIGHTS["linear_2.w_0"])


def test_an_info_file_that_names_two_variables_alike_is_refused(tmp_path: Path) -> None:
    info = {name: {"structured_name": "net"} for name in WEIGHTS}
    with pytest.raises(CheckpointError, match="two variables the same structured name"):
        read(export(tmp_path, pdiparams_info=pickle.dumps(info, 2)))


@pytest.mark.parametrize("kind", ["pdmodel", "json"])
def test_a_weights_file_with_more_tensors_than_the_program_names_is_refused(tmp_path: Path, kind: str) -> None:
    more = b"".join(tensor(WEIGHTS[name]) for name in sorted(WEIGHTS)) + tensor(np.zeros(2, np.float32))
    with pytest.raises(CheckpointError, match=r"holds 5 tensors, but its program .* names 4"):
        read(export(tmp_path, kind, pdiparams=more))


def test_a_tensor_of_another_shape_or_type_than_the_program_says_is_refused(tmp_path: Path) -> None:
    for changed in (np.zeros(5, np.float32), np.zeros(4, np.float64)):
        content = b"".join(tensor({**WEIGHTS, "linear_10.w_0": changed}[name]) for name in sorted(WEIGHTS))
        with pytest.raises(CheckpointError, match=r"linear_10\.w_0 as float32 \[4\]"):
            read(export(tmp_path, pdiparams=content))


@pytest.mark.parametrize("cut", [1, 10, 40, 41, 60, 100])
def test_a_weights_file_that_ends_early_is_refused(tmp_path: Path, cut: int) -> None:
    content = b"".join(tensor(WEIGHTS[name]) for name in sorted(WEIGHTS))
    with pytest.raises(CheckpointError):
        read(export(tmp_path, pdiparams=content[:-cut]))


def test_a_program_without_weights_is_told_from_weights_without_a_program(tmp_path: Path) -> None:
    weights = export(tmp_path)
    content = weights.read_bytes()
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"program without its weights; they are in model\.pdiparams"):
        read(tmp_path / "model.pdmodel")
    with pytest.raises(CheckpointError, match=r"holds a program \(model\.pdmodel\), but not its weights"):
        read(tmp_path)
    (tmp_path / "model.pdmodel").unlink()
    weights.write_bytes(content)
    checkpoint = read(weights)
    assert list(checkpoint) == ["0", "1", "2", "3"]
    assert checkpoint.naming == "numbers"
    assert "no names" in checkpoint.warnings[0]


def test_one_file_per_variable_is_named_by_the_files(tmp_path: Path) -> None:
    for name, array in WEIGHTS.items():
        (tmp_path / name).write_bytes(tensor(array))
    assert list(read(tmp_path)) == sorted(WEIGHTS)
    (tmp_path / "__model__").write_bytes(pdmodel(**SHUFFLED))
    checkpoint = read(tmp_path)
    np.testing.assert_array_equal(checkpoint["linear_10.w_0"], WEIGHTS["linear_10.w_0"])
    assert list(read(tmp_path / "__model__")) == list(checkpoint)
    with pytest.raises(CheckpointError, match="one of the 4 variables of an export, each in its file; give the folder"):
        read(tmp_path / "steps_0")


def test_the_hash_covers_every_file_that_holds_a_tensor(tmp_path: Path) -> None:
    for name, array in WEIGHTS.items():
        (tmp_path / name).write_bytes(tensor(array))
    before = read(tmp_path).sha256
    (tmp_path / "steps_0").write_bytes(tensor(np.array([8], np.int64)))
    assert read(tmp_path).sha256 != before


def test_a_variable_without_its_file_or_with_another_shape_is_refused(tmp_path: Path) -> None:
    (tmp_path / "__model__").write_bytes(pdmodel(**SHUFFLED))
    for name, array in WEIGHTS.items():
        (tmp_path / name).write_bytes(tensor(array))
    (tmp_path / "steps_0").write_bytes(tensor(np.zeros((2, 2), np.float32)))
    with pytest.raises(CheckpointError, match=r"steps_0: holds float32 \[2, 2\]"):
        read(tmp_path)
    (tmp_path / "steps_0").unlink()
    with pytest.raises(CheckpointError, match="no file beside it: steps_0"):
        read(tmp_path)


def test_a_binary_tensor_with_levels_of_detail_reads(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(tensor(WEIGHTS["conv2d_0.w_0"], levels=(struct.pack("<3Q", 0, 1, 2),)))
    np.testing.assert_array_equal(read(tmp_path / "x")["0"], WEIGHTS["conv2d_0.w_0"])


@pytest.mark.parametrize(
    "described",
    [
        description(99, (2,)),
        description(5, (-1, 2)),
        description(5, (2**62, 4)),
        description(5, (0, 2**62)),
        description(5, (1,) * 40),
        b"\xff" * 8,
        description(5, (2,))[2:],
        b"x" * 2000,
    ],
)
def test_a_description_that_no_tensor_has_is_refused(tmp_path: Path, described: bytes) -> None:
    content = struct.pack("<IQIi", 0, 0, 0, len(described)) + described + b"\0" * 8
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged tensor stream"):
        read(tmp_path / "x")


def test_a_sparse_tensor_is_named_for_what_it_is(tmp_path: Path) -> None:
    rows = struct.pack("<IQ2qq", 0, 2, 4, 7, 10)
    (tmp_path / "x").write_bytes(rows + tensor(np.zeros((2, 3), np.float32))[12:])
    with pytest.raises(CheckpointError, match="SelectedRows"):
        read(tmp_path / "x")


def test_many_variable_files_do_not_hold_as_many_descriptors(tmp_path: Path) -> None:
    import os

    for index in range(50):
        (tmp_path / f"fc_{index}.w_0").write_bytes(tensor(np.full(3, index, np.float32)))
    before = len(os.listdir("/proc/self/fd"))
    checkpoint = read(tmp_path)
    arrays = dict(checkpoint)
    assert len(os.listdir("/proc/self/fd")) <= before + 2
    assert arrays["fc_7.w_0"].tolist() == [7, 7, 7]


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget that is soon spent."""
    for name, figure in {"FREE_NODES": 500, "NODES_PER_BYTE": 0, "FREE_NAMES": 50, "NAMES_PER_BYTE": 0}.items():
        monkeypatch.setattr(f"ppls.budget._{name}", figure)


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (b"\x1a\x00" * 1000, "more values"),
        (variable("v", description(5, ()) + field(2, b"\1" * 1000)), "more values"),
        (variable("v", description(5, (1,) * 33)), "shape"),
        (b"".join(variable(f"v{i}", description(5, ())) for i in range(60)), "more tensors"),
        (variable("v", description(5, (0, 1 << 60))), "more than any memory holds"),
        (variable("v", description(24, (0, 1 << 49))), "more than any memory holds"),
    ],
    ids=["fields", "packed numbers", "sides", "variables", "a side", "an absurd product"],
)
def test_a_program_that_asks_for_too_much_is_refused(tmp_path: Path, fields: bytes, reason: str) -> None:
    with pytest.raises(CheckpointError, match=rf"model\.pdmodel: .*{reason}"):
        read(export(tmp_path, pdmodel=field(1, field(1, 0) + fields)))


def empty(code: int, *shape: int) -> bytes:
    described = description(code, shape)
    return struct.pack("<IQIi", 0, 0, 0, len(described)) + described


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (empty(5, 0) * 60, "more tensors"),
        (tensor(np.zeros((), np.uint8), levels=(b"",) * 5), "5 levels of detail"),
        (empty(5, *[0] * 33), "shape"),
        (empty(24, 0, 1 << 49), "more than any memory holds"),
        (empty(5, 1 << 62, 0), "more than any memory holds"),
    ],
    ids=["tensors", "levels", "sides", "an absurd product", "a side"],
)
def test_a_stream_that_asks_for_too_much_is_refused(tmp_path: Path, stream: bytes, reason: str) -> None:
    with pytest.raises(CheckpointError, match=rf"model\.pdiparams: .*{reason}"):
        read(export(tmp_path, pdiparams=stream))


def test_a_weights_file_is_read_once_however_many_programs_are_tried(tmp_path: Path) -> None:
    """`save_vars` leaves its name to the user, so that every program beside it is tried."""
    (tmp_path / "weights").write_bytes(b"".join(tensor(np.zeros((), np.uint8)) for _ in range(5000)))
    for i in range(5):
        (tmp_path / f"{i}.pdmodel").write_bytes(pdmodel(**WEIGHTS))
    assert len(read(tmp_path / "weights")) == 5000

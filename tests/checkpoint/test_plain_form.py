"""The plain form of a state dict: what is of it, and that nothing else is."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from ppls.checkpoint.paddle_file import write_paddle_file
from ppls.checkpoint.plain_form import NotPlainError, check_plain_form
from ppls.checkpoint.reader import read
from tests.checkpoint.pickles import WEIGHT, array, binary, dictionary, save, whole
from tests.material import DATA

PLAIN = {"w": WEIGHT, "b": np.zeros(3, np.float16), "n": np.array(3), "StructuredToParameterName@@": {"w": "l_0.w_0"}}


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("pickler", [pickle.Pickler, pickle._Pickler])  # type: ignore[attr-defined]
def test_what_python_pickles_of_a_state_dict_is_of_the_plain_form(tmp_path: Path, protocol: int, pickler: type) -> None:
    path = tmp_path / "x.pdparams"
    many = {f"layer{index}.weight": np.full(index % 3, index, "f4") for index in range(2100)}
    for value in (PLAIN, many, {"w": WEIGHT}, {**PLAIN, "t": WEIGHT.T, "z": np.zeros((0, 2)), "o": np.ones(1, bool)}):
        with open(path, "wb") as file:
            pickler(file, protocol).dump(value)
        if not (pickler is not pickle.Pickler and len(value) % 1000 == 1):
            assert check_plain_form(path) == read(path).sha256


def test_a_shape_of_four_sides_needs_its_mark(tmp_path: Path) -> None:
    path = tmp_path / "x.pdparams"
    sides = b"K\1K\2K\1K\2t"
    path.write_bytes(whole(dictionary(w=array(shape=b"(" + sides, payload=binary(bytes(16))))))
    assert check_plain_form(path) == read(path).sha256
    path.write_bytes(whole(dictionary(w=array(shape=sides, payload=binary(bytes(16))))))
    with pytest.raises(NotPlainError, match="a shape that no tensor has"):
        check_plain_form(path)


def test_an_empty_array_with_a_side_beyond_all_memory_is_not_of_the_plain_form(tmp_path: Path) -> None:
    path = tmp_path / "x.pdparams"
    endless = b"\x8a\x08" + (1 << 60).to_bytes(8, "little")
    path.write_bytes(whole(dictionary(w=array(shape=b"K\0" + endless + b"\x86", payload=binary(b"")))))
    with pytest.raises(NotPlainError, match="a shape that no tensor has"):
        check_plain_form(path)


def test_what_ppls_writes_is_of_the_plain_form(tmp_path: Path) -> None:
    arrays = {code: np.ones(3, code) for code in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "b1", "c8")}
    checkpoint = read(save(tmp_path / "x.pdparams", {**arrays, "t": WEIGHT.T, "0d": np.array(1.0), "é": WEIGHT}))
    for table in ({}, {"f4": "linear_0.w_0"}):
        written = tmp_path / f"{len(table)}.pdparams"
        write_paddle_file(written, checkpoint.tensors, table)
        assert check_plain_form(written) == read(written).sha256


@pytest.mark.parametrize(
    "value",
    [
        {"model": PLAIN},
        {**PLAIN, "epoch": 3},
        {**PLAIN, "UnpackBigParamInfor@@": WEIGHT},
        {**PLAIN, "note": "text"},
        {"w": WEIGHT.astype(">f4")},
        {"w": np.array(["text"])},
        {"w": np.float32(1)},
        {"w": WEIGHT, "StructuredToParameterName@@": {"v": "linear_0.w_0"}},
        {"w": ("linear_0.w_0", WEIGHT)},
        [WEIGHT],
        {1: WEIGHT},
    ],
)
def test_what_is_more_than_arrays_by_their_names_is_not_of_the_plain_form(tmp_path: Path, value: object) -> None:
    for protocol in (2, 3, 4):
        with pytest.raises(NotPlainError, match="at byte"):
            check_plain_form(save(tmp_path / "x.pdparams", value, protocol))


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_the_plain_form_loses_nothing_and_takes_nothing_more(tmp_path: Path, protocol: int) -> None:
    content = save(tmp_path / "x.pdparams", {"w": WEIGHT[0], "v": WEIGHT[1]}, protocol).read_bytes()
    path = tmp_path / "changed.pdparams"
    for at in range(len(content)):
        for changed in (content[:at], content[:at] + b"0" + content[at:], content[:at] + content[at + 1 :]):
            path.write_bytes(changed)
            with pytest.raises(NotPlainError):
                check_plain_form(path)
    for more in (b"\0", b".", content):
        path.write_bytes(content + more)
        with pytest.raises(NotPlainError, match="after its end"):
            check_plain_form(path)


def test_a_file_that_cannot_be_read_is_not_of_the_plain_form(tmp_path: Path) -> None:
    with pytest.raises(NotPlainError, match="cannot be read"):
        check_plain_form(tmp_path / "absent")


def _samples(*patterns: str) -> list[Path]:
    found = [path for pattern in patterns for path in sorted(DATA.glob(pattern))]
    assert found
    return found


def test_the_state_dicts_of_every_paddle_are_of_the_plain_form() -> None:
    for path in _samples(
        "samples/v*/sd_p*.pdparams", "samples/v185_py*/*.pdparams", "samples/v*/static_p*.pdparams",
        "samples/v*/dtypes_p*.pdparams", "samples/*/hapi/m.pdparams", "run/model.pdparams",
    ):  # fmt: skip
        assert check_plain_form(path) == read(path).sha256


def test_real_checkpoints_are_of_the_plain_form(shared: Path) -> None:
    patterns = ("eras/*.pdparams", "paddleseg_run/model.pdparams", "public/e*.pdparams")
    for path in (path for pattern in patterns for path in sorted(shared.glob(pattern))):
        assert check_plain_form(path) == read(path).sha256


def test_nothing_hostile_is_of_the_plain_form() -> None:
    for path in _samples("samples/hostile/*.pdparams", "samples/hostile2/*"):
        if path.is_file() and not path.name.startswith(("ok_", "s_emptydict")):
            with pytest.raises(NotPlainError):
                check_plain_form(path)

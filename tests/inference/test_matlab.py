"""The label maps of SBD, held against what scipy writes and reads."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ppls
from ppls.inference.datasets import read_label
from ppls.inference.matlab import read_field

LABEL = np.array([[0, 15, 2], [255, 2, 1]], np.uint8)


def mat(compressed: bool = True, **variables: Any) -> bytes:
    io = pytest.importorskip("scipy.io")
    buffer = BytesIO()
    io.savemat(buffer, variables, do_compression=compressed)
    return buffer.getvalue()


def as_sbd_has_it(label: np.ndarray, compressed: bool = True) -> bytes:
    """The struct of SBD: boundaries in a cell of sparse matrices, the classes, and which there are."""
    sparse = pytest.importorskip("scipy.sparse")
    boundaries = np.empty((20, 1), object)
    for i in range(20):
        boundaries[i, 0] = sparse.csc_matrix(np.eye(3) * (i > 3))
    segmentation = {"Boundaries": boundaries, "Segmentation": label, "CategoriesPresent": np.array([[2, 15]], np.uint8)}
    return mat(compressed, other=np.zeros((3, 3)), GTcls=segmentation)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.int64])
def test_the_classes_are_those_that_scipy_reads(dtype: Any, compressed: bool) -> None:
    label = np.arange(24).reshape(4, 6).astype(dtype)
    assert np.array_equal(read_field(as_sbd_has_it(label, compressed), "GTcls", "Segmentation"), label)


def test_a_file_becomes_a_label_map(tmp_path: Path) -> None:
    (tmp_path / "1.mat").write_bytes(as_sbd_has_it(LABEL))
    found = read_label(tmp_path / "1.mat")
    assert found.dtype == np.int64
    assert found.tolist() == LABEL.tolist()
    assert found.flags.c_contiguous


def test_what_has_no_classes_is_said(tmp_path: Path) -> None:
    for content, said in (
        (b"", "it is no file of MATLAB 5"),
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + b"\x89HDF", "it is no file of MATLAB 5"),
        (mat()[:128] + b"\x89HDF", "it is damaged"),
        (mat(GTcls={"Segmentation": LABEL})[:-30], "it is damaged"),
        (mat(GTinst={"Segmentation": LABEL}), "it has no struct GTcls"),
        (mat(GTcls=LABEL), "it has no struct GTcls"),
        (mat(GTcls={"Boundaries": LABEL}), "its struct has no field Segmentation"),
        (mat(GTcls={"Segmentation": LABEL + 0.5}), "its classes are no matrix of whole numbers"),
        (mat(GTcls={"Segmentation": "text"}), "its classes are no matrix of whole numbers"),
        (mat(GTcls={"Segmentation": np.zeros((0, 3), np.uint8)}), "its classes are no matrix of whole numbers"),
    ):
        (tmp_path / "1.mat").write_bytes(content)
        with pytest.raises(ppls.InputError, match=f"1.mat: is no label map of SBD: .*{said}"):
            read_label(tmp_path / "1.mat")
    with pytest.raises(ppls.InputError, match=r"none\.mat: no such label map"):
        read_label(tmp_path / "none.mat")


def bomb(size: int, count: int = 1) -> bytes:
    content = zlib.compress(struct.pack("<II", 14, size) + bytes(size))
    return mat()[:128] + (struct.pack("<II", 15, len(content)) + content) * count


def test_what_inflates_without_bounds_is_refused_before_it_does(tmp_path: Path) -> None:
    for content in (bomb(200 << 20), bomb(2 << 20, 90), mat()[:128] + bytes(30 << 20)):
        (tmp_path / "1.mat").write_bytes(content)
        began = time.process_time()
        with pytest.raises(ppls.InputError, match="is no label map of SBD"):
            read_label(tmp_path / "1.mat")
        assert time.process_time() - began < 1
    whole = bomb(200 << 20)
    tracemalloc.start()
    with pytest.raises(ValueError, match="it inflates to more than 32 MiB"):
        read_field(whole, "GTcls", "Segmentation")
    assert tracemalloc.get_traced_memory()[1] < 100 << 20
    tracemalloc.stop()


def test_a_file_larger_than_any_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "1.mat").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ppls.InputError, match="it is larger than 32 MiB"):
        read_label(tmp_path / "1.mat")


def test_a_damaged_file_is_a_label_map_or_one_error(tmp_path: Path) -> None:
    rng, read = random.Random(3), 0
    wholes = [as_sbd_has_it(LABEL, compressed) for compressed in (True, False)]
    for _ in range(400):
        data = bytearray(rng.choice(wholes))
        for _ in range(rng.choice((1, 3))):
            place = rng.randrange(len(data))
            size = rng.choice((1, 4))
            data[place : place + size] = rng.choice((0, 1, 255, 0x7FFFFFFF)).to_bytes(4, "little")[:size]
        (tmp_path / "1.mat").write_bytes(data[: rng.choice((len(data), rng.randrange(len(data))))])
        try:
            read += read_label(tmp_path / "1.mat").ndim == 2
        except ppls.InputError:
            continue
    assert 20 < read < 390

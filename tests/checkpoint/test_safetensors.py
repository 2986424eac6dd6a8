"""safetensors files: read like the reference implementation reads them, or refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from ppls.checkpoint.reader import read
from ppls.errors import CheckpointError


def file_of(path: Path, header: dict[str, object] | bytes, data: bytes) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + data)
    return path


def entry(start: int, stop: int, *shape: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, stop]}


def test_what_the_reference_implementation_writes_reads_equal(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    saved: dict[str, np.ndarray] = {
        "w": np.arange(6, dtype=np.float32).reshape(2, 3),
        "scalar": np.array(2, np.int64),
        "empty": np.zeros((0, 3), np.float16),
        "flag": np.array([True, False]),
    }
    safetensors.save_file(saved, tmp_path / "x.safetensors", metadata={"format": "pt", "arch": "X"})
    checkpoint = read(tmp_path / "x.safetensors")
    assert checkpoint.metadata == {"format": "pt", "arch": "X"}
    assert checkpoint.format == "safetensors"
    assert set(checkpoint) == set(saved)
    for name, array in saved.items():
        np.testing.assert_array_equal(checkpoint[name], array)
        assert checkpoint[name].dtype == array.dtype


@pytest.mark.parametrize(
    ("dtype", "bits"), [("BF16", "bfloat16"), ("F8_E4M3", "float8_e4m3fn"), ("F8_E5M2", "float8_e5m2")]
)
def test_types_that_numpy_lacks_come_as_bits(tmp_path: Path, dtype: str, bits: str) -> None:
    size = 2 if bits == "bfloat16" else 1
    checkpoint = read(file_of(tmp_path / "x", {"w": entry(0, 2 * size, 2, dtype=dtype)}, b"\x01" * 2 * size))
    assert checkpoint.stored("w").dtype == bits
    assert checkpoint["w"].dtype == f"uint{8 * size}"


@pytest.mark.parametrize(
    ("header", "data", "reason"),
    [
        ({"w": entry(0, 8, 2)}, b"\0" * 7, "truncated"),
        ({"w": entry(0, 8, 2)}, b"\0" * 9, "truncated"),
        ({"w": entry(0, 8, 3)}, b"\0" * 8, "wrong number of bytes"),
        ({"w": entry(4, 12, 2)}, b"\0" * 12, "begins at 4"),
        ({"a": entry(0, 8, 2), "b": entry(4, 12, 2)}, b"\0" * 12, "begins at 4"),
        ({"w": entry(0, 8, 2, dtype="F4")}, b"\0" * 8, "element type 'F4'"),
        ({"w": entry(0, 8, -2)}, b"\0" * 8, "shape"),
        ({"w": entry(0, 0, 0, 2**62)}, b"", "shape"),
        ({"w": {**entry(0, 8, 2), "more": 1}}, b"\0" * 8, "entry"),
        ({"w": {"dtype": "F32"}}, b"", "entry"),
        ({"__metadata__": {"a": 1}, "w": entry(0, 8, 2)}, b"\0" * 8, "__metadata__"),
        ({"__metadata__": {str(i): "" for i in range(1001)}, "w": entry(0, 8, 2)}, b"\0" * 8, "1,001 texts"),
        ({"": entry(0, 8, 2)}, b"\0" * 8, "named ''"),
        ({"w": entry(0, 0, 0, 2**60, dtype="C64")}, b"", "shape"),
        ({"w": entry(0, 0, 0, 2**30, 2**19)}, b"", "shape"),
        (b'{"w":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"\0" * 4, "twice"),
        (b'{"w":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}', b"\0" * 4, "NaN"),
        (b'{"w":{"dtype":"F32","shape":[%s],"data_offsets":[0,4]}}' % (b"1" * 10_000), b"\0" * 4, "digits"),
        ({f"{i:04}": entry(0, 0, 0) for i in range(9000)}, b"", "more tensors or files"),
        ({}, b"", "without tensors"),
        (b'{"w": 1, "w": 2}', b"", "twice"),
        (b'{"w": ' + b"[" * 100_000, b"", "nested more than 64 deep"),
        (b'{"\xff": 1}', b"", "not JSON"),
    ],
)
def test_a_header_that_does_not_fit_its_file_is_refused(
    tmp_path: Path, header: dict[str, object] | bytes, data: bytes, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppls.budget._NAMES_PER_BYTE", 0)
    with pytest.raises(CheckpointError, match=reason):
        read(file_of(tmp_path / "x.safetensors", header, data))


def test_a_header_longer_than_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes((10**9).to_bytes(8, "little") + b'{"w": 1}')
    with pytest.raises(CheckpointError, match="truncated"):
        read(tmp_path / "x")

"""Files: little memory however large they are, and an error when they change under the reader."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ppls.checkpoint.reader import read
from ppls.checkpoint.source import Source
from ppls.errors import CheckpointError
from tests.checkpoint.pickles import WEIGHT, array, dictionary, save, text, whole

MEASURED = """
import sys
from ppls.checkpoint.reader import read
def resident():
    status = dict(line.split(":") for line in open("/proc/self/status"))
    return [int(status[key].split()[0]) // 1024 for key in ("RssAnon", "RssFile")]
before = resident()
checkpoint = read(sys.argv[1])
opened = resident()
total = sum(float(checkpoint[name].sum()) for name in checkpoint)
after = resident()
print(*[b - a for a, b in zip(before, opened)], *[b - a for a, b in zip(before, after)], len(checkpoint), total)
"""


def sparse_checkpoint(path: Path, tensors: int, elements: int) -> Path:
    """A protocol 3 state dict whose payloads are holes in the file: large, and written at once."""
    with path.open("wb") as file:
        file.write(b"\x80\x03}(")
        for index in range(tensors):
            empty = b"B" + struct.pack("<I", 4 * elements)
            head, tail = array(shape=b"J" + struct.pack("<i", elements) + b"\x85", payload=b"?").split(b"?")
            file.write(text(f"w{index}") + head + empty)
            file.seek(4 * elements, os.SEEK_CUR)
            file.write(tail)
        file.write(b"u.")
    return path


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_large_file_costs_little_memory_opened_or_read_through(tmp_path: Path) -> None:
    path = sparse_checkpoint(tmp_path / "large.pdparams", tensors=16, elements=8 << 20)
    assert path.stat().st_size > 512 << 20
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", MEASURED, str(path)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    anonymous, mapped, anonymous_later, mapped_later, count, total = map(float, run.stdout.split())
    assert (count, total) == (16, 0)
    assert anonymous < 8  # MiB
    assert mapped < 8
    assert anonymous_later < 16
    assert mapped_later < 64 + 8  # the tensor that was read last, and the one before


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pdparams", {"large": np.zeros(1 << 16), "small": WEIGHT})
    checkpoint = read(path)
    with path.open("r+b") as file:
        file.truncate(200)
    with pytest.raises(CheckpointError, match="changed while it was being read"):
        checkpoint["large"]
    with pytest.raises(CheckpointError, match="changed while it was being read"):
        checkpoint["small"]
    with pytest.raises(CheckpointError, match="changed while it was being read"):
        checkpoint.check_unchanged()


def test_a_file_that_is_replaced_is_read_on_as_it_was_and_said_to_have_changed(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pdparams", {"w": WEIGHT})
    checkpoint = read(path)
    save(tmp_path / "new", {"w": WEIGHT + 1}).replace(path)
    np.testing.assert_array_equal(checkpoint["w"], WEIGHT)
    with pytest.raises(CheckpointError, match="changed while it was being read"):
        checkpoint.check_unchanged()
    path.unlink()
    with pytest.raises(CheckpointError, match="gone"):
        checkpoint.check_unchanged()


def test_an_array_outlives_its_checkpoint(tmp_path: Path) -> None:
    large = np.arange(1 << 16)
    array_ = read(save(tmp_path / "x.pdparams", {"w": large}))["w"]
    np.testing.assert_array_equal(array_, large)


def test_tensors_that_are_in_use_survive_the_loading_of_others(tmp_path: Path) -> None:
    saved = {f"w{index}": np.full(1 << 17, index) for index in range(5)}
    checkpoint = read(save(tmp_path / "x.pdparams", saved))
    arrays = dict(checkpoint)
    for name, value in saved.items():
        np.testing.assert_array_equal(arrays[name], value)


def test_the_hash_is_the_file_s(tmp_path: Path) -> None:
    import hashlib

    path = save(tmp_path / "x.pdparams", {"w": WEIGHT})
    assert read(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_descriptors_are_closed_when_nobody_holds_the_checkpoint(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pdparams", {"w": WEIGHT})
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        read(path)["w"]
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_window_stays_within_its_bounds(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(range(100)))
    window = Source.open(tmp_path / "x").window(10, 20, label="member")
    assert window.read(0, 2) == b"\x0a\x0b"
    for offset, nbytes in ((0, 21), (20, 1), (-1, 2), (0, -1)):
        with pytest.raises(CheckpointError, match="truncated"):
            window.read(offset, nbytes)
    with pytest.raises(CheckpointError, match="truncated"):
        window.window(15, 10, label="x")


def test_a_pickle_longer_than_the_reading_window_reads(tmp_path: Path) -> None:
    items = {f"layer_{index:05}.weight": array() for index in range(1500)}
    (tmp_path / "x").write_bytes(whole(dictionary(**items)))
    assert list(read(tmp_path / "x")) == list(items)

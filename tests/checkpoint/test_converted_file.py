"""The converted file: deterministic, whole or absent, equal to what was put in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

import ppls
from ppls import destination
from ppls.checkpoint.checkpoint import StoredTensor
from ppls.checkpoint.converted_file import write_converted_file
from ppls.checkpoint.paddle_file import write_paddle_file
from ppls.checkpoint.reader import read
from ppls.errors import ConversionError
from tests.checkpoints import save
from tests.fuzz.limits import measured


def stored(array: np.ndarray) -> StoredTensor:
    return StoredTensor(str(array.dtype), array.shape, lambda: array)


TENSORS = {
    "transposed": stored(np.arange(6, dtype=np.float32).reshape(2, 3).T),
    "a.scalar": stored(np.float64(2.5).reshape(())),
    "empty": stored(np.zeros((0, 4), np.float32)),
    "half": stored(np.float16([1, 2, 3])),
    "index": stored(np.arange(5)),
    "big_endian": stored(np.arange(3, dtype=">f4").astype("float32")),
    "flags": stored(np.array([True, False])),
}
METADATA = {"format": "pt", "b": "2", "a": "ü", "architecture": "Toy"}


def test_the_library_reads_back_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "out.safetensors"
    write_converted_file(path, TENSORS, METADATA)
    loaded = load_file(path)
    assert set(loaded) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert loaded[name].dtype == tensor.load().dtype
        np.testing.assert_array_equal(loaded[name], tensor.load())
    assert read(path).metadata == METADATA
    assert os.listdir(tmp_path) == ["out.safetensors"]


def test_the_name_of_a_map_s_file_may_be_any_bytes(tmp_path: Path) -> None:
    map = tmp_path / os.fsdecode(b"mine\xff.yaml")
    map.write_text(
        "{format: 2, architecture: Toy, target: none, layers: {conv: {weight: weight}}, modules: [[conv, conv, conv]]}"
    )
    checkpoint = save(tmp_path / "toy.pdparams", {"conv.weight": np.zeros((1, 1, 1, 1), np.float32)})
    ppls.convert(checkpoint, tmp_path / "out.safetensors", map=map)
    assert read(tmp_path / "out.safetensors").metadata["map"] == r"mine\udcff"


def test_bfloat16_is_stored_as_such(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file as load_torch

    bits = np.array([0x3F80, 0xC000], np.uint16)
    write_converted_file(tmp_path / "o.safetensors", {"w": StoredTensor("bfloat16", (2,), lambda: bits)}, {})
    loaded = load_torch(tmp_path / "o.safetensors")["w"]
    assert loaded.dtype == torch.bfloat16
    assert loaded.tolist() == [1, -2]


def test_every_tensor_is_aligned_to_its_elements(tmp_path: Path) -> None:
    path = tmp_path / "out.safetensors"
    write_converted_file(path, TENSORS, METADATA)
    data = path.read_bytes()
    with safe_open(path, "numpy") as file:
        for name in file.keys():  # noqa: SIM118 - it is no mapping
            tensor = np.ascontiguousarray(TENSORS[name].load())
            if tensor.size > 1:
                assert data.index(tensor.tobytes()) % tensor.itemsize == 0


def test_the_bytes_are_the_same_in_every_process(tmp_path: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[2]); from tests.checkpoint.test_converted_file import *; "
        "write_converted_file(Path(sys.argv[1]), dict(reversed(TENSORS.items())), METADATA)"
    )
    root = str(Path(__file__).resolve().parents[2])
    write_converted_file(tmp_path / "0", TENSORS, METADATA)
    for seed in ("1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", script, str(tmp_path / seed), root], check=True, env=environment)
        assert (tmp_path / seed).read_bytes() == (tmp_path / "0").read_bytes()


def test_an_existing_file_is_kept_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "out.safetensors"
    path.write_text("mine")
    with pytest.raises(ConversionError, match="exists already; give --force"):
        write_converted_file(path, TENSORS, METADATA)
    assert path.read_text() == "mine"
    write_converted_file(path, TENSORS, METADATA, force=True)
    assert set(load_file(path)) == set(TENSORS)


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "out.safetensors"
    with pytest.raises(ConversionError, match="exists already"):
        write_converted_file(path, TENSORS, METADATA, before_naming=lambda: path.write_text("theirs") and None)
    assert path.read_text() == "theirs"
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("place", ["missing/out.safetensors", "file/out.safetensors", "."])
def test_a_place_that_cannot_hold_it_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConversionError, match=r"does not exist|is a folder"):
        write_converted_file(tmp_path / place, TENSORS, METADATA)


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    path = tmp_path / "out.safetensors"
    # what is written goes to the device that is always full
    monkeypatch.setattr(destination, "_create", lambda part, mode: open(full, "wb"))  # noqa: SIM115
    with pytest.raises(ConversionError, match="the disk is full; nothing was written"):
        write_converted_file(path, TENSORS, METADATA)
    assert os.listdir(tmp_path) == []


def test_a_limit_on_the_file_size_leaves_nothing(tmp_path: Path) -> None:
    script = f"""
import resource, signal, sys; sys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r})
import numpy as np
from pathlib import Path
from ppls.checkpoint.checkpoint import StoredTensor
from ppls.checkpoint.converted_file import write_converted_file
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
array = np.zeros(1_000_000, np.float32)
write_converted_file(Path(sys.argv[1]), {{"w": StoredTensor("float32", array.shape, lambda: array)}}, {{}})
"""
    path = tmp_path / "out.safetensors"
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True)
    assert done.returncode != 0
    assert "ConversionError" in done.stderr
    assert "cannot be written: File too large" in done.stderr
    assert os.listdir(tmp_path) == []


def test_what_the_disk_changed_never_gets_the_name(tmp_path: Path) -> None:
    calls = iter([np.float32([1, 2]), np.float32([1, 3])])  # what was written, and what should have been
    tensor = StoredTensor("float32", (2,), lambda: next(calls))
    with pytest.raises(ConversionError, match="reads back differently"):
        write_converted_file(tmp_path / "out.safetensors", {"w": tensor}, {})
    assert os.listdir(tmp_path) == []


def test_a_lone_surrogate_is_escaped_in_metadata_and_no_part_of_a_name(tmp_path: Path) -> None:
    path = tmp_path / "out.safetensors"
    write_converted_file(path, TENSORS, {"source": "a\udcff"})
    assert read(path).metadata == {"source": r"a\udcff"}
    for write in (write_converted_file, write_paddle_file):
        with pytest.raises(ConversionError, match=r"no file can hold the name w\\udcff"):
            write(tmp_path / "other", {"w\udcff": TENSORS["index"]}, {})
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("write", [write_converted_file, write_paddle_file])
def test_a_large_tensor_is_in_memory_but_once(tmp_path: Path, write: Callable[..., None]) -> None:
    array = np.ones(25_000_000, np.float32)
    with measured() as cost:
        write(tmp_path / "out", {"w": stored(array)}, {})
    assert cost.bytes < 20e6
    assert read(tmp_path / "out")["w"].tobytes() == array.tobytes()


def test_killed_at_any_moment_it_leaves_no_file_under_the_name(tmp_path: Path) -> None:
    script = f"""
import sys; sys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r})
import numpy as np
from pathlib import Path
from ppls.checkpoint.checkpoint import StoredTensor
from ppls.checkpoint.converted_file import write_converted_file
array = np.ones(200_000, np.float32)
tensors = {{f"w{{i}}": StoredTensor("float32", array.shape, lambda: array) for i in range(60)}}
print("ready", flush=True)
write_converted_file(Path(sys.argv[1]), tensors, {{}})
print("done", flush=True)
"""
    path = tmp_path / "out.safetensors"
    killed = 0
    for delay in (0.0, 0.005, 0.01, 0.02, 0.04):
        process = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate()
        killed += "done" not in rest
        if path.exists():
            assert len(load_file(path)) == 60  # whole
            path.unlink()
        write_converted_file(path, TENSORS, METADATA)  # the next run is not disturbed
        path.unlink()
    assert killed >= 1
